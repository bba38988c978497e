"""Coupled positions: what dies together when a width or a number of heads shrinks, and may change places together.

A hidden channel is a row of the layer that writes it, an entry of every norm that follows, and a column of every layer
that reads it; a head is a block of rows of three projections and of columns of one. Channels may be put into any order,
if all their positions move together: what the network computes stays the same up to the order of sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import gcd
from numbers import Integral
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Decision
from sharewise.supernet.elastic.analysis import Analysis, combination
from sharewise.supernet.elastic.dimensions import FixedDimensionError

__all__ = ["Coupled", "Member", "coupled", "members", "moved", "reordered"]

Order = Mapping[str, Sequence[int]]
"""By name of a group the old places of its units, in their new order."""


@final
@dataclass(frozen=True, eq=False)
class Coupled:
    """A group of positions that live and die together, unit by unit.

    Args:
        name: of the group: the last of its decisions, and a number where that has several groups.
        decisions: that say together how many leading units are kept.
        units: how many there are.
        kinds: by unit a number; only units of the same kind may change places.
        positions: by dimension the positions of every unit, one after the other, and the unit of each.
        kept: by combination of their options, the last decision varying fastest, how many leading units are kept.
    """

    name: str
    decisions: tuple[Decision, ...]
    units: int
    kinds: tuple[int, ...]
    positions: Mapping[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
    kept: tuple[int, ...]

    def established(self, options: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
        """The numbers of units that networks of some options keep, ascending.

        Args:
            options: by decision, as indices; of a decision that is absent, the last one.
        """
        sizes = {decision.name: decision.size for decision in self.decisions}
        names = tuple(sizes)
        each = [options.get(name, (sizes[name] - 1,)) for name in names]
        met = (dict(zip(names, found, strict=True)) for found in product(*each))
        return tuple(sorted({self.kept[combination(names, sizes, found)] for found in met}))

    def require(self, order: Sequence[int]) -> None:
        """Refuse what is no order of the units.

        Raises:
            ConfigurationError: when it is no permutation, or exchanges units of different kinds.
        """
        kinds = np.array(self.kinds)
        whole = not isinstance(order, str | int) and all(isinstance(unit, Integral) for unit in order)
        if not whole or sorted(order) != list(range(self.units)) or not (kinds[list(order)] == kinds).all():
            raise ConfigurationError(
                f"the order of {self.name!r} must hold each of 0 … {self.units - 1} once and keep units of different "
                "kinds apart"
            )

    def indices(self, order: Sequence[int]) -> dict[int, Tensor]:
        """By dimension the old place of what stands in each new place.

        Args:
            order: the old places of the units, in their new order.

        Raises:
            ConfigurationError: when it is no permutation, or exchanges units of different kinds.
        """
        self.require(order)
        found = {}
        for root, (where, unit) in self.positions.items():
            of_unit = [where[unit == u] for u in range(self.units)]
            places = np.arange(self.size(root))
            places[np.concatenate(of_unit)] = np.concatenate([of_unit[u] for u in order])
            found[root] = torch.from_numpy(places)
        return found

    def size(self, root: int) -> int:
        """One more than the last position of a dimension that belongs to a unit, at least."""
        return int(self._sizes[root])

    @property
    def _sizes(self) -> Mapping[int, int]:
        return {root: int(where.max()) + 1 for root, (where, _) in self.positions.items()}


@final
@dataclass(frozen=True, eq=False)
class Member:
    """A parameter of a group.

    Args:
        name: in the model.
        axis: along which the units of the group lie.
        unit: by position of that axis the unit, -1 where it belongs to none.
        reads: whether it reads the group (the columns of the next layer), or belongs to what writes it.
    """

    name: str
    axis: int
    unit: Tensor
    reads: bool


def coupled(analysis: Analysis) -> tuple[Coupled, ...]:
    """The groups of a model, one for every dimension that a width or a number of heads keeps the leading part of.

    Args:
        analysis: of the model.
    """
    named = {decision.name: decision for decision in analysis.decisions}
    found = [
        (names[-1], group)
        for root, names in analysis.targets.items()
        if root in analysis.reach
        and (group := _group(analysis, root, tuple(named[name] for name in names))) is not None
    ]
    several = {last for last, count in Counter(last for last, _ in found).items() if count > 1}
    numbers: Counter[str] = Counter()
    groups = []
    for last, group in found:
        groups.append(replace(group, name=f"{last}/{numbers[last]}" if last in several else last))
        numbers[last] += 1
    return tuple(groups)


def _group(analysis: Analysis, root: int, decisions: tuple[Decision, ...]) -> Coupled | None:
    """The units of one dimension: single positions, or the smallest blocks of them that can go alone."""
    dimensions = analysis.dimensions
    size, sizes = dimensions.size(root), _kept(analysis, decisions, root)
    for step in dict.fromkeys((1, gcd(size, *sizes))):
        if size == step or not sizes:
            continue
        try:
            lost = [_lost(analysis, root, range(start, start + step)) for start in range(0, size, step)]
        except FixedDimensionError:
            continue
        kinds = [tuple(sorted((other, len(where)) for other, where in each.items())) for each in lost]
        known = list(dict.fromkeys(kinds))
        positions = {
            other: (
                np.concatenate([each[other] for each in lost if other in each]),
                np.concatenate([np.full(len(each[other]), u) for u, each in enumerate(lost) if other in each]),
            )
            for other in dict.fromkeys(r for each in lost for r in each)
        }
        if not analysis.bypassed.isdisjoint(positions):
            return None  # where a module is left out, what it writes has the order of what it reads
        if any(len(np.unique(where)) < len(where) for where, _ in positions.values()):
            continue  # some position belongs to two units
        kept = tuple(n // step for n in sizes)
        return Coupled("", decisions, size // step, tuple(map(known.index, kinds)), positions, kept)
    return None


def _kept(analysis: Analysis, decisions: Sequence[Decision], root: int) -> tuple[int, ...]:
    """How many leading positions each combination of options keeps; none, where all keep all."""
    names = tuple(decision.name for decision in decisions)
    tables = [analysis.tables[i] for i in analysis.reach[root] if analysis.tables[i].decisions == names]
    return tuple(int(n) for table in tables[:1] for n in table.reach.sum(axis=0).flatten())


def _lost(analysis: Analysis, root: int, positions: range) -> dict[int, npt.NDArray[np.int64]]:
    alive = np.ones(analysis.dimensions.size(root), dtype=bool)
    alive[list(positions)] = False
    return {other: np.flatnonzero(~kept) for other, kept in analysis.dimensions.closure({root: alive}).items()}


def members(analysis: Analysis, group: Coupled) -> Iterator[Member]:
    """The parameters and buffers of a group, along every axis that holds its units."""
    for name, roots in analysis.sliced.items():
        for axis, root in enumerate(roots):
            if root is not None and root in group.positions:
                where, unit = group.positions[root]
                of_position = np.full(analysis.dimensions.size(root), -1)
                of_position[where] = unit
                yield Member(name, axis, torch.from_numpy(of_position), analysis.readers.get(name) == axis)


def moved(analysis: Analysis, groups: Sequence[Coupled], order: Order) -> dict[str, list[tuple[int, Tensor]]]:
    """By name of a parameter or buffer, along which axes it is put into which order, one after the other.

    Args:
        analysis: of the model.
        groups: of the model.
        order: of some of them.
    """
    moves: dict[str, list[tuple[int, Tensor]]] = {}
    for group in groups:
        if group.name in order:
            indices = group.indices(order[group.name])
            for member in members(analysis, group):
                root = analysis.sliced[member.name][member.axis]
                assert root is not None
                places = torch.arange(len(member.unit))
                places[: len(indices[root])] = indices[root]
                moves.setdefault(member.name, []).append((member.axis, places))
    return moves


@torch.no_grad()
def reordered(
    model: nn.Module, moves: Mapping[str, Sequence[tuple[int, Tensor]]], optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Put parameters and buffers into another order in place, each once, and the moments of an optimiser with them.

    Args:
        model: whose tensors they are.
        moves: as `moved` returned them.
        optimizer: of its parameters, or none.
    """
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    done: set[int] = set()
    for name, axes in moves.items():
        tensor = tensors[name]
        if id(tensor) in done:
            continue
        done.add(id(tensor))
        held = {} if optimizer is None else optimizer.state.get(tensor, {})
        for each in (tensor, *(m for m in held.values() if isinstance(m, Tensor) and m.shape == tensor.shape)):
            for axis, places in axes:
                each.copy_(each.index_select(axis, places.to(each.device)))
