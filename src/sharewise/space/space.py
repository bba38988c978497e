"""A space: an ordered set of choices, with constraints, canonical forms and a string codec."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space.architecture import Architecture
from sharewise.space.blocks import Block, BlockListing, blocks_of
from sharewise.space.choice import Choice, Option
from sharewise.space.conditional import ConditionalListing, count_conditional
from sharewise.space.extremes import EXTREMES
from sharewise.space.listing import EnumeratedListing, Listing, ProductListing
from sharewise.space.traits import Canonical, Codec, Constraint, Normalise, Picture

if TYPE_CHECKING:
    from sharewise.space.relaxation import Relaxation

__all__ = ["Space"]

_SHOWN = 24
"""Choices that a space prints."""


@dataclass(frozen=True, eq=False, repr=False)
class Space:
    """The set of all architectures: plain data and combinatorics, without torch.

    Args:
        name: the registry's name of the space.
        choices: in order; a condition may only name an earlier choice.
        constraints: rules beyond the product of the choices.
        codec: the standard string form; without one, a space prints JSON.
        canonical_forms: functions that map an architecture to the representative of its equivalence class, by level.
            The level `"plain"` (identity, up to inactive choices) always exists.
        relax: builds the bridge to the supernet's decisions; `None` takes one decision per choice.
        networks: name of the module that holds the space's `Networks` (`NETWORKS`), imported only when torch is
            needed; or the `Networks` themselves.
        draw: the drawing of an architecture for reports.
        summary: one line for `sharewise list spaces`.
        listing_: builds the listing of the space where it brings one of its own: a published order, or the members of
            a space whose choices depend on each other; called once, when `listing` is first asked for.
        normalise: maps legal values to those of the one representative of all values with the same meaning, so that
            equal architectures have one identity; values that are representatives are returned as they are.
        counts: numbers of architectures by a property, such as `{"by_vertices": {"2": 1, …}}`, for `sharewise space`;
            under `"unique"`, of equivalence classes by canonical level where they are known.
        features: describes the structure of an architecture by booleans and numbers of the same names for all; see
            `sharewise.space.features`, which has a general answer.
        skips: the share of skip connections among the operations of each cell, by the cell's name, first of the cell
            that is repeated most; see `sharewise.space.skips`, which has a general answer for spaces of one cell.
        family: how the names of all spaces begin that this one may share architectures with, such as a whole and its
            parts; by default the name up to its first colon.
        whole: the space of the same name of which this is a part (`part`), or `None`.
        named: published architectures by name, as standard strings; a name is read wherever a string is.

    Raises:
        ConfigurationError: when names repeat or a condition points nowhere.

    Example:
        >>> space = Space("toy", (Choice("operation", ("a", "b")), Choice("width", (4, 8, 16))))
        >>> space.size, str(space.architecture({"operation": "b", "width": 8}))
        (6, '{"operation": "b", "width": 8}')
        >>> space
        Space 'toy'
          operation  a, b
          width      4, 8, 16
    """

    name: str
    choices: tuple[Choice, ...]
    constraints: tuple[Constraint, ...] = ()
    codec: Codec | None = None
    canonical_forms: Mapping[str, Canonical] = field(default_factory=dict)
    relax: Callable[[Space], Relaxation] | None = None
    networks: object | None = None
    draw: Callable[[Architecture], Picture] | None = None
    summary: str = ""
    listing_: Callable[[], Listing] | None = None
    normalise: Normalise | None = None
    counts: Callable[[Space], Mapping[str, Mapping[str, int]]] | None = None
    features: Callable[[Architecture], Mapping[str, bool | float]] | None = None
    skips: Callable[[Architecture], Mapping[str, float]] | None = None
    family: str = ""
    whole: Space | None = None
    named: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen: dict[str, Choice] = {}
        for choice in self.choices:
            if choice.name in seen:
                raise ConfigurationError(f"space {self.name!r} has two choices named {choice.name!r}")
            if choice.condition is not None:
                parent = seen.get(choice.condition.choice)
                if parent is None:
                    raise ConfigurationError(
                        f"choice {choice.name!r} depends on {choice.condition.choice!r}, which is not an earlier choice"
                    )
                for option in choice.condition.options:
                    parent.index(option)
            seen[choice.name] = choice

    def __repr__(self) -> str:
        shown = self.choices[:_SHOWN]
        width = max((len(choice.name) for choice in shown), default=0)
        lines = [f"  {choice.name:{width}}  {', '.join(map(str, choice.options))}" for choice in shown]
        more = [f"  … and {len(self.choices) - _SHOWN} more"] if len(self.choices) > _SHOWN else []
        return "\n".join((f"Space {self.name!r}", *lines, *more))

    def __getitem__(self, name: str) -> Choice:
        if name not in self._by_name:
            raise unknown_name("choice", name, self._by_name)
        return self._by_name[name]

    def __getstate__(self) -> dict[str, Any]:
        """What the space is made of, without what was computed from it: the listing may be large."""
        return {field.name: self.__dict__[field.name] for field in fields(self)}

    def __deepcopy__(self, memo: dict[int, Any]) -> Space:
        """The space itself, a value that never changes."""
        return self

    @cached_property
    def _by_name(self) -> dict[str, Choice]:
        return {choice.name: choice for choice in self.choices}

    @property
    def independent(self) -> bool:
        """Whether every combination of options is an architecture: no constraint, condition or normal form."""
        return not (self.constraints or self.normalise or any(choice.condition for choice in self.choices))

    @property
    def _only_conditional(self) -> bool:
        """Whether conditions alone make the architectures fewer than the product of all options."""
        return not (self.constraints or self.normalise or self.listing_)

    @property
    def size(self) -> int:
        """The number of architectures; equal to the length of the enumeration.

        A product where choices, or blocks of them, are independent, and of sums where choices depend on earlier ones;
        elsewhere the length of the space's own listing, or counted.
        """
        if self.independent:
            return math.prod(len(choice.options) for choice in self.choices)
        if self.listing_ is not None:
            return len(self.listing)
        if self.blocks is not None:
            return math.prod(map(len, self.blocks))
        if self._only_conditional:
            return count_conditional(self.choices)
        from sharewise.space.moves import enumerate_architectures

        return sum(1 for _ in enumerate_architectures(self))

    @cached_property
    def blocks(self) -> tuple[Block, ...] | None:
        """The legal answers to groups of choices that do not depend on each other, in the order of the choices.

        `None` where the space is no product of such groups, or where nobody has said that it is: a condition, a normal
        form, a listing of its own, or a constraint that reads all choices.
        """
        bound = self.normalise or self.listing_ or any(choice.condition for choice in self.choices)
        if bound or not self.constraints or not all(constraint.reads for constraint in self.constraints):
            return None
        return blocks_of(self.choices, self.constraints)

    @cached_property
    def listing(self) -> Listing:
        """All architectures in a fixed order: the space's own, or that of `enumerate_architectures`.

        Example:
            >>> space = Space("toy", (Choice("operation", ("a", "b")), Choice("width", (4, 8, 16))))
            >>> space.listing.index(space.architecture({"operation": "b", "width": 8}))
            4
        """
        if self.listing_ is not None:
            return self.listing_()
        if self.independent:
            digits = None if self.codec is None else self.codec.digits
            return ProductListing(self.name, self.choices, self.architecture, self.parse, digits)
        if self.blocks is not None:
            return BlockListing(self.name, self.blocks, self.architecture, self.parse)
        if self._only_conditional:
            return ConditionalListing(self.name, self.choices, self.architecture, self.parse)
        from sharewise.space.moves import enumerate_architectures

        return EnumeratedListing(self.name, tuple(enumerate_architectures(self)), self.parse)

    @property
    def relaxation(self) -> Relaxation:
        """The bridge to the decisions of a supernet."""
        from sharewise.space.relaxation import DirectRelaxation

        return DirectRelaxation(self) if self.relax is None else self.relax(self)

    def architecture(self, values: Mapping[str, Option]) -> Architecture:
        """Build an architecture from values, dropping those of inactive choices, in the normal form of the space.

        Args:
            values: an option for every active choice; values for inactive choices are ignored, unknown names are not.

        Raises:
            ConfigurationError: when a choice is missing or unknown, an option is illegal or a constraint is violated.
        """
        for name in values:
            self[name]
        active: dict[str, Option] = {}
        for choice in self.choices:
            if choice.condition is not None and not choice.condition.holds(active):
                continue
            if choice.name not in values:
                raise ConfigurationError(f"an architecture of {self.name!r} needs a value for {choice.name!r}")
            active[choice.name] = choice.options[choice.index(values[choice.name])]
        for constraint in self.constraints:
            if not constraint.holds(active):
                raise ConfigurationError(
                    f"illegal architecture of {self.name!r}: {constraint.description}; got {active}"
                )
        normal = active if self.normalise is None else self.normalise(active)
        text = None if self.codec is None else self.codec.encode(normal)
        return Architecture(self.name, tuple(normal.items()), text)

    def is_legal(self, values: Mapping[str, Option]) -> bool:
        """Whether the active values obey every constraint."""
        return all(constraint.holds(values) for constraint in self.constraints)

    def parse(self, text: str) -> Architecture:
        """Read a published name, `largest` or `smallest`, the standard string of the space, or JSON.

        JSON may be of choices and options, or what `Architecture.to_json` gives; see `sharewise.space.largest`.

        Raises:
            ConfigurationError: when the text has another form.
        """
        text = self.named.get(text.strip(), text)
        if text.strip() in EXTREMES:
            return EXTREMES[text.strip()](self)
        if self.named and text.strip().isidentifier():
            raise unknown_name(f"architecture of space {self.name!r}", text.strip(), self.named)
        if self.codec is not None and not text.lstrip().startswith("{"):
            return self.architecture(self.codec.decode(text.strip()))
        import json

        try:
            value = json.loads(text, object_pairs_hook=_without_repetition)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            example = {choice.name: choice.options[0] for choice in self.choices}
            raise ConfigurationError(
                f"{text!r} is not an architecture of {self.name!r}; expected JSON such as {json.dumps(example)}"
            )
        return self.own(value)

    def from_json(self, value: Mapping[str, Any]) -> Architecture:
        """Rebuild an architecture of this space from `Architecture.to_json`: see `own`."""
        return self.own(Architecture.from_json(value))

    def own(self, architecture: Architecture | str | Mapping[str, Any]) -> Architecture:
        """The architecture as one of this space: the gate that each passes, wherever it comes from, before it is used.

        It belongs here where it answers every active choice by an option of this space, answers no unknown choice, and
        obeys the constraints. An architecture of a part belongs to the whole, and one of the whole to every part that
        holds it; the order in which choices are written does not matter.

        Args:
            architecture: of this space, of a part of it or of a whole that it is a part of; also as its standard
                string, as a mapping of choices to options, or as `Architecture.to_json` writes it.

        Returns:
            An equal value with the name, the order and the standard string of this space.

        Raises:
            ConfigurationError: when it belongs to another space, or to another version of this one.

        Example:
            >>> from sharewise.spaces import load
            >>> whole, part = load("nasbench101"), load("nasbench101:A_1")
            >>> a = whole.parse("maxpool3x3~0|output~1")
            >>> part.own(a).space, whole.own(part.own(a)) == a
            ('nasbench101:A_1', True)
        """
        if isinstance(architecture, str):
            return self.parse(architecture)
        if isinstance(architecture, Architecture):
            return self.architecture(self._answers(architecture))
        if not isinstance(architecture, Mapping):
            raise ConfigurationError(
                f"{architecture!r} is not an architecture of space {self.name!r}; expected an Architecture, its "
                "standard string, or a mapping of choices to options"
            )
        if set(architecture) == {"space", "choices"} != set(self._by_name):
            return self.from_json(architecture)
        return self.architecture(architecture)

    def is_related(self, name: str) -> bool:
        """Whether a space of this name may share architectures with this one: see `family`.

        Example:
            >>> from sharewise.spaces import load
            >>> load("nasbench101").is_related("nasbench1shot1:1"), load("nasbench101").is_related("nasbench201")
            (True, False)
        """
        family = self.family or self.name.partition(":")[0] + ":"
        return name == self.name or f"{name}:".startswith(family)

    def _answers(self, architecture: Architecture) -> dict[str, Option]:
        """What an architecture of a space of the same family answers, each choice once."""
        if not self.is_related(architecture.space):
            raise ConfigurationError(f"the architecture belongs to space {architecture.space!r}, not to {self.name!r}")
        values = dict(architecture.items_)
        if len(values) < len(architecture.items_):
            raise ConfigurationError(f"the architecture answers a choice twice: {architecture.items_}")
        return values

    def _holds(self, architecture: Architecture) -> bool:
        try:
            self.own(architecture)
        except ConfigurationError:
            return False
        return True

    def canonical(self, architecture: Architecture, level: str = "plain") -> Architecture:
        """The representative of the architecture's equivalence class.

        Idempotent, and equal for all members of a class. In a part of a space that lacks the representative of the
        whole it is the first member of the listing.

        Args:
            architecture: of this space.
            level: which equivalence; see `levels`.

        Raises:
            ConfigurationError: when the level is unknown, or the architecture is not of this space.
        """
        architecture = self.own(architecture)
        if level == "plain":
            return architecture
        if level not in self.canonical_forms:
            raise unknown_name("canonical level", level, self.levels)
        found = self.canonical_forms[level](architecture)
        return found if self.whole is None or self._holds(found) else self._first_of_class(level)[found]

    def _first_of_class(self, level: str) -> dict[Architecture, Architecture]:
        """The first member of each class, by the form that stands for it; made once a level."""
        if level not in self._classes:
            form, first = self.canonical_forms[level], self._classes.setdefault(level, {})
            for row in range(len(self.listing)):
                architecture = self.listing.at(row)
                first.setdefault(form(architecture), architecture)
        return self._classes[level]

    @cached_property
    def _classes(self) -> dict[str, dict[Architecture, Architecture]]:
        return {}

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the equivalences that `canonical` knows."""
        return ("plain", *self.canonical_forms)

    def without(self, options: Option | Iterable[Option]) -> Space:
        """The sub-space in which no choice takes one of `options`; every other property is kept.

        Args:
            options: to leave out; a single one may be given as its name.

        Raises:
            ConfigurationError: when an option occurs nowhere, or a choice would be left without options.
        """
        from sharewise.space.restriction import without

        return without(self, (options,) if isinstance(options, str | int | float) else tuple(options))

    def part(self, choices: tuple[Choice, ...], listing: Callable[[], Listing] | None) -> Space:
        """The sub-space with fewer options; its architectures carry the name of the whole.

        Args:
            choices: those of the space, with fewer options.
            listing: builds the listing where the space brings one of its own and choices depend on each other.
        """
        codec = None if self.codec is None else replace(self.codec, digits=None)  # which counts options of the whole
        return replace(self, choices=choices, listing_=listing, counts=None, codec=codec, whole=self.whole or self)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; `ValueError` where it names a member twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found
