"""Prices: one table for everything that architectures cost, a sum over small groups of decisions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sharewise.cost.layers import Layer

__all__ = ["Prices", "Terms", "folded", "from_layers", "matrix"]

Terms = Mapping[tuple[int, ...], npt.NDArray[np.float64]]
"""Tables by group: indices of decisions, an axis for each."""


@final
@dataclass(frozen=True, eq=False)
class Prices:
    """c(a) = c_0 + Σ_S f_S(a_S), with a table f_S for every group S of decisions that some layer reads.

    Where a depth decides whether a block is executed, the block's group holds the depth, and f_S is zero for depths
    that leave it out: so E[c] holds P(depth ≥ b) · Σ p · price.

    Args:
        sizes: the number of options of every decision.
        fixed: c_0, what everything costs.
        terms: f_S by group.

    Example:
        >>> prices = Prices((2, 2), 1.0, {(0,): np.array([0.0, 4.0]), (0, 1): np.array([[0.0, 0.0], [0.0, 8.0]])})
        >>> prices.of((1, 1)), float(prices.expected(torch.full((2, 2), 0.5)))
        (13.0, 5.0)
    """

    sizes: tuple[int, ...]
    fixed: float
    terms: Terms

    @property
    def additive(self) -> bool:
        """Whether every group is a single decision."""
        return all(len(group) == 1 for group in self.terms)

    def of(self, options: Sequence[int]) -> float:
        """The cost with one option for every decision."""
        return self.fixed + sum(float(table[tuple(options[d] for d in group)]) for group, table in self.terms.items())

    def of_all(self, options: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """The costs of many, shape `(n,)`, from options of shape `(n, decisions)`."""
        total = np.full(len(options), self.fixed)
        for group, table in self.terms.items():
            total += table[tuple(options[:, d] for d in group)]
        return total

    def expected(self, probabilities: Tensor) -> Tensor:
        """E[c] with independent decisions, exactly; differentiable.

        Args:
            probabilities: shape `(decisions, largest size)`, zero behind the options of a decision.
        """
        total = (probabilities * self._alone.to(probabilities)).sum()
        for group, table in self._together:
            term = table.to(probabilities)
            for d in group:
                term = torch.tensordot(probabilities[d, : self.sizes[d]], term, dims=([0], [0]))
            total = total + term
        return total + self.fixed

    def largest(self, mask: Tensor) -> float:
        """The largest price of the options that are left, beyond what everything costs; of groups a bound.

        Args:
            mask: shape `(decisions, largest size)`, true for options that are left.
        """
        allowed = [row[:size].cpu().numpy() for row, size in zip(mask, self.sizes, strict=True)]
        return sum(float(table[np.ix_(*(allowed[d] for d in group))].max()) for group, table in self.terms.items())

    @cached_property
    def _alone(self) -> Tensor:
        """The tables of single decisions, one row each."""
        table = torch.zeros(len(self.sizes), max(self.sizes, default=0), dtype=torch.float64)
        for group, values in self.terms.items():
            if len(group) == 1:
                table[group[0], : len(values)] = torch.from_numpy(values)
        return table

    @cached_property
    def _together(self) -> list[tuple[tuple[int, ...], Tensor]]:
        return [(group, torch.from_numpy(table)) for group, table in self.terms.items() if len(group) > 1]


def from_layers(sizes: Sequence[int], layers: Sequence[Layer], scale: float = 1.0) -> Prices:
    """The prices of single options.

    Args:
        sizes: the number of options of every decision.
        layers: as `decomposed` finds them.
        scale: of a unit.

    Example:
        >>> from_layers((2,), [Layer((), np.array(3)), Layer((0,), np.array([1, 2]))]).of((1,))
        5.0
    """
    sums: dict[tuple[int, ...], npt.NDArray[np.int64]] = {(): np.array(0)}
    for layer in layers:
        for group, part in _parts(layer.reads, layer.table):
            sums[group] = sums[group] + part if group in sums else part
    whole, gathered = sums.pop(()), _gathered(sums)
    if any(len(layer.reads) > 1 for layer in layers):  # differences may be negative; let every table begin at zero
        whole = whole + sum(int(table.min()) for table in gathered.values())
        gathered = {group: table - table.min() for group, table in gathered.items()}
    terms: dict[tuple[int, ...], npt.NDArray[np.float64]] = {
        group: table.astype(np.float64) * scale for group, table in gathered.items()
    }
    ordered = dict(sorted(terms.items(), key=lambda item: (len(item[0]), item[0])))
    return Prices(tuple(sizes), float(whole) * scale, ordered)


def folded(prices: Prices, onto: Collection[int]) -> Prices:
    """The same prices, with what a weight of an edge scales in one table: zero where another edge has the weight.

    Tables of an edge alone, and of the edge with its weight, are differences that cancel; a price beyond what
    everything costs would count what cancels.

    Args:
        prices: of passes with one option in every decision.
        onto: decisions that weigh, by index.

    Example:
        >>> apart = Prices((2, 2), 0.0, {(0,): np.array([0.0, 4.0]), (0, 1): np.array([[4.0, 4.0], [4.0, 0.0]])})
        >>> found = folded(apart, {1})
        >>> found.fixed, found.terms[0, 1].tolist(), list(found.terms)
        (4.0, [[0.0, 0.0], [4.0, 0.0]], [(0, 1)])
    """
    terms, fixed = dict(prices.terms), prices.fixed
    for group in [group for group in terms if len(group) > 1 and any(d in onto for d in group)]:
        rest, table = tuple(d for d in group if d not in onto), terms[group]
        if rest in terms:
            shape = [size if d in rest else 1 for d, size in zip(group, table.shape, strict=True)]
            table = table + terms.pop(rest).reshape(shape)
        least = float(table.min())
        terms[group], fixed = table - least, fixed + least
    return Prices(prices.sizes, fixed, terms)


def _parts(reads: tuple[int, ...], table: npt.NDArray[np.int64]) -> list[tuple[tuple[int, ...], npt.NDArray[np.int64]]]:
    """A table as the sum of what smaller groups explain and what they do not."""
    if len(reads) < 2:
        return [(reads, table)]
    found = []
    for size in range(len(reads) + 1):
        for axes in combinations(range(len(reads)), size):
            smaller = table[tuple(slice(None) if axis in axes else 0 for axis in range(len(reads)))]
            found.append((tuple(reads[axis] for axis in axes), _differences(np.asarray(smaller), range(size))))
    return found


def _gathered(
    sums: Mapping[tuple[int, ...], npt.NDArray[np.int64]],
) -> dict[tuple[int, ...], npt.NDArray[np.int64]]:
    """Without groups that do not interact after all, and with those that do within the largest that holds them."""
    found: dict[tuple[int, ...], npt.NDArray[np.int64]] = {}
    for group, table in sorted(sums.items(), key=lambda item: -len(item[0])):
        if not table.any():
            continue
        owner = next((larger for larger in found if len(group) > 1 and set(group) <= set(larger)), None)
        if owner is None:
            found[group] = table
        else:
            shape = [size if d in group else 1 for d, size in zip(owner, found[owner].shape, strict=True)]
            found[owner] = found[owner] + table.reshape(shape)
    return found


def _differences(table: npt.NDArray[np.int64], axes: Iterable[int]) -> npt.NDArray[np.int64]:
    """Σ_{T ⊆ S} (-1)^{|S| - |T|} of a table whose decisions outside of T stand at their first options."""
    for axis in axes:
        table = table - table.take([0], axis)
    return table


def matrix(rows: Mapping[str, Tensor]) -> Tensor:
    """Rows of different lengths as one matrix, zero where a row has ended.

    Example:
        >>> matrix({"a": torch.ones(1), "b": torch.ones(2)})
        tensor([[1., 0.],
                [1., 1.]])
    """
    width = max(len(row) for row in rows.values())
    return torch.stack([torch.nn.functional.pad(row, (0, width - len(row))) for row in rows.values()])
