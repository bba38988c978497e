"""CIFAR-10 and CIFAR-100, from the official Python archives or from sheets of images."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import tarfile
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast, final

import numpy as np
import torch

from sharewise.data.augmentation import Augmentation, HorizontalFlip, RandomCrop
from sharewise.data.dataset import Dataset, Examples, Sealed, provenance
from sharewise.data.image_files import class_names, sheet_examples
from sharewise.data.pickles import read_pickle
from sharewise.data.reading import opened, read_whole
from sharewise.data.sources import locate
from sharewise.data.task import classification
from sharewise.errors import DataError, DataWarning

__all__ = ["cifar10", "cifar100"]


_MOST = (
    1 << 29
)  # bytes of an archive, of a file in it, and of all that it unpacks to; the official ones take 178 million
_UNPACKERS: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


@final
@dataclass(frozen=True)
class _Archive:
    """Names inside an official archive, and the published MD5 sums of its files."""

    name: str
    folder: str
    file: str
    train: tuple[str, ...]
    test: str
    meta: str
    names: str
    labels: str
    sizes: Mapping[str, int]
    sums: Mapping[str, str]

    @property
    def members(self) -> tuple[str, ...]:
        return (*self.train, self.test, self.meta)


_CIFAR10 = _Archive(
    name="cifar10",
    folder="cifar-10-batches-py",
    file="cifar-10-python.tar.gz",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    names="label_names",
    labels="labels",
    sizes={**{f"data_batch_{number}": 10_000 for number in range(1, 6)}, "test_batch": 10_000},
    sums={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
)

_CIFAR100 = _Archive(
    name="cifar100",
    folder="cifar-100-python",
    file="cifar-100-python.tar.gz",
    train=("train",),
    test="test",
    meta="meta",
    names="fine_label_names",
    labels="fine_labels",
    sizes={"train": 50_000, "test": 10_000},
    sums={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
)


def cifar10(root: str | os.PathLike[str] | None = None) -> Dataset:
    """Read CIFAR-10: 50,000 training and 10,000 test images of 32×32 in 10 classes (Krizhevsky, 2009).

    Args:
        root: the official Python archive (`cifar-10-python.tar.gz`), its unpacked folder, a folder that holds
            either, or a folder of sheets (see `sheets`); `None` for `$SHAREWISE_DATA/cifar10`.

    Returns:
        The data set, images in the order of the files; recommended augmentation: crop with padding 4, and
        flip.

    Raises:
        ConfigurationError: when no path is known.
        DataError: when files are missing or damaged, ask for more than arrays, or have the size of the published ones
            and other MD5 sums.

    Warns:
        DataWarning: when the files are others than the published ones, so that nothing vouches for their content.

    Example:
        >>> import pickle, tempfile, warnings
        >>> batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in (*_CIFAR10.train, "test_batch"):
        ...         _ = (Path(root) / name).write_bytes(pickle.dumps(batch))
        ...     _ = (Path(root) / "batches.meta").write_bytes(pickle.dumps({"label_names": ["cat", "dog"]}))
        ...     with warnings.catch_warnings(action="ignore"):  # these are not the published files
        ...         data = cifar10(root)
        >>> data.train, data.class_names
        (Examples(10, inputs (3, 32, 32) uint8, targets () int64), ('cat', 'dog'))
    """
    return _read(_CIFAR10, locate("cifar10", root))


def cifar100(root: str | os.PathLike[str] | None = None) -> Dataset:
    """Read CIFAR-100 with its fine labels: 50,000 training and 10,000 test images of 32×32 in 100 classes.

    Args:
        root: the official Python archive (`cifar-100-python.tar.gz`), its unpacked folder, a folder that
            holds either, or a folder of sheets (see `sheets`); `None` for `$SHAREWISE_DATA/cifar100`.

    Returns:
        The data set, images in the order of the files; recommended augmentation: crop with padding 4, and
        flip.

    Raises:
        ConfigurationError: when no path is known.
        DataError: when files are missing or damaged, ask for more than arrays, or have the size of the published ones
            and other MD5 sums.

    Warns:
        DataWarning: when the files are others than the published ones, so that nothing vouches for their content.

    Example:
        >>> import pickle, tempfile, warnings
        >>> batch = {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 1]}
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("train", "test"):
        ...         _ = (Path(root) / name).write_bytes(pickle.dumps(batch))
        ...     _ = (Path(root) / "meta").write_bytes(pickle.dumps({"fine_label_names": ["apple", "bee"]}))
        ...     with warnings.catch_warnings(action="ignore"):  # these are not the published files
        ...         data = cifar100(root)
        >>> data.task.outputs
        2
    """
    return _read(_CIFAR100, locate("cifar100", root))


def _read(archive: _Archive, root: Path) -> Dataset:
    files = _official_files(archive, root)
    notes = {}
    if files is not None:
        contents = {name: read_pickle(content, name) for name, content in files.items()}
        names = _names(archive, contents)
        train, test = _batches(archive, contents, archive.train), _batches(archive, contents, (archive.test,))
        notes["files"] = _vouched(archive, files, contents)
    elif root.is_dir() and any(root.glob("train_*.webp")):
        names = class_names(root)
        train, test = sheet_examples(root, "train", tile=32), sheet_examples(root, "test", tile=32)
    else:
        raise DataError(
            f"{str(root)!r} holds no {archive.name}: expected the folder {archive.folder!r}, the archive "
            f"{archive.file!r}, or sheets named train_00.webp, …; correct --data-path or SHAREWISE_DATA"
        )
    source = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, 2009"
    licence = "none stated; the author asks for the citation"
    return Dataset(
        name=archive.name,
        task=classification(len(names)),
        input_kind="image",
        train=train,
        test=Sealed(test),
        class_names=names,
        augmentation=Augmentation(before=(RandomCrop(4), HorizontalFlip())),
        provenance=provenance(source, licence, train, test) | notes,
    )


def _vouched(archive: _Archive, files: Mapping[str, bytes], contents: Mapping[str, dict[str, Any]]) -> str:
    """Say whether these are the published files; refuse those that pass for them and are not."""
    sums = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
    others = [name for name in archive.members if sums[name] != archive.sums[name]]
    if not others:
        return "the published ones, by their MD5 sums"
    alike = [name for name in others if name in archive.sizes and len(contents[name]["data"]) == archive.sizes[name]]
    if alike or len(others) < len(archive.members):
        name = (alike or others)[0]
        raise DataError(
            f"the file {name!r} has the MD5 sum {sums[name]}, the published one has {archive.sums[name]}: it is "
            f"damaged or was changed; fetch {archive.file!r} again, or give changed images as --data arrays"
        )
    warnings.warn(
        f"these are not the published files of {archive.name}: their MD5 sums differ, and nothing vouches for what "
        "they hold",
        DataWarning,
        stacklevel=4,
    )
    return "not the published ones, by their MD5 sums"


def _official_files(archive: _Archive, root: Path) -> dict[str, bytes] | None:
    """Read the members of the official archive from a folder or a tar file; `None` when there is neither."""
    if root.suffix == ".npz":
        raise DataError(f"{str(root)!r} holds arrays, not the archive {archive.file!r}; read it with --data arrays")
    if root.is_file():
        return _from_tar(archive, root)
    for folder in (root, root / archive.folder):
        if (folder / archive.train[0]).is_file():
            missing = [name for name in archive.members if not (folder / name).is_file()]
            if missing:
                raise DataError(f"{str(folder)!r} lacks {', '.join(missing)}; unpack {archive.file!r} again")
            return {name: read_whole(folder / name, _MOST) for name in archive.members}
    if (root / archive.file).is_file():
        return _from_tar(archive, root / archive.file, linked=False)
    return None


@final
class _Bounded:
    """The unpacked stream of an archive, which ends with an error where it goes on for too long."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, _MOST

    def read(self, size: int) -> bytes:
        """Unpack so many bytes, or fewer at the end."""
        content = self._file.read(min(size, 1 << 20))
        self._left -= len(content)
        if self._left < 0:
            raise DataError(f"unpacks to more than {_MOST:,} bytes, which no such archive does")
        return content


def _from_tar(archive: _Archive, path: Path, *, linked: bool = True) -> dict[str, bytes]:
    wanted = {f"{archive.folder}/{name}": name for name in archive.members}
    files: dict[str, bytes] = {}
    try:
        with opened(path, _MOST, linked=linked) as file:
            unpack = _UNPACKERS.get(file.read(2))
            file.seek(0)
            stream = _Bounded(unpack(file) if unpack else file)
            with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.name in wanted and member.isreg() else None
                    if content is not None:
                        if wanted[member.name] in files:
                            raise DataError(f"holds {member.name!r} twice")
                        files[wanted[member.name]] = content.read()
            while stream.read(1 << 20):  # the checksum of the compression stands at its end
                pass
    except DataError as error:
        raise DataError(f"the archive {str(path)!r} cannot be read ({error}); fetch {archive.file!r} again") from None
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        reason = str(error).partition(":")[0]
        raise DataError(f"the archive {str(path)!r} cannot be read ({reason}); fetch {archive.file!r} again") from error
    missing = [inner for inner, name in wanted.items() if name not in files]
    if missing:
        raise DataError(f"the archive {str(path)!r} lacks {', '.join(missing)}; fetch {archive.file!r} again")
    return files


def _entry(contents: dict[str, dict[str, Any]], file: str, key: str) -> Any:
    if key not in contents[file]:
        raise DataError(f"the file {file!r} lacks the entry {key!r}; it has {', '.join(sorted(contents[file]))}")
    return contents[file][key]


def _batches(archive: _Archive, contents: dict[str, dict[str, Any]], files: tuple[str, ...]) -> Examples:
    images, labels = [], []
    for file in files:
        data, targets = _entry(contents, file, "data"), _entry(contents, file, archive.labels)
        if not isinstance(targets, list) or not all(target in range(256) for target in targets):
            raise DataError(
                f"the labels of {file!r} must be a list of integers from 0 to 255; fetch {archive.file!r} again"
            )
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (len(targets), 3072):
            raise DataError(
                f"the images of {file!r} must be uint8 of shape ({len(targets)}, 3072), one row for each "
                f"label; fetch {archive.file!r} again"
            )
        images.append(data)
        labels.append(np.asarray(targets, np.int64))
    inputs = np.ascontiguousarray(np.concatenate(images).reshape(-1, 3, 32, 32))
    return Examples(torch.from_numpy(inputs), torch.from_numpy(np.concatenate(labels)))


def _names(archive: _Archive, contents: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    names = _entry(contents, archive.meta, archive.names)
    if not isinstance(names, list) or len(names) < 2:
        raise DataError(
            f"{archive.names!r} in {archive.meta!r} must be a list of at least 2 names; fetch {archive.file!r} again"
        )
    return tuple(name.decode("latin1") if isinstance(name, bytes) else str(name) for name in names)
