"""Models of torchvision and timm; skipped where these packages are not installed or do not import beside torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import nn

import sharewise as sw
from sharewise.testing import check_model


def package(name: str) -> Any:
    try:
        return import_module(name)
    except (ImportError, RuntimeError) as error:  # torchvision for another torch: its operators are missing
        pytest.skip(f"{name} does not import: {error}")


def residual() -> tuple[nn.Module, dict[str, Any]]:
    model = package("torchvision").models.resnet18(num_classes=5)
    return model, {"conv1": sw.width([32, 64]), "layer4.*.conv1": sw.width([256, 512]), "layer4.*": sw.depth([1, 2])}


def mobile() -> tuple[nn.Module, dict[str, Any]]:
    model = package("torchvision").models.mobilenet_v3_small(num_classes=5)
    return model, {"features.4.block.0.0": sw.width([48, 96]), "features.4.block.1.0": sw.kernel([3, 5])}


def vision_transformer() -> tuple[nn.Module, dict[str, Any]]:
    timm = package("timm")
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3, num_classes=5)
    blocks = {"blocks.*.attn": sw.heads([1, 3]), "blocks.*.mlp": sw.width([192, 768]), "blocks.*": sw.depth([1, 2, 3])}
    return model, blocks


@pytest.mark.parametrize("build", [residual, mobile, vision_transformer], ids=lambda function: function.__name__)
def test_models_of_vision_packages(build: Any) -> None:
    torch.manual_seed(0)
    model, choices = build()
    report = check_model(sw.elastic(model, choices, example=torch.randn(2, 3, 64, 64)), samples=2)
    assert report.parameters[1] < report.parameters[0]
