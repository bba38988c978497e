"""Gates as values, mixtures as written, and nested slices: superposition and continuity."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError
from sharewise.run import build_supernet
from sharewise.space import Decision, enumerate_architectures
from sharewise.spaces import load
from sharewise.supernet import Gate, MixedOperation, SlicedLinear, cut, discrete, survival, to_device


def test_gates_refuse_what_is_not_one_vector_per_batch() -> None:
    with pytest.raises(ConfigurationError, match="per-sample gates are not supported"):
        Gate(torch.ones(8, 3), (0,))
    with pytest.raises(ConfigurationError, match=r"active options \(3,\) of a gate with 3 options"):
        Gate(torch.ones(3), (3,))
    with pytest.raises(ConfigurationError, match="active options"):
        Gate(torch.ones(3), (-1, 0))


def test_discrete_gates() -> None:
    gates = discrete({"a": (0.0, 1.0), "b": (0.0, 0.0), "c": (0.5, 0.5)}, dtype=torch.float64)
    assert [gates[n].active for n in "abc"] == [(1,), (), (0, 1)]
    assert [gates[n].unit for n in "abc"] == [True, True, False]
    assert gates["a"].weights.dtype == torch.float64


def test_cut_gates_are_leaves_of_equal_value() -> None:
    theta = torch.rand(3, requires_grad=True)
    gates = {"a": Gate(theta * 2, (0, 2), unit=False)}
    for differentiable in (True, False):
        leaf = cut(gates, differentiable=differentiable)["a"]
        assert leaf.weights.is_leaf
        assert leaf.weights.requires_grad == differentiable
        assert torch.equal(leaf.weights, theta * 2)
        assert leaf.active == (0, 2)
    unit = discrete({"a": (0.0, 1.0)})
    assert cut(unit, differentiable=False)["a"].unit
    assert not cut(unit, differentiable=True)["a"].unit, "a unit gate may skip the multiplication that has a gradient"


def test_moving_gates_keeps_their_graph() -> None:
    theta = torch.rand(3, requires_grad=True)
    moved = to_device({"a": Gate(theta * 1, (0,))}, torch.device("cpu"), torch.float64)
    moved["a"].weights[0].backward()
    assert theta.grad is not None
    assert theta.grad.tolist() == [1.0, 0.0, 0.0]


def test_mixture_is_the_weighted_sum_of_the_active_options() -> None:
    layers = {"x": nn.Linear(2, 2), "y": nn.Tanh(), "z": nn.Identity()}
    mixed = MixedOperation(Decision("d", ("none", "x", "y", "z")), layers)
    x, g = torch.randn(5, 2), torch.tensor([0.4, 0.3, 0.2, 0.1])
    expected = 0.3 * layers["x"](x) + 0.2 * x.tanh() + 0.1 * x
    torch.testing.assert_close(mixed(x, Gate(g, (0, 1, 2, 3))), expected)
    torch.testing.assert_close(mixed(x, Gate(g, (2,))), 0.2 * x.tanh())
    assert mixed(x, Gate(g, (0,))) is None
    assert mixed(x, Gate(g, ())) is None
    with pytest.raises(ConfigurationError, match="'w' is not an option of decision 'd'"):
        MixedOperation(Decision("d", ("x",)), {"w": nn.Identity()})
    with pytest.raises(ConfigurationError, match="2 active options"):
        mixed.inherited({"d": Gate(g, (1, 2))})


SIZES = (1, 3, 4, 7)


@given(
    weights=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    active=st.lists(st.sampled_from(range(4)), min_size=1, unique=True).map(sorted),
)
def test_survival_is_the_weight_of_all_larger_choices(weights: list[float], active: list[int]) -> None:
    gate = Gate(torch.tensor(weights, dtype=torch.float64), tuple(active))
    s = survival(gate, SIZES)
    assert len(s) == SIZES[active[-1]]
    for j, value in enumerate(s.tolist()):
        assert value == pytest.approx(sum(weights[i] for i in active if SIZES[i] > j))


def test_superposition_equals_the_naive_sum_of_padded_weights() -> None:
    """Values and gradients: Σ g_i · conv(x, pad(W[:o_i])) before any non-linearity is W scaled by the survival."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    g = torch.softmax(torch.randn(4, generator=generator, dtype=torch.float64), 0).requires_grad_()
    x = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    naive = sum(
        g[i] * F.linear(x, torch.cat([weight[:o], torch.zeros(7 - o, 5, dtype=torch.float64)]))
        for i, o in enumerate(SIZES)
    )
    scaled = F.linear(x, weight) * survival(Gate(g, (0, 1, 2, 3)), SIZES)
    assert isinstance(naive, torch.Tensor)
    torch.testing.assert_close(scaled, naive, rtol=1e-12, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(naive.sin().sum(), (weight, g)),
        torch.autograd.grad(scaled.sin().sum(), (weight, g)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_sliced_linear_executes_a_true_slice() -> None:
    layer = SlicedLinear(Decision("i", (2, 4)), Decision("o", (2, 8)))
    gates = discrete({"i": (1.0, 0.0), "o": (1.0, 0.0)})
    x = torch.randn(3, 2)
    y = layer(x, gates)
    torch.testing.assert_close(y, F.linear(x, layer.weight[:2, :2], layer.bias[:2]))
    y.sum().backward()
    assert layer.weight.grad is not None
    assert not layer.weight.grad[2:].any()
    assert not layer.weight.grad[:, 2:].any()
    state = layer.inherited(gates)
    assert state["weight"].shape == (2, 2)
    with pytest.raises(ConfigurationError, match="at least one active option"):
        survival(Gate(torch.ones(2), ()), (2, 8))


def test_dense_execution_with_one_hot_weights_equals_the_slice() -> None:
    """Continuity: all options active, but one-hot weights, computes what the slice computes."""
    space = load("toy-tied-width")
    supernet = build_supernet(space, (5,), 3).double().eval()
    x = torch.randn(4, 5, dtype=torch.float64)
    for a in enumerate_architectures(space):
        sliced = discrete(space.relaxation.encode(a), dtype=torch.float64)
        dense = {name: Gate(gate.weights, tuple(range(gate.size))) for name, gate in sliced.items()}
        torch.testing.assert_close(supernet(x, dense), supernet(x, sliced), rtol=1e-12, atol=1e-12)


def test_a_tied_dimension_is_scaled_once() -> None:
    """Both layers read one decision: the hidden vector carries s, not s²."""
    supernet = build_supernet(load("toy-tied-width"), (5,), 3).double().eval()
    g = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    gates = {"width": Gate(g, (0, 1, 2, 3)), "activation": Gate(torch.tensor([1.0, 0, 0], dtype=torch.float64), (0,))}
    x = torch.randn(4, 5, dtype=torch.float64)
    enter, leave = supernet.enter, supernet.leave
    hidden = F.relu(F.linear(x, enter.weight, enter.bias))
    expected = leave.bias + sum(
        g[i] * F.linear(hidden[:, :o], leave.weight[:, :o]) for i, o in enumerate((4, 8, 16, 32))
    )
    torch.testing.assert_close(supernet(x, gates), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("active", [(1, 0), (0, 0), (-1,), (3,)])
def test_active_options_must_ascend_within_the_gate(active: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match="ascend"):
        Gate(torch.ones(3), active)


def test_a_sliced_layer_without_an_active_option_is_refused_in_words() -> None:
    layer = SlicedLinear(2, Decision("width", (2, 4)))
    with pytest.raises(ConfigurationError, match="'width' has no active option"):
        layer(torch.ones(1, 2), {"width": Gate(torch.zeros(2), ())})
