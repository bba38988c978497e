"""Skips and poolings of a node at once, by compiled kernels, are the terms by themselves."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from sharewise.run import build_supernet
from sharewise.spaces import load
from sharewise.supernet import Gate, Gates, Supernet, combining, native
from sharewise.supernet.twice import differentiated_twice

pytestmark = pytest.mark.usefixtures("compiler", "kernel_cache")

SHAPES = [(2, 16, 5, 7), (1, 3, 3, 5), (3, 4, 30, 30)]


def images(count: int, shape: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [x.contiguous(memory_format=torch.channels_last).requires_grad_() for x in made]


def plainly(scales: Tensor, given: list[Tensor]) -> list[Tensor]:
    return [sum((s * x for s, x in zip(row, given, strict=True)), torch.zeros(())) for row in scales]


@pytest.mark.parametrize(("shape", "inputs", "outputs"), list(product(SHAPES, (2, 3), (1, 2, 4))))
@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("constant", [False, True])
def test_values_and_derivatives(shape: tuple[int, ...], inputs: int, outputs: int, order: str, constant: bool) -> None:
    given = images(inputs, shape)
    scales = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaves = given if constant else [scales.requires_grad_(), *given]
    found = []
    for form in (combining.combined, plainly):
        with native.native_kernels():
            assert combining.serves(given)
            made = list(form(scales, given))  # type: ignore[arg-type]
            loss = sum(((number + 1) * y).sin().sum() for number, y in enumerate(made))
            first = torch.autograd.grad(loss, leaves, create_graph=order == "second")  # type: ignore[arg-type]
            if order == "second":
                first += torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), leaves)
            found.append([*made, *first])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10 * float(theirs.detach().abs().max() + 1))


def test_gradients_that_lie_otherwise_are_read_as_they_are() -> None:
    given, scales = images(2, (2, 16, 4, 4)), torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    with native.native_kernels():
        made = combining.combined(scales, given)
        back = [torch.randn(2, 16, 4, 4, dtype=torch.float64), torch.randn(4, 4, 2, 16, dtype=torch.float64)]
        back[1] = back[1].permute(2, 3, 0, 1)
        found = torch.autograd.grad(made, given, back)
    for place, mine in enumerate(found):
        torch.testing.assert_close(mine, sum(s * dy for s, dy in zip(scales[:, place], back, strict=True)))


def test_what_they_serve() -> None:
    given = images(2, (2, 16, 4, 4))
    assert not combining.serves(given), "kernels are off"
    with native.native_kernels():
        assert combining.serves(given)
        assert not combining.serves(given[:1])
        assert not combining.serves([given[0], images(1, (2, 16, 4, 5))[0]])
        assert not combining.serves([given[0], given[1].detach().float()])
        assert not combining.serves([given[0], given[1].contiguous()])
        with torch.no_grad():
            assert not combining.serves(given)
        with differentiated_twice():
            assert not combining.serves(given)


def network() -> tuple[Supernet, Tensor, Gates]:
    torch.manual_seed(0)
    supernet = build_supernet(load("nasbench201"), (3, 8, 8), 5, network={"channels": 4, "cells": 2}).double()
    supernet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    gates = {
        d.name: Gate(torch.rand(d.size, dtype=torch.float64).requires_grad_(), tuple(range(d.size)))
        for d in supernet.relaxation.decisions
    }
    return supernet, x, gates


def test_a_supernet_has_the_gradients_of_its_terms(monkeypatch: pytest.MonkeyPatch, kernel_calls: list[str]) -> None:
    supernet, x, gates = network()
    leaves = [*supernet.parameters(), *(gate.weights for gate in gates.values())]
    found = []
    for at_once in (True, False):
        if not at_once:
            monkeypatch.setattr(combining, "serves", lambda images: False)
        with native.native_kernels():
            y = supernet(x, gates)
            found.append([y.detach(), *torch.autograd.grad(y.sin().sum(), leaves)])
        assert ("products_by_kernel" in kernel_calls) is at_once
        kernel_calls.clear()
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_a_skip_that_somebody_listens_to_is_called(kernel_calls: list[str]) -> None:
    supernet, x, gates = network()
    called: list[nn.Module] = []
    skips = [module for module in supernet.modules() if type(module) is nn.Identity]
    for skip in skips:
        skip.register_forward_hook(lambda module, *_: called.append(module))
    with native.native_kernels():
        supernet(x, gates)
    assert called
    assert set(called) == set(skips)
    assert "combined_by_kernel" not in kernel_calls


def test_what_no_output_reads_has_no_gradient(monkeypatch: pytest.MonkeyPatch, kernel_calls: list[str]) -> None:
    """Node 2 leads nowhere; its edges are executed for the statistics of their norms."""
    supernet, x, gates = network()
    active = [(1, 4), (1, 3), (1, 4), (2, 3), (3, 4), (0,)]
    names = [f"edge_{i}_{j}" for i, j in ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))]
    some = {name: Gate(gates[name].weights, options) for name, options in zip(names, active, strict=True)}
    found = []
    for at_once in (True, False):
        if not at_once:
            monkeypatch.setattr(combining, "serves", lambda images: False)
        for gate in some.values():
            gate.weights.grad = None
        with native.native_kernels():
            supernet(x, some).sin().sum().backward()
        found.append({name: gate.weights.grad is not None for name, gate in some.items()})
    assert found[0] == found[1]
    assert not found[0]["edge_0_2"]
    assert "combined_by_kernel" in kernel_calls


def test_what_is_absent_reaches_nobody() -> None:
    given = images(2, (1, 16, 3, 3))
    with torch.no_grad():
        given[0][0, 0, 0, 0] = torch.inf
    with native.native_kernels():
        alone, other = combining.combined(torch.eye(2, dtype=torch.float64), given)
    assert alone.isinf().any()
    torch.testing.assert_close(other, given[1], rtol=0, atol=0)
