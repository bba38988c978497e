"""Listeners: callbacks that write a run to its folder, to TensorBoard, or onto the screen."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

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
    scalars,
)
from sharewise.engine.aside import trained
from sharewise.errors import ConfigurationError
from sharewise.interruption import Interruption
from sharewise.run.folder import RunFolder
from sharewise.run.identity import Identity

__all__ = ["Silent", "Writer", "record_to", "tensorboard"]


class Recorder(Protocol):
    """Takes what a run has to keep."""

    def begin(self, state: SearchState) -> None:
        """Keep the first state of a run, unless it goes on from a later one."""

    def append(self, record: Mapping[str, Any]) -> None:
        """Keep a line of the history."""

    def save(self, state: SearchState) -> None:
        """Keep a state."""


@final
@dataclass(frozen=True)
class Writer:
    """Writes to the folder of a run.

    Args:
        folder: of the run.
        identity: stored with each checkpoint.
    """

    folder: RunFolder
    identity: Identity

    def begin(self, state: SearchState) -> None:
        """See `Recorder.begin`."""
        if state.numerics.ranks.any(not self.folder.checkpoint.exists()):
            for record in (self.identity.start, *state.history):  # inherited weights have a line already
                self.append(record)
            self.save(state)

    def append(self, record: Mapping[str, Any]) -> None:
        """See `Recorder.append`."""
        self.folder.append_metrics(record)

    def save(self, state: SearchState) -> None:
        """See `Recorder.save`."""
        state.require_finite()
        self.folder.save(self.identity, state.state_dict())


@final
class Silent:
    """Writes nothing, in the processes beside the one that does; where weights are divided it gives its part."""

    def begin(self, state: SearchState) -> None:
        """See `Recorder.begin`."""
        if state.numerics.ranks.any(False):
            self.save(state)

    def append(self, record: Mapping[str, Any]) -> None:
        """See `Recorder.append`."""

    def save(self, state: SearchState) -> None:
        """See `Recorder.save`."""
        if state.numerics.ranks.sharded:
            state.require_finite()
            trained(state)


def record_to(recorder: Recorder, interruption: Interruption, checkpoint_every: int | None = None) -> Callback:
    """Keep the history and the checkpoints of a run, and stop where a signal asks for it; the same in all processes.

    A checkpoint is kept when the loop starts, after every epoch, and, where asked for, every few steps in between.

    Args:
        recorder: takes them.
        interruption: whether a signal has asked the run to stop.
        checkpoint_every: steps between checkpoints within an epoch, at least 1, or `None`.

    Returns:
        The callback.

    Raises:
        ConfigurationError: when `checkpoint_every` is less than 1.
    """
    if checkpoint_every is not None and checkpoint_every < 1:
        raise ConfigurationError(f"checkpoint_every must be at least 1 step, got {checkpoint_every}")

    def within_epoch(state: SearchState) -> None:
        asked = _heard(state, interruption)
        due = checkpoint_every is not None and state.step % checkpoint_every == 0
        if not due and not asked:
            return
        # The end of an epoch is saved once it is measured; a resume could not tell that it was not.
        if state.step % state.steps_per_epoch and state.step < state.total_steps:
            state.spend("search")
            recorder.save(state)
            if asked:
                _stop(state, interruption)

    def listen(state: SearchState, event: Event) -> None:
        match event:
            case Started():
                recorder.begin(state)
                interruption.patient = state.step < state.total_steps
            case Stepped():
                within_epoch(state)
            case StageEntered(record):
                recorder.append(record)
            case Reacted(record):
                recorder.append(record)
                recorder.save(state)
                interruption.patient = state.step < state.total_steps
            case EpochEnded(record):
                recorder.append(record)
                recorder.save(state)
                if _heard(state, interruption):
                    _stop(state, interruption)
                interruption.patient = state.step < state.total_steps
            case SelectionEnded(selected) if selected.candidates:
                best = selected.to_json()["candidates"][:100]
                recorder.append({"event": "selection", "candidates": best})
            case _:
                pass

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
            for name, value in scalars(event.record).items():
                writer.add_scalar(name, value, state.step)
            writer.flush()
        elif isinstance(event, SelectionEnded) and writer is not None:
            writer.close()

    return listen
