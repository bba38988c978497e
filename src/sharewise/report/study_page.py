"""The page of a study: what may be said first, then any-time curves, tables, every search, and the plan.

Everything is drawn from `study.json`, so that a folder can be shown again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from sharewise.report.anytime_figure import draw_anytime
from sharewise.report.canvas import narrow
from sharewise.report.components import (
    FIGURES,
    Page,
    Section,
    card,
    cards,
    code,
    how,
    note,
    picture,
    render,
    save,
    values,
    verdict,
)
from sharewise.report.documents import Document, showing
from sharewise.report.markup import Markup, element, join
from sharewise.report.words import capital, duration, si

__all__ = ["write_study"]

_CAPTION = (
    "Mean over seeds of what the architecture at hand is worth, with its 95 % t interval, against what the search has "
    "spent until then; a point with its interval is the end of the search. A method that decides only at its end has "
    "no curve"
)


_HOW_COMPARED = (
    "Two arms are compared on the seeds that both have. One is called better where the paired t test and Mann and "
    "Whitney's test of ranks both say so after one correction for all pairs (Holm): what searches find is discrete, "
    "and a few seeds easily agree by luck. With fewer than four seeds nothing can be claimed. Else nothing is."
)
_HOW_ONE = (
    "One method by itself. The interval around a mean over seeds (95 %, Student's t) says how well that mean is known "
    "here, and nothing about other methods."
)


def write_study(folder: Path) -> Path:
    """Draw the any-time curves of a study and write its `report.html`.

    Args:
        folder: with `study.json`.

    Returns:
        The path of the page, which replaces an older one only once it is complete.

    Raises:
        CheckpointError: when the document is missing or damaged.
        SharewiseError: when the folder cannot be written.
    """
    with showing(folder, "study", "run sharewise study again") as read:
        document = read("study.json")
        follows = any(len(cell["curve"]["values"]) > 1 for cell in document["cells"])
        drawn = {
            name: panel
            for name, panel in document["panels"].items()
            if panel["checkpoints"] and (follows or len(panel["arms"]) > 1)  # one point alone is a number
        }
        if drawn:
            wide, label = folder / "figure.svg", _label(document["metric"])
            draw_anytime(drawn, label, [wide, folder / "figure.png"])
            draw_anytime(drawn, label, [narrow(wide)], most=1)
        return save(folder / "report.html", render(_page(folder, document, bool(drawn)), FIGURES))


def _label(metric: Mapping[str, Any]) -> str:
    unit = "%" if metric["unit"] == "points" else metric["unit"]
    return f"{metric['what']}, {unit}"


def _page(folder: Path, document: Document, drawn: bool) -> Page:
    plan = document["plan"]
    seeds = f"{len(plan['seeds'])} seed{'s' * (len(plan['seeds']) != 1)}"
    return Page(
        eyebrow="sharewise study",
        title=capital(plan["title"]),
        subtitle=f"{_label(document['metric'])}; {_budget(plan)}; {seeds}",
        headline=_cards(document),
        sections=[
            Section("verdict", "Verdict", _verdicts(document)),
            Section("failures", "What has no result", _failures(document)),
            Section("curves", "Any-time curves", picture(folder / "figure.svg", _CAPTION) if drawn else None),
            Section("table", "Means over seeds", _table(document)),
            Section("pairs", "Every two arms", _pairs(document)),
            Section("searches", "Every search", _searches(document)),
            Section("plan", "Plan", _plan(plan)),
        ],
        footer=element("footer", "Made by sharewise from ", element("code", str(folder)), "."),
    )


def _budget(plan: Mapping[str, Any]) -> str:
    budget, most = plan["budget"], plan.get("settings", {}).get("max_steps")
    if budget["steps"] is not None:
        return f"{budget['steps']:,} weight steps each"
    if budget["multiply_accumulates"] is not None:
        return f"{si(float(budget['multiply_accumulates']), 'MAC')} each"
    if most is not None:
        return f"at most {most:,} steps each"
    return "each method over its own epochs"


def _cards(document: Document) -> Markup:
    panels = list(document["panels"].values())
    if len(panels) == 1 and len(panels[0]["arms"]) == 1:
        return _cards_of_one(document, next(iter(panels[0]["arms"].values())))
    said = [one for panel in panels for one in panel["verdicts"]]
    arms = list(dict.fromkeys(arm for panel in panels for arm in panel["arms"]))
    spent = sum(cell["seconds"] for cell in document["cells"])
    found = [
        card("Arms", str(len(arms)), "methods with options"),
        card("Searches", str(len(document["cells"])), f"{len(document['failures'])} without a result"),
        card("Claims", f"{sum(one['better'] is not None for one in said)} of {len(said)}", "pairs that differ"),
        card("Time", duration(spent), "of all searches together"),
    ]
    return cards(found)


def _cards_of_one(document: Document, arm: Mapping[str, Any]) -> Markup:
    """Of one method under several seeds: what it came to, and how much that varies."""
    found = []
    if arm["n"]:
        seeds = f"over {arm['n']} seed{'s' * (arm['n'] != 1)}"
        found.append(card(capital(_label(document["metric"])), *_mean(arm["interval"], seeds)))
        if arm.get("inherited") is not None:
            found.append(card("With inherited weights", *_mean(arm["inherited"], seeds)))
        found.append(card("Architectures", str(arm["architectures"]), f"different ones, in {arm['n']} searches"))
    failed = len(document["failures"])
    found.append(card("Searches", str(len(document["cells"])), f"{failed} without a result"))
    found.append(card("Time", duration(sum(cell["seconds"] for cell in document["cells"])), "of all searches together"))
    return cards(found)


def _mean(interval: Mapping[str, Any], seeds: str) -> tuple[str, str]:
    """A mean, and beneath it where it lies."""
    ends = "" if interval["low"] is None else f"[{interval['low']:.2f}, {interval['high']:.2f}] "
    return f"{interval['mean']:.2f}", f"{ends}{seeds}"


def _verdicts(document: Document) -> Markup:
    parts: list[Markup] = []
    for name, panel in document["panels"].items():
        found = panel["verdicts"]
        rest = [element("li", capital(one["sentence"])) for one in found if not one["better"]]
        parts += [element("h3", name), *(verdict(capital(one["sentence"])) for one in found if one["better"])]
        parts += [element("ul", *rest)] if rest else []
        parts += [] if found else [verdict(one) for one in panel.get("means", [])]
        parts += [note(capital(text)) for text in panel["notes"]]
    several = any(panel["verdicts"] for panel in document["panels"].values())
    return join(how(_HOW_COMPARED if several else _HOW_ONE), *parts)


def _failures(document: Document) -> Markup | None:
    if not document["failures"]:
        return None
    items = (element("li", element("code", name), f": {reason}") for name, reason in document["failures"].items())
    return join(how("These are left out of everything else. The same command tries them again."), element("ul", *items))


def _scores_shared_weights(document: Document) -> bool:
    """Whether what was found was scored with inherited weights as well."""
    return any(arm.get("inherited") for panel in document["panels"].values() for arm in panel["arms"].values())


def _table(document: Document) -> Markup:
    shared = _scores_shared_weights(document)
    heads = ["Arm", _label(document["metric"]), *(["with inherited weights"] if shared else [])]
    heads += ["n", "cost of a search", "time of a search", "different architectures"]
    parts: list[Markup] = []
    for name, panel in document["panels"].items():
        body = [(arm, _row(facts, shared)) for arm, facts in panel["arms"].items()]
        parts += [element("h3", name), values(heads, body)]
    return join(
        how(
            "Means over seeds with 95 % intervals (Student's t). Costs are passes × multiply-accumulates until the "
            f"architecture was chosen.{_trainings(document['judge'])}{_references(document['judge'])}"
        ),
        *parts,
    )


def _row(facts: Mapping[str, Any], shared: bool) -> list[str]:
    if not facts["n"]:
        return ["–", *(["–"] if shared else []), "0", "–", "–", "–"]
    shown = [_around(facts["interval"])]
    if shared:
        shown.append("–" if facts.get("inherited") is None else _around(facts["inherited"]))
    spent = [si(facts["cost"], "MAC"), duration(facts["seconds"])]
    return [*shown, str(facts["n"]), *spent, str(facts["architectures"])]


def _around(interval: Mapping[str, Any]) -> str:
    """A mean with its interval."""
    ends = "" if interval["low"] is None else f" [{interval['low']:.2f}, {interval['high']:.2f}]"
    return f"{interval['mean']:.2f}{ends}"


def _trainings(judge: Mapping[str, Any]) -> str:
    """How what was found was retrained, where it was."""
    source = str(judge.get("source", ""))
    return f" What was found was judged by {source}." if source.startswith("trainings") else ""


def _references(judge: Mapping[str, Any]) -> str:
    parts = [f" The best that is known in {name} is {best:.2f}" for name, best in judge.get("best", {}).items()]
    means = judge.get("mean", {})
    return "".join(
        f"{part}, the mean of all architectures {means[name]:.2f}."
        for part, name in zip(parts, judge.get("best", {}), strict=True)
    )


def _pairs(document: Document) -> Markup | None:
    body = []
    for name, panel in document["panels"].items():
        for one in panel["verdicts"]:
            gap, chances = one["difference"], [one[key] for key in ("p_means", "p_ranks", "corrected")]
            shown = "–"
            if gap is not None:
                ends = "" if gap["low"] is None else f" [{gap['low']:+.2f}, {gap['high']:+.2f}]"
                shown = f"{gap['mean']:+.2f}{ends}"
            cells = [shown, *("–" if p is None else f"{p:.2g}" for p in chances), one["better"] or "cannot tell"]
            body.append((f"{name}: {' − '.join(one['names'])}", cells))
    if not body:
        return None
    heads = ["Pair", "difference", "p, paired t", "p, ranks", "corrected", "better"]
    return join(
        how("Mean of the first less that of the second over the seeds of both, with its interval."), values(heads, body)
    )


def _searches(document: Document) -> Markup | None:
    shared = _scores_shared_weights(document)
    body = []
    for cell in document["cells"]:
        values_ = [f"{cell['value']:.2f}", *([f"{cell['inherited']:.2f}"] if shared else [])]
        spent = [si(cell["cost"], "MAC"), duration(cell["seconds"])]
        body.append((cell["cell"], [*values_, *spent, code(cell["architecture"])]))
    if not body:
        return None
    heads = ["Run", _label(document["metric"]), *(["with inherited weights"] if shared else [])]
    heads += ["cost", "time", "architecture"]
    return join(how("Each is a run folder below runs, with a report of its own."), values(heads, body))


def _plan(plan: Mapping[str, Any]) -> Markup:
    dump = partial(yaml.safe_dump, sort_keys=False, allow_unicode=True)
    return join(
        how("The whole plan, defaults included; it repeats the study."),
        element("pre", element("code", dump(dict(plan)))),
    )
