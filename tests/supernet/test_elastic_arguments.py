"""What `elastic`, its choices and `Choose` take, and how they refuse the rest: in one line that names the value."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sharewise as sw
from sharewise.errors import ConfigurationError, SharewiseError
from sharewise.supernet.elastic import ElasticConv2d, ElasticLinear

X = torch.zeros(2, 4)


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def weight_normed() -> nn.Module:
    network = model()
    with warnings.catch_warnings():  # torch calls it old
        warnings.simplefilter("ignore")
        torch.nn.utils.weight_norm(network[0])
    network(X)
    return network


def scripted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(model())


def elastic(network: Any = None, choices: Any = None, example: Any = X) -> Any:
    return sw.elastic(network or model(), {"0": sw.width([4, 8])} if choices is None else choices, example=example)


@pytest.mark.parametrize(
    "options",
    [
        [4, 8],
        (4, 8),
        range(4, 12, 4),
        np.array([4, 8]),
        [np.int64(4), np.int32(8)],
        torch.tensor([4, 8]),
        [4.0, 8.0],
        {8, 4},
    ],
)
def test_sizes_in_any_container(options: Any) -> None:
    for make in (sw.width, sw.depth, sw.heads, sw.kernel):
        found = make(options).options
        assert found == (4, 8)
        assert {type(option) for option in found} == {int}


@pytest.mark.parametrize(
    "options",
    ["48", 8, None, {"4": 8}, [4.5, 8], ["4", "8"], [None, 4], [4, "a"], [True, 8], [8, 4], [], [(3, 3), (5, 5)], [{}]],
)
def test_what_is_no_list_of_sizes_is_refused(options: Any) -> None:
    for make in (sw.width, sw.depth, sw.heads, sw.kernel):
        with pytest.raises(ConfigurationError, match="needs"):
            make(options)


def test_names_of_decisions() -> None:
    for name in (3, "two words", ""):
        with pytest.raises(ConfigurationError, match="must be an identifier"):
            sw.width([4, 8], name=name)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="must be an identifier"):
            sw.Choose([nn.ReLU(), nn.GELU()], name=name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([(nn.Linear(8, 8), nn.ReLU()), nn.Identity()], "put several into nn.Sequential"),
        ([lambda x: x, nn.Identity()], "a function into a module of its own"),
        ([nn.ReLU, nn.Identity], "call a class"),
        (["relu", "gelu"], "must be an nn.Module, got 'relu'"),
        ([None, nn.ReLU()], "must be an nn.Module, got None"),
        (nn.ReLU(), "needs several modules"),
        (nn.Sequential(nn.ReLU(), nn.GELU()), "needs several modules"),
        (None, "needs several modules"),
        ("relu", "needs several modules"),
        ([], "at least one module"),
        ({"conv1.5x": nn.ReLU(), "id": nn.Identity()}, "the name 'conv1.5x'"),
        ({"keys": nn.ReLU(), "id": nn.Identity()}, "the name 'keys'"),
        ({"": nn.ReLU(), "id": nn.Identity()}, "the name ''"),
    ],
)
def test_what_is_no_choice_among_modules_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        sw.Choose(options)


def test_modules_in_any_container() -> None:
    relu, gelu = nn.ReLU(), nn.GELU()
    for options in ([relu, gelu], (relu, gelu), nn.ModuleList([relu, gelu]), iter([relu, gelu])):
        assert sw.Choose(options).names == ("relu", "gelu")  # type: ignore[arg-type]
    assert sw.Choose(nn.ModuleDict({"a": relu, "b": gelu})).names == ("a", "b")  # type: ignore[arg-type]
    assert sw.Choose({3: relu, 5: gelu}).names == ("3", "5")  # type: ignore[dict-item]
    assert sw.Choose([type("Keys", (nn.ReLU,), {})(), gelu]).names == ("keys_module", "gelu")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: elastic(scripted()), "torch.jit"),
        (lambda: elastic(weight_normed()), "cannot be copied: .*parametrizations"),
        (lambda: elastic(nn.Linear), "elastic needs a Module here, got a type as its model"),
        (lambda: elastic(example=[X]), "elastic needs an example of the arguments of Sequential: .* got a list"),
        (lambda: elastic(example=X.long()), "does not run on the example, of shape .* torch.int64"),
        (lambda: elastic(example=torch.zeros(2, 5)), r"does not run on the example, of shape \(2, 5\)"),
        (lambda: elastic(example=X[:0]), "at least one input"),
        (lambda: elastic(choices=[sw.width([4, 8])]), "choices map patterns"),
        (lambda: elastic(choices=sw.width([4, 8])), "choices map patterns"),
        (lambda: elastic(choices={"0": [4, 8]}), "must be width"),
        (lambda: ElasticLinear(4, "8"), "out_features must be an integer or width"),  # type: ignore[arg-type]
        (lambda: ElasticLinear(4, sw.kernel([3, 5])), "out_features must be an integer or width"),  # type: ignore[arg-type]
        (lambda: ElasticConv2d(3, 8, sw.width([3, 5])), "kernel_size must be an integer or kernel"),  # type: ignore[arg-type]
    ],
)
def test_models_that_cannot_be_taken_are_refused_in_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(SharewiseError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_is_unambiguous_is_taken() -> None:
    assert elastic(choices={0: sw.width([4, 8])}).space.size == 2
    wrapped = sw.elastic(nn.DataParallel(model()), {"module.0": sw.width([4, 8])}, example=X)
    assert wrapped.space.size == 2
    assert ElasticLinear(4, np.int64(8)).out_features == 8  # type: ignore[arg-type]


def test_looking_at_a_model_leaves_no_trace() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.inner(x)
            return out

    network = Counting()
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    supernet = sw.elastic(network, {"inner.0": sw.width([4, 8])}, example=X)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert supernet.training
    assert network.training
