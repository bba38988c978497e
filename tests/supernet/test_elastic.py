"""A model of one's own: what follows from a choice, what a mixture is, what is refused, and that every method runs."""

from __future__ import annotations

import copy
import itertools
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS, build
from sharewise.supernet import Gate, discrete, extract
from sharewise.supernet.elastic.dimensions import Dimensions, FixedDimensionError
from sharewise.testing import check_method, check_model, check_relaxation, check_space, check_supernet, randomise_norms


class Dense(nn.Module):
    """A convolutional network in which every layer reads all that came before."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.layers = nn.ModuleList(nn.Conv2d(8 + 4 * i, 4, 3, padding=1) for i in range(2))
        self.norm = nn.BatchNorm2d(16)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=8)
        self.group_norm = nn.GroupNorm(4, 16)
        self.slope = nn.PReLU(16)
        self.classifier = nn.Linear(16 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        seen = [self.stem(x)]
        for layer in self.layers:
            seen.append(torch.relu(layer(torch.cat(seen, dim=1))))
        x = self.slope(self.group_norm(self.grouped(self.norm(torch.cat(seen, 1)))))
        return self.classifier(F.adaptive_avg_pool2d(x, 2).flatten(1))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3)
        self.head = nn.Linear(16, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(tokens)).mean(1))


class Attention(nn.Module):
    """As in many tutorials: sizes are attributes, queries, keys and values come from one layer."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.n_head, self.n_embd = heads, features
        self.c_attn = nn.Linear(features, 3 * features)
        self.c_proj = nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        q, k, v = (t.view(n, length, self.n_head, self.n_embd // self.n_head).transpose(1, 2) for t in (q, k, v))
        scores = (q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5
        mask = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        y = scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(n, length, self.n_embd))


class Block(nn.Module):
    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attn = Attention(features, heads)
        self.mlp = nn.Sequential(nn.Linear(features, 2 * features), nn.GELU(), nn.Linear(2 * features, features))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, features: int = 16, heads: int = 4, blocks: int = 3) -> None:
        super().__init__()
        self.n_layer = blocks
        self.wte = nn.Embedding(11, features)
        self.wpe = nn.Parameter(0.1 * torch.randn(8, features))
        self.blocks = nn.ModuleList(Block(features, heads) for _ in range(blocks))
        self.ln_f = nn.LayerNorm(features)
        self.head = nn.Linear(features, 11, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe[: tokens.shape[1]]
        for i in range(self.n_layer):
            x = self.blocks[i](x)
        return self.head(self.ln_f(x))


def dense() -> sw.ElasticModel:
    torch.manual_seed(0)
    choices = {"stem": sw.width([4, 8]), "layers.*": sw.width([4]), "grouped": sw.kernel([1, 3])}
    return sw.elastic(Dense(), choices, example=torch.randn(3, 1, 8, 8))


def encoder() -> sw.ElasticModel:
    torch.manual_seed(0)
    choices = {"encoder.layers.*.linear1": sw.width([8, 16, 32]), "encoder.layers.*": sw.depth([1, 2, 3])}
    return sw.elastic(Encoder(), choices, example=torch.randint(0, 20, (3, 7)))


def gpt() -> sw.ElasticModel:
    torch.manual_seed(0)
    choices = {
        "blocks.*": sw.depth([1, 2, 3], name="depth"),
        "blocks.*.attn": sw.heads([1, 2, 4]),
        "blocks.*.mlp": sw.width([8, 32]),
    }
    return sw.elastic(GPT(), choices, example=torch.randint(0, 11, (3, 8)))


@pytest.mark.parametrize(
    "build_model", [dense, encoder, gpt], ids=["concatenations", "transformer-encoder", "tied-gpt"]
)
def test_the_laws_hold(build_model: object) -> None:
    supernet = build_model()  # type: ignore[operator]
    check_space(supernet.space, samples=10)
    check_relaxation(supernet.space, samples=10)
    report = check_model(supernet, samples=4)
    assert report.original
    assert report.continuity <= 1e-12
    assert report.parameters[1] < report.parameters[0]
    check_supernet(supernet, supernet.example, samples=2)


def test_an_embedding_width_runs_through_norms_heads_and_the_tied_embedding() -> None:
    class Wide(GPT):
        def forward(self, tokens: Tensor) -> Tensor:
            x = self.wte(tokens) + self.wpe[: tokens.shape[1]]
            for block in self.blocks:
                x = x + block.mlp(block.ln_1(x))
            return self.head(self.ln_f(x))

    torch.manual_seed(0)
    example = torch.randint(0, 11, (3, 8))
    supernet = sw.elastic(Wide(), {"wte": sw.width([4, 8, 16], name="features")}, example=example)
    check_model(supernet, samples=3)
    check_supernet(supernet, example, samples=3)
    small = extract(supernet, supernet.space.architecture({"features": 4}))
    assert small.head.weight is small.wte.weight
    assert small.wte.weight.shape == (11, 4)
    assert small.wpe.shape == (8, 4)
    assert (small.ln_f.normalized_shape, small.wte.embedding_dim, small.head.in_features) == ((4,), 4, 4)
    optimizer = torch.optim.SGD(small.parameters(), 0.1)
    small(example).square().mean().backward()
    optimizer.step()
    assert small.head.weight is small.wte.weight


def test_hard_coded_sizes_are_adjusted() -> None:
    supernet = gpt()
    small = extract(supernet, supernet.smallest)
    attention = small.blocks[0].attn
    assert (attention.n_head, attention.n_embd, small.n_layer) == (1, 4, 1)
    assert attention.c_attn.weight.shape == (12, 16)
    assert supernet.model.blocks[0].attn.n_head == 4
    rows = torch.cat([torch.arange(start, start + 4) for start in (0, 16, 32)])
    assert torch.equal(attention.c_attn.weight, supernet.model.blocks[0].attn.c_attn.weight[rows])
    again = extract(supernet, supernet.largest)
    assert (again.blocks[0].attn.n_head, again.n_layer, len(again.blocks)) == (4, 3, 3)


def test_concatenations_slice_in_the_middle() -> None:
    supernet = dense()
    small = extract(supernet, supernet.space.architecture({**supernet.largest, "stem_width": 4}))
    kept = torch.cat([torch.arange(4), torch.arange(8, 16)])
    assert torch.equal(small.norm.weight, supernet.model.norm.weight[kept])
    assert torch.equal(small.layers[1].weight, supernet.model.layers[1].weight[:, kept[:8]])
    assert (small.grouped.groups, small.group_norm.num_groups, small.slope.num_parameters) == (6, 3, 12)


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.norm, self.leave = nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(torch.tanh(self.norm(self.enter(x))))


def naive(supernet: sw.ElasticModel, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Σ over all combinations of options of the product of their weights and the output of their slice."""
    decisions = supernet.relaxation.decisions
    total: Tensor | None = None
    for indices in itertools.product(*(range(d.size) for d in decisions)):
        encoding = {
            d.name: tuple(float(i == j) for j in range(d.size)) for d, i in zip(decisions, indices, strict=True)
        }
        weight = torch.stack([weights[d.name][i] for d, i in zip(decisions, indices, strict=True)]).prod()
        term = weight * supernet(x, discrete(encoding, dtype=x.dtype))
        total = term if total is None else total + term
    assert total is not None
    return total


def mixtures() -> list[tuple[sw.ElasticModel, Tensor]]:
    torch.manual_seed(0)
    x, image = torch.randn(4, 3), torch.randn(4, 2, 7, 7)
    chosen = nn.Sequential(
        nn.Linear(3, 4), sw.Choose([nn.ReLU(), nn.Tanh(), nn.Linear(4, 4)], name="o"), nn.Linear(4, 2)
    )
    blocks = nn.Sequential(*(nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(3)))
    convolution = nn.Conv2d(2, 3, 5, padding=2)
    return [
        (sw.elastic(Hidden(), {"enter": sw.width([1, 2, 4, 6], name="h")}, example=x), x),
        (sw.elastic(chosen, example=x), x),
        (sw.elastic(nn.Sequential(blocks, nn.Linear(3, 2)), {"0.*": sw.depth([0, 1, 3], name="d")}, example=x), x),
        (sw.elastic(nn.Sequential(convolution), {"0": sw.kernel([1, 3, 5], name="k")}, example=image), image),
    ]


@pytest.mark.parametrize("which", range(4), ids=["hidden width behind a norm", "module", "depth", "kernel"])
def test_a_mixture_is_the_weighted_sum_of_its_slices(which: int) -> None:
    supernet, x = mixtures()[which]
    supernet = supernet.double().eval()
    randomise_norms(supernet, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    results = []
    raw = {d.name: torch.rand(d.size, generator=generator, dtype=torch.float64) for d in supernet.relaxation.decisions}
    for mixed in (True, False):
        weights = {name: (w / w.sum()).requires_grad_() for name, w in raw.items()}
        supernet.zero_grad()
        gates = {name: Gate(w, tuple(range(len(w)))) for name, w in weights.items()}
        output = supernet(x.double(), gates) if mixed else naive(supernet, x.double(), weights)
        output.square().sum().backward()
        gradients = [p.grad for p in supernet.parameters() if p.grad is not None]
        results.append([output, *[w.grad for w in weights.values()], *gradients])
    # The naive form scales the reader's bias by the sum of the gates as well. That is one; its gradient is the same for
    # every option and moves no distribution whose gates sum to one.
    for result in results:
        result[1] = result[1] - result[1].mean()
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_two_decisions_that_meet_in_a_concatenation_multiply() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.cat([self.a(x), self.b(x)], -1).relu())

    torch.manual_seed(0)
    x = torch.randn(5, 3, dtype=torch.float64)
    supernet = sw.elastic(Two().double(), {"a": sw.width([1, 4]), "b": sw.width([2, 4])}, example=x)
    weights = {"a_width": torch.tensor([0.3, 0.7]).double(), "b_width": torch.tensor([0.6, 0.4]).double()}
    gates = {name: Gate(w, (0, 1)) for name, w in weights.items()}
    torch.testing.assert_close(supernet(x, gates), naive(supernet, x, weights))


def test_layer_norm_weighs_its_statistics_by_survival() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    randomise_norms(model, torch.Generator().manual_seed(0))
    supernet = sw.elastic(model, {"0": sw.width([1, 2, 4], name="h")}, example=x)
    g = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    s = torch.tensor([1.0, 0.8, 0.3, 0.3], dtype=torch.float64)
    h = model[0](x)
    mean = (h * s).sum(-1, keepdim=True) / s.sum()
    variance = ((h - mean) ** 2 * s).sum(-1, keepdim=True) / s.sum()
    y = (h - mean) / (variance + 1e-5).sqrt() * model[1].weight + model[1].bias
    expected = F.linear(y, model[2].weight * s, model[2].bias)
    torch.testing.assert_close(supernet(x, {"h": Gate(g, (0, 1, 2))}), expected)


def test_the_published_form_scales_what_is_written_and_what_is_read() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 2)).double()
    randomise_norms(model, torch.Generator().manual_seed(0))
    x = torch.randn(5, 3, dtype=torch.float64)
    choices = {"0": sw.width([1, 2, 4], name="h"), "2": sw.width([2, 4], name="o")}
    supernet = sw.elastic(model, choices, example=x, published=True)
    s = torch.tensor([1.0, 0.8, 0.3, 0.3], dtype=torch.float64)
    t = torch.tensor([1.0, 1.0, 0.6, 0.6], dtype=torch.float64)
    first, norm, second, last = model
    y = F.layer_norm(F.linear(x, first.weight * s[:, None], first.bias * s), (4,), norm.weight * s, norm.bias * s)
    y = F.linear(F.linear(y, second.weight * t[:, None] * s, second.bias * t), last.weight * t, last.bias)
    gates = {
        "h": Gate(torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), (0, 1, 2)),
        "o": Gate(torch.tensor([0.4, 0.6], dtype=torch.float64), (0, 1)),
    }
    torch.testing.assert_close(supernet(x, gates), y)
    assert not torch.allclose(sw.elastic(model, choices, example=x)(x, gates), y)
    check_supernet(supernet, x, samples=3)


def test_the_original_is_never_touched_and_inherited_exactly() -> None:
    torch.manual_seed(0)
    model, x = Hidden().train(), torch.randn(8, 3)
    before = copy.deepcopy(model.state_dict())
    supernet = sw.elastic(model, {"enter": sw.width([2, 6], name="h")}, example=x)
    assert model.training
    assert supernet.training
    for architecture in (supernet.smallest, supernet.largest):
        supernet(x, discrete(supernet.relaxation.encode(architecture)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    gates = discrete(supernet.relaxation.encode(supernet.largest))
    with torch.no_grad():
        assert torch.equal(supernet.eval()(x, gates), supernet.model(x))


def test_modules_are_always_unbound() -> None:
    class Failing(Hidden):
        fails = False

        def forward(self, x: Tensor) -> Tensor:
            if self.fails:
                raise RuntimeError("broken within")
            return super().forward(x)

    x = torch.randn(4, 3)
    supernet = sw.elastic(Failing(), {"enter": sw.width([2, 6], name="h")}, example=x)
    weight, gates = supernet.model.enter.weight, discrete({"h": (1.0, 0.0)})
    supernet.model.fails = True
    with pytest.raises(RuntimeError, match="broken within"):
        supernet(x, gates)
    assert supernet.model.enter.weight is weight
    assert (supernet.model.enter.out_features, supernet.model.norm.num_features) == (6, 6)
    blocks = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    supernet = sw.elastic(blocks, {"*": sw.depth([1, 2], name="d")}, example=x)
    supernet(x, discrete({"d": (0.5, 0.5)}))
    assert "forward" not in vars(supernet.model[0])
    choose = sw.Choose([nn.ReLU(), nn.Tanh()], name="o")
    with pytest.raises(ConfigurationError, match="outside of an elastic model"):
        choose(x)


def test_statistics_of_slices_are_updated_in_place() -> None:
    supernet = dense().train()
    small = supernet.space.architecture({**supernet.largest, "stem_width": 4})
    before = supernet.model.norm.running_mean.clone()
    supernet(supernet.example, discrete(supernet.relaxation.encode(small)))
    changed = supernet.model.norm.running_mean != before
    assert changed.tolist() == [True] * 4 + [False] * 4 + [True] * 8


def test_elastic_layers_and_choose_need_no_patterns() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        sw.ElasticConv2d(1, sw.width([2, 4, 8], name="c"), sw.kernel([1, 3], name="k")),
        nn.BatchNorm2d(8),
        sw.Choose({"relu": nn.ReLU(), "deep": nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())}, name="o"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    supernet = sw.elastic(model, example=torch.randn(2, 1, 8, 8))
    check_model(supernet, samples=4)
    check_supernet(supernet, supernet.example)
    network = extract(supernet, supernet.space.architecture({"c": 2, "k": 1, "o": "relu"}))
    assert [type(module) for module in network][:3] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    embedding = nn.Sequential(sw.ElasticEmbedding(5, sw.width([2, 4], name="e")), nn.Linear(4, 3))
    check_model(sw.elastic(embedding, example=torch.tensor([[0, 1], [2, 3]])), samples=2)


class Step(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.linear, self.activation = nn.Linear(8, 8), activation

    def forward(self, x: Tensor) -> Tensor:
        return x + self.activation(self.linear(x))


class Row(nn.Module):
    """Blocks with names of their own, one after the other."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.enter = nn.Linear(3, 8)
        self.body = nn.Sequential(OrderedDict((f"block{i}", Step(activation or nn.Tanh())) for i in range(3)))
        self.leave = nn.Linear(8, 2)

    def steps(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.steps(self.enter(x)))


class RowTwice(Row):
    def steps(self, x: Tensor) -> Tensor:
        return self.body(self.body(x))


class SharedChoose(Row):
    def __init__(self) -> None:
        super().__init__(sw.Choose([nn.ReLU(), nn.Tanh()], name="activation"))


class TwoNames(nn.Module):
    """One layer, which knows its size, under two names."""

    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.size, self.linear = 6, nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x.view(-1, self.size)).relu()

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.first, self.leave = nn.Linear(3, 6), self.Sized(), nn.Linear(6, 2)
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x).relu()
        return self.leave(self.second(self.second(x)) + x)


class SharedNorm(nn.Module):
    """A norm without weights, over two dimensions of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.middle, self.leave = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.norm = nn.LayerNorm(6, elementwise_affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.norm(self.middle(self.norm(self.enter(x)).relu())))


class Excited(nn.Module):
    """Squeeze and excitation, a norm of groups, cumulative statistics, a depthwise convolution beside its input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=None)
        self.squeeze, self.excite = nn.Linear(8, 2), nn.Linear(2, 8)
        self.depthwise, self.groups = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.GroupNorm(4, 8)
        self.drop, self.leave = nn.Dropout2d(0.3), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x * self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]
        return self.leave((x + self.drop(self.groups(self.depthwise(x)))).mean((2, 3)))


class Sinusoids(nn.Module):
    """Buffers that are as wide as the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.norm, self.leave = nn.Embedding(11, 8), nn.RMSNorm(8), nn.Linear(8, 2)
        self.register_buffer("kept", torch.randn(9, 8))
        self.register_buffer("made", torch.randn(9, 8), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        return self.leave(self.norm(self.wte(tokens) + self.kept[:length] + self.made[:length]).mean(1))


UNUSUAL = [
    (Row, {"body.*": sw.depth([0, 1, 3])}, torch.randn(4, 3)),
    (RowTwice, {"body.*": sw.depth([1, 2, 3])}, torch.randn(4, 3)),
    (SharedChoose, {}, torch.randn(4, 3)),
    (TwoNames, {"enter": sw.width([2, 6])}, torch.randn(4, 3)),
    (SharedNorm, {"enter": sw.width([2, 6])}, torch.randn(4, 3)),
    (Excited, {"stem": sw.width([2, 6, 8])}, torch.randn(3, 1, 8, 8)),
    (Sinusoids, {"wte": sw.width([2, 4, 8])}, torch.randint(0, 11, (3, 8))),
]


@pytest.mark.parametrize(("model", "choices", "example"), UNUSUAL, ids=lambda value: getattr(value, "__name__", ""))
def test_the_laws_hold_for_unusual_models(model: type[nn.Module], choices: dict[str, object], example: Tensor) -> None:
    torch.manual_seed(0)
    supernet = sw.elastic(model(), choices, example=example)  # type: ignore[arg-type]
    check_model(supernet, samples=3)
    check_supernet(supernet, example, samples=1)


@pytest.mark.parametrize("example", [torch.randn(4, 4, 16), torch.randn(1, 4, 16)], ids=["four of four", "one"])
def test_layers_that_start_as_zero_hide_no_wrong_size(example: Tensor) -> None:
    """Heads can be cut in a wrong way that no shape tells, and that only what follows would show."""

    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n_head, self.qkv, self.projection = 4, nn.Linear(16, 48), nn.Linear(16, 16)
            nn.init.zeros_(self.projection.weight)

        def forward(self, x: Tensor) -> Tensor:
            n, length, _ = x.shape
            q, k, v = (t.view(n, length, self.n_head, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            return x + self.projection(y)

    torch.manual_seed(0)
    model = nn.Sequential(Silent(), nn.Linear(16, 3), nn.Flatten())
    supernet = sw.elastic(model, {"0": sw.heads([1, 2, 4], name="heads")}, example=example)
    assert extract(supernet, supernet.smallest)[0].n_head == 1
    assert not supernet.model[0].projection.weight.any()
    check_model(supernet, samples=3)


def test_attributes_of_equal_ends_are_told_apart() -> None:
    class Equal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n_b, self.n_a = 6, 6
            self.a, self.b, self.leave = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.leave(self.b(self.a(x).view(-1, self.n_a)).view(-1, self.n_b))

    supernet = sw.elastic(Equal(), {"a": sw.width([2, 3, 6]), "b": sw.width([2, 4, 6])}, example=TABLE)
    small = extract(supernet, supernet.space.architecture({"a_width": 3, "b_width": 4}))
    assert (small.n_a, small.n_b) == (3, 4)


@pytest.mark.parametrize(
    "activation", [nn.Hardswish(), nn.Hardswish(inplace=True), nn.LogSigmoid(), nn.FeatureAlphaDropout(), nn.Mish()]
)
def test_activations_are_followed(activation: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(3, 6), activation, nn.Linear(6, 2))
    check_model(sw.elastic(model, {"0": sw.width([2, 6])}, example=TABLE), samples=2)


def test_models_of_low_precision_are_followed() -> None:
    model = nn.Sequential(nn.Linear(3, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 2)).bfloat16()
    check_model(sw.elastic(model, {"0": sw.width([4, 16])}, example=torch.randn(4, 3).bfloat16()), samples=2)


def test_training_from_scratch_forgets_attention() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.mlp(self.attention(x, x, x)[0].mean(1))

    supernet = sw.elastic(Attending(), {"mlp": sw.width([2, 6])}, example=torch.randn(2, 5, 8))
    with torch.no_grad():
        supernet.model.attention.in_proj_weight.fill_(7.0)
    network = sw.build_network(supernet.smallest, supernet.space, (5, 8), 2)
    assert not (network.attention.in_proj_weight == 7).any()


def test_choices_of_blocks_that_are_not_executed_do_not_count() -> None:
    supernet = gpt()
    names = [choice.name for choice in supernet.space.choices if choice.condition is None]
    assert names == ["depth", "blocks_0_attn_heads", "blocks_0_mlp_width"]
    assert supernet.space.size == 6 + 6**2 + 6**3
    shallow = supernet.space.architecture({"depth": 1, "blocks_0_attn_heads": 1, "blocks_0_mlp_width": 8})
    assert len(extract(supernet, shallow).blocks) == 1


class Functional(GPT):
    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(self.ln_f(self.wte(tokens)), self.wte.weight)


class Summed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 6), nn.Linear(3, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(x.new_zeros(1), self.a(x), self.b(x).T)


class Fixed64(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(3, 64), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.enter(x).view(-1, 64))


class Unknown(Hidden):
    def forward(self, x: Tensor) -> Tensor:
        return self.leave(torch.linalg.qr(self.enter(x)).Q[:, :1].expand(-1, 6))


class Halved(Row):
    def steps(self, x: Tensor) -> Tensor:
        for block in self.body:
            x = 0.5 * block(x)
        return x


class Doubled(Row):
    def steps(self, x: Tensor) -> Tensor:
        for block in self.body:
            x = block(block(x))
        return x


class Backwards(Row):
    def steps(self, x: Tensor) -> Tensor:
        for block in reversed(self.body):
            x = block(x)
        return x


class LateSize(Row):
    """Only the last block has a size in its code."""

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 6), nn.Linear(6, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).view(-1, 6))

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), self.Fixed())


class TwoDimensions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv1d(1, 3, 1), nn.Conv1d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x[:, None])
        return self.leave(F.layer_norm(y, y.shape[1:]))[:, 0]


class Masked(Encoder):
    def forward(self, tokens: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(8)
        return self.head(self.encoder(self.embed(tokens), mask=mask).mean(1))


class Rolled(Hidden):
    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.enter(x).roll(1))


TABLE, TOKENS = torch.randn(4, 3), torch.randint(0, 11, (3, 8))
REFUSED = [
    (Hidden, {"entry": sw.width([2, 6])}, TABLE, r"unknown module pattern 'entry'; did you mean 'enter'\?"),
    (Hidden, {"enter": sw.width([2, 5])}, TABLE, "largest width of 'enter' must be the model's own, 6, got 5"),
    (Hidden, {"leave": sw.width([1, 2])}, TABLE, "leave.weight cannot shrink: it is the output of the model"),
    (Hidden, {"norm": sw.width([2, 6])}, TABLE, "'norm' .BatchNorm1d. has no layer whose width could be chosen"),
    (Hidden, {}, TABLE, "nothing is chosen"),
    (Hidden, {"enter": [2, 6]}, TABLE, r"must be width\(\[…\]\)"),
    (Hidden, {"enter": sw.kernel([1, 3])}, TABLE, "a kernel is chosen for convolutions"),
    (Hidden, {"enter": sw.depth([0, 1])}, TABLE, "depth is chosen for the last modules of an nn.ModuleList"),
    (GPT, {"blocks.*": sw.depth([1, 2])}, TOKENS, "largest depth of 'blocks' must be the number of its blocks, 3"),
    (GPT, {"blocks.0.attn": sw.heads([3, 5])}, TOKENS, "number of heads of 'blocks.0.attn' must be the model's own"),
    (GPT, {"blocks.*.attn": sw.heads([3, 5])}, TOKENS, r"got 5 \(and so in 2 more blocks\)$"),
    (GPT, {"blocks.0.attn.c_attn": sw.width([24, 48])}, TOKENS, "blocks.0.attn"),
    (Encoder, {"encoder.layers.*.self_attn": sw.heads([1, 2])}, TOKENS, "write the attention with linear layers"),
    (Functional, {"wte": sw.width([8, 16])}, TOKENS, "'wte.weight' is read in 'the model' and used otherwise in 'wte'"),
    (Summed, {"a": sw.width([2, 6])}, TABLE, "sums over it without weights"),
    (Encoder, {"encoder.layers.0.self_attn": sw.heads([1, 2])}, TOKENS, "no heads can be chosen at 'encoder.layers.0"),
    (Masked, {"encoder.layers.*": sw.depth([1, 3])}, TOKENS, "cannot be traced: torch.export says in 'encoder'"),
    (Halved, {"body.*": sw.depth([1, 3])}, TABLE, "happens between blocks that a depth counts"),
    (Doubled, {"body.*": sw.depth([1, 3])}, TABLE, "block 0 of 'body' is executed where block 1 should follow"),
    (Backwards, {"body.*": sw.depth([1, 3])}, TABLE, "block 2 of 'body' is executed where block 0 should follow"),
    (LateSize, {"body.*": sw.depth([1, 2]), "body.1.a": sw.width([2, 6])}, TABLE, "fails in 'body.1'"),
    (
        TwoDimensions,
        {"enter": sw.width([2, 3])},
        TABLE,
        "in the model .TwoDimensions. normalises over it; use the layer",
    ),
    (Rolled, {"enter": sw.width([2, 6])}, TABLE, "roll in the model .Rolled. runs along it"),
    (Fixed64, {"enter": sw.width([32, 64])}, TABLE, "A size is written into the model's code"),
    (Unknown, {"enter": sw.width([2, 6])}, TABLE, "aten.linalg_qr in the model .Unknown. is not one"),
]


@pytest.mark.parametrize(("model", "choices", "example", "message"), REFUSED)
def test_what_cannot_be_followed_is_refused_by_name(
    model: type[nn.Module], choices: dict[str, object], example: Tensor, message: str
) -> None:
    torch.manual_seed(0)
    with pytest.raises(ConfigurationError, match=message):
        sw.elastic(model(), choices, example=example)  # type: ignore[arg-type]


def test_options_are_checked() -> None:
    for make, options, message in (
        (sw.width, [4, 2], "ascending"),
        (sw.depth, 3, r"depth\(\[2, 4\]\), got 3"),
        (sw.width, [], "ascending"),
        (sw.width, [0, 2], "at least 1"),
        (sw.width, [0.5, 1], "integers"),
        (sw.kernel, [2, 3], "all are odd or all even"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            make(options)  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match="identifier"):
        sw.width([2], name="a b")
    with pytest.raises(ConfigurationError, match=r"needs an example of the arguments of Hidden: .* got a list"):
        sw.elastic(Hidden(), {"enter": sw.width([2, 6])}, example=[[1.0, 2.0, 3.0]])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="at least one module"):
        sw.Choose([])
    shared = {"enter": sw.width([2, 6], name="w"), "leave": sw.width([1, 2], name="w")}
    with pytest.raises(ConfigurationError, match="offer different options"):
        sw.elastic(Hidden(), shared, example=TABLE)
    with pytest.raises(ConfigurationError, match=r"has no active option"):
        sw.elastic(Hidden(), {"enter": sw.width([2, 6], name="h")}, example=TABLE)(
            TABLE, {"h": Gate(torch.zeros(2), ())}
        )


@given(data=st.data())
@settings(max_examples=40)
def test_closures_are_the_least_that_must_die(data: st.DataObject) -> None:
    """Rows of queries, keys and values that are cut into heads: brute force over all rows."""
    heads, size = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    dimensions = Dimensions()
    rows = dimensions.new(2 * heads * size, "rows")
    parts = [dimensions.new(heads * size, f"part {i}") for i in range(2)]
    head, inner = dimensions.new(heads, "heads"), dimensions.new(size, "size")
    for i, part in enumerate(parts):
        dimensions.part(rows, range(i * heads * size, (i + 1) * heads * size), part)
        dimensions.product(part, (head, inner), "attention")
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=heads, max_size=heads)))
    if not keep.any():
        with pytest.raises(FixedDimensionError, match="nothing would be left"):
            dimensions.closure({head: keep})
        return
    alive = dimensions.closure({head: keep})
    expected = [keep[row % (heads * size) // size] for row in range(2 * heads * size)]
    assert alive.get(rows, np.ones(2 * heads * size, dtype=bool)).tolist() == expected
    assert inner not in alive
    if size > 1 and heads > 1:
        odd = np.ones(2 * heads * size, dtype=bool)
        odd[0] = False
        with pytest.raises(FixedDimensionError, match="do not fit"):
            dimensions.closure({rows: odd})


@pytest.mark.sweep(2)
@pytest.mark.parametrize("method", [name for name in METHODS if not build(name).network])  # partial channels need cells
def test_every_method_runs_on_a_model_of_ones_own(method: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 8),
        nn.LayerNorm(8),
        nn.Sequential(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)), nn.Linear(8, 8)),
        sw.Choose([nn.ReLU(), nn.Tanh()], name="activation"),
        nn.Linear(8, 10),
    )
    choices = {"1": sw.width([4, 8], name="features"), "3.*": sw.depth([1, 2], name="depth"), "3.0": sw.width([4, 16])}
    supernet = sw.elastic(model, choices, example=torch.randn(2, 1, 8, 8))
    check_method(build(method), supernet.space, sw.data.digits().limited(64, seed=0))


def test_a_search_in_a_folder_is_resumed_and_its_result_trained(tmp_path: object) -> None:
    supernet, data = dense(), sw.data.digits().limited(96, seed=0)
    recipe = sw.methods.tanglenas_gaea(epochs=2, batch_size=16)
    whole = sw.search(supernet, recipe, data, device="cpu", out=f"{tmp_path}/run")
    again = sw.search(supernet, recipe, data, device="cpu", out=f"{tmp_path}/run", resume=True)
    assert again.architecture == whole.architecture
    for name, value in whole.supernet.state_dict().items():
        assert torch.equal(value, again.supernet.state_dict()[name])
    assert all(torch.equal(a, b) for a, b in zip(supernet.parameters(), dense().parameters(), strict=True))
    trained = sw.train(supernet, whole.architecture, data, max_steps=2, device="cpu", evaluate_on_test=False)
    assert isinstance(trained.network, Dense)
    with pytest.raises(ConfigurationError, match=r"inputs of shape \(1, 8, 8\)"):
        sw.search(supernet, recipe, data.resized(16), device="cpu")


def test_a_frozen_layer_stays_frozen_through_extraction_and_counts_as_such() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    model[1].requires_grad_(False)
    space = sw.elastic(model, {"1": sw.width([8, 16])}, example=torch.randn(2, 1, 8, 8))
    for width in (8, 16):
        network = sw.extract(space, space.space.architecture({"layer_1_width": width}))
        assert [p.requires_grad for p in network.parameters()] == [False, False, True, True]
        assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 10 * width + 10
