"""The ambient context: set once at the edge of a request, found in every record made within it."""

import asyncio
import contextvars
import threading
from uuid import uuid4

import pytest

from otel_audit import ActivityRecord, EntityRef
from otel_audit.errors import InvalidRecordError
from otel_audit.hooks import AmbientContext, activity_context, current_actor

KNOWN = {
    "actor_name": "Ada",
    "on_behalf_of": "grace",
    "tenant_id": "t-1",
    "client_address": "192.0.2.1",
    "user_agent": "curl/8",
    "request_id": "r-1",
    "session_id": "s-1",
}


def made(**fields):
    values = {"actor_id": "ada", "owner_id": "o", "action": "do", "entity_ref": EntityRef("T", 1)} | fields
    return AmbientContext().before_append(ActivityRecord.create(**values))


def found(record):
    return {name: getattr(record, name) for name in KNOWN}


def test_fields_left_out_are_filled_from_the_context():
    with activity_context(actor_id="ada", **KNOWN):
        assert found(made()) == KNOWN


def test_what_the_record_says_wins():
    own = {name: f"own {name}" for name in KNOWN}
    with activity_context(actor_id="ada", **KNOWN):
        assert found(made(**own)) == own


def test_outside_the_context_the_record_is_untouched():
    record = ActivityRecord.create(actor_id="a", owner_id="o", action="do", entity_ref=EntityRef("T", 1))
    with activity_context(tenant_id="t"):
        pass
    assert AmbientContext().before_append(record) is record


def test_nesting_merges_and_the_inner_value_wins_until_it_ends():
    with activity_context(tenant_id="outer", request_id="r"):
        with activity_context(tenant_id="inner", session_id="s"):
            record = made()
            assert (record.tenant_id, record.request_id, record.session_id) == ("inner", "r", "s")
        record = made()
        assert (record.tenant_id, record.request_id, record.session_id) == ("outer", "r", None)


def test_the_context_ends_when_its_block_raises():
    with pytest.raises(ZeroDivisionError), activity_context(tenant_id="t"):
        _ = 1 / 0
    assert made().tenant_id is None


def test_a_name_belongs_to_its_actor():
    """The context's actor name is never put on a record of another actor, nor kept for an inner actor."""
    with activity_context(actor_id="ada", actor_name="Ada", on_behalf_of="grace"):
        other = made(actor_id="cron")
        assert (other.actor_name, other.on_behalf_of) == (None, None)
        with activity_context(actor_id="cron"):
            assert made(actor_id="cron").actor_name is None
        with activity_context(actor_id="ada", tenant_id="t"):
            assert made().actor_name == "Ada"


def test_current_actor_gives_the_innermost_one():
    actor = uuid4()
    with activity_context(actor_id="outer"), activity_context(actor_id=str(actor)), activity_context(tenant_id="t"):
        assert current_actor() == actor


def test_current_actor_without_one_names_the_rule():
    with pytest.raises(InvalidRecordError, match="actor_id: no actor in the context"):
        current_actor()
    with activity_context(tenant_id="t"), pytest.raises(InvalidRecordError):
        current_actor()


@pytest.mark.parametrize(
    ("name", "value"),
    [("actor_id", ""), ("tenant_id", 1.5), ("user_agent", "x" * 4097), ("request_id", "\ud800"), ("actor_name", 7)],
)
def test_a_value_no_record_could_hold_is_refused_at_once(name, value):
    with pytest.raises(InvalidRecordError, match=name), activity_context(**{name: value}):
        pytest.fail("the block must not run")


def test_tasks_side_by_side_do_not_see_each_other():
    async def request(tenant):
        with activity_context(tenant_id=tenant):
            await asyncio.sleep(0)
            inner = await asyncio.to_thread(made)
            await asyncio.sleep(0)
            return made().tenant_id, inner.tenant_id

    async def both():
        return await asyncio.gather(request("a"), request("b"))

    assert asyncio.run(both()) == [("a", "a"), ("b", "b")]


def test_a_thread_has_the_context_when_it_runs_in_a_copy():
    """A plain thread starts with an empty one."""
    seen = {}
    with activity_context(tenant_id="t"):
        copy = contextvars.copy_context()
        threads = [
            threading.Thread(target=copy.run, args=(lambda: seen.update(copied=made().tenant_id),)),
            threading.Thread(target=lambda: seen.update(plain=made().tenant_id)),
        ]
    for thread in threads:
        thread.start()
        thread.join()
    assert seen == {"copied": "t", "plain": None}
