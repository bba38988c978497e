"""The record of a graph: what its operations said about the dimensions of a model's tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from torch import nn

from sharewise.supernet.elastic.dimensions import Dimensions

__all__ = ["Dims", "Record", "Use", "is_own", "opaque"]

Dims = tuple[int, ...]
"""The dimensions of one tensor."""


@final
@dataclass(frozen=True)
class Use:
    """One way in which a parameter is used.

    Args:
        name: path of the parameter as the module that uses it knows it; a tied parameter has several.
        axis: which is contracted with an activation, or `None` where no axis is.
        where: path of the module.
    """

    name: str
    axis: int | None
    where: str


@final
@dataclass
class Record:
    """What an exported graph says about dimensions.

    Args:
        dimensions: all of them.
        tensors: dimensions of every parameter and buffer, by every name that it has.
        uses: of parameters.
        norms: for every layer norm over one dimension that dimension, by path.
        heads: by path of a module the dimensions over which its attention compares queries and keys.
        fields: attributes of layers of torch that hold the size of a dimension, by path and name, and whether in a
            tuple.
        written: the dimension that each layer with weights writes, by path, in order of execution.
        met: dimensions of the tensors that operations read or write, by path of the innermost module that calls them.
        touched: the same by path of the innermost module of the user's own.
        output: shape of the model's output.
    """

    dimensions: Dimensions = field(default_factory=Dimensions)
    tensors: dict[str, Dims] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    norms: dict[str, int] = field(default_factory=dict)
    heads: dict[str, list[int]] = field(default_factory=dict)
    fields: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    met: dict[str, list[int]] = field(default_factory=dict)
    touched: dict[str, list[int]] = field(default_factory=dict)
    output: tuple[int, ...] = ()


def opaque(module: nn.MultiheadAttention | nn.RNNBase) -> str:
    """Why nothing can be chosen in a layer that is made of several."""
    what = "attention" if isinstance(module, nn.MultiheadAttention) else "recurrence"
    return (
        f"{type(module).__name__} cannot have another size inside than outside; write the {what} with linear layers of "
        "its own"
    )


def is_own(module: nn.Module) -> bool:
    """Whether a module's class is the user's and not one of torch."""
    return not type(module).__module__.startswith(("torch.nn", "sharewise."))
