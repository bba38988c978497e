"""Whether a training step fits into memory, asked before the first one: a process that takes too much is killed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn

from sharewise.cost import TrainingMemory, training_memory
from sharewise.engine import SearchState
from sharewise.errors import ConfigurationError, SharewiseWarning
from sharewise.memory import available_memory
from sharewise.supernet import Gates, to_device

__all__ = ["require_step_fits", "step_memory", "steps_fit"]

_HARMLESS = 20_000
"""What no network of ours keeps, in multiples of its inputs: a step below it needs no look."""

_MOST = 2.5
"""Steps took 1.1 to 2.5 times the estimate where it was measured (mixtures, single paths and entangled weights on
NAS-Bench-201, on a CPU), never less: it leaves out gradients in flight and what kernels need. So nothing that fits is
refused, and what may not fit is warned of."""


def require_step_fits(state: SearchState) -> None:
    """Refuse a run whose step cannot fit into memory, and warn of one whose step may not.

    Of sharded weights nothing is foreseen: no process has all of them, and they cannot be copied.

    Args:
        state: at step 0.

    Raises:
        ConfigurationError: when what a step keeps is by itself more than there is.
    """
    free = _free(state)
    inputs = 4 * _examples(state) * _numbers(state.data.dataset.input_shape)
    if free is None or state.numerics.ranks.sharded or _HARMLESS * inputs < free:
        return
    needed = step_memory(state)
    if needed is None or _MOST * needed.total <= free:
        return
    examples, shape = _examples(state), state.data.dataset.input_shape
    said = (
        f"a training step needs {needed.total / 1e9:.3g} to {_MOST * needed.total / 1e9:.3g} GB of memory "
        f"({needed.activations / 1e9:.3g} GB at least for activations of {examples} examples of shape {shape}), and "
        f"{free / 1e9:.3g} GB are free; choose smaller images (--image-size), batches (--batch-size), "
        "parts of them (--accumulate) or networks (--channels, --cells)"
    )
    if needed.total > free:
        raise ConfigurationError(said)
    warnings.warn(said, SharewiseWarning, stacklevel=2)


def steps_fit(states: Sequence[SearchState], jobs: int = 1) -> bool:
    """Whether the steps of several runs, made at once, surely fit into half of the memory that is free.

    Args:
        states: at step 0, of one data set and batch size.
        jobs: processes that do so, among which the memory is divided.
    """
    free = _free(states[0])
    free = None if free is None else free // jobs
    inputs = 4 * _examples(states[0]) * _numbers(states[0].data.dataset.input_shape)
    if free is None or _HARMLESS * inputs * len(states) < free // 2:
        return True
    needed = [step_memory(state) for state in states]
    return sum(_MOST * found.total if found else free for found in needed) <= free // 2


def step_memory(state: SearchState) -> TrainingMemory | None:
    """What a weight step keeps, foreseen from shapes; `None` for a network that looks at values.

    Args:
        state: at step 0; nothing of it is changed, and no number of its streams is drawn.
    """
    with torch.no_grad():
        draws = state.distribution.draw(state.fresh_generator("memory"), state.phase("weights"))
    dataset = state.data.dataset
    network = _AtGates(state.supernet, to_device(draws[0], torch.device("meta")))
    try:
        found = training_memory(network, dataset.input_shape, _examples(state), integers=dataset.integers)
    except (RuntimeError, NotImplementedError):  # what asks a tensor without values for one
        return None
    mixed = state.numerics.precision == "bfloat16"  # which keeps activations in half as many bytes
    return replace(found, activations=found.activations // 2) if mixed else found


def _examples(state: SearchState) -> int:
    """Of a step that are computed at once."""
    return -(-state.recipe.batch_size // state.numerics.accumulate)


def _numbers(shape: Any) -> int:
    """Of one example."""
    return sum(map(_numbers, shape.values())) if isinstance(shape, Mapping) else math.prod(shape)


def _free(state: SearchState) -> int | None:
    device = state.numerics.device
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()


@final
class _AtGates(nn.Module):
    """A supernet as a network of one input."""

    def __init__(self, supernet: nn.Module, gates: Gates) -> None:
        super().__init__()
        self.supernet, self.gates = supernet, gates

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of a batch."""
        scores: Tensor = self.supernet(inputs, self.gates)
        return scores
