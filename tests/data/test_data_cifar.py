"""CIFAR: the official archive in its exact pickle format, and the published pixels where they are at hand."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import tarfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sharewise.data import cifar10, cifar100
from sharewise.errors import ConfigurationError, DataError, DataWarning

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:these are not the published files")

NAMES = ["airplane", "automobile", "bird"]


def short(text: str) -> bytes:
    return b"U" + bytes([len(text)]) + text.encode()


def strings(values: list[str]) -> bytes:
    return b"](" + b"".join(short(value) for value in values) + b"e"


def integers(values: list[int]) -> bytes:
    return b"](" + b"".join(b"K" + bytes([value]) for value in values) + b"e"


def array(values: npt.NDArray[np.uint8], fortran: bool) -> bytes:
    content = values.tobytes("F" if fortran else "C")
    shape = b"".join(b"J" + struct.pack("<i", side) for side in values.shape) + b"\x86"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01"
        + shape
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + (b"\x88" if fortran else b"\x89")
        + b"T"
        + struct.pack("<i", len(content))
        + content
        + b"tb"
    )


def python2(entries: dict[str, bytes]) -> bytes:
    """A dictionary as the C pickler of Python 2 wrote it with protocol 2."""
    return b"\x80\x02}(" + b"".join(short(key) + value for key, value in entries.items()) + b"u."


def batch(seed: int, labels: str, fortran: bool = False) -> tuple[npt.NDArray[np.uint8], list[int], bytes]:
    rng = np.random.default_rng(seed)
    data = rng.integers(256, size=(4, 3072), dtype=np.uint8)
    targets = rng.integers(3, size=4).tolist()
    entries = {
        "batch_label": short(f"training batch {seed} of 5"),
        labels: integers(targets),
        "data": array(data, fortran),
        "filenames": strings([f"image_{number}.png" for number in range(4)]),
    }
    return data, targets, python2(entries)


@pytest.fixture
def official(tmp_path: Path) -> tuple[Path, npt.NDArray[np.uint8], list[int]]:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    images, labels = [], []
    for number in range(1, 7):
        data, targets, content = batch(number, "labels", fortran=number == 2)
        (folder / (f"data_batch_{number}" if number < 6 else "test_batch")).write_bytes(content)
        images.append(data)
        labels += targets
    (folder / "batches.meta").write_bytes(python2({"num_vis": b"M\x00\x0c", "label_names": strings(NAMES)}))
    return folder, np.concatenate(images), labels


def test_the_official_folder_reads_back_equal(
    official: tuple[Path, npt.NDArray[np.uint8], list[int]],
) -> None:
    folder, images, labels = official
    for root in (folder, folder.parent):
        data = cifar10(root)
        test = data.open_test("round trip")
        inputs = torch.cat([data.train.inputs, test.inputs]).numpy()
        np.testing.assert_array_equal(inputs, images.reshape(-1, 3, 32, 32))
        assert torch.cat([data.train.targets, test.targets]).tolist() == labels
        assert (len(data.train), len(test)) == (20, 4)
        assert data.class_names == tuple(NAMES)
        assert data.task.outputs == 3


def test_the_archive_itself_reads_like_its_folder(
    official: tuple[Path, npt.NDArray[np.uint8], list[int]], tmp_path: Path
) -> None:
    folder, _, _ = official
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(folder, "cifar-10-batches-py")
    expected = cifar10(folder).provenance["checksum"]
    assert cifar10(packed).provenance["checksum"] == expected
    assert cifar10(packed / "cifar-10-python.tar.gz").provenance["checksum"] == expected


def test_cifar100_reads_fine_labels(tmp_path: Path) -> None:
    for seed, name in enumerate(("train", "test")):
        (tmp_path / name).write_bytes(batch(seed, "fine_labels")[2])
    (tmp_path / "meta").write_bytes(python2({"fine_label_names": strings(NAMES)}))
    data = cifar100(tmp_path)
    assert data.name == "cifar100"
    assert data.train.targets.tolist() == batch(0, "fine_labels")[1]


def test_damaged_archives_are_refused(official: tuple[Path, npt.NDArray[np.uint8], list[int]], tmp_path: Path) -> None:
    folder, _, _ = official
    content = (folder / "data_batch_3").read_bytes()
    (folder / "data_batch_3").write_bytes(content[:2000])
    with pytest.raises(DataError, match="'data_batch_3' is damaged"):
        cifar10(folder)
    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": os.system}))
    with pytest.raises(DataError, match=r"'data_batch_3' asks for '(posix|nt)\.system'"):
        cifar10(folder)
    (folder / "data_batch_3").write_bytes(python2({"labels": integers([1])}))
    with pytest.raises(DataError, match="'data_batch_3' lacks the entry 'data'; it has labels"):
        cifar10(folder)
    short_data = array(np.zeros((2, 3072), np.uint8), fortran=False)
    (folder / "data_batch_3").write_bytes(python2({"labels": integers([1]), "data": short_data}))
    with pytest.raises(DataError, match=r"must be uint8 of shape \(1, 3072\)"):
        cifar10(folder)
    (folder / "data_batch_3").write_bytes(python2({"labels": strings(["one"]), "data": short_data}))
    with pytest.raises(DataError, match="labels of 'data_batch_3' must be a list of integers"):
        cifar10(folder)
    (folder / "data_batch_3").write_bytes(python2({"labels": integers([1, 7]), "data": short_data}))
    with pytest.raises(DataError, match="must lie in 0 to 2, got values from 0 to 7"):
        cifar10(folder)
    (folder / "data_batch_3").unlink()
    with pytest.raises(DataError, match="lacks data_batch_3"):
        cifar10(folder)
    (tmp_path / "broken.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match="cannot be read"):
        cifar10(tmp_path / "broken.tar.gz")


def test_a_truncated_archive_and_one_of_another_kind_are_refused(
    official: tuple[Path, npt.NDArray[np.uint8], list[int]], tmp_path: Path
) -> None:
    folder, _, _ = official
    path = tmp_path / "cut.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, "cifar-10-batches-py")
    with pytest.raises(DataError, match="lacks cifar-100-python/train"):
        cifar100(path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(DataError, match="cannot be read"):
        cifar10(path)


def test_a_place_without_cifar_says_what_was_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="holds no cifar10: expected the folder 'cifar-10-batches-py'"):
        cifar10(tmp_path)
    monkeypatch.delenv("SHAREWISE_DATA", raising=False)
    with pytest.raises(ConfigurationError, match="give it by --data-path, or set SHAREWISE_DATA"):
        cifar10()


def published(name: str) -> Path:
    places = [Path(os.environ["SHAREWISE_DATA"])] if "SHAREWISE_DATA" in os.environ else []
    places.append(Path(__file__).resolve().parents[3] / "shared" / "data")
    for place in places:
        if (place / name / "train_00.webp").is_file():
            return place / name
    pytest.skip(f"the published {name} sheets are neither in $SHAREWISE_DATA nor beside the repository")


def digest(images: torch.Tensor) -> str:
    return hashlib.sha256(images.permute(0, 2, 3, 1).contiguous().numpy().data).hexdigest()


def test_the_published_cifar10_pixels() -> None:
    data = cifar10(published("cifar10"))
    test = data.open_test("checksum")
    assert digest(data.train.inputs) == "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a"
    assert digest(test.inputs) == "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"
    labels = [hashlib.sha256(part.targets.byte().numpy().data).hexdigest() for part in (data.train, test)]
    assert labels == [
        "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    ]
    assert data.class_names[0] == "airplane"
    assert data.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-4)
    assert data.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-4)


def test_the_published_cifar100_subset() -> None:
    data = cifar100(published("cifar100-subset"))
    assert digest(data.train.inputs) == "46de1a3019075a2105ac85261a514adcd2690b75ade285b64d6370640de46b3e"
    assert data.train.targets.bincount().unique().tolist() == [100]


def test_arrays_in_the_place_of_an_archive_are_named(tmp_path: Path) -> None:
    (tmp_path / "tiny.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="--data arrays"):
        cifar10(tmp_path / "tiny.npz")


def test_a_file_that_is_no_archive_gets_one_line(tmp_path: Path) -> None:
    (tmp_path / "noise.tar.gz").write_bytes(b"noise")
    with pytest.raises(DataError, match="cannot be read") as caught:
        cifar10(tmp_path / "noise.tar.gz")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_the_published_ones_are_said_to_be(
    official: tuple[Path, npt.NDArray[np.uint8], list[int]],
) -> None:
    with pytest.warns(DataWarning, match="not the published files of cifar10"):
        data = cifar10(official[0])
    assert data.provenance["files"] == "not the published ones, by their MD5 sums"


def test_a_file_of_the_published_size_must_have_the_published_sum(tmp_path: Path) -> None:
    pixels = np.zeros((10_000, 3072), np.uint8)
    for name in ("train", "test"):
        (tmp_path / name).write_bytes(python2({"fine_labels": integers([0, 1] * 5_000), "data": array(pixels, False)}))
    (tmp_path / "meta").write_bytes(python2({"fine_label_names": strings(NAMES)}))
    with pytest.raises(DataError, match=r"'test' has the MD5 sum [0-9a-f]{32}, the published one has f0ef6b0ae62326"):
        cifar100(tmp_path)


def test_one_published_file_among_others_is_refused(official: tuple[Path, npt.NDArray[np.uint8], list[int]]) -> None:
    meta = python2_kept({"num_cases_per_batch": b"M\x10'", "label_names": CIFAR10_NAMES, "num_vis": b"M\x00\x0c"})
    assert hashlib.md5(meta).hexdigest() == "5ff9c542aee3614f3951f8cda6e48888"  # the published batches.meta, rebuilt
    (official[0] / "batches.meta").write_bytes(meta)
    with pytest.raises(DataError, match="'data_batch_1' has the MD5 sum"):
        cifar10(official[0])


CIFAR10_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def python2_kept(entries: dict[str, bytes | list[str]]) -> bytes:
    """A dictionary as Python 2 wrote it, with its values kept under numbers that begin at 1."""
    kept = iter(b"q" + bytes([number]) for number in range(1, 256))
    content = b"\x80\x02}" + next(kept) + b"("
    for key, value in entries.items():
        content += short(key) + next(kept)
        if isinstance(value, list):
            content += b"]" + next(kept) + b"(" + b"".join(short(name) + next(kept) for name in value) + b"e"
        else:
            content += value
    return content + b"u."


def packed(folder: Path, path: Path, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        tar.add(folder, "cifar-10-batches-py")
    return path


def test_a_flipped_bit_of_a_compressed_archive_never_changes_a_pixel(
    official: tuple[Path, npt.NDArray[np.uint8], list[int]], tmp_path: Path
) -> None:
    path = packed(official[0], tmp_path / "packed.tar.gz")
    content, expected = path.read_bytes(), cifar10(path).provenance["checksum"]
    rng, accepted = np.random.default_rng(0), 0
    for place in rng.integers(30, len(content), 40):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with suppress(DataError):
            assert cifar10(path).provenance["checksum"] == expected
            accepted += 1
    assert accepted < 10


@pytest.mark.parametrize("mode", ["w", "w:bz2", "w:xz"])
def test_other_compressions_are_read(
    official: tuple[Path, npt.NDArray[np.uint8], list[int]], tmp_path: Path, mode: str
) -> None:
    path = packed(official[0], tmp_path / "packed.tar", mode)
    assert cifar10(path).provenance["checksum"] == cifar10(official[0]).provenance["checksum"]


def test_an_archive_that_unpacks_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharewise.data.cifar._MOST", 1 << 22)
    path = tmp_path / "bomb.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        member.size = 1 << 23
        tar.addfile(member, io.BytesIO(bytes(1 << 23)))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(DataError, match="unpacks to more than 4,194,304 bytes"):
        cifar10(path)


def test_a_file_twice_in_an_archive_is_refused(
    official: tuple[Path, npt.NDArray[np.uint8], list[int]], tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for _ in range(2):
            tar.add(official[0], "cifar-10-batches-py")
    with pytest.raises(DataError, match=r"holds 'cifar-10-batches-py/.*' twice"):
        cifar10(tmp_path / "twice.tar")


def test_links_and_pipes_in_the_place_of_files_are_refused(
    official: tuple[Path, npt.NDArray[np.uint8], list[int]], tmp_path: Path
) -> None:
    folder = official[0]
    (folder / "test_batch").rename(tmp_path / "elsewhere")
    (folder / "test_batch").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"test_batch': a link is not followed"):
        cifar10(folder)
    (folder / "test_batch").unlink()
    os.mkfifo(folder / "test_batch")
    with pytest.raises(DataError, match="lacks test_batch"):
        cifar10(folder)
