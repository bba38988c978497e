"""Contract suites that anyone can run on a piece of their own: one for every kind of piece that sharewise knows.

Each suite is one function that raises an `AssertionError` with a clear message for the first law that is broken. It
brings a small problem of its own, so that a test of a new piece is three lines::

    from sharewise.testing import check_space, check_strategy, check_supernet

    check_space(my_space)
    check_strategy(MyStrategy())
    check_supernet(build_supernet(my_space, (3, 8, 8), outputs=10), torch.randn(2, 3, 8, 8))

What a suite cannot know it is told: what a penalty should lower, how often a sampler should draw, what a release
states of an architecture. That these suites notice is tested as well, by a gallery of pieces that are broken on
purpose (`tests/testing`).
"""

from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.augmentation_contract import check_augmentation, check_moves_together
from sharewise.testing.dataset_contract import check_dataset
from sharewise.testing.distribution_contract import check_distribution, check_gates
from sharewise.testing.elastic_contract import ModelReport, check_model
from sharewise.testing.estimator_contract import check_estimator
from sharewise.testing.expect import expect
from sharewise.testing.frequency import check_frequencies
from sharewise.testing.influence import check_influence
from sharewise.testing.level_contract import check_level
from sharewise.testing.method_contract import check_method
from sharewise.testing.oracle_contract import check_oracle
from sharewise.testing.penalty_contract import check_penalty
from sharewise.testing.planted import Planted, planted, planted_space, standalone_losses
from sharewise.testing.reaction_contract import check_reaction
from sharewise.testing.sampler_contract import check_sampler
from sharewise.testing.selection_contract import check_selection
from sharewise.testing.sliced_contract import check_sliced
from sharewise.testing.small import methods_of, small_arguments
from sharewise.testing.space_contract import check_relaxation, check_space
from sharewise.testing.strategy_contract import check_strategy
from sharewise.testing.supernet_contract import check_supernet, randomise_norms
from sharewise.testing.surgery_contract import check_surgery
from sharewise.testing.table_contract import Fact, check_reader
from sharewise.testing.task_contract import check_task

__all__ = [
    "Fact",
    "ModelReport",
    "Planted",
    "check_augmentation",
    "check_dataset",
    "check_distribution",
    "check_estimator",
    "check_frequencies",
    "check_gates",
    "check_influence",
    "check_level",
    "check_method",
    "check_model",
    "check_moves_together",
    "check_oracle",
    "check_penalty",
    "check_reaction",
    "check_reader",
    "check_relaxation",
    "check_sampler",
    "check_selection",
    "check_sliced",
    "check_space",
    "check_strategy",
    "check_supernet",
    "check_surgery",
    "check_task",
    "expect",
    "methods_of",
    "planted",
    "planted_space",
    "randomise_norms",
    "small_arguments",
    "standalone_losses",
    "without_ambient_randomness",
]
