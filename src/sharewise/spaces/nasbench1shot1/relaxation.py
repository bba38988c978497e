"""The bridge from cells to what the one-shot network mixes: operations of blocks, and inputs of blocks and output."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError
from sharewise.space import (
    Architecture,
    Decision,
    Encoding,
    Option,
    Probabilities,
    Relaxation,
    Space,
    enumerate_architectures,
)
from sharewise.space.relaxation import strongest
from sharewise.spaces.nasbench1shot1.topology import Form, Forms, forms, pruned
from sharewise.spaces.nasbench101.cell import OPERATIONS
from sharewise.spaces.nasbench101.space import architecture_of, nasbench101

__all__ = ["BlockRelaxation", "inputs_name", "operation_name", "source_name"]


def operation_name(block: int) -> str:
    """The decision of the operation of a block."""
    return f"block_{block}_operation"


def inputs_name(node: int, blocks: int) -> str:
    """The decision of the inputs of a block, or of the output."""
    return "output_inputs" if node > blocks else f"block_{node}_inputs"


def source_name(node: int) -> str:
    """How a decision over inputs calls a node."""
    return f"block {node}" if node else "input"


@final
class BlockRelaxation(Relaxation):
    """Operations of blocks and inputs of nodes as independent decisions.

    A block has a decision over its operations; a node that has more candidates than parents has one over its inputs. An
    architecture takes several of these at once, each with weight one. Blocks without effect take nothing.

    Args:
        space: `nasbench1shot1("1")` to `("3")`, or a part of one.
        name: of the design.

    Deviations:
        A method that samples one option of each decision gives a node one parent while it trains, where an
        architecture has several; the authors sample operations alone and leave the inputs soft in GDAS.

    Example:
        >>> from sharewise.spaces import load
        >>> relaxation = load("nasbench1shot1:2").relaxation
        >>> [d.name for d in relaxation.decisions if "inputs" in d.name]
        ['block_2_inputs', 'block_3_inputs', 'block_4_inputs', 'output_inputs']
        >>> a = relaxation.space.parse("maxpool3x3~0|conv1x1-bn-relu~1|output~0,1,2")
        >>> relaxation.encode(a)["output_inputs"]
        (1.0, 1.0, 1.0, 0.0, 0.0)
    """

    def __init__(self, space: Space, name: str) -> None:
        self.space, self.name = space, name
        design = self.forms.design
        legal = {option for choice in space.choices for option in choice.options}
        operations = tuple(o for o in OPERATIONS if o in legal)
        blocks, sources = range(1, design.blocks + 1), [source_name(n) for n in range(design.blocks + 1)]
        self.decisions = (
            *(Decision(operation_name(block), operations) for block in blocks),
            *(Decision(inputs_name(node, design.blocks), tuple(sources[:node])) for node in design.chosen),
        )

    @property
    def forms(self) -> Forms:
        """All forms of the cells of the whole space."""
        return forms(self.name)

    def form_of(self, architecture: Architecture) -> Form:
        """The blocks that form an architecture.

        Raises:
            ConfigurationError: when it is not of the space.
        """
        return self.forms.of_row(nasbench101().listing.index(self.space.own(architecture)))

    def encode(self, architecture: Architecture) -> Encoding:
        """Weight one for the operation and for every chosen input of each block that has an effect, and of the output.

        Raises:
            ConfigurationError: when the architecture is not of the space.
        """
        form, blocks = self.form_of(architecture), self.forms.design.blocks
        taken: dict[str, tuple[Option, ...]] = {
            operation_name(block): (OPERATIONS[o],) for block, o in enumerate(form.operations, start=1) if o >= 0
        }
        for node in self.forms.design.chosen:
            taken[inputs_name(node, blocks)] = tuple(source_name(source) for source in form.parents[node - 1])
        return {d.name: tuple(float(o in taken.get(d.name, ())) for o in d.options) for d in self.decisions}

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        """The strongest operation of every block, and the required number of strongest inputs of every node.

        In a part of the space that lacks that cell, the cell whose encoding x is nearest to the weights p.

        Args:
            probabilities: see `Relaxation.project`.
            exclude: options that must not be part of the result.

        Raises:
            ConfigurationError: when too few options are left.
        """
        design = self.forms.design
        parents = pruned(tuple(self._parents(node, probabilities, exclude) for node in range(1, design.blocks + 2)))
        operations = [
            self._operation(block, probabilities, exclude) if parents[block - 1] else -1
            for block in range(1, design.blocks + 1)
        ]
        try:
            return architecture_of(Form(parents, tuple(operations)).cell, self.space)
        except ConfigurationError:
            if self.space.whole is None:
                raise
            return self._nearest(probabilities, exclude)

    def _parents(self, node: int, probabilities: Probabilities, exclude: tuple[Option, ...]) -> tuple[int, ...]:
        count = self.forms.design.parents[node - 1]
        if count == node:  # all of them
            return tuple(range(node))
        decision = self._by_name[inputs_name(node, self.forms.design.blocks)]
        return _largest(decision, probabilities[decision.name], count, exclude)

    def _operation(self, block: int, probabilities: Probabilities, exclude: tuple[Option, ...]) -> int:
        decision = self._by_name[operation_name(block)]
        option = decision.options[strongest(decision, probabilities[decision.name], exclude)]
        return OPERATIONS.index(str(option))

    @cached_property
    def _by_name(self) -> dict[str, Decision]:
        return {decision.name: decision for decision in self.decisions}

    def _nearest(self, probabilities: Probabilities, exclude: tuple[Option, ...]) -> Architecture:
        """The architecture of a part of which Σ x (1 − 2 p) is least; the first of equally near ones."""
        price = [
            np.inf if option in exclude else 1 - 2 * float(p)
            for decision in self.decisions
            for option, p in zip(decision.options, probabilities[decision.name], strict=True)
        ]
        members, encodings = self._members
        distances = np.where(encodings, price, 0.0).sum(axis=1)
        if not np.isfinite(distances).any():
            raise ConfigurationError(f"space {self.space.name!r} has no cell left once {exclude} are excluded")
        return members[int(distances.argmin())]

    @cached_property
    def _members(self) -> tuple[list[Architecture], npt.NDArray[np.bool_]]:
        """The architectures of a part, and what each takes of all options."""
        members = list(enumerate_architectures(self.space))
        rows = [self.encode(member) for member in members]
        return members, np.array([[w for d in self.decisions for w in row[d.name]] for row in rows], dtype=np.bool_)


def _largest(decision: Decision, weights: Sequence[float], count: int, exclude: tuple[Option, ...]) -> tuple[int, ...]:
    """The places of the largest weights, ascending; ties go to the lower index."""
    allowed = [place for place, option in enumerate(decision.options) if option not in exclude]
    if len(allowed) < count:
        raise ConfigurationError(
            f"{count} inputs are needed, but decision {decision.name!r} has {len(allowed)} left without {exclude}"
        )
    return tuple(sorted(sorted(allowed, key=lambda place: (-float(weights[place]), place))[:count]))
