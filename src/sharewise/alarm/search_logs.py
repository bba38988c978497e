"""Search logs of *Understanding and Robustifying Differentiable Architecture Search*: one JSON object a line.

Written by others, so read with bounds: a file may be large, torn or wrong, and is then named in one line.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from sharewise.alarm.history import Reading
from sharewise.errors import DataError, printable, shown
from sharewise.files import open_regular
from sharewise.sealed_json import parse_json

__all__ = ["BLIND", "SearchLog", "read_search_logs"]

_BYTES, _LOGS, _EPOCHS = 1 << 28, 10_000, 10_000
_OPERATIONS = 8
"""Of a cell of the DARTS space: four nodes with two inputs each."""

BLIND: Mapping[str, float] = {"cifar10": math.log(10), "svhn": 2.2364}
"""The entropy of the labels of the training set, in nats; SVHN's ten digits occur 4,659 to 13,861 times."""

_SERIES = ("train_error", "valid_error", "train_loss", "valid_loss")
_SKIP = re.compile(r"'skip_connect', *\d")


@final
@dataclass(frozen=True)
class SearchLog:
    """A recorded search.

    Args:
        space: of the search, such as `s1`.
        data: of the search.
        drop_path: largest probability of a dropped path.
        weight_decay: of the shared weights.
        seed: of the search.
        readings: what an alarm may know, by epoch.
        validation_error: by epoch, in percent; `None` where it is missing.
        normal_skips: skip connections among the 8 operations of the normal cell, by epoch; `None` where it is missing.
        skips: the same in the final genotype, where there is one.
        swapped: whether the record held accuracies under the name of errors (see `read_search_logs`).
    """

    space: str
    data: str
    drop_path: float
    weight_decay: float
    seed: int
    readings: tuple[Reading, ...]
    validation_error: tuple[float | None, ...]
    normal_skips: tuple[float | None, ...]
    skips: int | None
    swapped: bool


def read_search_logs(path: str | Path) -> list[SearchLog]:
    """Read recorded searches from JSON lines, which may be behind gzip.

    Some records hold accuracies where their names say errors: they rise while the loss falls. Where `train_error` falls
    as `train_loss` rises, both errors are taken as 100 minus what is written. Losses and skips need no such care, and
    the alarm reads nothing else. A series may be absent, an entry `null`; those that are there have the same length.

    Args:
        path: of the file.

    Returns:
        The searches, in the order of the file.

    Raises:
        DataError: when it cannot be read, is too large, or a line is no such record.

    Example:
        >>> import json, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "logs.jsonl"
        >>> record = {"space": "s1", "data": "cifar10", "drop_path": 0.0, "weight_decay": 0.0003, "seed": 1,
        ...           "final_genotype": "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1)], reduce=[])",
        ...           "train_error": [60.0, 40.0], "valid_error": [50.0, None], "train_loss": [1.5, 1.0],
        ...           "valid_loss": [1.2, None], "skip_connects": [[4, 0], [2, 1]]}
        >>> _ = path.write_text(json.dumps(record))
        >>> [(log.skips, log.readings[1].skips, log.validation_error) for log in read_search_logs(path)]
        [(1, 0.25, (50.0, None))]
    """
    path = Path(path)
    lines = [line for line in _content(path).split(b"\n") if line.strip()]
    if len(lines) > _LOGS:
        raise DataError(f"{printable(path)} has more than {_LOGS:,} lines, which no file of search logs needs")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_log(parse_json(line)))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"line {number} of {printable(path)} is no record of a search: {why}") from None
    return found


def _content(path: Path) -> bytes:
    try:
        with open_regular(path, follow=True) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            content = (gzip.GzipFile(fileobj=file) if packed else file).read(_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {printable(path)}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > _BYTES:
        raise DataError(f"{printable(path)} unpacks to more than {_BYTES:,} bytes, which no search logs need")
    return content


def _log(value: Any) -> SearchLog:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {shown(value)}")
    both = [_series("skip_connects", [] if row is None else row) for row in _list(value, "skip_connects")]
    series = {name: _series(name, value[name]) for name in _SERIES if name in value}
    counted = {**{name: len(numbers) for name, numbers in series.items()}, "skip_connects": len(both)}
    lengths = {name: length for name, length in counted.items() if length}
    epochs = max(lengths.values(), default=0)
    if not epochs or any(length != epochs for length in lengths.values()):
        raise ValueError(f"its series must have the same number of epochs, at least 1, got {lengths}")
    normal = tuple(counts[0] if counts else None for counts in both or [[]] * epochs)
    shares = [None if count is None else count / _OPERATIONS for count in normal]
    error, valid_error, loss, valid_loss = (series.get(name) or [None] * epochs for name in _SERIES)
    swapped = _opposed(error, loss)
    eigenvalues = _series("largest_eigenvalue", value.get("largest_eigenvalue", []))
    at = _series("hessian_epoch", value.get("hessian_epoch", []))
    if len(at) != len(eigenvalues):
        raise ValueError(f"it has {len(at)} of hessian_epoch and {len(eigenvalues)} of largest_eigenvalue")
    measured = dict(zip(at, eigenvalues, strict=True))
    blind = BLIND.get(_text(value, "data"))
    return SearchLog(
        _text(value, "space"),
        _text(value, "data"),
        _amount(value, "drop_path"),
        _amount(value, "weight_decay"),
        int(_amount(value, "seed")),
        tuple(
            Reading(epoch, share, train, held_out, blind, measured.get(epoch))
            for epoch, (share, train, held_out) in enumerate(zip(shares, loss, valid_loss, strict=True))
        ),
        tuple(100 - percent if swapped and percent is not None else percent for percent in valid_error),
        normal,
        _skips(_text(value, "final_genotype")) if "final_genotype" in value else None,
        swapped,
    )


def _opposed(errors: Sequence[float | None], losses: Sequence[float | None]) -> bool:
    """Whether errors fall where losses rise, by the sign of their covariance."""
    pairs = [(e, loss) for e, loss in zip(errors, losses, strict=True) if e is not None and loss is not None]
    if not pairs:
        return False
    centre = [sum(column) / len(pairs) for column in zip(*pairs, strict=True)]
    covariance = math.fsum((e - centre[0]) * (loss - centre[1]) for e, loss in pairs)
    return covariance < 0


def _series(name: str, value: Any) -> list[float | None]:
    """Numbers by epoch; what is none, or not finite, is missing."""
    if not isinstance(value, list) or len(value) > _EPOCHS:
        raise TypeError(f"{name} must be a list of at most {_EPOCHS:,} numbers, got {shown(value)}")
    found: list[float | None] = []
    for entry in value:
        if entry is not None and (isinstance(entry, bool) or not isinstance(entry, int | float)):
            raise TypeError(f"{name} holds {shown(entry)} instead of a number")
        found.append(float(entry) if entry is not None and math.isfinite(entry) else None)
    return found


def _skips(genotype: str) -> int:
    """Of the normal cell, in the authors' notation; the text is searched and never evaluated."""
    return len(_SKIP.findall(genotype.partition("reduce=")[0]))


def _list(value: Mapping[str, Any], name: str) -> list[Any]:
    found = value.get(name, [])
    if not isinstance(found, list) or len(found) > _EPOCHS:
        raise TypeError(f"{name} must be a list of at most {_EPOCHS:,} entries, got {shown(found)}")
    return found


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value[name]
    if not isinstance(found, str):
        raise TypeError(f"{name} must be a text, got {shown(found)}")
    return found


def _amount(value: Mapping[str, Any], name: str) -> float:
    found = value[name]
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise TypeError(f"{name} must be a finite number, got {shown(found)}")
    return float(found)
