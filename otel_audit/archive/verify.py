"""Whether every byte of a file is what was written; a piece at a time, so that a slow check can stop and go on."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from otel_audit.archive.checksums import hasher
from otel_audit.archive.footer import Footer, parse_footer, read_metadata, read_tail, unreadable
from otel_audit.errors import ArchiveFaultError

__all__ = ["check_file", "checking", "open_checked"]

_PIECE_BYTES = 1 << 20


def open_checked(path: Path, **options: Any) -> pq.ParquetFile:
    """A file to be read in part: its footer checked against its digest, its pages against their sums as they are read.

    Raises:
        ArchiveFaultError, FileNotFoundError, StorageError: as `read_metadata`.
        pa.ArrowException, OSError: see `unreadable`.
    """
    return pq.ParquetFile(path, metadata=read_metadata(path), page_checksum_verification=True, **options)


def check_file(path: Path) -> Footer:
    """Read all of a file against the digests that it carries; its footer.

    Raises:
        ArchiveFaultError: a damaged or foreign file.
        FileNotFoundError: it has gone.
        StorageError: the machine does not let it be read now.
    """
    checked = checking(path)
    while True:
        try:
            next(checked)
        except StopIteration as done:
            footer: Footer = done.value
            return footer


def checking(path: Path, *, from_disk: bool = False) -> Generator[int, None, Footer]:
    """`check_file` in steps: gives how many bytes each of them read, and returns the footer.

    Args:
        from_disk: have the kernel forget what it holds of the file first, or that alone would be checked.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            if from_disk and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            tail = read_tail(file, path)
            yield len(tail.raw)
            footer = parse_footer(tail.metadata, path)
            if tail.data_digest is None:
                yield from _pages(path, footer.size_bytes)
                return footer
            file.seek(0)
            found, left = hasher(), tail.start
            while left:
                piece = file.read(min(left, _PIECE_BYTES))
                if not piece:
                    raise ArchiveFaultError(f"{path}: damaged: it was cut short")
                found.update(piece)
                left -= len(piece)
                yield len(piece)
            if found.hexdigest().encode() != tail.data_digest:
                raise ArchiveFaultError(f"{path}: damaged: its data is not what was written")
            return footer
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error) from None


def _pages(path: Path, size_bytes: int) -> Iterator[int]:
    """A file of a release that kept no digests: what the checksums of its pages cover."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        groups = file.metadata.num_row_groups
        for group in range(groups):
            file.read_row_group(group)
            yield size_bytes // groups
