"""Completeness of what real logs wrote: numbered records through the wire format, the engine and the SQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit import LocalActivityLogRepo
from otel_audit.config import load_settings
from otel_audit.log.engine import ActivityLog
from otel_audit.model.streams import StreamReport
from otel_audit.otlp.decode import Decoded, decode_logs
from otel_audit.otlp.encode import encode_record, encode_resource, frame_request
from otel_audit.otlp.markers import encode_marker
from otel_audit.otlp.names import StreamState
from otel_audit.otlp.stamp import stream_stamp
from otel_audit.query.reader import DuckDBReader
from tests.log.requests import ARRIVAL_NS, record
from tests.query.stream_model import SERVICES, Note, Row, expected

SETTINGS = load_settings({}, min_free_bytes=0)


@dataclass(frozen=True)
class Sent:
    """One numbered record as a producer sends it; `action` stands for all its content, None is no valid activity."""

    number: int
    record_id: str
    action: str | None = "edit"


def records_of(stream_id: str, sent: Sequence[Sent]) -> Decoded:
    stamp = stream_stamp(stream_id)
    encoded = []
    for one in sent:
        item = encode_record(record(one.record_id, action=one.action or "edit"), ARRIVAL_NS) + stamp(one.number)
        encoded.append(item if one.action else item.replace(b"audit.actor.id", b"audit.actor.xx"))
    return _decoded(stream_id, encoded)


def marker_of(stream_id: str, state: StreamState, last_number: int) -> Decoded:
    return _decoded(stream_id, [encode_marker(stream_id, state, last_number, ARRIVAL_NS)])


def _decoded(stream_id: str, encoded: list[bytes]) -> Decoded:
    service = SERVICES[stream_id]
    body = frame_request(encode_resource({"service.name": service} if service else {}), encoded)
    return decode_logs(body, received_from="127.0.0.1", arrival_ns=ARRIVAL_NS, max_records=1_000)


def plain(stream_id: str, first: int, last: int) -> Decoded:
    return records_of(stream_id, [Sent(number, f"{stream_id}-{number}") for number in range(first, last + 1)])


def reports(root: Path) -> dict[str, StreamReport]:
    with DuckDBReader(root) as reader:
        return {report.stream_id: report for report in reader.stream_reports()}


def test_a_lost_number_shows_among_repeats_conflicts_and_quarantine_and_goes_when_it_is_sent_again(
    tmp_path: Path,
) -> None:
    """Before and after a seal, after a restart, and read by a repo that owns the folder."""
    mixed = [Sent(7, "s1-1", "other"), Sent(8, "broken", None), Sent(9, "s1-1"), Sent(10, "s1-10")]
    with ActivityLog.open(tmp_path, SETTINGS) as log:
        for decoded in (plain("s1", 1, 5), records_of("s1", mixed), marker_of("s1", "open", 12)):
            log.submit(decoded).result()
        report = reports(tmp_path)["s1"]
        assert (report.emitted, report.archived, report.quarantined, report.repeats) == (12, 6, 2, 1)
        assert (report.missing, report.awaited, report.state) == (((6, 6),), 2, "open")
        log.submit(marker_of("s1", "closed", 12)).result()
        log.submit(records_of("s2", [Sent(number, f"s1-{number}") for number in range(1, 6)])).result()
        found = reports(tmp_path)
        assert (found["s1"].missing, found["s1"].awaited, found["s1"].state) == (((6, 6), (11, 12)), 0, "closed")
        assert (found["s2"].archived, found["s2"].repeats, found["s2"].incomplete) == (0, 5, False)
        log.seal()
        assert reports(tmp_path) == found
    with LocalActivityLogRepo(tmp_path, settings=SETTINGS) as repo:
        assert repo.stream_reports(["s1"]) == [found["s1"]]
        assert repo.stream_reports(incomplete=True) == [found["s1"]]
    with ActivityLog.open(tmp_path, SETTINGS) as log:
        log.submit(plain("s1", 1, 6)).result()
        log.submit(plain("s1", 11, 12)).result()
        report = reports(tmp_path)["s1"]
        assert (report.archived, report.repeats, report.missing) == (9, 6, ())


def test_a_number_that_came_right_the_second_time_is_archived_and_no_longer_in_quarantine(tmp_path: Path) -> None:
    """As after a release: the note about the first time stays in its log for good."""
    with ActivityLog.open(tmp_path, SETTINGS) as log:
        log.submit(records_of("s1", [Sent(1, "a"), Sent(2, "a", "other")])).result()
        assert (reports(tmp_path)["s1"].archived, reports(tmp_path)["s1"].quarantined) == (1, 1)
        log.submit(records_of("s1", [Sent(2, "b", "other")])).result()
        assert (reports(tmp_path)["s1"].archived, reports(tmp_path)["s1"].quarantined) == (2, 0)


@dataclass(frozen=True)
class Request:
    """Some records of a stream, and which of the two collectors got it (both: the answer of the first was lost)."""

    stream_id: str
    sent: tuple[Sent, ...]
    to: tuple[int, ...]


@dataclass(frozen=True)
class Marker:
    """What a producer tells, and whom."""

    stream_id: str
    state: StreamState
    last_number: int
    to: tuple[int, ...]


_streams = st.sampled_from(list(SERVICES))
_to = st.sampled_from([(0,), (1,), (0, 1), (0, 0)])
# Few ids in a small space, so that repeats, conflicts and imports under another stream all happen.
_sent = st.builds(
    Sent,
    st.integers(1, 20),
    st.integers(0, 15).map("r-{}".format),
    st.sampled_from(["edit", "edit", "edit", "x", None]),
)
_runs = st.builds(
    lambda first, more, skip: tuple(
        Sent(number, f"n-{number}") for number in range(first, first + more) if number % 7 != skip
    ),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(0, 7),
)
requests = st.builds(Request, _streams, st.lists(_sent, min_size=1, max_size=5).map(tuple) | _runs.filter(len), _to)
markers = st.builds(Marker, _streams, st.sampled_from(["open", "closed", "recovered"]), st.integers(0, 150), _to)


class Model:
    """What each collector must have written down."""

    def __init__(self) -> None:
        self._contents: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self.facts: list[tuple[int, Row | Note]] = []

    def take(self, step: Request | Marker, at: int) -> None:
        for fact in self._facts(step, self._contents[at]):
            self.facts.append((len(self.facts), fact))

    @staticmethod
    def _facts(request: Request | Marker, contents: dict[str, str]) -> Iterator[Row | Note]:
        if isinstance(request, Marker):
            yield Note(request.stream_id, request.state, None, request.last_number)
            return
        for one in request.sent:
            if one.action is None:
                yield Note(request.stream_id, "quarantined", one.number, one.number)
            elif one.record_id not in contents:
                contents[one.record_id] = one.action
                yield Row(request.stream_id, one.number)
            else:
                kind = "repeat" if contents[one.record_id] == one.action else "quarantined"
                yield Note(request.stream_id, kind, one.number, one.number)


@pytest.mark.slow
@given(st.lists(requests | markers, min_size=1, max_size=8), st.booleans())
@settings(max_examples=25)
def test_whatever_is_sent_the_report_is_the_models(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Request | Marker], seal: bool
) -> None:
    """Two collectors side by side, repeats, conflicts, invalid records and lost numbers, in one folder afterwards."""
    root, other = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("other")
    model = Model()
    with ActivityLog.open(root, SETTINGS) as one, ActivityLog.open(other, SETTINGS) as second:
        for step in steps:
            for at in step.to:
                decoded = (
                    marker_of(step.stream_id, step.state, step.last_number)
                    if isinstance(step, Marker)
                    else records_of(step.stream_id, step.sent)
                )
                (one, second)[at].submit(decoded).result()
                model.take(step, at)
        if seal:
            second.seal()
    for log in ("", "streams"):
        for folder in ("hot", "archive"):
            shutil.copytree(other / log / folder, root / log / folder, dirs_exist_ok=True)
    found = {name: replace(report, last_seen=None) for name, report in reports(root).items()}
    assert found == {name: replace(report, last_seen=None) for name, report in expected(model.facts).items()}
