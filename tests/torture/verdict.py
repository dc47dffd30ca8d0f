"""From a folder at rest to the report: what the product says of itself, beside what the checks find without it."""

from __future__ import annotations

from pathlib import Path

from otel_audit.log.status import folder_status
from tests.torture.alarms import compare
from tests.torture.checks import judge
from tests.torture.journal import Journal
from tests.torture.ledger import Ledgers, read_ledgers
from tests.torture.plan import Plan
from tests.torture.report import Report
from tests.torture.rows import read_notes, read_rows
from tests.torture.supervisor import Supervisor


def report_on(plan: Plan, data: Path, supervisor: Supervisor, journal: Journal) -> Report:
    """Judge a run that is over."""
    faults: list[str] = []
    ledgers = read_ledgers(Path(plan.folder) / "ledgers")
    findings = judge(
        read_rows(data, faults),
        ledgers,
        required=_required(plan, ledgers),
        before=supervisor.archived,
        notes=read_notes(data, faults),
    )
    completeness = compare(data, findings, all_delivered=plan.spooled)
    status = folder_status(data, check=True)
    faults += status.faults
    if status.rows != findings.archived:
        faults.append(f"the folder's status counts {status.rows} rows; there are {findings.archived}")
    return Report(
        plan=plan,
        journal=journal,
        proxy=supervisor.proxy,
        tape=supervisor.tape,
        ledgers=ledgers,
        findings=findings,
        faults=faults,
        status=status,
        completeness=completeness,
    )


def _required(plan: Plan, ledgers: Ledgers) -> set[str]:
    """Ids that were promised: whose append returned, or for less durable ways, whose delivery was told."""
    if plan.kept_once_accepted:
        return ledgers.accepted | set(ledgers.places)
    return (ledgers.settled | set(ledgers.places)) if plan.sender == "otel-audit" else set()
