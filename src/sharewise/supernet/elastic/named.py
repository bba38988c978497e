"""The networks of a named space, made of a plain network and its choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.supernet.elastic.extraction import extracted, with_transforms
from sharewise.supernet.elastic.model import examined, traced
from sharewise.supernet.elastic.own import ElasticOptions
from sharewise.supernet.elastic.places import Chosen, Place, expanded
from sharewise.supernet.elastic.sliced_execution import Execution, paths_of
from sharewise.supernet.gate import Gates, discrete
from sharewise.supernet.supernet import Networks, Shared, Supernet

__all__ = ["ElasticSupernet", "elastic_networks"]

Plain = Callable[[Architecture, Sequence[int], int, Any], nn.Module]
"""Builds the plain network of an architecture from the shape of one input, the number of outputs, and options."""

Whole = Callable[[Space, Sequence[int], int, Any], nn.Module]
"""Builds the network that all architectures of a space share, from the same beside the space."""

_EXAMINED = 64
"""Networks of different options whose examination is remembered."""


def _normal(input_shape: Sequence[int]) -> Tensor:
    return torch.randn((2, *input_shape), generator=torch.Generator().manual_seed(0), device="cpu")


def elastic_networks(
    network: Plain,
    choices: Callable[[Space, Any], Chosen],
    *,
    shared: Whole | None = None,
    options: type = ElasticOptions,
    input_kinds: tuple[str, ...] = ("image",),
    example: Callable[[Sequence[int]], Tensor] = _normal,
) -> Networks:
    """The networks of a space whose architectures are smaller versions of the largest one.

    The folder of a space exports the value: `NETWORKS = elastic_networks(network, choices)`. The supernet is the plain
    network of the last option of every choice, sliced and superposed as `elastic` does; nothing else has to be written.
    Its weights have the names that they have in the plain network, but for those of modules that stand in a `Choose`.

    Args:
        network: builds the plain network of an architecture from the shape of one input, the number of outputs, and
            options. Smaller choices must be slices of the largest one, which is checked when a supernet is built.
        choices: from the space and options to what is chosen in the largest network, by pattern of module paths, as
            `elastic` takes it. Every choice has the `name` of a choice of the space, and its sizes are in the order of
            that choice's options, of which they may be multiples.
        shared: builds the network that all architectures share where it is not the plain network of the last options:
            where these differ by whole modules, it holds a `Choose` in their place, which is named after a choice of
            the space and has its options in their order.
        options: a frozen dataclass of network options; a field `published` asks for the authors' form of superposition,
            a field `recompute` for blocks of searched depth that the backward pass computes a second time.
        input_kinds: which kinds of input the networks take.
        example: makes a batch of inputs from the shape of one, with which the network is traced; normal numbers if not
            given.

    Returns:
        The value of the space.

    Raises:
        ConfigurationError: when a supernet is built, for a choice that is none of the space, or the network's sizes do
            not follow it.

    Example:
        >>> from sharewise.space import Choice
        >>> from sharewise.supernet.elastic import width
        >>> def network(architecture, input_shape, outputs, options):
        ...     hidden = architecture["hidden"]
        ...     return nn.Sequential(nn.Linear(input_shape[0], hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        >>> def choices(space, options):
        ...     return {"0": width(space["hidden"].options, name="hidden")}
        >>> networks = elastic_networks(network, choices, input_kinds=("table",))
        >>> space = Space("perceptron", (Choice("hidden", (2, 8)),), networks=networks)
        >>> supernet = networks.supernet(space, (4,), 3, networks.options())
        >>> [tuple(p.shape) for p in supernet.parameters()]
        [(8, 4), (8,), (3, 8), (3,)]
    """
    return Networks(options, _Builder(network, choices, shared, example), network, input_kinds)


@final
class _Builder:
    """Builds supernets, and examines networks of the same options once."""

    def __init__(
        self,
        network: Plain,
        choices: Callable[[Space, Any], Chosen],
        shared: Whole | None,
        example: Callable[[Sequence[int]], Tensor],
    ) -> None:
        self.network, self.choices, self.shared, self.example = network, choices, shared, example
        self._known: dict[tuple[object, ...], Execution] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": {}}

    def __call__(self, space: Space, input_shape: Sequence[int], outputs: int, options: Any) -> Supernet:
        plain = partial(_plain, self.network, tuple(input_shape), outputs, options)
        if self.shared is None:
            network = plain(space.architecture({choice.name: choice.options[-1] for choice in space.choices}))
        else:
            network = self.shared(space, tuple(input_shape), outputs, options)
        key = (space.name, space.relaxation.decisions, tuple(input_shape), outputs, options)
        offered = {decision.name: decision.options for decision in space.relaxation.decisions}
        asked = expanded(network, self.choices(space, options), offered)
        places = [place for place in asked if not _of_one_head(place)]
        with_transforms(network, places)
        if key not in self._known:
            if len(self._known) >= _EXAMINED:
                self._known.pop(next(iter(self._known)))
            _require_choices_of(space, places)
            published = bool(getattr(options, "published", False))
            example = self.example(input_shape)
            record = traced(network, places, example)
            recompute = bool(getattr(options, "recompute", False))
            self._known[key] = examined(
                network, places, space, example, record, published=published, recompute=recompute
            )
        return ElasticSupernet(network, space, self._known[key], plain)


def _plain(network: Plain, input_shape: Sequence[int], outputs: int, options: Any, a: Architecture) -> nn.Module:
    return network(a, input_shape, outputs, options)


def _of_one_head(place: Place) -> bool:
    """Whether there is nothing to choose: a single head is no dimension of a graph, since views leave out ones."""
    return place.kind == "heads" and place.sizes == (1,)


def _require_choices_of(space: Space, places: Sequence[Place]) -> None:
    decisions = {decision.name: decision for decision in space.relaxation.decisions}
    acting = {name for place in places for name in place.decisions}
    if missing := [name for name, decision in decisions.items() if decision.size > 1 and name not in acting]:
        raise ConfigurationError(f"space {space.name!r} has choices that act nowhere in its network: {missing}")
    for place in places:
        decision = decisions.get(place.decision)
        if decision is None or decision.size != len(place.options):
            expected = "no choice of that name" if decision is None else f"the options {decision.options}"
            raise ConfigurationError(
                f"{place.kind} {place.decision!r} at {place.path!r} has the sizes {place.options}, but space "
                f"{space.name!r} has {expected}; name= must be a choice of the space, with one size per option"
            )


@final
class ElasticSupernet(Supernet, Shared):
    """The supernet of a named space: its largest plain network under gates; built by `elastic_networks`.

    Its parameters, buffers and modules are those of the network, under their own names.

    Args:
        network: of the largest architecture.
        space: of its smaller versions.
        execution: of the network under gates.
        plain: builds the plain network of an architecture.
    """

    _network: nn.Module

    def __init__(
        self, network: nn.Module, space: Space, execution: Execution, plain: Callable[[Architecture], nn.Module]
    ) -> None:
        super().__init__()
        self.space, self.relaxation = space, space.relaxation
        self._execution, self._build = execution, plain
        self._apart: frozenset[tuple[str, ...]] = frozenset()
        # One set of weights with two owners: the network executes them, the supernet lends them to everyone else. As an
        # attribute of a module the network would be a part of it, and so would its name be of theirs.
        self.__dict__["_network"] = network
        for owned in ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules"):
            self.__dict__[owned] = network.__dict__[owned]

    def forward(self, inputs: Any, gates: Gates) -> Any:
        """Outputs under `gates`; see `ElasticModel`."""
        self._network.training = self.training
        return self._execution.run(self._network, inputs, gates, self._apart)

    def gathers(self, blocks: Sequence[nn.Module]) -> None:
        """See `Supernet.gathers`: slices are taken within blocks."""
        self._apart = paths_of(self._network, blocks)

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network with the same options; what is frozen here is frozen there."""
        network = self._build(self.space.own(architecture))
        if not all(parameter.requires_grad for parameter in self.parameters()):
            gates = discrete(self.relaxation.encode(architecture))
            trained = dict(extracted(self._network, self._execution, gates).named_parameters())
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(parameter.requires_grad and trained[name].requires_grad)
        return network

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of the plain network, by slices."""
        return dict(extracted(self._network, self._execution, gates).state_dict())

    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """By path of a module, the decisions that its own operations depend on; see `ElasticModel.reads`."""
        return self._execution.analysis.reads

    def kinds(self) -> Mapping[str, str]:
        """By decision whether it chooses a kernel, a depth or a width, which all other sizes are."""
        return {**super().kinds(), **self._execution.kinds}

    def executed(self) -> tuple[nn.Module, Execution]:
        """The largest network, and how it is executed."""
        return self._network, self._execution
