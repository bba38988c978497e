"""Structures: what a model takes and returns, made of tensors in tuples, lists, mappings and dataclasses."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError

__all__ = [
    "Inputs",
    "blank",
    "call",
    "converted",
    "examples_of",
    "integers_of",
    "leaves",
    "mapped",
    "require_inputs",
    "shape_words",
    "shapes_of",
]

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""The one argument of a model, or all positional ones as a tuple, or all by keyword as a mapping."""


def call(model: Callable[..., Any], inputs: Inputs) -> Any:
    """Run a model on its arguments.

    Args:
        model: or its forward.
        inputs: one tensor, a tuple of positional arguments, or a mapping of keyword arguments.

    Example:
        >>> call(torch.add, (torch.ones(1), torch.ones(1))), call(torch.neg, torch.ones(1))
        (tensor([2.]), tensor([-1.]))
    """
    if isinstance(inputs, Mapping):
        return model(**{str(name): value for name, value in inputs.items()})
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def leaves(structure: object, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of a structure with words for their places, in order; what is no tensor is left out.

    Args:
        structure: tensors in tuples, lists, mappings and dataclasses.
        path: words for the structure itself.

    Example:
        >>> [path for path, _ in leaves({"scores": torch.ones(1), "states": (None, torch.ones(1))})]
        ["['scores']", "['states'][1]"]
    """
    if isinstance(structure, Tensor):
        yield path, structure
        return
    for key, value in _members(structure):
        yield from leaves(value, f"{path}[{key!r}]")


def _members(structure: object) -> list[tuple[object, Any]]:
    if isinstance(structure, Mapping):
        return list(structure.items())
    if isinstance(structure, tuple | list):
        return list(enumerate(structure))
    if dataclasses.is_dataclass(structure) and not isinstance(structure, type):
        return [(field.name, getattr(structure, field.name)) for field in dataclasses.fields(structure)]
    return []


def mapped(function: Callable[[Tensor], Tensor], structure: Any) -> Any:
    """The same structure with another tensor in the place of each.

    Args:
        function: of a tensor.
        structure: tensors in tuples, lists, mappings and dataclasses.

    Example:
        >>> mapped(torch.neg, {"a": (torch.ones(1), None)})
        {'a': (tensor([-1.]), None)}
    """
    if isinstance(structure, Tensor):
        return function(structure)
    changed = {key: mapped(function, value) for key, value in _members(structure)}
    if isinstance(structure, Mapping):
        made: Any = copy.copy(structure)
        for key, value in changed.items():
            made[key] = value
        return made
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):  # a named tuple
        return type(structure)(*changed.values())
    if isinstance(structure, tuple | list):
        return type(structure)(changed.values())
    return (
        dataclasses.replace(structure, **{str(name): value for name, value in changed.items()})
        if changed
        else structure
    )


def converted(structure: Any, dtype: torch.dtype) -> Any:
    """The same structure with its tensors of floating point in another precision.

    Example:
        >>> converted((torch.ones(1), torch.ones(1, dtype=torch.long)), torch.float64)
        (tensor([1.], dtype=torch.float64), tensor([1]))
    """
    return mapped(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, structure)


def examples_of(inputs: Inputs) -> int:
    """How many examples a batch of inputs holds: the length of its first tensor.

    Example:
        >>> examples_of({"left": torch.zeros(3, 2), "right": torch.zeros(3, 2)})
        3
    """
    return next((len(tensor) for _, tensor in leaves(inputs) if tensor.dim()), 0)


def shape_words(structure: object) -> str:
    """Shapes and types of all tensors, for messages.

    Example:
        >>> shape_words((torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)))
        '[0] of shape (2, 3) and torch.float32, [1] of shape (2,) and torch.int64'
    """
    return ", ".join(
        f"{path} of shape {tuple(tensor.shape)} and {tensor.dtype}".strip() for path, tensor in leaves(structure)
    )


def require_inputs(model: nn.Module, inputs: object) -> None:
    """Refuse what are no arguments of a model.

    Raises:
        ConfigurationError: for anything else than a tensor, a tuple or a mapping, or one without an example.
    """
    if not isinstance(inputs, Tensor | tuple | Mapping):
        raise ConfigurationError(
            f"elastic needs an example of the arguments of {type(model).__name__}: one tensor, a tuple of positional "
            f"arguments or a mapping of keyword arguments, got a {type(inputs).__name__}"
        )
    found = list(leaves(inputs))
    if not found or any(not tensor.numel() for _, tensor in found):
        what = f"tensors {shape_words(inputs)}" if found else "no tensor"
        raise ConfigurationError(f"the example must hold at least one input, got {what}")


def shapes_of(inputs: Inputs) -> Any:
    """The shape of one example: a tuple of sizes, or one by name or place where there are several tensors.

    Example:
        >>> shapes_of(torch.zeros(2, 3)), shapes_of({"left": torch.zeros(2, 3), "right": torch.zeros(2)})
        ((3,), {'left': (3,), 'right': ()})
    """
    if isinstance(inputs, Tensor):
        return tuple(inputs.shape[1:])
    if isinstance(inputs, Mapping):
        return {name: shapes_of(value) for name, value in inputs.items() if isinstance(value, Tensor)}
    return tuple(shapes_of(value) for value in inputs if isinstance(value, Tensor | Mapping | tuple))


def integers_of(inputs: Inputs) -> Any:
    """Whether inputs are indices, or such by name or place where there are several tensors.

    Example:
        >>> integers_of({"tokens": torch.zeros(2, 3, dtype=torch.long), "numbers": torch.zeros(2, 4)})
        {'tokens': True, 'numbers': False}
    """
    if isinstance(inputs, Tensor):
        return not inputs.is_floating_point()
    if isinstance(inputs, Mapping):
        return {name: integers_of(value) for name, value in inputs.items() if isinstance(value, Tensor)}
    return tuple(integers_of(value) for value in inputs if isinstance(value, Tensor | Mapping | tuple))


def blank(
    shape: Any, rows: int, *, integers: Any, floating: torch.dtype, device: torch.device | str = "meta"
) -> Inputs:
    """Zeros of the form of a batch.

    Args:
        shape: of one example, or such by name or place.
        rows: examples.
        integers: whether they are indices, or such by name or place.
        floating: precision of what is none.
        device: where they lie.

    Example:
        >>> blank({"a": (3,)}, 2, integers={"a": True}, floating=torch.float32)["a"].shape
        torch.Size([2, 3])
    """
    if isinstance(shape, Mapping):
        kinds = integers if isinstance(integers, Mapping) else dict.fromkeys(shape, integers)
        return {
            name: torch.zeros((rows, *own), dtype=torch.long if kinds[name] else floating, device=device)
            for name, own in shape.items()
        }
    if isinstance(shape, tuple) and any(isinstance(own, tuple | Mapping) for own in shape):
        each = integers if isinstance(integers, tuple) else (integers,) * len(shape)
        return tuple(
            blank(own, rows, integers=kind, floating=floating, device=device)
            for own, kind in zip(shape, each, strict=True)
        )
    return torch.zeros((rows, *shape), dtype=torch.long if integers else floating, device=device)
