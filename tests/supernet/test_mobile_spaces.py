"""MobileNetV3, ProxylessNAS, ResNet-50D and AttentiveNAS: exact counts, and the laws of their supernets.

Counts are those of the authors' networks (mit-han-lab/once-for-all @ f03b267), which were built and counted once:
parameters of `OFAMobileNetV3`, `OFAProxylessNASNets` and `OFAResNets` and of their `get_active_subnet`, multiply-
accumulates of convolutions and linear layers by hooks; here each bias of a linear layer counts as one more.
"""

from __future__ import annotations

import copy
import itertools
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.cost import cost
from sharewise.run import build_supernet
from sharewise.space import Architecture, Space, sample
from sharewise.spaces import load
from sharewise.supernet import Gate, Supernet, discrete, extract, networks_of
from sharewise.supernet.elastic.extraction import with_transforms
from sharewise.supernet.elastic.places import expanded
from sharewise.supernet.export import model_source
from sharewise.testing import check_relaxation, check_space, check_supernet

SMALL: dict[str, dict[str, Any]] = {
    "mobilenetv3": {"width_multiplier": 0.25},
    "proxylessnas": {"width_multiplier": 0.25},
    "ofa-resnet50": {"width_multiplier": 0.1, "multiple": 1},
    "attentivenas": {"width_multiplier": 0.125, "multiple": 1},
}
BIASES = 1000
LARGEST, SMALLEST = -1, 0


def end(space: Space, option: int) -> Architecture:
    return space.architecture({choice.name: choice.options[option] for choice in space.choices})


def on_meta(space: Space, architecture: Architecture, size: int = 224, **options: Any) -> nn.Module:
    networks = networks_of(space)
    with torch.device("meta"):
        return networks.plain(architecture, (3, size, size), 1000, networks.options(**options))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilenetv3", (9**2 + 9**3 + 9**4) ** 5),
        ("proxylessnas", 9 * (9**2 + 9**3 + 9**4) ** 5),
        ("ofa-resnet50", 2 * 3**6 * 13**4 * 3**10),
        ("attentivenas", 110_075_314_176),
    ],
)
def test_spaces_are_counted_without_enumeration(name: str, size: int) -> None:
    assert load(name).size == size
    check_space(load(name), samples=5, enumerate_up_to=0)
    check_relaxation(load(name), samples=5)


def test_the_size_of_mobilenetv3_is_the_published_one() -> None:
    assert load("mobilenetv3").size == 21_758_655_492_572_485_851


@pytest.mark.parametrize(
    ("name", "option", "options", "expected"),
    [
        ("mobilenetv3", LARGEST, {}, 7_664_760),
        ("mobilenetv3", SMALLEST, {}, 3_410_792),
        ("mobilenetv3", LARGEST, {"width_multiplier": 1.2}, 10_701_632),
        ("mobilenetv3", SMALLEST, {"width_multiplier": 1.2}, 4_602_456),
        ("proxylessnas", LARGEST, {}, 5_103_336),
        ("proxylessnas", SMALLEST, {}, 2_500_632),
        ("proxylessnas", LARGEST, {"width_multiplier": 1.3}, 7_942_056),
        ("proxylessnas", SMALLEST, {"width_multiplier": 1.3}, 3_718_832),
        ("ofa-resnet50", LARGEST, {}, 48_105_992),
        ("ofa-resnet50", SMALLEST, {}, 6_539_280),
    ],
)
def test_networks_have_the_published_parameters(name: str, option: int, options: dict[str, Any], expected: int) -> None:
    assert parameters(on_meta(load(name), end(load(name), option), **options)) == expected


@pytest.mark.parametrize(
    ("name", "option", "by_resolution"),
    [
        ("mobilenetv3", LARGEST, {128: 188.248, 160: 291.318, 192: 417.292, 224: 566.171}),
        ("mobilenetv3", SMALLEST, {128: 41.476, 160: 63.241, 192: 89.841, 224: 121.279}),
        ("proxylessnas", LARGEST, {224: 606.591}),
        ("proxylessnas", SMALLEST, {224: 154.160}),
        ("ofa-resnet50", LARGEST, {224: 7491.644}),
        ("ofa-resnet50", SMALLEST, {224: 962.192}),
    ],
)
def test_networks_cost_the_published_multiply_accumulates(
    name: str, option: int, by_resolution: dict[int, float]
) -> None:
    space = load(name)
    network = on_meta(space, end(space, option))
    for size, millions in by_resolution.items():
        found = cost(network, (3, size, size)).multiply_accumulates - BIASES
        assert found / 1e6 == pytest.approx(millions, abs=5.1e-4)


def test_wider_mobilenets_cost_more() -> None:
    space = load("mobilenetv3")
    for option, millions in ((LARGEST, 843.101), (SMALLEST, 193.078)):
        network = on_meta(space, end(space, option), width_multiplier=1.2)
        found = cost(network, (3, 224, 224)).multiply_accumulates - BIASES
        assert found / 1e6 == pytest.approx(millions, abs=5.1e-4)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mobilenetv3", {}, 7_678_880),
        ("mobilenetv3", {"width_multiplier": 1.2}, 10_715_752),
        ("mobilenetv3", {"kernel_transforms": False}, 7_664_760),
        ("proxylessnas", {}, 5_118_162),
        ("proxylessnas", {"width_multiplier": 1.3}, 7_956_882),
    ],
)
def test_supernets_have_the_matrices_of_their_kernels(name: str, options: dict[str, Any], expected: int) -> None:
    """25 × 25 and 9 × 9 for each of 20 or 21 blocks."""
    space = load(name)
    values = networks_of(space).options(**options)
    network = on_meta(space, end(space, LARGEST), **options)
    choices = networks_of(space).supernet.choices(space, values)  # type: ignore[attr-defined]
    with_transforms(network, expanded(network, choices, {c.name: c.options for c in space.choices}))
    assert parameters(network) == expected


def test_a_resnet_between_the_ends() -> None:
    """Their settings d = [2, 1, 0, 1, 2], e = [0.2, 0.25, 0.35] · 6, w = [0, 1, 2, 1, 0, 2]."""
    widths, blocks, values = (0.65, 0.8, 1.0), 0, {"depth_stem": 1, "width_middle": 0.65, "width_stem": 0.8}
    for stage, (least, more, width) in enumerate(zip((2, 2, 4, 2), (1, 0, 1, 2), (2, 1, 0, 2), strict=True), start=1):
        values |= {f"depth_{stage}": least + more, f"width_{stage}": widths[width]}
        for block in range(1, least + 3):
            values[f"expansion_{stage}_{block}"] = (0.2, 0.25, 0.35)[blocks % 3]
            blocks += 1
    space = load("ofa-resnet50")
    network = on_meta(space, space.architecture(values))
    assert parameters(network) == 29_106_592
    assert cost(network, (3, 224, 224)).multiply_accumulates == 3_291_552_064 + BIASES


@pytest.mark.parametrize(
    ("option", "expected", "macs"),
    [(LARGEST, 23_404_080, 1_179_097_728), (SMALLEST, 8_954_184, 274_457_760)],
)
def test_networks_of_attentivenas_have_the_size_of_the_authors(option: int, expected: int, macs: int) -> None:
    """facebookresearch/AttentiveNAS @ c4c16f1, by `get_active_subnet`, whose 23,934,704 and 9,064,648 parameters hold
    530,624 and 110,464 of shortcuts that are never executed, since their block adds its input."""
    network = on_meta(load("attentivenas"), end(load("attentivenas"), option))
    assert parameters(network) == expected
    assert cost(network, (3, 224, 224)).multiply_accumulates == macs + BIASES


def test_a_network_of_attentivenas_between_the_ends() -> None:
    """Equal widths of two stages, as of the second and third here, have a shortcut without weights."""
    values = {"width_first": 16, "width_last": 1792}
    for name, options in {
        "width": [24, 24, 40, 64, 120, 208, 216],
        "depth": [2, 4, 3, 6, 5, 3, 1],
        "kernel": [5, 3, 5, 3, 5, 3, 3],
        "expansion": [1, 4, 5, 6, 4, 6, 6],
    }.items():
        values |= {f"{name}_{i}": option for i, option in enumerate(options, start=1)}
    space = load("attentivenas")
    assert space.size == 110_075_314_176
    known = {choice.name for choice in space.choices}
    network = on_meta(space, space.architecture({k: v for k, v in values.items() if k in known}))
    assert parameters(network) == 10_445_600
    assert cost(network, (3, 224, 224)).multiply_accumulates == 476_146_096 + BIASES


@cache
def supernet_of(name: str) -> Supernet:
    """With weights that neither vanish nor explode along the untrained network, and matrices that are no identities."""
    supernet = build_supernet(load(name), (3, 32, 32), 10, network=SMALL[name])
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter_name, parameter in supernet.named_parameters():
            if parameter.dim() == 4:
                parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5, generator=generator)
            if "transform" in parameter_name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return supernet.eval()


def images(size: int = 32) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SMALL))
def test_supernets_keep_the_laws(name: str) -> None:
    size = 65 if name == "attentivenas" else 32  # whose last stages would else see no more than kernels of 3 do
    check_supernet(supernet_of(name), images(size), samples=3)


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv3",
        "attentivenas",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("proxylessnas", "ofa-resnet50")),
    ],
)
def test_extracted_networks_are_slices_and_cost_what_is_said(name: str) -> None:
    supernet, rng = supernet_of(name), np.random.default_rng(0)
    space = supernet.space
    for architecture in (end(space, SMALLEST), end(space, LARGEST), sample(space, rng), sample(space, rng)):
        gates = discrete(supernet.relaxation.encode(architecture))
        network = extract(supernet, architecture).eval()
        with torch.no_grad():
            assert torch.equal(network(images()), supernet(images(), gates))
        assert not [n for n, _ in network.named_parameters() if "transform" in n]
        built = networks_of(space).plain(architecture, (3, 32, 32), 10, networks_of(space).options(**SMALL[name]))
        assert parameters(network) == parameters(built)


def test_a_one_hot_mixture_is_its_slice() -> None:
    supernet = build_supernet(load("mobilenetv3"), (3, 32, 32), 10, network=SMALL["mobilenetv3"]).double().eval()
    architecture = sample(supernet.space, np.random.default_rng(3))
    gates = discrete(supernet.relaxation.encode(architecture), dtype=torch.float64)
    dense = {name: Gate(gate.weights, tuple(range(gate.size))) for name, gate in gates.items()}
    with torch.no_grad():
        expected, found = (supernet(images().double(), g) for g in (gates, dense))
    assert float((expected - found).abs().max()) <= 1e-12 * float(expected.abs().max())


def widths(space: Space, **values: int) -> Architecture:
    return space.architecture({**end(space, SMALLEST), **values})


PAIRS = {1: "first", 2: "1", 3: "2", 7: "6"}
"""By number of a stage whose width may be that of what it reads, what that is."""


def test_shortcuts_of_attentivenas_are_projected_where_widths_differ() -> None:
    """Bit for bit those of the plain network, for all pairs of widths of four stages."""
    supernet = supernet_of("attentivenas")
    space, passed = supernet.space, 0
    for stage, before in PAIRS.items():
        names = f"width_{before}", f"width_{stage}"
        for pair in itertools.product(*(space[name].options for name in names)):
            architecture = widths(space, **dict(zip(names, pair, strict=True)))
            network = extract(supernet, architecture).eval()
            project = network.get_submodule(f"stages.{stage - 1}.0.project")
            assert isinstance(project, nn.Identity) == (pair[0] == pair[1])
            passed += pair[0] == pair[1]
            with torch.no_grad():
                gates = discrete(supernet.relaxation.encode(architecture))
                assert torch.equal(network(images()), supernet(images(), gates))
    assert passed == 2 + 1 + 1 + 1


def test_projections_learn_from_unequal_widths_alone() -> None:
    supernet = copy.deepcopy(supernet_of("attentivenas"))
    project = supernet.get_submodule("stages.0.0.project").weight
    for first, reached in ((16, False), (24, True)):
        gates = discrete(supernet.relaxation.encode(widths(supernet.space, width_first=first, width_1=16)))
        supernet.zero_grad()
        supernet(images(), gates).square().sum().backward()
        assert (project.grad is not None and bool(project.grad[:2].any())) == reached


def test_squeezed_channels_follow_the_expansion() -> None:
    """16 for 48 and 64 middle channels, 24 for 96: two options of equal size."""
    supernet = supernet_of("mobilenetv3")
    sizes = []
    for expansion in (3, 4, 6):
        values = {**end(supernet.space, SMALLEST), "expansion_2_1": expansion}
        block = extract(supernet, supernet.space.architecture(values)).units[1][0]
        sizes.append((block.expand[0].out_channels, block.excite.reduce.out_channels, block.excite.expand.in_channels))
    assert sizes == [(24, 8, 8), (32, 8, 8), (48, 16, 16)]


@pytest.mark.parametrize("name", list(SMALL))
def test_networks_stand_alone_as_source(name: str, tmp_path: Path) -> None:
    """One file that needs torch alone, and computes the same."""
    space, networks = load(name), networks_of(load(name))
    network = networks.plain(end(space, SMALLEST), (3, 32, 32), 10, networks.options(**SMALL[name])).eval()
    (tmp_path / "model.py").write_text(model_source(network))
    there = runpy.run_path(str(tmp_path / "model.py"))
    again = there[type(network).__name__](**there["CONFIGURATION"]).eval()
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(again(images()), network(images()))


@pytest.mark.parametrize("form", ["torch-export", pytest.param("onnx", marks=pytest.mark.slow)])
def test_extracted_networks_are_exported(form: str, tmp_path: Any) -> None:
    supernet = supernet_of("mobilenetv3")
    network = extract(supernet, end(supernet.space, SMALLEST)).eval()
    if form == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    sw.export(network, tmp_path / "program", format=form, example=images())
    assert any((tmp_path / "program").iterdir())
