"""The networks of a run: supernets and plain networks, initialised from a seed, with or without an auxiliary head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from torch import nn

from sharewise.data import Dataset
from sharewise.engine import Recipe, seeded_modules
from sharewise.errors import ConfigurationError
from sharewise.given import shape, whole
from sharewise.run.arguments import AnyArchitecture, AnySpace, architecture_of, network_of, space_of
from sharewise.space import Space
from sharewise.spaces import SPACES, load
from sharewise.supernet import Supernet, networks_of
from sharewise.supernet.weights import fitting
from sharewise.supernet.without_values import without_values

__all__ = [
    "asked_network",
    "build_extracted",
    "build_network",
    "build_supernet",
    "network_options",
    "require_input_kind",
    "with_auxiliary",
    "without_auxiliary",
]


def build_supernet(
    space: AnySpace,
    input_shape: Sequence[int],
    outputs: int,
    *,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Supernet:
    """The shared network of a space, initialised from the stream `initialisation` of a seed.

    Args:
        space: any space that has networks, or its name.
        input_shape: of one example.
        outputs: number of classes or targets.
        network: network options by name (`{"channels": 16, "cells": 5}`).
        seed: of the initialisation.

    Returns:
        The supernet on the CPU.

    Raises:
        ConfigurationError: for an unknown or illegal option.

    Example:
        >>> from sharewise.spaces import load
        >>> supernet = build_supernet(load("toy-tied-width"), (4,), outputs=3)
        >>> type(supernet).__name__
        'TiedWidthSupernet'
    """
    space = space_of(space)
    networks = networks_of(space)
    options = networks.configure(network_of(space, network))
    with seeded_modules(whole("seed", seed, least=0), "initialisation"), fitting():
        return networks.supernet(space, shape("input_shape", input_shape), whole("outputs", outputs), options)


def build_network(
    architecture: AnyArchitecture,
    space: AnySpace,
    input_shape: Sequence[int],
    outputs: int,
    *,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> nn.Module:
    """The plain network of an architecture with weights of its own; arguments as for `build_supernet`.

    Example:
        >>> from sharewise.spaces import load
        >>> space = load("toy-tied-width")
        >>> a = space.architecture({"width": 8, "activation": "relu"})
        >>> sum(p.numel() for p in build_network(a, space, (4,), outputs=3).parameters())
        67
    """
    space = space_of(space)
    networks = networks_of(space)
    options = networks.configure(network_of(space, network))
    with seeded_modules(whole("seed", seed, least=0), "initialisation"), fitting():
        chosen = architecture_of(architecture, space)
        return networks.plain(chosen, shape("input_shape", input_shape), whole("outputs", outputs), options)


def build_extracted(
    architecture: AnyArchitecture,
    space: AnySpace,
    input_shape: Sequence[int],
    outputs: int,
    *,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> nn.Module:
    """The plain network that a supernet becomes when it is extracted, with weights of its own; arguments as above.

    It may differ from `build_network` in what only search networks have or lack, such as the scales of their norms.

    Example:
        >>> from sharewise.spaces import load
        >>> space, options = load("nasbench201"), {"channels": 2, "cells": 1}
        >>> a = space.parse("|nor_conv_1x1~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|")
        >>> [len(list(build(a, space, (1, 8, 8), 10, network=options).parameters()))
        ...  for build in (build_network, build_extracted)]
        [30, 24]
    """
    supernet = build_supernet(space, input_shape, outputs, network=network, seed=seed)
    with seeded_modules(whole("seed", seed, least=0), "initialisation"):
        return supernet.plain(supernet.space.own(architecture_of(architecture, supernet.space)))


def network_options(space: Space, network: Mapping[str, Any] | None) -> dict[str, Any]:
    """All options of a space's network, with defaults filled in."""
    return asdict(networks_of(space).configure(dict(network or {})))


def asked_network(space: Space, recipe: Recipe, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Options of the network of a search: those that its method asks for, under those that the user gives.

    Args:
        space: that is searched.
        recipe: the method.
        given: by the user, by name.

    Raises:
        ConfigurationError: for an option that networks of the space do not know; the message names the spaces that do.

    Example:
        >>> from sharewise.methods import pc_darts
        >>> asked_network(space_of("nasbench201"), pc_darts(), {"partial": 2})
        {'partial': 2, 'edge_weights': True}
    """
    known = _options_of(space)
    for name in recipe.network:
        if name not in known:
            spaces = [other for other in SPACES if name in _options_of(load(other))]
            raise ConfigurationError(
                f"method {recipe.name!r} asks for network option {name!r}, which networks of space {space.name!r} do "
                f"not have; spaces that have it: {', '.join(spaces)}"
            )
    return {**recipe.network, **network_of(space, given)}


def _options_of(space: Space) -> tuple[str, ...]:
    return () if space.networks is None else tuple(f.name for f in fields(networks_of(space).options))


def without_auxiliary(network: nn.Module) -> nn.Module:
    """The network without its auxiliary head, which serves in training alone; the same object where it has none."""
    configuration: dict[str, Any] = getattr(network, "configuration", {})
    if not configuration.get("auxiliary"):
        return network
    with without_values():
        plain = type(network)(**{**configuration, "auxiliary": False})
    kept = {name: value.clone() for name, value in network.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(kept, strict=True, assign=True)
    return plain.requires_grad_(True).train(network.training)


def require_input_kind(space: Space, dataset: Dataset) -> None:
    """Refuse data that the networks of a space cannot take."""
    kinds = networks_of(space).input_kinds
    if dataset.input_kind not in kinds:
        raise ConfigurationError(
            f"networks of space {space.name!r} take {' or '.join(kinds)} inputs, but data {dataset.name!r} "
            f"holds {dataset.input_kind} inputs"
        )


def with_auxiliary(network: nn.Module, seed: int) -> nn.Module:
    """The same kind of network with its auxiliary head, which is how a plain network's class offers one."""
    configuration: dict[str, Any] = getattr(network, "configuration", {})
    if "auxiliary" not in configuration:
        raise ConfigurationError(f"{type(network).__name__} has no auxiliary head; set auxiliary_weight to 0")
    try:
        with seeded_modules(seed, "initialisation"):
            return type(network)(**{**configuration, "auxiliary": True})
    except ValueError as error:  # of a module that imports nothing of ours, and says itself what it cannot be
        raise ConfigurationError(str(error)) from None
