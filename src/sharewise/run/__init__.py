"""Runs: searches and trainings kept in a folder that survives being killed."""

from sharewise.run.configuration import SearchConfiguration, TrainConfiguration, from_mapping, read_yaml
from sharewise.run.environment import environment, versions
from sharewise.run.few_shot import FewShot, FewShotOracle, few_shot
from sharewise.run.folder import RunFolder
from sharewise.run.forecast import Forecast, foresee
from sharewise.run.listeners import record_to, tensorboard
from sharewise.run.restore import Restored, restore
from sharewise.run.search import TrainingResult, build_network, build_supernet, evaluate_test, search, train
from sharewise.run.standalone import Standalone, TrainingRecipe

__all__ = [
    "FewShot",
    "FewShotOracle",
    "Forecast",
    "Restored",
    "RunFolder",
    "SearchConfiguration",
    "Standalone",
    "TrainConfiguration",
    "TrainingRecipe",
    "TrainingResult",
    "build_network",
    "build_supernet",
    "environment",
    "evaluate_test",
    "few_shot",
    "foresee",
    "from_mapping",
    "read_yaml",
    "record_to",
    "restore",
    "search",
    "tensorboard",
    "train",
    "versions",
]
