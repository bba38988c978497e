"""The largest and the smallest architecture along a drawn path."""

from __future__ import annotations

import torch

from sharewise.distribution import Distribution
from sharewise.supernet.gate import Gate, Gates

__all__ = ["narrowest", "widest"]


def widest(distribution: Distribution, path: Gates) -> Gates:
    """The path with the last option of every ordered choice; a choice without an order, such as one of operations, has
    no largest option and keeps what was drawn.

    Args:
        distribution: whose space says which choices are ordered, without options that are excluded.
        path: gates of one architecture.

    Example:
        >>> from sharewise.distribution import Phase, Uniform
        >>> from sharewise.spaces import load
        >>> generator = torch.Generator().manual_seed(0)
        >>> uniform = Uniform().build(load("toy-tied-width").relaxation, generator)
        >>> [path] = uniform.draw(generator, Phase("weights"))
        >>> widest(uniform, path)["width"].active, narrowest(uniform, path)["width"].active
        ((3,), (0,))
    """
    return _at(distribution, path, -1)


def narrowest(distribution: Distribution, path: Gates) -> Gates:
    """The path with the first option of every ordered choice; see `widest`."""
    return _at(distribution, path, 0)


def _at(distribution: Distribution, path: Gates, place: int) -> Gates:
    options = {choice.name: choice.options[place] for choice in distribution.space.choices if choice.ordered}
    changed = dict(path)
    for decision in distribution.relaxation.decisions:
        if decision.name in options:
            index = decision.options.index(options[decision.name])
            changed[decision.name] = Gate(torch.eye(decision.size)[index], (index,), unit=True)
    return changed
