"""Costs that are sums over what decisions take, in spaces whose decisions are not their choices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sharewise.cost.expectation import Blocks
from sharewise.cost.prices import Prices
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Relaxation, Space, sample

__all__ = ["sum_over_decisions"]

_PER_WEIGHT = 1.5
"""Random architectures that are priced, per option of a decision."""
_PROBES = 32
"""Further ones, on which the sum must be exact."""


def sum_over_decisions(space: Space, price: Callable[[Architecture], float], unit: float | None) -> Prices | None:
    """The cost c(a) = c_0 + Σ_{d, o} x_{d, o}(a) · w_{d, o}, as tables over the blocks of choices behind decisions.

    With x(a) the encoding of an architecture. A cell of DARTS costs what its edges cost, each by its operation: 196
    weights, found by least squares from 1.5 times as many architectures, where tables by choice would take thousands.

    Args:
        space: of independent choices, with a relaxation.
        price: the cost of one architecture.
        unit: of which every cost is a whole number, or `None`.

    Returns:
        Prices, exact on all architectures that were tried; `None` where there are none.
    """
    try:
        relaxation = space.relaxation
        blocks = Blocks(relaxation)
    except ConfigurationError:
        return None
    rng = np.random.default_rng(0)
    first = space.architecture({choice.name: choice.options[0] for choice in space.choices})
    weights = sum(decision.size for decision in relaxation.decisions)
    drawn = [sample(space, rng) for _ in range(int(_PER_WEIGHT * weights))]
    codes = np.array([_code(relaxation, a) for a in drawn])
    values = np.array([float(price(a)) for a in drawn])
    origin, fixed = _code(relaxation, first), float(price(first))
    found = np.asarray(np.linalg.lstsq(codes - origin, values - fixed, rcond=None)[0], dtype=np.float64)
    prices = Prices(
        tuple(len(choice.options) for choice in space.choices),
        fixed,
        {choices: _rounded(table, unit) for choices, table in blocks.tables(found).items()},
    )
    tried = [*drawn[:_PROBES], *(sample(space, rng) for _ in range(_PROBES))]
    exact = all(abs(prices.of(_options(space, a)) - price(a)) <= 1e-9 * abs(price(a)) for a in tried)
    return prices if exact else None


def _rounded(table: npt.NDArray[np.float64], unit: float | None) -> npt.NDArray[np.float64]:
    """Beside its first entry, of which differences are whole numbers of a unit."""
    beside = table - table.flat[0]
    return beside if unit is None else np.rint(beside / unit) * unit


def _options(space: Space, architecture: Architecture) -> list[int]:
    return [choice.options.index(architecture[choice.name]) for choice in space.choices]


def _code(relaxation: Relaxation, architecture: Architecture) -> npt.NDArray[np.float64]:
    """The weights of an encoding in a row, a decision after the other, all of the size of the largest."""
    decisions, encoding = relaxation.decisions, relaxation.encode(architecture)
    code = np.zeros((len(decisions), max(d.size for d in decisions)))
    for row, decision in zip(code, decisions, strict=True):
        row[: decision.size] = encoding[decision.name]
    return code.flatten()
