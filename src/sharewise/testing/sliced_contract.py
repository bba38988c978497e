"""The contract of a sliced layer: a one-hot gate is a plain layer, however it is executed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from sharewise.space import Decision
from sharewise.space.choice import Option
from sharewise.supernet import Gate, Gates, Shared
from sharewise.supernet.slices import Dimension, Size, dimension
from sharewise.testing.expect import expect
from sharewise.testing.supernet_contract import randomise_norms

__all__ = ["check_sliced"]


def check_sliced(
    layer: Shared,
    plain: Callable[[Mapping[str, Option]], nn.Module],
    inputs: Tensor,
    decisions: Sequence[Decision],
    *,
    reads: Size = 1,
    features: int = -1,
    reader: bool = False,
    seed: int = 0,
) -> None:
    """Check the laws of a sliced layer for every combination of options, on a copy of it.

    *Slice*: with the one option active, the layer equals the plain layer with the inherited state bit for bit, in
    evaluation and in training; the plain layer's gradients are the layer's own, and what lies outside the slice has a
    gradient of zeros (one tensor holds all slices, so there it cannot be `None`). *Sample*: a one-hot sample whose
    weight has a gradient computes the same bits. *Continuity*: with all options active and one-hot weights, the layer
    computes the slice to 1e-12, whatever stands beyond it, and gradients are finite. *Survival*: the reader of a
    dimension computes, under weights g of its sizes, what its largest slice computes from inputs that are scaled by
    s_j = Σ_{i: size_i > j} g_i. Norms are randomised first.

    Args:
        layer: called as `layer(x, gates)`.
        plain: a plain layer from the options of all decisions; its state dictionary has the names of `inherited`.
        inputs: of the largest size, on the CPU.
        decisions: all that the layer reads.
        reads: the size of the dimension `features` of `inputs`, where that is searched.
        features: which dimension of inputs and outputs is searched: 1 for images, −1 for others.
        reader: whether the layer is the one that applies the survival of `reads`, a decision of its own; writers, norms
            and depthwise layers leave that to their reader.
        seed: of norms and gates.

    Raises:
        AssertionError: for the first law that is broken, naming the options.

    Example:
        >>> from sharewise.supernet import SlicedLinear
        >>> width = Decision("width", (2, 4))
        >>> layer = SlicedLinear(width, 3)
        >>> check_sliced(layer, lambda o: nn.Linear(o["width"], 3), torch.randn(5, 4), [width], reads=width)
    """
    generator = torch.Generator().manual_seed(seed)
    layer = copy.deepcopy(layer).double()
    randomise_norms(layer, generator)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    searched = bool(dimension(reads).decisions)
    for options in _combinations(decisions):
        choice = {d.name: d.options[i] for d, i in zip(decisions, options, strict=True)}
        gates = {n: _one_hot(d, i, "slice") for n, d, i in _named(decisions, options)}
        x = inputs.narrow(features, 0, dimension(reads).size(gates)) if searched else inputs
        network = plain(choice).double()
        network.load_state_dict({name: value.clone() for name, value in layer.inherited(gates).items()}, strict=True)
        _check_slice(layer, network, x, gates, choice)
        layer.eval()
        with torch.no_grad():
            expected = layer(x, gates)
        sample = {n: _one_hot(d, i, "sample") for n, d, i in _named(decisions, options)}
        actual = layer(x, sample)
        expect(torch.equal(actual, expected), f"{choice}: a sample of weight one differs from the slice")
        dense = {n: _one_hot(d, i, "dense") for n, d, i in _named(decisions, options)}
        whole = layer(inputs, dense)
        gap = float((whole.narrow(features, 0, expected.shape[features]) - expected).detach().abs().max())
        expect(gap <= 1e-12, f"{choice}: executed densely with one-hot weights it differs from the slice by {gap:.3g}")
        gradients = torch.autograd.grad(whole.sin().sum(), [g.weights for g in dense.values()], allow_unused=True)
        expect(
            all(g is None or bool(g.isfinite().all()) for g in gradients),
            f"{choice}: gradients to gates are not finite",
        )
    if reader:
        _check_survival(layer, inputs, decisions, dimension(reads), features, generator)


def _check_survival(
    layer: Shared,
    inputs: Tensor,
    decisions: Sequence[Decision],
    read: Dimension,
    features: int,
    generator: torch.Generator,
) -> None:
    layer = copy.deepcopy(layer).eval()
    [decision] = read.decisions
    largest = max(range(decision.size), key=read.sizes.__getitem__)
    weights = torch.rand(decision.size, generator=generator, dtype=torch.float64) + 0.1
    weights = weights / weights.sum()
    others = {d.name: _one_hot(d, d.size - 1, "slice") for d in decisions if d.name != decision.name}
    positions = torch.arange(read.largest)
    survival = sum(w * (positions < size) for w, size in zip(weights, read.sizes, strict=True))
    assert isinstance(survival, Tensor)
    shape = [1] * inputs.ndim
    shape[features] = read.largest
    with torch.no_grad():
        expected = layer(inputs * survival.view(shape), {**others, decision.name: _one_hot(decision, largest, "slice")})
        actual = layer(inputs, {**others, decision.name: Gate(weights, tuple(range(decision.size)))})
    gap = float((expected - actual).abs().max())
    expect(
        gap <= 1e-10,
        f"under the weights {[round(float(w), 3) for w in weights]} of {decision.name!r} the layer differs by "
        f"{gap:.3g} from its largest slice on inputs that are scaled by their survival",
    )


def _combinations(decisions: Sequence[Decision]) -> Iterator[tuple[int, ...]]:
    return product(*(range(d.size) for d in decisions))


def _named(decisions: Sequence[Decision], options: tuple[int, ...]) -> Iterator[tuple[str, Decision, int]]:
    return ((d.name, d, i) for d, i in zip(decisions, options, strict=True))


def _one_hot(decision: Decision, option: int, execution: str) -> Gate:
    weights = torch.zeros(decision.size, dtype=torch.float64)
    weights[option] = 1.0
    if execution == "slice":
        return Gate(weights, (option,), unit=True)
    active = (option,) if execution == "sample" else tuple(range(decision.size))
    return Gate(weights.requires_grad_(), active)


def _check_slice(layer: Shared, network: nn.Module, x: Tensor, gates: Gates, choice: object) -> None:
    for training in (False, True):
        mine, theirs = copy.deepcopy(layer).train(training), copy.deepcopy(network).train(training)
        outputs = mine(x, gates), theirs(x)
        gap = float((outputs[0] - outputs[1]).detach().abs().max())
        expect(torch.equal(*outputs), f"{choice}: the slice differs from the plain layer by {gap:.3g} ({training=})")
        for module, output in zip((mine, theirs), outputs, strict=True):
            if output.requires_grad:
                output.sin().sum().backward()
            for parameter in module.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
        statistics = mine.inherited(gates)
        for name, buffer in theirs.named_buffers():
            expect(torch.equal(statistics[name], buffer), f"{choice}: {name!r} differs after a step")
        total = sum(float(p.grad.abs().sum()) for p in mine.parameters() if p.grad is not None)
        inside = sum(float(p.grad.abs().sum()) for p in theirs.parameters() if p.grad is not None)
        with torch.no_grad():
            for parameter in mine.parameters():
                assert parameter.grad is not None
                parameter.copy_(parameter.grad)
        gradients = mine.inherited(gates)
        for name, parameter in theirs.named_parameters():
            assert parameter.grad is not None
            same = torch.allclose(gradients[name], parameter.grad, rtol=1e-9, atol=1e-12)
            expect(same, f"{choice}: {name!r} has another gradient in the slice than in the plain layer")
        expect(abs(total - inside) <= 1e-8 * max(total, 1e-3), f"{choice}: gradients reach weights outside the slice")
