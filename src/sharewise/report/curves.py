"""Curves over the epochs of a run."""

from __future__ import annotations

from collections.abc import Callable

from sharewise.report.figures import Line
from sharewise.report.read import Epoch, ReportData

__all__ = ["over_epochs"]


def over_epochs(data: ReportData, label: str, value: Callable[[Epoch], float | None]) -> list[Line]:
    """A curve of what the epochs hold, or none if they do not."""
    points = [(epoch.index, y) for epoch in data.epochs if (y := value(epoch)) is not None]
    return [Line(label, [x for x, _ in points], [y for _, y in points])] if points else []
