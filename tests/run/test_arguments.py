"""Natural arguments of the public functions are taken, and ambiguous ones end in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sharewise as sw
from sharewise.errors import SharewiseError

SPACE = sw.spaces.toy_tied_width()
DATA = sw.data.digits().limited(64, seed=0)
ARCHITECTURE = SPACE.architecture({"width": 8, "activation": "relu"})
PAIRS = torch.utils.data.TensorDataset(torch.randn(50, 1, 8, 8), torch.zeros(50, dtype=torch.long))


def searched(space: Any = SPACE, recipe: Any = "gaea-erm", data: Any = DATA, **options: Any) -> Any:
    return sw.search(space, recipe, data, **{"device": "cpu", "max_steps": 1, "gap_examples": 0, **options})


def trained(architecture: Any = ARCHITECTURE, **options: Any) -> Any:
    return sw.train(SPACE, architecture, DATA, **{"device": "cpu", "max_steps": 1, **options})


@pytest.mark.parametrize(
    "call",
    [
        lambda: searched("toy-tied-width"),
        lambda: searched(sw.spaces.toy_tied_width),
        lambda: searched(sw.build_supernet(SPACE, (1, 8, 8), 10)),
        lambda: searched(recipe="gdas"),
        lambda: searched(recipe=sw.methods.gaea_erm),
        lambda: searched(recipe=lambda: sw.methods.gaea_erm(epochs=1)),
        lambda: searched(data="digits"),
        lambda: searched(data=sw.data.digits),
        lambda: searched(seed=np.int64(3), max_steps=np.int32(1), epochs=np.int64(2), gap_examples=np.uint8(2)),
        lambda: searched(device=torch.device("cpu"), precision=torch.float64),
        lambda: searched(callbacks=lambda state, event: None),
    ],
)
def test_a_search_takes_what_is_unambiguous(call: Callable[[], Any]) -> None:
    assert call().state.step == 1


def test_words_and_values_mean_the_same() -> None:
    by_words = searched("toy-tied-width", "gdas", seed=np.int64(3), data="digits")
    by_values = searched(SPACE, sw.methods.gdas(), seed=3, data=sw.data.digits())
    for one, other in zip(by_words.state.supernet.parameters(), by_values.state.supernet.parameters(), strict=True):
        assert torch.equal(one, other)
    assert by_words.architecture == by_values.architecture


@pytest.mark.parametrize("given", [str(ARCHITECTURE), {"width": np.int64(8), "activation": "relu"}])
def test_a_training_takes_text_and_mappings(given: Any) -> None:
    assert trained(given).architecture == ARCHITECTURE


def test_a_training_takes_what_a_search_found_and_options_by_name() -> None:
    found = searched()
    assert trained(found, training={"batch_size": np.int64(16)}).architecture == found.architecture


def test_networks_are_built_from_names_and_text() -> None:
    cell = "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|"
    options = {"channels": np.int64(2), "cells": 1}
    assert sw.build_supernet("nasbench201", (1, 8, 8), np.int64(10), network=options).space.name == "nasbench201"
    assert len(list(sw.build_network(cell, "nasbench201", (1, 8, 8), 10, network=options).parameters()))


def test_one_of_several_and_numbers_of_numpy_serve_studies_and_comparisons(tmp_path: Path) -> None:
    contest = sw.Contest("random", "cifar10", np.int64(200), evaluations=np.int64(5), repeats=np.int64(3))
    assert (contest.strategies, contest.datasets, contest.signal_epochs) == (("random",), ("cifar10",), (200,))
    plan = {"methods": ["rs-ws"], "spaces": ["toy-tied-width"], "seeds": [0], "budget": {"steps": 1}}
    found = sw.study({**plan, "data": ["digits"]}, out=str(tmp_path / "out"), jobs=np.int64(1))
    assert not found.failures


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: sw.appraise([]), ["nothing to appraise"]),
        (lambda: sw.appraise(5), ["expected finished searches", "got 5", "folders"]),
        (lambda: sw.appraise("RUN", oracle=None), ["expected a table or its file, got None"]),
        (lambda: sw.appraise("RUN", architectures="12"), ["architectures", "whole number", "'12'"]),
        (lambda: sw.appraise("RUN", jobs=0), ["jobs", "at least 1", "got 0"]),
        (lambda: sw.appraise("RUN", training="short"), ["training recipe", "'short'", "nasbench201-short"]),
        (lambda: sw.appraise("RUN", progress="yes"), ["progress must be a function", "'yes'"]),
        (lambda: sw.compare("t", "random"), ["expected a contest, got 'random'", "sharewise.Contest"]),
        (lambda: sw.compare(None, sw.Contest(evaluations=5)), ["expected a table or its file, got None"]),
        (lambda: sw.compare("t", sw.Contest(evaluations=5), jobs="all"), ["jobs", "'all'"]),
        (lambda: sw.Contest(evaluations="many"), ["evaluations", "'many'"]),
        (lambda: sw.Contest(5, evaluations=5), ["strategies must be names, got 5"]),
        (lambda: sw.study(None, out="out"), ["expected a plan of a study, got None", "YAML"]),
        (lambda: sw.study({}, out=""), ["out must name a folder"]),
        (lambda: searched(nn.Linear(4, 3)), ["expected a space, got a Linear", "sharewise.elastic"]),
        (lambda: searched(nn.Linear), ["expected a space", "nasbench201"]),
        (lambda: searched(None), ["expected a space, got None"]),
        (lambda: searched("nasbench20"), ["'nasbench20'", "did you mean 'nasbench201'"]),
        (lambda: searched(recipe="dart"), ["'dart'", "did you mean 'darts'"]),
        (lambda: searched(recipe=DATA), ["expected a recipe of a method, got a Dataset", "gaea_erm()"]),
        (lambda: searched(recipe=sw.TrainingRecipe()), ["got a TrainingRecipe", "sharewise.train"]),
        (lambda: searched(recipe=sw.spaces.load), ["expected a recipe of a method", "the function load", "'name'"]),
        (lambda: searched(recipe=sw.data.digits), ["expected a recipe of a method, got a Dataset"]),
        (lambda: searched(data=PAIRS), ["got a TensorDataset", "sharewise.data.arrays"]),
        (lambda: searched(data=torch.utils.data.DataLoader(PAIRS, 8)), ["got a DataLoader", "sharewise.data.Dataset"]),
        (lambda: searched(data=(np.zeros((4, 3)), np.zeros(4))), ["got a tuple"]),
        (lambda: searched(data=sw.data.arrays), ["'arrays' needs a path"]),
        (lambda: searched(data="digit"), ["did you mean 'digits'"]),
        (lambda: searched(seed=None), ["seed", "got None"]),
        (lambda: searched(seed=-1), ["seed", "at least 0", "-1"]),
        (lambda: searched(seed=True), ["seed", "True"]),
        (lambda: searched(seed=2**64), ["seed", "2^63"]),
        (lambda: searched(max_steps=1.5), ["max_steps", "1.5"]),
        (lambda: searched(max_steps=0), ["max_steps", "at least 1"]),
        (lambda: searched(epochs="many"), ["epochs", "'many'"]),
        (lambda: searched(network="small"), ["network must be a mapping", "'small'"]),
        (lambda: searched(network={"widht": 3}), ["'widht'"]),
        (lambda: searched("nasbench201", network={"channels": "4"}), ["channels", "int", "'4'"]),
        (lambda: searched(device=0), ["device", "got 0"]),
        (lambda: searched(precision=torch.int8), ["int8", "bfloat16"]),
        (lambda: searched(out=""), ["out must name a folder", "''"]),
        (lambda: searched(out=3), ["out must name a folder", "3"]),
        (lambda: searched(callbacks=[1]), ["callbacks", "got 1"]),
        (lambda: searched(callbacks=1), ["callbacks", "got 1"]),
        (lambda: trained(5), ["5 is not an architecture", "standard string"]),
        (lambda: trained({"width": 8}), ["'activation'"]),
        (lambda: trained("narrow"), ["'narrow'"]),
        (lambda: trained(training=sw.methods.darts()), ["recipe of a training, got a Recipe", "TrainingRecipe"]),
        (lambda: trained(training={"epoch": 3}), ["'epoch'", "'epochs'"]),
        (lambda: trained(training={"epochs": "3"}), ["epochs", "'3'"]),
        (lambda: sw.build_supernet("nasbench201", (3, 8, 8), None), ["outputs", "None"]),
    ],
)
def test_what_is_ambiguous_ends_in_one_line(
    call: Callable[[], Any], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHAREWISE_DATA", raising=False)
    with pytest.raises(SharewiseError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    assert not list(tmp_path.iterdir())
