"""Streams: every pass is a permutation, and resuming is exact."""

from __future__ import annotations

import io
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.data import (
    Augmentation,
    Cutout,
    Examples,
    HorizontalFlip,
    RandomCrop,
    Stream,
    digits,
    evaluation_batches,
    single_level,
)
from sharewise.errors import CheckpointError, ConfigurationError, DataError

torch.set_num_threads(1)

FULL = Augmentation(before=(RandomCrop(1), HorizontalFlip()), after=(Cutout(2),))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stream(n: int = 10, batch_size: int = 3, seed: int = 0, **options: Any) -> Stream:
    images = torch.randint(256, (n, 2, 4, 4), dtype=torch.uint8, generator=seeded(99))
    settings_: dict[str, Any] = {
        "order": seeded(seed),
        "augment": seeded(seed + 1),
        "augmentation": FULL,
        "mean": (0.5, 0.4),
        "std": (0.2, 0.3),
    }
    return Stream(Examples(images, torch.arange(n)), batch_size, **{**settings_, **options})


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 30), st.integers(0, 1000))
def test_restoring_at_any_position_repeats_the_next_batches(n: int, size: int, position: int, seed: int) -> None:
    first = stream(n, size, seed)
    for _ in range(position):
        next(first)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    expected = list(islice(first, 9))
    second = stream(n, size, seed + 5)
    next(second)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for one, other in zip(expected, islice(second, 9), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 1000))
def test_a_pass_reads_no_example_twice(n: int, size: int, seed: int) -> None:
    batches = stream(n, size, seed)
    assert batches.batch_size == min(n, size)
    assert batches.steps_per_pass == n // min(n, size)
    for _ in range(3):
        seen = torch.cat([batch.targets for batch in islice(batches, batches.steps_per_pass)])
        assert len(seen.unique()) == len(seen) == batches.steps_per_pass * batches.batch_size


def test_the_pipeline_is_before_then_normalise_then_after() -> None:
    white = Examples(torch.full((4, 1, 8, 8), 255, dtype=torch.uint8), torch.zeros(4))
    augmentation = Augmentation(after=(Cutout(4),))
    options = {"augmentation": augmentation, "augment": seeded(0), "mean": (0.25,), "std": (0.5,)}
    inputs = next(Stream(white, 4, order=seeded(0), **options)).inputs
    assert inputs.unique().tolist() == pytest.approx([0.0, 1.5])
    augmentation = Augmentation(before=(lambda images, generator: images // 255 * 0,))
    options = {"augmentation": augmentation, "augment": seeded(0), "mean": (0.25,), "std": (0.5,)}
    assert next(Stream(white, 4, order=seeded(0), **options)).inputs.unique().tolist() == [-0.5]


def test_no_augmentation_without_a_generator_for_it() -> None:
    plain = next(stream(augment=None))
    expected = next(stream(augment=None, augmentation=None))
    assert torch.equal(plain.inputs, expected.inputs)
    assert not torch.equal(plain.inputs, next(stream()).inputs)
    assert torch.equal(plain.targets, next(stream()).targets)


def test_two_streams_of_one_generator_differ_and_are_reproducible() -> None:
    generator = seeded(3)
    one, two = (stream(50, 50, order=generator) for _ in range(2))
    assert not torch.equal(next(one).targets, next(two).targets)
    assert torch.equal(next(stream(50, 50, seed=3)).targets, next(stream(50, 50, seed=3)).targets)


def test_nothing_is_drawn_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    list(islice(stream(), 10))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_floating_inputs_and_targets_get_the_type(dtype: torch.dtype) -> None:
    table = Examples(torch.zeros(4, 3), torch.zeros(4, 1))
    batch = next(Stream(table, 2, order=seeded(0), dtype=dtype))
    assert (batch.inputs.dtype, batch.targets.dtype) == (dtype, dtype)
    assert next(stream(dtype=dtype)).inputs.dtype == dtype
    tokens = Examples(torch.zeros(4, 3, dtype=torch.long), torch.zeros(4, 3, dtype=torch.long))
    assert next(Stream(tokens, 2, order=seeded(0), dtype=dtype)).inputs.dtype == torch.long


def test_a_state_of_another_stream_is_refused() -> None:
    state = stream().state_dict()
    with pytest.raises(CheckpointError, match="examples=10, this one has examples=11"):
        stream(11).load_state_dict(state)
    with pytest.raises(CheckpointError, match="batch_size=3, this one has batch_size=4"):
        stream(10, 4).load_state_dict(state)
    with pytest.raises(CheckpointError, match="differ in whether they augment"):
        stream(augment=None).load_state_dict(state)
    with pytest.raises(CheckpointError, match="must hold"):
        stream().load_state_dict({})
    with pytest.raises(CheckpointError, match="position 4 is outside a pass of 3"):
        stream().load_state_dict({**state, "position": 4})
    with pytest.raises(CheckpointError, match="random generator is damaged"):
        stream().load_state_dict({**state, "order": torch.zeros(3, dtype=torch.uint8)})


def test_a_refused_state_changes_nothing() -> None:
    batches, twin = stream(), stream()
    with pytest.raises(CheckpointError):
        batches.load_state_dict({**stream(seed=8).state_dict(), "augment": torch.ones(3, dtype=torch.uint8)})
    assert torch.equal(next(batches).inputs, next(twin).inputs)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="batch size must be at least 1, got 0"):
        stream(batch_size=0)
    with pytest.raises(DataError, match="at least one example"):
        stream(0)


def test_evaluation_goes_once_through_everything_in_order() -> None:
    data = digits()
    test = data.open_test("test of evaluation")
    batches = list(evaluation_batches(test, data, 100))
    assert [len(batch.inputs) for batch in batches] == [100, 100, 100, 60]
    assert torch.equal(torch.cat([batch.targets for batch in batches]), test.targets)
    inputs = torch.cat([batch.inputs for batch in evaluation_batches(test, data, 7, dtype=torch.float64)])
    expected = (test.inputs.double() / 255 - data.mean[0]) / data.std[0]
    torch.testing.assert_close(inputs, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("limit", [1, 7, 359, 360, 1000])
def test_a_limit_reads_the_same_evenly_spaced_examples(limit: int) -> None:
    data = digits()
    test = data.open_test("test of the limit")
    one, two = (
        torch.cat([batch.inputs for batch in evaluation_batches(test, data, 50, limit=limit)]) for _ in range(2)
    )
    assert len(one) == min(limit, 360)
    assert torch.equal(one, two)


def test_evaluation_refuses_bad_numbers_at_once() -> None:
    data = digits()
    with pytest.raises(ConfigurationError, match="batch size"):
        evaluation_batches(data.train, data, 0)
    with pytest.raises(ConfigurationError, match="examples to evaluate must be at least 1, got 0"):
        evaluation_batches(data.train, data, 1, limit=0)


def test_training_statistics_normalise_to_zero_mean_and_unit_deviation() -> None:
    data = digits().assign(single_level(), generator=seeded(0))
    inputs = torch.cat([batch.inputs for batch in data.batches("weights", 500, dtype=torch.float64)])
    assert abs(float(inputs.mean())) < 1e-6
    assert abs(float(inputs.var(correction=0)) - 1) < 1e-6
