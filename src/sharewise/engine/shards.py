"""Shards: shared weights that are divided among the processes of a search, for models beyond the memory of one device.

Every process keeps a part of each weight and of its moments. A block of the network is put together from all of them
when it is called, and once more for its backward pass, and then let go; slices are taken of the whole weights, within
the block. All of that is `torch.distributed.fsdp.fully_shard` (FSDP2).
"""

from __future__ import annotations

import operator
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.supernet import Supernet

__all__ = ["blocks_of", "divide", "here", "loaded_into", "moments_loaded_into", "whole"]


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """What is put together at once: outermost modules in rows (`ModuleList`, `ModuleDict`, `Sequential`).

    One that shares a parameter with others is none; what belongs to no block is put together with the network.

    Example:
        >>> network = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), nn.Linear(3, 3))
        >>> [type(block).__name__ for block in blocks_of(network)]
        ['Linear', 'Linear']
    """
    uses = _uses(network)
    found: list[nn.Module] = []
    for block in _in_rows(network, False):
        own = _uses(block)
        if own and all(uses[key] == count for key, count in own.items()) and block not in found:
            found.append(block)
    return found


def _in_rows(module: nn.Module, inside: bool) -> Iterator[nn.Module]:
    """The modules in rows, of which none holds another."""
    row = isinstance(module, nn.ModuleList | nn.ModuleDict) or type(module) is nn.Sequential
    if inside and not row:
        yield module
        return
    for child in module.children():
        yield from _in_rows(child, row)


def _uses(module: nn.Module) -> Counter[int]:
    return Counter(id(p) for part in module.modules() for p in part._parameters.values() if p is not None)


def divide(supernet: Supernet, device: torch.device, world: int) -> None:
    """Divide the weights of a supernet, equal in all processes, among them; buffers stay whole.

    Gradients add up over processes, as losses of rows do.

    Args:
        supernet: on the host; it is on the device afterwards.
        device: of this process.
        world: how many processes there are.

    Raises:
        ConfigurationError: when some weights do not learn or have no dimension, or torch is too old.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise ConfigurationError(f"sharded weights need torch 2.8 or newer, got {torch.__version__}; leave shard out")
    frozen = next((name for name, p in supernet.named_parameters() if not p.requires_grad), None)
    if frozen is not None:
        raise ConfigurationError(
            f"sharded weights must all learn, and {frozen!r} does not; leave shard out, or let it learn"
        )
    number = next((name for name, p in supernet.named_parameters() if p.dim() == 0), None)
    if number is not None:
        raise ConfigurationError(
            f"sharded weights have rows, and {number!r} is one number; leave shard out, or give it the shape (1,)"
        )
    mesh = init_device_mesh(device.type, (world,))
    # A mesh stays in caches of torch, and keeps its group for compiled code alone, beyond the end of both.
    getattr(mesh, "_pg_registry", {}).clear()
    blocks = blocks_of(supernet)
    for part in (*blocks, supernet):
        # The network's own weights are let go too: a step between two passes would leave old ones behind.
        divided = fully_shard(part, mesh=mesh, reshard_after_forward=True)
        divided.set_gradient_divide_factor(1.0)
        divided.set_force_sum_reduction_for_comms(True)  # gloo knows no sum of multiples
    supernet.gathers(blocks)


def here(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The parts of tensors that this process holds: all of each that is not divided."""
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]


def whole(value: Any) -> Any:
    """Tensors put together from all processes, on the host; whatever is not divided stays as it is.

    Args:
        value: tensors in dictionaries and lists, in the same order in every process.
    """
    if isinstance(value, Mapping):
        found = {key: whole(inner) for key, inner in value.items()}
        return value if all(found[key] is value[key] for key in value) else _versioned(found, value)
    if isinstance(value, list | tuple):
        parts = [whole(inner) for inner in value]
        return value if all(map(operator.is_, parts, value)) else type(value)(parts)
    return value.full_tensor().cpu() if hasattr(value, "full_tensor") else value


def loaded_into(network: nn.Module, content: Mapping[str, Tensor]) -> None:
    """Load a state of whole tensors.

    Args:
        network: divided or not.
        content: of its `state_dict`, put together.
    """
    present = network.state_dict()
    placed = {name: _like(value, present.get(name)) for name, value in content.items()}
    network.load_state_dict(_versioned(placed, content))


def _versioned(found: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """What was made of a state of modules, with the versions of these."""
    versions = getattr(state, "_metadata", None)
    if versions is None:
        return found
    kept = OrderedDict(found)
    kept._metadata = versions  # type: ignore[attr-defined]
    return kept


def moments_loaded_into(optimizer: torch.optim.Optimizer, content: Mapping[str, Any]) -> None:
    """Load a state of whole moments.

    Args:
        optimizer: of weights that are divided or not.
        content: of its `state_dict`, put together.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments = {
        number: {name: _like(value, weights[number]) for name, value in own.items()}
        for number, own in content["state"].items()
    }
    optimizer.load_state_dict({**content, "state": moments})


def _like(value: Any, present: Any) -> Any:
    """The part of a whole tensor that this process keeps, where another of that shape is divided."""
    if not hasattr(present, "full_tensor") or not isinstance(value, Tensor) or value.shape != present.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    # Every process has all of it, so that nothing is sent.
    return distribute_tensor(
        value.to(present.device, present.dtype), present.device_mesh, present.placements, src_data_rank=None
    )
