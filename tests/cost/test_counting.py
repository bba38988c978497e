"""Counting by operation, held against torch's own counter and against formulas."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import sharewise as sw
from sharewise.cost import SupernetCost, cost


class Own(nn.Module):
    """A function of the input and one matrix."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.randn(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


class WithChild(nn.Linear):
    """A linear layer that holds another layer."""

    def __init__(self) -> None:
        super().__init__(8, 4, bias=False)
        self.child = nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.child(super().forward(x))


class TiedTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(11, 8), nn.Linear(8, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.table(tokens))


def attended(x: Tensor, w: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x @ w, x, x, is_causal=True)


ENCODER_LAYER = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, bias=False)
LIKE_TORCH: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "convolution": (nn.Conv2d(8, 6, 3, stride=2, padding=1, dilation=2), (8, 9, 7)),
    "grouped": (nn.Conv2d(8, 12, 3, groups=4, bias=False), (8, 6, 6)),
    "depthwise in one dimension": (nn.Conv1d(8, 8, 3, padding="same", groups=8), (8, 6)),
    "three dimensions": (nn.Conv3d(2, 3, 2), (2, 4, 4, 4)),
    "transposed": (nn.ConvTranspose2d(8, 4, 3, stride=2), (8, 5, 5)),
    "transposed and grouped": (nn.ConvTranspose2d(8, 4, 3, stride=2, groups=2, output_padding=1), (8, 5, 5)),
    "linear": (nn.Linear(8, 3, bias=False), (5, 8)),
    "subclass with a child": (WithChild(), (5, 8)),
    "functional": (Own(lambda x, w: F.linear(x, w)), (5, 8)),
    "by keywords": (Own(lambda x, w: F.conv2d(input=x, weight=w[:, :, None, None])), (8, 4, 4)),
    "bare product": (Own(lambda x, w: x @ w), (5, 8)),
    "einsum": (Own(lambda x, w: torch.einsum("btd,ed->bte", x, w)), (5, 8)),
    "bmm": (Own(lambda x, w: torch.bmm(x, x.transpose(1, 2))), (5, 8)),
    "baddbmm": (Own(lambda x, w: torch.baddbmm(x, x @ x.transpose(1, 2), x)), (5, 8)),
    "attention": (Own(attended), (2, 5, 8)),
    "MultiheadAttention": (Attention(), (5, 8)),
    "encoder layer": (ENCODER_LAYER, (5, 8)),
    "encoder": (nn.TransformerEncoder(ENCODER_LAYER, 2, enable_nested_tensor=False), (5, 8)),
    "LSTM": (nn.LSTM(8, 4, num_layers=2, batch_first=True, bias=False), (5, 8)),
    "GRU": (nn.GRU(8, 4, batch_first=True, bidirectional=True, bias=False), (5, 8)),
    "weight norm": (nn.utils.parametrizations.weight_norm(nn.Linear(8, 4, bias=False)), (8,)),
}


@pytest.mark.parametrize("name", LIKE_TORCH)
def test_products_are_counted_as_torch_counts_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, shape = LIKE_TORCH[name]
    before = copy.deepcopy(model.state_dict())
    counted = cost(model, shape)
    assert model.training
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # whose kernels torch counts as nothing
    try:
        with FlopCounterMode(display=False) as torch_counter, torch.no_grad():
            copy.deepcopy(model).to("meta").eval()(torch.zeros(1, *shape, device="meta"))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    assert counted.multiply_accumulates == torch_counter.get_total_flops() // 2 > 0
    assert not counted.uncounted


def old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning):
        model = nn.utils.weight_norm(nn.Linear(8, 4))
    model(torch.zeros(1, 8))  # leaves a weight with a graph
    return model


BY_FORMULA: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "a bias counts one per output": (lambda: nn.Linear(8, 3), (5, 8), 5 * (8 * 3 + 3)),
    "so it does by keywords": (lambda: Own(lambda x, w: F.linear(input=x, weight=w, bias=w[0])), (5, 8), 5 * 72),
    "that of a convolution does not": (lambda: nn.Conv2d(3, 4, 1), (3, 2, 2), 4 * 12),
    "matrix times vector": (lambda: Own(lambda x, w: x @ w[0]), (5, 8), 40),
    "bilinear": (lambda: Own(lambda x, w: F.bilinear(x, x, w[None])), (8,), 64 + 8),
    "old weight norm": (old_weight_norm, (8,), 36),
    "normalising a weight is done once per batch": (
        lambda: Own(lambda x, w: x @ (w @ w) / torch.linalg.vector_norm(w)),
        (5, 8),
        5 * 64,
    ),
    "encoder layer with biases": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        (5, 8),
        5 * (8 * 24 + 24 + 8 * 8 + 8 + 8 * 16 + 16 + 16 * 8 + 8) + 2 * 5 * 5 * 8,
    ),
    "recurrence with biases": (lambda: nn.LSTM(8, 4, batch_first=True), (5, 8), 5 * (16 * 9 + 16 * 5)),
}


@pytest.mark.parametrize("name", BY_FORMULA)
def test_conventions_are_those_of_published_figures(name: str) -> None:
    make, shape, expected = BY_FORMULA[name]
    assert cost(make(), shape).multiply_accumulates == expected


def masked(x: Tensor, w: Tensor) -> Tensor:
    """A mask on the default device, one on the host that is looked at, and a buffer that is filled in place."""
    seen = torch.triu(torch.ones(x.shape[1], x.shape[1]), 1).bool() | (torch.arange(x.shape[1]) < 0)
    hosted = torch.tensor([[False] * x.shape[1]] * x.shape[1], device="cpu")
    if seen.any() and not hosted.any():
        scores = (x @ x.transpose(1, 2)).masked_fill(seen | hosted, -1e9)
    filled = torch.zeros(x.shape[0], x.shape[1], 8)
    filled[:, :, :4] = (scores.softmax(-1) @ x)[:, :, :4]
    return filled @ w


def looking(x: Tensor, w: Tensor) -> Tensor:
    return x if float(x.sum()) > 1 else x @ w


def through_the_host(x: Tensor, w: Tensor) -> Tensor:
    return x.cpu().double().float() @ w


@pytest.mark.parametrize(
    ("function", "expected"), [(masked, 2 * 5 * 5 * 8 + 5 * 64), (looking, 5 * 64), (through_the_host, 5 * 64)]
)
def test_constants_and_values_in_forward_do_not_stop_the_count(
    function: Callable[[Tensor, Tensor], Tensor], expected: int
) -> None:
    assert cost(Own(function), (5, 8)).multiply_accumulates == expected


def test_what_no_rule_counts_is_named() -> None:
    counted = cost(Own(lambda x, w: torch.fft.rfft(x).abs()[..., :4] @ w[:4]), (8,))
    assert counted.uncounted == ("_fft_r2c",)
    assert counted.to_json()["uncounted"] == ["_fft_r2c"]
    assert "uncounted" not in cost(nn.Linear(2, 2), (2,)).to_json()


def test_tied_tables_count_once() -> None:
    counted = cost(TiedTable(), (5,), integers=True)
    assert counted.parameters == 88
    assert counted.multiply_accumulates == 5 * 88
    space = sw.elastic(TiedTable(), {"table": sw.width([2, 4, 8])}, example=torch.zeros(2, 5, dtype=torch.long))
    prices = SupernetCost(space, (5,), integers=True)
    assert [prices.parameters(a) for a in (space.smallest, space.largest)] == [22, 88]


def test_double_precision_and_low_precision_are_counted_alike() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        assert cost(nn.Linear(3, 2).to(dtype), (3,)) == cost(nn.Linear(3, 2), (3,))
