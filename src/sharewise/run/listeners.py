"""Listeners: callbacks that write a run to its folder, to TensorBoard, or onto the screen."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharewise.engine import (
    Callback,
    EpochEnded,
    Event,
    Reacted,
    SearchState,
    SelectionEnded,
    StageEntered,
    Started,
    Stepped,
)
from sharewise.errors import ConfigurationError
from sharewise.interruption import Interruption
from sharewise.run.folder import RunFolder
from sharewise.run.identity import Identity

__all__ = ["record_to", "stopping_together", "tensorboard"]


def record_to(
    folder: RunFolder, identity: Identity, interruption: Interruption, checkpoint_every: int | None = None
) -> Callback:
    """Write the history and the checkpoints of a run, and stop where a signal asks for it.

    A checkpoint is written when the loop starts, after every epoch, and, where asked for, every few steps in between.

    Args:
        folder: of the run.
        identity: stored with each checkpoint.
        interruption: whether a signal has asked the run to stop.
        checkpoint_every: steps between checkpoints within an epoch, at least 1, or `None`.

    Returns:
        The callback.

    Raises:
        ConfigurationError: when `checkpoint_every` is less than 1.
    """
    if checkpoint_every is not None and checkpoint_every < 1:
        raise ConfigurationError(f"checkpoint_every must be at least 1 step, got {checkpoint_every}")

    def save(state: SearchState) -> None:
        state.require_finite()
        folder.save(identity, state.state_dict())

    def within_epoch(state: SearchState) -> None:
        asked = _heard(state, interruption)
        due = checkpoint_every is not None and state.step % checkpoint_every == 0
        if not due and not asked:
            return
        # The end of an epoch is saved once it is measured; a resume could not tell that it was not.
        if state.step % state.steps_per_epoch and state.step < state.total_steps:
            state.spend("search")
            save(state)
            if asked:
                _stop(state, interruption)

    def listen(state: SearchState, event: Event) -> None:
        match event:
            case Started():
                if not folder.checkpoint.exists():
                    for record in (identity.start, *state.history):  # inherited weights have a line already
                        folder.append_metrics(record)
                    save(state)
                interruption.patient = state.step < state.total_steps
            case Stepped():
                within_epoch(state)
            case StageEntered(record):
                folder.append_metrics(record)
            case Reacted(record):
                folder.append_metrics(record)
                save(state)
                interruption.patient = state.step < state.total_steps
            case EpochEnded(record):
                folder.append_metrics(record)
                save(state)
                if _heard(state, interruption):
                    _stop(state, interruption)
                interruption.patient = state.step < state.total_steps
            case SelectionEnded(selected) if selected.candidates:
                best = selected.to_json()["candidates"][:100]
                folder.append_metrics({"event": "selection", "candidates": best})
            case _:
                pass

    return listen


def stopping_together(interruption: Interruption) -> Callback:
    """Stop where the process that writes stops, in the other processes of a run.

    Args:
        interruption: whether a signal has asked this process, or another one, to stop.

    Returns:
        The callback.
    """

    def listen(state: SearchState, event: Event) -> None:
        interruption.patient = state.step < state.total_steps
        if not isinstance(event, Stepped | EpochEnded):
            return
        asked = _heard(state, interruption)
        between = bool(state.step % state.steps_per_epoch) and state.step < state.total_steps
        if asked and (isinstance(event, EpochEnded) or between):
            _stop(state, interruption)

    return listen


def _heard(state: SearchState, interruption: Interruption) -> bool:
    """Whether some process was asked to stop: all of them hear the same, at the same moment."""
    asked = state.numerics.ranks.any(interruption.asked is not None)
    if asked and interruption.asked is None:
        interruption.asked = signal.SIGTERM
    return asked


def _stop(state: SearchState, interruption: Interruption) -> None:
    interruption.stop(f"at step {state.step} of {state.total_steps}")


def tensorboard(folder: Path) -> Callback:
    """Write losses, entropy, probabilities and the rounding gap as TensorBoard scalars.

    Args:
        folder: where the event files go.

    Returns:
        The callback.

    Raises:
        ConfigurationError: when the optional dependency is absent.
    """
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise ConfigurationError(
            "TensorBoard is an optional extra: install it with pip install 'sharewise[tensorboard]'"
        ) from None
    writer: Any = None

    def listen(state: SearchState, event: Event) -> None:
        nonlocal writer
        if isinstance(event, Started):
            # Lines after the checkpoint are written again by a resume; TensorBoard hides the older ones.
            writer = SummaryWriter(str(folder), purge_step=state.step + 1 if state.step else None)
        elif isinstance(event, EpochEnded) and writer is not None:
            for name, value in _scalars(event.record):
                writer.add_scalar(name, value, state.step)
            writer.flush()
        elif isinstance(event, SelectionEnded) and writer is not None:
            writer.close()

    return listen


def _scalars(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    scalars: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            scalars += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            scalars += [(f"{prefix}{name}/{i}", float(v)) for i, v in enumerate(value)]
        elif isinstance(value, int | float) and name not in ("step", "epoch"):
            scalars.append((prefix + name, float(value)))
    return scalars
