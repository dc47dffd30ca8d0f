"""Ids: what equals what, and the time an id carries."""

import enum
import os
import subprocess
import sys
import time
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.errors import InvalidRecordError
from otel_audit.model.ids import (
    MAX_ID_CHARS,
    canonical_id,
    format_id,
    id_time_ms,
    new_record_id,
    parse_id,
    to_id,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(st.one_of(st.uuids(), texts, st.integers(-(2**63), 2**64 - 1), st.uuids().map(str)))
def test_an_id_comes_back_from_its_text_as_itself(given_id):
    value = to_id(given_id, "x")
    assert parse_id(format_id(value)) == value
    assert type(parse_id(format_id(value))) is type(value)
    assert to_id(value, "x") == value


@given(st.text(max_size=60))
def test_any_text_is_an_id(text):
    assert format_id(parse_id(text)) == canonical_id(text) == text


@given(st.uuids(), st.randoms())
def test_the_case_of_a_uuids_digits_does_not_count(value, random):
    text = "".join(random.choice((digit, digit.upper())) for digit in str(value))
    assert to_id(text, "x") == parse_id(text) == value
    assert canonical_id(text) == str(value)


@pytest.mark.parametrize(
    "text",
    ["{6BA7B812-9DAD-11D1-80B4-00C04FD430C8}", "6BA7B8129DAD11D180B400C04FD430C8",
     "urn:uuid:6ba7b812-9dad-11d1-80b4-00c04fd430c8", "6ba7b812-9dad-11d1-80b4-00c04fd430c٨",
     "6BA7B8-129DAD-11D1-80B4-00C04FD430C8", "6BA7B812-9DAD-11D1-80B4-00C04FD430C8\n"],
)  # fmt: skip
def test_other_forms_of_a_uuid_are_text(text):
    assert to_id(text, "x") == canonical_id(text) == text


def test_an_int_is_decimal_text_and_an_enum_is_its_value():
    class Kind(str, enum.Enum):  # noqa: UP042 - its str() is not its value
        ADMIN = "admin"

    class Number(enum.IntEnum):
        SEVEN = 7

    assert to_id(7, "x") == to_id("7", "x") == to_id(Number.SEVEN, "x") == "7"
    assert type(to_id(Kind.ADMIN, "x")) is str
    assert to_id(Kind.ADMIN, "x") == "admin"


def test_a_drivers_uuid_becomes_a_plain_one():
    class Theirs(UUID):
        pass

    value = uuid4()
    assert type(to_id(Theirs(int=value.int), "x")) is UUID
    assert to_id(Theirs(int=value.int), "x") == value


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("", "must not be empty"),
        ("x" * (MAX_ID_CHARS + 1), "must be at most 512 characters, not 513"),
        ("a\ud800", "holds a lone surrogate at character 1"),
        (True, "must be a UUID, str or int, not bool"),
        (1.0, "must be a UUID, str or int, not float"),
        (None, "must be a UUID, str or int, not NoneType"),
        (b"x", "must be a UUID, str or int, not bytes"),
        (2**64, "an integer id must fit in 64 bits"),
        (-(2**63) - 1, "an integer id must fit in 64 bits"),
    ],
)
def test_what_is_no_id_names_field_and_rule(value, rule):
    with pytest.raises(InvalidRecordError) as caught:
        to_id(value, "owner_id")
    assert (caught.value.field, caught.value.rule) == ("owner_id", rule)


def test_record_ids_are_version_7_and_increase():
    ids = [new_record_id() for _ in range(10_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {(value.version, value.variant) for value in ids} == {(7, "specified in RFC 4122")}


def test_a_record_id_carries_its_time():
    before = time.time_ns() // 1_000_000
    moment = id_time_ms(new_record_id())
    # Within one millisecond's burst the clock of an id may run ahead a little.
    assert before - 1_000 <= moment <= time.time_ns() // 1_000_000 + 1_000


@pytest.mark.parametrize(
    "value",
    [uuid4(), UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8"), "text", UUID(int=0)],
    ids=["v4", "v1", "text", "zero"],
)
def test_other_ids_carry_no_time(value):
    assert id_time_ms(value) is None


def test_the_time_of_the_rfcs_example():
    """RFC 9562, appendix A.6."""
    assert id_time_ms(UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")) == 1645557742000


FORKS = """
import ctypes, os, sys
from otel_audit.model.ids import new_record_id
fork = {"python": os.fork, "c": ctypes.PyDLL(None).fork}[sys.argv[1]]
print(*(new_record_id() for _ in range(20)), flush=True)
for _ in range(8):
    if fork() == 0:
        os.write(1, (" ".join(str(new_record_id()) for _ in range(20)) + "\\n").encode())
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("how", ["python", "c"])
def test_forked_children_draw_ids_of_their_own(how):
    """A fork in C, past every hook, is how uWSGI makes its workers. In a process of its own: a child of one whose other
    threads wait for the interpreter may wait for them without end."""
    done = subprocess.run([sys.executable, "-c", FORKS, how], capture_output=True, text=True, timeout=60, check=True)
    ids = done.stdout.split()
    assert len(ids) == len(set(ids)) == 180
    # Two of a millisecond must not be told apart by luck: their random bits differ as well.
    assert len({value[24:] for value in ids}) == 180
