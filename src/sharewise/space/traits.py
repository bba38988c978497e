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
        holds: predicate on the active values; it may be given those of `reads` alone, where that is named.
        reads: names of the choices that it looks at; by default all. A space in which every constraint names a few
            falls apart into blocks, which are counted, drawn and listed one by one however large the space is.
    """

    description: str
    holds: Callable[[Mapping[str, Option]], bool]
    reads: tuple[str, ...] = ()


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
        title: what the graph is, where there are several.
        below: another graph of the same architecture, such as its reduction cell beside its normal one.

    Example:
        >>> picture = Picture(("in", "out"), (("in", "out", "conv"),), "normal", Picture(("in",), (), "reduction"))
        >>> [part.title for part in picture.parts]
        ['normal', 'reduction']
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str, str], ...]
    title: str = ""
    below: Picture | None = None

    @property
    def parts(self) -> tuple[Picture, ...]:
        """This graph and all below it."""
        return (self, *(() if self.below is None else self.below.parts))
