"""The spectrum of ∂²L_val/∂θ² against autograd's Hessian, finite differences, and its own laws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sharewise.data import digits
from sharewise.distribution import Factored, Phase
from sharewise.engine import SearchState, curvature, numerics, prepare, run, stream
from sharewise.engine import curvature as measured
from sharewise.engine.curvature import _ends, architecture_hessian, spectrum
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.run import Search, build_supernet
from sharewise.run.place import Setting
from sharewise.spaces import load
from sharewise.supernet import BatchStatistics, Gate

NETWORKS: dict[str, dict[str, Any]] = {"nasbench201": {"channels": 2, "cells": 1}, "toy-two-inputs": {"width": 5}}


def state_of(method: str, space: str, precision: str = "float64", **options: Any) -> SearchState:
    recipe = build(method, {"batch_size": 16, **options})
    dataset = digits().limited(64, seed=0)
    supernet = build_supernet(load(space), dataset.input_shape, 10, network=NETWORKS[space])
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, data, numerics=numerics("cpu", precision))
    supernet.train()
    theta, mask = theta_of(state)
    with torch.no_grad():
        noise = torch.rand(theta.shape, generator=torch.Generator().manual_seed(0), dtype=theta.dtype) + 0.1
        theta.copy_(noise * mask / (noise * mask).sum(-1, keepdim=True))
    return state


def theta_of(state: SearchState) -> tuple[torch.nn.Parameter, Tensor]:
    assert isinstance(state.distribution, Factored)
    return state.distribution.theta, state.distribution.mask


def loss_at(state: SearchState, values: Tensor) -> Tensor:
    """L_val as a plain function of the unmasked entries of θ, written out once more."""
    distribution = state.distribution
    assert isinstance(distribution, Factored)
    theta, mask = theta_of(state)
    full = theta.detach().clone().masked_scatter(mask, values)
    rows = distribution.geometry.probabilities(full, mask)
    gates = {
        decision.name: Gate(row[: decision.size], tuple(int(i) for i in flags.nonzero().flatten()))
        for decision, row, flags in zip(distribution.relaxation.decisions, rows, mask, strict=True)
    }
    (batch,) = state.evaluation_batches("architecture", 32)
    with BatchStatistics().opened(state.supernet):
        return state.loss(state.supernet(batch.inputs, gates), batch.targets)


@pytest.mark.parametrize(
    ("method", "space"),
    [("darts", "nasbench201"), ("gaea-erm", "toy-two-inputs"), ("drnas", "toy-two-inputs")],
)
def test_the_products_make_the_whole_hessian(method: str, space: str) -> None:
    state = state_of(method, space)
    theta, mask = theta_of(state)
    values = theta.detach()[mask]
    expected = torch.autograd.functional.hessian(lambda x: loss_at(state, x), values)
    found = architecture_hessian(state, 32)
    assert found.shape == (len(values), len(values))
    assert float((found - expected).abs().max()) <= 1e-12
    assert float(expected.abs().max()) > 1e-3, "a Hessian of zeros proves nothing"


def test_the_hessian_is_that_of_finite_differences() -> None:
    """On a space whose operations are smooth: a step across the kink of a ReLU would find a jump."""
    state = state_of("darts", "toy-two-inputs")
    theta, mask = theta_of(state)
    values, step = theta.detach()[mask], 1e-4

    def gradient(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(loss_at(state, x), x)[0]

    columns = [
        (gradient(values + step * unit) - gradient(values - step * unit)) / (2 * step)
        for unit in torch.eye(len(values), dtype=values.dtype)
    ]
    assert float((torch.stack(columns) - architecture_hessian(state, 32)).abs().max()) <= 1e-8


def test_the_ends_are_those_of_the_whole_spectrum() -> None:
    """Lanczos, which larger spaces use, on matrices of many shapes and on the Hessian of a supernet."""
    source = torch.Generator().manual_seed(0)
    for size in (1, 2, 5, 40, 150):
        matrix = torch.randn(size, size, generator=source, dtype=torch.float64)
        matrix = matrix + matrix.T
        whole = torch.linalg.eigvalsh(matrix)
        least, most = _ends(lambda v, matrix=matrix: matrix @ v, size, source)
        assert (least, most) == pytest.approx((float(whole[0]), float(whole[-1])), rel=1e-5)
    low = torch.outer(torch.arange(50.0, dtype=torch.float64), torch.arange(50.0, dtype=torch.float64))
    assert _ends(lambda v: low @ v, 50, source) == pytest.approx((0.0, float(low.trace())), abs=1e-3)
    hessian = architecture_hessian(state_of("darts", "nasbench201"), 32)
    whole = torch.linalg.eigvalsh(hessian)
    found = _ends(lambda v: hessian @ v, len(hessian), source)
    assert found == pytest.approx((float(whole[0]), float(whole[-1])), rel=1e-6)


def test_a_matrix_of_zeros_has_a_spectrum() -> None:
    source = torch.Generator().manual_seed(0)
    assert _ends(torch.zeros_like, 5, source) == (0.0, 0.0)


def test_measuring_changes_nothing_and_is_charged() -> None:
    plain, watched = (
        state_of("darts", "nasbench201", "float32", epochs=2),
        state_of("darts", "nasbench201", "float32", epochs=2),
    )
    watched.measure = measured(1, 32)
    run(plain)
    run(watched)
    for part in ("supernet", "distribution"):
        mine, theirs = getattr(plain, part).state_dict(), getattr(watched, part).state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    lines = [record for record in watched.history if record["event"] == "epoch"]
    assert len(lines) == 2
    assert all(line["spectrum"][-1] == line["eigenvalue"] and len(line["spectrum"]) == 30 for line in lines)
    assert all(line["spectrum"][0] == line["smallest_eigenvalue"] for line in lines)
    assert watched.ledger.entries["measurement"].multiply_accumulates > 0
    assert spectrum(watched, 32)["eigenvalue"] == pytest.approx(lines[-1]["eigenvalue"], abs=1e-9)


def test_it_is_measured_every_few_epochs() -> None:
    state = state_of("darts", "toy-two-inputs", epochs=4)
    state.measure = measured(3, 32)
    run(state)
    assert ["eigenvalue" in record for record in state.history] == [True, False, False, True]


def test_who_has_no_such_parameters_is_told_before_the_search() -> None:
    for method in ("enas", "spos"):
        setting = Setting({"channels": 2, "cells": 1})
        search = Search(load("nasbench201"), build(method), digits().limited(64, seed=0), setting, eigenvalue_every=1)
        with pytest.raises(ConfigurationError, match="leave out --eigenvalue-every"):
            search.prepare()
    with pytest.raises(ConfigurationError, match="at least 2 examples"):
        curvature(1, 1)
    assert curvature(0) is None


def test_a_settled_decision_weighs_what_it_does_in_training() -> None:
    """An edge without any option adds nothing, neither to the loss nor to its curvature."""
    state = state_of("darts", "toy-two-inputs")
    assert isinstance(state.distribution, Factored)
    state.distribution.settle({"edge_0_3": None, "edge_1_3": 2})
    drawn = state.distribution.draw(torch.Generator(), Phase("architecture", 0, 1))[0]
    seen: list[Any] = []
    hook = state.supernet.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[1]))
    architecture_hessian(state, 32)
    hook.remove()
    for name, gate in drawn.items():
        assert seen[0][name].active == gate.active, name
        torch.testing.assert_close(seen[0][name].weights.detach(), gate.weights.detach())
