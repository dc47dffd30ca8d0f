"""Files of the archive: their names and columns, how they are written, published, listed and checked."""
