"""Views of an appraisal: its verdict, and every table that it rests on, explained in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharewise.report.appraisal_figures import MEANINGS
from sharewise.report.components import how, note, picture, values, verdict
from sharewise.report.markup import Markup, element, join
from sharewise.report.rank_tables import EFFECTS
from sharewise.report.words import capital, duration, estimate, mean, p_value, signed

__all__ = ["agreement", "bias", "costs", "disorder", "larger", "regret", "what_follows"]

_BIASES_SHOWN = 12
_STATISTICS = {
    "spearman": "Spearman",
    "kendall": "Kendall τ-b",
    "weighted_tau_by_truth": "weighted τ, by truth",
    "weighted_tau_by_proxy": "weighted τ, by score",
}
Document = Mapping[str, Any]
Captions = Mapping[str, str]


def what_follows(folder: Path, document: Document, captions: Captions) -> Markup:
    """The verdict with its sentences and notes."""
    row = _row_of_verdict(document)
    sentences = [document["verdict"]["sentence"]]
    found = row.get("at_equal_cost", {})
    sentences += [f"{name}: {r['sentence']}" for name, r in found.items() if r["sentence"] != sentences[0]]
    sentences.append(f"With equally many trainings: {row['with_equally_many_trainings']['sentence']}")
    if document["recalibration"] is not None:
        sentences.append(document["recalibration"]["sentence"])
    return join(
        how(
            "Sharing helps where a search that trains the architectures with the best scores ends lower in regret than "
            "a search without a supernet that has spent as much. The claim is as strong as the interval allows: where "
            "it holds 0, nothing is claimed."
        ),
        verdict(capital(sentences[0])),
        element("ul", *(element("li", capital(sentence)) for sentence in sentences[1:])),
        _notes(document),
    )


def _row_of_verdict(document: Document) -> Document:
    verdict = document["verdict"]
    row: Document = next(r for r in document["regret"]["variants"][verdict["variant"]] if r["k"] == verdict["top"])
    return row


def _notes(document: Document) -> Markup | None:
    if not document["notes"]:
        return None
    items = (element("li", capital(note)) for note in document["notes"])
    return join(element("h3", "What to keep in mind"), element("ul", *items))


def agreement(folder: Path, document: Document, captions: Captions) -> Markup:
    """Rank correlation over seeds, and supernet by supernet."""
    variants = document["variants"]
    columns = [*_STATISTICS, *(f"precision_at_{k}" for k in document["tops"])]
    heads = [*_STATISTICS.values(), *(f"precision at {k}" for k in document["tops"])]
    body = [
        (
            MEANINGS.get(variant, variant),
            [_over_seeds(document["agreement"][variant]["over_seeds"][column]) for column in columns],
        )
        for variant in variants
    ]
    chance = ", ".join(f"{k / document['n']:.2f} at {k}" for k in document["tops"])
    singles = [
        (
            f"seed {seed}, {variant}",
            [estimate(found[column]) if not found["failed"] else "failed" for column in _STATISTICS]
            + [str(found["tied_proxy"])],
        )
        for variant in variants
        for seed, found in document["agreement"][variant]["by_seed"].items()
    ]
    return join(
        how(
            f"A search needs the right order, not the right accuracy. Every supernet scored the same {document['n']:,} "
            f"architectures on the same {document['scored_on']}; the truth is the {document['truth']['label']}. A "
            "correlation of 1 is the true order, 0 is none. Weighted τ counts swaps among the best most; precision at "
            f"k is the share of the truly best k among the k best by score (by chance: {chance})."
        ),
        values(["Mean over seeds ± 95 % t interval", *heads], body),
        note(capital(document["recalibration"]["sentence"])) if document["recalibration"] else None,
        *(_drawn(folder, f"scatter-{variant}", captions) for variant in variants),
        element("h3", "Supernet by supernet"),
        how(
            "Here the intervals say what other samples of architectures would give with the same supernet (bootstrap)."
        ),
        values(["", *_STATISTICS.values(), "tied scores"], singles),
    )


def training_free(folder: Path, document: Document, captions: Captions) -> Markup | None:
    """Scores of untrained networks against the same truth."""
    found: Mapping[str, Mapping[str, Any]] = document.get("training_free", {})  # absent from older appraisals
    if not found:
        return None
    body = [
        (
            name,
            [
                *("no ranking" if row["failed"] else estimate(row[column]) for column in _STATISTICS),
                str(row["without_a_value"]),
                f"{row['multiply_accumulates']:.3g}",
            ],
        )
        for name, row in found.items()
    ]
    heads = ["", *_STATISTICS.values(), "without a value", "passes × MACs each"]
    return join(
        how(
            "The same architectures, judged as they are initialised, by one batch each. A supernet should rank better "
            "than these, which cost next to nothing; they have no part in the verdict. Architectures without a value "
            "rank last."
        ),
        values(heads, body),
    )


def disorder(folder: Path, document: Document, captions: Captions) -> Markup | None:
    """The picture of disordered ranks."""
    return _drawn(folder, "disorder", captions)


def _claim(bias: Mapping[str, Any]) -> str:
    if bias.get("doubtful"):  # absent from appraisals that knew nothing of errors of the truth
        return "open: errors of the truth may explain it"
    return ("over-valued" if bias["effect"]["value"] > 0 else "under-valued") if bias["found"] else "no claim"


def bias(folder: Path, document: Document, captions: Captions) -> Markup | None:
    """Features that supernets over- or under-value."""
    parts: list[Markup] = []
    for variant, report in document["bias"].items():
        rows = [
            (
                bias["feature"],
                [
                    signed(bias["effect"]),
                    f"{bias['corrected']:.2g}",
                    _claim(bias),
                    f"{round(100 * bias['shift']['value']) or 0:+d} %",
                    f"{bias['having']}" if bias["boolean"] else "a number",
                ],
            )
            for bias in report["biases"][:_BIASES_SHOWN]
        ]
        heads = [
            "Feature",
            "effect at equal truth",
            "corrected p",
            "the supernets …",
            "raw shift of ranks",
            "having it",
        ]
        more = len(report["biases"]) - len(rows)
        parts += [
            element("h3", capital(MEANINGS.get(variant, variant))),
            verdict(capital(report["sentence"])),
            values(heads, rows),
            *([note(f"{more} weaker ones are in appraisal.json.")] if more > 0 else []),
        ]
    if not parts:
        return None
    return join(
        how(
            "Which structures do supernets rank higher, or lower, than they deserve? The effect is the correlation of "
            "a feature with the mean rank over the supernets once all that the true rank predicts is taken away; p "
            "values are corrected for the number of features, so that a single false claim among all has the stated "
            "chance. The raw shift is how many places of the ranking (in shares of the sample) the feature moves; "
            "noise alone makes it negative for features of good architectures."
        ),
        *parts,
    )


def regret(folder: Path, document: Document, captions: Captions) -> Markup:
    """Guided searches beside others at equal cost."""
    regret, unit = document["regret"], document["truth"]["unit"]
    rivals = regret["rivals"]
    priced = regret["unit"] is not None and bool(rivals)
    heads = ["Search", f"regret, {unit}"]
    heads += ["cost, mean trainings"] if priced else []
    heads += [f"beside {name} at equal cost" for name in rivals] if priced else []
    heads += ["beside as many random trainings of the sample", "worth in random trainings"]
    body: list[tuple[str, list[str | Markup]]] = []
    for variant, rows in regret["variants"].items():
        for row in rows:
            cells: list[str | Markup] = [mean(row.get("interval"), 2)]
            if priced:
                cells.append(f"{row['cost_shown']:.3g}" if "cost_shown" in row else "–")
                cells += [_effect(row.get("at_equal_cost", {}).get(name)) for name in rivals]
            cells += [_effect(row["with_equally_many_trainings"]), _worth(row)]
            body.append((f"TOP-{row['k']}, {variant}", cells))
    ways = (
        "The supernet's training and the scoring of the sample are charged to the guided search before its first "
        "training, in the same unit as everything else: passes × multiply-accumulates, shown in mean trainings."
        if priced
        else "Costs in a common unit are not known here, so only searches with equally many trainings are compared."
    )
    legend = element(
        "p",
        "Each comparison is the mean regret of the guided search less that of the other one, with Welch's interval and "
        "Cohen's d; a claim needs Mann and Whitney's test of ranks as well. ",
        *(
            element("span", f" {name} ({rule}) ", style=f"background: {colour}; padding: 0 6px; margin-right: 6px")
            for name, (colour, rule) in EFFECTS.items()
        ),
        " No colour: |d| < 0.2, or no claim holds over both other seeds and other samples of architectures.",
        class_="note",
    )
    best = document["truth"]
    return join(
        how(
            f"Regret is the best known value ({best['best']:.2f}) less that of the architecture which a search hands "
            f"over; the best of the sample lies {best['best'] - best['best_of_sample']:.2f} {unit} below. TOP-k trains "
            f"the k best by score and keeps the one that trained best. {ways}"
        ),
        _drawn(folder, "regret", captions),
        values(heads, body),
        legend,
    )


def _effect(found: Document | None) -> Markup:
    """A comparison as a cell in the colours of the paper's table 2."""
    if found is None or found["comparison"] is None:
        return element("span", "–" if found is None else found["answer"])
    welch, d = found["comparison"]["welch"], found["comparison"]["cohens_d"]["value"]
    difference = welch["difference"]
    half = (difference["high"] - difference["low"]) / 2
    chance = welch["p_value"]
    colour = None
    if d is not None and abs(d) >= 0.2 and found["answer"] != "cannot tell":
        strength = "much " if abs(d) >= 0.5 else ""
        colour = EFFECTS[f"{strength}{'smaller' if d < 0 else 'larger'}"][0]
    n = " + ".join(str(side) for side in found["comparison"]["n"])
    return element(
        "span",
        f"{difference['value']:+.2f} ± {half:.2f} ",
        element("small", f"d = {'–' if d is None else format(d, '.2f')}, {p_value(chance)}, n = {n}"),
        style=f"background: {colour}; padding: 1px 6px; display: inline-block" if colour else None,
    )


def _worth(row: Document) -> str:
    worth = row.get("worth_in_random_trainings")
    return "–" if worth is None else f"{worth:.1f}"


def larger(folder: Path, document: Document, captions: Captions) -> Markup | None:
    """What narrower intervals would cost."""
    rows = document["larger_samples"]
    if not rows:
        return None
    body = [
        (
            f"± {row['half_width']:g}",
            [
                f"{row['architectures']:,}",
                f"{row['multiply_accumulates']:.3g}",
                duration(row["seconds_of_one_core"]),
            ],
        )
        for row in rows
    ]
    heads = ["Interval of the correlation", "architectures", "multiply-accumulates", "on one core of this machine"]
    return join(
        how(
            "What it would cost to know the correlation more exactly, if it is what was found here: trainings of the "
            "same length, by the usual interval of Spearman's correlation (Bonett and Wright, 2000)."
        ),
        values(heads, body),
    )


def costs(folder: Path, document: Document, captions: Captions) -> Markup:
    """What the supernets cost."""
    variants = document["variants"]
    body = [
        (
            f"seed {run['seed']}",
            [
                f"{run['training_multiply_accumulates']:.3g}",
                duration(run["training_seconds"]),
                *(f"{run['scoring_multiply_accumulates'][variant]:.3g}" for variant in variants),
            ],
        )
        for run in document["runs"]
    ]
    heads = ["Supernet", "training, MAC", "training, time", *(f"scoring ({variant}), MAC" for variant in variants)]
    return join(
        how(
            "Passes × multiply-accumulates: a forward pass counts once, a backward pass to weights and activations "
            "twice. Times are of this machine and are never compared with a benchmark's."
        ),
        values(heads, body),
    )


def _over_seeds(found: Document) -> str:
    interval, failed = found["interval"], len(found["failed"])
    star = f" ({failed} failed)" if failed else ""
    return f"failed{star}" if interval is None else f"{mean(interval, 2)}{star}"


def _drawn(folder: Path, name: str, captions: Captions) -> Markup | None:
    """A figure of the appraisal; `None` where it was not drawn."""
    return picture(folder / "figures" / f"{name}.svg", captions[name]) if name in captions else None
