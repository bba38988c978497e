"""An oracle over arrays: the answers are known for a whole listing, as in a benchmark's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space import Architecture, Space
from sharewise.strategy.oracle import Evaluation, Oracle

__all__ = ["ArrayOracle"]

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class ArrayOracle(Oracle):
    """Values and costs by index of the listing of a space.

    Args:
        space: whose listing numbers the entries.
        values: for each fidelity the signal, `(architectures,)`, or `(runs, architectures)`: then each question is
            answered by a run that is drawn uniformly among those the architecture has, as the benchmarks' own programs
            do; not a number where unknown.
        costs: for each fidelity the cost, `(architectures,)`, or of each run, `(runs, architectures)`: then an answer
            costs what its run did; a single number serves all.
        unit: of the costs.
        others: further objectives, each `(architectures,)`, of which higher is better.

    Raises:
        ConfigurationError: when a shape does not fit the space, or a known value has no finite, positive cost.

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
            if signal.ndim != 2 or signal.shape[1] != size:
                raise ConfigurationError(
                    f"values of fidelity {fidelity} have shape {signal.shape}; the space {self.space.name!r} has "
                    f"{size:,} architectures"
                )
            cost = np.array(self.costs[fidelity], dtype=np.float64, ndmin=2)
            if cost.shape not in {(1, 1), (1, size), signal.shape}:
                raise ConfigurationError(
                    f"costs of fidelity {fidelity} have shape {cost.shape}; give one for all, one for each of "
                    f"{size:,} architectures, or one for each value, {signal.shape}"
                )
            known, paid = ~np.isnan(signal), np.broadcast_to(cost, signal.shape)
            if not np.isfinite(signal[known]).all() or not (np.isfinite(paid[known]) & (paid[known] > 0)).all():
                raise ConfigurationError(f"a known value of fidelity {fidelity} is infinite or has no positive cost")
            if len(cost) == 1:
                paid = np.broadcast_to(cost, (1, size))
            values[fidelity], costs[fidelity] = _frozen(signal), _frozen(np.array(paid))
        others = tuple(_frozen(np.broadcast_to(np.array(o, dtype=np.float64), (size,)).copy()) for o in self.others)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "costs", costs)
        object.__setattr__(self, "others", others)
        object.__setattr__(self, "fidelities", tuple(values))
        if not self.covered.any():
            raise ConfigurationError("no architecture is known at all fidelities that were asked for")

    @cached_property
    def covered(self) -> NDArray[np.bool_]:
        """Which indices can be asked about: those with a run at every fidelity, and with all further objectives."""
        rows = [~np.isnan(np.asarray(self.values[fidelity])).all(axis=0) for fidelity in self.fidelities]
        rows += [~np.isnan(np.asarray(column)) for column in self.others]
        covered: NDArray[np.bool_] = np.logical_and.reduce(rows)
        covered.setflags(write=False)
        return covered

    def expected(self, fidelity: int) -> tuple[Floats, Floats]:
        """The mean signal and the mean cost of an answer, each by index; not a number where there is no run.

        Args:
            fidelity: one of `fidelities`.
        """
        signal, cost = np.asarray(self.values[fidelity]), np.asarray(self.costs[fidelity])
        known = ~np.isnan(signal)
        runs = np.where(known.any(axis=0), known.sum(axis=0), np.nan)
        shared = np.broadcast_to(cost, signal.shape)
        return np.where(known, signal, 0).sum(axis=0) / runs, np.where(known, shared, 0).sum(axis=0) / runs

    @cached_property
    def _answers(self) -> Mapping[int, _Answers]:
        """Plain lists, of which one entry is read fastest."""
        found = {}
        for fidelity in self.fidelities:
            signal, cost = np.asarray(self.values[fidelity]), np.asarray(self.costs[fidelity])
            missing = np.isnan(signal)
            order = np.argsort(missing, axis=0, kind="stable")  # an architecture's own runs first
            signal = np.take_along_axis(signal, order, axis=0)
            cost = np.take_along_axis(cost, order, axis=0) if len(cost) > 1 else cost
            ragged = missing[:, self.covered].any()
            counts = (~missing).sum(axis=0).tolist() if ragged else None
            found[fidelity] = _Answers(tuple(signal.tolist()), tuple(cost.tolist()), counts)
        return found

    def draw(self, index: int, fidelity: int, rng: np.random.Generator) -> tuple[float, float]:
        """The signal and the cost of one run of an architecture; `evaluate` without architectures and checks.

        Args:
            index: in the listing of the space; must be covered.
            fidelity: one of `fidelities`.
            rng: picks the run, where there are several.
        """
        signals, costs, counts = self._answers[fidelity]
        run = 0
        if len(signals) > 1:
            run = int(rng.random() * (len(signals) if counts is None else counts[index]))
        return signals[run][index], costs[run if len(costs) > 1 else 0][index]

    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        """See `Oracle.evaluate`.

        Raises:
            ConfigurationError: when the table does not cover the architecture, or has no such fidelity.
        """
        if fidelity not in self.fidelities:
            raise unknown_name("fidelity", fidelity, self.fidelities)
        index = self.space.listing.index(architecture)
        if not self.covered[index]:
            raise ConfigurationError(
                f"{architecture} is not covered: this oracle knows {int(self.covered.sum()):,} of "
                f"{self.space.size:,} architectures"
            )
        value, cost = self.draw(index, fidelity, rng)
        others = tuple(float(np.asarray(column)[index]) for column in self.others)
        return Evaluation(architecture, value, cost, fidelity, others)


class _Answers(NamedTuple):
    """Of one fidelity, with an architecture's own runs before the missing ones."""

    signals: tuple[list[float], ...]
    """By run and index."""
    costs: tuple[list[float], ...]
    """Likewise, or a single run for all."""
    counts: list[int] | None
    """How many runs each architecture has; `None` where all that can be asked about have all."""


def _frozen(array: Floats) -> Floats:
    array.setflags(write=False)
    return array
