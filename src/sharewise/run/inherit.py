"""Inheritance: the first weights of a training are those that a supernet shares, in place of new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from sharewise.engine import SearchState, seeded_modules
from sharewise.errors import ConfigurationError, InheritanceError
from sharewise.own_file import OwnFile
from sharewise.run.folder import RunFolder
from sharewise.run.networks import without_auxiliary
from sharewise.space import Architecture, Space
from sharewise.supernet import RecalibratedStatistics, discrete, extract, to_device

__all__ = ["Inheritance", "extracted", "inheritance_of_folder"]


def extracted(state: SearchState, architecture: Architecture) -> tuple[nn.Module, int]:
    """The plain network of an architecture as a search leaves it; the search stays as it is.

    Batch-norm statistics of its own are estimated from training batches: those of the supernet fit no architecture.

    Args:
        state: at the end of the search.
        architecture: of its space.

    Returns:
        The network in evaluation mode, and how many batches its statistics come from.
    """
    gates = to_device(
        discrete(state.supernet.relaxation.encode(architecture)), state.numerics.device, state.numerics.dtype
    )
    policy = RecalibratedStatistics()
    batches = [batch.inputs for batch in state.calibration_batches(policy.batches)]

    def forward(inputs: Tensor) -> Tensor:
        with state.numerics.autocast():
            outputs: Tensor = state.supernet(inputs, gates)
        return outputs

    with policy.applied(state.supernet, forward, batches):
        network = extract(state.supernet, architecture)
    return network.eval().to(memory_format=torch.contiguous_format), len(batches)  # type: ignore[call-overload]


@final
@dataclass(frozen=True, eq=False)
class Inheritance:
    """A finished search whose shared weights a training starts from.

    Args:
        opened: gives its final state.
        source: which search, in words.
    """

    opened: Callable[[], SearchState]
    source: str

    def give(self, network: nn.Module, architecture: Architecture, space: Space) -> dict[str, Any]:
        """Write the inherited weights and statistics into a network, which then computes what the supernet does.

        An auxiliary head keeps its own weights.

        Args:
            network: plain, before its first step.
            architecture: which one it is.
            space: of the training.

        Returns:
            What a history says of it.

        Raises:
            ConfigurationError: when the weights are of another space, or do not fit the network.
        """
        device = next(network.parameters()).device
        with seeded_modules(0, "inheritance", device):  # opening a search restores its random state as well
            state = self.opened()
        searched = state.supernet.space
        if searched.name != space.name:
            raise ConfigurationError(
                f"{self.source} searched {searched.name!r}, whose weights no network of {space.name!r} can inherit; "
                "leave --space out, or start from scratch"
            )
        try:
            source, batches = extracted(state, searched.own(architecture))
        except InheritanceError as error:
            raise ConfigurationError(
                f"the supernet of {self.source} holds no whole network of {architecture}, as under partial channels "
                f"({' '.join(str(error).split())[:120]}); start from scratch"
            ) from None
        self._copy(source.state_dict(), network)
        return {
            "event": "inherited",
            "from": self.source,
            "method": state.recipe.name,
            "seed": state.seed,
            "steps": state.step,
            "statistics": f"recalibrated on {batches} training batches",
        }

    def _copy(self, weights: Mapping[str, Tensor], network: nn.Module) -> None:
        """Copy all weights or none."""
        here = {name: tuple(value.shape) for name, value in without_auxiliary(network).state_dict().items()}
        there = {name: tuple(value.shape) for name, value in weights.items()}
        for name in dict.fromkeys([*here, *there]):
            if here.get(name) != there.get(name):
                raise ConfigurationError(
                    f"the weights of {self.source} do not fit this network: {name} is {_shape(there.get(name))} there "
                    f"and {_shape(here.get(name))} here. Take the network of the search (leave its options out), or "
                    "start from scratch"
                )
        own = network.state_dict()
        with torch.no_grad():
            for name, value in weights.items():
                own[name].copy_(value)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"


def inheritance_of_folder(path: str | Path, device: str | None = None, own: OwnFile | None = None) -> Inheritance:
    """The inheritance of a finished search, whose folder is opened when the training begins.

    Args:
        path: of its folder.
        device: overrides that of the search.
        own: the file that makes its space, where the user has named one.
    """

    def opened() -> SearchState:
        from sharewise.run.finished import finished_search  # which knows trainings, and those know this module

        return finished_search(RunFolder(path), device=device, own=own)

    return Inheritance(opened, str(path))
