"""Roles: parts are disjoint, cover what their fractions say, and depend on the generator only."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.data import Dataset, Examples, Roles, Sealed, bilevel, classification, held_out, single_level
from sharewise.errors import ConfigurationError, DataError

torch.set_num_threads(1)


def dataset(n: int) -> Dataset:
    examples = Examples(torch.arange(float(n))[:, None], torch.arange(n) % 2)
    return Dataset("numbers", classification(2), "table", examples, Sealed(examples))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(20, 200),
    st.integers(0, 1000),
    st.booleans(),
)
def test_parts_are_disjoint_and_cover(shares: list[int], n: int, seed: int, whole: bool) -> None:
    total = sum(shares) + (0 if whole else 3)
    roles = Roles(tuple(share / total for share in shares))
    if min(roles.parts) * n < 1:
        return
    data = dataset(n).assign(roles, generator=seeded(seed))
    everything = torch.cat(data.indices)
    assert len(everything.unique()) == len(everything)
    assert all(abs(len(part) - n * share) <= 1 for part, share in zip(data.indices, roles.parts, strict=True))
    if whole:
        assert torch.equal(everything.sort().values, torch.arange(n))


def test_the_partition_follows_its_generator() -> None:
    one, two, three = (dataset(50).assign(bilevel(), generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.indices[0], two.indices[0])
    assert not torch.equal(one.indices[0], three.indices[0])


def test_ready_roles() -> None:
    assert bilevel(0.8).is_disjoint("weights", "architecture")
    assert not bilevel().is_disjoint("architecture", "selection")
    assert not single_level().is_disjoint("weights", "architecture")
    assert not single_level().is_disjoint("weights", "selection")
    assert held_out().is_disjoint("weights", "selection")
    data = dataset(10).assign(single_level(), generator=seeded(0))
    assert torch.equal(data.examples("weights").inputs, data.examples("architecture").inputs)
    assert sorted(data.examples("selection").inputs.flatten().tolist()) == list(range(10))


def test_a_role_reads_its_part_only() -> None:
    data = dataset(40).assign(bilevel(0.25), generator=seeded(0))
    assert (data.size("weights"), data.size("architecture")) == (10, 30)
    allowed = set(data.indices[0].tolist())
    batches = data.stream("weights", 4, order=seeded(1))
    seen = {int(value) for _ in range(20) for value in next(batches).inputs.flatten()}
    assert seen == allowed
    evaluated = [int(value) for batch in data.batches("selection", 7) for value in batch.inputs.flatten()]
    assert sorted(evaluated) == sorted(data.indices[1].tolist())
    assert evaluated == [int(value) for batch in data.batches("selection", 30) for value in batch.inputs.flatten()]


def test_a_role_without_a_part_is_refused() -> None:
    data = dataset(10).assign(held_out(), generator=seeded(0))
    with pytest.raises(ConfigurationError, match="no examples are set aside for the role 'architecture'"):
        data.stream("architecture", 2, order=seeded(0))
    with pytest.raises(ConfigurationError, match="unknown data role 'test'"):
        data.size("test")  # type: ignore[arg-type]


@pytest.mark.parametrize("parts", [(), (0.0, 1.0), (-0.5,), (0.6, 0.6), (float("nan"),)])
def test_bad_fractions_are_refused(parts: tuple[float, ...]) -> None:
    with pytest.raises(ConfigurationError, match="positive fractions"):
        Roles(parts)


def test_bad_parts_and_fractions_of_ready_roles_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'selection' reads part 2, but the parts are numbered 0 to 1"):
        Roles((0.5, 0.5), selection=2)
    for build in (bilevel, held_out):
        with pytest.raises(ConfigurationError, match=r"must lie in \(0, 1\), got 1"):
            build(1)


def test_too_few_examples_say_how_many_are_needed() -> None:
    with pytest.raises(DataError, match="give at least 10 training examples"):
        dataset(3).assign(bilevel(0.9), generator=seeded(0))
    dataset(10).assign(bilevel(0.9), generator=seeded(0))
