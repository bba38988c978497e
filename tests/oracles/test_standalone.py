"""Standalone training: the same loop, with drop path, an auxiliary head, smoothed labels."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import sharewise as sw
from sharewise.data import classification, digits, language_modelling, regression
from sharewise.errors import ConfigurationError
from sharewise.run.standalone import Standalone, TrainingRecipe
from sharewise.spaces import load
from sharewise.spaces.nasbench201.network import Network, drop_path
from sharewise.testing import check_supernet

CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|"


def network(cell: str = CELL, **options: Any) -> Network:
    torch.manual_seed(0)
    return Network(cell, (1, 8, 8), 10, channels=4, cells=1, **options)


X = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_drop_path_of_zero_is_no_drop_path() -> None:
    plain, zero = network().train(), network().train()
    zero.set_drop_path(0.0)
    state = torch.get_rng_state()
    assert torch.equal(plain(X), zero(X))
    assert torch.equal(torch.get_rng_state(), state), "no random number was drawn"


def test_drop_path_is_for_training_only() -> None:
    plain, dropped = network().eval(), network().eval()
    dropped.set_drop_path(0.7)
    assert torch.equal(plain(X), dropped(X))
    dropped.train()
    assert not torch.equal(copy.deepcopy(dropped)(X), copy.deepcopy(dropped)(X))


def test_drop_path_spares_skip_connections() -> None:
    cell = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|none~1|skip_connect~2|"
    plain, dropped = network(cell).train(), network(cell).train()
    dropped.set_drop_path(0.9)
    assert torch.equal(plain(X), dropped(X))


def test_drop_path_keeps_the_expectation_and_drops_whole_examples() -> None:
    torch.manual_seed(0)
    x = torch.ones(20_000, 2, 1, 1)
    y = drop_path(x, 0.3)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert bool((y[:, 0] == y[:, 1]).all())
    assert float(y.mean()) == pytest.approx(1.0, abs=0.02)


def test_auxiliary_head_returns_a_pair_in_training_alone() -> None:
    module = network(auxiliary=True)
    outputs = module.train()(X)
    assert isinstance(outputs, tuple)
    assert [tuple(o.shape) for o in outputs] == [(6, 10), (6, 10)]
    assert isinstance(module.eval()(X), torch.Tensor)
    assert isinstance(network().train()(X), torch.Tensor)


def test_auxiliary_loss() -> None:
    loss = TrainingRecipe(auxiliary_weight=0.4).loss(classification(10))
    a, b = torch.randn(6, 10), torch.randn(6, 10)
    y = torch.arange(6)
    assert float(loss((a, b), y)) == pytest.approx(float(F.cross_entropy(a, y) + 0.4 * F.cross_entropy(b, y)))
    assert float(loss(a, y)) == pytest.approx(float(F.cross_entropy(a, y)))


def test_label_smoothing_is_for_the_training_loss_of_a_classification() -> None:
    recipe = TrainingRecipe(label_smoothing=0.1)
    z, y = torch.randn(6, 10), torch.arange(6)
    log_p = z.log_softmax(-1)
    by_hand = -(0.9 * log_p[torch.arange(6), y] + 0.1 * log_p.mean(-1)).mean()
    assert float(recipe.loss(classification(10))(z, y)) == pytest.approx(float(by_hand), rel=1e-6)
    for task in (regression(), language_modelling(10)):
        with pytest.raises(ConfigurationError, match="label_smoothing needs a classification task"):
            recipe.loss(task)
    with pytest.raises(ConfigurationError, match="label smoothing"):
        TrainingRecipe(label_smoothing=1.0).loss(classification(10))


@pytest.mark.parametrize(
    "values", [{"validation_fraction": 1.0}, {"drop_path": 1.0}, {"auxiliary_weight": -1.0}, {"cutout": -1}]
)
def test_values_out_of_range(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        TrainingRecipe(**values)


def test_drop_path_rises_linearly_and_needs_paths() -> None:
    module = network()
    schedule = TrainingRecipe(drop_path=0.2).on_epoch(module)
    assert schedule is not None
    seen = []
    for epoch in range(5):
        schedule(epoch, 5)
        seen.append(module.stages[0][0].drop_path_probability)  # type: ignore[index, union-attr]
    assert seen == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])
    assert TrainingRecipe().on_epoch(torch.nn.Linear(1, 1)) is None
    with pytest.raises(ConfigurationError, match="Linear has no paths to drop"):
        TrainingRecipe(drop_path=0.2).on_epoch(torch.nn.Linear(1, 1))


def test_a_plain_network_is_a_supernet_without_decisions() -> None:
    supernet = Standalone(network())
    check_supernet(supernet, X, samples=1)
    assert supernet.relaxation.decisions == ()
    assert supernet.space.size == 1


def run(**options: Any) -> Any:
    space = load("nasbench201")
    training = TrainingRecipe(epochs=3, batch_size=16, **options)
    return sw.train(
        space,
        space.parse(CELL),
        digits().limited(96, seed=0),
        training=training,
        network={"channels": 4, "cells": 1},
        device="cpu",
        max_steps=12,
    )


def test_training_with_everything_on() -> None:
    result = run(drop_path=0.3, auxiliary_weight=0.4, label_smoothing=0.1, cutout=2, validation_fraction=0.25)
    assert not result.network.training
    assert isinstance(result.network(X), torch.Tensor)
    assert result.test is not None
    assert result.test["examples"] == 360
    epochs = [record for record in result.state.history if record["event"] == "epoch"]
    assert all(record["selection"]["examples"] == 24 for record in epochs)
    assert result.state.ledger.entries["weights"].steps == 12


def test_drop_path_of_zero_trains_the_same_network() -> None:
    first, second = run(), run(drop_path=0.0)
    for a, b in zip(first.network.state_dict().values(), second.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert first.test == second.test
    other = run(drop_path=0.5)
    assert any(
        not torch.equal(a, b) for a, b in zip(first.network.parameters(), other.network.parameters(), strict=True)
    )


def test_training_equals_a_loop_by_hand() -> None:
    """The loop adds nothing of its own: SGD with Nesterov momentum, a cosine by epoch, a clip, augmentation apart."""
    from dataclasses import replace

    from sharewise.data import Augmentation
    from sharewise.engine import stream

    data = replace(digits().limited(64, seed=0), augmentation=Augmentation())
    space = load("toy-tied-width")
    a = space.architecture({"width": 8, "activation": "tanh"})
    training = TrainingRecipe(epochs=4, batch_size=16, learning_rate=0.05)
    result = sw.train(space, a, data, training=training, device="cpu", seed=3)
    net = sw.build_network(a, space, data.input_shape, 10, seed=3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    roles = data.assign(training.roles, generator=stream(3, "data"))
    batches = roles.stream("weights", 16, order=stream(3, "data/weights"))
    for _ in range(4):
        for _ in range(4):
            batch = next(batches)
            optimizer.zero_grad()
            F.cross_entropy(net(batch.inputs), batch.targets).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
        schedule.step()
    for mine, theirs in zip(result.network.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)


def test_networks_without_an_auxiliary_head_say_so() -> None:
    space = load("toy-tied-width")
    a = space.architecture({"width": 8, "activation": "tanh"})
    with pytest.raises(ConfigurationError, match="has no auxiliary head"):
        sw.train(space, a, digits(), training=TrainingRecipe(auxiliary_weight=0.4), device="cpu", max_steps=1)
