"""Programs: what steps execute in place of a network whose every call is alike; compiled, captured, or both."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from sharewise.errors import ConfigurationError
from sharewise.supernet import Gates

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["drawing_aside", "first_line", "key_of", "require_program"]


def key_of(norms: Sequence[_BatchNorm], training: bool, inputs: Any, gates: Gates) -> Hashable:
    """What changes from call to call of all that the operations of a network depend on.

    The values of tensors are no part of it, nor is what stays for a whole run: precision, layout, and which weights are
    trained.

    Args:
        norms: its norms, which track statistics or do not.
        training: its mode.
        inputs: what it is called with.
        gates: of all decisions.
    """
    leaves, layout = pytree.tree_flatten(inputs)
    shapes = tuple((tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves)
    chosen = tuple((name, gate.active, gate.unit, gate.weights.requires_grad) for name, gate in gates.items())
    tracked = tuple(norm.track_running_stats for norm in norms)
    return shapes, str(layout), chosen, tracked, training


def require_program(state: SearchState, option: str) -> None:
    """Refuse a run whose network is not the same in every step, or that several processes share.

    Args:
        state: at step 0.
        option: by which programs were asked for.

    Raises:
        ConfigurationError: naming what changes, and what would work.
    """
    if state.on_epoch is not None:
        raise ConfigurationError(
            f"drop_path changes the network from epoch to epoch, and what {option} makes of it stays; leave {option} "
            "out, or drop_path"
        )
    if not state.numerics.ranks.alone:
        raise ConfigurationError(
            f"what {option} makes runs in one process, and this is one of several; leave {option} out"
        )


@contextmanager
def drawing_aside(weights: Iterable[Tensor]) -> Iterator[None]:
    """Afterwards random numbers go on as if nothing had been drawn, on the host and where the weights are."""
    devices = sorted({weight.device.index for weight in weights if weight.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        yield


def first_line(error: Exception) -> str:
    """What was wrong; a line that ends with a colon only says who raised it."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line and not line.endswith(":")), type(error).__name__)
