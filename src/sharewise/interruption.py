"""Interruption: Ctrl-C and SIGTERM wait for the step and its checkpoint; a second one ends at once."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, final

from sharewise.errors import printable

__all__ = ["Interrupted", "Interruption", "answered", "interruptible", "whole"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop and has kept what it had; in words, one line that says where, and how to go on.

    Args:
        kept: what is kept, and where it stands.
        resume: the exact words that go on.
        number: of the signal.
    """

    def __init__(self, kept: str, resume: str, number: int) -> None:
        super().__init__(kept, resume, number)
        self.kept, self.resume, self.number = kept, resume, number

    def __str__(self) -> str:
        return printable(f"interrupted; {self.kept}. Go on with: {self.resume}")


@final
class Interruption:
    """What a run knows of signals.

    Args:
        folder: of the run.
        resume: the exact words that go on.
    """

    def __init__(self, folder: Path, resume: str) -> None:
        self._folder, self._resume = folder, resume
        self.asked: int | None = None
        self.patient = False
        """Whether a step is running whose end is worth waiting for."""

    @classmethod
    def of_run(cls, folder: Path, command: str, *, from_python: bool, file: str | None = None) -> Interruption:
        """Of a run that a command, or a call from Python, has started; the file of its space is named again."""
        call = f"sharewise.{command}(…, out={str(folder)!r}, resume=True)"
        words = f"sharewise {command} --resume {shlex.quote(str(folder))}"
        return cls(folder, call if from_python else words + (f" --space {shlex.quote(file)}" if file else ""))

    def receive(self, number: int, _frame: FrameType | None = None) -> None:
        """Take note of a signal, or end at once where nothing is to be waited for."""
        again, self.asked = self.asked is not None, number
        if again or not self.patient:
            self.stop("where the last checkpoint stands")

    def stop(self, where: str) -> None:
        """End the run.

        Raises:
            Interrupted: naming the folder, where it stands and how to go on.
        """
        number = self.asked or signal.SIGINT
        raise Interrupted(f"{self._folder} is kept {where}", self._resume, number)


@contextmanager
def answered(handler: Any, numbers: Collection[signal.Signals] = _SIGNALS) -> Iterator[None]:
    """Let signals be answered so within the block; only the main thread of a process can.

    Args:
        handler: as `signal.signal` takes it; what is ignored already stays so, as nohup asks.
        numbers: of the signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in numbers}
    ours = {number: old for number, old in before.items() if old is not signal.SIG_IGN}
    try:
        for number in ours:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in ours.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextmanager
def interruptible(interruption: Interruption) -> Iterator[None]:
    """Let a run hear signals within the block; only the main thread of a process can."""
    with answered(interruption.receive):
        yield


@contextmanager
def whole(folder: Path | None, resume: str) -> Iterator[None]:
    """Let what consists of many runs name itself where it is interrupted, and not the run that was being done.

    Args:
        folder: of the whole; `None` for one that keeps nothing.
        resume: the exact words that go on.
    """
    if folder is None:
        yield
        return
    try:
        with interruptible(Interruption(folder, resume)):
            yield
    except Interrupted as inner:
        raise Interrupted(f"{folder} keeps what is finished and where the rest stood", resume, inner.number) from None
