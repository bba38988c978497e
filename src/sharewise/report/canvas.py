"""Figures as files: one style, and an SVG that is right on a light page, on a dark one and in any program.

Every file holds plain colours, so that a program without style sheets shows it on white; a rule for dark screens puts
each colour's counterpart in its place. The same colours stand on the pages of runs.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from sharewise.atomic import replacing
from sharewise.report.words import si

__all__ = ["GREY", "INK", "PALE", "PALE_GREY", "SERIES", "cost_axis", "drawing", "narrow", "save_figure", "tidy"]

PAPER, INK = "#ffffff", "#1b2027"
GREY, PALE_GREY, GRID = "#737373", "#bfbfbf", "#ebebeb"
PALE = "#8fbfdd"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d", "#8c564b")
"""Told apart by readers with any colour vision (Okabe and Ito), in the order of use."""
_DARK: Mapping[str, str] = {
    PAPER: "#1a1f26",
    INK: "#e8ebef",
    GREY: "#a3adb9",
    PALE_GREY: "#59636f",
    GRID: "#2f3741",
    PALE: "#3d6d8e",
    **dict(
        zip(
            SERIES,
            ("#4ea6e6", "#f5843b", "#38c497", "#dc8fc6", "#e3b341", "#9ad4fb", "#c3cad2", "#cf9c8e"),
            strict=True,
        )
    ),
}
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "sharewise",
    "svg.fonttype": "none",
    "font.size": 9.5,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "legend.frameon": False,
} | dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure in the style of the house, which is to be saved before the context ends.

    Args:
        width: in inches.
        height: in inches.
    """
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height))


def tidy(axes: Axes) -> None:
    """A faint grid behind the data, and no frame."""
    axes.grid(True, which="major", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def cost_axis(axes: Axes, shown: Callable[[float], str] = si) -> None:
    """A logarithmic horizontal axis with numbers at several of its ticks, also where all costs lie within a decade.

    Args:
        axes: that hold all that is drawn.
        shown: a number in words.
    """
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if low <= 0:  # no costs are drawn
        low, high = axes.set_xlim(1, 10)
    if high < 10 * low:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    elif high < 100 * low:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def save_figure(figure: Figure, targets: Sequence[Path]) -> None:
    """Write a figure to files, the same bytes each time, each whole or not at all.

    Args:
        figure: drawn in the style of `drawing`.
        targets: the ending says the format; an SVG follows the colour scheme of the screen.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp(), "figure.svg")
        >>> with drawing(2, 1) as figure:
        ...     _ = figure.subplots().plot([0, 1], color=SERIES[0])
        ...     save_figure(figure, [target])
        >>> text = target.read_text(encoding="utf-8")
        >>> "stroke: #0072b2" in text, "prefers-color-scheme:dark" in text
        (True, True)
    """
    for target in targets:
        with replacing(target, suffix=target.suffix) as place:
            if target.suffix == ".svg":
                buffer = io.StringIO()
                figure.savefig(buffer, format="svg", metadata={"Date": None})
                place.write_text(_following_the_screen(buffer.getvalue()), encoding="utf-8")
            else:
                figure.savefig(place, dpi=120, metadata={"Software": None})


def narrow(path: Path) -> Path:
    """Where the form of a figure for narrow screens lies, beside it."""
    return path.with_name(f"{path.stem}.narrow{path.suffix}")


def _following_the_screen(text: str) -> str:
    """Let a drawing in plain colours have others on a dark screen."""
    used = [(light, dark) for light, dark in _DARK.items() if light in text]
    rules = [
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}' for light, dark in used for kind in ("fill", "stroke")
    ]
    style = f"<style>@media screen and (prefers-color-scheme:dark){{{''.join(rules)}}}</style>"
    start = text.index(">", text.index("<svg")) + 1
    return text[:start] + style + text[start:]
