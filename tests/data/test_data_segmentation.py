"""Masks move with their images, classes are balanced under any name, and mean IoU is that of the whole set."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.data import (
    VOID,
    Augmentation,
    Batch,
    Cutout,
    Dataset,
    Examples,
    HorizontalFlip,
    RandomCrop,
    Sealed,
    Stream,
    Task,
    Transform,
    classification,
    digits,
    regression,
    segmentation,
    single_level,
)
from sharewise.engine.evaluate import evaluate
from sharewise.errors import ConfigurationError, DataError

GEOMETRY = Augmentation(before=(RandomCrop(3), HorizontalFlip()), after=(Cutout(2),))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def painted(n: int = 12, height: int = 6, width: int = 9, augmentation: Augmentation = GEOMETRY) -> Dataset:
    """Images whose level is 40 times the class of the pixel plus 40, so that each tells its mask."""
    masks = torch.randint(0, 5, (n, height, width), generator=seeded(0))
    rows = Examples((40 + 40 * masks).byte()[:, None], masks)
    return Dataset("painted", segmentation(5), "image", rows, Sealed(rows), augmentation=augmentation)


@pytest.mark.parametrize("transform", [RandomCrop(1), RandomCrop(4), HorizontalFlip(), HorizontalFlip(1.0), Cutout(3)])
def test_masks_move_exactly_as_their_images(transform: RandomCrop | HorizontalFlip | Cutout) -> None:
    rows = painted().train
    images, masks = transform.paired(rows.inputs, rows.targets, seeded(5))
    alone = seeded(5)
    assert torch.equal(images, transform(rows.inputs, alone))
    assert masks.dtype == rows.targets.dtype
    seen = images[:, 0] > 0
    assert torch.equal(masks[seen], (images[:, 0][seen].long() - 40) // 40)
    if not isinstance(transform, Cutout):
        assert bool((masks[~seen] == VOID).all())
    again = seeded(5)
    transform.paired(rows.inputs, rows.targets, again)
    assert torch.equal(alone.get_state(), again.get_state())


def test_a_stream_moves_masks_where_the_task_says_so() -> None:
    data = painted()
    roles = data.assign(single_level(), generator=seeded(0))
    batch = next(roles.stream("weights", 12, order=seeded(1), augment=seeded(2)))
    levels = (batch.inputs[:, 0] * data.std[0] + data.mean[0]) * 255
    erased = batch.inputs[:, 0] == 0
    seen = (levels > 20) & ~erased
    assert torch.equal(batch.targets[seen], ((levels[seen] - 40) / 40).round().long())
    assert bool((batch.targets == VOID).any())
    still = next(roles.stream("weights", 12, order=seeded(1)))
    assert not bool((still.targets == VOID).any())


def test_a_stream_of_masks_resumes_to_the_bit() -> None:
    data = painted()
    roles = data.assign(single_level(), generator=seeded(0))
    first = roles.stream("weights", 5, order=seeded(1), augment=seeded(2))
    next(first)
    second = roles.stream("weights", 5, order=seeded(8), augment=seeded(9))
    second.load_state_dict(first.state_dict())
    for _ in range(5):
        one, other = next(first), next(second)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    return images.roll(1, -1)


def test_a_transform_that_knows_no_masks_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'shifted' does not say what becomes of the masks"):
        painted(augmentation=Augmentation(before=(shifted,)))
    rows = painted().train
    with pytest.raises(ConfigurationError, match="'shifted' does not say what becomes of the masks"):
        Stream(rows, 4, order=seeded(0), augment=seeded(0), augmentation=Augmentation(after=(shifted,)), masks=True)


@pytest.mark.parametrize("size", [1, 3, 9, 12, 27])
def test_resizing_takes_the_nearest_class(size: int) -> None:
    data = painted()
    resized = data.resized(size)
    expected = F.interpolate(data.train.targets[:, None].double(), (size, size), mode="nearest-exact")[:, 0].long()
    assert torch.equal(resized.train.targets, expected)
    assert torch.equal(resized.open_test("resized").targets, expected)
    assert resized.input_shape == (1, size, size)


def stranger(moves: str | None, targets: Tensor, augmentation: Augmentation) -> Dataset:
    def distance(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean()

    task = Task("boxes", 4, distance, primary="loss", higher_is_better=False, moves=moves)  # type: ignore[arg-type]
    rows = Examples(torch.zeros(len(targets), 1, 8, 8, dtype=torch.uint8), targets)
    return Dataset("mine", task, "image", rows, Sealed(rows), augmentation=augmentation)


@pytest.mark.parametrize("shape", [(6, 4), (6, 8, 8), (6, 1, 8, 8)])
def test_images_do_not_move_away_from_targets_of_which_nothing_was_said(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ConfigurationError, match="cannot be augmented: the task 'boxes' does not say what of its targets"
    ):
        stranger(None, torch.zeros(shape), GEOMETRY)
    data = stranger(None, torch.zeros(shape), Augmentation())
    with pytest.raises(ConfigurationError, match="cannot be resized: the task 'boxes' does not say"):
        data.resized(4)
    with pytest.raises(ConfigurationError, match="cannot be augmented"):
        replace(data, augmentation=data.augmentation.with_cutout(2))
    assert stranger("nothing", torch.zeros(shape), GEOMETRY).resized(4).input_shape == (1, 4, 4)
    with pytest.raises(DataError, match="masks of data set 'mine' must be signed integers"):
        stranger("masks", torch.zeros(shape), Augmentation())
    with pytest.raises(ConfigurationError, match="must be 'nothing', 'masks' or None, got 'boxes'"):
        stranger("boxes", torch.zeros(shape), Augmentation())


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.zeros(6, 8, 8, dtype=torch.uint8), "signed integers"),
        (torch.zeros(6, 8, 4, dtype=torch.long), "as high and wide as their images"),
        (torch.zeros(6, 64, dtype=torch.long), "as high and wide as their images"),
        (torch.full((6, 8, 8), -2), "must lie in 0 to 2, or be -1 where none is known, got values from -2 to -2"),
        (torch.full((6, 8, 8), 3), "must lie in 0 to 2"),
    ],
)
def test_bad_masks_are_refused(masks: Tensor, message: str) -> None:
    rows = Examples(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), masks)
    with pytest.raises(DataError, match=message):
        Dataset("mine", segmentation(3), "image", rows, Sealed(rows))
    table = Examples(torch.zeros(6, 3), masks)
    with pytest.raises(DataError, match=r"must be signed integers|must lie in"):
        Dataset("mine", segmentation(3), "table", table, Sealed(table))


@pytest.mark.parametrize("columns", [(), (1,)])
def test_classes_are_balanced_whatever_the_task_is_called(columns: tuple[int, ...]) -> None:
    labels = torch.tensor([0] * 30 + [1] * 6 + [2] * 4)
    rows = Examples(torch.zeros(40, 2), labels.view(-1, *columns))
    named = replace(classification(3), name="which of three plants")
    small = Dataset("mine", named, "table", rows, Sealed(rows)).limited(9, seed=0)
    assert small.train.targets.flatten().bincount().tolist() == [3, 3, 3]
    assert float(named.smoothed(0.1)(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))) == pytest.approx(np.log(3))
    data = digits()
    assert torch.equal(
        replace(data, task=replace(data.task, name="figures")).limited(50, seed=1).train.inputs,
        data.limited(50, seed=1).train.inputs,
    )


def test_labels_of_a_task_without_classes_are_not_smoothed() -> None:
    with pytest.raises(ConfigurationError, match="label_smoothing needs a classification task, not regression"):
        regression().smoothed(0.1)
    with pytest.raises(ConfigurationError, match=r"label smoothing must lie in \[0, 1\), got 1"):
        classification(2).smoothed(1)


def by_hand(truth: Tensor, found: Tensor, classes: int) -> float:
    shares = []
    for label in range(classes):
        pairs = [(t == label, p == label) for t, p in zip(truth.flatten(), found.flatten(), strict=True) if t != VOID]
        union = sum(bool(t or p) for t, p in pairs)
        if union:
            shares.append(sum(bool(t and p) for t, p in pairs) / union)
    return sum(shares) / len(shares)


@pytest.mark.parametrize("sizes", [(10,), (1, 9), (4, 4, 2), (1,) * 10])
def test_mean_iou_is_that_of_the_whole_set_for_every_size_of_batches(sizes: tuple[int, ...]) -> None:
    truth = torch.randint(-1, 4, (10, 5, 3), generator=seeded(1)).clamp(max=2)  # class 3 never occurs in truth
    outputs = torch.randn(10, 5, 3, 5, generator=seeded(2))
    outputs[..., 4] = -99  # and class 4 nowhere
    task = segmentation(5)
    batches = [Batch(o, t) for o, t in zip(outputs.split(list(sizes)), truth.split(list(sizes)), strict=True)]
    scores = evaluate(lambda x: x, batches, task)
    found, known = outputs.argmax(-1), truth != VOID
    assert scores["mean_iou"] == pytest.approx(by_hand(truth, found, 5), abs=1e-12)
    assert scores["pixel_accuracy"] == pytest.approx(float((found == truth)[known].double().mean()), abs=1e-12)
    each = [
        F.cross_entropy(o.flatten(0, 1), t.flatten(), ignore_index=VOID) for o, t in zip(outputs, truth, strict=True)
    ]
    assert scores["loss"] == pytest.approx(float(torch.stack(each).mean()), rel=1e-6)


def test_pixels_without_a_class_count_nowhere() -> None:
    task, unknown = segmentation(3), torch.full((2, 4, 4), VOID)
    outputs = torch.randn(2, 4, 4, 3, requires_grad=True)
    loss = task.loss(outputs, unknown)
    loss.backward()
    assert loss.item() == 0
    assert outputs.grad is not None
    assert not outputs.grad.any()
    assert [float(metric(outputs, unknown)) for metric in task.metrics.values()] == [0, 0]
    half = unknown.clone()
    half[:, :2] = 1
    task.loss(outputs, half).backward()
    assert not outputs.grad[:, 2:].any()
    assert bool(outputs.grad[:, :2].any())


def test_outputs_of_another_form_are_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"\(n, height, width, classes\) for masks of shape \(2, 4, 4\), got \(2, 3, 4, 4\)"
    ):
        segmentation(3).loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long))
    with pytest.raises(ConfigurationError, match="at least 2 classes, got 1"):
        segmentation(1)


def test_tasks_can_be_sent_to_other_processes() -> None:
    task = pickle.loads(pickle.dumps(segmentation(3)))
    assert task.primary == "mean_iou"
    transform: Transform = pickle.loads(pickle.dumps(RandomCrop(2)))
    assert transform == RandomCrop(2)
