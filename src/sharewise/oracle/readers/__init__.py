"""Readers of official benchmark files: each turns a release into a `Draft`, which `write_table` makes a table of."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sharewise.errors import DataError
from sharewise.oracle.draft import Draft, write_table
from sharewise.oracle.readers import nasbench101, nasbench201, nasbench_macro, nats
from sharewise.oracle.table import Table, open_table

__all__ = ["import_benchmark", "read_benchmark"]

Report = Callable[[str], None]

_FOLDERS: dict[str, Callable[[Path, Report], Draft]] = {
    nasbench101.RESULTS: lambda folder, report: nasbench101.nasbench101_tables(folder),
    nasbench201.RESULTS: lambda folder, report: nasbench201.nasbench201_tables(folder),
    nasbench_macro.RESULTS: lambda folder, report: nasbench_macro.nasbench_macro_table(folder),
    nats.META: nats.nats_archive,
}
_FILES: dict[str, Callable[[Path, Report], Draft]] = {
    ".tfrecord": nasbench101.nasbench101_tfrecord,
    ".pth": nats.nasbench201_pth,
}


def _silent(line: str) -> None: ...


def read_benchmark(source: str | os.PathLike[str], report: Report = _silent) -> Draft:
    """Read an official release, recognised by its file names.

    Args:
        source: a folder with `nasbench101_test108.npz`, `nasbench201.csv.gz`, `nasbench_macro_cifar10.csv.gz` or
            `meta.pickle.pbz2` (an unpacked NATS-Bench archive), or a file `….tfrecord` (NAS-Bench-101) or `….pth`
            (NAS-Bench-201).
        report: is given a line of progress now and then.

    Raises:
        DataError: when the source is missing, unknown or damaged.
    """
    path = Path(source)
    if path.is_dir():
        for name, read in _FOLDERS.items():
            if (path / name).is_file():
                return read(path, report)
        raise DataError(
            f"the folder {str(path)!r} holds no benchmark that sharewise knows; expected one of the files "
            f"{', '.join(_FOLDERS)} in it"
        )
    if not path.exists():
        raise DataError(f"there is nothing at {str(path)!r}")
    if path.name in _FOLDERS:
        return _FOLDERS[path.name](path.parent, report)
    if path.suffix in _FILES:
        return _FILES[path.suffix](path, report)
    raise DataError(
        f"{str(path)!r} is no benchmark file that sharewise knows; expected a file ending in {' or '.join(_FILES)}, or "
        f"a folder with one of {', '.join(_FOLDERS)}. A downloaded archive has to be unpacked first"
    )


def import_benchmark(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    replace: bool = False,
    report: Report = _silent,
) -> Table:
    """Convert an official release into a table, once.

    Args:
        source: see `read_benchmark`.
        out: the table's file; it appears when it is complete, and not before.
        replace: whether a file of that name may be replaced.
        report: is given a line of progress now and then.

    Returns:
        The table, open.

    Raises:
        DataError: when the source cannot be read, or `out` exists or cannot be written.
    """
    target = Path(out)
    if target.is_dir():
        raise DataError(
            f"{str(target)!r} is a folder; give the name of a file, such as {str(target / 'nb201.table')!r}"
        )
    if target.exists() and not replace:
        raise DataError(f"{str(target)!r} exists already; take another name, or allow it to be replaced (--replace)")
    if not target.parent.is_dir():
        raise DataError(f"there is no folder {str(target.parent)!r} to write {target.name!r} into")
    write_table(read_benchmark(source, report), target)
    return open_table(target)
