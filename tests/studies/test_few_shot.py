"""Several supernets, each for a part of the space."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sharewise as sw
from sharewise.distribution import Phase, Proportional, Restricted, Uniform
from sharewise.engine import Recipe, SupernetOracle
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.space import Choice, Condition, Space, enumerate_architectures, groups_of, restricted, sample
from sharewise.spaces import load
from sharewise.studies.few_shot import FewShot, few_shot
from sharewise.supernet import RunningStatistics
from sharewise.testing import check_distribution

DATA = sw.data.digits().limited(64, seed=0)


def recipe(**options: Any) -> Recipe:
    return build("spos", {"epochs": 1, "batch_size": 8, "candidates": 3, "selection_examples": 16, **options})


def split(**options: Any) -> FewShot:
    return few_shot(load("toy-two-inputs"), recipe(), DATA, choice="first_2", device="cpu", **options)


@pytest.mark.parametrize(
    ("name", "choice"),
    [("nasbench201", "edge_0_2"), ("nasbench101:A_4", "vertices"), ("nasbench101:A_4", "operation_1")],
)
def test_parts_are_a_partition(name: str, choice: str) -> None:
    space, rng = load(name), np.random.default_rng(0)
    parts = [
        restricted(space, choice, group) for group in groups_of(space, choice) if _holds_some(space, choice, group)
    ]
    assert sum(part.size for part in parts) == space.size
    for part in parts:
        drawn = [sample(part, rng) for _ in range(20)]
        assert len({a[choice] for a in drawn}) == 1
        assert all(a.space == name and space.architecture(dict(a)) == a for a in drawn)


def _holds_some(space: Space, choice: str, group: tuple[Any, ...]) -> bool:
    """A_4 has no cell of fewer than six vertices."""
    if choice == "vertices" and group[0] < 6:
        with pytest.raises(ConfigurationError, match="no architecture of space"):
            restricted(space, choice, group)
        return False
    return True


def test_a_restricted_space_is_listed_and_enumerated_alike() -> None:
    space = restricted(load("toy-tied-width"), "width", (8, 32))
    assert [space.listing.at(i) for i in range(len(space.listing))] == list(enumerate_architectures(space))
    depth = Choice("depth", (1, 2, 3))
    nested = Space("toy", (depth, Choice("second", ("a", "b"), condition=Condition("depth", (2, 3)))))
    assert [dict(a) for a in enumerate_architectures(restricted(nested, "depth", (1,)))] == [{"depth": 1}]
    assert restricted(nested, "depth", (1, 3)).size == 3
    for given, choice, option in ((nested, "second", "a"), (load("nasbench101:A_3"), "operation_5", "maxpool3x3")):
        with pytest.raises(ConfigurationError, match=r"restrict another one: (depth|vertices)"):
            restricted(given, choice, (option,))


@pytest.mark.parametrize("sampler", [Uniform(2), Proportional()])
def test_restricted_samplers_keep_to_their_part(sampler: Uniform | Proportional) -> None:
    space = load("nasbench101:A_4")
    distribution = Restricted(sampler, "vertices", (6,)).build(space.relaxation, torch.Generator())
    generator = torch.Generator().manual_seed(0)
    assert {distribution.sample(generator)["vertices"] for _ in range(50)} == {6}
    for gates in distribution.draw(generator, Phase("weights")):
        assert not gates["operation_5"].active
    if isinstance(sampler, Uniform):
        check_distribution(Restricted(sampler, "width", (4, 8)), load("toy-tied-width"), draws=5)


def test_a_restricted_product_is_uniform() -> None:
    space = load("toy-tied-width")
    distribution = Restricted(Uniform(), "width", (4, 32)).build(space.relaxation, torch.Generator())
    generator, n = torch.Generator().manual_seed(0), 3000
    counts = Counter(distribution.sample(generator) for _ in range(n))
    p = 1 / len(counts)
    assert len(counts) == 2 * len(space["activation"].options)
    assert all(abs(count / n - p) < 4.5 * (p * (1 - p) / n) ** 0.5 for count in counts.values())


def test_only_the_weights_of_a_part_are_trained() -> None:
    few = split()
    initial = sw.build_supernet(load("toy-two-inputs"), DATA.input_shape, 10, seed=0).state_dict()
    for group, result in zip(few.groups, few.results, strict=True):
        assert {a["first_2"] for a, _ in result.selected.candidates} == set(group)
        weights = result.supernet.state_dict()
        for part in ("weight", "bias"):
            name = f"edges.edge_0_2.operations.linear.0.{part}"
            assert torch.equal(weights[name], initial[name]) == (group != ("linear",))
        assert not torch.equal(weights["head.weight"], initial["head.weight"])
    assert few.multiply_accumulates == sum(r.state.ledger.multiply_accumulates for r in few.results)


def test_an_architecture_is_scored_by_the_supernet_that_holds_it() -> None:
    few = split()
    space, rng = load("toy-two-inputs"), np.random.default_rng(0)
    oracle = few.oracle(RunningStatistics(), 32)
    for _ in range(6):
        a = sample(space, rng)
        holder = few.holding(a)
        expected = SupernetOracle(holder.state, RunningStatistics(), 32).evaluate(a, 0, rng)
        assert oracle.evaluate(a, 0, rng).value == expected.value
    scores = [dict(r.selected.candidates)[r.architecture]["accuracy"] for r in few.results]
    assert few.best is few.results[scores.index(max(scores))]


def test_all_start_from_an_initial_supernet() -> None:
    space = load("toy-two-inputs")
    whole = sw.search(space, recipe(), DATA, seed=3, device="cpu")
    still = recipe(learning_rate=1e-30, minimum_learning_rate=0.0, weight_decay=0.0)
    few = few_shot(space, still, DATA, choice="first_2", initial=whole.supernet, device="cpu", max_steps=1)
    for result in few.results:
        for (name, value), before in zip(result.supernet.named_parameters(), whole.supernet.parameters(), strict=True):
            torch.testing.assert_close(value, before, msg=name)
    other = sw.build_supernet(space, (6,), 10)
    with pytest.raises(ConfigurationError, match="initial supernet does not fit"):
        few_shot(space, still, DATA, choice="first_2", initial=other, device="cpu", max_steps=1)


def test_parts_are_run_folders_that_resume(tmp_path: Path) -> None:
    initial = [sw.build_supernet(load("toy-two-inputs"), DATA.input_shape, 10, seed=seed) for seed in (5, 6)]
    whole = split(out=tmp_path / "a", initial=initial[0])
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [f"part{i}" for i in range(len(whole.results))]
    (tmp_path / "a" / "part1" / "result.json").unlink()
    again = split(out=tmp_path / "a", resume=True, initial=initial[1])  # which comes too late to have an effect
    for first, second in zip(whole.results, again.results, strict=True):
        assert first.architecture == second.architecture
        pairs = zip(first.supernet.parameters(), second.supernet.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_what_is_refused() -> None:
    space = load("toy-tied-width")
    with pytest.raises(ConfigurationError, match="every option of choice 'width' once"):
        few_shot(space, recipe(), DATA, choice="width", groups=[(8,), (16,)], device="cpu")
    with pytest.raises(ConfigurationError, match="at least two groups"):
        few_shot(space, recipe(), DATA, choice="width", groups=[space["width"].options], device="cpu")
    with pytest.raises(ConfigurationError, match="did you mean 'width'"):
        few_shot(space, recipe(), DATA, choice="widht", device="cpu")
    with pytest.raises(ConfigurationError, match="use a method such as spos or rs-ws"):
        few_shot(space, build("darts"), DATA, choice="width", device="cpu")
    few = few_shot(space, recipe(), DATA, choice="width", groups=[(4, 8), (16, 32)], device="cpu", max_steps=1)
    with pytest.raises(ConfigurationError, match="no supernet was trained for"):
        few.holding(load("toy-two-inputs").listing.at(0))
