"""Latency: measured seconds of a network, and a table of measured milliseconds that prices every architecture."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import nn

from sharewise.cost.quantity import Quantity
from sharewise.cost.supernet import SupernetCost
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Space

__all__ = ["Latency", "latency", "measure_latencies"]


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
