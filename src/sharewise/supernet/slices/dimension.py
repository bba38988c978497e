"""Searched dimensions: which sizes decisions offer, and which of them are active."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import final

from sharewise.errors import ConfigurationError
from sharewise.space.relaxation import Decision
from sharewise.supernet.gate import Gates

__all__ = ["Dimension", "Size", "combinations", "dimension"]


@final
@dataclass(frozen=True)
class Dimension:
    """A dimension of activations, of fixed size or with sizes that decisions choose among.

    Slices are leading: a choice of size o keeps positions 0 … o − 1.

    Args:
        decisions: whose options together choose the size; none for a fixed one.
        sizes: one size per combination of options, the last decision varying fastest.

    Raises:
        ConfigurationError: for sizes that are not positive or not as many as combinations.

    Example:
        >>> ratio, width = Decision("ratio", (2, 4)), Decision("width", (8, 16))
        >>> Dimension.over(width).sizes, Dimension.over(width, [24, 48]).sizes
        ((8, 16), (24, 48))
        >>> Dimension.product((width, ratio), lambda w, r: w * r).sizes
        (16, 32, 32, 64)
    """

    decisions: tuple[Decision, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        expected = math.prod(d.size for d in self.decisions)
        if len(self.sizes) != expected:
            raise ConfigurationError(
                f"{self._name} has {expected} combinations of options, got {len(self.sizes)} sizes"
            )
        for size in self.sizes:
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ConfigurationError(f"sizes of {self._name} must be positive integers, got {size!r}")

    @property
    def _name(self) -> str:
        return "dimension over " + (", ".join(repr(d.name) for d in self.decisions) or "no decision")

    @classmethod
    def over(cls, decision: Decision, sizes: Sequence[int] | None = None) -> Dimension:
        """The dimension of one decision; its options are the sizes unless `sizes` are given."""
        return cls((decision,), tuple(decision.options if sizes is None else sizes))  # type: ignore[arg-type]

    @classmethod
    def product(cls, decisions: Sequence[Decision], size: Callable[..., int]) -> Dimension:
        """The dimension of several decisions, with the size of a combination as a function of its options."""
        return cls(tuple(decisions), tuple(size(*options) for options in product(*(d.options for d in decisions))))

    @property
    def largest(self) -> int:
        """The size of the largest choice."""
        return max(self.sizes)

    def size(self, gates: Gates) -> int:
        """The largest size among active options, which is what a layer executes.

        Raises:
            ConfigurationError: when a decision has no active option.
        """
        return max(self.sizes[i] for i in combinations(self.decisions, gates))


Size = int | Decision | Dimension
"""A fixed size, a decision whose options are sizes, or a dimension."""


def dimension(size: Size) -> Dimension:
    """Read what users write for a size.

    Example:
        >>> dimension(3)
        Dimension(decisions=(), sizes=(3,))
    """
    if isinstance(size, Dimension):
        return size
    return Dimension.over(size) if isinstance(size, Decision) else Dimension((), (size,))


def combinations(decisions: Iterable[Decision], gates: Gates) -> list[int]:
    """Indices of the active combinations of options, the last decision varying fastest."""
    indices = [0]
    for decision in decisions:
        active = gates[decision.name].active
        if not active:
            raise ConfigurationError(
                f"decision {decision.name!r} has no active option; a sliced layer needs at least one"
            )
        indices = [index * decision.size + option for index in indices for option in active]
    return indices
