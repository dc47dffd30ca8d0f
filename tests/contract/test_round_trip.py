"""What went in comes out: every field, every JSON type, every text."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from otel_audit import EntityRef
from otel_audit.model.json_values import MAX_DEPTH, format_json

TEXTS = {
    "accents": "Zoë Müller, naïve",
    "nul": "a\x00b",
    "emoji": "🇩🇪 👩‍👩‍👧 😀",
    "astral": "\U0001f600\U00020000",
    "private use": "\ue000\uffff",
    "right to left": "שלום \u202eabc",
    "decomposed": "e\u0301 is not \u00e9",
    "control": "\x01\x1f\x7f\u2028\r\n\t",
    "sql": "'; DROP TABLE activity; --",
    "glob": "*?[a-z]%_\\",
}


def written(log, record):
    log.append(record)
    log.flush()
    return log.get_by_id(record.record_id)


def test_all_fields_come_back_equal(log, make):
    record = make(
        actor_id="deploy-bot",
        actor_type="service",
        actor_name="Deploy bot",
        on_behalf_of=uuid4(),
        owner_id=uuid4(),
        action="Task:Update/v2",
        entity_name="Buy milk",
        outcome="failure",
        reason="not allowed\nby policy",
        metadata={"title": "Buy milk", "n": 3},
        changes={"state": ["open", "done"], "tags": [None, ["a", "b"]], "due": [{"d": 1}, None]},
        client_address="2001:db8::7",
        user_agent="Mozilla/5.0 (X11)",
        session_id="s-1",
        request_id=uuid4(),
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id="b7ad6b7169203331",
        trace_flags=1,
    )
    found = written(log, record)
    assert found == record
    assert hash(found) == hash(record)


def test_a_record_with_nothing_optional_comes_back_equal(log, make):
    record = make(tenant_id=None)
    found = written(log, record)
    assert found == record
    assert (found.metadata, found.changes, found.actor_type, found.outcome) == ({}, None, "user", "success")


@pytest.mark.parametrize("outcome", ["success", "failure", "unknown"])
@pytest.mark.parametrize("actor_type", ["user", "service", "system"])
def test_outcome_and_actor_type_come_back(log, make, outcome, actor_type):
    found = written(log, make(outcome=outcome, actor_type=actor_type))
    assert (found.outcome, found.actor_type) == (outcome, actor_type)


NUMBERS = {
    "int": 1,
    "float of an int": 1.0,
    "true": True,
    "false": False,
    "zero": 0,
    "negative zero": -0.0,
    "int64 least": -(2**63),
    "int64 most": 2**63 - 1,
    "beyond a double's digits": 2**53 + 1,
    "tenth": 0.1,
    "least double": 5e-324,
    "most double": 1.7976931348623157e308,
    "exponent": 1e16,
    "small exponent": 1e-7,
    "ten to 22": 1e22,
}


def test_numbers_keep_their_type_and_every_digit(log, make):
    """1, 1.0 and True are three values; -0.0 keeps its sign."""
    found = written(log, make(metadata=NUMBERS))
    assert format_json(found.metadata) == format_json(NUMBERS)
    assert {name: type(value) for name, value in found.metadata.items()} == {
        name: type(value) for name, value in NUMBERS.items()
    }


def test_nested_and_empty_values_come_back(log, make):
    metadata = {
        "none": None,
        "empty text": "",
        "empty list": [],
        "empty object": {},
        "": "empty key",
        "list": [None, [], {}, [[1, 1.0], [{"a": None}]], ""],
        "mixed": [1, "1", 1.0, True, None],
    }
    assert format_json(written(log, make(metadata=metadata)).metadata) == format_json(metadata)


@pytest.mark.parametrize(
    "wrap", [lambda inner: {"deeper": inner}, lambda inner: {"deeper": [inner]}], ids=["dicts", "lists"]
)
def test_metadata_as_deep_as_allowed_comes_back(log, make, wrap):
    """32 levels are promised by `create`, so the whole way has to carry them."""
    value = {"bottom": 1}
    for _ in range(MAX_DEPTH - 1 if wrap("x") == {"deeper": "x"} else (MAX_DEPTH - 1) // 2):
        value = wrap(value)
    assert written(log, make(metadata=value)).metadata == value


def test_a_wide_and_a_long_value_come_back(log, make):
    metadata = {"long": "ü" * 100_000, "wide": {f"key {n}": n for n in range(2_000)}}
    assert written(log, make(metadata=metadata)).metadata == metadata


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_comes_back_in_every_place(log, make, text):
    """As id, action, name, reason, key and value; and it can be asked for."""
    unique = f"{text}{uuid4().hex}"
    record = make(
        record_id=unique,
        actor_id=unique,
        owner_id=unique,
        action=unique,
        entity_ref=EntityRef(text, unique),
        entity_name=text,
        reason=text,
        metadata={text: text, "list": [text]},
        changes={text: [text, None]},
    )
    assert written(log, record) == record
    assert log.get_by_actor(unique) == [record]
    assert log.get_by_owner(unique) == [record]
    assert log.get_by_action(unique) == [record]
    assert log.get_by_entity(EntityRef(text, unique)) == [record]
    assert log.search(limit=1).records != ()


IDS = {
    "uuid": (UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
    "uuid as text": ("6ba7b811-9dad-11d1-80b4-00c04fd430c8", UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")),
    "capital uuid": ("6BA7B812-9DAD-11D1-80B4-00C04FD430C8", UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")),
    "uuid without dashes": ("6ba7b8129dad11d180b400c04fd430c8", "6ba7b8129dad11d180b400c04fd430c8"),
    "int": (42, "42"),
    "negative int": (-7, "-7"),
    "largest int": (2**64 - 1, "18446744073709551615"),
    "leading zeros": ("007", "007"),
    "spaces": (" a b ", " a b "),
    "longest": ("😀" * 512, "😀" * 512),
}


@pytest.mark.parametrize(("given", "expected"), IDS.values(), ids=IDS)
def test_an_id_equals_itself_after_the_trip(log, make, mine, given, expected):
    """A UUID or its text in either case is a UUID, an int decimal text, other text stays; asking works in each form."""
    record = make(actor_id=given, owner_id=given, on_behalf_of=given, entity_ref=EntityRef("Thing", given))
    found = written(log, record)
    for value in (found.actor_id, found.owner_id, found.on_behalf_of, found.entity_ref.entity_id):
        assert value == expected
        assert type(value) is type(expected)
    for form in (given, expected):
        assert record in log.get_by_actor(form)
        assert log.search(mine.narrowed(actor_id=form)).records == (record,)


@pytest.mark.parametrize(
    "record_id",
    [uuid4(), str(uuid4()), f"order-{uuid4().hex}", uuid4().int >> 65],
    ids=["uuid", "uuid text", "text", "number"],
)
def test_a_record_is_found_by_an_id_of_the_applications_own(log, make, record_id):
    record = make(record_id=record_id)
    assert written(log, record) == record
    assert log.get_by_id(record_id) == record
    assert log.get_by_id(str(record_id)) == record


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2261, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_a_moment_comes_back_to_the_microsecond(log, make, moment):
    record = make(occurred_at=moment)
    assert written(log, record).occurred_at == moment
    assert log.get_by_id(record.record_id).occurred_at.utcoffset() == timedelta(0)


def test_nothing_a_caller_changes_later_changes_the_log(log, make):
    """Metadata is copied when the record is made, when it is appended, and when it is read."""
    given = {"list": [1], "object": {"a": 1}}
    record = make(metadata=given, changes={"state": ["a", "b"]})
    given["list"].append(2)
    assert record.metadata["list"] == [1]
    log.append(record)
    record.metadata["object"]["a"] = 2
    record.changes["state"][0] = "z"
    log.flush()
    found = log.get_by_id(record.record_id)
    assert found.metadata == {"list": [1], "object": {"a": 1}}
    assert found.changes == {"state": ["a", "b"]}
    found.metadata["list"].append(3)
    found.changes.clear()
    again = log.get_by_id(record.record_id)
    assert again.metadata["list"] == [1]
    assert again.changes == {"state": ["a", "b"]}


def test_trace_flags_of_0_are_none_everywhere(log, make):
    """OTLP has no other way to say that there are none."""
    record = make(trace_id="a" * 32, span_id="b" * 16, trace_flags=0)
    assert record.trace_flags is None
    assert written(log, record) == record
