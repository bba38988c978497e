"""Gradients arrive at norms, rectifications and convolutions in the layout of their images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from benchmarks.search_step import images
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import sharewise as sw
from sharewise.engine import numerics, prepare, stream, weight_step
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.run.networks import asked_network
from sharewise.supernet.layout import aligned, stored

NORM, RECTIFIED = "native_batch_norm_backward", "threshold_backward"


class Mismatches(TorchDispatchMode):
    """Backward passes that are given images of two layouts, by operation."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, int] = {NORM: 0, RECTIFIED: 0}
        self.calls = dict(self.found)

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        name = operation.name().partition("::")[2]
        if name in self.found:
            first, second = arguments[:2]
            self.calls[name] += 1
            self.found[name] += first.dim() == 4 and not all(map(_last, (first, second)))
        return operation(*arguments, **(named or {}))


def _last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("space", "method", "network"),
    [
        ("darts", "darts", {"channels": 8, "layers": 3}),
        ("darts", "pc-darts", {"channels": 8, "layers": 3}),
        ("darts", "spos", {"channels": 8, "layers": 3}),
        ("nasbench101:A_2", "spos", {"channels": 8}),
        ("nasbench1shot1:1", "darts", {"channels": 8}),
        ("nasbench201", "darts", {"channels": 8, "cells": 1}),
    ],
)
def test_no_step_gives_a_cell_images_of_two_layouts(space: str, method: str, network: dict[str, int]) -> None:
    data, searched, recipe = images(16, 16), sw.spaces.load(space), build(method, {"batch_size": 4})
    supernet = build_supernet(searched, data.input_shape, 10, network=asked_network(searched, recipe, network))
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, roles, numerics=numerics("cpu"))
    weight_step(state)
    with Mismatches() as seen:
        weight_step(state)
    assert seen.calls[NORM] > 10
    # The last rectification before the mean over pixels, and the last norm, are given one number for all pixels.
    assert seen.found[NORM] <= 1
    assert seen.found[RECTIFIED] <= 3


def test_only_gradients_of_images_with_channels_last_are_put_in_order() -> None:
    x = torch.zeros(2, 3, 4, 4, requires_grad=True)
    for image, layout in ((x * 1, torch.contiguous_format), (x.to(memory_format=torch.channels_last), "other")):
        given: list[Tensor] = []
        value = aligned(image)
        value.register_hook(given.append)
        torch.cat([value, value], 1).sum((1, 2, 3)).sum().backward()
        assert _last(given[0]) == (layout == "other")
    assert aligned(torch.zeros(2, 3)).shape == (2, 3)


def test_a_part_is_stored_where_its_images_have_channels_last() -> None:
    x = torch.arange(2.0 * 4 * 3 * 3).view(2, 4, 3, 3)
    last = x.contiguous(memory_format=torch.channels_last)
    part = stored(last[:, :2], like=last)
    assert _last(part)
    assert torch.equal(part, x[:, :2])
    assert stored(x[:, :2], like=x).data_ptr() == x.data_ptr()
