"""Few-shot search: several supernets, each for a part of the space, instead of one for all of it.

Architectures that share weights pull them in different directions. Splitting the space by one choice lets only those
share that agree on it: more training in all, less interference in each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from sharewise.data import Dataset
from sharewise.distribution.restriction import Restricted
from sharewise.engine import Event, Recipe, SearchResult, SearchState, Started, SupernetOracle
from sharewise.engine.score import fitness
from sharewise.errors import ConfigurationError
from sharewise.run.place import Keep, Place, Setting
from sharewise.run.search import Search
from sharewise.space import Architecture, Option, Space
from sharewise.space.restriction import groups_of
from sharewise.strategy.oracle import Evaluation, Oracle
from sharewise.supernet import NormPolicy, Supernet

__all__ = ["FewShot", "FewShotOracle", "few_shot"]


@final
@dataclass(frozen=True)
class FewShot:
    """The supernets of the parts of a space.

    Args:
        choice: by which the space is split.
        groups: of its options, one a supernet.
        results: of the searches, in the same order.
    """

    choice: str
    groups: tuple[tuple[Option, ...], ...]
    results: tuple[SearchResult, ...]

    def holding(self, architecture: Architecture) -> SearchResult:
        """The search whose supernet was trained for the part that holds an architecture.

        Raises:
            ConfigurationError: when no part does.
        """
        option = architecture.get(self.choice)
        for group, result in zip(self.groups, self.results, strict=True):
            if option in group:
                return result
        raise ConfigurationError(f"{architecture} has {self.choice!r} = {option!r}, which no supernet was trained for")

    @property
    def best(self) -> SearchResult:
        """The search whose pick has the best score; all of them scored on the same held-out examples."""

        def value(result: SearchResult) -> float:
            scores = dict(result.selected.candidates).get(result.architecture)
            return -math.inf if scores is None else fitness(result.state.task, scores)

        return max(self.results, key=value)

    @property
    def multiply_accumulates(self) -> int:
        """Of all searches together, their selections included; that of an initial supernet is not among them."""
        return sum(result.state.ledger.multiply_accumulates for result in self.results)

    def oracle(self, policy: NormPolicy | None = None, examples: int | None = None) -> FewShotOracle:
        """An oracle over the whole space; arguments as for `SupernetOracle`."""
        return FewShotOracle(self, policy, examples)


@final
class FewShotOracle(Oracle):
    """The score of an architecture with the weights of the supernet whose part holds it.

    Args:
        few: trained supernets.
        policy: which batch-norm statistics an architecture uses; by default its own, estimated again.
        examples: how many selection examples to judge on; `None` for all.
    """

    unit = "multiply-accumulates"

    def __init__(self, few: FewShot, policy: NormPolicy | None = None, examples: int | None = None) -> None:
        self._few = few
        self._oracles = [SupernetOracle(result.state, policy, examples) for result in few.results]
        self.space = self._oracles[0].space

    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        """See `Oracle.evaluate`."""
        holder = self._few.holding(architecture)
        place = next(i for i, result in enumerate(self._few.results) if result is holder)
        return self._oracles[place].evaluate(architecture, fidelity, rng)


def few_shot(
    space: Space,
    recipe: Recipe,
    dataset: Dataset,
    *,
    choice: str,
    groups: Sequence[Sequence[Option]] | None = None,
    initial: Supernet | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
    max_steps: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
) -> FewShot:
    """Split a space by a choice and search every part with a supernet of its own.

    Args:
        space: the whole.
        recipe: a method that draws whole architectures, such as `sharewise.methods.spos()`.
        dataset: split into roles in the same way for all supernets, so that their scores can be compared.
        choice: by which the space is split; one that every architecture makes.
        groups: of its options, one a supernet; by default each option by itself.
        initial: a supernet of the whole space from whose weights all of them start; by default from scratch.
        network: options of the network by name; those of `initial` where there is one.
        seed: of every random stream, the same for all supernets.
        device: see `sharewise.search`.
        precision: see `sharewise.search`.
        max_steps: of each supernet.
        out: a folder that gets one run folder for each supernet, `part0`, `part1`, …
        resume: go on in `out`: parts that were begun are continued, others begin.

    Returns:
        All supernets.

    Raises:
        ConfigurationError: when the choice or the groups do not partition the space, the method does not draw whole
            architectures, or `initial` has other weights.

    Example:
        >>> import sharewise as sw
        >>> space, data = sw.spaces.toy_tied_width(), sw.data.digits()
        >>> recipe = sw.methods.spos(candidates=2, selection_examples=64)
        >>> few = few_shot(space, recipe, data, choice="width", groups=[(4, 8), (16, 32)], max_steps=2, device="cpu")
        >>> few.results[1].architecture["width"] in (16, 32)
        True
        >>> a = space.architecture({"width": 16, "activation": "relu"})
        >>> few.oracle(examples=64).evaluate(a, 0, np.random.default_rng(0)).architecture == a
        True

    References:
        Y. Zhao et al., *Few-shot Neural Architecture Search*, ICML 2021 (arXiv 2006.06863).

    Deviations:
        Every supernet keeps the weights of all options, of which the ones that its part lacks are never trained; the
        authors build smaller ones. Initial weights are copied whole, running statistics included.
    """
    parts = groups_of(space, choice, groups)
    recipes = [replace(recipe, distribution=Restricted(recipe.distribution, choice, part)) for part in parts]

    def begin(state: SearchState, event: Event) -> None:
        if initial is not None and isinstance(event, Started) and state.step == 0:
            try:
                state.supernet.load_state_dict(initial.state_dict())
            except RuntimeError as error:
                raise ConfigurationError(f"the initial supernet does not fit: {str(error).splitlines()[-1]}") from None

    setting = Setting(dict(network or {}), seed, Place(device, precision), max_steps)
    results = []
    for index, part in enumerate(recipes):
        folder = None if out is None else Path(out) / f"part{index}"
        keep = Keep.at(folder) if resume else Keep(folder)
        results.append(Search(space, part, dataset, setting).run(keep, [begin]))
    return FewShot(choice, parts, tuple(results))
