"""Surgeries that are broken on purpose, each caught by `check_surgery` for what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from sharewise.engine import Pruning, SearchState, Surgery
from sharewise.testing import check_surgery


@dataclass(frozen=True)
class Shrinking(Surgery):
    """Multiplies some weights by what was drawn; sound, and the trunk of all that is broken here."""

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        return {"factor": round(float(torch.rand((), generator=generator)), 3)}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        with torch.no_grad():
            next(state.supernet.parameters()).mul_(record["factor"])


class Hasty(Shrinking):
    """Acts while it decides."""

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        record = super().decide(state, generator)
        self.apply(state, record)
        return record


class Ambient(Shrinking):
    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        return {"factor": float(torch.rand(()))}


class Entropic(Shrinking):
    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        own = torch.Generator()
        own.seed()
        return super().decide(state, own)


class NotPlain(Shrinking):
    """Records a tensor."""

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        return {"factor": torch.tensor(0.5)}


class Tuples(Shrinking):
    """Records what JSON brings back as something else."""

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        return {**super().decide(state, generator), "shape": (1, 2)}


class Idle(Shrinking):
    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        return None


class DrawsLate(Shrinking):
    """Draws in `apply`, which a resume repeats with other numbers."""

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        own = torch.Generator()
        own.seed()
        super().apply(state, {"factor": float(torch.rand((), generator=own))})


@dataclass(frozen=True)
class Widening(Surgery):
    """Gives a layer another bias; sound only when it binds the optimiser again."""

    binds: bool = True

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        return {"factor": 0.5}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        layer = next(m for m in state.supernet.modules() if isinstance(m, torch.nn.Linear))
        layer.bias = torch.nn.Parameter(record["factor"] * layer.bias.detach())
        if self.binds:
            state.rebind_weights()


class ByValues(Shrinking):
    """Its shapes depend on trained values, which a resume does not have yet."""

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        layer = next(m for m in state.supernet.modules() if isinstance(m, torch.nn.Linear))
        rows = 2 + int(1e4 * float(layer.weight.detach().abs().sum())) % 997
        state.supernet.register_buffer("extra", torch.ones(rows))


BROKEN: list[tuple[Surgery, str]] = [
    (Hasty(), "changes the search while it decides"),
    (Ambient(), "draws from torch's global generator"),
    (Entropic(), "and with an equal generator"),
    (NotPlain(), "holds more than plain values"),
    (Tuples(), "comes back from JSON as"),
    (Idle(), "changes nothing"),
    (DrawsLate(), "does different things by the same record"),
    (Widening(binds=False), "the optimiser does not hold the parameters of the supernet"),
    (ByValues(), "no checkpoint could be loaded"),
]


@pytest.mark.parametrize("surgery", [Shrinking(), Widening(), Pruning(2)], ids=lambda s: type(s).__name__)
def test_sound_surgeries_pass(surgery: Surgery) -> None:
    check_surgery(surgery)


@pytest.mark.parametrize(("surgery", "message"), BROKEN, ids=[type(s).__name__ for s, _ in BROKEN])
def test_broken_surgeries_are_caught(surgery: Surgery, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_surgery(surgery)
