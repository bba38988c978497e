"""`largest` and `smallest`: words for an architecture wherever choices have an order."""

from __future__ import annotations

import pytest

from sharewise.errors import ConfigurationError
from sharewise.run import build_network
from sharewise.run.arguments import architecture_of
from sharewise.space import Choice, Condition, Constraint, Space, enumerate_architectures, largest, smallest
from sharewise.spaces import SPACES, load

MACRO = ("conv-macro", "nasbench_macro", "nats_size")


@pytest.mark.parametrize("name", MACRO)
def test_the_words_are_architectures_of_every_macro_space(name: str) -> None:
    space = load(name)
    big, small = space.parse("largest"), space.parse(" smallest ")
    assert (big, small) == (largest(space), smallest(space))
    assert space.parse(str(big)) == big != small


@pytest.mark.parametrize("name", ["conv-macro", "nasbench_macro"])
def test_no_network_has_more_or_fewer_parameters_than_the_two(name: str) -> None:
    space = load(name)
    few = {"channels": 4} if name == "nasbench_macro" else {}
    some = [*list(enumerate_architectures(space))[:: space.size // 12], largest(space), smallest(space)]
    sizes = [sum(p.numel() for p in build_network(a, space, (3, 16, 16), 10, network=few).parameters()) for a in some]
    assert (max(sizes), min(sizes)) == (sizes[-2], sizes[-1])


def test_options_need_not_be_written_in_order_and_inactive_choices_drop_out() -> None:
    space = Space(
        "toy",
        (
            Choice("depth", (2, 1)),
            Choice("size", ("small", "large"), ordered=True),
            Choice("width", (8, 32, 16), condition=Condition("depth", (2,))),
            Choice("norm", ("batch",)),
        ),
    )
    assert dict(space.parse("largest")) == {"depth": 2, "size": "large", "width": 32, "norm": "batch"}
    assert dict(architecture_of("smallest", space)) == {"depth": 1, "size": "small", "norm": "batch"}


def test_choices_without_an_order_are_named_in_one_line() -> None:
    with pytest.raises(ConfigurationError, match=r"no largest architecture: the options of choice 'edge_0_1' \(and"):
        load("nasbench201").parse("largest")
    with pytest.raises(ConfigurationError, match=r'activation.*no order.*such as {"width": 4, "activation": "\w+"}'):
        load("toy-tied-width").parse("smallest")


def test_spaces_of_cells_have_no_ends() -> None:
    for name in SPACES:
        if name.startswith(("darts", "nasbench1", "nasbench2")):
            with pytest.raises(ConfigurationError, match="has no smallest architecture"):
                load(name).parse("smallest")


def test_a_constraint_that_the_largest_options_break_is_said() -> None:
    few = Constraint("at most ten in all", lambda values: sum(map(int, map(str, values.values()))) <= 10)
    space = Space("toy", (Choice("a", (1, 8)), Choice("b", (2, 8))), constraints=(few,))
    assert dict(space.parse("smallest")) == {"a": 1, "b": 2}
    with pytest.raises(ConfigurationError, match="at most ten in all"):
        space.parse("largest")


def test_a_published_name_wins_over_the_word() -> None:
    space = Space("toy", (Choice("a", (1, 8)),), named={"largest": '{"a": 1}', "best": '{"a": 8}'})
    assert dict(space.parse("largest")) == {"a": 1}
    assert dict(space.parse("smallest")) == {"a": 1}
