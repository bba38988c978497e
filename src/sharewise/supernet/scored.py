"""What an evaluation lets the executor of cells leave out, and who watches it: both for the duration of a block.

An architecture that is only scored, with batch-norm statistics of its own, leaves nothing behind: no gradient, and no
statistic that anybody else reads. So a node that nobody reads needs no edges, and a convolution of zeros, which batch
norm makes zeros again, needs not be made. Training needs both (`None` and zero gradients differ to an optimiser, and
running statistics see every edge), so that this is no property of a network but of the block around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import final

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sharewise.supernet.cell import Wiring
from sharewise.supernet.gate import Gate, Gates

__all__ = ["Notes", "entered", "leaves_nothing", "maps_zero_to_zero", "noticing", "scored_alone", "watched"]

_ALONE: ContextVar[bool] = ContextVar("scored alone", default=False)
_NOTES: ContextVar[Notes | None] = ContextVar("notes of a pass", default=None)

_LINEAR = (nn.Conv1d, nn.Conv2d, nn.Linear)
_KEEPING = (nn.Identity, nn.ReLU, nn.AvgPool2d, nn.MaxPool2d)


@contextmanager
def scored_alone(own: bool) -> Iterator[None]:
    """Within the block the results of a network count and nothing else.

    Args:
        own: whether its batch norms use statistics of the architecture that is evaluated; without them nothing changes.
    """
    token = _ALONE.set(own)
    try:
        yield
    finally:
        _ALONE.reset(token)


def leaves_nothing() -> bool:
    """Whether nothing but the output of a pass counts, and its norms see this architecture alone."""
    return _ALONE.get() and not torch.is_grad_enabled()


def maps_zero_to_zero(layer: nn.Module) -> bool:
    """Whether a layer makes zeros of zeros, a batch norm under statistics of its own among them.

    Example:
        >>> [maps_zero_to_zero(nn.Conv2d(2, 2, 1, bias=flag)) for flag in (False, True)]
        [True, False]
    """
    if isinstance(layer, nn.Sequential):
        return all(map(maps_zero_to_zero, layer))
    if isinstance(layer, _BatchNorm) or type(layer) in _LINEAR:
        return layer.bias is None
    return type(layer) in _KEEPING


@final
@dataclass
class Notes:
    """What was noticed of a pass: the cells that ran, and the decisions that were read elsewhere.

    Args:
        cells: wiring and edges by the identity of the edges.
        outside: names of decisions.
    """

    cells: dict[int, tuple[Wiring, nn.ModuleDict]] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)


@final
class _Watched(Mapping[str, Gate]):
    """Gates that note which of them are read."""

    def __init__(self, gates: Gates, read: set[str]) -> None:
        self.gates, self.read = gates, read

    def __getitem__(self, name: str) -> Gate:
        self.read.add(name)
        return self.gates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.gates)

    def __len__(self) -> int:
        return len(self.gates)


@contextmanager
def noticing(notes: Notes) -> Iterator[None]:
    """Take notes of the passes within the block whose gates are `watched`."""
    token = _NOTES.set(notes)
    try:
        yield
    finally:
        _NOTES.reset(token)


def watched(gates: Gates, read: set[str] | None = None) -> Gates:
    """Gates that enter which of them are read into a set, or into the notes that are being taken, if any are."""
    notes = _NOTES.get()
    if read is None:
        return gates if notes is None else _Watched(gates, notes.outside)
    return _Watched(gates, read)


def entered(wiring: Wiring, edges: nn.ModuleDict, gates: Gates) -> Gates:
    """A cell is being executed, which is noted; gates as they are, since what a cell reads is known by its edges."""
    notes = _NOTES.get()
    if notes is not None:
        notes.cells[id(edges)] = (wiring, edges)
    return gates.gates if isinstance(gates, _Watched) else gates
