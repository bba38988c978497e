"""The page of an appraisal: the verdict first, then every picture and table that it rests on, explained in words.

Everything is drawn from `appraisal.json` and `architectures.json`, so that a folder can be shown again at any time.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharewise.atomic import replacing
from sharewise.errors import CheckpointError, SharewiseError
from sharewise.report.markup import Markup, element, join
from sharewise.report.rank_figures import (
    Curve,
    RegretPanel,
    ScatterPanel,
    draw_disorder,
    draw_guided_regret,
    draw_scatter,
)
from sharewise.report.rank_tables import EFFECTS

__all__ = ["write_appraisal"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_SEEDS_SHOWN, _BIASES_SHOWN = 3, 12
_STATISTICS = {
    "spearman": "Spearman",
    "kendall": "Kendall τ-b",
    "weighted_tau_by_truth": "weighted τ, by truth",
    "weighted_tau_by_proxy": "weighted τ, by score",
}
_MEANINGS = {
    "running": "running statistics (NO-FT)",
    "recalibrated": "recalibrated statistics (BNS-FT)",
    "fine-tuned": "after fine-tuning",
}
Document = Mapping[str, Any]
Floats = NDArray[np.float64]


def write_appraisal(folder: Path) -> Path:
    """Draw the figures of an appraisal as SVG and PNG, and write its `report.html`.

    Args:
        folder: with `appraisal.json` and `architectures.json`.

    Returns:
        The path of the page, which replaces an older one only once it is complete.

    Raises:
        CheckpointError: when a file is missing or damaged.
        SharewiseError: when the folder cannot be written.
    """
    document, rows = _read(folder / "appraisal.json"), _read(folder / "architectures.json")
    try:
        pictures = folder / "figures"
        pictures.mkdir(exist_ok=True)
        captions = _figures(document, rows, pictures)
        page = _page(folder, document, captions)
        path = folder / "report.html"
        with replacing(path) as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SharewiseError(f"cannot write the report into {folder}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / 'appraisal.json'} is damaged ({type(error).__name__}: {error}); appraise again"
        ) from None
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; run sharewise appraise with --out {path.parent}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is damaged: it holds no appraisal")
    return value


# -------------------------------------------------------------------------------------------------------- figures


def _figures(document: Document, rows: Mapping[str, Any], pictures: Path) -> dict[str, str]:
    """Draw what there is to draw; captions by name of the file."""
    truth = np.array([row["truth"] for row in rows["architectures"]], dtype=np.float64)
    variants, seeds = document["variants"], document["seeds"]
    scores = {variant: {seed: _column(rows["architectures"], variant, seed) for seed in seeds} for variant in variants}
    captions: dict[str, str] = {}

    def draw(name: str, drawing: Callable[[Sequence[Path]], str]) -> None:
        targets = [pictures / f"{name}.{ending}" for ending in ("svg", "png")]
        places = [path.with_name(f".{path.stem}.new{path.suffix}") for path in targets]
        captions[name] = drawing(places)
        for place, target in zip(places, targets, strict=True):
            place.replace(target)

    main = document["verdict"]["variant"]
    percent = document["truth"]["unit"] == "points"
    feature, marked = _highlighted(document, rows, main)
    unit = ", %" if percent else ""
    for variant in variants:
        panels = [
            ScatterPanel(
                f"seed {seed}",
                truth,
                (100 if percent else 1) * column,
                marked,
                feature,
                _note(document["agreement"][variant]["by_seed"][seed]),
            )
            for seed, column in list(scores[variant].items())[:_SEEDS_SHOWN]
        ]
        title = f"{document['space']}, {_MEANINGS.get(variant, variant)}"
        draw(
            f"scatter-{variant}",
            partial(
                draw_scatter,
                panels,
                title,
                truth_label=document["truth"]["label"],
                proxy_label=f"score with shared weights{unit}",
            ),
        )
    shown = next((s for s in seeds if not document["agreement"][main]["by_seed"][s]["failed"]), None)
    if shown is not None:
        title = f"{document['space']}: disorder of ranks ({main}, seed {shown})"
        draw("disorder", lambda targets: draw_disorder(scores[main][shown], truth, title, targets))
    curves = document["regret"].get("curves")
    if curves is not None:
        panels_of_regret = [
            _regret_panel(document, curves, v) for v in variants if f"supernet, {v}" in curves["searches"]
        ]
        draw(
            "regret",
            lambda targets: draw_guided_regret(
                panels_of_regret,
                f"{document['space']}: regret at equal cost",
                targets,
                unit="mean trainings",
                ylabel=f"regret, {document['truth']['unit']}",
            ),
        )
    return captions


def _column(architectures: Sequence[Mapping[str, Any]], variant: str, seed: str) -> Floats:
    """Scores of a supernet; what is no number is drawn, and ranked, as the worst."""
    column = np.array([row["scores"][variant][seed] for row in architectures], dtype=np.float64)
    known = np.isfinite(column)
    column[~known] = column[known].min() if known.any() else 0.0
    return column


def _highlighted(document: Document, rows: Mapping[str, Any], variant: str) -> tuple[str, NDArray[np.bool_] | None]:
    """The boolean feature that is most over- or under-valued, or else one that tells of a residual edge."""
    features: Mapping[str, Sequence[Any]] = rows["features"]
    named = [b["feature"] for b in document["bias"].get(variant, {}).get("biases", ()) if b["boolean"] and b["found"]]
    named += [name for name in features if name.startswith("residual edge")]
    for name in named:
        values = features.get(name, ())
        if values and all(isinstance(value, bool) for value in values) and 0 < sum(values) < len(values):
            return name, np.array(values, dtype=bool)
    return "", None


def _note(agreement: Document) -> str:
    spearman = agreement["spearman"]
    if spearman is None:
        return "failed: all scores are the same"
    ends = f" [{spearman['low']:.2f}, {spearman['high']:.2f}]" if spearman["low"] is not None else ""
    return f"Spearman {spearman['value']:.2f}{ends}"


def _regret_panel(document: Document, curves: Document, variant: str) -> RegretPanel:
    scale = document["regret"]["scale"]
    x = np.array(curves["checkpoints"], dtype=np.float64) / scale

    def curve(found: Document) -> Curve:
        pairs = [[math.nan, math.nan] if pair is None else pair for pair in found["mean_interval"]]
        low, high = np.array(pairs, dtype=np.float64).T
        return Curve(x, np.array(found["mean"], dtype=np.float64), low, high)

    searches = {"guided by a supernet": curves["searches"][f"supernet, {variant}"]}
    searches |= {name: curves["searches"][name] for name in document["regret"]["rivals"]}
    tops = {row["k"]: row["cost_shown"] for row in document["regret"]["variants"][variant] if "cost_shown" in row}
    title = _MEANINGS.get(variant, variant)
    return RegretPanel(title, {name: curve(found) for name, found in searches.items()}, tops)


# ----------------------------------------------------------------------------------------------------------- page


def _page(folder: Path, document: Document, captions: Mapping[str, str]) -> str:
    built = [(key, title, build(folder, document, captions)) for key, title, build in _SECTIONS]
    present = [(key, title, content) for key, title, content in built if content]
    title = f"Should {document['space']} share weights?"
    head = join(
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("title", f"{title} · sharewise"),
        element("style", Markup(files("sharewise.report").joinpath("style.css").read_text(encoding="utf-8") + _STYLE)),
    )
    header = element(
        "header",
        element("p", "sharewise appraisal", class_="eyebrow"),
        element("h1", title),
        element("p", f"{document['method']}: {document['description']}, on {document['data']}", class_="subtitle"),
        element("nav", *(element("a", name, href=f"#{key}") for key, name, _ in present), aria_label="Sections"),
        _cards(document),
    )
    sections = (
        element("section", element("h2", name, id=f"{key}-title"), content, id=key, aria_labelledby=f"{key}-title")
        for key, name, content in present
    )
    footer = element("footer", "Made by sharewise from ", element("code", str(folder)), ".")
    body = element("body", element("main", header, *sections, footer))
    return f'<!doctype html>\n<html lang="en">\n{element("head", head)}\n{body}\n</html>\n'


_STYLE = """
img.figure { display: block; max-width: 100%; height: auto; margin: 6px 0; background: #ffffff; border-radius: 8px; }
caption { text-align: left; padding-bottom: 8px; color: var(--muted); font-size: 14px; }
thead th.number { white-space: normal; }
td small { display: block; color: var(--muted); white-space: nowrap; }
h3 { margin: 22px 0 4px; font-size: 16px; }
"""


def _cards(document: Document) -> Markup:
    verdict = document["verdict"]
    variant = verdict["variant"]
    spearman = document["agreement"][variant]["over_seeds"]["spearman"]
    row = next(r for r in document["regret"]["variants"][variant] if r["k"] == verdict["top"])
    cards = [
        _card("Answer", verdict["answer"], None, wide=True),
        _card("Spearman", _mean(spearman["interval"], 2), variant),
        _card(f"TOP-{verdict['top']} regret", _mean(row.get("interval"), 2), document["truth"]["unit"]),
        _card("Architectures", f"{document['n']:,}", document["truth"]["source"]),
        _card("Supernets", str(len(document["seeds"])), f"seed {', '.join(document['seeds'])}"),
    ]
    return element("dl", *cards, class_="cards")


def _card(name: str, value: str, note: str | None, *, wide: bool = False) -> Markup:
    small = element("small", note) if note else None
    return element("div", element("dt", name), element("dd", value, small), class_="wide" if wide else None)


def _verdict(folder: Path, document: Document, captions: Mapping[str, str]) -> Markup:
    row = _row_of_verdict(document)
    sentences = [document["verdict"]["sentence"]]
    found = row.get("at_equal_cost", {})
    sentences += [f"{name}: {r['sentence']}" for name, r in found.items() if r["sentence"] != sentences[0]]
    sentences.append(f"With equally many trainings: {row['with_equally_many_trainings']['sentence']}")
    if document["recalibration"] is not None:
        sentences.append(document["recalibration"]["sentence"])
    return join(
        _how(
            "Sharing helps where a search that trains the architectures with the best scores ends lower in regret than "
            "a search without a supernet that has spent as much. The claim is as strong as the interval allows: where "
            "it holds 0, nothing is claimed."
        ),
        element("p", _capital(sentences[0]), class_="verdict"),
        element("ul", *(element("li", _capital(sentence)) for sentence in sentences[1:])),
        _notes(document),
    )


def _row_of_verdict(document: Document) -> Document:
    verdict = document["verdict"]
    row: Document = next(r for r in document["regret"]["variants"][verdict["variant"]] if r["k"] == verdict["top"])
    return row


def _notes(document: Document) -> Markup | None:
    if not document["notes"]:
        return None
    items = (element("li", _capital(note)) for note in document["notes"])
    return join(element("h3", "What to keep in mind"), element("ul", *items))


def _agreement(folder: Path, document: Document, captions: Mapping[str, str]) -> Markup:
    variants = document["variants"]
    columns = [*_STATISTICS, *(f"precision_at_{k}" for k in document["tops"])]
    heads = [*_STATISTICS.values(), *(f"precision at {k}" for k in document["tops"])]
    body = [
        (
            _MEANINGS.get(variant, variant),
            [_over_seeds(document["agreement"][variant]["over_seeds"][column]) for column in columns],
        )
        for variant in variants
    ]
    chance = ", ".join(f"{k / document['n']:.2f} at {k}" for k in document["tops"])
    singles = [
        (
            f"seed {seed}, {variant}",
            [_estimate(found[column]) if not found["failed"] else "failed" for column in _STATISTICS]
            + [str(found["tied_proxy"])],
        )
        for variant in variants
        for seed, found in document["agreement"][variant]["by_seed"].items()
    ]
    return join(
        _how(
            f"A search needs the right order, not the right accuracy. Every supernet scored the same {document['n']:,} "
            f"architectures on the same {document['scored_on']}; the truth is the {document['truth']['label']}. A "
            "correlation of 1 is the true order, 0 is none. Weighted τ counts swaps among the best most; precision at "
            f"k is the share of the truly best k among the k best by score (by chance: {chance})."
        ),
        _table(["Mean over seeds ± 95 % t interval", *heads], body),
        element("p", _capital(document["recalibration"]["sentence"]), class_="note")
        if document["recalibration"]
        else None,
        *(_figure(folder, f"scatter-{variant}", captions) for variant in variants),
        element("h3", "Supernet by supernet"),
        _how(
            "Here the intervals say what other samples of architectures would give with the same supernet (bootstrap)."
        ),
        _table(["", *_STATISTICS.values(), "tied scores"], singles),
    )


def _disorder(folder: Path, document: Document, captions: Mapping[str, str]) -> Markup | None:
    return _figure(folder, "disorder", captions)


def _bias(folder: Path, document: Document, captions: Mapping[str, str]) -> Markup | None:
    parts: list[Markup] = []
    for variant, report in document["bias"].items():
        rows = [
            (
                bias["feature"],
                [
                    _signed(bias["effect"]),
                    f"{bias['corrected']:.2g}",
                    ("over-valued" if bias["effect"]["value"] > 0 else "under-valued") if bias["found"] else "no claim",
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
            element("h3", _capital(_MEANINGS.get(variant, variant))),
            element("p", _capital(report["sentence"]), class_="verdict"),
            _table(heads, rows),
            *([element("p", f"{more} weaker ones are in appraisal.json.", class_="note")] if more > 0 else []),
        ]
    if not parts:
        return None
    return join(
        _how(
            "Which structures do supernets rank higher, or lower, than they deserve? The effect is the correlation of "
            "a feature with the mean rank over the supernets once all that the true rank predicts is taken away; p "
            "values are corrected for the number of features, so that a single false claim among all has the stated "
            "chance. The raw shift is how many places of the ranking (in shares of the sample) the feature moves; "
            "noise alone makes it negative for features of good architectures."
        ),
        *parts,
    )


def _regret(folder: Path, document: Document, captions: Mapping[str, str]) -> Markup:
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
            cells: list[str | Markup] = [_mean(row.get("interval"), 2)]
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
        _how(
            f"Regret is the best known value ({best['best']:.2f}) less that of the architecture which a search hands "
            f"over; the best of the sample lies {best['best'] - best['best_of_sample']:.2f} {unit} below. TOP-k trains "
            f"the k best by score and keeps the one that trained best. {ways}"
        ),
        _figure(folder, "regret", captions),
        _table(heads, body),
        legend,
    )


def _effect(found: Document | None) -> Markup:
    """A comparison as a cell in the colours of the paper's table 2."""
    if found is None or found["comparison"] is None:
        return element("span", "–" if found is None else found["answer"])
    welch, d = found["comparison"]["welch"], found["comparison"]["cohens_d"]["value"]
    difference = welch["difference"]
    half = (difference["high"] - difference["low"]) / 2
    p_value = welch["p_value"]
    colour = None
    if d is not None and abs(d) >= 0.2 and found["answer"] != "cannot tell":
        strength = "much " if abs(d) >= 0.5 else ""
        colour = EFFECTS[f"{strength}{'smaller' if d < 0 else 'larger'}"][0]
    n = " + ".join(str(side) for side in found["comparison"]["n"])
    return element(
        "span",
        f"{difference['value']:+.2f} ± {half:.2f} ",
        element("small", f"d = {'–' if d is None else format(d, '.2f')}, {_p(p_value)}, n = {n}"),
        style=f"background: {colour}; padding: 1px 6px; display: inline-block" if colour else None,
    )


def _worth(row: Document) -> str:
    worth = row.get("worth_in_random_trainings")
    return "–" if worth is None else f"{worth:.1f}"


def _larger(folder: Path, document: Document, captions: Mapping[str, str]) -> Markup | None:
    rows = document["larger_samples"]
    if not rows:
        return None
    body = [
        (
            f"± {row['half_width']:g}",
            [
                f"{row['architectures']:,}",
                f"{row['multiply_accumulates']:.3g}",
                _duration(row["seconds_of_one_core"]),
            ],
        )
        for row in rows
    ]
    heads = ["Interval of the correlation", "architectures", "multiply-accumulates", "on one core of this machine"]
    return join(
        _how(
            "What it would cost to know the correlation more exactly, if it is what was found here: trainings of the "
            "same length, by the usual interval of Spearman's correlation (Bonett and Wright, 2000)."
        ),
        _table(heads, body),
    )


def _costs(folder: Path, document: Document, captions: Mapping[str, str]) -> Markup:
    variants = document["variants"]
    body = [
        (
            f"seed {run['seed']}",
            [
                f"{run['training_multiply_accumulates']:.3g}",
                _duration(run["training_seconds"]),
                *(f"{run['scoring_multiply_accumulates'][variant]:.3g}" for variant in variants),
            ],
        )
        for run in document["runs"]
    ]
    heads = ["Supernet", "training, MAC", "training, time", *(f"scoring ({variant}), MAC" for variant in variants)]
    return join(
        _how(
            "Passes × multiply-accumulates: a forward pass counts once, a backward pass to weights and activations "
            "twice. Times are of this machine and are never compared with a benchmark's."
        ),
        _table(heads, body),
    )


_Section = Callable[[Path, Document, Mapping[str, str]], Markup | None]
_SECTIONS: tuple[tuple[str, str, _Section], ...] = (
    ("verdict", "Verdict", _verdict),
    ("agreement", "Does the supernet rank rightly?", _agreement),
    ("disorder", "Disorder of ranks", _disorder),
    ("bias", "What is over- or under-valued?", _bias),
    ("regret", "Regret at equal cost", _regret),
    ("larger", "What a larger sample would cost", _larger),
    ("costs", "Costs of the supernets", _costs),
)


# --------------------------------------------------------------------------------------------------------- pieces


def _how(sentence: str) -> Markup:
    return element("p", sentence, class_="how")


def _table(heads: Sequence[str], body: Sequence[tuple[str, Sequence[str | Markup]]]) -> Markup:
    first, *rest = heads
    head = element(
        "tr", element("th", first, scope="col"), *(element("th", h, class_="number", scope="col") for h in rest)
    )
    rows = (
        element("tr", element("th", name, scope="row"), *(element("td", cell, class_="number") for cell in cells))
        for name, cells in body
    )
    return element("div", element("table", element("thead", head), element("tbody", *rows)), class_="scroll")


def _figure(folder: Path, name: str, captions: Mapping[str, str]) -> Markup | None:
    if name not in captions:
        return None
    content = base64.b64encode((folder / "figures" / f"{name}.svg").read_bytes()).decode()
    return join(
        element("img", src=f"data:image/svg+xml;base64,{content}", alt=captions[name], class_="figure"),
        element("p", captions[name], class_="how"),
    )


def _over_seeds(found: Document) -> str:
    interval, failed = found["interval"], len(found["failed"])
    star = f" ({failed} failed)" if failed else ""
    return f"failed{star}" if interval is None else f"{_mean(interval, 2)}{star}"


def _mean(interval: Document | None, digits: int) -> str:
    if interval is None:
        return "–"
    if interval["low"] is None:
        return f"{interval['mean']:.{digits}f} (one seed)"
    return f"{interval['mean']:.{digits}f} ± {(interval['high'] - interval['low']) / 2:.{digits}f}"


def _estimate(found: Document) -> str:
    ends = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
    return f"{found['value']:.2f}{ends}"


def _signed(found: Document) -> str:
    ends = "" if found["low"] is None else f" [{found['low']:+.2f}, {found['high']:+.2f}]"
    return f"{found['value']:+.2f}{ends}"


def _p(value: float | None) -> str:
    if value is None:
        return "p unknown"
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
