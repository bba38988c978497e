"""What makes any method short and any macro space small, for tests of what has nothing to do with how well it searches.

A macro space is one large network in many sizes. Where its sizes are options, a small version has other ones; elsewhere
its networks are narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.methods import METHODS, build, parameters
from sharewise.run.networks import asked_network, build_supernet
from sharewise.space import Space
from sharewise.spaces import load
from sharewise.supernet import Supernet

__all__ = ["MACRO", "SmallVersion", "first_of_each", "methods_of", "small_arguments", "small_supernet"]

_SMALL: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 16,
    "architecture_every": 1,
    "candidates": 4,
    "finalists": 2,
    "controller_steps": 2,
    "controller_samples": 2,
    "tuning_epochs": 1,
}


@final
@dataclass(frozen=True)
class SmallVersion:
    """A macro space in small.

    Args:
        space: its name, with options where the space has some.
        input_shape: of one example.
        network: options of the network.
        vocabulary: number of tokens where inputs are texts; 0 for images.
    """

    space: str
    input_shape: tuple[int, ...]
    network: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: int = 0


_SIZES = "layers=1,2:heads=1,2:mlp_ratio=2,3"

MACRO: Mapping[str, SmallVersion] = {
    # Of 65 pixels three are left before the last stages, the fewest on which kernels of 3 and 5 differ.
    "attentivenas": SmallVersion("attentivenas:depth=1,2", (2, 65, 65), {"width_multiplier": 0.125, "multiple": 1}),
    **{
        f"hw-gpt-bench:{size}": SmallVersion(f"hw-gpt-bench:{size}:embedding=8,12:{_SIZES}", (5,), {"head_size": 4}, 3)
        for size in "SML"
    },
    "language-model": SmallVersion(f"language-model:embedding=8,12,16:{_SIZES}", (5,), {"dropout": 0.0}, 3),
    **{
        name: SmallVersion(f"{name}:depth=1,2:kernel=3,5:expansion=2,3", (2, 16, 16), {"width_multiplier": 0.1})
        for name in ("mobilenetv3", "proxylessnas")
    },
    "ofa-resnet50": SmallVersion(
        "ofa-resnet50:more=0,1:width=0.5,1.0:expansion=0.25,0.5", (2, 16, 16), {"width_multiplier": 0.06, "multiple": 1}
    ),
    "nasbench_macro": SmallVersion("nasbench_macro", (3, 9, 8), {"channels": 2}),
    "nats_size": SmallVersion("nats_size", (3, 9, 8), {"divisor": 8}),
    **{
        f"vision-transformer-{size}": SmallVersion(
            f"vision-transformer-{size}:embedding=8,12:layers=1,2:heads=1,2:mlp_ratio=1.5,2",
            (1, 4, 8),
            {"patch_size": 2, "stochastic_depth": 0.0},
        )
        for size in ("base", "small", "tiny")
    },
}
"""The macro spaces by name."""


def small_supernet(name: str, *, outputs: int = 3, examples: int = 4, seed: int = 0) -> tuple[Supernet, Tensor]:
    """A supernet of seconds of a macro space, and inputs for it.

    Args:
        name: a key of `MACRO`.
        outputs: classes, or tokens.
        examples: in the batch of inputs.
        seed: of inputs.

    Raises:
        ConfigurationError: for another space.

    Example:
        >>> supernet, tokens = small_supernet("language-model")
        >>> supernet.space.name, tokens.shape
        ('language-model:embedding=8,12,16:layers=1,2:heads=1,2:mlp_ratio=2,3', torch.Size([4, 5]))
    """
    if name not in MACRO:
        raise unknown_name("macro space", name, MACRO)
    small, generator = MACRO[name], torch.Generator().manual_seed(seed)
    shape = (examples, *small.input_shape)
    tokens = torch.randint(min(small.vocabulary, outputs) or 1, shape, generator=generator)
    inputs = tokens if small.vocabulary else torch.randn(shape, generator=generator)
    supernet = build_supernet(load(small.space), small.input_shape, outputs, network=small.network)
    _enliven(supernet, generator)
    return supernet, inputs


def _enliven(supernet: Supernet, generator: torch.Generator) -> None:
    """Give convolutions weights by their number of inputs, in place: an untrained deep network whose weights are drawn
    for norms over batches would in evaluation mode say nothing of what its first layers do."""
    with torch.no_grad():
        for weight in supernet.parameters():
            if weight.dim() == 4:
                weight.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=generator)


def methods_of(space: Space) -> list[str]:
    """The registered methods whose wishes the networks of a space know; all of them for a cell space.

    Args:
        space: that is to be searched.

    Example:
        >>> from sharewise.spaces import load
        >>> set(methods_of(load("nasbench201"))) - set(methods_of(load("toy-tied-width"))) >= {"pc-darts"}
        True
    """
    return [method for method in METHODS if _known(space, method)]


def _known(space: Space, method: str) -> bool:
    try:
        asked_network(space, build(method))
    except ConfigurationError:
        return False
    return True


def small_arguments(method: str, **changes: Any) -> dict[str, Any]:
    """Arguments of a registered method for a run of seconds: two epochs, few candidates, few controller steps.

    Args:
        method: its name.
        changes: replace or add arguments.

    Returns:
        Arguments for `sharewise.methods.build`.

    Example:
        >>> small_arguments("spos", batch_size=8)
        {'epochs': 2, 'batch_size': 8, 'candidates': 4}
    """
    return {key: value for key, value in _SMALL.items() if key in parameters(method)} | changes


def first_of_each(spaces: Iterable[str]) -> tuple[str, ...]:
    """The first space of each family, by the part of its name before a colon, for sweeps that would repeat themselves.

    Args:
        spaces: names.

    Returns:
        Some of them, in their order.

    Example:
        >>> first_of_each(["nasbench1shot1:1", "nasbench1shot1:2", "nasbench201"])
        ('nasbench1shot1:1', 'nasbench201')
    """
    found: dict[str, str] = {}
    for name in spaces:
        found.setdefault(name.partition(":")[0], name)
    return tuple(found.values())
