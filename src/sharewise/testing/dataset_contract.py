"""The contract of a data set: the same at every reading, its test examples apart, its statistics those of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from sharewise.data import Dataset, Examples
from sharewise.data.dataset import channel_statistics
from sharewise.data.on_disk import in_memory
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.augmentation_contract import check_augmentation, check_moves_together
from sharewise.testing.expect import expect

__all__ = ["check_dataset"]


def check_dataset(
    load: Callable[[], Dataset],
    *,
    train_examples: int | None = None,
    test_examples: int | None = None,
    known: Mapping[int, tuple[Tensor, Tensor | float]] | None = None,
    duplicates: float = 0.005,
    tolerance: float = 1e-3,
) -> None:
    """Check a function that reads a data set.

    *Repeatable*: two readings give the same examples in the same order, with the same labels, and the global generators
    stay where they are. *Sealed*: reading opens no test example, and the test examples are not among those for
    training. *Normalised by training*: mean and deviation are those of the training images. *Labelled*: every class of
    the task has training examples, every class a name where classes have names; targets are finite. *Worth learning*:
    inputs are finite and not all alike. *Augmented*: what is recommended for training keeps `check_augmentation`, and
    spatial targets move with their images (`check_moves_together`). *Named*: the provenance says where it came from.

    *Right*: examples that are known are where they should be, with their own targets; without one, images that are
    transposed and labels of other images go unnoticed.

    Args:
        load: reads the whole data set, whose statistics a `limited` one keeps; called twice.
        train_examples: how many the source states.
        test_examples: likewise.
        known: by place among the training examples, input and target as they should be stored, found without
            the reader.
        duplicates: the share of test examples whose inputs may occur in training; published sets have a few, and a
            table of few coarse features may need more.
        tolerance: of the statistics of normalisation, in [0, 1] units; published ones are rounded.

    Raises:
        AssertionError: for the first law that is broken.

    Example:
        >>> from sharewise.data import digits
        >>> check_dataset(digits, train_examples=1437, test_examples=360)
    """
    with without_ambient_randomness("reading the data set"):
        dataset = _held(load())
    name, train = dataset.name, dataset.train
    expect(not dataset.openings, f"the test examples of {name!r} were opened while it was read: {dataset.openings}")
    _check_values(dataset)
    _check_known(dataset, known or {})
    _check_again(dataset, _held(load()))
    for what, found, stated in (
        ("training", len(train), train_examples),
        ("test", len(dataset.test), test_examples),
    ):
        expect(stated is None or found == stated, f"{name!r} has {found:,} {what} examples, the source states {stated}")
    _check_leaks(dataset, duplicates)
    if dataset.input_kind == "image":
        _check_statistics(dataset, tolerance)
    _check_labels(dataset)
    batch = train.inputs[:: max(1, len(train) // 16)][:16]
    for transform in dataset.augmentation.before:
        check_augmentation(transform, batch)
    for transform in dataset.augmentation.after:
        check_augmentation(transform, batch.float() + 1)
    check_moves_together(dataset)
    missing = [part for part in ("source",) if not dataset.provenance.get(part)]
    expect(not missing, f"the provenance of {name!r} does not say its {' and '.join(missing)}")


def _held(dataset: Dataset) -> Dataset:
    """The same in memory, where its images lie on disk; the new seal shares the record of openings."""

    def read(examples: Examples) -> Examples:
        return Examples(in_memory(examples.inputs), examples.targets)

    return replace(dataset, train=read(dataset.train), test=dataset.test._mapped(read))


def _check_again(first: Dataset, second: Dataset) -> None:
    parts: dict[str, tuple[Examples, Examples]] = {
        "training": (first.train, second.train),
        "test": (first.open_test("check_dataset"), second.open_test("check_dataset")),
    }
    for which, (one, other) in parts.items():
        for what in ("inputs", "targets"):
            mine, theirs = getattr(one, what), getattr(other, what)
            expect(
                mine.shape == theirs.shape and bool(torch.equal(mine, theirs)),
                f"two readings of {first.name!r} differ in the {which} {what}: in their order, or in something drawn",
            )
    for field in ("name", "class_names", "mean", "std"):
        mine, theirs = getattr(first, field), getattr(second, field)
        expect(mine == theirs, f"two readings of {first.name!r} differ in their {field}: {mine} and {theirs}")


def _check_values(dataset: Dataset) -> None:
    for which, examples in (("training", dataset.train), ("test", dataset.open_test("check_dataset"))):
        for what in ("inputs", "targets"):
            values: Tensor = getattr(examples, what)
            expect(bool(values.isfinite().all()), f"the {which} {what} of {dataset.name!r} are not all finite")
        alike = bool((examples.inputs == examples.inputs[:1]).all())
        expect(not alike or len(examples) == 1, f"all {which} inputs of {dataset.name!r} are equal")


def _check_known(dataset: Dataset, known: Mapping[int, tuple[Tensor, Tensor | float]]) -> None:
    train = dataset.train
    for place, (inputs, target) in known.items():
        for what, found, stated in (
            ("input", train.inputs[place], inputs),
            ("target", train.targets[place], torch.as_tensor(target)),
        ):
            alike = found.shape == stated.shape and bool(torch.equal(found.double(), stated.double()))
            turned = what == "input" and bool(torch.equal(found.double(), stated.double().transpose(-1, -2)))
            expect(
                alike,
                f"the {what} of training example {place} of {dataset.name!r} is not what it is known to be"
                + (f": {float(found):g} in place of {float(stated):g}" if found.numel() == stated.numel() == 1 else "")
                + (": it is transposed" if turned else ""),
            )


def _check_leaks(dataset: Dataset, allowed: float) -> None:
    """Test inputs that are training inputs, to the bit."""
    test = dataset.open_test("check_dataset").inputs
    known = set(map(bytes, dataset.train.inputs.flatten(1).contiguous().numpy()))
    met = sum(bytes(row) in known for row in test.flatten(1).contiguous().numpy())
    expect(
        met <= allowed * len(test),
        f"{met:,} of {len(test):,} test examples of {dataset.name!r} are training examples too; only {allowed:.2%} may "
        "be (duplicates=)",
    )


def _check_statistics(dataset: Dataset, tolerance: float) -> None:
    stated = {"mean": dataset.mean, "std": dataset.std}
    measured = dict(zip(stated, channel_statistics(dataset.train.inputs), strict=True))
    for what, values in stated.items():
        gap = max(abs(a - b) for a, b in zip(values, measured[what], strict=True))
        if gap <= tolerance:
            continue
        test = dict(zip(stated, channel_statistics(dataset.open_test("check_dataset").inputs), strict=True))[what]
        peeked = max(abs(a - b) for a, b in zip(values, test, strict=True)) < gap
        raise AssertionError(
            f"{dataset.name!r} is normalised by a {what} of {_short(values)}, but that of its training images is "
            f"{_short(measured[what])}"
            + (f"; it is nearer to that of the test images, {_short(test)}" if peeked else "")
        )


def _short(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def _check_labels(dataset: Dataset) -> None:
    task, names = dataset.task, dataset.class_names
    expect(
        not names or len(names) == task.outputs,
        f"{dataset.name!r} names {len(names)} classes, but its task has {task.outputs}",
    )
    if task.name == "classification":
        counts = dataset.train.targets.flatten().bincount(minlength=task.outputs)
        empty = (counts == 0).nonzero().flatten().tolist()
        expect(
            not empty,
            f"the task of {dataset.name!r} has {task.outputs} classes, but no training example is of class {empty[:5]}",
        )
