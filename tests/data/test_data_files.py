"""A user's own arrays, folders of images, sheets and texts: round trips and refusals."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from sharewise.data import Roles, arrays, byte_text, image_folder, sheets, text
from sharewise.errors import ConfigurationError, DataError, DataWarning

torch.set_num_threads(1)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(256, size=(6, 8, 10, 3), dtype=np.uint8)
TABLE = RNG.normal(3, 5, size=(6, 4))
LABELS = np.array([0, 1, 2, 0, 1, 2])


def npz(folder: Path, x: npt.ArrayLike, y: npt.ArrayLike, **changes: Any) -> Path:
    values = {"x_train": x, "y_train": y, "x_test": x, "y_test": y, **changes}
    np.savez(folder / "mine.npz", **{key: np.asarray(value) for key, value in values.items() if value is not None})
    return folder / "mine.npz"


@pytest.mark.parametrize("layout", ["nhwc", "nchw", "grey", "flat"])
def test_image_arrays_of_every_layout(tmp_path: Path, layout: str) -> None:
    channels_first = PIXELS.transpose(0, 3, 1, 2)
    stored, expected = {
        "nhwc": (PIXELS, channels_first),
        "nchw": (channels_first, channels_first),
        "grey": (PIXELS[..., :1], channels_first[:, :1]),
        "flat": (PIXELS[..., 0], channels_first[:, :1]),
    }[layout]
    data = arrays(npz(tmp_path, stored, LABELS))
    np.testing.assert_array_equal(data.train.inputs.numpy(), expected)
    np.testing.assert_array_equal(data.open_test("round trip").inputs.numpy(), expected)
    assert (data.input_kind, data.task.outputs, data.class_names) == ("image", 3, ("0", "1", "2"))
    assert data.train.targets.tolist() == LABELS.tolist()


def test_tables_are_standardised_by_their_training_examples(tmp_path: Path) -> None:
    train = np.column_stack([TABLE, np.full(6, 7.0)])
    data = arrays(npz(tmp_path, train, LABELS.astype(np.uint8), x_test=train + 1))
    assert data.input_kind == "table"
    inputs = data.train.inputs.double()
    torch.testing.assert_close(inputs.mean(0), torch.zeros(5, dtype=torch.float64), atol=1e-6, rtol=0)
    expected = torch.tensor([1.0, 1, 1, 1, 0], dtype=torch.float64)
    torch.testing.assert_close(inputs.std(0, correction=0), expected, atol=1e-6, rtol=0)
    expected_test = (train + 1 - train.mean(0)) / np.where(train.std(0) > 0, train.std(0), 1)
    np.testing.assert_allclose(data.open_test("round trip").inputs.numpy(), expected_test, atol=1e-5)


@pytest.mark.parametrize("shape", [(6,), (6, 2)])
def test_real_targets_make_a_regression(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = RNG.normal(size=shape)
    data = arrays(npz(tmp_path, TABLE, values))
    assert (data.task.name, data.task.outputs, data.class_names) == ("regression", values.size // 6, ())
    np.testing.assert_allclose(data.train.targets.numpy(), values.reshape(6, -1).astype(np.float32))


@pytest.mark.parametrize(
    ("x", "y", "changes", "message"),
    [
        (PIXELS, LABELS, {"y_test": None}, "lacks y_test; it must hold x_train, y_train, x_test, y_test"),
        (
            PIXELS,
            LABELS,
            {"y_train": LABELS[:4]},
            "x_train and y_train .* same number of examples.*got 6 and 4",
        ),
        (PIXELS[:0], LABELS[:0], {}, "at least one, got 0 and 0"),
        (PIXELS.astype(np.float32), LABELS, {}, "x_train .* uint8 images .* or a table .* got float32"),
        (PIXELS[..., :2], LABELS, {}, "1 or 3 channels, got x_train as uint8"),
        (PIXELS[:, 0, :, 0], LABELS, {}, r"got x_train as uint8 of shape \(6, 10\)"),
        (PIXELS, LABELS, {"x_test": PIXELS[:, :4]}, r"same shape, got \(8, 10, 3\) and \(4, 10, 3\)"),
        (TABLE, LABELS, {"x_test": TABLE[:, :3]}, r"same shape, got \(4,\) and \(3,\)"),
        (LABELS[:, None], LABELS, {}, "x_train .* got int64"),
        (
            np.where(TABLE > 9, np.nan, TABLE) * [[np.inf, 1, 1, 1]],
            LABELS,
            {},
            "x_train .* infinite or not a number",
        ),
        (TABLE, TABLE[:, 0] * np.nan, {}, "y_train .* infinite or not a number"),
        (PIXELS, LABELS - 1, {}, "must run from 0 .* got -1 to 1"),
        (PIXELS, LABELS, {"y_test": LABELS + 1}, "must run from 0 .* got 0 to 3 .* 2 at most in y_train"),
        (PIXELS, LABELS * 0, {}, "at least 2 classes"),
        (PIXELS, LABELS * 10**12, {}, "no more than training examples"),
        (PIXELS, LABELS, {"y_test": LABELS / 2}, "must be integers of shape .* int64 .* and float64"),
        (PIXELS, np.array(list("abcabc")), {}, "must be integers of shape"),
        (PIXELS, LABELS, {"x_train": np.uint8(3)}, "x_train .* got a scalar"),
        (np.array([print] * 6, object), LABELS, {}, "cannot be read as .npz"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, x: Any, y: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        arrays(npz(tmp_path, x, y, **changes))


def test_damaged_array_files_are_refused(tmp_path: Path) -> None:
    path = npz(tmp_path, PIXELS, LABELS)
    content = path.read_bytes()
    for damaged in (
        b"",
        b"nothing",
        content[: len(content) // 2],
        content[:200] + b"\0" * 400 + content[600:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be read as .npz"):
            arrays(path)
    np.save(tmp_path / "single.npy", PIXELS)
    with pytest.raises(DataError, match="holds a single array"):
        arrays(tmp_path / "single.npy")


def test_a_folder_stands_for_its_only_file(tmp_path: Path) -> None:
    npz(tmp_path, PIXELS, LABELS)
    assert arrays(tmp_path).name == "mine"
    (tmp_path / "mine.npz").rename(tmp_path / "one.npz")
    npz(tmp_path, PIXELS, LABELS)
    with pytest.raises(DataError, match=r"must hold one \.npz file, found mine.npz, one.npz"):
        arrays(tmp_path)


def test_the_published_tiny_cifar10_loads() -> None:
    root = Path(os.environ.get("SHAREWISE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    path = root / "cifar10" / "cifar10_tiny.npz"
    if not path.is_file():
        pytest.skip("cifar10_tiny.npz is neither in $SHAREWISE_DATA nor beside the repository")
    data = arrays(path)
    assert data.input_shape == (3, 32, 32)
    assert data.train.targets.bincount().tolist() == [100] * 10
    assert len(data.test) == 500


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    suffixes = {
        "train/ant/a.png",
        "train/ant/b.PNG",
        "train/bee[1]/c.bmp",
        "test/ant/d.webp",
        "test/bee[1]/e.png",
    }
    for number, name in enumerate(sorted(suffixes)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        options = {"lossless": True} if name.endswith("webp") else {}
        Image.fromarray(PIXELS[number]).save(tmp_path / name, **options)
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_of_images_reads_back_equal(folder: Path) -> None:
    data = image_folder(folder)
    test = data.open_test("round trip")
    assert data.class_names == ("ant", "bee[1]")
    assert sorted(data.train.targets.tolist()) == [0, 0, 1]
    found = {image.numpy().tobytes(): int(label) for image, label in zip(*vars(test).values(), strict=True)}
    found |= {image.numpy().tobytes(): int(label) for image, label in zip(*vars(data.train).values(), strict=True)}
    channels_first = [np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes() for image in PIXELS[:5]]
    assert found == dict(zip(channels_first, [0, 1, 0, 0, 1], strict=True))
    assert image_folder(folder, size=4).input_shape == (3, 4, 4)


@pytest.mark.parametrize("name", ["val", "valid"])
def test_a_validation_folder_stands_in_for_test(folder: Path, name: str) -> None:
    (folder / "test").rename(folder / name)
    assert len(image_folder(folder).test) == 2


def test_bad_folders_are_refused(folder: Path) -> None:
    Image.fromarray(PIXELS[0][:4]).save(folder / "train" / "ant" / "z.png")
    with pytest.raises(DataError, match=r"z\.png' has 10x4 pixels.*--image-size"):
        image_folder(folder)
    (folder / "train" / "ant" / "z.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train/ant/z\.png' cannot be read"):
        image_folder(folder)
    content = (folder / "train" / "ant" / "a.png").read_bytes()
    (folder / "train" / "ant" / "z.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"train/ant/z\.png' cannot be read"):
        image_folder(folder, size=4)
    (folder / "train" / "ant" / "z.png").unlink()
    (folder / "test" / "cow").mkdir()
    with pytest.raises(DataError, match=r"no others in 'test', got 2 .* cow"):
        image_folder(folder)
    (folder / "test" / "cow").rmdir()
    (folder / "train" / "dog").mkdir()
    with pytest.raises(DataError, match=r"class folder .*dog' holds no images"):
        image_folder(folder)
    (folder / "train" / "dog").rmdir()
    (folder / "test").rename(folder / "holdout")
    with pytest.raises(DataError, match="must hold the folders 'train' and 'test'"):
        image_folder(folder)
    with pytest.raises(ConfigurationError, match="at least 1 pixel, got 0"):
        image_folder(folder, size=0)


@pytest.fixture
def sheet_folder(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for number in range(2):
            sheet = RNG.integers(256, size=(8, 12, 3), dtype=np.uint8)
            Image.fromarray(sheet).save(tmp_path / f"{split}_{number:02}.webp", lossless=True)
        np.save(tmp_path / f"{split}_labels.npy", np.arange(12, dtype=np.uint8) % 3)
    (tmp_path / "class_names.txt").write_text("ant\nbee\ncat\n")
    return tmp_path


def test_sheets_are_cut_row_by_row(sheet_folder: Path) -> None:
    data = sheets(sheet_folder)
    assert data.input_shape == (3, 4, 4)
    assert data.train.targets.tolist() == [0, 1, 2] * 4
    for number in range(12):
        sheet = np.asarray(Image.open(sheet_folder / f"train_{number // 6:02}.webp"))
        row, column = divmod(number % 6, 3)
        tile = sheet[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        np.testing.assert_array_equal(data.train.inputs[number].numpy(), tile.transpose(2, 0, 1))


def test_the_last_sheet_may_be_partly_filled_when_the_tile_is_given(sheet_folder: Path) -> None:
    np.save(sheet_folder / "train_labels.npy", np.arange(10) % 3)
    with pytest.raises(DataError, match=r"hold 12 tiles of 4 pixels, but there are 10 labels"):
        sheets(sheet_folder)
    assert len(sheets(sheet_folder, tile=4).train) == 10
    np.save(sheet_folder / "train_labels.npy", np.arange(6) % 3)
    with pytest.raises(DataError, match=r"12 tiles of 4 pixels, but there are 6 labels"):
        sheets(sheet_folder, tile=4)
    with pytest.raises(DataError, match="not filled by square tiles of 5 pixels"):
        sheets(sheet_folder, tile=5)


def test_bad_sheets_are_refused(sheet_folder: Path) -> None:
    np.save(sheet_folder / "train_labels.npy", np.arange(12) % 4)
    with pytest.raises(DataError, match="must lie in 0 to 2, got values from 0 to 3"):
        sheets(sheet_folder)
    np.save(sheet_folder / "train_labels.npy", np.zeros(12))
    with pytest.raises(DataError, match="must hold integers"):
        sheets(sheet_folder)
    (sheet_folder / "train_labels.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"cannot read '.*train_labels.npy'"):
        sheets(sheet_folder)
    np.save(sheet_folder / "train_labels.npy", np.arange(12) % 3)
    (sheet_folder / "train_01.webp").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train_01.webp' cannot be read"):
        sheets(sheet_folder)
    for path in sheet_folder.glob("train_*.webp"):
        path.unlink()
    with pytest.raises(DataError, match="holds no sheets for 'train'"):
        sheets(sheet_folder)
    (sheet_folder / "class_names.txt").write_text("ant\n")
    with pytest.raises(DataError, match="at least 2 classes, one a line, got 1"):
        sheets(sheet_folder)
    with pytest.raises(ConfigurationError, match="tile must be at least 1 pixel, got 0"):
        sheets(sheet_folder, tile=0)


def test_text_is_cut_into_shifted_windows(tmp_path: Path) -> None:
    content = "".join(RNG.choice(list("abcdé \n𝛼"), 500))
    (tmp_path / "play.txt").write_bytes(content.encode())
    data = text(tmp_path / "play.txt", length=9)
    test = data.open_test("round trip")

    def spelled(tokens: torch.Tensor) -> str:
        return "".join(data.class_names[token] for token in tokens.tolist())

    for index in range(45):
        assert spelled(data.train.inputs[index]) == content[10 * index : 10 * index + 9]
        assert spelled(data.train.targets[index]) == content[10 * index + 1 : 10 * index + 10]
    assert (len(data.train), len(test)) == (45, 5)
    assert spelled(test.inputs[0]) == content[450:459]
    assert data.task.outputs == len(set(content))
    assert (data.task.name, data.input_kind, data.input_shape) == ("language modelling", "text", (9,))


def test_any_file_is_read_by_bytes(tmp_path: Path) -> None:
    content = bytes(RNG.integers(0, 256, 500, dtype=np.uint8))
    (tmp_path / "raw.bin").write_bytes(content)
    data = byte_text(tmp_path / "raw.bin", length=9)
    assert bytes(data.train.inputs[3].tolist()) == content[30:39]
    assert bytes(data.train.targets[3].tolist()) == content[31:40]
    assert (data.task.outputs, len(data.class_names), len(data.test)) == (256, 256, 5)


@pytest.mark.parametrize("seed", range(4))
def test_a_text_is_dealt_in_contiguous_pieces(tmp_path: Path, seed: int) -> None:
    (tmp_path / "play.txt").write_text("".join(RNG.choice(list("abcd"), 1200)))
    data = text(tmp_path / "play.txt", length=9)
    dealt = data.assign(Roles((0.5, 0.25, 0.25), architecture=1, selection=2), generator=_seeded(seed))
    n = len(data.train)
    assert sorted(torch.cat(dealt.indices).tolist()) == list(range(n))
    for part in dealt.indices:
        places = part.sort().values
        gaps = torch.cat([places.diff(), places[:1] + n - places[-1:]])
        assert int((gaps > 1).sum()) == 1  # one piece of the ring
        assert part.tolist() != places.tolist()  # in random order


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_bad_texts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "play.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="no text in UTF-8"):
        text(path)
    path.write_text("ab" * 10)
    with pytest.raises(DataError, match=r"has 20 characters, .* give at least 650 characters"):
        text(path)
    path.write_text("a" * 650)
    assert len(text(path).test) == 1
    with pytest.raises(ConfigurationError, match="at least 1 token, got 0"):
        text(path, length=0)


@pytest.mark.parametrize("shape", [(6, 1, 20, 3), (6, 3, 20, 1), (6, 1, 28, 1), (6, 3, 3, 3)])
def test_a_shape_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="can be read in two ways, with channels first or last"):
        arrays(npz(tmp_path, np.zeros(shape, np.uint8), LABELS))


def test_a_strip_of_grey_is_read_where_its_shape_says_so(tmp_path: Path) -> None:
    strip = RNG.integers(256, size=(6, 20, 3), dtype=np.uint8)
    assert arrays(npz(tmp_path, strip, LABELS)).input_shape == (1, 20, 3)


@pytest.mark.parametrize("power", [-170, -300, 160, 300])
def test_columns_of_any_size_are_standardised(tmp_path: Path, power: int) -> None:
    train = np.column_stack([TABLE[:, 0], TABLE[:, 1] * 10.0**power])
    data = arrays(npz(tmp_path, train, LABELS))
    expected = (TABLE[:, :2] - TABLE[:, :2].mean(0)) / TABLE[:, :2].std(0)
    np.testing.assert_allclose(data.train.inputs.numpy(), expected, atol=1e-6)


def test_scaling_by_powers_of_two_changes_no_bit(tmp_path: Path) -> None:
    data = arrays(npz(tmp_path, TABLE, LABELS))
    np.testing.assert_array_equal(
        data.train.inputs.numpy(), ((TABLE - TABLE.mean(0)) / TABLE.std(0)).astype(np.float32)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_column_of_rounding_noise_is_constant(tmp_path: Path, dtype: type) -> None:
    noise = np.array([0.3, 0.3, np.nextafter(dtype(0.3), dtype(1)), 0.3, 0.3, 0.3], dtype)
    train = np.column_stack([TABLE.astype(dtype), noise])
    with pytest.warns(DataWarning, match=r"columns 4 of x_train in 'mine.npz' vary no more than their own rounding"):
        data = arrays(npz(tmp_path, train, LABELS))
    assert data.train.inputs[:, 4].abs().max() < 1e-6
    assert data.provenance["constant features"] == "4"


def test_a_narrow_column_is_stretched_and_said_to_be(tmp_path: Path) -> None:
    seconds = np.column_stack([1.7e9 + np.arange(6.0)])
    with pytest.warns(DataWarning, match="columns 0 .* less than a millionth of their size"):
        data = arrays(npz(tmp_path, seconds, LABELS))
    assert data.train.inputs.std(correction=0) == pytest.approx(1)


@pytest.mark.parametrize(
    ("x", "y", "changes", "message"),
    [
        (TABLE * 1e-170, LABELS, {"x_test": TABLE}, "column 0 of x_test .* beyond what float32 .* once it is standard"),
        (TABLE, TABLE[:, 0] * 1e300, {}, "column 0 of y_train .* beyond what float32 can hold"),
        (PIXELS, LABELS + 1, {}, "labels in 'mine.npz' begin at 1, .* number the classes from 0"),
        (PIXELS, LABELS.astype(np.uint64) + 2**63, {}, "no more than training examples"),
        (TABLE.astype(np.complex128), LABELS, {}, "holds no plain numbers"),
        (PIXELS, LABELS, {"x_train": np.zeros(6, [("a", "u1")])}, "holds no plain numbers"),
    ],
)
def test_more_bad_arrays_are_refused(tmp_path: Path, x: Any, y: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        arrays(npz(tmp_path, x, y, **changes))


def test_a_class_without_an_example_is_said(tmp_path: Path) -> None:
    with pytest.warns(DataWarning, match="nothing in y_train of 'mine.npz' has the label 1,"):
        arrays(npz(tmp_path, PIXELS, np.array([0, 0, 2, 2, 3, 3])))


def test_arrays_that_are_not_read_are_named(tmp_path: Path) -> None:
    assert arrays(npz(tmp_path, PIXELS, LABELS, index=LABELS)).provenance["skipped"] == "arrays index"


def member(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


@pytest.mark.parametrize(
    "first",
    [
        member("{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776,), }"),
        member("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -6), }", b"123456"),
        member("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nsystem\n(S'true'\ntR."),
        member("{'descr': '<U0', 'fortran_order': False, 'shape': (99999999999,), }"),
        member("{'descr': '|u1', 'fortran_order': False, 'shape': (6,), }", b"123456 and more"),
        member("__import__('os').system('true')"),
        b"\x93NUMPY\x01\x00\xff\xff",
    ],
)
def test_a_header_gets_no_more_than_the_bytes_that_are_there(tmp_path: Path, first: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        for key in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{key}.npy", first)
    with pytest.raises(DataError, match=r"cannot be read as \.npz"):
        arrays(tmp_path / "mine.npz")


def test_an_array_twice_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path, PIXELS, LABELS)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("y_train.npy", archive.read("y_test.npy"))
    with pytest.raises(DataError, match="holds y_train twice"):
        arrays(path)


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharewise.data.reading._FREE", 1 << 20)
    zeros = np.zeros((6, 600, 600), np.uint8)
    np.savez_compressed(tmp_path / "mine.npz", x_train=zeros, y_train=LABELS, x_test=zeros, y_test=LABELS)
    with pytest.raises(DataError, match=r"mine\.npz' unpacks to 2,160,128 bytes or more"):
        arrays(tmp_path)


def test_hidden_copies_do_not_count_and_pipes_do_not_hang(tmp_path: Path) -> None:
    npz(tmp_path, PIXELS, LABELS)
    (tmp_path / "._mine.npz").write_bytes(b"\x00\x05\x16\x07")
    assert arrays(tmp_path).name == "mine"
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DataError, match="it is a pipe or device"):
        text(tmp_path / "pipe.txt")
    (tmp_path / "link.npz").symlink_to(tmp_path / "mine.npz")
    assert arrays(tmp_path / "link.npz").name == "link"  # the user named it


WORDS = "the cat sat on the mat\nand the dog ran\n" * 20


@pytest.mark.parametrize(
    "content",
    [
        WORDS.replace("\n", "\r\n").encode(),
        WORDS.replace("\n", "\r").encode(),
        WORDS.encode("utf-8-sig"),
        WORDS.encode("utf-8-sig").replace(b"\nand", b"\n\xef\xbb\xbfand"),
    ],
    ids=["windows", "old mac", "mark", "marks of joined files"],
)
def test_a_text_is_the_same_from_every_system(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plain.txt").write_bytes(WORDS.encode())
    (tmp_path / "other.txt").write_bytes(content)
    plain, other = text(tmp_path / "plain.txt", length=8), text(tmp_path / "other.txt", length=8)
    assert other.class_names == plain.class_names
    assert torch.equal(other.train.inputs, plain.train.inputs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WORDS.encode("utf-16"), "it begins like UTF-16"),
        (WORDS.encode("utf-16-le"), "it has zero bytes"),
        (WORDS.encode() + b"\0", "it has zero bytes"),
        (WORDS.encode() + "é".encode("latin1"), "byte 780 is 0xe9"),
        (b"\xed\xa0\x80" + WORDS.encode(), "byte 0 is 0xed"),
    ],
)
def test_other_encodings_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"is no text in UTF-8 \({message}"):
        text(tmp_path / "a.txt", length=8)


def test_masks_make_a_segmentation(tmp_path: Path) -> None:
    masks = RNG.integers(-1, 3, size=(6, 8, 10)).astype(">i2")
    data = arrays(npz(tmp_path, PIXELS, masks))
    assert (data.task.name, data.task.outputs, data.class_names) == ("segmentation", 3, ("0", "1", "2"))
    np.testing.assert_array_equal(data.train.targets.numpy(), masks)


@pytest.mark.parametrize(
    ("x", "change", "message"),
    [
        (PIXELS, {"dtype": np.uint8}, "signed integers of shape"),
        (PIXELS, {"add": -2}, "must hold 2 to 4,096 classes"),
        (PIXELS, {"times": 2**40}, "must hold 2 to 4,096 classes"),
        (PIXELS, {"add": 1}, "begin at 1"),
        (PIXELS[:, :4], {}, "as high and wide as their images"),
        (TABLE, {}, "as high and wide as their images"),
    ],
)
def test_bad_masks_are_refused(tmp_path: Path, x: Any, change: dict[str, Any], message: str) -> None:
    masks = np.resize([0, 1, 2], (6, 8, 10)) * change.get("times", 1) + change.get("add", 0)
    with pytest.raises(DataError, match=message):
        arrays(npz(tmp_path, x, masks.astype(change.get("dtype", np.int64))))


def test_a_link_that_nobody_named_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.npz").symlink_to(npz(tmp_path / "elsewhere", PIXELS, LABELS))
    with pytest.raises(DataError, match=r"mine\.npz' is a link, which is not followed in a folder"):
        arrays(tmp_path / "folder")


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\x1b[31m"])
def test_a_class_whose_name_cannot_be_printed_is_refused(tmp_path: Path, name: bytes) -> None:
    for place in ("train", "test"):
        for label in (b"ant", name):
            os.makedirs(os.fsencode(tmp_path / place) + b"/" + label)
    with pytest.raises(DataError, match="cannot be printed; rename it") as caught:
        image_folder(tmp_path)
    assert str(caught.value).isprintable()
