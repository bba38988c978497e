"""Engine: levels, penalties, schedules, stages, selections, the recipe that joins them, and the one loop."""

from sharewise.engine.callback import (
    Announced,
    Callback,
    EpochEnded,
    Event,
    SelectionEnded,
    StageEntered,
    Started,
    Stepped,
)
from sharewise.engine.evaluate import evaluate
from sharewise.engine.level import Alternating, Level, WeightsOnly, architecture_step, weight_step
from sharewise.engine.loop import SearchResult, run, train
from sharewise.engine.measure import rounding_gap, selection_scores
from sharewise.engine.numerics import PRECISIONS, Numerics, numerics
from sharewise.engine.optimization import WeightOptimization
from sharewise.engine.penalty import EntropyPenalty, Penalty, WeightDecay
from sharewise.engine.recipe import Recipe
from sharewise.engine.schedule import Constant, Cosine, Linear
from sharewise.engine.select import DartsRule, Mode, RankSampled, Selected, Selection, evaluate_gates
from sharewise.engine.stage import Stage, stage_at, warm_up
from sharewise.engine.state import Measure, SearchState, prepare
from sharewise.engine.streams import seeded_modules, stream

__all__ = [
    "PRECISIONS",
    "Alternating",
    "Announced",
    "Callback",
    "Constant",
    "Cosine",
    "DartsRule",
    "EntropyPenalty",
    "EpochEnded",
    "Event",
    "Level",
    "Linear",
    "Measure",
    "Mode",
    "Numerics",
    "Penalty",
    "RankSampled",
    "Recipe",
    "SearchResult",
    "SearchState",
    "Selected",
    "Selection",
    "SelectionEnded",
    "Stage",
    "StageEntered",
    "Started",
    "Stepped",
    "WeightDecay",
    "WeightOptimization",
    "WeightsOnly",
    "architecture_step",
    "evaluate",
    "evaluate_gates",
    "numerics",
    "prepare",
    "rounding_gap",
    "run",
    "seeded_modules",
    "selection_scores",
    "stage_at",
    "stream",
    "train",
    "warm_up",
    "weight_step",
]
