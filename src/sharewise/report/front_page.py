"""The page of a front: the best architecture within each budget first, then the front in a figure and a table.

Everything is drawn from `front.json`, so that a folder can be shown again at any time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sharewise.report.canvas import GREY, PALE_GREY, SERIES, cost_axis, drawing, narrow, save_figure, tidy
from sharewise.report.components import (
    FIGURES,
    Page,
    Section,
    card,
    cards,
    code,
    command,
    how,
    note,
    picture,
    render,
    save,
    values,
)
from sharewise.report.documents import Document, showing
from sharewise.report.markup import Markup, element, join
from sharewise.report.words import capital, exact, score, si, unit

__all__ = ["write_front"]

_CAPTION = (
    "Every architecture that was scored (grey), those that no other beats in score and cost (blue), and the best "
    "within each budget (orange, with the budget as a dotted line)"
)


def write_front(folder: Path) -> Path:
    """Draw the figure of a front as SVG and PNG, and write its `report.html`.

    Args:
        folder: with `front.json`.

    Returns:
        The path of the page.

    Raises:
        CheckpointError: when a file is missing or damaged.
        SharewiseError: when the folder cannot be written.
    """
    with showing(folder, "front", "run sharewise front again") as read:
        document = read("front.json")
        wide = folder / "figure.svg"
        _draw(document, [wide, folder / "figure.png"])
        _draw(document, [narrow(wide)], most=1)
        return save(folder / "report.html", render(_page(folder, document), FIGURES))


def _page(folder: Path, document: Document) -> Page:
    how_many = "all of them" if document["exhaustive"] else f"of {document['size']:,}"
    return Page(
        eyebrow="sharewise front",
        title=f"What does {document['metric'].replace('_', ' ')} cost in {document['space']}?",
        subtitle=f"{document['method']} on {document['data']}; {document['scored']:,} architectures scored, {how_many}",
        headline=cards(
            [
                card(f"≤ {si(row['most'])} {row['quantity']}", _score(document, row), f"point {row['point']}")
                for row in document["budgets"]
            ]
        ),
        sections=[
            Section("budgets", "The best within each budget", _budgets(document)),
            Section("front", "The front", picture(folder / "figure.svg", _CAPTION)),
            Section("points", "Its points", _points(document)),
            Section("next", "What to do with a point", _next(folder, document)),
            Section("notes", "What it rests on", join(*(note(capital(said) + ".") for said in document["notes"]))),
        ],
        footer=element("footer", "Made by sharewise from ", element("code", str(folder)), "."),
    )


def _score(document: Document, row: Document) -> str:
    value = row["scores"][document["metric"]]
    return score(document["metric"], math.nan if value is None else value)


def _budgets(document: Document) -> Markup:
    def rows() -> Iterator[tuple[str, list[str | Markup]]]:
        for row in document["budgets"]:
            pick = row.get("most_probable")
            beside = "–" if pick is None else f"{_score(document, pick)}{'' if pick['exact'] else ' (not exact)'}"
            spent = exact(row["costs"][row["quantity"]])
            yield (
                f"{exact(row['most'])} {row['quantity']}",
                [str(row["point"]), _score(document, row), spent, beside, code(row["architecture"])],
            )

    heads = ["Budget", "point", unit(document["metric"])[1], "spent", "the method's own pick", "architecture"]
    said = "The method's own pick is the most probable architecture within the budget, where it learned a distribution."
    return join(how(said), values(heads, rows()))


def _points(document: Document) -> Markup:
    names: Sequence[str] = document["quantities"]
    body = (
        (
            str(row["point"]),
            [_score(document, row), *(exact(row["costs"][name]) for name in names), code(row["architecture"])],
        )
        for row in document["points"]
    )
    return values(["Point", unit(document["metric"])[1], *names, "architecture"], body)


def _next(folder: Path, document: Document) -> Markup | None:
    if document["run"] is None:
        return None
    chosen = ["--point", str(document["budgets"][0]["point"])]
    chosen += [] if document["file"] is None else ["--space", document["file"]]
    return join(
        how("Train it from scratch, on the schedule of your choice:"),
        command("sharewise", "train", "--from-front", str(folder), *chosen, "--out", "TRAINED"),
        how("Take it out of the supernet with the weights that it inherits:"),
        command("sharewise", "export", str(folder), *chosen, "--out", "MODEL"),
    )


# ---------------------------------------------------------------------------------------------------------------------
# The figure


def _draw(document: Document, targets: Sequence[Path], *, most: int = 3) -> None:
    """A panel for every quantity."""
    names: Sequence[str] = document["quantities"]
    columns = min(most, len(names))
    rows = -(-len(names) // columns)
    with drawing(5.6 * columns + 0.4, 4.2 * rows) as figure:
        for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
            if place < len(names):
                _draw_panel(axes, document, place, names[place])
            else:
                axes.set_visible(False)
        figure.tight_layout()
        save_figure(figure, targets)


def _draw_panel(axes: Any, document: Document, place: int, name: str) -> None:
    scale, label = unit(document["metric"])

    def at(row: Document) -> tuple[float, float]:
        return row["costs"][name], scale * row["scores"][document["metric"]]

    cloud = [(row[place], scale * row[-1]) for row in document["cloud"] if row[-1] is not None]
    axes.scatter(*zip(*cloud, strict=True), s=10, color=PALE_GREY, linewidths=0, label="scored")
    points = sorted(map(at, document["points"]))
    alone = len(document["quantities"]) == 1
    axes.plot(*zip(*points, strict=True), "o-" if alone else "o", color=SERIES[0], markersize=4, linewidth=1.4,
              drawstyle="steps-post", label="front")  # fmt: skip
    budgets = [row for row in document["budgets"] if row["quantity"] == name]
    for row in budgets:
        axes.axvline(row["most"], color=GREY, linestyle=":", linewidth=1)
    if budgets:
        best = list(map(at, budgets))
        axes.plot(*zip(*best, strict=True), "D", color=SERIES[1], markersize=6, label="best within a budget")
    cost_axis(axes)
    axes.set_xlabel(name)
    axes.set_ylabel(f"{label}, shared weights")
    tidy(axes)
    axes.legend(fontsize=8.5)
