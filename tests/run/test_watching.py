"""A running search writes down what it sees of itself, and says once when something begins to go wrong."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import sharewise as sw
from sharewise.cli import main
from sharewise.data import Examples
from sharewise.engine import SearchResult
from sharewise.engine.watch import blind_loss
from sharewise.run.remarks import remarks
from sharewise.space import Choice, Space, skips

SMALL = ["--space", "nasbench201", "--channels", "2", "--cells", "1", "--train-examples", "64", "--device", "cpu"]


def searched(method: str, **options: Any) -> SearchResult:
    data = sw.data.digits().limited(64, seed=0)
    recipe = sw.methods.build(method, {"batch_size": 16, "epochs": 2, **options})
    return sw.search("nasbench201", recipe, data, network={"channels": 2, "cells": 1}, gap_examples=0, device="cpu")


def test_a_line_holds_what_is_known_without_measuring() -> None:
    state = searched("darts").state
    for line in state.history:
        rows = line["probabilities"]
        assert line["entropies"].keys() == rows.keys()
        for name, row in rows.items():
            assert line["entropies"][name] == pytest.approx(-sum(p * math.log(p) for p in row), abs=1e-6)
        assert sum(line["entropies"].values()) / len(rows) == pytest.approx(line["entropy"], abs=1e-6)
        assert line["skips"] == {"cell": line["architecture"].count("skip_connect") / 6}
        assert line["held_out_loss"] == line["architecture_loss"]
        assert line["blind_loss"] == pytest.approx(math.log(10), rel=0.01)
        assert "eigenvalue" not in line


def test_what_a_history_cannot_hold_is_left_out() -> None:
    single, sampler = searched("darts-erm").state.history[0], searched("spos", candidates=2).state.history[0]
    assert "architecture_loss" in single
    assert "held_out_loss" not in single, "its examples train the weights too"
    assert {"entropies", "skips", "held_out_loss"}.isdisjoint(sampler)
    assert "blind_loss" in sampler, "a sampler can fail to learn as well"


def test_the_loss_of_one_answer_for_all_is_the_entropy_of_the_labels() -> None:
    state = searched("spos", candidates=2).state
    train = state.data.dataset.train
    uneven = Examples(train.inputs[:40], torch.tensor([0] * 30 + [1] * 10))
    state.data = replace(state.data.dataset, train=uneven).assign(state.recipe.roles, generator=torch.Generator())
    assert blind_loss(state) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


def test_shares_of_skips_by_cell() -> None:
    space = Space("s", (Choice("a", ("skip_connect", "conv")), Choice("b", ("identity", "conv")), Choice("c", (1, 2))))
    found = space.architecture({"a": "skip_connect", "b": "conv", "c": 1})
    assert skips(space, found) == {"cell": 0.5}, "what can be no skip connection does not count"
    assert skips(Space("w", (Choice("width", (4, 8)),)), sw.Architecture("w", (("width", 4),))) == {}
    own = Space("o", space.choices, skips=lambda a: {"normal": 0.25, "reduce": 1.0})
    assert skips(own, own.architecture(dict(found))) == {"normal": 0.25, "reduce": 1.0}


def test_an_alarm_is_printed_once_and_kept_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that do not move; 100 steps are made in the fourth epoch of 32."""
    run, words = tmp_path / "RUN", ["--method", "gaea-erm", "--learning-rate", "1e-12", "--epochs", "4"]
    assert main(["search", *SMALL, *words, "--batch-size", "2", "--gap-examples", "0", "--out", str(run)]) == 0
    out = capsys.readouterr().out
    assert out.count("alarm: the shared weights have learned nothing") == 1
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["event"] == "epoch"]
    (heard,) = [line for line in epochs if "alarms" in line]
    assert heard["step"] >= 100 > epochs[heard["epoch"] - 1]["step"]
    assert heard["alarms"] == {alarm.kind: alarm.to_json() for alarm in sw.alarms(lines)}
    result = json.loads((run / "result.json").read_text())
    assert result["alarms"] == [*heard["alarms"].values()]
    assert result["watch"]["entropies"] == epochs[-1]["entropies"]
    assert "unlearned" in [remark["kind"] for remark in result["remarks"]]
    page = (run / "report.html").read_text()
    assert f"After epoch {heard['epoch'] + 1}: the shared weights have learned nothing" in page
    assert "skip connections, % of operations" in page
    assert main(["alarm", str(run), "--json"]) == 0
    (asked,) = json.loads(capsys.readouterr().out)["searches"]
    assert asked["alarms"] == result["alarms"]


def test_the_alarm_believes_no_history_that_was_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Held against the digest in the result, or in the checkpoint of a run that goes on."""
    run = tmp_path / "RUN"
    assert main(["search", *SMALL, "--method", "darts", "--epochs", "2", "--gap-examples", "0", "--out", str(run)]) == 0
    metrics, told = run / "metrics.jsonl", (run / "metrics.jsonl").read_bytes()
    changed = told.replace(b'"weights_loss": ', b'"weights_loss": 1', 1)
    assert changed != told
    for content, code in ((changed, 2), (told, 0)):
        metrics.write_bytes(content)
        assert main(["alarm", str(run)]) == code
    (run / "result.json").unlink()
    for content, code in ((changed, 2), (told + b'{"event": "ep', 0)):  # a line that is being written is no change
        metrics.write_bytes(content)
        capsys.readouterr()
        assert main(["alarm", str(run)]) == code
        assert capsys.readouterr().err.count("\n") == code // 2


def test_a_collapse_that_was_heard_is_said_again_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    result = searched("darts")
    line = {"event": "epoch", "weights_loss": 1.0, "held_out_loss": 1.3, "skips": {"cell": 0.5}}
    history = [{**line, "epoch": epoch} for epoch in range(6)]
    history[4]["alarms"] = {alarm.kind: alarm.to_json() for alarm in sw.alarms(history)}
    monkeypatch.setattr(result.state, "history", history)
    (remark,) = [remark for remark in remarks(result.state, result.architecture) if remark.kind == "collapse"]
    assert "after epoch 5, the search begins to collapse" in remark.sentence
    assert "--weight-decay" in remark.advice
    monkeypatch.setattr(result.state, "history", [*history, {"event": "back", "to": 3}])
    assert "collapse" not in [remark.kind for remark in remarks(result.state, result.architecture)]


def test_eigenvalues_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, words = tmp_path / "RUN", ["--method", "darts", "--epochs", "3", "--eigenvalue-every", "2"]
    assert main(["search", *SMALL, *words, "--gap-examples", "0", "--out", str(run)]) == 0
    assert capsys.readouterr().out.count("  eigenvalue ") == 2
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert ["eigenvalue" in line for line in lines if line["event"] == "epoch"] == [True, False, True]
    assert "eigenvalues of" in (run / "report.html").read_text()
    assert main(["search", *SMALL, "--method", "spos", "--eigenvalue-every", "2", "--out", str(tmp_path / "NO")]) == 2
    assert "leave out --eigenvalue-every" in capsys.readouterr().err


def test_the_alarm_about_records_and_about_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = {
        "space": "s1", "data": "cifar10", "drop_path": 0.0, "weight_decay": 0.0003, "seed": 1,
        "final_genotype": "", "train_error": [9.0] * 8, "valid_error": [9.0] * 8,
        "train_loss": [1.0] * 8, "valid_loss": [1.2] * 8, "skip_connects": [[4, 0]] * 8,
    }  # fmt: skip
    path = tmp_path / "logs.jsonl"
    path.write_text(json.dumps(record) + "\n" + json.dumps({**record, "seed": 2, "skip_connects": [[0, 0]] * 8}))
    assert main(["alarm", str(path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "seed 1: collapse since epoch 5" in first
    assert second.endswith("seed 2: no alarm")
    for wrong in (tmp_path / "absent", tmp_path):
        assert main(["alarm", str(wrong)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_alarm_listens_to_the_normal_cell_of_darts() -> None:
    space = sw.spaces.load("darts")
    found = skips(space, space.parse(str(space.named["DARTS_V2"])))
    assert found == {"normal": 2 / 8, "reduce": 3 / 8}
    lines = [
        {"event": "epoch", "epoch": e, "weights_loss": 1.0, "held_out_loss": 1.3, "skips": found} for e in range(9)
    ]
    assert not sw.alarms(lines), "three skips of a reduction cell are no collapse"
    collapsed = [{**line, "skips": {"normal": 3 / 8, "reduce": 0.0}} for line in lines]
    assert [alarm.epoch for alarm in sw.alarms(collapsed)] == [4]
