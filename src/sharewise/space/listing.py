"""A listing: all architectures of a space in a fixed order, which tables use as row numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast, final

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError
from sharewise.space.architecture import Architecture
from sharewise.space.choice import Choice, Option

__all__ = [
    "EnumeratedListing",
    "Listing",
    "ProductListing",
    "SubListing",
    "find_row",
    "find_rows",
]

Digits = Callable[[Sequence[str]], npt.NDArray[np.integer] | None]
Codes = tuple[npt.NDArray[np.uint32] | npt.NDArray[np.uint64], npt.NDArray[np.int32]]


class Listing(ABC):
    """All architectures of a space in a fixed order, so that a row of a table can be found without a dictionary.

    Laws: `index(at(i)) == i`; `at` never repeats; where `codes()` is `None` a code is the index itself, and elsewhere
    `codes()` lists every legal code, ascending, with the index that it stands for.

    Example:
        >>> from sharewise.spaces import load
        >>> listing = load("nasbench201").listing
        >>> len(listing), str(listing.at(1835))
        (15625, '|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|')
    """

    @abstractmethod
    def __len__(self) -> int:
        """The number of architectures."""

    @abstractmethod
    def at(self, index: int) -> Architecture:
        """The architecture of a row.

        Raises:
            ConfigurationError: when the index is out of range.
        """

    @abstractmethod
    def index(self, architecture: Architecture) -> int:
        """The row of an architecture.

        Raises:
            ConfigurationError: when it is not of the space.
        """

    @abstractmethod
    def code(self, item: object) -> int:
        """A cheap integer for an architecture, or for a raw form of one that is not normalised yet.

        Isomorphic forms may have different codes; `codes` leads all of them to one index.

        Args:
            item: an `Architecture`, the standard string, or another raw form that the space knows.

        Raises:
            ConfigurationError: when the item is none of these, or no legal architecture.
        """

    def codes_of(self, items: Sequence[object]) -> npt.NDArray[np.integer]:
        """The codes of many items, shape `(n,)`; a space with many forms of an architecture can make them together.

        Args:
            items: see `code`.

        Raises:
            ConfigurationError: see `code`.
        """
        return np.array([self.code(item) for item in items], np.int64)

    def codes(self) -> Codes | None:
        """All legal codes in ascending order and the index of each; `None` where a code is the index."""
        return None

    def parameters(self) -> npt.NDArray[np.int64] | None:
        """The trainable parameters of the network of each row in its benchmark; `None` where no benchmark states them.

        A space whose choices depend on each other is sampled in proportion to these (PRO-RATA).
        """
        return None


def find_row(known: Codes, code: int) -> int:
    """The index that a code stands for, −1 where it is none.

    Args:
        known: what `Listing.codes` returns.
        code: any integer.
    """
    codes, rows = known
    if not (len(codes) and 0 <= code <= codes[-1]):
        return -1
    place = int(codes.searchsorted(codes.dtype.type(code)))
    return int(rows[place]) if codes[place] == code else -1


def find_rows(known: Codes, wanted: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """The index that each code stands for, −1 where it is none.

    Args:
        known: what `Listing.codes` returns.
        wanted: any integers, shape `(n,)`.

    Example:
        >>> known = np.array([3, 5, 9], np.uint32), np.array([1, 0, 1], np.int32)
        >>> find_rows(known, np.array([5, 9, 4])), find_row(known, 5), find_row(known, -3)
        (array([ 0,  1, -1], dtype=int32), 0, -1)
    """
    codes, rows = known
    asked = np.asarray(wanted)
    if not len(codes):
        return np.full(asked.shape, -1, np.int32)
    order = asked.argsort()  # in order, the search stays in the processor's cache
    ordered = asked[order]
    # in one type it needs no copy of the codes; what does not fit in it is none of them
    place = np.minimum(codes.searchsorted(ordered.astype(codes.dtype)), len(codes) - 1)
    found = np.empty(len(asked), np.int32)
    found[order] = np.where(codes[place] == ordered, rows[place], np.int32(-1))
    return found


def checked_index(index: int, length: int, name: str) -> int:
    """The index itself, or an error that names the range."""
    if not 0 <= index < length:
        raise ConfigurationError(f"space {name!r} has indices 0 to {length - 1}, got {index}")
    return index


def unknown_item(item: object, name: str, forms: str) -> ConfigurationError:
    """The error for an item that names no architecture."""
    return ConfigurationError(f"{item!r} is not an architecture of space {name!r}; expected {forms}")


def named_item(item: object, name: str, parse: Callable[[str], Architecture]) -> Architecture:
    """The architecture that an item is, or that its standard string names."""
    found = parse(item) if isinstance(item, str) else item
    if not isinstance(found, Architecture):
        raise unknown_item(item, name, "an Architecture or its standard string")
    return found


@final
class ProductListing(Listing):
    """The product of independent choices in mixed radix, the first choice varying slowest.

    Args:
        name: of the space.
        choices: without conditions.
        architecture: builds an architecture of the space from values.
        parse: reads the standard string of the space.
        digits: reads many at once: see `Codec`.

    Example:
        >>> from sharewise.spaces import load
        >>> str(load("toy-tied-width").listing.at(4))
        '{"width": 8, "activation": "tanh"}'
    """

    def __init__(
        self,
        name: str,
        choices: Sequence[Choice],
        architecture: Callable[[dict[str, Option]], Architecture],
        parse: Callable[[str], Architecture],
        digits: Digits | None = None,
    ) -> None:
        self._name, self._choices, self._architecture, self._parse = name, tuple(choices), architecture, parse
        self._digits = digits
        self._weights: dict[tuple[str, Option], int] = {}
        self._radix: list[int] = []
        weight = 1
        for choice in reversed(self._choices):
            self._radix.insert(0, weight)
            self._weights |= {(choice.name, option): weight * digit for digit, option in enumerate(choice.options)}
            weight *= len(choice.options)
        self._length = weight

    def __len__(self) -> int:
        return self._length

    def at(self, index: int) -> Architecture:
        """See `Listing.at`."""
        rest = checked_index(index, self._length, self._name)
        values: dict[str, Option] = {}
        for choice in reversed(self._choices):
            rest, digit = divmod(rest, len(choice.options))
            values[choice.name] = choice.options[digit]
        return self._architecture(values)

    def index(self, architecture: Architecture) -> int:
        """See `Listing.index`."""
        if architecture.space != self._name or not (
            len(dict(architecture.items_)) == len(architecture.items_) == len(self._choices)
        ):
            raise unknown_item(architecture, self._name, "one of that space")
        try:
            return sum(self._weights[item] for item in architecture.items_)
        except KeyError as error:
            raise unknown_item(architecture, self._name, f"legal options, not {error.args[0]}") from None

    def code(self, item: object) -> int:
        """The index: see `Listing.code`."""
        return self.index(named_item(item, self._name, self._parse))

    def codes_of(self, items: Sequence[object]) -> npt.NDArray[np.integer]:
        """See `Listing.codes_of`."""
        if self._digits is not None and items and all(isinstance(item, str) for item in items):
            digits = self._digits(cast(Sequence[str], items))
            if digits is not None:
                return np.asarray(digits @ np.array(self._radix, np.int64))
        return super().codes_of(items)


@final
class EnumeratedListing(Listing):
    """Architectures held in memory, in the order in which they are given.

    For small spaces with constraints or conditions; a large one brings a listing of its own.

    Args:
        name: of the space.
        architectures: all of them.
        parse: reads the standard string of the space.

    Example:
        >>> from sharewise.space import Choice, Condition, Space
        >>> depth = Choice("depth", (1, 2))
        >>> space = Space("toy", (depth, Choice("second", ("a", "b"), condition=Condition("depth", (2,)))))
        >>> len(space.listing), space.listing.index(space.architecture({"depth": 2, "second": "b"}))
        (3, 2)
    """

    def __init__(self, name: str, architectures: Sequence[Architecture], parse: Callable[[str], Architecture]) -> None:
        self._name, self._architectures, self._parse = name, tuple(architectures), parse
        self._index = {architecture: index for index, architecture in enumerate(self._architectures)}

    def __len__(self) -> int:
        return len(self._architectures)

    def at(self, index: int) -> Architecture:
        """See `Listing.at`."""
        return self._architectures[checked_index(index, len(self), self._name)]

    def index(self, architecture: Architecture) -> int:
        """See `Listing.index`."""
        try:
            return self._index[architecture]
        except KeyError:
            raise unknown_item(architecture, self._name, "a legal one of that space") from None

    def code(self, item: object) -> int:
        """The index: see `Listing.code`."""
        return self.index(named_item(item, self._name, self._parse))


@final
class SubListing(Listing):
    """Some rows of a listing, in the same order: the listing of a sub-space.

    Architectures carry the name of the sub-space. Codes are those of the whole, so that a code of the whole serves the
    sub-space as well; which of them are legal here is what `codes` says.

    Args:
        name: of the sub-space.
        whole: the listing that rows are taken from.
        rows: indices into it, strictly ascending.

    Example:
        >>> from sharewise.spaces import load
        >>> whole = load("toy-tied-width").listing
        >>> listing = SubListing("wide", whole, [9, 10, 11])
        >>> listing.at(1)["width"], listing.index(listing.at(1)), listing.code(whole.at(10))
        (32, 1, 10)
    """

    def __init__(self, name: str, whole: Listing, rows: Sequence[int] | npt.NDArray[np.integer]) -> None:
        self._whole: Listing = whole
        self._name, self.rows = name, np.asarray(rows, dtype=np.int32)
        if isinstance(whole, SubListing):  # a part of a part is a part of the whole
            self._whole, self.rows = whole._whole, whole.rows[self.rows]
        if self.rows.ndim != 1 or (np.diff(self.rows) <= 0).any():
            raise ConfigurationError(f"the rows of sub-space {name!r} must ascend without repetition")

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, index: int) -> Architecture:
        """See `Listing.at`."""
        architecture = self._whole.at(int(self.rows[checked_index(index, len(self), self._name)]))
        return replace(architecture, space=self._name)

    def index(self, architecture: Architecture) -> int:
        """See `Listing.index`; an architecture of the whole is accepted where the sub-space contains it."""
        origin = self._whole.at(0).space
        row = self._whole.index(
            replace(architecture, space=origin) if architecture.space == self._name else architecture
        )
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            raise unknown_item(architecture, self._name, "one that the sub-space contains")
        return place

    def code(self, item: object) -> int:
        """The code of the whole: see `Listing.code`."""
        if isinstance(item, Architecture) and item.space == self._name:
            item = replace(item, space=self._whole.at(0).space)
        return self._whole.code(item)

    def of(self, listing: Listing) -> bool:
        """Whether `rows` count those of this listing."""
        return self._whole is listing

    def codes_of(self, items: Sequence[object]) -> npt.NDArray[np.integer]:
        """See `Listing.codes_of`."""
        if any(isinstance(item, Architecture) for item in items):
            return super().codes_of(items)
        return self._whole.codes_of(items)

    def codes(self) -> Codes:
        """The codes of the whole that belong to the sub-space, with their indices in the sub-space."""
        whole = self._whole.codes()
        if whole is None:
            return self.rows.astype(np.uint32), np.arange(len(self.rows), dtype=np.int32)
        place = np.full(len(self._whole), -1, dtype=np.int32)
        place[self.rows] = np.arange(len(self.rows), dtype=np.int32)
        codes, rows = whole
        kept = place[rows] >= 0
        return codes[kept], place[rows[kept]]

    def parameters(self) -> npt.NDArray[np.int64] | None:
        """Those of the whole."""
        whole = self._whole.parameters()
        return None if whole is None else whole[self.rows]
