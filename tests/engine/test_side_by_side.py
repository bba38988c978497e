"""Trainings side by side against each alone: weights, statistics, moments, history and ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import sharewise as sw
from sharewise.data import Examples
from sharewise.engine import SearchState, Teacher, train
from sharewise.engine.side_by_side import Trainings, train_side_by_side
from sharewise.errors import ConfigurationError
from sharewise.run import side_by_side
from sharewise.run.finished import finished
from sharewise.run.place import Place, Setting
from sharewise.run.side_by_side import trained_side_by_side
from sharewise.run.train import Training
from sharewise.space import sample
from sharewise.studies.trainings import train_each
from sharewise.studies.workers import Workers

RECIPE = sw.TrainingRecipe(epochs=2, batch_size=16, validation_fraction=0.5, gradient_clip=1.0, label_smoothing=0.1)
NETWORK = {"channels": 2, "cells": 1}
DIGITS = sw.data.digits()
DATA = replace(DIGITS, train=Examples(DIGITS.train.inputs[:96], DIGITS.train.targets[:96]))


def trainings(
    recipe: sw.TrainingRecipe = RECIPE, seeds: Sequence[int] = (0, 0, 0, 0), steps: int = 12
) -> list[Training]:
    space, rng = sw.spaces.nasbench201(), np.random.default_rng(1)
    return [
        Training(space, sample(space, rng), DATA, recipe, Setting(NETWORK, seed, Place("cpu", "float64"), steps))
        for seed in seeds
    ]


def together_and_alone(made: Sequence[Training]) -> tuple[Trainings, list[SearchState]]:
    prepared, alone = [training.prepare() for training in made], [training.prepare()[0] for training in made]
    return Trainings([state for state, _ in prepared], [network for _, network in prepared]), alone


def assert_equal(ours: SearchState, theirs: SearchState) -> None:
    for (name, value), (_, other) in zip(
        ours.supernet.state_dict().items(), theirs.supernet.state_dict().items(), strict=True
    ):
        torch.testing.assert_close(value, other, atol=1e-10, rtol=0, msg=name)
    moments, others = (state.weight_optimizer.state_dict()["state"] for state in (ours, theirs))
    assert moments.keys() == others.keys()
    for key, entry in moments.items():
        for name, value in entry.items():
            torch.testing.assert_close(value, others[key][name], atol=1e-10, rtol=0)
    assert ours.ledger.entries["weights"] == theirs.ledger.entries["weights"]
    assert (ours.step, ours.epoch) == (theirs.step, theirs.epoch)
    assert len(ours.history) == len(theirs.history)
    for line, other in zip(ours.history, theirs.history, strict=True):
        rest = [{k: v for k, v in of.items() if k not in ("seconds", "ledger", *_MEASURED)} for of in (line, other)]
        assert rest[0] == rest[1]
        for name in _MEASURED:
            assert line[name] == pytest.approx(other[name], abs=1e-10)


_MEASURED = ("weights_loss", "selection")


@pytest.mark.parametrize("seeds", [(0, 0, 0, 0), (3, 1, 4, 1)], ids=["one seed", "several"])
@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_states_are_those_of_each_trained_alone(optimizer: str, seeds: tuple[int, ...]) -> None:
    together, alone = together_and_alone(trainings(replace(RECIPE, optimizer=optimizer), seeds))
    assert train_side_by_side(together) == [None] * 4
    for ours, theirs in zip(together.states, alone, strict=True):
        train(theirs)
        assert_equal(ours, theirs)


def test_batches_are_drawn_once_where_they_are_the_same() -> None:
    one, _ = together_and_alone(trainings())
    assert len({id(state.streams) for state in one.states}) == 1
    two, _ = together_and_alone(trainings(seeds=(3, 1, 4, 3)))
    assert len({id(state.streams) for state in two.states}) == 3


def test_the_clip_is_of_each_network() -> None:
    """With a clip this small every norm is the clip; one norm of all would leave each far smaller."""
    together, _ = together_and_alone(trainings(replace(RECIPE, gradient_clip=1e-3)))
    together.step()
    norms = torch.zeros(4, dtype=torch.float64)
    for weight, owners in zip(together._network.weights, together._network.owners, strict=True):
        if weight.grad is not None:
            norms.index_add_(0, owners, weight.grad.flatten(1).square().sum(1))
    torch.testing.assert_close(norms.sqrt(), torch.full((4,), 1e-3, dtype=torch.float64), rtol=1e-3, atol=0)


@pytest.mark.parametrize("broken", [0, 1])
def test_one_that_diverges_ends_alone(broken: int) -> None:
    made = trainings()
    together, alone = together_and_alone(made)
    with torch.no_grad():
        next(together.states[broken].supernet.parameters()).fill_(torch.nan)
    failures = train_side_by_side(together)
    assert [error is not None for error in failures] == [number == broken for number in range(4)]
    assert "non-finite" in str(failures[broken])
    train(alone[3])
    assert_equal(together.states[3], alone[3])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"optimizer": "adam"}, "Adam"),
        ({"drop_path": 0.1}, "drop no paths"),
        ({"auxiliary_weight": 0.4}, "several outputs"),
    ],
)
def test_what_cannot_be_promised_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        together_and_alone(trainings(replace(RECIPE, **changed)))


def test_trainings_of_other_lengths_or_precision_are_refused() -> None:
    one, other = trainings(), trainings(steps=4)
    with pytest.raises(ConfigurationError, match="differ in their networks and seeds alone"):
        together_and_alone([*one[:2], *other[:2]])
    half = [replace(t, setting=replace(t.setting, place=Place("cpu", "bfloat16"))) for t in one]
    with pytest.raises(ConfigurationError, match="float32 or float64"):
        together_and_alone(half)


def test_they_train_at_once_only_where_a_trial_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainings()
    assert trained_side_by_side(made) is None  # too few steps
    monkeypatch.setattr(side_by_side, "_pays", lambda together, alone: False)
    assert trained_side_by_side(made, fewest=1) is None
    monkeypatch.setattr(side_by_side, "_pays", lambda together, alone: True)
    states = trained_side_by_side(made, fewest=1)
    assert states is not None
    for training, state in zip(made, states, strict=True):
        assert state is not None
        alone, _ = training.prepare()  # the trial has moved nothing
        train(alone)
        assert_equal(state, alone)
    monkeypatch.setattr(side_by_side, "steps_fit", lambda states, jobs: False)
    assert trained_side_by_side(made, fewest=1) is None
    monkeypatch.setattr(side_by_side, "steps_fit", lambda states, jobs: True)
    assert trained_side_by_side(trainings(replace(RECIPE, optimizer="adam")), fewest=1) is None
    assert trained_side_by_side(made[:1], fewest=1) is None
    taught = Teacher(made[0].network(), 1.0)
    assert trained_side_by_side([replace(t, teacher=lambda: taught) for t in made], fewest=1) is None


def test_a_trial_asks_for_a_clear_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    together, alone = together_and_alone(trainings()[:2])
    for at_once, pays in ((1.9, False), (1.7, True)):
        moments = iter([0.0, 2.0, 2.0, 2.0 + at_once])
        monkeypatch.setattr(side_by_side, "time", SimpleNamespace(process_time=lambda moments=moments: next(moments)))
        assert side_by_side._pays(together, alone) is pays


def test_answers_of_trainings_do_not_depend_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    space = sw.spaces.nasbench201()
    result = sw.search(space, sw.methods.spos(candidates=1), DATA, network=NETWORK, max_steps=2,
                       device="cpu", precision="float64")  # fmt: skip
    [source] = finished(result, network=NETWORK)
    architectures = [sample(space, np.random.default_rng(i)) for i in range(5)]
    monkeypatch.setattr(side_by_side, "_pays", lambda together, alone: True)
    monkeypatch.setattr("sharewise.studies.trainings.trained_side_by_side", partial(trained_side_by_side, fewest=1))
    recipe = replace(RECIPE, epochs=1)
    told: list[tuple[str, int, int]] = []
    several = train_each(
        source, architectures, recipe, seed=3, workers=Workers(progress=lambda *t: told.append(t), side_by_side=3)
    )
    alone = train_each(source, architectures, recipe, seed=3)
    assert [(t.value, t.multiply_accumulates) for t in several] == [(t.value, t.multiply_accumulates) for t in alone]
    assert all(t.seconds > 0 for t in several)
    assert told[-1] == ("groups of 3 trained", 2, 2)
