"""Vision transformers as spaces: published counts, the laws, and the equations of their attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sharewise.cli import main
from sharewise.cost import cost
from sharewise.errors import ConfigurationError
from sharewise.run import build_network, build_supernet
from sharewise.space import largest, smallest
from sharewise.spaces import load
from sharewise.spaces.vision_transformer.network import HEAD, Attention, Network, drop_path, rows_of_tables
from sharewise.spaces.vision_transformer.space import AUTOFORMER, Layers
from sharewise.spaces.vision_transformer.supernet import patch_of
from sharewise.supernet import export, extract
from sharewise.testing import check_relaxation, check_space, check_supernet

SMALL = "vision-transformer-tiny:embedding=8,12:layers=1,2:heads=1,2:mlp_ratio=1.5,2"


def parameters(embedding: int, layers: Layers) -> int:
    ratios, heads = zip(*layers, strict=True)
    with torch.device("meta"):
        network = Network(embedding, ratios, heads, (3, 224, 224), 1000, 16)
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("size", "stated"), [("tiny", 5_867_944), ("small", 22_891_432), ("base", 53_691_688)])
def test_published_subnets(size: str, stated: int) -> None:
    """Counted on the plain network: three layers of the tiny one have a ratio that its space does not offer."""
    assert parameters(*AUTOFORMER[size]) == stated
    space = load(f"vision-transformer-{size}")
    assert set(space.named) == (set() if size == "tiny" else {f"autoformer_{size}"})
    if size != "tiny":
        with torch.device("meta"):
            network = build_network(space.parse(f"autoformer_{size}"), space, (3, 224, 224), 1000)
        assert cost(network, (3, 224, 224)).parameters == stated


def test_the_published_tiny_subnet_is_no_member_of_its_space() -> None:
    embedding, layers = AUTOFORMER["tiny"]
    text = "-".join([str(embedding), *(f"{ratio:g}x{heads}" for ratio, heads in layers)])
    with pytest.raises(ConfigurationError, match=r"^choice 'mlp_ratio_3' has no option 3.0; legal: 3.5, 4.0$"):
        load("vision-transformer-tiny").parse(text)
    assert str(load("vision-transformer-tiny:mlp_ratio=3,3.5,4").parse("autoformer_tiny")) == text


def test_supernets_of_the_authors_and_the_ends_of_the_spaces() -> None:
    assert parameters(256, ((4.0, 4),) * 14) == 11_669_224
    assert parameters(448, ((4.0, 7),) * 14) == 34_790_440
    assert parameters(640, ((4.0, 10),) * 16) == 80_160_360
    for size, ends in {
        "tiny": (5_366_056, 10_517_272),
        "small": (13_057_320, 34_790_440),
        "base": (41_687_896, 76_882_264),
    }.items():
        space = load(f"vision-transformer-{size}")
        with torch.device("meta"):
            networks = [build_network(end(space), space, (3, 224, 224), 1000) for end in (smallest, largest)]
        assert tuple(sum(p.numel() for p in network.parameters()) for network in networks) == ends


def test_sizes_of_spaces() -> None:
    assert load("vision-transformer-tiny").size == 3 * sum(4**depth for depth in (12, 13, 14)) == 1_056_964_608
    assert load("vision-transformer-small").size == 3 * sum(9**depth for depth in (12, 13, 14))
    assert load("vision-transformer-base").size == 3 * sum(6**depth for depth in (14, 15, 16))
    assert load("vision-transformer-base:heads=8,9,10").size == 3 * sum(9**depth for depth in (14, 15, 16))


@pytest.mark.parametrize("name", ["vision-transformer-tiny", SMALL])
def test_the_laws_of_the_space(name: str) -> None:
    check_space(load(name), samples=10)
    check_relaxation(load(name), samples=10)


@pytest.mark.parametrize("text", ["", "192", "192-4", "192-4x", "-4x3", "192-4x3-", "a-4x3", "192 4x3", "9" * 200])
def test_other_strings_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected its features, then ratio and heads of every layer"):
        load("vision-transformer-tiny").parse(text)


@pytest.mark.parametrize("network", [{}, {"published": True, "dropout": 0.1, "attention_dropout": 0.1}])
def test_the_laws_of_the_supernet(network: dict[str, Any]) -> None:
    supernet = build_supernet(load(SMALL), (3, 4, 6), 5, network={"patch_size": 2, "stochastic_depth": 0.3, **network})
    check_supernet(supernet, torch.randn(4, 3, 4, 6, generator=torch.Generator().manual_seed(0)))


def test_a_single_head_leaves_nothing_to_choose() -> None:
    space = load("vision-transformer-tiny:embedding=8,12:layers=1:heads=1:mlp_ratio=1")
    supernet = build_supernet(space, (1, 4, 4), 5, network={"patch_size": 2})
    assert [decision.size for decision in supernet.relaxation.decisions] == [1, 2, 1, 1]
    check_supernet(supernet, torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)))


def test_heads_and_hidden_features_are_leading_slices() -> None:
    """Rows i, i + 3, i + 6, … of a fused layer are queries, keys and values; so leading rows are the first heads."""
    supernet = build_supernet(load(SMALL), (1, 4, 4), 5, network={"patch_size": 2})
    network = extract(supernet, "8-1.5x1-2x2")
    whole, part = supernet.state_dict(), network.state_dict()
    assert set(whole) == set(part)
    for name, value in part.items():
        assert torch.equal(value, whole[name][tuple(slice(size) for size in value.shape)])
    assert part["layers.0.attention.qkv.weight"].shape == (3 * HEAD, 8)
    assert part["layers.0.perceptron.0.weight"].shape == (12, 8)
    assert part["layers.1.attention.qkv.bias"].shape == (2 * 3 * HEAD,)


def test_attention_by_its_equations() -> None:
    """Head by head and pair by pair."""
    torch.manual_seed(0)
    attention = Attention(6, 2, 0.0, 0.0).double().eval()
    for table in (attention.of_keys, attention.of_values):
        nn.init.normal_(table.vertical)
        nn.init.normal_(table.horizontal)
    vertical, horizontal = rows_of_tables(2, 3, torch.device("cpu"))
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    rows = attention.qkv(x)
    expected = torch.zeros(2, 7, 2 * HEAD, dtype=torch.float64)
    for head in range(2):
        first = 3 * HEAD * head
        q, k, v = (rows[..., first + part : first + 3 * HEAD : 3] for part in range(3))
        for i in range(7):
            keys, values = k.clone(), v.clone()
            for j in range(7):
                place = _row(i, j, 2), _row(i, j, 3, column=True)
                keys[:, j] += attention.of_keys.vertical[place[0]] + attention.of_keys.horizontal[place[1]]
                values[:, j] += attention.of_values.vertical[place[0]] + attention.of_values.horizontal[place[1]]
            weights = ((keys @ q[:, i, :, None]).squeeze(-1) / 8).softmax(-1)
            expected[:, i, HEAD * head : HEAD * (head + 1)] = (weights[..., None] * values).sum(1)
    torch.testing.assert_close(attention(x, vertical, horizontal), attention.project(expected))


def _row(i: int, j: int, extent: int, *, column: bool = False) -> int:
    """Of a table, for token j as seen from token i, in an image of 2 × 3 patches; row 0 is for the class token."""
    if i == 0 or j == 0:
        return 0
    a, b = ((token - 1) % extent if column else (token - 1) // 3 for token in (i, j))
    return b - a + 15


def test_patches_farther_apart_than_fourteen_share_a_row() -> None:
    _, horizontal = rows_of_tables(1, 20, torch.device("cpu"))
    assert horizontal[1, 1:].tolist() == [*range(15, 30), *[29] * 5]
    assert horizontal[20, 1:].tolist() == [*[1] * 5, *range(1, 16)]
    assert not horizontal[0].any()
    assert not horizontal[:, 0].any()


def test_patches_follow_the_image() -> None:
    for shape, patch in {(224, 224): 16, (64, 64): 8, (32, 32): 4, (28, 28): 4, (8, 8): 1, (14, 28): 2}.items():
        assert patch_of(*shape) == patch
    space = load(SMALL)
    network = build_network(smallest(space), space, (1, 14, 28), 3)
    assert network.get_parameter("positions").shape == (1, 7 * 14 + 1, 8)
    with pytest.raises(ConfigurationError, match="must divide the height and width of images, 9 and 9, got 2"):
        build_network(smallest(space), space, (1, 9, 9), 3, network={"patch_size": 2})
    with pytest.raises(ConfigurationError, match=r"take images of shape \(channels, height, width\)"):
        build_network(smallest(space), space, (9,), 3)
    for name, value in (("stochastic_depth", 1.0), ("dropout", -0.1), ("patch_size", 0)):
        with pytest.raises(ConfigurationError, match=f"network option {name}"):
            build_network(smallest(space), space, (1, 8, 8), 3, network={name: value})


def test_paths_are_dropped_by_the_place_of_a_layer_in_the_deepest_network() -> None:
    space = load(SMALL)
    rates = [
        [layer.drop_path for layer in build_network(a, space, (1, 8, 8), 3, network={"stochastic_depth": 0.2}).layers]
        for a in (space.parse("8-2x1"), space.parse("8-2x1-2x1"))
    ]
    assert rates == [[0.0], [0.0, 0.2]]
    torch.manual_seed(0)
    kept = drop_path(torch.ones(10_000, 2, 1), 0.2)
    assert set(kept.flatten().tolist()) == {0.0, 1.25}
    assert torch.equal(kept[:, 0], kept[:, 1]), "whole examples"
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.02)


def images() -> Tensor:
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_programs_of_an_extracted_network(tmp_path: Path) -> None:
    network = extract(build_supernet(load(SMALL), (1, 8, 8), 3, network={"patch_size": 4}), "12-2x1-1.5x2").eval()
    export(network, tmp_path / "pt", format="torch-export", example=images()[:2])
    program = torch.export.load(tmp_path / "pt" / "model.pt2").module()
    torch.testing.assert_close(program(images()), network(images()))
    export(network, tmp_path / "source")
    runtime = pytest.importorskip("onnxruntime", reason="the optional packages of ONNX are not installed")
    pytest.importorskip("onnxscript", reason="the optional packages of ONNX are not installed")
    export(network, tmp_path / "onnx", format="onnx", example=images()[:2])
    session = runtime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: images().numpy()})
    torch.testing.assert_close(torch.from_numpy(output), network(images()).detach(), rtol=1e-4, atol=1e-5)


def test_a_search_a_training_and_an_evaluation_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = "--embedding 8,12 --layers 1,2 --heads 1,2 --mlp-ratio 1.5,2 --patch-size 4"
    data = "--data digits --train-examples 64 --device cpu"
    method = "--method autoformer --batch-size 16 --generations 2 --population 4 --min-parameters 30000"
    words = f"search --space vision-transformer-tiny {sizes} {method} {data} --max-steps 2 --out {tmp_path / 's'}"
    assert main(words.split()) == 0
    found = json.loads((tmp_path / "s" / "result.json").read_text(encoding="utf-8"))
    assert found["budget"]["max_parameters"]["spent"] >= found["budget"]["max_parameters"]["least"] == 30_000
    trained = f"train --from-search {tmp_path / 's'} --optimizer adamw --max-steps 2 --out {tmp_path / 't'}"
    assert main(trained.split()) == 0
    assert main(f"evaluate {tmp_path / 't'}".split()) == 0
    capsys.readouterr()
    assert main(["space", "vision-transformer-tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == 1_056_964_608
