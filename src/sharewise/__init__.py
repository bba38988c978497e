"""sharewise: weight-sharing neural architecture search on PyTorch.

The public names are fetched when they are first used, so that importing sharewise does not import torch::

    import sharewise as sw

    result = sw.search(sw.spaces.nasbench201(), sw.methods.gaea_erm(), sw.data.digits(),
                       network={"channels": 8, "cells": 1}, epochs=2)
    print(result.architecture)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sharewise import appraisal, cost, data, distribution, methods, space, spaces, supernet
    from sharewise.engine import Recipe, SearchResult
    from sharewise.errors import SharewiseError
    from sharewise.run import TrainingResult, build_network, build_supernet, search, train
    from sharewise.run.appraise import Appraisal, appraise
    from sharewise.run.standalone import TrainingRecipe
    from sharewise.space import Architecture, Choice, Space
    from sharewise.supernet import Gate, export, extract, recalibrate
    from sharewise.supernet.elastic import (
        Choose,
        ElasticConv2d,
        ElasticEmbedding,
        ElasticLinear,
        ElasticModel,
        depth,
        elastic,
        heads,
        kernel,
        width,
    )

__version__ = "0.1.0"

_HOMES = {
    "sharewise.errors": ["SharewiseError"],
    "sharewise.run": ["TrainingResult", "build_network", "build_supernet", "search", "train"],
    "sharewise.run.appraise": ["Appraisal", "appraise"],
    "sharewise.run.standalone": ["TrainingRecipe"],
    "sharewise.engine": ["Recipe", "SearchResult"],
    "sharewise.space": ["Architecture", "Choice", "Space"],
    "sharewise.supernet": ["Gate", "export", "extract", "recalibrate"],
    "sharewise.supernet.elastic": [
        "Choose",
        "ElasticConv2d",
        "ElasticEmbedding",
        "ElasticLinear",
        "ElasticModel",
        "depth",
        "elastic",
        "heads",
        "kernel",
        "width",
    ],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_ROOMS = ("appraisal", "cost", "data", "distribution", "methods", "space", "spaces", "supernet")

__all__ = [
    "Appraisal",
    "Architecture",
    "Choice",
    "Choose",
    "ElasticConv2d",
    "ElasticEmbedding",
    "ElasticLinear",
    "ElasticModel",
    "Gate",
    "Recipe",
    "SearchResult",
    "SharewiseError",
    "Space",
    "TrainingRecipe",
    "TrainingResult",
    "appraisal",
    "appraise",
    "build_network",
    "build_supernet",
    "cost",
    "data",
    "depth",
    "distribution",
    "elastic",
    "export",
    "extract",
    "heads",
    "kernel",
    "methods",
    "recalibrate",
    "search",
    "space",
    "spaces",
    "supernet",
    "train",
    "width",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"sharewise.{name}")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sharewise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
