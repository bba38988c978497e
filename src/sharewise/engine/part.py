"""Part: a piece of a recipe that lives in the engine, and so may look at the whole search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharewise.distribution import Piece

if TYPE_CHECKING:
    from sharewise.engine.recipe import Recipe  # noqa: F401 - the name in the base class
    from sharewise.engine.state import SearchState

__all__ = ["Part"]


class Part(Piece["Recipe"]):
    """A level, a selection, a rule for the weights, a penalty, a stage, a surgery or a limit.

    It is asked twice: when the recipe is built whether it `fits` the other pieces, and when a search is prepared
    whether it can serve this supernet and these examples.
    """

    def check(self, state: SearchState) -> None:
        """Refuse, before a search begins, what would break within it.

        Args:
            state: at step 0.

        Raises:
            ConfigurationError: naming this part, what it found and what to do.
        """
