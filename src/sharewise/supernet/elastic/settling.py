"""Settling: which attributes of the user's modules hold sizes that follow a choice, found by trial."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Relaxation, Space
from sharewise.supernet.elastic.analysis import Analysis
from sharewise.supernet.elastic.binding import following
from sharewise.supernet.elastic.extraction import extracted
from sharewise.supernet.elastic.places import Place
from sharewise.supernet.elastic.plan import Attributes
from sharewise.supernet.elastic.record import Record, is_own
from sharewise.supernet.elastic.sliced_execution import Execution
from sharewise.supernet.gate import Gate, Gates, discrete
from sharewise.supernet.structures import Inputs, call, converted, leaves

__all__ = ["dtype_of", "settled", "vary_constants"]

_TRIALS = 256
"""Of assignments of attributes to dimensions."""

Guesses = Mapping[tuple[str, str], list[int | str | None]]
"""What every integer attribute of the user's modules may hold, the likeliest first; `None` for nothing searched."""


def settled(
    model: nn.Module, analysis: Analysis, record: Record, relaxation: Relaxation, example: Inputs
) -> Attributes:
    """Find which attributes of the user's modules follow which dimension, by trial against masked execution.

    Masked execution cuts nothing off and reads with weight zero what an architecture does not have, so that no
    attribute matters to it; a right assignment lets every slice and every extracted network compute the same.

    Args:
        model: in evaluation mode; it is copied.
        analysis: of the model.
        record: of its graph.
        relaxation: of the space.
        example: a batch of inputs.

    Raises:
        ConfigurationError: when no assignment does.
    """
    guesses = _guesses(model, analysis, record)
    trial = _sharpened(model, analysis, relaxation, example)
    problem = ""
    roles = itertools.chain(_assignments(model, guesses, _of_class), _assignments(model, guesses, _of_class_and_place))
    for attributes in itertools.islice(roles, _TRIALS):
        outcome = trial.problem(attributes)
        if not outcome:
            return attributes
        problem = problem or outcome
    raise ConfigurationError(
        f"{problem}. A size is written into the model's code, something is computed from a size, or something happens "
        "between blocks that a depth counts: take sizes from a tensor's shape, write -1 for them in view and reshape, "
        "scale by constants, move what happens into the blocks, or leave that choice out"
    )


def dtype_of(model: nn.Module) -> torch.dtype:
    """Of the weights, and so of gates."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _guesses(model: nn.Module, analysis: Analysis, record: Record) -> Guesses:
    guesses: dict[tuple[str, str], list[int | str | None]] = {}
    chosen = {(place.path, place.name) for place in analysis.places if place.kind == "setting"}
    for path, module in model.named_modules():
        met = list(dict.fromkeys(record.dimensions.find(d) for d in record.touched.get(path, ())))
        rows = [place for place in analysis.places if place.kind == "depth" and place.path.rpartition(".")[0] == path]
        for name, value in _sizes(module):
            if (path, name) in chosen:
                continue
            equal = [root for root in met if record.dimensions.size(root) == value]
            guesses[path, name] = _held(analysis, equal, rows, value)
    return {key: held for key, held in guesses.items() if held}


def _held(analysis: Analysis, equal: list[int], rows: list[Place], value: int) -> list[int | str | None]:
    """What an attribute may hold, from the dimensions of its size and the rows of blocks beside it."""
    searched: list[int | str | None] = [root for root in equal if root in analysis.reach]
    searched += [place.decision for place in rows if len(place.blocks) == value]
    if not searched:
        return []
    return [*searched, None] if len(searched) == len(equal) else [None, *searched]


def _sizes(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Attributes of a module of the user's own that may hold a size, alone or as the one entry of a tuple."""
    for name, held in vars(module).items() if is_own(module) else ():
        value = held[0] if isinstance(held, tuple) and len(held) == 1 else held
        if isinstance(value, int) and not isinstance(value, bool) and value > 1 and not name.startswith("_"):
            yield name, value


def _of_class(path: str) -> str:
    """Modules of one class are alike."""
    return ""


def _of_class_and_place(path: str) -> str:
    """Modules of one class are alike at the same place of a block."""
    return re.sub(r"\d+", "*", path)


def _assignments(
    model: nn.Module, guesses: Guesses, place: Callable[[str], str]
) -> Iterator[dict[tuple[str, str], tuple[int | str, bool]]]:
    """What attributes may hold, the likeliest first; modules of one class are alike."""
    classes = {key: (type(model.get_submodule(key[0])), key[1], place(key[0])) for key in guesses}
    kinds = sorted(set(classes.values()), key=repr)
    numbers = [max(len(g) for key, g in guesses.items() if classes[key] == kind) for kind in kinds]
    for numbering in itertools.product(*map(range, numbers)):
        pick = dict(zip(kinds, numbering, strict=True))
        choices = {key: found[pick[classes[key]] :][:1] for key, found in guesses.items()}
        held = {key: choice for key, picked in choices.items() for choice in picked if choice is not None}
        yield {key: (choice, _in_tuple(model, key)) for key, choice in held.items()}


def _in_tuple(model: nn.Module, key: tuple[str, str]) -> bool:
    return isinstance(vars(model.get_submodule(key[0]))[key[1]], tuple)


def _corners(space: Space, places: Sequence[Place]) -> list[Architecture]:
    """Architectures that tell attributes, blocks and modules apart: most choices are their first or last option.

    With every combination of options that leaves a module out, which then must read what it would write.
    """
    choices, kinds = space.choices, {place.decision: place.kind for place in places if place.decides}
    rows = [[0] * len(choices)]
    for number in range(max((len(c.options) for c in choices if kinds.get(c.name) == "module"), default=1)):
        option = {"depth": -1, "module": number}  # all blocks and, one after the other, all modules
        rows.append([min(option.get(kinds.get(c.name, ""), 0), len(c.options) - 1) for c in choices])
    for bit in range((len(choices) - 1).bit_length()):  # two choices differ in some bit of their numbers
        rows += [[-(i >> bit & 1 == value) for i in range(len(choices))] for value in (0, 1)]
    for place in places:
        rows += _left_out(place, choices, kinds) if place.kind == "bypassed" else []
    found = (space.architecture({c.name: c.options[i] for c, i in zip(choices, row, strict=True)}) for row in rows)
    return list(dict.fromkeys(found))


def _left_out(place: Place, choices: Sequence[Choice], kinds: Mapping[str, str]) -> Iterator[list[int]]:
    """The combinations of options with which a module is left out, beside all blocks and first options."""
    sizes = {choice.name: len(choice.options) for choice in choices}
    combinations = itertools.product(*(range(sizes[name]) for name in place.decisions))
    for options, executed in zip(combinations, place.table, strict=True):
        if not executed:
            taken = dict(zip(place.decisions, options, strict=True))
            yield [taken.get(c.name, -(kinds.get(c.name) == "depth")) for c in choices]


@final
class _Trial:
    """A copy of the model, and what some architectures compute when nothing is cut off."""

    def __init__(self, model: nn.Module, analysis: Analysis, relaxation: Relaxation, example: Inputs) -> None:
        self.model, self.analysis, self.relaxation, self.example = model, analysis, relaxation, example
        masked = Execution(analysis, {})
        corners = _corners(relaxation.space, analysis.places)
        with torch.no_grad():
            self.expected = {a: masked.run(model, example, _dense(self.gates(a))) for a in corners}

    def gates(self, architecture: Architecture) -> Gates:
        """Of an architecture, in the precision of the copy."""
        return discrete(self.relaxation.encode(architecture), dtype=dtype_of(self.model))

    def problem(self, attributes: Attributes) -> str:
        """What is wrong with a slice or an extracted network of some architecture, in words; empty for nothing."""
        execution = Execution(self.analysis, attributes)
        for architecture, expected in self.expected.items():
            gates = self.gates(architecture)
            network = extracted(self.model, execution, gates)
            runs: Sequence[tuple[nn.Module, Callable[[Inputs], Any]]] = (
                (network, partial(call, network)),
                (self.model, partial(execution.run, self.model, gates=gates)),
            )
            for module, run in runs:
                if words := _attempt(module, run, self.example, expected):
                    return f"the model with the choices {architecture} {words}"
        return ""


def _dense(gates: Gates) -> Gates:
    return {name: Gate(gate.weights, tuple(range(gate.size))) for name, gate in gates.items()}


def _sharpened(model: nn.Module, analysis: Analysis, relaxation: Relaxation, example: Inputs) -> _Trial:
    """A trial in which wrong slices show: no constant parameters, double precision where the code allows that."""
    varied = copy.deepcopy(model)
    vary_constants(varied, torch.Generator().manual_seed(0))
    precise = copy.deepcopy(varied).double()
    try:
        return _Trial(precise, analysis, relaxation, converted(example, torch.float64))
    except Exception:  # of whatever kind, where code asks for another precision
        return _Trial(varied, analysis, relaxation, example)


def vary_constants(module: nn.Module, generator: torch.Generator) -> None:
    """Give parameters whose elements are all equal different ones, and disturb identity matrices, in place.

    A layer that starts as zero hides whatever is wrong before it, equal elements that they are sliced wrongly, and an
    identity that nothing is multiplied by it.

    Args:
        module: any module.
        generator: source of randomness, on the host.

    Example:
        >>> norm = nn.LayerNorm(2)
        >>> vary_constants(norm, torch.Generator().manual_seed(0))
        >>> bool(norm.bias[0] == norm.bias[1])
        False
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point() and bool((parameter == parameter.reshape(-1)[:1]).all()):
                noise = 0.75 + 0.5 * torch.rand(parameter.shape, generator=generator)
                parameter.copy_(noise.to(parameter) * torch.where(parameter.abs() > 0.1, parameter, 0.5))
            elif parameter.dim() == 2 and torch.equal(parameter, torch.eye(*parameter.shape).to(parameter)):
                parameter.add_((0.5 * torch.rand(parameter.shape, generator=generator) - 0.25).to(parameter))


def _attempt(network: nn.Module, run: Callable[[Inputs], Any], example: Inputs, expected: Any) -> str:
    """Run a network; empty where it computes what is expected, else what went wrong, in words."""
    with following(network) as running:
        try:
            with torch.no_grad():
                actual = run(example)
        except Exception as error:  # whatever the user's code raises
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            return f"fails in {(running or [''])[-1] or 'its forward'!r}: {reason}"
    ours_all, theirs_all = list(leaves(actual)), list(leaves(expected))
    if len(ours_all) != len(theirs_all):
        return f"returns {len(ours_all)} tensors instead of {len(theirs_all)}"
    for (_, ours), (_, theirs) in zip(ours_all, theirs_all, strict=True):
        if words := _difference(ours, theirs):
            return words
    return ""


def _difference(actual: Tensor, expected: Tensor) -> str:
    if actual.shape != expected.shape:
        return f"returns a tensor of shape {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    if not expected.is_floating_point():
        return "" if torch.equal(actual, expected) else "returns other whole numbers than the masked model"
    scale = max(float(expected.abs().max()), 1e-3)
    worst = float((actual - expected).abs().max())
    eps = torch.finfo(expected.dtype).eps
    if not worst <= max(1e-5 if eps < 1e-10 else 1e-3, 8 * eps) * scale:  # in that order, since it may be nan
        return f"differs from the masked model by up to {worst:.3g}"
    return ""
