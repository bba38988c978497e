"""Data sets, augmentations and tasks that are broken on purpose, each caught by its suite for what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.data import (
    VOID,
    Augmentation,
    Cutout,
    Dataset,
    Examples,
    HorizontalFlip,
    Pooled,
    RandomCrop,
    Sealed,
    Task,
    classification,
    digits,
    language_modelling,
    load,
    regression,
    segmentation,
)
from sharewise.testing import check_augmentation, check_dataset, check_moves_together, check_task

# Data sets


def made(classes: int = 4, **changes: Any) -> Dataset:
    """A sound data set of images; brighter in the test, so that statistics tell whose they are."""
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randint(low, high, (n, 1, 6, 6), generator=generator) for n, low, high in ((80, 0, 200), (40, 50, 256))
    ]
    train, test = (Examples(x.to(torch.uint8), torch.arange(len(x)) % 4) for x in images)
    return replace(
        Dataset("made", classification(classes), "image", train, Sealed(test), provenance={"source": "a generator"}),
        **changes,
    )


def shuffled() -> Dataset:
    data = made()
    order = torch.randperm(80)
    return replace(data, train=data.train.subset(order))


def relabelled() -> Dataset:
    data, generator = made(), torch.Generator()
    generator.seed()
    return replace(data, train=Examples(data.train.inputs, torch.randint(4, (80,), generator=generator)))


def leaking() -> Dataset:
    data = made()
    test = data.open_test("leak")
    both = Examples(torch.cat([data.train.inputs, test.inputs[:5]]), torch.cat([data.train.targets, test.targets[:5]]))
    return made(train=both, mean=(), std=())


def normalised_by_test() -> Dataset:
    test = made().open_test("statistics").inputs.double() / 255
    return made(mean=(float(test.mean()),), std=(float(test.std(correction=0)),))


def opened() -> Dataset:
    data = made()
    data.open_test("a check of the reader")
    return data


def with_targets(change: Callable[[Tensor], Tensor]) -> Dataset:
    data = made()
    return replace(data, train=Examples(data.train.inputs, change(data.train.targets)))


def sideways() -> Dataset:
    train = made().train
    return made(train=Examples(train.inputs.transpose(-1, -2).contiguous(), train.targets))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: with_targets(lambda targets: targets.flip(0)), "target of training example 0 .*: 3 in place of 0"),
        (sideways, "input of training example 0 .*: it is transposed"),
    ],
)
def test_a_known_example_tells_what_counts_do_not(wrong: Callable[[], Dataset], message: str) -> None:
    """Transposed images and labels of other images have the same numbers, statistics and classes."""
    train = made().train
    known = {place: (train.inputs[place], int(train.targets[place])) for place in (0, 1, 79)}
    check_dataset(made, known=known)
    check_dataset(wrong)
    with pytest.raises(AssertionError, match=message):
        check_dataset(wrong, known=known)


BROKEN_SETS: list[tuple[str, Callable[[], Dataset], str]] = [
    ("shuffled at every reading", shuffled, "draws from torch's global generator"),
    ("labels drawn at every reading", relabelled, "differ in the training targets"),
    ("test examples for training", leaking, "5 of 40 test examples of 'made' are training examples too"),
    ("normalised by the test", normalised_by_test, "nearer to that of the test images"),
    ("normalised by round numbers", lambda: made(mean=(0.5,), std=(0.25,)), "but that of its training images is"),
    ("opened by its reader", opened, "were opened while it was read: .'a check of the reader'"),
    ("a class too many", lambda: made(5), r"has 5 classes, but no training example is of class \[4\]"),
    ("a class left out", lambda: with_targets(lambda t: t % 3), r"no training example is of class \[3\]"),
    ("names of other classes", lambda: made(class_names=("cat", "dog")), "names 2 classes, but its task has 4"),
    (
        "fewer than stated",
        lambda: made(train=made().train.subset(torch.arange(79)), mean=(), std=()),
        "has 79 training",
    ),
    ("no origin", lambda: made(provenance={}), "does not say its source"),
    (
        "all alike",
        lambda: made(
            train=Examples(torch.full((80, 1, 6, 6), 7, dtype=torch.uint8), torch.arange(80) % 4),
            std=(1.0,),
            mean=(0.0,),
        ),
        "all training inputs of 'made' are equal",
    ),
]


def test_the_sound_data_set_passes() -> None:
    check_dataset(made, train_examples=80, test_examples=40)


@pytest.mark.parametrize(("read", "message"), [b[1:] for b in BROKEN_SETS], ids=[b[0] for b in BROKEN_SETS])
def test_broken_data_sets_are_caught(read: Callable[[], Dataset], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_dataset(read, train_examples=None if read is leaking else 80, test_examples=40)


def test_data_sets_of_the_house_pass() -> None:
    check_dataset(digits, train_examples=1437, test_examples=360)
    check_dataset(lambda: digits().resized(12))


def test_published_data_sets_pass(shared_data: Path) -> None:
    check_dataset(lambda: load("arrays", shared_data / "cifar10" / "cifar10_tiny.npz"), train_examples=1000)
    check_dataset(lambda: load("text", shared_data / "text", length=64))


# Augmentations


class Moving:
    """Shifts by a number that is drawn; sound, and the trunk of all that is broken here."""

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        shifts = torch.randint(3, (len(inputs),), generator=generator).tolist()
        return torch.stack([image.roll(shift, -1) for image, shift in zip(inputs, shifts, strict=True)])


class Globally(Moving):
    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return super().__call__(inputs, torch.default_generator)


class InPlace(Moving):
    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs.copy_(super().__call__(inputs, generator))


class Seeded(Moving):
    """Seeds itself anew."""

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        own = torch.Generator()
        own.seed()
        return super().__call__(inputs, own)


class Rejecting(Moving):
    """Draws until it likes the result, as often as the images want."""

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        for _ in range(int(inputs[1].sum()) % 5):
            torch.rand(1, generator=generator)
        return super().__call__(inputs, generator)


class Mixing(Moving):
    """Lets the neighbour shine through."""

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return super().__call__((inputs // 2 + inputs.roll(1, 0) // 2), generator)


class Converting(Moving):
    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return super().__call__(inputs, generator).float() / 255


class Cropping(Moving):
    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return super().__call__(inputs, generator)[..., 1:]


class Idle(Moving):
    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        torch.rand(len(inputs), generator=generator)
        return inputs.clone()


BROKEN_TRANSFORMS: list[tuple[Any, str]] = [
    (Globally(), "draws from torch's global generator"),
    (InPlace(), "changes its argument in place"),
    (Seeded(), "equal generators give different batches"),
    (Rejecting(), "more or fewer numbers for another batch"),
    (Mixing(), "when the others in its batch change"),
    (Converting(), "makes torch.float32 of shape"),
    (Cropping(), "makes torch.uint8 of shape"),
    (Idle(), "changed nothing in 8 draws"),
]


@pytest.mark.parametrize("transform", [Moving(), RandomCrop(1), HorizontalFlip()])
def test_sound_transforms_pass(transform: Any) -> None:
    check_augmentation(transform, made().train.inputs[:6])
    check_augmentation(Cutout(2), made().train.inputs[:6].float() + 1)


@pytest.mark.parametrize(
    ("transform", "message"), BROKEN_TRANSFORMS, ids=[type(t).__name__ for t, _ in BROKEN_TRANSFORMS]
)
def test_broken_transforms_are_caught(transform: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_augmentation(transform, made().train.inputs[:6])


def test_a_data_set_is_asked_about_its_augmentation() -> None:
    with pytest.raises(AssertionError, match="changed nothing"):
        check_dataset(lambda: made(augmentation=Augmentation(before=(Idle(),))))


def masks(*transforms: Any, moves: bool = True) -> Dataset:
    """Every pixel has a class."""
    data = made()
    train, test = (
        Examples(e.inputs, (e.inputs[:, 0].long() * 3) // 256) for e in (data.train, data.open_test("masks"))
    )
    task = segmentation(3) if moves else replace(segmentation(3), moves="nothing")
    return replace(data, task=task, train=train, test=Sealed(test), augmentation=Augmentation(before=tuple(transforms)))


class Staying(Moving):
    """Moves images and returns their masks as they were."""

    def paired(self, inputs: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self(inputs, generator), masks


class Apart(Moving):
    """Draws once for the images and once more for the masks."""

    def paired(self, inputs: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self(inputs, generator), self(masks, generator)


class Painting(Moving):
    """Leaves a class where a pixel comes from nowhere."""

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        moved = super().__call__(inputs, generator)
        moved[..., 0] = 0
        return moved

    def paired(self, inputs: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        state = generator.get_state()
        images = self(inputs, generator)
        generator.set_state(state)
        return images, self(masks, generator)


class Together(Moving):
    """Sound."""

    def paired(self, inputs: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        state = generator.get_state()
        images = self(inputs, generator)
        generator.set_state(state)
        return images, self(masks, generator)


@pytest.mark.parametrize("transform", [RandomCrop(2), HorizontalFlip(), Together()])
def test_masks_that_move_with_their_images_pass(transform: Any) -> None:
    check_dataset(lambda: masks(transform))
    check_moves_together(replace(made(), augmentation=Augmentation(before=(RandomCrop(2),))))  # a label stays


@pytest.mark.parametrize(
    "data",
    [
        lambda: masks(Staying()),
        lambda: masks(Apart()),
        lambda: masks(Painting()),
        lambda: masks(RandomCrop(2), moves=False),
        lambda: masks(HorizontalFlip(), moves=False),
    ],
    ids=["staying", "apart", "painting", "a task that forgets its masks", "likewise, with a flip"],
)
def test_an_augmentation_that_moves_images_and_not_masks_is_caught(data: Callable[[], Dataset]) -> None:
    with pytest.raises(AssertionError, match="moves images and not their targets"):
        check_moves_together(data())


def test_masks_change_nothing_about_images() -> None:
    with pytest.raises(AssertionError, match="or draws other numbers, when they come with masks"):
        check_augmentation(Apart(), made().train.inputs[:6])


# Tasks


def sum_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="sum")


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(-1) == targets).double().mean()


def errors(outputs: Tensor, targets: Tensor) -> Tensor:
    return 1 - accuracy(outputs, targets)


def centred(outputs: Tensor, targets: Tensor) -> Tensor:
    """A metric that is normalised by the batch."""
    return accuracy(outputs - outputs.mean(0), targets)


def count_correct(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(-1) == targets).double().sum()


def weighted(outputs: Tensor, targets: Tensor) -> Tensor:
    """The first examples count more."""
    losses = F.cross_entropy(outputs, targets, reduction="none")
    return (losses * torch.linspace(2, 0, len(losses), dtype=losses.dtype)).mean()


def drawn_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    return accuracy(outputs + torch.randn(outputs.shape), targets)


def overwriting(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.sub_(1) if not outputs.requires_grad else outputs, targets)


def share_of_batches(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.stack([accuracy(outputs, targets), torch.ones((), dtype=torch.float64)])


SOUND = classification(3)
BY_BATCHES = Pooled(share_of_batches, lambda counts: counts[0] / counts[1])


def overlaps(outputs: Tensor, targets: Tensor) -> Tensor:
    """Pixels in the intersection and the union of prediction and truth, by class; `VOID` pixels count as class 3."""
    found, truth = (F.one_hot(labels % 4, 4).bool().flatten(0, -2) for labels in (outputs.argmax(-1), targets))
    return torch.stack([(found & truth).sum(0), (found | truth).sum(0)]).double()


def known_overlaps(outputs: Tensor, targets: Tensor) -> Tensor:
    known = targets != VOID
    return overlaps(outputs[known], targets[known])


def over_all_classes(counts: Tensor) -> Tensor:
    return (counts[0] / counts[1].clamp_min(1)).mean()


def all_pixels(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, -2), targets.clamp_min(0).flatten())


def known_pixels(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), ignore_index=VOID)


MASKS = segmentation(4)
BATCHWISE = Task("masks", 4, MASKS.loss, {"iou": lambda o, t: MASKS.metrics["mean_iou"](o, t)}, "iou", moves="masks")

BROKEN_TASKS: list[tuple[str, Task, str]] = [
    ("summed loss", replace(SOUND, loss=sum_loss), "the loss of a batch is .*it is no mean over examples"),
    ("counted metric", replace(SOUND, metrics={"accuracy": count_correct}), "the accuracy of a batch .*it is no mean"),
    ("errors as accuracy", replace(SOUND, metrics={"accuracy": errors}), "the task says higher_is_better=True"),
    ("direction reversed", replace(SOUND, higher_is_better=False), "the task says higher_is_better=False"),
    ("normalised by the batch", replace(SOUND, metrics={"accuracy": centred}), "depends on how examples are batched"),
    ("pooled by batches", replace(SOUND, metrics={"accuracy": BY_BATCHES}), "depends on how examples are batched"),
    ("order counts", replace(SOUND, loss=weighted), "depends on the order of the examples|it is no mean"),
    ("drawn metric", replace(SOUND, metrics={"accuracy": drawn_accuracy}), "draws from torch's global generator"),
    ("arguments overwritten", replace(SOUND, loss=overwriting), "changes its arguments in place"),
    ("negated loss", replace(SOUND, loss=lambda o, t: -F.cross_entropy(o, t)), "rewards the wrong answer"),
    ("detached loss", replace(SOUND, loss=lambda o, t: F.cross_entropy(o.detach(), t)), "carries no graph"),
    ("vector loss", replace(SOUND, loss=lambda o, t: F.cross_entropy(o, t, reduction="none")), "is a scalar"),
    ("IoU by batches", BATCHWISE, "the iou of 12 examples .* depends on how examples are batched"),
    (
        "unknown pixels scored",
        replace(MASKS, metrics={"mean_iou": Pooled(overlaps, over_all_classes)}),
        "the mean_iou counts pixels of no known class",
    ),
    (
        "absent classes scored",
        replace(MASKS, metrics={"mean_iou": Pooled(known_overlaps, over_all_classes)}),
        r"the mean_iou of perfect outputs is 1, but 0\.75 where a class occurs in no mask",
    ),
    ("unknown pixels trained", replace(MASKS, loss=all_pixels), "the loss counts pixels of no known class"),
    ("loss by known pixels", replace(MASKS, loss=known_pixels), "the loss of 12 examples .* how examples are batched"),
    ("a step as loss", replace(SOUND, loss=lambda o, t: errors(o, t) + 0 * o.sum()), "at random outputs is zero"),
]


@pytest.mark.parametrize(
    "task",
    [
        SOUND,
        classification(10, label_smoothing=0.1),
        regression(),
        regression(3),
        language_modelling(7),
        segmentation(4),
    ],
)
def test_tasks_of_the_house_pass(task: Task) -> None:
    check_task(task)


def test_targets_may_be_given() -> None:
    check_task(language_modelling(5), torch.randint(5, (8, 6), generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(("task", "message"), [b[1:] for b in BROKEN_TASKS], ids=[b[0] for b in BROKEN_TASKS])
def test_broken_tasks_are_caught(task: Task, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_task(task)
