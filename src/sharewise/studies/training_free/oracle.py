"""A training-free score as an oracle: architectures are judged at their initialisation, by one batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch

from sharewise.cost import cost
from sharewise.data import Dataset, evaluation_batches
from sharewise.engine import Numerics, seeded_modules, stream
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.ledger import TRAINING
from sharewise.run.networks import build_network, network_options
from sharewise.run.place import Place
from sharewise.space import Architecture, Space
from sharewise.strategy.oracle import Evaluation, Oracle
from sharewise.studies.training_free.scores import SCORES

__all__ = ["TrainingFreeOracle"]


@final
class TrainingFreeOracle(Oracle):
    """Build the plain network of every architecture and score it as it was initialised, on one batch.

    All architectures see the same training examples, without augmentation, and are initialised from the same seed. The
    cost is that of a forward and a backward pass of the batch, or of one example where a score needs no data.

    Args:
        space: whose architectures have plain networks.
        dataset: whose training examples the batch is drawn from.
        score: a key of `SCORES`.
        batch_size: examples in the batch, at least 2; scores of batches of different sizes do not compare.
        network: options of the network by name.
        seed: of the batch and of every initialisation.
        device: where to compute.
        precision: `"float32"` or `"float64"`.

    Raises:
        ConfigurationError: for an unknown score, a batch of one example, or more examples than there are.

    Example:
        >>> import sharewise as sw
        >>> space = sw.spaces.nasbench201()
        >>> oracle = TrainingFreeOracle(space, sw.data.digits(), "naswot", batch_size=8, device="cpu",
        ...                             network={"channels": 2, "cells": 1})
        >>> oracle.evaluate(space.listing.at(1462), 0, np.random.default_rng(0)).value > 0
        True
    """

    unit = "multiply-accumulates"

    def __init__(
        self,
        space: Space,
        dataset: Dataset,
        score: str = "naswot",
        *,
        batch_size: int = 64,
        network: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        if score not in SCORES:
            raise unknown_name("training-free score", score, SCORES)
        if not 2 <= batch_size <= len(dataset.train):
            raise ConfigurationError(
                f"batch_size must lie between 2 and {len(dataset.train)}, the training examples; got {batch_size}"
            )
        if precision not in ("float32", "float64"):
            raise unknown_name("precision of a training-free score:", precision, ("float32", "float64"))
        self.space, self.score, self._dataset, self._score = space, score, dataset, SCORES[score]
        self._network, self._seed = dict(network or {}), seed
        self._place: Numerics = Place(device, precision).numerics()
        order = torch.randperm(len(dataset.train), generator=stream(seed, "training-free"))[:batch_size]
        examples = dataset.train.subset(order)
        [batch] = evaluation_batches(examples, dataset, batch_size, device=self._place.device, dtype=self._place.dtype)
        self._batch = self._place.arrange(batch)

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that a score depends on, beside the architecture."""
        checksum = self._dataset.provenance.get("checksum")
        return {
            "score": self.score,
            "space": self.space.name,
            "data": [self._dataset.name, len(self._dataset.train), list(self._dataset.input_shape), str(checksum)],
            "batch": len(self._batch.inputs),
            "network": network_options(self.space, self._network),
            "seed": self._seed,
            "precision": self._place.precision,
        }

    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        """See `Oracle.evaluate`; a score that is not a number, or infinite, is the worst there is."""
        if fidelity != 0:
            raise ConfigurationError(f"a training-free score has no fidelities, got {fidelity}")
        architecture = self.space.own(architecture)
        data, batch, place = self._dataset, self._batch, self._place
        built = build_network(
            architecture, self.space, data.input_shape, data.task.outputs, network=self._network, seed=self._seed
        )
        passes = TRAINING * (len(batch.inputs) if self._score.reads == "batch" else 1)
        price = cost(built, data.input_shape, integers=data.integers).multiply_accumulates
        network = place.place(built)
        with seeded_modules(self._seed, "modules", place.device):
            value = self._score.function(network, batch.inputs, batch.targets, data.task.loss)
        return Evaluation(architecture, value if math.isfinite(value) else -math.inf, float(max(1, passes * price)))
