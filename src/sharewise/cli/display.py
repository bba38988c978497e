"""The live display of a run: epoch, losses, entropy, time left; and drawings for a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from sharewise.engine import Announced, Callback, EpochEnded, Event, SearchState, SelectionEnded, Started, Stepped

__all__ = ["console", "progress", "show_picture", "show_remarks"]


def console(*, quiet: bool = False) -> Console:
    """The console for words; they go to standard error when standard output is to hold JSON."""
    return Console(file=sys.stderr if quiet else sys.stdout, highlight=False, soft_wrap=True, emoji=False)


@contextmanager
def progress(screen: Console) -> Iterator[Callback]:
    """A callback that shows progress: a live line on a terminal, one line per epoch elsewhere.

    Args:
        screen: where to write.

    Returns:
        A context that yields the callback and gives the terminal back, however the run ends.
    """
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
                if task is None:
                    screen.print(f"{count}  {figures}  {left(state)}", markup=False)
                    return
                screen.print(f"{count}  {figures}", markup=False)
                last = state.step >= state.total_steps
                remaining = "finishing …" if last else left(state)
                bar.update(task, completed=state.step, epoch=count, figures=figures, left=remaining)
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
    selection = record.get("selection")
    if isinstance(selection, Mapping):
        parts += [f"held-out {name} {value:.3f}" for name, value in selection.items() if name != "examples"]
    return "  ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def show_picture(screen: Console, picture: Mapping[str, Any] | None) -> None:
    """Print the edges of a cell, node by node, and those of the cell below it."""
    if picture is None:
        return
    if picture.get("title"):
        screen.print(f"{picture['title']}:", markup=False)
    for target in picture["nodes"]:
        incoming = [(source, label) for source, end, label in picture["edges"] if end == target]
        terms = [f"{label}({source})" if label else source for source, label in incoming if label != "none"]
        if incoming:
            between = "  +  " if any(label for _, label in incoming) else ", "  # what is read may be concatenated
            screen.print(f"  {target:>8} = {between.join(terms) or '0'}", markup=False)
    show_picture(screen, picture.get("below"))


def show_remarks(screen: Console, remarks: Sequence[Mapping[str, str]]) -> None:
    """Print what a search says against its own result, and what to try."""
    for remark in remarks:
        screen.print(f"but: {remark['sentence']}; {remark['advice']}", markup=False)
