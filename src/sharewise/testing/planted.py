"""A planted truth: a small problem whose best architecture is known by construction and can be checked exhaustively.

The features fall into four slices, one per decision. A decision says through which fixed function (identity, sine,
absolute value or square) its slice is read; what is read passes through trainable weights of that option and a batch
norm, and a linear layer that all options share makes the output of the four decisions. The teacher uses one option per
decision, with coefficients of different size, and adds noise to its answers::

    network:  ŷ = Σ_d v_d · BN(w_{d,o(d)} · f_{o(d)}(x_d)) + b
    teacher:  y = Σ_d c_d · f_{o*(d)}(x_d) + noise

The problem is separable but not trivial: all functions are standardised, so that scale gives nothing away; identity and
sine correlate by 0.83 under the features' distribution, absolute value and square by 0.94, so that the wrong one of a
pair explains most of what the right one does; the weakest decision carries about a tenth of the variance of the
targets, and noise another tenth.

Batch norm only rescales, so every network of this space computes a linear function of what its decisions read: the
best that its standalone training can reach is a least-squares fit, known exactly, and all 256 architectures can be
compared in a moment (`standalone_losses`).

The norm is not decoration. Were a gate followed by free weights alone, these would undo whatever the gate says, and at
their optimum the gradient to every gate would vanish: gradient-based search would read nothing but noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import final

import torch
from torch import Tensor, nn

from sharewise.data import Dataset, Sealed, regression
from sharewise.data.examples import Examples
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Decision, EdgeWeights, Option, Space, enumerate_architectures
from sharewise.spaces.limits import AT_LEAST_ONE, keep_limits
from sharewise.supernet import Gates, MixedOperation, Networks, Supernet, cell_edge
from sharewise.supernet.execution import alone

__all__ = [
    "DECISIONS",
    "FUNCTIONS",
    "NETWORKS",
    "Planted",
    "PlantedNetwork",
    "PlantedOptions",
    "PlantedSupernet",
    "planted",
    "planted_space",
    "standalone_losses",
]

FUNCTIONS = ("identity", "sine", "absolute", "square")
DECISIONS = ("slice_0", "slice_1", "slice_2", "slice_3")
_FREQUENCY = 1.25
_STRENGTHS = (1.0, 0.85, 0.7, 0.55)
_NOISE = 0.5
_EXAMPLES = 1024
_TEST_EXAMPLES = 4096


@cache
def planted_space() -> Space:
    """The space: four choices with four options each, 256 architectures.

    Returns:
        The space; the same object at every call.

    Example:
        >>> planted_space().size
        256
    """
    return Space(
        name="planted",
        choices=tuple(Choice(name, FUNCTIONS) for name in DECISIONS),
        networks="sharewise.testing.planted",
        summary="planted truth: four slices of features, each read through one of four functions",
    )


def _function(name: str, x: Tensor) -> Tensor:
    """The named function, with mean 0 and variance 1 under standard normal features."""
    match name:
        case "identity":
            return x
        case "sine":
            return (_FREQUENCY * x).sin() / math.sqrt((1 - math.exp(-2 * _FREQUENCY**2)) / 2)
        case "absolute":
            return (x.abs() - math.sqrt(2 / math.pi)) / math.sqrt(1 - 2 / math.pi)
        case "square":
            return (x.square() - 1) / math.sqrt(2)
        case _:
            raise ConfigurationError(f"unknown function {name!r}; legal: {', '.join(FUNCTIONS)}")


@final
class _Term(nn.Module):
    """One option of one decision: a fixed function, trainable weights, and a norm that fixes the scale."""

    def __init__(self, function: str, features: int, outputs: int) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(features, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self.linear(_function(self.function, x)))
        return outputs


@final
@dataclass(frozen=True)
class PlantedOptions:
    """Options of the supernet, for methods that ask for them; a plain network has none.

    Args:
        partial: K: terms read 1/K of their slice, of whose features it is a divisor, and the rest goes around them.
        edge_weights: whether the supernet weighs its four terms against each other.
    """

    partial: int = 1
    edge_weights: bool = False

    def __post_init__(self) -> None:
        keep_limits(self, partial=AT_LEAST_ONE)


@final
class PlantedNetwork(nn.Module):
    """The plain network of one architecture: four terms and a linear layer.

    Args:
        functions: name of the function by decision.
        input_shape: the number of features, a multiple of four.
        outputs: number of targets.
    """

    def __init__(self, functions: Mapping[str, str], input_shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        width = _width(input_shape)
        self.terms = nn.ModuleDict({name: _Term(function, width, outputs) for name, function in functions.items()})
        self.head = nn.Linear(len(DECISIONS) * outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, features)` to `(n, outputs)`."""
        parts = x.chunk(len(DECISIONS), dim=1)
        read = [term(part) for term, part in zip(self.terms.values(), parts, strict=True)]
        outputs: Tensor = self.head(torch.cat(read, dim=1))
        return outputs


def _mixture(decision: Decision, outputs: int, features: int) -> MixedOperation:
    return MixedOperation(decision, {str(option): _Term(str(option), features, outputs) for option in decision.options})


@final
class PlantedSupernet(Supernet):
    """All 256 networks in one, with a mixture of the four terms for every decision.

    Args:
        space: the planted space.
        input_shape: the number of features, a multiple of four.
        outputs: number of targets.
        options: of the supernet.
    """

    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: PlantedOptions) -> None:
        super().__init__()
        inputs: dict[Option, str] = dict(enumerate(DECISIONS))
        nodes = {"inputs": inputs} if options.edge_weights else {}
        self.space, self.relaxation = space, EdgeWeights(space.relaxation, nodes)
        self.input_shape, self.outputs = tuple(input_shape), outputs
        width = _width(input_shape)
        self.terms = nn.ModuleDict(
            {
                d.name: cell_edge(
                    partial(_mixture, d, outputs if options.partial == 1 else width // options.partial),
                    width,
                    partial=options.partial,
                    weight=self.relaxation.of(d.name),
                )
                for d in space.relaxation.decisions
            }
        )
        self.head = nn.Linear(len(DECISIONS) * (outputs if options.partial == 1 else width), outputs)

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Outputs `(n, outputs)`."""
        parts = inputs.chunk(len(DECISIONS), dim=1)
        read = [alone(term, part, gates) for term, part in zip(self.terms.values(), parts, strict=True)]
        known = next(term for term in read if term is not None)
        outputs: Tensor = self.head(torch.cat([torch.zeros_like(known) if t is None else t for t in read], dim=1))
        return outputs

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network of `architecture`."""
        return _plain(self.space.own(architecture), self.input_shape, self.outputs, PlantedOptions())


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: PlantedOptions
) -> PlantedNetwork:
    return PlantedNetwork({name: str(architecture[name]) for name in DECISIONS}, input_shape, outputs)


def _width(input_shape: Sequence[int]) -> int:
    if len(input_shape) != 1 or input_shape[0] % len(DECISIONS):
        raise ConfigurationError(
            f"planted networks take tables whose number of features is a multiple of {len(DECISIONS)}, "
            f"got inputs of shape {tuple(input_shape)}"
        )
    return input_shape[0] // len(DECISIONS)


NETWORKS = Networks(options=PlantedOptions, supernet=PlantedSupernet, plain=_plain, input_kinds=("table",))


@final
@dataclass(frozen=True, eq=False)
class Planted:
    """A problem with a known answer.

    Args:
        space: of 256 architectures.
        dataset: made from a seed, with noisy targets.
        best: the architecture that made the targets.
    """

    space: Space
    dataset: Dataset
    best: Architecture


def planted(seed: int = 0, *, features: int = 4) -> Planted:
    """Plant an architecture and make data from it.

    Args:
        seed: of the planted architecture, its coefficients, the features and the noise.
        features: in each of the four slices.

    Returns:
        The problem.

    Example:
        >>> problem = planted(0)
        >>> problem.dataset.input_shape, len(problem.dataset.train)
        ((16,), 1024)
    """
    generator = torch.Generator().manual_seed(seed)
    space = planted_space()
    picks = torch.randint(len(FUNCTIONS), (len(DECISIONS),), generator=generator).tolist()
    best = space.architecture({name: FUNCTIONS[pick] for name, pick in zip(DECISIONS, picks, strict=True)})
    strengths = [_STRENGTHS[i] for i in torch.randperm(len(DECISIONS), generator=generator).tolist()]
    coefficients = []
    for strength in strengths:
        raw = 0.5 + torch.rand(features, generator=generator)
        raw *= torch.randint(2, (features,), generator=generator) * 2 - 1
        coefficients.append(strength * raw / raw.norm())

    def examples(count: int) -> Examples:
        x = torch.randn(count, len(DECISIONS) * features, generator=generator)
        y = _NOISE * torch.randn(count, generator=generator)
        for name, part, coefficient in zip(DECISIONS, x.chunk(len(DECISIONS), dim=1), coefficients, strict=True):
            y = y + _function(str(best[name]), part) @ coefficient
        return Examples(x, y[:, None])

    train = examples(_EXAMPLES)
    dataset = Dataset(
        name=f"planted-{seed}",
        task=regression(),
        input_kind="table",
        train=train,
        test=Sealed(examples(_TEST_EXAMPLES)),
        provenance={"source": f"made by sharewise.testing.planted from seed {seed}"},
    )
    return Planted(space, dataset, best)


def standalone_losses(problem: Planted) -> dict[Architecture, float]:
    """What every architecture is worth on its own: fitted exactly on the training examples, scored on the test ones.

    Args:
        problem: a planted problem; its test examples are opened, and the opening recorded.

    Returns:
        The mean squared error on the test examples by architecture, for all 256.

    Example:
        >>> problem = planted(0)
        >>> losses = standalone_losses(problem)
        >>> min(losses, key=losses.__getitem__) == problem.best
        True
    """
    test = problem.dataset.open_test("standalone_losses")

    def design(inputs: Tensor, architecture: Architecture) -> Tensor:
        parts = zip(DECISIONS, inputs.double().chunk(len(DECISIONS), dim=1), strict=True)
        columns = [_function(str(architecture[name]), part) for name, part in parts]
        return torch.cat([*columns, torch.ones(len(inputs), 1, dtype=torch.float64)], dim=1)

    train = problem.dataset.train
    losses = {}
    for architecture in enumerate_architectures(problem.space):
        weights = torch.linalg.lstsq(design(train.inputs, architecture), train.targets.double()).solution
        errors = design(test.inputs, architecture) @ weights - test.targets.double()
        losses[architecture] = float(errors.square().mean())
    return losses
