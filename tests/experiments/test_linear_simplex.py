from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "linear_simplex"
METHODS = ["exponentiated_gradient", "softmax_adam", "softmax_sgd", "projected_gradient"]


@pytest.fixture(scope="module")
def experiment(executed: Callable[[Path], ModuleType]) -> ModuleType:
    return executed(FOLDER / "run.py")


@pytest.fixture
def tiny() -> dict[str, Any]:
    config = yaml.safe_load((FOLDER / "config.yaml").read_text())
    config |= {"sizes": [2, 4, 8], "settings": [{"noise": 0.1, "largest": 8}], "tail": 2, "resamples": 20}
    config |= {"epsilons": [0.02], "seeds": 5, "tuning_seeds": 3, "budget": 200}
    config["rates"] |= {"first": -2, "last": 3, "rounds": 1}
    return config


def brute_force(v: np.ndarray) -> np.ndarray:
    """The closest of the projections onto the affine hulls of all faces, among those inside the simplex."""
    found, least = None, np.inf
    for size in range(1, len(v) + 1):
        for face in map(list, itertools.combinations(range(len(v)), size)):
            point = np.zeros_like(v)
            point[face] = v[face] - (v[face].sum() - 1) / size
            distance = ((point - v) ** 2).sum()
            if (point >= 0).all() and distance < least:
                found, least = point, distance
    assert found is not None
    return found


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_projection_is_the_closest_point(experiment: ModuleType, scale: float) -> None:
    v = scale * np.random.default_rng(0).normal(size=(3, 8, 6))
    projected = experiment.project(torch.from_numpy(v))
    expected = np.array([[brute_force(row) for row in rows] for rows in v])
    np.testing.assert_allclose(projected.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_projection_satisfies_the_kkt_conditions(experiment: ModuleType, scale: float, dtype: torch.dtype) -> None:
    v = scale * torch.randn(5, 4096, generator=torch.Generator().manual_seed(0), dtype=dtype)
    p = experiment.project(v)
    tolerance = (1e-12 if dtype is torch.float64 else 1e-5) * max(1.0, scale)
    assert p.dtype is dtype
    assert (p >= 0).all()
    torch.testing.assert_close(p.sum(-1), torch.ones(5, dtype=dtype), atol=tolerance, rtol=0)
    for row, point in zip(v, p, strict=True):
        threshold = (row - point)[point > 0]  # one multiplier for all positive entries ...
        assert threshold.max() - threshold.min() <= tolerance
        assert (row[point == 0] <= threshold.max() + tolerance).all()  # ... that no other entry exceeds


@pytest.mark.parametrize("v", [[0.2, 0.3, 0.5], [1.0, 0.0], [7.0], [0.5, 0.5, 0.5], [-4.0, -4.0]])
def test_projection_of_special_points(experiment: ModuleType, v: list[float]) -> None:
    point = torch.tensor(v, dtype=torch.float64)
    np.testing.assert_allclose(experiment.project(point).numpy(), brute_force(np.array(v)), atol=1e-15)


def test_gradient_is_that_of_the_loss(experiment: ModuleType) -> None:
    problem = experiment.Problem(experiment.optimum([0.5, 0.3, 0.2], 8), batch=4, noise=0.1)
    inputs, noises = experiment.Stream([1], 3, 4, 8, 0.1).next()
    p = torch.rand(2, 3, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = inputs @ problem.optimum + noises
    loss = 0.5 * (targets - torch.einsum("sbk,lsk->lsb", inputs, p)).square().mean(-1).sum()
    (expected,) = torch.autograd.grad(loss, p)
    torch.testing.assert_close(problem.gradient(p.detach(), inputs, noises), expected)
    assert set(inputs.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("method", METHODS)
def test_rates_and_seeds_do_not_meet(experiment: ModuleType, method: str) -> None:
    together = experiment.learner(method, [0.5, 2.0], 3, 4, 7)
    alone = experiment.learner(method, [2.0], 3, 4, 7)
    for step in range(3):
        gradient = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(step))
        torch.testing.assert_close(together.probabilities()[1:], alone.probabilities())
        together.step(gradient)
        alone.step(gradient[1:])


@pytest.mark.parametrize("k", [2, 64, 1024])
def test_without_noise_projected_gradient_needs_one_step_whatever_k(experiment: ModuleType, k: int) -> None:
    problem = experiment.Problem(experiment.optimum([1.0], k), batch=1, noise=0.0)
    mover = experiment.ProjectedGradient([1.0], 1, k)
    mover.step(mover.probabilities() - problem.optimum)  # the gradient of the expected loss
    assert problem.excess(mover.probabilities()).item() == pytest.approx(0, abs=1e-9)


def test_hits_are_first_steps_that_hold(experiment: ModuleType) -> None:
    class Script:
        def __init__(self) -> None:
            self.step_count = 0

        def probabilities(self) -> torch.Tensor:
            inside = self.step_count in (2, 5, 6, 7)
            return torch.tensor([[[1.0, 0.0] if inside else [0.0, 1.0]]])

        def step(self, gradient: torch.Tensor) -> None:
            self.step_count += 1

    problem = experiment.Problem(experiment.optimum([1.0], 2), batch=1, noise=0.0)
    race: Callable[..., tuple[np.ndarray, int]] = experiment.race
    for hold, expected in ((1, 2.0), (3, 5.0), (4, np.inf)):
        hits, _ = race(problem, Script(), experiment.Stream([1], 1, 1, 2, 0.0), [0.1], 12, hold=hold)
        assert hits.item() == expected


def test_growth_recovers_both_laws(experiment: ModuleType) -> None:
    sizes = 2.0 ** np.arange(1, 13)
    found = experiment.growth(sizes, np.stack([3 * sizes**0.5, 4 * np.log2(sizes) + 2]))
    assert found["p"][0] == pytest.approx(0.5)
    assert found["power_rms"][0] < 1e-9 < found["log_rms"][0]
    assert found["log_rms"][1] < 0.01 < found["power_rms"][1]
    assert found["b"][1] == pytest.approx(4, rel=0.02)


def test_the_same_seed_gives_the_same_results_also_when_resumed(
    experiment: ModuleType, tiny: dict[str, Any], tmp_path: Path
) -> None:
    def timeless(results: dict[str, Any]) -> dict[str, Any]:
        results = copy.deepcopy(results)
        for cell in results["cells"].values():
            del cell["seconds"]
        return results

    first = experiment.run(tiny, tmp_path / "a", quiet=True)
    second = experiment.run(tiny, tmp_path / "b", quiet=True)
    assert timeless(first) == timeless(second)
    assert len(first["cells"]) == 2 * len(METHODS) * 3

    path = tmp_path / "b" / "results.json"
    saved = json.loads(path.read_text())
    dropped = "0.1/mixture/softmax_adam/8"
    del saved["cells"][dropped]
    path.write_text(json.dumps(saved))
    resumed = experiment.run(tiny, tmp_path / "b", quiet=True)
    assert timeless(resumed) == timeless(first)
    for name, cell in second["cells"].items():
        assert name == dropped or resumed["cells"][name]["seconds"] == cell["seconds"]

    with pytest.raises(SystemExit, match="another configuration"):
        experiment.run(tiny | {"seed": 1}, tmp_path / "b", quiet=True)
