"""What an architecture costs: parameters, multiply-accumulates, activation memory, measured latency."""

from __future__ import annotations

import copy
import math
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sharewise.errors import ConfigurationError
from sharewise.ledger import GATES_ONLY, TRAINING
from sharewise.space import Architecture, Option, Space, sample
from sharewise.supernet.gate import Gate, Gates, discrete
from sharewise.supernet.grouped import GroupedOperation
from sharewise.supernet.mixed import MixedOperation
from sharewise.supernet.supernet import Shared, Supernet

__all__ = [
    "ArchitectureCosts",
    "Cost",
    "Latency",
    "MultiplyAccumulates",
    "Parameters",
    "Quantity",
    "SupernetCost",
    "cost",
    "latency",
    "measure_latencies",
]


@dataclass(frozen=True)
class Cost:
    """The cost of one example in one forward pass.

    Args:
        parameters: trainable numbers.
        multiply_accumulates: of convolutions and linear layers; a linear layer with bias counts in·out + out, as the
            published figures of NAS-Bench-201 do.
        activations: numbers written by all layers that compute, a proxy for activation memory in training.
    """

    parameters: int
    multiply_accumulates: int
    activations: int

    def to_json(self) -> dict[str, int]:
        """Plain numbers by name."""
        return asdict(self)


def _layer_cost(layer: nn.Module, inputs: Tensor, output: Tensor) -> int:
    """Multiply-accumulates of one call of a layer on one example."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        kernel = layer.weight.numel() // layer.out_channels  # includes in_channels / groups
        return output.numel() // output.shape[0] * kernel
    if isinstance(layer, nn.Linear):
        per_position = inputs.shape[-1] * output.shape[-1] + (output.shape[-1] if layer.bias is not None else 0)
        return per_position * (output.numel() // output.shape[-1] // output.shape[0])
    return 0


@contextmanager
def _counting(module: nn.Module, count: Callable[[str, nn.Module, Tensor, Tensor], None]) -> Iterator[None]:
    """Call `count(path, layer, input, output)` for every layer that is executed within the block."""
    handles = []
    for path, layer in module.named_modules():
        if not list(layer.children()) and not isinstance(layer, nn.Identity):

            def hook(layer: nn.Module, args: tuple[Any, ...], output: Any, path: str = path) -> None:
                if isinstance(output, Tensor) and args and isinstance(args[0], Tensor):
                    count(path, layer, args[0], output)

            handles.append(layer.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Calls(TorchFunctionMode):
    """Counts the multiply-accumulates of convolutions and linear maps by the weights that are really used.

    A sliced layer is no layer of torch, but calls the same functions as one. Superposing its weights is not counted: it
    is done once per batch and not for every position of every example.
    """

    multiply_accumulates = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in ("conv1d", "conv2d", "conv3d", "linear"):
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            per_output = weight[0].numel()  # includes input channels / groups
            if name == "linear":
                per_output += (args[2] if len(args) > 2 else kwargs.get("bias")) is not None
            self.multiply_accumulates += output.numel() // output.shape[0] * per_output
        return output


def _example(input_shape: Sequence[int], integers: bool, device: str = "meta") -> Tensor:
    return torch.zeros((2, *input_shape), device=device, dtype=torch.long if integers else torch.float32)


def _tracing_device(parameters: int, input_shape: Sequence[int]) -> str:
    """The CPU for small networks: with the first operation on the meta device torch imports half as much again."""
    small = parameters <= 2**22 and parameters * math.prod(input_shape[1:]) <= 2**31
    return "cpu" if small else "meta"


def cost(network: nn.Module, input_shape: Sequence[int], *, integers: bool = False) -> Cost:
    """Count the cost of a plain network without computing anything: shapes alone are traced.

    Args:
        network: takes one tensor of inputs.
        input_shape: of one example, without the batch dimension.
        integers: whether inputs are indices (text).

    Returns:
        The cost per example; the network itself is not touched.

    Example:
        >>> cost(nn.Linear(3, 2), (3,))
        Cost(parameters=8, multiply_accumulates=8, activations=2)
    """
    macs = activations = 0

    def count(path: str, layer: nn.Module, inputs: Tensor, output: Tensor) -> None:
        nonlocal macs, activations
        macs += _layer_cost(layer, inputs, output)
        activations += output.numel() // output.shape[0]

    device = _tracing_device(sum(p.numel() for p in network.parameters()), input_shape)
    replica = copy.deepcopy(network).to(device, torch.float32).eval()
    with torch.no_grad(), _counting(replica, count):
        replica(_example(input_shape, integers, device))
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Cost(parameters, macs, activations)


def _disjoint(sharing: Shared) -> bool:
    return isinstance(sharing, MixedOperation) or (isinstance(sharing, GroupedOperation) and not sharing.groups)


@final
class SupernetCost:
    """Multiply-accumulates of a supernet as a function of which options are active.

    A closed form of the supernet comes first. Where all sharing is disjoint the cost is additive, and one traced pass
    gives the price of every option. Otherwise each new pattern of active options is traced once and remembered.

    Args:
        supernet: what is executed.
        input_shape: of one example.
        integers: whether inputs are indices.
    """

    def __init__(self, supernet: Supernet, input_shape: Sequence[int], *, integers: bool = False) -> None:
        self._closed_form = supernet.multiply_accumulates
        self._replica = copy.deepcopy(supernet).to("meta", torch.float32).eval()
        self._decisions = supernet.relaxation.decisions
        self._example = _example(input_shape, integers)
        self._patterns: dict[tuple[tuple[int, ...], ...], int] = {}
        self._architectures: dict[Quantity, ArchitectureCosts] = {}
        self._fixed = 0
        self._prices: dict[str, list[int]] | None = None
        if all(_disjoint(m) for m in supernet.modules() if isinstance(m, Shared)):
            self._prices = {d.name: [0] * d.size for d in self._decisions}
            with _counting(self._replica, self._price):
                self._run({d.name: tuple(range(d.size)) for d in self._decisions})

    def of(self, gates: Gates) -> int:
        """Multiply-accumulates of one forward pass of one example under `gates`."""
        known = self._closed_form(gates)
        if known is not None:
            return known
        if self._prices is not None:
            return self._fixed + sum(self._prices[name][index] for name, gate in gates.items() for index in gate.active)
        pattern = tuple(gates[d.name].active for d in self._decisions)
        if pattern not in self._patterns:
            with _Calls() as calls:
                self._run({d.name: active for d, active in zip(self._decisions, pattern, strict=True)})
            self._patterns[pattern] = calls.multiply_accumulates
        return self._patterns[pattern]

    @property
    def prices(self) -> Mapping[str, Sequence[int]]:
        """For every decision the multiply-accumulates that each option adds to a forward pass of one example.

        Raises:
            ConfigurationError: where layers are shared such that the costs of options do not add up.
        """
        if self._prices is None:
            raise ConfigurationError(
                "the expected cost needs options whose costs add up, as separate operations have; this supernet shares "
                "layers in another way. Leave the cost penalty out"
            )
        return self._prices

    @property
    def gate_passes(self) -> int:
        """Passes of an architecture step: where gates scale weights, their gradient needs that of the weights."""
        return TRAINING if self._prices is None else GATES_ONLY

    def multiply_accumulates(self, architecture: Architecture) -> int:
        """Multiply-accumulates of an architecture: those of its slice of the supernet."""
        return self.of(discrete(self._replica.relaxation.encode(architecture)))

    def parameters(self, architecture: Architecture) -> int:
        """Trainable parameters of the extracted network of an architecture."""
        with torch.device("meta"):
            network = self._replica.plain(architecture)
        return sum(p.numel() for p in network.parameters() if p.requires_grad)

    def architectures(self, quantity: Quantity) -> ArchitectureCosts:
        """What every architecture of the space costs, in a quantity; computed once."""
        if quantity not in self._architectures:
            self._architectures[quantity] = ArchitectureCosts(self._replica.space, quantity.price(self))
        return self._architectures[quantity]

    def _run(self, active: Mapping[str, tuple[int, ...]]) -> None:
        gates = {
            d.name: Gate(torch.ones(d.size, device="meta"), active[d.name], unit=len(active[d.name]) <= 1)
            for d in self._decisions
        }
        with torch.no_grad():
            self._replica(self._example, gates)

    def _price(self, path: str, layer: nn.Module, inputs: Tensor, output: Tensor) -> None:
        assert self._prices is not None
        price = _layer_cost(layer, inputs, output)
        parts = path.split(".")
        for depth in range(len(parts) - 1, 0, -1):
            owner = self._replica.get_submodule(".".join(parts[: depth - 1])) if depth > 1 else self._replica
            if isinstance(owner, MixedOperation) and parts[depth - 1] == "operations":
                names = [str(option) for option in owner.decision.options]
                self._prices[owner.decision.name][names.index(parts[depth])] += price
                return
        self._fixed += price


class Quantity(ABC):
    """Something that an architecture costs, and that a budget can bound."""

    name: ClassVar[str]
    """In words, for messages."""
    option: ClassVar[str]
    """The option of the command line that bounds it."""

    @abstractmethod
    def price(self, costs: SupernetCost) -> Callable[[Architecture], float]:
        """The cost of single architectures.

        Args:
            costs: of the supernet that is searched.
        """


@final
@dataclass(frozen=True)
class Parameters(Quantity):
    """Trainable parameters of the extracted network."""

    name: ClassVar[str] = "parameters"
    option: ClassVar[str] = "max_parameters"

    def price(self, costs: SupernetCost) -> Callable[[Architecture], float]:
        """See `Quantity.price`."""
        return costs.parameters


@final
@dataclass(frozen=True)
class MultiplyAccumulates(Quantity):
    """Multiply-accumulates of the extracted network on one example."""

    name: ClassVar[str] = "multiply-accumulates"
    option: ClassVar[str] = "max_macs"

    def price(self, costs: SupernetCost) -> Callable[[Architecture], float]:
        """See `Quantity.price`."""
        return costs.multiply_accumulates


@final
@dataclass(frozen=True)
class Latency(Quantity):
    """Milliseconds of one forward pass by a table: a fixed part and one entry per option, which add up.

    Measured times differ from run to run; a table of them is a value, which a run keeps. How well entries add up is a
    property of the device, so compare the sum with `latency` of the network that was found.

    Args:
        fixed: milliseconds that every architecture takes.
        options: triples of choice, option and the milliseconds that it adds (negative where it takes less than the
            option that `fixed` contains).

    Raises:
        ConfigurationError: when a number is not finite, or an entry repeats.
    """

    fixed: float
    options: tuple[tuple[str, Option, float], ...]
    name: ClassVar[str] = "milliseconds"
    option: ClassVar[str] = "max_latency"

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.fixed, *(ms for _, _, ms in self.options))):
            raise ConfigurationError("the times of a latency table must be finite numbers of milliseconds")
        if len({(choice, option) for choice, option, _ in self.options}) < len(self.options):
            raise ConfigurationError("a latency table must not repeat an option of a choice")

    def price(self, costs: SupernetCost) -> Callable[[Architecture], float]:
        """See `Quantity.price`."""
        table = {(choice, option): ms for choice, option, ms in self.options}

        def milliseconds(architecture: Architecture) -> float:
            try:
                return self.fixed + sum(table[item] for item in architecture.items())
            except KeyError as error:
                choice, option = error.args[0]
                raise ConfigurationError(f"the latency table has no entry for {choice}={option!r}") from None

        return milliseconds

    def to_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` rebuilds the table."""
        return {"fixed": self.fixed, "options": [[choice, option, ms] for choice, option, ms in self.options]}

    @classmethod
    def from_json(cls, value: Any) -> Latency:
        """Rebuild a table from `to_json`.

        Raises:
            ConfigurationError: when the value has another form.
        """
        try:
            rows = tuple(
                (str(choice), tuple(option) if isinstance(option, list) else option, float(ms))
                for choice, option, ms in value["options"]
            )
            return cls(float(value["fixed"]), rows)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"not a latency table ({type(error).__name__}: {error}); expected milliseconds as "
                '{"fixed": 1.5, "options": [["choice", "option", 0.25], …]}'
            ) from None


_Terms = dict[tuple[str, ...], npt.NDArray[np.float64]]

_PROBES = 32
"""Random architectures on which a decomposition must be exact."""
_LARGEST_TABLE = 4096
"""Entries of the largest table of options that interact."""


@final
class ArchitectureCosts:
    """What the architectures of a space cost, as a sum over small groups of choices where it is one.

    Networks are made of layers, and a layer's cost depends on the few choices that it reads. So a cost c is found
    exactly by few evaluations: with a_0 the architecture of all first options and a_T the one that differs from it in
    the choices T alone,

        c(a) = c(a_0) + Σ_S f_S(a_S),   f_S(a_S) = Σ_{T ⊆ S} (-1)^{|S| - |T|} c(a_T)

    over the groups S of choices that interact in pairs (an additive cost has groups of one). Which pairs interact is
    tried on their last options, and the sum is checked on 32 random architectures; where it fails, or the space is no
    product of its choices, costs are evaluated one by one.

    Args:
        space: whose architectures are priced.
        price: the cost of one architecture.

    Example:
        >>> from sharewise.spaces import load
        >>> space = load("toy-tied-width")
        >>> costs = ArchitectureCosts(space, lambda a: 3.0 * a["width"] + 1)
        >>> costs.of(space.architecture({"width": 8, "activation": "relu"})), costs.additive
        (25.0, True)
    """

    def __init__(self, space: Space, price: Callable[[Architecture], float]) -> None:
        self.space, self._price = space, price
        self._known: dict[Architecture, float] = {}
        self._choices = {choice.name: choice for choice in space.choices}
        self.fixed = 0.0
        self.terms: _Terms | None = None
        self._tensors: list[Tensor] | None = None
        if space.independent:
            terms = self._decompose()
            rng = np.random.default_rng(0)
            probes = [sample(space, rng) for _ in range(_PROBES)] if terms is not None else []
            if all(math.isclose(self._sum(terms, a), self._evaluate(a), rel_tol=1e-9) for a in probes):
                self.terms = terms

    @property
    def additive(self) -> bool:
        """Whether the cost is a sum over single choices."""
        return self.terms is not None and all(len(group) == 1 for group in self.terms)

    def of(self, architecture: Architecture) -> float:
        """The cost of an architecture, by the sum where there is one."""
        return self._evaluate(architecture) if self.terms is None else self._sum(self.terms, architecture)

    def of_all(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        """The costs of many architectures, shape `(n,)`."""
        if self.terms is None:
            return np.array([self._evaluate(a) for a in architectures])
        index = {c.name: {option: i for i, option in enumerate(c.options)} for c in self.space.choices}
        codes = {name: np.array([rows[a[name]] for a in architectures], dtype=np.intp) for name, rows in index.items()}
        total = np.full(len(architectures), self.fixed)
        for group, table in self.terms.items():
            total += table[tuple(codes[name] for name in group)]
        return total

    def _evaluate(self, architecture: Architecture) -> float:
        if architecture not in self._known:
            self._known[architecture] = float(self._price(architecture))
        return self._known[architecture]

    def expected(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """E[cost] of an architecture whose choices are independent, exactly; differentiable.

        The cost is a sum of terms f_S, each linear in every one of its choices, so that
        E[c] = c(a_0) + Σ_S Σ_{a_S} f_S(a_S) · Π_{d ∈ S} p_d(a_d).

        Args:
            probabilities: for every choice, shape `(k,)`.

        Raises:
            ConfigurationError: when the cost is no sum over small groups of choices.
        """
        if self.terms is None:
            raise ConfigurationError(
                f"the expected cost is not known for space {self.space.name!r}, whose cost is no sum over small groups "
                "of independent choices; leave the penalty out, a budget holds without it"
            )
        like = next(iter(probabilities.values()))
        if self._tensors is None or self._tensors[0].device != like.device or self._tensors[0].dtype != like.dtype:
            self._tensors = [torch.as_tensor(table).to(like) for table in self.terms.values()]
        total = like.new_full((), self.fixed)
        for group, table in zip(self.terms, self._tensors, strict=True):
            for name in group:
                table = torch.tensordot(probabilities[name], table, dims=([0], [0]))
            total = total + table
        return total

    def _sum(self, terms: _Terms | None, architecture: Architecture) -> float:
        assert terms is not None
        index = {name: choice.options.index(architecture[name]) for name, choice in self._choices.items()}
        return self.fixed + sum(float(table[tuple(index[name] for name in g)]) for g, table in terms.items())

    def _at(self, **indices: int) -> float:
        values = {name: choice.options[indices.get(name, 0)] for name, choice in self._choices.items()}
        return self._evaluate(self.space.architecture(values))

    def _decompose(self) -> _Terms | None:
        """The terms f_S by group; `None` where a group of interacting choices would need too large a table."""
        self.fixed = self._at()
        last = {name: len(choice.options) - 1 for name, choice in self._choices.items()}
        alone = {name: self._at(**{name: last[name]}) for name in last}
        together: dict[str, set[str]] = {name: set() for name in last}
        for a, b in combinations(last, 2):
            both = self._at(**{a: last[a], b: last[b]})
            if not math.isclose(both + self.fixed, alone[a] + alone[b], rel_tol=1e-9):
                together[a].add(b)
                together[b].add(a)
        groups: list[tuple[str, ...]] = []
        frontier: list[tuple[str, ...]] = [(name,) for name in last]
        order = list(last)
        while frontier:
            groups += frontier
            frontier = [
                (*group, name)
                for group in frontier
                for name in order[order.index(group[-1]) + 1 :]
                if all(name in together[member] for member in group)
            ]
            if any(math.prod(last[name] + 1 for name in group) > _LARGEST_TABLE for group in frontier):
                return None
        terms: _Terms = {}
        for group in groups:  # smaller groups first, so that what they explain can be taken off
            table = np.zeros([last[name] + 1 for name in group])
            for indices in np.ndindex(*table.shape):
                if 0 in indices:
                    continue  # a choice that stands at its first option leaves a smaller group
                value = self._at(**dict(zip(group, indices, strict=True))) - self.fixed
                for size in range(1, len(group)):
                    for part in combinations(range(len(group)), size):
                        value -= terms[tuple(group[i] for i in part)][tuple(indices[i] for i in part)]
                table[indices] = value
            terms[group] = table
        return terms


def measure_latencies(
    space: Space,
    build: Callable[[Architecture], nn.Module],
    input_shape: Sequence[int],
    *,
    batch_size: int = 1,
    repeats: int = 20,
    device: torch.device | str = "cpu",
) -> Latency:
    """A latency table by measurement: the network of all first options, and each other option in its place.

    Args:
        space: a product of independent choices.
        build: the plain network of an architecture.
        input_shape: of one example.
        batch_size: examples per pass.
        repeats: timed passes per network, of which the fastest counts, since other work on the machine only adds.
        device: where to measure.

    Returns:
        The table; a time is attributed to an option as the difference that it alone makes.

    Raises:
        ConfigurationError: when choices depend on each other, so that options have no times of their own.
    """
    if not space.independent:
        raise ConfigurationError(
            f"the choices of space {space.name!r} depend on each other, so that their times do not add up; bound "
            "parameters or multiply-accumulates instead"
        )
    base = {choice.name: choice.options[0] for choice in space.choices}

    def milliseconds(values: Mapping[str, Option]) -> float:
        network = build(space.architecture(values))
        timing = latency(network, input_shape, batch_size=batch_size, repeats=repeats, device=device)
        return timing["minimum_seconds"] * 1e3

    fixed = milliseconds(base)
    rows: list[tuple[str, Option, float]] = []
    for choice in space.choices:
        rows.append((choice.name, choice.options[0], 0.0))
        rows += [
            (choice.name, option, milliseconds({**base, choice.name: option}) - fixed) for option in choice.options[1:]
        ]
    return Latency(fixed, tuple(rows))


def latency(
    network: nn.Module,
    input_shape: Sequence[int],
    *,
    batch_size: int = 1,
    repeats: int = 20,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Measure the seconds of one forward pass on this machine.

    Args:
        network: a plain network; it is moved to the device and put into evaluation mode on a copy.
        input_shape: of one example.
        batch_size: examples per pass.
        repeats: timed passes, after three that are not timed; at least 1.
        device: where to measure.

    Returns:
        Median, minimum and maximum seconds per pass, and the number of repeats.

    Raises:
        ConfigurationError: when repeats or batch size are less than 1.
    """
    if repeats < 1 or batch_size < 1:
        raise ConfigurationError(f"latency needs repeats and batch size of at least 1, got {repeats} and {batch_size}")
    device = torch.device(device)
    replica = copy.deepcopy(network).to(device).eval()
    example = torch.zeros((batch_size, *input_shape), device=device)
    times = []
    with torch.inference_mode():
        for index in range(repeats + 3):
            start = time.perf_counter()
            replica(example)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if index >= 3:
                times.append(time.perf_counter() - start)
    return {
        "median_seconds": statistics.median(times),
        "minimum_seconds": min(times),
        "maximum_seconds": max(times),
        "repeats": float(repeats),
        "batch_size": float(batch_size),
    }
