"""An oracle over arrays: the answers are known for a whole listing, as in a benchmark's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.oracle.oracle import Evaluation, Oracle
from sharewise.space import Architecture, Space

__all__ = ["ArrayOracle"]

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class ArrayOracle(Oracle):
    """Values and costs by index of the listing of a space.

    Args:
        space: whose listing numbers the entries.
        values: for each fidelity the signal, `(architectures,)`, or `(runs, architectures)` where each question is
            answered by a run that is drawn at random, as the benchmarks' own programs do; not a number where unknown.
        costs: for each fidelity the cost, `(architectures,)`; a single number serves all.
        unit: of the costs.
        others: further objectives, each `(architectures,)`, of which higher is better.

    Raises:
        ConfigurationError: when a length does not fit the space, or a known value has no finite, positive cost.

    Example:
        >>> from sharewise.space import Choice
        >>> toy = Space("toy", (Choice("operation", ("a", "b")),))
        >>> oracle = ArrayOracle(toy, {0: [0.1, 0.9]}, {0: 1.0})
        >>> oracle.evaluate(toy.architecture({"operation": "b"}), 0, np.random.default_rng(0)).value
        0.9
    """

    space: Space
    values: Mapping[int, ArrayLike]
    costs: Mapping[int, ArrayLike]
    unit: str = "evaluations"
    others: tuple[ArrayLike, ...] = ()
    fidelities: tuple[int, ...] = field(init=False, default=(0,))

    def __post_init__(self) -> None:
        size = self.space.size
        if not self.values or set(self.values) != set(self.costs):
            raise ConfigurationError(
                f"values and costs need the same fidelities, got {sorted(self.values)} and {sorted(self.costs)}"
            )
        values, costs = {}, {}
        for fidelity in sorted(self.values):
            signal = np.array(self.values[fidelity], dtype=np.float64, ndmin=2)
            cost = np.array(np.broadcast_to(np.asarray(self.costs[fidelity], dtype=np.float64), (size,)))
            if signal.ndim != 2 or signal.shape[1] != size:
                raise ConfigurationError(
                    f"values of fidelity {fidelity} have shape {signal.shape}; the space {self.space.name!r} has "
                    f"{size:,} architectures"
                )
            known = ~np.isnan(signal).any(axis=0)
            if not np.isfinite(signal[:, known]).all() or not (np.isfinite(cost[known]) & (cost[known] > 0)).all():
                raise ConfigurationError(f"a known value of fidelity {fidelity} is infinite or has no positive cost")
            values[fidelity], costs[fidelity] = _frozen(signal), _frozen(cost)
        others = tuple(_frozen(np.broadcast_to(np.array(o, dtype=np.float64), (size,)).copy()) for o in self.others)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "costs", costs)
        object.__setattr__(self, "others", others)
        object.__setattr__(self, "fidelities", tuple(values))
        if not self.covered.any():
            raise ConfigurationError("no architecture is known at all fidelities that were asked for")

    @cached_property
    def covered(self) -> NDArray[np.bool_]:
        """Which indices can be asked about: those known at every fidelity."""
        columns = [*self.values.values(), *self.costs.values(), *self.others]
        rows = [~np.isnan(np.asarray(column, dtype=np.float64)) for column in columns]
        covered: NDArray[np.bool_] = np.logical_and.reduce([row.reshape(-1, row.shape[-1]).all(axis=0) for row in rows])
        covered.setflags(write=False)
        return covered

    @cached_property
    def answers(self) -> Mapping[int, tuple[tuple[list[float], ...], list[float]]]:
        """For each fidelity the runs and the costs as plain lists, of which one entry is read fastest."""
        return {
            fidelity: (tuple(np.asarray(self.values[fidelity]).tolist()), np.asarray(self.costs[fidelity]).tolist())
            for fidelity in self.fidelities
        }

    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        """See `Oracle.evaluate`.

        Raises:
            ConfigurationError: when the table does not cover the architecture, or has no such fidelity.
        """
        if fidelity not in self.answers:
            raise unknown_name("fidelity", fidelity, self.fidelities)
        index = self.space.listing.index(architecture)
        if not self.covered[index]:
            raise ConfigurationError(
                f"{architecture} is not covered: this oracle knows {int(self.covered.sum()):,} of "
                f"{self.space.size:,} architectures"
            )
        runs, costs = self.answers[fidelity]
        value = runs[0 if len(runs) == 1 else int(rng.random() * len(runs))][index]
        others = tuple(float(np.asarray(column)[index]) for column in self.others)
        return Evaluation(architecture, value, costs[index], fidelity, others)


def _frozen(array: Floats) -> Floats:
    array.setflags(write=False)
    return array
