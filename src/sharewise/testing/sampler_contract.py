"""The contract of a sampler: every architecture as often as it should be, and no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch

from sharewise.distribution import Blueprint, Distribution, Phase, Size
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Option, Space, enumerate_architectures
from sharewise.supernet import Gates
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.distribution_contract import check_distribution
from sharewise.testing.expect import expect
from sharewise.testing.frequency import check_frequencies

__all__ = ["check_sampler"]

_CHOICES = (Choice("a", ("u", "v", "w")), Choice("b", (1, 2)), Choice("c", (4, 8, 16), ordered=True))
_SMALL = Space("small", _CHOICES)
_ENUMERATED = 20_000


def check_sampler(
    blueprint: Blueprint,
    space: Space | None = None,
    *,
    weight: Callable[[Architecture], float] = lambda architecture: 1.0,
    draws: int = 1500,
    size: Size | None = None,
    seed: int = 0,
) -> None:
    """Check a distribution that does not learn, against the probabilities that it should have.

    All laws of `check_distribution`. Then, by chi-square: what `sample` returns and what the gates of a draw encode
    have the stated probabilities, as a whole where the space is small against the draws, and option by option; draws in
    sequence do not depend on each other; an option that is excluded is never drawn, and the others keep their
    proportions. The global generators stay where they are. Where a draw is `summed` (strict fairness), its paths
    together use every option equally often, up to one.

    Args:
        blueprint: builds the sampler.
        space: of at most 20,000 architectures; 18 of three choices when absent.
        weight: of an architecture, in proportion to which it should be drawn; uniform when absent.
        draws: how many, from each of the two ways.
        size: of the networks, for a sampler that reads it.
        seed: of the draws.

    Raises:
        AssertionError: for the first law that is broken, naming what is drawn too often or too rarely.
        ConfigurationError: when the space is larger.

    Example:
        >>> from sharewise.distribution import Uniform
        >>> check_sampler(Uniform(), draws=200)
    """
    space = _SMALL if space is None else space
    if space.size > _ENUMERATED:
        raise ConfigurationError(
            f"frequencies are checked against an enumeration, and space {space.name!r} has {space.size:,} "
            f"architectures; use one of at most {_ENUMERATED:,}"
        )
    excluded: list[tuple[Option, ...]] = [(), *_excludable(space)]
    for exclude in excluded:
        check_distribution(blueprint, space, exclude=exclude, draws=3, seed=seed, size=size)
        distribution = blueprint.build(
            space.relaxation, torch.Generator().manual_seed(seed), exclude, size or (lambda architecture: 1)
        )
        legal = [a for a in enumerate_architectures(space) if not set(exclude) & set(a.values())]
        weights = {architecture: float(weight(architecture)) for architecture in legal}
        words = f" without {exclude[0]!r}" if exclude else ""
        with without_ambient_randomness("a draw"):
            sampled, drawn = _sampled(distribution, draws, seed), _drawn(distribution, draws, seed)
        _check_sequence(sampled, f"sample{words}")
        _check_counts(space, sampled, weights, f"sample{words}")
        _check_counts(space, drawn, weights, f"the gates of a draw{words}")
        if distribution.summed:
            _check_fair(distribution, exclude, seed)


def _excludable(space: Space) -> Iterator[tuple[Option, ...]]:
    """One option of each choice, where the rest of the space survives without it."""
    for choice in space.choices:
        option = choice.options[0]
        if all(set(other.options) - {option} for other in space.choices):
            yield (option,)


def _sampled(distribution: Distribution, draws: int, seed: int) -> list[Architecture]:
    generator = torch.Generator().manual_seed(seed + 1)
    return [distribution.sample(generator) for _ in range(draws)]


def _drawn(distribution: Distribution, draws: int, seed: int) -> list[Architecture]:
    generator = torch.Generator().manual_seed(seed + 2)
    found: list[Architecture] = []
    while len(found) < draws:
        paths = distribution.draw(generator, Phase("weights"))
        # one of the paths: strict fairness makes those of one draw depend on each other
        found.append(_decoded(distribution, paths[len(found) % len(paths)]))
    return found


def _decoded(distribution: Distribution, gates: Gates) -> Architecture:
    return distribution.relaxation.project({name: gate.weights.tolist() for name, gate in gates.items()})


def _check_counts(space: Space, drawn: list[Architecture], weights: dict[Architecture, float], what: str) -> None:
    for choice in space.choices:
        by_option: Counter[Option] = Counter()
        for architecture, value in weights.items():
            if choice.name in architecture:
                by_option[architecture[choice.name]] += value  # type: ignore[assignment]
        counts = Counter(a[choice.name] for a in drawn if choice.name in a)
        options = list(choice.options)
        if sum(counts.values()):
            check_frequencies(
                [f"{choice.name}={option}" for option in options],
                [counts[option] for option in options],
                [float(by_option[option]) for option in options],
                what,
            )
    if len(weights) * 5 <= len(drawn):
        whole, cells = Counter(drawn), list(dict.fromkeys([*weights, *drawn]))
        check_frequencies(
            [str(a) for a in cells], [whole[a] for a in cells], [weights.get(a, 0.0) for a in cells], what
        )


def _check_sequence(drawn: list[Architecture], what: str) -> None:
    """How often a draw repeats the one before: Σ p² if draws are independent, with p as frequent as they are."""
    repeat = sum((count / len(drawn)) ** 2 for count in Counter(drawn).values())
    repeats = sum(first == second for first, second in pairwise(drawn))
    if 0 < repeat < 1:
        names = ("a repetition of the draw before", "a change from the draw before")
        check_frequencies(names, (repeats, len(drawn) - 1 - repeats), (repeat, 1 - repeat), what)


def _check_fair(distribution: Distribution, exclude: tuple[Option, ...], seed: int) -> None:
    paths = distribution.draw(torch.Generator().manual_seed(seed), Phase("weights"))
    for decision in distribution.relaxation.decisions:
        counts = Counter(index for gates in paths for index in gates[decision.name].active)
        allowed = [index for index, option in enumerate(decision.options) if option not in exclude]
        uses = [counts[index] for index in allowed]
        expect(
            max(uses) - min(uses) <= 1,
            f"the losses of a draw are added, as strict fairness wants, but its paths use the options of "
            f"{decision.name!r} {uses} times",
        )
