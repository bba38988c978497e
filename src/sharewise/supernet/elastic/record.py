"""The record of a graph: what its operations said about the dimensions of a model's tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from torch import nn

from sharewise.supernet.elastic.calls import Form
from sharewise.supernet.elastic.dimensions import Dimensions
from sharewise.supernet.elastic.narrowing import Narrowing
from sharewise.supernet.elastic.places import Place

__all__ = ["Dims", "Record", "Use", "is_own"]

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
        sums: what watched calls sum over without weights, by key: the operation, then operand, axis and dimension.
        options: of these operations, by key.
        forms: what each watched call may look like, by key.
        runs: how many watched calls of each function the runs of a module made, by path.
        callers: paths of the modules that make watched calls.
        norms: for every layer norm over one dimension that dimension, by path.
        heads: by path of a module the dimensions over which its attention compares queries and keys.
        fields: attributes of layers of torch that hold the size of a dimension, by path and name, and whether in a
            tuple.
        written: the dimension that each layer with weights writes, by path, in order of execution.
        met: dimensions of the tensors that operations read or write, by path of the innermost module that calls them.
        touched: the same by path of the innermost module of the user's own.
        narrowings: how the dimensions of places are narrowed, by place, as far as it was asked.
        outputs: shapes of what the model returns, by words for its place in the structure.
    """

    dimensions: Dimensions = field(default_factory=Dimensions)
    tensors: dict[str, Dims] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    sums: dict[str, tuple[str, dict[tuple[int, int], int]]] = field(default_factory=dict)
    options: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    forms: Mapping[str, frozenset[Form]] = field(default_factory=dict)
    runs: Mapping[str, Sequence[Mapping[str, int]]] = field(default_factory=dict)
    callers: frozenset[str] = frozenset()
    norms: dict[str, int] = field(default_factory=dict)
    heads: dict[str, list[int]] = field(default_factory=dict)
    fields: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    met: dict[str, list[int]] = field(default_factory=dict)
    touched: dict[str, list[int]] = field(default_factory=dict)
    narrowings: dict[Place, Narrowing] = field(default_factory=dict)
    outputs: dict[str, tuple[int, ...]] = field(default_factory=dict)


def is_own(module: nn.Module) -> bool:
    """Whether a module keeps sizes that no rule knows: those of the user's classes, and torch's attention."""
    known = type(module).__module__.startswith(("torch.nn", "sharewise.supernet."))
    return isinstance(module, nn.MultiheadAttention) or not known
