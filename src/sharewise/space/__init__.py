"""Spaces as values: choices, architectures, moves and relaxations, without torch."""

from sharewise.space.architecture import Architecture
from sharewise.space.choice import Choice, Condition, Option
from sharewise.space.edge_weights import EdgeWeights
from sharewise.space.extremes import largest, smallest
from sharewise.space.family import SpaceOption, ascending, family, options_of
from sharewise.space.features import features, longest_path
from sharewise.space.listing import EnumeratedListing, Listing, ProductListing, SubListing
from sharewise.space.moves import crossover, enumerate_architectures, mutate, neighbours, sample
from sharewise.space.relaxation import (
    ConditionalRelaxation,
    Decision,
    DirectRelaxation,
    Encoding,
    Join,
    Probabilities,
    Relaxation,
)
from sharewise.space.restriction import RestrictedRelaxation, groups_of, restricted
from sharewise.space.skips import is_skip, skips
from sharewise.space.space import Space
from sharewise.space.traits import Codec, Constraint, Picture

__all__ = [
    "Architecture",
    "Choice",
    "Codec",
    "Condition",
    "ConditionalRelaxation",
    "Constraint",
    "Decision",
    "DirectRelaxation",
    "EdgeWeights",
    "Encoding",
    "EnumeratedListing",
    "Join",
    "Listing",
    "Option",
    "Picture",
    "Probabilities",
    "ProductListing",
    "Relaxation",
    "RestrictedRelaxation",
    "Space",
    "SpaceOption",
    "SubListing",
    "ascending",
    "crossover",
    "enumerate_architectures",
    "family",
    "features",
    "groups_of",
    "is_skip",
    "largest",
    "longest_path",
    "mutate",
    "neighbours",
    "options_of",
    "restricted",
    "sample",
    "skips",
    "smallest",
]
