"""Phase: which step asks for gates, and when; and schedules, which are functions of the epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Phase", "Schedule", "Step"]

Step = Literal["weights", "architecture", "selection"]

Schedule = Callable[[int, int], float]
"""A value as a function of (epoch, epochs), 0-based; stateless, so that a resume needs to store nothing."""


@dataclass(frozen=True)
class Phase:
    """The moment at which gates are drawn.

    The weight step and the architecture step may treat a distribution differently (perturbation, two paths, a
    controller), and temperatures depend on progress.

    Args:
        step: which step asks.
        epoch: 0-based.
        epochs: total.
    """

    step: Step
    epoch: int = 0
    epochs: int = 1
