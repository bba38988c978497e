"""Augmentation of a whole batch on tensors, and normalisation.

A transform is any callable that maps `(inputs, generator)` to inputs of the same shape. Random numbers come
from a CPU generator, in an amount that depends on the shape of the batch only, and are moved to the device
without waiting for it: the same seed augments alike on every device, and a restored generator continues
exactly.

Where the targets of a task are masks, a transform must also say what it does to them: see `Paired`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.data.task import VOID
from sharewise.errors import ConfigurationError

__all__ = ["Augmentation", "Cutout", "HorizontalFlip", "Paired", "RandomCrop", "Transform", "moved", "normalise"]

Transform = Callable[[Tensor, torch.Generator], Tensor]


@runtime_checkable
class Paired(Protocol):
    """A transform that knows what becomes of masks when it changes their images.

    Example:
        >>> isinstance(RandomCrop(1), Paired), isinstance(lambda images, generator: images, Paired)
        (True, False)
    """

    def paired(self, inputs: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change images, and move their masks as the pixels move.

        Args:
            inputs: shape `(n, channels, height, width)`.
            masks: shape `(n, height, width)`, signed integers.
            generator: of the random numbers; as many are drawn as for the images alone.

        Returns:
            Images and masks; a pixel that comes from nowhere is `VOID` in the mask.
        """


def moved(values: Tensor, device: torch.device) -> Tensor:
    """Send a CPU tensor to `device` without making the host wait for it.

    Args:
        values: a tensor on the CPU.
        device: where it is wanted.

    Returns:
        The tensor on `device`; the same tensor when that is the CPU.

    Example:
        >>> moved(torch.tensor([1, 2]), torch.device("cpu"))
        tensor([1, 2])
    """
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


@final
@dataclass(frozen=True)
class RandomCrop:
    """Shift each image at random: pad with zeros on every side, then crop to the former size.

    Args:
        padding: pixels added on each side, at least 1.

    Raises:
        ConfigurationError: when `padding` is out of range.

    Example:
        >>> images = torch.ones(2, 3, 8, 8, dtype=torch.uint8)
        >>> RandomCrop(1)(images, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 8, 8])
    """

    padding: int

    def __post_init__(self) -> None:
        if self.padding < 1:
            raise ConfigurationError(
                f"the padding of a random crop must be at least 1 pixel, got {self.padding}; leave the crop out instead"
            )

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Crop images of shape `(n, channels, height, width)`, each at its own place."""
        return self._cropped(inputs, self._places(inputs, generator), 0)

    def paired(self, inputs: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Crop images and masks at the same places; beyond the border a mask is `VOID`."""
        places = self._places(inputs, generator)
        return self._cropped(inputs, places, 0), self._cropped(masks[:, None], places, VOID)[:, 0]

    def _places(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Top and left of each window, shape `(2, n)`."""
        return moved(torch.randint(2 * self.padding + 1, (2, len(inputs)), generator=generator), inputs.device)

    def _cropped(self, maps: Tensor, places: Tensor, beyond: int) -> Tensor:
        n, _, height, width = maps.shape
        top, left = places
        windows = F.pad(maps, (self.padding,) * 4, value=beyond).unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(n, device=maps.device), :, top, left]


@final
@dataclass(frozen=True)
class HorizontalFlip:
    """Mirror each image left to right with some probability; only where a mirrored image keeps its meaning.

    Args:
        probability: of mirroring an image, in [0, 1].

    Raises:
        ConfigurationError: when `probability` is out of range.

    Example:
        >>> image = torch.tensor([[[[1, 2, 3]]]])
        >>> HorizontalFlip(1.0)(image, torch.Generator())
        tensor([[[[3, 2, 1]]]])
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigurationError(f"the probability of a flip must lie in [0, 1], got {self.probability}")

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Flip images of shape `(n, channels, height, width)`, each by its own coin."""
        return self._flipped(inputs, self._coins(inputs, generator))

    def paired(self, inputs: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Flip each mask together with its image."""
        coins = self._coins(inputs, generator)
        return self._flipped(inputs, coins), self._flipped(masks, coins)

    def _coins(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        flip = torch.rand(len(inputs), generator=generator) < self.probability
        return moved(flip, inputs.device)

    def _flipped(self, maps: Tensor, coins: Tensor) -> Tensor:
        return torch.where(coins.view(-1, *[1] * (maps.ndim - 1)), maps.flip(-1), maps)


@final
@dataclass(frozen=True)
class Cutout:
    """Erase one square per image (DeVries and Taylor, 2017), after normalisation, where zero is the mean.

    The centre is uniform over all pixels, so that a square may reach over the border and be partly lost, as
    published.

    Args:
        size: side of the square in pixels, at least 1.

    Raises:
        ConfigurationError: when `size` is out of range.

    Example:
        >>> images = torch.ones(1, 1, 8, 8)
        >>> 0 < (Cutout(4)(images, torch.Generator().manual_seed(0)) == 0).sum() <= 16
        tensor(True)
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigurationError(f"the side of a cutout must be at least 1 pixel, got {self.size}")

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Erase a square in images of shape `(n, channels, height, width)`, each at its own place."""
        n, _, height, width = inputs.shape
        centres = torch.stack([torch.randint(side, (n,), generator=generator) for side in (height, width)])
        top, left = moved(centres - self.size // 2, inputs.device)

        def inside(start: Tensor, side: int) -> Tensor:
            offset = torch.arange(side, device=inputs.device) - start[:, None]
            return (offset >= 0) & (offset < self.size)

        hole = inside(top, height)[:, None, :, None] & inside(left, width)[:, None, None, :]
        return inputs.masked_fill(hole, 0)

    def paired(self, inputs: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Erase in the images alone: what is behind the square is still there."""
        return self(inputs, generator), masks


@final
@dataclass(frozen=True)
class Augmentation:
    """What is done to training batches at random, before and after normalisation.

    Args:
        before: transforms of stored inputs (uint8 images), in order.
        after: transforms of normalised inputs, in order.

    Example:
        >>> Augmentation(before=(RandomCrop(4), HorizontalFlip())).with_cutout(16).after
        (Cutout(size=16),)
    """

    before: tuple[Transform, ...] = ()
    after: tuple[Transform, ...] = ()

    def check_paired(self) -> None:
        """Refuse transforms that do not say what becomes of masks.

        Raises:
            ConfigurationError: when a transform has no method `paired`.

        Example:
            >>> Augmentation(before=(RandomCrop(4),)).check_paired()
        """
        for transform in (*self.before, *self.after):
            if not isinstance(transform, Paired):
                name = getattr(transform, "__name__", type(transform).__name__)
                raise ConfigurationError(
                    f"the transform {name!r} does not say what becomes of the masks when it changes their images; give "
                    "it a method paired(inputs, masks, generator) that returns both, or leave it out"
                )

    def with_cutout(self, size: int) -> Augmentation:
        """Add cutout as the last step, because methods differ in it while the rest belongs to the data.

        Args:
            size: side of the erased square in pixels, at least 1.

        Returns:
            A new augmentation.

        Raises:
            ConfigurationError: when `size` is out of range.

        Example:
            >>> Augmentation().with_cutout(2)
            Augmentation(before=(), after=(Cutout(size=2),))
        """
        return replace(self, after=(*self.after, Cutout(size)))


def normalise(inputs: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Turn stored images into network inputs of mean 0 and deviation 1 per channel.

    Args:
        inputs: shape `(n, channels, height, width)`: uint8 in 0…255, or floating point in [0, 1].
        mean: shape `(channels,)`, in [0, 1] units, on the device of `inputs`.
        std: shape `(channels,)`, positive, in [0, 1] units, on the device of `inputs`.
        dtype: floating type of the result; half precision is computed in float32 and rounded once.

    Returns:
        `(inputs - mean) / std`, of the shape of `inputs`.

    Example:
        >>> white = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)
        >>> normalise(white, torch.tensor([0.5]), torch.tensor([0.25])).item()
        2.0...
    """
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    unit = 255.0 if inputs.dtype == torch.uint8 else 1.0
    scale = (std.to(exact) * unit).reciprocal()[:, None, None]
    shift = (-mean.to(exact) / std.to(exact))[:, None, None]
    return torch.addcmul(shift, inputs.to(exact), scale).to(dtype)
