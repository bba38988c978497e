"""Importance: the units of an elastic model put in order, so that the leading slices are the best ones.

What a smaller network keeps are the first channels and heads of the trained model, which know nothing of their rank.
Sorting exchanges whole units (all rows, columns and statistics that belong to a channel), so that the largest network
computes the same up to the order of sums, and every smaller one begins with what matters most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.given import function, got, mapping, optional, truth
from sharewise.supernet.calibrate import evaluating
from sharewise.supernet.elastic.analysis import Analysis
from sharewise.supernet.elastic.coupled import Coupled, Order, coupled, members, moved, reordered
from sharewise.supernet.elastic.reconstruction import Read, reconstruction, watched
from sharewise.supernet.gate import discrete
from sharewise.supernet.supernet import Supernet

__all__ = ["IMPORTANCE", "Calibration", "Importance", "groups_of", "importance_order", "reorder", "sort_by_importance"]

Importance = Callable[[Sequence[Tensor]], Tensor]
"""From the parameters of a group, each of shape `(units, elements)`, to a score per unit."""


@final
@dataclass(frozen=True)
class Calibration:
    """Examples by which importance is judged.

    Args:
        batches: of inputs and targets; some scores need none.
        loss: maps outputs and targets to a scalar; only gradients need it.
    """

    batches: Sequence[tuple[Tensor, Tensor]] = ()
    loss: Callable[[Any, Tensor], Tensor] | None = field(default=None)


def sort_by_importance(
    supernet: Supernet,
    by: str | Importance = "magnitude",
    *,
    batches: Sequence[tuple[Tensor, Tensor]] = (),
    loss: Callable[[Any, Tensor], Tensor] | None = None,
) -> dict[str, tuple[int, ...]]:
    """Sort the channels, neurons and heads of a trained elastic model, the most important ones first, in place.

    Every group of positions that must shrink together moves together: the rows that write a channel, the norms that
    follow, the columns that read it, tied parameters, parts of concatenations, whole heads. The largest network
    computes the same up to the order of sums.

    Args:
        supernet: a model of one's own (`elastic`) or of a named space of elastic networks.
        by: how units are scored, from `batches` where that is said:

            - `"magnitude"`: Σ w² over all parameters of a unit;
            - `"readers"`: Σ |w| over those that read it (Once-for-All);
            - `"gradient"`: Σ |w ∂L/∂w| over all parameters (first-order Taylor), from `batches` and `loss`;
            - `"activation"`: mean |x| of what is read, from `batches`;
            - `"reconstruction"`: units are taken away one by one, each time the one without which, beside those that
              are gone, what the readers compute changes least, from `batches`; see `reconstruction`;
            - or a function from the parameters of a group, each of shape `(units, elements)`, to a score per unit.
        batches: pairs of inputs and targets, on the device of the supernet; they are only looked at.
        loss: maps outputs and targets to a scalar.

    Returns:
        By group the old places of its units in their new order; `reorder(supernet, order, back=True)` undoes it.

    Raises:
        ConfigurationError: when there is nothing to sort, or a score lacks what it needs.

    Example:
        >>> import sharewise as sw
        >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
        >>> with torch.no_grad():
        ...     _ = model[0].weight.copy_(torch.tensor([[0.1, 0.0], [3.0, 0.0], [1.0, 1.0]]))
        ...     _ = model[2].weight.fill_(1.0)
        >>> supernet = sw.elastic(model, {"0": sw.width([1, 2, 3], name="hidden")}, example=torch.zeros(2, 2))
        >>> sort_by_importance(supernet)
        {'hidden': (1, 2, 0)}
        >>> sw.extract(supernet, {"hidden": 1})[0].weight
        Parameter containing:
        tensor([[3., 0.]], requires_grad=True)

    References:
        H. Cai et al., *Once-for-All*, ICLR 2020 (arXiv 1908.09791), section 3.3 (L1 of the weights that read a
        channel); G. Fang et al., *DepGraph*, CVPR 2023 (arXiv 2301.12900), equation 5 (magnitude of a group); P.
        Molchanov et al., *Importance Estimation for Neural Network Pruning*, CVPR 2019 (gradients); J.-H. Luo, J. Wu
        and W. Lin, *ThiNet*, ICCV 2017 (arXiv 1707.06342), section 3.2 (greedy choice by reconstruction).
    """
    _require_groups(supernet)
    calibration = Calibration(_pairs(batches), optional(function, "loss", loss, "outputs and targets"))
    order = importance_order(supernet, by, calibration)
    reorder(supernet, order)
    return order


def _require_groups(supernet: Supernet) -> None:
    if not groups_of(supernet):
        raise ConfigurationError(
            "nothing can be sorted by importance: this supernet has no width and no number of heads that "
            "sharewise.elastic or elastic_networks follows"
        )


def _pairs(batches: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    if not isinstance(batches, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], Tensor) for pair in batches
    ):
        raise ConfigurationError(f"batches are pairs of inputs and targets, {got(batches)}")
    return [(inputs, targets) for inputs, targets in batches]


def groups_of(supernet: Supernet) -> tuple[Coupled, ...]:
    """The groups of a supernet whose units may be sorted; none, where it is not an elastic one."""
    executed = getattr(supernet, "executed", None)
    return () if executed is None else coupled(executed()[1].analysis)


def reorder(
    supernet: Supernet,
    order: Order,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    back: bool = False,
) -> None:
    """Put the units of groups into another order, in place.

    Args:
        supernet: an elastic one.
        order: by group the old places of its units, in their new order.
        optimizer: of its parameters, whose moments move along.
        back: whether to undo that order instead.

    Raises:
        ConfigurationError: when an order is none of its group.
    """
    _require_groups(supernet)
    order, back = mapping("order", order), truth("back", back)
    if not isinstance(optimizer, torch.optim.Optimizer | None):
        raise ConfigurationError(f"the optimizer of a supernet is one of torch, {got(optimizer)}")
    groups = groups_of(supernet)
    for name in order:
        if name not in (group.name for group in groups):
            raise unknown_name("group of units", name, [group.name for group in groups])
    for group in groups:
        if group.name in order:
            group.require(order[group.name])
    chosen = {name: _inverse(places) for name, places in order.items()} if back else order
    network, execution = supernet.executed()  # type: ignore[operator]
    reordered(network, moved(execution.analysis, groups[::-1] if back else groups, chosen), optimizer)


def _inverse(places: Sequence[int]) -> list[int]:
    return sorted(range(len(places)), key=places.__getitem__)


def importance_order(
    supernet: Supernet,
    by: str | Importance,
    calibration: Calibration,
    established: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, tuple[int, ...]]:
    """The order of importance, without doing anything.

    Args:
        supernet: an elastic one; it is left as it is.
        by: see `sort_by_importance`.
        calibration: what some scores need.
        established: by decision the options, as indices, that smaller networks were trained with: units stay within
            the part of a group between two of their sizes.

    Raises:
        ConfigurationError: for an unknown score, or one that lacks what it needs.
    """
    if not callable(by) and by not in IMPORTANCE:
        raise unknown_name("importance", str(by), IMPORTANCE)
    groups = groups_of(supernet)
    score = IMPORTANCE[by] if isinstance(by, str) else _given(by)
    scores = score(supernet, groups, calibration)
    return {
        group.name: _sorted(group, scores[group.name], () if established is None else group.established(established))
        for group in groups
    }


def _sorted(group: Coupled, score: Tensor, ends: Sequence[int]) -> tuple[int, ...]:
    """Highest score first, within units of one kind and of one established part."""
    if score.shape != (group.units,) or not bool(score.isfinite().all()):
        raise ConfigurationError(
            f"importance needs {group.units} finite numbers for {group.name!r}, one per unit, got {score}"
        )
    parts = [(kind, sum(unit >= end for end in ends)) for unit, kind in enumerate(group.kinds)]
    order = list(range(group.units))
    for part in dict.fromkeys(parts):
        places = [unit for unit in order if parts[unit] == part]
        best = sorted(places, key=lambda unit: -float(score[unit]))
        for place, unit in zip(places, best, strict=True):
            order[place] = unit
    return tuple(order)


Scores = Callable[[Supernet, Sequence[Coupled], Calibration], Mapping[str, Tensor]]
"""From a supernet, its groups and examples to a score per unit, by group."""


def _by_unit(values: Tensor, axis: int, unit: Tensor, units: int) -> Tensor:
    """Sums over all that belongs to each unit."""
    rows = values.movedim(axis, 0).reshape(values.shape[axis], -1).sum(1).double().cpu()
    kept = unit >= 0
    return torch.zeros(units, dtype=torch.float64).index_add(0, unit[kept], rows[kept])


def _summed(
    supernet: Supernet, groups: Sequence[Coupled], each: Callable[[nn.Parameter], Tensor], *, readers: bool = False
) -> dict[str, Tensor]:
    """The sum over the parameters of every unit of a function of each element."""
    network, analysis = _parts(supernet)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    found = {}
    for group in groups:
        total, met = torch.zeros(group.units, dtype=torch.float64), set()
        for member in members(analysis, group):
            tensor = parameters.get(member.name)
            if tensor is None or (readers and not member.reads) or (id(tensor), member.axis) in met:
                continue
            met.add((id(tensor), member.axis))
            total += _by_unit(each(tensor), member.axis, member.unit, group.units)
        found[group.name] = total
    return found


def _magnitude(supernet: Supernet, groups: Sequence[Coupled], calibration: Calibration) -> Mapping[str, Tensor]:
    return _summed(supernet, groups, lambda tensor: tensor.detach().square())


def _readers(supernet: Supernet, groups: Sequence[Coupled], calibration: Calibration) -> Mapping[str, Tensor]:
    return _summed(supernet, groups, lambda tensor: tensor.detach().abs(), readers=True)


def _gradient(supernet: Supernet, groups: Sequence[Coupled], calibration: Calibration) -> Mapping[str, Tensor]:
    loss = calibration.loss
    if loss is None or not calibration.batches:
        raise ConfigurationError("importance by gradient needs batches=[(inputs, targets), …] and loss=")
    network, _ = _parts(supernet)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    total = {group.name: torch.zeros(group.units, dtype=torch.float64) for group in groups}
    with evaluating(supernet):
        for inputs, targets in calibration.batches:
            outputs = supernet(inputs, _largest(supernet))
            slopes = torch.autograd.grad(loss(outputs, targets), parameters, allow_unused=True)
            slope = dict(zip(map(id, parameters), slopes, strict=True))

            def part(tensor: nn.Parameter, slope: Mapping[int, Tensor | None] = slope) -> Tensor:
                found = slope.get(id(tensor))
                return torch.zeros_like(tensor) if found is None else (tensor * found).detach().abs()

            for name, value in _summed(supernet, groups, part).items():
                total[name] += value
    return total


def _watched(score: Callable[[list[Read], int], Tensor]) -> Scores:
    """A score of what readers read: the layers, their inputs, the axis and the unit of each position."""

    def scored(supernet: Supernet, groups: Sequence[Coupled], calibration: Calibration) -> Mapping[str, Tensor]:
        if not calibration.batches:
            raise ConfigurationError("importance by activations needs batches=[(inputs, targets), …]")
        network, analysis = _parts(supernet)
        gates = _largest(supernet)
        with evaluating(supernet), torch.no_grad():
            inputs = watched(
                network,
                [(group.name, member) for group in groups for member in members(analysis, group) if member.reads],
                lambda: [supernet(batch, gates) for batch, _ in calibration.batches],
            )
        return {group.name: score(inputs.get(group.name, []), group.units) for group in groups}

    return scored


def _given(score: Importance) -> Scores:
    """A function of the user's."""

    def scored(supernet: Supernet, groups: Sequence[Coupled], calibration: Calibration) -> Mapping[str, Tensor]:
        network, analysis = _parts(supernet)
        parameters = dict(network.named_parameters(remove_duplicate=False))
        found = {}
        for group in groups:
            rows = []
            for member in members(analysis, group):
                if member.name in parameters:
                    tensor = parameters[member.name].detach().movedim(member.axis, 0)
                    rows.append(_rows_of_units(tensor, member.unit, group.units))
            found[group.name] = torch.as_tensor(score(rows)).double().cpu()
        return found

    return scored


def _rows_of_units(tensor: Tensor, unit: Tensor, units: int) -> Tensor:
    of_unit = [tensor[(unit == u).to(tensor.device)].flatten() for u in range(units)]
    longest = max(map(len, of_unit))
    return torch.stack([nn.functional.pad(row, (0, longest - len(row))) for row in of_unit])


def _parts(supernet: Supernet) -> tuple[nn.Module, Analysis]:
    network, execution = supernet.executed()  # type: ignore[operator]
    return network, execution.analysis


def _largest(supernet: Supernet) -> Any:
    encoding = {d.name: tuple(float(i == d.size - 1) for i in range(d.size)) for d in supernet.relaxation.decisions}
    return discrete(encoding)


def _activation(inputs: list[Read], units: int) -> Tensor:
    total = torch.zeros(units, dtype=torch.float64)
    for _, x, axis, unit, _ in inputs:
        total += _by_unit(x.abs(), axis, unit, units) * x.shape[axis] / x.numel()
    return total


IMPORTANCE: Mapping[str, Scores] = {
    "magnitude": _magnitude,
    "readers": _readers,
    "gradient": _gradient,
    "activation": _watched(_activation),
    "reconstruction": _watched(reconstruction),
}
"""Scores by name."""
