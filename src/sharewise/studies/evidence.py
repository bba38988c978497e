"""Evidence of an appraisal: what supernets scored, what they cost, and what describes the architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharewise.engine import SearchState
from sharewise.errors import CheckpointError
from sharewise.run.finished import Finished
from sharewise.space import Architecture, features
from sharewise.studies.judgement import Supernets
from sharewise.studies.scoring import Score, Scoring
from sharewise.supernet import discrete
from sharewise.supernet.without_values import without_values

__all__ = ["describe", "scored_on", "spent_on_training", "supernets_of"]


def spent_on_training(run: Finished) -> dict[str, Any]:
    """What training a supernet took: multiply-accumulates and seconds, without its own selection."""
    ledger = run.ledger()
    try:
        macs = sum(int(ledger[part]["multiply_accumulates"]) for part in ("weights", "architecture") if part in ledger)
        return {"multiply_accumulates": macs, "seconds": float(ledger["search"]["seconds"])}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        where = "the search" if run.path is None else run.path / "result.json"
        raise CheckpointError(f"the ledger of {where} is damaged: {error!r}") from None


def supernets_of(
    scoring: Scoring, found: Mapping[str, Sequence[Score]], ledgers: Mapping[str, Mapping[str, Any]]
) -> tuple[Supernets, dict[str, dict[str, Any]]]:
    """Scores by variant and seed with what each search pays before its first training, and the costs as plain values.

    Args:
        scoring: names the variants.
        found: scores of the sample, by seed.
        ledgers: `spent_on_training`, by seed.
    """
    scores = {
        variant: {name: np.array([s.values[variant] for s in column]) for name, column in found.items()}
        for variant in scoring.variants
    }
    macs = {
        variant: {name: float(sum(s.multiply_accumulates[variant] for s in column)) for name, column in found.items()}
        for variant in scoring.variants
    }
    upfront = {
        variant: {name: ledgers[name]["multiply_accumulates"] + spent for name, spent in seeds.items()}
        for variant, seeds in macs.items()
    }
    spent = {
        name: {
            "training_multiply_accumulates": ledgers[name]["multiply_accumulates"],
            "training_seconds": ledgers[name]["seconds"],
            "scoring_multiply_accumulates": {variant: macs[variant][name] for variant in scoring.variants},
        }
        for name in found
    }
    return Supernets(scores, upfront), spent


def scored_on(state: SearchState, scoring: Scoring) -> str:
    """The examples behind a score, in words."""
    available = state.data.size("selection")
    count = available if scoring.examples is None else min(scoring.examples, available)
    held_out = state.recipe.roles.is_disjoint("weights", "selection")
    return f"{count:,} {'held-out' if held_out else 'training'} examples"


def describe(state: SearchState, architectures: Sequence[Architecture]) -> dict[str, NDArray[Any]]:
    """The features of the space, and the sizes of the networks."""
    space = state.supernet.space
    rows = [features(space, architecture) for architecture in architectures]
    found: dict[str, NDArray[Any]] = {}
    for name in rows[0]:
        column = [row[name] for row in rows]
        found[name] = np.array(column, dtype=bool if all(isinstance(v, bool) for v in column) else np.float64)
    sizes = []
    for architecture in architectures:
        with without_values():
            sizes.append(sum(p.numel() for p in state.supernet.plain(architecture).parameters()))
    found["parameters"] = np.array(sizes, dtype=np.float64)
    encode = state.supernet.relaxation.encode
    macs = [state.costs.of(discrete(encode(architecture))) for architecture in architectures]
    found["multiply-accumulates"] = np.array(macs, dtype=np.float64)
    return found
