"""Finished searches as points of a comparison: what each found, and what it had spent when it chose."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.files import read_bytes
from sharewise.sealed_json import parse_json, unsealed
from sharewise.space import Architecture, Space

__all__ = ["Point", "points_of", "spent_until_chosen"]


@final
@dataclass(frozen=True)
class Point:
    """A finished search.

    Args:
        label: the end of its path that no other run shares.
        checksum: of its result.
        method: by name.
        seed: of the search.
        searched_on: data set.
        architecture: what it found.
        cost: passes × multiply-accumulates until the architecture was chosen.
    """

    label: str
    checksum: str
    method: str
    seed: int
    searched_on: str
    architecture: Architecture
    cost: float


def points_of(folders: Sequence[str | Path], space: Space) -> list[Point]:
    """All searches; whatever is wrong with one is an error before anything is run.

    Raises:
        ConfigurationError: when a folder is named twice, or a search was of another space.
        CheckpointError: when a folder holds no finished search, or is damaged.
    """
    paths = [Path(folder) for folder in folders]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigurationError("--runs names the same folder twice; give every search once")
    return [_point(path, label, space) for path, label in zip(paths, _labels(paths), strict=True)]


def spent_until_chosen(ledger: Mapping[str, Any]) -> float:
    """Passes × multiply-accumulates of a search; measuring its choice afterwards is no part of that.

    Example:
        >>> spent_until_chosen({"weights": {"multiply_accumulates": 5}, "measurement": {"multiply_accumulates": 3}})
        5.0
    """
    spent = {part: float(entry["multiply_accumulates"]) for part, entry in ledger.items()}
    return float(sum(passes for part, passes in spent.items() if part != "measurement"))


def _labels(folders: Sequence[Path]) -> list[str]:
    """For each folder the shortest end of its path that no other has."""
    tails = [folder.resolve().parts for folder in folders]
    depths = [
        next((d for d in range(1, len(tail)) if sum(o[-d:] == tail[-d:] for o in tails) == 1), len(tail))
        for tail in tails
    ]
    return ["/".join(tail[-depth:]) for tail, depth in zip(tails, depths, strict=True)]


def _point(folder: Path, label: str, space: Space) -> Point:
    path = folder / "result.json"
    content, value = _read(folder)
    try:
        cost = spent_until_chosen(value["ledger"])
        facts = {name: value[name] for name in ("space", "architecture", "method", "data", "seed")}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from None
    texts = [facts[name] for name in ("space", "architecture", "method", "data")]
    if not (0 < cost < float("inf") and type(facts["seed"]) is int and all(isinstance(text, str) for text in texts)):
        raise CheckpointError(f"{path} is damaged: its ledger, seed or names are not what a search writes")
    if facts["space"] != space.name:
        raise ConfigurationError(f"{folder} searched space {facts['space']!r}, and the table holds {space.name!r}")
    try:
        architecture = space.parse(facts["architecture"])
    except ConfigurationError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    checksum = hashlib.sha256(content).hexdigest()[:16]
    return Point(label, checksum, facts["method"], facts["seed"], facts["data"], architecture, cost)


def _read(folder: Path) -> tuple[bytes, dict[str, Any]]:
    path = folder / "result.json"
    try:
        content = read_bytes(path)
        value = parse_json(content)
        value = unsealed(value)[0] if isinstance(value, dict) else value
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{folder} has no result.json; --runs takes folders of finished searches") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    if not isinstance(value, dict) or value.get("kind") != "search":
        raise CheckpointError(f"{folder} is no finished search; --runs takes folders that `sharewise search` wrote")
    return content, value
