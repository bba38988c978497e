"""Pictures of every kind that users have: read rightly, or refused in one line; nothing vanishes without a word."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sharewise.cli import main
from sharewise.data import image_folder, sheets
from sharewise.data.picture import read_picture
from sharewise.data.reading import Budget
from sharewise.errors import DataError, DataWarning

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
COLOUR = np.random.default_rng(0).integers(256, size=(6, 9, 3), dtype=np.uint8)


def read(path: Path, size: int | None = None) -> npt.NDArray[np.uint8]:
    return read_picture(path, Budget("a picture"), size)[0]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_of_grey_are_scaled(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ramp{suffix}"
    Image.fromarray(RAMP).save(path)
    image, notes = read_picture(path, Budget("a picture"))
    np.testing.assert_array_equal(image, np.rint(RAMP / 257).astype(np.uint8)[..., None].repeat(3, 2))
    assert notes == ("scaled from 16 bits a channel",)


def tiff(values: npt.NDArray[np.uint16], order: str, bits: int, photometric: int) -> bytes:
    """An uncompressed TIFF of one strip, whose rows are packed to `bits` a pixel."""
    height, width = values.shape
    if bits == 16:
        strip = values.astype(f"{order}u2").tobytes()
    else:
        strip = np.packbits((values[..., None] >> np.arange(11, -1, -1)) & 1).tobytes()
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric)]
    entries += [(273, 8), (277, 1), (278, height), (279, len(strip))]
    directory = struct.pack(order + "H", len(entries))
    for tag, value in entries:
        directory += struct.pack(order + "HHI", tag, 4, 1) + struct.pack(order + "I", value)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(strip))
    return head + strip + directory + bytes(4)


@pytest.mark.parametrize(
    ("order", "bits", "photometric", "white"),
    [("<", 16, 1, 65535), (">", 16, 1, 65535), ("<", 16, 0, 65535), ("<", 12, 1, 4095)],
)
def test_white_is_white_in_every_tiff(tmp_path: Path, order: str, bits: int, photometric: int, white: int) -> None:
    values = np.linspace(0, white, 64).astype(np.uint16).reshape(8, 8)
    (tmp_path / "a.tif").write_bytes(tiff(values, order, bits, photometric))
    shown = values if photometric else white - values
    np.testing.assert_array_equal(
        read(tmp_path / "a.tif")[..., 0], np.rint(shown / white * 255 + 1e-9).astype(np.uint8)
    )


def test_sixteen_bits_of_colour_keep_their_levels(tmp_path: Path) -> None:
    deep = COLOUR.astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    (tmp_path / "a.png").write_bytes(png(9, 6, 16, 2, rows))
    np.testing.assert_array_equal(read(tmp_path / "a.png"), COLOUR)
    opaque = np.concatenate([deep, np.full((6, 9, 1), 65535, np.uint16)], 2)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in opaque)
    (tmp_path / "b.png").write_bytes(png(9, 6, 16, 6, rows))
    np.testing.assert_array_equal(read(tmp_path / "b.png"), COLOUR)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LA", "RGBA"])
def test_other_modes_become_colour(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    image.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), np.asarray(image.convert("RGB")))


def palette(path: Path) -> None:
    image = Image.fromarray(COLOUR).convert("P")
    image.save(path, transparency=image.getpixel((0, 0)))


def frames(path: Path) -> None:
    other = Image.fromarray(COLOUR[::-1])
    Image.fromarray(COLOUR).save(path, save_all=True, append_images=[other])


AMBIGUOUS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "transparent": ("a.png", lambda path: Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(path), "transparent"),
    "palette": ("a.png", palette, "transparent"),
    "grey level": ("a.png", lambda path: Image.new("LA", (4, 4), (9, 0)).save(path), "transparent"),
    "gif": ("a.gif", frames, "several frames or pages"),
    "webp": ("a.webp", frames, "several frames or pages"),
    "apng": ("a.png", frames, "several frames or pages"),
    "pages": ("a.tif", frames, "several frames or pages"),
    "real": ("a.tif", lambda path: Image.fromarray(np.ones((4, 4), np.float32)).save(path), "32-bit real numbers"),
    "whole": ("a.tif", lambda path: Image.fromarray(np.ones((4, 4), np.int32)).save(path), "32-bit whole numbers"),
    "empty": ("a.png", lambda path: path.write_bytes(b"") and None, "none of PNG, JPEG"),
    "script": ("a.png", lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n") and None, "none of PNG, JPEG"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_has_no_single_meaning_is_refused(tmp_path: Path, name: str) -> None:
    file, write, message = AMBIGUOUS[name]
    write(tmp_path / file)
    with pytest.raises(DataError, match=f"cannot be read .*{message}") as caught:
        read(tmp_path / file)
    assert "\n" not in str(caught.value)
    assert repr(str(tmp_path / file)) in str(caught.value)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_photographs_stand_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :12] = 255  # white above on the left
    stored = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: pixels[:, ::-1].transpose(1, 0, 2)[:, :],
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: pixels[::-1].transpose(1, 0, 2),
    }[orientation]
    if orientation == 6:  # turned by 90 degrees against the clock
        stored = np.rot90(pixels)
    if orientation == 8:
        stored = np.rot90(pixels, -1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"a{suffix}", exif=exif)
    found = read(tmp_path / f"a{suffix}").astype(int)
    assert found.shape == pixels.shape
    assert np.abs(found - pixels).mean() < 2


def test_a_png_whose_checksum_is_wrong_is_refused_though_it_decodes(tmp_path: Path) -> None:
    stored = zlib.compressobj(level=0)  # so that a flipped bit is another pixel, and no error of the decoder
    rows = b"".join(b"\0" + row.tobytes() for row in COLOUR)
    content = bytearray(png(9, 6, 8, 2, rows).replace(zlib.compress(rows), stored.compress(rows) + stored.flush()))
    place = content.index(COLOUR[3].tobytes())
    content[place] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png' cannot be read"):
        read(tmp_path / "a.png")


def test_a_header_cannot_ask_for_more_than_an_image_has(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(60_000, 60_000, 8, 2, b""))
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(png(9_500, 9_500, 8, 2, b""))
    with pytest.raises(DataError, match="9500x9500 pixels are more than 89,478,485"):
        read(tmp_path / "a.png")


def test_many_pictures_cannot_unpack_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharewise.data.reading._FREE", 3 << 19)
    budget = Budget("the folder 'bombs'")
    Image.new("RGB", (600, 600)).save(tmp_path / "a.png", compress_level=9)
    read_picture(tmp_path / "a.png", budget)
    with pytest.raises(DataError, match="the folder 'bombs' unpacks to 2,160,000 bytes or more from"):
        read_picture(tmp_path / "a.png", budget)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(COLOUR).save(tmp_path / place / "1.png")
    return tmp_path


def test_sub_folders_of_a_class_belong_to_it_and_every_format_is_read(folder: Path) -> None:
    for number, suffix in enumerate((".tif", ".TIFF", ".gif", ".webp", ".jpeg")):
        (folder / "train" / "a" / "more" / str(number)).mkdir(parents=True)
        Image.fromarray(COLOUR).save(folder / "train" / "a" / "more" / str(number) / f"x{suffix}")
    data = image_folder(folder)
    assert data.train.targets.bincount().tolist() == [6, 1]
    assert "skipped" not in data.provenance


def test_what_systems_leave_behind_does_not_count(folder: Path) -> None:
    for name in ("train/a/._1.png", "train/a/.DS_Store", "train/b/Thumbs.db", "train/._b", "test/a/desktop.ini"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07")
    for name in ("train/.ipynb_checkpoints", "__MACOSX/train/a", "train/__MACOSX", "train/a/.git"):
        (folder / name).mkdir(parents=True)
        (folder / name / "._2.png").write_bytes(b"\x00\x05\x16\x07")
    data = image_folder(folder)
    assert (len(data.train), data.class_names) == (2, ("a", "b"))


def test_what_may_have_been_an_example_is_said_to_be_skipped(folder: Path) -> None:
    (folder / "train" / "a" / "notes.txt").write_text("how they were taken")
    assert image_folder(folder).provenance["skipped"] == f"1 file ('{Path('train/a/notes.txt')}')"
    (folder / "train" / "a" / "2.heic").write_bytes(b"ftypheic")
    (folder / "train" / "loose.png").write_bytes((folder / "train" / "a" / "1.png").read_bytes())
    (folder / "val").mkdir()
    with pytest.warns(DataWarning, match=r"skipped 3 files \('val', 'train.loose.png', 'train.a.2.heic'\)"):
        data = image_folder(folder)
    assert data.provenance["skipped"].startswith("4 files")
    assert len(data.train) == 2


def test_changes_are_recorded(folder: Path) -> None:
    Image.fromarray(np.zeros((6, 9), np.uint16)).save(folder / "train" / "a" / "2.png")
    assert image_folder(folder).provenance["changed"] == "1 images scaled from 16 bits a channel"


@pytest.mark.parametrize("name", ["train/a/2.png", "train/c", "train/a/more", "train"])
def test_links_are_not_followed(folder: Path, name: str) -> None:
    place = folder / name
    if name == "train":
        place.rename(folder / "elsewhere")
        place.symlink_to(folder / "elsewhere")
    else:
        place.symlink_to(folder / ("train/a/1.png" if name.endswith("png") else "train"))
    with pytest.raises(DataError, match=f"{name}' is a link, which is not followed"):
        image_folder(folder)


def test_a_pipe_does_not_hang(folder: Path) -> None:
    os.mkfifo(folder / "train" / "a" / "2.png")
    with pytest.raises(DataError, match=r"2\.png' is a pipe or device"):
        image_folder(folder)


def test_a_size_that_no_memory_holds_is_refused_before_it_is_asked_for(folder: Path) -> None:
    with pytest.raises(DataError, match=r"2 images of 10000000x10000000 pixels would take .* GiB of memory"):
        image_folder(folder, size=10_000_000)
    with pytest.raises(DataError, match="GiB of memory, this machine has"):
        image_folder(folder).resized(10_000_000)


@pytest.fixture
def sheet_folder(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for number in range(12):
            Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(tmp_path / f"{split}_{number}.png")
        np.save(tmp_path / f"{split}_labels.npy", np.arange(12, dtype=np.uint8) % 3)
    (tmp_path / "class_names.txt").write_bytes(b"\xef\xbb\xbfant\r\nbee\r\ncat\r\n")
    return tmp_path


def test_sheets_follow_their_numbers_and_names_their_lines(sheet_folder: Path) -> None:
    data = sheets(sheet_folder)
    assert data.train.inputs[:, 0, 0, 0].tolist() == list(range(12))
    assert data.class_names == ("ant", "bee", "cat")


def test_a_missing_or_double_sheet_is_refused(sheet_folder: Path) -> None:
    (sheet_folder / "train_5.png").rename(sheet_folder / "train_05.png")
    assert len(sheets(sheet_folder).train) == 12
    Image.new("RGB", (4, 4)).save(sheet_folder / "train_5.webp")
    with pytest.raises(DataError, match="must have a number of its own"):
        sheets(sheet_folder)
    (sheet_folder / "train_5.webp").unlink()
    (sheet_folder / "train_05.png").unlink()
    with pytest.raises(DataError, match=r"lacks the sheets between 'train_4\.png' and 'train_6\.png'"):
        sheets(sheet_folder)


def test_damaged_labels_and_names_are_refused(sheet_folder: Path) -> None:
    path = sheet_folder / "train_labels.npy"
    content = path.read_bytes()
    for damaged in (content[:-1], content + b"\0", content.replace(b"(12,)", b"(99,)"), content[:9], b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot read '.*train_labels\.npy'"):
            sheets(sheet_folder)
    np.save(path, np.array([print] * 12, object))
    with pytest.raises(DataError, match="holds no plain numbers"):
        sheets(sheet_folder)
    np.save(path, np.full(12, 2**64 - 1, np.uint64))
    with pytest.raises(DataError, match="holds the label 18446744073709551615"):
        sheets(sheet_folder)
    np.save(path, np.arange(12) % 3)
    (sheet_folder / "class_names.txt").write_text("ant\nbee\nant\n")
    with pytest.raises(DataError, match="names 'ant' more than once"):
        sheets(sheet_folder)


@pytest.mark.filterwarnings("default")
def test_the_command_line_says_in_one_line_what_was_skipped(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train" / "a" / "2.heic").write_bytes(b"ftypheic")
    words = ["search", "--space", "toy-tied-width", "--method", "gaea-erm", "--data", "folder", "--max-steps", "1"]
    out = tmp_path_factory.mktemp("run") / "run"
    assert main([*words, "--data-path", str(folder), "--out", str(out)]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(said) == 1
    assert said[0].startswith(f"warning: skipped 1 file ({str(Path('train/a/2.heic'))!r}) in ")
    assert "skipped" in (out / "report.html").read_text()
    assert main([*words, "--data-path", str(folder), "--image-size", "10000000", "--out", str(out / "two")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: 2 images of 10000000x10000000 pixels would take ")


def test_damaged_pictures_print_nothing_beside_the_error(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sharewise.data.picture import read_picture as r;"
        "from sharewise.data.reading import Budget as B; from sharewise.errors import DataError\n"
        "try: r(Path(sys.argv[1]), B('x'))\nexcept DataError: pass"
    )
    content = tiff(np.zeros((8, 8), np.uint16), "<", 16, 1).replace(
        struct.pack("<HHII", 277, 4, 1, 1), struct.pack("<HHII", 277, 4, 1, 99)
    )
    (tmp_path / "a.tif").write_bytes(content)
    words = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
