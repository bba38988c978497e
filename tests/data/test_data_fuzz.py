"""Damaged files of every reader: one line, in little time, or the data; and where a checksum exists, the same data."""

from __future__ import annotations

import io
import pickle
import resource
import shutil
import tarfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharewise.data import Dataset, arrays, cifar10, image_folder, sheets, text
from sharewise.data.pickles import read_pickle
from sharewise.errors import SharewiseError

SECONDS, MEBIBYTES = 10, 1500  # that one damaged file may take
PIXELS = np.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(32), np.arange(32)).astype(np.uint8)[..., None].repeat(3, 2)


@dataclass(frozen=True)
class Case:
    """A reader, a folder that it reads, the file in it that is damaged, and whether a checksum guards its content."""

    write: Callable[[Path], str]
    read: Callable[[Path], object]
    guarded: bool = False


def npz(folder: Path, x: np.ndarray, y: np.ndarray, save: Callable[..., None] = np.savez) -> str:
    save(folder / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return "mine.npz"


def cifar(folder: Path, damaged: str, packed: bool) -> str:
    inner = folder / "cifar-10-batches-py"
    inner.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        data = np.random.default_rng(len(name)).integers(256, size=(3, 3072), dtype=np.uint8)
        (inner / name).write_bytes(pickle.dumps({"data": data, "labels": [0, 1, 0]}, protocol=4))
    (inner / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a", "b"]}, protocol=2))
    if packed:
        with tarfile.open(folder / damaged, "w:gz") as tar:
            tar.add(inner, inner.name)
        shutil.rmtree(inner)
    return damaged


def photographs(folder: Path, name: str, image: Image.Image) -> str:
    for place in ("train/a", "train/b", "test/a"):
        (folder / place).mkdir(parents=True)
        Image.fromarray(SMOOTH).save(folder / place / "0.png")
    image.save(folder / "train" / "a" / name)
    return f"train/a/{name}"


def tiled(folder: Path, damaged: str) -> str:
    for split in ("train", "test"):
        Image.fromarray(PIXELS).save(folder / f"{split}_0.png")
        np.save(folder / f"{split}_labels.npy", np.array([0, 1, 0, 1], np.uint8))
    (folder / "class_names.txt").write_text("ant\nbee\n")
    return damaged


def written(folder: Path) -> str:
    (folder / "play.txt").write_text("to be or not to be, that is the question\n" * 9)
    return "play.txt"


def pickled(folder: Path) -> str:
    content = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": [1, 2, 3], "names": ["a", b"b"]}
    (folder / "batch").write_bytes(pickle.dumps(content, protocol=2 + len(content)))
    return "batch"


DEEP = Image.fromarray(SMOOTH[..., 0].astype(np.uint16) * 900)
LABELS = np.arange(6) % 3
CASES = {
    "npz of a table": Case(
        lambda folder: npz(folder, np.random.default_rng(0).normal(size=(6, 3)), LABELS), arrays, guarded=True
    ),
    "packed npz of images": Case(
        lambda folder: npz(folder, PIXELS[:6], LABELS, np.savez_compressed), arrays, guarded=True
    ),
    "archive of cifar": Case(partial(cifar, damaged="cifar-10-python.tar.gz", packed=True), cifar10, guarded=True),
    "folder of cifar": Case(partial(cifar, damaged="cifar-10-batches-py/data_batch_2", packed=False), cifar10),
    "names of cifar": Case(partial(cifar, damaged="cifar-10-batches-py/batches.meta", packed=False), cifar10),
    "pickle": Case(pickled, lambda folder: read_pickle((folder / "batch").read_bytes(), "batch")),
    "png": Case(partial(photographs, name="1.png", image=Image.fromarray(SMOOTH)), image_folder, guarded=True),
    "deep png": Case(partial(photographs, name="1.png", image=DEEP), image_folder, guarded=True),
    "palette": Case(
        partial(photographs, name="1.png", image=Image.fromarray(SMOOTH).convert("P")), image_folder, guarded=True
    ),
    **{
        suffix: Case(partial(photographs, name=f"1.{suffix}", image=Image.fromarray(SMOOTH)), image_folder)
        for suffix in ("jpg", "webp", "bmp", "tif", "gif")
    },
    "deep tif": Case(partial(photographs, name="1.tif", image=DEEP), image_folder),
    "sheet": Case(partial(tiled, damaged="train_0.png"), sheets, guarded=True),
    "labels of sheets": Case(partial(tiled, damaged="train_labels.npy"), sheets),
    "names of sheets": Case(partial(tiled, damaged="class_names.txt"), sheets),
    "text": Case(written, partial(text, length=8)),
}


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, write over, cut out, cut off, repeat, or put the largest numbers in."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        place, length = int(rng.integers(max(len(changed), 1))), int(rng.integers(1, 17))
        match int(rng.integers(7)):
            case 0 | 1:
                changed[place : place + 1] = bytes([changed[place] ^ 1 << int(rng.integers(8))]) if changed else b""
            case 2:
                changed[place : place + length] = rng.bytes(length)
            case 3:
                del changed[place : place + length]
            case 4:
                del changed[place:]
            case 5:
                changed[place:place] = changed[place : place + 8 * length]
            case 6:
                changed[place : place + 4] = rng.choice(
                    [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80", bytes(4)]
                )
    return bytes(changed)


def outcome(case: Case, folder: Path) -> tuple[object, str]:
    try:
        return case.read(folder), ""
    except SharewiseError as error:
        return None, str(error)


def fuzz(name: str, folder: Path, mutations: int) -> None:
    case = CASES[name]
    path = folder / case.write(folder)
    content = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is said about files that are not the published ones, and the like
        original = case.read(folder)
        for seed in range(mutations):
            path.write_bytes(damage(content, np.random.default_rng(seed)))
            before, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            found, message = outcome(case, folder)
            assert "\n" not in message, f"{name}, seed {seed}: more than a line"
            assert len(message) < 1000, f"{name}, seed {seed}: a long line"
            if case.guarded and isinstance(found, Dataset) and isinstance(original, Dataset):
                assert found.provenance["checksum"] == original.provenance["checksum"], f"{name}, seed {seed}"
            assert time.process_time() - before < SECONDS, f"{name}, seed {seed}: too slow"
            growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
            assert growth < MEBIBYTES << 10, f"{name}, seed {seed}: {growth >> 10} MiB"


@pytest.mark.parametrize("name", CASES)
def test_a_dozen_damages(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, 12)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_hundreds_of_damages(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, 400)


def test_damage_changes_something() -> None:
    content = io.BytesIO()
    Image.fromarray(SMOOTH).save(content, "PNG")
    changed = sum(damage(content.getvalue(), np.random.default_rng(seed)) != content.getvalue() for seed in range(100))
    assert changed > 90
