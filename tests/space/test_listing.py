"""A listing numbers the architectures of a space, each of them once."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from sharewise.errors import ConfigurationError
from sharewise.space import (
    Architecture,
    Choice,
    Condition,
    Constraint,
    EnumeratedListing,
    Listing,
    ProductListing,
    Space,
    SubListing,
    enumerate_architectures,
    sample,
)
from sharewise.space.conditional import ConditionalListing
from sharewise.spaces import load
from sharewise.spaces.nasbench201 import architecture_at


def conditional() -> Space:
    return Space(
        "conditional", (Choice("depth", (1, 2)), Choice("second", ("a", "b"), condition=Condition("depth", (2,))))
    )


def check(listing: Listing, architectures: list[Architecture]) -> None:
    assert len(listing) == len(architectures)
    for index, architecture in enumerate(architectures):
        assert listing.at(index) == architecture
        assert listing.index(architecture) == index
    for index in (-1, len(listing)):
        with pytest.raises(ConfigurationError, match=f"indices 0 to {len(listing) - 1}, got {index}"):
            listing.at(index)
    with pytest.raises(ConfigurationError, match="is not an"):
        listing.index(Architecture("elsewhere", ()))
    with pytest.raises(ConfigurationError, match="is not an"):
        listing.code(3.5)


@pytest.mark.parametrize("name", ["toy-tied-width", "toy-two-inputs"])
def test_default_listings_follow_the_enumeration(name: str) -> None:
    space = load(name)
    listing = space.listing
    assert isinstance(listing, ProductListing if space.independent else EnumeratedListing)
    assert space.listing is listing
    architectures = list(enumerate_architectures(space))
    check(listing, architectures)
    assert listing.codes() is None
    assert [listing.code(a) for a in architectures] == [listing.code(str(a)) for a in architectures]


def test_conditional_spaces_are_listed_without_inactive_choices() -> None:
    space = conditional()
    assert isinstance(space.listing, ConditionalListing)
    check(space.listing, list(enumerate_architectures(space)))


def test_nasbench201_has_the_official_order_and_the_same_random_numbers_as_before() -> None:
    space = load("nasbench201")
    check(space.listing, [architecture_at(i) for i in range(15_625)])
    for index in range(0, 15_625, 97):
        assert space.listing.code(str(architecture_at(index))) == index
    with pytest.raises(ConfigurationError, match="unknown operation 'conv'"):
        space.listing.code("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    with pytest.raises(ConfigurationError, match="is not an architecture"):
        space.listing.index(Architecture("nasbench201", (("edge_0_1", "conv"),) * 6))
    rng = np.random.default_rng(0)
    by_hand = {c.name: c.options[int(rng.integers(5))] for c in space.choices}
    assert dict(sample(space, np.random.default_rng(0))) == by_hand
    assert isinstance(space.without(("none",)).listing, ProductListing)


def test_sub_listings_renumber_and_filter_codes() -> None:
    whole = load("toy-tied-width").listing
    rows = [1, 4, 5, 9]
    listing = SubListing("some", whole, rows)
    assert [listing.index(whole.at(row)) for row in rows] == [0, 1, 2, 3]
    assert [listing.index(listing.at(i)) for i in range(4)] == [0, 1, 2, 3]
    assert listing.at(2).space == "some"
    codes, indices = listing.codes()
    assert codes.tolist() == rows
    assert indices.tolist() == [0, 1, 2, 3]
    assert listing.code(listing.at(3)) == 9
    with pytest.raises(ConfigurationError, match="one that the sub-space contains"):
        listing.index(whole.at(0))
    nested = SubListing("fewer", listing, [0, 3])
    assert [codes.tolist() for codes in nested.codes()] == [[1, 9], [0, 1]]
    assert nested.index(nested.at(1)) == 1
    with pytest.raises(ConfigurationError, match="must ascend"):
        SubListing("none", whole, [3, 3])


def test_a_space_with_its_own_listing_is_sampled_counted_and_enumerated_by_it() -> None:
    inner = conditional()
    space = Space("conditional", inner.choices, listing_=lambda: SubListing("conditional", inner.listing, [0, 2]))
    assert space.size == 2
    assert list(enumerate_architectures(space)) == [inner.listing.at(0), inner.listing.at(2)]
    rng = np.random.default_rng(0)
    assert {sample(space, rng) for _ in range(20)} == set(enumerate_architectures(space))
    smaller = space.without((1,))
    assert list(enumerate_architectures(smaller)) == [inner.listing.at(2)]


def test_a_normal_form_gives_equal_architectures_one_identity() -> None:
    space = Space(
        "pair",
        (Choice("a", (0, 1, 2)), Choice("b", (0, 1, 2))),
        normalise=lambda v: dict(zip(("a", "b"), sorted(v.values()), strict=True)),  # type: ignore[type-var]
    )
    assert space.architecture({"a": 2, "b": 0}) == space.architecture({"a": 0, "b": 2})
    assert [tuple(x.values()) for x in enumerate_architectures(space)] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 1),
        (1, 2),
        (2, 2),
    ]
    assert space.size == len(space.listing) == 6


def test_a_space_of_local_constraints_falls_apart_into_blocks() -> None:
    """Counted, listed and drawn by its blocks, as by trying every combination."""
    rules = (
        Constraint("a and c differ", lambda v: v["a"] != v["c"], reads=("a", "c")),
        Constraint("c is at most d", lambda v: v["c"] <= v["d"], reads=("c", "d")),
    )
    choices = tuple(Choice(name, (0, 1, 2)) for name in "abcde")
    space = Space("blocks", choices, rules)
    legal = [values for values in product((0, 1, 2), repeat=5) if values[0] != values[2] <= values[3]]
    assert space.blocks is not None
    assert [sorted(block[0]) for block in space.blocks] == [["a", "c", "d"], ["b"], ["e"]]
    assert space.size == len(space.listing) == len(legal)
    assert {tuple(a[name] for name in "abcde") for a in enumerate_architectures(space)} == set(legal)
    rng = np.random.default_rng(0)
    counts = Counter(space.listing.index(sample(space, rng)) for _ in range(40 * len(legal)))
    assert set(counts) == set(range(len(legal)))
    assert max(counts.values()) < 90
    part = space.without(2)
    assert part.size == sum(2 not in values for values in legal)
    reading_all = Space("whole", choices, (Constraint("a and c differ", lambda v: v["a"] != v["c"]),))
    assert reading_all.blocks is None
    with pytest.raises(ConfigurationError, match="no options of a, b are legal together: never"):
        _ = Space("none", choices, (Constraint("never", lambda v: False, reads=("a", "b")),)).size
