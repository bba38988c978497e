"""Measurements at the end of an epoch: functions of the state whose results join the history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharewise.engine.score import Scorer, evaluate_gates
from sharewise.engine.state import Measure, SearchState
from sharewise.errors import ConfigurationError
from sharewise.supernet import BatchStatistics, Gate, RunningStatistics, discrete

__all__ = ["rounding_gap", "selection_scores", "together"]


def rounding_gap(examples: int = 256) -> Measure | None:
    """Compare the supernet at the mixture p with the architecture that would be picked now.

    Both use the same weights, the same selection examples and the statistics of the evaluated batches, so that the
    difference is due to rounding θ to a corner alone.

    Args:
        examples: of the selection role; 0 for no measurement.

    Returns:
        A measurement that adds `gap`, or `None`.

    Raises:
        ConfigurationError: when `examples` is negative.
    """
    if examples < 0:
        raise ConfigurationError(f"the examples for the rounding gap must not be negative, got {examples}")

    def measure(state: SearchState) -> Mapping[str, Any]:
        projected = state.recipe.selection.projected(state) if state.recipe.distribution.learns else None
        if projected is None:
            return {}
        # The statistics of a batch need more than one example.
        batches = [b for b in state.evaluation_batches("selection", examples) if len(b.inputs) > 1]
        if not batches:
            return {}
        mixture = {
            name: Gate(p, tuple(p.nonzero().flatten().tolist())) for name, p in state.distribution.mixture().items()
        }
        corner = discrete(state.distribution.relaxation.encode(projected))
        gap: dict[str, Any] = {"examples": sum(len(batch.inputs) for batch in batches)}
        with Scorer(state, BatchStatistics(), batches, part="measurement").opened() as score:
            for name, scores in zip(("supernet", "architecture"), score.each([mixture, corner]), strict=True):
                gap[name] = {metric: value for metric, value in scores.items() if metric != "examples"}
        return {"gap": gap}

    return measure if examples else None


def together(*measures: Measure | None) -> Measure | None:
    """Several measurements as one; `None` stands for one that is not made.

    Example:
        >>> together(None, None) is None
        True
    """
    made = [measure for measure in measures if measure is not None]

    def measure(state: SearchState) -> Mapping[str, Any]:
        return {name: value for one in made for name, value in one(state).items()}

    return measure if made else None


def selection_scores(state: SearchState) -> Mapping[str, Any]:
    """Loss and metrics of a network without decisions on the selection role, with its running statistics."""
    batches = state.evaluation_batches("selection")
    return {"selection": evaluate_gates(state, {}, batches, RunningStatistics(), part="measurement")}
