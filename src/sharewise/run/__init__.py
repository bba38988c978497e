"""Runs: searches and trainings kept in a folder that survives being killed."""

from sharewise.run.configuration import SearchConfiguration, TrainConfiguration, from_mapping, read_yaml
from sharewise.run.environment import environment, versions
from sharewise.run.finished import Finished, finished
from sharewise.run.folder import RunFolder
from sharewise.run.forecast import Forecast, foresee
from sharewise.run.listeners import record_to, tensorboard
from sharewise.run.networks import build_network, build_supernet
from sharewise.run.origin import settings_of_search
from sharewise.run.place import Keep, Place, Setting
from sharewise.run.restore import Restored, restore
from sharewise.run.result import evaluate_test
from sharewise.run.search import Search, search
from sharewise.run.standalone import Standalone, TrainingRecipe
from sharewise.run.train import Training, TrainingResult, train

__all__ = [
    "Finished",
    "Forecast",
    "Keep",
    "Place",
    "Restored",
    "RunFolder",
    "Search",
    "SearchConfiguration",
    "Setting",
    "Standalone",
    "TrainConfiguration",
    "Training",
    "TrainingRecipe",
    "TrainingResult",
    "build_network",
    "build_supernet",
    "environment",
    "evaluate_test",
    "finished",
    "foresee",
    "from_mapping",
    "read_yaml",
    "record_to",
    "restore",
    "search",
    "settings_of_search",
    "tensorboard",
    "train",
    "versions",
]
