"""The pictures of a run, an appraisal, a comparison, a study or a front one by one: for notebooks and papers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, final

from sharewise.atomic import replacing
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.files import read_bytes
from sharewise.given import got
from sharewise.report.cell import colours_of, draw_cell
from sharewise.report.markup import Markup
from sharewise.report.read import ReportData, read_memory, read_run
from sharewise.report.run_views import drawn_curves, probabilities

__all__ = ["Drawing", "pictures"]


@final
@dataclass(frozen=True)
class Drawing:
    """A picture on its own, which a notebook shows where it is the last value of a cell.

    Args:
        svg: the whole picture; its colours follow a light or dark screen.
    """

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: Path | str) -> Path:
        """Write the picture.

        Args:
            path: of a file that ends in `.svg`.

        Returns:
            The path.

        Raises:
            ConfigurationError: for another ending.
        """
        target = Path(path)
        if target.suffix != ".svg":
            raise ConfigurationError(f"a picture is saved as SVG, got {str(path)!r}: name a file that ends in .svg")
        with replacing(target) as place:
            place.write_text(self.svg, encoding="utf-8")
        return target


class Recorded(Protocol):
    """A search or a training in memory, such as `sharewise.search` returns."""

    def recorded(self) -> Mapping[str, Any]:
        """Its history and what it came to, as plain values."""


def pictures(run: Path | str | Recorded) -> Mapping[str, Drawing]:
    """The pictures of a page, by name.

    Of a search or a training these are `"cell"` (one for each cell: `"cell"`, `"cell-2"`), the curves `"loss"`,
    `"entropy"`, `"held-out"`, `"rate"`, and `"theta-…"` for every decision, as far as there is something to draw; of an
    appraisal `"scatter-…"`, `"disorder"` and `"regret"`; of a comparison, a study or a front the one `"figure"`.

    Args:
        run: the folder of a run, finished or not, or of results; or the result of a search or a training, which needs
            none (a training in memory has curves, and no cell).

    Returns:
        The pictures.

    Raises:
        CheckpointError: when the folder holds nothing to draw, or a damaged file.
        ConfigurationError: for anything else.

    Example:
        >>> import tempfile
        >>> run = Path(tempfile.mkdtemp())
        >>> _ = (run / "config.yaml").write_text("{command: search, method: gaea-erm, seed: 0}")
        >>> dict(pictures(run))
        {}
    """
    if not isinstance(run, str | Path):
        if not callable(getattr(run, "recorded", None)):
            raise ConfigurationError(
                f"pictures are those of a folder, or of what a search or a training returned, {got(run)}: give out= to "
                "what made it, and the folder here"
            )
        return _drawn(read_memory(run.recorded()))
    folder = Path(run)
    drawn = sorted((folder / "figures").glob("*.svg")) or [*folder.glob("figure.svg")]
    if drawn:
        return {path.stem: Drawing(_still(path)) for path in drawn if "." not in path.stem}
    return _drawn(read_run(folder))


def _drawn(data: ReportData) -> Mapping[str, Drawing]:
    return {name: Drawing(_alone(markup)) for name, markup in _of_run(data).items()}


_MOST = 1 << 24
"""Bytes of a picture; ours have a few ten thousand."""
_ACTIVE = re.compile(
    r"<\s*(?:[\w-]+:)?(?:script|foreignobject|iframe|embed|object|audio|video|handler|animate\w*|set)\b"
    r"|\son\w+\s*=|<!entity|@import"
    r"|href\s*=\s*(?:\"(?!#|data:image/(?:png|jpeg);base64,)|'(?!#|data:image/(?:png|jpeg);base64,)|(?![\"'\s]))",
    re.IGNORECASE,
)
"""What in a picture is executed, or asks for something beside it."""


def _still(path: Path) -> str:
    """A picture from a file of a stranger, which must be nothing but one.

    Raises:
        CheckpointError: when it is no regular file of text, is large, or holds more than a picture.
    """
    try:
        svg = read_bytes(path, most=_MOST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = type(error).__name__
        raise CheckpointError(f"cannot read the picture {str(path)!r} ({reason}): make it again") from error
    if _ACTIVE.search(svg):
        raise CheckpointError(
            f"the picture {str(path)!r} holds scripts, or asks for something beside it, as none of ours does; make the "
            "page again with sharewise report"
        )
    return svg


def _of_run(data: ReportData) -> dict[str, Markup]:
    colours = colours_of(data.pictures)
    cells = {
        f"cell-{place}" if place > 1 else "cell": draw_cell(picture, colours)
        for place, picture in enumerate(data.pictures, start=1)
    }
    decisions = dict.fromkeys(name for epoch in data.epochs for name in epoch.probabilities)
    theta = {f"theta-{name}": probabilities(data, name)[1] for name in decisions}
    return {**cells, **drawn_curves(data), **theta}


def _alone(markup: Markup) -> str:
    """A picture of a page with what the page gives it: its colours and fonts."""
    rules = files("sharewise.report").joinpath("style.css").read_text(encoding="utf-8")
    schemes = rules[: rules.index("* {")].replace(":root", "svg")
    cells = "\n".join(line for line in rules.splitlines() if line.startswith("svg.cell"))
    ground = "svg { font-family: var(--sans); background: var(--card); }"
    head, _, rest = markup.partition(">")
    unit = "" if 'class="cell"' in head else "pt"
    width, height = re.findall(r'viewBox="\S+ \S+ (\S+) (\S+)"', head)[0]
    head = re.sub(r' style="[^"]*"', "", head)  # what a page says of its size
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    style = f"<style>{schemes}{ground}{cells}</style>"
    return f'{head} {spaces} width="{width}{unit}" height="{height}{unit}">{style}{rest}'
