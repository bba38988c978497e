"""Search: levels, penalties, schedules, stages, selections, the recipe that joins them, and the one loop."""

from sharewise.search.callback import (
    Announced,
    Callback,
    EpochEnded,
    Event,
    SelectionEnded,
    StageEntered,
    Started,
    Stepped,
)
from sharewise.search.evaluate import evaluate
from sharewise.search.level import Alternating, Level, WeightsOnly, architecture_step, weight_step
from sharewise.search.loop import SearchResult, run, train
from sharewise.search.measure import rounding_gap, selection_scores
from sharewise.search.numerics import PRECISIONS, Numerics, numerics
from sharewise.search.optimization import WeightOptimization
from sharewise.search.penalty import EntropyPenalty, Penalty, WeightDecay
from sharewise.search.recipe import Recipe
from sharewise.search.schedule import Constant, Cosine, Linear
from sharewise.search.select import DartsRule, Mode, RankSampled, Selected, Selection, evaluate_gates
from sharewise.search.stage import Stage, stage_at, warm_up
from sharewise.search.state import Measure, SearchState, prepare
from sharewise.search.streams import seeded_modules, stream

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
