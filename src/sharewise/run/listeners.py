"""Listeners: callbacks that write a run to its folder, to TensorBoard, or onto the screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharewise.engine import (
    Callback,
    EpochEnded,
    Event,
    SearchState,
    SelectionEnded,
    StageEntered,
    Started,
    Stepped,
)
from sharewise.errors import ConfigurationError
from sharewise.run.folder import RunFolder

__all__ = ["record_to", "tensorboard"]


def record_to(folder: RunFolder, fingerprint: Mapping[str, Any], checkpoint_every: int | None = None) -> Callback:
    """Write the history and the checkpoints of a run.

    A checkpoint is written when the loop starts, after every epoch, and, where asked for, every few steps in between.

    Args:
        folder: of the run.
        fingerprint: stored with each checkpoint.
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
        folder.save(fingerprint, state.state_dict())

    def listen(state: SearchState, event: Event) -> None:
        match event:
            case Started() if not folder.checkpoint.exists():
                decisions = {d.name: list(d.options) for d in state.distribution.relaxation.decisions}
                folder.append_metrics({"event": "start", "decisions": decisions})
                save(state)
            case Stepped() if checkpoint_every is not None and state.step % checkpoint_every == 0:
                # The end of an epoch is saved once it is measured; a resume could not tell that it was not.
                if state.step % state.steps_per_epoch and state.step < state.total_steps:
                    state.spend("search")
                    save(state)
            case StageEntered(record):
                folder.append_metrics(record)
            case EpochEnded(record):
                folder.append_metrics(record)
                save(state)
            case SelectionEnded(selected) if selected.candidates:
                best = selected.to_json()["candidates"][:100]
                folder.append_metrics({"event": "selection", "candidates": best})
            case _:
                pass

    return listen


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
