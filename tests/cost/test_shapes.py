"""What is known of shapes without asking torch agrees with torch, so that a count loads nothing slow."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from sharewise.cost.shapes import SHAPES


@pytest.mark.parametrize("size", [(7, 9), (8, 8), (5, 6)])
@pytest.mark.parametrize(
    "arguments",
    [[[3]], [[2, 3]], [[3], [2]], [[3, 3], [1, 2], [1, 1]], [[2], [], [1]], [[3, 2], [2, 2], [1, 1], False, False],
     [[2, 2], [2, 2], [0, 0], True]],
)  # fmt: skip
def test_shapes_of_pools_are_those_of_torch(size: tuple[int, int], arguments: list[Any]) -> None:
    inputs = torch.zeros(2, 3, *size)
    found = SHAPES["avg_pool2d"]((inputs.to("meta"), *arguments))
    exact = len(arguments) < 4 or not arguments[3] or not any(length % 2 for length in size)
    assert (found is not None) == exact, "where the last window hangs over, torch is asked"
    if found is not None:
        assert found.shape == torch.ops.aten.avg_pool2d(inputs, *arguments).shape


@pytest.mark.parametrize("arguments", [[[2, 3]], [[-1]], [[1], True], [[0, -1], False]])
def test_shapes_of_means_are_those_of_torch(arguments: list[Any]) -> None:
    inputs = torch.zeros(2, 3, 4, 5)
    found = SHAPES["mean"]((inputs.to("meta"), *arguments))
    assert found is not None
    assert found.shape == torch.ops.aten.mean.dim(inputs, *arguments).shape


@pytest.mark.parametrize(
    "name", ["relu", "gelu", "silu", "sigmoid", "hardswish", "hardsigmoid", "hardtanh", "relu6", "mish"]
)
def test_shapes_of_functions_of_single_numbers_are_those_of_torch(name: str) -> None:
    inputs = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    output, found = getattr(torch.nn.functional, name)(inputs), SHAPES[name]((inputs.to("meta"),))
    assert found is not None
    assert (found.shape, found.dtype, found.stride()) == (output.shape, output.dtype, output.stride())


def test_a_count_loads_no_compiler() -> None:
    program = (
        "import sys\nfrom sharewise.cli import main\n"
        "main(['cost', '--architecture', '|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|skip_connect~0|none~1|none~2|'])\n"
        "assert not {'torch._dynamo', 'sympy', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True)
