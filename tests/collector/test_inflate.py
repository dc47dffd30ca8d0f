"""Content encodings: exact, bounded piece by piece, and our own error for whatever is no whole stream."""

from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.collector.inflate import PIECE_BYTES, inflate
from otel_audit.errors import MalformedRequestError

contents = st.binary(max_size=2000) | st.builds(lambda b, n: b * n, st.binary(max_size=50), st.integers(0, 5000))


def zstd_streamed(data: bytes) -> bytes:
    """A frame without the content's size in its header, as streaming senders write it."""
    engine = zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compressobj()
    half = len(data) // 2
    return (
        engine.compress(data[:half])
        + engine.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        + engine.compress(data[half:])
        + engine.flush()
    )


COMPRESS = {
    "identity": bytes,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
WRITERS = [*COMPRESS.items(), ("zstd", zstd_streamed)]


def undone(encoding: str, data: bytes) -> bytes:
    return b"".join(inflate(encoding, data))


@pytest.mark.parametrize(("encoding", "compress"), WRITERS)
@settings(max_examples=40, deadline=None)
@given(data=contents)
def test_what_was_compressed_comes_back(encoding, compress, data):
    assert undone(encoding, compress(data)) == data


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_inflate_or_are_malformed(encoding, data):
    with contextlib.suppress(MalformedRequestError):
        undone(encoding, data)


@pytest.mark.parametrize(("encoding", "compress"), [w for w in WRITERS if w[0] != "identity"])
@settings(max_examples=60, deadline=None)
@given(data=contents, cut=st.integers(1, 10_000))
def test_a_truncated_stream_is_malformed(encoding, compress, data, cut):
    whole = compress(data)
    with pytest.raises(MalformedRequestError):
        undone(encoding, whole[: max(0, len(whole) - cut)])


@pytest.mark.parametrize(("encoding", "compress"), [w for w in WRITERS if w[0] != "identity"])
@settings(max_examples=30, deadline=None)
@given(data=contents, tail=st.binary(min_size=1, max_size=40))
def test_bytes_behind_the_stream_are_malformed(encoding, compress, data, tail):
    with pytest.raises(MalformedRequestError):
        undone(encoding, compress(data) + tail)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_members_and_frames_are_joined(encoding):
    parts = [b"one", b"", b"two" * 100_000]
    assert undone(encoding, b"".join(map(COMPRESS[encoding], parts))) == b"".join(parts)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_bomb_comes_in_bounded_pieces(encoding):
    """Whoever stops asking after a few pieces has inflated only those."""
    bomb = COMPRESS[encoding](bytes(16 << 20))
    assert len(bomb) < 100_000
    pieces = inflate(encoding, bomb)
    first = [next(pieces) for _ in range(4)]
    assert [len(piece) <= PIECE_BYTES for piece in first] == [True] * 4
    pieces.close()


def test_a_zstd_window_beyond_8_mib_is_malformed():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    engine = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = engine.compress(bytes(100)) + engine.flush()
    with pytest.raises(MalformedRequestError):
        undone("zstd", body)


def test_a_flipped_bit_under_a_checksum_is_malformed():
    body = bytearray(gzip.compress(b"who did what" * 50))
    body[-6] ^= 1
    with pytest.raises(MalformedRequestError):
        undone("gzip", bytes(body))
