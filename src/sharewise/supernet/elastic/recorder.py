"""The recorder: what a rule can ask of the tensors of a graph, and say about their dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

from torch import Tensor, nn
from torch.fx import Node

from sharewise.supernet.elastic.call import Call, name_of, values_of
from sharewise.supernet.elastic.record import Dims, Record, Use, is_own

__all__ = ["Outputs", "Recorder", "joined"]

Outputs = Dims | list[Dims]
"""The dimensions of what an operation returns: one tensor or a list of them."""


def joined(path: str, name: str) -> str:
    """The path of a parameter or buffer of the module at a path."""
    return f"{path}.{name}" if path else name


@final
class Recorder:
    """Knows the dimensions of every tensor of a graph so far, and fills a `Record`.

    Args:
        model: whose graph it is.
        unread: nodes whose values do not matter.
    """

    def __init__(self, model: nn.Module, unread: frozenset[Node] = frozenset()) -> None:
        self.model, self.record, self.unread = model, Record(), unread
        self.dimensions = self.record.dimensions
        self.size = self.dimensions.size
        self.made: dict[Node, Outputs] = {}
        self._names: dict[Node, str] = {}  # nodes that are a parameter or buffer
        self._axes: dict[Node, tuple[Node, tuple[int, ...]]] = {}  # nodes that are a transposed parameter
        self._marks: dict[Node, tuple[str, int]] = {}  # nodes that a watched call reads, with its key and the operand
        # A module that is registered twice has one path; parameters that several modules share have several names.
        self._paths: dict[int, str] = {id(module): path for path, module in model.named_modules()}
        self._parameters = {
            joined(path, name): parameter
            for path, module in model.named_modules()
            for name, parameter in module._parameters.items()
            if parameter is not None
        }

    # --- where ----------------------------------------------------------------------------------------------------

    def canonical(self, path: str) -> str:
        """The one path of a module that may have several."""
        return self._paths[id(self.model.get_submodule(path))]

    def where(self, node: Node) -> str:
        """Path of the innermost module that calls an operation."""
        entries = list((node.meta.get("nn_module_stack") or {}).values())
        parts = str(entries[-1][0]).split(".") if entries else []
        return self.canonical(".".join(part.partition("@")[0] for part in parts))

    def path(self, node: Node) -> str:
        """The same in words."""
        return self.where(node) or f"the model ({type(self.model).__name__})"

    # --- the dimensions of tensors --------------------------------------------------------------------------------

    def dims(self, node: Node) -> Dims:
        """The dimensions of a tensor."""
        made = self.made.get(node)
        if made is None:
            made = self.made[node] = self.fresh(node, next(iter(values_of(node)), None))
        assert isinstance(made, tuple)
        return made

    def fresh(self, node: Node, value: Tensor | None) -> Dims:
        """New dimensions for an output of an operation."""
        if value is None:
            return ()
        label = f"of the output of {name_of(node)} in {self.path(node)}"
        return tuple(self.dimensions.new(n, f"dimension {i} {label}") for i, n in enumerate(value.shape))

    def output(self, call: Call) -> Dims:
        """New dimensions for the one output of an operation."""
        return self.fresh(call.node, next(iter(values_of(call.node)), None))

    def outputs(self, call: Call) -> list[Dims]:
        """New dimensions for every output of an operation."""
        return [self.fresh(call.node, value) for value in values_of(call.node)]

    # --- what a rule says -----------------------------------------------------------------------------------------

    def fix(self, dims: Iterable[int], reason: str) -> None:
        """None of them may shrink."""
        for dimension in dims:
            self.dimensions.fix(dimension, reason)

    def same(self, ours: Sequence[int], theirs: Sequence[int]) -> None:
        """Dimensions are one, pair by pair."""
        for a, b in zip(ours, theirs, strict=True):
            self.dimensions.same(a, b)

    def align(self, ours: Sequence[int], theirs: Sequence[int]) -> None:
        """Equate dimensions of equal size, as broadcasting aligns them."""
        for a, b in zip(reversed(ours), reversed(theirs), strict=False):
            if self.size(a) == self.size(b):
                self.dimensions.same(a, b)

    def keeps(self, node: Node, source: Node, order: Sequence[int]) -> None:
        """The output is still the parameter that the source is, its axes in another order; its use is yet to come."""
        if source in self._names or source in self._axes:
            origin, axes = self._axes.get(source, (source, tuple(range(len(self.dims(source))))))
            self._axes[node] = (origin, tuple(axes[d] for d in order))

    def parameter(self, node: Node, axis: int) -> tuple[str, int] | None:
        """The parameter that a tensor is, by the name of the module that uses it, and the parameter's own axis."""
        source, axes = self._axes.get(node, (node, None))
        if source not in self._names:
            return None
        return self._names[source], axis if axes is None else axes[axis]

    def used(self, call: Call, tensor: Node | None, axis: int | None = None) -> bool:
        """Note how an operation uses a tensor if that is a parameter; whether it is one."""
        found = None if tensor is None else self.parameter(tensor, axis or 0)
        if found is None:
            return False
        name, own = found
        for alias in self._aliases(name, call.where):
            self.record.uses.append(Use(alias, None if axis is None else own, call.where))
        return True

    def _aliases(self, name: str, where: str) -> list[str]:
        """The names of a parameter in the module that uses it; any, where it is a parameter of another one."""
        parameter = self._parameters.get(name)
        aliases = [alias for alias, candidate in self._parameters.items() if candidate is parameter] or [name]
        return [alias for alias in aliases if alias.rpartition(".")[0] == where] or aliases

    def contract(self, call: Call, first: tuple[Node, int], second: tuple[Node, int]) -> None:
        """A sum over one dimension of two tensors: a parameter among them is where a mixture of sizes is read."""
        dims = [self.dims(tensor)[axis] for tensor, axis in (first, second)]
        self.dimensions.same(*dims)
        known = [self.parameter(tensor, 0) is not None for tensor, _ in (first, second)]
        if known[0] != known[1]:  # weights that meet weights, as in a spectral norm, read no activation
            for tensor, axis in (first, second):
                self.used(call, tensor, axis % len(self.dims(tensor)))
            return
        reason = (
            f"{call.name} in {call.path} sums over it without weights, so that a mixture of sizes has no place to act"
        )
        self.weighs(call, first[0], (first[1],), reason)

    def marks(self, node: Node, source: Node, key: str, operand: int) -> None:
        """A node is the operand of a watched call."""
        self.keeps(node, source, range(len(self.dims(source))))
        self._marks[node] = (key, operand)

    def weighs(
        self, call: Call, tensor: Node, axes: Iterable[int], reason: str, options: Mapping[str, Any] | None = None
    ) -> None:
        """A sum over dimensions that a watched call makes is weighed by their survival; they are fixed in any other.

        Args:
            call: the operation.
            tensor: its operand.
            axes: that are summed over.
            reason: why they cannot shrink where the call is not watched.
            options: of the operation.
        """
        dims = self.dims(tensor)
        summed = {axis % len(dims): dims[axis] for axis in axes}
        mark = self._marks.get(tensor)
        if call.node in self.unread:
            return
        if mark is None:
            self.fix(summed.values(), reason)
            return
        key, operand = mark
        _, known = self.record.sums.setdefault(key, (call.operation, {}))
        self.record.options[key] = options or {}
        for axis, dimension in summed.items():
            other = known.setdefault((operand, axis), dimension)
            if self.size(other) == self.size(dimension):  # one line of code that is executed several times
                self.dimensions.same(other, dimension)
            else:
                self.fix([other, dimension], f"{call.name} in {call.path} sums over dimensions of different sizes")

    def accompanies(self, call: Call, tensors: Iterable[Node], dims: Sequence[int]) -> None:
        """Parameters or statistics that have a value for every position of some dimensions, and read nothing."""
        for tensor in tensors:
            self.same(self.dims(tensor), dims)
            self.used(call, tensor)

    def size_field(self, call: Call, kind: type | tuple[type, ...], attribute: str, dimension: int) -> None:
        """An attribute of the calling layer of torch, or of the one that owns the weight, holds a dimension's size."""
        for where in dict.fromkeys((call.where, self._owner(call))):
            module = self.model.get_submodule(where)
            if isinstance(module, kind):
                as_tuple = isinstance(getattr(module, attribute), tuple)
                known, _ = self.record.fields.setdefault((where, attribute), (dimension, as_tuple))
                self.dimensions.same(known, dimension)  # a layer without weights may be used twice

    def _owner(self, call: Call) -> str:
        """Path of the module whose weight an operation reads, where another one calls it."""
        weight = call.arguments.get("weight")
        found = self.parameter(weight, 0) if isinstance(weight, Node) else None
        return call.where if found is None else found[0].rpartition(".")[0]

    def writes(self, call: Call, dimension: int) -> None:
        """The calling layer writes a dimension whose width can be chosen by the layer's name."""
        self.record.written.setdefault(call.where, dimension)

    def attends(self, call: Call, dimension: int) -> None:
        """Attention compares queries and keys over a dimension and scales by its size."""
        self.record.heads.setdefault(call.where, []).append(dimension)

    # --- walking --------------------------------------------------------------------------------------------------

    def names(self, node: Node, name: str, dims: Dims) -> None:
        """A node is a parameter or buffer."""
        self._names[node] = name
        self.record.tensors[name] = dims

    def met(self, node: Node) -> None:
        """Remember whose operation met which dimensions."""
        where = own = self.where(node)
        while own and not is_own(self.model.get_submodule(own)):
            own = own.rpartition(".")[0]
        for each in (node, *node.all_input_nodes):
            made = self.made.get(each, ())
            for dims in made if isinstance(made, list) else [made]:
                self.record.met.setdefault(where, []).extend(dims)
                self.record.touched.setdefault(own, []).extend(dims)
