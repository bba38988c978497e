"""The exact step is what torch finds by itself, wherever gates reach the loss: through norms, sums or weights."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from benchmarks.search_step import images
from torch import Tensor

from sharewise.engine import numerics, prepare, step, stream, unrolled_step
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.run.networks import asked_network
from sharewise.spaces import load
from sharewise.supernet import again

CASES = [
    ("darts-second-order", "nasbench201", {"channels": 4, "cells": 1}),
    ("darts-second-order", "nasbench201", {"channels": 4, "cells": 1, "sharing": "entangled"}),
    ("darts-second-order", "toy-separable-cell", {}),
    ("darts-second-order", "conv-macro", {}),
    ("darts-second-order", "nasbench_macro", {}),
    ("darts-second-order", "darts:S2", {"channels": 4, "layers": 3}),
    ("darts-second-order", "nats_size", {}),
]


def gradient(method: str, space: str, network: dict[str, Any], *, kernels: bool = False) -> Tensor:
    data, searched, recipe = images(64, 16), load(space), build(method, {"batch_size": 4})
    torch.manual_seed(0)
    supernet = build_supernet(searched, data.input_shape, 10, network=asked_network(searched, recipe, network))
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, roles, numerics=numerics("cpu", "float64"))
    state.supernet.train()
    state.numerics = replace(state.numerics, native=kernels)
    with state.numerics.kernels(supernet):
        unrolled_step(state, state.next_batch("weights"))
    return torch.cat([p.grad.flatten() for p in state.distribution.parameters() if p.grad is not None])


@pytest.mark.parametrize(("method", "space", "network"), CASES)
def test_it_is_torch_s_own(method: str, space: str, network: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    mine = gradient(method, space, network)
    monkeypatch.setattr(step, "differentiated_twice", lambda **settings: nullcontext())
    plain = gradient(method, space, network)
    assert plain.abs().max() > 0
    torch.testing.assert_close(mine, plain, rtol=1e-9, atol=1e-12 * float(plain.abs().max()))


@pytest.mark.usefixtures("compiler", "kernel_cache")
def test_both_forward_passes_forget_and_no_bit_depends_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[bool] = []
    loss = step._loss

    def told(*given: Any) -> Tensor:
        passes.append(again._RECIPES.get() is not None)
        return loss(*given)

    monkeypatch.setattr(step, "_loss", told)
    network = {"channels": 16, "cells": 1}
    mine = gradient("darts-second-order", "nasbench201", network, kernels=True)
    assert passes == [True, True]
    monkeypatch.setattr(step, "forgetting", nullcontext)
    assert torch.equal(gradient("darts-second-order", "nasbench201", network, kernels=True), mine)
    assert passes == [True, True, False, False]


@pytest.mark.usefixtures("compiler", "kernel_cache")
@pytest.mark.parametrize(
    ("space", "network"),
    [
        ("nasbench201", {"channels": 16, "cells": 1}),
        ("nasbench201", {"channels": 16, "cells": 1, "sharing": "entangled"}),
        ("darts", {"channels": 4, "layers": 3}),
    ],
)
def test_so_it_is_by_compiled_kernels(
    space: str, network: dict[str, Any], monkeypatch: pytest.MonkeyPatch, kernel_calls: list[str]
) -> None:
    mine = gradient("darts-second-order", space, network, kernels=True)
    assert "norm_second_gradient" in kernel_calls
    kernel_calls.clear()
    monkeypatch.setattr(step, "differentiated_twice", lambda **settings: nullcontext())
    monkeypatch.setattr(step, "forgetting", nullcontext)
    plain = gradient("darts-second-order", space, network)
    assert not kernel_calls
    torch.testing.assert_close(mine, plain, rtol=1e-9, atol=1e-11 * float(plain.abs().max()))
