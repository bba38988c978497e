"""What decisions change in a module without slicing it: an attribute, and if a parameter or the module is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from itertools import product
from operator import mul
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.analysis import combination
from sharewise.supernet.elastic.binding import Bindings
from sharewise.supernet.elastic.places import Place
from sharewise.supernet.gate import Gate, Gates, add, weighted

__all__ = ["bypass_and_mix", "set_and_mix", "with_parameter"]


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


def bypass_and_mix(bindings: Bindings, module: nn.Module, place: Place, gates: Gates) -> None:
    """Let a module compute Σ_{o : executed} g_o · f(x) + Σ_{o : left out} g_o · x over combinations o of options.

    Args:
        bindings: take the changed forward method.
        module: which may be left out.
        place: that says with which combinations it is.
        gates: of every decision.
    """
    own = {name: gates[name] for name in place.decisions}
    sizes = {name: gate.size for name, gate in own.items()}
    active = [dict(zip(own, options, strict=True)) for options in product(*(gate.active for gate in own.values()))]
    executed = [options for options in active if place.size(combination(place.decisions, sizes, options))]
    left_out = [options for options in active if options not in executed]
    if not active:
        raise ConfigurationError(f"no option of {' and '.join(own)} is active; {place.path!r} needs at least one")
    if len(active) > 1 or not all(gate.unit for gate in own.values()):
        mixed = partial(_partly, module.forward, _total(executed, own), _total(left_out, own))
        bindings.set(module, "forward", mixed)
    elif left_out:
        bindings.set(module, "forward", _passed)


def _total(combinations: Sequence[Mapping[str, int]], gates: Gates) -> Tensor | None:
    """The sum of the weights of combinations of options, which are products."""
    weights = (reduce(mul, (gates[name].weights[i] for name, i in options.items())) for options in combinations)
    return reduce(add, weights, None)


def _passed(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return x


def _partly(
    forward: Callable[..., Tensor],
    executed: Tensor | None,
    left_out: Tensor | None,
    x: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """What a module computes and what it reads, each times its weight, of which one may be absent."""
    if executed is None:
        assert left_out is not None
        return left_out.to(x.dtype) * x
    output = forward(x, *args, **kwargs)
    total = executed.to(output.dtype) * output
    return total if left_out is None else total + left_out.to(x.dtype) * _fitted(x, output.shape)


def _fitted(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The leading positions of a tensor, and zeros where a shape has more."""
    kept = x[tuple(slice(size) for size in shape)]
    missing = [size - there for size, there in zip(shape, kept.shape, strict=True)]
    return F.pad(kept, [n for more in reversed(missing) for n in (0, more)]) if any(missing) else kept
