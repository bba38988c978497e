"""Trainings that start from what a supernet learned: exact, recorded, resumed to the bit, or refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import sharewise as sw
from sharewise.engine import SearchState, evaluate
from sharewise.errors import ConfigurationError
from sharewise.run import RunFolder, SearchConfiguration, TrainConfiguration, from_mapping, restore
from sharewise.run.inherit import Inheritance

SMALL: dict[str, Any] = {
    "space": "nasbench201",
    "method": "gaea-erm",
    "network": {"channels": 2, "cells": 1},
    "train_examples": 96,
    "recipe": {"epochs": 1, "batch_size": 32},
    "seed": 3,
    "threads": 1,
    "gap_examples": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "RUN"
    SearchConfiguration(**SMALL).execute(out)
    return out


def training(searched: Path, **changes: Any) -> TrainConfiguration:
    values = {"from_search": str(searched), "start": "inherited", "device": "cpu", "threads": 1}
    values["recipe"] = {"epochs": 2, "batch_size": 32, "validation_fraction": 0.25, "drop_path": 0.3}
    found = from_mapping("train", {**values, **changes})
    assert isinstance(found, TrainConfiguration)
    return found


def weights(folder: Path) -> dict[str, Any]:
    content = RunFolder(folder).read_checkpoint()
    assert content is not None
    return {name: value.tolist() for name, value in content["state"]["supernet"].items()}


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_it_takes_over_the_search_and_starts_exactly_where_that_ended(searched: Path, tmp_path: Path) -> None:
    configuration = training(searched)
    assert (configuration.seed, configuration.train_examples) == (3, 96)
    assert configuration.network_options()["channels"] == 2
    result = configuration.execute(tmp_path / "RUN")
    record = next(event for event in events(tmp_path / "RUN") if event["event"] == "inherited")
    found = restore(RunFolder(searched))  # the network that `sharewise evaluate` and `export` give
    batches = result.state.evaluation_batches("selection")
    scores = evaluate(found.network, [found.numerics.arrange(batch) for batch in batches], found.dataset.task)
    assert record["scores"] == scores  # to the bit
    assert record["on"] == "held-out examples"
    stored = json.loads((tmp_path / "RUN" / "result.json").read_text(encoding="utf-8"))
    assert stored["start"] == record
    assert (record["method"], record["seed"], record["from"]) == ("gaea-erm", 3, str(searched))
    page = (tmp_path / "RUN" / "report.html").read_text(encoding="utf-8")
    assert "inherited from gaea-erm" in page
    scratch = training(searched, start="scratch").execute(tmp_path / "SCRATCH").state
    assert not torch.equal(next(result.network.parameters()), next(scratch.supernet.parameters()))
    assert restore(RunFolder(tmp_path / "RUN")).origin == "fine-tuned from inherited weights"


def test_it_is_resumed_to_the_bit_without_its_search(searched: Path, tmp_path: Path) -> None:
    configuration = replace(training(searched), checkpoint_every=1)
    configuration.execute(tmp_path / "whole")

    def interrupt(state: SearchState, event: object) -> None:
        if state.step == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        configuration.execute(tmp_path / "cut", callbacks=[interrupt])
    stored = from_mapping("train", RunFolder(tmp_path / "cut").read_config())
    gone = searched.rename(searched.with_name("GONE"))
    try:
        stored.execute(tmp_path / "cut", resume=True)
    finally:
        gone.rename(searched)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    cut, whole = (
        [
            {name: value for name, value in event.items() if name not in ("seconds", "ledger")}
            for event in events(folder)
        ]
        for folder in (tmp_path / "cut", tmp_path / "whole")
    )
    assert cut == whole


def test_from_python_a_result_or_the_path_of_its_folder(searched: Path) -> None:
    data = SearchConfiguration(**SMALL).load_data()
    options: dict[str, Any] = {"network": SMALL["network"], "device": "cpu", "max_steps": 1, "evaluate_on_test": False}
    method = sw.methods.gaea_erm(**SMALL["recipe"])
    small: dict[str, Any] = {"network": SMALL["network"], "device": "cpu", "gap_examples": 0}
    found = sw.search("nasbench201", method, data, seed=3, **small)
    before = {name: value.clone() for name, value in found.state.supernet.state_dict().items()}
    by_result = sw.train("nasbench201", found, data, start="inherited", **options)
    by_folder = sw.train("nasbench201", searched, data, start="inherited", **options)
    assert by_result.state.history[0]["scores"] == by_folder.state.history[0]["scores"]
    assert by_result.state.history[0]["from"] == "the search in memory"
    assert all(torch.equal(before[name], value) for name, value in found.state.supernet.state_dict().items())
    with pytest.raises(ConfigurationError, match="needs a finished search"):
        sw.train("nasbench201", found.architecture, data, start="inherited", **options)
    with pytest.raises(ConfigurationError, match="unknown start 'inherit'; did you mean 'inherited'"):
        sw.train("nasbench201", found, data, start="inherit", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"channels": 4}}, "stem.0.weight is 2×1×3×3 there and 4×1×3×3 here"),
        ({"network": {"cells": 2}}, "is absent there and"),
        (
            {"space": "toy-tied-width", "architecture": '{"width": 4, "activation": "relu"}'},
            "searched 'nasbench201', whose weights no network of",
        ),
    ],
)
def test_what_cannot_be_inherited_is_refused_before_anything_is_written(
    searched: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        training(searched, **{"recipe": {"epochs": 1}, **change}).execute(tmp_path / "RUN")
    assert not (tmp_path / "RUN").exists()


def test_parts_of_a_network_are_no_network(searched: Path) -> None:
    """As under partial channels: the supernet's operations have fewer channels than the network that is trained."""
    network = {"channels": 4, "cells": 1}
    options: dict[str, Any] = {"network": network, "max_steps": 1, "gap_examples": 0, "device": "cpu"}
    recipe = sw.methods.pc_darts(epochs=1, batch_size=16, warm_up=0.0)
    state = sw.search("nasbench201", recipe, SearchConfiguration(**SMALL).load_data(), **options).state
    architecture = state.supernet.space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|")
    plain = sw.build_network(architecture, "nasbench201", (1, 8, 8), 10, network=network)
    with pytest.raises(ConfigurationError, match=r"holds no whole network of .* as under partial channels"):
        Inheritance(lambda: state, "RUN").give(plain, architecture, state.supernet.space)


def test_weights_are_inherited_from_a_search(searched: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="give its folder as from_search"):
        TrainConfiguration(start="inherited")
    training(searched, start="scratch", recipe={"epochs": 1}, max_steps=1).execute(tmp_path / "RUN")
    with pytest.raises(ConfigurationError, match="holds a training; give the folder of a search"):
        training(tmp_path / "RUN")


def test_words_of_the_user_may_stand_for_a_configuration(searched: Path, tmp_path: Path) -> None:
    data = SearchConfiguration(**SMALL).load_data()
    options: dict[str, Any] = {"network": SMALL["network"], "max_steps": 1, "device": "cpu"}
    sw.search(
        "nasbench201", "gaea-erm", data, out=tmp_path / "RUN", configuration={"note": 1}, gap_examples=0, **options
    )
    stored = sw.run.RunFolder(tmp_path / "RUN").read_config()
    assert (stored["command"], stored["note"]) == ("search", 1)
