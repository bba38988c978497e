"""Wirings and operations as genotypes: moves change one of them, and lead to every architecture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sharewise.errors import ConfigurationError
from sharewise.oracle.readers import import_benchmark
from sharewise.spaces import load
from sharewise.spaces.nasbench1shot1 import DESIGNS
from sharewise.spaces.nasbench1shot1.topology import Form, parent_choices, pruned
from sharewise.spaces.nasbench101.space import architecture_of
from sharewise.strategy import represent
from sharewise.strategy.nasbench1shot1 import RawBlocks
from sharewise.studies.compare import compare
from sharewise.studies.contest import Contest


@pytest.mark.parametrize("name", DESIGNS)
def test_a_genotype_is_its_wiring_with_its_operations(name: str) -> None:
    space, design, rng = load(f"nasbench1shot1:{name}"), DESIGNS[name], np.random.default_rng(0)
    blocks, wirings, labels = represent(space), parent_choices(design), 3**design.blocks
    assert isinstance(blocks, RawBlocks)
    for _ in range(30):
        genotype = blocks.sample(rng)
        wiring, labelling = divmod(genotype, labels)
        parents = pruned(wirings[wiring])
        digits = [labelling // 3 ** (design.blocks - 1 - block) % 3 for block in range(design.blocks)]
        form = Form(parents, tuple(d if own else -1 for d, own in zip(digits, parents, strict=False)))
        assert blocks.architecture(genotype) == architecture_of(form.cell, space)
        assert blocks.index(blocks.at(blocks.index(genotype))) == blocks.index(genotype)


def test_random_genotypes_are_uniform_over_wirings_and_operations() -> None:
    blocks, rng = represent(load("nasbench1shot1:1")), np.random.default_rng(0)
    drawn = Counter(blocks.sample(rng) for _ in range(30_000))
    assert len(drawn) > 12_000  # of 14,580, each expected twice
    assert max(drawn.values()) < 15


def test_moves_reach_everything_and_change_one_thing() -> None:
    blocks, design = represent(load("nasbench1shot1:1")), DESIGNS["1"]
    radices = [1, 1, 3, 6, 10, 3, 3, 3, 3]
    strides = [int(np.prod(radices[place + 1 :])) for place in range(len(radices))]

    def digits(genotype: int) -> list[int]:
        return [genotype // stride % radix for radix, stride in zip(radices, strides, strict=True)]

    seen, todo = {0}, [0]
    while todo:
        genotype = todo.pop()
        around = blocks.neighbours(genotype)
        found = [blocks.index(other) for other in around]
        assert len(set(found)) == len(found)
        assert blocks.index(genotype) not in found
        for other in around:
            assert sum(a != b for a, b in zip(digits(genotype), digits(other), strict=True)) == 1
        new = set(around) - seen
        seen |= new
        todo += new
    assert {blocks.index(genotype) for genotype in seen} == set(range(2_685))
    assert design.blocks == 4


def test_what_is_not_covered_is_not_left_or_entered() -> None:
    space = load("nasbench1shot1:2")
    covered = np.random.default_rng(0).random(space.size) < 0.3
    blocks, rng = represent(space, covered), np.random.default_rng(1)
    assert np.array_equal(blocks.indices, np.flatnonzero(covered))
    genotype = blocks.sample(rng)
    for _ in range(50):
        genotype = blocks.mutate(genotype, rng)
        assert covered[blocks.index(genotype)]
    with pytest.raises(ConfigurationError, match="cannot be asked about"):
        blocks.at(int(np.flatnonzero(~covered)[0]))
    with pytest.raises(ConfigurationError, match="no architecture of space 'nasbench1shot1:2' is covered"):
        represent(space, np.zeros(space.size, dtype=np.bool_))
    with pytest.raises(ConfigurationError, match="always change"):
        blocks.mutate(genotype, rng, [1.0])


def test_parts_are_represented() -> None:
    part = load("nasbench1shot1:1").without("maxpool3x3")
    blocks = represent(part)
    assert "maxpool3x3" not in blocks.architecture(blocks.sample(np.random.default_rng(0))).values()


@pytest.mark.slow
def test_strategies_are_compared_on_the_published_table(tmp_path: Path, shared_data: Path) -> None:
    table = import_benchmark(shared_data / "nasbench101", tmp_path / "nb101.table")
    contest = Contest(strategies=("random", "evolution", "local"), evaluations=60, repeats=20)
    found = compare(table, contest, space="nasbench1shot1:2", out=tmp_path / "out")
    panel = found.document["datasets"]["cifar10"]
    assert set(panel["strategies"]) == {"random", "evolution", "local"}
    for curve in panel["strategies"].values():
        assert curve["evaluations"]["mean"] == 60
        assert 0 <= curve["mean"][-1] < curve["mean"][0]
