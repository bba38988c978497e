"""Interruption: Ctrl-C and SIGTERM wait for the step and its checkpoint; a second one ends at once."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, final

from sharewise.errors import printable

__all__ = ["Interrupted", "Interruption", "interruptible"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop and has kept what it had; the message says where, and how to go on.

    Args:
        message: one line.
        number: of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message, number)
        self.number = number

    def __str__(self) -> str:
        return printable(self.args[0])


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
    def of_run(cls, folder: Path, command: str, *, from_python: bool) -> Interruption:
        """Of a run that a command, or a call from Python, has started."""
        call = f"sharewise.{command}(…, out={str(folder)!r}, resume=True)"
        return cls(folder, call if from_python else f"sharewise {command} --resume {shlex.quote(str(folder))}")

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
        raise Interrupted(f"interrupted; {self._folder} is kept {where}. Go on with: {self._resume}", number)


@contextmanager
def interruptible(interruption: Interruption) -> Iterator[None]:
    """Let a run hear signals within the block; only the main thread of a process can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    ours = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # as nohup asks
    try:
        for number in ours:
            signal.signal(number, interruption.receive)
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
