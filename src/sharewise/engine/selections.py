"""Selections by name: what a search may end with, whatever its method ends with by itself."""

from __future__ import annotations

from collections.abc import Mapping

from sharewise.engine.by_perturbation import ByPerturbation
from sharewise.engine.select import DartsRule, Mode, Selection
from sharewise.engine.threshold import Threshold
from sharewise.errors import unknown_name

__all__ = ["SELECTIONS", "selection_named"]

SELECTIONS: Mapping[str, Selection] = {
    "mode": Mode(),
    "darts-rule": DartsRule(),
    "threshold": Threshold(),
    "perturbation": ByPerturbation(),
    "perturbation-loss": ByPerturbation(criterion="loss"),
}


def selection_named(name: str) -> Selection:
    """The selection of a name.

    Raises:
        ConfigurationError: naming the legal ones.

    Example:
        >>> selection_named("perturbation").tuned(1)
        ByPerturbation(tuning_epochs=1, ...)
    """
    if name not in SELECTIONS:
        raise unknown_name("selection", name, SELECTIONS)
    return SELECTIONS[name]
