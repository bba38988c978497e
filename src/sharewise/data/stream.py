"""From examples to batches: an endless shuffled stream for training, and one fixed pass for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast, final

import torch
from torch import Tensor

from sharewise.data.augmentation import Augmentation, Paired, Transform, moved, normalise
from sharewise.data.batch import Batch
from sharewise.data.columns import Columns, Inputs
from sharewise.data.examples import Examples
from sharewise.data.on_disk import Ahead, OnDisk
from sharewise.errors import CheckpointError, ConfigurationError, DataError

if TYPE_CHECKING:
    from sharewise.data.dataset import Dataset

Images = tuple[Tensor, Tensor]
"""Images and masks."""

__all__ = ["Stream", "evaluation_batches"]


@final
class Stream:
    """An endless iterator of training batches that can be stopped and resumed to the bit.

    Each pass goes through the examples once in a new random order; the last batch of a pass is dropped when
    it would be smaller than the others, so every batch has the same shape. Examples in memory lie on the device
    from the start, nothing is rebuilt between batches, and no step makes the host wait for the device; images on disk
    are read batch by batch, the next one ahead.

    The stream seeds generators of its own from the two that it is given, one draw from each: two streams made
    from one generator differ, and neither is disturbed by what is drawn elsewhere.

    Args:
        examples: what to read, at least one example.
        batch_size: examples per batch, at least 1; with fewer examples, all of them make one batch.
        order: CPU generator that seeds the order.
        augmentation: what to do at random to each batch.
        augment: CPU generator that seeds the augmentation; `None` for no augmentation.
        masks: whether targets are masks, which the augmentation moves together with their images.
        mean: per-channel means for normalisation, in [0, 1] units; empty for inputs that are not images.
        std: per-channel deviations, likewise.
        device: where batches are wanted.
        dtype: type of floating-point inputs and targets.

    Raises:
        ConfigurationError: when `batch_size` is out of range, or a transform does not know masks.
        DataError: when there are no examples.

    Example:
        >>> examples = Examples(torch.arange(10.0)[:, None], torch.arange(10))
        >>> stream = Stream(examples, 4, order=torch.Generator().manual_seed(0))
        >>> stream.steps_per_pass
        2
        >>> state = stream.state_dict()
        >>> first = next(stream).targets
        >>> stream.load_state_dict(state)
        >>> bool((next(stream).targets == first).all())
        True
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        *,
        order: torch.Generator,
        augmentation: Augmentation | None = None,
        augment: torch.Generator | None = None,
        masks: bool = False,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        _check_batch_size(batch_size)
        if not len(examples):
            raise DataError("a stream of batches needs at least one example, got none; give more training examples")
        self._device = torch.device(device)
        self._dtype = dtype
        self._ahead = Ahead(examples.inputs) if isinstance(examples.inputs, OnDisk) else None
        self._place = self._device if self._ahead is None else torch.device("cpu")
        self._inputs = examples.inputs.to(self._device) if self._ahead is None else examples.inputs
        self._targets = _as_floating(examples.targets.to(self._place), dtype)
        self._mean, self._std = _statistics(mean, std, self._device, dtype)
        self._examples = len(examples)
        self._batch_size = min(batch_size, self._examples)
        self._augmentation = augmentation or Augmentation()
        self._masks = masks
        if masks:
            self._augmentation.check_paired()
        augments = self._augmentation != Augmentation()
        self._augment = _child(augment) if augments and augment is not None else None
        self._order = _child(order)
        self._start_pass()

    @property
    def batch_size(self) -> int:
        """Examples in every batch."""
        return self._batch_size

    @property
    def steps_per_pass(self) -> int:
        """Batches in one pass through the examples, at least 1."""
        return self._examples // self._batch_size

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Batch:
        if self._position == self.steps_per_pass:
            self._start_pass()
        chosen = self._rows_at(self._position)
        self._position += 1
        stored = Batch(self._stored(chosen), self._targets.index_select(0, chosen)).to(self._device)
        inputs, targets = self._transformed(stored, self._augmentation.before)
        inputs = _network_inputs(inputs, self._mean, self._std, self._dtype)
        return self._transformed(Batch(inputs, targets), self._augmentation.after)

    def state_dict(self) -> dict[str, Any]:
        """Say where the stream stands, in tensors and integers only, so that loading it executes no code.

        Returns:
            Sizes, the position in the pass, and the states of the generators.

        Example:
            >>> examples = Examples(torch.zeros(4, 1), torch.zeros(4))
            >>> sorted(Stream(examples, 2, order=torch.Generator()).state_dict())
            ['augment', 'batch_size', 'examples', 'order', 'position']
        """
        return {
            "examples": self._examples,
            "batch_size": self._batch_size,
            "position": self._position,
            "order": self._pass_state.clone(),
            "augment": torch.empty(0, dtype=torch.uint8) if self._augment is None else self._augment.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another stream stood, so that the batches that follow are the same to the bit.

        Args:
            state: from `state_dict` of a stream over the same examples with the same batch size and
                augmentation.

        Raises:
            CheckpointError: when the state is damaged or belongs to a stream of another size.

        Example:
            >>> examples = Examples(torch.zeros(4, 1), torch.zeros(4))
            >>> state = Stream(examples, 2, order=torch.Generator()).state_dict()
            >>> Stream(examples, 4, order=torch.Generator()).load_state_dict(state)
            Traceback (most recent call last):
            sharewise.errors.CheckpointError: the saved stream has batch_size=2, this one has ...
        """
        names = {"examples", "batch_size", "position", "order", "augment"}
        if set(state) != names:
            raise CheckpointError(
                f"the state of a data stream must hold {sorted(names)}, got {sorted(map(str, state))}; the "
                "checkpoint is damaged or from another version"
            )
        for name, own in (("examples", self._examples), ("batch_size", self._batch_size)):
            if state[name] != own:
                raise CheckpointError(
                    f"the saved stream has {name}={state[name]}, this one has {name}={own}; resume with the "
                    "settings of the saved run"
                )
        if (self._augment is None) != (state["augment"].numel() == 0):
            raise CheckpointError(
                "the saved stream and this one differ in whether they augment; resume with the settings of "
                "the saved run"
            )
        if not 0 <= state["position"] <= self.steps_per_pass:
            raise CheckpointError(
                f"the saved position {state['position']} is outside a pass of {self.steps_per_pass} batches; "
                "the checkpoint is damaged"
            )
        order, augment = torch.Generator(), torch.Generator()
        try:
            order.set_state(state["order"].cpu())
            if self._augment is not None:
                augment.set_state(state["augment"].cpu())
        except (RuntimeError, TypeError) as error:
            raise CheckpointError(f"the saved state of a random generator is damaged: {error}") from error
        self._order = order
        self._augment = None if self._augment is None else augment
        self._start_pass()
        self._position = int(state["position"])

    def _rows_at(self, position: int) -> Tensor:
        return self._permutation[position * self._batch_size :][: self._batch_size]

    def _stored(self, rows: Tensor) -> Inputs:
        """The inputs of some rows; of images on disk those of the next batch are read ahead."""
        if self._ahead is None:
            return self._inputs.index_select(0, rows)
        if self._position < self.steps_per_pass:
            return self._ahead.take(rows, then=self._rows_at(self._position))
        order = torch.Generator()  # the next pass, as it will be drawn when the generator itself comes to it
        order.set_state(self._order.get_state())
        following = torch.randperm(self._examples, generator=order)[: self._batch_size]
        return self._ahead.take(rows, then=following)

    def _transformed(self, batch: Batch, transforms: tuple[Transform, ...]) -> Batch:
        if self._augment is not None:
            for transform in transforms:
                if self._masks:
                    batch = Batch(*cast("Paired", transform).paired(*cast("Images", batch), self._augment))
                else:
                    batch = Batch(transform(cast("Tensor", batch.inputs), self._augment), batch.targets)
        return batch

    def _start_pass(self) -> None:
        self._pass_state = self._order.get_state()
        self._permutation = moved(torch.randperm(self._examples, generator=self._order), self._place)
        self._position = 0


def evaluation_batches(
    examples: Examples,
    dataset: Dataset,
    batch_size: int,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    limit: int | None = None,
) -> Iterator[Batch]:
    """Go once through some examples in their own order, normalised and without augmentation.

    Args:
        examples: what to read: a role's part, or the opened test examples.
        dataset: whose normalisation to use.
        batch_size: examples per batch, at least 1; the last batch may be smaller.
        device: where batches are wanted.
        dtype: type of floating-point inputs and targets.
        limit: read only so many examples, evenly spaced over the whole and the same ones each time; `None`
            for all.

    Returns:
        The batches.

    Raises:
        ConfigurationError: when `batch_size` or `limit` is out of range.

    Example:
        >>> from sharewise.data import digits
        >>> data = digits()
        >>> [len(batch.inputs) for batch in evaluation_batches(data.train, data, 4, limit=10)]
        [4, 4, 2]
    """
    _check_batch_size(batch_size)
    if limit is not None and limit < 1:
        raise ConfigurationError(f"the number of examples to evaluate must be at least 1, got {limit}")
    if limit is not None and limit < len(examples):
        examples = examples.subset(torch.arange(limit) * len(examples) // limit)
    place = torch.device(device)
    mean, std = _statistics(dataset.mean, dataset.std, place, dtype)

    ahead = Ahead(examples.inputs) if isinstance(examples.inputs, OnDisk) else None
    everything = torch.arange(len(examples))

    def read(start: int) -> Inputs:
        if ahead is None:
            return examples.inputs[start : start + batch_size]
        after = everything[start + batch_size :][:batch_size]
        return ahead.take(everything[start:][:batch_size], then=after if len(after) else None)

    def batches() -> Iterator[Batch]:
        for start in range(0, len(examples), batch_size):
            targets = examples.targets[start : start + batch_size]
            yield Batch(
                _network_inputs(read(start).to(place, non_blocking=True), mean, std, dtype),
                _as_floating(targets.to(place, non_blocking=True), dtype),
            )

    return batches()


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ConfigurationError(f"the batch size must be at least 1, got {batch_size}")


def _child(parent: torch.Generator) -> torch.Generator:
    """Seed a new generator with one draw from `parent`."""
    return torch.Generator().manual_seed(int(torch.randint(2**63 - 1, (), generator=parent)))


def _statistics(
    mean: Sequence[float], std: Sequence[float], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.tensor(mean, dtype=exact, device=device), torch.tensor(std, dtype=exact, device=device)


def _as_floating(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype) if values.is_floating_point() else values


def _network_inputs(inputs: Inputs, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Inputs:
    if isinstance(inputs, Columns):
        return inputs.to(dtype)
    return normalise(inputs, mean, std, dtype) if mean.numel() else _as_floating(inputs, dtype)
