"""Data sets: the seal, subsets, sizes, and refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.data import Dataset, Examples, Sealed, classification, digits, language_modelling, regression
from sharewise.errors import ConfigurationError, DataError

torch.set_num_threads(1)


def table(labels: torch.Tensor, classes: int = 3) -> Dataset:
    train = Examples(torch.arange(float(len(labels)))[:, None], labels)
    return Dataset("table", classification(classes), "table", train, Sealed(train.subset(torch.tensor([0]))))


def test_the_seal_records_every_opening_through_copies() -> None:
    data = digits()
    assert data.openings == ()
    data.open_test("first")
    data.limited(50, seed=0).resized(16).open_test("second")
    assert data.openings == ("first", "second")
    assert digits().openings == ()


def test_the_seal_shows_nothing() -> None:
    data = digits()
    assert "360 examples, opened 0 times" in repr(data)
    assert "tensor" not in repr(data)
    tensors = [value for value in vars(data.test).values() if isinstance(value, torch.Tensor)]
    assert not tensors
    assert [name for name in vars(data) if isinstance(getattr(data, name), Examples)] == ["train"]


def test_reading_test_examples_needs_a_name() -> None:
    data = digits()
    with pytest.raises(ConfigurationError, match="name of the reader"):
        data.open_test("  ")
    assert data.openings == ()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(0, 100), st.data())
def test_subsets_are_balanced_nested_and_seeded(labels: list[int], seed: int, data: st.DataObject) -> None:
    whole = table(torch.tensor(labels))
    count = data.draw(st.integers(1, len(labels)))
    small = whole.limited(count, seed=seed)
    again = whole.limited(count, seed=seed)
    assert torch.equal(small.train.inputs, again.train.inputs)
    kept = small.train.targets.bincount(minlength=3)
    there = torch.tensor(labels).bincount(minlength=3)
    assert kept.sum() == count
    for one in range(3):
        for other in range(3):
            assert kept[one] >= kept[other] - 1 or kept[one] == there[one]
    larger = whole.limited(min(count + 5, len(labels)), seed=seed)
    assert set(small.train.inputs.flatten().tolist()) <= set(larger.train.inputs.flatten().tolist())


def test_a_subset_leaves_test_and_statistics() -> None:
    data = digits()
    small = data.limited(30, seed=1)
    assert len(small.test) == 360
    assert (small.mean, small.std) == (data.mean, data.std)
    assert small.provenance["training examples"] == "30 of 1437, seed 1"
    assert data.limited(None, seed=0) is data
    assert not torch.equal(small.train.inputs, data.limited(30, seed=2).train.inputs)


@pytest.mark.parametrize("examples", [0, -1, 1438])
def test_a_subset_out_of_range_says_how_many_there_are(examples: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"cannot keep {examples} .* from 1 to 1437"):
        digits().limited(examples, seed=0)


def test_resizing_keeps_flat_images_and_averages_blocks() -> None:
    images = torch.tensor([10, 200], dtype=torch.uint8).repeat_interleave(8).reshape(1, 1, 2, 8).repeat(1, 1, 4, 1)
    images = images.reshape(1, 1, 8, 8)
    examples = Examples(images.repeat(2, 1, 1, 1), torch.tensor([0, 1]))
    data = Dataset("blocks", classification(2), "image", examples, Sealed(examples))
    flat = Examples(torch.full((2, 3, 7, 5), 131, dtype=torch.uint8), torch.tensor([0, 1]))
    resized = Dataset("flat", classification(2), "image", flat, Sealed(flat)).resized(3)
    assert resized.train.inputs.unique().tolist() == [131]
    assert resized.train.inputs.shape == (2, 3, 3, 3)
    assert resized.std == (1.0, 1.0, 1.0)
    assert data.resized(1).train.inputs.flatten().tolist() == [105, 105]
    assert data.resized(4).open_test("test of resizing").inputs.shape == (2, 1, 4, 4)
    assert data.resized(8) is data


def test_resizing_refuses_tables_and_sizes() -> None:
    with pytest.raises(ConfigurationError, match="holds table inputs, which have no image size"):
        table(torch.tensor([0, 1])).resized(8)
    with pytest.raises(ConfigurationError, match="at least 1 pixel, got 0"):
        digits().resized(0)


def test_statistics_match_the_plain_formula() -> None:
    data = digits()
    levels = data.train.inputs.double() / 255
    assert data.mean == pytest.approx([float(levels.mean())], rel=1e-12)
    assert data.std == pytest.approx([float(levels.std(correction=0))], rel=1e-12)


def test_wrong_forms_are_refused() -> None:
    data = digits()
    with pytest.raises(DataError, match=r"training labels .* must lie in 0 to 4, got values from 0 to 9"):
        replace(data, task=classification(5))
    with pytest.raises(DataError, match="training inputs of data set 'digits' must be floating point"):
        replace(data, input_kind="table")
    with pytest.raises(DataError, match="one target for each input"):
        Examples(torch.zeros(2, 1), torch.zeros(3))
    with pytest.raises(DataError, match="has no test examples"):
        replace(data, test=Sealed(data.train.subset(torch.arange(0))))
    with pytest.raises(DataError, match="alike in training and test"):
        replace(data, test=Sealed(Examples(torch.zeros(1, 1, 9, 9, dtype=torch.uint8), torch.tensor([0]))))
    with pytest.raises(DataError, match="positive deviation for each of 1 channels"):
        replace(data, std=(0.0,))


def test_text_has_no_classes_to_balance() -> None:
    tokens = Examples(torch.zeros(6, 4, dtype=torch.long), torch.ones(6, 4, dtype=torch.long))
    data = Dataset("text", language_modelling(2), "text", tokens, Sealed(tokens))
    assert len(data.limited(2, seed=0).train) == 2
    assert data.input_shape == (4,)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_values_that_no_network_can_compute_with_are_refused(value: float) -> None:
    good = Examples(torch.zeros(4, 2, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64))
    for part in ("inputs", "targets"):
        bad = replace(good, **{part: getattr(good, part) + value})
        for which, train, test in (("training", bad, good), ("test", good, bad)):
            with pytest.raises(DataError, match=f"the {which} {part} of data set 'mine' have values that are infinite"):
                Dataset("mine", regression(), "table", train, Sealed(test))


def test_tokens_are_not_negative() -> None:
    tokens = Examples(torch.full((2, 4), -1), torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(DataError, match="the training tokens of data set 'text' must not be negative, got -1"):
        Dataset("text", language_modelling(2), "text", tokens, Sealed(tokens))
