"""Figures of an appraisal: proxy against truth, disorder of ranks, and regret of guided searches against cost."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from scipy import stats

from sharewise.report.canvas import GREY, INK, PALE, PALE_GREY, SERIES, cost_axis, drawing, save_figure, tidy

__all__ = [
    "Curve",
    "RegretPanel",
    "ScatterPanel",
    "draw_disorder",
    "draw_guided_regret",
    "draw_learning",
    "draw_scatter",
]

Floats = NDArray[np.float64]
_BLUE, _RED = SERIES[:2]
_SHOWN = 40
"""So many lines of a chart of ranks can still be told apart."""


@dataclass(frozen=True, eq=False)
class ScatterPanel:
    """One supernet beside the truth.

    Args:
        name: above the panel.
        truth: values after standalone training, `(n,)`, in the unit of the axis.
        proxy: scores with shared weights, `(n,)`.
        highlighted: architectures with the feature to point out; `None` points out none.
        feature: its name.
        note: below the name, such as the correlation with its interval.
    """

    name: str
    truth: Floats
    proxy: Floats
    highlighted: NDArray[np.bool_] | None = None
    feature: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Curve:
    """A mean with a band.

    Args:
        x: costs, or epochs.
        mean: not a number where unknown.
        low: lower end of the band, or not a number.
        high: upper end.
    """

    x: Floats
    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class RegretPanel:
    """Regret of searches at equal cost on one space.

    Args:
        name: above the panel.
        curves: by name of the search; the first is that of the supernet and drawn strongest.
        tops: cost of each TOP-k strategy, by k.
    """

    name: str
    curves: Mapping[str, Curve]
    tops: Mapping[int, float]


def draw_scatter(
    panels: Sequence[ScatterPanel],
    title: str,
    targets: Sequence[Path],
    *,
    most: int = 4,
    truth_label: str = "accuracy after standalone training, %",
    proxy_label: str = "accuracy with shared weights, %",
) -> str:
    """Draw scores against truth with both distributions, as in figures 2 and 3 of *To Share or Not To Share*.

    Few architectures of a space are bad by much, and they would squeeze all others into a corner: the axis of the truth
    begins four interquartile ranges below the lower quartile, and the panel says how many architectures lie beyond.

    Args:
        panels: one a supernet.
        title: above all panels.
        targets: files to write; the ending says the format.
        most: so many panels stand side by side; 1 makes a figure for narrow screens.
        truth_label: of the horizontal axis.
        proxy_label: of the vertical axis.

    Returns:
        A caption.
    """
    columns = min(4 if len(panels) > 6 else 3, len(panels), most)
    rows = -(-len(panels) // columns)
    width, height = 3.8 * columns + 0.2, 3.9 * rows + 0.45
    with _figure(width, height, title, targets) as figure:
        outer = figure.add_gridspec(
            rows,
            columns,
            left=0.62 / width,
            right=1 - 0.1 / width,
            bottom=0.55 / height,
            top=1 - 0.95 / height,
            wspace=0.2,
            hspace=0.3,
        )
        for place, panel in enumerate(panels):
            inner = outer[place // columns, place % columns].subgridspec(
                2, 2, width_ratios=(5, 1), height_ratios=(1, 5), wspace=0.03, hspace=0.03
            )
            axes = figure.add_subplot(inner[1, 0])
            above = figure.add_subplot(inner[0, 0], sharex=axes)
            right = figure.add_subplot(inner[1, 1], sharey=axes)
            _scatter(axes, above, right, panel)
            if place // columns == rows - 1 or place + columns >= len(panels):
                axes.set_xlabel(truth_label)
            if place % columns == 0:
                axes.set_ylabel(proxy_label)
    featured = [panel.feature for panel in panels if panel.highlighted is not None]
    darker = f" Darker points with a ring: {'; '.join(dict.fromkeys(featured))}." if featured else ""
    return (
        "Each point is one architecture: to the right, what it is worth after a training of its own; upwards, what the "
        "supernet says. A faithful supernet gives one rising band; a band that splits into clusters shows what the "
        f"supernet favours. Along the edges, how both are distributed.{darker}"
    )


def _scatter(axes: Any, above: Any, right: Any, panel: ScatterPanel) -> None:
    marked = np.zeros(len(panel.truth), dtype=bool) if panel.highlighted is None else panel.highlighted
    lower, upper = np.percentile(panel.truth, [25, 75])
    best = float(panel.truth.max())
    start = max(float(panel.truth.min()), float(lower - 4 * (upper - lower)))
    room = 0.03 * (best - start) or 0.5
    axes.set_xlim(start - room, best + room)
    hidden = int((panel.truth < start - room).sum())
    size = 9 if len(panel.truth) > 150 else 18
    groups = ((~marked, PALE if marked.any() else _BLUE, 0), (marked, _BLUE, 0.35))
    bins = [np.linspace(*ends, 36) for ends in ((start - room, best + room), _ends(panel.proxy))]
    for chosen, colour, ring in groups:
        if not chosen.any():
            continue
        axes.scatter(
            panel.truth[chosen],
            panel.proxy[chosen],
            s=size,
            color=colour,
            alpha=0.75,
            linewidth=ring,
            edgecolor=INK if ring else "none",
        )
        above.hist(panel.truth[chosen], bins=bins[0], color=colour, alpha=0.8)
        right.hist(panel.proxy[chosen], bins=bins[1], color=colour, alpha=0.8, orientation="horizontal")
    notes = [panel.note] if panel.note else []
    if hidden:
        notes.append(f"{hidden} further left")
    lines = [panel.name, "; ".join(notes)]
    if marked.any():
        feature = textwrap.shorten(panel.feature, 40, placeholder=" …")
        lines.append(f"dark: {feature} ({int(marked.sum())} of {len(marked)})")
    above.set_title("\n".join(line for line in lines if line), fontsize=8.5, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    for edge in (above, right):
        edge.axis("off")
    tidy(axes)


def _ends(values: Floats) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def draw_disorder(proxy: Floats, truth: Floats, title: str, targets: Sequence[Path], *, top: int = 10) -> str:
    """Draw how ranks change between standalone training and shared weights: one line an architecture.

    Of many architectures, the truly best and others evenly spaced by true rank are drawn.

    Args:
        proxy: scores with shared weights, `(n,)`.
        truth: values after standalone training.
        title: above the chart.
        targets: files to write; the ending says the format.
        top: how many of the truly best to draw strongly.

    Returns:
        A caption.
    """
    n = len(truth)
    by_truth, by_proxy = (stats.rankdata(-np.asarray(side)) for side in (truth, proxy))
    top = min(top, n)
    order = np.argsort(by_truth, kind="stable")
    best = order[:top]
    others = order[np.unique(np.linspace(top, n - 1, max(0, min(_SHOWN, n) - top)).astype(int))] if n > top else []
    kept = int((by_proxy[best] <= top).sum())
    with _figure(5.4, 5.2, title, targets) as figure:
        axes = figure.add_axes((0.16, 0.05, 0.68, 0.79))
        for place in others:
            axes.plot([0, 1], [by_truth[place], by_proxy[place]], color=PALE_GREY, linewidth=0.9, zorder=1)
        for place in best:
            inside = by_proxy[place] <= top
            axes.plot(
                [0, 1],
                [by_truth[place], by_proxy[place]],
                color=_BLUE if inside else _RED,
                linestyle="-" if inside else (0, (4, 1.5)),
                linewidth=1.7,
                marker="o",
                markersize=3.5,
                zorder=3,
                label=f"stays among the best {top}" if inside else f"falls out of the best {top}",
            )
        axes.axhline(top + 0.5, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.set_ylim(n + 0.02 * n, 1 - 0.02 * n)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([0, 1], ["trained alone", "shared weights"])
        axes.xaxis.tick_top()
        axes.tick_params(axis="x", length=0, labelsize=9.5)
        axes.set_ylabel("rank (1 is the best)")
        steps = [int(tick) for tick in MaxNLocator(nbins=8, integer=True).tick_values(0, n) if 1 < tick <= n]
        axes.set_yticks([1, *steps])
        axes.secondary_yaxis("right").set_yticks([1, *steps])
        axes.spines[["top", "bottom"]].set_visible(False)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), ncols=2, loc="lower center", fontsize=8.5)
    shown = f"; of the other {n - top}, {len(others)} evenly spaced ones in grey" if n > top else ""
    return (
        "Each line is one architecture, from its rank after a training of its own to its rank by the supernet. Without "
        f"disorder all lines would be level. Of the truly best {top}, the supernet has {kept} among its best "
        f"{top}{shown}."
    )


def draw_guided_regret(
    panels: Sequence[RegretPanel],
    title: str,
    targets: Sequence[Path],
    *,
    unit: str,
    ylabel: str = "regret, points",
    most: int = 4,
) -> str:
    """Draw regret against cost on logarithmic axes with bands and the TOP-k budgets, as in figure 2 of the paper.

    Args:
        panels: one a space.
        title: above all panels.
        targets: files to write; the ending says the format.
        unit: of cost, the same for all searches.
        ylabel: of the vertical axis.
        most: so many panels stand side by side; 1 makes a figure for narrow screens.

    Returns:
        A caption.
    """
    columns = min(most, len(panels))
    rows = -(-len(panels) // columns)
    with _figure(max(5.4, 3.5 * columns + 0.3), 3.1 * rows + 0.9, title, targets) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        labels: dict[str, Any] = {}
        for place, axes in enumerate(grid.flat):
            if place >= len(panels):
                axes.set_visible(False)
                continue
            for name, line in _regret_panel(axes, panels[place]).items():
                labels.setdefault(name, line)
            if place + columns >= len(panels):
                axes.set_xlabel(f"cost, {unit}")
            if place % columns == 0:
                axes.set_ylabel(ylabel)
        figure.legend(labels.values(), labels.keys(), ncols=4, loc="lower center", fontsize=9)
        height = figure.get_figheight()
        figure.tight_layout(rect=(0, 0.32 / height, 1, 1 - 0.25 / height))
    return (
        "Mean regret of what each search would hand over after a given cost, with 95 % t intervals as bands; both axes "
        "are logarithmic. The supernet's training and scoring are charged before its first architecture is trained; "
        "dotted lines mark what the TOP-k strategies cost. Where bands overlap, no difference should be read."
    )


def _regret_panel(axes: Any, panel: RegretPanel) -> dict[str, Any]:
    """One space: curves with their bands, and the budgets of TOP-k. Returns the lines by name, for a legend."""
    lines: dict[str, Any] = {}
    drawn: list[Floats] = []
    for number, (name, curve) in enumerate(panel.curves.items()):
        known = np.isfinite(curve.mean) & (curve.mean > 0)
        lines[name] = _banded(axes, curve, known, number)
        drawn.append(curve.mean[known])
    shown = np.concatenate([*drawn, []])
    if not len(shown):  # nobody has any regret left to draw, and an axis without a value has no logarithm
        shown = np.ones(1)
    bottom, top = 0.6 * float(shown.min()), 3.2 * float(shown.max())  # room for the names of the budgets
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    for k, cost in panel.tops.items():
        axes.axvline(cost, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)))
        place = {"rotation": 90, "va": "top", "ha": "right", "fontsize": 7.5, "color": GREY}
        axes.text(cost, 0.985, f"TOP-{k} ", transform=axes.get_xaxis_transform(), **place)
    axes.set_title(panel.name, fontsize=10)
    cost_axis(axes, "{:g}".format)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks([tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if bottom <= tick <= top])
    tidy(axes)
    return lines


def _banded(axes: Any, curve: Curve, known: NDArray[np.bool_], number: int) -> Any:
    """A curve with its interval; the first is the one that the figure is about."""
    colour = SERIES[number and 1 + (number - 1) % 4]
    (line,) = axes.plot(
        curve.x[known],
        curve.mean[known],
        color=colour,
        linewidth=2.0 if number == 0 else 1.5,
        linestyle=("-", "--", "-.", ":")[number % 4],
    )
    band = known & np.isfinite(curve.low)
    floor = 0.3 * np.nanmin(curve.mean[known]) if known.any() else 0
    low = np.maximum(curve.low[band], floor)
    axes.fill_between(curve.x[band], low, curve.high[band], color=colour, alpha=0.18, linewidth=0)
    return line


def draw_learning(
    curves: Mapping[str, Curve],
    title: str,
    targets: Sequence[Path],
    *,
    xlabel: str = "epoch",
    ylabel: str = "Spearman correlation with the truth",
) -> str:
    """Draw how the agreement of ranks grows while a supernet is trained.

    Args:
        curves: by name of the evaluation, such as with and without adapted batch normalisation.
        title: above the chart.
        targets: files to write; the ending says the format.
        xlabel: of the horizontal axis.
        ylabel: of the vertical axis.

    Returns:
        A caption.
    """
    with _figure(5.2, 3.6, title, targets) as figure:
        axes = figure.add_axes((0.13, 0.15, 0.84, 0.72))
        for number, (name, curve) in enumerate(curves.items()):
            colour, known = SERIES[number % len(SERIES)], np.isfinite(curve.mean)
            axes.plot(
                curve.x[known],
                curve.mean[known],
                color=colour,
                linestyle=("-", "--", "-.", ":")[number % 4],
                marker="osD^"[number % 4],
                markersize=3.5,
                linewidth=1.6,
                label=name,
            )
            band = known & np.isfinite(curve.low)
            axes.fill_between(curve.x[band], curve.low[band], curve.high[band], color=colour, alpha=0.18, linewidth=0)
        axes.axhline(0, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.legend(loc="best", fontsize=8.5)
        tidy(axes)
    return (
        "How well the supernet ranks architectures at each stage of its training; bands are 95 % intervals. Zero, "
        "dotted, is a ranking that knows nothing."
    )


@contextmanager
def _figure(width: float, height: float, title: str, targets: Sequence[Path]) -> Iterator[Figure]:
    """A figure in the style of the house, written to all targets when it is complete."""
    with drawing(width, height) as figure:
        yield figure
        figure.suptitle(textwrap.fill(title, int(12 * width)), fontsize=10.5)
        save_figure(figure, targets)
