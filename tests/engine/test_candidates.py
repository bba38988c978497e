"""Candidates over processes: the scores, the ledger and the choice of one process after the other."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.engine import Evolution, RankSampled, SearchResult, candidates, candidates_at_once
from sharewise.errors import ConfigurationError
from sharewise.supernet import BatchStatistics, RecalibratedStatistics

SELECTIONS = (
    RankSampled(7, RecalibratedStatistics(1), examples=64, finalists=2),
    Evolution(2, 6, 2, 2, 2, policy=BatchStatistics(), examples=64),
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def search(selection: Any) -> SearchResult:
    recipe = sw.methods.spos(batch_size=8)
    network = {"channels": 2, "cells": 1}
    return sw.search(
        "nasbench201", replace(recipe, selection=selection), "digits", network=network, max_steps=1, device="cpu",
        threads=1, gap_examples=0,
    )  # fmt: skip


@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda s: type(s).__name__)
def test_scores_choice_and_ledger_do_not_depend_on_processes(selection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = search(selection)
    monkeypatch.setattr(candidates, "_WORTH", 0.0)
    received: list[int] = []
    receive = candidates._received

    def counted(end: Any) -> Any:
        found = receive(end)
        received.append(found is not None)
        return found

    monkeypatch.setattr(candidates, "_received", counted)
    with candidates_at_once(3):
        several = search(selection)
    assert received
    assert all(received)  # or nothing was scored by another process
    assert one.selected == several.selected
    spent = [result.state.ledger.multiply_accumulates for result in (one, several)]
    assert spent[0] == spent[1]


def test_a_process_that_ends_leaves_its_candidates_to_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    one = search(SELECTIONS[0])
    monkeypatch.setattr(candidates, "_WORTH", 0.0)
    here, score_all = os.getpid(), candidates._score_all

    def dies(*arguments: Any) -> None:
        assert os.getpid() != here
        os._exit(9)

    monkeypatch.setattr(candidates, "_score_all", dies)
    with candidates_at_once(2):
        assert search(SELECTIONS[0]).selected == one.selected
    assert score_all is not dies


@pytest.mark.parametrize("forks", [0, 1])
def test_where_nothing_can_be_forked_this_process_scores(forks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = search(SELECTIONS[0])
    monkeypatch.setattr(candidates, "_WORTH", 0.0)
    fork, left = os.fork, [forks]

    def full() -> int:
        if not left[0]:
            raise OSError(errno.EAGAIN, "no further process")
        left[0] -= 1
        return fork()

    monkeypatch.setattr(os, "fork", full)
    with candidates_at_once(3):
        assert search(SELECTIONS[0]).selected == one.selected


class Noisy(nn.Module):
    """A network that draws while it is evaluated, as one with dropout that is never switched off does."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(64, 12), nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = F.dropout(self.enter(x.flatten(1)).relu(), 0.5, training=True)
        found: torch.Tensor = self.leave(hidden)
        return found


def test_draws_of_a_scored_network_are_the_same_whoever_scores_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "_WORTH", 0.0)

    def found(jobs: int) -> Any:
        torch.manual_seed(0)
        supernet = sw.elastic(Noisy(), {"enter": sw.width([2, 4, 6, 8, 12])}, example=torch.randn(2, 1, 8, 8))
        recipe = replace(sw.methods.spos(batch_size=8), selection=RankSampled(5, examples=32))
        with candidates_at_once(jobs):
            result = sw.search(supernet, recipe, "digits", max_steps=1, device="cpu", threads=1, gap_examples=0)
        return result.selected, torch.rand(1).item()

    assert found(1) == found(2) == found(4)


def test_few_short_scores_are_worth_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "_WORTH", 1e9)
    monkeypatch.setattr(candidates, "_received", lambda end: pytest.fail("a process was forked"))
    with candidates_at_once(4):
        search(SELECTIONS[0])


def test_none_at_once_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 1, got 0"), candidates_at_once(0):
        pass
