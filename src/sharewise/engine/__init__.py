"""Engine: levels, penalties, schedules, stages, selections, the recipe that joins them, and the one loop."""

from sharewise.distribution import Constant, Cosine, CosineRestarts, Exponential, Linear, LinearToZero, Ramp, WarmUp
from sharewise.engine.aside import go_back, set_aside
from sharewise.engine.attention import Attention
from sharewise.engine.budget import Affordable, Limit
from sharewise.engine.by_perturbation import ByPerturbation
from sharewise.engine.by_strategy import ByStrategy
from sharewise.engine.callback import (
    Announced,
    Callback,
    EpochEnded,
    Event,
    Reacted,
    SelectionEnded,
    StageEntered,
    Started,
    Stepped,
)
from sharewise.engine.candidates import candidates_at_once
from sharewise.engine.course import Course, Period
from sharewise.engine.curvature import architecture_hessian, curvature, require_curvature
from sharewise.engine.evaluate import evaluate
from sharewise.engine.extension import EXTENSION_RATE, Extension, extended
from sharewise.engine.level import Alternating, Joint, Level, Losses, Reward, Unrolled, WeightsOnly
from sharewise.engine.loop import SearchResult, run, train
from sharewise.engine.measure import rounding_gap, selection_scores, together
from sharewise.engine.numerics import PRECISIONS, Numerics, numerics
from sharewise.engine.optimization import (
    AdamOptimization,
    Optimization,
    RootMeanSquareOptimization,
    WeightOptimization,
)
from sharewise.engine.part import Part
from sharewise.engine.penalty import (
    AnchorPenalty,
    BetaDecay,
    CostTarget,
    EntropyPenalty,
    ExpectedCost,
    Penalty,
    WeightDecay,
    ZeroOnePenalty,
)
from sharewise.engine.perturbation import Adversarial, Perturbation, RandomNoise
from sharewise.engine.ranks import BATCH_NORMS, LedError, Ranks, RanksError
from sharewise.engine.reaction import AdaptiveDecay, EarlyStop, Reaction
from sharewise.engine.recipe import Recipe
from sharewise.engine.root_mean_square import RootMeanSquare
from sharewise.engine.sandwich import Sandwich, Summed
from sharewise.engine.score import Scorer, evaluate_gates, selection_scorer
from sharewise.engine.searcher import Searcher
from sharewise.engine.select import DartsRule, Evolution, Mode, RankSampled, Selected, Selection
from sharewise.engine.selections import SELECTIONS, selection_named
from sharewise.engine.shrinking import Offering, OwnTeacher, Sorting
from sharewise.engine.stage import Stage, pruned, pruning, stage_at, warm_up
from sharewise.engine.state import Measure, SearchState, prepare
from sharewise.engine.step import (
    architecture_step,
    gate_gradients,
    gate_loss,
    gate_slopes,
    joint_step,
    reward_step,
    unrolled_step,
    weight_step,
)
from sharewise.engine.streams import seeded_modules, stream
from sharewise.engine.supernet_oracle import SupernetOracle
from sharewise.engine.surgery import Moments, Pruning, Surgery, replay
from sharewise.engine.teacher import Teacher
from sharewise.engine.telling import scalars
from sharewise.engine.threshold import Threshold
from sharewise.engine.widening import Widening

__all__ = [
    "BATCH_NORMS",
    "EXTENSION_RATE",
    "PRECISIONS",
    "SELECTIONS",
    "AdamOptimization",
    "AdaptiveDecay",
    "Adversarial",
    "Affordable",
    "Alternating",
    "AnchorPenalty",
    "Announced",
    "Attention",
    "BetaDecay",
    "ByPerturbation",
    "ByStrategy",
    "Callback",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "CostTarget",
    "Course",
    "DartsRule",
    "EarlyStop",
    "EntropyPenalty",
    "EpochEnded",
    "Event",
    "Evolution",
    "ExpectedCost",
    "Exponential",
    "Extension",
    "Joint",
    "LedError",
    "Level",
    "Limit",
    "Linear",
    "LinearToZero",
    "Losses",
    "Measure",
    "Mode",
    "Moments",
    "Numerics",
    "Offering",
    "Optimization",
    "OwnTeacher",
    "Part",
    "Penalty",
    "Period",
    "Perturbation",
    "Pruning",
    "Ramp",
    "RandomNoise",
    "RankSampled",
    "Ranks",
    "RanksError",
    "Reacted",
    "Reaction",
    "Recipe",
    "Reward",
    "RootMeanSquare",
    "RootMeanSquareOptimization",
    "Sandwich",
    "Scorer",
    "SearchResult",
    "SearchState",
    "Searcher",
    "Selected",
    "Selection",
    "SelectionEnded",
    "Sorting",
    "Stage",
    "StageEntered",
    "Started",
    "Stepped",
    "Summed",
    "SupernetOracle",
    "Surgery",
    "Teacher",
    "Threshold",
    "Unrolled",
    "WarmUp",
    "WeightDecay",
    "WeightOptimization",
    "WeightsOnly",
    "Widening",
    "ZeroOnePenalty",
    "architecture_hessian",
    "architecture_step",
    "candidates_at_once",
    "curvature",
    "evaluate",
    "evaluate_gates",
    "extended",
    "gate_gradients",
    "gate_loss",
    "gate_slopes",
    "go_back",
    "joint_step",
    "numerics",
    "prepare",
    "pruned",
    "pruning",
    "replay",
    "require_curvature",
    "reward_step",
    "rounding_gap",
    "run",
    "scalars",
    "seeded_modules",
    "selection_named",
    "selection_scorer",
    "selection_scores",
    "set_aside",
    "stage_at",
    "stream",
    "together",
    "train",
    "unrolled_step",
    "warm_up",
    "weight_step",
]
