"""Commands against a collector that is a real process: what goes in is what comes out."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_audit.cli.demo.child import CollectorProcess
from otel_audit.errors import NotDeliveredError
from otel_audit.log.folder import read_owner
from otel_audit.log.status import folder_status
from tests.cli.conftest import Invoke, Stream, put
from tests.delivery.scripted_peer import Peer, Reply

Maker = Callable[[Stream], Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "data"


@pytest.fixture(scope="module")
def url(data: Path) -> Iterator[str]:
    with CollectorProcess(data) as collector:
        yield collector.url


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_import_is_acknowledged_and_a_second_one_adds_nothing(
    invoke: Invoke, make_repository: Maker, url: str, data: Path
) -> None:
    """Rows in Parquet = activities sent, however often the history is imported."""
    stream = Stream()
    for number in range(30):
        stream.commit(*(put(b"%d-%d" % (number, file), b"x") for file in range(5)))
    stream.commit(subject=b"empty")
    path = make_repository(stream)
    before = folder_status(data).rows
    for _ in range(2):
        done = invoke("import", "git", str(path), "--owner", "twice", "--endpoint", url)
        (summary,) = lines(done.out)
        assert (done.code, summary["commits"], summary["sent"], summary["acknowledged"]) == (0, 31, 151, 151)
        assert folder_status(data).rows - before == 151
    counted = invoke("count", "--owner", "twice", "--by", "action", "--url", url)
    assert lines(counted.out) == [{"action": "add_file", "count": 150}, {"action": "empty_commit", "count": 1}]


def test_what_append_takes_get_and_search_give_back(invoke: Invoke, url: str, data: Path) -> None:
    """Through the collector and from its folder, in every format, the record is the one appended."""
    done = invoke(
        "append", "--actor", "alice", "--owner", "bob", "--action", "share", "--entity", "Task", "7",
        "--metadata", '{"n": 1.0, "title": "=1+1"}', "--outcome", "failure", "--reason", "no", "--endpoint", url,
    )  # fmt: skip
    (receipt,) = lines(done.out)
    assert (done.code, receipt["state"]) == (0, "acknowledged")
    for source in (("--url", url), ("--data", str(data))):
        (record,) = lines(invoke("get", "entity", "Task", "7", *source).out)
        assert record["record_id"] == receipt["record_id"]
        assert (record["actor_id"], record["owner_id"], record["outcome"]) == ("alice", "bob", "failure")
        assert repr(record["metadata"]) == repr({"n": 1.0, "title": "=1+1"})
        for words in (("actor", "alice"), ("owner", "bob"), ("action", "share"), ("record", str(receipt["record_id"]))):
            assert lines(invoke("get", *words, *source).out) == [record]
        found = invoke("search", "--actor", "alice", "--entity", "Task", "7", "--since", "1h", *source)
        assert lines(found.out) == [record]
        (row,) = csv.DictReader(io.StringIO(invoke("get", "action", "share", "--format", "csv", *source).out))
        assert (row["entity_type"], row["entity_id"], row["actor_type"]) == ("Task", "7", "user")
        table = invoke("get", "entity", "Task", "7", "--format", "table", *source).out
        assert "share" in table


def test_pages_follow_their_cursor_to_the_end(invoke: Invoke, url: str) -> None:
    """Each page names the next on stderr, and stdout holds records only."""
    records = [
        {"actor_id": "pager", "owner_id": "o", "action": f"a{n}", "entity_ref": {"entity_type": "T", "entity_id": "1"}}
        for n in range(5)
    ]
    text = "".join(json.dumps(record) + "\n" for record in records)
    assert len(lines(invoke("append", "--stdin", "--endpoint", url, stdin=text).out)) == 5
    seen: list[object] = []
    words = ["search", "--actor", "pager", "--limit", "2", "--url", url]
    while True:
        page = invoke(*words)
        seen += [record["action"] for record in lines(page.out)]
        if not page.err:
            break
        words = ["search", "--limit", "2", "--url", url, "--cursor", page.err.split()[-1]]
    assert seen == ["a4", "a3", "a2", "a1", "a0"]
    everything = invoke("search", "--actor", "pager", "--all", "--order", "asc", "--url", url)
    assert [record["action"] for record in lines(everything.out)] == seen[::-1]


def test_sql_sees_what_the_port_sees(invoke: Invoke, url: str, data: Path) -> None:
    """The views are the same records, and nothing can be changed through them."""
    invoke("append", "--actor", "sql", "--owner", "o", "--action", "x", "--entity", "T", "1", "--endpoint", url)
    statement = "SELECT actor_id, occurred_at FROM activity WHERE actor_id = 'sql'"
    (row,) = lines(invoke("sql", statement, "--data", str(data)).out)
    (record,) = lines(invoke("get", "actor", "sql", "--url", url).out)
    assert row == {"actor_id": "sql", "occurred_at": record["occurred_at"]}
    wrong = invoke("sql", "SELECT nonsense", "--data", str(data))
    assert (wrong.code, wrong.out) == (64, "")
    assert wrong.err.startswith("error: ")
    assert invoke("sql", "DELETE FROM activity", "--data", str(data)).code == 64


def test_a_ping_times_each_leg_and_stores_nothing(invoke: Invoke, url: str, data: Path) -> None:
    """Open, answer, ready, read."""
    before = folder_status(data).rows, lines(invoke("gaps", "--data", str(data), "--all").out)
    done = invoke("ping", "--endpoint", url)
    assert done.code == 0
    legs = lines(done.out)
    assert [leg["leg"] for leg in legs] == ["open", "answer", "ready", "read", "together"]
    assert all(isinstance(leg["ms"], float) for leg in legs)
    assert "our collector" in str(legs[1]["meaning"])
    assert (folder_status(data).rows, lines(invoke("gaps", "--data", str(data), "--all").out)) == before


def test_a_ping_with_a_record_reads_it_back_and_closes_its_stream(invoke: Invoke, url: str, data: Path) -> None:
    before = folder_status(data).rows
    open_before = [row for row in lines(invoke("gaps", "--data", str(data), "--all").out) if row["state"] == "open"]
    legs = lines(invoke("ping", "--record", "--endpoint", url).out)
    assert [leg["leg"] for leg in legs] == ["open", "append", "acknowledge", "read back", "together"]
    assert folder_status(data).rows == before + 1
    open_after = [row for row in lines(invoke("gaps", "--data", str(data), "--all").out) if row["state"] == "open"]
    assert len(open_after) == len(open_before)


def test_a_ping_of_what_is_no_otlp_server_says_what_came(invoke: Invoke) -> None:
    peer = Peer()
    try:
        for reply, said in [
            (Reply(200, b'{"status":"ok"}', {"content-type": "application/json"}), "login page"),
            (Reply(503, b"disk full"), "disk full"),
            (Reply(403), "token"),
        ]:
            peer.otherwise = lambda seen, reply=reply: reply  # type: ignore[misc]
            done = invoke("ping", "--endpoint", peer.url, "--timeout", "1")
            assert done.code == NotDeliveredError.exit_code
            assert said in done.err
            assert "Is a collector running" not in done.err
    finally:
        peer.stop()
    done = invoke("ping", "--endpoint", "localhost:4318")
    assert done.err.startswith("error: endpoint: ")


def test_seal_asks_the_collector_that_owns_the_folder(invoke: Invoke, url: str, data: Path) -> None:
    """With `--data` of a folder in use, and with `--url`, the running collector seals."""
    invoke("append", "--actor", "s", "--owner", "o", "--action", "x", "--entity", "T", "1", "--endpoint", url)
    # One of activities, and one of what is known of their stream.
    assert lines(invoke("seal", "--data", str(data)).out) == [{"sealed_files": 2}]
    assert lines(invoke("seal", "--url", url).out) == [{"sealed_files": 0}]
    assert folder_status(data).hot_files == 0


def test_status_tells_the_folder_and_its_owner(invoke: Invoke, url: str, data: Path) -> None:
    """Beside a running collector, without its help."""
    (status,) = lines(invoke("status", "--check", "--data", str(data)).out)
    assert status["owner_url"] == url
    assert status["faults"] == []
    assert status["rows"] == folder_status(data).rows


@pytest.mark.slow
def test_a_lost_file_makes_status_fail(invoke: Invoke, tmp_path: Path) -> None:
    """A gap is named and the exit code is not 0, so that a cron job notices."""
    folder = tmp_path / "data"
    with CollectorProcess(folder) as collector:
        for number in range(3):
            entity = ("--entity", "T", str(number))
            invoke(
                "append", "--actor", "a", "--owner", "o", "--action", "x", *entity, "--endpoint", collector.url
            )  # fmt: skip
    hot = sorted((folder / "hot").glob("*.parquet"))
    hot[1].unlink()
    done = invoke("status", "--data", str(folder))
    assert done.code == 74
    assert lines(done.out)[0]["faults"]
    assert "fault" in done.err


def test_records_that_nobody_acknowledges_are_an_error_that_says_so(invoke: Invoke) -> None:
    """A command that ends without delivery exits with 75 and does not claim that anything is kept."""
    done = invoke(
        "append", "--actor", "a", "--owner", "o", "--action", "x", "--entity", "T", "1",
        "--endpoint", "http://127.0.0.1:9", "--timeout", "0.5",
    )  # fmt: skip
    assert (done.code, done.out) == (75, "")
    assert "run the command again" in done.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "line 1: record: must be JSON"),
        ("[]", "line 1: record: must be a JSON object"),
        ('{"actor_id": "a", "typo": 1}', "line 1: typo: is no field"),
        ('{"actor_id": "a", "owner_id": "o", "action": "x"}', "line 1: entity_ref: must be given"),
        ('\n{"actor_id": "a", "occurred_at": "2026-11-24T10:00:00"}', "line 2: "),
    ],
)
def test_a_wrong_line_on_stdin_is_named(invoke: Invoke, url: str, line: str, words: str) -> None:
    """The number of the line, the field and the rule."""
    done = invoke("append", "--stdin", "--endpoint", url, stdin=line)
    assert (done.code, done.out) == (65, "")
    assert words in done.err


def test_nothing_to_read_is_an_error_that_names_the_choices(invoke: Invoke, tmp_path: Path) -> None:
    """A wrong folder, a dead URL and no source at all are three different messages."""
    assert invoke("count", "--data", str(tmp_path / "missing")).code == 74
    assert invoke("count", "--url", "http://127.0.0.1:9").code == 69
    nothing = invoke("count", env={"OTEL_AUDIT_ENDPOINT": "http://127.0.0.1:9", "OTEL_AUDIT_DATA_DIR": "none"})
    assert nothing.code == 78
    assert "nothing to read" in nothing.err
    assert invoke("get", "record", "no-such-id", "--data", str(tmp_path)).code == 66


def test_a_word_that_no_record_can_have_is_refused_with_the_choices(invoke: Invoke, url: str) -> None:
    done = invoke("count", "--outcome", "sucess", "--url", url)
    assert (done.code, done.out) == (64, "")
    assert "must be one of success, failure, unknown, not 'sucess'; did you mean success?" in done.err


@pytest.mark.slow
def test_quarantined_records_are_listed_shown_and_dropped(invoke: Invoke, url: str, data: Path) -> None:
    """A record without an actor is held; `drop` decides about it, through the collector that owns the folder."""
    import requests
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    attribute = record.attributes.add()
    attribute.key, attribute.value.string_value = "audit.record.id", "held-1"
    headers = {"Content-Type": "application/x-protobuf"}
    assert requests.post(f"{url}/v1/logs", request.SerializeToString(), headers=headers, timeout=10).ok
    (held,) = lines(invoke("quarantine", "list", "--data", str(data)).out)
    short = str(held["sha256"])[:8]
    shown = json.loads(invoke("quarantine", "show", short, "--data", str(data)).out)
    assert shown["sha256"] == held["sha256"]
    assert "held-1" in json.dumps(shown["request"])
    released = invoke("quarantine", "release", short, "--data", str(data))
    assert (released.code, released.out) == (65, "")
    assert invoke("quarantine", "drop", short, "--data", str(data)).out == f"dropped {held['sha256']}\n"
    assert invoke("quarantine", "list", "--data", str(data)).out == ""
    assert invoke("quarantine", "show", short, "--data", str(data)).code == 66


@pytest.mark.slow
def test_an_import_goes_on_after_its_collector_was_killed(
    make_repository: Maker, tmp_path: Path, invoke: Invoke
) -> None:
    """kill -9 in the middle and a new collector on the same port: nothing lost, nothing doubled."""
    stream = Stream()
    for number in range(2_000):
        stream.commit(*(put(b"%d/%d" % (number % 50, file), b"%d" % number) for file in range(5)))
    path = make_repository(stream)
    folder = tmp_path / "data"
    words = [sys.executable, "-m", "otel_audit.cli.main"]

    def collector(port: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*words, "collector", "--data-dir", str(folder), "--port", port], stderr=subprocess.DEVNULL
        )
        while not (owner := read_owner(folder) or {}).get("url") or owner["pid"] != process.pid:
            assert process.poll() is None
            time.sleep(0.02)
        return process

    first = collector("0")
    address = str((read_owner(folder) or {})["url"])
    importing = subprocess.Popen(
        [*words, "import", "git", str(path), "--endpoint", address], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while folder_status(folder).rows == 0:
        assert importing.poll() is None
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    second = collector(address.rpartition(":")[2])
    try:
        out, _ = importing.communicate(timeout=60)
        (summary,) = lines(out)
    finally:
        second.terminate()
        second.wait()
    assert summary["sent"] == summary["acknowledged"] == folder_status(folder, check=True).rows == 10_000
    assert invoke("status", "--check", "--data", str(folder)).code == 0
