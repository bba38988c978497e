"""Training-free scores against what architectures are worth when they are trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sharewise.appraisal import rank_agreement, to_plain
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.given import got
from sharewise.space import Architecture
from sharewise.studies.answers import Answers
from sharewise.studies.training_free.oracle import TrainingFreeOracle
from sharewise.studies.training_free.scores import SCORES
from sharewise.studies.truth import Truth

__all__ = ["against_truth", "known_scores"]


def known_scores(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        ConfigurationError: when there is no such score.
    """
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, Sequence):
        raise ConfigurationError(f"training_free must be names of scores, {got(names)}: {', '.join(SCORES)}")
    for name in listed:
        if not isinstance(name, str) or name not in SCORES:
            raise unknown_name("training-free score", name, SCORES)
    return tuple(dict.fromkeys(listed))


def against_truth(
    oracle: TrainingFreeOracle, truth: Truth, *, store: Path | None, seed: int, resamples: int
) -> dict[str, Any]:
    """How a score ranks a sample beside its true values.

    Args:
        oracle: gives the score.
        truth: about the sample.
        store: a file in which scores are kept as they come.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        The rank agreement as plain values, how many architectures had no value (they rank last), and the mean cost.
    """

    def ask(missing: list[Architecture]) -> Iterator[tuple[Architecture, Any]]:
        for architecture in missing:
            found = oracle.evaluate(architecture, 0, np.random.default_rng(seed))
            yield architecture, [found.value if np.isfinite(found.value) else None, found.cost]

    answers = Answers(store, "training-free scores", oracle.facts).to_all(truth.architectures, ask)
    values = np.array([np.nan if value is None else value for value, _ in answers], dtype=np.float64)
    lost = np.isnan(values)
    ranked = np.where(lost, np.nanmin(values) - 1 if not lost.all() else 0.0, values)
    found = rank_agreement(ranked, truth.test, generator=np.random.default_rng([seed, 7]), tops=[], resamples=resamples)
    words = f"{oracle.score}, without any training: {found.sentence}"
    return {
        **to_plain(found),
        "sentence": words,
        "without_a_value": int(lost.sum()),
        "multiply_accumulates": float(np.mean([cost for _, cost in answers])),
    }
