"""Any-time curves of a study: what the architecture at hand is worth, against what the search has spent."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from sharewise.report.words import si

__all__ = ["draw_anytime"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c564b")
_DASHES = ("-", "--", "-.", ":")


def draw_anytime(panels: Mapping[str, Mapping[str, Any]], label: str, targets: Sequence[Path]) -> None:
    """Draw the mean over seeds with its interval as a band, and the end of every search as a point with its interval.

    Args:
        panels: of the document of a study.
        label: of the values.
        targets: files to write; the ending says the format.
    """
    names = list(dict.fromkeys(arm for panel in panels.values() for arm in panel["arms"]))
    with mpl.rc_context({"svg.hashsalt": "sharewise", "font.size": 9.5, "svg.fonttype": "none"}):
        columns = min(3, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(5.2 * columns + 0.4, 3.9 * rows + 0.9))
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
        figure.legend(handles.values(), handles.keys(), frameon=False, ncols=width, loc="lower center", fontsize=8.5)
        figure.tight_layout(rect=(0, (0.1 + 0.22 * lines) / figure.get_figheight(), 1, 1))
        for target in targets:
            figure.savefig(target, dpi=120, metadata={"Date": None} if target.suffix == ".svg" else {"Software": None})


def _draw_panel(axes: Any, title: str, panel: Mapping[str, Any], names: Sequence[str]) -> None:
    """Looks go by the place in the names of all panels, so that an arm looks the same everywhere."""
    costs = np.array(panel["checkpoints"], dtype=float)
    for arm, facts in panel["arms"].items():
        if facts["interval"] is None:
            continue
        place = names.index(arm)
        colour, dash = _COLOURS[place % len(_COLOURS)], _DASHES[place // len(_COLOURS) % len(_DASHES)]
        _draw_curve(axes, costs, panel["curves"][arm], colour, dash)
        interval = facts["interval"]
        half = 0.0 if interval["low"] is None else (interval["high"] - interval["low"]) / 2
        axes.errorbar(facts["cost"], interval["mean"], half, fmt="o", markersize=4, capsize=3, color=colour, label=arm)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: si(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("spent: passes × multiply-accumulates")
    axes.grid(True, which="major", color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curve(axes: Any, costs: np.ndarray[Any, Any], curve: Mapping[str, Any], colour: str, dash: str) -> None:
    mean = np.array([math.nan if value is None else value for value in curve["mean"]])
    known = np.isfinite(mean)
    axes.plot(costs[known], mean[known], color=colour, linestyle=dash, linewidth=1.6)
    banded = [at for at, pair in enumerate(curve["mean_interval"]) if pair is not None and None not in pair]
    if banded:
        low, high = np.array([curve["mean_interval"][at] for at in banded]).T
        axes.fill_between(costs[banded], low, high, color=colour, alpha=0.15, linewidth=0)
