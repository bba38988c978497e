"""A choice: one named question that an architecture answers with one of finitely many options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharewise.errors import ConfigurationError

__all__ = ["Choice", "Condition", "Option", "plain_option"]

Option = str | int | float | tuple[int, ...]
"""A plain value: an operation's name, a width, or a tuple of indices such as two chosen inputs."""


def plain_option(value: Any) -> Any:
    """A value as an option is written: what numpy or torch hold as Python's own, lists as tuples.

    Args:
        value: anything.

    Returns:
        The value itself where it is plain already.

    Raises:
        ConfigurationError: for what can be no option, such as a dictionary.

    Example:
        >>> import numpy as np
        >>> plain_option(np.int64(8)), plain_option([0, 1])
        (8, (0, 1))
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(plain_option(part) for part in value)
    if not isinstance(value, str | int | float):
        raise ConfigurationError(f"{value!r} can be no option; expected a string, a number or a tuple of integers")
    return value


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
        """The 0-based place of `option`, which may be a number of numpy, or a list for a tuple.

        Raises:
            ConfigurationError: when there is no such option; the message names the legal ones. A truth value is none
                where options are other numbers than 0 and 1.
        """
        try:
            plain = option if type(option) in (str, int) else plain_option(option)
            if not isinstance(plain, bool) or set(self.options) <= {0, 1}:
                return self.options.index(plain)
        except (ValueError, TypeError):
            pass
        legal = ", ".join(map(repr, self.options))
        raise ConfigurationError(f"choice {self.name!r} has no option {option!r}; legal: {legal}")
