"""Oracles that need a run: a training from scratch for every question, and the supernet of a finished search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np

from sharewise.data import Dataset
from sharewise.engine.score import fitness
from sharewise.engine.supernet_oracle import SupernetOracle
from sharewise.errors import ConfigurationError
from sharewise.run.finished import finished_search
from sharewise.run.folder import RunFolder
from sharewise.run.place import Place, Setting
from sharewise.run.standalone import TrainingRecipe
from sharewise.run.train import Training
from sharewise.space import Architecture, Space
from sharewise.strategy.oracle import Evaluation, Oracle

__all__ = ["StandaloneOracle", "supernet_oracle"]


@final
class StandaloneOracle(Oracle):
    """Train every architecture from scratch and score it on held-out training examples; the test examples stay sealed.

    Args:
        space: of the architectures.
        dataset: to train on.
        training: the recipe; its `validation_fraction` must be positive, and its epochs are replaced by the fidelity.
        epochs: fidelities, ascending; `None` for the recipe's own.
        network: options of the network by name.
        seed: of every training.
        device: where to train.
        max_steps: stop each training after so many steps.

    Raises:
        ConfigurationError: when nothing is held out, or the epochs do not ascend.

    Example:
        >>> import sharewise as sw
        >>> oracle = StandaloneOracle(sw.spaces.toy_tied_width(), sw.data.digits(), max_steps=1, device="cpu",
        ...                           training=TrainingRecipe(epochs=1, validation_fraction=0.2))
        >>> architecture = sw.spaces.toy_tied_width().listing.at(0)
        >>> 0 <= oracle.evaluate(architecture, 1, np.random.default_rng(0)).value <= 1
        True
    """

    unit = "multiply-accumulates"

    def __init__(
        self,
        space: Space,
        dataset: Dataset,
        *,
        training: TrainingRecipe | None = None,
        epochs: Sequence[int] | None = None,
        network: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str = "auto",
        max_steps: int | None = None,
    ) -> None:
        self.space, self._dataset = space, dataset
        self._training = training or TrainingRecipe(validation_fraction=0.2)
        if not self._training.validation_fraction:
            raise ConfigurationError("a standalone oracle scores on held-out examples: set validation_fraction > 0")
        self.fidelities = tuple(epochs or (self._training.epochs,))
        if list(self.fidelities) != sorted(set(self.fidelities)) or self.fidelities[0] < 1:
            raise ConfigurationError(f"epochs must ascend and be at least 1, got {self.fidelities}")
        self._setting = Setting(dict(network or {}), seed, Place(device), max_steps)

    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        """See `Oracle.evaluate`; a score that is not a number is the worst there is."""
        if fidelity not in self.fidelities:
            raise ConfigurationError(f"fidelity {fidelity} is none of {self.fidelities}")
        architecture = self.space.own(architecture)
        training = replace(self._training, epochs=fidelity)
        alone = Training(self.space, architecture, self._dataset, training, self._setting, evaluate_on_test=False)
        task, state = self._dataset.task, alone.run().state
        scores = [record["selection"] for record in state.history if "selection" in record]
        cost = float(state.ledger.multiply_accumulates)
        return Evaluation(architecture, fitness(task, scores[-1]), cost, fidelity)


def supernet_oracle(folder: RunFolder, *, device: str | None = None, examples: int | None = None) -> SupernetOracle:
    """The supernet of a finished search, from its folder.

    Args:
        folder: of the run.
        device: overrides the run's.
        examples: selection examples to judge on; `None` for all.

    Returns:
        The oracle; what it costs is charged to a ledger in memory, not to the run's.

    Raises:
        CheckpointError: when the run is no search, not finished, or damaged.
    """
    return SupernetOracle(finished_search(folder, device=device), examples=examples)
