"""Influence: a supernet listens to every decision and to the weights of its gates, and to nothing that is inactive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Option, sample
from sharewise.supernet import Gate, Gates, Supernet, discrete
from sharewise.testing.expect import expect

__all__ = ["check_influence"]

_CONTEXTS = 12
"""Architectures in which a choice is varied before it is said to change nothing."""
_DRAWS = 400


def check_influence(supernet: Supernet, inputs: Tensor, *, seed: int = 0) -> None:
    """Check what a supernet listens to, in evaluation mode and double precision.

    *Every choice matters where it is active*: under each option of the choice on which it depends there is an
    architecture whose output changes when it is made otherwise; a condition that is wrong fails here. *No inactive
    choice matters*: where a choice is inactive, the gate of the decision of its name changes no bit. *Weights are
    read*: where decisions may be mixed, the output under a mixture depends on the weights of every gate, and the
    gradient with respect to them is the derivative (by central differences), so that no gate is detached. *Evaluation
    keeps still*: no parameter or running statistic moves.

    Args:
        supernet: in double precision, its norms randomised.
        inputs: a batch of at least two examples.
        seed: of architectures and weights.

    Raises:
        AssertionError: naming the choice or the decision.

    Example:
        >>> from sharewise.run import build_supernet
        >>> from sharewise.spaces import load
        >>> supernet = build_supernet(load("toy-two-inputs"), (4,), outputs=3).double()
        >>> check_influence(supernet, torch.randn(4, 4, dtype=torch.float64))
    """
    supernet.eval()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    rng = np.random.default_rng(seed)
    drawn = [sample(supernet.space, rng) for _ in range(_DRAWS)]
    for choice in supernet.space.choices:
        for option in (None,) if choice.condition is None else choice.condition.options:
            _check_matters(supernet, inputs, choice, option, drawn)
        _check_inactive(supernet, inputs, choice, drawn)
    if supernet.relaxation.independent and supernet.relaxation.decisions:
        _check_weights(supernet, inputs, torch.Generator().manual_seed(seed))
    moved = [name for name, value in supernet.state_dict().items() if not torch.equal(value, before[name])]
    expect(not moved, f"a forward pass in evaluation mode moves {moved}")


def _check_matters(
    supernet: Supernet, inputs: Tensor, choice: Choice, parent: Option | None, drawn: list[Architecture]
) -> None:
    contexts = [
        a
        for a in dict.fromkeys(drawn)
        if choice.name in a and (choice.condition is None or a.get(choice.condition.choice) == parent)
    ][:_CONTEXTS]
    varied = False
    for architecture in contexts:
        expected = _output(supernet, inputs, architecture)
        for other in _varied(supernet, architecture, choice):
            varied = True
            if _differ(expected, _output(supernet, inputs, other)):
                return
    where = "" if choice.condition is None else f" where {choice.condition.choice!r} is {parent!r}, where it is active"
    expect(
        not varied,
        f"choice {choice.name!r} changes nothing{where}: the output was equal for all its options in "
        f"{len(contexts)} architectures; is a decision ignored, or a condition wrong?",
    )


def _varied(supernet: Supernet, architecture: Architecture, choice: Choice) -> Iterator[Architecture]:
    """The legal architectures that make one choice otherwise and all others alike."""
    for option in choice.options:
        try:
            other = supernet.space.architecture({**architecture, choice.name: option})
        except ConfigurationError:  # a constraint, or a choice that only now becomes active
            continue
        if other != architecture:
            yield other


def _check_inactive(supernet: Supernet, inputs: Tensor, choice: Choice, drawn: list[Architecture]) -> None:
    decision = next((d for d in supernet.relaxation.decisions if d.name == choice.name), None)
    if choice.condition is None or decision is None:
        return
    for architecture in [a for a in dict.fromkeys(drawn) if choice.name not in a][:_CONTEXTS]:
        gates = _gates(supernet, architecture)
        expected = _run(supernet, inputs, gates)
        for index in range(decision.size):
            weights = torch.zeros(decision.size, dtype=torch.float64)
            weights[index] = 1.0
            other = {**gates, decision.name: Gate(weights, (index,), unit=True)}
            expect(
                torch.equal(expected, _run(supernet, inputs, other)),
                f"choice {choice.name!r} is inactive in {architecture}, but the gate of its decision changes the "
                "output: is its condition wrong?",
            )


def _check_weights(supernet: Supernet, inputs: Tensor, generator: torch.Generator) -> None:
    weights = {d.name: _simplex(d.size, generator) for d in supernet.relaxation.decisions}
    leaves = {name: row.clone().requires_grad_() for name, row in weights.items()}
    outputs = supernet(inputs, _mixed(leaves))
    loss = outputs.sin().sum()
    names = list(leaves)
    if loss.requires_grad:
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    else:
        found = tuple(torch.zeros_like(row) for row in leaves.values())
    gradients = dict(zip(names, found, strict=True))
    for decision in supernet.relaxation.decisions:
        name = decision.name
        if decision.size == 1:
            continue
        direction = _simplex(decision.size, generator) - weights[name]
        other = _run(supernet, inputs, _mixed({**weights, name: weights[name] + 0.5 * direction}))
        expect(
            _differ(outputs.detach(), other),
            f"the output under a mixture does not depend on the weights of the gate of {name!r}: they are never read",
        )
        step = 1e-3  # wide, since some models compute norms in single precision whatever they are given
        ends = [
            float(_run(supernet, inputs, _mixed({**weights, name: weights[name] + s * direction})).sin().sum())
            for s in (step, -step)
        ]
        expected, actual = (ends[0] - ends[1]) / (2 * step), float(gradients[name] @ direction)
        slack = 0.02 * max(abs(expected), abs(actual)) + 1e-3 * outputs.numel() ** 0.5
        expect(
            abs(expected - actual) <= slack,
            f"the derivative of the output along the gate of {name!r} is {expected:.6g}, but its gradient says "
            f"{actual:.6g}: is the gate detached somewhere?",
        )


def _simplex(size: int, generator: torch.Generator) -> Tensor:
    raw = 0.2 + torch.rand(size, generator=generator, dtype=torch.float64)
    return raw / raw.sum()


def _mixed(weights: Mapping[str, Tensor]) -> Gates:
    return {name: Gate(row, tuple(range(len(row)))) for name, row in weights.items()}


def _gates(supernet: Supernet, architecture: Architecture) -> Gates:
    return discrete(supernet.relaxation.encode(architecture), dtype=torch.float64)


def _output(supernet: Supernet, inputs: Tensor, architecture: Architecture) -> Tensor:
    return _run(supernet, inputs, _gates(supernet, architecture))


def _run(supernet: Supernet, inputs: Tensor, gates: Gates) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = supernet(inputs, gates)
    return outputs


def _differ(first: Tensor, second: Tensor) -> bool:
    """Beyond rounding."""
    return first.shape != second.shape or float((first - second).abs().max()) > 1e-9 * float(first.abs().max())
