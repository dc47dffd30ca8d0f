"""`otel-audit gaps` raises an alarm when a number is missing, and never because one is on its way or came twice."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.cli.demo.child import CollectorProcess
from otel_audit.cli.expectations import parse_expectations
from otel_audit.cli.gaps import confirmed
from otel_audit.errors import QueryError
from otel_audit.model.ranges import size
from otel_audit.model.streams import StreamReport
from otel_audit.otlp.encode import encode_record, frame_request
from otel_audit.otlp.markers import encode_marker
from otel_audit.otlp.stamp import stream_stamp
from otel_audit.web import create_app
from tests.cli.conftest import Done, Invoke
from tests.log.requests import ARRIVAL_NS, RESOURCE, record
from tests.query.folder import write_notes, write_rows
from tests.web.conftest import ExampleLog
from tests.web.serving import serving

MISSING = 3
LONG_AGO = 1_700_000_000_000_000


def folder(root: Path, streams: dict[str, Sequence[int]], *notes: tuple[str, str, int | None, int]) -> Path:
    """A data folder with archived numbers and with notes (stream, kind, first, last)."""
    rows = [(name, number) for name, numbers in streams.items() for number in numbers]
    if rows:
        fixed = {"occurred_at": 1, "actor_id": "a", "action": "x", "recorded_at": LONG_AGO, "service_name": "shop"}
        numbered = [{"record_id": f"{n}-{i}", "stream_id": n, "stream_number": i, **fixed} for n, i in rows]
        write_rows(root, 0, numbered)
    (root / "hot").mkdir(exist_ok=True)
    if notes:
        kinds = [
            {"stream_id": name, "kind": kind, "first_number": first, "last_number": last, "recorded_at": LONG_AGO}
            for name, kind, first, last in notes
        ]
        write_notes(root, 0, kinds)
    return root


def gaps(invoke: Invoke, root: Path, *words: str, stdin: str = "", wait: str = "0") -> Done:
    return invoke("gaps", "--data", str(root), "--wait", wait, *words, stdin=stdin)


def lines(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def expecting(*pairs: tuple[str, int]) -> str:
    return "".join(json.dumps({"stream_id": name, "last_number": last, "state": "live"}) + "\n" for name, last in pairs)


def test_whole_streams_are_no_alarm_and_are_shown_when_asked_for(invoke: Invoke, tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": range(1, 70), "b": [1]}, ("a", "closed", None, 69))
    done = gaps(invoke, root)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert [(row["stream_id"], row["emitted"]) for row in lines(gaps(invoke, root, "--all"))] == [("a", 69), ("b", 1)]
    assert "no gaps" in gaps(invoke, root, "--format", "table").out


def test_a_missing_number_is_an_alarm_that_names_it_and_says_what_to_do(invoke: Invoke, tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": [1, 2, 5, 7], "b": [1]}, ("b", "closed", None, 3))
    done = gaps(invoke, root)
    assert done.code == MISSING
    assert [(row["stream_id"], row["missing"]) for row in lines(done)] == [("a", [[3, 4], [6, 6]]), ("b", [[2, 3]])]
    assert "5 records missing in 2 streams" in done.err
    assert "otel-audit spool resend --missing" in done.err
    table = gaps(invoke, root, "--format", "table").out
    assert "3-4, 6" in table
    assert "shop" in table


def test_records_without_a_number_are_told_and_not_counted_as_complete(invoke: Invoke, tmp_path: Path) -> None:
    rows = [{"record_id": f"r-{n}", "occurred_at": 1, "stream_id": "a", "stream_number": n} for n in range(1, 4)]
    write_rows(tmp_path, 0, [*rows, {"record_id": "without", "occurred_at": 1}])
    done = gaps(invoke, tmp_path, "--format", "table")
    assert (done.code, done.out.strip()) == (0, "no gaps among the records that carry a number")
    assert "1 of 4 records carries no number" in done.err


def test_many_gaps_are_cut_short_in_a_table_and_whole_elsewhere(invoke: Invoke, tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": range(2, 26, 2)})
    assert "1, 3, 5, 7, 9 and 7 more" in gaps(invoke, root, "--format", "table").out
    (row,) = csv.DictReader(io.StringIO(gaps(invoke, root, "--format", "csv").out))
    assert (len(json.loads(row["missing"])), row["missing_count"]) == (12, "12")


@pytest.mark.parametrize(
    ("streams", "notes"),
    [
        pytest.param({"a": [1, 2]}, [("a", "repeat", 1, 2)], id="a retry"),
        pytest.param({"a": [1, 2]}, [("b", "repeat", 1, 2), ("b", "closed", None, 2)], id="an import done again"),
        pytest.param({"parent": [1, 2], "child": [1]}, [("child", "closed", None, 1)], id="a fork"),
        pytest.param({"a": [1, 2]}, [("a", "open", None, 1), ("a", "recovered", None, 2)], id="an adopted spool"),
        pytest.param({"a": [1]}, [("a", "quarantined", 2, 2), ("a", "closed", None, 2)], id="a quarantined record"),
        pytest.param({"a": [1]}, [("a", "open", None, 5)], id="records on their way"),
        pytest.param({}, [("a", "closed", None, 0)], id="a stream without records"),
    ],
)
def test_there_is_no_false_alarm_after(
    invoke: Invoke, tmp_path: Path, streams: dict[str, Sequence[int]], notes: list[Any]
) -> None:
    assert gaps(invoke, folder(tmp_path, streams, *notes)).code == 0


def test_a_record_in_two_logs_counts_once(invoke: Invoke, tmp_path: Path) -> None:
    """Several collectors side by side: what one lacks the other has, and some both have."""
    rows = [{"record_id": f"r-{n}", "occurred_at": 1, "stream_id": "a", "stream_number": n} for n in range(1, 7)]
    write_rows(tmp_path, 0, rows[:4])
    write_rows(tmp_path, 0, rows[2:], log="other0other0other0ot")
    (row,) = lines(gaps(invoke, tmp_path, "--all"))
    assert (row["archived"], row["missing"]) == (6, [])


def test_a_producer_that_fell_silent_with_records_of_its_own_is_told_and_no_alarm(
    invoke: Invoke, tmp_path: Path
) -> None:
    done = gaps(invoke, folder(tmp_path, {"a": [1]}, ("a", "open", None, 3)))
    assert done.code == 0
    assert "a: 2 awaited, last seen 2023-11-14T22:13:20" in done.err


def test_a_count_that_is_covered_is_met_whatever_covers_it(invoke: Invoke, tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": [1, 2]}, ("a", "quarantined", 3, 3), ("a", "repeat", 4, 4), ("b", "repeat", 1, 9))
    done = gaps(invoke, root, "--expect", "-", stdin=expecting(("a", 4), ("b", 9), ("a", 2), ("unused", 0)))
    assert (done.code, done.out) == (0, "")


def test_a_stream_that_never_arrived_is_missing_once_it_is_expected(invoke: Invoke, tmp_path: Path) -> None:
    root = folder(tmp_path / "data", {"a": [1, 2]})
    (tmp_path / "status.jsonl").write_text(expecting(("a", 2), ("lost", 3)) + "\n", encoding="utf-8")
    done = gaps(invoke, root, "--expect", str(tmp_path / "status.jsonl"))
    assert done.code == MISSING
    (row,) = lines(done)
    assert (row["stream_id"], row["state"], row["missing"], row["last_seen"]) == ("lost", "unknown", [[1, 3]], None)
    assert "3 records missing in 1 stream; 1 of the streams never arrived at all" in done.err
    assert "lost" in gaps(invoke, root, "--expect", "-", "--format", "table", stdin=expecting(("lost", 3))).out


@pytest.mark.parametrize("flags", [(), ("--all",)])
def test_what_an_expectation_is_ahead_of_the_archive_is_missing_and_not_awaited(
    invoke: Invoke, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    root = folder(tmp_path, {"a": [1, 2]}, ("a", "open", None, 4))
    (row,) = lines(done := gaps(invoke, root, "--expect", "-", *flags, stdin=expecting(("a", 3))))
    assert (done.code, row["missing"], row["awaited"]) == (MISSING, [[3, 3]], 1)
    (row,) = lines(gaps(invoke, root, "--expect", "-", *flags, stdin=expecting(("a", 7))))
    assert (row["missing"], row["awaited"], row["emitted"]) == ([[3, 7]], 0, 7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1: no JSON"),
        ("[1]", "line 1: must be an object"),
        ('\n{"last_number": 1}', "line 2: stream_id"),
        ('{"stream_id": "", "last_number": 1}', "line 1: stream_id"),
        ('{"stream_id": "a"}', "line 1: last_number"),
        ('{"stream_id": "a", "last_number": -1}', "line 1: last_number"),
        ('{"stream_id": "a", "last_number": true}', "line 1: last_number"),
    ],
)
def test_a_line_that_is_no_expectation_is_an_error_that_names_it(
    invoke: Invoke, tmp_path: Path, text: str, said: str
) -> None:
    """To pass it over would be to expect nothing of that producer."""
    done = gaps(invoke, folder(tmp_path, {"a": [1]}), "--expect", "-", stdin=text)
    assert done.code == QueryError.exit_code
    assert f"standard input, {said}" in done.err


def test_a_file_that_cannot_be_read_is_an_error(invoke: Invoke, tmp_path: Path) -> None:
    done = gaps(invoke, folder(tmp_path, {"a": [1]}), "--expect", str(tmp_path / "absent.jsonl"))
    assert done.code == QueryError.exit_code
    assert "absent.jsonl cannot be read: No such file" in done.err


@given(st.lists(st.binary(max_size=30)))
def test_any_bytes_are_expectations_or_an_error_of_ours(content: list[bytes]) -> None:
    try:
        found = parse_expectations(content, "here")
    except QueryError as error:
        assert "here, line" in str(error)
    else:
        assert all(isinstance(name, str) and last >= 0 for name, last in found.items())


def report(*missing: tuple[int, int]) -> StreamReport:
    return replace(StreamReport.unknown("a"), emitted=9, missing=missing, missing_count=size(missing))


class Looks:
    """An archive that shows something else at each look, and a clock that moves only by waiting."""

    def __init__(self, *later: StreamReport | None) -> None:
        self.later = list(later)
        self.now = 100.0

    def look(self, stream_ids: Sequence[str]) -> dict[str, StreamReport]:
        assert list(stream_ids) == ["a"]
        found = self.later.pop(0)
        return {} if found is None else {"a": found}

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def after(self, first: StreamReport, wait_s: float) -> StreamReport:
        return confirmed({"a": first}, self.look, wait_s, lambda: self.now, self.pause)["a"]


def test_a_number_that_arrives_while_looking_again_is_no_alarm() -> None:
    """The looking ends at once when nothing is missing any more."""
    looks = Looks(report((3, 4)), report())
    assert looks.after(report((3, 5)), 60.0).missing == ()
    assert looks.later == []
    assert looks.now == 101.0


def test_only_what_stays_missing_for_the_whole_time_is_an_alarm() -> None:
    """A busy stream has new numbers on their way at each look; they are awaited."""
    looks = Looks(report((3, 4), (7, 8)), report((4, 4), (9, 9)))
    found = looks.after(report((3, 5)), 1.0)
    assert (found.missing, found.missing_count, found.awaited) == (((4, 4),), 1, 1)


def test_a_stream_that_another_collector_does_not_know_stays_as_it_was() -> None:
    assert Looks(None, None).after(report((3, 5)), 1.0).missing == ((3, 5),)


def test_without_waiting_there_is_one_look() -> None:
    assert Looks().after(report((3, 5)), 0.0).missing == ((3, 5),)


def test_nothing_missing_is_not_waited_for() -> None:
    looks = Looks()
    assert looks.after(report(), 60.0).missing == ()
    assert looks.now == 100.0


def test_a_collector_that_runs_is_asked_over_http_and_a_late_record_ends_the_alarm(
    invoke: Invoke, tmp_path: Path
) -> None:
    """Numbered records and markers over OTLP, the answer from the collector and from its folder."""
    stamp = stream_stamp("s1")

    def send(url: str, *encoded: bytes) -> None:
        headers = {"Content-Type": "application/x-protobuf"}
        body = frame_request(RESOURCE, list(encoded))
        assert requests.post(f"{url}/v1/logs", data=body, headers=headers, timeout=10).status_code == 200

    numbered = {n: encode_record(record(f"r-{n}"), ARRIVAL_NS) + stamp(n) for n in range(1, 6)}
    with CollectorProcess(tmp_path / "data") as collector:
        send(collector.url, *(numbered[n] for n in (1, 2, 4)))
        send(collector.url, encode_marker("s1", "closed", 5, ARRIVAL_NS))
        for source in (("--url", collector.url), ("--data", str(tmp_path / "data"))):
            done = invoke("gaps", "--wait", "0", *source)
            (row,) = lines(done)
            assert (done.code, row["missing"], row["state"]) == (MISSING, [[3, 3], [5, 5]], "closed")
        send(collector.url, *(numbered[n] for n in (2, 3, 5)))
        done = invoke("gaps", "--all", "--url", collector.url)
        (row,) = lines(done)
        assert (done.code, row["archived"], row["repeats"], row["service_name"]) == (0, 5, 1, "test")


def test_the_page_on_completeness_shows_a_real_report(invoke: Invoke) -> None:
    page = (Path(__file__).parents[2] / "docs" / "completeness.md").read_text(encoding="utf-8")
    command, _, shown = page.partition("```console\n$ otel-audit ")[2].partition("\n```")[0].partition("\n")
    with serving(create_app(ExampleLog())) as url:
        words = command.replace("http://127.0.0.1:4318", url).split()
        done = invoke(*words, "--wait", "0")
    assert [line.rstrip() for line in (done.out + done.err).splitlines()] == shown.splitlines()
    assert done.code == MISSING


@pytest.mark.parametrize("number", [2**63 - 1, 1_764_000_000, 2**31])
def test_a_number_far_above_all_others_is_implausible_and_no_count_of_loss(
    invoke: Invoke, tmp_path: Path, number: int
) -> None:
    """A producer took a time or a random number for a count: the rest of the stream is judged as before."""
    done = gaps(invoke, folder(tmp_path, {"a": [1, 2, 4, number], "b": [1]}))
    (row,) = lines(done)
    assert (done.code, row["missing"], row["missing_count"], row["emitted"]) == (MISSING, [[3, 3]], 1, 4)
    assert row["implausible"] == [number, number]
    assert f"a: implausible: {number:,}" in done.err


def test_an_implausible_number_alone_is_an_alarm_of_its_own(invoke: Invoke, tmp_path: Path) -> None:
    done = gaps(invoke, folder(tmp_path, {"a": [1, 2]}, ("a", "open", None, 2**62)))
    assert (done.code, lines(done)[0]["awaited"]) == (MISSING, 0)
    assert "implausible numbers in 1 stream" in done.err
    assert "gaps --settle STREAM" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("running", [True, False])
def test_a_settled_stream_is_no_alarm_until_something_later_is_missing(
    invoke: Invoke, tmp_path: Path, running: bool
) -> None:
    """The decision is a row of the streams log, through the collector or into a folder nobody owns."""
    root, far = tmp_path / "data", 2**63 - 1
    stamp = stream_stamp("s/1 ä")
    numbered = {n: encode_record(record(f"r-{n}"), ARRIVAL_NS) + stamp(n) for n in (1, 2, 4, 6, 8, far)}

    def send(*numbers: int) -> None:
        body = frame_request(RESOURCE, [numbered[n] for n in numbers])
        headers = {"Content-Type": "application/x-protobuf"}
        assert requests.post(f"{collector.url}/v1/logs", data=body, headers=headers, timeout=10).status_code == 200

    with CollectorProcess(root) as collector:
        send(1, 2, 4, 6, far)
        assert gaps(invoke, root).code == MISSING
        if running:
            done = invoke("gaps", "--settle", "s/1 ä", "--reason", "its disk broke", "--url", collector.url)
            assert done.code == 0, done.err
    if not running:
        assert gaps(invoke, root, "--settle", "s/1 ä", "--reason", "its disk broke").code == 0
    (row,) = lines(gaps(invoke, root, "--all"))
    assert (row["state"], row["settled"], row["settled_reason"]) == ("settled", 2, "its disk broke")
    assert (row["missing"], row["implausible"], row["emitted"], row["archived"]) == ([], None, 6, 4)
    assert gaps(invoke, root).out == ""
    with CollectorProcess(root) as collector:
        send(8)
        done = invoke("gaps", "--wait", "0", "--url", collector.url)
        (row,) = lines(done)
        assert (done.code, row["missing"], row["settled"], row["state"]) == (MISSING, [[7, 7]], 2, "open")


def test_settling_needs_a_reason_and_a_stream_that_is_here(invoke: Invoke, tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": [2]})
    assert gaps(invoke, root, "--settle", "a").code == 2
    assert gaps(invoke, root, "--reason", "x").code == 2
    done = gaps(invoke, root, "--settle", "nobody", "--reason", "x")
    assert done.code != 0
    assert "no stream 'nobody' here" in done.err
