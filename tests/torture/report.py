"""The report: one fact a line, and what is wrong in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otel_audit.log.status import FolderStatus
from tests.torture.alarms import Completeness
from tests.torture.checks import Findings
from tests.torture.fates import Fate
from tests.torture.journal import Journal
from tests.torture.ledger import Ledgers
from tests.torture.plan import Plan
from tests.torture.proxy import ChaosProxy
from tests.torture.replays import Tape

_LISTED = 20


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a run has come to."""

    plan: Plan
    journal: Journal
    proxy: ChaosProxy
    tape: Tape
    ledgers: Ledgers
    findings: Findings
    faults: Sequence[str]
    status: FolderStatus
    completeness: Completeness

    @property
    def wrong(self) -> dict[str, Sequence[object]]:
        """By what it is, what must not be; empty when all is well."""
        found = self.findings
        everything: dict[str, Sequence[object]] = {
            "lost": found.lost,
            "added by the last replays": found.added,
            "doubled": found.doubled,
            "strangers": found.strangers,
            "refused, archived all the same": found.taken_after_all,
            "not where the receipt said": found.misplaced,
            "under another producer's name": found.renamed,
            "missing numbers": found.missing,
            "numbers given twice": found.reused,
            "false alarms": self.completeness.false_alarms,
            "alarms not raised": self.completeness.silences,
            "in quarantine": [f"{self.status.quarantined} record(s)"] if self.status.quarantined else [],
            "faults": [*self.journal.faults, *self.faults],
        }
        return {name: items for name, items in everything.items() if items}

    def lines(self, most: int = _LISTED) -> list[str]:
        """As text, with so many of each kind of wrong."""
        plan, counts, met, found = self.plan, self.journal.counts, self.proxy.met, self.findings
        sender = (
            f"otel-audit, durability {plan.durability}" if plan.sender == "otel-audit" else "stock OpenTelemetry SDK"
        )
        facts: list[tuple[str, object]] = [
            ("seed", plan.seed),
            ("sender", sender + (f", planted: {plan.plant}" if plan.plant else "")),
            ("seconds of torture", f"{plan.seconds:g}"),
        ]
        facts += [(event, counts[event]) for event in sorted(counts) if event not in ("weather", "FAULT")]
        facts += [(f"requests {fate.value}", met[fate]) for fate in Fate if met[fate]]
        facts += [
            ("requests that met no collector", self.proxy.collector_away),
            ("old requests replayed", self.tape.replayed),
            ("repeats dropped by the collector", self.status.duplicates_dropped),
            ("sealed files", self.status.sealed_files),
            ("appends meant", len(self.ledgers.origin)),
            ("appends returned", len(self.ledgers.accepted)),
            ("appends refused", len(self.ledgers.refused)),
            ("appends in doubt", f"{found.in_doubt}, of which archived {found.in_doubt_archived}"),
            ("records archived", found.archived),
            ("places in receipts checked", len(self.ledgers.places)),
        ]
        if plan.kept_once_accepted:
            facts.append(("lost", len(found.lost)))
        else:
            share = found.never_arrived / max(len(self.ledgers.accepted), 1)
            facts.append(("accepted, never arrived", f"{found.never_arrived} ({share:.2%})"))
            facts.append(("of those, flushed without an error", found.settled_in_vain))
        facts.append(("doubled", len(found.doubled)))
        facts += [(f"streams {state}", count) for state, count in sorted(self.completeness.states.items())]
        facts.append(("numbers rightly said to be missing", self.completeness.rightly_missing))
        facts.append(("false alarms", len(self.completeness.false_alarms)))
        lines = [f"{name + ' ':.<56} {value}" for name, value in facts]
        for name, items in self.wrong.items():
            lines.append(f"WRONG: {name}: {len(items)}")
            lines += [f"    {item}" for item in items[:most]]
            lines += [f"    … and {len(items) - most} more"] if len(items) > most else []
        return lines
