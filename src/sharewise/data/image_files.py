"""Images in ordinary picture files: one file an image, or many images tiled on a sheet."""

from __future__ import annotations

import hashlib
import math
import os
import re
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sharewise.data.array_bytes import read_npy
from sharewise.data.augmentation import Augmentation, RandomCrop
from sharewise.data.dataset import Dataset, Examples, Sealed, channel_statistics, provenance
from sharewise.data.listing import class_folders, in_words, may_be_data, pictures
from sharewise.data.on_disk import OnDisk
from sharewise.data.picture import MOST, SUFFIXES, decoded_picture, quiet_decoders, read_picture, require_picture
from sharewise.data.reading import Budget, Written, check_memory, read_text, read_whole, require_unchanged, written_at
from sharewise.data.sources import locate
from sharewise.data.task import classification
from sharewise.errors import ConfigurationError, DataError, DataWarning

__all__ = ["class_names", "default_augmentation", "folder_on_disk", "image_folder", "sheet_examples", "sheets"]

_HELD_OUT = ("test", "val", "valid")
_NAMES = 1 << 24  # bytes of a list of names
_LOOKED_AT = 4096  # images on disk for statistics


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
    """Read your own images from `train/<class>/**` and `test/<class>/**` (or `val`, `valid`).

    All images are held in memory in colour of eight bits a channel, in an order that is shuffled once and for all,
    because files come sorted by class. Sub-folders of a class belong to it; hidden files do not count. Sixteen bits a
    channel are scaled, photographs are turned upright. What was skipped or changed stands in `provenance`.

    Args:
        root: the folder; `None` for `$SHAREWISE_DATA/folder`. It may be a link, but what it holds may not.
        size: height and width in pixels to which every image is brought; `None` when all have the same size.

    Returns:
        The data set; class names are the names of the folders in `train`. The recommended augmentation has no
        flip: add one with `dataclasses.replace` where a mirrored image keeps its class.

    Raises:
        ConfigurationError: when no path is known, or `size` is below 1.
        DataError: when folders are missing or empty, there are links, an image cannot be read or has no single meaning
            (transparent pixels, several frames, real numbers), or sizes differ and none is given.

    Warns:
        DataWarning: when something is skipped that may have been meant as an example.

    Example:
        >>> import tempfile
        >>> from PIL import Image
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
    folder, names, tested = _opened(locate("folder", root), size)
    train, test = folder.examples("train", names), folder.examples(tested, names)
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        raise DataError(
            f"training and test images of {str(folder.root)!r} differ in size ({tuple(train.inputs.shape[2:])} and "
            f"{tuple(test.inputs.shape[2:])} pixels); give a common size by --image-size"
        )
    return _image_dataset(folder.root.name, tuple(names), train, test, folder.notes())


def folder_on_disk(root: str | os.PathLike[str] | None = None, size: int | None = None, workers: int = 4) -> Dataset:
    """Read images as `image_folder` does, each time that a batch asks for them, so that they need no memory.

    All files are read once for their checksum, and up to 4,096 training images, evenly spaced, for the statistics of
    normalisation and for what `provenance` says of changes on the way. The order is that of `image_folder`. While the
    images of a batch are computed with, those of the next one are decoded.

    Args:
        root: the folder; `None` for `$SHAREWISE_DATA/folder-on-disk`.
        size: height and width in pixels to which every image is brought.
        workers: threads that decode the images of a batch, at least 1; what they read does not depend on it. Warnings
            of the decoder about metadata are silent from then on.

    Returns:
        The data set.

    Raises:
        ConfigurationError: when no path or no size is known, or a number is below 1.
        DataError: as `image_folder`; where the pixels of a file are damaged, when they are first asked for.

    Warns:
        DataWarning: as `image_folder`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
        ...     (root / place).mkdir(parents=True)
        ...     Image.new("RGB", (10, 8)).save(root / place / "1.png")
        >>> folder_on_disk(root, size=4).train
        Examples(2, inputs (3, 4, 4) uint8 on disk, targets () int64)
    """
    if size is None:
        raise ConfigurationError("images that stay on disk need one size in pixels: give size=, or --image-size")
    if size < 1 or workers < 1:
        raise ConfigurationError(f"size and workers must be at least 1, got size={size} and workers={workers}")
    folder, names, tested = _opened(locate("folder-on-disk", root).resolve(), size)
    digest = hashlib.sha256()
    rows = [folder.unread(split, names, workers, digest) for split in ("train", tested)]
    train, test = (Examples(OnDisk(images), labels) for images, labels in rows)
    looked_at = torch.arange(min(len(train), _LOOKED_AT)) * len(train) // min(len(train), _LOOKED_AT)
    some = OnDisk(_Noting(rows[0][0], folder.changes), looked_at)
    mean, std = channel_statistics(some)
    notes = {
        "source": f"the user's folder {folder.root.name!r}",
        "licence": "not stated",
        "checksum": f"sha256:{digest.hexdigest()}",
        "statistics": f"of {len(some):,} of {len(train):,} training images",
    }
    told = folder.notes()
    if "changed" in told:
        told["changed"] += f", of {len(some):,} looked at"
    dataset = _image_dataset(folder.root.name, tuple(names), train, test, told, notes)
    return replace(dataset, mean=mean, std=std)


def _opened(place: Path, size: int | None) -> tuple[_Folder, list[str], str]:
    """A folder, the names of its classes, and the name of its held-out split."""
    there = [name for name in _HELD_OUT if (place / name).is_dir()]
    if not (place / "train").is_dir() or not there:
        raise DataError(
            f"{str(place)!r} must hold the folders 'train' and 'test' (or 'val', 'valid'), each with one "
            "folder a class; make both, with different images"
        )
    folder = _Folder(place, size)
    folder.skipped += [place / name for name in there[1:]]
    names, beside = class_folders(folder.split("train"))
    tested, beside_too = class_folders(folder.split(there[0]))
    folder.skipped += beside + beside_too
    strangers = sorted(set(tested) - set(names))
    if len(names) < 2 or strangers:
        raise DataError(
            f"{str(place)!r} needs at least 2 classes in 'train' and no others in {there[0]!r}, got "
            f"{len(names)} ({', '.join(names) or 'none'}) and beside them {', '.join(strangers) or 'none'}; "
            "one folder is one class"
        )
    return folder, names, there[0]


@final
class _Folder:
    """A folder of images while it is read: what it may still unpack to, and what is to be said about it."""

    def __init__(self, root: Path, size: int | None) -> None:
        self.root, self.size = root, size
        self.budget = Budget(f"the folder {str(root)!r}")
        self.skipped: list[Path] = []
        self.changes: Counter[str] = Counter()

    def split(self, name: str) -> Path:
        """The folder of a split, which must be no link."""
        path = self.root / name
        if path.is_symlink():
            raise DataError(f"{str(path)!r} is a link, which is not followed; put the folder itself there")
        return path

    def listed(self, split: str, names: list[str]) -> list[tuple[Path, int]]:
        """The images of a split with the number of their class, by class and path."""
        folder, listed = self.root / split, []
        for label, name in enumerate(names):
            found, others = pictures(folder / name) if (folder / name).is_dir() else ([], [])
            self.skipped += others
            if not found and split == "train":
                raise DataError(
                    f"the class folder {str(folder / name)!r} holds no images ({', '.join(sorted(SUFFIXES))})"
                )
            listed += [(path, label) for path in found]
        if not listed:
            raise DataError(f"{str(folder)!r} holds no images; put them into one folder a class")
        return listed

    def examples(self, split: str, names: list[str]) -> Examples:
        """Read all images of a split."""
        listed = self.listed(split, names)
        if self.size is not None:
            check_memory(3 * len(listed) * self.size**2, f"{len(listed):,} images of {self.size}x{self.size} pixels")
        images = self._read([path for path, _ in listed], self.root / split)
        order = _shuffled(len(listed))
        inputs = np.stack([images[place].transpose(2, 0, 1) for place in order])
        return Examples(torch.from_numpy(inputs), torch.tensor([listed[place][1] for place in order]))

    def unread(self, split: str, names: list[str], workers: int, digest: hashlib._Hash) -> tuple[_FolderRows, Tensor]:
        """The images of a split, which are looked at once for a digest and read when they are asked for; labels."""
        assert self.size is not None
        listed = self.listed(split, names)
        files = []
        for path, label in listed:
            files.append((path, written_at(path), label))
            content = read_whole(path, MOST)
            require_picture(path, content)
            name = os.fsencode(path.relative_to(self.root).as_posix())
            digest.update(name + f"\0{label}\0{len(content)}\0".encode() + content)
        paths, written, labels = zip(*(files[place] for place in _shuffled(len(files))), strict=True)
        return _FolderRows(paths, written, self.size, workers), torch.tensor(labels)

    def _read(self, paths: list[Path], folder: Path) -> list[npt.NDArray[np.uint8]]:
        images: list[npt.NDArray[np.uint8]] = []
        for path in paths:
            image, changes = read_picture(path, self.budget, self.size)
            self.changes.update(changes)
            if images and image.shape != images[0].shape:
                raise DataError(
                    f"the image {str(path)!r} has {image.shape[1]}x{image.shape[0]} pixels, others in "
                    f"{str(folder)!r} have {images[0].shape[1]}x{images[0].shape[0]}; give a common size by "
                    "--image-size"
                )
            images.append(image)
        return images

    def notes(self) -> dict[str, str]:
        """What was skipped and changed; a warning where that may be examples."""
        notes = {}
        if self.skipped:
            notes["skipped"] = in_words(self.skipped, self.root)
        if missed := [path for path in self.skipped if may_be_data(path)]:
            warnings.warn(
                f"skipped {in_words(missed, self.root)} in {str(self.root)!r}: only {', '.join(sorted(SUFFIXES))} in "
                "folders of classes are read",
                DataWarning,
                stacklevel=3,
            )
        if self.changes:
            notes["changed"] = "; ".join(f"{count:,} images {change}" for change, count in self.changes.items())
        return notes


def _shuffled(count: int) -> list[int]:
    """The order in which images of a folder are kept, since they are listed by class."""
    order: list[int] = np.random.default_rng(0).permutation(count).tolist()
    return order


@final
@dataclass(frozen=True)
class _FolderRows:
    """Images in files, decoded by threads.

    Args:
        paths: of the files.
        written: when, as they were read first.
        size: height and width to which they are brought.
        workers: threads.
    """

    paths: tuple[Path, ...]
    written: tuple[Written, ...]
    size: int
    workers: int

    @property
    def count(self) -> int:
        """See `Rows.count`."""
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Rows.shape`."""
        return (3, self.size, self.size)

    def read(self, rows: Tensor) -> Tensor:
        """See `Rows.read`."""
        return self.noted(rows)[0]

    def noted(self, rows: Tensor) -> tuple[Tensor, Counter[str]]:
        """What `read` gives, and how many images were changed on the way, in words."""
        found = np.empty((len(rows), *self.shape), np.uint8)

        def put(place: int, row: int) -> tuple[str, ...]:
            require_unchanged(self.paths[row], self.written[row])
            image, changes = decoded_picture(self.paths[row], Budget("an image"), self.size)
            found[place] = image.transpose(2, 0, 1)
            return changes

        quiet_decoders()
        with ThreadPoolExecutor(min(self.workers, max(1, len(rows)))) as pool:
            changes = Counter(change for each in pool.map(put, range(len(rows)), rows.tolist()) for change in each)
        return torch.from_numpy(found), changes


@final
@dataclass(frozen=True)
class _Noting:
    """Images in files that are looked at for the first time.

    Args:
        images: in files.
        changes: counts what was changed on the way.
    """

    images: _FolderRows
    changes: Counter[str]

    @property
    def count(self) -> int:
        """See `Rows.count`."""
        return self.images.count

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Rows.shape`."""
        return self.images.shape

    def read(self, rows: Tensor) -> Tensor:
        """See `Rows.read`."""
        read, changes = self.images.noted(rows)
        self.changes.update(changes)
        return read


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
        >>> from PIL import Image
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
    names = tuple(name.strip() for name in read_text(path, _NAMES).split("\n") if name.strip())
    if len(names) < 2:
        raise DataError(f"{str(path)!r} must name at least 2 classes, one a line, got {len(names)}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{str(path)!r} names {twice[0]!r} more than once; give each class a name of its own")
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
    paths = _sheets(root, split)
    budget = Budget(f"the folder {str(root)!r}")
    images = [read_picture(path, budget)[0] for path in paths]
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


def _sheets(root: Path, split: str) -> list[Path]:
    """The sheets of a split in the order of their numbers, of which none may be missing or there twice."""
    found: dict[int, Path] = {}
    for path in sorted((*root.glob(f"{split}_*.webp"), *root.glob(f"{split}_*.png"))):
        number = re.fullmatch(rf"{split}_([0-9]{{1,9}})", path.stem)
        if number is None or int(number[1]) in found:
            raise DataError(
                f"the sheet {str(path)!r} must have a number of its own, as {split}_00.webp; rename or remove it"
            )
        found[int(number[1])] = path
    if not found:
        raise DataError(f"{str(root)!r} holds no sheets for {split!r}; expected {split}_00.webp, … (or .png)")
    for one, next_one in pairwise(sorted(found)):
        if next_one != one + 1:
            raise DataError(f"{str(root)!r} lacks the sheets between {found[one].name!r} and {found[next_one].name!r}")
    return [found[number] for number in sorted(found)]


def _image_dataset(
    name: str,
    names: tuple[str, ...],
    train: Examples,
    test: Examples,
    notes: dict[str, str] | None = None,
    origin: dict[str, str] | None = None,
) -> Dataset:
    origin = provenance(f"the user's folder {name!r}", "not stated", train, test) if origin is None else origin
    return Dataset(
        name=name,
        task=classification(len(names)),
        input_kind="image",
        train=train,
        test=Sealed(test),
        class_names=names,
        augmentation=default_augmentation(min(train.inputs.shape[2:])),
        provenance=origin | (notes or {}),
    )


def _labels(path: Path) -> npt.NDArray[np.int64]:
    labels = read_npy(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise DataError(f"{str(path)!r} must hold integers of shape (n,), got {labels.dtype} of shape {labels.shape}")
    if int(labels.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{str(path)!r} holds the label {labels.max()}; number the classes from 0")
    return np.asarray(labels, np.int64)


def _tiles(sheet: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    height, width, channels = sheet.shape
    grid = sheet.reshape(height // side, side, width // side, side, channels)
    return np.ascontiguousarray(grid.transpose(0, 2, 4, 1, 3)).reshape(-1, channels, side, side)
