"""The fused cells of NAS-Bench-201 against those that run edge by edge."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sharewise.spaces import load
from sharewise.spaces.nasbench201.supernet import NasBench201Options, SharedCell
from sharewise.supernet import Gate, Gates, frozen_statistics, recalibrate
from sharewise.testing import randomise_norms

DECISIONS = load("nasbench201").relaxation.decisions
MakeGates = Callable[[torch.Generator], dict[str, Gate]]


def cell_of(channels: int, **options: Any) -> SharedCell:
    return SharedCell(DECISIONS, channels, NasBench201Options(**options))


def mixture(generator: torch.Generator) -> dict[str, Gate]:
    rows = torch.softmax(2 * torch.randn(6, 5, generator=generator, dtype=torch.float64), -1)
    return {d.name: Gate(row, tuple(range(5))) for d, row in zip(DECISIONS, rows, strict=True)}


def some_active(generator: torch.Generator) -> dict[str, Gate]:
    gates = {}
    for name, gate in mixture(generator).items():
        active = tuple((torch.rand(5, generator=generator) < 0.5).nonzero().flatten().tolist())
        gates[name] = Gate(gate.weights, active)
    return gates


def single(generator: torch.Generator) -> dict[str, Gate]:
    """As GDAS draws them: one active option of weight one that asks for a gradient."""
    gates = {}
    for decision in DECISIONS:
        index = int(torch.randint(5, (), generator=generator))
        gates[decision.name] = Gate(torch.eye(5, dtype=torch.float64)[index], (index,))
    return gates


def outcome(cell: SharedCell, x: Tensor, gates: Gates, frozen: bool) -> dict[str, Tensor]:
    """Everything that a step leaves behind, by name."""
    x = x.clone().requires_grad_()
    leaves = {name: Gate(gate.weights.detach().clone().requires_grad_(), gate.active) for name, gate in gates.items()}
    if frozen:
        with frozen_statistics(cell):
            y = cell(x, leaves)
    else:
        y = cell(x, leaves)
    if y.requires_grad:
        y.sin().sum().backward()
    result = {"output": y.detach(), "input gradient": x.grad if x.grad is not None else torch.zeros_like(x)}
    for name, gate in leaves.items():
        result[f"gate {name}"] = torch.zeros(5) if gate.weights.grad is None else gate.weights.grad
    for name, p in cell.named_parameters():
        result[f"{name} has a gradient"] = torch.tensor(p.grad is not None)
        if p.grad is not None:
            result[f"gradient of {name}"] = p.grad
    return result | {f"buffer {name}": value for name, value in cell.named_buffers()}


@pytest.mark.parametrize("sharing", ["disjoint", "entangled"])
@pytest.mark.parametrize("affine", [False, True], ids=["plain-norm", "affine-norm"])
@pytest.mark.parametrize("mode", ["training", "evaluation", "frozen", "cumulative"])
@pytest.mark.parametrize("make", [mixture, some_active, single])
def test_fused_equals_plain(make: MakeGates, mode: str, affine: bool, sharing: str) -> None:
    generator = torch.Generator().manual_seed(0)
    fused = cell_of(3, affine=affine, sharing=sharing).double()
    randomise_norms(fused, generator)
    if mode == "cumulative":
        for module in fused.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
    plain = copy.deepcopy(fused)
    plain.fused = False
    for _ in range(3):
        for cell in (fused, plain):
            cell.train(mode != "evaluation").zero_grad(set_to_none=True)
        x = torch.randn(5, 3, 6, 6, generator=generator, dtype=torch.float64)
        gates = make(generator)
        a, b = outcome(fused, x, gates, mode == "frozen"), outcome(plain, x, gates, mode == "frozen")
        assert a.keys() == b.keys()
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=1e-10, atol=1e-10, check_dtype=False, msg=name)


@pytest.mark.parametrize("sharing", ["disjoint", "entangled"])
@pytest.mark.parametrize("training", [True, False])
def test_unit_gates_give_equal_bits(training: bool, sharing: str) -> None:
    generator = torch.Generator().manual_seed(0)
    fused = cell_of(4, affine=True, sharing=sharing)
    randomise_norms(fused, generator)
    plain = copy.deepcopy(fused)
    plain.fused = False
    for _ in range(5):
        gates = {name: Gate(gate.weights.float(), gate.active, unit=True) for name, gate in single(generator).items()}
        x = torch.randn(4, 4, 6, 6, generator=generator)
        with torch.no_grad():
            assert torch.equal(fused.train(training)(x, gates), plain.train(training)(x, gates))
        buffers = dict(plain.named_buffers())
        assert all(torch.equal(value, buffers[name]) for name, value in fused.named_buffers())


def test_recalibration_reaches_the_fused_norms() -> None:
    generator = torch.Generator().manual_seed(0)
    fused = cell_of(3).double()
    plain = copy.deepcopy(fused)
    plain.fused = False
    gates = mixture(generator)
    batches = [torch.randn(5, 3, 6, 6, generator=generator, dtype=torch.float64) for _ in range(3)]
    for cell in (fused, plain):
        recalibrate(cell, lambda x, cell=cell: cell(x, gates), batches)
    other = dict(plain.named_buffers())
    for name, value in fused.named_buffers():
        torch.testing.assert_close(value, other[name], rtol=1e-10, atol=1e-10)


def test_fused_cell_shares_the_rectified_and_pooled_node() -> None:
    """Six edges leave three nodes: three ReLUs and three poolings instead of twelve and six."""
    cell = cell_of(3)
    calls = {torch.nn.ReLU: 0, torch.nn.AvgPool2d: 0, torch.nn.Conv2d: 0, torch.nn.BatchNorm2d: 0}
    for module in cell.modules():
        if type(module) in calls:
            module.register_forward_hook(lambda m, i, o: calls.__setitem__(type(m), calls[type(m)] + 1))
    gates = {d.name: Gate(torch.full((5,), 0.2), tuple(range(5))) for d in DECISIONS}
    cell(torch.randn(2, 3, 4, 4), gates)
    assert calls[torch.nn.ReLU] == 3
    assert calls[torch.nn.AvgPool2d] == 3
    assert calls[torch.nn.Conv2d] == 12


@pytest.mark.parametrize("make", [mixture, single])
@pytest.mark.parametrize("affine", [False, True], ids=["plain-norm", "affine-norm"])
def test_fused_equals_plain_with_channels_last(make: MakeGates, affine: bool) -> None:
    """Memory order must not matter: torch's channels-last kernel once read an expanded scale beyond its end."""
    generator = torch.Generator().manual_seed(0)
    plain = cell_of(8, affine=affine, fused=False).double()
    randomise_norms(plain, generator)
    fused = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fused.fused = True
    for training in (True, False):
        for cell in (fused, plain):
            cell.train(training).zero_grad(set_to_none=True)
        x = torch.randn(4, 8, 6, 6, generator=generator, dtype=torch.float64)
        gates = make(generator)
        a = outcome(fused, x.contiguous(memory_format=torch.channels_last), gates, False)
        b = outcome(plain, x, gates, False)
        for name in b:
            torch.testing.assert_close(a[name], b[name], rtol=1e-10, atol=1e-10, check_dtype=False, msg=name)
