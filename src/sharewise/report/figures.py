"""Plots as inline SVG that follow the page's theme.

Every figure is drawn by Matplotlib's object-oriented interface, without any display. Its few colours stand
in for CSS variables, so one drawing is right on a light page, on a dark page and on paper.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sharewise.report.markup import Markup, element
from sharewise.report.read import AgainstRandom

__all__ = ["Line", "colour_scale", "draw_difference", "draw_heat_map", "draw_lines", "draw_strip"]

INK, MUTED, RULE, CARD = "#010101", "#020202", "#030303", "#040404"
SERIES = ("#050500", "#050501", "#050502", "#050503")
_THEME = {INK: "ink", MUTED: "muted", RULE: "rule", CARD: "card"} | {
    colour: f"series-{index}" for index, colour in enumerate(SERIES)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sharewise",
    "image.composite_image": False,
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
}
_COLOUR_MAP = "viridis"
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Line:
    """One curve of a plot over epochs.

    Args:
        label: what it shows, for the legend.
        x: the epochs.
        y: the values.

    Example:
        >>> Line("weights", (0, 1), (2.1, 1.7)).label
        'weights'
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]


def draw_lines(
    lines: Sequence[Line],
    *,
    title: str,
    name: str,
    reference: tuple[str, float] | None = None,
    marks: Sequence[float] = (),
    fill: bool = False,
    floor: float | None = None,
) -> Markup:
    """Plot curves over epochs, each told apart by colour, dash and marker and not by colour alone.

    Args:
        lines: one to four curves.
        title: what is measured, with its unit.
        name: a word that is unique on the page, for ids.
        reference: a label and a height for a dashed horizontal line.
        marks: epochs at which to draw a faint vertical line.
        fill: whether to shade what lies between the first two curves.
        floor: where the vertical axis starts, unless that is left to the data.

    Returns:
        An `<svg>` element.

    Example:
        >>> plot = draw_lines([Line("weights", (0, 1), (2.1, 1.7))], title="loss", name="loss")
        >>> plot.startswith("<svg"), "weights" in plot
        (True, True)
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.5, 2.55), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title)
        for mark in marks:
            axes.axvline(mark - 0.5, color=RULE, linewidth=1.2)
        for line, colour, dash, marker in zip(lines, SERIES, ("-", "--", "-.", ":"), "osD^", strict=False):
            axes.plot(
                line.x,
                line.y,
                label=line.label,
                color=colour,
                linestyle=dash,
                marker=marker if len(line.x) <= 12 else None,
                markersize=3.5,
            )
        if fill and len(lines) > 1 and list(lines[0].x) == list(lines[1].x):
            axes.fill_between(lines[0].x, lines[0].y, lines[1].y, color=MUTED, alpha=0.13, linewidth=0)
        if reference is not None:
            axes.axhline(reference[1], color=MUTED, linestyle=(0, (4, 3)), linewidth=1.0, label=reference[0])
        if len(axes.get_legend_handles_labels()[0]) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1.02, 0.985), ncols=2, borderaxespad=0, handlelength=1.8)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=_STEPS, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=_STEPS))
        _pad(axes, [x for line in lines for x in line.x])
        if floor is not None:
            heights = [y for line in lines for y in line.y] + ([reference[1]] if reference else [])
            top = max(filter(math.isfinite, heights), default=floor)
            axes.set_ylim(floor, floor + 1.08 * (top - floor or 1.0))
        return _svg(figure, name, _alternative(title, lines))


def draw_heat_map(
    rows: Sequence[Sequence[float]], options: Sequence[str], epochs: Sequence[int], *, name: str, title: str
) -> Markup:
    """Plot how one decision's probabilities move: a row per option, a column per epoch, colours from 0 to 1.

    Args:
        rows: the probabilities at each epoch, in the order of the options.
        options: the options' names.
        epochs: the epoch of each row.
        name: a word that is unique on the page, for ids.
        title: the decision, for the text alternative.

    Returns:
        An `<svg>` element.

    Example:
        >>> plot = draw_heat_map([[0.5, 0.5], [0.9, 0.1]], ["skip", "conv"], [0, 1], name="a", title="edge")
        >>> plot.startswith("<svg"), "skip" in plot
        (True, True)
    """
    first, last = epochs[0], epochs[-1]
    grid = np.full((len(options), last - first + 1), np.nan)
    for epoch, row in zip(epochs, rows, strict=True):
        grid[: len(row), epoch - first] = row[: len(options)]
    final = grid[:, -1]
    winner = int(np.nanargmax(final)) if np.isfinite(final).any() else -1
    style = _STYLE | {
        "axes.grid": False,
        "axes.spines.left": False,
        "axes.spines.bottom": False,
        "font.size": 7.5,
    }
    with mpl.rc_context(style):
        names = [name if len(name) <= 22 else f"{name[:21]}…" for name in options]
        height = 0.26 + 0.18 * len(options)
        figure = Figure(figsize=(3.0, height))
        left = (5.0 * max(map(len, names)) + 6) / 216  # the same for every panel with these options
        axes = figure.add_axes((left, 0.22 / height, 0.99 - left, 1 - 0.26 / height))
        axes.imshow(
            grid,
            cmap=_COLOUR_MAP,
            vmin=0.0,
            vmax=1.0,
            aspect="auto",
            interpolation="none",
            extent=(first - 0.5, last + 0.5, len(options) - 0.5, -0.5),
        )
        axes.set_yticks(range(len(options)), names)
        for index, label in enumerate(axes.get_yticklabels()):
            label.set_color(INK if index == winner else MUTED)
            label.set_fontweight("bold" if index == winner else "normal")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=_STEPS, min_n_ticks=1))
        axes.tick_params(length=0)
        held = f"at epoch {last} {options[winner]} leads with {final[winner]:.2f}" if winner >= 0 else "no values"
        return _svg(figure, name, f"Probabilities of {title} over epochs; {held}.")


def draw_strip(comparison: AgainstRandom, *, name: str, scale: float, label: str) -> Markup:
    """Plot every found value over every random one as dots, because a mean alone hides how few there are.

    Args:
        comparison: both sides.
        name: a word that is unique on the page, for ids.
        scale: what to multiply values by (100 for shares shown in per cent).
        label: the metric with its unit.

    Returns:
        An `<svg>` element.

    Example:
        >>> versus = AgainstRandom("accuracy", (0.9,), (0.8, 0.7))
        >>> "found" in draw_strip(versus, name="s", scale=100, label="accuracy, %")
        True
    """
    with mpl.rc_context(_STYLE | {"axes.grid.axis": "x"}):
        figure = Figure(figsize=(4.5, 1.75), layout="constrained")
        axes = figure.subplots()
        sides = ((1, comparison.found, SERIES[0], "o"), (0, comparison.random, SERIES[1], "D"))
        for height, values, colour, marker in sides:
            scaled = scale * np.asarray(values)
            spread = 0.0 if len(values) == 1 else 0.22
            jitter = [spread * (2 * ((index * 0.618034) % 1.0) - 1) for index in range(len(values))]
            axes.plot(
                scaled,
                height + np.asarray(jitter),
                linestyle="none",
                marker=marker,
                color=colour,
                markersize=5.5 if marker == "o" else 4.5,
                markeredgecolor=CARD,
                markeredgewidth=0.6,
            )
            axes.plot([scaled.mean()] * 2, [height - 0.36, height + 0.36], color=INK, linewidth=1.4, zorder=1)
        axes.set_yticks(
            [0, 1],
            [f"random\nn = {len(comparison.random)}", f"found\nn = {len(comparison.found)}"],
            color=INK,
        )
        axes.set_ylim(-0.5, 1.5)
        axes.spines["left"].set_visible(False)
        axes.set_title(f"each architecture: {label}")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=_STEPS))
        means = [scale * float(np.mean(side)) for side in (comparison.found, comparison.random)]
        return _svg(figure, name, f"Found {means[0]:.4g} on average, random {means[1]:.4g}; {label}.")


def draw_difference(comparison: AgainstRandom, *, name: str, scale: float, label: str) -> Markup | None:
    """Plot the interval of the difference against zero, which is the whole question in one picture.

    Args:
        comparison: both sides and the interval.
        name: a word that is unique on the page, for ids.
        scale: what to multiply values by.
        label: the metric with its unit.

    Returns:
        An `<svg>` element, or None where there is no finite interval.

    Example:
        >>> versus = AgainstRandom("accuracy", (0.9,), (0.8,))
        >>> draw_difference(versus, name="d", scale=1, label="accuracy") is None
        True
    """
    if comparison.interval is None or not all(map(math.isfinite, comparison.interval)):
        return None
    low, high = (scale * end for end in comparison.interval)
    with mpl.rc_context(_STYLE | {"axes.grid.axis": "x"}):
        figure = Figure(figsize=(4.5, 1.75), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.0, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.0)
        axes.plot([low, high], [0, 0], color=SERIES[0], linewidth=3.0, solid_capstyle="butt")
        axes.plot([low, low, math.nan, high, high], [-0.2, 0.2, math.nan, -0.2, 0.2], color=SERIES[0], linewidth=1.6)
        axes.plot([(low + high) / 2], [0], marker="o", color=SERIES[0], markersize=7, markeredgecolor=CARD)
        axes.set_ylim(-1, 1)
        axes.set_yticks([0], ["found −\nrandom"], color=INK)
        axes.spines["left"].set_visible(False)
        axes.set_title(f"difference of the means: {label}")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=_STEPS))
        margin = 0.12 * (max(high, 0) - min(low, 0) or 1.0)
        axes.set_xlim(min(low, 0) - margin, max(high, 0) + margin)
        return _svg(figure, name, f"Interval of the difference, {low:.3g} to {high:.3g}; {label}.")


def colour_scale() -> str:
    """Give the heat maps' colours as a CSS gradient, so that one legend serves every panel.

    Returns:
        The value of a `background-image` property, from 0 on the left to 1 on the right.

    Example:
        >>> colour_scale().startswith("linear-gradient(to right, #440154")
        True
    """
    stops = (mpl.colors.to_hex(mpl.colormaps[_COLOUR_MAP](step / 8)) for step in range(9))
    return f"linear-gradient(to right, {', '.join(stops)})"


def _pad(axes: Axes, x: Sequence[float]) -> None:
    """Let curves span the plot, and give a single epoch some room."""
    low, high = min(x, default=0.0), max(x, default=0.0)
    room = 0.02 * (high - low) or 0.5
    axes.set_xlim(low - room, high + room)


def _alternative(title: str, lines: Sequence[Line]) -> str:
    ends = (f"{line.label} {line.y[0]:.4g} to {line.y[-1]:.4g}" for line in lines if len(line.y))
    return f"{title} over epochs: {'; '.join(ends)}."


def _svg(figure: Figure, name: str, alternative: str) -> Markup:
    """Write a figure as an element with the page's font and colours, and with ids that are its own."""
    buffer = io.StringIO()
    undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from .*font")
        figure.savefig(buffer, format="svg", metadata=undated)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(?<=\sid=")|(?<=url\(#)|(?<=href="#)', f"{name}-", text)
    text = re.sub(r"(?<=: )#0[1-5]0[0-9]0[0-9]\b", lambda match: f"var(--{_THEME[match[0]]})", text)
    box = re.search(r'viewBox="([^"]*)"', text)
    body = text[text.index(">") + 1 : text.rindex("</svg>")]
    size = box[1] if box else None
    return element("svg", Markup(body.strip()), viewBox=size, role="img", aria_label=alternative)
