"""What a space may state beside its choices: constraints, a standard string, normal forms and a drawing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sharewise.space.architecture import Architecture
from sharewise.space.choice import Option
from sharewise.space.listing import Digits

__all__ = ["Canonical", "Codec", "Constraint", "Normalise", "Picture"]

Canonical = Callable[[Architecture], Architecture]
Normalise = Callable[[Mapping[str, Option]], Mapping[str, Option]]


@dataclass(frozen=True)
class Constraint:
    """A rule that every architecture of a space obeys.

    Args:
        description: what must hold, in words, used in the error message.
        holds: predicate on the active values.
    """

    description: str
    holds: Callable[[Mapping[str, Option]], bool]


@dataclass(frozen=True)
class Codec:
    """The standard string of a space, such as the one of NAS-Bench-201.

    Args:
        encode: values to string.
        decode: string to values; raises `ConfigurationError` with the expected form.
        digits: many strings at once to the number of each choice's option, shape `(n, choices)`, for spaces of
            independent choices; `None` where a string has another form, which `decode` then names.
    """

    encode: Callable[[Mapping[str, Option]], str]
    decode: Callable[[str], dict[str, Option]]
    digits: Digits | None = None


@dataclass(frozen=True)
class Picture:
    """A drawing of an architecture as a labelled graph, for reports.

    Args:
        nodes: names, from input to output.
        edges: triples of source, target and label.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str, str], ...]
