"""Phase: which step asks for gates, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sharewise.distribution.schedule import Setting, value_at

__all__ = ["Phase", "Step"]

Step = Literal["weights", "architecture", "selection"]


@dataclass(frozen=True)
class Phase:
    """The moment at which gates are drawn, or a penalty is taken.

    The weight step and the architecture step may treat a distribution differently (perturbation, two paths, a
    controller), and temperatures and strengths depend on progress.

    Args:
        step: which step asks.
        epoch: 0-based.
        epochs: total.
    """

    step: Step
    epoch: int = 0
    epochs: int = 1

    def value(self, setting: Setting) -> float:
        """What a number or a schedule is worth at this moment.

        Example:
            >>> from sharewise.distribution import Linear
            >>> Phase("weights", 1, 3).value(Linear(0.0, 50.0))
            25.0
        """
        return value_at(setting, self.epoch, self.epochs)
