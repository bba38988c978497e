"""Joint, alternating and reward levels against their definitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from sharewise.data import digits
from sharewise.distribution import Controller, Factored, Learned, ScoreFunction, SoftmaxLogits
from sharewise.engine import (
    Alternating,
    Joint,
    Reward,
    SearchState,
    Stepped,
    Unrolled,
    joint_step,
    numerics,
    prepare,
    reward_step,
    run,
    stream,
)
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.spaces import load
from sharewise.supernet import frozen_statistics
from sharewise.testing import planted, small_arguments


def state_of(method: str, *, epochs: int = 2, **changes: Any) -> SearchState:
    recipe = replace(build(method, small_arguments(method, batch_size=8, epochs=epochs)), **changes)
    dataset = digits().limited(64, seed=0)
    supernet = build_supernet(load("nasbench201"), dataset.input_shape, 10, network={"channels": 2, "cells": 1})
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, data, numerics=numerics("cpu", "float64"))
    supernet.train()
    return state


def test_one_backward_pass_serves_weights_and_architecture() -> None:
    state = state_of("snas")
    assert isinstance(state.distribution, Factored)
    place, random = state.streams["weights"].state_dict(), state.generators["architecture"].get_state()
    batch = state.next_batch("weights")
    [gates] = state.distribution.draw(state.generators["architecture"], state.phase("architecture"))
    with frozen_statistics(state.supernet):
        loss = state.loss(state.supernet(batch.inputs, gates), batch.targets)
    w = dict(state.supernet.named_parameters())
    expected = torch.autograd.grad(loss, [*w.values(), state.distribution.theta])
    norm = torch.cat([g.flatten() for g in expected[:-1]]).norm()
    decay = 1e-3 * state.distribution.theta.detach() * state.distribution.mask
    state.streams["weights"].load_state_dict(place)
    state.generators["architecture"].set_state(random)
    assert float(joint_step(state)) == pytest.approx(float(loss.detach()), rel=1e-12)
    clip = torch.clamp(5.0 / (norm + 1e-6), max=1.0)
    for p, g in zip(w.values(), expected[:-1], strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad, g * clip, rtol=1e-9, atol=1e-12)
    assert state.distribution.theta.grad is not None
    torch.testing.assert_close(state.distribution.theta.grad, expected[-1] + decay, rtol=1e-9, atol=1e-13)


def test_running_statistics_move_once_per_joint_step() -> None:
    state = state_of("snas")
    joint_step(state)
    assert {int(v) for n, v in state.supernet.state_dict().items() if n.endswith("num_batches_tracked")} == {1}


def test_architecture_steps_come_every_few_weight_steps() -> None:
    state = state_of("darts", level=Alternating(every=3), epochs=3)
    assert state.total_steps == 12
    thetas: list[torch.Tensor] = []

    def note(state: SearchState, event: object) -> None:
        if isinstance(event, Stepped):
            thetas.append(next(state.distribution.parameters()).detach().clone())

    start = next(state.distribution.parameters()).detach().clone()
    run(state, (note,))
    moved = [not torch.equal(a, b) for a, b in zip([start, *thetas], thetas, strict=False)]
    assert moved == [False, False, True] * 4
    assert state.ledger.entries["architecture"].steps == 4
    with pytest.raises(ConfigurationError, match="every 1 or more weight steps, got 0"):
        Alternating(every=0)


@pytest.mark.parametrize("method", ["enas", "factored"])
def test_a_reward_step_is_reinforce_with_a_moving_baseline(method: str) -> None:
    changes = {"distribution": Learned(SoftmaxLogits(0.1), ScoreFunction())} if method == "factored" else {}
    state = state_of("enas", **changes)
    for _ in range(2):  # the second one meets a baseline
        old = state.memory.get("baseline")
        random = state.generators["architecture"].get_state()
        place = state.streams["architecture"].state_dict()
        decay, surprise, baseline = 0.7, 0.05, old
        twin = torch.Generator()
        twin.set_state(random)
        phase = state.phase("architecture")
        paths = [gates for _ in range(3) for gates in state.distribution.draw(twin, phase)]
        total = torch.zeros((), dtype=torch.float64)
        accuracies = []
        for gates in paths:
            batch = state.next_batch("architecture")
            with torch.no_grad(), frozen_statistics(state.supernet):
                outputs = state.supernet(batch.inputs, gates)
            accuracy = (outputs.argmax(-1) == batch.targets).double().mean()
            accuracies.append(float(accuracy))
            score = sum(gate.log_prob for gate in gates.values() if gate.log_prob is not None)
            assert isinstance(score, torch.Tensor)
            value = accuracy - surprise * score.detach()
            baseline = value if baseline is None else decay * baseline + (1 - decay) * value
            total = total - (value - baseline) * score / 3
        parameters = list(state.distribution.parameters())
        expected = torch.autograd.grad(total, parameters)
        state.streams["architecture"].load_state_dict(place)
        mean = reward_step(state, samples=3, decay=decay, surprise=surprise)
        assert float(mean) == pytest.approx(sum(accuracies) / 3)
        torch.testing.assert_close(state.memory["baseline"], baseline)
        for p, g in zip(parameters, expected, strict=True):
            assert p.grad is not None
            torch.testing.assert_close(p.grad, g, rtol=1e-9, atol=1e-14)
    assert all(p.grad is None for p in state.supernet.parameters())


def test_the_first_reward_is_its_own_baseline() -> None:
    state = state_of("enas")
    assert isinstance(state.distribution, Controller)
    reward_step(state, samples=1, decay=0.9, surprise=0.0)
    assert all(p.grad is None or not p.grad.any() for p in state.distribution.parameters())


def test_rewards_of_a_loss_are_negative() -> None:
    problem = planted()
    recipe = build("enas", small_arguments("enas"))
    supernet = build_supernet(problem.space, problem.dataset.input_shape, 1)
    data = problem.dataset.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, data, numerics=numerics("cpu"))
    supernet.train()
    assert float(reward_step(state, samples=2, decay=0.9, surprise=0.0)) < 0


def test_rewards_come_at_the_end_of_every_epoch() -> None:
    state = state_of("enas", epochs=3)
    run(state)
    steps = state.ledger.entries["architecture"].steps
    assert steps == 3 * 2 * 2  # epochs × controller steps × samples
    epochs = [record for record in state.history if record["event"] == "epoch"]
    assert all(0 <= record["reward"] <= 1 for record in epochs)
    cut = state_of("enas", epochs=3)
    cut.max_steps = 2  # within the first epoch
    run(cut)
    assert cut.ledger.entries["architecture"].steps == 2 * 2


def test_score_clip() -> None:
    state = state_of("enas")
    reward_step(state, samples=2, decay=0.9, surprise=0.0)
    reward_step(state, samples=2, decay=0.9, surprise=1e6, clip=0.5)
    norm = torch.cat([p.grad.flatten() for p in state.distribution.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Reward(steps=0),
        lambda: Reward(samples=0),
        lambda: Reward(decay=1.0),
        lambda: build("enas", {"baseline_decay": 0.0}),
        lambda: build("enas", {"controller_learning_rate": -1.0}),
        lambda: build("darts", {"architecture_learning_rate": float("inf")}),
        lambda: build("spos", {"path_dropout": 0.5, "epochs": 1}),
        lambda: Reward(surprise=-1.0),
        lambda: Reward(gradient_clip=0.0),
        lambda: Unrolled(inner_learning_rate=-1.0),
        lambda: Unrolled(radius=0.0),
        lambda: build("darts-second-order", {"finite_difference": -0.1}),
        lambda: build("enas", {"controller_steps": 0}),
        lambda: build("proxylessnas", {"architecture_every": 0}),
        lambda: build("drnas", {"keep": (2, 3)}),
        lambda: build("drnas", {"anchor_strength": -1.0}),
        lambda: build("snas", {"cost_penalty": -1.0}),
        lambda: build("rs-ws", {"finalists": -1}),
        lambda: build("snas", {"minimum_temperature": 0.0}),
    ],
)
def test_values_out_of_range(make: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"must|needs|every"):
        make()


@pytest.mark.parametrize(
    ("base", "change", "words"),
    [
        ("enas", {"level": Alternating()}, ["level Alternating", "weights of gates", "Autoregressive", "Reward"]),
        ("enas", {"level": Joint()}, ["level Joint", "Reward"]),
        ("darts", {"level": Reward()}, ["level Reward", "log-probability", "Expectation", "Alternating"]),
        ("darts", {"distribution": Learned(SoftmaxLogits(), ScoreFunction())}, ["ScoreFunction", "level Alternating"]),
        ("snas", {"roles": build("spos").roles, "level": Alternating()}, ["role 'architecture'"]),
    ],
)
def test_levels_and_distributions_must_fit(base: str, change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        replace(build(base), **change)
    for word in words:
        assert word in str(caught.value)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="anchor 'k2'"):
        build("drnas", {"anchor": "k2"})


def test_penalties_speak_up_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no sum over layers is the cost of a path, its expectation is not known."""
    monkeypatch.setattr("sharewise.cost.supernet.decomposed", lambda *arguments, **options: None)
    recipe = build("snas", {"cost_penalty": 0.1})
    dataset = digits().limited(64, seed=0)
    supernet = build_supernet(load("toy-tied-width"), dataset.input_shape, 10)
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    with pytest.raises(ConfigurationError, match="Leave the cost penalty out"):
        prepare(supernet, recipe, data, numerics=numerics("cpu"))


def test_progressive_pruning_of_drnas() -> None:
    state = state_of("drnas", epochs=4)
    recipe = build("drnas", {"keep": (3,), "warm_up": 0.5, "epochs": 4, "batch_size": 8})
    state = prepare(state.supernet, recipe, state.data, numerics=numerics("cpu"))
    run(state)
    stages = [record for record in state.history if record["event"] == "stage"]
    assert [(s["epoch"], s["architecture_steps"], "kept" in s) for s in stages] == [
        (0, False, False),
        (1, True, False),
        (2, False, True),
        (3, True, False),
    ]
    assert all(len(indices) == 3 for indices in stages[2]["kept"].values())
    assert all(int((row > 0).sum()) == 3 for row in state.distribution.probabilities().values())


def test_the_cost_penalty_prefers_cheap_operations() -> None:
    def expected_cost(strength: float) -> float:
        arguments = small_arguments("snas", batch_size=8, epochs=6, cost_penalty=strength)
        recipe = build("snas", {**arguments, "architecture_learning_rate": 0.05})
        base = state_of("snas")
        state = prepare(base.supernet, recipe, base.data, numerics=numerics("cpu"))
        run(state)
        p = state.distribution.probabilities()
        return sum(float(p[name] @ torch.tensor(row).float()) for name, row in state.costs.prices.items())

    assert expected_cost(10.0) < 0.8 * expected_cost(0.0)


def test_pruning_to_one_option_leaves_nothing_to_penalise() -> None:
    base = state_of("drnas", epochs=4)
    recipe = build("drnas", {"keep": (3, 1), "anchor": "kl", "epochs": 6, "batch_size": 8})
    state = prepare(base.supernet, recipe, base.data, numerics=numerics("cpu"))
    found = run(state).architecture
    assert [float(row.max()) for row in state.distribution.probabilities().values()] == [1.0] * 6
    assert len(found) == 6


def test_ranking_by_the_batch_needs_two_examples_and_says_so_before_training() -> None:
    problem = planted()
    recipe = build("enas", small_arguments("enas", selection_examples=1))
    supernet = build_supernet(problem.space, problem.dataset.input_shape, 1)
    data = problem.dataset.assign(recipe.roles, generator=stream(0, "data"))
    with pytest.raises(ConfigurationError, match="at least 2 selection examples, got 1"):
        prepare(supernet, recipe, data, numerics=numerics("cpu"))
    state = prepare(
        supernet, build("enas", small_arguments("enas", selection_examples=65)), data, numerics=numerics("cpu")
    )
    assert [len(batch.inputs) for batch in state.evaluation_batches("selection", 65)] == [65]
