"""What training changes in a search, as one value: in every checkpoint, and put aside where a search may go back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sharewise.engine.shards import loaded_into, moments_loaded_into, whole

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState
    from sharewise.engine.teacher import Teacher

__all__ = ["go_back", "load_trained", "set_aside", "trained"]


def trained(state: SearchState) -> dict[str, Any]:
    """w, θ, both optimisers and what goes with them, as tensors and plain values that are not copied.

    Weights that are divided among processes are put together, on the host of each; all processes ask at once.
    """
    return {
        "supernet": whole(state.supernet.state_dict()),
        "distribution": state.distribution.state_dict(),
        "weight_optimizer": whole(state.weight_optimizer.state_dict()),
        "architecture_optimizer": (
            None if state.architecture_optimizer is None else state.architecture_optimizer.state_dict()
        ),
        "stage": state.stage,
        "moves": state.moves,
        "memory": state.memory,
        **({} if state.teacher is None or not state.teacher.made else _of_teacher(state.teacher)),
    }


def _of_teacher(teacher: Teacher) -> dict[str, Any]:
    """A teacher that the run has made: its weights, and how it teaches."""
    teaching = {name: getattr(teacher, name) for name in ("weight", "temperature", "source")}
    return {"teacher": teacher.network.state_dict(), "teaching": teaching}


def load_trained(state: SearchState, content: Mapping[str, Any]) -> None:
    """Take up again what `trained` returned.

    Args:
        state: of the same search.
        content: as `trained` returned it, among other entries.
    """
    loaded_into(state.supernet, content["supernet"])
    state.distribution.load_state_dict(content["distribution"])
    moments_loaded_into(state.weight_optimizer, content["weight_optimizer"])
    if state.architecture_optimizer is not None:
        state.architecture_optimizer.load_state_dict(content["architecture_optimizer"])
    if state.teacher is not None and state.teacher.made:
        state.teacher = _teacher_at(state.teacher, content)
    state.stage, state.moves, state.memory = content["stage"], content["moves"], dict(content["memory"])


def _teacher_at(teacher: Teacher, content: Mapping[str, Any]) -> Teacher | None:
    """The teacher of that moment; none before the stage that makes it, which makes it anew when it comes again."""
    if "teacher" not in content:
        return None
    teacher.network.load_state_dict(content["teacher"])
    return replace(teacher, **content.get("teaching", {}))  # which older checkpoints do not say


def set_aside(state: SearchState, *, most: int) -> None:
    """Keep what training has changed up to the end of this epoch, so that a reaction can go back to it.

    Args:
        state: at the end of an epoch.
        most: epochs that are kept; older ones are let go.
    """
    state.aside[state.epoch] = copy.deepcopy(trained(state))
    for old in sorted(state.aside)[:-most]:
        del state.aside[old]


def go_back(state: SearchState, epoch: int) -> None:
    """Become what was put aside at the end of an epoch; data, random numbers, history and costs go on.

    Args:
        state: between two epochs.
        epoch: one of those that were put aside.
    """
    load_trained(state, copy.deepcopy(state.aside[epoch]))
    state.aside = {earlier: kept for earlier, kept in state.aside.items() if earlier <= epoch}
    state.epoch = epoch + 1
    state.step = state.epoch * state.steps_per_epoch
