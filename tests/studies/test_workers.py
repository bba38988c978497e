"""Work is spread over processes that end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sharewise.errors import ConfigurationError
from sharewise.studies.workers import one_thread, spread

PROGRAM = """
import multiprocessing, time
from sharewise.studies.workers import spread
if __name__ == "__main__":
    for _ in spread(time.sleep, [0.0, 300.0, 300.0], jobs=2):
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
"""

STOPPED = """
import signal, sys, time
from multiprocessing.context import SpawnProcess
from sharewise.studies import executors
from sharewise.studies.workers import spread

begin, begun = SpawnProcess.start, []

def told(process):
    begun.append(process)
    if len(begun) == 2 and sys.argv[1] == "beginning":
        print("beginning", flush=True)
        time.sleep(3)
    begin(process)
    print(process.pid, flush=True)

if __name__ == "__main__":
    executors._GRACE, SpawnProcess.start = 2.0, told
    for _ in spread(signal.raise_signal, [0, signal.SIGSTOP, signal.SIGSTOP], jobs=2):
        print("result", flush=True)
        if sys.argv[1] == "looping":
            time.sleep(600)
"""


def test_one_job_needs_no_process() -> None:
    assert list(spread(lambda x: x * x, [3, 2], jobs=1)) == [(3, 9), (2, 4)]
    assert list(spread(abs, [], jobs=4)) == []
    with pytest.raises(ConfigurationError, match="jobs must be at least 1"):
        list(spread(abs, [1], jobs=0))


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_workers_end_with_a_parent_that_was_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while children and time.monotonic() < deadline:
        children = [pid for pid in children if _alive(pid)]
        time.sleep(0.1)
    assert not children


@pytest.mark.slow
@pytest.mark.parametrize(("when", "line"), [("waiting", "result"), ("looping", "result"), ("beginning", "beginning")])
def test_an_interruption_does_not_wait_for_workers_that_are_stopped(when: str, line: str) -> None:
    command = [sys.executable, "-c", STOPPED, when]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        try:
            assert parent.stdout is not None
            said = list(iter(lambda: parent.stdout.readline().strip(), line))
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not any(_state(pid) == "T" for pid in _children(said)):
                time.sleep(0.1)
            parent.send_signal(signal.SIGINT)
            said += parent.communicate(timeout=60)[0].split()
        finally:
            os.killpg(parent.pid, signal.SIGKILL)
    assert parent.returncode not in (0, None)
    assert len(_children(said)) == 2
    assert not any(map(_alive, _children(said)))


def _children(said: list[str]) -> list[int]:
    return [int(word) for word in said if word.isdigit()]


def _state(pid: int) -> str:
    """By the system's letter; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _alive(pid: int) -> bool:
    return _state(pid) not in ("", "Z")
