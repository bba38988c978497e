"""Evolution as operators: who has children, how they come about, who lives on, and what a constraint admits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sharewise.errors import ConfigurationError
from sharewise.space import Choice, Condition, Space
from sharewise.spaces import load
from sharewise.strategy import (
    Best,
    Crossover,
    Fittest,
    Generations,
    Mutation,
    OneChoice,
    Plain,
    Ranks,
    RegularizedEvolution,
    Representation,
    SeveralChoices,
    Tournament,
    Trial,
    Youngest,
    represent,
)
from sharewise.strategy.evolution import by_chance

LETTERS = Space("toy", tuple(Choice(name, tuple(range(4))) for name in "abcdef"))
NESTED = Space(
    "nested",
    (
        Choice("depth", (1, 2, 3)),
        Choice("one", tuple("xyz")),
        Choice("two", tuple("xyz"), condition=Condition("depth", (2, 3))),
        Choice("three", tuple("xyz"), condition=Condition("depth", (3,))),
    ),
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_best_have_children_alike() -> None:
    population = (("a", 1.0), ("b", 3.0), ("c", 2.0), ("d", 3.0), ("e", 0.0))
    parent = Best(3).among(population, rng())
    counts = Counter(parent() for _ in range(3000))
    assert set(counts) == {"b", "d", "c"}
    assert all(abs(count - 1000) < 4.5 * (3000 * 2 / 9) ** 0.5 for count in counts.values())
    assert {Best(9).among(population, rng())() for _ in range(50)} <= set("abcde")
    with pytest.raises(ConfigurationError, match="at least 1 member"):
        Best(0)


def test_several_fitnesses_are_compared_one_after_another() -> None:
    population = (("a", (0.0, 1.0)), ("b", (-1.0, 9.0)), ("c", (0.0, 2.0)))
    assert [genotype for genotype, _ in Fittest().survivors(population)] == ["c", "a", "b"]
    assert Tournament(3).winner(population, rng()) == "c"
    assert [genotype for genotype, _ in Youngest(2).survivors(population)] == ["b", "c"]


@pytest.mark.parametrize("representation", [Ranks(LETTERS), Plain(LETTERS), Plain(NESTED)])
def test_a_child_of_two_takes_each_choice_from_one_of_them(representation: Representation) -> None:
    random = rng(1)
    shares = []
    for _ in range(200):
        parents = [representation.sample(random) for _ in range(2)]
        child = representation.architecture(Crossover().child(representation, iter(parents).__next__, random))
        first, second = map(representation.architecture, parents)
        for name, option in child.items():
            assert option in [parent[name] for parent in (first, second) if name in parent]
        differing = [name for name in child if name in first and name in second and first[name] != second[name]]
        shares += [child[name] == first[name] for name in differing]
    assert abs(np.mean(shares) - 0.5) < 4.5 * 0.5 / len(shares) ** 0.5


def test_crossing_keeps_to_what_a_table_covers() -> None:
    space = load("toy-tied-width")
    covered = np.zeros(space.size, dtype=bool)
    covered[[0, 4, 8]] = True  # no child of two different ones is covered
    for representation in (Ranks(space, covered), Plain(space, covered)):
        children = {
            representation.index(representation.cross(representation.at(0), representation.at(8), rng(seed)))
            for seed in range(20)
        }
        assert children <= {0, 4, 8}


def test_raw_cells_cross() -> None:
    cells, random = represent(load("nasbench101:A_2")), rng(2)
    for _ in range(3):
        first, second = cells.sample(random), cells.sample(random)
        assert cells.allows(cells.cross(first, second, random))


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_a_mutant_changes_a_binomial_number_of_choices(probability: float) -> None:
    """After n steps a choice of four options differs with probability 3/4 (1 - (7/9)^n); n is binomial, at least 1."""
    ranks, random = Ranks(LETTERS), rng(3)
    mutation = SeveralChoices(probability)
    changes = [sum(digit > 0 for digit in ranks.digits(mutation.mutate(ranks, 0, random))) for _ in range(2000)]
    power = (1 - probability * 2 / 9) ** 6 - (1 - probability) ** 6 * 2 / 9
    assert np.mean(changes) == pytest.approx(4.5 * (1 - power), abs=4.5 * 1.5 / 2000**0.5)
    with pytest.raises(ConfigurationError, match=r"must lie in \[0, 1\]"):
        SeveralChoices(1.1)


class Watched(Mutation):
    """Counts, and does what `OneChoice` does."""

    def __init__(self) -> None:
        self.parents: list[Any] = []

    def mutate(self, representation: Representation, genotype: Any, rng: np.random.Generator) -> Any:
        self.parents.append(genotype)
        return OneChoice().mutate(representation, genotype, rng)


def test_a_generation_is_born_of_the_best_before_any_of_it_is_scored() -> None:
    ranks, random, watched = Ranks(LETTERS), rng(4), Watched()
    scored: list[int] = []

    def fitness(born: Sequence[int]) -> list[float]:
        scored.extend(born)
        return [float(sum(ranks.digits(genotype))) for genotype in born]

    evolution = Generations(5, 12, Best(3), ((watched, 6), (Crossover(), 4)))
    allowed = lambda g: ranks.digits(g)[0] < 3  # noqa: E731
    place, best = 0, None
    for number, population in enumerate(
        evolution.populations(ranks, fitness, by_chance(ranks, random), random, allowed), start=1
    ):
        assert len(population) == len({g for g, _ in population}) == len(scored) == 12 * number
        assert [f for _, f in population] == sorted((f for _, f in population), reverse=True)
        if best is not None:
            assert set(watched.parents[place:]) <= best
        place, best = len(watched.parents), {g for g, _ in population[:3]}
    children = [g for start in range(12, 60, 12) for g in scored[start : start + 6]]
    assert all(ranks.digits(g)[0] < 3 for g in children)


def test_a_space_that_is_used_up_ends_the_births() -> None:
    space = load("toy-tied-width")
    ranks, random = Ranks(space), rng(5)
    evolution = Generations(6, 8, Best(2), ((OneChoice(), 4), (Crossover(), 4)))
    *_, last = evolution.populations(ranks, lambda born: [*map(float, born)], by_chance(ranks, random), random)
    assert len(last) == space.size
    assert last[0] == (space.size - 1, float(space.size - 1))


@pytest.mark.parametrize(
    "settings", [(0, 1, ()), (1, 0, ()), (1, 3, ((OneChoice(), 2), (Crossover(), 2))), (1, 3, ((OneChoice(), -1),))]
)
def test_generations_that_cannot_be_are_refused(settings: tuple[int, int, Any]) -> None:
    generations, size, variations = settings
    with pytest.raises(ConfigurationError):
        Generations(generations, size, Best(1), variations)


def test_regularized_evolution_forgets_the_oldest_and_has_children_of_winners() -> None:
    ranks, random = Ranks(LETTERS), rng(6)
    evolution = RegularizedEvolution(5, Tournament(5), OneChoice())
    state = evolution.start(ranks, (0,), random)
    for number in range(12):
        proposal = evolution.propose(ranks, state, random)
        if len(state) == 5:
            winner = max(state, key=lambda member: member[1])[0]
            assert proposal.genotype in ranks.neighbours(winner)
        state = evolution.update(ranks, state, Trial(proposal.genotype, float((number * 7) % 5), 1.0))
        assert state[-1][0] == proposal.genotype
    assert [value for _, value in state] == [float((n * 7) % 5) for n in range(7, 12)]


def test_a_constraint_holds_for_every_move() -> None:
    small = Plain(NESTED, admits=lambda a: len(a) < 4)
    random = rng(7)
    drawn = [small.sample(random) for _ in range(40)]
    moved = [small.mutate(a, random) for a in drawn] + [small.cross(a, b, random) for a, b in pairwise(drawn)]
    around = [b for a in drawn[:5] for b in small.neighbours(a)]
    assert all(len(a) < 4 for a in (*drawn, *moved, *around))
    assert len(small.indices) == 3 + 9
    with pytest.raises(ConfigurationError, match="in a row are not admitted"):
        Plain(LETTERS, admits=lambda a: False).sample(random)
