"""Data sets and loaders of torch, read once into memory, so that order and resume are those of sharewise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, default_collate
from torch.utils.data import Dataset as TorchDataset

from sharewise.data.columns import Columns, Inputs
from sharewise.data.dataset import Dataset, Sealed, provenance
from sharewise.data.examples import Examples
from sharewise.data.reading import check_memory
from sharewise.data.task import InputKind, Task
from sharewise.errors import DataError

__all__ = ["from_torch"]

_AT_ONCE = 256
"""Items that are collated together where no loader says."""


def from_torch(
    train: TorchDataset[Any] | DataLoader[Any],
    test: TorchDataset[Any] | DataLoader[Any],
    *,
    task: Task,
    target: str | int = 1,
    name: str = "torch",
) -> Dataset:
    """Take data from map-style data sets of torch, or from loaders of them.

    Every item is read once and kept; a search then shuffles examples by generators of its own, so that a run resumes to
    the bit. What an item draws at random is therefore drawn once: give random transforms as an `Augmentation`. Of a
    loader the data set, the collate function and the batch size are taken; the last serves wherever the recipe of a
    search or a training is not given as a value, which has one of its own. Data that can only be iterated are read to
    their end where they have a `state_dict`, by which they promise an order of their own.

    Args:
        train: training items: pairs of inputs and a target, or mappings of columns, one of which is the target.
        test: the same for the final evaluation.
        task: loss and metrics.
        target: name or place of the target in an item.
        name: a short word for reports.

    Returns:
        The data set. Mappings of several inputs and longer tuples of named fields become columns; uint8 of shape `(n,
        channels, height, width)` an image, int64 of shape `(n, length)` text, floating point of shape `(n, features)` a
        table as it is, and any other floating point an array.

    Raises:
        DataError: for a sampler of its own, data that can only be iterated and have no `state_dict` or no end, or items
            of another form.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> from sharewise.data import classification
        >>> rows = TensorDataset(torch.randn(6, 5, 2), torch.tensor([0, 1, 0, 1, 0, 1]))
        >>> data = from_torch(rows, rows, task=classification(2))
        >>> data.input_kind, data.input_shape
        ('array', (5, 2))
    """
    read = [_read(source, which, target) for source, which in ((train, "training"), (test, "test"))]
    kind = _kind(read[0].inputs)
    notes = provenance(f"{type(train).__name__} of torch", "not stated", *read)
    size = train.batch_size if isinstance(train, DataLoader) else None
    return Dataset(
        name=name,
        task=task,
        input_kind=kind,
        train=read[0],
        test=Sealed(read[1]),
        provenance=notes,
        batch_size=size,
    )


def _read(source: Any, which: str, target: str | int) -> Examples:
    items, collate = _items(source, which)
    count = len(items)
    if not count:
        raise DataError(f"the {which} data set holds no items")
    parts = []
    for start in range(0, count, _AT_ONCE):
        together = [items[i] for i in range(start, min(start + _AT_ONCE, count))]
        with _fitting(which):
            parts.append(_split(collate(together), which, target))
    columns = [Columns(dict(inputs)) for inputs, _ in parts if isinstance(inputs, Mapping)]
    tensors = [inputs for inputs, _ in parts if isinstance(inputs, Tensor)]
    with _fitting(which):
        joined: Inputs = (
            torch.cat(tensors)
            if tensors
            else Columns({column: torch.cat([part[column] for part in columns]) for column in columns[0]})
        )
        return Examples(joined, torch.cat([targets for _, targets in parts]))


@contextmanager
def _fitting(which: str) -> Iterator[None]:
    """Name items that cannot be put side by side."""
    try:
        yield
    except (RuntimeError, TypeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"items of the {which} data do not fit together: {first}; give them one shape each") from None


def _items(source: Any, which: str) -> tuple[Any, Callable[[list[Any]], Any]]:
    collate: Callable[[list[Any]], Any] = default_collate
    if isinstance(source, DataLoader):
        if not isinstance(source.dataset, IterableDataset):
            _require_ordinary(source, which)
        source, collate = source.dataset, source.collate_fn
    if not isinstance(source, IterableDataset) and hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return source, collate
    if isinstance(source, Iterable) and callable(getattr(source, "state_dict", None)):
        return _to_the_end(source, which), collate
    raise DataError(
        f"the {which} data are of type {type(source).__name__}, which can only be iterated and has no order to resume; "
        "give a map-style data set, with __getitem__ and __len__, or one with a state_dict, which is read once"
    )


def _require_ordinary(loader: DataLoader[Any], which: str) -> None:
    """Refuse a loader that decides more than which items follow each other by lot or in their order."""
    sampler: object = loader.sampler if loader.batch_size is not None else loader.batch_sampler
    if sampler is None:
        raise DataError(f"the {which} loader makes no batches (batch_size=None); give its data set")
    if type(sampler) not in (RandomSampler, SequentialSampler):
        raise DataError(
            f"the {which} loader has a {type(sampler).__name__} of its own, whose order could not be resumed; give its "
            "data set"
        )


def _to_the_end(source: Iterable[Any], which: str) -> list[Any]:
    """All items of what can only be iterated, as long as they fit."""
    items: list[Any] = []
    for item in source:
        items.append(item)
        if len(items) % _AT_ONCE == 0:
            check_memory(_AT_ONCE * _bytes(item), f"what follows {len(items):,} items of the {which} data")
    return items


def _bytes(item: Any) -> int:
    """What the tensors and arrays of an item hold."""
    if isinstance(item, Mapping):
        return sum(map(_bytes, item.values()))
    if isinstance(item, list | tuple):
        return sum(map(_bytes, item))
    return int(getattr(item, "nbytes", 0))


def _split(batch: Any, which: str, target: str | int) -> tuple[Tensor | dict[str, Tensor], Tensor]:
    """Inputs and targets of a collated batch."""
    fields: Mapping[Any, Any] = dict(batch) if isinstance(batch, Mapping) else {}
    if isinstance(batch, Sequence) and not isinstance(batch, str):
        names = getattr(batch, "_fields", range(len(batch)))
        fields = dict(zip(names, batch, strict=True))
    tensors = all(isinstance(value, Tensor) or key != target for key, value in fields.items())
    if target not in fields or len(fields) < 2 or not tensors:
        raise DataError(
            f"items of the {which} data must be pairs or mappings of tensors with the target {target!r}, got "
            f"{list(fields) or type(batch).__name__}"
        )
    rest = {str(key): value for key, value in fields.items() if key != target}
    inputs = next(iter(rest.values())) if len(rest) == 1 and not isinstance(batch, Mapping) else rest
    if isinstance(inputs, Mapping) and all(isinstance(value, Tensor) for value in inputs.values()):
        return dict(inputs), _plain(fields[target])
    if isinstance(inputs, Tensor):
        return inputs, _plain(fields[target])
    raise DataError(f"inputs of the {which} data must be tensors, got {type(inputs).__name__}")


def _plain(targets: Tensor) -> Tensor:
    """Numbers of Python become float64 when they are collated; a search computes in another precision."""
    return targets.float() if targets.dtype == torch.float64 else targets


def _kind(inputs: Inputs) -> InputKind:
    if isinstance(inputs, Columns):
        return "columns"
    if inputs.dtype == torch.uint8 and inputs.dim() == 4:
        return "image"
    if inputs.dtype == torch.int64:
        return "text"
    return "table" if inputs.dim() == 2 else "array"
