"""Augmentation of photographs as on ImageNet: random resized crops, and jitter of colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sharewise.data.augmentation import Augmentation, HorizontalFlip, moved
from sharewise.errors import ConfigurationError

__all__ = ["ColourJitter", "ResizedCrop", "imagenet_augmentation"]

_ATTEMPTS = 10


@final
@dataclass(frozen=True)
class ResizedCrop:
    """Cut a window of random area and shape out of each image and stretch it to the former size.

    The window has a part s of the image's area, s uniform in `area`, and a shape r = width / height, log r uniform in
    that of `shape`. Of ten attempts the first that fits is taken, at a uniform place; else the largest window of a
    legal shape, in the middle. Pixels are interpolated linearly, within the window alone.

    Args:
        area: smallest and largest part of the image, in (0, 1].
        shape: smallest and largest width over height, positive.

    Raises:
        ConfigurationError: when a range is empty or out of bounds.

    Example:
        >>> images = torch.full((2, 3, 8, 8), 7, dtype=torch.uint8)
        >>> ResizedCrop()(images, torch.Generator().manual_seed(0)).unique()
        tensor([7], dtype=torch.uint8)

    References:
        C. Szegedy et al., *Going Deeper with Convolutions*, CVPR 2015 (arXiv 1409.4842), section 6.

    Deviations:
        Windows are cut out of the images as they are stored, which have the size that the network reads; the usual
        pipeline cuts them out of larger originals.
    """

    area: tuple[float, float] = (0.08, 1.0)
    shape: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ConfigurationError(f"the area of a resized crop lies between parts in (0, 1], got {self.area}")
        if not 0 < self.shape[0] <= self.shape[1] < math.inf:
            raise ConfigurationError(f"the shape of a resized crop lies between positive ratios, got {self.shape}")

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Crop images of shape `(n, channels, height, width)`, each by a window of its own."""
        rows, columns = self._places(inputs, generator)
        return _stretched(inputs, rows, columns)

    def paired(self, inputs: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Crop images and masks by the same windows; a mask takes its nearest pixel."""
        rows, columns = self._places(inputs, generator)
        n = torch.arange(len(masks), device=masks.device)[:, None, None]
        nearest = masks[n, rows.round().long()[:, :, None], columns.round().long()[:, None, :]]
        return _stretched(inputs, rows, columns), nearest

    def windows(self, n: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Top, left, height and width of n windows in pixels, shape `(4, n)`.

        Args:
            n: how many.
            height: of the images.
            width: of the images.
            generator: on the CPU; 40 numbers a window are drawn.
        """
        draws = torch.rand(4, _ATTEMPTS, n, generator=generator, dtype=torch.float64)
        areas = height * width * (self.area[0] + (self.area[1] - self.area[0]) * draws[0])
        low, high = (math.log(ratio) for ratio in self.shape)
        ratios = (low + (high - low) * draws[1]).exp()
        wide, tall = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
        fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
        first = fits.to(torch.uint8).argmax(0, keepdim=True)
        tops, lefts = (draws[2] * (height - tall + 1)).floor(), (draws[3] * (width - wide + 1)).floor()
        chosen = torch.stack([value.gather(0, first)[0] for value in (tops, lefts, tall, wide)])
        return torch.where(fits.any(0), chosen, self._middle(height, width)[:, None])

    def _middle(self, height: int, width: int) -> Tensor:
        """The largest window of a legal shape, in the middle."""
        ratio = min(max(width / height, self.shape[0]), self.shape[1])
        wide, high = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
        return torch.tensor([(height - high) // 2, (width - wide) // 2, high, wide], dtype=torch.float64)

    def _places(self, inputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Where each row and each column of the results is read, `(n, height)` and `(n, width)`, in pixels."""
        n, _, height, width = inputs.shape
        top, left, high, wide = self.windows(n, height, width, generator)
        rows, columns = _read(top, high, height), _read(left, wide, width)
        return moved(rows, inputs.device), moved(columns, inputs.device)


def _read(start: Tensor, length: Tensor, size: int) -> Tensor:
    """The centres of `size` pixels that fill a window of `length` pixels from `start`."""
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * (length[:, None] / size) - 0.5
    return start[:, None] + torch.minimum(centres.clamp_min(0), length[:, None] - 1)


def _stretched(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Linear interpolation, first along columns, then along rows."""
    maps = images.to(torch.float64 if images.dtype == torch.float64 else torch.float32)
    maps = _along(_along(maps, columns).transpose(2, 3), rows).transpose(2, 3)
    return maps if images.is_floating_point() else maps.round().to(images.dtype)


def _along(maps: Tensor, places: Tensor) -> Tensor:
    """The last dimension of `(n, channels, height, width)` read at `places`, shape `(n, size)`."""
    lower = places.floor().clamp_max(maps.shape[3] - 1)
    part = (places - lower).to(maps.dtype)[:, None, None, :]
    first, second = lower.long(), (lower.long() + 1).clamp_max(maps.shape[3] - 1)
    taken = [maps.gather(3, index[:, None, None, :].expand(-1, *maps.shape[1:3], -1)) for index in (first, second)]
    return torch.lerp(taken[0], taken[1], part)


@final
@dataclass(frozen=True)
class ColourJitter:
    """Change brightness, contrast, saturation and hue of each image by random factors, in random order.

    With f uniform in [1 - s, 1 + s] an image x becomes f x + (1 - f) y, cut to the legal range: y is black for
    brightness, the mean grey of the image for contrast, and the grey image for saturation. The hue turns by a part of
    the circle that is uniform in [-s, s].

    Args:
        brightness: s, in [0, 1].
        contrast: s, in [0, 1].
        saturation: s, in [0, 1].
        hue: s, in [0, 0.5].

    Raises:
        ConfigurationError: when a strength is out of range, or when images have not three colours.

    Example:
        >>> grey = torch.full((1, 3, 2, 2), 0.5)
        >>> bool((ColourJitter(0, 0, 0.4, 0.2)(grey, torch.Generator()) - grey).abs().max() < 1e-6)
        True

    References:
        A. G. Howard, *Some Improvements on Deep Convolutional Neural Network Based Image Classification*, 2013
        (arXiv 1312.5402), section 2.2; strengths as in the ImageNet training of H. Liu et al., *DARTS*, ICLR 2019.

    Deviations:
        Values are rounded to whole numbers once, at the end, and not after each of the four.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.2

    def __post_init__(self) -> None:
        for name, most in (("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0), ("hue", 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise ConfigurationError(f"the jitter of {name} must lie in [0, {most:g}], got {getattr(self, name)}")

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Change images of shape `(n, 3, height, width)`, each by factors and in an order of its own."""
        if inputs.shape[1] != 3:
            raise ConfigurationError(f"colours can be changed in images of 3 channels, not of {inputs.shape[1]}")
        n, unit = len(inputs), 1.0 if inputs.is_floating_point() else 255.0
        order = torch.rand(4, n, generator=generator).argsort(0)
        draws = 2 * torch.rand(4, n, generator=generator) - 1
        maps = inputs.to(torch.float64 if inputs.dtype == torch.float64 else torch.float32) / unit
        changes = (_brightened, _contrasted, _saturated, _turned)
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        for turn in order:
            for number, (change, strength) in enumerate(zip(changes, strengths, strict=True)):
                chosen = (turn == number).nonzero().flatten()
                if strength and len(chosen):
                    own, factor = moved(chosen, maps.device), moved(strength * draws[number, chosen], maps.device)
                    maps = maps.index_copy(0, own, change(maps[own], factor.to(maps.dtype)[:, None, None, None]))
        return maps if inputs.is_floating_point() else (maps * unit).round().to(inputs.dtype)

    def paired(self, inputs: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change the images alone: what is where stays."""
        return self(inputs, generator), masks


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.unsqueeze(2).unbind(1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _blended(images: Tensor, other: Tensor | float, change: Tensor) -> Tensor:
    """(1 + d) x - d y, within [0, 1]."""
    return (images + change * (images - other)).clamp(0, 1)


def _brightened(images: Tensor, change: Tensor) -> Tensor:
    return _blended(images, 0.0, change)


def _contrasted(images: Tensor, change: Tensor) -> Tensor:
    return _blended(images, _grey(images).mean((2, 3), keepdim=True), change)


def _saturated(images: Tensor, change: Tensor) -> Tensor:
    return _blended(images, _grey(images), change)


def _turned(images: Tensor, change: Tensor) -> Tensor:
    """The hue of HSV turned by a part of the circle; value and saturation stay.

    A colour of hue h, value v and chroma c has in channel k = 5, 3, 1 (red, green, blue) the value
    v - c max(0, min(q, 4 - q, 1)) with q = (k + 6 h) mod 6.
    """
    value, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = value - least
    red, green, blue = images.unsqueeze(2).unbind(1)
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sixths = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turned = sixths + 6 * change
    q = torch.cat([(k + turned).remainder(6) for k in (5, 3, 1)], dim=1)
    return value - chroma * torch.minimum(torch.minimum(q, 4 - q), torch.ones_like(q)).clamp_min(0)


def imagenet_augmentation() -> Augmentation:
    """Random resized crops, mirror images and jitter of colours, as DARTS and those after it train on ImageNet.

    Example:
        >>> [type(transform).__name__ for transform in imagenet_augmentation().before]
        ['ResizedCrop', 'HorizontalFlip', 'ColourJitter']
    """
    return Augmentation(before=(ResizedCrop(), HorizontalFlip(), ColourJitter()))
