"""Language models as spaces: published counts, the laws, and what a mixture of sizes of heads computes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.cost import SupernetCost, cost
from sharewise.cost.count import Tracer
from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS, build
from sharewise.run import build_supernet
from sharewise.space import Architecture, largest, smallest
from sharewise.spaces import SPACES, load
from sharewise.spaces.language_model.network import Heads
from sharewise.supernet import Gate, discrete, networks_of
from sharewise.testing import check_method, check_model, check_supernet
from sharewise.testing.small import MACRO, small_supernet

SMALL = "language-model:embedding=8,12,16:layers=1,2:heads=2,4:mlp_ratio=2,3"
NEOX = "hw-gpt-bench:S:embedding=8,12:layers=1,2:heads=1,2:mlp_ratio=2,3"


def parameters(space: str, architecture: str | Architecture, length: int, vocabulary: int) -> dict[str, int]:
    """Sizes of the parameters of a plain network, which is not made but on the device of shapes alone."""
    found, named = networks_of(load(space)), load(space)
    with torch.device("meta"):
        network = found.plain(named.own(architecture), (length,), vocabulary, found.options())
    assert cost(network, (length,), integers=True).parameters == sum(p.numel() for p in network.parameters())
    return {name: parameter.numel() for name, parameter in network.named_parameters()}


@pytest.mark.parametrize(
    ("architecture", "stated"),
    [
        ("768-3x12-4x12-4x12-4x12-4x12-4x12-4x12", 87_010_560),  # the best of TangleNAS, printed as 87.01 M
        ("768-3x6-4x8-4x12-4x6-4x8-4x12-4x6", 87_010_560),  # heads change no parameter
        ("largest", 88_190_208),
        ("smallest", 25_219_200),
    ],
)
def test_parameters_as_tanglenas_counts_them_without_positions(architecture: str, stated: int) -> None:
    sizes = parameters("language-model", architecture, 224, 50_304)
    assert sum(sizes.values()) - sizes["positions.weight"] == stated


def test_the_best_language_model_of_tanglenas_with_positions() -> None:
    best = "768-3x12-4x12-4x12-4x12-4x12-4x12-4x12"
    assert sum(parameters("language-model", best, 224, 50_304).values()) == 87_182_592


def test_sizes_of_spaces_are_counted_exactly() -> None:
    assert load("language-model").size == 16_120_377
    per_layer = 9
    for name, depths in {"S": (10, 11, 12), "M": (22, 23, 24), "L": (34, 35, 36)}.items():
        assert load(f"hw-gpt-bench:{name}").size == 3 * 2 * sum(per_layer**depth for depth in depths)


@pytest.mark.parametrize(
    ("size", "with_bias", "without", "least"),
    [
        ("S", 123_651_072, 123_568_128, 13_097_472),
        ("M", 353_771_520, 353_550_336, 30_189_568),
        ("L", 772_715_520, 772_300_800, 52_334_080),
    ],
)
def test_parameters_of_hw_gpt_bench(size: str, with_bias: int, without: int, least: int) -> None:
    name, space = f"hw-gpt-bench:{size}", load(f"hw-gpt-bench:{size}")
    most = largest(space)
    assert most["bias"] is True
    assert sum(parameters(name, most, 1024, 50_254).values()) == with_bias
    assert sum(parameters(name, str(most).replace("-bias", ""), 1024, 50_254).values()) == without
    assert sum(parameters(name, smallest(space), 1024, 50_254).values()) == least


@pytest.mark.parametrize(
    ("space", "network"),
    [(SMALL, {"dropout": 0.2}), (SMALL, {"bias": True}), (NEOX, {"head_size": 4, "dropout": 0.1})],
)
def test_the_laws_hold(space: str, network: dict[str, Any]) -> None:
    supernet = build_supernet(space, (6,), 7, network=network)
    check_supernet(supernet, torch.randint(7, (3, 6), generator=torch.Generator().manual_seed(0)), samples=3)


@pytest.mark.parametrize("space", [SMALL, NEOX])
def test_strings_round_trip(space: str) -> None:
    named = load(space)
    for index in range(0, named.size, 7):
        architecture = named.listing.at(index)
        assert named.parse(str(architecture)) == architecture
    with pytest.raises(ConfigurationError, match=r"is not an architecture of space .* such as 768-3x12"):
        named.parse("12-2x")


def test_heads_that_do_not_divide_an_embedding_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="heads must divide every embedding, but 5 does not divide 12"):
        load("language-model:embedding=10,12:heads=5:layers=1")


def scores_of(supernet: Any, tokens: Tensor, sizes: dict[int, float], heads: dict[int, float]) -> Tensor:
    """What one layer's attention gives under a mixture, written out from the definition."""
    network = supernet.double().eval()
    layer = network.layers[0]
    survival = sum(g * (torch.arange(16) < size).double() for size, g in sizes.items())
    x = network.tokens(tokens) + network.positions(torch.arange(tokens.shape[1]))
    mean = (survival * x).sum(-1, keepdim=True) / survival.sum()
    variance = (survival * (x - mean) ** 2).sum(-1, keepdim=True) / survival.sum()
    normal = (x - mean) / (variance + 1e-5).sqrt() * layer.attention_norm.weight
    q, k, v = (F.linear(normal, part.weight * survival) for part in (layer.attention.query, layer.attention.key,
                                                                     layer.attention.value))  # fmt: skip
    total = torch.zeros_like(v)
    mask = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).tril()
    for number, weight in heads.items():
        out = torch.zeros_like(v)
        for head in range(number):
            mine = torch.arange(16) % number == head
            logits = sum(
                g * (q * (torch.arange(16) < size) * mine) @ k.transpose(1, 2) / math.sqrt(size / number)
                for size, g in sizes.items()
            )
            attention = logits.masked_fill(~mask, -math.inf).softmax(-1)
            out = out + attention @ (v * mine)
        total = total + weight * out
    return F.linear(total, layer.attention.project.weight * survival)


def test_a_mixture_superposes_scores_of_sizes_and_outputs_of_heads() -> None:
    supernet = build_supernet("language-model:embedding=8,16:layers=1:heads=2,4:mlp_ratio=2", (5,), 7, seed=3)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.mul_(20 if parameter.dim() == 2 else 1)  # scores far from zero
    supernet = supernet.double().eval()
    tokens = torch.randint(7, (2, 5), generator=torch.Generator().manual_seed(1))
    gates = {d.name: Gate(torch.ones(d.size, dtype=torch.float64), (0,), unit=True)
             for d in supernet.relaxation.decisions}  # fmt: skip
    gates["embedding"] = Gate(torch.tensor([0.3, 0.7], dtype=torch.float64), (0, 1))
    gates["heads_1"] = Gate(torch.tensor([0.6, 0.4], dtype=torch.float64), (0, 1))
    found: list[Tensor] = []
    handle = supernet.layers[0].attention.register_forward_hook(  # type: ignore[index, union-attr]
        lambda module, inputs, output: found.append(output)
    )
    with torch.no_grad():
        supernet(tokens, gates)
        handle.remove()
        expected = scores_of(supernet, tokens, {8: 0.3, 16: 0.7}, {2: 0.6, 4: 0.4})
    torch.testing.assert_close(found[0], expected, rtol=1e-10, atol=1e-12)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> sw.data.Dataset:
    file = tmp_path_factory.mktemp("text") / "play.txt"
    file.write_text("to be, or not to be, that is the question. " * 40)
    return sw.data.text(file, length=5).limited(64, seed=0)


@pytest.mark.parametrize("method", ["spos", *(name for name in METHODS if name.startswith("tanglenas"))])
def test_methods_keep_their_contract_on_language_models(method: str, text: sw.data.Dataset) -> None:
    check_method(build(method), load(SMALL), text, network={"dropout": 0.1})


@pytest.mark.parametrize("name", ["language-model", "hw-gpt-bench:S"])
def test_the_price_of_a_mixture_is_what_its_pass_executes(name: str) -> None:
    supernet, generator = small_supernet(name)[0], torch.Generator().manual_seed(0)
    shape = MACRO[name].input_shape
    costs, tracer = SupernetCost(supernet, shape, integers=True), Tracer(supernet)
    for _ in range(4):
        gates = {}
        for decision in supernet.relaxation.decisions:
            drawn = torch.rand(decision.size, generator=generator) < 0.7
            active = tuple(drawn.nonzero().flatten().tolist()) or (0,)
            weights = torch.zeros(decision.size)
            weights[list(active)] = 1 / len(active)
            gates[decision.name] = Gate(weights, active)
        counted = tracer(tracer.example(shape, integers=True), gates, gates=[gate.weights for gate in gates.values()])
        assert costs.of(gates) == counted.multiply_accumulates


class Split(nn.Module):
    """A user's attention with any number of heads of the same features, and layers with biases that may go."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        n, length, _ = q.shape
        q, k, v = (x.view(n, length, -1, self.heads).permute(0, 3, 1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).permute(0, 2, 3, 1).reshape(n, length, -1)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, 16) for _ in range(3))
        self.split, self.out = Split(), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.split(self.q(x), self.k(x), self.v(x))) + x
        return outputs


def test_a_users_own_model_has_settings_and_biases_that_may_be_absent() -> None:
    sizes = sw.width([8, 12, 16], name="inner")
    choices = {
        "q": [sizes, sw.present(name="bias")],
        "v": sizes,
        "out": sw.present("bias", name="last"),
        "split": sw.setting("heads", [1, 2, 4], name="heads"),
    }
    supernet = sw.elastic(Model(), choices, example=torch.randn(2, 3, 6))
    check_model(supernet)
    a = supernet.space.architecture({"inner": 12, "bias": 0, "last": 1, "heads": 2})
    small = sw.extract(supernet, a)
    assert (small.q.bias, small.out.bias is None, small.split.heads) == (None, False, 2)  # type: ignore[union-attr]
    assert small.k.weight.shape == (12, 6)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"split": sw.setting("heads", [2, 8])}, "largest setting of 'heads' at 'split' must be the module's own, 4"),
        ({"split": sw.present("bias")}, r"'split' \(Split\) has no parameter 'bias' .* it has: none"),
        ({"split": sw.setting("heads", [3, 4]), "q": sw.width([8, 16])}, "'split'"),
    ],
)
def test_what_cannot_be_set_is_named(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        sw.elastic(Model(), choices, example=torch.randn(2, 3, 6))


def test_attention_with_two_sizes_of_heads_in_one_module_is_refused() -> None:
    class Twice(Split):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return super().forward(q, k, v) + super().forward(k, q, v)

    model = Model()
    model.split = Twice()
    with pytest.raises(ConfigurationError, match="attention is computed more than once in 'split'"):
        sw.elastic(model, {"q": sw.width([8, 16]), "v": sw.width([8, 16])}, example=torch.randn(2, 3, 6))


def test_every_small_search_decodes_to_a_member() -> None:
    supernet = build_supernet(SMALL, (6,), 7)
    for text in ("8-2x2", "16-3x4-2x2"):
        a = supernet.space.parse(text)
        assert supernet.relaxation.project(supernet.relaxation.encode(a)) == a
        gates = discrete(supernet.relaxation.encode(a))
        assert supernet.eval()(torch.zeros(1, 6, dtype=torch.long), gates).shape == (1, 6, 7)
    assert {"language-model", "hw-gpt-bench:S", "hw-gpt-bench:M", "hw-gpt-bench:L"} <= set(SPACES)


@pytest.mark.parametrize("heads", [1, 2])
def test_heads_lie_as_the_kernels_of_a_device_ask(heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those for float32 read the stride of a single head, too, and find no kernel where it is 1."""
    seen: list[Tensor] = []

    def attention(q: Tensor, *others: Any, **options: Any) -> Tensor:
        seen.append(q)
        return q

    monkeypatch.setattr(F, "scaled_dot_product_attention", attention)
    x = torch.arange(2 * 3 * 8.0).view(2, 3, 8)
    assert torch.equal(Heads(heads, 0.0)(x, x, x), x)
    [q] = seen
    assert q.shape == (2, heads, 3, 8 // heads)
    assert heads > 1 or q.stride(1) % 4 == 0
