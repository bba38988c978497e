"""The page of a comparison: what may be said about strategies first, then curves, tables and what they rest on.

Everything is drawn from `results.json` and `figure.svg`, so that a folder can be shown again at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sharewise.report.components import FIGURES, Page, Section, card, cards, how, note, picture, render, save, values
from sharewise.report.components import verdict as claim
from sharewise.report.documents import Document, showing
from sharewise.report.markup import Markup, element, join
from sharewise.report.words import capital

__all__ = ["write_comparison"]

_CAPTION = (
    "Mean regret over the repeats with its 95 % t interval, against cost; the dotted line is the architecture with the "
    "best signal, with which a search that knew every signal would end"
)


def write_comparison(folder: Path) -> Path:
    """Write the `report.html` of a comparison.

    Args:
        folder: with `results.json` and `figure.svg`.

    Returns:
        The path of the page.

    Raises:
        CheckpointError: when a file is missing or damaged.
        SharewiseError: when the folder cannot be written.
    """
    with showing(folder, "comparison", "run sharewise compare again") as read:
        document = read("results.json")
        return save(folder / "report.html", render(_page(folder, document), FIGURES))


def _page(folder: Path, document: Document) -> Page:
    plan, panels = document["plan"], document["datasets"]
    count = f"{plan['repeats']:,} repeats"
    return Page(
        eyebrow="sharewise comparison",
        title=f"Which strategy on {plan['table']['benchmark']}?",
        subtitle=f"{', '.join(plan['strategies'])}; {count} each, in {plan['unit']}",
        headline=_cards(plan, panels),
        sections=[
            Section("verdict", "Verdict", _verdicts(panels)),
            Section("curves", "Regret against cost", picture(folder / "figure.svg", _CAPTION)),
            Section("table", "At the whole budget", _table(panels)),
            Section("pairs", "Every two strategies", _pairs(panels)),
            Section("searches", "Finished searches", _searches(panels)),
            Section("plan", "Settings", _plan(plan, panels)),
        ],
        footer=element("footer", "Made by sharewise from ", element("code", str(folder)), "."),
    )


def _cards(plan: Document, panels: Document) -> Markup:
    claimed = sum(one["better"] is not None for panel in panels.values() for one in panel.get("verdicts", ()))
    of = sum(len(panel.get("verdicts", ())) for panel in panels.values())
    found = [
        card("Strategies", str(len(plan["strategies"]))),
        card("Data sets", str(len(panels)), ", ".join(panels)),
        card("Repeats", f"{plan['repeats']:,}", "of each"),
        card("Claims", f"{claimed} of {of}", "pairs that differ"),
    ]
    return cards(found)


def _verdicts(panels: Document) -> Markup:
    parts: list[Markup] = []
    for name, panel in panels.items():
        found = panel.get("verdicts", ())
        parts += [element("h3", name), *(claim(capital(one["sentence"])) for one in found if one["better"])]
        rest = [element("li", capital(one["sentence"])) for one in found if not one["better"]]
        parts += [element("ul", *rest)] if rest else []
        parts += [note(capital(text)) for text in panel["notes"]]
    return join(
        how(
            "Regret is the best test accuracy that the table has less that of the architecture which a search hands "
            "over. One strategy is called better where the test of means and the test of ranks both say so after one "
            "correction for all pairs (Holm); else nothing is claimed."
        ),
        *parts,
    )


def _table(panels: Document) -> Markup:
    def rows(panel: Document) -> Iterator[tuple[str, list[str]]]:
        for name, curve in panel["strategies"].items():
            yield (
                name,
                [
                    _interval(curve["mean"][-1], curve["mean_interval"][-1]),
                    _interval(curve["median"][-1], curve["median_interval"][-1]),
                    str(curve["n"]),
                    f"{curve['evaluations']['mean']:,.0f}",
                ],
            )

    heads = ["Strategy", "mean regret, points", "median regret, points", "repeats", "evaluations"]
    parts = [join(element("h3", name), values(heads, rows(panel))) for name, panel in panels.items()]
    return join(
        how("Means with Student's t intervals, medians with intervals from order statistics, 95 % each."), *parts
    )


def _interval(value: float | None, ends: list[float] | None) -> str:
    if value is None:
        return "no result in some repeats"
    return f"{value:.2f}" if ends is None else f"{value:.2f} [{ends[0]:.2f}, {ends[1]:.2f}]"


def _pairs(panels: Document) -> Markup | None:
    body = []
    for name, panel in panels.items():
        for one in panel.get("verdicts", ()):
            gap, p = one["difference"], one["corrected"]
            shown = (
                "–"
                if gap is None or gap["low"] is None
                else f"{gap['mean']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]"
            )
            chance = "–" if p is None else f"{p:.2g}"
            body.append((f"{name}: {' − '.join(one['names'])}", [shown, chance, one["better"] or "cannot tell"]))
    if not body:
        return None
    return join(
        how("Mean regret of the first less that of the second; negative where the first is better."),
        values(["Pair", "difference, points", "corrected p", "better"], body),
    )


def _searches(panels: Document) -> Markup | None:
    body = [
        (
            f"{name}: {method}",
            [
                _interval(found["mean"], found["interval"]),
                str(found["n"]),
                f"{found['mean_cost'] / panel['scale']:.3g}",
            ],
        )
        for name, panel in panels.items()
        for method, found in panel["methods"].items()
    ]
    if not body:
        return None
    return join(
        how("Each is charged for all that it did until it chose its architecture, in the unit of the axis."),
        values(["Method", "mean regret, points", "searches", "mean cost"], body),
    )


def _plan(plan: Document, panels: Document) -> Markup:
    body = []
    for name, panel in panels.items():
        covered = f"{panel['architectures']:,} of {panel['of']:,}"
        budget = f"{panel['budget']['cost'] / panel['scale']:,.4g} {panel['unit_shown']}"
        epochs = " and ".join(map(str, panel["fidelities"]))
        body.append((name, [epochs, budget, covered, f"{panel['best_test']:.2f} %", f"{panel['floor']:.2f}"]))
    heads = ["Data set", "signal, epochs", "budget", "architectures", "best test accuracy", "regret of the best signal"]
    return join(how(f"Seed {plan['seed']}; the signal is the {plan['signal_seed']} over runs."), values(heads, body))
