"""Samplers that are broken on purpose, each caught by `check_sampler` for what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from sharewise.distribution import (
    Blueprint,
    Distribution,
    Fair,
    Phase,
    Proportional,
    Restricted,
    Sampler,
    Size,
    Uniform,
    host_rng,
)
from sharewise.space import Architecture, Option, Relaxation, Space, sample
from sharewise.supernet import Gates, discrete
from sharewise.testing import check_frequencies, check_sampler

NUMBERS: dict[Option, int] = {"u": 1, "v": 2, "w": 50}


class Honest(Sampler):
    """Uniform over the space; sound, and the trunk of all that is broken here."""

    def __init__(self, relaxation: Relaxation, exclude: tuple[Option, ...]) -> None:
        super().__init__()
        present = tuple(o for o in exclude if any(o in c.options for c in relaxation.space.choices))
        self.relaxation, self.whole = relaxation, relaxation.space
        self.space = relaxation.space.without(present) if present else relaxation.space

    def pick(self, space: Space, rng: np.random.Generator) -> Architecture:
        return sample(space, rng)

    def sample(self, generator: torch.Generator) -> Architecture:
        return self.whole.architecture(dict(self.pick(self.space, host_rng(generator))))

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        return [discrete(self.relaxation.encode(self.sample(generator)))]


class NeverLast(Honest):
    """Cannot reach the last option of any choice."""

    def pick(self, space: Space, rng: np.random.Generator) -> Architecture:
        values: dict[str, Option] = {}
        for choice in space.choices:
            values[choice.name] = choice.options[int(rng.integers(max(1, len(choice.options) - 1)))]
        return space.architecture(values)


class Favouring(Honest):
    """Draws twice and keeps the first in the alphabet."""

    def pick(self, space: Space, rng: np.random.Generator) -> Architecture:
        return min(sample(space, rng), sample(space, rng), key=str)


class Coupled(Honest):
    """Every option as often as it should be, but two choices always at the same place."""

    def pick(self, space: Space, rng: np.random.Generator) -> Architecture:
        drawn, first, last = dict(sample(space, rng)), space.choices[0], space.choices[2]
        place = first.index(drawn[first.name]) if len(first.options) == len(last.options) else 0
        return space.architecture({**drawn, last.name: last.options[place % len(last.options)]})


class Sticky(Honest):
    """Repeats half of its draws."""

    last: Architecture | None = None

    def sample(self, generator: torch.Generator) -> Architecture:
        fresh = super().sample(generator)
        stays = bool(torch.rand((), generator=generator) < 0.5) and self.last is not None
        self.last = self.last if stays else fresh
        assert self.last is not None
        return self.last


class Deaf(Honest):
    """Ignores what is excluded."""

    def __init__(self, relaxation: Relaxation, exclude: tuple[Option, ...]) -> None:
        super().__init__(relaxation, ())


class SkewedGates(Honest):
    """Samples uniformly, but draws gates from something else."""

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        rng = host_rng(generator)
        values = {c.name: c.options[int(rng.random() ** 2 * len(c.options))] for c in self.space.choices}
        return [discrete(self.relaxation.encode(self.whole.architecture(values)))]


class Ambient(Honest):
    def sample(self, generator: torch.Generator) -> Architecture:
        torch.rand(1)
        return super().sample(generator)


class HalfFair(Honest):
    """Promises strict fairness, with paths drawn independently."""

    summed = True

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        return [super(HalfFair, self).draw(generator, phase)[0] for _ in range(3)]


class Soft(Honest):
    """Gates of one half."""

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        from sharewise.supernet import Gate

        paths = super().draw(generator, phase)
        return [{n: Gate(0.5 * g.weights, g.active) for n, g in gates.items()} for gates in paths]


@dataclass(frozen=True)
class Built(Blueprint):
    make: Callable[[Relaxation, tuple[Option, ...]], Distribution]

    def build(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        size: Size = lambda architecture: 1,
    ) -> Distribution:
        return self.make(relaxation, exclude)


BROKEN: list[tuple[Any, str]] = [
    (NeverLast, r"sample drew '\w=\w+' \d+ times of \d+, where .* were to be expected"),
    (Favouring, "sample drew .* were to be expected"),
    (Coupled, "sample drew .*, which it never should|sample drew '{.* were to be expected"),
    (Sticky, "drew 'a (repetition of|change from) the draw before'"),
    (Deaf, "are excluded, but .* was sampled|is masked, but active"),
    (SkewedGates, "the gates of a draw drew .* were to be expected"),
    (Ambient, "a draw draws from torch's global generator"),
    (HalfFair, "as strict fairness wants, but its paths use the options"),
    (Soft, "a sampler gave 'a' the weights"),
]


@pytest.mark.parametrize(("make", "message"), BROKEN, ids=[m.__name__ for m, _ in BROKEN])
def test_broken_samplers_are_caught(make: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_sampler(Built(make), draws=600)


def test_a_sampler_in_proportion_to_another_size_is_caught() -> None:
    def size(architecture: Architecture) -> int:
        return 10 + NUMBERS[architecture["a"]]

    check_sampler(Proportional(), weight=size, size=size, draws=600)
    with pytest.raises(AssertionError, match=r"sample drew 'a=w' .* where 200\.0 were to be expected"):
        check_sampler(Proportional(), size=size, draws=600)


@pytest.mark.parametrize("blueprint", [Built(Honest), Uniform(), Uniform(paths=3), Fair()])
def test_sound_samplers_pass(blueprint: Blueprint) -> None:
    check_sampler(blueprint, draws=600)


def test_a_part_of_a_space_is_drawn_alone() -> None:
    check_sampler(Restricted(Uniform(), "a", ("u", "v")), weight=lambda a: float(a["a"] != "w"), draws=600)


def test_frequencies_with_rare_cells() -> None:
    check_frequencies(("a", "b", "c"), (60, 2, 1), (0.95, 0.03, 0.02), "a die")
    with pytest.raises(AssertionError, match="a die drew 'b' 30 times of 60"):
        check_frequencies(("a", "b", "c"), (30, 30, 0), (0.95, 0.03, 0.02), "a die")
    with pytest.raises(AssertionError, match=r"drew \['b'\], which it never should"):
        check_frequencies(("a", "b"), (59, 1), (1.0, 0.0), "a die")


def test_options_are_named() -> None:
    counts: Mapping[str, int] = {"x": 10, "y": 90}
    with pytest.raises(AssertionError, match=r"drew 'x' 10 times of 100, where 50\.0 were to be expected"):
        check_frequencies(list(counts), list(counts.values()), (1, 1), "a coin")
