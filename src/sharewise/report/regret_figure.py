"""The figure of a comparison: regret against cost, a panel for each data set."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sharewise.report.canvas import GREY, SERIES, cost_axis, drawing, save_figure, tidy

__all__ = ["draw_regret"]

_DASHES = ("-", "--", "-.", ":")
_MARKS = ("o", "s", "^", "D", "v", "P", "X")


def draw_regret(panels: Mapping[str, Mapping[str, Any]], title: str, targets: Sequence[Path], *, most: int = 3) -> None:
    """Draw mean regret with its interval as a band, and finished runs as points.

    Regret is on a logarithmic axis where it spans more than a factor of 30; points below that axis, such as those of
    runs that found the best architecture, are drawn at its lower edge.

    Args:
        panels: for each title the plain values of `sharewise.strategy.comparison.summarise`; `runs`, where present,
            holds points of `cost`, `regret` and `method`.
        title: above all panels.
        targets: files to write; the ending says the format.
        most: so many panels stand side by side; 1 makes a figure for narrow screens.
    """
    columns = min(most, len(panels))
    rows = -(-len(panels) // columns)
    with drawing(4.3 * columns + 0.4, 3.7 * rows + 0.9) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        strategies = dict.fromkeys(name for panel in panels.values() for name in panel["strategies"])
        methods = dict.fromkeys(run["method"] for panel in panels.values() for run in panel.get("runs", ()))
        for axes, (name, panel) in zip(grid.flat, panels.items(), strict=False):
            _draw_panel(axes, name, panel, list(strategies), list(methods))
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        handles: dict[str, Any] = {}
        for axes in grid.flat:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        width = 2 * columns + 1
        lines = -(-len(handles) // width)
        figure.legend(handles.values(), handles.keys(), ncols=width, loc="lower center", fontsize=8.5)
        figure.suptitle(textwrap.fill(title, 44 * columns + 4), fontsize=10)
        figure.tight_layout(rect=(0, (0.1 + 0.22 * lines) / figure.get_figheight(), 1, 1))
        save_figure(figure, targets)


def _draw_panel(
    axes: Any, name: str, panel: Mapping[str, Any], strategies: Sequence[str], methods: Sequence[str]
) -> None:
    """Looks go by the place in the names of all panels, so that a name looks the same everywhere."""
    scale = panel.get("scale", 1.0)
    cost = np.array(panel["checkpoints"], dtype=float) / scale
    shown: list[float] = []
    for strategy, curve in panel["strategies"].items():
        place = strategies.index(strategy)
        known = np.array([value is not None for value in curve["mean"]])
        mean = np.array([np.nan if value is None else value for value in curve["mean"]])
        look = {"color": SERIES[place % len(SERIES)], "linestyle": _DASHES[place // len(SERIES) % len(_DASHES)]}
        axes.plot(cost[known], mean[known], label=strategy, linewidth=1.6, **look)
        banded = [at for at, pair in enumerate(curve["mean_interval"]) if pair is not None]
        if banded:
            low, high = np.array([curve["mean_interval"][at] for at in banded]).T
            axes.fill_between(cost[banded], np.maximum(low, 0), high, color=look["color"], alpha=0.2, linewidth=0)
        shown += mean[known].tolist()
    runs = panel.get("runs", ())
    positive = [value for value in (*shown, *(run["regret"] for run in runs)) if value > 1e-6]
    low = 0.0
    if shown and min(shown) > 1e-6 and max(positive) / min(positive) > 30:
        axes.set_yscale("log")
        low = 0.6 * min(positive)
        axes.set_ylim(low, 1.6 * max(positive))
    for run in runs:
        place = methods.index(run["method"])
        look = {"color": SERIES[(len(strategies) + place) % len(SERIES)], "fillstyle": "none"}
        height = max(run["regret"], low)
        mark = _MARKS[place % len(_MARKS)]
        axes.plot(
            run["cost"] / scale, height, mark, markersize=5.5, label=run["method"], clip_on=False, zorder=3, **look
        )
    if not low:
        axes.set_ylim(bottom=0)
    if panel["floor"] > 1e-6 or axes.get_yscale() == "linear":
        axes.axhline(panel["floor"], color=GREY, linewidth=0.9, linestyle=(0, (1, 2)), label="best signal")
    cost_axis(axes)
    axes.set_title(name, fontsize=10)
    axes.set_xlabel(textwrap.fill(panel.get("unit_shown", panel["unit"]), 38))
    axes.set_ylabel("regret, points of test accuracy")
    tidy(axes)
