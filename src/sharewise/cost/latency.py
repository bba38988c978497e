"""Latency: measured seconds of a network, and a table of measured milliseconds that prices every architecture."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from sharewise.cost.count import Tracer, Unit, outside
from sharewise.cost.layers import Pattern, decomposed
from sharewise.cost.prices import from_layers
from sharewise.cost.quantity import Quantity
from sharewise.cost.supernet import SupernetCost
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Space, sample
from sharewise.supernet.structures import blank, call

__all__ = ["Clock", "Group", "Latency", "latency", "measure_latencies"]


_REFERENCES = 4
"""Random networks that are timed as wholes, beside the two of all first and all last options."""

Group = tuple[tuple[str, ...], tuple[tuple[Option, ...], ...], tuple[float, ...]]
"""Choices that a layer reads together, the options of each, and milliseconds, the last choice varying fastest."""


@final
@dataclass(frozen=True)
class Latency(Quantity):
    """Milliseconds of one forward pass by a table: a fixed part, entries of options, and groups of choices.

    Measured times differ from run to run; a table of them is a value, which a run keeps. How well entries add up is a
    property of the device, so compare the sum with `latency` of the network that was found. A choice that an
    architecture does not take (of a block that its depth leaves out) stands at its first option.

    Args:
        fixed: milliseconds that every architecture takes.
        options: triples of choice, option and the milliseconds that it adds (negative where it takes less than the
            option that `fixed` contains).
        groups: of choices that are read together.

    Raises:
        ConfigurationError: when a number is not finite, an entry repeats, or a group has too many or too few of them.
    """

    fixed: float
    options: tuple[tuple[str, Option, float], ...]
    groups: tuple[Group, ...] = ()
    name: ClassVar[str] = "milliseconds"
    option: ClassVar[str] = "max_latency"

    def __post_init__(self) -> None:
        numbers = [ms for _, _, ms in self.options] + [ms for _, _, table in self.groups for ms in table]
        if not all(math.isfinite(value) for value in (self.fixed, *numbers)):
            raise ConfigurationError("the times of a latency table must be finite numbers of milliseconds")
        if len({(choice, option) for choice, option, _ in self.options}) < len(self.options):
            raise ConfigurationError("a latency table must not repeat an option of a choice")
        for choices, options, table in self.groups:
            if len(choices) != len(options) or math.prod(map(len, options)) != len(table):
                raise ConfigurationError(f"the group {choices} of a latency table needs one time per pair of options")

    def price(self, costs: SupernetCost) -> Callable[[Architecture], float]:
        """See `Quantity.price`."""
        table: dict[str, dict[Option, float]] = {}
        for choice, option, ms in self.options:
            table.setdefault(choice, {})[option] = ms
        grouped = {choice for choices, _, _ in self.groups for choice in choices}

        def milliseconds(architecture: Architecture) -> float:
            for choice, option in architecture.items():
                if option not in table.get(choice, ()) and not (choice in grouped and choice not in table):
                    raise ConfigurationError(f"the latency table has no entry for {choice}={option!r}")
            alone = sum(row[architecture.get(choice, next(iter(row)))] for choice, row in table.items())
            return self.fixed + alone + sum(_entry(group, architecture) for group in self.groups)

        return milliseconds

    def to_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` rebuilds the table."""
        groups = [
            {"choices": list(c), "options": [list(row) for row in o], "milliseconds": list(t)}
            for c, o, t in self.groups
        ]
        plain = {"fixed": self.fixed, "options": [[choice, option, ms] for choice, option, ms in self.options]}
        return plain | ({"groups": groups} if groups else {})

    @classmethod
    def from_json(cls, value: Any) -> Latency:
        """Rebuild a table from `to_json`.

        Raises:
            ConfigurationError: when the value has another form.
        """
        try:
            rows = tuple((str(choice), _option(option), float(ms)) for choice, option, ms in value["options"])
            groups = tuple(
                (
                    tuple(map(str, group["choices"])),
                    tuple(tuple(map(_option, row)) for row in group["options"]),
                    tuple(map(float, group["milliseconds"])),
                )
                for group in value.get("groups", ())
            )
            return cls(float(value["fixed"]), rows, groups)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"not a latency table ({type(error).__name__}: {error}); expected milliseconds as "
                '{"fixed": 1.5, "options": [["choice", "option", 0.25], …]}'
            ) from None


def _option(value: Any) -> Option:
    return tuple(value) if isinstance(value, list) else value


def _entry(group: Group, architecture: Architecture) -> float:
    choices, options, table = group
    index = 0
    for choice, row in zip(choices, options, strict=True):
        taken = architecture.get(choice, row[0])
        if taken not in row:
            raise ConfigurationError(f"the latency table has no entry for {choice}={taken!r}")
        index = index * len(row) + row.index(taken)
    return table[index]


def measure_latencies(
    space: Space,
    build: Callable[[Architecture], nn.Module],
    input_shape: Any,
    *,
    batch_size: int = 1,
    repeats: int = 20,
    device: torch.device | str = "cpu",
    integers: Any = False,
) -> Latency:
    """A latency table by measurement: every operation of every layer, at every size that it can have.

    An operation is timed once for all arguments of the same shapes. A network takes more than its operations (calls of
    modules) and less (what is still in a cache), so times t are corrected to s · t + o, with s and o fitted to the
    measured times of a few whole networks.

    Args:
        space: a product of choices, some of which may depend on others (a block's width on the depth).
        build: the plain network of an architecture.
        input_shape: of one example.
        batch_size: examples per pass.
        repeats: timed calls of which the fastest counts, since other work on the machine only adds.
        device: where to measure.
        integers: whether inputs are indices.

    Returns:
        The table, whose sums are those of the layers of an architecture's network.

    Raises:
        ConfigurationError: when the space is no product of its choices.
    """
    if space.constraints or space.normalise:
        raise ConfigurationError(
            f"the times of layers of space {space.name!r} do not add up over its choices; bound parameters or "
            "multiply-accumulates instead"
        )
    clock = Clock(torch.device(device), repeats)

    def operations(architecture: Architecture) -> Mapping[Unit, int]:
        tracer = Tracer(build(architecture), meter=clock)
        floating = next((p.dtype for p in tracer.module.parameters() if p.is_floating_point()), torch.float32)
        return tracer(blank(input_shape, batch_size, integers=integers, floating=floating)).units

    def measure(pattern: Pattern) -> Mapping[Any, int]:
        chosen = zip(space.choices, pattern, strict=True)
        return operations(space.architecture({choice.name: choice.options[o] for choice, (o,) in chosen}))

    def whole(architecture: Architecture) -> float:
        network = build(architecture)
        timed = latency(network, input_shape, batch_size=batch_size, repeats=repeats, device=device, integers=integers)
        return timed["minimum_seconds"] * 1e9

    rng = np.random.default_rng(0)
    ends = [space.architecture({choice.name: choice.options[end] for choice in space.choices}) for end in (0, -1)]
    references = [*ends, *(sample(space, rng) for _ in range(_REFERENCES))]
    clock.calibrate([list(operations(a).values()) for a in references], [whole(a) for a in references])
    sizes = [len(choice.options) for choice in space.choices]
    prices = from_layers(sizes, decomposed(sizes, measure, mixtures=False, nearly=True) or (), 1e-6)
    alone = {group[0]: table for group, table in prices.terms.items() if len(group) == 1}
    rows = tuple(
        (choice.name, option, float(alone[d][i]) if d in alone else 0.0)
        for d, choice in enumerate(space.choices)
        for i, option in enumerate(choice.options)
    )
    groups = tuple(
        (
            tuple(space.choices[d].name for d in group),
            tuple(space.choices[d].options for d in group),
            tuple(float(ms) for ms in table.reshape(-1)),
        )
        for group, table in prices.terms.items()
        if len(group) > 1
    )
    return Latency(prices.fixed, rows, groups)


@final
class Clock:
    """Times an operation once for all arguments of the same shapes, in nanoseconds.

    Args:
        device: where to run.
        repeats: calls of which the fastest counts.
    """

    def __init__(self, device: torch.device, repeats: int) -> None:
        self._scale, self._overhead = 1.0, 0.0
        self._device, self._repeats = device, repeats
        self._known: dict[str, int] = {}

    def __call__(self, operation: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> int:
        """What the operation takes with these arguments within a network."""
        key = f"{operation}{_signature((arguments, dict(named)))}"
        if key not in self._known:
            self._known[key] = self._timed(operation, arguments, named)
        return max(round(self._scale * self._known[key] + self._overhead), 0)

    def calibrate(self, operations: Sequence[Sequence[int]], wholes: Sequence[float]) -> None:
        """Correct times of operations such that their sums are nearest to those of whole networks, relatively.

        Args:
            operations: of every network the times of its operations.
            wholes: the measured times of the networks.
        """
        rows = np.array(
            [[sum(times) / whole, len(times) / whole] for times, whole in zip(operations, wholes, strict=True)]
        )
        scale, overhead = np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0]
        if not 0.2 < scale < 5:  # networks of one size tell the two apart badly
            scale, overhead = 1 / float(rows[:, 0].mean()), 0.0
        self._scale, self._overhead = float(scale), float(overhead)

    def _timed(self, operation: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> int:
        arguments, named = _valued(arguments, self._device), _valued(dict(named), self._device)
        times = []
        with outside():
            for _ in range(self._repeats + 2):
                start = time.perf_counter_ns()
                operation(*arguments, **named)
                _finish(self._device)
                times.append(time.perf_counter_ns() - start)
        return min(times[2:])


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _signature(value: Any) -> Any:
    match value:
        case Tensor():
            return tuple(value.shape), str(value.dtype)
        case dict():
            return tuple((name, _signature(v)) for name, v in value.items())
        case list() | tuple():
            return tuple(map(_signature, value))
    return value


def _valued(value: Any, device: torch.device) -> Any:
    """The same arguments with values."""
    match value:
        case Tensor():
            if not value.dtype.is_floating_point:
                return torch.zeros(value.shape, dtype=value.dtype, device=device)
            return torch.rand(value.shape, device=device).to(value.dtype)
        case torch.device():
            return device
        case dict():
            return {name: _valued(v, device) for name, v in value.items()}
        case list() | tuple():
            return type(value)(_valued(v, device) for v in value)
    return value


def latency(
    network: nn.Module,
    input_shape: Any,
    *,
    batch_size: int = 1,
    repeats: int = 20,
    device: torch.device | str = "cpu",
    integers: Any = False,
) -> dict[str, float]:
    """Measure the seconds of one forward pass on this machine.

    Args:
        network: a plain network; it is moved to the device and put into evaluation mode on a copy.
        input_shape: of one example.
        batch_size: examples per pass.
        repeats: timed passes, after three that are not timed; at least 1.
        device: where to measure.
        integers: whether inputs are indices.

    Returns:
        Median, minimum and maximum seconds per pass, and the number of repeats.

    Raises:
        ConfigurationError: when repeats or batch size are less than 1.
    """
    if repeats < 1 or batch_size < 1:
        raise ConfigurationError(f"latency needs repeats and batch size of at least 1, got {repeats} and {batch_size}")
    device = torch.device(device)
    replica = copy.deepcopy(network).to(device).eval()
    floating = torch.get_default_dtype()
    example = blank(input_shape, batch_size, integers=integers, floating=floating, device=device)
    times = []
    with torch.inference_mode():
        for index in range(repeats + 3):
            start = time.perf_counter()
            call(replica, example)
            _finish(device)
            if index >= 3:
                times.append(time.perf_counter() - start)
    return {
        "median_seconds": statistics.median(times),
        "minimum_seconds": min(times),
        "maximum_seconds": max(times),
        "repeats": float(repeats),
        "batch_size": float(batch_size),
    }
