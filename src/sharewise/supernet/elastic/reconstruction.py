"""Importance by reconstruction: which units can go without changing what the next layers compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.coupled import Member

__all__ = ["Read", "reconstruction", "watched"]

Read = tuple[nn.Module, Tensor, int, Tensor, bool]
"""A layer that reads a group, what it read, the axis of that along which units lie, the unit of each position there,
and whether a batch norm follows."""

_ROWS = 8192
"""Positions of activations by which a layer is judged, evenly spaced."""


def watched(
    network: nn.Module, readers: Sequence[tuple[str, Member]], run: Callable[[], object]
) -> dict[str, list[Read]]:
    """What the readers of every group read while something runs.

    Args:
        network: whose layers they are.
        readers: names of groups with the parameters that read them.
        run: runs the network on all batches.

    Raises:
        ConfigurationError: when a parameter belongs to no linear layer or plain convolution.
    """
    inputs: dict[str, list[Tensor]] = {}
    calls: list[tuple[str, nn.Module]] = []
    handles = []
    wanted = {member.name.rpartition(".")[0] for _, member in readers}
    for path, module in network.named_modules():
        if not list(module.children()):

            def before(layer: nn.Module, given: tuple[Tensor, ...], path: str = path) -> None:
                calls.append((path, layer))
                if path in wanted:
                    inputs.setdefault(path, []).append(given[0].detach())

            handles.append(module.register_forward_pre_hook(before))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    normed = {path for (path, _), (_, after) in pairwise(calls) if isinstance(after, nn.modules.batchnorm._BatchNorm)}
    found: dict[str, list[Read]] = {}
    for group, member in readers:
        path = member.name.rpartition(".")[0]
        layer = network.get_submodule(path)
        if not _is_plain(layer) or path not in inputs:
            raise ConfigurationError(
                f"what {path!r} ({type(layer).__name__}) reads cannot be watched: importance by activations knows "
                "linear layers and convolutions without groups; use 'magnitude' or 'gradient'"
            )
        axis = -1 if isinstance(layer, nn.Linear) else 1
        found.setdefault(group, []).append((layer, torch.cat(inputs[path]), axis, member.unit, path in normed))
    return found


def _is_plain(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return layer.groups == 1
    return isinstance(layer, nn.Linear)


def reconstruction(inputs: Sequence[Read], units: int) -> Tensor:
    """How long each unit stays when units are taken away one by one, the least missed one first.

    Let c_j be what unit j adds to the outputs of all layers that read it, as vectors over examples and positions, and
    S the units that are gone. The next one is argmin_{j ∉ S} ‖Σ_{i ∈ S ∪ {j}} c_i‖², by the Gram matrix ⟨c_i, c_j⟩,
    which is found without computing any c: for a layer y = W x it is (WᵀW) ⊙ Σ x xᵀ, summed over the taps of a kernel.
    What a batch norm takes away behind the layer, the mean, does not count.

    Args:
        inputs: of the layers that read the group.
        units: how many there are.

    Returns:
        The step in which each unit goes, shape `(units,)`.

    Example:
        >>> layer, x = nn.Linear(3, 1, bias=False), torch.tensor([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0]])
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([[1.0, 0.1, 2.0]]))
        >>> reconstruction([(layer, x, -1, torch.arange(3), False)], 3)
        tensor([2., 0., 1.], dtype=torch.float64)

    References:
        J.-H. Luo, J. Wu and W. Lin, *ThiNet*, ICCV 2017 (arXiv 1707.06342), equation 6 and algorithm 1.

    Deviations:
        All readers of a group are summed, the mean before a batch norm is left out, and the Gram matrix replaces
        sampled positions; ThiNet's least-squares rescaling of what is left is not done, since slices are shared.
    """
    gram = torch.zeros(units, units, dtype=torch.float64)
    for layer, x, _, unit, normed in inputs:
        gram += _gram(layer, x, unit, units, centred=normed)
    gone, steps = torch.zeros(units, dtype=torch.float64), torch.zeros(units, dtype=torch.float64)
    left = torch.ones(units, dtype=torch.bool)
    for step in range(units):
        increase = (2 * gone + gram.diagonal()).masked_fill(~left, torch.inf)
        unit_gone = int(increase.argmin())
        left[unit_gone] = False
        gone += gram[:, unit_gone]
        steps[unit_gone] = step
    return steps


def _gram(layer: nn.Module, x: Tensor, unit: Tensor, units: int, *, centred: bool) -> Tensor:
    """⟨c_i, c_j⟩ of the units that a layer reads."""
    weight = layer.weight.detach().flatten(1)  # type: ignore[operator]
    rows = _rows(layer, x)
    rows = (rows - rows.mean(0)).double() if centred else rows.double()
    gram = (rows.T @ rows) * (weight.T.double() @ weight.double()) / max(len(rows), 1)
    taps = weight.shape[1] // len(unit)
    owner = unit.repeat_interleave(taps)
    kept = (owner >= 0).nonzero().flatten()
    gram = gram.cpu()[kept][:, kept]
    member = torch.zeros(len(kept), units, dtype=torch.float64)
    member[torch.arange(len(kept)), owner[kept]] = 1.0
    return member.T @ gram @ member


def _rows(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer multiplies its flattened weight with, one row per output position."""
    if isinstance(layer, nn.Linear):
        rows = x.reshape(-1, x.shape[-1])
        return rows[:: max(1, len(rows) // _ROWS)]
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    flat = isinstance(layer, nn.Conv1d)
    kernel, stride, dilation = ((1, *p) if flat else p for p in (layer.kernel_size, layer.stride, layer.dilation))
    x = x.unsqueeze(2) if flat else x
    kept = x[:: max(1, len(x) * x.shape[2] * x.shape[3] // (_ROWS * 4))]
    padding = layer._reversed_padding_repeated_twice
    padded = F.pad(kept, [*padding, 0, 0] if flat else list(padding))
    patches = F.unfold(padded, kernel, dilation=dilation, stride=stride).transpose(1, 2)
    rows = patches.reshape(-1, patches.shape[-1])
    return rows[:: max(1, len(rows) // _ROWS)]
