"""The price of a step along any gates, and of every architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from sharewise.cost.architectures import ArchitectureCosts
from sharewise.cost.count import Tracer, Unit
from sharewise.cost.expectation import expectation
from sharewise.cost.layers import Layer, Pattern, decomposed
from sharewise.cost.network import trainable
from sharewise.cost.prices import Prices, folded, from_layers
from sharewise.cost.replica import real_copy, shape_copy
from sharewise.errors import ConfigurationError
from sharewise.ledger import GATES_ONLY, TRAINING
from sharewise.space import Architecture
from sharewise.supernet.extract import extract
from sharewise.supernet.gate import Gate, Gates, discrete
from sharewise.supernet.structures import leaves
from sharewise.supernet.supernet import Shared, Supernet
from sharewise.supernet.widening import partial_operations
from sharewise.supernet.without_values import without_values

if TYPE_CHECKING:
    from sharewise.cost.quantity import Quantity

__all__ = ["SupernetCost"]

_FEW = 16
"""Patterns that are traced one by one before layers are looked for: a mixture has one, a path a new one every step."""
_REMEMBERED = 1024
"""Patterns that are kept where there are no layers, and entries of a layer's memory."""


@final
class SupernetCost:
    """Multiply-accumulates of a supernet as a function of which options are active, and the costs of architectures.

    A closed form of the supernet comes first. The first patterns of active options are traced, one pass on shapes each.
    When more come, the price of every layer is tabulated over the few decisions that it reads, once; a step then adds
    up entries, and traces nothing. Where that is so of single paths alone, since a mixture executes what no path does,
    mixtures are traced, and the last ones kept; where a supernet has no such layers, all are.

    Args:
        supernet: what is executed.
        input_shape: of one example.
        integers: whether inputs are indices.
    """

    def __init__(self, supernet: Supernet, input_shape: Any, *, integers: Any = False) -> None:
        self._closed_form = supernet.multiply_accumulates
        self._whole = not partial_operations(supernet)  # else a step along gates executes less than what is built
        self._supernet, self._integers = supernet, integers
        self._shape = dict(input_shape) if isinstance(input_shape, Mapping) else tuple(input_shape)
        self._replica = shape_copy(supernet).eval()  # now, so that no later hook sees a pass without values
        self._decisions = supernet.relaxation.decisions
        self._names = [d.name for d in self._decisions]
        self._patterns: dict[Pattern, int] = {}
        self._architectures: dict[Quantity, ArchitectureCosts] = {}
        self._expectations: dict[Quantity, Callable[[Tensor], Tensor]] = {}

    def of(self, gates: Gates) -> int:
        """Multiply-accumulates of one forward pass of one example under `gates`."""
        pattern = tuple([gates[name].active for name in self._names])
        if pattern in self._patterns:  # a mixture has the same one in every step
            return self._patterns[pattern]
        known = self._closed_form(gates)
        if known is not None:
            return _kept(self._patterns, pattern, known)
        many = len(self._patterns) >= _FEW or () in pattern  # where nothing is active, there may be nothing to run
        if many and self._layers is not None and (self._layers.mixtures or all(len(active) == 1 for active in pattern)):
            return self._layers.of(pattern)
        return _kept(self._patterns, pattern, sum(self._traced(pattern).values()))

    @property
    def remembered(self) -> int:
        """How many prices of steps are kept."""
        layers = self.__dict__.get("_layers")
        return len(self._patterns) + (0 if layers is None else layers.remembered)

    @property
    def paths(self) -> Prices:
        """The price of a pass with one active option in every decision, as sums over the decisions that layers read.

        Raises:
            ConfigurationError: where the supernet's cost is no such sum.
        """
        if self._layers is None:
            raise ConfigurationError(
                "the expected cost needs layers that each read few decisions, which this supernet has not. Leave the "
                "cost penalty out"
            )
        return self._weighed

    @cached_property
    def _weighed(self) -> Prices:
        assert self._layers is not None
        return folded(self._layers.prices, {place for place, d in enumerate(self._decisions) if d.weighs})

    @property
    def prices(self) -> Mapping[str, Sequence[int]]:
        """For every decision the multiply-accumulates that each option adds to a forward pass of one example.

        Raises:
            ConfigurationError: where layers are shared such that the costs of options do not add up.
        """
        if not self.paths.additive:
            raise ConfigurationError(
                "options have prices of their own where operations are separate; this supernet shares layers in "
                "another way, of which `paths` knows the prices by groups of decisions"
            )
        nothing = {d.name: [0] * d.size for d in self._decisions}
        found = {self._names[d]: [int(price) for price in table] for (d,), table in self.paths.terms.items()}
        return nothing | found

    @cached_property
    def gate_passes(self) -> int:
        """Passes of an architecture step: where gates scale weights, their gradient needs that of the weights."""
        shared = (module for module in self._supernet.modules() if isinstance(module, Shared))
        return TRAINING if any(module.scales_weights for module in shared) else GATES_ONLY

    def multiply_accumulates(self, architecture: Architecture) -> int:
        """Multiply-accumulates of the plain network of an architecture."""
        known = self._closed_form(discrete(self._supernet.relaxation.encode(architecture))) if self._whole else None
        return sum(self.units(architecture).values()) if known is None else known

    def parameters(self, architecture: Architecture) -> int:
        """Trainable parameters of the extracted network of an architecture; tied ones count once."""
        return sum(trainable(self.network(architecture)).values())

    def network(self, architecture: Architecture) -> nn.Module:
        """The network of an architecture, in shape only, unless what is frozen must be known."""
        if any(not parameter.requires_grad for parameter in self._replica.parameters()):
            return extract(self._supernet, architecture)
        with without_values():
            return self._replica.plain(architecture)

    def units(self, architecture: Architecture) -> Mapping[Unit, int]:
        """Multiply-accumulates of every operation of the network of an architecture."""
        tracer = Tracer(self.network(architecture), real=lambda: self._supernet.plain(architecture).cpu())
        return tracer(tracer.example(self._shape, integers=self._integers)).units

    def architectures(self, quantity: Quantity) -> ArchitectureCosts:
        """What every architecture of the space costs, in a quantity; computed once."""
        if quantity not in self._architectures:
            self._architectures[quantity] = ArchitectureCosts(
                self._supernet.space, quantity.price(self), layered=quantity.layered(self)
            )
        return self._architectures[quantity]

    def expected(self, quantity: Quantity, probabilities: Tensor) -> Tensor:
        """E[cost] of an architecture that is drawn by the probabilities of decisions, exactly; see `expectation`.

        Args:
            quantity: what is expected.
            probabilities: shape `(decisions, largest size)`, zero behind the options of a decision.

        Raises:
            ConfigurationError: when it is not known.
        """
        if quantity not in self._expectations:
            self._expectations[quantity] = expectation(self.architectures(quantity), self._supernet.relaxation)
        return self._expectations[quantity](probabilities)

    @cached_property
    def _tracer(self) -> Tracer:
        return Tracer(shape_copy(self._replica), real=lambda: real_copy(self._supernet))

    @cached_property
    def _layers(self) -> _Charges | None:
        sizes = [d.size for d in self._decisions]
        met: dict[bool, set[Any]] = {True: set(), False: set()}

        def measured(pattern: Pattern, mixtures: bool) -> Mapping[Any, int]:
            units = self._traced(pattern)
            met[mixtures].update(unit for unit, count in units.items() if count)
            return units

        for mixtures in (True, False):
            layers = decomposed(sizes, partial(measured, mixtures=mixtures), mixtures=mixtures)
            # What ran in no path that was tried has no price, though some other path may run it.
            if layers is not None and (mixtures or met[True] <= met[False]):
                return _Charges(sizes, layers, mixtures)
        return None

    def _traced(self, pattern: Pattern) -> Mapping[Any, int]:
        example = self._tracer.example(self._shape, integers=self._integers)
        dtype = next((t.dtype for _, t in leaves(example) if t.is_floating_point()), torch.float32)
        gates = {
            d.name: Gate(torch.ones(d.size, dtype=dtype), active, unit=len(active) <= 1)
            for d, active in zip(self._decisions, pattern, strict=True)
        }
        return self._tracer(example, gates, gates=[gate.weights for gate in gates.values()]).units


@final
class _Charges:
    """Layers by the decisions that they read, with a memory of the patterns that came by.

    Args:
        sizes: the number of options of every decision.
        layers: the parts.
        mixtures: whether they price patterns with several active options, too.
    """

    def __init__(self, sizes: Sequence[int], layers: Sequence[Layer], mixtures: bool) -> None:
        self.prices, self.mixtures = from_layers(sizes, layers), mixtures
        self._fixed = sum(int(layer.table) for layer in layers if not layer.reads)
        groups: dict[tuple[int, ...], list[Layer]] = {}
        for layer in layers:
            if layer.reads:
                groups.setdefault(layer.reads, []).append(layer)
        self._groups: list[tuple[Callable[[Pattern], Any], list[Layer], dict[Any, int]]] = [
            (itemgetter(*reads), members, {}) for reads, members in groups.items()
        ]

    @property
    def remembered(self) -> int:
        return sum(len(memory) for _, _, memory in self._groups)

    def of(self, pattern: Pattern) -> int:
        total = self._fixed
        for local, layers, memory in self._groups:
            key = local(pattern)
            if key not in memory:
                _kept(memory, key, sum(layer.at(pattern) for layer in layers))
            total += memory[key]
        return total


def _kept(memory: dict[Any, int], key: Any, value: int) -> int:
    """Remember a value, and forget the oldest where there are many."""
    if len(memory) >= _REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value
    return value
