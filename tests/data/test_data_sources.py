"""The registry: names without torch, paths from the user or the environment only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sharewise.data
from sharewise.data import SOURCES, digits, load
from sharewise.errors import ConfigurationError, DataError

torch.set_num_threads(1)


def test_listing_sources_does_not_import_torch() -> None:
    code = (
        "import sys, sharewise.data.sources, sharewise.data; print(*sharewise.data.sources.SOURCES);"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    paths = [str(Path(next(iter(sharewise.data.__path__))).parents[1])]
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": paths[0]}
    )
    names = ["digits", "cifar10", "cifar100", "arrays", "folder", "arrays-on-disk", "folder-on-disk", "sheets", "text"]
    assert result.stdout.split() == [*names, "bytes"]


def test_every_public_name_is_there() -> None:
    assert sorted(sharewise.data.__all__) == sorted(dir(sharewise.data))
    for name in sharewise.data.__all__:
        assert getattr(sharewise.data, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sharewise.data.nothing  # noqa: B018


def test_every_source_names_a_function() -> None:
    for name, source in SOURCES.items():
        module, _, function = source.function.partition(":")
        assert source.name == name
        assert callable(getattr(sys.modules.get(module) or __import__(module, fromlist=[function]), function))


def test_unknown_names_and_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown data set 'cifar'; did you mean 'cifar10'"):
        load("cifar")
    with pytest.raises(ConfigurationError, match="'digits' has no option 'length'; its options: "):
        load("digits", length=3)
    with pytest.raises(ConfigurationError, match="'digits' is built in and takes no path"):
        load("digits", tmp_path)


def test_the_environment_names_the_folder_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "play.txt").write_text("to be or not " * 20)
    monkeypatch.setenv("SHAREWISE_DATA", str(tmp_path))
    assert load("text", length=5).name == "play"
    with pytest.raises(DataError, match=r"'arrays' was not found at .* by --data-path or SHAREWISE_DATA"):
        load("arrays")
    monkeypatch.delenv("SHAREWISE_DATA")
    with pytest.raises(ConfigurationError, match="'text' needs a path: give it by --data-path"):
        load("text")
    with pytest.raises(DataError, match="'text' was not found at 'no/such/file'"):
        load("text", "no/such/file")


def test_size_and_subset_are_applied(tmp_path: Path) -> None:
    data = load("digits", image_size=16, train_examples=40, seed=3)
    assert data.input_shape == (1, 16, 16)
    assert torch.equal(data.train.targets, digits().limited(40, seed=3).train.targets)
    for number, place in enumerate(("train/a", "train/b", "test/a")):
        (tmp_path / place).mkdir(parents=True)
        pixels = np.zeros((8 + number, 9, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / place / "1.png")
    assert load("folder", tmp_path, image_size=6).input_shape == (3, 6, 6)


def test_the_built_in_digits_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    reference = datasets.load_digits()
    data = digits()
    test = data.open_test("comparison")
    everything = {
        (np.rint(image * 255 / 16).astype(np.uint8).tobytes(), int(label))
        for image, label in zip(reference.images, reference.target, strict=True)
    }
    ours = [
        (image.numpy().tobytes(), int(label))
        for part in (data.train, test)
        for image, label in zip(part.inputs, part.targets, strict=True)
    ]
    assert set(ours) == everything
    assert len(ours) == len(reference.target) == 1797
    shares = test.targets.bincount() / torch.cat([data.train.targets, test.targets]).bincount()
    assert ((shares - 0.2).abs() < 0.01).all()
    assert data.provenance["licence"] == "CC BY 4.0"


def test_the_built_in_digits_have_not_changed() -> None:
    assert digits().provenance["checksum"] == "sha256:fa6cacdc015a118b594590f003e2d40fb16dc78288e07216c03cb5b34ca7a70a"
