"""Repeats: the same strategy many times over, each repeat with random numbers of its own."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharewise.appraisal.regret import at_checkpoints
from sharewise.errors import ConfigurationError
from sharewise.strategy.array_oracle import ArrayOracle
from sharewise.strategy.history import Budget
from sharewise.strategy.loop import run_strategy
from sharewise.strategy.representation import Representation, represent
from sharewise.strategy.strategy import Strategy

__all__ = ["Repeats", "generator", "repeat"]


@dataclass(frozen=True, eq=False)
class Repeats:
    """What the incumbents of all repeats were.

    Args:
        checkpoints: costs.
        incumbents: index in the listing, `(repeats, checkpoints)`; -1 where there was none yet.
        evaluations: made by each repeat within the budget, `(repeats,)`.
        spent: cost of each repeat.
    """

    checkpoints: tuple[float, ...]
    incumbents: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    spent: NDArray[np.float64]

    def scored(self, test: NDArray[np.float64]) -> NDArray[np.float64]:
        """The incumbents' test values, `(repeats, checkpoints)`: the reporter's, whom no strategy has met.

        Args:
            test: by index of the listing.
        """
        return np.where(self.incumbents >= 0, test[np.maximum(self.incumbents, 0)], np.nan)

    @classmethod
    def joined(cls, parts: Sequence[Repeats]) -> Repeats:
        """Repeats that were made part by part, in this order.

        Args:
            parts: at least one, all with the same checkpoints.
        """
        columns = ([part.incumbents, part.evaluations, part.spent] for part in parts)
        return cls(parts[0].checkpoints, *(np.concatenate(column) for column in zip(*columns, strict=True)))


def generator(seed: int, name: str, number: int) -> np.random.Generator:
    """The random numbers of one repeat, which depend on nothing but the three arguments.

    Example:
        >>> generator(0, "random", 7).random() == generator(0, "random", 7).random()
        True
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode()), number])


def repeat(
    strategy: Strategy[Any],
    oracle: ArrayOracle,
    budget: Budget,
    checkpoints: Sequence[float],
    *,
    repeats: int | range,
    seed: int = 0,
    name: str = "",
    jobs: int = 1,
) -> Repeats:
    """Run a strategy many times on arrays.

    Args:
        strategy: what to run.
        oracle: searching signals; a repeat never sees anything else.
        budget: of each repeat.
        checkpoints: costs at which incumbents are noted, in the unit of the oracle.
        repeats: how many, at least 1; or their numbers, such as `range(50, 100)` for those that are still missing: a
            repeat depends on its own number alone.
        seed: of all random streams.
        name: of the strategy, which separates its random numbers from those of others.
        jobs: processes; results do not depend on their number.

    Raises:
        ConfigurationError: when a number is out of range.

    Example:
        >>> from sharewise.space import Choice, Space
        >>> from sharewise.strategy import RandomSearch
        >>> toy = Space("toy", (Choice("width", (1, 2, 3)),))
        >>> oracle = ArrayOracle(toy, {0: [0.1, 0.5, 0.9]}, {0: 1.0})
        >>> found = repeat(RandomSearch(replacement=False), oracle, Budget(cost=3), [1, 3], repeats=4)
        >>> found.incumbents[:, 1].tolist(), found.evaluations.tolist()
        ([2, 2, 2, 2], [3, 3, 3, 3])
    """
    numbers = repeats if isinstance(repeats, range) else range(repeats)
    if not numbers or numbers[0] < 0 or numbers.step != 1 or jobs < 1:
        raise ConfigurationError(f"repeats and jobs must be at least 1, got {repeats} and {jobs}")
    work = (strategy, oracle, budget, tuple(float(c) for c in checkpoints), seed, name)
    if jobs == 1:
        return _some(work, numbers)
    shares = [numbers[start::jobs] for start in range(min(jobs, len(numbers)))]
    with ProcessPoolExecutor(len(shares)) as pool:
        found = Repeats.joined(list(pool.map(_some, [work] * len(shares), shares)))
    places = np.argsort(np.concatenate([np.array(share) for share in shares]))
    return Repeats(work[3], found.incumbents[places], found.evaluations[places], found.spent[places])


_Work = tuple[Strategy[Any], ArrayOracle, Budget, tuple[float, ...], int, str]


def _some(work: _Work, numbers: range) -> Repeats:
    strategy, oracle, budget, checkpoints, seed, name = work
    representation = represent(oracle.space, oracle.covered)
    rows = [_one(strategy, oracle, budget, checkpoints, generator(seed, name, n), representation) for n in numbers]
    found, counts, spent = zip(*rows, strict=True)
    return Repeats(checkpoints, np.stack(found), np.array(counts, dtype=np.int64), np.array(spent, dtype=np.float64))


def _one(
    strategy: Strategy[Any],
    oracle: ArrayOracle,
    budget: Budget,
    checkpoints: tuple[float, ...],
    rng: np.random.Generator,
    representation: Representation,
) -> tuple[NDArray[np.int64], int, float]:
    history = run_strategy(strategy, oracle, budget, rng, representation)
    if len(history) == 0:
        return np.full(len(checkpoints), -1, dtype=np.int64), 0, 0.0
    places = at_checkpoints(history.spent, history.incumbents, checkpoints)
    indices = [-1 if np.isnan(at) else representation.index(history.trials[int(at)].genotype) for at in places]
    return np.array(indices, dtype=np.int64), len(history), float(history.spent[-1])
