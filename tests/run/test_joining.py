"""Leaving the other processes of a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
from torch import distributed as dist

from sharewise.engine import numerics
from sharewise.engine.ranks import Ranks
from sharewise.engine.rows import RanksError
from sharewise.run.joining import joined


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Signals to end that this process has heard."""
    found: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: found.append(number))
    yield found
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("error", "expected"), [(RanksError, 1), (ValueError, 2)])
def test_one_that_has_lost_the_others_is_not_ended_before_it_says_so(
    error: type[Exception], expected: int, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun ends all processes of which one is lost, and taking down what is left takes a while."""
    monkeypatch.setattr(dist, "is_initialized", lambda: False)
    monkeypatch.setattr(dist, "init_process_group", lambda _: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(error, match="lost"), joined(replace(numerics("cpu"), ranks=Ranks(0, 2))):
        raise error("lost")
    os.kill(os.getpid(), signal.SIGTERM)
    assert len(heard) == expected
