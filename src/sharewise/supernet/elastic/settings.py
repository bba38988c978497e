"""What a decision changes in a module without slicing it: the value of an attribute, and whether a parameter is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.binding import Bindings
from sharewise.supernet.gate import Gate, add, weighted

__all__ = ["set_and_mix", "with_parameter"]


def set_and_mix(bindings: Bindings, module: nn.Module, attribute: str, values: Sequence[int], gate: Gate) -> None:
    """Let a module compute Σ_i g_i · f_i(x), with f_i what it computes when an attribute has its i-th value.

    Args:
        bindings: take the attribute, and where several values are mixed the changed forward method.
        module: which has the attribute.
        attribute: its name.
        values: one per option.
        gate: of the decision.

    Raises:
        ConfigurationError: when no option is active.
    """
    if not gate.active:
        raise ConfigurationError(f"no value of {attribute!r} is active; a module needs at least one")
    bindings.set(module, attribute, values[gate.active[-1]])
    if not gate.unit or len(gate.active) > 1:
        bindings.set(module, "forward", partial(_mixed, module, module.forward, attribute, values, gate))


def _mixed(
    module: nn.Module,
    forward: Callable[..., Any],
    attribute: str,
    values: Sequence[int],
    gate: Gate,
    /,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    total: Tensor | None = None
    for index in gate.active:
        module.__dict__[attribute] = values[index]
        total = add(total, weighted(gate, index, forward(*args, **kwargs)))
    assert total is not None
    return total


def with_parameter(bindings: Bindings, module: nn.Module, name: str, gate: Gate) -> None:
    """Scale a parameter by the weight of its presence, or take it away where it is absent.

    Args:
        bindings: take what stands in its place.
        module: whose parameter it is, sliced already.
        name: of the parameter.
        gate: of the decision; its options are absence and presence.
    """
    if 1 not in gate.active:
        bindings.put(module._parameters, name, None)
    elif not gate.unit:
        parameter = module._parameters[name]
        assert parameter is not None
        bindings.put(module._parameters, name, parameter * gate.weights[1].to(parameter.dtype))
