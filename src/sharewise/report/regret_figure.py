"""The figure of a comparison: regret against cost, a panel for each data set."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

__all__ = ["draw_regret"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")
_DASHES = ("-", "--", "-.", ":")
_MARKS = ("o", "s", "^", "D", "v", "P", "X")


def draw_regret(panels: Mapping[str, Mapping[str, Any]], title: str, targets: Sequence[Path]) -> None:
    """Draw mean regret with its interval as a band, and finished runs as points.

    Args:
        panels: for each title the plain values of `sharewise.strategy.comparison.summarise`; `runs`, where present,
            holds points of `cost`, `regret` and `method`.
        title: above all panels.
        targets: files to write; the ending says the format.
    """
    with mpl.rc_context({"svg.hashsalt": "sharewise", "font.size": 9.5, "svg.fonttype": "none"}):
        columns = min(3, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(4.3 * columns + 0.4, 3.7 * rows + 0.9))
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, (name, panel) in zip(grid.flat, panels.items(), strict=False):
            _draw_panel(axes, name, panel)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        handles: dict[str, Any] = {}
        for axes in grid.flat:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        width = 2 * columns + 1
        lines = -(-len(handles) // width)
        figure.legend(handles.values(), handles.keys(), frameon=False, ncols=width, loc="lower center", fontsize=8.5)
        figure.suptitle(textwrap.fill(title, 44 * columns + 4), fontsize=10)
        figure.tight_layout(rect=(0, (0.1 + 0.22 * lines) / figure.get_figheight(), 1, 1))
        for target in targets:
            metadata = {"Date": None} if target.suffix == ".svg" else {"Software": None}
            figure.savefig(target, dpi=120, metadata=metadata)


def _draw_panel(axes: Any, name: str, panel: Mapping[str, Any]) -> None:
    scale = panel.get("scale", 1.0)
    cost = np.array(panel["checkpoints"], dtype=float) / scale
    shown: list[float] = []
    for place, (strategy, curve) in enumerate(panel["strategies"].items()):
        known = np.array([value is not None for value in curve["mean"]])
        mean = np.array([np.nan if value is None else value for value in curve["mean"]])
        look = {"color": _COLOURS[place % len(_COLOURS)], "linestyle": _DASHES[place // len(_COLOURS) % len(_DASHES)]}
        axes.plot(cost[known], mean[known], label=strategy, linewidth=1.6, **look)
        banded = [at for at, pair in enumerate(curve["mean_interval"]) if pair is not None]
        if banded:
            low, high = np.array([curve["mean_interval"][at] for at in banded]).T
            axes.fill_between(cost[banded], np.maximum(low, 0), high, color=look["color"], alpha=0.2, linewidth=0)
        shown += mean[known].tolist()
    methods = list(dict.fromkeys(run["method"] for run in panel.get("runs", ())))
    for run in panel.get("runs", ()):
        mark = _MARKS[methods.index(run["method"]) % len(_MARKS)]
        axes.plot(
            run["cost"] / scale, run["regret"], mark, color="0.15", markersize=5, fillstyle="none", label=run["method"]
        )
    axes.set_xscale("log")
    if shown and min(shown) > 1e-6 and max(shown) / min(shown) > 30:
        axes.set_yscale("log")
        axes.set_ylim(0.6 * min(shown), 1.6 * max(shown))
    else:
        axes.set_ylim(bottom=0)
    if panel["floor"] > 1e-6 or axes.get_yscale() == "linear":
        axes.axhline(panel["floor"], color="0.5", linewidth=0.9, linestyle=(0, (1, 2)), label="best signal")
    axes.set_title(name, fontsize=10)
    axes.set_xlabel(panel.get("unit_shown", panel["unit"]))
    axes.set_ylabel("regret, points of test accuracy")
    axes.grid(True, which="major", color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
