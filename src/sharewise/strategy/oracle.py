"""The oracle: whom a strategy asks what an architecture is worth, and who says what the answer cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from sharewise.space import Architecture, Space

__all__ = ["Evaluation", "Oracle"]


@dataclass(frozen=True)
class Evaluation:
    """One answer.

    Args:
        architecture: what was asked about.
        value: the signal; higher is better.
        cost: of this evaluation, in the unit of the oracle.
        fidelity: epochs of training behind the value; 0 where there is no such thing.
        others: further objectives, of which higher is better too (a latency enters with a minus).

    Example:
        >>> Evaluation(Architecture("toy", ()), value=0.9, cost=120.0, fidelity=12).cost
        120.0
    """

    architecture: Architecture
    value: float
    cost: float
    fidelity: int = 0
    others: tuple[float, ...] = ()


class Oracle(ABC):
    """Answers with a value and its cost; a table, a supernet and a training from scratch are all asked alike.

    An oracle holds searching signals only. Test values belong to whoever reports, never to an oracle, so no strategy
    can see them.
    """

    space: Space
    """Whose architectures it knows."""
    unit: str
    """Of the cost: `"seconds"` (of the benchmark's machine), `"multiply-accumulates"` or `"evaluations"`."""
    fidelities: tuple[int, ...] = (0,)
    """Epochs that can be asked for, ascending; the last is the default."""

    @abstractmethod
    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        """What the architecture is worth.

        Args:
            architecture: of the space.
            fidelity: one of `fidelities`.
            rng: source of randomness, for oracles whose answers have noise.

        Raises:
            ConfigurationError: for an architecture or a fidelity that the oracle does not know.
        """
