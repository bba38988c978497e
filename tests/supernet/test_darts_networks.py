"""The plain network of DARTS cells: what tells its forms apart, and what a supernet hands down to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.space import sample
from sharewise.spaces import load
from sharewise.spaces.darts.network import AuxiliaryHead, FactorizedReduce, Network, Noise, operation
from sharewise.supernet import export, networks_of

SMALL = {"channels": 2, "layers": 3}


def plain(name: str = "DARTS_V2", side: int = 8, **options: object) -> Network:
    networks = networks_of(load("darts"))
    built = networks.plain(load("darts").parse(name), (3, side, side), 4, networks.configure({**SMALL, **options}))
    assert isinstance(built, Network)
    return built


def images(n: int = 3, side: int = 8) -> torch.Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_a_cell_is_its_equation() -> None:
    """The last normal cell of DARTS_V2, written out."""
    network = plain(layers=5).double().eval()
    cell = network.cells[2]
    before, last = (torch.randn(2, *shape, dtype=torch.float64) for shape in ((8, 8, 8), (16, 4, 4)))
    x0, x1 = cell.preprocess0(before), cell.preprocess1(last)
    e = cell.edges
    n2 = e["0_2"](x0) + e["1_2"](x1)
    n3 = e["0_3"](x0) + e["1_3"](x1)
    n4 = x0 + e["1_4"](x1)
    n5 = x0 + e["2_5"](n2)
    assert {name: type(edge) for name, edge in e.items()}["0_4"] is nn.Identity
    assert torch.equal(cell(before, last), torch.cat([n2, n3, n4, n5], 1))


@pytest.mark.parametrize("shape", [(8, 8), (9, 8), (7, 5), (1, 1)])
def test_every_operation_halves_every_image_alike(shape: tuple[int, int]) -> None:
    x = torch.randn(2, 4, *shape)
    wanted = (2, 4, -(-shape[0] // 2), -(-shape[1] // 2))
    for name in (*load("darts").relaxation.decisions[0].options[1:], "noise"):
        assert operation(str(name), 4, 2)(x).shape == wanted, name
        assert operation(str(name), 4, 1)(x).shape == x.shape, name


def test_factorised_reduction_reads_the_odd_and_the_even_pixels() -> None:
    layer = FactorizedReduce(1, 2)
    for conv in (layer.first, layer.second):
        nn.init.ones_(conv.weight)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.equal(layer(x), torch.cat([x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]], 1))
    odd = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert layer(odd)[0, 1].tolist() == [[4.0, 0.0], [0.0, 0.0]]


def test_average_pooling_leaves_the_border_out() -> None:
    pool = operation("avg_pool_3x3", 1, 1)
    assert torch.equal(pool(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_the_published_form_has_scales_and_no_norm_after_pools() -> None:
    space = load("darts")
    supernet = sw.build_supernet(space, (3, 8, 8), 4, network=SMALL)
    architecture = space.parse("DARTS_V1")
    extracted, published = sw.extract(supernet, architecture), plain("DARTS_V1")
    pools = [name for name, module in extracted.named_modules() if isinstance(module, nn.MaxPool2d | nn.AvgPool2d)]
    assert pools
    norms = {name.rpartition(".")[0] + ".1" for name in pools}
    assert all(isinstance(extracted.get_submodule(name), nn.BatchNorm2d) for name in norms)
    assert not any(isinstance(m, nn.BatchNorm2d) and m.affine for m in extracted.cells.modules())
    assert all(m.affine for m in published.cells.modules() if isinstance(m, nn.BatchNorm2d))
    ends = [m for edge in published.cells.modules() if isinstance(edge, nn.ModuleDict) for m in edge.values()]
    assert any(isinstance(m, nn.MaxPool2d) for m in ends)


def test_paths_are_dropped_while_training_and_skips_are_not() -> None:
    network = plain(layers=4)
    x = images(8)
    network.set_drop_path(0.0)
    whole = network(x)
    network.set_drop_path(0.9)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.allclose(network(x)[:1], whole[:1])
    network.eval()
    assert torch.equal(network(x), network(x))
    skips = "Genotype(normal={0}, normal_concat=range(2, 6), reduce={0}, reduce_concat=range(2, 6))".format(
        "[" + ", ".join(["('skip_connect', 0), ('skip_connect', 1)"] * 4) + "]"
    )
    only = plain(skips)
    only.set_drop_path(0.9)
    normal, reduction = only.cells[0], only.cells[1]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = torch.get_rng_state()
        normal(torch.randn(4, 6, 8, 8, generator=torch.Generator()), torch.zeros(4, 6, 8, 8))
        assert torch.equal(torch.get_rng_state(), state), "the identity is no path that is dropped"
        reduction(torch.zeros(4, 6, 8, 8), torch.zeros(4, 8, 8, 8))
        assert not torch.equal(torch.get_rng_state(), state), "a skip of stride 2 has weights, and is dropped"


def test_auxiliary_heads() -> None:
    """That of ImageNet lacks its second norm, as the published experiments do."""
    for stem, side, norms in (("cifar", 8, 2), ("imagenet", 7, 1)):
        head = AuxiliaryHead(4, 5, stem)
        assert sum(isinstance(m, nn.BatchNorm2d) for m in head.modules()) == norms
        assert head(torch.randn(2, 4, side, side)).shape == (2, 5)
    network = plain(side=32, layers=5)
    whole = Network(**{**network.configuration, "auxiliary": True})
    assert [out.shape for out in whole(images(2, 32))] == [(2, 4), (2, 4)]
    assert whole.eval()(images(2, 32)).shape == (2, 4)
    assert whole.second_reduction == 3


@pytest.mark.parametrize("side", [16, 28, 48])
def test_an_auxiliary_head_is_refused_before_training(side: int) -> None:
    data = sw.data.load("digits", image_size=side)
    recipe = sw.TrainingRecipe(epochs=1, auxiliary_weight=0.4)
    with pytest.raises(ConfigurationError, match=rf"needs features of 8x8, .* images of {side}x{side} give"):
        sw.train("darts", "DARTS_V2", data, training=recipe, network=SMALL, device="cpu")


def test_noise_is_noise_while_training_and_a_function_afterwards() -> None:
    noise = Noise(2)
    x = torch.zeros(64, 4, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = noise(x)
        assert not torch.equal(first, noise(x))
        torch.manual_seed(0)
        assert torch.equal(first, noise(x + 1)), "the input is not read"
    assert first.shape == (64, 4, 4, 4)
    assert abs(float(first.mean())) < 0.05
    assert abs(float(first.std()) - 1) < 0.05
    state = torch.get_rng_state()
    noise.eval()
    assert torch.equal(noise(x), noise(x + 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(noise(x).unique()) > 4000


@pytest.mark.parametrize("fmt", ["source", "torch-export"])
@pytest.mark.parametrize("name", ["darts", "darts:fair"])
def test_networks_are_exported_as_they_are(name: str, fmt: str, tmp_path: Path) -> None:
    space = load(name)
    architecture = sample(space, np.random.default_rng(1))
    network = sw.build_network(architecture, space, (3, 8, 8), 4, network=SMALL).eval()
    export(network, tmp_path, format=fmt, example=images())
    if fmt == "source":
        found: dict[str, object] = {"__file__": str(tmp_path / "model.py"), "__name__": "exported"}
        exec((tmp_path / "model.py").read_text(), found)
        again = found["load"]()  # type: ignore[operator]
        assert torch.equal(again(images()), network(images()))


def test_an_entangled_operation_is_one_convolution_of_mixed_kernels() -> None:
    """m · BN(…conv(x, Σ g_i W_i / m)…) with both depthwise kernels of a separable convolution mixed."""
    from sharewise.space import Decision
    from sharewise.spaces.darts.supernet import DartsOptions, edge
    from sharewise.supernet import Gate

    decision = Decision("e", load("darts").relaxation.decisions[0].options)
    mixture = edge(2, decision, 1, DartsOptions(sharing="entangled")).double()
    names = [str(option) for option in decision.options]
    weights = torch.zeros(8, dtype=torch.float64)
    weights[names.index("sep_conv_3x3")], weights[names.index("sep_conv_5x5")] = 0.3, 0.2
    gate = Gate(weights, (names.index("sep_conv_3x3"), names.index("sep_conv_5x5")))
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    found = mixture.alone(x, {"e": gate})
    state = dict(mixture.named_parameters())
    depthwise = [p for p in state.values() if p.shape == (2, 1, 5, 5)][:2]
    pointwise = [p for p in state.values() if p.shape == (2, 2, 1, 1)][:2]
    expected = x
    for wide, point in zip(depthwise, pointwise, strict=True):
        kernel = wide * 0.4
        kernel = kernel + F.pad(wide[:, :, 1:4, 1:4], (1, 1, 1, 1)) * 0.6
        expected = F.conv2d(F.conv2d(expected.relu(), kernel, padding=2, groups=2), point)
        expected = F.batch_norm(expected, None, None, training=True)
    assert found is not None
    torch.testing.assert_close(found, 0.5 * expected, rtol=1e-10, atol=1e-10)


def test_entangled_cells_have_fewer_weights() -> None:
    counts = [
        sum(p.numel() for p in sw.build_supernet("darts", (3, 8, 8), 4, network={**SMALL, "sharing": s}).parameters())
        for s in ("disjoint", "entangled")
    ]
    assert counts[1] < 0.75 * counts[0]


def test_options_that_no_network_has() -> None:
    networks = networks_of(load("darts"))
    for options, message in (
        ({"layers": 2}, "layers must be at least 3, got 2"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"stem": "imagenet", "channels": 3}, "even number of channels"),
        ({"stem": "mnist"}, "mnist"),
        ({"published": True}, "leave it out"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            networks.configure(options)
