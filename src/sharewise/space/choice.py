"""A choice: one named question that an architecture answers with one of finitely many options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sharewise.errors import ConfigurationError

__all__ = ["Choice", "Condition", "Option"]

Option = str | int | float | tuple[int, ...]
"""A plain value: an operation's name, a width, or a tuple of indices such as two chosen inputs."""


@dataclass(frozen=True)
class Condition:
    """When a choice matters: only while another choice takes one of the given options.

    Args:
        choice: name of an earlier choice of the same space.
        options: options of that choice under which the dependent choice is active.

    Example:
        >>> Condition("depth", (3, 4)).holds({"depth": 2})
        False
    """

    choice: str
    options: tuple[Option, ...]

    def holds(self, values: Mapping[str, Option]) -> bool:
        """Whether the dependent choice is active under `values`; inactive parents make inactive children."""
        return self.choice in values and values[self.choice] in self.options


@dataclass(frozen=True)
class Choice:
    """A named, finite question; the atoms of which a `Space` is made.

    Args:
        name: unique within its space, a Python identifier, so that it can name a module as well.
        options: the possible answers, without repetition; their order is the index order everywhere.
        ordered: whether the order carries meaning (widths do, operations do not), used by mutations of ordered kinds.
        condition: when the choice is active; `None` means always.

    Example:
        >>> Choice("width", (8, 16, 32), ordered=True).index(16)
        1
    """

    name: str
    options: tuple[Option, ...]
    ordered: bool = False
    condition: Condition | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigurationError(f"a choice needs an identifier as its name, got {self.name!r}")
        if not self.options:
            raise ConfigurationError(f"choice {self.name!r} has no options")
        if len(set(self.options)) != len(self.options):
            raise ConfigurationError(f"choice {self.name!r} repeats an option: {self.options}")

    def index(self, option: Option) -> int:
        """The 0-based place of `option`; raises `ConfigurationError` naming the legal ones."""
        try:
            return self.options.index(option)
        except ValueError:
            legal = ", ".join(map(repr, self.options))
            raise ConfigurationError(f"choice {self.name!r} has no option {option!r}; legal: {legal}") from None
