"""Every space keeps the laws of a space and of a relaxation, also with conditions and constraints."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharewise.errors import ConfigurationError
from sharewise.space import (
    Architecture,
    Choice,
    Condition,
    Constraint,
    DirectRelaxation,
    Space,
    crossover,
    enumerate_architectures,
    mutate,
    neighbours,
    sample,
)
from sharewise.spaces import SPACES, load
from sharewise.testing import check_relaxation, check_space, planted_space


def conditional() -> Space:
    """Up to three layers; a layer beyond the depth has neither width nor kernel, and kernels need wide layers."""
    return Space(
        "conditional",
        (
            Choice("depth", (1, 2, 3), ordered=True),
            Choice("width_1", (4, 8), ordered=True),
            Choice("width_2", (4, 8), ordered=True, condition=Condition("depth", (2, 3))),
            Choice("kernel_2", (1, 3, 5), condition=Condition("width_2", (8,))),
            Choice("width_3", (4, 8), ordered=True, condition=Condition("depth", (3,))),
        ),
        constraints=(
            Constraint("widths must not shrink", lambda v: v.get("width_2", 8) >= v["width_1"]),
            Constraint("the last layer is not narrower", lambda v: v.get("width_3", 8) >= v.get("width_2", 4)),
        ),
    )


EXTRA = {"planted": planted_space, "conditional": conditional}


@pytest.mark.sweep(2)
@pytest.mark.parametrize("name", [*SPACES, *EXTRA])
def test_space_contract(name: str) -> None:
    space = EXTRA[name]() if name in EXTRA else load(name)
    check_space(space, samples=30)


RELAXED = [name for name in SPACES if not name.startswith("nasbench101")]  # cells are drawn whole


@pytest.mark.sweep(2)
@pytest.mark.parametrize("name", [*RELAXED, "planted"])
def test_relaxation_contract(name: str) -> None:
    check_relaxation(EXTRA[name]() if name in EXTRA else load(name), samples=30)


@pytest.mark.parametrize(("name", "size"), [("nasbench201", 15_625), ("toy-tied-width", 12), ("toy-two-inputs", 243)])
def test_sizes(name: str, size: int) -> None:
    assert load(name).size == size
    assert load(name) is load(name)


def test_conditional_space_is_counted_and_not_multiplied() -> None:
    space = conditional()
    by_hand = 0
    for depth in (1, 2, 3):
        for w1 in (4, 8):
            for w2 in (4, 8) if depth >= 2 else (None,):
                for k2 in (1, 3, 5) if w2 == 8 else (None,):
                    for w3 in (4, 8) if depth == 3 else (None,):
                        legal = (w2 or 8) >= w1 and (w3 or 8) >= (w2 or 4)
                        by_hand += legal and (k2 is None or k2 > 0)
    assert space.size == by_hand


def test_enumeration_is_lexicographic() -> None:
    space = load("toy-tied-width")
    listed = [tuple(c.index(a[c.name]) for c in space.choices) for a in enumerate_architectures(space)]
    assert listed == sorted(listed)


@given(seed=st.integers(0, 2**32 - 1))
def test_inactive_choices_never_change_the_hash(seed: int) -> None:
    space, rng = conditional(), np.random.default_rng(seed)
    a = sample(space, rng)
    padded = {c.name: a.get(c.name, c.options[int(rng.integers(len(c.options)))]) for c in space.choices}
    b = space.architecture(padded)
    assert a == b
    assert hash(a) == hash(b)
    assert space.from_json(json.loads(json.dumps(a.to_json()))) == a
    child = mutate(space, a, rng)
    assert child != a
    assert child in neighbours(space, a)
    cross = crossover(space, a, child, rng)
    assert space.architecture(dict(cross)) == cross


def test_impossible_spaces_end_with_an_error_instead_of_an_endless_loop() -> None:
    never = Space("never", (Choice("a", (1, 2)),), (Constraint("nothing is good enough", lambda v: False),))
    with pytest.raises(ConfigurationError, match="'never' were all illegal"):
        sample(never, np.random.default_rng(0))
    single = Space("single", (Choice("a", (1,)),))
    with pytest.raises(ConfigurationError, match="no legal neighbour"):
        mutate(single, single.architecture({"a": 1}), np.random.default_rng(0))


def test_illegal_choices_and_spaces_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="identifier"):
        Choice("not a name", (1,))
    with pytest.raises(ConfigurationError, match="no options"):
        Choice("a", ())
    with pytest.raises(ConfigurationError, match="repeats"):
        Choice("a", (1, 1))
    with pytest.raises(ConfigurationError, match="two choices named 'a'"):
        Space("s", (Choice("a", (1,)), Choice("a", (2,))))
    with pytest.raises(ConfigurationError, match="not an earlier choice"):
        Space("s", (Choice("a", (1, 2), condition=Condition("b", (1,))), Choice("b", (1, 2))))
    with pytest.raises(ConfigurationError, match="has no option 3; legal: 1, 2"):
        Space("s", (Choice("a", (1, 2)), Choice("b", (1, 2), condition=Condition("a", (3,)))))


def test_illegal_architectures_are_refused_by_name() -> None:
    space = load("toy-tied-width")
    with pytest.raises(ConfigurationError, match="needs a value for 'activation'"):
        space.architecture({"width": 8})
    with pytest.raises(ConfigurationError, match="unknown choice 'activations'; did you mean 'activation'"):
        space.architecture({"width": 8, "activations": "relu"})
    with pytest.raises(ConfigurationError, match="no option 5; legal: 4, 8, 16, 32"):
        space.architecture({"width": 5, "activation": "relu"})
    with pytest.raises(ConfigurationError, match="widths must not shrink"):
        conditional().architecture({"depth": 2, "width_1": 8, "width_2": 4})
    with pytest.raises(ConfigurationError, match="expected JSON such as"):
        space.parse("width=8")
    with pytest.raises(ConfigurationError, match="belongs to space 'nasbench201'"):
        space.from_json(Architecture("nasbench201", ()).to_json())
    with pytest.raises(ConfigurationError, match="not an architecture"):
        Architecture.from_json({"space": "s"})
    with pytest.raises(ConfigurationError, match="unknown canonical level 'graph'"):
        space.canonical(space.parse('{"width": 8, "activation": "relu"}'), "graph")


def test_equal_options_of_another_type_are_the_same_option() -> None:
    space = load("toy-tied-width")
    assert str(space.parse('{"width": 8.0, "activation": "relu"}')) == '{"width": 8, "activation": "relu"}'


def test_without_options() -> None:
    space = load("nasbench201")
    smaller = space.without(("none", "avg_pool_3x3"))
    assert smaller.size == 3**6
    assert all(not {"none", "avg_pool_3x3"} & set(a.values()) for a in enumerate_architectures(smaller))
    with pytest.raises(ConfigurationError, match="did you mean 'skip_connect'"):
        space.without(("skip_conect",))
    with pytest.raises(ConfigurationError, match="has no options"):
        load("toy-tied-width").without(("relu", "tanh", "gelu"))


def test_direct_relaxation_refuses_what_it_cannot_encode() -> None:
    with pytest.raises(ConfigurationError, match="write a Relaxation of its own"):
        DirectRelaxation(conditional())


def test_two_inputs_projects_by_the_rule_of_darts() -> None:
    relaxation = load("toy-two-inputs").relaxation
    weak, strong = [0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.6, 0.1]
    found = relaxation.project(
        {
            "edge_0_2": strong,
            "edge_1_2": weak,
            "edge_0_3": [0.9, 0.0, 0.1, 0.0],  # mostly none: the weakest of the three
            "edge_1_3": [0.0, 0.8, 0.1, 0.1],
            "edge_2_3": [0.2, 0.2, 0.2, 0.4],
        }
    )
    assert found["inputs_3"] == (1, 2)
    assert (found["first_3"], found["second_3"]) == ("skip_connect", "tanh")
    assert (found["first_2"], found["second_2"]) == ("linear", "skip_connect")
    assert "none" not in found.values()


def test_a_sub_space_narrows_the_conditions_on_the_options_it_loses() -> None:
    depth = Choice("depth", (1, 2, 3))
    space = Space("toy", (depth, Choice("second", ("a", "b"), condition=Condition("depth", (2, 3)))))
    assert space.size == 5
    assert space.without((3,)).size == 3
