"""The progress of a run: a live line on a terminal, and lines for notebooks, files and pipes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from sharewise.engine import (
    Announced,
    Callback,
    EpochEnded,
    Event,
    Reacted,
    SearchState,
    SelectionEnded,
    Started,
    Stepped,
)
from sharewise.errors import ConfigurationError
from sharewise.given import got

__all__ = ["progress"]


def progress(screen: Console | None = None) -> AbstractContextManager[Callback]:
    """A callback that shows progress: a live line on a terminal, one line per epoch in a notebook or a file.

    Args:
        screen: a console of rich to write to; by default standard output.

    Returns:
        A context that yields the callback and gives the terminal back, however the run ends.

    Raises:
        ConfigurationError: for another screen.

    Example:
        >>> import sharewise as sw
        >>> data = sw.data.digits().limited(64, seed=0)
        >>> with sw.progress() as shown:
        ...     found = sw.search("toy-tied-width", "rs-ws", data, epochs=2, device="cpu", callbacks=[shown])
        epoch 1/2  loss (weights) ...
        epoch 2/2  loss (weights) ...
    """
    if screen is None:  # in a notebook plain lines stay together, where a console of rich makes each an output
        screen = Console(highlight=False, soft_wrap=True, emoji=False, force_jupyter=False)
    if not isinstance(screen, Console):
        raise ConfigurationError(f"screen must be a rich.console.Console, {got(screen)}: leave it out, or give one")
    return _shown(screen)


@contextmanager
def _shown(screen: Console) -> Iterator[Callback]:
    bar = Progress(
        TextColumn("[bold]{task.fields[epoch]}"),
        BarColumn(bar_width=28),
        TextColumn("{task.fields[figures]}", markup=False),
        TextColumn("[dim]{task.fields[left]}"),
        console=screen,
        transient=True,
        refresh_per_second=4,
    )
    task: Any = None
    first_step, first_time, last_shown = 0, 0.0, 0.0

    def left(state: SearchState) -> str:
        done = state.step - first_step
        if done == 0:
            return "time left: …"
        return f"time left: {_clock((time.monotonic() - first_time) / done * (state.total_steps - state.step))}"

    def listen(state: SearchState, event: Event) -> None:
        nonlocal task, first_step, first_time, last_shown
        epochs = -(-state.total_steps // state.steps_per_epoch)
        match event:
            case Started():
                first_step, first_time = state.step, time.monotonic()
                if screen.is_terminal:
                    task = bar.add_task(
                        "", total=state.total_steps, completed=state.step, epoch="", figures="", left=""
                    )
                    bar.start()
            case Stepped() if task is not None and time.monotonic() - last_shown > 0.25:
                # Reading a loss waits for the device, so only as often as the eye can follow.
                last_shown = time.monotonic()
                bar.update(
                    task,
                    completed=state.step,
                    epoch=f"epoch {min(state.epoch + 1, epochs)}/{epochs}",
                    figures=_figures({**state.means(), "entropy": state.distribution.entropy()}),
                    left=left(state),
                )
            case EpochEnded(record):
                count, figures = f"epoch {record['epoch'] + 1}/{epochs}", _figures(record)
                screen.print(f"{count}  {figures}{f'  {left(state)}' if task is None else ''}", markup=False)
                for alarm in record.get("alarms", {}).values():
                    screen.print(f"alarm: {alarm['sentence']}; {alarm['advice']}", markup=False)
                if task is None:
                    return
                last = state.step >= state.total_steps
                remaining = "finishing …" if last else left(state)
                bar.update(task, completed=state.step, epoch=count, figures=figures, left=remaining)
            case Reacted(record):
                screen.print(record["note"], markup=False)
            case Announced(message) if task is not None:
                bar.update(task, figures=message, left="")
            case SelectionEnded() if task is not None:
                bar.update(task, figures="architecture selected", left="finishing …")
            case _:
                pass

    try:
        yield listen
    finally:
        if task is not None:  # one that never began would leave an empty line
            bar.stop()


def _figures(record: Mapping[str, Any]) -> str:
    names = {"weights_loss": "loss (weights)", "architecture_loss": "loss (architecture)", "entropy": "entropy"}
    parts = [f"{label} {record[name]:.3f}" for name, label in names.items() if record.get(name) is not None]
    if record.get("skips"):
        parts.append(f"skips {max(record['skips'].values()):.0%}")
    if record.get("eigenvalue") is not None:
        parts.append(f"eigenvalue {record['eigenvalue']:.3g}")
    selection = record.get("selection")
    if isinstance(selection, Mapping):
        parts += [f"held-out {name} {value:.3f}" for name, value in selection.items() if name != "examples"]
    return "  ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
