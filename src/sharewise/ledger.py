"""The cost ledger: passes × multiply-accumulates beside measured seconds, for every part of a run.

Costs of two methods are compared in one unit. A forward pass counts once, a backward pass to weights and activations
twice, a backward pass to activations alone (an architecture step asks for no weight gradients) once. Seconds are those
of this machine and are never added to a benchmark's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

__all__ = ["EVALUATION", "GATES_ONLY", "TRAINING", "Entry", "Ledger"]

EVALUATION = 1
"""Passes of an evaluation: forward."""
GATES_ONLY = 2
"""Passes of an architecture step: forward, and backward without weight gradients."""
TRAINING = 3
"""Passes of a weight step: forward, and backward to weights and activations."""


@dataclass
class Entry:
    """What one part of a run has cost so far.

    Args:
        steps: how many times it was charged.
        examples: examples that went forward.
        multiply_accumulates: passes × multiply-accumulates, summed over examples.
        seconds: measured here, summed over all sittings of a resumed run.
    """

    steps: int = 0
    examples: int = 0
    multiply_accumulates: int = 0
    seconds: float = 0.0


@final
@dataclass
class Ledger:
    """Entries by part of the run (`weights`, `architecture`, `selection`, …).

    Example:
        >>> ledger = Ledger()
        >>> ledger.charge("weights", examples=64, multiply_accumulates=10, passes=TRAINING)
        >>> ledger.multiply_accumulates
        1920
    """

    entries: dict[str, Entry] = field(default_factory=dict)

    def charge(self, part: str, *, examples: int, multiply_accumulates: int, passes: int, seconds: float = 0.0) -> None:
        """Add one step.

        Args:
            part: of the run.
            examples: in the batch.
            multiply_accumulates: of one forward pass of one example.
            passes: `TRAINING`, `GATES_ONLY` or `EVALUATION`.
            seconds: measured, if known.
        """
        entry = self.entries.setdefault(part, Entry())
        entry.steps += 1
        entry.examples += examples
        entry.multiply_accumulates += examples * multiply_accumulates * passes
        entry.seconds += seconds

    def spend(self, part: str, seconds: float) -> None:
        """Add measured seconds to a part."""
        self.entries.setdefault(part, Entry()).seconds += seconds

    @property
    def multiply_accumulates(self) -> int:
        """Passes × multiply-accumulates of all parts."""
        return sum(entry.multiply_accumulates for entry in self.entries.values())

    @property
    def seconds(self) -> float:
        """Measured seconds of all parts."""
        return sum(entry.seconds for entry in self.entries.values())

    def to_json(self) -> dict[str, Any]:
        """All entries as plain numbers."""
        return {part: vars(entry).copy() for part, entry in self.entries.items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Ledger:
        """The inverse of `to_json`."""
        return cls({part: Entry(**entry) for part, entry in value.items()})
