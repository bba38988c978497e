"""Private names of others on which the package relies: all are known here, and there in every version of the range.

A name that begins with an underscore may come and go with any version. A new one in the sources belongs into the lists
below once it was found in the oldest version too, which `make test-matrix` tells.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import torch
import torch._functorch.config
import torch.utils._python_dispatch
import torch.utils._pytree
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import batchnorm, conv
from torch.nn.modules import module as modules

SOURCES = Path(__file__).parents[1] / "src" / "sharewise"

PLACES: Mapping[object, tuple[str, ...]] = {
    argparse: ("_ArgumentGroup",),
    argparse.ArgumentParser(): ("_option_string_actions",),
    os: ("_exit",),
    sys: ("_current_frames",),
    torch: (
        *("_C", "_functorch", "_inductor", "_ops"),
        *("_foreach_add", "_foreach_addcdiv_", "_foreach_addcmul_", "_foreach_copy_"),
        *("_foreach_mul_", "_foreach_sqrt_", "_foreach_sub_"),
    ),
    torch._C: (
        *("_are_functorch_transforms_active", "_current_graph_task_id", "_get_mkldnn_enabled", "_is_tracing"),
        *("_len_torch_dispatch_stack", "_len_torch_function_stack", "_set_mkldnn_enabled"),
        "_will_engine_execute_node",
    ),
    torch.ops.aten: ("_unsafe_view",),
    torch.ops.aten.add.Tensor: ("_schema",),
    torch.overrides: ("_get_current_function_mode_stack",),
    torch.utils: ("_python_dispatch", "_pytree"),
    forward_ad: ("_current_level",),
    Tensor: ("_is_view", "_is_zerotensor", "_version"),
    torch.UntypedStorage: ("_cdata",),
    batchnorm: ("_BatchNorm", "_NormBase"),
    conv: ("_ConvNd",),
    modules: (
        *("_global_backward_hooks", "_global_backward_pre_hooks"),
        *("_global_forward_hooks", "_global_forward_pre_hooks"),
    ),
    nn.Conv2d(1, 1, 1): ("_reversed_padding_repeated_twice",),
    nn.LSTM(1, 1): ("_flat_weights_names",),
    nn.ReLU(): ("_backward_hooks", "_backward_pre_hooks", "_forward_hooks", "_forward_pre_hooks"),
}
"""Where each of them is."""

ELSEWHERE = {"_Hash", "_replace", "_typeshed"}
"""Of type checkers alone, and public ones: that of a named tuple."""


def foreign() -> Iterator[str]:
    """Private names in the sources that nothing there defines."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(SOURCES.rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    own = {
        getattr(node, "name", None) or getattr(node, "id", None) or getattr(node, "attr", None)
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.ClassDef) or isinstance(getattr(node, "ctx", None), ast.Store)
    }
    for node in nodes:
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("sharewise"):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        yield from (name for name in names if name.startswith("_") and not name.startswith("__") and name not in own)


def test_every_private_name_of_others_is_known() -> None:
    known = {name for names in PLACES.values() for name in names} | ELSEWHERE
    assert set(foreign()) == known


def test_every_private_name_is_there() -> None:
    import_module("torch._inductor.cpp_builder")  # here: it takes a second of whoever collects tests
    missing = [f"{name} of {place}" for place, names in PLACES.items() for name in names if not hasattr(place, name)]
    assert not missing
