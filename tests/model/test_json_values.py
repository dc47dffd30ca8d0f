"""Canonical JSON: one text for one value, and the value back with its types."""

import contextlib
import enum
import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.errors import InvalidRecordError
from otel_audit.model.json_values import MAX_DEPTH, MAX_JSON_BYTES, copy_object, format_json, parse_json, walk_size

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))
objects = st.dictionaries(texts, values, max_size=5)


def shape(value):
    """A value with the type of everything in it and the bits of its floats; unlike ==, tells 1, 1.0 and True apart."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return (type(value), struct.pack("d", value) if isinstance(value, float) else value)


@given(values)
def test_a_value_comes_back_from_its_text_with_its_types(value):
    assert shape(parse_json(format_json(value))) == shape(value)
    assert shape(parse_json(format_json(value).encode())) == shape(value)


@given(objects)
def test_the_text_depends_on_neither_key_order_nor_copying(value):
    text = format_json(value)
    assert format_json(dict(reversed(value.items()))) == text
    assert format_json(copy_object(value, "x")) == text
    assert format_json(parse_json(text)) == text


@given(objects)
def test_a_copy_is_equal_and_shares_nothing(value):
    copied = copy_object(value, "x")
    assert shape(copied) == shape(value)
    text = format_json(value)
    for item in copied.values():
        if isinstance(item, list | dict):
            item.clear()
    copied["new"] = 1
    assert format_json(value) == text


@given(st.text(max_size=50) | st.binary(max_size=50))
def test_any_text_gives_a_value_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        parse_json(text)


@given(values, st.data())
def test_damaged_json_gives_a_value_or_a_value_error(value, data):
    text = format_json(value)
    at = data.draw(st.integers(0, len(text)))
    with contextlib.suppress(ValueError):
        parse_json(text[:at] + data.draw(st.text(max_size=2)) + text[at + data.draw(st.integers(0, 2)) :])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # RFC 8785 §3.2.2.2: strings
        ("\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/", '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),
        ("\b\t\n\f\r\x00\x1f\x7f", '"\\b\\t\\n\\f\\r\\u0000\\u001f\x7f"'),
        # §3.2.3: keys by UTF-16 units, where U+1F600 (d83d) stands before U+FB33
        (
            {"\u20ac": 5, "\r": 1, "\ufb33": 7, "1": 2, "\U0001f600": 6, "\x80": 3, "\xf6": 4},
            '{"\\r":1,"1":2,"\x80":3,"ö":4,"€":5,"😀":6,"\ufb33":7}',
        ),
        ({"a": {"\ufb33": 1, "\U0001f600": [{"\ufb33": 2, "\U0001f600": 3}]}},
         '{"a":{"😀":[{"😀":3,"\ufb33":2}],"\ufb33":1}}'),
        # ours: integers keep their digits, floats show that they are floats
        (2**63 - 1, "9223372036854775807"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e16, "1e+16"),
        (1e22, "1e+22"),
        (0.1 + 0.2, "0.30000000000000004"),
        (5e-324, "5e-324"),
        (1e-7, "1e-07"),
        ([None, True, False, [], {}], "[null,true,false,[],{}]"),
    ],
)  # fmt: skip
def test_the_canonical_text(value, text):
    assert format_json(value) == text
    assert shape(parse_json(text)) == shape(value)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "{", "[1,]", "{'a':1}", "nul", "+1", "01", "1.", ".5", "0x1", "1 2", "// x",
        "NaN", "Infinity", "-Infinity", "1e400", "-1e400",
        "9223372036854775808", "-9223372036854775809", "1" * 5000,
        '{"a":1,"a":2}', '{"a":{"b":1,"b":1}}', '{"a":1,"\\u0061":2}',
        '"\\ud800"', '{"\\udfff":1}', '["\\ud83d\\ud83d"]', '"\x01"', '"\n"', "\ufeff1",
        b"\xff", b'"\xed\xa0\x80"', b"\xfe\xff",
        "[" * 33 + "]" * 33, '{"a":' * 33 + "1" + "}" * 33, "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_not_strict_json_is_refused(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_as_many_levels_as_allowed_are_read():
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None


def nested(levels):
    value = {"bottom": 1}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_levels_and_bytes_are_counted():
    assert walk_size({}) == (1, 2)
    assert walk_size({"ü": [1, {}]}) == (3, len('{"ü":[1,{}]}'.encode()))
    assert walk_size(nested(MAX_DEPTH))[0] == MAX_DEPTH
    assert copy_object(nested(MAX_DEPTH), "x") == nested(MAX_DEPTH)


class Colour(str, enum.Enum):  # noqa: UP042 - its str() is not its value
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Ratio(float):
    pass


def test_subclasses_become_the_plain_value_they_equal():
    copied = copy_object({Colour.RED: [Colour.RED, Level.HIGH, Ratio(0.5)]}, "x")
    assert shape(copied) == shape({"red": ["red", 3, 0.5]})
    assert type(next(iter(copied))) is str


CYCLE: dict = {}
CYCLE["again"] = [CYCLE]
WIDE_CYCLE: list = []
WIDE_CYCLE.extend([WIDE_CYCLE] * 10)

REFUSED = [
    ({"a": math.nan}, "metadata.a", "NaN"),
    ({"a": [1, {"b": -math.inf}]}, "metadata.a[1].b", "infinities"),
    ({"a": 2**63}, "metadata.a", "64 bits"),
    ({"a": -(2**63) - 1}, "metadata.a", "64 bits"),
    ({"a": {1, 2}}, "metadata.a", "a set is not a JSON value; use a sorted list"),
    ({"a": b"x"}, "metadata.a", "a bytes is not a JSON value; use base64 text"),
    ({"a": (1,)}, "metadata.a", "a tuple is not a JSON value; use a list"),
    ({"a": object()}, "metadata.a", "not a JSON value"),
    ({"a": {"b": {1: 2}}}, "metadata.a.b", "keys must be text, not int (1)"),
    ({None: 1}, "metadata", "keys must be text, not NoneType"),
    ({"a": "x\ud800"}, "metadata.a", "lone surrogate at character 1"),
    ({"a": {"\udc00": 1}}, "metadata.a key", "lone surrogate at character 0"),
    ({"k" * 513: 1}, "metadata key", "at most 512 characters, not 513"),
    ({"a": "x" * 10_000_000}, "metadata", f"at most {MAX_JSON_BYTES} bytes"),
    ({"a": ["x" * 1000] * 2000}, "metadata", f"at most {MAX_JSON_BYTES} bytes"),
    ({"a": [None] * 600_000}, "metadata", f"at most {MAX_JSON_BYTES} bytes"),
    (nested(MAX_DEPTH + 1), "metadata" + ".a" * MAX_DEPTH, "32 levels"),
    (CYCLE, "metadata" + ".again[0]" * (MAX_DEPTH // 2), "contains itself"),
    ({"a": WIDE_CYCLE}, "metadata.a" + "[0]" * (MAX_DEPTH - 1), "contains itself"),
    ([1], "metadata", "must be a dict, not list"),
    (None, "metadata", "must be a dict, not NoneType"),
]


@pytest.mark.parametrize(
    ("value", "field", "rule"), REFUSED, ids=[f"{field} {rule}"[-60:] for _, field, rule in REFUSED]
)
def test_what_cannot_be_held_exactly_names_place_and_rule(value, field, rule):
    with pytest.raises(InvalidRecordError) as caught:
        copy_object(value, "metadata")
    assert caught.value.field == field
    assert rule in caught.value.rule
    str(caught.value).encode()


def test_python_reads_the_canonical_text_too():
    """It is plain JSON: any reader gets the same values."""
    value = {"a": [1, 1.5, "ü😀", None], "b": -0.0}
    assert json.loads(format_json(value)) == value
