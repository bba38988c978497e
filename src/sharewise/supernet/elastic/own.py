"""A model of one's own made a supernet with a space of its own."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError, SharewiseWarning
from sharewise.given import truth
from sharewise.space import Architecture, Space
from sharewise.supernet.calibrate import evaluating
from sharewise.supernet.elastic.choices import (
    Bypassed,
    Choices,
    Choose,
    ElasticConv2d,
    ElasticEmbedding,
    ElasticLinear,
    Following,
    Ratio,
)
from sharewise.supernet.elastic.decisions import space_of
from sharewise.supernet.elastic.extraction import with_transforms
from sharewise.supernet.elastic.model import ElasticModel, analysed, examined, traced
from sharewise.supernet.elastic.places import Chosen, Place, expanded
from sharewise.supernet.elastic.proposing import proposed
from sharewise.supernet.elastic.record import Record
from sharewise.supernet.elastic.rounding import rounded
from sharewise.supernet.structures import Inputs, call, mapped, require_inputs, shape_words, shapes_of
from sharewise.supernet.supernet import Networks, Supernet

__all__ = ["ElasticOptions", "elastic"]


@final
@dataclass(frozen=True)
class ElasticOptions:
    """The network is the user's own model and has no options here."""


def elastic(
    model: nn.Module,
    choices: Chosen | None = None,
    *,
    example: Inputs,
    published: bool = False,
    strict: bool = True,
    recompute: bool = False,
) -> ElasticModel:
    """Make a search space of a model of one's own: smaller versions of it that share its weights.

    The model may be trained: the largest architecture is the model itself, output for output, and every smaller one
    inherits slices of its weights. What depends on a chosen dimension is found by tracing the model once: the layers
    that read it, norms, residual sums, concatenations, heads. What cannot be followed is refused, with the path of the
    module and the tensor.

    Args:
        model: takes tensors and returns tensors, in any structure; it is copied and never changed.
        choices: by pattern of module paths, in which `*` stands for one name (`"blocks.*.mlp"`), what is chosen there:
            `width`, `depth`, `kernel` or `heads`, or a list of these. `Choose` modules and Elastic layers in the model
            need no entry. Where nothing at all is said, a space is proposed: a width for every group of dimensions that
            shrink together, in steps that processors like, and a depth for every row of blocks that keep the shape.
        example: a batch of inputs of the form that data will have: one tensor, a tuple of positional arguments, or a
            mapping of arguments by keyword. `supernet(inputs, gates)` takes the same.
        published: superpose as TangleNAS does: every parameter is scaled along all searched dimensions that it has, so
            that what is written scaled is scaled again where it is read, and norms see scaled inputs.
        strict: refuse, where one of the choices cannot be followed. Otherwise the others are taken, and `left` of the
            result says for each of the rest why.
        recompute: whether blocks whose number is chosen (`depth`) are computed a second time in the backward pass
            instead of being kept, for less memory; the numbers are the same in every bit.

    Returns:
        A supernet with a space of its own. `sharewise.search` takes it in place of a space; `supernet(inputs, gates)`
        runs it; `sharewise.extract(supernet, architecture)` gives a plain model.

    Raises:
        ConfigurationError: when a pattern matches nothing, a choice does not fit the model, or a dimension cannot be
            followed.

    Example:
        >>> import torch
        >>> import sharewise as sw
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))
        >>> supernet = sw.elastic(model, {"0": sw.width([4, 8, 16], name="hidden")}, example=torch.zeros(2, 4))
        >>> supernet.space.size, str(supernet.largest)
        (3, '{"hidden": 16}')

    References:
        H. Cai et al., *Once-for-All*, ICLR 2020 (arXiv 1908.09791), for nested widths, depths and kernels; R. S.
        Sukthanker et al., *Weight-Entanglement Meets Gradient-Based Neural Architecture Search* (arXiv 2312.10440), for
        their superposition.

    Deviations:
        TangleNAS scales what is written and what is read; here a dimension is scaled once, by its readers, unless
        `published` asks for the authors' form.
    """
    shared, example = _copied(model, example)
    published = truth("published", published)
    strict, left, recompute = truth("strict", strict), dict[str, str](), truth("recompute", recompute)
    traces = _Traces(example)
    if choices is None and not _of_modules(shared):
        record = traces.of(shared, ())
        with evaluating(shared):
            choices, left = proposed(shared, record, mapped(torch.clone, example))
        strict = False
    choices = {} if choices is None else choices
    if not strict:
        choices, left = _possible(shared, choices, traces, published, left)
    places, space, record = _located(shared, choices, traces, published, stacklevel=3)
    execution = examined(shared, places, space, example, record, published=published, recompute=recompute)
    supernet = ElasticModel(shared, space, execution, example, left)
    supernet.space = replace(space, networks=_networks_of(supernet))
    supernet.relaxation = supernet.space.relaxation
    return supernet


def _of_modules(model: nn.Module) -> bool:
    """Whether a model brings choices with it."""
    kinds = Choose | ElasticLinear | ElasticConv2d | ElasticEmbedding
    return any(isinstance(module, kinds) for module in model.modules())


_DEPENDENT = Bypassed | Following | Ratio
"""Choices that are tried last, since they need those that they depend on."""


@final
class _Traces:
    """Records of the graphs of a model on an example; places that only narrow dimensions share one."""

    def __init__(self, example: Inputs) -> None:
        self.example = example
        self._known: dict[tuple[Place, ...], Record] = {}

    def of(self, model: nn.Module, places: Sequence[Place]) -> Record:
        """The record of the model, or of a copy of it, with all options of places active."""
        key = tuple(place for place in places if not place.narrows)
        if key not in self._known:
            self._known[key] = traced(model, places, self.example)
        return self._known[key]


def _located(
    model: nn.Module, choices: Chosen, traces: _Traces, published: bool, *, stacklevel: int = 1
) -> tuple[tuple[Place, ...], Space, Record]:
    """The places of choices, their space, and the record of the model's graph."""
    places = expanded(model, choices)
    for place in places:
        if place.kind == "bypassed" and not place.table[-1]:
            raise ConfigurationError(
                f"{place.path!r} would be left out with the largest options of {' and '.join(place.decisions)}, but "
                "the model, which is the largest architecture, executes it; let its function say False there"
            )
    with_transforms(model, places)
    record = traces.of(model, places)
    places, changes = rounded(model, places, record)
    for change in changes:
        warnings.warn(change, SharewiseWarning, stacklevel=stacklevel)
    return places, space_of(type(model).__name__, places, published=published), record


def _possible(
    model: nn.Module, choices: Chosen, traces: _Traces, published: bool, left: Mapping[str, str]
) -> tuple[dict[str, list[Choices]], dict[str, str]]:
    """The choices that can be followed together, and why the others cannot, beside what was left before.

    All are tried at once; where that fails each half is tried, and so on: first whether dimensions can be followed,
    which most choices fail that fail, then whether the model runs so, which takes much longer to find out.
    """
    if not _listed(choices):
        expanded(model, choices)  # says what they should have been
    pairs = [
        (pattern, c) for pattern, given in choices.items() for c in ([given] if isinstance(given, Choices) else given)
    ]
    pairs.sort(key=lambda pair: isinstance(pair[1], _DEPENDENT))

    def run(trial: nn.Module, places: Sequence[Place], space: Space, record: Record) -> object:
        return examined(trial, places, space, traces.example, record, published=published)

    def problem(kept: Sequence[tuple[str, Choices]], check: Callable[..., object]) -> str:
        trial = copy.deepcopy(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SharewiseWarning)
            try:
                check(trial, *_located(trial, _grouped(kept), traces, published))
            except ConfigurationError as error:
                return str(error)
        return ""

    left = dict(left)

    def possible(
        kept: list[tuple[str, Choices]], more: list[tuple[str, Choices]], check: Callable[..., object]
    ) -> list[tuple[str, Choices]]:
        """What can be added to what was kept; a half at a time, since few choices fail."""
        words = problem([*kept, *more], check)
        if not words:
            return [*kept, *more]
        if len(more) == 1:
            left[f"{more[0][0]} ({more[0][1].kind})"] = words
            return kept
        half = len(more) // 2
        return possible(possible(kept, more[:half], check), more[half:], check)

    kept = pairs
    for check in (analysed, run):
        kept = possible([], kept, check) if kept else []
    if not kept and not (_of_modules(model) and not problem([], run)):
        reasons = dict.fromkeys(left.values()) or ["every dimension found is one that the model takes or returns"]
        raise ConfigurationError("nothing can be chosen: " + "\n".join(reasons))
    return _grouped(kept), left


def _listed(choices: object) -> bool:
    """Whether choices are a mapping of patterns to choices, or lists of them."""
    return isinstance(choices, Mapping) and all(
        isinstance(given, Choices) or (isinstance(given, list | tuple) and all(isinstance(c, Choices) for c in given))
        for given in choices.values()
    )


def _grouped(pairs: Sequence[tuple[str, Choices]]) -> dict[str, list[Choices]]:
    grouped: dict[str, list[Choices]] = {}
    for pattern, choice in pairs:
        grouped.setdefault(pattern, []).append(choice)
    return grouped


def _copied(model: nn.Module, example: Inputs) -> tuple[nn.Module, Inputs]:
    """A copy of the model that runs, and of the example.

    Raises:
        ConfigurationError: for what is no model of Python modules, cannot be copied, or does not run on the example.
    """
    if not isinstance(model, nn.Module):
        raise ConfigurationError(f"elastic needs a Module here, got a {type(model).__name__} as its model")
    require_inputs(model, example)
    if isinstance(model, torch.jit.ScriptModule):
        raise ConfigurationError("a model of torch.jit cannot be made elastic, which is no Python; give the original")
    try:
        shared, probe, example = copy.deepcopy(model), copy.deepcopy(model), mapped(_detached, example)
    except Exception as error:
        raise ConfigurationError(
            f"{type(model).__name__} cannot be copied: {_first_line(error)}. Where that is an old weight or spectral "
            "norm, take the one of torch.nn.utils.parametrizations"
        ) from error
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), evaluating(probe):
            call(probe, mapped(torch.clone, example))
    except ConfigurationError:
        pass  # Choose modules run under gates alone
    except Exception as error:
        raise ConfigurationError(
            f"{type(model).__name__} cannot be traced: it does not run on the example, {shape_words(example)}: "
            f"{_first_line(error)}"
        ) from error
    return shared, example


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _first_line(error: Exception) -> str:
    return next((line.strip(" .") for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _networks_of(supernet: ElasticModel) -> Networks:
    """Builders for `sharewise.search` and `sharewise.train`."""
    builder = _Builder(supernet)
    return Networks(ElasticOptions, builder.shared, builder.plain, ("image", "table", "text", "array", "columns"))


@final
@dataclass(frozen=True, eq=False)
class _Builder:
    """Builds networks of a user's model; a value, so that its space can be sent to another process.

    Args:
        supernet: of the user's model.
    """

    supernet: ElasticModel

    def _require(self, space: Space | None, input_shape: Any, outputs: int) -> None:
        expected, shapes = shapes_of(self.supernet.example), self.supernet.output_shapes.values()
        known = sorted({shape[-1] if shape else 1 for shape in shapes})
        if input_shape != expected or outputs not in known:
            raise ConfigurationError(
                f"the model was made elastic with inputs of shape {expected} and has {' or '.join(map(str, known))} "
                f"outputs, but the data have inputs of shape {input_shape} and {outputs} outputs"
            )
        if space is not None and space.choices != self.supernet.space.choices:
            raise ConfigurationError(
                f"space {space.name!r} offers other options than the model was made elastic with; make it elastic "
                "again with those options alone, or leave options out by the recipe (exclude)"
            )

    def shared(self, space: Space, input_shape: Sequence[int], outputs: int, options: ElasticOptions) -> Supernet:
        """A copy of the model with all that it shares."""
        self._require(space, input_shape, outputs)
        return copy.deepcopy(self.supernet)

    def plain(
        self, architecture: Architecture, input_shape: Sequence[int], outputs: int, options: ElasticOptions
    ) -> nn.Module:
        """The model of an architecture with weights of its own."""
        self._require(None, input_shape, outputs)
        network = self.supernet.plain(architecture)
        for module in network.modules():
            reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))  # of attention
            if callable(reset):
                reset()
        return network
