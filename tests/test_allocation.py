"""The command line keeps the memory of a step for the next one."""

from __future__ import annotations

import platform
import resource
import sys

import pytest
import torch

from sharewise.allocation import keep_memory


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
