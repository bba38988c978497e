"""Each whole-batch transform against a plain loop over the images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sharewise.data import Augmentation, Cutout, HorizontalFlip, RandomCrop, Transform, normalise
from sharewise.errors import ConfigurationError

torch.set_num_threads(1)

shapes = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 2**31)


def images(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(1, 4), seeds)
def test_crop_matches_a_loop(shape: tuple[int, int, int, int], padding: int, seed: int) -> None:
    batch = images(shape, seed)
    result = RandomCrop(padding)(batch, seeded(seed))
    tops, lefts = torch.randint(2 * padding + 1, (2, shape[0]), generator=seeded(seed)).tolist()
    for image, cropped, top, left in zip(batch, result, tops, lefts, strict=True):
        for row in range(shape[2]):
            for column in range(shape[3]):
                y, x = row + top - padding, column + left - padding
                inside = 0 <= y < shape[2] and 0 <= x < shape[3]
                expected = image[:, y, x] if inside else torch.zeros(shape[1], dtype=torch.uint8)
                assert torch.equal(cropped[:, row, column], expected)


@settings(max_examples=40, deadline=None)
@given(shapes, st.floats(0, 1), seeds)
def test_flip_matches_a_loop(shape: tuple[int, int, int, int], probability: float, seed: int) -> None:
    batch = images(shape, seed)
    result = HorizontalFlip(probability)(batch, seeded(seed))
    coins = torch.rand(shape[0], generator=seeded(seed))
    for image, flipped, coin in zip(batch, result, coins, strict=True):
        assert torch.equal(flipped, image[..., range(shape[3] - 1, -1, -1)] if coin < probability else image)


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(1, 12), seeds)
def test_cutout_matches_a_loop(shape: tuple[int, int, int, int], size: int, seed: int) -> None:
    batch = images(shape, seed).float()
    result = Cutout(size)(batch, seeded(seed))
    generator = seeded(seed)
    ys = torch.randint(shape[2], (shape[0],), generator=generator).tolist()
    xs = torch.randint(shape[3], (shape[0],), generator=generator).tolist()
    for image, erased, y, x in zip(batch, result, ys, xs, strict=True):
        expected = image.clone()
        top, left = y - size // 2, x - size // 2
        expected[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
        assert torch.equal(erased, expected)


@pytest.mark.parametrize("transform", [RandomCrop(2), HorizontalFlip(), Cutout(3)])
def test_transforms_leave_their_input_and_consume_alike(transform: Transform) -> None:
    states = []
    for seed in (0, 1):
        batch = images((5, 3, 8, 8), seed)
        before, generator = batch.clone(), seeded(7)
        result = transform(batch, generator)
        assert torch.equal(batch, before)
        assert result.shape == batch.shape
        assert result.dtype == batch.dtype
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])


def test_crop_reaches_every_place_and_flip_takes_about_half() -> None:
    batch = torch.zeros(2000, 1, 5, 5, dtype=torch.uint8)
    batch[:, :, 2, 2] = 1
    batch[:, :, 2, 3] = 2
    places = RandomCrop(2)(batch, seeded(0)).eq(1).nonzero()[:, 2:]
    assert len(places.unique(dim=0)) == 25
    flipped = HorizontalFlip()(batch, seeded(0))[:, 0, 2, 1].eq(2).double().mean()
    assert 0.45 < flipped < 0.55


@settings(max_examples=20, deadline=None)
@given(shapes, seeds)
def test_normalise_matches_the_formula(shape: tuple[int, int, int, int], seed: int) -> None:
    batch = images(shape, seed)
    mean = torch.rand(shape[1], dtype=torch.float64, generator=seeded(seed))
    std = mean + 0.1
    expected = (batch.double() / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(normalise(batch, mean, std, torch.float64), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(normalise(batch, mean, std).double(), expected, rtol=1e-5, atol=1e-5)
    assert normalise(batch, mean, std, torch.bfloat16).dtype == torch.bfloat16


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="padding of a random crop must be at least 1 pixel, got 0"):
        RandomCrop(0)
    with pytest.raises(ConfigurationError, match=r"flip must lie in \[0, 1\], got 1.5"):
        HorizontalFlip(1.5)
    with pytest.raises(ConfigurationError, match="cutout must be at least 1 pixel, got 0"):
        Augmentation().with_cutout(0)
