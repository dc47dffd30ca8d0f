"""Content encodings, undone piece by piece and never beyond a bound. No I/O.

Rules:
- a piece is at most 1 MiB, so whoever drives this can count, reserve room and let others run in between; a few KB
  that inflate to gigabytes cost no more than the bound;
- gzip: RFC 1952, one member or more, nothing behind the last one; deflate: the zlib format (RFC 1950), as HTTP says;
- zstd: RFC 8878, one frame or more; windows up to 8 MiB, as RFC 9659 wants for HTTP;
- data that ends early, goes on too long or is damaged is a MalformedRequestError.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import zstandard

from otel_audit.errors import MalformedRequestError

__all__ = ["ENCODINGS", "PIECE_BYTES", "inflate"]

ENCODINGS = frozenset({"identity", "gzip", "x-gzip", "deflate", "zstd"})
PIECE_BYTES = 1 << 20
_FEED_BYTES = 64 << 10
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_WINDOW_BYTES = 8 << 20
_ZSTD_MAX_BLOCKS = 1 << 17


def inflate(encoding: str, data: bytes) -> Iterator[bytes]:
    """The decoded content in pieces of at most PIECE_BYTES (empty ones are possible).

    Args:
        encoding: one of ENCODINGS.

    Raises:
        MalformedRequestError: damaged, truncated, or followed by something else.
    """
    if encoding == "identity":
        yield data
    elif encoding == "zstd":
        yield from _zstd(data)
    elif encoding == "deflate":
        yield from _zlib(data, wbits=zlib.MAX_WBITS, members=False)
    else:
        yield from _zlib(data, wbits=zlib.MAX_WBITS | 16, members=True)


def _zlib(data: bytes, *, wbits: int, members: bool) -> Iterator[bytes]:
    engine = zlib.decompressobj(wbits)
    view, at, rest = memoryview(data), 0, b""
    try:
        while True:
            if not rest:
                # Fed in small slices: what `decompress` leaves over is copied each time.
                rest = bytes(view[at : at + _FEED_BYTES])
                at += len(rest)
            if not rest:
                raise MalformedRequestError("the compressed body ends early")
            yield engine.decompress(rest, PIECE_BYTES)
            if not engine.eof:
                rest = engine.unconsumed_tail
                if rest or at < len(data):
                    continue
                # All input is in; what the engine still keeps comes out now, or the stream is not complete.
                while piece := engine.decompress(b"", PIECE_BYTES):
                    yield piece
                if not engine.eof:
                    raise MalformedRequestError("the compressed body ends early")
            rest = engine.unused_data
            if not rest and at >= len(data):
                return
            if not members:
                raise MalformedRequestError("bytes after the end of the compressed body")
            engine = zlib.decompressobj(wbits)
    except zlib.error as error:
        raise MalformedRequestError(f"damaged compressed body: {error}") from error


def _zstd(data: bytes) -> Iterator[bytes]:
    try:
        # The reader stops without a word when the data does; so whole frames are made sure of first.
        _check_zstd_frames(data)
        engine = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
        with engine.stream_reader(data, read_across_frames=True) as reader:
            while piece := reader.read(PIECE_BYTES):
                yield piece
    except zstandard.ZstdError as error:
        raise MalformedRequestError(f"damaged compressed body: {error}") from error


def _check_zstd_frames(data: bytes) -> None:
    """Walk frame and block headers (RFC 8878, 3.1.1); raises unless the data is whole frames and nothing else."""
    at, blocks = 0, 0
    while at < len(data):
        if data[at : at + 4] != _ZSTD_MAGIC:
            raise MalformedRequestError("damaged compressed body: no zstd frame where one should begin")
        head = data[at : at + 18]
        frame = zstandard.get_frame_parameters(head)
        at += zstandard.frame_header_size(head)
        last = False
        while not last:
            if at + 3 > len(data):
                raise MalformedRequestError("the compressed body ends early")
            header = int.from_bytes(data[at : at + 3], "little")
            last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            at += 3 + (1 if kind == 1 else size)  # kind 1 repeats a single byte `size` times
            blocks += 1
            if blocks > _ZSTD_MAX_BLOCKS:
                raise MalformedRequestError("the compressed body is cut into too many blocks")
        at += 4 if frame.has_checksum else 0
    if at != len(data) or not data:
        raise MalformedRequestError("the compressed body ends early")
