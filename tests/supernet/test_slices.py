"""Slices as functions: what a superposition is, what a norm of a mixture keeps in memory."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.space import Decision
from sharewise.supernet import Gate, Gates, SlicedLayerNorm, SlicedLinear, SlicedSequential
from sharewise.supernet.slices import (
    centre,
    padding_of,
    rings,
    superposition,
    weighted_layer_norm,
    weighted_rms_norm,
    with_prefix,
)

F64 = torch.float64


def test_a_superposition_is_the_sum_over_active_combinations() -> None:
    decisions = (Decision("a", (1, 2, 3)), Decision("b", (1, 2)))
    reach = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(0)) > 0.5
    a, b = torch.tensor([0.2, 0.3, 0.5], dtype=F64), torch.tensor([0.6, 0.4], dtype=F64)
    gates = {"a": Gate(a, (0, 2)), "b": Gate(b, (0, 1))}
    expected = sum(a[i] * b[j] * reach[..., 2 * i + j] for i, j in itertools.product((0, 2), (0, 1)))
    torch.testing.assert_close(superposition(reach, decisions, gates), expected)
    ones = {"a": Gate(torch.ones(3, dtype=F64), (1,), unit=True), "b": Gate(b, (0, 1))}
    torch.testing.assert_close(superposition(reach, decisions, ones), b[0] * reach[..., 2] + b[1] * reach[..., 3])
    assert superposition(reach, decisions, {**ones, "b": Gate(b, (1,), unit=True)}) is None


CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)


@pytest.mark.parametrize(("sizes", "axes"), [((1, 3, 5), 1), ((3, 7), 2), ((2, 4), 2), ((1, 3), 3)])
def test_rings_cover_the_centre_and_a_padding_keeps_its_place(sizes: tuple[int, ...], axes: int) -> None:
    covered = rings(sizes, axes)
    x, kernel = torch.randn(1, 1, *[17] * axes, dtype=F64), torch.randn(1, 1, *[sizes[-1]] * axes, dtype=F64)
    convolve, padding = CONVOLUTIONS[axes - 1], sizes[-1]
    for i, size in enumerate(sizes):
        part = centre(covered[..., i], size, axes)
        assert part.shape == (size,) * axes
        assert bool(part.all())
        assert int(covered[..., i].sum()) == size**axes
        small = convolve(x, centre(kernel, size, axes), padding=padding_of(padding, 2, sizes[-1], size), dilation=2)
        torch.testing.assert_close(small, convolve(x, kernel * covered[..., i], padding=padding, dilation=2))


def test_prefixes_sum_to_the_mixture_of_depths() -> None:
    outputs, g = torch.randn(4, 3, dtype=F64), torch.tensor([0.2, 0.3, 0.5], dtype=F64)
    total: Tensor | None = None
    for depth, x in enumerate(outputs):
        total = with_prefix(total, x, depth, {0: 0, 2: 1, 3: 2}, Gate(g, (0, 1, 2)))
    torch.testing.assert_close(total, g[0] * outputs[0] + g[1] * outputs[2] + g[2] * outputs[3])


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("centred", [True, False], ids=["layer norm", "root mean square"])
def test_weighted_norms_are_their_definition_and_twice_differentiable(centred: bool, affine: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x, s, w, b = (
        torch.rand(size, generator=generator, dtype=F64).requires_grad_() for size in ((2, 3, 5), (5,), (5,), (5,))
    )
    leaves = (x, s, w, b) if affine and centred else (x, s, w) if affine else (x, s)

    def norm(x: Tensor, s: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        return weighted_layer_norm(x, s, w, b, 1e-5) if centred else weighted_rms_norm(x, s, w, 1e-5)

    p = s / s.sum()
    z = x - (p * x).sum(-1, keepdim=True) if centred else x
    y = z / ((p * z**2).sum(-1, keepdim=True) + 1e-5).sqrt()
    y = y * w + (b if centred else 0) if affine else y
    torch.testing.assert_close(norm(*leaves), y, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(norm, leaves)
    assert torch.autograd.gradgradcheck(norm, leaves)


def kept_bytes(network: nn.Module, x: Tensor, gates: Gates) -> int:
    """Of all tensors that a forward pass keeps for the backward pass, but for parameters; each storage once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = network(x, gates)
    for parameter in network.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    assert outputs.requires_grad
    return sum(kept.values())


def test_the_norm_of_a_users_mixture_keeps_its_input_alone() -> None:
    """It once kept four times as much as the sliced layer that computes the same."""
    width, features, rows = Decision("h", (64, 128, 256)), 256, 512
    hand = SlicedSequential(SlicedLinear(8, width), SlicedLayerNorm(width), SlicedLinear(width, 2))
    model = nn.Sequential(nn.Linear(8, features), nn.LayerNorm(features), nn.Linear(features, 2))
    elastic = sw.elastic(model, {"0": sw.width([64, 128, 256], name="h")}, example=torch.randn(2, 8))
    gates = {"h": Gate(torch.tensor([0.2, 0.3, 0.5], requires_grad=True), (0, 1, 2))}
    x = torch.randn(rows, 8)
    activation = 4 * rows * features
    small = 4 * (rows * 8 + 16 * features)  # inputs, survivals, scaled weights
    found = [kept_bytes(network, x, gates) for network in (elastic, hand)]
    # What the norm reads, and what the layer behind it reads.
    assert all(2 * activation <= value <= 2 * activation + small for value in found), found
