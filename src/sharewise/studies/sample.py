"""Samples of architectures, and where the truth about them comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from sharewise.engine import SearchState
from sharewise.errors import ConfigurationError
from sharewise.oracle import Table
from sharewise.run.standalone import TrainingRecipe
from sharewise.space import Architecture
from sharewise.studies.trainings import Trained
from sharewise.studies.truth import Truth, draw, truth_of_table, truth_of_trainings

__all__ = ["Sample", "TruthSource", "from_table", "from_trainings"]

Train = Callable[[Sequence[Architecture], TrainingRecipe], list[Trained]]


@final
@dataclass(frozen=True, eq=False)
class Sample:
    """Architectures whose truth is told when it is asked for, since that may take long.

    Args:
        architectures: different ones.
        reveal: the truth about them, or about those whose training did not diverge.
    """

    architectures: Sequence[Architecture]
    reveal: Callable[[], Truth]


class TruthSource(ABC):
    """Where the truth comes from."""

    count: int
    """Architectures that are worth asking about."""

    @property
    @abstractmethod
    def oracle(self) -> Any:
        """Its name in plans, as plain values."""

    @property
    @abstractmethod
    def training(self) -> dict[str, Any] | None:
        """The recipe of trainings that are made here, as plain values."""

    @abstractmethod
    def draw(self, first: SearchState, count: int, rng: np.random.Generator, train: Train) -> Sample:
        """A sample of the architectures of a search.

        Args:
            first: state of the search.
            count: how many.
            rng: draws them.
            train: architectures with the network and the data of the search.
        """

    @abstractmethod
    def notes(self, first: SearchState, truth: Truth) -> list[str]:
        """What a reader must know first."""


def from_table(table: Table, dataset: str | None) -> TruthSource:
    """The truth of a benchmark's table; arguments as for `appraise`."""
    return _Tabulated(table, dataset)


def from_trainings(recipe: TrainingRecipe) -> TruthSource:
    """The truth of trainings that are made here.

    Raises:
        ConfigurationError: when they last no epoch, or hold out no examples.
    """
    return _Standalone(recipe)


@final
@dataclass(frozen=True, eq=False)
class _Tabulated(TruthSource):
    table: Table
    dataset: str | None
    count = 300

    @property
    def oracle(self) -> Any:
        """See `TruthSource.oracle`."""
        return {"benchmark": self.table.benchmark, "dataset": self.dataset}

    @property
    def training(self) -> None:
        """See `TruthSource.training`."""

    def draw(self, first: SearchState, count: int, rng: np.random.Generator, train: Train) -> Sample:
        """See `TruthSource.draw`."""
        space, exclude = first.supernet.space, first.recipe.exclude
        truth = truth_of_table(self.table, space, self.dataset, count, rng, exclude=exclude)
        return Sample(truth.architectures, lambda: truth)

    def notes(self, first: SearchState, truth: Truth) -> list[str]:
        """See `TruthSource.notes`."""
        return [f"the supernets were trained on {first.data.dataset.name}; the truth is that of {truth.source}"]


@final
@dataclass(frozen=True)
class _Standalone(TruthSource):
    recipe: TrainingRecipe
    count = 12
    oracle = "standalone"

    def __post_init__(self) -> None:
        if self.recipe.epochs < 1 or not self.recipe.validation_fraction:
            raise ConfigurationError(
                "trainings need at least 1 epoch, and examples that are held out to score them; got "
                f"{self.recipe.epochs} epochs and a held-out part of {self.recipe.validation_fraction}"
            )

    @property
    def training(self) -> dict[str, Any]:
        """See `TruthSource.training`."""
        return self.recipe.arguments()

    def draw(self, first: SearchState, count: int, rng: np.random.Generator, train: Train) -> Sample:
        """See `TruthSource.draw`."""
        chosen = draw(first.supernet.space, count, rng, exclude=first.recipe.exclude)
        metric, epochs = first.task.primary, self.recipe.epochs

        def reveal() -> Truth:
            trained = train(chosen, self.recipe)
            return truth_of_trainings(chosen, trained, metric=metric, epochs=epochs)

        return Sample(chosen, reveal)

    def notes(self, first: SearchState, truth: Truth) -> list[str]:
        """See `TruthSource.notes`."""
        return []
