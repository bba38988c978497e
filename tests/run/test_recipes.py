"""Named recipes: the values of the authors' code, defaults that what is said beside them beats, schedules by hand."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import sharewise as sw
from sharewise.cli import main
from sharewise.errors import ConfigurationError
from sharewise.recipes import RECIPES
from sharewise.run import TrainConfiguration, from_mapping
from sharewise.run.arguments import training_of
from sharewise.run.identity import _stable
from sharewise.run.standalone import TrainingRecipe
from sharewise.spaces import SPACES, load
from sharewise.supernet import networks_of

CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|"


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_is_one_of_its_space(name: str) -> None:
    recipe = RECIPES[name]
    training_of(name)
    networks_of(load(recipe.space)).configure(dict(recipe.network))
    assert recipe.space in SPACES
    assert recipe.source
    assert all(len(line) <= 120 for line in (recipe.summary, recipe.source))


@pytest.mark.parametrize(
    ("name", "drop_path", "batch_size", "network"),
    [
        ("darts-cifar10", 0.2, 96, (36, 20)),
        ("pc-darts-cifar10", 0.3, 96, (36, 20)),
        ("drnas-cifar10", 0.3, 64, (36, 20)),
        ("robust-darts", 0.2, 96, (16, 8)),
    ],
)
def test_on_cifar_they_are_what_the_authors_run(
    name: str, drop_path: float, batch_size: int, network: tuple[int, int]
) -> None:
    found = training_of(name)
    assert (found.epochs, found.learning_rate, found.weight_decay, found.gradient_clip) == (600, 0.025, 3e-4, 5.0)
    assert (found.momentum, found.nesterov, found.optimizer, found.label_smoothing) == (0.9, False, "sgd", 0.0)
    assert (found.cutout, found.auxiliary_weight, found.drop_path, found.batch_size) == (16, 0.4, drop_path, batch_size)
    assert [found.learning_rates(epoch, 600) for epoch in (0, 300)] == pytest.approx([0.025, 0.0125])
    assert tuple(RECIPES[name].network.values()) == network


def test_on_imagenet_the_rate_falls_by_epoch_or_in_a_line() -> None:
    darts, large = training_of("darts-imagenet"), training_of("pc-darts-imagenet")
    for found, batch_size in ((darts, 128), (large, 1024), (training_of("drnas-imagenet"), 768)):
        assert (found.epochs, found.weight_decay, found.label_smoothing, found.drop_path) == (250, 3e-5, 0.1, 0.0)
        assert (found.auxiliary_weight, found.gradient_clip, found.cutout, found.batch_size) == (
            0.4,
            5.0,
            0,
            batch_size,
        )
    assert RECIPES["darts-imagenet"].network_in("darts") == {"channels": 48, "layers": 14, "stem": "imagenet"}
    torch_rates = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(torch_rates, 1, gamma=0.97)
    for epoch in range(12):
        assert darts.learning_rates(epoch, 250) == pytest.approx(torch_rates.param_groups[0]["lr"])
        torch_rates.step()
        schedule.step()
    # 5 of 250 epochs rise in equal steps, the last 5 fall gently: the equations of the authors' code.
    rates = [large.learning_rates(epoch, 250) for epoch in range(250)]
    assert rates[:6] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5 * 240 / 245])
    assert rates[244] == pytest.approx(0.5 * 1 / 245)
    assert rates[245:] == pytest.approx([0.5 * remaining / (245 * 5) for remaining in (5, 4, 3, 2, 1)])
    assert rates[4:245] == sorted(rates[4:245], reverse=True)
    short = [large.learning_rates(epoch, 3) for epoch in range(3)]  # too short for a warm-up or a tail
    assert short == pytest.approx([0.5, 0.5 * 2 / 3, 0.5 / 3])


def test_nasbench101_descends_by_root_mean_squares() -> None:
    weights = training_of("nasbench101").recipe(load("nasbench201").parse(CELL)).weights
    optimizer = weights.build([torch.nn.Parameter(torch.zeros(1))])
    assert type(optimizer).__name__ == "RootMeanSquare"
    assert optimizer.param_groups[0]["lr"] == 0.2
    assert weights.gradient_clip is None


def test_what_is_said_beside_a_recipe_wins() -> None:
    found = from_mapping(
        "train",
        {"space": "nasbench201", "architecture": CELL, "network": {"cells": 2},
         "recipe": {"recipe": "nasbench201-short", "epochs": 3}},
    )  # fmt: skip
    assert isinstance(found, TrainConfiguration)
    assert (found.training().epochs, found.training().gradient_clip) == (3, 0.0)
    assert (found.network_options()["channels"], found.network_options()["cells"]) == (8, 2)
    assert found.data == "cifar10"
    complete = found.complete()
    assert complete["recipe"]["recipe"] == "nasbench201-short"
    assert set(complete["recipe"]) == {"recipe", *TrainingRecipe.__dataclass_fields__}
    again = from_mapping("train", yaml.safe_load(yaml.safe_dump(complete)))
    assert again.complete() == complete


def test_another_space_keeps_its_network_and_other_data_their_size() -> None:
    values = {"space": "nasbench201", "data": "digits", "architecture": CELL, "recipe": {"recipe": "darts-imagenet"}}
    found = from_mapping("train", values)
    assert found.network_options()["channels"] == 16
    assert found.image_size is None
    assert from_mapping("train", {"recipe": {"recipe": "darts-imagenet"}}).image_size == 224


def test_from_python_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    data, options = sw.data.digits().limited(64, seed=0), {"device": "cpu", "max_steps": 1, "evaluate_on_test": False}
    for training in ("nasbench201-short", {"recipe": "nasbench201-short", "epochs": 2}):
        result = sw.train("nasbench201", CELL, data, training=training, network={"channels": 2}, **options)  # type: ignore[arg-type]
        assert result.network.configuration["cells"] == 1
        assert result.network.configuration["channels"] == 2
    assert result.state.recipe.epochs == 2
    with pytest.raises(ConfigurationError, match="unknown training recipe 'nasbench202-short'; did you mean"):
        training_of("nasbench202-short")


def test_a_folder_names_its_recipe_and_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--recipe", "nasbench201-short", "--data", "digits", "--channels", "2", "--epochs", "1"]
    words += ["--train-examples", "64", "--device", "cpu", "--architecture", CELL, "--out", str(tmp_path / "RUN")]
    assert main(["train", *words]) == 0
    said = "nasbench201-short with epochs 1 instead of 12, channels 2 instead of 8"
    assert said in " ".join(capsys.readouterr().out.split())
    assert f"{said}; from scratch" in (tmp_path / "RUN" / "report.html").read_text(encoding="utf-8")
    assert main(["train", "--resume", str(tmp_path / "RUN"), "--recipe", "nasbench201-short", "--epochs", "1"]) == 0
    assert main(["train", "--resume", str(tmp_path / "RUN"), "--recipe", "nasbench201"]) == 2
    assert "recipe.recipe was 'nasbench201-short' and is now 'nasbench201'" in capsys.readouterr().err


def test_the_command_line_lists_them_and_shows_their_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "recipes", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(RECIPES)
    assert "quark0/darts @ f276dd3" in rows["darts-cifar10"]["source"]
    with pytest.raises(SystemExit):
        main(["train", "--recipe", "pc-darts-cifar10", "--help"])
    help_text = " ".join(capsys.readouterr().out.split())
    assert "rising from zero as in DARTS (default: 0.3)" in help_text
    assert "--layers N" in help_text  # of the recipe's space, since no other is named
    assert main(["train", "--recipe", "darts-cifar", "--out", "X"]) == 2
    assert "unknown training recipe 'darts-cifar'; did you mean 'darts-cifar10'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "lineal"}, "unknown schedule 'lineal'; did you mean 'linear'"),
        ({"decay": 0.9}, "decay belongs to the exponential schedule, got decay=0.9 beside schedule='cosine'"),
        ({"schedule": "exponential", "decay": 1.5}, r"must lie in \(0, 1\], got 1.5"),
        ({"warm_up": 1.0}, r"fraction of a warm-up must lie in \[0, 1\), got 1.0"),
        ({"optimizer": "rmspop"}, "did you mean 'rmsprop'"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TrainingRecipe(**options)


def test_what_images_are_too_small_for_ends_before_the_first_step(tmp_path: Path) -> None:
    values: dict[str, Any] = {"space": "nasbench201", "data": "digits", "architecture": CELL, "network": {"cells": 1}}
    with pytest.raises(ConfigurationError, match="a cutout of 16 pixels is larger than images of 8×8"):
        from_mapping("train", {**values, "recipe": {"cutout": 16}}).execute(tmp_path / "RUN")
    darts = {"space": "darts", "architecture": "DARTS_V2", "network": {"channels": 2, "layers": 3}, "data": "digits"}
    with pytest.raises(ConfigurationError, match="needs features of 8x8, that is images of 32x32; images of 8x8 give"):
        from_mapping("train", {**darts, "recipe": {"recipe": "darts-cifar10", "cutout": 0}}).execute(tmp_path / "RUN")
    assert not (tmp_path / "RUN").exists()
    short = from_mapping("train", {**darts, "recipe": {"recipe": "darts-cifar10-short"}, "max_steps": 1})
    assert math.isfinite(short.train(evaluate_on_test=False).run().state.history[-1]["weights_loss"])


def test_plain_momentum_under_a_warm_up_equals_a_loop_by_hand() -> None:
    from dataclasses import replace

    from sharewise.data import Augmentation
    from sharewise.engine import stream

    data = replace(sw.data.digits().limited(48, seed=0), augmentation=Augmentation())
    space = load("toy-tied-width")
    a = space.architecture({"width": 8, "activation": "tanh"})
    options: dict[str, Any] = {"schedule": "exponential", "decay": 0.5, "warm_up": 0.5, "nesterov": False}
    training = TrainingRecipe(epochs=4, batch_size=16, learning_rate=0.05, label_smoothing=0.1, **options)
    result = sw.train(space, a, data, training=training, device="cpu", seed=3, evaluate_on_test=False)
    net = sw.build_network(a, space, data.input_shape, 10, seed=3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    batches = data.assign(training.roles, generator=stream(3, "data")).stream(
        "weights", 16, order=stream(3, "data/weights")
    )
    for rate in (0.025, 0.05, 0.05 / 4, 0.05 / 8):  # two epochs rise; the decay goes on beneath them
        optimizer.param_groups[0]["lr"] = rate
        for _ in range(3):
            batch = next(batches)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(batch.inputs), batch.targets, label_smoothing=0.1).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
    for mine, theirs in zip(result.network.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)


def test_younger_options_leave_the_identity_of_older_folders_alone() -> None:
    """The fingerprint that a version without schedules wrote into checkpoints; a change would close all older runs."""
    a = load("toy-tied-width").architecture({"width": 8, "activation": "relu"})
    text = _stable(repr(TrainingRecipe(epochs=3).recipe(a)))
    assert "nesterov=True, gradient_clip=5.0), epochs=3" in text
    assert text.endswith("'validation_fraction': 0.0, 'optimizer': 'sgd'})")
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "a51d8b2bd16c7086"
    assert "'schedule': 'linear'" in repr(TrainingRecipe(schedule="linear").recipe(a))
