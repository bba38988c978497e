"""Oracles that are broken on purpose, each caught by `check_oracle` for what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import sharewise as sw
from sharewise.data import Dataset, digits
from sharewise.engine import SupernetOracle
from sharewise.errors import ConfigurationError
from sharewise.run import TrainingRecipe
from sharewise.space import Architecture, Choice, Space
from sharewise.strategy import ArrayOracle, Evaluation, Oracle
from sharewise.studies.oracles import StandaloneOracle
from sharewise.testing import check_oracle

SPACE = Space("twelve", (Choice("a", (1, 2, 3, 4), ordered=True), Choice("b", ("x", "y", "z"))))
VALID, TEST = (np.random.default_rng(seed).random(12) for seed in (0, 1))


def valid(architecture: Architecture, fidelity: int) -> float:
    return float(VALID[SPACE.listing.index(architecture)]) - 1 / fidelity


def sealed(architecture: Architecture, fidelity: int) -> float:
    return float(TEST[SPACE.listing.index(architecture)]) - 1 / fidelity


class Careful(Oracle):
    """Sound, and the trunk of all that is broken here."""

    space, unit, fidelities = SPACE, "seconds", (4, 12)

    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        if fidelity not in self.fidelities:
            raise ConfigurationError(f"no fidelity {fidelity}")
        architecture = self.space.own(architecture)
        return self.answered(Evaluation(architecture, valid(architecture, fidelity), 2.0 * fidelity, fidelity), rng)

    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        return answer


class Forgetful(Careful):
    """A better value every time."""

    def __init__(self) -> None:
        self.asked = 0

    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        self.asked += 1
        return replace(answer, value=answer.value + 1e-6 * self.asked)


class Noisy(Careful):
    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        return replace(answer, value=answer.value + 0.01 * rng.standard_normal())


class Ambient(Careful):
    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        torch.rand(1)
        return answer


class Free(Careful):
    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        return replace(answer, cost=0.0)


class Endless(Careful):
    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        return replace(answer, cost=float("inf"))


class CheaperWhenLonger(Careful):
    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        return replace(answer, cost=100.0 / answer.fidelity)


class Failed(Careful):
    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        return replace(answer, value=float("nan"))


class Cached(Careful):
    """Answers a second question with the first answer."""

    def __init__(self) -> None:
        self.first: Evaluation | None = None

    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        self.first = self.first or answer
        return self.first


class LongestOnly(Careful):
    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        return replace(answer, fidelity=12)


class Tested(Careful):
    """The test value in place of the signal."""

    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        return replace(answer, value=sealed(answer.architecture, answer.fidelity))


class Mixed(Careful):
    """The mean of validation and test."""

    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        return replace(answer, value=(answer.value + sealed(answer.architecture, answer.fidelity)) / 2)


class Hospitable(Careful):
    """Answers for architectures of any space."""

    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        return Evaluation(architecture, 0.5, 2.0 * fidelity, fidelity)


class Startled(Careful):
    """Meets foreign architectures with whatever its dictionary raises."""

    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        known = {(a, f): valid(a, f) for a in map(SPACE.listing.at, range(12)) for f in self.fidelities}
        return Evaluation(architecture, known[architecture, fidelity], 2.0 * fidelity, fidelity)


class Patient(Careful):
    """Rounds an unknown fidelity to one that it knows."""

    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        return super().evaluate(architecture, min(fidelity, 12), rng)


class Opening(Careful):
    """Looks at the test examples."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def answered(self, answer: Evaluation, rng: np.random.Generator) -> Evaluation:
        self.dataset.open_test("a look")
        return answer


class Disordered(Careful):
    fidelities = (12, 4)


BROKEN: list[tuple[Oracle, str]] = [
    (Forgetful(), "asked again with an equal generator"),
    (Noisy(), "under another generator; if its answers have noise"),
    (Ambient(), "draws from torch's global generator"),
    (Free(), "costs 0.0 seconds"),
    (Endless(), "costs inf seconds"),
    (CheaperWhenLonger(), "a longer training costs no less"),
    (Failed(), "a training that failed is worth -inf"),
    (Cached(), "and answered (about|at)"),
    (LongestOnly(), "asked at fidelity 4 and answered at 12"),
    (Tested(), "which is its test value"),
    (Mixed(), "whose signal is"),
    (Hospitable(), "an architecture of another space instead of refusing it"),
    (Startled(), "should refuse it by a ConfigurationError"),
    (Patient(), "answered at 12|the unknown fidelity 13 instead of refusing it"),
    (Disordered(), "must ascend"),
]


def test_the_sound_oracle_passes() -> None:
    check_oracle(Careful(), truth=valid, sealed=sealed)


@pytest.mark.parametrize(("oracle", "message"), BROKEN, ids=[type(o).__name__ for o, _ in BROKEN])
def test_broken_oracles_are_caught(oracle: Oracle, message: str) -> None:
    truth: Any = None if isinstance(oracle, Tested | Hospitable) else valid
    with pytest.raises(AssertionError, match=message):
        check_oracle(oracle, truth=truth, sealed=sealed)


def test_an_oracle_that_opens_the_test_examples_is_caught() -> None:
    dataset = digits()
    check_oracle(Careful(), dataset=dataset)
    with pytest.raises(AssertionError, match="opened the test examples"):
        check_oracle(Opening(dataset), dataset=dataset)


def test_declared_noise_is_allowed() -> None:
    check_oracle(Noisy(), noise=True)


def test_every_oracle_of_the_house_passes() -> None:
    check_oracle(ArrayOracle(SPACE, {4: VALID - 0.25, 12: VALID - 1 / 12}, {4: 1.0, 12: 3.0}), truth=valid)
    check_oracle(ArrayOracle(SPACE, {0: np.stack([VALID, TEST])}, {0: 1.0}), noise=True)
    space, data = sw.spaces.toy_tied_width(), digits().limited(64, seed=0)
    result = sw.search(space, sw.methods.spos(candidates=1), data, max_steps=2, device="cpu")
    check_oracle(SupernetOracle(result.state, examples=32), dataset=data, samples=3)
    training = TrainingRecipe(epochs=1, validation_fraction=0.2)
    check_oracle(StandaloneOracle(space, data, max_steps=1, device="cpu", training=training), dataset=data, samples=2)
