"""RMSProp as TensorFlow computes it, against the recursion written out."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import Parameter

from sharewise.engine import Constant, Cosine, RootMeanSquare, RootMeanSquareOptimization
from sharewise.errors import ConfigurationError
from sharewise.methods import build, darts_second_order


def test_the_recursion_by_hand() -> None:
    gradients, rates = [0.5, -2.0, 3.0, 0.25], [0.2, 0.1, 0.05, 0.0]
    w = Parameter(torch.tensor([1.5], dtype=torch.float64))
    rule = RootMeanSquareOptimization(Constant(0.2), momentum=0.9, weight_decay=1e-2, decay=0.9, epsilon=1.0)
    optimizer = rule.build([w])
    expected, square, moment = 1.5, 1.0, 0.0
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        w.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        g = gradient + 1e-2 * expected
        square = 0.9 * square + 0.1 * g**2
        moment = 0.9 * moment + rate * g / math.sqrt(square + 1.0)
        expected -= moment
        assert float(w.detach()) == pytest.approx(expected, rel=1e-14)
        assert w.grad.item() == gradient  # the decay is not written back
    # The first step is η g / √(0.9 + 0.1 g² + 1), and the last one, at a rate of zero, goes on by momentum alone.
    assert moment != 0


def test_weights_without_a_gradient_rest_with_their_averages() -> None:
    a, b = Parameter(torch.ones(2)), Parameter(torch.ones(3))
    optimizer = RootMeanSquare([a, b], lr=0.1, decay=0.9, epsilon=1.0, momentum=0.9, weight_decay=0.1)
    a.grad, b.grad = torch.ones(2), torch.ones(3)
    optimizer.step()
    before, state = b.detach().clone(), copy.deepcopy(optimizer.state[b])
    b.grad = None
    optimizer.step()
    assert torch.equal(b, before)
    assert all(torch.equal(value, optimizer.state[b][name]) for name, value in state.items())
    assert not torch.equal(a, torch.ones(2))


def test_its_state_is_restored_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, generator=generator)
    gradients = torch.randn(6, 5, generator=generator)

    def fresh() -> tuple[Parameter, RootMeanSquare]:
        w = Parameter(start.clone())
        return w, RootMeanSquareOptimization(Cosine(0.2)).build([w])

    w, optimizer = fresh()
    for gradient in gradients[:3]:
        w.grad = gradient.clone()
        optimizer.step()
    other, again = fresh()
    with torch.no_grad():
        other.copy_(w)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for gradient in gradients[3:]:
        for weight, rule in ((w, optimizer), (other, again)):
            weight.grad = gradient.clone()
            rule.step()
    assert torch.equal(w, other)


def test_it_differs_from_that_of_torch() -> None:
    w, other = Parameter(torch.ones(1)), Parameter(torch.ones(1))
    ours = RootMeanSquare([w], lr=0.1, decay=0.9, epsilon=1.0, momentum=0.0, weight_decay=0.0)
    theirs = torch.optim.RMSprop([other], lr=0.1, alpha=0.9, eps=1.0)
    w.grad, other.grad = torch.ones(1), torch.ones(1)
    ours.step()
    theirs.step()
    assert float(1 - w.detach()) == pytest.approx(0.1 / math.sqrt(2.0))
    assert float(1 - other.detach()) == pytest.approx(0.1 / (math.sqrt(0.1) + 1))


def test_what_is_refused() -> None:
    for values, words in (
        ({"decay": 1.0}, "decay of squares must lie in"),
        ({"epsilon": 0.0}, "epsilon must be positive"),
        ({"momentum": 1.0}, "momentum must lie in"),
        ({"weight_decay": -1.0}, "weight decay must be finite"),
        ({"gradient_clip": 0.0}, "gradient clip must be positive"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            RootMeanSquareOptimization(Cosine(0.2), **values)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="learning rate must be positive"):
        RootMeanSquareOptimization(Constant(0.0))
    with pytest.raises(ConfigurationError, match="unknown optimizer 'lion'"):
        build("spos", {"optimizer": "lion"})


def test_second_order_methods_refuse_it() -> None:
    with pytest.raises(ConfigurationError, match="one step of stochastic gradient descent ahead"):
        replace(darts_second_order(), weights=RootMeanSquareOptimization(Cosine(0.1)))


def test_the_settings_of_the_paper() -> None:
    recipe = build(
        "spos",
        {
            "epochs": 432,
            "batch_size": 256,
            "optimizer": "rmsprop",
            "learning_rate": 0.2,
            "minimum_learning_rate": 0.0,
            "weight_decay": 1e-4,
            "train_fraction": 0.8,
        },
    )
    assert recipe.weights == RootMeanSquareOptimization(Cosine(0.2, 0.0), 0.9, 1e-4, 0.9, 1.0, None)
    assert recipe.weights.learning_rate(216, 432) == pytest.approx(0.1)
