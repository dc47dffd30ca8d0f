"""`ActivityRecord`: checked when built, and immutable after."""

import copy
import enum
import pickle
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit import ActivityRecord, EntityRef
from otel_audit.errors import InvalidRecordError
from otel_audit.model.record import ACTOR_TYPES, OUTCOMES, TEXT_LIMITS, from_us, to_us


def made(**fields):
    values = {"actor_id": "a", "owner_id": "o", "action": "do", "entity_ref": EntityRef("Task", 1)} | fields
    return ActivityRecord.create(**values)


def test_create_fills_in_id_and_time():
    before = datetime.now(UTC)
    record = made()
    assert record.record_id.version == 7
    assert before <= record.occurred_at <= datetime.now(UTC)
    assert (record.actor_type, record.outcome, record.metadata, record.changes) == ("user", "success", {}, None)


def test_create_and_the_constructor_build_the_same_record():
    fields = {"record_id": "r", "occurred_at": datetime(2026, 1, 1, tzinfo=UTC), "metadata": {"a": [1]}, "reason": "x"}
    everything = fields | {"actor_id": 7, "owner_id": "o", "action": "do", "entity_ref": EntityRef("Task", 1)}
    assert made(**fields, actor_id=7) == ActivityRecord(**everything)


def test_records_of_one_id_hash_alike():
    record = made()
    assert len({record, record.replace(), record.replace(reason="x")}) == 2
    assert hash(record) == hash(record.replace(reason="x"))


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
BAD = [
    ("occurred_at", datetime(2026, 1, 1), "aware"),
    ("occurred_at", datetime(1970, 1, 1, tzinfo=UTC), "between 1970 and 2262"),
    ("occurred_at", datetime(1969, 12, 31, tzinfo=UTC), "between 1970 and 2262"),
    ("occurred_at", datetime(2262, 1, 1, tzinfo=UTC), "between 1970 and 2262"),
    ("occurred_at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))), "between 1970 and 2262"),
    ("occurred_at", datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), "between 1970 and 2262"),
    ("occurred_at", "2026-01-01T00:00:00Z", "a datetime, not str"),
    ("occurred_at", 1_767_225_600, "a datetime, not int"),
    ("entity_ref", ("Task", 1), "an EntityRef, not tuple"),
    ("entity_ref", None, "must be given"),
    ("owner_id", None, "must be given"),
    ("actor_id", None, "must be a UUID, str or int"),
    ("actor_type", "robot", "one of user, service, system"),
    ("actor_type", None, "one of user, service, system"),
    ("actor_type", ["user"], "one of user, service, system"),
    ("outcome", "SUCCESS", "one of success, failure, unknown"),
    ("metadata", [], "a dict, not list"),
    ("metadata", {"a": float("nan")}, None),
    ("changes", {"a": [1]}, None),
    ("changes", {"a": (1, 2)}, None),
    ("changes", {"a": 1}, None),
    ("trace_id", "0" * 32, "32 lower-case hex"),
    ("trace_id", "A" * 32, "32 lower-case hex"),
    ("trace_id", "1" * 32 + "\n", "32 lower-case hex"),
    ("trace_id", UUID(int=1), "32 lower-case hex"),
    ("span_id", "1" * 32, "16 lower-case hex"),
    ("trace_flags", 2**32, "32 bits"),
    ("trace_flags", -1, "32 bits"),
    ("trace_flags", True, "32 bits"),
    *[(name, "x" * (limit + 1), f"at most {limit} characters, not {limit + 1}") for name, limit in TEXT_LIMITS.items()],
    *[(name, "", "must not be empty") for name in TEXT_LIMITS],
    *[(name, "\udfff", "lone surrogate") for name in TEXT_LIMITS],
    *[(name, b"x", "must be text, not bytes") for name in TEXT_LIMITS],
    *[
        (name, value, rule)
        for name in ("record_id", "actor_id", "owner_id", "on_behalf_of", "tenant_id", "session_id", "request_id")
        for value, rule in (
            ("", "empty"),
            ("x" * 513, "512"),
            ("\ud800", "surrogate"),
            (1.5, "not float"),
            (2**64, "64"),
        )
    ],
]


@pytest.mark.parametrize(("field", "value", "rule"), BAD, ids=[f"{f}-{str(v)[:20]!a}" for f, v, _ in BAD])
def test_a_bad_field_is_named_with_its_rule(field, value, rule):
    """By `create` and by `replace` alike."""
    with pytest.raises(InvalidRecordError) as caught:
        made(**{field: value})
    assert caught.value.field.startswith(field)
    assert (rule or "") in caught.value.rule
    if rule != "must be given":
        with pytest.raises(InvalidRecordError) as again:
            made().replace(**{field: value})
        assert str(again.value) == str(caught.value)


@pytest.mark.parametrize("field", ["record_id", "occurred_at", "metadata"])
def test_none_for_a_field_with_a_default_means_not_given(field):
    assert getattr(made(**{field: None}), field) is not None


@pytest.mark.parametrize(
    ("entity_type", "entity_id", "field"),
    [("", 1, "entity_type"), ("x" * 257, 1, "entity_type"), (None, 1, "entity_type"), ("T", "", "entity_id"),
     ("T", None, "entity_id"), ("T", 1.0, "entity_id"), ("\ud800", 1, "entity_type")],
)  # fmt: skip
def test_an_entity_has_a_type_and_an_id(entity_type, entity_id, field):
    with pytest.raises(InvalidRecordError) as caught:
        EntityRef(entity_type, entity_id)
    assert caught.value.field == f"entity_ref.{field}"


@pytest.mark.parametrize("build", [made, lambda **fields: made().replace(**fields)])
def test_an_unknown_field_is_a_type_error(build):
    with pytest.raises(TypeError, match="colour"):
        build(colour="red")


@given(
    st.dictionaries(
        st.sampled_from(sorted(ActivityRecord.__slots__)), st.none() | st.text() | st.integers() | st.binary()
    )
)
def test_whatever_create_is_given_it_builds_a_record_or_names_the_field(fields):
    try:
        record = made(**fields)
    except InvalidRecordError as error:
        assert error.field.split(".")[0].split(" ")[0] in fields
    else:
        assert record.replace() == record


def test_the_longest_texts_pass():
    record = made(**{name: "ü" * limit for name, limit in TEXT_LIMITS.items()})
    assert len(record.reason) == TEXT_LIMITS["reason"]


def test_str_enums_are_stored_as_their_value():
    class Verb(str, enum.Enum):  # noqa: UP042 - its str() is not its value
        CREATE = "create_task"

    class Kind(enum.StrEnum):
        SERVICE = "service"

    record = made(action=Verb.CREATE, actor_type=Kind.SERVICE, entity_ref=EntityRef(Verb.CREATE, Verb.CREATE))
    for value in (record.action, record.actor_type, record.entity_ref.entity_type, record.entity_ref.entity_id):
        assert type(value) is str
    assert (record.action, record.actor_type, record.entity_ref.entity_id) == ("create_task", "service", "create_task")


def test_times_are_kept_in_utc():
    eastern = timezone(timedelta(hours=-5))
    record = made(occurred_at=datetime(2026, 1, 1, 7, tzinfo=eastern))
    assert record.occurred_at == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert record.occurred_at.tzinfo is UTC


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_and_datetimes_are_inverses(moment):
    assert from_us(to_us(moment)) == moment


def test_replace_changes_a_copy_and_shares_no_dict():
    record = made(metadata={"a": [1]}, changes={"x": [[], None]})
    other = record.replace(reason="why")
    other.metadata["a"].append(2)
    other.changes["x"][0].append(2)
    assert (record.reason, record.metadata, record.changes) == (None, {"a": [1]}, {"x": [[], None]})
    assert other.replace(reason=None).reason is None


def test_a_metadata_dict_spoilt_in_place_is_found_by_replace():
    record = made()
    record.metadata["a"] = {1, 2}
    with pytest.raises(InvalidRecordError, match=r"metadata\.a"):
        record.replace(reason="x")


def test_a_record_from_storage_is_taken_as_it_is():
    """What a collector accepted from others is given back, even where `create` would refuse it."""
    record = ActivityRecord.from_archive(
        {"record_id": "r", "occurred_at": MOMENT, "actor_id": "a", "action": "x" * 1000, "actor_type": "robot"}
    )
    assert (record.actor_type, record.outcome, record.metadata, record.owner_id) == ("robot", "unknown", {}, None)
    assert len(record.action) == 1000
    assert record.replace(reason="seen").actor_type == "robot"
    assert ActivityRecord.from_archive({"actor_type": None}).actor_type == "user"


def test_records_survive_pickle_and_copy():
    record = made(metadata={"a": [1]}, record_id=uuid4())
    assert pickle.loads(pickle.dumps(record)) == record
    assert copy.deepcopy(record) == record
    assert copy.copy(record) == record


def test_a_record_read_back_may_lack_owner_and_entity():
    record = ActivityRecord(record_id="r", occurred_at=MOMENT, actor_id="a", action="do")
    assert (record.owner_id, record.entity_ref) == (None, None)


def test_the_choices_are_the_documented_ones():
    assert ACTOR_TYPES == ("user", "service", "system")
    assert OUTCOMES == ("success", "failure", "unknown")
