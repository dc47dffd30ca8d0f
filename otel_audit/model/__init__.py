"""Records, ids, filters and pages: pure values, no input or output."""
