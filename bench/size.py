"""Bytes per record at rest, against a PostgreSQL table with three indexes.

The records go the whole way: requests, the log engine's commits, merges, and the seal. The peer gets the same records
by COPY, and is measured as `pg_total_relation_size` (table, indexes, TOAST) after a VACUUM.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq

from bench.postgres_table import COPY, CREATE, copy_rows
from bench.processes import running_postgres
from bench.records import BenchRecords
from bench.report import publish, ratio
from otel_audit.archive.listing import list_log
from otel_audit.config import load_settings
from otel_audit.log.engine import ActivityLog
from otel_audit.otlp.decode import decode_logs

_PER_REQUEST = 10_000
_TOLD = 8


def _sealed(folder: Path, records: int) -> tuple[int, int, dict[str, int]]:
    """Bytes of OTLP in, bytes of sealed files out, and the latter by column."""
    sent = 0
    with ActivityLog.open(folder, load_settings({}, seal_rows=max(records, 1))) as log:
        for body in BenchRecords().requests(records, _PER_REQUEST):
            sent += len(body)
            decoded = decode_logs(body, received_from="127.0.0.1", arrival_ns=time.time_ns(), max_records=_PER_REQUEST)
            log.submit(decoded).result(60)
        log.seal()
    files = [file.path for file in list_log(folder).files]
    by_column: dict[str, int] = defaultdict(int)
    for path in files:
        meta = pq.read_metadata(path)
        for group in range(meta.num_row_groups):
            for at in range(meta.num_columns):
                column = meta.row_group(group).column(at)
                by_column[column.path_in_schema] += column.total_compressed_size
    total = sum(path.stat().st_size for path in files)
    by_column["Bloom filters, page indexes, footer"] = total - sum(by_column.values())
    return sent, total, dict(by_column)


def _postgres(records: int) -> tuple[str, int, int] | None:
    """Version, bytes of the table with its indexes, bytes of the indexes alone; None where it is not installed."""
    with running_postgres() as server:
        if server is None:
            return None
        import psycopg

        source = BenchRecords()
        with psycopg.connect(server.conninfo, autocommit=True) as connection:
            connection.execute(CREATE)
            for first in range(0, records, _PER_REQUEST):
                lines = copy_rows(source.records(min(_PER_REQUEST, records - first)))
                with connection.cursor() as cursor, cursor.copy(COPY) as copy:
                    copy.write("".join(own + rest for own, rest in lines))
            connection.execute("vacuum analyze activity")
            row = connection.execute(
                "select pg_total_relation_size('activity'), pg_indexes_size('activity'), count(*) from activity"
            ).fetchone()
        assert row is not None and row[2] == records
        return server.version, row[0], row[1]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the data goes while it runs; default: the temporary folder")
    options = parser.parse_args()
    records = options.records
    folder = Path(tempfile.mkdtemp(prefix="otel-audit-bench-", dir=options.folder))
    try:
        sent, total, by_column = _sealed(folder / "data", records)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    theirs = _postgres(records)
    rows = [["otel-audit, sealed", f"{total / records:.1f}", ratio(total, theirs and theirs[1])]]
    if theirs is None:
        rows.append(["PostgreSQL: not installed", "-", "-"])
    else:
        version, table, indexes = theirs
        rows.append([f"PostgreSQL {version}, table with 3 indexes", f"{table / records:.1f}", "1.0 x"])
        rows.append(["   of that the indexes", f"{indexes / records:.1f}", "-"])
    rows.append(["OTLP on the wire, uncompressed", f"{sent / records:.1f}", "-"])
    largest = sorted(by_column.items(), key=lambda item: -item[1])
    told = ", ".join(f"{name} {size / records:.1f}" for name, size in largest[:_TOLD])
    rest = sum(size for _, size in largest[_TOLD:]) / records
    publish(
        "size",
        ["bytes per record at rest", "bytes", "ratio"],
        rows,
        [f"{records:,} records; by column: {told}, all others {rest:.1f}"],
        {"records": records, "sealed_bytes": total, "otlp_bytes": sent, "by_column": by_column, "peer": theirs},
    )


if __name__ == "__main__":
    main()
