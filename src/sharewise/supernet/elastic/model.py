"""A user's own model as a supernet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.supernet.calibrate import evaluating
from sharewise.supernet.elastic.analysis import Analysis, analyse
from sharewise.supernet.elastic.binding import bound
from sharewise.supernet.elastic.extraction import extracted
from sharewise.supernet.elastic.places import Place, outermost
from sharewise.supernet.elastic.record import Record
from sharewise.supernet.elastic.settling import dtype_of, settled
from sharewise.supernet.elastic.sliced_execution import Execution, bind_places, bind_rows, paths_of
from sharewise.supernet.elastic.trace import trace
from sharewise.supernet.gate import Gate, Gates, discrete
from sharewise.supernet.structures import Inputs
from sharewise.supernet.supernet import Shared, Supernet

__all__ = ["ElasticModel", "analysed", "examined", "traced"]


@final
class ElasticModel(Supernet, Shared):
    """A model of one's own, all of whose smaller versions share its weights; built by `elastic`.

    A searched dimension is sliced wherever it occurs, and superposed where it is *read*: with survival
    s_j = Σ_{i : j alive under option i} g_i, the columns of every weight that reads the dimension are scaled by s. All
    between writer and reader (norms, non-linearities, sums) is left alone, so for a hidden dimension the mixture is
    exact: Σ_i g_i W₂[:, :o_i] φ(W₁[:o_i] x) = W₂ (s ⊙ φ(W₁ x)). Layer norms over a searched dimension weigh their mean
    and variance by s. Kernels are superposed as centred rings, depths as Σ_i g_i x^(d_i).

    The model's own forward runs unchanged: gates are bound to its modules for one call and always unbound.

    Args:
        model: whose weights are shared.
        space: of its smaller versions.
        execution: of the model under gates of the space, as it was found by `examined`.
        example: a batch of inputs: a tensor, a tuple of positional arguments or a mapping of those by keyword.
        left: what was to be chosen and could not be, by pattern, with the reason.

    Example:
        >>> from sharewise.supernet.elastic import elastic, width
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> supernet = elastic(model, {"0": width([8, 16], name="hidden")}, example=torch.zeros(2, 4))
        >>> small = supernet.plain(supernet.space.architecture({"hidden": 8}))
        >>> small[0].weight.shape, small[2].weight.shape
        (torch.Size([8, 4]), torch.Size([3, 8]))
    """

    def __init__(
        self,
        model: nn.Module,
        space: Space,
        execution: Execution,
        example: Inputs,
        left: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.left: Mapping[str, str] = {} if left is None else left
        self.model, self.example = model, example
        self.space, self.relaxation = space, space.relaxation
        self._execution = execution
        self._apart: frozenset[tuple[str, ...]] = frozenset()
        self.training = model.training

    def forward(self, inputs: Any, gates: Gates) -> Any:
        """Outputs under `gates`, in the structure that the model returns.

        Slices up to the largest active options, superposed where weights differ from one.
        """
        return self._execution.run(self.model, inputs, gates, self._apart)

    def extra_repr(self) -> str:
        """What can be chosen, a line for each decision."""
        return "\n".join(f"{d.name}: {', '.join(map(str, d.options))}" for d in self.relaxation.decisions)

    def gathers(self, blocks: Sequence[nn.Module]) -> None:
        """See `Supernet.gathers`: slices are taken within blocks."""
        self._apart = paths_of(self.model, blocks)

    def plain(self, architecture: Architecture) -> nn.Module:
        """The model with smaller layers, of the user's own classes; its weights are the inherited ones."""
        return extracted(self.model, self._execution, discrete(self.relaxation.encode(architecture)))

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of the extracted model."""
        return dict(extracted(self.model, self._execution, gates).state_dict())

    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """By path of a module of the model, the decisions that its own operations depend on.

        These are the decisions of all dimensions that its operations read or write, of its kernel, and of whether it is
        executed at all. What a module costs is a function of the options of these few.

        Example:
            >>> from sharewise.supernet.elastic import elastic, width
            >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3), nn.Tanh(), nn.Linear(3, 2))
            >>> elastic(model, {"0": width([8, 16], name="hidden")}, example=torch.zeros(2, 4)).reads()
            {'0': ('hidden',), '1': ('hidden',), '2': ('hidden',)}
        """
        return self._execution.analysis.reads

    def kinds(self) -> Mapping[str, str]:
        """By decision whether it chooses a kernel, a depth or a width, which all other sizes are."""
        return {**super().kinds(), **self._execution.kinds}

    def executed(self) -> tuple[nn.Module, Execution]:
        """The model, and how it is executed."""
        return self.model, self._execution

    @property
    def places(self) -> tuple[Place, ...]:
        """Where its decisions act."""
        return self._execution.analysis.places

    @property
    def published(self) -> bool:
        """Whether it superposes in the authors' form; see `elastic`."""
        return self._execution.published

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the outputs for the example; of the first where there are several (`output_shapes`)."""
        return next(iter(self.output_shapes.values()))

    @property
    def output_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of all outputs for the example, by words for their places."""
        return self._execution.analysis.outputs

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of gates."""
        return dtype_of(self.model)

    def _at(self, index: int) -> Architecture:
        return self.space.architecture({c.name: c.options[index] for c in self.space.choices})

    @property
    def largest(self) -> Architecture:
        """The architecture that the model itself is: the last option of every choice."""
        return self._at(-1)

    @property
    def smallest(self) -> Architecture:
        """The first option of every choice."""
        return self._at(0)


def traced(model: nn.Module, places: Sequence[Place], example: Inputs) -> Record:
    """The record of a model's graph, with all options of its places active.

    Args:
        model: of the largest sizes; left as it is.
        places: where something is chosen.
        example: a batch of inputs.

    Raises:
        ConfigurationError: when it cannot be traced.
    """
    sizes = {place.decision: len(place.options) for place in places}
    everything = {name: Gate(torch.ones(n), tuple(range(n)), unit=True) for name, n in sizes.items()}
    with evaluating(model), torch.no_grad(), bound() as bindings:
        bind_places(bindings, model, places, everything)
        bind_rows(bindings, model, places, everything)
        return trace(model, example)


def analysed(model: nn.Module, places: Sequence[Place], space: Space, record: Record) -> Analysis:
    """Find out which dimensions of a model decisions narrow; arguments are those of `examined`.

    Raises:
        ConfigurationError: when a dimension cannot be followed.
    """
    with evaluating(model), torch.no_grad():
        return analyse(model, places, space.relaxation.decisions, record)


def examined(
    model: nn.Module,
    places: Sequence[Place],
    space: Space,
    example: Inputs,
    record: Record,
    *,
    published: bool = False,
    recompute: bool = False,
) -> Execution:
    """Find out how a model is executed under gates: analyse its record, settle its attributes.

    Args:
        model: of the largest sizes; left as it is.
        places: where something is chosen.
        space: with one choice per decision; the options of places are in the order of its options.
        example: a batch of inputs.
        record: of the model's graph, by `traced`.
        published: see `elastic`.
        recompute: see `elastic`.

    Raises:
        ConfigurationError: when something cannot be followed, or nothing could be computed again.
    """
    blocks = outermost([path for place in places for path in place.blocks]) if recompute else ()
    if recompute and not blocks:
        raise ConfigurationError(
            "recompute computes the blocks again whose number is chosen, and here none is: choose a depth, or leave "
            "recompute out"
        )
    analysis = analysed(model, places, space, record)
    with evaluating(model), torch.no_grad():
        attributes = settled(model, analysis, record, space.relaxation, example)
    return Execution(analysis, attributes, published=published, recompute=blocks)
