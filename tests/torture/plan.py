"""What a run is to do, as every process of it must know."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, replace
from typing import Literal

SenderKind = Literal["otel-audit", "sdk"]
Durability = Literal["disk", "process", "memory", "collector"]
Plant = Literal["", "ack-before-commit", "replay-renamed", "replay-edited"]
PLANTS: tuple[Plant, ...] = ("ack-before-commit", "replay-renamed", "replay-edited")


@dataclass(frozen=True, slots=True)
class Plan:
    """The run. All randomness comes from `seed`: each place that needs some asks for a generator of its own by name."""

    seed: int
    seconds: float
    sender: SenderKind
    durability: Durability
    producers: int
    plant: Plant
    folder: str
    spool_dir: str
    url: str = ""

    @property
    def spooled(self) -> bool:
        """Whether what `append` took is on the producer's side of the wire, on a disk."""
        return self.sender == "otel-audit" and self.durability in ("disk", "process")

    @property
    def kept_once_accepted(self) -> bool:
        """Whether a record whose append returned must be in the archive, whatever is killed."""
        return self.sender == "otel-audit" and self.durability != "memory"

    def rng(self, name: str) -> random.Random:
        """The generator of one place; the same for the same seed and name."""
        return random.Random(f"{self.seed}/{name}")

    def at(self, url: str) -> Plan:
        """The same, with the address that producers send to."""
        return replace(self, url=url)

    def dumps(self) -> str:
        """As text, for another process."""
        return json.dumps(asdict(self))

    @staticmethod
    def loads(text: str) -> Plan:
        """From that text."""
        return Plan(**json.loads(text))
