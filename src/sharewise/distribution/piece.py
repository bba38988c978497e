"""Piece: what every part of a recipe says about itself, so that no recipe and no test must know it by name."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Generic, Self, TypeVar

from sharewise.distribution.schedule import Bounded

__all__ = ["Piece"]

R = TypeVar("R", contravariant=True)


class Piece(ABC, Generic[R]):
    """A part of a recipe, of which `R` is the type as this piece may read it.

    All four answers have a default, so that a piece which fits everywhere and changes nothing says nothing.
    """

    @property
    def schedules(self) -> Mapping[str, Bounded]:
        """Values that may change over the epochs, by name, with their bounds: a recipe checks them before it runs."""
        return {}

    def fits(self, recipe: R) -> None:
        """Refuse the recipe that this piece is a part of, where the two clash.

        Raises:
            ConfigurationError: naming this piece, the other one, and the legal alternatives.
        """

    def shortened(self) -> Self:
        """The same piece with as little work as shows what it does: for contracts, which run it a few times."""
        return self

    def describe(self) -> str:
        """The piece in a word or two."""
        return type(self).__name__
