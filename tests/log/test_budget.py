"""One source that fills the quarantine is refused by itself, and it is told before it is full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from otel_audit.errors import OverloadedError
from otel_audit.log.held import held
from otel_audit.otlp.decode import Decoded, decode_logs
from otel_audit.otlp.encode import encode_record, encode_resource, frame_request
from tests.log.requests import ARRIVAL_NS, record
from tests.log.test_engine import open_log, rows


def invalid(service: str, name: str, size: int = 1_000, valid: str = "") -> Decoded:
    """A request of a service with a record that lacks its actor, and perhaps a valid one."""
    broken = encode_record(record(name, metadata={"x": "y" * size}), ARRIVAL_NS)
    encoded = [broken.replace(b"audit.actor.id", b"audit.actor.xx")]
    encoded += [encode_record(record(valid), ARRIVAL_NS)] if valid else []
    body = frame_request(encode_resource({"service.name": service}), encoded)
    return decode_logs(body, received_from="127.0.0.1", arrival_ns=ARRIVAL_NS, max_records=100)


def fill(log, service: str, most: int = 100) -> int:  # type: ignore[no-untyped-def]
    """Send until there is no more room; how many were held."""
    for count in range(most):
        try:
            log.submit(invalid(service, f"{service}-{count}", valid=f"{service}-{count}-valid")).result()
        except OverloadedError:
            return count
    raise AssertionError("never refused")


def test_a_service_that_has_used_its_half_is_refused_and_others_go_on(tmp_path: Path) -> None:
    with open_log(tmp_path, quarantine_max_bytes=20_000) as log:
        count = fill(log, "bad")
        assert 6 <= count <= 8
        assert log.submit(invalid("good", "g")).result().quarantined == 1
        with pytest.raises(OverloadedError, match="quarantine"):
            log.submit(invalid("bad", "again", valid="beside-it")).result()
        assert log.submit(invalid("good", "h")).result().quarantined == 1
        assert "beside-it" in rows(tmp_path)
        assert log.submit(invalid("bad", "bad-0")).result().quarantined == 1, "what is held already takes no room"


def test_the_budget_survives_a_restart_and_a_decision_makes_room(tmp_path: Path) -> None:
    """What lies compressed on the disk does not matter."""
    with open_log(tmp_path, quarantine_max_bytes=20_000) as log:
        fill(log, "bad")
        log.seal()
    with open_log(tmp_path, quarantine_max_bytes=20_000) as log:
        with pytest.raises(OverloadedError):
            log.submit(invalid("bad", "new")).result()
        log.decisions.drop(held(tmp_path)[0].sha256)
        assert log.submit(invalid("bad", "new")).result().quarantined == 1


def test_it_is_told_before_it_is_full_and_no_longer_when_there_is_room(tmp_path: Path) -> None:
    with open_log(tmp_path, quarantine_max_bytes=20_000) as log:
        assert (log.notice, log.stats().quarantine_short) == ("", 0)
        told = 0
        for count in range(100):
            try:
                log.submit(invalid("bad", f"b-{count}")).result()
            except OverloadedError:
                break
            told += bool(log.notice)
        assert told >= 1
        assert "'bad' has used" in log.notice
        assert log.ready, "others are taken"
        assert log.stats().quarantine_short == 1
        assert log.stats().quarantine_held_bytes == sum(one.request_bytes for one in held(tmp_path)) > 8_000
        for one in held(tmp_path)[:3]:
            log.decisions.drop(one.sha256)
        assert log.notice == ""


_LOOKING = """
import resource, sys
from pathlib import Path
from otel_audit.log.held import held, held_records
from otel_audit.log.status import folder_status
root = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert folder_status(root).quarantined_bytes > 100 << 20
assert len(held_records(root, held(root)[7].sha256)[0].request) > 900_000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_looking_at_much_that_is_held_takes_little_memory(tmp_path: Path) -> None:
    """120 records of 0.9 MB, which lie in some kilobytes each."""
    with open_log(tmp_path) as log:
        for at in range(120):
            log.submit(invalid("s", f"r-{at}", size=900_000))
        log.submit(invalid("s", "last")).result()
        log.decisions.drop(held(tmp_path)[3].sha256)
        assert len(held(tmp_path)) == 120
    looked = subprocess.run(
        [sys.executable, "-c", _LOOKING, str(tmp_path)], stdout=subprocess.PIPE, check=True, timeout=60
    )
    assert int(looked.stdout) < 60, "MiB"
