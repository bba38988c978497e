"""The contract of a model of one's own: its largest version is the model, and every other one is a true slice."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, sample
from sharewise.supernet import Gate, Gates, discrete, extract
from sharewise.supernet.elastic import Choose, ElasticModel
from sharewise.supernet.elastic.settling import vary_constants
from sharewise.supernet.structures import Inputs, call, converted, leaves
from sharewise.testing.expect import expect
from sharewise.testing.supernet_contract import randomise_norms

__all__ = ["ModelReport", "check_model"]


@dataclass(frozen=True)
class ModelReport:
    """What was found true of an elastic model.

    Args:
        decisions: options by decision.
        architectures: how many there are.
        parameters: of the largest and of the smallest architecture.
        original: whether there was an original to compare with; a model with `Choose` has none.
        samples: extracted networks that equal their slices bit for bit.
        continuity: the largest difference between a slice and its one-hot mixture in float64, relative to the largest
            output.
        computes_in: `"float64"`; or the lowest type in which the model computes of its own accord, such as norms that
            cast to `"float32"`, where that limits `continuity`.
    """

    decisions: Mapping[str, tuple[Any, ...]]
    architectures: int
    parameters: tuple[int, int]
    original: bool
    samples: int
    continuity: float
    computes_in: str = "float64"

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


def check_model(supernet: ElasticModel, *, samples: int = 20, seed: int = 0) -> ModelReport:
    """Check the laws of a model that `sharewise.elastic` has made a supernet, on its own example.

    The largest architecture computes what the original model computes; extracted networks equal the slices bit for bit,
    as modules without anything of sharewise; a mixture whose weights are one-hot equals the slice although all options
    are executed (in float64, up to 1e-12; where the model itself casts to a lower type, up to 100 of its roundings).
    Norms and constant parameters are randomised first, without which these comparisons say little.

    Args:
        supernet: on the CPU; a copy is checked.
        samples: how many random architectures to extract.
        seed: of these and of the norms.

    Returns:
        What was checked, with figures.

    Raises:
        AssertionError: for the first law that is broken.
        ConfigurationError: when the model does not run in float64.

    Example:
        >>> import sharewise as sw
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> report = check_model(sw.elastic(model, {"0": sw.width([8, 16])}, example=torch.randn(2, 4)), samples=2)
        >>> report.architectures, report.parameters
        (2, (131, 67))
    """
    supernet = copy.deepcopy(supernet).eval()
    generator = torch.Generator().manual_seed(seed)
    randomise_norms(supernet, generator)
    vary_constants(supernet, generator)
    space, inputs = supernet.space, supernet.example
    chooses = any(isinstance(module, Choose) for module in supernet.modules())
    if not chooses:
        with torch.no_grad():
            original, largest = call(supernet.model, inputs), supernet(inputs, _gates(supernet, supernet.largest))
        expect(
            _equal(original, largest),
            f"the largest architecture differs from the model by up to {_difference(original, largest):.3g}",
        )
    rng = np.random.default_rng(seed)
    drawn = [sample(space, rng) for _ in range(samples)]
    for architecture in drawn:
        _check_slice(supernet, architecture, inputs)
    precise = copy.deepcopy(supernet).double()
    many = converted(inputs, torch.float64)
    try:
        precise(many, _gates(precise, precise.largest))
    except Exception as error:  # whatever the user's code raises
        raise ConfigurationError(
            f"mixtures are compared in float64, in which the model does not run: {type(error).__name__}: {error}; let "
            "its code take dtypes from its tensors"
        ) from error
    continuity = max((_continuity(precise, architecture, many) for architecture in drawn), default=0.0)
    lowest = torch.float64 if continuity <= 1e-12 else _lowest_type(precise, many)
    most = 1e-12 if lowest == torch.float64 else 100 * torch.finfo(lowest).eps
    named = str(lowest).removeprefix("torch.")
    expect(continuity <= most, f"a one-hot mixture differs from its slice by {continuity:.3g} in {named}")
    ends = (supernet.largest, supernet.smallest)
    sizes = [sum(p.numel() for p in supernet.plain(a).parameters()) for a in ends]
    return ModelReport(
        {d.name: d.options for d in supernet.relaxation.decisions},
        space.size,
        (sizes[0], sizes[1]),
        not chooses,
        samples,
        continuity,
        named,
    )


def _gates(supernet: ElasticModel, architecture: Architecture) -> Gates:
    return discrete(supernet.relaxation.encode(architecture), dtype=supernet.dtype)


def _check_slice(supernet: ElasticModel, architecture: Architecture, inputs: Inputs) -> None:
    try:
        network = extract(supernet, architecture).eval()
        with torch.no_grad():
            expected, actual = supernet(inputs, _gates(supernet, architecture)), call(network, inputs)
    except Exception as error:  # whatever the user's code raises
        raise AssertionError(f"{architecture} does not run: {type(error).__name__}: {error}") from error
    strangers = [name for name, m in network.named_modules() if type(m).__module__.startswith("sharewise.supernet.")]
    expect(not strangers, f"the extracted network of {architecture} is not plain: {strangers}")
    expect(
        _equal(expected, actual),
        f"the extracted network of {architecture} differs from its slice by up to {_difference(expected, actual):.3g}",
    )


def _continuity(supernet: ElasticModel, architecture: Architecture, inputs: Inputs) -> float:
    gates = _gates(supernet, architecture)
    dense = {name: Gate(gate.weights, tuple(range(gate.size))) for name, gate in gates.items()}
    with torch.no_grad():
        expected, actual = supernet(inputs, gates), supernet(inputs, dense)
    pairs = list(zip(leaves(expected), leaves(actual), strict=True))
    floating = [(a, b) for (_, a), (_, b) in pairs if a.is_floating_point()]
    return max(_difference(a, b) / max(1e-300, float(a.abs().max())) for a, b in floating)


def _lowest_type(supernet: ElasticModel, inputs: Inputs) -> torch.dtype:
    """Of the numbers that the largest architecture computes, whose own type is float64."""
    with torch.no_grad(), _Types() as seen:
        supernet(inputs, _gates(supernet, supernet.largest))
    lowest: torch.dtype = max(seen.types, key=lambda dtype: torch.finfo(dtype).eps)
    return lowest


class _Types(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the types of floating-point numbers that operations give."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.types = {torch.float64}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        self.types |= {t.dtype for t in tree_leaves(found) if isinstance(t, torch.Tensor) and t.is_floating_point()}
        return found


def _equal(first: object, second: object) -> bool:
    """Whether two structures hold equal tensors in equal places."""
    ours, theirs = list(leaves(first)), list(leaves(second))
    alike = [path for path, _ in ours] == [path for path, _ in theirs]
    return alike and all(torch.equal(a, b) for (_, a), (_, b) in zip(ours, theirs, strict=True))


def _difference(first: object, second: object) -> float:
    """The largest difference between tensors in equal places."""
    pairs = zip(leaves(first), leaves(second), strict=True)
    return max(
        float((a.double() - b.double()).abs().max()) if a.shape == b.shape else float("inf") for (_, a), (_, b) in pairs
    )
