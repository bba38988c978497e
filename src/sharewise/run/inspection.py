"""What a model of one's own offers: what can be chosen, what follows, what stays, and between which ends all lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

from sharewise.cost import cost, training_memory
from sharewise.run.own_space import form_of
from sharewise.supernet.elastic import ElasticModel

__all__ = ["Ends", "Group", "Inspection", "inspected"]


@final
@dataclass(frozen=True)
class Group:
    """A choice with the modules that it changes.

    Args:
        choice: its name.
        kind: `width`, `depth`, `kernel`, `heads` or `module`.
        options: from the smallest to the largest.
        at: paths of the modules where it was chosen.
        follow: paths of all others whose operations depend on it.
    """

    choice: str
    kind: str
    options: tuple[Any, ...]
    at: tuple[str, ...]
    follow: tuple[str, ...]


@final
@dataclass(frozen=True)
class Ends:
    """What the architecture of all first options costs, and that of all last ones.

    Args:
        smallest: in the unit of the quantity.
        largest: likewise.
    """

    smallest: int
    largest: int


@final
@dataclass(frozen=True)
class Inspection:
    """What a model offers.

    Args:
        architectures: how many there are.
        groups: its choices, with what follows them.
        fixed: why the other modules with weights stay as they are, by path.
        parameters: that are trained.
        multiply_accumulates: of one example.
        memory: bytes of a training step, foreseen from shapes; `None` for a model that looks at values.
        batch_size: examples of that step.
    """

    architectures: int
    groups: tuple[Group, ...]
    fixed: Mapping[str, str]
    parameters: Ends
    multiply_accumulates: Ends
    memory: Ends | None
    batch_size: int

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


def inspected(model: ElasticModel, *, batch_size: int = 32) -> Inspection:
    """Say what a model that `sharewise.elastic` has made a supernet offers; nothing is trained.

    Args:
        model: on the CPU; it is left as it is.
        batch_size: examples of the training step whose memory is foreseen.

    Example:
        >>> import torch
        >>> import sharewise as sw
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3), nn.Linear(3, 2))
        >>> found = inspected(sw.elastic(net, {"0": sw.width([8, 16], name="hidden")}, example=torch.zeros(2, 4)))
        >>> found.groups[0].at, found.groups[0].follow, list(found.fixed), found.parameters
        (('0',), ('1', '2'), ['3'], Ends(smallest=75, largest=139))
    """
    shape, integers = form_of(model)
    ends = [model.plain(architecture) for architecture in (model.smallest, model.largest)]
    costs = [cost(network, shape, integers=integers) for network in ends]
    try:
        steps = [training_memory(network, shape, batch_size, integers=integers).total for network in ends]
        memory = Ends(steps[0], steps[1])
    except (RuntimeError, NotImplementedError):  # what asks a tensor without values for one
        memory = None
    return Inspection(
        model.space.size,
        _groups(model),
        _fixed(model),
        Ends(costs[0].parameters, costs[1].parameters),
        Ends(costs[0].multiply_accumulates, costs[1].multiply_accumulates),
        memory,
        batch_size,
    )


def _groups(model: ElasticModel) -> tuple[Group, ...]:
    places, reads = model.places, model.reads()
    found = []
    for decision in model.relaxation.decisions:
        acting = [place for place in places if place.decision == decision.name]
        at = tuple(dict.fromkeys(place.path for place in acting))
        follow = tuple(path for path, names in reads.items() if decision.name in names and path not in at)
        found.append(Group(decision.name, acting[0].kind, decision.options, at, follow))
    return tuple(found)


def _fixed(model: ElasticModel) -> dict[str, str]:
    """Modules with weights of their own on which nothing acts, and why."""
    known: Mapping[str, str] = getattr(model, "left", {})
    reads = model.reads()
    found = {
        path: known.get(path, "no choice acts on it")
        for path, module in model.model.named_modules()
        if next(module.parameters(recurse=False), None) is not None and not reads.get(path)
    }
    return {**found, **{path: why for path, why in known.items() if path not in found}}
