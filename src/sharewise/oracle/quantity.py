"""What a column of a table holds: its key, its unit, where it comes from and how it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Required, TypeAlias, TypedDict, final

__all__ = ["PARTS", "Column", "Key", "Parts", "Seed"]

Seed: TypeAlias = int | Literal["mean"]


@final
@dataclass(frozen=True, slots=True)
class Key:
    """What a column holds. A part is `None` where the quantity has no such thing: parameters have no split.

    Args:
        metric: `"accuracy"`, `"training_time"`, `"parameters"` and so on.
        dataset: as the source names it.
        split: of the evaluation: `"train"`, `"valid"`, `"test"`, or `"valid+test"` where a source evaluates both
            together.
        epochs: of the training.
        seed: of the training, or `"mean"` over its runs.
        device: of a latency.

    Example:
        >>> print(Key("accuracy", "cifar10", "valid", 200, "mean"))
        accuracy, dataset cifar10, split valid, epochs 200, seed mean
    """

    metric: str
    dataset: str | None = None
    split: str | None = None
    epochs: int | None = None
    seed: Seed | None = None
    device: str | None = None

    def __str__(self) -> str:
        parts = [(name, getattr(self, name)) for name in PARTS[1:]]
        return ", ".join([self.metric, *(f"{name} {value}" for name, value in parts if value is not None)])


PARTS = tuple(field.name for field in fields(Key))
"""The names of the parts of a key."""


class Parts(TypedDict, total=False):
    """The parts of a `Key` as keyword arguments."""

    metric: Required[str]
    dataset: str | None
    split: str | None
    epochs: int | None
    seed: Seed | None
    device: str | None


@final
@dataclass(frozen=True)
class Column:
    """One quantity of all architectures: values of the source, or the mean of other columns.

    Args:
        key: what it is.
        unit: `"percent"`, `"fraction"`, `"seconds"`, `"milliseconds"`, `"count"`, `"million"` or `"score"`.
        note: what exactly it is and where it comes from.
        member: name of the stored array; `None` for a mean.
        divisor: a value is the stored number divided by this; more than 1 where the source counts images.
        missing: the stored number that stands for no value; not-a-number always does.
        mean_of: the columns whose mean this is, over those that have a value.
        cost: the column that holds the seconds of the training behind a value.
        covered: how many architectures have a value.
        derived: whether the values are computed from what the source states; the note says how.
    """

    key: Key
    unit: str
    note: str
    member: str | None = None
    divisor: int = 1
    missing: int | None = None
    mean_of: tuple[Key, ...] = ()
    cost: Key | None = None
    covered: int = 0
    derived: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON-compatible dictionary from which `from_json` rebuilds an equal value; defaults are left out."""
        value: dict[str, Any] = {"key": _key_json(self.key), "unit": self.unit, "note": self.note}
        if self.mean_of:
            value["mean_of"] = [_key_json(key) for key in self.mean_of]
        if self.cost is not None:
            value["cost"] = _key_json(self.cost)
        rest = {"member": None, "divisor": 1, "missing": None, "derived": False}
        return (
            value | {n: getattr(self, n) for n, d in rest.items() if getattr(self, n) != d} | {"covered": self.covered}
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Column:
        """Rebuild a column.

        Raises:
            TypeError: when the value has another form.
        """
        rest = {**value}
        key, cost = _key_from_json(rest.pop("key")), rest.pop("cost", None)
        mean_of = tuple(_key_from_json(part) for part in rest.pop("mean_of", ()))
        column = cls(key=key, cost=None if cost is None else _key_from_json(cost), mean_of=mean_of, **rest)
        sound = isinstance(column.unit, str) and isinstance(column.note, str) and type(column.derived) is bool
        sound = sound and type(column.covered) is int and type(column.divisor) is int and column.divisor > 0
        sound = sound and (column.missing is None or type(column.missing) is int)
        if not sound or (column.member is None) == (not mean_of) or not isinstance(column.member, str | None):
            raise TypeError(f"column {key} is not described as a column")
        return column


def _key_json(key: Key) -> list[Any]:
    return [getattr(key, name) for name in PARTS]


def _key_from_json(value: Any) -> Key:
    metric, dataset, split, epochs, seed, device = value
    sound = isinstance(metric, str) and all(isinstance(v, str | None) for v in (dataset, split, device))
    if not (sound and type(epochs) in (int, type(None)) and (seed == "mean" or type(seed) in (int, type(None)))):
        raise TypeError(f"{value!r:.200} is no key")
    return Key(metric, dataset, split, epochs, seed, device)
