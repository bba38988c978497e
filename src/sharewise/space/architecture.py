"""An architecture: an immutable answer to every active choice of a space."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sharewise.errors import ConfigurationError
from sharewise.space.choice import Option, plain_option

__all__ = ["Architecture"]


@dataclass(frozen=True, eq=False)
class Architecture(Mapping[str, Option]):
    """A point of a space as a plain value: it hashes, compares, prints and round-trips through JSON.

    Only active choices are held, so an inactive conditional choice can never change identity or hash; neither can the
    order in which choices are written down.

    Args:
        space: name of the space it belongs to.
        items_: pairs of choice name and option, in the order of the space's choices.
        text: the standard string of the space, if it has one; shown by `str`, not part of the identity.

    Example:
        >>> a = Architecture("toy", (("width", 8), ("inputs", (0, 1))))
        >>> a["width"], Architecture.from_json(a.to_json()) == a
        (8, True)
    """

    space: str
    items_: tuple[tuple[str, Option], ...]
    text: str | None = None

    def __getitem__(self, name: str) -> Option:
        for key, option in self.items_:
            if key == name:
                return option
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.items_)

    def __len__(self) -> int:
        return len(self.items_)

    def __hash__(self) -> int:
        return hash((self.space, frozenset(self.items_)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Architecture):
            return NotImplemented
        if self.space != other.space or len(self.items_) != len(other.items_):
            return False
        return self.items_ == other.items_ or dict(self.items_) == dict(other.items_)

    def __str__(self) -> str:
        return self.text if self.text is not None else json.dumps(dict(self.items_))

    def to_json(self) -> dict[str, Any]:
        """A JSON-compatible dictionary from which `from_json` rebuilds an equal value."""
        return {"space": self.space, "choices": [[name, option] for name, option in self.items_]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Architecture:
        """Rebuild an architecture from `to_json`; lists become tuples again.

        What it holds is not compared with a space: see `Space.from_json`.

        Raises:
            ConfigurationError: when the value has another form, or answers a choice twice.
        """
        try:
            given = value["choices"]
            pairs = given.items() if isinstance(given, Mapping) else [(name, option) for name, option in given]
            items = tuple((str(name), plain_option(option)) for name, option in pairs)
            space = str(value["space"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"not an architecture: {value!r} ({error})") from None
        if len(dict(items)) < len(items):
            raise ConfigurationError(f"not an architecture: a choice is answered twice in {value!r}")
        return cls(space, items)
