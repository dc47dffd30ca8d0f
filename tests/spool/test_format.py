"""The format of a spool file: what is written is read, and damage costs the entries it touches and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.errors import SpoolFileError
from otel_audit.spool.format import (
    HEAD_BYTES,
    MAX_PAYLOAD_BYTES,
    Damage,
    Entry,
    Header,
    Kind,
    entry_bytes,
    format_entry,
    format_header,
    parse_header,
    scan,
)

NUMBERS = st.integers(0, 2**63 - 1)
MARK = format_entry(Kind.RECORD, 0, b"")[:4]
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(Kind), NUMBERS, st.one_of(st.binary(max_size=60), st.binary(max_size=10).map(MARK.__add__))
    ),
    max_size=8,
)
HEADERS = st.builds(
    Header,
    stream_id=st.text(max_size=20),
    first=st.integers(),
    endpoint=st.text(max_size=30),
    resource=st.binary(max_size=40),
    schema_url=st.text(max_size=20),
    reason=st.text(alphabet=st.characters(), max_size=40),
    rejected=st.integers(),
)


def written(entries: list[tuple[Kind, int, bytes]]) -> bytes:
    return b"".join(format_entry(*entry) for entry in entries)


def found(content: bytes) -> list[tuple[int, int, bytes]]:
    return [(e.kind, e.number, e.payload) for e in scan(content) if isinstance(e, Entry)]


# --- parse(format(x)) == x ---


@given(HEADERS, st.binary(max_size=50))
def test_a_header_is_read_as_it_was_written_whatever_follows(header: Header, rest: bytes) -> None:
    content = format_header(header)
    assert parse_header(content + rest) == (header, len(content))


@given(ENTRIES)
def test_entries_are_read_as_they_were_written(entries: list[tuple[Kind, int, bytes]]) -> None:
    assert found(written(entries)) == entries
    assert not any(isinstance(each, Damage) for each in scan(written(entries)))


@given(st.sampled_from(Kind), NUMBERS, st.binary(max_size=60))
def test_the_head_of_an_entry_tells_its_length(kind: Kind, number: int, payload: bytes) -> None:
    entry = format_entry(kind, number, payload)
    assert entry_bytes(entry[:HEAD_BYTES]) == len(entry)
    assert all(entry_bytes(entry[:cut]) is None for cut in range(HEAD_BYTES))


def test_a_length_that_no_record_has_is_none() -> None:
    head = MARK + pack("<BIQI", Kind.RECORD, MAX_PAYLOAD_BYTES + 1, 1, 0)
    assert entry_bytes(head) is None
    assert [type(each) for each in scan(head + bytes(100))] == [Damage]


def test_no_text_holds_a_mark() -> None:
    with pytest.raises(UnicodeDecodeError):
        MARK.decode()


# --- any bytes ---


def test_other_files_are_no_spool_files() -> None:
    for content in (b"", b"PAR1", b"SQLite format 3\0" + bytes(100), MARK, format_entry(Kind.RECORD, 1, b"x")):
        with pytest.raises(SpoolFileError, match="does not begin"):
            parse_header(content)


@given(st.binary(max_size=200))
def test_any_bytes_in_a_header_entry_raise_our_own_error_or_none(payload: bytes) -> None:
    with suppress(SpoolFileError):
        parse_header(format_entry(Kind.HEADER, 0, payload))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
NAMES = ("format_version", "stream_id", "first", "endpoint", "schema_url", "reason", "rejected")


@given(st.dictionaries(st.sampled_from(NAMES), JSON) | JSON)
def test_any_facts_in_a_header_raise_our_own_error_or_none(facts: object) -> None:
    encoded = json.dumps(facts).encode()
    with suppress(SpoolFileError):
        parse_header(format_entry(Kind.HEADER, 0, pack("<I", len(encoded)) + encoded))


def test_a_file_of_a_later_format_is_told_from_a_damaged_one() -> None:
    content = format_header(Header("s", 1, "e", b""))
    encoded = content[HEAD_BYTES + 4 :].replace(b'"format_version":1', b'"format_version":2')
    with pytest.raises(SpoolFileError, match="format 2; this release reads up to 1"):
        parse_header(format_entry(Kind.HEADER, 0, pack("<I", len(encoded)) + encoded))


@given(st.binary(max_size=300), st.integers(0, 300))
def test_a_scan_covers_every_byte_of_anything_without_gap_or_overlap(content: bytes, start: int) -> None:
    covers(content, min(start, len(content)))


def covers(content: bytes, start: int = 0) -> None:
    at = start
    for each in scan(content, start):
        assert each.start == at < each.end
        if isinstance(each, Damage):
            assert each.at_end == (each.end == len(content))
        at = each.end
    assert at == len(content)


# --- one damage ---


@dataclass(frozen=True)
class Hurt:
    """A damaged file, and the range of the sound one that was hurt."""

    content: bytes
    start: int
    end: int


def flip(content: bytes, at: int, other: int, junk: bytes) -> Hurt:
    flipped = bytes((content[at] ^ (1 << other % 8),))
    return Hurt(content[:at] + flipped + content[at + 1 :], at, at + 1)


def cut(content: bytes, at: int, other: int, junk: bytes) -> Hurt:
    return Hurt(content[:at], at, len(content))


def hole(content: bytes, at: int, other: int, junk: bytes) -> Hurt:
    end = min(len(content), at + 1 + other)
    return Hurt(content[:at] + bytes(end - at) + content[end:], at, end)


def take_out(content: bytes, at: int, other: int, junk: bytes) -> Hurt:
    end = min(len(content), at + 1 + other)
    return Hurt(content[:at] + content[end:], at, end)


def insert(content: bytes, at: int, other: int, junk: bytes) -> Hurt:
    return Hurt(content[:at] + junk + content[at:], at, at)


def double(content: bytes, at: int, other: int, junk: bytes) -> Hurt:
    end = min(len(content), at + 1 + other)
    return Hurt(content[:end] + content[at:end] + content[end:], end, end)


@given(
    ENTRIES.filter(bool),
    st.sampled_from([flip, cut, hole, take_out, insert, double]),
    st.data(),
    st.one_of(st.binary(min_size=1, max_size=50), st.just(MARK), st.just(MARK + bytes(30))),
)
def test_after_any_one_damage_every_entry_it_does_not_touch_is_still_found(
    entries: list[tuple[Kind, int, bytes]],
    how: Callable[[bytes, int, int, bytes], Hurt],
    data: st.DataObject,
    junk: bytes,
) -> None:
    content = written(entries)
    hurt = how(content, data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 90)), junk)
    untouched = []
    at = 0
    for entry in entries:
        end = at + len(format_entry(*entry))
        if end <= hurt.start or at >= hurt.end:
            untouched.append(entry)
        at = end
    covers(hurt.content)
    left = found(hurt.content)
    remaining = iter(left)
    assert all(entry in remaining for entry in untouched), "an untouched entry is missing, or out of order"
    assert all(entry in entries for entry in left), "an entry was found that nobody wrote"


def test_an_entry_that_was_cut_off_is_damage_at_the_end() -> None:
    content = written([(Kind.RECORD, 1, b"one"), (Kind.RECORD, 2, b"two")])
    for missing in range(1, HEAD_BYTES + 3):
        *whole, torn = scan(content[:-missing])
        assert len(whole) == 1 and isinstance(torn, Damage) and torn.at_end


def test_bytes_between_entries_are_damage_that_is_not_at_the_end() -> None:
    one, two = format_entry(Kind.RECORD, 1, b"one"), format_entry(Kind.RECORD, 2, b"two")
    assert list(scan(one + b"junk" + two))[1] == Damage(len(one), len(one) + 4, at_end=False)
