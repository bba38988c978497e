from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from sharewise.errors import ConfigurationError
from sharewise.spaces import load, nasbench201
from sharewise.spaces.nasbench101.cell import EDGES, INNER, VERTICES, Cell, bit
from sharewise.strategy import (
    ArrayOracle,
    Budget,
    RegularizedEvolution,
    Tournament,
    build_strategy,
    represent,
    run_strategy,
)
from sharewise.strategy.nasbench101 import EdgesAndOperations, RawCells

LABELS = 3**INNER


@pytest.fixture(scope="module")
def raw() -> RawCells:
    found = represent(load("nasbench101"))
    assert isinstance(found, RawCells)
    return found


def cell(genotype: int) -> Cell:
    """The genotype as a raw cell of 7 vertices, read by other code than the representation's."""
    edges, labelling = divmod(genotype, LABELS)
    return Cell(edges, tuple(labelling // 3**place % 3 for place in range(INNER - 1, -1, -1)))


def place_of(raw: RawCells, genotype: int) -> int:
    """The index by pruning and looking up, or -1."""
    codes = raw.space.listing.codes()
    assert codes is not None
    try:
        code = cell(genotype).pruned().code
    except ConfigurationError:
        return -1
    place = int(np.searchsorted(codes[0], np.uint32(code)))
    return int(codes[1][place]) if place < len(codes[0]) and codes[0][place] == code else -1


def test_raw_cells_are_found_where_the_listing_has_them(raw: RawCells) -> None:
    generator = np.random.default_rng(0)
    genotypes = generator.integers((1 << len(EDGES)) * LABELS, size=1000).tolist()
    found = [raw.find(genotype) for genotype in genotypes]
    assert found == [place_of(raw, genotype) for genotype in genotypes]
    assert 0 < sum(index < 0 for index in found) < 1000
    for index in generator.integers(raw.space.size, size=300).tolist():
        assert raw.index(raw.at(index)) == index
    with pytest.raises(ConfigurationError, match="not valid"):
        raw.index(0)


def test_random_cells_are_uniform_over_valid_raw_cells(raw: RawCells) -> None:
    """Against the rejection of the notebook: mean of each edge and of each operation."""
    generator = np.random.default_rng(1)
    ours = np.array([bits(raw.sample(generator)) for _ in range(3000)])
    theirs: list[np.ndarray] = []
    while len(theirs) < 3000:
        genotype = int(generator.integers(1 << len(EDGES))) * LABELS + int(generator.integers(LABELS))
        if place_of(raw, genotype) >= 0:
            theirs.append(bits(genotype))
    for a, b in zip(ours.T, np.array(theirs).T, strict=True):
        values = np.union1d(a, b)
        table = [[np.sum(side == value) for value in values] for side in (a, b)]
        assert stats.chi2_contingency(table).pvalue > 1e-4


def bits(genotype: int) -> np.ndarray:
    found = cell(genotype)
    return np.array([*(found.edges >> place & 1 for place in range(len(EDGES))), *found.operations])


def test_the_mutation_flips_with_the_published_probabilities() -> None:
    """The distribution before rejection, read from the tables; and of valid children against a plain program."""
    flips, shifts = EdgesAndOperations()._ends
    shares = np.diff([0.0, *flips, 1.0])
    for place in range(VERTICES):
        flipped = [pattern >> place & 1 for pattern in range(1 << VERTICES)]
        assert np.dot(shares, flipped) == pytest.approx(1 / 7)
    moved = np.diff([0.0, *shifts, 1.0])
    for place in range(INNER):
        for shift, share in ((0, 4 / 5), (1, 1 / 10), (2, 1 / 10)):
            here = [number // 3**place % 3 == shift for number in range(LABELS)]
            assert np.dot(moved, here) == pytest.approx(share)


def test_children_have_the_distribution_of_the_notebook(raw: RawCells) -> None:
    generator = np.random.default_rng(2)
    parent = raw.at(123_456)
    ours = Counter(summary(parent, EdgesAndOperations().mutate(raw, parent, generator)) for _ in range(4000))
    theirs: Counter[tuple[int, int]] = Counter()
    while theirs.total() < 4000:
        edges, operations = cell(parent).edges, list(cell(parent).operations)
        for source in range(VERTICES - 1):
            for target in range(source + 1, VERTICES):
                if generator.random() < 1 / VERTICES:
                    edges ^= 1 << bit(source, target)
        for place in range(INNER):
            if generator.random() < 1 / INNER:
                operations[place] = int(generator.choice([o for o in range(3) if o != operations[place]]))
        labelling = int("".join(map(str, operations)), 3)
        if place_of(raw, edges * LABELS + labelling) >= 0:
            theirs[summary(parent, edges * LABELS + labelling)] += 1
    kinds = [kind for kind in ours | theirs if ours[kind] + theirs[kind] >= 20]
    assert len(kinds) > 10
    assert stats.chi2_contingency([[ours[k] for k in kinds], [theirs[k] for k in kinds]]).pvalue > 0.001


def summary(parent: int, child: int) -> tuple[int, int]:
    """How many edges and operations differ."""
    changed = bits(parent) != bits(child)
    return int(changed[: len(EDGES)].sum()), int(changed[len(EDGES) :].sum())


def test_neighbours_are_other_architectures_one_change_away(raw: RawCells) -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        parent = raw.sample(generator)
        around = raw.neighbours(parent)
        assert all(sum(summary(parent, child)) == 1 for child in around)
        indices = [raw.index(child) for child in around]
        assert len(set(indices)) == len(indices)
        assert raw.index(parent) not in indices
        assert raw.mutate(parent, generator) in around


def test_a_partly_covered_sub_space_is_not_left(raw: RawCells) -> None:
    space = load("nasbench101:A_4")
    generator = np.random.default_rng(4)
    values = np.where(generator.random(space.size) < 0.9, generator.random(space.size), np.nan)
    oracle = ArrayOracle(space, {108: values}, {108: 1.0})
    for name in ("random", "random-without-replacement", "evolution", "local"):
        history = run_strategy(build_strategy(name, space), oracle, Budget(evaluations=200), generator)
        assert len(history) == 200
        for evaluation in history[::20]:
            index = space.listing.index(evaluation.architecture)
            assert evaluation.value == values[index]


def test_the_mutation_belongs_to_its_space() -> None:
    space = nasbench201()
    oracle = ArrayOracle(space, {0: np.arange(space.size)}, {0: 1.0})
    strategy = RegularizedEvolution(2, Tournament(1), EdgesAndOperations())
    with pytest.raises(ConfigurationError, match="NAS-Bench-101"):
        run_strategy(strategy, oracle, Budget(evaluations=5), np.random.default_rng(0))
    with pytest.raises(ConfigurationError, match="mutation rate"):
        EdgesAndOperations(0)


def test_a_part_of_a_sub_space_draws_its_own_architectures() -> None:
    space = load("nasbench101:A_1").without(("maxpool3x3",))
    part, rng = represent(space), np.random.default_rng(0)
    assert isinstance(part, RawCells)
    for _ in range(50):
        genotype = part.sample(rng)
        assert "maxpool3x3" not in str(part.architecture(genotype))
        assert place_of(part, genotype) == part.index(genotype)
