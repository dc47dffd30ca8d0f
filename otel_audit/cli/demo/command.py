"""`otel-audit demo`: a collector, a real history over OTLP, and the answers."""

from __future__ import annotations

import shlex
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from otel_audit import bootstrap
from otel_audit.cli.demo.answers import Questions, ask_port, ask_sql, choose_questions
from otel_audit.cli.demo.child import CollectorProcess
from otel_audit.cli.demo.report import Report, program
from otel_audit.cli.demo.source import Source, find_source
from otel_audit.cli.examples import examples
from otel_audit.cli.import_git import progress_bar
from otel_audit.cli.running import ask
from otel_audit.cli.sending import opened_repo
from otel_audit.config import load_settings
from otel_audit.errors import VerificationError
from otel_audit.model.filters import Filter
from otel_audit.query.statements import statement

__all__ = ["add_to"]

_DATA = Path("demo-data")


def add_to(app: typer.Typer) -> None:
    """Add the command `demo`."""
    app.command(
        "demo",
        epilog=examples("otel-audit demo", "otel-audit demo --repository ~/src/linux --data /tmp/linux-history"),
    )(_demo)


def _demo(
    repository: Annotated[
        Path | None,
        typer.Option(
            "--repository",
            metavar="PATH",
            help="Whose history to import; default the one of this folder, else a bundled sample.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[Path, typer.Option("--data", metavar="PATH", help="Where the log is kept afterwards.")] = _DATA,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Start a collector, send a repository's history over OTLP, show the answers, and the same from SQL."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Without this a closed terminal would leave the collector behind.
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    report = Report()
    source = find_source(repository)
    report.heading("1  A collector, and a history to send")
    with CollectorProcess(data) as collector:
        report.line(f"collector  {collector.url} (process {collector.pid}), keeping its log in {data}")
        report.line(f"sending    {source.what}")
        report.line("           actor = author, owner = repository, one activity for each touched file of each commit")
        questions = _send_and_show(report, source, collector.url, data, quiet)
    report.heading("8  Look further")
    report.line(f"The collector has stopped; the data stays in {data}. Run the demo again: nothing is added.")
    _advice(report, questions, data)


def _send_and_show(report: Report, source: Source, url: str, data: Path, quiet: bool) -> Questions:
    mine = Filter(owner_id=source.owner)
    with opened_repo(url, url) as log:
        before = log.count(mine)
        with progress_bar(source.commits, quiet) as progress:
            tally = source.send(log, progress)
        rate = tally.sent / tally.seconds if tally.seconds else 0.0
        report.good(
            f"{tally.sent:,} activities sent over OTLP, all acknowledged in {tally.seconds:.1f} s ({rate:,.0f}/s): "
            "each on disk"
        )
        after = log.count(mine)
        _check_counts(report, tally.sent, before, after)
        questions = choose_questions(log, source.owner)
        answers, history, feed = ask_port(log, questions)
    report.heading(f"2  The history of one file: {questions.path or 'no file was touched'}")
    report.records(history, with_entity=False)
    report.line(f"the newest {len(history)} of its {questions.path_count:,} activities, oldest first", "dim")
    report.heading(f"3  The owner's feed: what happened last in {source.owner}")
    report.records(feed, with_entity=True)
    report.heading("4  Top actors")
    report.actors(answers.actors)
    report.heading("5  Activities over time")
    report.timeline(questions, answers)
    report.heading("6  The files, after `otel-audit seal`")
    ask(url, "/admin/seal")
    rows, size = report.files(data)
    with closing(bootstrap.open_sql(data, load_settings())) as session:

        def run(name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
            return list(session.run(statement(name), parameters)[1])

        rows_in_sql, distinct = run("demo_rows", {})[0]
        if not rows == rows_in_sql == distinct:
            raise VerificationError(f"{rows} rows in the files, {rows_in_sql} in SQL, {distinct} ids: they must agree")
        report.good(
            f"{rows:,} rows in Parquet, {distinct:,} different ids: nothing lost, nothing doubled "
            f"({size / rows:.0f} bytes a record)"
        )
        report.heading("7  The same from plain SQL, of the files alone")
        differences = answers.differences(ask_sql(run, questions))
        if differences:
            raise VerificationError(f"SQL answers differently: {', '.join(differences)}")
    report.code(statement("demo_actors").strip())
    report.good("all five answers asked again in SQL (query/demo_*.sql; one is above): every answer is equal")
    return questions


def _check_counts(report: Report, sent: int, before: int, after: int) -> None:
    if after < sent or after < before or (before == 0 and after != sent):
        raise VerificationError(f"{sent} activities were sent; the log had {before} of this owner and has {after}")
    if after == before:
        report.good(f"nothing added: the log had all {after:,} of them already, and each is stored once")
    elif before:
        report.good(f"{after - before:,} were new, {sent - (after - before):,} were there already: {after:,} rows")
    else:
        report.good(f"rows in the log = activities sent = {after:,}")


def _advice(report: Report, questions: Questions, data: Path) -> None:
    otel_audit, folder = program(), shlex.quote(str(data))
    owner = questions.owner.replace("'", "''")
    statement_shown = _in_quotes(f"FROM by_owner('{owner}') LIMIT 5")
    report.code(
        "\n".join(
            (
                f"{otel_audit} get entity File {shlex.quote(questions.path)} --data {folder}",
                f"{otel_audit} search --owner {shlex.quote(questions.owner)} --limit 5 --data {folder}",
                f"{otel_audit} sql {statement_shown} --data {folder}",
                f"{otel_audit} status --check --data {folder}",
                f"{otel_audit} collector --data {folder}        then: {otel_audit} ping",
            )
        )
    )


def _in_quotes(sql: str) -> str:
    """SQL as one word of a shell, in double quotes where that is safe: SQL has single ones of its own."""
    return shlex.quote(sql) if set(sql) & set('"$`\\!') else f'"{sql}"'
