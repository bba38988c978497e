"""The cost of a plain network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from sharewise.cost.count import Tracer
from sharewise.supernet.without_values import without_values

__all__ = ["Cost", "cost", "cost_of", "trainable"]


@dataclass(frozen=True)
class Cost:
    """The cost of one example in one forward pass.

    Args:
        parameters: trainable numbers; a parameter that several layers share counts once.
        multiply_accumulates: of convolutions, linear layers, attention, recurrences and other products; a linear layer
            with bias counts in·out + out, as the published figures of NAS-Bench-201 do, and nothing else that is added
            counts. What does not depend on the input (normalising a weight) is done once per batch and left out.
        activations: numbers that operations write, views aside: a proxy for activation memory in training.
        uncounted: operations that multiply and add, but that no rule counts (a Fourier transform, a custom kernel).
    """

    parameters: int
    multiply_accumulates: int
    activations: int
    uncounted: tuple[str, ...] = ()

    def to_json(self) -> dict[str, int | list[str]]:
        """Plain values by name; without `uncounted` where everything was counted."""
        values = asdict(self)
        uncounted = list(values.pop("uncounted"))
        return values | ({"uncounted": uncounted} if uncounted else {})


def trainable(network: nn.Module) -> dict[str, int]:
    """The size of every trainable parameter, by the first of its names."""
    return {name: parameter.numel() for name, parameter in network.named_parameters() if parameter.requires_grad}


def cost(network: nn.Module, input_shape: Any, *, integers: Any = False) -> Cost:
    """Count the cost of a plain network without computing anything: shapes alone are traced.

    Args:
        network: takes one tensor of inputs, or several by keyword.
        input_shape: of one example, without the batch dimension; by name where there are several inputs.
        integers: whether inputs are indices (text), likewise.

    Returns:
        The cost per example; the network itself is not touched.

    Example:
        >>> cost(nn.Linear(3, 2), (3,))
        Cost(parameters=8, multiply_accumulates=8, activations=2, uncounted=())
    """
    tracer = Tracer(network)
    counted = tracer(tracer.example(input_shape, integers=integers))
    return Cost(sum(trainable(network).values()), counted.multiply_accumulates, counted.written, counted.uncounted)


def cost_of(build: Callable[[], nn.Module], input_shape: Sequence[int], *, integers: bool = False) -> Cost:
    """Count the cost of a network that is only made of shapes, so that no memory bounds its size.

    Args:
        build: makes the network; a constructor that looks at values is called again with values.
        input_shape: of one example, without the batch dimension.
        integers: whether inputs are indices (text).

    Example:
        >>> cost_of(lambda: nn.Linear(10**6, 10**6, bias=False), (10**6,)).parameters
        1000000000000
    """
    try:
        with without_values():
            network = build()
    except Exception:  # what is really wrong shows below
        return cost(build(), input_shape, integers=integers)
    tracer = Tracer(network, real=build)
    counted = tracer(tracer.example(input_shape, integers=integers))
    return Cost(sum(trainable(network).values()), counted.multiply_accumulates, counted.written, counted.uncounted)
