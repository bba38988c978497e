"""Kernels that are learned functions of larger ones, in a model of one's own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.space import sample
from sharewise.supernet import Gate, Gates, discrete
from sharewise.supernet.slices.transforms import KernelTransforms
from sharewise.testing import check_model, check_supernet


def model(axes: int = 2) -> nn.Module:
    """A depthwise convolution of searched channels, and an ordinary one."""
    convolution, norm, pool = {
        1: (nn.Conv1d, nn.BatchNorm1d, nn.AdaptiveAvgPool1d),
        2: (nn.Conv2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d),
    }[axes]
    torch.manual_seed(0)
    return nn.Sequential(
        convolution(2, 6, 1),
        convolution(6, 6, 7, padding=3, groups=6),
        norm(6),
        nn.ReLU(),
        convolution(6, 4, 5, padding=2),
        pool(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def choices(**options: Any) -> dict[str, Any]:
    return {
        "0": sw.width([3, 6], name="width"),
        "1": sw.kernel([3, 5, 7], name="first", **options),
        "4": sw.kernel([1, 5], name="second", **options),
    }


def elastic(axes: int = 2, *, trained: bool = True, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    example = torch.zeros(2, 2, *[9] * axes, dtype=dtype)
    supernet = sw.elastic(model(axes).to(dtype), choices(**{"transforms": True, **options}), example=example)
    generator = torch.Generator().manual_seed(1)
    if trained:
        with torch.no_grad():
            for name, parameter in supernet.named_parameters():
                if "transform" in name:
                    parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).to(dtype))
    return supernet


def gates_of(supernet: Any, architecture: Any, dtype: torch.dtype = torch.float32) -> Gates:
    return discrete(supernet.relaxation.encode(architecture), dtype=dtype)


def images(axes: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(4, 2, *[9] * axes, generator=torch.Generator().manual_seed(2), dtype=dtype)


@pytest.mark.parametrize("axes", [1, 2])
def test_transforms_keep_the_laws(axes: int) -> None:
    supernet = elastic(axes)
    check_supernet(supernet, images(axes), samples=3)
    assert check_model(supernet, samples=6).original


def test_matrices_are_parameters_of_the_supernet_and_of_no_network() -> None:
    supernet = elastic(trained=False)
    matrices = {n: p for n, p in supernet.named_parameters() if "transform" in n}
    assert {n: tuple(p.shape) for n, p in matrices.items()} == {
        "model.1.transform_7_to_5": (25, 25),
        "model.1.transform_5_to_3": (9, 9),
        "model.4.transform_5_to_1": (1, 1),
    }
    assert all(torch.equal(p, torch.eye(len(p))) for p in matrices.values())
    network = sw.extract(supernet, supernet.smallest)
    assert not [name for name in network.state_dict() if "transform" in name]
    assert network[1].weight.shape == (3, 1, 3, 3)
    assert not [name for name, _ in model().named_parameters() if "transform" in name]


def test_at_the_start_kernels_are_centres() -> None:
    """Bit for bit: a product with the identity adds zeros."""
    plain, transformed = elastic(trained=False, transforms=False), elastic(trained=False)
    rng = np.random.default_rng(0)
    for _ in range(6):
        architecture = sample(plain.space, rng)
        outputs = [s.eval()(images(), gates_of(s, dict(architecture))) for s in (plain, transformed)]
        assert torch.equal(*outputs)
    assert plain.space.name != transformed.space.name, "runs in the two forms are different runs"


def test_a_smaller_kernel_is_the_transformed_centre_of_the_next_larger_one() -> None:
    supernet = elastic()
    layer = supernet.model[1]
    five = layer.weight[:, :, 1:6, 1:6].reshape(6, 25) @ layer.transform_7_to_5.T
    three = five.view(6, 5, 5)[:, 1:4, 1:4].reshape(6, 9) @ layer.transform_5_to_3.T
    for size, expected in ((5, five), (3, three)):
        architecture = supernet.space.architecture({"width": 6, "first": size, "second": 5})
        network = sw.extract(supernet, architecture)
        assert torch.allclose(network[1].weight.view(6, -1), expected, atol=1e-6)
        assert torch.equal(network.eval()(images()), supernet.eval()(images(), gates_of(supernet, architecture)))


def test_a_mixture_is_the_sum_of_padded_kernels() -> None:
    supernet = elastic(dtype=torch.float64)
    layer, x = supernet.model[1], images(dtype=torch.float64)
    transforms = KernelTransforms((3, 5, 7), 2)
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    gates = {
        **gates_of(supernet, supernet.largest, torch.float64),
        "first": Gate(weights, (0, 1, 2)),
    }
    kernels = [F.pad(transforms.kernel(layer, layer.weight, size), [(7 - size) // 2] * 4) for size in (3, 5, 7)]
    mixed = copy.deepcopy(supernet.model)
    with torch.no_grad():
        mixed[1].weight.copy_(sum(g * k for g, k in zip(weights, kernels, strict=True)))
    assert torch.allclose(supernet.eval()(x, gates), mixed.eval()(x), rtol=1e-12, atol=1e-14)


def test_only_matrices_on_the_way_down_get_gradients() -> None:
    supernet = elastic()
    layer = supernet.model[1]
    for size, reached in ((7, []), (5, ["transform_7_to_5"]), (3, ["transform_7_to_5", "transform_5_to_3"])):
        supernet.zero_grad(set_to_none=True)
        architecture = supernet.space.architecture({"width": 3, "first": size, "second": 5})
        supernet(images(), gates_of(supernet, architecture)).square().sum().backward()
        matrices = ("transform_7_to_5", "transform_5_to_3")
        assert [name for name in matrices if getattr(layer, name).grad is not None] == reached
        inside = layer.weight.grad[:3]
        assert float(inside.abs().sum()) > 0 == float(layer.weight.grad[3:].abs().sum())


def test_a_detached_matrix_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by slices of gradients, which there are none of, but by the chain rule."""
    supernet, whole = elastic(), KernelTransforms._down

    def detached(self: Any, convolution: nn.Module, weight: Tensor, above: int, size: int) -> Tensor:
        return whole(self, convolution, weight, above, size).detach() if size < above else weight

    monkeypatch.setattr(KernelTransforms, "_down", detached)
    with pytest.raises(AssertionError, match="not that of the plain network through what it inherits"):
        check_supernet(supernet, images(), samples=4)


def test_supernets_with_transforms_go_to_other_processes_and_keep_their_state() -> None:
    supernet = elastic()
    there = pickle.loads(pickle.dumps(supernet))
    fresh = elastic(trained=False)
    fresh.load_state_dict(there.state_dict())
    gates = gates_of(supernet, supernet.smallest)
    assert torch.equal(fresh.eval()(images(), gates), supernet.eval()(images(), gates))


def test_one_weight_may_have_two_transforms() -> None:
    """Layers that share a weight have matrices of their own, so extracted ones share it no longer."""
    torch.manual_seed(0)
    two = nn.Sequential(nn.Conv1d(2, 2, 3, padding=1), nn.ReLU(), nn.Conv1d(2, 2, 3, padding=1))
    two[2].weight = two[0].weight
    supernet = sw.elastic(two, choices_of_two(), example=torch.zeros(2, 2, 5))
    with torch.no_grad():
        supernet.model[2].transform_3_to_1.mul_(2)
    network = sw.extract(supernet, supernet.smallest)
    assert torch.equal(2 * network[0].weight, network[2].weight)


def choices_of_two() -> dict[str, Any]:
    return {layer: sw.kernel([1, 3], name=f"kernel_{layer}", transforms=True) for layer in ("0", "2")}


def test_a_search_trains_matrices() -> None:
    data = sw.data.digits().limited(32, seed=0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))
    supernet = sw.elastic(network, {"0": sw.kernel([1, 3], transforms=True)}, example=torch.zeros(2, 1, 8, 8))
    found = sw.search(supernet, sw.methods.tanglenas_gaea(epochs=2), data, device="cpu")
    assert not torch.equal(found.supernet.model[0].transform_3_to_1, torch.eye(1))


def test_transforms_are_yes_or_no() -> None:
    with pytest.raises(ConfigurationError, match="transforms must be True or False"):
        sw.kernel([3, 5], transforms="yes")  # type: ignore[arg-type]
