"""Augmentation of photographs: windows and colours by their equations, pixel by pixel, and whole with a training."""

from __future__ import annotations

import colorsys
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import sharewise as sw
from sharewise.data.photograph import ColourJitter, ResizedCrop, imagenet_augmentation
from sharewise.errors import ConfigurationError
from sharewise.recipes import RECIPES
from sharewise.run import TrainingRecipe


def images(n: int = 6, height: int = 12, width: int = 10) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_window_is_stretched_as_torch_interpolates() -> None:
    crop, x = ResizedCrop(), images(40)
    found = crop(x, seeded())
    for image, result, window in zip(x, found, crop.windows(40, 12, 10, seeded()).T.long().tolist(), strict=True):
        top, left, high, wide = window
        cut = image[None, :, top : top + high, left : left + wide]
        expected = F.interpolate(cut, size=(12, 10), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def test_windows_have_the_area_and_the_shape_that_were_asked_for() -> None:
    crop = ResizedCrop(area=(0.1, 0.5))  # of which all fit
    top, left, high, wide = crop.windows(4000, 224, 224, seeded())
    area, ratio = high * wide / 224**2, wide / high
    assert min(float(top.min()), float(left.min())) >= 0
    assert max(float((top + high).max()), float((left + wide).max())) <= 224
    assert (float(area.min()), float(area.max())) == pytest.approx((0.1, 0.5), abs=5e-3)
    assert float(area.mean()) == pytest.approx(0.3, abs=0.01)
    assert (float(ratio.min()), float(ratio.max())) == pytest.approx((3 / 4, 4 / 3), abs=0.03)
    assert float(ratio.log().mean()) == pytest.approx(0, abs=0.01)
    assert float((left / (224 - wide)).mean()) == pytest.approx(0.5, abs=0.02)


def test_where_no_window_fits_the_middle_is_taken() -> None:
    window = ResizedCrop(area=(1.0, 1.0), shape=(1.0, 1.0)).windows(3, 6, 12, seeded())
    assert window.T.tolist() == [[0, 3, 6, 6]] * 3


def test_a_mask_follows_its_image() -> None:
    crop = ResizedCrop()
    masks = torch.arange(12 * 10).reshape(1, 12, 10).expand(6, -1, -1).contiguous()
    x = masks[:, None].expand(-1, 3, -1, -1).double()
    cropped, followed = crop.paired(x, masks, seeded())
    assert torch.equal(cropped, crop(x, seeded()))
    assert float((cropped[:, 0] - followed).abs().max()) <= 5.5  # half a row and half a column


def only(**strength: float) -> ColourJitter:
    return ColourJitter(**{"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, **strength})


def factors(generator: torch.Generator, n: int, row: int) -> Tensor:
    torch.rand(4, n, generator=generator)
    return (2 * torch.rand(4, n, generator=generator) - 1)[row].double()


def grey(x: Tensor) -> Tensor:
    return 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]


@pytest.mark.parametrize(("row", "name"), list(enumerate(("brightness", "contrast", "saturation"))))
def test_blends(row: int, name: str) -> None:
    x = images()
    found, f = only(**{name: 0.4})(x, seeded()), 1 + 0.4 * factors(seeded(), len(x), row)[:, None, None, None]
    other = (torch.zeros(()), grey(x).mean((2, 3), keepdim=True), grey(x))[row]
    torch.testing.assert_close(found, (f * x + (1 - f) * other).clamp(0, 1), rtol=0, atol=1e-7)


def test_hues_turn_as_in_the_standard_library() -> None:
    x = images(4, 3, 3)
    x[0, :, 0, 0], x[1, :, 0, 0] = 0.25, torch.tensor([1.0, 1.0, 0.0])
    found, turns = only(hue=0.2)(x, seeded()), 0.2 * factors(seeded(), len(x), 3)
    for image, result, turn in zip(x, found, turns.tolist(), strict=True):
        for pixel, changed in zip(image.flatten(1).T.tolist(), result.flatten(1).T.tolist(), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            assert changed == pytest.approx(colorsys.hsv_to_rgb((h + turn) % 1, s, v), abs=1e-6)


def test_order_is_drawn_for_each_image_and_whole_numbers_stay_whole() -> None:
    x = (255 * images(1, 4, 4)).round().to(torch.uint8).expand(64, -1, -1, -1).contiguous()
    found = ColourJitter()(x, seeded())
    assert found.dtype == torch.uint8
    assert len(found.unique(dim=0)) > 60
    assert torch.equal(found, ColourJitter()(x, seeded()))
    assert torch.equal(only()(x, seeded()), x)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ResizedCrop(area=(0.0, 1.0)),
        lambda: ResizedCrop(shape=(2.0, 1.0)),
        lambda: ResizedCrop(shape=(1.0, math.inf)),
        lambda: ColourJitter(hue=0.6),
        lambda: ColourJitter(brightness=-0.1),
        lambda: ColourJitter()(torch.zeros(1, 1, 2, 2), seeded()),
        lambda: TrainingRecipe(transforms="imagenets"),
        lambda: TrainingRecipe(transforms="imagenet").augmentation(sw.data.digits()),
    ],
)
def test_what_is_out_of_range_is_said_in_one_line(wrong: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        wrong()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_recipe_of_imagenet_asks_for_it_and_older_folders_do_not_know_it() -> None:
    training = TrainingRecipe(**RECIPES["darts-imagenet"].training)
    assert training.transforms == "imagenet"
    assert "transforms" not in TrainingRecipe().arguments()
    assert imagenet_augmentation().before[0] == ResizedCrop((0.08, 1.0), (3 / 4, 4 / 3))
