"""Any-time curves of a study: what the architecture at hand is worth, against what the search has spent."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sharewise.report.canvas import SERIES, cost_axis, drawing, save_figure, tidy

__all__ = ["draw_anytime"]

_DASHES = ("-", "--", "-.", ":")


def draw_anytime(
    panels: Mapping[str, Mapping[str, Any]], label: str, targets: Sequence[Path], *, most: int = 3
) -> None:
    """Draw the mean over seeds with its interval as a band, and the end of every search as a point with its interval.

    Args:
        panels: of the document of a study.
        label: of the values.
        targets: files to write; the ending says the format.
        most: so many panels stand side by side; 1 makes a figure for narrow screens.
    """
    names = list(dict.fromkeys(arm for panel in panels.values() for arm in panel["arms"]))
    columns = min(most, len(panels))
    rows = -(-len(panels) // columns)
    with drawing(5.2 * columns + 0.4, 3.9 * rows + 0.9) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, (title, panel) in zip(grid.flat, panels.items(), strict=False):
            _draw_panel(axes, title, panel, names)
            axes.set_ylabel(textwrap.fill(label, 42))
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        handles: dict[str, Any] = {}
        for axes in grid.flat:
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(name, handle)
        width = 2 * columns
        lines = -(-len(handles) // width)
        figure.legend(handles.values(), handles.keys(), ncols=width, loc="lower center", fontsize=8.5)
        figure.tight_layout(rect=(0, (0.1 + 0.22 * lines) / figure.get_figheight(), 1, 1))
        save_figure(figure, targets)


def _draw_panel(axes: Any, title: str, panel: Mapping[str, Any], names: Sequence[str]) -> None:
    """Looks go by the place in the names of all panels, so that an arm looks the same everywhere."""
    costs = np.array(panel["checkpoints"], dtype=float)
    for arm, facts in panel["arms"].items():
        if facts["interval"] is None:
            continue
        place = names.index(arm)
        colour, dash = SERIES[place % len(SERIES)], _DASHES[place // len(SERIES) % len(_DASHES)]
        _draw_curve(axes, costs, panel["curves"][arm], colour, dash)
        interval = facts["interval"]
        half = 0.0 if interval["low"] is None else (interval["high"] - interval["low"]) / 2
        axes.errorbar(facts["cost"], interval["mean"], half, fmt="o", markersize=4, capsize=3, color=colour, label=arm)
    cost_axis(axes)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("spent: passes × multiply-accumulates")
    tidy(axes)


def _draw_curve(axes: Any, costs: np.ndarray[Any, Any], curve: Mapping[str, Any], colour: str, dash: str) -> None:
    mean = np.array([math.nan if value is None else value for value in curve["mean"]])
    known = np.isfinite(mean)
    axes.plot(costs[known], mean[known], color=colour, linestyle=dash, linewidth=1.6)
    banded = [at for at, pair in enumerate(curve["mean_interval"]) if pair is not None and None not in pair]
    if banded:
        low, high = np.array([curve["mean_interval"][at] for at in banded]).T
        axes.fill_between(costs[banded], low, high, color=colour, alpha=0.15, linewidth=0)
