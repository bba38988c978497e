"""Sliced layers: one-hot gates are plain layers, and mixtures are the sums that they stand for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError
from sharewise.space import Decision
from sharewise.supernet import (
    Dimension,
    EntangledConvolution,
    Gate,
    Gates,
    RegroupedAttention,
    Shared,
    SlicedAttention,
    SlicedBatchNorm1d,
    SlicedBatchNorm2d,
    SlicedConv2d,
    SlicedDepth,
    SlicedEmbedding,
    SlicedLayerNorm,
    SlicedLinear,
    SlicedMLP,
    SlicedResidual,
    SlicedRMSNorm,
    SlicedSequential,
    depthwise,
    discrete,
    frozen_statistics,
    norms,
    recalibrate,
)
from sharewise.supernet.slices import attend, convolution_layers, separable_layers
from sharewise.supernet.slices.plane import Plane
from sharewise.testing import check_sliced, randomise_norms

WIDTH = Decision("width", (2, 4, 6))
OUT = Decision("out", (4, 8))
KERNEL = Decision("kernel", (3, 5, 7))
HEADS = Decision("heads", (1, 2))
RATIO = Decision("ratio", (1.5, 2.0))
DEPTH = Decision("depth", (0, 1, 3))
HIDDEN = Dimension.product((WIDTH, RATIO), lambda width, ratio: int(width * ratio))
EDGE = Decision("edge", ("none", "skip", "conv_1x1", "conv_3x3"))
SEPARABLE = Decision("edge", ("sep_3", "dil_3", "sep_5"))


class Attention(nn.Module):
    """The plain layer that an attention becomes."""

    def __init__(self, features: int, heads: int, size: int, interleaved: bool = False, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.interleaved, self.causal = heads, interleaved, causal
        self.qkv, self.projection = nn.Linear(features, 3 * heads * size), nn.Linear(heads * size, features)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        rows = self.qkv(x)
        rows = rows.view(n, t, -1, 3).transpose(2, 3) if self.interleaved else rows.view(n, t, 3, -1)
        q, k, v = (part.view(n, t, self.heads, -1).transpose(1, 2) for part in rows.unbind(2))
        outputs: Tensor = self.projection(
            F.scaled_dot_product_attention(q, k, v, is_causal=self.causal).transpose(1, 2).flatten(2)
        )
        return outputs


class Residual(nn.Module):
    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = x + self.branch(x)
        return total


class MLP(nn.Module):
    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.expand, self.activation, self.contract = (
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.Linear(hidden, features),
        )

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.contract(self.activation(self.expand(x)))
        return outputs


def convolution(o: Mapping[str, Any], kernel: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(o["width"], o["out"], kernel, padding=kernel // 2, **options)


def same(channels: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
    """A depthwise convolution that keeps the resolution."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels, bias=False)


def separable(kernel: int) -> nn.Sequential:
    """Twice ReLU, depthwise, pointwise, norm."""
    layers = [[nn.ReLU(), same(3, kernel), nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)] for _ in range(2)]
    return nn.Sequential(*layers[0], *layers[1])


IMAGES = torch.randn(3, 6, 8, 7, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))
VECTORS = TOKENS.flatten(0, 1)
Case = tuple[Callable[[], Shared], Callable[[Mapping[str, Any]], nn.Module], Tensor, list[Decision], dict[str, Any]]
WIDE: dict[str, Any] = {"reads": WIDTH}
DEEP: dict[str, Any] = {"reads": WIDTH, "features": 1}

CASES: dict[str, Case] = {
    "linear": (
        lambda: SlicedLinear(WIDTH, OUT),
        lambda o: nn.Linear(o["width"], o["out"]),
        TOKENS,
        [WIDTH, OUT],
        WIDE,
    ),
    "linear, all applied": (
        lambda: SlicedLinear(WIDTH, OUT, applies=("inputs", "outputs")),
        lambda o: nn.Linear(o["width"], o["out"]),
        TOKENS,
        [WIDTH, OUT],
        WIDE,
    ),
    "linear, tied": (
        lambda: SlicedLinear(WIDTH, WIDTH, applies=("inputs", "outputs"), bias=False),
        lambda o: nn.Linear(o["width"], o["width"], bias=False),
        TOKENS,
        [WIDTH],
        WIDE,
    ),
    "linear, two decisions on one axis": (
        lambda: SlicedLinear(WIDTH, HIDDEN, applies=("inputs", "outputs")),
        lambda o: nn.Linear(o["width"], int(o["width"] * o["ratio"])),
        TOKENS,
        [WIDTH, RATIO],
        WIDE,
    ),
    "embedding": (
        lambda: SlicedEmbedding(10, WIDTH),
        lambda o: nn.Embedding(10, o["width"]),
        torch.tensor([[1, 2, 9], [0, 0, 3]]),
        [WIDTH],
        {},
    ),
    "convolution": (
        lambda: SlicedConv2d(WIDTH, OUT, KERNEL),
        lambda o: convolution(o, o["kernel"]),
        IMAGES,
        [WIDTH, OUT, KERNEL],
        DEEP,
    ),
    "convolution, all applied, strided": (
        lambda: SlicedConv2d(WIDTH, OUT, 3, stride=2, bias=False, applies=("inputs", "outputs")),
        lambda o: convolution(o, 3, stride=2, bias=False),
        IMAGES,
        [WIDTH, OUT],
        DEEP,
    ),
    "convolution, padding of its own": (
        lambda: SlicedConv2d(6, 4, KERNEL, padding=2, dilation=1),
        lambda o: nn.Conv2d(6, 4, o["kernel"], padding=2 - (7 - o["kernel"]) // 2),
        IMAGES,
        [KERNEL],
        {"features": 1},
    ),
    "convolution, groups": (
        lambda: SlicedConv2d(4, 8, 3, groups=Decision("groups", (1, 2, 4))),
        lambda o: nn.Conv2d(4, 8, 3, padding=1, groups=o["groups"]),
        IMAGES[:, :4],
        [Decision("groups", (1, 2, 4))],
        {"features": 1},
    ),
    "convolution, coarse groups": (
        lambda: SlicedConv2d(8, 8, 3, groups=Decision("groups", (2, 4))),
        lambda o: nn.Conv2d(8, 8, 3, padding=1, groups=o["groups"]),
        torch.cat([IMAGES, IMAGES[:, :2]], 1),
        [Decision("groups", (2, 4))],
        {"features": 1},
    ),
    "convolution, groups of two": (
        lambda: SlicedConv2d(WIDTH, Dimension.over(WIDTH, [4, 8, 12]), 3, group_size=2),
        lambda o: nn.Conv2d(o["width"], 2 * o["width"], 3, padding=1, groups=o["width"] // 2),
        IMAGES,
        [WIDTH],
        DEEP,
    ),
    "depthwise": (
        lambda: depthwise(WIDTH, KERNEL, dilation=2),
        lambda o: nn.Conv2d(
            o["width"], o["width"], o["kernel"], padding=o["kernel"] - 1, dilation=2, groups=o["width"]
        ),
        IMAGES,
        [WIDTH, KERNEL],
        DEEP,
    ),
    "batch norm 2d": (
        lambda: SlicedBatchNorm2d(WIDTH),
        lambda o: nn.BatchNorm2d(o["width"]),
        IMAGES,
        [WIDTH],
        DEEP,
    ),
    "batch norm 2d, applied": (
        lambda: SlicedBatchNorm2d(WIDTH, applies=("outputs",), affine=False),
        lambda o: nn.BatchNorm2d(o["width"], affine=False),
        IMAGES,
        [WIDTH],
        DEEP,
    ),
    "batch norm 1d": (
        lambda: SlicedBatchNorm1d(WIDTH, applies=("outputs",), momentum=None),
        lambda o: nn.BatchNorm1d(o["width"], momentum=None),
        VECTORS,
        [WIDTH],
        WIDE,
    ),
    "layer norm": (
        lambda: SlicedLayerNorm(WIDTH),
        lambda o: nn.LayerNorm(o["width"]),
        TOKENS,
        [WIDTH],
        WIDE,
    ),
    "layer norm, applied": (
        lambda: SlicedLayerNorm(WIDTH, applies=("outputs",), bias=False),
        lambda o: nn.LayerNorm(o["width"], bias=False),
        TOKENS,
        [WIDTH],
        WIDE,
    ),
    "rms norm": (
        lambda: SlicedRMSNorm(WIDTH),
        lambda o: nn.RMSNorm(o["width"]),
        TOKENS,
        [WIDTH],
        WIDE,
    ),
    "attention": (
        lambda: SlicedAttention(WIDTH, HEADS, 3),
        lambda o: Attention(o["width"], o["heads"], 3),
        TOKENS,
        [WIDTH, HEADS],
        WIDE,
    ),
    "attention, interleaved": (
        lambda: SlicedAttention(WIDTH, HEADS, 3, qkv="interleaved", causal=True),
        lambda o: Attention(o["width"], o["heads"], 3, interleaved=True, causal=True),
        TOKENS,
        [WIDTH, HEADS],
        WIDE,
    ),
    "attention, regrouped": (
        lambda: RegroupedAttention(WIDTH, HEADS, causal=True),
        lambda o: Attention(o["width"], o["heads"], o["width"] // o["heads"], causal=True),
        TOKENS,
        [WIDTH, HEADS],
        WIDE,
    ),
    "perceptron": (
        lambda: SlicedMLP(WIDTH, HIDDEN),
        lambda o: MLP(o["width"], int(o["width"] * o["ratio"])),
        TOKENS,
        [WIDTH, RATIO],
        WIDE,
    ),
    "depth": (
        lambda: SlicedDepth(DEPTH, [SlicedSequential(SlicedLinear(6, 6), nn.Tanh()) for _ in range(3)]),
        lambda o: nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(o["depth"]))),
        TOKENS,
        [DEPTH],
        {},
    ),
    "sequence": (
        lambda: SlicedSequential(
            SlicedConv2d(6, WIDTH, 3, bias=False),
            SlicedBatchNorm2d(WIDTH),
            nn.ReLU(),
            depthwise(WIDTH, KERNEL),
            SlicedBatchNorm2d(WIDTH),
            SlicedConv2d(WIDTH, 4, 1),
        ),
        lambda o: nn.Sequential(
            nn.Conv2d(6, o["width"], 3, padding=1, bias=False),
            nn.BatchNorm2d(o["width"]),
            nn.ReLU(),
            nn.Conv2d(o["width"], o["width"], o["kernel"], padding=o["kernel"] // 2, groups=o["width"]),
            nn.BatchNorm2d(o["width"]),
            nn.Conv2d(o["width"], 4, 1),
        ),
        IMAGES,
        [WIDTH, KERNEL],
        {"features": 1},
    ),
    "transformer": (
        lambda: SlicedSequential(
            SlicedLinear(6, WIDTH),
            SlicedDepth(
                DEPTH,
                [
                    SlicedSequential(
                        SlicedResidual(SlicedLayerNorm(WIDTH), SlicedAttention(WIDTH, HEADS, 3)),
                        SlicedResidual(SlicedRMSNorm(WIDTH), SlicedMLP(WIDTH, HIDDEN)),
                    )
                    for _ in range(3)
                ],
            ),
            SlicedLayerNorm(WIDTH),
            SlicedLinear(WIDTH, 4),
        ),
        lambda o: nn.Sequential(
            nn.Linear(6, o["width"]),
            nn.Sequential(
                *(
                    nn.Sequential(
                        Residual(nn.LayerNorm(o["width"]), Attention(o["width"], o["heads"], 3)),
                        Residual(nn.RMSNorm(o["width"]), MLP(o["width"], int(o["width"] * o["ratio"]))),
                    )
                    for _ in range(o["depth"])
                )
            ),
            nn.LayerNorm(o["width"]),
            nn.Linear(o["width"], 4),
        ),
        TOKENS,
        [WIDTH, HEADS, RATIO, DEPTH],
        {},
    ),
    "entangled convolutions": (
        lambda: EntangledConvolution(
            Decision("edge", EDGE.options[2:]), {"conv_1x1": 1, "conv_3x3": 3}, partial(convolution_layers, 6, 4)
        ),
        lambda o: nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(6, 4, int(o["edge"][-1]), padding=int(o["edge"][-1]) // 2, bias=False),
            nn.BatchNorm2d(4),
        ),
        IMAGES,
        [Decision("edge", EDGE.options[2:])],
        {"features": 1},
    ),
    "entangled separable convolutions": (
        lambda: EntangledConvolution(
            Decision("edge", ("sep_3", "sep_5")),
            {"sep_3": 3, "sep_5": 5},
            partial(separable_layers, 3, 3, repeats=2),
        ),
        lambda o: separable(int(o["edge"][-1])),
        IMAGES[:, :3],
        [Decision("edge", ("sep_3", "sep_5"))],
        {"features": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_hot_gates_are_plain_layers_however_they_are_executed(case: str) -> None:
    layer, plain, inputs, decisions, where = CASES[case]
    torch.manual_seed(0)
    check_sliced(layer(), plain, inputs, decisions, **where)


@pytest.mark.parametrize("case", ["convolution", "depthwise", "sequence", "entangled convolutions"])
def test_slices_equal_plain_layers_with_channels_last_in_float32(case: str) -> None:
    make, plain, inputs, decisions, where = CASES[case]
    torch.manual_seed(0)
    layer = make()
    randomise_norms(layer, torch.Generator().manual_seed(1))
    layer.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    for options in product(*(range(d.size) for d in decisions)):
        gates = discrete(
            {d.name: [float(i == j) for j in range(d.size)] for d, i in zip(decisions, options, strict=True)}
        )
        size = WIDTH.options[options[decisions.index(WIDTH)]] if "reads" in where else inputs.shape[1]
        x = inputs[:, :size].contiguous(memory_format=torch.channels_last)
        network = plain({d.name: d.options[i] for d, i in zip(decisions, options, strict=True)}).eval()
        network.load_state_dict({name: value.clone() for name, value in layer.inherited(gates).items()})
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert torch.equal(layer(x, gates), network(x))


def doubles(size: int, seed: int = 0) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@st.composite
def gates_of(draw: st.DrawFn, *decisions: Decision) -> dict[str, Gate]:
    """Weights ≥ 0, often zero or one-hot; some options active, the weights of others anything."""
    gates = {}
    for d in decisions:
        weights = draw(st.lists(st.sampled_from([0.0, 0.0, 1.0]) | st.floats(0, 2), min_size=d.size, max_size=d.size))
        active = draw(st.lists(st.sampled_from(range(d.size)), min_size=1, unique=True).map(sorted))
        gates[d.name] = Gate(torch.tensor(weights, dtype=torch.float64).requires_grad_(), tuple(active))
    return gates


def normalised(gates: Mapping[str, Gate]) -> dict[str, Gate]:
    """Active weights that sum to one, as leaves."""
    result = {}
    for name, gate in gates.items():
        mask = torch.zeros(gate.size, dtype=torch.float64)
        mask[list(gate.active)] = 1.0
        weights = (gate.weights.detach() + 1e-3) * mask
        result[name] = Gate((weights / weights.sum()).requires_grad_(), gate.active)
    return result


def mixed(gates: Mapping[str, Gate], term: Callable[[Mapping[str, Gate]], Tensor]) -> Tensor:
    """Σ over combinations of active options of the product of weights times `term` under that combination, one-hot."""
    total: Tensor | None = None
    for options in product(*(gate.active for gate in gates.values())):
        weight = torch.ones((), dtype=torch.float64)
        single = {}
        for (name, gate), index in zip(gates.items(), options, strict=True):
            weight = weight * gate.weights[index]
            single[name] = Gate(torch.eye(gate.size, dtype=torch.float64)[index], (index,), unit=True)
        part = weight * term(single)
        total = part if total is None else total + part
    assert total is not None
    return total


def padded(x: Tensor, *shape: int) -> Tensor:
    """Zeros behind, in every dimension."""
    margins = [m for have, want in zip(reversed(x.shape), reversed(shape), strict=True) for m in (0, want - have)]
    return F.pad(x, margins)


def assert_same(actual: Tensor, expected: Tensor, leaves: list[Tensor]) -> None:
    """Equal values, and equal gradients to all leaves."""
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-11)
    direction = torch.linspace(-1, 1, actual.numel(), dtype=torch.float64).view_as(actual).cos()
    pairs = [torch.autograd.grad((y * direction).sum(), leaves, allow_unused=True) for y in (actual, expected)]
    for leaf, a, b in zip(leaves, *pairs, strict=True):
        zero = torch.zeros_like(leaf)
        torch.testing.assert_close(zero if a is None else a, zero if b is None else b, rtol=1e-9, atol=1e-10)


def leaves_of(layer: nn.Module, gates: Mapping[str, Gate]) -> list[Tensor]:
    return [*layer.parameters(), *(gate.weights for gate in gates.values())]


@given(gates=gates_of(WIDTH, OUT))
@settings(max_examples=25, deadline=None)
def test_linear_superposition_is_the_sum_of_padded_slices(gates: dict[str, Gate]) -> None:
    torch.manual_seed(0)
    layer = SlicedLinear(WIDTH, OUT, applies=("inputs", "outputs")).double()
    x = TOKENS.double()[..., : max(WIDTH.options[i] for i in gates["width"].active)]
    rows, columns = layer.plane.size(gates)

    def weight(single: Gates) -> Tensor:
        return padded(layer.weight[: layer.plane.size(single)[0], : layer.plane.size(single)[1]], rows, columns)

    def bias(single: Gates) -> Tensor:
        return padded(layer.bias[: layer.plane.outputs.size(single)], rows)

    naive = F.linear(x, mixed(gates, weight), mixed({"out": gates["out"]}, lambda s: bias({**gates, **s})))
    assert_same(layer(x, gates), naive, leaves_of(layer, gates))


@given(gates=gates_of(WIDTH, RATIO))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("outputs", [WIDTH, HIDDEN], ids=["one decision", "one shared, one not"])
def test_a_decision_on_two_axes_counts_once(outputs: Any, gates: dict[str, Gate]) -> None:
    """Σ_c g_c · pad(W[:A_c, :B_c]), gradients included, also where survivals of different options tie."""
    gates = gates if outputs is HIDDEN else {"width": gates["width"]}
    torch.manual_seed(0)
    layer = SlicedLinear(WIDTH, outputs, applies=("inputs", "outputs"), bias=False).double()
    x = TOKENS.double()[..., : layer.plane.inputs.size(gates)]
    shape = layer.plane.size(gates)

    def weight(single: Gates) -> Tensor:
        rows, columns = layer.plane.size(single)
        return padded(layer.weight[:rows, :columns], *shape)

    assert_same(layer(x, gates), F.linear(x, mixed(gates, weight)), leaves_of(layer, gates))


def test_one_decision_takes_the_minimum_and_different_ones_multiply() -> None:
    g = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    gates = {"width": Gate(g, (0, 1, 2)), "other": Gate(g, (0, 1, 2))}
    s = torch.tensor([1.0, 1.0, 0.8, 0.8, 0.5, 0.5], dtype=torch.float64)
    both: Any = ("inputs", "outputs")
    tied = Plane(WIDTH, WIDTH, both, published=False).mask(gates)
    torch.testing.assert_close(tied, torch.minimum(s[:, None], s[None, :]))
    product_of = torch.outer(s, s)
    apart = Plane(Decision("other", WIDTH.options), WIDTH, both, published=False).mask(gates)
    torch.testing.assert_close(apart, product_of)
    torch.testing.assert_close(Plane(WIDTH, WIDTH, (), published=True).mask(gates), tied)
    reader = Plane(WIDTH, WIDTH, ("inputs",), published=False)
    torch.testing.assert_close(reader.mask(gates), s[None, :])
    assert reader.rows(gates) is None


@given(gates=gates_of(WIDTH, OUT, KERNEL))
@settings(max_examples=25, deadline=None)
def test_convolution_superposition_is_the_sum_of_padded_slices(gates: dict[str, Gate]) -> None:
    torch.manual_seed(0)
    layer = SlicedConv2d(WIDTH, OUT, KERNEL, bias=False, applies=("inputs", "outputs")).double()
    rows, columns = layer.plane.size(gates)
    x = IMAGES.double()[:, :columns]

    def weight(single: Gates) -> Tensor:
        r, c = layer.plane.size(single)
        margin = (7 - layer.kernel.size(single)) // 2
        inner = layer.weight[:r, :c, margin : 7 - margin, margin : 7 - margin]
        return padded(F.pad(inner, [margin] * 4), rows, columns, 7, 7)

    naive = F.conv2d(x, mixed(gates, weight), padding=3)
    assert_same(layer(x, gates), naive, leaves_of(layer, gates))


@given(gates=gates_of(WIDTH, KERNEL))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("published", [False, True])
def test_channels_of_a_depthwise_convolution_count_once(published: bool, gates: dict[str, Gate]) -> None:
    """Inputs and outputs are one decision there, also in the published form."""
    torch.manual_seed(0)
    layer = depthwise(WIDTH, KERNEL, applies=("inputs", "outputs"), published=published).double()
    rows, _ = layer.plane.size(gates)

    def weight(single: Gates) -> Tensor:
        r, _ = layer.plane.size(single)
        margin = (7 - layer.kernel.size(single)) // 2
        inner = layer.weight[:r, :, margin : 7 - margin, margin : 7 - margin]
        return padded(F.pad(inner, [margin] * 4), rows, 1, 7, 7)

    bias = mixed({"width": gates["width"]}, lambda s: padded(layer.bias[: layer.plane.outputs.size(s)], rows))
    naive = F.conv2d(IMAGES.double()[:, :rows], mixed(gates, weight), bias, padding=3, groups=rows)
    assert_same(layer(IMAGES.double()[:, :rows], gates), naive, leaves_of(layer, gates))


GROUPS = Decision("groups", (1, 2, 4))
EXACT: dict[str, tuple[Callable[[], Shared], Tensor, tuple[Decision, ...]]] = {
    "groups": (lambda: SlicedConv2d(4, 8, 3, groups=GROUPS, bias=False), IMAGES[:, :4], (GROUPS,)),
    "coarse groups": (
        lambda: SlicedConv2d(8, 8, 1, groups=Decision("groups", (2, 4)), bias=False),
        torch.cat([IMAGES, IMAGES[:, :2]], 1),
        (Decision("groups", (2, 4)),),
    ),
    "kernel": (lambda: depthwise(6, KERNEL, bias=False), IMAGES, (KERNEL,)),
    "learned kernels": (lambda: SlicedConv2d(6, 2, KERNEL, transforms=True, bias=False), IMAGES, (KERNEL,)),
    "hidden size": (lambda: SlicedMLP(6, Dimension.over(WIDTH, [3, 5, 9])), TOKENS, (WIDTH,)),
    "heads": (lambda: SlicedAttention(6, HEADS, 3, causal=True), TOKENS, (HEADS,)),
    "interleaved heads": (lambda: SlicedAttention(6, HEADS, 3, qkv="interleaved"), TOKENS, (HEADS,)),
    "regrouped heads": (
        lambda: RegroupedAttention(6, Decision("heads", (1, 2, 3))),
        TOKENS,
        (Decision("heads", (1, 2, 3)),),
    ),
    "depth": (
        lambda: SlicedDepth(DEPTH, [SlicedMLP(6, Dimension.over(WIDTH)) for _ in range(3)]),
        TOKENS,
        (DEPTH,),
    ),
}


@pytest.mark.parametrize("case", EXACT)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_one_pass_is_the_mixture_of_the_choices_outputs(case: str, data: st.DataObject) -> None:
    """Σ_i g_i · layer_i(x) in values and in gradients to weights and gates, by one execution."""
    make, x, decisions = EXACT[case]
    gates = normalised(data.draw(gates_of(*decisions)))
    fixed = {} if case != "depth" else discrete({"width": (0.0, 1.0, 0.0)}, dtype=torch.float64)
    torch.manual_seed(0)
    layer = make().double()
    with torch.no_grad():
        for name, p in layer.named_parameters():
            if name in ("contract.bias", "projection.bias"):  # added once, whatever the gates sum to
                p.zero_()
    x = x.double()
    expected = mixed(gates, lambda single: layer(x, {**single, **fixed}))
    assert_same(layer(x, {**gates, **fixed}), expected, leaves_of(layer, gates))


def test_a_hidden_dimension_is_scaled_once_and_twice_in_the_published_form() -> None:
    g = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    gates = {"width": Gate(g, (0, 1, 2))}
    s = torch.tensor([1.0, 1.0, 0.8, 0.8, 0.5, 0.5], dtype=torch.float64)
    torch.manual_seed(0)
    layer = SlicedMLP(6, WIDTH, activation=nn.ReLU()).double()
    twin = SlicedMLP(6, WIDTH, activation=nn.ReLU(), published=True).double()
    twin.load_state_dict(layer.state_dict())
    x = TOKENS.double()
    hidden = F.relu(layer.expand.weight @ x.mT + layer.expand.bias[:, None]).mT
    torch.testing.assert_close(layer(x, gates), F.linear(hidden * s, layer.contract.weight, layer.contract.bias))
    torch.testing.assert_close(twin(x, gates), F.linear(hidden * s**2, layer.contract.weight, layer.contract.bias))


def test_queries_and_keys_are_not_scaled_by_the_heads_but_in_the_published_form() -> None:
    g = torch.tensor([0.4, 0.6], dtype=torch.float64)
    gates = {"heads": Gate(g, (0, 1))}
    torch.manual_seed(0)
    layer = SlicedAttention(6, HEADS, 3).double()
    twin = SlicedAttention(6, HEADS, 3, published=True).double()
    twin.load_state_dict(layer.state_dict())
    x = TOKENS.double()
    s = torch.tensor([1.0, 1, 1, 0.6, 0.6, 0.6], dtype=torch.float64)
    q, k, v = F.linear(x, layer.qkv.weight, layer.qkv.bias).view(3, 5, 3, 6).unbind(2)
    ours = layer.projection.weight, layer.projection.bias
    value = F.linear(attend(torch.stack([q, k, v * s], 2), 2), *ours)
    torch.testing.assert_close(layer(x, gates), value)
    everything = F.linear(attend(torch.stack([q * s, k * s, v * s], 2), 2) * s, *ours)
    torch.testing.assert_close(twin(x, gates), everything)


def test_the_published_attention_scales_the_features_that_it_reads_and_those_that_it_writes() -> None:
    g, h = (torch.tensor(v, dtype=torch.float64) for v in ([0.2, 0.3, 0.5], [0.4, 0.6]))
    gates = {"width": Gate(g, (0, 1, 2)), "heads": Gate(h, (0, 1))}
    torch.manual_seed(0)
    layer = SlicedAttention(WIDTH, HEADS, 3, published=True).double()
    width = torch.tensor([1.0, 1, 0.8, 0.8, 0.5, 0.5], dtype=torch.float64)
    heads = torch.tensor([1.0, 1, 1, 0.6, 0.6, 0.6], dtype=torch.float64)
    rows = F.linear(TOKENS.double() * width, layer.qkv.weight, layer.qkv.bias).view(3, 5, 3, 6)
    mixed_heads = attend(rows * heads, 2) * heads
    naive = F.linear(mixed_heads, layer.projection.weight, layer.projection.bias) * width
    torch.testing.assert_close(layer(TOKENS.double(), gates), naive)


@given(gates=gates_of(WIDTH, HEADS))
@settings(max_examples=12, deadline=None)
def test_regrouped_attention_reads_a_searched_width_once(gates: dict[str, Gate]) -> None:
    """P Σ_c g_c · pad(A_c(Q x, K x, V x)), with x scaled where it is read and the mixture not scaled again."""
    torch.manual_seed(0)
    layer = RegroupedAttention(WIDTH, HEADS).double()
    size = layer.features.size(gates)
    x = TOKENS.double()[..., :size]
    scale = mixed({"width": gates["width"]}, lambda s: padded(x.new_ones(layer.features.size(s)), size))
    weight, bias = (p.unflatten(0, (3, 6))[:, :size].flatten(0, 1) for p in (layer.qkv.weight, layer.qkv.bias))
    rows = F.linear(x * scale, weight[:, :size], bias).unflatten(-1, (3, size))

    def attention(single: Gates) -> Tensor:
        own = layer.features.size(single)
        return padded(attend(rows[..., :own], layer.heads.size(single)), 3, 5, size)

    naive = F.linear(mixed(gates, attention), layer.projection.weight[:size, :size], layer.projection.bias[:size])
    assert_same(layer(x, gates), naive, leaves_of(layer, gates))


def test_the_published_regrouped_attention_mixes_queries_keys_and_values() -> None:
    """One attention per number of heads, heads of smaller widths padded one by one: another function than the slice."""
    torch.manual_seed(0)
    layer = RegroupedAttention(WIDTH, HEADS, published=True).double()
    g, h = (torch.tensor(v, dtype=torch.float64) for v in ([0.2, 0.3, 0.5], [0.4, 0.6]))
    gates = {"width": Gate(g, (0, 1, 2)), "heads": Gate(h, (0, 1))}
    x = TOKENS.double()
    rows = layer.qkv(x, gates).view(3, 5, 3, 6)
    total = torch.zeros(3, 5, 6, dtype=torch.float64)
    for j, heads in enumerate((1, 2)):
        q, k, v = (
            sum(
                g[i] * h[j] * F.pad(part[..., :size].reshape(3, 5, heads, -1), (0, (6 - size) // heads))
                for i, size in enumerate((2, 4, 6))
            ).transpose(1, 2)
            for part in rows.unbind(2)
        )
        total = total + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer(x, gates), layer.projection(total, gates))
    assert layer.projection.plane.applies == {"inputs", "outputs"}


@given(gates=gates_of(WIDTH))
@settings(max_examples=25, deadline=None)
def test_norms_weight_their_statistics_by_survival(gates: dict[str, Gate]) -> None:
    gates = normalised(gates)
    gate = gates["width"]
    size = max(WIDTH.options[i] for i in gate.active)
    torch.manual_seed(0)
    layer, rms = SlicedLayerNorm(WIDTH).double(), SlicedRMSNorm(WIDTH, eps=1e-3).double()
    randomise_norms(nn.ModuleList([layer, rms]), torch.Generator().manual_seed(0))
    x = TOKENS.double()[..., :size].clone().requires_grad_()
    weights = [sum(gate.weights[i] for i in gate.active if WIDTH.options[i] > j) for j in range(size)]
    s = torch.stack([torch.as_tensor(w) for w in weights])
    mean = (x * s).sum(-1, keepdim=True) / s.sum()
    variance = ((x - mean) ** 2 * s).sum(-1, keepdim=True) / s.sum()
    expected = (x - mean) / (variance + 1e-5).sqrt() * layer.weight[:size] + layer.bias[:size]
    assert_same(layer(x, gates), expected, [x, *leaves_of(layer, gates)])
    square = (x**2 * s).sum(-1, keepdim=True) / s.sum()
    assert_same(rms(x, gates), x / (square + 1e-3).sqrt() * rms.weight[:size], [x, *leaves_of(rms, gates)])


def test_a_scaled_layer_norm_over_the_full_width_is_not_the_slice() -> None:
    """Why statistics are weighted: the published form violates continuity."""
    layer = SlicedLayerNorm(WIDTH, published=True).double()
    x, g = TOKENS.double(), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    dense, sliced = layer(x, {"width": Gate(g, (0, 1, 2))}), layer(x[..., :2], {"width": Gate(g, (0,), unit=True)})
    assert float((dense[..., :2] - sliced).detach().abs().max()) > 0.1


def test_a_scale_before_a_batch_norm_is_erased_and_one_after_it_is_not() -> None:
    torch.manual_seed(0)
    g = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64, requires_grad=True)
    gates = {"width": Gate(g, (0, 1, 2))}
    before = SlicedConv2d(6, WIDTH, 3, bias=False, applies=("outputs",)).double()
    after = SlicedConv2d(6, WIDTH, 3, bias=False).double()
    plain, scaled = (
        SlicedBatchNorm2d(WIDTH, eps=1e-12).double(),
        SlicedBatchNorm2d(WIDTH, applies=("outputs",)).double(),
    )
    x = IMAGES.double()
    [erased] = torch.autograd.grad(plain(before(x, gates), gates).sin().sum(), g)
    [kept] = torch.autograd.grad(scaled(after(x, gates), gates).sin().sum(), g)
    assert float(erased.abs().max()) < 1e-6
    assert float(kept.abs().max()) > 0.1


def entangled(published: bool = False, affine: bool = True) -> EntangledConvolution:
    torch.manual_seed(0)
    layers = partial(convolution_layers, 6, 4, affine=affine)
    group = EntangledConvolution(EDGE, {"conv_1x1": 1, "conv_3x3": 3}, layers, published=published).double()
    randomise_norms(group, torch.Generator().manual_seed(0))
    return group


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_group_keeps_its_mass(affine: bool, training: bool) -> None:
    group = entangled(affine=affine).train(training)
    convolution, norm = group.layers.layers[1], group.layers.layers[2]
    g = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64, requires_grad=True)
    x = IMAGES.double()
    center = F.pad(convolution.weight[..., 1:2, 1:2], [1] * 4)
    mass = g[2] + g[3]
    with frozen_statistics(norm):
        z = F.conv2d(x.relu(), (g[2] * center + g[3] * convolution.weight) / mass, padding=1)
        expected = mass * norm(z)
        actual = group(x, {"edge": Gate(g, (0, 1, 2, 3))})
    assert_same(actual, expected, [g, *group.parameters()])


def test_the_mass_of_a_group_has_a_gradient_which_the_published_form_loses() -> None:
    gradients = []
    for published in (False, True):
        group = entangled(published)
        group.layers.layers[2].eps = 1e-12
        g = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64, requires_grad=True)
        output = group(IMAGES.double(), {"edge": Gate(g, (0, 1, 2, 3))})
        [gradient] = torch.autograd.grad(output.sin().sum(), g)
        gradients.append(float(gradient[2] * 0.3 + gradient[3] * 0.4))  # the derivative along the mass
    assert abs(gradients[0]) > 1.0
    assert abs(gradients[1]) < 1e-6


def test_a_group_without_mass_contributes_zero_with_finite_gradients() -> None:
    group = entangled()
    g = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    output = group(IMAGES.double(), {"edge": Gate(g, (0, 1, 2, 3))})
    assert not output.any()
    [gradient] = torch.autograd.grad(output.sum(), g)
    assert bool(gradient.isfinite().all())
    assert float(gradient[2]) == float(gradient[3]) != 0.0
    assert group(IMAGES.double(), {"edge": Gate(g, (0, 1))}) is None
    assert group.inherited({"edge": Gate(g, (1,))}) == {}
    with pytest.raises(ConfigurationError, match="2 active options"):
        group.inherited({"edge": Gate(g, (2, 3))})


@pytest.mark.parametrize("active", [(2, 3), (0, 3), (0, 2)])
def test_a_group_reads_active_options_only(active: tuple[int, ...]) -> None:
    group = entangled().eval()
    g = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    changed = torch.where(torch.tensor([i in active for i in range(4)]), g, 7.0)
    x = IMAGES.double()
    torch.testing.assert_close(group(x, {"edge": Gate(g, active)}), group(x, {"edge": Gate(changed, active)}))


def test_dilated_and_strided_separable_operations_nest() -> None:
    for options in ({"dilation": 2}, {"stride": 2, "repeats": 2}):
        layers = partial(separable_layers, 3, 3, **options)
        group = EntangledConvolution(SEPARABLE, {"sep_3": 3, "sep_5": 5}, layers)
        shapes = set()
        for active in ((0,), (2,), (0, 1, 2)):
            y = group(IMAGES[:, :3], {"edge": Gate(torch.tensor([0.2, 0.3, 0.5]), active)})
            assert y is not None
            shapes.add(tuple(y.shape))
        assert len(shapes) == 1


def test_learned_kernels_start_as_centre_crops_and_extract_to_what_is_executed() -> None:
    torch.manual_seed(0)
    layer, bare = (SlicedConv2d(6, 2, KERNEL, transforms=flag).double() for flag in (True, False))
    assert {name: tuple(p.shape) for name, p in layer.transforms.items()} == {"5": (25, 25), "3": (9, 9)}
    bare.load_state_dict({name: value for name, value in layer.state_dict().items() if "transforms" not in name})
    x = IMAGES.double()
    for index in range(3):
        gates = discrete({"kernel": [float(i == index) for i in range(3)]}, dtype=torch.float64)
        torch.testing.assert_close(layer(x, gates), bare(x, gates), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        for p in layer.transforms.values():
            p.add_(torch.randn_like(p))
    first, second = layer.transforms["5"], layer.transforms["3"]
    five = (layer.weight[..., 1:6, 1:6].flatten(2) @ first.T).unflatten(2, (5, 5))
    three = (five[..., 1:4, 1:4].flatten(2) @ second.T).unflatten(2, (3, 3))
    for index, expected in enumerate((three, five, layer.weight)):
        gates = discrete({"kernel": [float(i == index) for i in range(3)]}, dtype=torch.float64)
        state = layer.inherited(gates)
        assert set(state) == {"weight", "bias"}
        torch.testing.assert_close(state["weight"], expected)
        y = layer(x, gates)
        assert torch.equal(y, F.conv2d(x, state["weight"], state["bias"], padding=index + 1))
        dense = {"kernel": Gate(gates["kernel"].weights, (0, 1, 2))}
        torch.testing.assert_close(layer(x, dense), y, rtol=1e-12, atol=1e-12)


def test_a_tied_embedding_reads_and_writes_one_weight() -> None:
    torch.manual_seed(0)
    layer = SlicedEmbedding(10, WIDTH).double()
    g = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64, requires_grad=True)
    x = TOKENS.double()
    scores = layer.logits(x, {"width": Gate(g, (0, 1, 2))})
    expected = mixed(
        {"width": Gate(g, (0, 1, 2))},
        lambda s: x[..., : layer.features.size(s)] @ layer.weight[:, : layer.features.size(s)].T,
    )
    assert_same(scores, expected, [g, layer.weight])
    vectors = layer(torch.tensor([3]), {"width": Gate(g, (0, 1, 2))})
    assert torch.equal(vectors[0], layer.weight[3])
    applied = SlicedEmbedding(10, WIDTH, applies=("outputs",)).double()
    scaled = applied(torch.tensor([3]), {"width": Gate(g, (0, 1, 2))})
    torch.testing.assert_close(scaled[0], applied.weight[3] * torch.tensor([1.0, 1, 0.8, 0.8, 0.5, 0.5]).double())


def test_sliced_batch_norms_are_recalibrated_and_frozen_like_plain_ones() -> None:
    layer = SlicedBatchNorm2d(WIDTH)
    randomise_norms(layer, torch.Generator().manual_seed(0))
    gates = discrete({"width": (0.0, 1.0, 0.0)})
    x, before = IMAGES[:, :4], layer.running_mean.clone()
    assert norms(layer) == [layer]
    with frozen_statistics(layer):
        layer(x, gates)
    assert torch.equal(layer.running_mean, before)
    recalibrate(layer, lambda batch: layer(batch, gates), [x])
    torch.testing.assert_close(layer.running_mean[:4], x.mean((0, 2, 3)))
    assert not layer.running_mean[4:].any()
    assert int(layer.num_batches_tracked) == 1


@pytest.mark.parametrize("case", [name for name in CASES if name != "embedding"])
def test_mixtures_under_automatic_mixed_precision(case: str) -> None:
    """Masks stay in the precision of weights: results are those of float32 up to the rounding of the products."""
    make, _, inputs, decisions, _ = CASES[case]
    torch.manual_seed(0)
    layer = make().eval()
    gates = {
        d.name: Gate(torch.softmax(torch.arange(d.size) * 0.3, 0).requires_grad_(), tuple(range(d.size)))
        for d in decisions
    }
    expected = layer(inputs, gates)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = layer(inputs, gates)
    actual.float().sum().backward()
    scale = float(expected.detach().abs().max())
    torch.testing.assert_close(actual.float(), expected, rtol=0, atol=0.05 * scale)


@pytest.mark.parametrize("case", CASES)
def test_layers_never_wait_for_the_device(case: str) -> None:
    """On a device without values nothing can be read back; a synchronisation would raise."""
    make, _, inputs, decisions, _ = CASES[case]
    if case == "batch norm 1d":
        pytest.skip("a cumulative average of statistics counts batches on the host, as in torch")
    layer = make().to("meta")
    for active in (lambda d: tuple(range(d.size)), lambda d: (0, d.size - 1), lambda d: (d.size - 1,)):
        gates = {d.name: Gate(torch.ones(d.size, device="meta", requires_grad=True), active(d)) for d in decisions}
        layer(inputs.to("meta"), gates).sum().backward()


def test_constant_gates_are_never_read() -> None:
    """They stay on the host when others move to a device."""
    torch.manual_seed(0)
    one, nothing = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), torch.full((3,), torch.nan)
    ratio = Gate(torch.tensor([0.3, 0.7], dtype=torch.float64), (0, 1))
    x = TOKENS[..., :4].double()
    for layer in (SlicedMLP(WIDTH, HIDDEN), SlicedLinear(WIDTH, HIDDEN, applies=("inputs", "outputs"))):
        layer.double()
        expected = layer(x, {"width": Gate(one, (1,)), "ratio": ratio})
        actual = layer(x, {"width": Gate(nothing, (1,), unit=True), "ratio": ratio})
        torch.testing.assert_close(actual, expected)


def test_second_derivatives_exist() -> None:
    torch.manual_seed(0)
    width = Decision("width", (2, 4))
    layers = SlicedSequential(
        SlicedLinear(3, width), SlicedLayerNorm(width), SlicedMLP(width, Dimension.over(width, [3, 6]))
    ).double()
    x = doubles(0)(2, 3)

    def loss(g: Tensor) -> Tensor:
        outputs: Tensor = layers(x, {"width": Gate(g, (0, 1))})
        return outputs.square().sum()

    assert torch.autograd.gradgradcheck(loss, (torch.tensor([0.4, 0.6], dtype=torch.float64, requires_grad=True),))


def test_what_is_refused() -> None:
    for make, message in [
        (lambda: Dimension.over(WIDTH, [1, 2]), "3 combinations of options, got 2 sizes"),
        (lambda: SlicedLinear(Decision("d", ("a", "b")), 2), "positive integers, got 'a'"),
        (lambda: SlicedLinear(0, 2), "positive integers, got 0"),
        (lambda: SlicedLinear(2, 2, applies=("rows",)), "'inputs', 'outputs'"),
        (lambda: SlicedLinear(2, 2, stacks=0), "at least one stack"),
        (lambda: SlicedConv2d(2, 2, Decision("k", (2, 3))), "all are odd or all even"),
        (lambda: SlicedConv2d(2, 2, KERNEL, padding=1), "must be at least 2"),
        (lambda: SlicedConv2d(6, 4, 3, groups=4), "fixed channels that they divide"),
        (lambda: SlicedConv2d(WIDTH, 4, 3, groups=2), "give group_size"),
        (lambda: SlicedConv2d(12, 12, 3, groups=Decision("g", (2, 3))), "each number divides the larger ones"),
        (lambda: SlicedConv2d(WIDTH, 8, 3, group_size=2), "one decision and proportional sizes"),
        (lambda: RegroupedAttention(6, Decision("heads", (2, 4))), "4 heads do not divide 6"),
        (lambda: SlicedAttention(6, 2, 3, qkv="other"), "unknown order of query, key and value rows 'other'"),
        (lambda: SlicedDepth(DEPTH, [nn.Identity()]), "numbers of its 1 blocks, got 3"),
        (lambda: EntangledConvolution(EDGE, {"conv": 3}, partial(convolution_layers, 1, 1)), "'conv' is not an option"),
        (lambda: EntangledConvolution(EDGE, {"conv_3x3": 3}, lambda k: [nn.ReLU()]), "batch norm"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            make()  # type: ignore[no-untyped-call]
    with pytest.raises(ConfigurationError, match="'depth' has no active option"):
        SlicedDepth(DEPTH, [nn.Identity()] * 3)(TOKENS, {"depth": Gate(torch.ones(3), ())})
    small = discrete({"width": (1.0, 0.0, 0.0), "kernel": (1.0, 0.0, 0.0)})
    for layer, x in ((SlicedLinear(WIDTH, 3), TOKENS), (SlicedConv2d(WIDTH, 3, KERNEL), IMAGES)):
        with pytest.raises(ConfigurationError, match=r"reads 2 features .*'width'\) was given 6"):
            layer(x, small)
    for norm, x in ((SlicedBatchNorm2d(6), TOKENS), (SlicedBatchNorm1d(6), IMAGES)):
        with pytest.raises(ConfigurationError, match="dimensions, got shape"):
            norm(x, {})


def test_importing_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SlicedConv2d(WIDTH, OUT, KERNEL, transforms=True)
