"""A model of one's own made a supernet with a space of its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.supernet.elastic.decisions import space_of
from sharewise.supernet.elastic.model import ElasticModel, examined
from sharewise.supernet.elastic.places import Chosen, expanded
from sharewise.supernet.supernet import Networks, Supernet

__all__ = ["ElasticOptions", "elastic"]


@final
@dataclass(frozen=True)
class ElasticOptions:
    """The network is the user's own model and has no options here."""


def elastic(
    model: nn.Module, choices: Chosen | None = None, *, example: Tensor, published: bool = False
) -> ElasticModel:
    """Make a search space of a model of one's own: smaller versions of it that share its weights.

    The model may be trained: the largest architecture is the model itself, output for output, and every smaller one
    inherits slices of its weights. What depends on a chosen dimension is found by tracing the model once: the layers
    that read it, norms, residual sums, concatenations, heads. What cannot be followed is refused, with the path of the
    module and the tensor.

    Args:
        model: maps one tensor to one tensor; it is copied and never changed.
        choices: by pattern of module paths, in which `*` stands for one name (`"blocks.*.mlp"`), what is chosen there:
            `width`, `depth`, `kernel` or `heads`, or a list of these. `Choose` modules and Elastic layers in the model
            need no entry.
        example: a batch of inputs of the form that data will have.
        published: superpose as TangleNAS does: every parameter is scaled along all searched dimensions that it has, so
            that what is written scaled is scaled again where it is read, and norms see scaled inputs.

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
    for value, kind in ((model, nn.Module), (example, Tensor)):
        if not isinstance(value, kind):
            raise ConfigurationError(f"elastic needs a {kind.__name__} here, got a {type(value).__name__}: {value!r}")
    shared, example = copy.deepcopy(model), example.detach().clone()
    places = expanded(shared, choices or {})
    space = space_of(type(model).__name__, places, published=published)
    execution = examined(shared, places, space, example, published=published)
    supernet = ElasticModel(shared, space, execution, example)
    supernet.space = replace(space, networks=_networks(supernet))
    supernet.relaxation = supernet.space.relaxation
    return supernet


def _networks(supernet: ElasticModel) -> Networks:
    """Builders for `sharewise.search` and `sharewise.train`."""

    def require(input_shape: Sequence[int], outputs: int) -> None:
        expected = tuple(supernet.example.shape[1:])
        if tuple(input_shape) != expected or outputs != supernet.output_shape[-1]:
            raise ConfigurationError(
                f"the model was made elastic with inputs of shape {expected} and has {supernet.output_shape[-1]} "
                f"outputs, but the data have inputs of shape {tuple(input_shape)} and {outputs} outputs"
            )

    def shared(space: Space, input_shape: Sequence[int], outputs: int, options: ElasticOptions) -> Supernet:
        require(input_shape, outputs)
        return copy.deepcopy(supernet)

    def plain(
        architecture: Architecture, input_shape: Sequence[int], outputs: int, options: ElasticOptions
    ) -> nn.Module:
        require(input_shape, outputs)
        network = supernet.plain(architecture)
        for module in network.modules():
            reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))  # of attention
            if callable(reset):
                reset()
        return network

    return Networks(ElasticOptions, shared, plain, ("image", "table", "text"))
