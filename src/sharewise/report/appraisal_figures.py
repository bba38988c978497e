"""Figures of an appraisal: scores beside the truth, disorder of ranks, regret at equal cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharewise.report.canvas import narrow
from sharewise.report.rank_figures import (
    Curve,
    RegretPanel,
    ScatterPanel,
    draw_disorder,
    draw_guided_regret,
    draw_scatter,
)

__all__ = ["MEANINGS", "draw_appraisal"]

_SEEDS_SHOWN = 3
MEANINGS = {
    "running": "running statistics (NO-FT)",
    "recalibrated": "recalibrated statistics (BNS-FT)",
    "fine-tuned": "after fine-tuning",
}
"""Of the ways of scoring, in words."""
Document = Mapping[str, Any]
Floats = NDArray[np.float64]


def draw_appraisal(document: Document, rows: Mapping[str, Any], pictures: Path) -> dict[str, str]:
    """Draw what there is to draw, as SVG and PNG.

    Args:
        document: of the appraisal.
        rows: of its architectures.
        pictures: folder of the figures.

    Returns:
        Captions by name of the file.
    """
    captions: dict[str, str] = {}
    figures = {**_scatters(document, rows), **_disorder(document, rows), **_regret(document)}
    for name, (draw, panels) in figures.items():
        wide = pictures / f"{name}.svg"
        captions[name] = draw([wide, wide.with_suffix(".png")])
        narrow(wide).unlink(missing_ok=True)
        if panels > 1:
            draw([narrow(wide)], most=1)
    return captions


_Drawing = tuple[Callable[..., str], int]
"""What writes files and returns what they show in words, with the number of panels."""


def _truth(rows: Mapping[str, Any]) -> Floats:
    return np.array([row["truth"] for row in rows["architectures"]], dtype=np.float64)


def _scatters(document: Document, rows: Mapping[str, Any]) -> dict[str, _Drawing]:
    """Scores beside the truth, a panel for each of the first seeds."""
    percent = document["truth"]["unit"] == "points"
    feature, marked = _highlighted(document, rows, document["verdict"]["variant"])
    truth, scale, unit = _truth(rows), 100 if percent else 1, ", %" if percent else ""
    found: dict[str, _Drawing] = {}
    for variant in document["variants"]:
        panels = [
            ScatterPanel(
                f"seed {seed}",
                truth,
                scale * _column(rows["architectures"], variant, seed),
                marked,
                feature,
                _note(document["agreement"][variant]["by_seed"][seed]),
            )
            for seed in document["seeds"][:_SEEDS_SHOWN]
        ]
        draw = partial(
            draw_scatter,
            panels,
            f"{document['space']}, {MEANINGS.get(variant, variant)}",
            truth_label=document["truth"]["label"],
            proxy_label=f"score with shared weights{unit}",
        )
        found[f"scatter-{variant}"] = draw, len(panels)
    return found


def _disorder(document: Document, rows: Mapping[str, Any]) -> dict[str, _Drawing]:
    """Of the first supernet that did not fail."""
    main = document["verdict"]["variant"]
    agreement = document["agreement"][main]["by_seed"]
    shown = next((seed for seed in document["seeds"] if not agreement[seed]["failed"]), None)
    if shown is None:
        return {}
    title = f"{document['space']}: disorder of ranks ({main}, seed {shown})"
    return {"disorder": (partial(draw_disorder, _column(rows["architectures"], main, shown), _truth(rows), title), 1)}


def _regret(document: Document) -> dict[str, _Drawing]:
    """Regret at equal cost, where costs are known."""
    curves = document["regret"].get("curves")
    if curves is None:
        return {}
    panels = [
        _regret_panel(document, curves, variant)
        for variant in document["variants"]
        if f"supernet, {variant}" in curves["searches"]
    ]
    title, label = f"{document['space']}: regret at equal cost", f"regret, {document['truth']['unit']}"
    return {"regret": (partial(draw_guided_regret, panels, title, unit="mean trainings", ylabel=label), len(panels))}


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
    title = MEANINGS.get(variant, variant)
    return RegretPanel(title, {name: curve(found) for name, found in searches.items()}, tops)
