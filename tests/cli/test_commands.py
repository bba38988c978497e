"""The commands as a user writes them, in one process; those that are read elsewhere are run as processes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from sharewise.cli import main
from sharewise.engine import Announced, EpochEnded, Event, SearchState
from sharewise.methods import METHODS, parameters
from sharewise.run import SearchConfiguration, from_mapping, search
from sharewise.run.progress import progress

CELL = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
SMALL = ["--data", "digits", "--channels", "2", "--cells", "1", "--train-examples", "96", "--device", "cpu"]


def call(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def fail(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert error.count("\n") == 1
    return error


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "RUN"
    assert main(["search", "--method", "gaea-erm", *SMALL, "--epochs", "1", "--out", str(out), "--json"]) == 0
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("train") / "RUN"
    assert main(["train", "--architecture", CELL, *SMALL, "--epochs", "1", "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("what", ["methods", "spaces", "data"])
def test_lists_are_json(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(call(capsys, "list", what, "--json"))
    expected = {"methods": "gaea-erm", "spaces": "nasbench201", "data": "digits"}[what]
    assert expected in [row["name"] for row in rows]
    assert all(row["summary"] for row in rows)
    assert expected in call(capsys, "list", what)


def test_a_space_shows_its_size_and_classes(capsys: pytest.CaptureFixture[str]) -> None:
    space = json.loads(call(capsys, "space", "nasbench201", "--json"))
    assert space["size"] == 15625
    assert space["unique"] == {"skip": 12751, "skip-zero": 6466}
    assert len(space["decisions"]) == 6
    assert "15,625" in call(capsys, "space", "nasbench201")


def test_cost_equals_the_published_figures(capsys: pytest.CaptureFixture[str]) -> None:
    cell = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    cost = json.loads(call(capsys, "cost", "--space", "nasbench201", "--architecture", cell, "--json"))
    assert cost["parameters"] == 1_531_546
    assert cost["multiply_accumulates"] == 220_119_690
    small = call(capsys, "cost", "--architecture", cell, "--channels", 4, "--cells", 1, "--latency")
    assert "latency" in small


def test_a_search_leaves_a_complete_run(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads((searched / "result.json").read_text())
    assert {"space", "method", "seed", "architecture", "cost", "versions"} <= result.keys()
    assert result["space"] == "nasbench201"
    assert result["architecture"].startswith("|")
    assert result["test_openings"] == []  # a search never looks at the test examples
    events = [json.loads(line)["event"] for line in (searched / "metrics.jsonl").read_text().splitlines()]
    assert events == ["start", "epoch"]
    assert "<html" in (searched / "report.html").read_text()
    assert call(capsys, "report", searched).strip() == str(searched / "report.html")


def test_resuming_a_finished_run_changes_nothing(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((searched / "result.json").read_text())
    call(capsys, "search", "--resume", searched)
    call(capsys, "search", "--resume", searched, *SMALL, "--method", "gaea-erm", "--epochs", 1, "--out", searched)
    after = json.loads((searched / "result.json").read_text())
    assert after["architecture"] == before["architecture"]
    assert after["inherited"] == before["inherited"]


def test_options_beside_resume_must_agree(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = fail(capsys, "search", "--resume", searched, "--learning-rate", 0.7, "--seed", 3)
    assert "recipe.learning_rate was 0.025 and is now 0.7" in error
    assert "seed was 0 and is now 3" in error
    assert "differs" in error or "differ" in error
    assert "different folders" in fail(capsys, "search", "--resume", searched, "--out", "elsewhere")
    assert "holds a search run" in fail(capsys, "train", "--resume", searched)


def test_a_training_is_evaluated_and_exported(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = json.loads((trained / "result.json").read_text())
    evaluated = json.loads(call(capsys, "evaluate", trained, "--json"))
    assert evaluated["test"] == pytest.approx(recorded["test"], rel=1e-6)
    assert recorded["test"]["examples"] == 360
    assert len(recorded["test_openings"]) == 1
    assert json.loads((trained / "result.json").read_text())["test_openings"][1:] == ["sharewise evaluate"]
    out = tmp_path / "exported"
    call(capsys, "export", trained, "--out", out)
    assert sorted(p.name for p in out.iterdir()) == ["manifest.json", "model.py", "weights.safetensors"]


@pytest.mark.parametrize("kind", ["searched", "trained"])
def test_an_export_loads_where_sharewise_cannot_be_imported(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sharewise.run import RunFolder, restore

    run = request.getfixturevalue(kind)
    out = tmp_path / "exported"
    call(capsys, "export", run, "--out", out)
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "images.npy", images.numpy())
    program = (
        "import sys; sys.modules['sharewise'] = None\n"
        "import numpy, torch, model\n"
        "try:\n    import sharewise\n    raise SystemExit('sharewise was importable')\nexcept ImportError:\n    pass\n"
        "torch.set_num_threads(1)\n"
        f"x = torch.from_numpy(numpy.load({str(tmp_path / 'images.npy')!r}))\n"
        f"numpy.save({str(tmp_path / 'outputs.npy')!r}, model.load()(x).detach().numpy())\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=out, check=True, timeout=120)
    network = restore(RunFolder(run), device="cpu").network
    with torch.no_grad():
        expected = network(images).numpy()
    assert np.array_equal(np.load(tmp_path / "outputs.npy"), expected)


def test_a_printed_configuration_is_complete_and_can_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = call(capsys, "search", "--method", "gdas", "--epochs", 3, *SMALL, "--print-config")
    values = yaml.safe_load(printed)
    assert values["recipe"]["epochs"] == 3
    assert values["recipe"]["minimum_temperature"] == 0.1
    expected = {"channels": 2, "cells": 1, "affine": False, "fused": True, "partial": 1, "edge_weights": False}
    expected["recompute"] = False
    assert values["network"] == expected | {"sharing": "disjoint", "published": False}
    file = tmp_path / "config.yaml"
    file.write_text(printed)
    assert call(capsys, "search", "--config", file, "--print-config") == printed
    changed = yaml.safe_load(call(capsys, "search", "--config", file, "--epochs", 5, "--print-config"))
    assert changed["recipe"] == values["recipe"] | {"epochs": 5}


def test_limits_make_a_run_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "RUN"
    words = ["--max-steps", 3, "--image-size", 6, "--batch-size", 16, "--checkpoint-every", 2]
    result = json.loads(
        call(capsys, "search", "--method", "spos", *SMALL, *words, "--candidates", 3, "--out", out, "--json")
    )
    assert result["ledger"]["weights"]["steps"] == 3
    assert len(result["selection"]["candidates"]) == 3
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[1])["step"] == 3


def test_tensorboard_scalars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "RUN"
    call(capsys, "search", *SMALL, "--epochs", 1, "--max-steps", 1, "--tensorboard", "--out", out)
    assert list((out / "tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["serch"], ["did you mean 'search'"]),
        (["search", "--space", "nasbench20", "--out", "x"], ["space 'nasbench20'", "did you mean 'nasbench201'"]),
        (["search", "--method", "dart", "--out", "x"], ["method 'dart'", "'darts'", "gaea-erm"]),
        (["search", "--data", "digit", "--out", "x"], ["'digit'", "'digits'", "cifar10"]),
        (["search", "--data", "cifar10", "--out", "x"], ["--data-path", "SHAREWISE_DATA"]),
        (["search", "--data", "cifar10", "--data-path", "nowhere", "--out", "x"], ["nowhere", "not found"]),
        (["search", "--data", "cifar10", "--data-path", "x.npz", "--out", "y"], ["x.npz", "not found"]),
        (["search"], ["--out"]),
        (["search", "--device", "tpu9", "--out", "x"], ["tpu9", "--device cpu"]),
        (["search", "--precision", "float8", "--out", "x"], ["float8", "bfloat16"]),
        (["search", "--epochs", "0", "--out", "x"], ["epochs", "at least 1", "0"]),
        (["search", "--max-steps", "0", "--out", "x"], ["max_steps", "at least 1"]),
        (["search", "--train-examples", "99999", "--out", "x"], ["99999", "1437"]),
        (["search", "--channels", "0", "--out", "x"], ["channels", "at least 1"]),
        (["search", "--sharing", "entangle", "--out", "x"], ["option sharing", "did you mean 'entangled'", "disjoint"]),
        (["search", "--exclude", "conv_7x7", "--out", "x"], ["conv_7x7", "nor_conv_3x3"]),
        (["search", "--resume", "no-such-run"], ["no-such-run"]),
        (["search", "--config", "no-such-file.yaml", "--out", "x"], ["no-such-file.yaml"]),
        (["train", "--out", "x"], ["--architecture"]),
        (["train", "--architecture", "|conv~0|", "--out", "x"], ["|conv~0|", "|op~0|+"]),
        (["evaluate", "no-such-run"], ["no-such-run"]),
        (["export", "no-such-run", "--out", "x"], ["no-such-run"]),
        (["report", "no-such-run"], ["no-such-run"]),
        (["space", "nasbench"], ["nasbench201"]),
        (["cost", "--architecture", CELL, "--input-shape", "3", "32"], ["(3, 32)", "channels"]),
        (["cost", "--architecture", CELL, "--input-shape", "3", "0", "32"], ["--input-shape", "(3, 0, 32)", "least 1"]),
        (
            ["cost", "--space", "toy-tied-width", "--architecture", "x", "--input-shape", "-4"],
            ["--input-shape", "(-4,)", "least 1"],
        ),
        (["cost", "--architecture", CELL, "--outputs", "0"], ["--outputs", "at least 1", "0"]),
        (["cost", "--architecture", CELL, "--outputs", "-3"], ["--outputs", "at least 1", "-3"]),
        (["cost", "--architecture", CELL, "--latency", "--device", "foo"], ["'foo'", "--device cpu"]),
        (["cost", "--architectur", CELL], ["option '--architectur'", "did you mean '--architecture'"]),
        (["cost"], ["--architecture", "cost --help"]),
        (["search", "--epoch", "3"], ["option '--epoch'", "did you mean '--epochs'", "--seed"]),
        (["search", "--epoch=3", "--out", "x"], ["option '--epoch'", "did you mean '--epochs'"]),
        (["search", "--seed", "x"], ["--seed", "int", "'x'"]),
        (["search", "--seed"], ["--seed", "expected one argument"]),
        (["search", "--out", "x", "-q"], ["option '-q'"]),
        (["search", "digits", "--out", "x"], ["unexpected word 'digits'"]),
        (["demo", "--randm", "2"], ["did you mean '--random'"]),
        (["report"], ["RUN"]),
        (["list", "method"], ["'method'", "did you mean 'methods'"]),
        (["--versio"], ["did you mean '--version'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_gets_one_clear_line(
    words: list[str],
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHAREWISE_DATA", raising=False)
    error = fail(capsys, *words)
    for part in parts:
        assert part in error, error
    assert not list(tmp_path.iterdir()), "a refused command must leave nothing behind"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({"methd": "darts"}, ["'methd'", "'method'"]),
        ({"recipe": {"epoch": 3}}, ["'epoch'", "'epochs'"]),
        ({"network": {"chanels": 3}}, ["'chanels'", "'channels'"]),
        ({"seed": "zero"}, ["seed", "int", "'zero'"]),
        ({"recipe": {"learning_rate": "fast"}}, ["learning_rate", "float", "'fast'"]),
        ({"recipe": [1, 2]}, ["recipe must be a mapping of options to values, got [1, 2]"]),
        ({"network": "big"}, ["network must be a mapping of options to values, got 'big'"]),
        ({"command": "train"}, ["train", "search"]),
    ],
)
def test_a_bad_configuration_file_names_the_entry(
    content: dict[str, Any], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    for more in ([], ["--precision", "float32", "--epochs", 1, "--channels", 2]):
        error = fail(capsys, "search", "--config", file, "--out", tmp_path / "RUN", *more)
        for part in parts:
            assert part in error, error


def test_a_folder_with_a_run_is_not_overwritten(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--resume" in fail(capsys, "search", *SMALL, "--epochs", 1, "--out", searched)


def test_errors_are_json_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["space", "nasbench", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["kind"] == "ConfigurationError"


def test_parser_errors_are_json_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--json", "--outputs", "ten"]) == 2
    assert "--outputs" in json.loads(capsys.readouterr().out)["error"]


def test_the_file_that_started_a_run_agrees_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "config.yaml", tmp_path / "RUN"
    text = (
        "data: digits\ntrain_examples: 96\nmax_steps: 1\ndevice: cpu\nthreads: 1\ngap_examples: 0\n"
        "network: {channels: 2, cells: 1}\nrecipe: {epochs: 1, learning_rate: 1e-3, weight_decay: 1}\n"
    )
    file.write_text(text)
    call(capsys, "search", "--config", file, "--out", out)
    call(capsys, "search", "--config", file, "--resume", out)
    file.write_text(text.replace("1e-3", "2e-3"))
    error = fail(capsys, "search", "--config", file, "--resume", out)
    assert "recipe.learning_rate was 0.001 and is now 0.002" in error
    assert "weight_decay" not in error
    file.write_text("recipe: [1, 2]\n")
    assert "recipe must be a mapping" in fail(capsys, "search", "--config", file, "--resume", out)
    assert "method was 'gaea-erm' and is now 'darts'" in fail(capsys, "search", "--resume", out, "--method", "darts")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({"command": "foo"}, ["config.yaml is damaged"]),
        ({"command": ["search"]}, ["config.yaml is damaged"]),
        ({"command": "search", "recipe": [1, 2]}, ["config.yaml is damaged", "recipe must be a mapping", "[1, 2]"]),
    ],
)
def test_a_damaged_configuration_of_a_run_is_named(
    content: dict[str, Any], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    error = fail(capsys, "search", "--resume", tmp_path, "--epochs", 1)
    for part in parts:
        assert part in error, error


def test_paths_are_printed_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    limits = ["--epochs", 1, "--max-steps", 1, "--threads", 1]
    for name in ("mk[red]x", ":smile:"):
        shown = call(capsys, "train", "--architecture", CELL, *SMALL, *limits, "--out", name)
        assert f"report: {name}/report.html" in shown
    shown = call(capsys, "search", *SMALL, *limits, "--gap-examples", 0, "--out", "mk[/b]x")
    assert "report: mk[/b]x/report.html" in shown


def test_help_shows_the_options_of_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["cost", "--help"])
    shown = capsys.readouterr().out
    assert "--channels" in shown
    assert "--cells" in shown
    assert "--architecture" in shown


@pytest.mark.skipif(torch.cuda.is_available(), reason="the error of a machine without CUDA")
def test_latency_needs_a_device_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--device cpu" in fail(capsys, "cost", "--architecture", CELL, "--latency", "--device", "cuda")


def test_an_interruption_during_an_import_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sharewise.cli.import_module", interrupted)
    assert main(["search"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_terminal_without_unicode(tmp_path: Path) -> None:
    words = ["search", *SMALL, "--method", "gdas", "--epochs", "1", "--max-steps", "1", "--out", str(tmp_path / "é")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "sharewise", *words], capture_output=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"found:" in done.stdout


def test_the_demo_records_every_opening_of_the_test_examples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--random", 2, "--repeats", 1, "--search-epochs", 1, "--train-epochs", 1, "--device", "cpu", "--jobs", 1]
    result = json.loads(call(capsys, "demo", *small, "--out", tmp_path / "RUN", "--json"))
    assert len(result["test_openings"]) == 3
    assert json.loads((tmp_path / "RUN" / "result.json").read_text())["test_openings"] == result["test_openings"]


def test_the_live_line_follows_the_run_to_its_end() -> None:
    file = io.StringIO()
    configuration = from_mapping(
        "search",
        {
            "method": "spos",
            "train_examples": 96,
            "network": {"channels": 2, "cells": 1},
            "recipe": {"epochs": 1, "candidates": 2},
        },
    )
    assert isinstance(configuration, SearchConfiguration)
    with progress(Console(file=file, force_terminal=True, width=140)) as display:

        def listen(state: SearchState, event: Event) -> None:
            display(state, event)
            if isinstance(event, EpochEnded | Announced):
                time.sleep(0.6)  # until the live line is drawn again

        search(
            configuration.load_space(),
            configuration.build_recipe(),
            configuration.load_data(),
            network=configuration.network,
            device="cpu",
            callbacks=[listen],
        )
    shown = file.getvalue()
    assert "epoch 1/1" in shown
    assert "finishing" in shown
    assert "ranked 1 of 2 candidates" in shown


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_option_of_every_method_can_be_given(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    words: list[object] = []
    expected: dict[str, object] = {}
    for name, (kind, default) in parameters(method).items():
        value = default
        if get_origin(kind) is tuple:
            numbers = (4, 3, 2) if name == "parts" else (3, 2)
            value = default or (numbers if get_args(kind)[0] is int else ("none",))
        option = name.replace("_", "-")
        given = () if kind is bool else value if isinstance(value, tuple) else (value,)
        words += ["--no-" + option if kind is bool and not value else "--" + option, *given]
        expected[name] = list(value) if isinstance(value, tuple) else value
    shown = yaml.safe_load(call(capsys, "search", "--method", method, *words, "--print-config"))
    assert {name: shown["recipe"][name] for name in expected} == expected


@pytest.mark.slow
def test_the_demo_finds_the_same_however_many_train_at_a_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small = ["--random", 2, "--repeats", 1, "--search-epochs", 1, "--train-epochs", 1, "--json"]
    one, two = (
        json.loads(call(capsys, "demo", *small, "--jobs", jobs, "--out", tmp_path / str(jobs))) for jobs in (1, 2)
    )
    assert one["comparison"] == two["comparison"]
    assert one["test_openings"] == two["test_openings"]
