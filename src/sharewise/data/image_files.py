"""Images in ordinary picture files: one file an image, or many images tiled on a sheet."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from sharewise.data.augmentation import Augmentation, RandomCrop
from sharewise.data.dataset import Dataset, Examples, Sealed, provenance
from sharewise.data.sources import locate
from sharewise.data.task import classification
from sharewise.errors import ConfigurationError, DataError

__all__ = ["class_names", "default_augmentation", "image_folder", "sheet_examples", "sheets"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def default_augmentation(size: int) -> Augmentation:
    """Recommend a crop for images of unknown content, and no flip, which could change a class.

    Args:
        size: the shorter side of the images in pixels.

    Returns:
        A crop with padding of an eighth of the size, at least 1 pixel.

    Example:
        >>> default_augmentation(32)
        Augmentation(before=(RandomCrop(padding=4),), after=())
    """
    return Augmentation(before=(RandomCrop(max(1, size // 8)),))


def image_folder(root: str | os.PathLike[str] | None = None, size: int | None = None) -> Dataset:
    """Read your own images from `train/<class>/*` and `test/<class>/*` (or `val`, `valid`).

    All images are held in memory in colour, in an order that is shuffled once and for all, because files come
    sorted by class.

    Args:
        root: the folder; `None` for `$SHAREWISE_DATA/folder`.
        size: height and width in pixels to which every image is brought; `None` when all have the same size.

    Returns:
        The data set; class names are the names of the folders in `train`. The recommended augmentation has no
        flip: add one with `dataclasses.replace` where a mirrored image keeps its class.

    Raises:
        ConfigurationError: when no path is known, or `size` is below 1.
        DataError: when folders are missing or empty, an image cannot be read, or sizes differ and none is
            given.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
        ...         (Path(root) / place).mkdir(parents=True)
        ...         Image.new("RGB", (10, 8)).save(Path(root) / place / "1.png")
        ...     data = image_folder(root, size=4)
        >>> data.input_shape, data.class_names
        ((3, 4, 4), ('cat', 'dog'))
    """
    if size is not None and size < 1:
        raise ConfigurationError(f"the image size must be at least 1 pixel, got {size}")
    place = locate("folder", root)
    held_out = next((name for name in ("test", "val", "valid") if (place / name).is_dir()), None)
    if not (place / "train").is_dir() or held_out is None:
        raise DataError(
            f"{str(place)!r} must hold the folders 'train' and 'test' (or 'val', 'valid'), each with one "
            "folder a class; make both, with different images"
        )
    names = tuple(_class_folders(place / "train"))
    strangers = sorted(set(_class_folders(place / held_out)) - set(names))
    if len(names) < 2 or strangers:
        raise DataError(
            f"{str(place)!r} needs at least 2 classes in 'train' and no others in {held_out!r}, got "
            f"{len(names)} ({', '.join(names) or 'none'}) and beside them {', '.join(strangers) or 'none'}; "
            "one folder is one class"
        )
    train, test = (
        _folder_examples(place / "train", names, size),
        _folder_examples(place / held_out, names, size),
    )
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        raise DataError(
            f"training and test images of {str(place)!r} differ in size ({tuple(train.inputs.shape[2:])} and "
            f"{tuple(test.inputs.shape[2:])} pixels); give a common size by --image-size"
        )
    return _image_dataset(place.name, names, train, test)


def sheets(root: str | os.PathLike[str] | None = None, tile: int | None = None) -> Dataset:
    """Read images that are tiled row by row on sheets `train_00.webp`, … and `test_00.webp`, … (or `.png`).

    Beside them lie `train_labels.npy` and `test_labels.npy` (integers, one for each tile, in order) and
    `class_names.txt` (one name a line).

    Args:
        root: the folder; `None` for `$SHAREWISE_DATA/sheets`.
        tile: height and width of a tile in pixels; `None` when the tiles fill all sheets, so that their size
            follows.

    Returns:
        The data set, images in the order of the tiles.

    Raises:
        ConfigurationError: when no path is known, or `tile` is below 1.
        DataError: when files are missing or damaged, or labels, names and tiles do not fit together.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for split in ("train", "test"):
        ...         Image.new("RGB", (16, 8)).save(Path(root) / f"{split}_00.png")
        ...         np.save(Path(root) / f"{split}_labels.npy", np.array([0, 1], np.uint8))
        ...     _ = (Path(root) / "class_names.txt").write_text("cat\\ndog\\n")
        ...     data = sheets(root)
        >>> data.input_shape
        (3, 8, 8)
    """
    if tile is not None and tile < 1:
        raise ConfigurationError(f"the size of a tile must be at least 1 pixel, got {tile}")
    place = locate("sheets", root)
    names = class_names(place)
    return _image_dataset(place.name, names, sheet_examples(place, "train", tile), sheet_examples(place, "test", tile))


def class_names(root: Path) -> tuple[str, ...]:
    """Read the names of the classes from `class_names.txt`, one a line.

    Args:
        root: the folder that holds the file.

    Returns:
        The names, in the order of the labels.

    Raises:
        DataError: when the file is missing or has fewer than two names.

    Example:
        >>> class_names(Path("no/such/folder"))
        Traceback (most recent call last):
        sharewise.errors.DataError: cannot read 'no/such/folder/class_names.txt' ...
    """
    path = root / "class_names.txt"
    try:
        names = tuple(path.read_text(encoding="utf-8").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {str(path)!r} ({error}); write one class name a line there") from error
    names = tuple(name.strip() for name in names if name.strip())
    if len(names) < 2:
        raise DataError(f"{str(path)!r} must name at least 2 classes, one a line, got {len(names)}")
    return names


def sheet_examples(root: Path, split: str, tile: int | None = None) -> Examples:
    """Cut the sheets of one split into images.

    Args:
        root: the folder that holds the sheets.
        split: `"train"` or `"test"`.
        tile: height and width of a tile in pixels; `None` when the tiles fill all sheets.

    Returns:
        Images and labels, in the order of the tiles; tiles beyond the last label are left out.

    Raises:
        DataError: when files are missing or damaged, or the number of tiles does not fit the number of
            labels.

    Example:
        >>> sheet_examples(Path("no/such/folder"), "train")
        Traceback (most recent call last):
        sharewise.errors.DataError: cannot read 'no/such/folder/train_labels.npy' ...
    """
    labels = _labels(root / f"{split}_labels.npy")
    paths = sorted(root.glob(f"{split}_*.webp")) or sorted(root.glob(f"{split}_*.png"))
    if not paths:
        raise DataError(f"{str(root)!r} holds no sheets for {split!r}; expected {split}_00.webp, … (or .png)")
    images = [_read_image(path) for path in paths]
    side = tile or math.isqrt(sum(image.shape[0] * image.shape[1] for image in images) // len(labels))
    for path, image in zip(paths, images, strict=True):
        if not side or image.shape[0] % side or image.shape[1] % side:
            raise DataError(
                f"the sheet {str(path)!r} of {image.shape[1]}x{image.shape[0]} pixels is not filled by "
                f"square tiles of {side} pixels, the size for {len(labels)} labels; check the labels, or "
                "give the size of a tile"
            )
    tiles = [_tiles(image, side) for image in images]
    count = sum(len(tile) for tile in tiles)
    if not count - len(tiles[-1]) < len(labels) <= count or (tile is None and len(labels) != count):
        raise DataError(
            f"the sheets for {split!r} in {str(root)!r} hold {count} tiles of {side} pixels, but there are "
            f"{len(labels)} labels; check that all sheets are there"
        )
    return Examples(torch.from_numpy(np.concatenate(tiles)[: len(labels)]), torch.from_numpy(labels))


def _image_dataset(name: str, names: tuple[str, ...], train: Examples, test: Examples) -> Dataset:
    return Dataset(
        name=name,
        task=classification(len(names)),
        input_kind="image",
        train=train,
        test=Sealed(test),
        class_names=names,
        augmentation=default_augmentation(min(train.inputs.shape[2:])),
        provenance=provenance(f"the user's folder {name!r}", "not stated", train, test),
    )


def _labels(path: Path) -> npt.NDArray[np.int64]:
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {str(path)!r} ({error}); it must be an array of integers") from error
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise DataError(f"{str(path)!r} must hold integers of shape (n,), got {labels.dtype} of shape {labels.shape}")
    return np.asarray(labels, np.int64)


def _read_image(path: Path, size: int | None = None) -> npt.NDArray[np.uint8]:
    """Decode a picture to colour, shape `(height, width, 3)`."""
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
        if size is not None:
            image = image.resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"the image {str(path)!r} cannot be read ({error}); replace or remove it") from error
    return np.asarray(image)


def _tiles(sheet: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    height, width, channels = sheet.shape
    grid = sheet.reshape(height // side, side, width // side, side, channels)
    return np.ascontiguousarray(grid.transpose(0, 2, 4, 1, 3)).reshape(-1, channels, side, side)


def _class_folders(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _folder_examples(folder: Path, names: tuple[str, ...], size: int | None) -> Examples:
    images: list[npt.NDArray[Any]] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        files = (folder / name).iterdir() if (folder / name).is_dir() else ()
        paths = sorted(path for path in files if path.suffix.lower() in _SUFFIXES)
        if not paths and folder.name == "train":
            raise DataError(f"the class folder {str(folder / name)!r} holds no images ({', '.join(sorted(_SUFFIXES))})")
        for path in paths:
            image = _read_image(path, size)
            if images and image.shape != images[0].shape:
                raise DataError(
                    f"the image {str(path)!r} has {image.shape[1]}x{image.shape[0]} pixels, others in "
                    f"{str(folder)!r} have {images[0].shape[1]}x{images[0].shape[0]}; give a common size by "
                    "--image-size"
                )
            images.append(image)
            labels.append(label)
    if not images:
        raise DataError(f"{str(folder)!r} holds no images; put them into one folder a class")
    order = np.random.default_rng(0).permutation(len(images))
    inputs = np.stack([images[index].transpose(2, 0, 1) for index in order])
    return Examples(torch.from_numpy(inputs), torch.from_numpy(np.asarray(labels, np.int64)[order]))
