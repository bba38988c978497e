"""The DARTS cells: their notation, published counts of every named architecture, and the reduced spaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sharewise.cost import cost
from sharewise.distribution.factored import drawable
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space, features, sample, skips
from sharewise.spaces import load
from sharewise.spaces.darts.space import EDGES, reduced
from sharewise.supernet import networks_of

COUNTS = {
    "DARTS_V1": (3_169_414, 501.0, 4_510_432, 505.9, 232_890),
    "DARTS_V2": (3_349_342, 528.4, 4_718_752, 529.9, 246_106),
    "PC_DARTS_cifar": (3_634_678, 556.7, 5_270_560, 571.1, 335_738),
    "PC_DARTS_image": (3_721_510, 570.5, 5_342_464, 581.6, 327_546),
    "DrNAS_cifar10": (4_099_294, 635.1, 5_738_464, 633.8, 360_410),
    "DrNAS_imagenet": (4_048_750, 617.9, 5_726_368, 624.4, 346_650),
    "GAEA_PC_DARTS_imagenet": (4_002_958, 627.0, 5_620_864, 624.0, None),
    "edarts4": (1_938_214, 312.3, 3_101_440, 341.4, 146_554),
    "TangleNAS_50": (3_587_806, 559.0, 5_152_000, 566.6, None),
    "SDARTS_RS": (3_606_166, 562.4, 5_120_320, 566.8, 301_114),
    "SDARTS_ADV": (3_344_806, 526.8, 4_768_864, 531.6, 270_906),
    "DARTS_PT_0": (2_851_246, None, 4_228_576, None, 239_002),
    "DARTS_PT_1": (3_053_206, None, 4_510_816, None, 263_546),
    "DARTS_PT_2": (2_658_142, None, 4_035_712, None, 227_866),
    "DARTS_PT_3": (3_328_174, None, 4_779_712, None, 271_450),
    "blank_PT_0": (3_039_598, None, 4_448_128, None, 255_962),
    "blank_PT_1": (3_148_030, None, 4_594_240, None, 277_018),
    "blank_PT_2": (2_581_894, None, 3_922_624, None, 232_058),
    "blank_PT_3": (3_404_854, None, 4_871_968, None, 284_794),
}
"""Parameters and millions of multiply-accumulates of the CIFAR network (36 channels, 20 cells), of the ImageNet network
(48 channels, 14 cells), and parameters of the network with 16 channels and 8 cells. Nothing of them is trained here."""

CIFAR, IMAGENET = {"channels": 36, "layers": 20}, {"channels": 48, "layers": 14, "stem": "imagenet"}


def network(space: Space, architecture: Architecture, **options: object) -> nn.Module:
    """The plain network, without memory for its weights."""
    networks = networks_of(space)
    image, outputs = ((3, 224, 224), 1000) if options.get("stem") == "imagenet" else ((3, 32, 32), 10)
    with torch.device("meta"):
        return networks.plain(architecture, image, outputs, networks.configure(options))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_published_networks_have_their_parameters(name: str) -> None:
    space = load("darts")
    architecture = space.parse(name)
    cifar, _, imagenet, _, small = COUNTS[name]
    assert parameters(network(space, architecture, **CIFAR)) == cifar
    assert parameters(network(space, architecture, **IMAGENET)) == imagenet
    assert small is None or parameters(network(space, architecture)) == small


def millions(name: str, **options: object) -> float:
    """Multiply-accumulates of a named architecture."""
    space = load("darts")
    side = 224 if "stem" in options else 32
    return round(cost(network(space, space.parse(name), **options), (3, side, side)).multiply_accumulates / 1e6, 1)


def test_the_second_cell_of_darts_has_its_multiply_accumulates() -> None:
    assert millions("DARTS_V2", **CIFAR) == 528.4
    assert millions("DARTS_V2", **IMAGENET) == 529.9


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, counts in COUNTS.items() if counts[1] is not None])
def test_published_networks_have_their_multiply_accumulates(name: str) -> None:
    assert (millions(name, **CIFAR), millions(name, **IMAGENET)) == (COUNTS[name][1], COUNTS[name][3])


def test_every_named_architecture_is_counted() -> None:
    assert set(COUNTS) == set(load("darts").named)


def test_the_end_of_s4() -> None:
    """Every operation a separable 3×3 convolution, whatever the inputs."""
    space = load("darts:S4")
    pairs = ["('sep_conv_3x3', 0), ('sep_conv_3x3', 1)"] * 4
    cell = f"[{', '.join(pairs)}]"
    text = f"Genotype(normal={cell}, normal_concat=range(2, 6), reduce={cell}, reduce_concat=range(2, 6))"
    found = [parameters(network(space, space.parse(text), **options)) for options in (CIFAR, IMAGENET, {})]
    assert found == [4_701_718, 6_548_320, 411_002]
    assert load("darts").parse(text) == load("darts").own(space.parse(text))


FAIR = {
    "FairDARTS_a": 2_360_782,
    "FairDARTS_b": 3_407_878,
    "FairDARTS_c": 2_598_814,
    "FairDARTS_d": 3_365_542,
    "FairDARTS_e": 2_643_742,
    "FairDARTS_f": 3_151_054,
    "FairDARTS_g": 2_899_054,
}


@pytest.mark.parametrize("name", FAIR)
def test_cells_of_fair_darts_have_their_parameters(name: str) -> None:
    """Without the auxiliary head; nodes without inputs leave the concatenation."""
    space = load("darts:fair")
    assert parameters(network(space, space.parse(name), **CIFAR)) == FAIR[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "published"), [("b", 536), ("c", 400), ("d", 532), ("e", 414), ("f", 497), ("g", 453)]
)
def test_cells_of_fair_darts_have_their_multiply_accumulates(name: str, published: int) -> None:
    space = load("darts:fair")
    found = cost(network(space, space.parse(f"FairDARTS_{name}"), **CIFAR), (3, 32, 32)).multiply_accumulates
    assert abs(found / 1e6 - published) < 1, "some of the authors' notes are rounded, and some cut off"


def test_a_cell_with_none() -> None:
    """`none` is no input, and a node keeps its other one."""
    space = load("darts:fair")
    architecture = space.parse("ASHA200")
    found = [parameters(network(space, architecture, **options)) for options in (CIFAR, IMAGENET, {})]
    assert found == [2_243_206, 3_522_592, 189_754]
    text = str(load("darts").parse("DARTS_V2")).replace("('skip_connect', 2)]", "('none', 2)]")
    assert space.parse(text)["reduce_second_5"] != "none"


def test_every_cell_of_darts_is_one_of_fair_darts() -> None:
    strict, wide = load("darts"), load("darts:fair")
    architecture = wide.parse(str(strict.parse("PC_DARTS_cifar")))
    assert strict.parse(str(architecture)) == strict.parse("PC_DARTS_cifar")
    assert parameters(network(wide, architecture)) == parameters(network(strict, strict.parse("PC_DARTS_cifar")))
    assert set(strict.named) < set(wide.named)


@pytest.mark.parametrize(
    "cell",
    [
        "[]",
        "[('skip_connect', 2, 0), ('max_pool_3x3', 2, 0), ('sep_conv_3x3', 5, 3)]",
        "[('dil_conv_5x5', 3, 1), ('avg_pool_3x3', 5, 3)]",
    ],
)
def test_cells_with_empty_nodes_run(cell: str) -> None:
    """No input anywhere, two operations of one pair, and a node that reads an empty one."""
    space = load("darts:fair")
    architecture = space.parse(
        f"Genotype(normal={cell}, normal_concat=range(2, 6), reduce={cell}, reduce_concat=[2,3,4,5])"
    )
    assert space.parse(str(architecture)) == architecture
    networks = networks_of(space)
    plain = networks.plain(architecture, (3, 9, 8), 3, networks.configure({"channels": 2, "layers": 3}))
    plain.set_drop_path(0.5)  # type: ignore[operator]
    x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    assert plain(x).shape == (2, 3)
    assert plain.eval()(x).isfinite().all()


def test_fair_darts_refuses_what_it_does_not_hold() -> None:
    space = load("darts:fair")
    form = "Genotype(normal=[{}], normal_concat={}, reduce=[], reduce_concat=[])"
    three = "('skip_connect', 2, 0), ('skip_connect', 2, 1), ('max_pool_3x3', 2, 0)"
    for cell, concat, message in (
        (three, "[2]", "at most two inputs"),
        ("('skip_connect', 2, 0), ('skip_connect', 2, 0)", "[2]", "which differ"),
        ("('conv_7x1_1x7', 2, 0)", "[2]", "with operations max_pool_3x3"),
        ("('skip_connect', 2, 0)", "[3]", "leave the concatenation by themselves"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            space.parse(form.format(cell, concat))
    with pytest.raises(ConfigurationError, match="sharing must be 'disjoint' in space 'darts:fair', got 'entangled'"):
        networks_of(space).supernet(space, (3, 8, 8), 3, networks_of(space).configure({"sharing": "entangled"}))


def test_the_auxiliary_head_of_cifar() -> None:
    space = load("darts")
    plain = network(space, space.parse("DARTS_V2"), **CIFAR)
    with torch.device("meta"):
        whole = type(plain)(**{**plain.configuration, "auxiliary": True})
    assert parameters(whole) - parameters(plain) == 476_426


def test_sizes() -> None:
    assert load("darts").size == (180 * 49**4) ** 2 == 1_037_664_180**2
    assert load("darts:fair").size == (106 * 232 * 407 * 631) ** 2
    assert {load(f"darts:S{n}").size for n in (1, 2, 3, 4)} == {(180 * 2**8) ** 2}
    assert len(EDGES) == 14
    assert [d.size for d in load("darts").relaxation.decisions] == [8] * 28
    assert [{d.size for d in load(f"darts:S{n}").relaxation.decisions} for n in (1, 2, 3, 4)] == [{2}, {2}, {3}, {2}]


def test_the_rule_of_darts() -> None:
    """The two edges of a node whose strongest operation other than `none` is strongest; ties by order."""
    relaxation = load("darts").relaxation
    rng = np.random.default_rng(0)
    for _ in range(5):
        probabilities = {d.name: rng.dirichlet(np.ones(d.size)).tolist() for d in relaxation.decisions}
        found = relaxation.project(probabilities)
        for kind in ("normal", "reduce"):
            for node in (2, 3, 4, 5):
                edges = [probabilities[f"{kind}_{source}_{node}"] for source in range(node)]
                strongest = sorted(range(node), key=lambda source: -max(edges[source][1:]))[:2]
                assert found[f"{kind}_inputs_{node}"] == tuple(sorted(strongest))
                for source, side in zip(sorted(strongest), ("first", "second"), strict=True):
                    index = 1 + int(np.argmax(edges[source][1:]))
                    assert found[f"{kind}_{side}_{node}"] == relaxation.decisions[0].options[index]
    tied = relaxation.project({d.name: [1.0] * d.size for d in relaxation.decisions})
    assert {tied[f"normal_inputs_{node}"] for node in (2, 3, 4, 5)} == {(0, 1)}
    assert tied["normal_first_2"] == "max_pool_3x3"


def test_the_projection_of_fair_darts() -> None:
    """The two strongest operations of a node, of one edge as well; what weighs nothing is not read."""
    relaxation = load("darts:fair").relaxation
    weights = {d.name: [0.0] * d.size for d in relaxation.decisions}
    weights["normal_1_3"] = [0.86, 0.1, 0.99, 0.1, 0.95, 0.1, 0.1]
    weights["normal_0_5"] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1]
    found = relaxation.project(weights)
    assert str(found).startswith(
        "Genotype(normal=[('skip_connect', 3, 1), ('sep_conv_5x5', 3, 1), ('dil_conv_5x5', 5, 0)], "
        "normal_concat=[3, 5], reduce=[]"
    )
    without = relaxation.project(weights, ("skip_connect",))
    assert (without["normal_first_3"], without["normal_second_3"]) == ("max_pool_3x3 1", "sep_conv_5x5 1")


def test_a_part_of_fair_darts() -> None:
    """Where nodes cannot do without inputs the strongest fill them up; an operation goes with all that it reads."""
    space = load("darts:fair").without(("nothing",))
    assert not space.relaxation.sparse
    found = space.relaxation.project({d.name: [0.0] * d.size for d in space.relaxation.decisions})
    assert (found["normal_first_2"], found["normal_second_2"]) == ("max_pool_3x3 0", "avg_pool_3x3 0")
    whole = load("darts:fair").relaxation
    assert whole.sparse
    assert whole.choosing("skip_connect")[-1] == "skip_connect 4"
    part = drawable(whole, ("skip_connect", "none"))
    assert part.size == load("darts:fair").without(whole.choosing("skip_connect")).size < load("darts:fair").size
    assert all("skip_connect" not in d.options for d in part.relaxation.decisions)


def test_the_order_of_two_inputs_has_no_meaning() -> None:
    space = load("darts")
    text = str(space.parse("DARTS_V2"))
    swapped = text.replace("('skip_connect', 0), ('dil_conv_3x3', 2)", "('dil_conv_3x3', 2), ('skip_connect', 0)")
    assert swapped != text
    assert space.parse(swapped) == space.parse("DARTS_V2")
    assert str(space.parse(swapped)) == text


def test_the_notation_is_read_in_every_usual_form() -> None:
    space = load("darts")
    text = str(space.parse("PC_DARTS_cifar"))
    forms = [
        text.replace("range(2, 6)", "[2, 3, 4, 5]"),
        text.replace("'", '"'),
        text.replace(", ", ",\n    ").replace("[", "[\n  "),
        text.replace(")]", "),]"),
        f"  {text}\n",
    ]
    assert {space.parse(form) for form in forms} == {space.parse("PC_DARTS_cifar")}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Genotype",
        "__import__('os').system('true')",
        "Genotype(normal=__import__('os'), normal_concat=range(2, 6), reduce=[], reduce_concat=range(2, 6))",
        "(" * 100_000,
        "Genotype(normal=[" + "('sep_conv_3x3', 0)," * 50_000,
        "Genotype(normal=[('skip_connect', 0)], normal_concat=range(2, 6), reduce=[], reduce_concat=range(2, 6))",
        "DARTS_V3",
    ],
)
def test_hostile_strings_get_one_line(text: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        load("darts").parse(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_unknown_names_are_answered_with_those_that_are_known() -> None:
    with pytest.raises(ConfigurationError, match=r"'DARTS_V3'; did you mean 'DARTS_V2'\? Legal: .*PC_DARTS_cifar"):
        load("darts").parse("DARTS_V3")
    with pytest.raises(ConfigurationError, match="'DARTS_V2' is no genotype"):
        load("darts:S1").parse("DARTS_V2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("('dil_conv_3x3', 2)", "('dil_conv_3x3', 0)"), "node 5 of the normal cell reads"),
        (("('dil_conv_3x3', 2)", "('none', 2)"), "belong to space 'darts:fair'"),
        (("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)"), "from node 5 to node 5"),
        (("('dil_conv_3x3', 2)", "('conv_7x1_1x7', 2)"), "has no option 'conv_7x1_1x7'"),
        (("normal_concat=range(2, 6)", "normal_concat=[3, 4, 5]"), "concatenates nodes"),
    ],
)
def test_cells_of_other_spaces_are_refused(change: tuple[str, str], message: str) -> None:
    text = str(load("darts").parse("DARTS_V2"))
    assert change[0] in text
    with pytest.raises(ConfigurationError, match=message):
        load("darts").parse(text.replace(*change, 1))


def test_operations_of_s1_belong_to_edges() -> None:
    space = load("darts:S1")
    legal = sample(space, np.random.default_rng(0))
    with pytest.raises(
        ConfigurationError, match="node 3 of the normal cell may read from 0: skip_connect, dil_conv_5x5;"
    ):
        space.architecture({**legal, "normal_inputs_3": (0, 1), "normal_first_3": "sep_conv_3x3"})
    part = space.without("sep_conv_3x3")
    assert part.size < space.size
    assert all("sep_conv_3x3" not in sample(part, np.random.default_rng(seed)).values() for seed in range(20))


def test_features_count_skips() -> None:
    """As RobustDARTS counts them: most of a collapsed normal cell."""
    found = features(load("darts"), load("darts").parse("edarts4"))
    assert (found["normal: number of skip_connect"], found["reduce: number of skip_connect"]) == (6, 5)


def test_skips_are_counted_by_cell_in_both_spaces() -> None:
    shares = {name: skips(load(name), load(name).parse("DARTS_V2")) for name in ("darts", "darts:fair")}
    assert shares["darts"] == shares["darts:fair"] == {"normal": 0.25, "reduce": 0.375}


def test_an_unknown_reduced_space_is_named() -> None:
    with pytest.raises(ConfigurationError, match="unknown reduced space of DARTS: 'S9'"):
        reduced("S9")
