"""The end of an interpreter: what is queued is delivered, and what cannot be is named, with where it is."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.delivery.processes import NOTHING_LEFT, append_all, interpreter, left_in, named, open_log
from tests.delivery.scripted_peer import Peer, Reply, until

LOG = """
import os, sys
from otel_audit import OTelActivityLogRepo
from tests.delivery.processes import append_all
log = OTelActivityLogRepo()
"""
PROGRAM = LOG + "append_all(log, ['r0', 'r1', 'r2'])\n"
R = ["r0", "r1", "r2"]

both = pytest.mark.parametrize("durability", ["memory", "disk"])


@both
def test_exit_delivers_what_is_queued_and_says_that_no_more_comes(peer: Peer, durability: str) -> None:
    ended = interpreter(PROGRAM, peer.url, OTEL_AUDIT_DURABILITY=durability)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert peer.delivered == R
    assert [(state, last) for _, state, last in peer.told] == [("closed", 3)]


def test_exit_after_an_unhandled_error_delivers_too(peer: Peer) -> None:
    assert interpreter(PROGRAM + "raise SystemExit(3)", peer.url).returncode == 3
    assert peer.delivered == R


@both
def test_a_forked_child_that_exits_delivers_its_own_and_not_the_parents(peer: Peer, durability: str) -> None:
    program = PROGRAM + "if os.fork() == 0:\n    append_all(log, ['child'])\n    sys.exit(0)\nos.wait()\n"
    ended = interpreter(program, peer.url, OTEL_AUDIT_DURABILITY=durability)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert peer.delivered == ["child", *R]


@both
def test_exit_handlers_may_append_if_they_were_registered_after_the_log_was_opened(peer: Peer, durability: str) -> None:
    """An earlier one runs when the log is closed, and is told so."""
    program = f"""
import atexit
def early():
    try:
        append_all(log, ["early"])
    except Exception as error:
        print(type(error).__name__)
atexit.register(early)
{LOG}
atexit.register(lambda: append_all(log, ["last", "very last"]))
"""
    ended = interpreter(program, peer.url, OTEL_AUDIT_DURABILITY=durability)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ClosedError\n", "")
    assert peer.delivered == ["last", "very last"]


def test_exit_with_the_collector_away_leaves_the_records_in_the_spool_and_says_so(peer: Peer, tmp_path: Path) -> None:
    """In time, with the program's own exit code and no traceback; the next process delivers them."""
    spool = tmp_path / "spool"
    began = time.monotonic()
    peer.otherwise = lambda seen: Reply(503, b"disk full")
    ended = interpreter(PROGRAM, peer.url, OTEL_AUDIT_SPOOL_DIR=str(spool), OTEL_AUDIT_EXIT_FLUSH_S="0.4")
    assert time.monotonic() - began < 10
    assert (ended.returncode, ended.stdout) == (0, "")
    last = ended.stderr.splitlines()[-1]
    for word in ("left in the spool at exit", "count=3", "503", "disk full", str(spool)):
        assert word in last
    assert "lost" not in ended.stderr
    assert "Traceback" not in ended.stderr
    peer.otherwise = lambda seen: Reply()
    with open_log(peer.url, spool_dir=str(spool)) as log:
        append_all(log, ["next"])
        until(lambda: len(left_in(spool)["streams"]) == 1)
    assert Counter(peer.delivered) == Counter([*R, "next"])
    assert left_in(spool) == NOTHING_LEFT


def test_exit_says_how_many_were_lost_and_why(peer: Peer) -> None:
    peer.stop()
    ended = interpreter(PROGRAM, peer.url, OTEL_AUDIT_DURABILITY="memory", OTEL_AUDIT_EXIT_FLUSH_S="0.3")
    assert (ended.returncode, ended.stdout) == (0, "")
    last = ended.stderr.splitlines()[-1]
    for word in ("lost at exit", "count=3", "Connection refused"):
        assert word in last


@both
def test_exit_reports_what_the_peer_refused(peer: Peer, durability: str) -> None:
    peer.otherwise = lambda seen: Reply(200 if seen.is_marker else 403)
    last = interpreter(PROGRAM, peer.url, OTEL_AUDIT_DURABILITY=durability).stderr.splitlines()[-1]
    assert "count=3" in last
    assert "403" in last
    assert ("left in the spool" in last) == (durability == "disk")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_children_that_inherit_nothing_deliver_at_their_end(peer: Peer, tmp_path: Path, method: str) -> None:
    """Each opens a log of its own, in the spool of all."""
    script = tmp_path / "program.py"
    script.write_text(f"""
import multiprocessing
from otel_audit import OTelActivityLogRepo
from tests.delivery.processes import append_all
def work(name):
    append_all(OTelActivityLogRepo(), [name])
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    append_all(OTelActivityLogRepo(), ["parent"])
    children = [context.Process(target=work, args=(name,)) for name in {named("child", 2)}]
    [child.start() for child in children]
    [child.join() for child in children]
    with context.Pool(2) as pool:
        pool.map(work, {named("job", 6)})
        pool.close()
        pool.join()
    raise SystemExit(max(child.exitcode for child in children))
""")
    ended = interpreter(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", peer.url)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert Counter(peer.delivered) == Counter(["parent", *named("child", 2), *named("job", 6)])
    assert {state for _, state, _ in peer.told} == {"closed"}
