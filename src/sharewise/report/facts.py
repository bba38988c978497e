"""Facts of a run that several parts of its page look up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sharewise.report.read import ReportData

__all__ = ["flatten", "inherited", "inherited_on", "number_at", "setting", "text_at"]


def setting(data: ReportData, key: str) -> str | None:
    """A setting of the run in words."""
    value = data.config.get(key)
    return None if value is None else str(value)


def text_at(mapping: Mapping[str, object], key: str) -> str | None:
    """An entry in words."""
    value = mapping.get(key)
    return None if value is None else str(value)


def number_at(mapping: Mapping[str, object], *keys: str) -> float | None:
    """A number in nested mappings, if it is one."""
    value: object = mapping
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def flatten(mapping: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Entries of nested mappings, their names joined by dots."""
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def inherited(data: ReportData) -> float | None:
    """The score of the architecture with the shared weights."""
    chosen = number_at(data.inherited, data.primary)
    if chosen is None and data.gap is not None:
        return data.gap.architecture.get(data.primary)
    return chosen


def inherited_on(data: ReportData) -> str | None:
    """Which examples the shared weights were scored on, such as "training examples", where the result says it."""
    on = data.inherited.get("on")
    return on if isinstance(on, str) and on else None
