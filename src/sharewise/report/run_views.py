"""Views of what a run found and how it went: its cell, θ, curves, rounding gap and candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sharewise.report.cell import ABSENT, colours_of, draw_cell, draw_tall_cell
from sharewise.report.components import code, how, note, plots, table, verdict
from sharewise.report.curves import over_epochs
from sharewise.report.facts import inherited_on
from sharewise.report.figures import (
    Line,
    colour_scale,
    draw_difference,
    draw_heat_map,
    draw_lines,
    draw_strip,
)
from sharewise.report.markup import Markup, element, join
from sharewise.report.read import ReportData
from sharewise.report.words import score, unit

__all__ = ["against_random", "candidates", "cell", "curves", "drawn_curves", "gap", "probabilities", "theta"]

_SHOWN_CANDIDATES = 10


def cell(data: ReportData) -> Markup | None:
    """The pictures of the architecture's cells."""
    if not data.pictures:
        return None
    absent = any(operation in ABSENT for picture in data.pictures for *_, operation in picture.edges)
    colours = colours_of(data.pictures)
    dotted = "; a dotted edge carries nothing" if absent else ""
    return join(
        how(f"Data flows along the arrows, each of which is an operation of the architecture{dotted}."),
        *(
            element(
                "div",
                element("p", picture.title) if picture.title else None,
                draw_cell(picture, colours),
                draw_tall_cell(picture, colours),
                class_="drawing",
            )
            for picture in data.pictures
        ),
    )


def against_random(data: ReportData) -> Markup | None:
    """The architecture beside random ones."""
    versus = data.against_random
    if versus is None:
        return None
    scale, label = unit(versus.metric)
    strip = draw_strip(versus, name="strip", scale=scale, label=label)
    axis = f"{versus.metric}, percentage points" if scale == 100 else label
    difference = draw_difference(versus, name="difference", scale=scale, label=axis)
    return join(
        how(
            "Each dot is one trained architecture and each bar a mean; only where the interval of the "
            "difference stays clear of the dashed zero did the search beat luck."
        ),
        verdict(versus.verdict) if versus.verdict else None,
        plots(strip, difference),
    )


def theta(data: ReportData) -> Markup | None:
    """Probabilities of every decision over the epochs."""
    if data.kind == "train":
        return None
    named = [name for epoch in data.epochs for name in epoch.probabilities]
    decisions = dict.fromkeys([*(name for name in data.decisions if name in set(named)), *named])
    if not decisions:
        why = (
            "This method samples architectures and keeps no probabilities, so there is nothing to show here."
            if data.epochs
            else "No epoch is logged yet."
        )
        return note(why)
    panels = [
        element("figure", element("figcaption", element("code", name), element("span", f"max {top:.2f}")), plot)
        for index, name in enumerate(decisions)
        for top, plot in [probabilities(data, name, index)]
    ]
    scale = element(
        "div",
        "probability 0",
        element("i", style=f"background-image:{colour_scale()}", aria_hidden="true"),
        "1",
        class_="scale",
    )
    return join(
        how(
            "Each panel is one decision, with a row per option and a column per epoch: the brighter, the "
            "more probable; a search that has made up its mind ends with one bright row, named in bold."
        ),
        scale,
        element("div", *panels, class_="panels"),
    )


def probabilities(data: ReportData, name: str, index: int = 0) -> tuple[float, Markup]:
    """The largest probability of a decision at the end, and the plot of all of them over the epochs."""
    epochs = [epoch for epoch in data.epochs if name in epoch.probabilities]
    rows = [epoch.probabilities[name] for epoch in epochs]
    count = max(map(len, rows))
    options = [*data.decisions.get(name, ())[:count]]
    options += [f"option {place}" for place in range(len(options), count)]
    plot = draw_heat_map(rows, options, [epoch.index for epoch in epochs], name=f"theta-{index}", title=name)
    return max(rows[-1]), plot


def drawn_curves(data: ReportData) -> dict[str, Markup]:
    """Losses, entropy, held-out scores and the learning rate over the epochs, by name."""
    losses = [
        *_line(data, "shared weights" if data.kind == "search" else "training", "weights_loss"),
        *_line(data, "architecture", "architecture_loss"),
        *_scores(data, "held out", "loss"),
    ]
    entropy = _line(data, "θ", "entropy")
    marks = data.stages
    drawn: dict[str, Markup] = {}
    if losses:
        drawn["loss"] = draw_lines(losses, title="loss", name="loss", marks=marks)
    if entropy:
        most = _most_entropy(data)
        reference = None if most is None else (f"undecided, {most[0]} = {most[1]:.2f}", most[1])
        title = "mean entropy of θ, nats"
        drawn["entropy"] = draw_lines(entropy, title=title, name="entropy", reference=reference, marks=marks, floor=0.0)
    held_out = _scores(data, "held out", data.primary)
    if held_out:
        drawn["held-out"] = draw_lines(held_out, title=unit(data.primary)[1], name="held-out", marks=marks)
    rate = _line(data, "learning rate", "learning_rate")
    if rate and data.kind == "train":
        drawn["rate"] = draw_lines(rate, title="learning rate", name="rate", marks=marks)
    return drawn


def curves(data: ReportData) -> Markup | None:
    """The learning curves, and how to read them."""
    drawn = drawn_curves(data)
    if not drawn:
        return None
    sentence = "Losses should fall and level off."
    if "entropy" in drawn:
        sentence += " Entropy starts at the dashed line, where every option is alike, and falls to 0 as θ decides."
    if data.stages:
        sentence += " A vertical line marks a new stage."
    return join(how(sentence), plots(*drawn.values()))


def gap(data: ReportData) -> Markup | None:
    """The rounding gap over the epochs."""
    measured = [(epoch.index, epoch.gap) for epoch in data.epochs if epoch.gap is not None]
    drawn: list[Markup] = []
    for metric in dict.fromkeys((data.primary, "loss")):
        scale, label = unit(metric)
        points = [(x, gap) for x, gap in measured if metric in gap.supernet and metric in gap.architecture]
        if points:
            x = [x for x, _ in points]
            lines = [
                Line("supernet", x, [scale * gap.supernet[metric] for _, gap in points]),
                Line("architecture", x, [scale * gap.architecture[metric] for _, gap in points]),
            ]
            drawn.append(draw_lines(lines, title=label, name=f"gap-{len(drawn)}", fill=True))
    if data.gap is None:
        return None
    return join(
        how(
            "The same weights are scored as the whole supernet and as the one architecture it rounds to: the "
            "wider the band, the more is lost by rounding and the less the search says about the result."
        ),
        plots(*drawn) if drawn else None,
        note(_gap_at_the_end(data)),
    )


def _gap_at_the_end(data: ReportData) -> str:
    assert data.gap is not None
    supernet, architecture = (
        scores.get(data.primary, math.nan) for scores in (data.gap.supernet, data.gap.architecture)
    )
    scale, _ = unit(data.primary)
    points = " points" if scale == 100 else ""
    counted, kind = data.gap.examples, inherited_on(data)
    on = f", on {counted} {kind or 'examples'}" if counted else f", on {kind}" if kind else ""
    when = "At the end" if data.finished else "Last measured"
    return (
        f"{when}: supernet {score(data.primary, supernet)}, architecture {score(data.primary, architecture)}, "
        f"a gap of {scale * (supernet - architecture):.2f}{points} of {data.primary}{on}."
    )


def candidates(data: ReportData) -> Markup | None:
    """The best candidates that were scored."""
    shown = data.candidates[:_SHOWN_CANDIDATES]
    if not shown:
        return None
    metrics = [name for name in dict.fromkeys((data.primary, "loss")) if any(name in c.scores for c in shown)]
    values = [candidate.scores.get(data.primary, math.nan) for candidate in shown]
    head = element(
        "tr",
        element("th", "#", class_="number", scope="col"),
        element("th", "Architecture", scope="col"),
        *(element("th", name, class_="number", scope="col") for name in metrics),
        element("th", scope="col", aria_hidden="true"),
    )
    rows = (
        element(
            "tr",
            element("td", str(rank), class_="number"),
            element("td", code(candidate.architecture)),
            *(element("td", score(name, candidate.scores.get(name, math.nan)), class_="number") for name in metrics),
            element("td", _meter(value, values), class_="meter", aria_hidden="true"),
        )
        for rank, (candidate, value) in enumerate(zip(shown, values, strict=True), start=1)
    )
    rest = len(data.candidates) - len(shown)
    return join(
        how("Scored with the shared weights and not retrained, so trust the order more than the values."),
        table(head, *rows),
        note(f"{rest} more were scored and rank lower.") if rest else None,
    )


def _meter(value: float, values: Sequence[float]) -> Markup | None:
    top = max((abs(other) for other in values if math.isfinite(other)), default=0.0)
    if not math.isfinite(value) or not top:
        return None
    return element("div", style=f"width:{100 * abs(value) / top:.1f}%")


def _line(data: ReportData, label: str, key: str) -> list[Line]:
    return over_epochs(data, label, lambda epoch: epoch.values.get(key))


def _scores(data: ReportData, label: str, metric: str) -> list[Line]:
    scale = 1.0 if metric == "loss" else unit(metric)[0]
    return over_epochs(
        data, label, lambda epoch: scale * epoch.selection[metric] if metric in epoch.selection else None
    )


def _most_entropy(data: ReportData) -> tuple[str, float] | None:
    """The mean entropy of uniform θ, and how to write it."""
    # An option that is masked has probability zero from the start, and takes no part.
    counts = [sum(p > 0 for p in row) for epoch in data.epochs[:1] for row in epoch.probabilities.values()]
    if not counts:
        counts = [len(options) for options in data.decisions.values()]
    if not counts or min(counts) < 1:
        return None
    written = f"log {counts[0]}" if len(set(counts)) == 1 else "mean of log k"
    return written, sum(map(math.log, counts)) / len(counts)
