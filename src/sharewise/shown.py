"""A result as a few lines: for a terminal, and as a table for a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from html import escape

__all__ = ["Shown"]


class Shown(ABC):
    """A value that prints as a page and no wall.

    What it has come to is said in words, by what they tell of; the name of its class stands above.

    Example:
        >>> class Counted(Shown):
        ...     def told(self):
        ...         return {"found": "3 <of 4>", "by": "counting"}
        >>> Counted()
        Counted
          found  3 <of 4>
          by     counting
        >>> print(Counted()._repr_html_())
        <table><caption>Counted</caption><tr><th>found</th><td>3 &lt;of 4&gt;</td></tr><tr><th>by</th>...
    """

    @abstractmethod
    def told(self) -> Mapping[str, str]:
        """What there is to say, in the order in which one reads it."""

    def __repr__(self) -> str:
        told = self.told()
        width = max(map(len, told), default=0)
        return "\n".join((type(self).__name__, *(f"  {name:{width}}  {value}" for name, value in told.items())))

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(value)}</td></tr>" for k, value in self.told().items())
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"
