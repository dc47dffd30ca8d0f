"""The same from coroutines and from many threads."""

import asyncio
import threading

import pytest

from otel_audit.errors import ClosedError, InvalidFilterError


def test_every_call_has_an_awaited_twin(open_repo, make, mine):
    async def use():
        async with open_repo() as log:
            records = [make(minute) for minute in range(3)]
            for record in records:
                assert (await log.aappend(record)).record_id == record.record_id
            await log.aflush()
            first = records[0]
            assert await log.aget_by_entity(first.entity_ref) == records
            assert await log.aget_by_actor(first.actor_id, limit=1) == records[2:]
            assert await log.aget_by_owner(first.owner_id, order="desc") == records[::-1]
            assert first in await log.aget_by_action(first.action)
            assert await log.aget_by_id(first.record_id) == first
            assert (await log.asearch(mine, limit=2)).records == (records[2], records[1])
            assert await log.acount(mine) == 3
            assert await log.acount_by("action", mine) == {"create_task": 3}
            assert [record async for record in log.aiter_records(mine)] == records
            with pytest.raises(InvalidFilterError):
                await log.asearch(mine, limit=0)
        with pytest.raises(ClosedError):
            await log.aappend(make())
        await log.aclose()

    asyncio.run(use())


def test_plain_append_works_on_a_running_loop(open_repo, make, mine):
    """An application may call `append` from a coroutine, without an await."""
    log = open_repo()

    async def use():
        log.append(make())
        log.append_many([make(1), make(2)])
        await log.aflush()

    asyncio.run(use())
    assert log.count(mine) == 3


def test_tasks_append_at_once(open_repo, make, mine):
    async def use():
        async with open_repo() as log:
            await asyncio.gather(*(log.aappend(make(n)) for n in range(20)))
            await log.aflush()
            assert await log.acount(mine) == 20

    asyncio.run(use())


def test_threads_share_a_repo(log, make, mine):
    """8 threads append and read at once: every record is there once, and no read fails."""
    start, errors, batches = threading.Barrier(8), [], [[make(10 * t + n) for n in range(10)] for t in range(8)]

    def work(records):
        try:
            start.wait()
            for record in records[:5]:
                log.append(record)
            log.append_many(records[5:])
            log.flush()
            found = log.search(mine, limit=1000).records
            assert set(records) <= set(found)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(log.iter_records(mine)) == [record for batch in batches for record in batch]
