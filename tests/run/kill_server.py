"""A process that has torch loaded and forks once per job, so that a hundred killed runs cost no hundred imports.

Reads one JSON job a line, forks, runs it in the child, and answers with the child's wait status. A job may ask to be
killed by SIGKILL at a certain moment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from typing import Any

import torch

import sharewise as sw
from sharewise.engine import EpochEnded, Event, SearchState, StageEntered, Stepped
from sharewise.run import from_mapping


def killer(moment: str | int | None) -> Any:
    def listen(state: SearchState, event: Event) -> None:
        hit = (isinstance(event, Stepped) and state.step == moment) or (
            moment == "selection" and isinstance(event, EpochEnded) and state.step >= state.total_steps
        )
        hit = hit or (isinstance(event, StageEntered) and moment == f"stage {event.record['stage']}")
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)

    return listen


def work(job: dict[str, Any]) -> None:
    if job.get("kill") == "replace":  # at the worst place: the new checkpoint is written, but not yet in place
        replace, count = os.replace, 0

        def kill_on_second_checkpoint(source: Any, target: Any) -> None:
            nonlocal count
            if str(target).endswith("checkpoint.pt"):
                count += 1
                if count == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = kill_on_second_checkpoint
    configuration = from_mapping(job["command"], job["configuration"])
    configuration.execute(job["out"], resume=job["resume"], callbacks=[killer(job.get("kill"))])


def warm_up() -> None:
    """Let the parent load what a run loads late, on one thread, since forking and thread pools do not mix."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        network = {"channels": 1, "cells": 1}
        sw.search(
            sw.spaces.nasbench201(),
            sw.methods.gaea_erm(epochs=1),
            sw.data.digits(),
            network=network,
            max_steps=1,
            gap_examples=2,
            device="cpu",
            out=f"{folder}/run",
        )


def main() -> None:
    warm_up()
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(job)
                code = 0
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
