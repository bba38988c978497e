"""A search on the host that is about to begin, as every suite of a piece of a recipe needs one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharewise.data import Dataset
from sharewise.engine import Recipe, SearchState, numerics, prepare, stream
from sharewise.run import build_supernet
from sharewise.run.networks import asked_network
from sharewise.space import Space

__all__ = ["prepared"]


def prepared(
    recipe: Recipe, space: Space, dataset: Dataset, *, network: Mapping[str, Any] | None = None, seed: int = 0
) -> SearchState:
    """Build supernet, distribution and streams of a recipe; the same at every call.

    Args:
        recipe: the method.
        space: to search.
        dataset: of examples.
        network: options of the network, above those that the recipe asks for.
        seed: of all streams.

    Returns:
        The state at step 0, its supernet in training mode.

    Example:
        >>> from sharewise.data import digits
        >>> from sharewise.methods import spos
        >>> from sharewise.spaces import load
        >>> prepared(spos(), load("toy-tied-width"), digits()).step
        0
    """
    options = asked_network(space, recipe, network)
    supernet = build_supernet(space, dataset.input_shape, dataset.task.outputs, network=options, seed=seed)
    data = dataset.assign(recipe.roles, generator=stream(seed, "data"))
    state = prepare(supernet, recipe, data, numerics=numerics("cpu"), seed=seed)
    state.supernet.train()
    return state
