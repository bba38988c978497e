"""Cells that are computed twice instead of being remembered: the same numbers in every bit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.run import build_supernet
from sharewise.spaces import load
from sharewise.supernet import Gate, Gates, frozen_statistics

NETWORKS: Mapping[str, dict[str, Any]] = {
    "nasbench201": {"channels": 4, "cells": 1},
    "darts": {"channels": 4, "layers": 3, "partial": 2, "edge_weights": True},
}


def gates_of(supernet: Any, *, single: bool) -> Gates:
    generator = torch.Generator().manual_seed(1)
    found = {}
    for decision in supernet.relaxation.decisions:
        weights = torch.softmax(torch.randn(decision.size, generator=generator), 0)
        # A single path of `none` at the last node leaves edges that are executed for their statistics only.
        active = (decision.size - 1 if "0_1" in decision.name else 0,) if single else tuple(range(decision.size))
        found[decision.name] = Gate(weights.requires_grad_(), active)
    return found


def step(name: str, *, recompute: bool, frozen: bool, single: bool) -> list[Tensor]:
    torch.manual_seed(0)
    supernet = build_supernet(load(name), (3, 8, 8), 10, network={**NETWORKS[name], "recompute": recompute})
    supernet.to(memory_format=torch.channels_last)
    gates = gates_of(supernet, single=single)
    x = torch.randn(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    with frozen_statistics(supernet) if frozen else nullcontext():
        loss = torch.nn.functional.cross_entropy(supernet(x, gates), torch.arange(4))
    wanted = [*supernet.parameters(), *(gate.weights for gate in gates.values())]
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    zero = torch.full((1,), torch.nan)
    found = [loss.detach(), *(zero if g is None else g for g in gradients)]
    return [*found, *(buffer.clone() for buffer in supernet.buffers())]


@pytest.mark.parametrize(("frozen", "single"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_step_is_equal_in_every_bit(name: str, frozen: bool, single: bool) -> None:
    kept, again = (step(name, recompute=flag, frozen=frozen, single=single) for flag in (False, True))
    for a, b in zip(kept, again, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_it_keeps_less() -> None:
    """Tensors that a forward pass keeps for its backward pass."""

    def kept(*, recompute: bool) -> int:
        network = {**NETWORKS["nasbench201"], "recompute": recompute}
        supernet = build_supernet(load("nasbench201"), (3, 8, 8), 10, network=network)
        sizes: dict[int, int] = {}

        def keep(value: Tensor) -> Tensor:
            sizes[value.data_ptr()] = value.numel()
            return value

        alive = []
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            alive.append(supernet(torch.ones(4, 3, 8, 8), gates_of(supernet, single=False)))
        return sum(sizes.values())

    assert kept(recompute=True) < 0.5 * kept(recompute=False)


MACRO: Mapping[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "language-model:embedding=8,16:layers=1,2,3:heads=2,4:mlp_ratio=1,2": ({"dropout": 0.5}, (12,)),
    "hw-gpt-bench:S:embedding=8,16:layers=1,2,3:heads=1,2:mlp_ratio=1,2": ({"head_size": 4}, (12,)),
    "vision-transformer-tiny:embedding=8,16:layers=1,2,3:heads=1,2:mlp_ratio=1,2": (
        {"stochastic_depth": 0.5},
        (3, 8, 8),
    ),
    "mobilenetv3:depth=1,2:kernel=3,5:expansion=2,3": ({"width_multiplier": 0.1}, (3, 16, 16)),
    "ofa-resnet50": ({"width_multiplier": 0.1}, (3, 32, 32)),
}


def macro_step(space: str, *, recompute: bool, single: bool) -> tuple[list[Tensor], int]:
    options, shape = MACRO[space]
    torch.manual_seed(0)
    supernet = build_supernet(load(space), shape, 20, network={**options, "recompute": recompute})
    gates = gates_of(supernet, single=single)
    x = torch.randn(4, *shape) if len(shape) == 3 else torch.randint(0, 20, (4, *shape))
    sizes, alive = dict[int, int](), []

    def keep(value: Tensor) -> Tensor:
        sizes[value.data_ptr()] = value.numel()
        alive.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        outputs = supernet(x, gates)
    loss = outputs.square().mean()
    wanted = [*supernet.parameters(), *(gate.weights for gate in gates.values())]
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    zero = torch.full((1,), torch.nan)
    found = [loss.detach(), *(zero if g is None else g for g in gradients)]
    return [*found, *(buffer.clone() for buffer in supernet.buffers())], sum(sizes.values())


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(
    "space", [pytest.param(name, marks=[pytest.mark.slow] * (name[:3] in ("mob", "ofa"))) for name in MACRO]
)
def test_blocks_of_macro_spaces_are_computed_again(space: str, single: bool) -> None:
    (kept, whole), (again, part) = (macro_step(space, recompute=flag, single=single) for flag in (False, True))
    for a, b in zip(kept, again, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert part < whole


class Averaged(nn.Module):
    """A block that sums over a searched dimension in code of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop, self.norm = nn.Linear(8, 8), nn.Dropout(0.3), nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        """Less its mean."""
        y: Tensor = self.drop(self.linear(x - x.mean(-1, keepdim=True)).relu())
        return x + self.norm(y)


def own(*, recompute: bool) -> sw.ElasticModel:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Sequential(*(Averaged() for _ in range(3))), nn.Linear(8, 2))
    choices = {"0": sw.width([4, 6, 8], name="features"), "1.*": sw.depth([1, 2, 3], name="depth")}
    return sw.elastic(model, choices, example=torch.zeros(4, 5), recompute=recompute)


@pytest.mark.parametrize("block", [False, True], ids=["gates as an argument", "in a block"])
def test_blocks_of_a_model_of_ones_own_are_computed_again(block: bool) -> None:
    found = []
    for flag in (False, True):
        supernet = own(recompute=flag)
        gates, calls = gates_of(supernet, single=False), list[int]()
        supernet.executed()[0].get_submodule("1.0.linear").register_forward_hook(
            lambda *_, calls=calls: calls.append(0)
        )
        torch.manual_seed(1)
        x = torch.randn(4, 5)
        if block:
            with supernet.under(gates):
                loss = supernet(x).square().mean()
        else:
            loss = supernet(x, gates).square().mean()
        wanted = [*supernet.parameters(), *(gate.weights for gate in gates.values())]
        found.append([*torch.autograd.grad(loss, wanted), *supernet.buffers()])
        assert len(calls) == 1 + flag
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_model_without_rows_has_nothing_to_compute_again() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ConfigurationError, match="recompute computes the blocks again whose number is chosen"):
        sw.elastic(model, {"0": sw.width([4, 8])}, example=torch.zeros(2, 4), recompute=True)
