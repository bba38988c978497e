"""The command line keeps the memory of a step for the next one."""

from __future__ import annotations

import gc
import platform
import resource
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import sharewise as sw
from sharewise.allocation import keep_memory, passing_over
from sharewise.cli import main


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_was_given_back_is_not_asked_of_the_system_again() -> None:
    assert keep_memory()
    size = 2**22

    def touched() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(size)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    touched()
    pages = 4 * size // resource.getpagesize()
    assert min(touched() for _ in range(3)) < pages // 10


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_memory()


@pytest.fixture
def searched() -> Iterator[None]:
    """Everything is searched, as where no test runs."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("searched")
def test_what_was_there_before_is_not_searched_within_a_block() -> None:
    before, after = Loop(), []
    with passing_over():
        with passing_over():
            pass
        after.append(Loop())
        found = [weakref.ref(before), weakref.ref(after[0])]
        del before
        after.clear()
        gc.collect()
        assert found[0]() is not None
        assert found[1]() is None
    gc.collect()
    assert found[0]() is None


class Loop:
    """What refers to itself alone."""

    def __init__(self) -> None:
        self.own = self


@pytest.mark.usefixtures("searched")
@pytest.mark.parametrize("command_line", [True, False])
def test_a_run_of_the_command_line_settles_so(tmp_path: Path, command_line: bool) -> None:
    seen: list[int] = []
    if command_line:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.SGD, "step", told(seen, torch.optim.SGD.step))
            words = ["--space", "toy-tied-width", "--method", "spos", "--train-examples", "96", "--max-steps", "2"]
            assert main(["search", *words, "--gap-examples", "0", "--out", str(tmp_path / "run")]) == 0
        assert min(seen) > 0
    else:
        sw.search("toy-tied-width", "spos", sw.data.digits().limited(96, seed=0), max_steps=2, callbacks=counted(seen))
        assert not any(seen)
    assert seen
    assert gc.get_freeze_count() == 0


def told(seen: list[int], step: Callable[..., object]) -> Callable[..., object]:
    def counting(*given: object, **named: object) -> object:
        seen.append(gc.get_freeze_count())
        return step(*given, **named)

    return counting


def counted(seen: list[int]) -> Callable[[object, object], None]:
    return lambda state, event: seen.append(gc.get_freeze_count())
