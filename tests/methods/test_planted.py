"""Every method finds the planted architecture: a search that does nothing would find it once in 256 runs."""

from __future__ import annotations

import pytest
import torch

import sharewise as sw
from sharewise.methods import METHODS, build
from sharewise.testing import Planted, check_relaxation, check_space, planted, planted_space, standalone_losses
from sharewise.testing.planted import ARGUMENTS, DECISIONS

SEEDS = range(5)


@pytest.fixture(scope="module")
def problems() -> dict[int, Planted]:
    return {seed: planted(seed) for seed in SEEDS}


def test_the_space_keeps_its_contracts() -> None:
    check_space(planted_space())
    check_relaxation(planted_space())
    assert planted_space().size == 4**4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_planted_architecture_is_the_only_best_one(problems: dict[int, Planted], seed: int) -> None:
    losses = standalone_losses(problems[seed])
    ranked = sorted(losses, key=losses.__getitem__)
    assert len(ranked) == 256
    assert ranked[0] == problems[seed].best
    assert losses[ranked[0]] == pytest.approx(0.25, abs=0.02), "what is left is the noise, of variance 0.25"
    assert losses[ranked[1]] > 1.1 * losses[ranked[0]], "the best one is unique beyond doubt"
    assert sum(ranked[1][name] != problems[seed].best[name] for name in DECISIONS) == 1
    assert len({p.best for p in problems.values()}) > 1


def test_standalone_training_reaches_the_least_squares_fit(problems: dict[int, Planted]) -> None:
    problem = problems[0]
    losses = standalone_losses(problem)
    ranked = sorted(losses, key=losses.__getitem__)
    training = sw.TrainingRecipe(epochs=30, batch_size=64, learning_rate=0.05, weight_decay=0.0)
    for architecture in (ranked[0], ranked[1], ranked[128]):
        result = sw.train(problem.space, architecture, problem.dataset, training=training, device="cpu")
        assert result.test is not None
        assert result.test["loss"] == pytest.approx(losses[architecture], rel=0.05)


def test_the_problem_is_a_function_of_its_seed() -> None:
    first, second, other = planted(1), planted(1), planted(2)
    assert first.best == second.best
    assert torch.equal(first.dataset.train.inputs, second.dataset.train.inputs)
    assert torch.equal(first.dataset.train.targets, second.dataset.train.targets)
    assert not torch.equal(first.dataset.train.inputs, other.dataset.train.inputs)


def test_every_method_has_declared_arguments() -> None:
    assert set(ARGUMENTS) == set(METHODS)


@pytest.mark.parametrize("method", list(METHODS))
def test_the_method_finds_it(problems: dict[int, Planted], method: str) -> None:
    found = {}
    opened = {seed: problem.dataset.openings for seed, problem in problems.items()}
    for seed, problem in problems.items():
        recipe = build(method, ARGUMENTS[method])
        result = sw.search(problem.space, recipe, problem.dataset, seed=seed, device="cpu", gap_examples=0)
        found[seed] = result.architecture == problem.best
    assert {seed: problem.dataset.openings for seed, problem in problems.items()} == opened, (
        "no search saw the test set"
    )
    print(f"{method} found the planted architecture in {sum(found.values())} of {len(found)} seeds")
    assert sum(found.values()) >= 4, found
