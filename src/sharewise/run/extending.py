"""Extending a run that has ended: what may be asked, what is recorded, and what becomes of the result before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sharewise.engine import Extension, SearchState
from sharewise.errors import ConfigurationError
from sharewise.run.folder import RunFolder

__all__ = ["begin", "epochs_begun", "notes_of", "wanted"]


def epochs_begun(folder: Path) -> int | None:
    """The epochs with which the run in a folder began; `None` where its configuration does not say."""
    recipe = RunFolder(folder).read_config().get("recipe")
    epochs = recipe.get("epochs") if isinstance(recipe, Mapping) else None
    return epochs if isinstance(epochs, int) else None


def wanted(state: SearchState, folder: RunFolder, asked: Extension | None) -> Extension | None:
    """What a run is to be extended by; `None` where it has, or shall have, as many epochs already.

    Args:
        state: as the last checkpoint left it.
        folder: of the run.
        asked: beside the resume.

    Raises:
        ConfigurationError: when the run has more epochs, has not ended, is limited to fewer, or ended by its own doing.
    """
    tuned = state.epochs - state.recipe.epochs if len(state.course.periods) > 1 else 0
    if asked is None or asked.epochs == state.epochs - tuned:
        return None
    path, has = folder.path, f"{state.epochs} epochs, of which {state.epoch} are done"
    if tuned:
        raise ConfigurationError(
            f"{path} has {has}; in the last {tuned} its selection trains on and settles θ, so that no epoch can "
            "follow. Leave the epochs out, or start a new run with --out"
        )
    if asked.epochs < state.epochs:
        raise ConfigurationError(
            f"{path} has {has}; {asked.epochs} would be fewer, and no run is shortened. Leave the epochs out, or start "
            "a new run with --out"
        )
    if state.step < state.total_steps or not folder.has_result():
        raise ConfigurationError(
            f"{path} has {has}, and only a run that has ended is extended: finish it with --resume {path}, and give "
            f"the {asked.epochs} epochs then"
        )
    if any(line.get("stopped") for line in state.history):
        raise ConfigurationError(
            f"{path} has {has}: a reaction ended it, and would end it again; start a new run with --out"
        )
    most = state.max_steps
    if most is not None and most < asked.epochs * state.steps_per_epoch:
        raise ConfigurationError(
            f"{path} may make {most} steps at most (max_steps), and {asked.epochs} epochs need "
            f"{asked.epochs * state.steps_per_epoch}; start a new run with --out"
        )
    return asked


def begin(state: SearchState, folder: RunFolder, extension: Extension) -> dict[str, Any]:
    """Give a state more epochs, and say so in its history.

    Args:
        state: at the end of its run.
        folder: of the run, with the result so far.
        extension: as `wanted` found it.

    Returns:
        The line of the history.
    """
    before, result = state.epochs, folder.read_result()
    last = state.learning_rate(before - 1)
    state.extensions = (*state.extensions, extension)
    rates = [state.learning_rate(epoch) for epoch in range(before, extension.epochs)]
    record = {
        "event": "extended",
        "epoch": before,
        "step": state.step,
        "epochs": extension.epochs,
        "rate": extension.rate,
        "learning_rates": [rates[0], rates[-1]],
        "architecture": result["architecture"],
        "test_openings": result["test_openings"],
        "note": _note(before, extension, last, rates),
    }
    state.history.append(record)
    return record


def _note(before: int, extension: Extension, last: float, rates: list[float]) -> str:
    """What was done, and what it is not."""
    whole = f"extended from {before} to {extension.epochs} epochs"
    if all(rate == last for rate in rates):
        return f"{whole}: the learning rate goes on at {last:.3g}, and all other schedules stay where they ended"
    begins = "starts anew" if rates[0] > last else "goes on falling"
    return (
        f"{whole}: the learning rate {begins} at {rates[0]:.3g} after {last:.3g}, and all other schedules stay where "
        f"they ended. It is not the same as {extension.epochs} epochs from the start"
    )


def notes_of(history: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What a result says of how its run went on: where it was extended, and where it was moved to."""
    lines = list(history)
    return {event: [dict(line) for line in lines if line.get("event") == event] for event in ("extended", "moved")}
