"""The contract of an augmentation: random through its generator alone, example by example, and targets move along."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from sharewise.data import Augmentation, Dataset, Examples, Paired, Transform, single_level
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.expect import expect

__all__ = ["check_augmentation", "check_moves_together"]


def check_augmentation(transform: Transform, inputs: Tensor, *, draws: int = 8, seed: int = 0) -> None:
    """Check a transform of a batch.

    It keeps shape and type, leaves its argument as it was, is a function of inputs and generator while the global
    generators stay, draws as many numbers for one batch as for any other of that shape (or a resume of another batch
    order would go astray), treats every example by itself, gives numbers, and changes something in some draws. One that
    knows masks (`Paired`) does the same to the images with and without them.

    Args:
        transform: maps inputs and a generator to inputs.
        inputs: a batch of at least four different examples, as the transform will see them.
        draws: how often to try.
        seed: of the generators.

    Raises:
        AssertionError: for the first law that is broken.

    Example:
        >>> from sharewise.data import RandomCrop, digits
        >>> check_augmentation(RandomCrop(1), digits().train.inputs[:8])
    """
    name, kept, changed = _name(transform), inputs.clone(), False
    rest, knows_masks = inputs[1:].roll(1, 0), cast("object", transform)
    others = torch.cat([inputs[:1], rest / 2 if rest.is_floating_point() else rest // 2])
    for draw in range(draws):
        generators = [torch.Generator().manual_seed(seed + draw) for _ in range(3)]
        with without_ambient_randomness(f"the transform {name}"):
            first = transform(inputs, generators[0])
        expect(torch.equal(inputs, kept), f"the transform {name} changes its argument in place")
        expect(
            first.shape == inputs.shape and first.dtype == inputs.dtype,
            f"the transform {name} makes {first.dtype} of shape {tuple(first.shape)} of inputs that are {inputs.dtype} "
            f"of shape {tuple(inputs.shape)}",
        )
        expect(bool(first.isfinite().all()), f"the transform {name} makes values that are not finite")
        second = transform(inputs, generators[1])
        expect(
            torch.equal(first, second),
            f"the transform {name} is not a function of its generator: equal generators give different batches",
        )
        third = transform(others, generators[2])
        states = [generator.get_state() for generator in generators]
        expect(
            torch.equal(states[0], states[2]),
            f"the transform {name} draws more or fewer numbers for another batch of the same shape",
        )
        expect(
            torch.equal(first[0], third[0]),
            f"the transform {name} treats an example differently when the others in its batch change",
        )
        changed = changed or not torch.equal(first, inputs)
        if isinstance(knows_masks, Paired) and inputs.ndim == 4:
            _check_paired(knows_masks, inputs, first, states[0], seed + draw)
    expect(changed, f"the transform {name} changed nothing in {draws} draws")


def _check_paired(transform: Paired, inputs: Tensor, alone: Tensor, state: Tensor, seed: int) -> None:
    generator, masks = torch.Generator().manual_seed(seed), inputs[:, 0].long()
    images, moved = transform.paired(inputs, masks, generator)
    name = type(transform).__name__
    expect(
        torch.equal(images, alone) and torch.equal(generator.get_state(), state),
        f"the transform {name} changes images otherwise, or draws other numbers, when they come with masks",
    )
    expect(
        moved.shape == masks.shape and moved.dtype == masks.dtype,
        f"the transform {name} makes masks that are {moved.dtype} of shape {tuple(moved.shape)} of masks that are "
        f"{masks.dtype} of shape {tuple(masks.shape)}",
    )


def check_moves_together(dataset: Dataset, *, batch_size: int = 16, batches: int = 4, seed: int = 0) -> None:
    """Check that spatial targets move with their images, in the batches that a training would get.

    Targets are spatial where they have the height and the width of the images. The images are replaced by a code of
    their own targets, 1 + target in every channel, which is 0 for a `VOID` target as for padding; a batch that went
    through the data set's augmentation must still show at every pixel the code of the target that stands there.

    Args:
        dataset: of images; nothing is checked where targets are not spatial.
        batch_size: of the batches.
        batches: how many to look at.
        seed: of order and augmentation.

    Raises:
        AssertionError: with the share of pixels whose target stayed behind.

    Example:
        >>> from sharewise.data import digits
        >>> check_moves_together(digits())  # a digit's label does not move
    """
    inputs, targets = dataset.train.inputs, dataset.train.targets
    if dataset.input_kind != "image" or targets.shape[1:] != inputs.shape[-2:] or targets.is_floating_point():
        return
    coded = (targets + 1).to(torch.uint8)[:, None].expand_as(inputs).contiguous()
    channels = inputs.shape[1]
    geometric = Augmentation(before=dataset.augmentation.before)  # what follows normalisation erases, and moves nothing
    probe = replace(
        dataset, train=Examples(coded, targets), mean=(0.0,) * channels, std=(1.0,) * channels, augmentation=geometric
    )
    generators = [torch.Generator().manual_seed(seed + n) for n in range(3)]
    data = probe.assign(single_level(), generator=generators[0])
    stream = data.stream("weights", batch_size, order=generators[1], augment=generators[2])
    for _ in range(batches):
        batch = next(stream)
        code = (batch.inputs[:, 0] * 255).round().long()
        strayed = code != batch.targets + 1
        expect(
            not bool(strayed.any()),
            f"the augmentation of data set {dataset.name!r} moves images and not their targets: "
            f"{float(strayed.float().mean()):.0%} of the pixels have the target of another place",
        )


def _name(transform: Transform) -> str:
    return getattr(transform, "__name__", type(transform).__name__)
