"""Standalone training: an architecture's own weights, from scratch, through the same loop as a search.

A plain network is a supernet without decisions, so one loop, one checkpoint format and one ledger serve both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, final

from torch import Tensor, nn

from sharewise.data import Augmentation, Dataset, Objective, Roles, Task, held_out, single_level
from sharewise.data.photograph import imagenet_augmentation
from sharewise.distribution import Ending, Nothing, Schedule
from sharewise.engine import (
    AdamOptimization,
    Cosine,
    Exponential,
    LinearToZero,
    Optimization,
    Recipe,
    RootMeanSquareOptimization,
    Selected,
    Selection,
    WarmUp,
    WeightOptimization,
    WeightsOnly,
)
from sharewise.engine.state import SearchState
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space import Architecture, DirectRelaxation, Space
from sharewise.supernet import Gates, Shared, Supernet
from sharewise.supernet.structures import call

__all__ = ["Given", "Standalone", "TrainingRecipe"]


@final
class Standalone(Supernet, Shared):
    """A plain network in the place of a supernet: no decisions, no gates.

    Args:
        network: what is trained.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.space = Space("standalone", ())
        self.relaxation = DirectRelaxation(self.space)

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Whatever the network returns; a pair in training mode where it has an auxiliary head."""
        outputs: Tensor = call(self.network, inputs)
        return outputs

    def plain(self, architecture: Architecture) -> nn.Module:
        """A copy of the network."""
        return copy.deepcopy(self.network)

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The whole state of the network, under its own names."""
        return dict(self.network.state_dict())


@final
@dataclass(frozen=True)
class Given(Selection):
    """The architecture was given; there is nothing to select."""

    architecture: Architecture
    reads_probabilities: bool = False

    def select(self, state: SearchState) -> Selected:
        """See `Selection.select`."""
        return Selected(self.architecture, "given")


@final
@dataclass(frozen=True)
class TrainingRecipe:
    """How a single network is trained: stochastic gradient descent with momentum (or another rule) under a schedule.

    Defaults are the schedule of NAS-Bench-201 (learning rate 0.1 at batch size 256, weight decay 5e-4, 200 epochs) at a
    batch size of 64, with the learning rate scaled in proportion. Trainings of papers have names: `sharewise.recipes`.

    Args:
        epochs: passes over the training examples.
        batch_size: examples per step.
        learning_rate: at the start of the schedule.
        momentum: in [0, 1).
        weight_decay: L2.
        gradient_clip: largest global norm of the gradient; 0 for none.
        label_smoothing: mass spread over all classes, in [0, 1).
        drop_path: probability p of dropping an edge's output; p · epoch / epochs, rising from zero as in DARTS.
        auxiliary_weight: weight of an auxiliary classifier's loss; 0 builds none. DARTS uses 0.4. The classifier is
            dropped after training, and not part of the counted costs.
        cutout: side of a square that is erased from each training image; 0 for none. DARTS uses 16.
        validation_fraction: part of the training examples that is held out to follow the training; 0 uses them all.
        optimizer: `"sgd"`; `"adam"`, which has no momentum argument and suits networks without batch norm; `"adamw"`,
            the same with a weight decay apart from the gradient, for transformers; or
            `"rmsprop"` with the semantics of TensorFlow, as in NAS-Bench-101.
        schedule: of the learning rate: half a `"cosine"` to zero; `"linear"` to zero, with a gentle end; or
            `"exponential"`, which multiplies by `decay` after every epoch.
        decay: factor of the exponential schedule from one epoch to the next, in (0, 1].
        warm_up: part of the epochs, in [0, 1), in which the learning rate rises in equal steps to its start.
        nesterov: whether the momentum of `"sgd"` looks ahead.
        transforms: of training images: `"data"`, what the data recommend; or `"imagenet"`, resized crops, mirror images
            and jitter of colours, for photographs.

    Raises:
        ConfigurationError: when a value is out of range, or belongs to another schedule.

    References:
        X. Dong and Y. Yang, *NAS-Bench-201*, ICLR 2020, section 2.3; H. Liu et al., *DARTS*, ICLR 2019, section 3.2.
    """

    epochs: int = 200
    batch_size: int = 64
    learning_rate: float = 0.025
    momentum: float = 0.9
    weight_decay: float = 5e-4
    gradient_clip: float = 5.0
    label_smoothing: float = 0.0
    drop_path: float = 0.0
    auxiliary_weight: float = 0.0
    cutout: int = 0
    validation_fraction: float = 0.0
    optimizer: str = "sgd"
    schedule: str = "cosine"
    decay: float = 0.97
    warm_up: float = 0.0
    nesterov: bool = True
    transforms: str = "data"

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise ConfigurationError(f"validation_fraction must lie in [0, 1), got {self.validation_fraction}")
        if self.optimizer not in _OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, _OPTIMIZERS)
        if self.schedule not in _SCHEDULES:
            raise unknown_name("schedule", self.schedule, _SCHEDULES)
        if self.transforms not in _TRANSFORMS:
            raise unknown_name("transforms", self.transforms, _TRANSFORMS)
        if not 0 <= self.drop_path < 1:
            raise ConfigurationError(f"drop_path must lie in [0, 1), got {self.drop_path}")
        for name in ("auxiliary_weight", "cutout", "gradient_clip"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.schedule != "exponential" and self.decay != _LATER["decay"]:
            raise ConfigurationError(
                f"decay belongs to the exponential schedule, got decay={self.decay} beside schedule={self.schedule!r}; "
                "leave it out, or set schedule to 'exponential'"
            )
        _ = self.learning_rates  # a value that is out of range speaks up now

    @property
    def roles(self) -> Roles:
        """All training examples, or all but the held-out fraction."""
        return held_out(1 - self.validation_fraction) if self.validation_fraction else single_level()

    @property
    def learning_rates(self) -> Schedule:
        """The learning rate over the epochs."""
        schedule = _SCHEDULES[self.schedule](self)
        return WarmUp(schedule, self.warm_up) if self.warm_up else schedule

    def recipe(self, architecture: Architecture) -> Recipe:
        """The same thing in the vocabulary of a search."""
        return Recipe(
            name="standalone",
            distribution=Nothing(),
            level=WeightsOnly(),
            roles=self.roles,
            selection=Given(architecture),
            weights=_OPTIMIZERS[self.optimizer](self),
            epochs=self.epochs,
            batch_size=self.batch_size,
            arguments=self.arguments(),
        )

    def arguments(self) -> dict[str, Any]:
        """The options by name; those that are younger than the first run folders only where they change something.

        Arguments are part of a run's fingerprint, and folders of before must still open.
        """
        return {name: value for name, value in asdict(self).items() if name not in _LATER or value != _LATER[name]}

    def loss(self, task: Task) -> Callable[[Any, Tensor], Tensor]:
        """The training loss: smoothed labels, and the auxiliary head's share where there is one.

        Raises:
            ConfigurationError: when labels shall be smoothed in a task that has none.
        """
        objective: Objective = task.smoothed(self.label_smoothing) if self.label_smoothing else task.loss

        def combined(outputs: Tensor | tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
            if isinstance(outputs, tuple):
                return objective(outputs[0], targets) + self.auxiliary_weight * objective(outputs[1], targets)
            return objective(outputs, targets)

        return combined

    def augmentation(self, dataset: Dataset) -> Augmentation:
        """What the data recommend or `transforms` names, with cutout where it is asked for.

        Raises:
            ConfigurationError: when cutout is asked for and inputs are no images, or smaller ones than the square; or
                when transforms of photographs are, and inputs are no images of three colours.
        """
        recommended = _TRANSFORMS[self.transforms](dataset)
        if not self.cutout:
            return recommended
        if dataset.input_kind != "image":
            raise ConfigurationError(f"cutout needs images, not {dataset.input_kind} inputs")
        if self.cutout > min(dataset.input_shape[1:]):
            size = "×".join(map(str, dataset.input_shape[1:]))
            raise ConfigurationError(
                f"a cutout of {self.cutout} pixels is larger than images of {size} and would erase nearly all of each; "
                "set cutout to half their side, or to 0"
            )
        return recommended.with_cutout(self.cutout)

    def on_epoch(self, network: nn.Module) -> Callable[[int, int], None] | None:
        """What must happen to the network at the start of each epoch.

        Raises:
            ConfigurationError: when the network cannot drop paths.
        """
        if not self.drop_path:
            return None
        set_drop_path = getattr(network, "set_drop_path", None)
        if set_drop_path is None:
            raise ConfigurationError(f"{type(network).__name__} has no paths to drop; set drop_path to 0")

        def set_probability(epoch: int, epochs: int) -> None:
            set_drop_path(self.drop_path * epoch / epochs)

        return set_probability


def _descent(training: TrainingRecipe) -> Optimization:
    return WeightOptimization(
        training.learning_rates,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        nesterov=training.nesterov and training.momentum > 0,
        gradient_clip=training.gradient_clip or None,
    )


def _adam(training: TrainingRecipe) -> AdamOptimization:
    return AdamOptimization(
        training.learning_rates,
        weight_decay=training.weight_decay,
        gradient_clip=training.gradient_clip or None,
    )


def _root_mean_square(training: TrainingRecipe) -> Optimization:
    return RootMeanSquareOptimization(
        training.learning_rates,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        gradient_clip=training.gradient_clip or None,
    )


_OPTIMIZERS: Mapping[str, Callable[[TrainingRecipe], Optimization]] = {
    "sgd": _descent,
    "adam": _adam,
    "adamw": lambda training: replace(_adam(training), decoupled=True),
    "rmsprop": _root_mean_square,
}

_SCHEDULES: Mapping[str, Callable[[TrainingRecipe], Ending]] = {
    "cosine": lambda training: Cosine(training.learning_rate),
    "linear": lambda training: LinearToZero(training.learning_rate),
    "exponential": lambda training: Exponential(training.learning_rate, training.decay),
}


def _of_photographs(dataset: Dataset) -> Augmentation:
    if dataset.input_kind != "image" or dataset.input_shape[0] != 3:
        raise ConfigurationError(
            f"transforms 'imagenet' need images of 3 colours, not inputs of kind {dataset.input_kind} and shape "
            f"{tuple(dataset.input_shape)}; leave transforms out"
        )
    return imagenet_augmentation()


_TRANSFORMS: Mapping[str, Callable[[Dataset], Augmentation]] = {
    "data": lambda dataset: dataset.augmentation,
    "imagenet": _of_photographs,
}

_LATER: Mapping[str, Any] = {
    field.name: field.default
    for field in fields(TrainingRecipe)
    if field.name in ("schedule", "decay", "warm_up", "nesterov", "transforms")
}
"""Options that came after the first run folders, with their defaults."""
