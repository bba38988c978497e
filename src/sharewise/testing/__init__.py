"""Contract suites that anyone can run on a space, supernet, distribution or method of their own.

Each suite is one function that raises an `AssertionError` with a clear message for the first law that is broken; a test
of a new space is three lines::

    from sharewise.testing import check_relaxation, check_space, check_supernet

    check_space(my_space)
    check_relaxation(my_space)
    check_supernet(build_supernet(my_space, (3, 8, 8), outputs=10), torch.randn(2, 3, 8, 8))
"""

from sharewise.testing.distribution_contract import check_distribution, check_gates
from sharewise.testing.elastic_contract import ModelReport, check_model
from sharewise.testing.expect import expect
from sharewise.testing.method_contract import check_method
from sharewise.testing.planted import Planted, planted, planted_space, standalone_losses
from sharewise.testing.sliced_contract import check_sliced
from sharewise.testing.small import small_arguments
from sharewise.testing.space_contract import check_relaxation, check_space
from sharewise.testing.supernet_contract import check_supernet, randomise_norms

__all__ = [
    "ModelReport",
    "Planted",
    "check_distribution",
    "check_gates",
    "check_method",
    "check_model",
    "check_relaxation",
    "check_sliced",
    "check_space",
    "check_supernet",
    "expect",
    "planted",
    "planted_space",
    "randomise_norms",
    "small_arguments",
    "standalone_losses",
]
