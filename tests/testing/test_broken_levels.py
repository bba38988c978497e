"""Levels that are broken on purpose, each caught by `check_level` for what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from sharewise.distribution import Learned, Simplex, StraightThroughGumbel
from sharewise.engine import Alternating, Constant, Joint, Level, Reward, SearchState, Unrolled, WeightsOnly
from sharewise.engine.step import architecture_step, reward_step, weight_step
from sharewise.testing import check_level


@dataclass(frozen=True)
class Sound(Level):
    """Alternating steps; the trunk of all that is broken here."""

    gradient: ClassVar[Any] = "path"
    roles: ClassVar[Any] = ("weights", "architecture")

    def architecture_step(self, state: SearchState) -> Any:
        return {"architecture_loss": architecture_step(state)}

    def step(self, state: SearchState, *, architecture: bool) -> Any:
        first = self.architecture_step(state) if architecture else {}
        return {**first, **self.weight_step(state)}


class Zeroing(Sound):
    """Its architecture step zeroes all of w."""

    def architecture_step(self, state: SearchState) -> Any:
        losses = super().architecture_step(state)
        with torch.no_grad():
            for parameter in state.supernet.parameters():
                parameter.zero_()
        return losses


class MovesStatistics(Sound):
    """Runs the supernet in training mode within its architecture step."""

    def architecture_step(self, state: SearchState) -> Any:
        losses = super().architecture_step(state)
        batch = state.evaluation_batches("architecture")[0]
        with torch.no_grad():
            [gates] = state.distribution.draw(state.fresh_generator("more"), state.phase("architecture"))
            state.supernet(batch.inputs, gates)
        return losses


class LeavesGradients(Sound):
    def architecture_step(self, state: SearchState) -> Any:
        losses = super().architecture_step(state)
        for parameter in state.supernet.parameters():
            parameter.grad = torch.ones_like(parameter)
        return losses


class MovesMomentum(Sound):
    """Steps the optimiser of w without a gradient, which moves by momentum; w is put back."""

    def architecture_step(self, state: SearchState) -> Any:
        losses = super().architecture_step(state)
        for buffers in state.weight_optimizer.state.values():
            if buffers.get("momentum_buffer") is not None:
                buffers["momentum_buffer"].mul_(0.5)
        return losses


class WrongRole(Sound):
    """Its architecture step reads the examples of w."""

    def architecture_step(self, state: SearchState) -> Any:
        streams = state.streams
        state.streams = {**streams, "architecture": streams["weights"]}
        try:
            return super().architecture_step(state)
        finally:
            state.streams = streams


class WeightsOnArchitecture(Sound):
    """Trains w on the examples of θ."""

    def weight_step(self, state: SearchState) -> Any:
        return {"weights_loss": weight_step(state, state.next_batch("architecture"))}


class Undeclared(Sound):
    """Draws from a role that it did not name."""

    roles: ClassVar[Any] = ("weights",)


class NeverTrains(Sound):
    """A whole step forgets w."""

    def step(self, state: SearchState, *, architecture: bool) -> Any:
        return self.architecture_step(state) if architecture else self.weight_step(state)


class Frozen(Sound):
    """Computes the loss of w, and moves nothing."""

    def weight_step(self, state: SearchState) -> Any:
        before = {name: value.clone() for name, value in state.supernet.state_dict().items()}
        losses = super().weight_step(state)
        state.supernet.load_state_dict(before)
        return losses


class Ascending(Sound):
    """Climbs the training loss."""

    def weight_step(self, state: SearchState) -> Any:
        before = {name: value.detach().clone() for name, value in state.supernet.named_parameters()}
        losses = super().weight_step(state)
        with torch.no_grad():
            for name, parameter in state.supernet.named_parameters():
                parameter.copy_(2 * before[name] - parameter)
        return losses


class ThetaClimbs(Sound):
    """Moves θ against its descent."""

    def architecture_step(self, state: SearchState) -> Any:
        before = [p.detach().clone() for p in state.distribution.parameters()]
        losses = super().architecture_step(state)
        with torch.no_grad():
            for parameter, old in zip(state.distribution.parameters(), before, strict=True):
                parameter.copy_(2 * old - parameter)
        return losses


class ThetaRests(Sound):
    def architecture_step(self, state: SearchState) -> Any:
        state.next_batch("architecture")
        return {"architecture_loss": torch.zeros(())}


class NeverAsks(Sound):
    """A sound architecture step that no step takes."""

    def step(self, state: SearchState, *, architecture: bool) -> Any:
        return self.weight_step(state)


class WarmsUpWithTheta(Sound):
    """Moves θ in a warm-up."""

    def step(self, state: SearchState, *, architecture: bool) -> Any:
        return super().step(state, architecture=True)


class WeightsMoveTheta(Sound):
    """Its weight step moves θ."""

    def weight_step(self, state: SearchState) -> Any:
        with torch.no_grad():
            for parameter in state.distribution.parameters():
                parameter.mul_(0.999)
        return super().weight_step(state)


class Unpaid(Sound):
    def weight_step(self, state: SearchState) -> Any:
        ledger, state.ledger = state.ledger, type(state.ledger)()
        try:
            return super().weight_step(state)
        finally:
            state.ledger = ledger


class Hanging(Sound):
    """Reports a loss with its graph."""

    def weight_step(self, state: SearchState) -> Any:
        loss: Tensor = super().weight_step(state)["weights_loss"]
        return {"weights_loss": loss * next(state.supernet.parameters()).sum()}


@dataclass(frozen=True)
class Counting(Sound):
    """Remembers in itself how often it was called."""

    calls: list[int] = field(default_factory=list)

    def step(self, state: SearchState, *, architecture: bool) -> Any:
        self.calls.append(1)
        return super().step(state, architecture=architecture and len(self.calls) % 3 != 0)


class Ambient(Sound):
    def step(self, state: SearchState, *, architecture: bool) -> Any:
        torch.rand(1)
        return super().step(state, architecture=architecture)


@dataclass(frozen=True)
class Punishing(Level):
    """A score level that follows the loss upwards."""

    gradient: ClassVar[Any] = "score"
    roles: ClassVar[Any] = ("weights", "architecture")

    def architecture_step(self, state: SearchState) -> Any:
        before = [p.detach().clone() for p in state.distribution.parameters()]
        reward = reward_step(state, samples=2, decay=0.9, surprise=0.0)
        with torch.no_grad():
            for parameter, old in zip(state.distribution.parameters(), before, strict=True):
                parameter.copy_(2 * old - parameter)
        return {"reward": reward}

    def step(self, state: SearchState, *, architecture: bool) -> Any:
        losses = self.weight_step(state)
        return {**losses, **self.architecture_step(state), **self.architecture_step(state)} if architecture else losses


BROKEN: list[tuple[Level, str]] = [
    (Zeroing(), r"an architecture step of Zeroing changes w or running statistics: \['terms"),
    (MovesStatistics(), "changes w or running statistics: .*running_mean"),
    (LeavesGradients(), "leaves gradients on w"),
    (MovesMomentum(), "changes the optimiser of w"),
    (WrongRole(), r"draws from the roles \['weights'\], but the level declares 'architecture' for it"),
    (WeightsOnArchitecture(), r"draws from the roles \['architecture'\], not from 'weights' alone"),
    (Undeclared(), "draws from a role that the level does not declare: 'architecture'"),
    (NeverTrains(), "a step of NeverTrains leaves w as it was"),
    (Frozen(), "a weight step of Frozen leaves w as it was"),
    (Ascending(), "took the training loss from .*: w does not descend"),
    (ThetaClimbs(), "it climbs, or reads another role"),
    (ThetaRests(), "three architecture steps of ThetaRests leave θ as it was"),
    (NeverAsks(), "steps of NeverAsks leave θ as it was"),
    (WarmsUpWithTheta(), "without architecture steps changes θ"),
    (WeightsMoveTheta(), "a weight step of WeightsMoveTheta changes θ"),
    (Unpaid(), "a weight step of Unpaid charges nothing to the ledger"),
    (Hanging(), "it should be a finite, detached scalar"),
    (Counting(), r"what a level remembers belongs in state\.memory"),
    (Ambient(), "draws from torch's global generator"),
    (Punishing(), "it climbs, or reads another role"),
]


def test_the_sound_level_passes() -> None:
    check_level(Sound())


@pytest.mark.parametrize(("level", "message"), BROKEN, ids=[type(level).__name__ for level, _ in BROKEN])
def test_broken_levels_are_caught(level: Level, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_level(level)


HOUSE = [
    WeightsOnly(),
    Joint(),
    Alternating(),
    Alternating(first="weights", every=2),
    Unrolled(),
    Unrolled(radius=0.01),
    Reward(),
]


@pytest.mark.sweep(2)
@pytest.mark.parametrize("level", HOUSE, ids=repr)
def test_levels_of_the_house_pass(level: Level) -> None:
    check_level(level)


def test_a_level_may_be_checked_with_another_distribution() -> None:
    check_level(Alternating(), distribution=Learned(Simplex(), StraightThroughGumbel(Constant(1.0))))
