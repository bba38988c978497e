"""Images on disk: the same examples, order and statistics as in memory, without the memory."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sharewise
from sharewise.data import (
    Dataset,
    Examples,
    OnDisk,
    arrays,
    arrays_on_disk,
    bilevel,
    digits,
    folder_on_disk,
    image_folder,
    load,
)
from sharewise.data.array_bytes import NpyRows
from sharewise.data.on_disk import Ahead, in_memory
from sharewise.data.stream import Stream
from sharewise.errors import ConfigurationError, DataError
from sharewise.testing import check_dataset

torch.set_num_threads(1)

GENERATOR = np.random.default_rng(0)


def files(folder: Path, **changes: Any) -> Path:
    found = {
        "x_train": GENERATOR.integers(0, 256, (30, 9, 6, 3), np.uint8),
        "y_train": np.arange(30) % 3,
        "x_test": GENERATOR.integers(0, 256, (8, 9, 6, 3), np.uint8),
        "y_test": np.arange(8) % 3,
        **changes,
    }
    folder.mkdir(exist_ok=True)
    np.savez(folder.with_suffix(".npz"), **found)
    for key, values in found.items():
        np.save(folder / f"{key}.npy", values)
    return folder


def pictures(root: Path, count: int = 9) -> Path:
    for split, name in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")):
        for place in range(count):
            file = root / split / name / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(GENERATOR.integers(0, 256, (7 + place % 3, 8, 3), np.uint8)).save(file)
    return root


def batches(data: Dataset, count: int) -> list[Any]:
    dealt = data.assign(bilevel(), generator=torch.Generator().manual_seed(3))
    stream = dealt.stream(
        "weights", 4, order=torch.Generator().manual_seed(1), augment=torch.Generator().manual_seed(2)
    )
    held_out = list(dealt.batches("architecture", 4, limit=6))
    return [*(next(stream) for _ in range(count)), *held_out]


def assert_alike(stored: Dataset, held: Dataset) -> None:
    assert (stored.input_shape, stored.mean, stored.std) == (held.input_shape, held.mean, held.std)
    assert stored.class_names == held.class_names
    assert torch.equal(stored.train.targets, held.train.targets)
    for one, other in zip(batches(stored, 9), batches(held, 9), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)
    ours, theirs = (data.open_test("compare").inputs for data in (stored, held))
    assert torch.equal(in_memory(ours), theirs)


@pytest.mark.parametrize("form", ["channels last", "channels first", "grey"])
def test_arrays_on_disk_give_the_batches_of_arrays_in_memory(form: str, tmp_path: Path) -> None:
    shape = {"channels last": (5, 6, 3), "channels first": (3, 5, 6), "grey": (5, 6)}[form]
    changes = {f"x_{s}": GENERATOR.integers(0, 256, (n, *shape), np.uint8) for s, n in (("train", 30), ("test", 8))}
    folder = files(tmp_path / "mine", **changes)
    stored, held = arrays_on_disk(folder), arrays(folder.with_suffix(".npz"))
    assert stored.provenance["checksum"] == held.provenance["checksum"]
    assert_alike(stored, held)
    assert_alike(stored.limited(20, seed=1), held.limited(20, seed=1))
    assert_alike(stored.resized(4), held.resized(4))


def test_a_folder_on_disk_gives_the_batches_of_a_folder_in_memory_with_any_number_of_workers(tmp_path: Path) -> None:
    root = pictures(tmp_path / "mine")
    for workers in (1, 3):
        assert_alike(folder_on_disk(root, size=6, workers=workers), image_folder(root, size=6))


def test_it_is_a_data_set_by_name(tmp_path: Path) -> None:
    root = pictures(tmp_path / "mine")
    data = load("folder-on-disk", root, image_size=5, train_examples=6)
    assert (len(data.train), data.input_shape) == (6, (3, 5, 5))
    with pytest.raises(ConfigurationError, match="need one size in pixels: give size=, or --image-size"):
        load("folder-on-disk", root)
    assert load("arrays-on-disk", files(tmp_path / "arrays"), image_size=5).input_shape == (3, 5, 5)


def test_a_resume_of_a_stream_on_disk_gives_the_same_batches(tmp_path: Path) -> None:
    dealt = arrays_on_disk(files(tmp_path / "mine")).assign(bilevel(), generator=torch.Generator())
    stream = dealt.stream("weights", 4, order=torch.Generator().manual_seed(1))
    for _ in range(5):
        next(stream)
    state = stream.state_dict()
    expected = [next(stream).inputs for _ in range(4)]
    again = dealt.stream("weights", 4, order=torch.Generator().manual_seed(9))
    again.load_state_dict(state)
    assert all(torch.equal(next(again).inputs, inputs) for inputs in expected)


class Watched:
    """Rows that are their own numbers, with a word for every read; row 9 cannot be read."""

    count, shape = 12, (1, 1, 1)

    def __init__(self) -> None:
        self.reads: list[tuple[str, list[int]]] = []
        self.together, self.most = 0, 0

    def read(self, rows: torch.Tensor) -> torch.Tensor:
        self.together += 1
        self.most = max(self.most, self.together)
        time.sleep(0.002)
        self.together -= 1
        self.reads.append((threading.current_thread().name, rows.tolist()))
        if 9 in rows:
            raise DataError("row 9 is gone")
        return rows.to(torch.uint8).reshape(-1, 1, 1, 1)


def watched(rows: Watched, count: int) -> tuple[list[list[int]], list[list[int]]]:
    """Rows of some batches as they came, and as they were read ahead."""
    examples = Examples(OnDisk(rows), torch.arange(12))
    stream = Stream(examples.subset(torch.tensor([0, 1, 2, 3, 4, 5, 6])), 3, order=torch.Generator().manual_seed(0))
    came = [next(stream).inputs.flatten().int().tolist() for _ in range(count)]
    return came, [rows for thread, rows in rows.reads if thread.startswith("sharewise-reading-ahead")]


def test_the_next_batch_is_read_ahead_also_that_of_the_next_pass() -> None:
    rows = Watched()
    came, ahead = watched(rows, 7)  # three passes of two batches, and one more
    assert len(ahead) >= 6
    assert ahead[:6] == came[1:]
    assert rows.reads[0] == ("MainThread", came[0])
    assert sum(thread == "MainThread" for thread, _ in rows.reads) == 1


def test_streams_of_one_source_never_read_it_at_the_same_time() -> None:
    rows = Watched()
    examples = Examples(OnDisk(rows), torch.arange(12)).subset(torch.arange(8))
    streams = [Stream(examples, 2, order=torch.Generator().manual_seed(seed)) for seed in range(4)]
    for _ in range(6):
        for stream in streams:
            next(stream)
    assert rows.most == 1


def test_what_cannot_be_read_ahead_is_an_error_when_it_is_asked_for() -> None:
    ahead = Ahead(OnDisk(Watched()))
    assert ahead.take(torch.tensor([1]), then=torch.tensor([9])).item() == 1
    assert ahead.take(torch.tensor([2]), then=torch.tensor([9])).item() == 2  # another than was expected
    with pytest.raises(DataError, match="row 9 is gone"):
        ahead.take(torch.tensor([9]), then=None)
    assert ahead.take(torch.tensor([3]), then=None).item() == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_fork_reads_on_without_the_threads_that_it_has_not() -> None:
    ahead = Ahead(OnDisk(Watched()))
    ahead.take(torch.tensor([1]), then=torch.tensor([2]))
    process = multiprocessing.get_context("fork").Process(
        target=lambda: os._exit(int(ahead.take(torch.tensor([2]), then=torch.tensor([3])).item()) + 40)
    )
    process.start()
    process.join(20)
    assert process.exitcode == 42


def test_what_was_changed_on_the_way_is_told(tmp_path: Path) -> None:
    root = pictures(tmp_path / "mine", 3)
    for name in ("a", "b"):
        deep = GENERATOR.integers(0, 1 << 16, (8, 8), np.uint16)
        Image.fromarray(deep).save(root / "train" / name / "deep.png")
    assert image_folder(root, size=6).provenance["changed"] == "2 images scaled from 16 bits a channel"
    stored = folder_on_disk(root, size=6)
    assert stored.provenance["changed"] == "2 images scaled from 16 bits a channel, of 8 looked at"
    assert_alike(stored, image_folder(root, size=6))


def test_the_decoder_is_quiet_in_every_thread(tmp_path: Path) -> None:
    """A picture with a palette that is partly transparent makes Pillow warn; it is opaque where it is used."""
    root = pictures(tmp_path / "mine", 3)
    image = Image.fromarray(np.zeros((8, 8), np.uint8), "L").convert("P")
    image.save(root / "train" / "a" / "palette.png", transparency=bytes([255, 0]))
    dealt = folder_on_disk(root, size=6, workers=3).assign(bilevel(), generator=torch.Generator())
    stream = dealt.stream("weights", 2, order=torch.Generator().manual_seed(1))
    for _ in range(8):
        next(stream)


def test_data_on_disk_keep_the_laws_of_data_sets(tmp_path: Path) -> None:
    folder = files(tmp_path / "mine")
    check_dataset(lambda: arrays_on_disk(folder), train_examples=30, test_examples=8)


def test_another_pixel_is_another_checksum(tmp_path: Path) -> None:
    root = pictures(tmp_path / "mine")
    before = folder_on_disk(root, size=6).provenance["checksum"]
    image = np.array(Image.open(root / "test" / "a" / "3.png"))
    image[0, 0, 0] ^= 1
    Image.fromarray(image).save(root / "test" / "a" / "3.png")
    assert folder_on_disk(root, size=6).provenance["checksum"] != before


def test_files_that_cannot_be_read_by_rows_are_refused(tmp_path: Path) -> None:
    folder = files(tmp_path / "mine")
    values = np.load(folder / "x_train.npy")
    np.save(folder / "x_train.npy", np.asfortranarray(values))
    with pytest.raises(DataError, match="written column by column"):
        arrays_on_disk(folder)
    np.save(folder / "x_train.npy", np.array([None] * 30), allow_pickle=True)
    with pytest.raises(DataError, match="holds no plain numbers"):
        arrays_on_disk(folder)
    np.save(folder / "x_train.npy", values.astype(np.float32))
    with pytest.raises(DataError, match="must be uint8 of shape"):
        arrays_on_disk(folder)
    np.save(folder / "x_train.npy", values[:-1])
    with pytest.raises(DataError, match="the same number of examples, at least one, got 29 and 30"):
        arrays_on_disk(folder)
    np.save(folder / "x_train.npy", values)
    data = arrays_on_disk(folder)
    with (folder / "x_train.npy").open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(DataError, match="was written again while it was in use"):
        data.train.inputs[torch.tensor([29])].to("cpu")
    np.save(folder / "x_train.npy", values)
    (folder / "y_test.npy").unlink()
    with pytest.raises(DataError, match=r"cannot read .*y_test.npy"):
        arrays_on_disk(folder)


def test_damaged_pictures_are_named_at_the_start_or_when_they_are_read(tmp_path: Path) -> None:
    root = pictures(tmp_path / "mine")
    file = root / "train" / "b" / "2.png"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"the image '.*2.png' cannot be read"):
        in_memory(folder_on_disk(root, size=6).train.inputs)
    file.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"the image '.*2.png' cannot be read \(none of PNG"):
        folder_on_disk(root, size=6)


def test_what_is_in_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """80 MB of images are opened, searched for statistics and read in batches with 40 MB more than before."""
    rows, shape = 1_500, (133, 133, 3)
    for key, count in (("x_train", rows), ("x_test", 2)):
        np.save(tmp_path / f"{key}.npy", np.zeros((0, *shape), np.uint8))
        with (tmp_path / f"{key}.npy").open("r+b") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
            )
            file.truncate(file.tell() + count * 133 * 133 * 3)
    np.save(tmp_path / "y_train.npy", np.arange(rows) % 2)
    np.save(tmp_path / "y_test.npy", np.arange(2))
    code = (
        "import resource, sys, torch\n"
        "torch.set_num_threads(1)\n"
        "from sharewise.data import arrays_on_disk, digits, single_level\n"
        "def used(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "def walked(data):\n"
        "    dealt = data.assign(single_level(), generator=torch.Generator())\n"
        "    stream = dealt.stream('weights', 32, order=torch.Generator())\n"
        "    return [next(stream).inputs.shape for _ in range(20)]\n"
        "walked(digits())\n"
        "before = used()\n"
        "walked(arrays_on_disk(sys.argv[1]))\n"
        "print((used() - before) // 1024)\n"
    )
    source = str(Path(next(iter(sharewise.__path__))).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env={"PYTHONPATH": source}
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40


def test_data_in_memory_are_what_they_were() -> None:
    inputs = digits().train.inputs
    assert in_memory(inputs) is inputs


@pytest.mark.parametrize("kind", ["arrays", "folder"])
def test_what_is_written_again_while_it_is_in_use_is_refused(kind: str, tmp_path: Path) -> None:
    if kind == "arrays":
        data, changed = arrays_on_disk(files(tmp_path / "data")), tmp_path / "data" / "x_train.npy"
    else:
        data, changed = folder_on_disk(pictures(tmp_path / "data"), size=4), tmp_path / "data" / "train" / "a" / "0.png"
    everything = torch.arange(len(data.train))
    before = data.train.inputs[everything].to("cpu")
    assert torch.equal(data.train.inputs[everything].to("cpu"), before)
    content = changed.read_bytes()
    changed.write_bytes(content)
    os.utime(changed, ns=(0, 1))
    with pytest.raises(DataError, match="was written again while it was in use"):
        data.train.inputs[everything].to("cpu")


def test_a_row_that_cannot_fit_into_memory_is_refused_before_it_is_asked_for(tmp_path: Path) -> None:
    place = tmp_path / "x.npy"
    shape = (2, 1 << 18, 1 << 19, 3)
    with place.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape)))
    with pytest.raises(DataError, match="memory"):
        NpyRows.of(place).read([0])


def test_names_in_other_encodings_and_a_change_of_the_folder_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = pictures(tmp_path / "images")
    os.rename(root / "train" / "a" / "0.png", os.fsencode(root) + b"/train/a/caf\xe9.png")
    monkeypatch.chdir(tmp_path)
    data = folder_on_disk("images", size=4)
    assert len(data.train) == 18
    monkeypatch.chdir("/")
    assert data.train.inputs[torch.arange(18)].to("cpu").shape == (18, 3, 4, 4)
