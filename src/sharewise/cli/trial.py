"""Trials: a search of a few steps asks about few architectures at its end, unless it is told about how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sharewise.cli.options import Field

__all__ = ["small_selection", "trial_in_words"]

_STEPS = 100
"""Below so many steps a ranking of a method's own size costs many times what the training does."""
_ASKED = {"candidates": 10, "finalists": 2, "generations": 2, "population": 5}
_SEEN = {"selection_examples": 256}


def small_selection(max_steps: object, recipe: Sequence[Field], given: Mapping[str, Any]) -> dict[str, int]:
    """What a trial takes in place of the numbers of a method, by option: nothing for a longer search.

    How many architectures are asked about is one matter, which whoever gives one of its numbers decides; on how many
    examples is another.

    Args:
        max_steps: of the search, or `None`.
        recipe: options of the method.
        given: those that were said.

    Example:
        >>> recipe = [Field("candidates", int, 100, ""), Field("selection_examples", int, 2048, "")]
        >>> small_selection(20, recipe, {"candidates": 50})
        {'selection_examples': 256}
    """
    if not isinstance(max_steps, int) or not 0 < max_steps < _STEPS:
        return {}
    defaults = {field.name: field.default for field in recipe}
    groups = [group for group in (_ASKED, _SEEN) if not group.keys() & given.keys()]
    return {name: few for group in groups for name, few in group.items() if few < (defaults.get(name) or 0)}


def trial_in_words(max_steps: int, recipe: Sequence[Field], few: Mapping[str, int]) -> str:
    """What a trial does differently, and how it is told not to.

    Args:
        max_steps: of the search.
        recipe: options of the method.
        few: as `small_selection` found them.
    """
    own = {field.name: field.default for field in recipe}
    told = ", ".join(
        f"--{name.replace('_', '-')} {value} (the method's own: {own[name]})" for name, value in few.items()
    )
    return f"a trial of {max_steps} steps chooses among few architectures: {told}; what is said explicitly is kept"
