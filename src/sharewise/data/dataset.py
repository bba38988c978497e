"""A data set: training examples in the open, test examples sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor

from sharewise.data.augmentation import Augmentation
from sharewise.data.columns import Columns, Inputs
from sharewise.data.examples import Examples
from sharewise.data.forms import check_examples
from sharewise.data.on_disk import OnDisk, pieces
from sharewise.data.reading import check_memory
from sharewise.data.resizing import bilinear, nearest
from sharewise.data.roles import RoleData, Roles, deal
from sharewise.data.task import InputKind, Task
from sharewise.errors import ConfigurationError, DataError

__all__ = ["Dataset", "Examples", "Sealed", "channel_statistics", "provenance"]


@final
class Sealed:
    """Test examples behind a seal that records each opening, so that a report can state who looked.

    Args:
        examples: the test examples.

    Example:
        >>> test = Sealed(Examples(torch.zeros(2, 1), torch.zeros(2)))
        >>> test
        Sealed(2 examples, opened 0 times)
        >>> len(test.open("final evaluation")), test.openings
        (2, ('final evaluation',))
    """

    def __init__(self, examples: Examples) -> None:
        self.__examples = examples
        self.__openings: list[str] = []

    def __len__(self) -> int:
        return len(self.__examples)

    def __repr__(self) -> str:
        return f"Sealed({len(self)} examples, opened {len(self.__openings)} times)"

    @property
    def openings(self) -> tuple[str, ...]:
        """The names of the readers, one entry for each opening, oldest first."""
        return tuple(self.__openings)

    def open(self, reader: str) -> Examples:
        """Hand out the test examples and record it.

        Args:
            reader: who looks and why, in a few words, not empty.

        Returns:
            The test examples.

        Raises:
            ConfigurationError: when `reader` is empty.

        Example:
            >>> len(Sealed(Examples(torch.zeros(2, 1), torch.zeros(2))).open("evaluate"))
            2
        """
        if not reader.strip():
            raise ConfigurationError("opening the test set needs the name of the reader, got an empty one")
        self.__openings.append(reader)
        return self.__examples

    def _mapped(self, change: Callable[[Examples], Examples]) -> Sealed:
        """Change the form of the examples unseen; the new seal shares the record of openings."""
        sealed = Sealed(change(self.__examples))
        sealed.__openings = self.__openings
        return sealed


@final
@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything that a search needs to know about its data; `dataclasses.replace` changes a field.

    Args:
        name: a short word for reports.
        task: loss and metrics.
        input_kind: `"image"` (uint8 of shape `(n, channels, height, width)`, or `OnDisk`), `"table"` (floating point
            of shape `(n, features)`), `"text"` (int64 of shape `(n, length)`), `"array"` (floating point of any shape,
            such as series `(n, time, features)`, taken as they are) or `"columns"` (`Columns`, several of these by the
            names of a model's arguments).
        train: the training examples.
        test: the test examples, sealed.
        class_names: names of the classes, or of the tokens; empty for regression.
        mean: per-channel mean of the training images, in [0, 1] units; computed for images when empty.
        std: per-channel deviation of the training images, in [0, 1] units; computed for images when empty.
        augmentation: what is recommended for training on this data.
        provenance: source, licence and checksum, and what was done to the data since.
        sequential: whether examples follow each other and tell of their neighbours, as pieces of one text do; the parts
            of a search are then contiguous.
        batch_size: of the loader that the data came from; a search or a training whose recipe is not given as a value
            takes it.

    Raises:
        DataError: when shapes, types or labels do not fit together.

    Example:
        >>> from sharewise.data import digits
        >>> data = digits()
        >>> data.input_shape, len(data.train), data.test
        ((1, 8, 8), 1437, Sealed(360 examples, opened 0 times))
    """

    name: str
    task: Task = field(repr=False)
    input_kind: InputKind
    train: Examples
    test: Sealed
    class_names: tuple[str, ...] = field(default=(), repr=False)
    mean: tuple[float, ...] = field(default=(), repr=False)
    std: tuple[float, ...] = field(default=(), repr=False)
    augmentation: Augmentation = field(default_factory=Augmentation)
    provenance: Mapping[str, str] = field(default_factory=dict, repr=False)
    sequential: bool = False
    batch_size: int | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._checked(self.train)
        self.test._mapped(self._checked)
        if self.task.moves == "masks":
            self.augmentation.check_paired()
        elif self.input_kind == "image" and self.augmentation != Augmentation():
            self._check_still("augmented")
        inputs = self.train.inputs
        images = self.input_kind == "image" and isinstance(inputs, Tensor | OnDisk)
        if images and not self.mean and not self.std:
            mean, std = channel_statistics(inputs)
            object.__setattr__(self, "mean", mean)
            object.__setattr__(self, "std", std)
        channels = inputs.shape[1] if images else 0
        if not len(self.mean) == len(self.std) == channels or not all(value > 0 for value in self.std):
            raise DataError(
                f"data set {self.name!r} needs a mean and a positive deviation for each of {channels} "
                f"channels, got mean={self.mean} and std={self.std}"
            )

    @property
    def input_shape(self) -> Any:
        """Shape of one input: `(channels, height, width)`, `(features,)`, `(length,)`, or such by name of a column."""
        return _shape(self.train.inputs)

    @property
    def integers(self) -> Any:
        """Whether inputs are indices; by name where they are columns."""
        inputs = self.train.inputs
        return inputs.integers if isinstance(inputs, Columns) else self.input_kind == "text"

    @property
    def openings(self) -> tuple[str, ...]:
        """Who opened the test examples, one entry for each opening, through limited or resized copies too."""
        return self.test.openings

    def open_test(self, reader: str) -> Examples:
        """Hand out the test examples for the final evaluation, and record who asked.

        Args:
            reader: who looks and why, in a few words, not empty.

        Returns:
            The test examples.

        Raises:
            ConfigurationError: when `reader` is empty.

        Example:
            >>> from sharewise.data import digits
            >>> data = digits()
            >>> len(data.open_test("evaluate")), data.openings
            (360, ('evaluate',))
        """
        return self.test.open(reader)

    def assign(self, roles: Roles, *, generator: torch.Generator) -> RoleData:
        """Deal the training examples out to the roles of a search.

        Args:
            roles: the parts and who reads them.
            generator: CPU generator of the random partition.

        Returns:
            The data by role.

        Raises:
            DataError: when there are too few examples for a part.

        Example:
            >>> from sharewise.data import digits, single_level
            >>> digits().assign(single_level(), generator=torch.Generator()).size("architecture")
            1437
        """
        return deal(self, roles, generator)

    def limited(self, examples: int | None, *, seed: int) -> Dataset:
        """Keep a random subset of the training examples, as even over the classes as they allow.

        A smaller subset of the same seed is part of a larger one. The test examples and the statistics of
        normalisation stay those of the whole data set, so that results of different sizes are comparable.

        Args:
            examples: how many to keep, at least 1; `None` for all.
            seed: of the draw.

        Returns:
            The smaller data set.

        Raises:
            ConfigurationError: when `examples` is below 1, or above what there is.

        Example:
            >>> from sharewise.data import digits
            >>> digits().limited(20, seed=0).train.targets.bincount()
            tensor([2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
        """
        if examples is None:
            return self
        n = len(self.train)
        if not 1 <= examples <= n:
            raise ConfigurationError(
                f"cannot keep {examples} training examples of data set {self.name!r}; give a number from 1 to {n}"
            )
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        labels = self._labels
        if labels is not None:
            order = order[_turn_in_class(labels[order]).argsort(stable=True)]
        kept = order[:examples].sort().values
        notes = {**self.provenance, "training examples": f"{examples} of {n}, seed {seed}"}
        return replace(self, train=self.train.subset(kept), provenance=notes)

    def resized(self, size: int) -> Dataset:
        """Bring all images, training and test, to another size by antialiased bilinear interpolation.

        Where targets are masks, they follow: each new pixel takes the class of the nearest old one.

        Args:
            size: new height and width in pixels, at least 1.

        Returns:
            The data set with images of `size` × `size`, still uint8, and statistics of its own.

        Raises:
            ConfigurationError: when the inputs are no images, `size` is below 1, or the task does not say what of its
                targets moves with an image.
            DataError: when the machine has too little memory for images of that size.

        Example:
            >>> from sharewise.data import digits
            >>> digits().resized(16).input_shape
            (1, 16, 16)
        """
        if self.input_kind != "image":
            raise ConfigurationError(
                f"data set {self.name!r} holds {self.input_kind} inputs, which have no image size; leave "
                "--image-size out"
            )
        if size < 1:
            raise ConfigurationError(f"the image size must be at least 1 pixel, got {size}")
        if self.input_shape[1:] == (size, size):
            return self
        count = len(self.train) + len(self.test)
        if not isinstance(self.train.inputs, OnDisk):
            check_memory(count * self.input_shape[0] * size**2, f"{count:,} images of {size}x{size} pixels")
        if self.task.moves != "masks":
            self._check_still("resized")

        def change(examples: Examples) -> Examples:
            targets = nearest(examples.targets, size) if self.task.moves == "masks" else examples.targets
            inputs = examples.inputs
            return Examples(inputs.resized(size) if isinstance(inputs, OnDisk) else bilinear(inputs, size), targets)

        notes = {
            **self.provenance,
            "image size": f"{self.input_shape[1]}x{self.input_shape[2]} to {size}x{size}",
        }
        return replace(
            self, train=change(self.train), test=self.test._mapped(change), mean=(), std=(), provenance=notes
        )

    @property
    def _labels(self) -> Tensor | None:
        """The class of each training example, where targets are that, whatever the task is called."""
        targets = self.train.targets
        one_each = not targets.is_floating_point() and targets.numel() == len(targets) and self.task.moves != "masks"
        return targets.flatten().long() if one_each else None

    def _check_still(self, done: str) -> None:
        """Refuse to move images whose targets may have to move with them."""
        if self.task.moves is None and self._labels is None:
            raise ConfigurationError(
                f"the images of data set {self.name!r} cannot be {done}: the task {self.task.name!r} does not say what "
                f"of its targets of shape {tuple(self.train.targets.shape)} moves with them; give the task "
                "moves='nothing' or 'masks', or leave the images as they are (Augmentation())"
            )

    def _checked(self, examples: Examples) -> Examples:
        """Refuse examples of another form than the input kind, the task and the training examples ask for."""
        which = "training" if examples is self.train else "test"
        if not len(examples):
            raise DataError(f"data set {self.name!r} has no {which} examples; it needs at least one")
        shape = _shape(self.train.inputs)
        check_examples(examples, which, self.name, kind=self.input_kind, task=self.task, shape=shape)
        return examples


def _shape(inputs: Inputs) -> Any:
    return inputs.shapes if isinstance(inputs, Columns) else tuple(inputs.shape[1:])


def channel_statistics(images: Inputs) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure mean and deviation of each channel exactly, from its histogram.

    Args:
        images: uint8 of shape `(n, channels, height, width)`, or `OnDisk`.

    Returns:
        Means and deviations in [0, 1] units, one for each channel; a constant channel gets deviation 1.

    Example:
        >>> channel_statistics(torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1))
        ((0.5,), (0.5,))
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for piece in pieces(images):
        counts += torch.stack([torch.bincount(channel.flatten(), minlength=256).cpu() for channel in piece.unbind(1)])
    for count in counts:
        shares = count.double() / count.sum()
        mean = (shares * levels).sum()
        deviation = (shares * (levels - mean).square()).sum().sqrt()
        means.append(float(mean))
        deviations.append(float(deviation) if shares.max() < 1 else 1.0)
    return tuple(means), tuple(deviations)


def provenance(source: str, licence: str, train: Examples, test: Examples) -> dict[str, str]:
    """Describe where data came from, with a checksum of what was read, so that a run can name its data.

    Args:
        source: where the data came from.
        licence: under which terms.
        train: the training examples as read.
        test: the test examples as read.

    Returns:
        `source`, `licence` and `checksum` (SHA-256 of inputs and targets, training before test, in storage
        order).

    Example:
        >>> examples = Examples(torch.zeros(2, 1), torch.zeros(2))
        >>> provenance("made up", "none", examples, examples)["checksum"][:15]
        'sha256:66687aad'
    """
    digest = hashlib.sha256()
    for part in (train.inputs, train.targets, test.inputs, test.targets):
        for tensor in part.values() if isinstance(part, Columns) else (part,):
            for piece in pieces(tensor):
                digest.update(piece.contiguous().numpy().data)
    return {"source": source, "licence": licence, "checksum": f"sha256:{digest.hexdigest()}"}


def _turn_in_class(labels: Tensor) -> Tensor:
    """For each label, how many equal labels come before it."""
    by_class = labels.argsort(stable=True)
    counts = labels.bincount()
    starts = counts.cumsum(0) - counts
    turns = torch.empty_like(by_class)
    turns[by_class] = torch.arange(len(labels)) - starts[labels[by_class]]
    return turns
