"""What the files of a log must hold, read without the engine and without DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from otel_audit.archive.listing import LocatedFile, list_log, scan_files
from otel_audit.archive.names import Stage
from otel_audit.log.held import held_records
from otel_audit.log.quarantine import FOLDER
from otel_audit.log.streams import FOLDER as STREAMS
from tests.faults.world import demand
from tests.log.model import Model, decode


def check_rows(root: Path, ids: list[str]) -> None:
    """Demand exactly these rows in this order, and of each file that it holds one UTC day."""
    there: list[str] = []
    for file in list_log(root).files:
        table = pq.read_table(file.path, columns=["log_index", "record_id", "recorded_at"], partitioning=None)
        first = len(there)
        there += table["record_id"].to_pylist()
        demand(table["log_index"].to_pylist() == list(range(first, len(there))), f"{file.path}: other indexes")
        _check_day(file, {moment.date().isoformat() for moment in table["recorded_at"].to_pylist()})
    demand(there == ids, f"{root} holds {there} instead of {ids}")


def _check_day(file: LocatedFile, days: set[str]) -> None:
    demand(len(days) == 1, f"{file.path}: rows of {days}")
    if file.name.stage is Stage.SEALED:
        demand(file.path.parent.name == f"date={days.pop()}", f"{file.path}: in the wrong folder")


def check_held(root: Path, model: Model) -> None:
    """Demand exactly what the model holds in quarantine, with the bytes that were sent."""
    held = held_records(root)
    demand([one.sha256 for one in held] == model.held, "the quarantine holds something else")
    for one in held:
        record = model.held_records[one.sha256]
        ids = [] if record is None else [str(record.record_id)]
        demand(decode(one.request).table["record_id"].to_pylist() == ids, f"{one.sha256} is not what was sent")


def check_sealed(root: Path, sealed: Mapping[str, bytes]) -> None:
    """Demand that sealed files, given by name, are as they were when they got it."""
    paths = {path.name: path for log in (root, root / FOLDER, root / STREAMS) for path in scan_files(log).values()}
    for name, content in sealed.items():
        demand(name in paths and paths[name].read_bytes() == content, f"{name} is not what it was")
