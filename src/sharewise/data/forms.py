"""The forms in which examples are stored, and the one gate that refuses others."""

from __future__ import annotations

import torch
from torch import Tensor

from sharewise.data.columns import Columns, Inputs
from sharewise.data.examples import Examples
from sharewise.data.task import VOID, InputKind, Task
from sharewise.errors import DataError

__all__ = ["check_examples"]

Shape = tuple[int, ...] | dict[str, tuple[int, ...]]
"""Of one example, by name where inputs are columns."""

_FORMS: dict[str, tuple[int, str]] = {
    "image": (4, "uint8 of shape (n, channels, height, width)"),
    "table": (2, "floating point of shape (n, features)"),
    "text": (2, "int64 of shape (n, length)"),
    "array": (0, "floating point of shape (n, …)"),
}


def check_examples(examples: Examples, split: str, name: str, *, kind: InputKind, task: Task, shape: Shape) -> None:
    """Refuse examples of another form than the kind of input and the task ask for.

    Args:
        examples: what is to be stored.
        split: `"training"` or `"test"`, for errors.
        name: of the data set, for errors.
        kind: of the inputs.
        task: of the targets.
        shape: that every input must have.

    Raises:
        DataError: when type, shape or values do not fit.

    Example:
        >>> from sharewise.data.task import classification
        >>> rows = Examples(torch.zeros(2, 3), torch.tensor([0, 7]))
        >>> check_examples(rows, "training", "mine", kind="table", task=classification(2), shape=(3,))
        Traceback (most recent call last):
        sharewise.errors.DataError: the training labels of data set 'mine' must lie in 0 to 1, got values from 0 to 7
    """
    of = f"of data set {name!r}"
    inputs = examples.inputs
    if isinstance(inputs, Columns) or kind == "columns":
        _check_columns(inputs, f"the {split} inputs {of}", kind, shape)
    else:
        _check_inputs(inputs, f"the {split} inputs {of}", kind, shape)
        if kind == "text" and int(inputs.min()) < 0:
            raise DataError(f"the {split} tokens {of} must not be negative, got {int(inputs.min())}")
    tensors = inputs.items() if isinstance(inputs, Columns) else [("inputs", inputs)]
    for part, values in (*tensors, ("targets", examples.targets)):
        if values.is_floating_point() and not values.float().isfinite().all():
            raise DataError(
                f"the {split} {part} {of} have values that are infinite, not a number, or beyond what float32 can "
                "hold; fill, rescale or remove them"
            )
    masks = task.moves == "masks"
    if masks:
        _check_masks(examples, f"the {split} masks {of}", kind)
    if not examples.targets.is_floating_point():
        low, high = int(examples.targets.long().min()), int(examples.targets.long().max())
        if low < (VOID if masks else 0) or high >= task.outputs:
            legal = f"0 to {task.outputs - 1}" + (f", or be {VOID} where none is known" if masks else "")
            raise DataError(f"the {split} labels {of} must lie in {legal}, got values from {low} to {high}")


def _check_columns(inputs: Inputs, where: str, kind: InputKind, shape: Shape) -> None:
    if not isinstance(inputs, Columns) or kind != "columns" or inputs.shapes != shape or not inputs.numel():
        raise DataError(
            f"{where} must be Columns with the same shapes in training and test, and the kind of input 'columns', got "
            f"{inputs if isinstance(inputs, Columns) else 'one tensor'} as {kind!r}"
        )


def _check_inputs(inputs: Tensor, where: str, kind: InputKind, shape: Shape) -> None:
    dimensions, form = _FORMS[kind]
    fits = {
        "image": inputs.dtype == torch.uint8,
        "table": inputs.is_floating_point(),
        "text": inputs.dtype == torch.int64,
        "array": inputs.is_floating_point(),
    }
    right = dimensions in (0, inputs.ndim)
    if not (fits[kind] and inputs.shape[1:] == shape and right and inputs.numel()):
        raise DataError(
            f"{where} must be {form}, alike in training and test, got {inputs.dtype} of shape {tuple(inputs.shape)}"
        )


def _check_masks(examples: Examples, where: str, kind: InputKind) -> None:
    inputs, targets = examples.inputs, examples.targets
    assert isinstance(inputs, Tensor)
    signed = targets.dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
    if not (kind == "image" and signed and targets.shape[1:] == inputs.shape[2:]):
        raise DataError(
            f"{where} must be signed integers of shape (n, height, width), as high and wide as their images, got "
            f"{targets.dtype} of shape {tuple(targets.shape)} for inputs of shape {tuple(inputs.shape)}"
        )
