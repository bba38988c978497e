"""Which architectures are the same network under shared weights, told by what their cells execute.

Cells whose dead edges differ compute the same. They are known by the layers that take part, in their order, so that
equal keys mean equal bits; nothing is executed to find a key.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, final

from torch import nn

from sharewise.supernet.cell import Wiring
from sharewise.supernet.execution import Term, terms_of, that_matter
from sharewise.supernet.gate import Gates
from sharewise.supernet.scored import Notes, noticing, watched
from sharewise.supernet.supernet import Shared

__all__ = ["Alike"]

Result = TypeVar("Result")


@final
class Alike(Generic[Result]):
    """Results of a network whose weights stand still, by what it executes.

    The evaluations that are made show which cells there are, and which decisions are read outside them. A key holds the
    layers that matter in each cell, and the active options of every decision that is not read in cells alone. Where a
    layer reads gates itself (entangled weights), or gates have weights other than one, all of them are the key.
    """

    def __init__(self) -> None:
        self._notes, self._known = Notes(), dict[Hashable, Result]()

    def once(self, gates: Gates, evaluate: Callable[[], Result]) -> Result:
        """The result under constant gates, evaluated if it is not known.

        Args:
            gates: of an architecture.
            evaluate: runs the network under these gates, `watched`.
        """
        if not all(gate.unit for gate in gates.values()):
            return evaluate()
        key = self._key(gates)
        if key in self._known:
            return self._known[key]
        before = len(self._notes.cells), len(self._notes.outside)
        with noticing(self._notes):
            result = evaluate()
        if before != (len(self._notes.cells), len(self._notes.outside)):
            self._known.clear()  # keys of before were made with less knowledge
            key = self._key(gates)
        self._known[key] = result
        return result

    def _key(self, gates: Gates) -> Hashable:
        inside: set[str] = set()
        reading = watched(gates, inside)
        cells = tuple(_layers(wiring, edges, reading) for wiring, edges in self._notes.cells.values())
        whole = None in cells
        rest = [name for name in gates if whole or name not in inside or name in self._notes.outside]
        return (() if whole else cells), tuple((name, gates[name].active) for name in rest)


def _layers(wiring: Wiring, edges: nn.ModuleDict, gates: Gates) -> tuple[Hashable, ...] | None:
    """What a cell executes; `None` where a layer reads gates itself."""
    terms = that_matter(wiring, {name: terms_of(edges[name], gates) for name in wiring.edges})
    kept = [(name, part) for name, parts in terms.items() for part in parts]
    if any(isinstance(layer, Shared) for _, part in kept for layer in part.body):
        return None
    return tuple((name, *_parts(part)) for name, part in kept)


def _parts(part: Term) -> tuple[Hashable, ...]:
    return (part.lane, *(step.key for step in part.prefix), *map(id, part.body), id(part.norm))
