"""Restore: the network that a run has found or trained, from its folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from sharewise.data import Dataset
from sharewise.engine import Numerics, SearchState, replay
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.own_file import OwnFile
from sharewise.run.configuration import TrainConfiguration, from_mapping
from sharewise.run.folder import RunFolder
from sharewise.run.identity import fingerprint
from sharewise.run.inherit import extracted
from sharewise.run.networks import without_auxiliary
from sharewise.space import Architecture

__all__ = ["Restored", "restore"]


@dataclass(frozen=True)
class Restored:
    """A network with what is needed to evaluate or export it.

    Args:
        network: plain, in evaluation mode.
        architecture: which one.
        dataset: of the run, its test examples sealed.
        numerics: device and precision.
        origin: where the weights come from, in words.
    """

    network: nn.Module
    architecture: Architecture
    dataset: Dataset
    numerics: Numerics
    origin: str


def restore(
    folder: RunFolder, *, device: str | None = None, own: OwnFile | None = None, architecture: str | None = None
) -> Restored:
    """The trained network of a training run, or the found one of a search with inherited weights.

    Inherited weights get batch-norm statistics of their own, re-estimated from training batches.

    Args:
        folder: of a finished run.
        device: overrides the run's.
        own: the file that makes its space, where the user has named one.
        architecture: another one than a search has found, with what it inherits from the same supernet.

    Returns:
        The network on the device.

    Raises:
        CheckpointError: when the run is not finished or its files are damaged.
        UnnamedFileError: when its space was made by a file that the user did not name.
        InheritanceError: when the shared weights of the search fit no plain network.
    """
    stored = folder.read_config()
    result = folder.read_result()
    content = folder.read_checkpoint()
    if content is None:
        raise CheckpointError(f"{folder.checkpoint} is missing; the run cannot be restored without it")
    configuration = from_mapping(stored["command"], stored, own)
    if architecture is not None and isinstance(configuration, TrainConfiguration):
        raise ConfigurationError(f"{folder.path} is a training, which holds no other architecture than its own")
    found = configuration.load_space().parse(architecture or result["architecture"])
    configuration = configuration.looked_at(device)
    place = configuration.place.numerics()
    if isinstance(configuration, TrainConfiguration):
        training = replace(configuration, architecture=str(found)).train()
        state, network = training.prepare()
        _load(state, content, folder)
        network = without_auxiliary(network.eval()).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        begun = "trained from scratch" if configuration.start == "scratch" else "fine-tuned from inherited weights"
        return Restored(network, found, training.dataset, place, begun)
    search = configuration.search()
    state = search.prepare()
    _load(state, content, folder)
    network, batches = extracted(state, found)
    origin = f"inherited from the supernet, batch norm recalibrated on {batches} training batches"
    return Restored(network, found, search.dataset, place, origin)


def _load(state: SearchState, content: dict[str, Any], folder: RunFolder) -> None:
    folder.require_same_run(content, fingerprint(state))
    try:
        replay(state, content["state"]["history"])
        state.supernet.load_state_dict(content["state"]["supernet"])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError):
        raise CheckpointError(
            f"{folder.checkpoint} does not fit the network that {folder.config} describes; was the file replaced?"
        ) from None
