"""What a result says of itself: a few lines, and plain columns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from torch import nn

import sharewise as sw
from sharewise.engine import SearchResult, SearchState
from sharewise.engine.select import Selected
from sharewise.engine.telling import columns
from sharewise.run.train import TrainingResult
from sharewise.shown import Shown

FIRST = {"event": "epoch", "epoch": 0, "step": 4, "weights_loss": 2.0, "gap": {"loss": 1}, "edge": {"a": [0.5, 0.25]}}
LAST = {"event": "epoch", "epoch": 1, "step": 8, "weights_loss": 1.5, "best": "|a~0|", "ledger": {"search": {"s": 3}}}
ARCHITECTURE = sw.spaces.load("toy-tied-width").architecture({"width": 32, "activation": "gelu"})
HISTORY: list[dict[str, Any]] = [{"event": "stage", "stage": 1}, FIRST, LAST]
STATE = cast(
    "SearchState",
    SimpleNamespace(
        history=HISTORY,
        epoch=2,
        step=8,
        ledger=SimpleNamespace(seconds=3.21),
        recipe=SimpleNamespace(describe=lambda: "Uniform × WeightsOnly"),
    ),
)


def test_a_search_tells_of_itself_in_a_few_lines() -> None:
    found = SearchResult(ARCHITECTURE, Selected(ARCHITECTURE, "the best of 2"), STATE)
    assert repr(found).splitlines() == [
        "SearchResult",
        f"  found       {ARCHITECTURE}",
        "  by          the best of 2",
        "  recipe      Uniform × WeightsOnly",
        "  trained     2 epochs, 8 steps, 3.2 s",
        "  last epoch  weights_loss 1.5",
    ]
    assert "<th>last epoch</th><td>weights_loss 1.5</td>" in found._repr_html_()
    assert found.table() == columns(HISTORY)


def test_a_training_says_whether_the_test_examples_were_opened() -> None:
    told: dict[str, Any] = {"network": nn.Linear(3, 2), "architecture": ARCHITECTURE, "state": STATE}
    assert "  test          not opened\n" in repr(TrainingResult(test=None, **told))
    assert "  test          loss 0.5, accuracy 0.25\n" in repr(
        TrainingResult(test={"loss": 0.5, "accuracy": 0.25}, **told)
    )
    assert "  network       8 parameters\n" in repr(TrainingResult(test=None, **told))


def test_every_number_of_an_epoch_has_one_name() -> None:
    assert columns(HISTORY) == [
        {"epoch": 0, "step": 4, "weights_loss": 2.0, "gap/loss": 1.0, "edge/a/0": 0.5, "edge/a/1": 0.25},
        {"epoch": 1, "step": 8, "weights_loss": 1.5, "ledger/search/s": 3.0},
    ]


def test_names_of_strangers_are_text_in_a_notebook() -> None:
    class Strange(Shown):
        def told(self) -> dict[str, str]:
            return {"<script>": "<script>"}

    assert "<script>" not in Strange()._repr_html_()


def test_words_in_lists_are_no_numbers_and_epochs_that_were_taken_back_are_no_rows() -> None:
    alarm = {"alarms": {"collapse": {"lacked": ["a held-out loss"], "epochs": [3, 4]}}}
    back = [FIRST, LAST, {"event": "back", "to": 0}, {**LAST, **alarm}]
    assert [(row["epoch"], row.get("alarms/collapse/epochs/1")) for row in columns(back)] == [(0, None), (1, 4.0)]


def test_examples_are_counted_in_full() -> None:
    told: dict[str, Any] = {"network": nn.Linear(3, 2), "architecture": ARCHITECTURE, "state": STATE}
    assert "examples 12,345\n" in repr(TrainingResult(test={"loss": 0.5, "examples": 12345}, **told))
