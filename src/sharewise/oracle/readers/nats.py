"""The official records of NAS-Bench-201 and NATS-Bench: folders of compressed pickles, and `.pth` files."""

from __future__ import annotations

import bz2
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from sharewise.errors import ConfigurationError, DataError
from sharewise.oracle.draft import Draft
from sharewise.oracle.quantity import Key, Seed
from sharewise.oracle.readers.provenance import file_sum, provenance
from sharewise.unpickle import read_record

__all__ = ["META", "nasbench201_pth", "nats_archive"]

META = "meta.pickle.pbz2"
_LIMIT = 16 << 20  # bytes of one unpacked file; the longest official one has 1.4 million
_CONTAINERS = 1 << 24  # of a whole .pth file, whose 15,625 records have some hundreds each
_SCHEDULES = (1, 12, 90, 200)
_SEEDS = 8  # different ones; the official files have 111, 777, 888 and 999
_SPACES = {15_625: ("NATS-Bench (topology)", "nasbench201"), 32_768: ("NATS-Bench (size)", "nats_size")}
_DATASETS = ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")
_NOTES = [
    "values after the last epoch, as the records state them; learning curves are not part of the table",
    "cifar10, split valid: trained on 25,000 images; cifar10, split test: trained on all 50,000",
    "cifar10-valid is the training on 25,000 images: its split test is the test accuracy that belongs to cifar10 valid",
    "valid+test is the whole original test set of CIFAR-100 and ImageNet16-120, whose halves are valid and test",
]


def nats_archive(folder: Path, report: Callable[[str], None] = lambda line: None) -> Draft:
    """Read a "simple" archive of NATS-Bench, of the topology or of the size space.

    Args:
        folder: that holds `meta.pickle.pbz2` and one `NNNNNN.pickle.pbz2` for each architecture; those that are missing
            stay without values, and the table says how many it covers.
        report: is given a line of progress now and then.

    Raises:
        DataError: when a file is damaged, asks for code, or does not hold what its name says.
    """
    meta = _mapping(read_record(_unpacked(folder / META), META), META)
    names = meta.get("meta_archs")
    if not isinstance(names, list) or len(names) not in _SPACES or not all(isinstance(n, str) for n in names):
        raise DataError(f"{META!r} must list the 15,625 or 32,768 architectures of a NATS-Bench space")
    files = sorted(path for path in folder.iterdir() if re.fullmatch(r"[0-9]{6}\.pickle\.pbz2", path.name))
    if not files:
        raise DataError(f"{str(folder)!r} has no records; expected files such as '000000.pickle.pbz2'")

    def records() -> Iterator[tuple[int, Mapping[Any, Any]]]:
        for done, path in enumerate(files):
            if done % 500 == 499:
                report(f"{done + 1:,} of {len(files):,} records")
            yield int(path.name[:6]), _mapping(read_record(_unpacked(path), path.name), path.name)

    benchmark, space = _SPACES[len(names)]
    origin = provenance("simple archive of NATS-Bench (X. Dong et al., TPAMI 2021)", [folder / META], _NOTES)
    origin["records"] = {"count": len(files), "bytes": sum(path.stat().st_size for path in files)}
    return _table(Draft(benchmark, space, origin), names, records())


def nasbench201_pth(path: Path, report: Callable[[str], None] = lambda line: None) -> Draft:
    """Read an official `.pth` file of NAS-Bench-201, without torch and without running its code.

    The whole file is one pickle and is held in memory at once; the archives of NATS-Bench hold the same records one by
    one, and are read with little memory.

    Args:
        path: of the file.
        report: is given a line of progress now and then.

    Raises:
        DataError: when the file is damaged, asks for code or for weights, or is no such file.
    """
    whole = _mapping(_torch_pickle(path), path.name)
    names, infos = whole.get("meta_archs"), whole.get("arch2infos")
    if not isinstance(names, list) or len(names) != 15_625 or not isinstance(infos, dict) or not infos:
        raise DataError(f"{path.name!r} must hold 'meta_archs' of 15,625 architectures and 'arch2infos'")

    def records() -> Iterator[tuple[int, Mapping[Any, Any]]]:
        for index, info in infos.items():
            states = _mapping(info, path.name)
            yield index, {epochs: states[name] for name, epochs in (("less", "12"), ("full", "200")) if name in states}

    report(f"{len(infos):,} records")
    origin = provenance("official .pth file of NAS-Bench-201 (X. Dong and Y. Yang, ICLR 2020)", [], _NOTES)
    origin["files"] = [{"name": path.name, "bytes": path.stat().st_size, "sha256": file_sum(path)}]
    origin["records"] = {"count": len(infos)}
    return _table(Draft("NAS-Bench-201", "nasbench201", origin), names, records())


def _torch_pickle(path: Path) -> Any:
    """The object in a file of `torch.save`: a zip archive, or the older row of pickles."""
    try:
        if not zipfile.is_zipfile(path):
            content = path.read_bytes()
            magic = read_record(content, path.name)
            if magic != 0x1950A86A20F9469CFC6C:
                raise DataError(f"{path.name!r} is no file of torch.save")
            # magic number, protocol version, facts of the system, and the object
            return read_record(content, path.name, several=4, containers=_CONTAINERS)
        with zipfile.ZipFile(path) as archive:
            found = [entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")]
            if len(found) != 1 or found[0].compress_type != zipfile.ZIP_STORED:
                raise DataError(f"{path.name!r} is no file of torch.save: it has no plain data.pkl")
            return read_record(archive.read(found[0]), path.name, containers=_CONTAINERS)
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path.name!r} cannot be read ({error}); fetch it again") from error


def _unpacked(path: Path) -> bytes:
    try:
        unpacker = bz2.BZ2Decompressor()
        content = unpacker.decompress(path.read_bytes(), _LIMIT)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path.name!r} cannot be read as bz2 ({error}); fetch it again") from error
    if not unpacker.eof:
        raise DataError(f"{path.name!r} is truncated, or unpacks to more than {_LIMIT:,} bytes")
    return content


def _mapping(value: object, where: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where!r} must hold a dictionary where it has a {type(value).__name__}")
    return value


_LARGEST = {"percent": 100.0, "seconds": math.inf, "million": math.inf}


def _number(value: object, unit: str, what: str) -> float:
    """A value of the source, in the range of its unit; a loss may be any number, since a training can diverge."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{what} should be a number, got a {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise DataError(f"{what} is too large a number") from None
    if unit in _LARGEST and not (math.isfinite(number) and 0 <= number <= _LARGEST[unit]):
        expected = "0 to 100" if unit == "percent" else "0 or more"
        raise DataError(f"{what} should be a finite number of {expected}, got {number}")
    return number


def _brief(value: object) -> str:
    """A value for a message; what a container holds could take forever to print."""
    return f"{value!r:.120}" if isinstance(value, str | int | float | bytes) else f"a {type(value).__name__}"


@final
class _Runs:
    """Values by key, one per architecture."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.seeds: set[int] = set()
        self.values: dict[Key, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self.units: dict[Key, tuple[str, str, Key | None]] = {}

    def put(self, row: int, key: Key, value: object, unit: str, note: str, cost: Key | None, where: str) -> None:
        number = _number(value, unit, f"{where}: {key}")
        if key not in self.values:
            self.values[key] = np.full(self.size, np.nan)
            self.units[key] = (unit, note, cost)
        self.values[key][row] = number


def _table(draft: Draft, names: list[str], records: Iterable[tuple[int, Mapping[Any, Any]]]) -> Draft:
    listing = draft.space.listing
    try:
        rows = [listing.code(name) for name in names]
    except ConfigurationError as error:
        raise DataError(f"the list of architectures is not that of {draft.benchmark}: {error!s:.300}") from None
    if len(set(rows)) != len(listing):
        raise DataError(f"the list of architectures is not that of {draft.benchmark}: one is repeated")
    runs, covered = _Runs(len(listing)), 0
    for index, record in records:
        if not isinstance(index, int) or not 0 <= index < len(names):
            raise DataError(f"a record is numbered {_brief(index)}; expected 0 to {len(names) - 1}")
        covered += 1
        for name, state in record.items():
            _state(runs, rows[index], names[index], name, _mapping(state, f"record {index}"))
    order = sorted(runs.values, key=_order)
    draft.provenance["covered"] = covered
    groups: dict[Key, list[Key]] = {}
    for key in order:
        unit, note, cost = runs.units[key]
        draft.add(key, runs.values[key], unit, note, cost=cost)
        groups.setdefault(_with_seed(key, "mean"), []).append(key)
    for mean, keys in groups.items():
        unit, note, cost = runs.units[keys[0]]
        draft.add_mean(mean, keys, note, cost=None if cost is None else _with_seed(cost, "mean"))
    return draft


def _order(key: Key) -> tuple[Any, ...]:
    return key.metric, key.dataset, key.split or "", key.epochs, key.seed


def _with_seed(key: Key, seed: Seed) -> Key:
    return Key(key.metric, key.dataset, key.split, key.epochs, seed)


def _state(runs: _Runs, row: int, name: str, schedule: object, state: Mapping[Any, Any]) -> None:
    """Take the last epoch of all runs of one schedule."""
    # every schedule, data set and seed is a column of all architectures: a file must not name as many as it likes
    epochs = int(schedule) if isinstance(schedule, str) and re.fullmatch(r"[0-9]{1,4}", schedule) else 0
    if epochs not in _SCHEDULES:
        legal = ", ".join(map(str, _SCHEDULES))
        raise DataError(f"the record of {name} has the schedule {_brief(schedule)}; expected epochs of {legal}")
    where = f"the record of {name} ({epochs} epochs)"
    if state.get("arch_str") != name:
        raise DataError(f"{where} is that of another architecture: {_brief(state.get('arch_str'))}")
    for key, value in _mapping(state.get("all_results"), where).items():
        result = _mapping(value, where)
        if not (isinstance(key, tuple) and len(key) == 2 and key[0] in _DATASETS and type(key[1]) is int):
            found = ", ".join(map(_brief, key[:2])) if isinstance(key, tuple) else _brief(key)
            raise DataError(
                f"{where}: results are kept by data set (one of {', '.join(_DATASETS)}) and seed, which {found} is not"
            )
        runs.seeds.add(key[1])
        if len(runs.seeds) > _SEEDS:
            raise DataError(f"{where}: seed {key[1]} is the file's {_SEEDS + 1}th; the benchmark's trainings have 4")
        _result(runs, row, key[0], key[1], epochs, result, f"{where}, {key[0]}, seed {key[1]}")


def _result(runs: _Runs, row: int, trained: str, seed: int, epochs: int, result: Mapping[Any, Any], where: str) -> None:
    if result.get("epochs") != epochs or result.get("name") != trained:
        stated = f"{_brief(result.get('name'))}, {_brief(result.get('epochs'))} epochs"
        raise DataError(f"{where}: the result is of {stated}")
    last, time = epochs - 1, Key("training_time", trained, None, epochs, seed)

    def put(metric: str, dataset: str, split: str | None, value: object, unit: str, note: str) -> None:
        cost = time if split is not None else None
        runs.put(row, Key(metric, dataset, split, epochs, seed), value, unit, note, cost, where)

    times = _mapping(result.get("train_times"), where)
    if len(times) != epochs:
        raise DataError(f"{where}: expected the times of {epochs} epochs of training, got {len(times)}")
    seconds = [_number(t, "seconds", f"{where}: train_times[{_brief(epoch)}]") for epoch, t in times.items()]
    put("training_time", trained, None, sum(seconds), "seconds", "training time of all epochs (train_times)")
    for metric, unit, entry in _TRAIN:
        curve = result.get(entry)
        if curve is not None:
            note = f"{_ON[trained]}, during the last of {epochs} epochs ({entry})"
            put(metric, trained, "train", _mapping(curve, where).get(last), unit, note)
    evaluated = result.get("eval_names")
    if not isinstance(evaluated, list) or not all(name in _EVALUATIONS for name in evaluated):
        names = ", ".join(map(_brief, evaluated[:9])) if isinstance(evaluated, list) else _brief(evaluated)
        raise DataError(f"{where}: unknown evaluations {names}; expected some of {', '.join(_EVALUATIONS)}")
    for evaluation in evaluated:
        dataset, split = _split(trained, evaluation)
        about = f"{_ON[trained]}, evaluated on {evaluation} after {epochs} epochs"
        for metric, unit, entry in _EVALUATED:
            found = _mapping(result.get(entry), where).get(f"{evaluation}@{last}")
            put(metric, dataset, split, found, unit, f"{about} ({entry})")
    put("parameters", trained, None, result.get("params"), "million", "parameters as the record states them (params)")
    put("flops", trained, None, result.get("flop"), "million", "operations as the record states them (flop)")
    latency = result.get("latency")
    if isinstance(latency, list) and latency:
        measured = [_number(t, "seconds", f"{where}: latency[{place}]") for place, t in enumerate(latency)]
        note = "latency of one batch on the benchmark's GPU, mean of what the record lists (latency)"
        put("latency", trained, None, sum(measured) / len(measured), "seconds", note)


_ON = {
    "cifar10-valid": "trained on 25,000 images",
    "cifar10": "trained on all 50,000 images",
    "cifar100": "trained on all 50,000 images",
    "ImageNet16-120": "trained on all training images",
}
_TRAIN = (
    ("accuracy", "percent", "train_acc1es"),
    ("accuracy_top5", "percent", "train_acc5es"),
    ("loss", "score", "train_losses"),
)
_EVALUATIONS = ("x-valid", "x-test", "ori-test")
_EVALUATED = (
    ("accuracy", "percent", "eval_acc1es"),
    ("loss", "score", "eval_losses"),
    ("evaluation_time", "seconds", "eval_times"),
)


def _split(trained: str, evaluation: str) -> tuple[str, str]:
    """The data set and split of an evaluation: see the notes of the table."""
    if trained == "cifar10-valid":
        return ("cifar10", "valid") if evaluation == "x-valid" else ("cifar10-valid", "test")
    if trained == "cifar10":
        return "cifar10", "test"
    return trained, {"x-valid": "valid", "x-test": "test", "ori-test": "valid+test"}[evaluation]
