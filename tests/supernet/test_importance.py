"""Importance order: units change places together, nothing else changes, and the leading slices are the best ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.spaces import load
from sharewise.supernet.elastic.importance import IMPORTANCE, Calibration, groups_of, importance_order
from sharewise.supernet.elastic.reconstruction import reconstruction


class Attention(nn.Module):
    def __init__(self, size: int = 8, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        outputs: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return outputs


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention, self.mlp = Attention(), nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        outputs: Tensor = x + self.mlp(self.second(x))
        return outputs


class Tied(nn.Module):
    """Heads, a residual stream, and an embedding that is the output layer as well."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.block, self.norm = nn.Embedding(11, 8), Block(), nn.LayerNorm(8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.norm(self.block(self.words(x))))
        return outputs


class Joined(nn.Module):
    """Two branches whose channels are concatenated, a depthwise convolution, and batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 6, 1)
        self.norm, self.deep = nn.BatchNorm2d(10), nn.Conv2d(10, 10, 3, padding=1, groups=10)
        self.mix, self.after, self.head = nn.Conv2d(10, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(torch.cat([self.left(x), self.right(x)], 1)))
        x = torch.relu(self.after(self.mix(self.deep(x))))
        outputs: Tensor = self.head(x.mean((2, 3)))
        return outputs


def tied() -> tuple[sw.ElasticModel, Tensor, Tensor]:
    words = torch.randint(11, (4, 5), generator=torch.Generator().manual_seed(1))
    choices = {
        "words": sw.width([4, 8], name="embedding"),
        "block.mlp": sw.width([4, 8, 12], name="mlp"),
        "block.attention": sw.heads([1, 2, 4], name="heads"),
    }
    return sw.elastic(randomised(Tied()), choices, example=words), words, words.flatten()


def joined() -> tuple[sw.ElasticModel, Tensor, Tensor]:
    images = torch.randn(6, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    choices = {"left": sw.width([2, 4]), "right": sw.width([2, 4, 6]), "mix": sw.width([1, 5], name="mixed")}
    targets = torch.randint(3, (6,), generator=torch.Generator().manual_seed(2))
    return sw.elastic(randomised(Joined()), choices, example=images), images, targets


def randomised(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.1
    return model.double().eval()


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, -2), targets)


def absolute(members: Sequence[Tensor]) -> Tensor:
    return sum((member.abs().sum(1) for member in members), torch.zeros(()))


Made = tuple[sw.ElasticModel, Tensor, Tensor]


@pytest.fixture(scope="module", params=[tied, joined])
def made(request: pytest.FixtureRequest) -> Made:
    found: Made = request.param()
    return found


@pytest.mark.parametrize("by", ["magnitude", "readers", "gradient", absolute])
def test_the_largest_network_stays_and_the_way_back_is_exact(made: Made, by: str | Callable[..., Tensor]) -> None:
    supernet, inputs, targets = made
    before, state = supernet.model(inputs).detach(), copy.deepcopy(supernet.state_dict())
    order = sw.sort_by_importance(supernet, by, batches=[(inputs, targets)], loss=loss)
    assert set(order) == {group.name for group in groups_of(supernet)}
    assert any(list(places) != sorted(places) for places in order.values())
    torch.testing.assert_close(supernet.model(inputs).detach(), before, rtol=0, atol=1e-12)
    assert all(parameter.grad is None for parameter in supernet.parameters())
    again = importance_order(supernet, by, Calibration([(inputs, targets)], loss))
    assert all(list(places) == sorted(places) for places in again.values()), "what is sorted stays"
    sw.reorder(supernet, order, back=True)
    assert all(torch.equal(value, state[name]) for name, value in supernet.state_dict().items())


def test_slices_of_a_sorted_model_are_the_best_units(made: Made) -> None:
    supernet, inputs, _ = made
    state = copy.deepcopy(supernet.state_dict())
    sw.sort_by_importance(supernet)
    smallest = sw.extract(supernet, supernet.smallest)
    gates = sw.supernet.discrete(supernet.relaxation.encode(supernet.smallest), dtype=torch.float64)
    assert torch.equal(smallest(inputs), supernet(inputs, gates))
    supernet.load_state_dict(state)


def test_branches_of_a_concatenation_keep_apart() -> None:
    supernet, images, targets = joined()
    order = sw.sort_by_importance(supernet, "magnitude")
    assert {name: len(places) for name, places in order.items()} == {"left_width": 4, "right_width": 6, "mixed": 5}
    assert targets is not None
    assert images is not None


def test_reconstruction_and_activation_watch_the_readers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(36, 3)),
    ).double()
    images = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    choices = {"0": sw.width([3, 6], name="first"), "2": sw.width([2, 4], name="second")}
    for by in ("activation", "reconstruction"):
        supernet = sw.elastic(model.eval(), choices, example=images)
        before = supernet.model(images).detach()
        order = sw.sort_by_importance(supernet, by, batches=[(images, torch.zeros(5))])
        assert set(order) == {"first", "second"}
        torch.testing.assert_close(supernet.model(images).detach(), before, rtol=0, atol=1e-12)


def test_the_gram_matrix_is_that_of_the_contributions() -> None:
    """Greedy by brute force: what the readers compute without each unit, beside those that are gone."""
    torch.manual_seed(1)
    layer, x = nn.Conv2d(5, 3, 3, stride=2, padding=1), torch.randn(4, 5, 6, 6)
    for centred in (False, True):
        steps = reconstruction([(layer, x, 1, torch.arange(5), centred)], 5)
        parts = []
        for unit in range(5):
            alone = torch.zeros_like(x)
            alone[:, unit] = x[:, unit]
            part = (layer(alone) - layer(torch.zeros_like(x))).detach().double()
            parts.append(part - part.mean((0, 2, 3), keepdim=True) if centred else part)
        gone: list[int] = []
        while len(gone) < 5:
            left = [unit for unit in range(5) if unit not in gone]
            gone.append(min(left, key=lambda u: float(sum(parts[v] for v in [*gone, u]).square().sum())))  # type: ignore[union-attr, misc]
        assert steps.argsort().tolist() == gone, centred


def test_units_stay_within_what_is_established() -> None:
    model = nn.Sequential(nn.Linear(2, 6, bias=False), nn.ReLU(), nn.Linear(6, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(12.0).view(6, 2))
    supernet = sw.elastic(model, {"0": sw.width([1, 4, 6], name="hidden")}, example=torch.zeros(2, 2))
    order = importance_order(supernet, "magnitude", Calibration(), {"hidden": [1, 2]})
    assert order == {"hidden": (3, 2, 1, 0, 5, 4)}
    assert importance_order(supernet, "magnitude", Calibration()) == {"hidden": (5, 4, 3, 2, 1, 0)}


def test_named_spaces_are_sorted_too() -> None:
    options = {"divisor": 8, "dropout": 0.0}
    supernet = sw.build_supernet(load("conv-macro"), (1, 12, 12), 10, network=options, seed=0).double().eval()
    space, images = supernet.space, torch.randn(2, 1, 12, 12, dtype=torch.float64)
    largest = space.architecture({choice.name: choice.options[-1] for choice in space.choices})
    gates = sw.supernet.discrete(supernet.relaxation.encode(largest))
    before = supernet(images, gates).detach()
    assert set(sw.sort_by_importance(supernet)) == {f"channels_{i}" for i in range(1, 5)}
    torch.testing.assert_close(supernet(images, gates).detach(), before, rtol=0, atol=1e-12)


def test_what_cannot_be_sorted_is_refused(made: Made) -> None:
    supernet, inputs, targets = made
    with pytest.raises(ConfigurationError, match="importance 'magnitud'"):
        sw.sort_by_importance(supernet, "magnitud")
    with pytest.raises(ConfigurationError, match="needs batches="):
        sw.sort_by_importance(supernet, "gradient", batches=[(inputs, targets)])
    with pytest.raises(ConfigurationError, match="finite numbers"):
        sw.sort_by_importance(supernet, lambda members: torch.full((len(members[0]),), torch.nan))
    with pytest.raises(ConfigurationError, match="group of units 'nothing'"):
        sw.reorder(supernet, {"nothing": (0,)})
    name = groups_of(supernet)[0].name
    with pytest.raises(ConfigurationError, match="once"):
        sw.reorder(supernet, {name: (0, 0)})
    tiny = sw.build_supernet(load("toy-tied-width"), (4,), 2, seed=0)
    with pytest.raises(ConfigurationError, match="nothing can be sorted"):
        sw.sort_by_importance(tiny)
    assert set(IMPORTANCE) == {"magnitude", "readers", "gradient", "activation", "reconstruction"}
