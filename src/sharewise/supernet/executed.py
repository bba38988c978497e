"""How many weights of convolutions a pass reads: what closed forms of multiply-accumulates are made of."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from sharewise.supernet.execution import terms_of
from sharewise.supernet.gate import Gates
from sharewise.supernet.slices import SlicedConv2d

__all__ = ["weights_executed", "weights_of_edges"]

_NO_GATES: Gates = MappingProxyType({})


def weights_executed(module: nn.Module, gates: Gates = _NO_GATES) -> int:
    """Weights of all convolutions of a module, of entangled kernels those that are executed.

    Times the pixels of their output they are the multiply-accumulates of one image.

    Args:
        module: a layer, or several.
        gates: for kernels that are entangled.

    Example:
        >>> weights_executed(nn.Sequential(nn.ReLU(), nn.Conv2d(2, 4, 3)))
        72
    """
    total = 0
    for layer in module.modules():
        if isinstance(layer, SlicedConv2d):
            total += layer.weight.numel() * layer.kernel.size(gates) ** 2 // layer.kernel.largest**2
        elif isinstance(layer, nn.Conv2d):
            total += layer.weight.numel()
    return total


def weights_of_edges(edges: Mapping[str, nn.Module] | nn.ModuleDict, gates: Gates) -> int:
    """Weights of the active operations of a cell's edges.

    Args:
        edges: by name, as `execute` takes them.
        gates: of all decisions of the edges.
    """
    parts = [part for edge in edges.values() for part in terms_of(edge, gates)]
    return sum(weights_executed(layer, part.gates) for part in parts for layer in part.body)
