"""Reactions that are broken on purpose, each caught by `check_reaction` for what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from sharewise.engine import Reaction, SearchState, go_back, set_aside
from sharewise.testing import check_reaction


@dataclass(frozen=True)
class Halving(Reaction):
    """After the second epoch goes back to the first and halves θ; sound, and the trunk of all that is broken here."""

    def observe(self, state: SearchState, record: Mapping[str, Any]) -> Mapping[str, Any]:
        if state.epoch == 0:
            set_aside(state, most=1)
        return {}

    def decide(self, state: SearchState) -> Mapping[str, Any] | None:
        answered = any(record["event"] == "back" for record in state.history)
        due = not answered and state.history[-1]["epoch"] == 1
        return {"to": 0, "factor": 0.5, "note": "halved θ"} if due else None

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        go_back(state, record["to"])
        with torch.no_grad():
            for value in state.distribution.parameters():
                value.mul_(record["factor"])


class Meddling(Halving):
    """Moves w while it observes."""

    def observe(self, state: SearchState, record: Mapping[str, Any]) -> Mapping[str, Any]:
        with torch.no_grad():
            next(state.supernet.parameters()).add_(0.1)
        return super().observe(state, record)


class Hasty(Halving):
    """Acts while it decides."""

    def decide(self, state: SearchState) -> Mapping[str, Any] | None:
        with torch.no_grad():
            for value in state.distribution.parameters():
                value.mul_(0.5)
        return super().decide(state)


class Ambient(Halving):
    def decide(self, state: SearchState) -> Mapping[str, Any] | None:
        torch.rand(())
        return super().decide(state)


@dataclass(frozen=True)
class Remembering(Halving):
    """Holds what it has seen in itself, which no checkpoint knows."""

    seen: list[int] = field(default_factory=list)

    def observe(self, state: SearchState, record: Mapping[str, Any]) -> Mapping[str, Any]:
        self.seen.append(state.step)
        return super().observe(state, record)

    def decide(self, state: SearchState) -> Mapping[str, Any] | None:
        decided = super().decide(state)
        return None if decided is None else {**decided, "factor": 1 / (1 + len(self.seen))}


class NotPlain(Halving):
    def decide(self, state: SearchState) -> Mapping[str, Any] | None:
        decided = super().decide(state)
        return None if decided is None else {**decided, "factor": torch.tensor(0.5)}


class Silent(Halving):
    """Does not say in words what it did."""

    def decide(self, state: SearchState) -> Mapping[str, Any] | None:
        decided = super().decide(state)
        return None if decided is None else {"to": 0, "factor": 0.5}


class Idle(Halving):
    def decide(self, state: SearchState) -> Mapping[str, Any] | None:
        return None


class DrawsLate(Halving):
    """Draws in `apply`, so that a run that is continued goes elsewhere."""

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        own = torch.Generator()
        own.seed()
        super().apply(state, {**record, "factor": float(torch.rand((), generator=own))})


def test_the_trunk_is_sound() -> None:
    check_reaction(Halving())


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Meddling(), "changes the search while it observes"),
        (Hasty(), "changes the search while it decides"),
        (Ambient(), "decides and draws"),
        (Remembering(), "continued at step .* differs in the"),
        (NotPlain(), "more than plain values"),
        (Silent(), "no `note`"),
        (Idle(), "never answers in 5 epochs"),
        (DrawsLate(), "continued at step .* differs in the"),
    ],
)
def test_broken_reactions(broken: Reaction, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_reaction(broken)
