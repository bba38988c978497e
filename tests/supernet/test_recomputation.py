"""Cells that are computed twice instead of being remembered: the same numbers in every bit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

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
