"""The one-shot network of NAS-Bench-1Shot1: every block mixes its operations, every node weighs its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Decision, Space
from sharewise.spaces.limits import AT_LEAST_ONE, FRACTION, keep_limits
from sharewise.spaces.nasbench1shot1.network import Network, convolution, downsampling, frame, operation
from sharewise.spaces.nasbench1shot1.relaxation import BlockRelaxation, inputs_name, operation_name, source_name
from sharewise.spaces.nasbench1shot1.topology import Form
from sharewise.spaces.nasbench101.options import image_shape
from sharewise.supernet import (
    GatedOperation,
    Gates,
    MixedOperation,
    Mixture,
    Networks,
    Supernet,
    Wiring,
    cell_edge,
    execute,
)
from sharewise.supernet.execution import Term, alone, joined, terms_of
from sharewise.supernet.extract import inherited_state
from sharewise.supernet.gate import add

__all__ = ["NETWORKS", "NasBench1Shot1Options", "NasBench1Shot1Supernet", "SharedCell"]


@final
@dataclass(frozen=True)
class NasBench1Shot1Options:
    """Options of the one-shot network, none of which is part of an architecture's identity.

    Args:
        channels: C of every block in the first stack.
        cells: cells per stack.
        norm_momentum: in (0, 1], the weight of a batch in the running statistics. The authors' 0.997, which is meant as
            the decay of NAS-Bench-101, leaves next to nothing but the last batch.
        fused: whether cells leave out what makes no difference (default), or run edge by edge, the readable oracle.
        partial: K: the operation of a block sees 1/K of its channels, a divisor of `channels`; 1 for all of them.
        edge_weights: always true: inputs are weighed by decisions of the space, as methods on partial channels ask.
            They pick, so that their rate and their floor are those of operations.
    """

    channels: int = 16
    cells: int = 3
    norm_momentum: float = 0.997
    fused: bool = True
    partial: int = 1
    edge_weights: bool = True

    def __post_init__(self) -> None:
        if not self.edge_weights:
            raise ConfigurationError(
                "network option edge_weights cannot be off: which inputs a block has is a decision of NAS-Bench-1Shot1 "
                "itself; leave the option out"
            )
        keep_limits(self, channels=AT_LEAST_ONE, cells=AT_LEAST_ONE, partial=AT_LEAST_ONE, norm_momentum=FRACTION)


@final
class _OfBlock(Mixture):
    """What a block always has, an input or the channels around its operation: executed where it has an operation."""

    def __init__(self, edge: nn.Module, operation: Decision) -> None:
        super().__init__()
        self.edge, self.operation = edge, operation.name

    def terms(self, gates: Gates) -> list[Term]:
        return terms_of(self.edge, gates) if gates[self.operation].active else []

    def joined(self, lanes: Mapping[int, Tensor]) -> Tensor:
        return joined(self.edge, lanes)

    def alone(self, x: Tensor, gates: Gates) -> Tensor | None:
        return alone(self.edge, x, gates) if gates[self.operation].active else None

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        return inherited_state(self.edge, gates) if gates[self.operation].active else {}


@final
class SharedCell(nn.Module):
    """A cell that consumes the gates of its blocks and of its output.

    Block b is Σ_o g_{b,o} · o(s_b) of s_b = h_{b,0} · p_b(x) + Σ_{a<b} h_{b,a} · block a, with p_b a 1×1 convolution
    and h = 1 where there is nothing to choose. With partial channels the sum over o sees 1/K of those of s_b, see
    `PartialOperation`. The output is concat_b(h_{out,b} · block b) + h_{out,0} · p_out(x).

    Args:
        relaxation: of the space.
        channels_in: of the input.
        channels: C of every block.
        options: of the network.
    """

    def __init__(
        self, relaxation: BlockRelaxation, channels_in: int, channels: int, options: NasBench1Shot1Options
    ) -> None:
        super().__init__()
        self.fused, momentum = options.fused, options.norm_momentum
        decisions, blocks = {d.name: d for d in relaxation.decisions}, relaxation.forms.design.blocks
        edges: dict[str, nn.Module] = {}
        places: dict[str, tuple[int, int]] = {}
        for block in range(1, blocks + 1):  # a block is two nodes: the sum of its inputs, and what it makes of it
            choice, inputs = decisions[operation_name(block)], decisions.get(inputs_name(block, blocks))
            for source in range(block):
                edge: nn.Module = nn.Identity() if source else convolution(channels_in, channels, 1, momentum)
                name = f"{source}_{block}"
                edges[name] = _OfBlock(edge, choice) if inputs is None else _input(edge, inputs, source)
                places[name] = (2 * source, 2 * block - 1)
            mixture = cell_edge(partial(_mixture, choice, momentum=momentum), channels, partial=options.partial)
            edges[f"block_{block}"] = mixture if options.partial == 1 else _OfBlock(mixture, choice)
            places[f"block_{block}"] = (2 * block - 1, 2 * block)
        output = decisions[inputs_name(blocks + 1, blocks)]
        for block in range(1, blocks + 1):
            edges[f"{block}_output"] = _input(nn.Identity(), output, block)
            places[f"{block}_output"] = (2 * block, 2 * blocks + block)
        self.edges = nn.ModuleDict(edges)
        self.skip = _input(convolution(channels_in, blocks * channels, 1, momentum), output, 0)
        self.wiring = Wiring(1, places, tuple(2 * blocks + block for block in range(1, blocks + 1)), channels=channels)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map `(n, channels_in, height, width)` to `(n, B · channels, height, width)`."""
        output = add(execute(self.wiring, self.edges, [x], gates, fused=self.fused), self.skip.alone(x, gates))
        assert output is not None
        return output


def _mixture(choice: Decision, channels: int, momentum: float) -> MixedOperation:
    return MixedOperation(choice, {str(o): operation(str(o), channels, momentum) for o in choice.options})


def _input(edge: nn.Module, decision: Decision, source: int) -> GatedOperation:
    return GatedOperation(edge, decision, source_name(source))


@final
class NasBench1Shot1Supernet(Supernet):
    """All cells of a search space in one.

    An architecture is extracted in the form of this network (`network.py`), in which every block has C channels, and
    not as the network of NAS-Bench-101, in which blocks that feed the output share its channels: only so do weights
    fit. The network whose accuracy the table states is that of the same cell in space `nasbench101`.

    Args:
        space: `nasbench1shot1:1` to `nasbench1shot1:3`, or a part of one.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        options: of the network.

    Deviations:
        None from the authors' search network, with which a test compares it.

    References:
        A. Zela, J. Siems and F. Hutter, *NAS-Bench-1Shot1*, ICLR 2020 (arXiv 2001.10422), section 3;
        automl/nasbench-1shot1, `optimizers/darts/model_search.py`.
    """

    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: NasBench1Shot1Options) -> None:
        super().__init__()
        relaxation = space.relaxation
        assert isinstance(relaxation, BlockRelaxation)
        self.space, self.relaxation, self.options = space, relaxation, options
        self.form_of = relaxation.form_of
        self.input_shape, self.outputs = image_shape(input_shape), outputs
        channels, blocks = options.channels, relaxation.forms.design.blocks
        self.stem, self.after, self.classifier = frame(
            self.input_shape[0], outputs, channels, blocks, options.norm_momentum
        )
        self.stacks, before = nn.ModuleList(), channels
        for stack in range(3):
            width = channels * 2**stack
            layers: list[nn.Module] = [] if stack == 0 else [downsampling()]
            for _ in range(options.cells):
                layers.append(SharedCell(relaxation, before, width, options))
                before = blocks * width
            self.stacks.append(nn.ModuleList(layers))

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Class scores `(n, outputs)` of images `(n, channels, height, width)`."""
        x: Tensor = self.stem(inputs)
        for stack in self.stacks:
            for layer in stack:  # type: ignore[attr-defined]
                x = layer(x, gates) if isinstance(layer, SharedCell) else layer(x)
        outputs: Tensor = self.classifier(self.after(x).mean(dim=(2, 3)))
        return outputs

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network with the same options."""
        return _network(self.form_of(architecture), self.input_shape, self.outputs, self.options)


def _network(form: Form, input_shape: Sequence[int], outputs: int, options: NasBench1Shot1Options) -> nn.Module:
    shape = image_shape(input_shape)
    return Network(str(form), shape, outputs, options.channels, options.cells, options.norm_momentum)


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: NasBench1Shot1Options
) -> nn.Module:
    from sharewise.spaces import load

    relaxation = load(architecture.space).relaxation
    assert isinstance(relaxation, BlockRelaxation)
    return _network(relaxation.form_of(architecture), input_shape, outputs, options)


NETWORKS = Networks(
    options=NasBench1Shot1Options, supernet=NasBench1Shot1Supernet, plain=_plain, input_kinds=("image",)
)
