"""Families of spaces: options in the name, the same name for the same space, and one-line errors."""

from __future__ import annotations

import pytest

from sharewise import spaces
from sharewise.errors import ConfigurationError
from sharewise.space import Choice, Condition, Space, ascending, family, options_of


@family("tower")
def tower(
    *, layers: tuple[int, ...] = (2, 3), ratios: tuple[float, ...] = (3.5, 4.0), gated: bool = False, kind: str = "gpt"
) -> Space:
    """A tower.

    Args:
        layers: how many.
        ratios: of the hidden features.
        gated: whether it has gates.
        kind: a word.
    """
    choices = (Choice("layers", ascending("layers", layers)), Choice("ratio", ascending("ratios", ratios)))
    return Space("tower", (*choices, Choice(kind, ("gated" if gated else "plain",))))


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tower", "tower:tall"):
        monkeypatch.setitem(spaces.SPACES, name, tower)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "tower"),
        ({"layers": [2, 3]}, "tower"),
        ({"layers": "1, 2"}, "tower:layers=1,2"),
        ({"ratios": (2.0, 3.5), "layers": (1,)}, "tower:layers=1:ratios=2,3.5"),
        ({"gated": True, "kind": "neox"}, "tower:gated=True:kind=neox"),
    ],
)
def test_the_name_of_a_space_says_its_options(options: dict[str, object], name: str) -> None:
    space = tower(**options)
    assert space.name == name
    assert spaces.load(name) is space  # one object for one name


def test_order_spelling_and_defaults_do_not_matter() -> None:
    assert spaces.load("tower:ratios=2.0,3.5:layers=1") is tower(layers=(1,), ratios=(2.0, 3.5))
    assert spaces.load("tower:layers=2,3") is tower()
    assert spaces.with_options("tower:layers=1,2", {"ratios": "2"}) == "tower:layers=1,2:ratios=2"
    assert spaces.with_options("tower:layers=1,2", {"layers": [2, 3]}) == "tower"


def test_a_key_with_a_colon_is_no_option() -> None:
    assert spaces.split_name("tower:tall:layers=1") == ("tower:tall", {"layers": "1"})


def test_architectures_belong_to_the_space_of_their_options() -> None:
    small, whole = tower(layers=(1, 2)), tower()
    shared = small.architecture({"layers": 2, "ratio": 4.0, "gpt": "plain"})
    assert whole.own(shared).space == "tower"
    with pytest.raises(ConfigurationError, match="choice 'layers' has no option 1"):
        whole.own(small.architecture({"layers": 1, "ratio": 4.0, "gpt": "plain"}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tower:layers=1,x", "option layers must be a list of type int, got 'x'"),
        ("tower:layers=2,1", "ascending sizes of at least 1, such as 1,2, got 2,1"),
        ("tower:layers=0,1", "at least 1, such as 1, got 0,1"),
        ("tower:layers=", "got ''"),
        ("tower:ratios=nan", "must be a list of type float"),
        ("tower:gated=maybe", "must be of type bool"),
        ("tower:layer=1", "unknown option of space 'tower': 'layer'; did you mean 'layers'"),
        ("tower:layers=1:layers=2", "given twice"),
        ("tower:small", "unknown space 'tower:small'"),
        ("nasbench201:layers=1", "unknown space 'nasbench201:layers=1'"),
    ],
)
def test_a_name_that_is_none_is_answered_in_one_line(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        spaces.load(name)


def test_every_option_of_a_named_space_is_documented_and_no_option_of_its_networks() -> None:
    from sharewise.cli.space_options import fields_of_network, fields_of_space

    for name in spaces.SPACES:
        options = fields_of_space(name)
        assert all(option.text for option in options), name
        if options and spaces.load(name).networks is not None:
            networks = {field.name for field in fields_of_network(spaces.load(name))}
            assert not networks & {option.name for option in options_of(spaces.SPACES[name])}


def _conditional() -> Space:
    layers = Choice("layers", (1, 2, 4))
    second = Choice("second", ("a", "b"), condition=Condition("layers", (2, 4)))
    inner = Choice("inner", (1, 2, 3), condition=Condition("second", ("b",)))
    free = Choice("free", (0, 1))
    third = Choice("third", ("a", "b"), condition=Condition("layers", (4,)))
    return Space("conditional", (layers, second, free, inner, third))


def test_a_space_with_conditions_is_counted_and_listed_as_it_is_enumerated() -> None:
    from sharewise.space import enumerate_architectures

    space = _conditional()
    architectures = list(enumerate_architectures(space))
    assert space.size == len(space.listing) == len(architectures) == 2 * (1 + 4 + 8)
    assert [space.listing.at(i) for i in range(space.size)] == architectures
    assert [space.listing.index(a) for a in architectures] == list(range(space.size))
    for wrong in (-1, space.size):
        with pytest.raises(ConfigurationError, match="indices 0 to"):
            space.listing.at(wrong)


def test_a_part_of_a_space_with_conditions_is_counted_too() -> None:
    assert _conditional().without(4).size == 2 * (1 + 4)
