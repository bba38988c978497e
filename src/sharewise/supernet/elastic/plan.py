"""The plan of an execution: what is sliced in a layer, and which attributes are set, for the largest active options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.analysis import Analysis, Kernel, combination
from sharewise.supernet.elastic.dimensions import Alive
from sharewise.supernet.gate import Gates
from sharewise.supernet.slices.kernels import centre

__all__ = [
    "Attributes",
    "Base",
    "Follower",
    "Portion",
    "SlicedLayer",
    "Where",
    "alive",
    "base_of",
    "followers",
    "planned",
    "taken",
    "where",
]

Base = tuple[int, ...]
"""For every decision the largest active option: what is executed."""

Attributes = Mapping[tuple[str, str], tuple[int | str, bool]]
"""By path and name of an attribute of the user's modules the dimension whose size it holds, or the depth that it is,
and whether in a tuple."""

Field = tuple[str, int | str, bool]
"""Name of an attribute, what it holds the size of (a dimension or a depth), and whether in a tuple."""

Where = int | Tensor
"""The alive positions of a dimension: how many leading ones, or which."""


def taken(tensor: Tensor, axis: int, where: Where) -> Tensor:
    """The alive positions along an axis."""
    if isinstance(where, Tensor):
        return tensor.index_select(axis, where)
    return tensor if where == tensor.shape[axis] else tensor.narrow(axis, 0, where)


@final
@dataclass(frozen=True, eq=False)
class Portion:
    """The part of a parameter or buffer that is executed.

    Args:
        name: of the tensor in the model.
        axes: that lose positions, each with those that stay.
        scaled: axes that are scaled by the survival of a dimension.
        kernel: which is searched.
        size: of the kernel that is executed.
    """

    name: str
    axes: tuple[tuple[int, Where], ...]
    scaled: tuple[tuple[int, int], ...]
    kernel: Kernel | None
    size: int

    @cached_property
    def local(self) -> str:
        """The name within its module."""
        return self.name.rpartition(".")[2]

    @cached_property
    def copied(self) -> Tensor | None:
        """The positions of a vector whose part is no view of it, so that what is written to it must be copied back."""
        wheres = [where for _, where in self.axes if isinstance(where, Tensor)]
        return wheres[0] if len(wheres) == 1 == len(self.axes) else None

    def sliced(self, tensor: Tensor) -> Tensor:
        """Its alive positions, whose kernels are as large as they were."""
        for axis, where in self.axes:
            tensor = taken(tensor, axis, where)
        return tensor

    def cut(self, tensor: Tensor, owner: nn.Module) -> Tensor:
        """The slice, not scaled.

        Args:
            tensor: the whole.
            owner: the module that holds it, and matrices that its kernels are transformed by.
        """
        tensor, kernel = self.sliced(tensor), self.kernel
        if kernel is None:
            return tensor
        if kernel.transforms is None:
            return centre(tensor, self.size, kernel.axes)
        return kernel.transforms.kernel(owner, tensor, self.size)


@final
@dataclass(frozen=True, eq=False)
class SlicedLayer:
    """What changes in one module.

    Args:
        path: of the module, name by name.
        attributes: that are set, by name.
        portions: of its parameters and buffers.
        norm: the searched dimension of a layer norm.
    """

    path: tuple[str, ...]
    attributes: tuple[tuple[str, object], ...]
    portions: tuple[Portion, ...]
    norm: int | None


@final
@dataclass(frozen=True, eq=False)
class Follower:
    """A module in which something follows decisions, and which decisions these are.

    Args:
        path: of the module.
        decisions: their places within a `Base`; the plan of the module depends on these options alone.
        tensors: parameters and buffers that are sliced or have a searched kernel.
        fields: attributes with the dimension, or the depth, whose size they hold, and whether in a tuple.
        kernel: of the module, where it is searched.
        norm: the searched dimension of a layer norm.
    """

    path: str
    decisions: tuple[int, ...]
    tensors: tuple[str, ...]
    fields: tuple[Field, ...]
    kernel: Kernel | None
    norm: int | None


def base_of(analysis: Analysis, gates: Gates) -> Base:
    """The largest active option of every decision.

    Raises:
        ConfigurationError: when a decision has none.
    """
    base = []
    for decision in analysis.decisions:
        active = gates[decision.name].active
        if not active:
            raise ConfigurationError(
                f"decision {decision.name!r} has no active option; a shared model needs at least one"
            )
        base.append(active[-1])
    return tuple(base)


def followers(analysis: Analysis, attributes: Attributes) -> tuple[Follower, ...]:
    """All modules in which something follows decisions.

    Args:
        analysis: of the model.
        attributes: as they were settled.
    """
    tensors: dict[str, list[str]] = {}
    for name in dict.fromkeys((*analysis.sliced, *analysis.kernels)):
        tensors.setdefault(name.rpartition(".")[0], []).append(name)
    fields: dict[str, list[Field]] = {}
    for (path, name), (root, as_tuple) in analysis.fields.items():
        fields.setdefault(path, []).append((name, root, as_tuple))
    for (path, name), (what, as_tuple) in attributes.items():
        fields.setdefault(path, []).append((name, what, as_tuple))
    kernels = {kernel.path: kernel for kernel in analysis.kernels.values()}
    paths = dict.fromkeys((*tensors, *fields, *kernels, *analysis.norms))
    return tuple(_follower(analysis, p, tensors.get(p, []), fields.get(p, []), kernels.get(p)) for p in paths)


def _follower(
    analysis: Analysis, path: str, tensors: list[str], fields: list[Field], kernel: Kernel | None
) -> Follower:
    roots = {root for name in tensors for root in analysis.sliced.get(name, ()) if root is not None}
    roots |= {what for _, what, _ in fields if isinstance(what, int)}
    names = {what for _, what, _ in fields if isinstance(what, str)}
    names |= {name for root in roots for i in analysis.reach[root] for name in analysis.tables[i].decisions}
    names |= set() if kernel is None else {kernel.decision}
    decisions = tuple(place for place, decision in enumerate(analysis.decisions) if decision.name in names)
    return Follower(path, decisions, tuple(tensors), tuple(fields), kernel, analysis.norms.get(path))


def planned(
    analysis: Analysis, follower: Follower, base: Base, device: torch.device, *, published: bool
) -> SlicedLayer:
    """What changes in a module.

    Args:
        analysis: of the model.
        follower: the module.
        base: what is executed.
        device: of the model's tensors.
        published: whether every parameter is scaled along all searched dimensions that it has.
    """
    options = {decision.name: option for decision, option in zip(analysis.decisions, base, strict=True)}
    kernel = follower.kernel
    size = 0 if kernel is None else kernel.sizes[options[kernel.decision]]
    attributes = [_attribute(analysis, field, options) for field in follower.fields]
    attributes += [] if kernel is None else kernel.fields(size)
    portions = []
    for name in follower.tensors:
        own, scaled = analysis.kernels.get(name), analysis.scaled(name, published=published)
        portions.append(Portion(name, _kept(analysis, name, options, device), scaled, own, size))
    norm = None if published else follower.norm  # the authors' norms see scaled inputs
    return SlicedLayer(tuple(filter(None, follower.path.split("."))), tuple(attributes), tuple(portions), norm)


def _attribute(analysis: Analysis, field: Field, options: Mapping[str, int]) -> tuple[str, object]:
    name, what, as_tuple = field
    value = _depth(analysis, what, options) if isinstance(what, str) else int(alive(analysis, what, options).sum())
    return name, (value,) if as_tuple else value


def _kept(
    analysis: Analysis, name: str, options: Mapping[str, int], device: torch.device
) -> tuple[tuple[int, Where], ...]:
    """The axes of a tensor that lose positions, with those that stay."""
    searched = [(axis, root) for axis, root in enumerate(analysis.sliced.get(name, ())) if root is not None]
    kept = [(axis, alive(analysis, root, options)) for axis, root in searched]
    return tuple((axis, where(mask, device)) for axis, mask in kept if not mask.all())


def _depth(analysis: Analysis, decision: str, options: Mapping[str, int]) -> int:
    [sizes] = {place.sizes for place in analysis.places if place.decision == decision}
    return sizes[options[decision]]


def alive(analysis: Analysis, root: int, options: Mapping[str, int]) -> Alive:
    """The positions of a dimension that some options keep."""
    sizes = {decision.name: decision.size for decision in analysis.decisions}
    tables = (analysis.tables[i] for i in analysis.reach[root])
    kept: Alive = np.logical_and.reduce([t.reach[:, combination(t.decisions, sizes, options)] for t in tables])
    return kept


def where(kept: Alive, device: torch.device) -> Where:
    """The alive positions, by their number if they are the leading ones."""
    positions = np.flatnonzero(kept)
    if kept[: len(positions)].all():
        return len(positions)
    return torch.tensor(positions.tolist(), device="cpu").to(device, non_blocking=True)
