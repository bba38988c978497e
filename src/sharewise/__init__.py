"""sharewise: weight-sharing neural architecture search on PyTorch.

The public names are fetched when they are first used, so that importing sharewise does not import torch::

    import sharewise as sw

    result = sw.search(sw.spaces.nasbench201(), sw.methods.gaea_erm(), sw.data.digits(),
                       network={"channels": 8, "cells": 1}, epochs=2)
    print(result.architecture)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharewise.lazy import lazily

if TYPE_CHECKING:
    from sharewise import alarm, appraisal, cost, data, distribution, methods, space, spaces, supernet
    from sharewise.alarm import Alarm, alarms
    from sharewise.engine import Recipe, Searcher, SearchResult, Teacher
    from sharewise.errors import SharewiseError
    from sharewise.run import TrainingResult, build_network, build_supernet, search, train
    from sharewise.run.progress import progress
    from sharewise.run.standalone import TrainingRecipe
    from sharewise.space import Architecture, Choice, Space
    from sharewise.studies.appraise import Appraisal, appraise
    from sharewise.studies.compare import StrategyComparison, compare
    from sharewise.studies.contest import Contest
    from sharewise.studies.front import Front, front
    from sharewise.studies.plan import StudyPlan
    from sharewise.studies.study import Study, study
    from sharewise.supernet import Gate, export, extract, recalibrate
    from sharewise.supernet.elastic import (
        Choose,
        ElasticConv2d,
        ElasticEmbedding,
        ElasticLinear,
        ElasticModel,
        bypassed,
        depth,
        elastic,
        following,
        heads,
        kernel,
        present,
        ratio,
        reorder,
        setting,
        sort_by_importance,
        width,
    )

__version__ = "0.1.0"

__all__ = [
    "Alarm",
    "Appraisal",
    "Architecture",
    "Choice",
    "Choose",
    "Contest",
    "ElasticConv2d",
    "ElasticEmbedding",
    "ElasticLinear",
    "ElasticModel",
    "Front",
    "Gate",
    "Recipe",
    "SearchResult",
    "Searcher",
    "SharewiseError",
    "Space",
    "StrategyComparison",
    "Study",
    "StudyPlan",
    "Teacher",
    "TrainingRecipe",
    "TrainingResult",
    "alarm",
    "alarms",
    "appraisal",
    "appraise",
    "build_network",
    "build_supernet",
    "bypassed",
    "compare",
    "cost",
    "data",
    "depth",
    "distribution",
    "elastic",
    "export",
    "extract",
    "following",
    "front",
    "heads",
    "kernel",
    "methods",
    "present",
    "progress",
    "ratio",
    "recalibrate",
    "reorder",
    "search",
    "setting",
    "sort_by_importance",
    "space",
    "spaces",
    "study",
    "supernet",
    "train",
    "width",
]

__getattr__, __dir__ = lazily(__name__, __file__)
