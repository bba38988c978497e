"""What follows a choice by what it computes, and what a mixture is there: the weighted sum that its definition says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.errors import ConfigurationError, SharewiseWarning
from sharewise.supernet import Gate, extract
from sharewise.testing import check_model, check_supernet

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
S = torch.tensor([1.0, 1.0, 0.4, 0.4], dtype=torch.float64)
"""Survival of four positions, of which two are alone with weight 0.6."""


class Between(nn.Module):
    """Something between two layers."""

    def __init__(self, function: Callable[[Tensor], Tensor], leave: nn.Module) -> None:
        super().__init__()
        self.enter, self.function, self.leave = nn.Linear(3, 4), function, leave

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.function(self.enter(x)))


class HandMadeNorm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(size) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class ChannelNorm(nn.LayerNorm):
    """Of a class of its own, with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


def _layer_norm(h: Tensor, s: Tensor) -> Tensor:
    mean = (h * s).sum(-1, keepdim=True) / s.sum()
    return (h - mean) * torch.rsqrt(((h - mean).square() * s).sum(-1, keepdim=True) / s.sum() + 1e-5)


def _read(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, nn.Linear], Tensor]:
    """The definition where a linear layer reads what the function returns."""
    return lambda h, s, leave: F.linear(function(h, s), leave.weight * s, leave.bias)


DEFINITIONS: dict[str, tuple[Callable[[Tensor], Tensor], nn.Module, Callable[[Tensor, Tensor, nn.Module], Tensor]]] = {
    "sum": (lambda h: h.sum(-1, keepdim=True), nn.Identity(), lambda h, s, leave: (h * s).sum(-1, keepdim=True)),
    "mean": (
        lambda h: h.mean(-1, keepdim=True),
        nn.Identity(),
        lambda h, s, _: (h * s).sum(-1, keepdim=True) / s.sum(),
    ),
    "product": (lambda h: h @ h.T, nn.Identity(), lambda h, s, _: (h * s) @ h.T),
    "einsum": (lambda h: torch.einsum("id,jd->ij", h, h), nn.Identity(), lambda h, s, _: (h * s) @ h.T),
    "length": (
        lambda h: torch.linalg.vector_norm(h, dim=-1, keepdim=True),
        nn.Identity(),
        lambda h, s, _: (h.square() * s).sum(-1, keepdim=True).sqrt(),
    ),
    "variance": (
        lambda h: h.var(-1, keepdim=True, unbiased=False),
        nn.Identity(),
        lambda h, s, _: ((h - (h * s).sum(-1, keepdim=True) / s.sum()).square() * s).sum(-1, keepdim=True) / s.sum(),
    ),
    "softmax": (
        lambda h: h.softmax(-1),
        nn.Linear(4, 2),
        _read(lambda h, s: h.exp() * s / (h.exp() * s).sum(-1, keepdim=True)),
    ),
    "unit length": (
        lambda h: F.normalize(h, dim=-1),
        nn.Linear(4, 2),
        _read(lambda h, s: h / (h.square() * s).sum(-1, keepdim=True).sqrt()),
    ),
    "functional layer norm": (lambda h: F.layer_norm(h, h.shape[-1:]), nn.Linear(4, 2), _read(_layer_norm)),
    "one group": (lambda h: F.group_norm(h, 1), nn.Linear(4, 2), _read(_layer_norm)),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_mixture_weighs_what_is_summed_over(name: str) -> None:
    torch.manual_seed(0)
    function, leave, definition = DEFINITIONS[name]
    model = Between(function, leave).double()
    supernet = sw.elastic(model, {"enter": sw.width([2, 4], name="h")}, example=X)
    gates = {"h": Gate(torch.tensor([0.6, 0.4], dtype=torch.float64), (0, 1))}
    torch.testing.assert_close(supernet(X, gates), definition(model.enter(X), S, model.leave))
    check_model(supernet, samples=2)


@pytest.mark.parametrize("norm", [HandMadeNorm(4), ChannelNorm(4), nn.GroupNorm(1, 4), nn.RMSNorm(4)])
def test_norms_are_known_by_what_they_compute(norm: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 2))
    supernet = sw.elastic(model, {"0": sw.width([2, 4])}, example=X.float())
    check_model(supernet, samples=2)
    check_supernet(supernet, X.float(), samples=2)
    small = extract(supernet, supernet.smallest)
    assert all(2 in parameter.shape for parameter in small[1].parameters())


def test_a_weight_is_scaled_once_where_a_spectral_norm_reads_it_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2))).double().eval()
    supernet = sw.elastic(model, {"0": sw.width([2, 4], name="h")}, example=X).eval()
    norm = model[1].parametrizations.weight[0]
    weight = model[1].parametrizations.weight.original
    sigma = norm._u @ ((weight * S) @ norm._v)
    expected = F.linear(model[0](X), weight * S / sigma, model[1].bias)
    gates = {"h": Gate(torch.tensor([0.6, 0.4], dtype=torch.float64), (0, 1))}
    torch.testing.assert_close(supernet(X, gates), expected)


def test_sums_run_again_in_a_backward_pass_are_weighed_alike() -> None:
    """A module that is run by itself counts its own calls."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.norm, self.leave = nn.Linear(3, 4), HandMadeNorm(4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.enter(x)
            y = torch.utils.checkpoint.checkpoint(self.norm, h, use_reentrant=False) if self.training else self.norm(h)
            return self.leave(self.norm(y) + h.mean(-1, keepdim=True))

    torch.manual_seed(0)
    supernet = sw.elastic(Twice().double(), {"enter": sw.width([2, 4], name="h")}, example=X)
    gradients = []
    for training in (True, False):
        supernet.train(training).zero_grad()
        generator = torch.Generator().manual_seed(0)
        with supernet.sample(generator):
            supernet(X).square().sum().backward()
        gradients.append([p.grad.clone() for p in supernet.parameters() if p.grad is not None])
    for checkpointed, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)


class Attended(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attention = nn.Embedding(11, 16), nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm, self.leave = nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        return self.leave(self.norm(x + self.attention(x, x, x)[0]))


TOKENS = torch.randint(0, 11, (3, 5), generator=torch.Generator().manual_seed(0))


def test_heads_of_torchs_attention_follow_its_width() -> None:
    torch.manual_seed(0)
    supernet = sw.elastic(Attended(), {"embed": sw.width([4, 8, 16])}, example=TOKENS)
    check_model(supernet, samples=3)
    check_supernet(supernet, TOKENS, samples=2)
    attention = extract(supernet, supernet.smallest).attention
    assert (attention.embed_dim, attention.num_heads, attention.head_dim) == (4, 1, 4)
    assert (attention.in_proj_weight.shape, attention.out_proj.in_features) == ((12, 4), 4)


def test_widths_are_rounded_to_what_heads_and_groups_allow() -> None:
    torch.manual_seed(0)
    with pytest.warns(SharewiseWarning, match=r"\[6, 16\] of 'embed' are rounded to \[8, 16\]"):
        supernet = sw.elastic(Attended(), {"embed": sw.width([6, 16])}, example=TOKENS)
    assert supernet.relaxation.decisions[0].options == (8, 16)
    model = nn.Sequential(nn.Conv1d(2, 12, 1), nn.GroupNorm(4, 12), nn.Conv1d(12, 2, 1))
    with pytest.warns(SharewiseWarning, match=r"rounded to \[3, 6, 12\]"):
        sw.elastic(model, {"0": sw.width([2, 5, 12])}, example=torch.randn(2, 2, 4))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: object) -> None:
        super().__init__()
        self.rnn = kind(3, 6, 2, batch_first=True, **options)
        self.leave = nn.Linear(self.rnn.hidden_size * (2 if self.rnn.bidirectional else 1), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.rnn(x)[0])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, pytest.param(nn.RNN, marks=pytest.mark.slow)])
def test_the_hidden_width_of_recurrences(kind: type[nn.RNNBase], bidirectional: bool) -> None:
    torch.manual_seed(0)
    example = torch.randn(2, 4, 3)
    supernet = sw.elastic(Recurrent(kind, bidirectional=bidirectional), {"rnn": sw.width([2, 4, 6])}, example=example)
    check_model(supernet, samples=3)
    small = extract(supernet, supernet.smallest)
    assert small.rnn.hidden_size == 2
    before = [parameter.clone() for parameter in small.parameters()]
    optimizer = torch.optim.SGD(small.parameters(), 0.1)
    small(example).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, small.parameters(), strict=True))
    torch.testing.assert_close(small.rnn(example)[0], type(small.rnn).forward(small.rnn, example)[0])
    assert all(a is b for a, b in zip(small.rnn._flat_weights, small.rnn.parameters(), strict=True))


class Gated(nn.Module):
    def __init__(self, cut: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.enter, self.cut, self.leave = nn.Linear(3, 12), cut, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.cut(self.enter(x)))


def _halves(y: Tensor) -> Tensor:
    a, b = y.chunk(2, -1)
    return a * b.sigmoid()


@pytest.mark.parametrize(
    "cut", [F.glu, _halves, lambda y: y.unflatten(-1, (2, -1)).prod(-2)], ids=["glu", "chunk", "view"]
)
def test_halves_that_are_multiplied_shrink_together(cut: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    supernet = sw.elastic(Gated(cut), {"enter": sw.width([4, 12])}, example=X.float())
    check_model(supernet, samples=2)
    small = extract(supernet, supernet.smallest)
    assert torch.equal(small.enter.weight, supernet.model.enter.weight[[0, 1, 6, 7]])


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_transposed_convolutions(groups: int) -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 8, 1), nn.ConvTranspose2d(8, 4, 2, stride=2, groups=groups), nn.Conv2d(4, 2, 1)
    supernet = sw.elastic(nn.Sequential(*layers), {"0": sw.width([4, 8])}, example=torch.randn(2, 2, 4, 4))
    check_model(supernet, samples=2)
    check_supernet(supernet, torch.randn(2, 2, 4, 4), samples=2)


def test_an_impossible_choice_names_what_would_work() -> None:
    from sharewise.space import Choice, Space
    from sharewise.supernet.elastic import elastic_networks

    def network(architecture: object, shape: object, outputs: int, options: object) -> nn.Module:
        width = architecture["width"]  # type: ignore[index]
        return nn.Sequential(nn.Conv2d(1, width, 1), nn.GroupNorm(width // 4, width), nn.Conv2d(width, outputs, 1))

    networks = elastic_networks(network, lambda space, options: {"0": sw.width(space["width"].options, name="width")})
    space = Space("odd", (Choice("width", (6, 16)),), networks=networks)
    with pytest.raises(ConfigurationError, match=r"sizes that work there: 4, 8, 12"):
        networks.supernet(space, (1, 4, 4), 2, networks.options())


def test_rows_of_a_matrix_are_read_as_the_matrix_is() -> None:
    """Torch's attention splits its matrix where keys are not queries; experts are picked from one tensor."""

    class Crossed(Attended):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.Parameter(torch.randn(2, 16, 16))

        def forward(self, tokens: Tensor) -> Tensor:
            x, memory = self.embed(tokens), self.embed(tokens.flip(1))
            y = self.attention(x, memory, memory, need_weights=False)[0]
            return self.leave(self.norm(x + y) @ self.experts[1] @ self.experts[0])

    torch.manual_seed(0)
    supernet = sw.elastic(Crossed(), {"embed": sw.width([8, 16])}, example=TOKENS)
    check_model(supernet, samples=2)
    assert "attention.in_proj_weight" in supernet._execution.analysis.readers


def test_the_width_of_a_tied_module_that_does_not_run_itself() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.embed, self.leave = nn.Embedding(11, 8), nn.Embedding(11, 8), nn.Linear(8, 3)
            self.embed.weight = self.shared.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.leave(self.embed(tokens).mean(1))

    supernet = sw.elastic(Tied(), {"shared": sw.width([4, 8])}, example=TOKENS)
    check_model(supernet, samples=2)
    small = extract(supernet, supernet.smallest)
    assert small.shared.weight is small.embed.weight
    assert small.embed.embedding_dim == 4


@pytest.mark.parametrize("name", ["shared", "reader.embed", "*.embed"])
@pytest.mark.parametrize("first", ["shared", "reader"])
def test_a_module_that_is_registered_twice_is_chosen_by_either_name(name: str, first: str) -> None:
    class Reader(nn.Module):
        def __init__(self, embed: nn.Module) -> None:
            super().__init__()
            self.embed, self.mix = embed, nn.Linear(8, 8)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.embed(tokens) + self.mix(self.embed(tokens)).relu()

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            embed = nn.Embedding(11, 8)
            parts = {"shared": embed, "reader": Reader(embed)}
            for part in (first, *(parts.keys() - {first})):
                self.add_module(part, parts[part])
            self.leave = nn.Linear(8, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.leave(self.reader(tokens).mean(1))

    torch.manual_seed(0)
    choices = {name: sw.width([4, 8], name="width")}
    supernet = sw.elastic(Twice(), choices, example=TOKENS)
    check_model(supernet, samples=2)
    small = extract(supernet, supernet.smallest)
    assert small.shared is small.reader.embed
    assert small.shared.weight.shape == (11, 4)


def test_an_output_that_nothing_reads_may_be_left_out() -> None:
    class Telling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.leave = nn.Embedding(11, 8), nn.Linear(8, 3)

        def forward(self, tokens: Tensor) -> dict[str, Tensor]:
            hidden = self.embed(tokens)
            return {"hidden": hidden, "scores": self.leave(hidden.mean(1))}

    class Quiet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Telling()

        def forward(self, tokens: Tensor) -> Tensor:
            return self.model(tokens)["scores"]

    torch.manual_seed(0)
    with pytest.raises(ConfigurationError, match=r"output \['hidden'\] of the model, which returns several; where"):
        sw.elastic(Telling(), {"embed": sw.width([4, 8])}, example=TOKENS)
    check_model(sw.elastic(Quiet(), {"model.embed": sw.width([4, 8])}, example=TOKENS), samples=2)
