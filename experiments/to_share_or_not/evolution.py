"""Regularized evolution beside random search over whole sub-spaces of NAS-Bench-101, by the rule of the paper.

"We [...] stop search after evaluating 10,000 valid models (models that don't belong to the search space are directly
given an accuracy of 0)": so evolution draws and mutates over all of NAS-Bench-101, what lies outside costs no training
and fills the population, and the first population is complete long before 50 trainings are. Evolution that is confined
to the sub-space stands beside it.

Validation accuracies are published for a third of the table only. Here both searches see, and are judged by, the mean
test accuracy, which is known of every architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from published import Floats, Published

from sharewise.appraisal import GroupComparison, compare_groups
from sharewise.spaces import load as load_space
from sharewise.strategy.nasbench101 import EdgesAndOperations, RawCells

POPULATION, TOURNAMENT = 50, 10
"""Of the program of NAS-Bench-101."""


@dataclass(frozen=True, eq=False)
class Whole:
    """One sub-space as a whole: regrets after each training, `(repeats, trainings)`, points.

    Args:
        random: of random search over unique cells.
        evolution: of evolution by the rule of the paper.
        confined: of evolution that draws again what lies outside.
        mutants: whether the n-th training of evolution by the rule was of a mutant, in place of the first population.
        share: of the raw random cells that lie inside.
    """

    random: Floats
    evolution: Floats
    confined: Floats
    mutants: NDArray[np.bool_]
    share: float

    def compared(self, trainings: int, *, confined: bool = False) -> GroupComparison:
        """Evolution less random search after so many trainings."""
        ours = self.confined if confined else self.evolution
        return compare_groups(ours[:, trainings - 1], self.random[:, trainings - 1])


def whole(data: Published, config: Mapping[str, Any], space: str, trainings: int, rng: np.random.Generator) -> Whole:
    """Repeat all three searches on a sub-space."""
    full = load_space("nasbench101")
    inside, truth = np.zeros(full.size, dtype=bool), np.zeros(full.size)
    inside[data.listed] = data.members(space)
    truth[data.listed] = 100.0 * data.architectures["test_correct_sum"] / (3 * 9_984)
    best, repeats = truth[inside].max(), config["repeats"]
    everywhere, within = RawCells(full), RawCells(full, inside)
    ruled = [evolved(everywhere, inside, truth, trainings, rng) for _ in range(repeats)]
    confined = [evolved(within, inside, truth, trainings, rng)[0] for _ in range(repeats)]
    values = truth[inside]
    drawn = np.stack([values[rng.choice(len(values), trainings, replace=False)] for _ in range(repeats)])
    found = np.array([everywhere.find(everywhere.sample(rng)) for _ in range(20_000)])
    return Whole(
        best - np.maximum.accumulate(drawn, axis=1),
        best - np.array([values for values, _ in ruled]),
        best - np.array(confined),
        np.array([mutants for _, mutants in ruled]),
        float(inside[found].mean()),
    )


def evolved(
    cells: RawCells, inside: NDArray[np.bool_], truth: Floats, trainings: int, rng: np.random.Generator
) -> tuple[list[float], list[bool]]:
    """The best value after each training, and which of the trainings were of mutants."""
    mutation, population = EdgesAndOperations(), []
    bests: list[float] = []
    mutants: list[bool] = []
    while len(bests) < trainings:
        mutant = len(population) >= POPULATION
        if mutant:
            rivals = rng.choice(len(population), TOURNAMENT, replace=False)
            parent = max((population[int(rival)] for rival in rivals), key=lambda one: one[1])[0]
            genotype = mutation.mutate(cells, parent, rng)
        else:
            genotype = cells.sample(rng)
        index = cells.find(genotype)
        value = float(truth[index]) if inside[index] else 0.0
        population = [*population, (genotype, value)][-POPULATION:]
        if inside[index]:
            bests.append(max(value, bests[-1]) if bests else value)
            mutants.append(mutant)
    return bests, mutants
