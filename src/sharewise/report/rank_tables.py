"""Tables of an appraisal in the layout of *To Share or Not To Share*, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sharewise.appraisal import GroupComparison, OverSeeds
from sharewise.report.markup import Markup, element, join

__all__ = ["EFFECTS", "correlation_table", "effect_class", "effect_table"]

EFFECTS = {
    "much smaller": ("rgba(213, 94, 0, 0.45)", "d < -0.5"),
    "smaller": ("rgba(213, 94, 0, 0.18)", "-0.5 < d < -0.2"),
    "larger": ("rgba(0, 114, 178, 0.18)", "0.2 < d < 0.5"),
    "much larger": ("rgba(0, 114, 178, 0.45)", "d > 0.5"),
}
"""Colours of the paper's tables: red where regret is smaller than that of random search, blue where it is larger."""


_UNBROKEN = "white-space: nowrap"


def correlation_table(
    cells: Mapping[tuple[str, str], OverSeeds], rows: Sequence[str], columns: Sequence[str], caption: str
) -> Markup:
    """Mean rank correlations: a row a space, a column a variant; an asterisk for every supernet that failed.

    Args:
        cells: by row and column; one that is missing is left blank.
        rows: names of the spaces.
        columns: names of the variants.
        caption: above the table.

    Returns:
        A `<table>`.
    """
    body = [
        element(
            "tr",
            element("th", row, scope="row"),
            *(element("td", _correlation(cells.get((row, column))), class_="number") for column in columns),
        )
        for row in rows
    ]
    return _table(["", *columns], body, caption)


def effect_table(
    cells: Mapping[tuple[str, str], GroupComparison | None], rows: Sequence[str], columns: Sequence[str], caption: str
) -> Markup:
    """Differences of mean regret with intervals, p-values and effect sizes, coloured as in the paper's table 2.

    Intervals and p-values are Welch's, as in a verdict. A difference has a colour where it is not small (|d| ≥ 0.2) and
    a verdict would claim it: Welch's interval leaves out zero, and ranks confirm it. The legend says the rule of each
    colour, so that the numbers tell what colours cannot.

    Args:
        cells: comparisons of a search (first) with random search (second), by row and column; `None` for one that is
            missing.
        rows: names of the spaces.
        columns: names of the searches and budgets.
        caption: above the table.

    Returns:
        A `<table>` with a legend.
    """
    body = []
    for row in rows:
        shown = [element("th", row, scope="row")]
        for column in columns:
            found = cells.get((row, column))
            if found is None:
                shown.append(element("td", "–", class_="number"))
                continue
            effect = effect_class(found)
            style = f"background: {EFFECTS[effect][0]}; padding-right: 8px" if effect else "padding-right: 8px"
            shown.append(element("td", _difference(found), class_="number", style=style, title=effect or None))
        body.append(element("tr", *shown))
    legend = element(
        "p",
        "Regret beside that of random search: ",
        *(
            element(
                "span",
                f"{name} ({rule})",
                style=f"background: {colour}; color: var(--ink); padding: 2px 6px; margin-right: 6px; {_UNBROKEN}",
            )
            for name, (colour, rule) in EFFECTS.items()
        ),
        " no colour: |d| < 0.2, or not to be claimed (Welch's interval and Mann and Whitney's ranks must agree).",
        class_="note",
    )
    return join(_table(["", *columns], body, caption), legend)


def effect_class(found: GroupComparison) -> str:
    """The name of an effect's colour, empty where the effect is small or may be chance.

    Example:
        >>> from sharewise.appraisal import compare_groups
        >>> effect_class(compare_groups([1.0, 1.1, 1.2, 1.3], [2.0, 2.1, 2.2, 2.3]))
        'much smaller'
    """
    d = found.cohens_d.value
    if not found.claimed or not abs(d) >= 0.2:
        return ""
    strong = "much " if abs(d) >= 0.5 else ""
    return f"{strong}{'smaller' if d < 0 else 'larger'}"


def _correlation(found: OverSeeds | None) -> str:
    if found is None:
        return "–"
    star = "* " * len(found.failed)
    if found.interval is None:
        return f"{star}failed"
    if found.n == 1:
        return f"{star}{found.interval.mean:.2f} (one seed)"
    return f"{star}{found.interval.mean:.2f} ± {found.interval.half_width:.2f}"


def _difference(found: GroupComparison) -> str:
    difference = found.welch.difference
    assert difference is not None
    half = (difference.high - difference.low) / 2
    p_value = found.welch.p_value
    p = "p < 0.01" if p_value < 0.01 else f"p = {p_value:.2f}"
    return f"{difference.value:+.2f} ± {half:.2f} ({p}, d = {found.cohens_d.value:.2f})"


def _table(head: Sequence[str], body: Sequence[Markup], caption: str) -> Markup:
    return element(
        "div",
        element(
            "table",
            element("caption", caption, style="text-align: left; padding-bottom: 8px"),
            element(
                "thead",
                element("tr", *(element("th", name, scope="col", class_="number" if name else None) for name in head)),
            ),
            element("tbody", *body),
        ),
        class_="scroll",
    )
