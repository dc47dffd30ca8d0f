"""The demo's questions, asked twice: through the reader port, and in plain SQL of the files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import pairwise
from typing import Any

from otel_audit.cli.demo.timeline import boundaries, choose_unit
from otel_audit.model.filters import Filter
from otel_audit.model.ids import format_id
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.ports import ActivityLogReader

__all__ = ["LATEST", "TOP", "Answers", "Questions", "ask_port", "ask_sql", "choose_questions"]

LATEST = 5
TOP = 5


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked: one owner's data, the file with most activities, and parts of the time between first and last."""

    owner: str
    path: str
    path_count: int
    unit: str
    edges: tuple[datetime, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers in a form that compares: ids newest last, (actor, count) most first, (beginning, count) in order."""

    total: int
    history: list[str]
    feed: list[str]
    actors: list[tuple[str, int]]
    timeline: list[tuple[datetime, int]]

    def differences(self, other: Answers) -> list[str]:
        """Which answers are not the same."""
        return [f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)]


def choose_questions(reader: ActivityLogReader, owner: str) -> Questions:
    """Look for what is worth asking about an owner who has at least one activity."""
    mine = Filter(owner_id=owner)
    counted = reader.count_by("entity_id", mine.narrowed(entity_type="File"))
    by_path = sorted(((-count, format_id(path)) for path, count in counted.items() if path is not None))
    most, path = by_path[0] if by_path else (0, "")
    first = reader.search(mine, limit=1, order="asc").records[0].occurred_at
    last = reader.search(mine, limit=1, order="desc").records[0].occurred_at
    unit = choose_unit(first, last)
    edges = tuple(boundaries(unit, first, last))
    labels = tuple(edge.strftime(unit.label) for edge in edges[:-1])
    return Questions(owner, path, -most, unit.name, edges, labels)


def ask_port(
    reader: ActivityLogReader, questions: Questions
) -> tuple[Answers, list[ActivityRecord], list[ActivityRecord]]:
    """The answers through the reader port, with the records of the history and the feed."""
    mine = Filter(owner_id=questions.owner)
    history = reader.get_by_entity(EntityRef("File", questions.path), limit=LATEST) if questions.path else []
    feed = reader.get_by_owner(questions.owner, limit=LATEST)
    counted = ((format_id(actor), count) for actor, count in reader.count_by("actor_id", mine).items() if actor)
    actors = sorted(counted, key=lambda pair: (-pair[1], pair[0]))[:TOP]
    edges = questions.edges
    timeline = [(since, reader.count(mine.narrowed(since=since, until=until))) for since, until in pairwise(edges)]
    answers = Answers(
        reader.count(mine),
        [str(record.record_id) for record in history],
        [str(record.record_id) for record in feed],
        actors,
        timeline,
    )
    return answers, history, feed


def ask_sql(run: Callable[[str, dict[str, Any]], list[tuple[Any, ...]]], questions: Questions) -> Answers:
    """The same answers from SQL.

    Args:
        run: executes one of the statements `query/demo_<name>.sql` and gives its rows.
    """
    owner = {"owner_id": questions.owner}
    counted = dict(run("demo_timeline", owner | {"unit": questions.unit}))
    return Answers(
        run("demo_total", owner)[0][0],
        [row[0] for row in run("demo_history", {"path": questions.path, "latest": LATEST})] if questions.path else [],
        [row[0] for row in run("demo_feed", owner | {"latest": LATEST})],
        [(row[0], row[1]) for row in run("demo_actors", owner | {"top": TOP})],
        [(start, counted.get(start, 0)) for start in questions.edges[:-1]],
    )
