"""Selections that are broken on purpose, each caught by `check_selection` for what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from sharewise.distribution import host_rng
from sharewise.engine import (
    ByStrategy,
    DartsRule,
    Evolution,
    Mode,
    RankSampled,
    SearchState,
    Selected,
    Selection,
    evaluate_gates,
)
from sharewise.space import Architecture, sample
from sharewise.strategy import RegularizedEvolution, Tournament
from sharewise.supernet import BatchStatistics, RecalibratedStatistics, RunningStatistics, discrete
from sharewise.testing import check_selection


@dataclass(frozen=True)
class Ranking(Selection):
    """Compares four candidates; sound, and the trunk of most that is broken here."""

    reads_probabilities: bool = False

    def candidates(self, state: SearchState) -> list[Architecture]:
        generator, found = state.fresh_generator("candidates"), {}
        for _ in range(200):
            architecture = state.distribution.sample(generator)
            if state.affordable is None or state.affordable.admits(architecture):
                found[architecture] = None
            if len(found) == 4:
                break
        return list(found)

    def batches(self, state: SearchState, number: int) -> Any:
        return state.evaluation_batches("selection")

    def score(self, state: SearchState, architecture: Architecture, number: int) -> dict[str, float]:
        gates = discrete(state.distribution.relaxation.encode(architecture))
        return evaluate_gates(state, gates, self.batches(state, number), RunningStatistics())

    def select(self, state: SearchState) -> Selected:
        sign = -1 if state.task.higher_is_better else 1
        scored = [(a, self.score(state, a, n)) for n, a in enumerate(self.candidates(state))]
        ranked = sorted(scored, key=lambda pair: sign * pair[1][state.task.primary])
        return self.picked(state, Selected(ranked[0][0], "best of four", tuple(ranked)))

    def picked(self, state: SearchState, selected: Selected) -> Selected:
        return selected


class Tuning(Ranking):
    """Trains a little more before it looks."""

    def picked(self, state: SearchState, selected: Selected) -> Selected:
        with torch.no_grad():
            next(state.supernet.parameters()).mul_(0.99)
        return selected


class Recalibrating(Ranking):
    """Leaves the statistics of the last candidate behind."""

    def score(self, state: SearchState, architecture: Architecture, number: int) -> dict[str, float]:
        for name, buffer in state.supernet.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.1)
        return super().score(state, architecture, number)


class Consuming(Ranking):
    """Draws training batches that a resumed run would miss."""

    def picked(self, state: SearchState, selected: Selected) -> Selected:
        state.next_batch("weights")
        return selected


class LeavesEvaluation(Ranking):
    def picked(self, state: SearchState, selected: Selected) -> Selected:
        state.supernet.eval()
        return selected


class MovesTheta(Mode):  # type: ignore[misc]
    def select(self, state: SearchState) -> Selected:
        selected = super().select(state)
        with torch.no_grad():
            for parameter in state.distribution.parameters():
                parameter.add_(0.01)
        return selected


class Ambient(Ranking):
    def candidates(self, state: SearchState) -> list[Architecture]:
        torch.randperm(4)
        return super().candidates(state)


class Undecided(Ranking):
    """Another one at every call."""

    def candidates(self, state: SearchState) -> list[Architecture]:
        generator = torch.Generator()
        generator.seed()
        rng = host_rng(generator)
        return [sample(state.distribution.space, rng) for _ in range(4)]

    def select(self, state: SearchState) -> Selected:
        return Selected(self.candidates(state)[0], "whatever")


class OtherData(Ranking):
    """Every candidate on a part of its own."""

    def batches(self, state: SearchState, number: int) -> Any:
        inputs = state.evaluation_batches("selection")[0]
        return [type(inputs)(inputs.inputs[number::4], inputs.targets[number::4])]


class OnTraining(Ranking):
    def batches(self, state: SearchState, number: int) -> Any:
        return state.evaluation_batches("weights")


class OnTest(Ranking):
    def score(self, state: SearchState, architecture: Architecture, number: int) -> dict[str, float]:
        state.data.dataset.open_test("a look")
        return super().score(state, architecture, number)


class Worst(Ranking):
    def picked(self, state: SearchState, selected: Selected) -> Selected:
        return Selected(selected.candidates[-1][0], "best of four", selected.candidates[::-1])


class HigherAlways(Ranking):
    """Takes the highest value of whatever metric."""

    def select(self, state: SearchState) -> Selected:
        scored = [(a, self.score(state, a, n)) for n, a in enumerate(self.candidates(state))]
        ranked = sorted(scored, key=lambda pair: -pair[1][state.task.primary])
        return Selected(ranked[0][0], "best of four", tuple(ranked))


class AnotherThanTheBest(Ranking):
    def picked(self, state: SearchState, selected: Selected) -> Selected:
        return replace(selected, architecture=selected.candidates[1][0])


class Repeating(Ranking):
    def candidates(self, state: SearchState) -> list[Architecture]:
        return [super().candidates(state)[0]] * 4


class Unpaid(Ranking):
    """Forgets the ledger."""

    def score(self, state: SearchState, architecture: Architecture, number: int) -> dict[str, float]:
        ledger = state.ledger
        state.ledger = type(ledger)()
        try:
            return super().score(state, architecture, number)
        finally:
            state.ledger = ledger


class Foreign(Ranking):
    def picked(self, state: SearchState, selected: Selected) -> Selected:
        return Selected(Architecture("elsewhere", selected.architecture.items_), "best of four")


class Illegal(Ranking):
    def picked(self, state: SearchState, selected: Selected) -> Selected:
        name, _ = selected.architecture.items_[0]
        items = ((name, "no such option"), *selected.architecture.items_[1:])
        return Selected(Architecture(selected.architecture.space, items), "best of four")


class Forbidden(Ranking):
    """Takes what the recipe excludes."""

    def candidates(self, state: SearchState) -> list[Architecture]:
        [option] = state.recipe.exclude or (None,)
        a, space = super().candidates(state)[0], state.supernet.space
        return [space.architecture({**a, c.name: option}) for c in space.choices if option in c.options][:1] or [a]


class Unlimited(Ranking):
    """Takes the largest, whatever the budget."""

    def candidates(self, state: SearchState) -> list[Architecture]:
        space, rng = state.distribution.space, host_rng(state.fresh_generator("candidates"))
        drawn = list(dict.fromkeys(sample(space, rng) for _ in range(30)))
        with torch.device("meta"):
            return [max(drawn, key=lambda a: sum(p.numel() for p in state.supernet.plain(a).parameters()))]


@dataclass(frozen=True)
class Least(Selection):
    """The least probable option of every decision."""

    reads_probabilities: bool = True

    def select(self, state: SearchState) -> Selected:
        return Selected(self.projected(state), "mode")

    def projected(self, state: SearchState) -> Architecture:
        rows = {name: (1 - row).tolist() for name, row in state.distribution.probabilities().items()}
        wish = state.distribution.relaxation.project(rows, state.recipe.exclude)
        return wish if state.affordable is None else state.affordable.best(rows, wish)


@dataclass(frozen=True)
class SaysOther(Least):
    """What it says during the search is not what it picks at the end."""

    def select(self, state: SearchState) -> Selected:
        return Mode().select(state)


BROKEN: list[tuple[Selection, str]] = [
    (Tuning(), "changes supernet: a selection only looks"),
    (Recalibrating(), "changes supernet: a selection only looks"),
    (Consuming(), "changes streams: a selection only looks"),
    (LeavesEvaluation(), "leaves modules in another mode"),
    (MovesTheta(), "changes distribution: a selection only looks"),
    (Ambient(), "draws from torch's global generator"),
    (Undecided(), "and asked again"),
    (OtherData(), "compares candidates on different examples"),
    (OnTraining(), r"scores a candidate on \d+ examples that are not of the role 'selection'"),
    (OnTest(), "opened the test examples"),
    (Worst(), "has a better one"),
    (HigherAlways(), "has a better one .higher_is_better=False"),
    (AnotherThanTheBest(), "as the best of its candidates"),
    (Repeating(), "compared an architecture with itself"),
    (Unpaid(), "charged nothing to the ledger"),
    (Foreign(), "picked an illegal architecture: .* belongs to space 'elsewhere'"),
    (Illegal(), "picked an illegal architecture"),
    (Forbidden(), "are excluded"),
    (Unlimited(), "beyond the budget of"),
    (Least(), "the distribution has settled on"),
    (SaysOther(), "but says that it would pick"),
]


def test_the_sound_selection_passes() -> None:
    check_selection(Ranking())


@pytest.mark.parametrize(("selection", "message"), BROKEN, ids=[type(s).__name__ for s, _ in BROKEN])
def test_broken_selections_are_caught(selection: Selection, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_selection(selection)


def by_strategy() -> Selection:
    return ByStrategy(RegularizedEvolution(4, Tournament(2)), evaluations=8)


HOUSE: list[Callable[[], Selection]] = [
    Mode,
    DartsRule,
    by_strategy,
    lambda: RankSampled(candidates=3),
    lambda: RankSampled(candidates=4, finalists=2, examples=8, rounds=2),
    lambda: RankSampled(candidates=3, policy=BatchStatistics()),
    lambda: RankSampled(candidates=3, policy=RecalibratedStatistics(1)),
    lambda: Evolution(generations=2, population=4, parents=2, crossover=1, mutation=1),
]


@pytest.mark.sweep(2)
@pytest.mark.parametrize("make", HOUSE)
def test_selections_of_the_house_pass(make: Callable[[], Selection]) -> None:
    check_selection(make())
