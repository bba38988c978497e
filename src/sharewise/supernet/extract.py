"""Extraction: from a supernet and an architecture to a plain PyTorch network with inherited weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture
from sharewise.supernet.gate import Gates, discrete
from sharewise.supernet.supernet import Shared, Supernet
from sharewise.supernet.without_values import without_values

__all__ = ["extract", "inherited_state"]


def inherited_state(module: nn.Module, gates: Gates, prefix: str = "") -> dict[str, Tensor]:
    """The state dictionary of the plain network that `module` becomes under the gates of one architecture.

    Shared layers answer for themselves; every other module keeps its path, its parameters and its buffers.

    Args:
        module: a supernet or a part of it.
        gates: those of one architecture.
        prefix: path of `module` within the network.

    Returns:
        Tensors by name, not copied.
    """
    if isinstance(module, Shared):
        return {prefix + name: value for name, value in module.inherited(gates).items()}
    state: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters(recurse=False):
        state[prefix + name] = parameter.detach()
    for name, buffer in module.named_buffers(recurse=False):
        state[prefix + name] = buffer
    for name, child in module.named_children():
        state |= inherited_state(child, gates, f"{prefix}{name}.")
    return state


def extract(supernet: Supernet, architecture: Architecture | str | Mapping[str, Any]) -> nn.Module:
    """A plain network of `architecture` that computes what the supernet computes under its gates.

    The result depends on `torch.nn` alone. Its running statistics are the supernet's; after training with mixtures or
    sampled paths they fit no single architecture, so recalibrate them (`sharewise.supernet.recalibrate`) before use.

    Args:
        supernet: a supernet of the architecture's space.
        architecture: what to keep; any form that `Space.own` reads, such as the standard string.

    Returns:
        A new module in the supernet's training mode, on its device, sharing no storage with it. What is frozen in the
        supernet is frozen in it.

    Raises:
        ConfigurationError: when the architecture is not one of the supernet's space.

    Example:
        >>> import sharewise as sw
        >>> space = sw.spaces.nasbench201()
        >>> supernet = sw.build_supernet(space, (3, 8, 8), outputs=10, network={"channels": 4, "cells": 1})
        >>> a = space.parse("|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|")
        >>> sum(p.numel() for p in extract(supernet, a).parameters())
        5230
    """
    if not isinstance(supernet, Supernet):
        raise ConfigurationError(
            f"extract needs a supernet, such as sharewise.elastic(…) or result.state.supernet, got a "
            f"{type(supernet).__name__}"
        )
    architecture = supernet.space.own(architecture)
    with without_values():  # neither memory nor random numbers for weights that are about to be replaced
        network = supernet.plain(architecture)
    state = inherited_state(supernet, discrete(supernet.relaxation.encode(architecture)))
    tied: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        tied.setdefault(id(parameter), []).append(name)
    values = network.state_dict()  # it holds the versions of modules, by which some read what is loaded
    values.clear()
    values.update((name, value.clone()) for name, value in state.items())
    network.load_state_dict(values, strict=True, assign=True)
    _give_constants(network, supernet, state, architecture)
    for first, *others in tied.values():  # assignment gives every name a parameter of its own
        for name in others:
            owner, _, local = name.rpartition(".")
            setattr(network.get_submodule(owner), local, network.get_parameter(first))
    # The plain network says what its design freezes; the memory that a slice lies in, whether its source is frozen.
    frozen = {_storage(p) for p in supernet.parameters() if not p.requires_grad}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and _storage(state[name]) not in frozen)
    return network.train(supernet.training)


def _give_constants(network: nn.Module, supernet: Supernet, state: Mapping[str, Tensor], plain: Architecture) -> None:
    """Buffers that no state holds, such as indices, as the plain network computes them, where the supernet's are."""
    constants = {name: buffer for name, buffer in network.named_buffers() if name not in state}
    like = next(iter(supernet.parameters()), torch.empty(0))
    if not constants or like.device.type == "meta":
        return
    if any(buffer.is_meta for buffer in constants.values()):
        with torch.random.fork_rng(devices=[]):
            built = supernet.plain(plain)
        constants = {name: built.get_buffer(name) for name in constants}
    for name, buffer in constants.items():
        owner, _, local = name.rpartition(".")
        placed = buffer.to(like) if buffer.is_floating_point() else buffer.to(like.device)
        network.get_submodule(owner)._buffers[local] = placed


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
