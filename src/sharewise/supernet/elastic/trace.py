"""Tracing: which dimensions of a model's parameters and activations depend on each other.

The model is exported once with an example input; every operation of the graph says which dimensions of its operands are
one. Operations that are not known keep their dimensions fixed, so that a wrong slice is impossible: what cannot be
followed is refused with the path of the module.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.binding import following
from sharewise.supernet.elastic.dimensions import Dimensions

__all__ = ["Trace", "Use", "is_own", "opaque", "trace"]

Dims = tuple[int, ...]


@dataclass(frozen=True)
class Use:
    """One way in which a parameter is used.

    Args:
        name: path of the parameter as the module that uses it knows it; a tied parameter has several.
        axis: which is contracted with an activation, or `None` where no axis is.
        where: path of the module.
    """

    name: str
    axis: int | None
    where: str


@dataclass
class Trace:
    """What an exported graph says about dimensions.

    Args:
        dimensions: all of them.
        tensors: dimensions of every parameter and buffer, by every name that it has.
        uses: of parameters.
        norms: for every layer norm over one dimension that dimension, by path.
        fields: attributes of layers of torch that hold the size of a dimension, by path and name.
        written: the dimension that each layer with weights writes, by path, in order of execution.
        touched: dimensions of the tensors that a module's operations read or write, by path.
        output: shape of the model's output.
    """

    dimensions: Dimensions = field(default_factory=Dimensions)
    tensors: dict[str, Dims] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    norms: dict[str, int] = field(default_factory=dict)
    fields: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    touched: dict[str, list[int]] = field(default_factory=dict)
    output: tuple[int, ...] = ()


def opaque(module: nn.MultiheadAttention | nn.RNNBase) -> str:
    """Why nothing can be chosen in a layer that is made of several."""
    what = "attention" if isinstance(module, nn.MultiheadAttention) else "recurrence"
    return (
        f"{type(module).__name__} cannot have another size inside than outside; write the {what} with linear layers of "
        "its own"
    )


def is_own(module: nn.Module) -> bool:
    """Whether a module's class is the user's and not one of torch."""
    return not type(module).__module__.startswith(("torch.nn", "sharewise."))


def trace(model: nn.Module, example: Tensor) -> Trace:
    """Export a model and find out which dimensions are one.

    Args:
        model: maps one tensor to one tensor; in evaluation mode.
        example: a batch of inputs.

    Raises:
        ConfigurationError: when torch cannot export the model, or it returns something else than one tensor.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one opaque operation, which hides what it is made of
    try:
        with warnings.catch_warnings(), torch.enable_grad(), following(model) as running:
            warnings.simplefilter("ignore")
            program = torch.export.export(model, (example,), strict=False)
    except ConfigurationError:
        raise
    except Exception as error:  # torch raises many kinds
        reason = next((line.strip(" .") for line in str(error).splitlines() if line.strip()), type(error).__name__)
        where = f" in {running[-1]!r}" if running and running[-1] else ""
        raise ConfigurationError(
            f"{type(model).__name__} cannot be traced: torch.export says{where}: {reason}. Its forward must take one "
            "tensor and must not depend on the values in it"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return _Recorder(model, program).record()


_Rule = Callable[["_Recorder", Any, Mapping[str, Any]], None]
_RULES: dict[str, _Rule] = {}


def _rule(*names: str) -> Callable[[_Rule], _Rule]:
    def register(function: _Rule) -> _Rule:
        for name in names:
            _RULES[name] = function
        return function

    return register


@final
class _Recorder:
    """Walks over an exported graph once."""

    def __init__(self, model: nn.Module, program: Any) -> None:
        self.model, self.program = model, program
        self.trace = Trace()
        self.dimensions = self.trace.dimensions
        self.names: dict[Any, str] = {}  # nodes that are a parameter or buffer
        self.axes: dict[Any, tuple[Any, tuple[int, ...]]] = {}  # nodes that are a transposed parameter
        self.made: dict[Any, Any] = {}
        # A module that is registered twice has one path; parameters that several modules share have several names.
        self.paths: dict[int, str] = {id(module): path for path, module in model.named_modules()}
        self.parameters = {
            _join(path, name): parameter
            for path, module in model.named_modules()
            for name, parameter in module._parameters.items()
            if parameter is not None
        }

    def record(self) -> Trace:
        signature = self.program.graph_signature
        known = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node, known.get(node.name))
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                self._output(node)
        self._alias()
        return self.trace

    def _placeholder(self, node: Any, name: str | None) -> None:
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            return
        what = f"the input {node.name!r}" if name is None else name
        dims = tuple(self.dimensions.new(n, f"dimension {i} of {what}") for i, n in enumerate(value.shape))
        self.made[node] = dims
        if name is None:
            for axis, dimension in enumerate(dims):
                self.fix([dimension], f"it is one with dimension {axis} of {what}, which is given from outside")
            return
        path, _, local = name.rpartition(".")
        owner = self.model.get_submodule(path)
        name = _join(self.paths[id(owner)], local)
        self.names[node] = name
        self.trace.tensors[name] = dims
        if isinstance(owner, nn.MultiheadAttention | nn.RNNBase):
            self.fix(dims, opaque(owner))

    def _alias(self) -> None:
        """Tied parameters have dimensions by every name."""
        groups: dict[int, list[str]] = {}
        for path, module in self.model.named_modules():
            for local, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    groups.setdefault(id(tensor), []).append(_join(path, local))
        for names in groups.values():
            known = [name for name in names if name in self.trace.tensors]
            for name in known[1:]:
                for ours, theirs in zip(self.trace.tensors[name], self.trace.tensors[known[0]], strict=True):
                    self.dimensions.same(ours, theirs)
            if known:
                self.trace.tensors |= dict.fromkeys(names, self.trace.tensors[known[0]])

    def _output(self, node: Any) -> None:
        results = [r for r in node.args[0] if hasattr(r, "meta")]
        buffers = len(self.program.graph_signature.buffers_to_mutate)
        results = results[buffers:]
        if len(results) != 1 or not isinstance(results[0].meta.get("val"), Tensor):
            raise ConfigurationError(
                f"{type(self.model).__name__} must return one tensor, but returns {len(results)}; wrap it in a module "
                "that picks the one to be trained"
            )
        self.trace.output = tuple(results[0].meta["val"].shape)
        self.fix(self.dims(results[0]), "it is the output of the model")

    def _call(self, node: Any) -> None:
        value = node.meta.get("val")
        if getattr(node.target, "__name__", "") == "getitem":
            made = self.made.get(node.args[0])
            self.made[node] = made[node.args[1]] if isinstance(made, list) else self.fresh(node)
            return
        if not isinstance(node.target, torch._ops.OpOverload):
            self._unknown(node)
            return
        schema = node.target._schema
        given = {a.name: v for a, v in zip(schema.arguments, node.args, strict=False)} | dict(node.kwargs)
        arguments = {a.name: given.get(a.name, a.default_value) for a in schema.arguments}
        name = schema.name.partition("::")[2]
        name = name[:-1] if name.endswith("_") and not name.endswith("__") else name
        packet = getattr(torch.ops.aten, name, None)
        pointwise = torch.Tag.pointwise in node.target.tags or (
            packet is not None and any(torch.Tag.pointwise in getattr(packet, o).tags for o in packet.overloads())
        )
        if name in _RULES:
            _RULES[name](self, node, arguments)
        elif pointwise and isinstance(value, Tensor):
            _pointwise(self, node, arguments)
        else:
            self._unknown(node)
        self._touch(node)

    def _touch(self, node: Any) -> None:
        """Remember whose operation met which dimensions."""
        where = self.where(node)
        own = where
        while own and not is_own(self.model.get_submodule(own)):
            own = own.rpartition(".")[0]
        seen = self.trace.touched.setdefault(own, [])
        for each in (node, *node.all_input_nodes):
            made = self.made.get(each)
            groups = made if isinstance(made, list) else [made or ()]
            for dims in groups:
                seen.extend(dims)

    def _unknown(self, node: Any) -> None:
        """Nothing is known of the operation: what it reads and writes stays as it is."""
        value = node.meta.get("val")
        reason = f"the operation {_name(node)} in {self.path(node)} is not one that sharewise can follow"
        values = list(value) if isinstance(value, list | tuple) else [value]
        made = [self.fresh(node, v) for v in values]
        for each in node.all_input_nodes:
            groups = self.made.get(each, ())
            for dims in groups if isinstance(groups, list) else [groups]:
                self.fix(dims, reason)
        for dims in made:
            self.fix(dims, reason)
        self.made[node] = made if isinstance(value, list | tuple) else made[0]

    def where(self, node: Any) -> str:
        """Path of the innermost module that calls an operation."""
        stack = node.meta.get("nn_module_stack") or {}
        entries = list(stack.values())
        parts = str(entries[-1][0]).split(".") if entries else []
        return self.paths[id(self.model.get_submodule(".".join(part.partition("@")[0] for part in parts)))]

    def path(self, node: Any) -> str:
        """The same in words."""
        return self.where(node) or f"the model ({type(self.model).__name__})"

    def dims(self, node: Any) -> Dims:
        """The dimensions of a tensor."""
        made = self.made.get(node)
        if made is None:
            made = self.made[node] = self.fresh(node)
        assert isinstance(made, tuple)
        return made

    def fresh(self, node: Any, value: Any = None) -> Dims:
        """New dimensions for the output of an operation."""
        value = node.meta.get("val") if value is None else value
        if not isinstance(value, Tensor):
            return ()
        label = f"of the output of {_name(node)} in {self.path(node)}"
        return tuple(self.dimensions.new(n, f"dimension {i} {label}") for i, n in enumerate(value.shape))

    def fix(self, dims: Sequence[int], reason: str) -> None:
        """None of them may shrink."""
        for dimension in dims:
            self.dimensions.fix(dimension, reason)

    def align(self, ours: Sequence[int], theirs: Sequence[int]) -> None:
        """Equate dimensions of equal size, as broadcasting aligns them."""
        for a, b in zip(reversed(ours), reversed(theirs), strict=False):
            if self.dimensions.size(a) == self.dimensions.size(b):
                self.dimensions.same(a, b)

    def parameter(self, node: Any, axis: int) -> tuple[str, int] | None:
        """The parameter that a tensor is, by the name of the module that uses it, and the parameter's own axis."""
        source, axes = self.axes.get(node, (node, None))
        if source not in self.names:
            return None
        return self.names[source], axis if axes is None else axes[axis]

    def used(self, node: Any, tensor: Any, axis: int | None) -> bool:
        """Note how an operation uses a tensor if that is a parameter; whether it is one."""
        found = self.parameter(tensor, axis or 0)
        if found is None:
            return False
        name, own = found
        where = self.where(node)
        parameter = self.parameters.get(name)
        aliases = [alias for alias, candidate in self.parameters.items() if candidate is parameter] or [name]
        local = [alias for alias in aliases if alias.rpartition(".")[0] == where]
        for alias in local or aliases:  # a module that reads a parameter of another one may call it by any name
            self.trace.uses.append(Use(alias, None if axis is None else own, where))
        return True

    def contract(self, node: Any, first: tuple[Any, int], second: tuple[Any, int]) -> None:
        """A sum over one dimension of two tensors: a parameter among them is where a mixture of sizes is read."""
        dims = [self.dims(tensor)[axis] for tensor, axis in (first, second)]
        self.dimensions.same(*dims)
        read = [self.used(node, tensor, axis % len(self.dims(tensor))) for tensor, axis in (first, second)]
        if not any(read):
            self.fix(
                dims,
                f"{_name(node)} in {self.path(node)} sums over it without weights, so that a mixture of sizes has no "
                "place to act",
            )

    def layer(self, node: Any) -> tuple[str, nn.Module]:
        """Path of the calling module, and the module."""
        where = self.where(node)
        return where, self.model.get_submodule(where)

    def size_field(self, node: Any, kind: type | tuple[type, ...], attribute: str, dimension: int) -> None:
        """An attribute of the calling layer of torch holds the size of a dimension."""
        path, module = self.layer(node)
        if isinstance(module, kind):
            known, _ = self.trace.fields.setdefault(
                (path, attribute), (dimension, isinstance(getattr(module, attribute), tuple))
            )
            self.dimensions.same(known, dimension)  # a layer without weights may be used twice


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _name(node: Any) -> str:
    return str(node.target).removesuffix(".default") if not isinstance(node.target, str) else node.target


def _tensors(arguments: Mapping[str, Any]) -> list[Any]:
    values = [each for v in arguments.values() for each in (v if isinstance(v, list | tuple) else [v])]
    return [v for v in values if isinstance(v, torch.fx.Node) and isinstance(v.meta.get("val"), Tensor)]


def _pointwise(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    made = r.made[node] = r.fresh(node)
    for tensor in _tensors(arguments):
        r.align(made, r.dims(tensor))
        r.used(node, tensor, None)


@_rule(
    "dropout", "feature_dropout", "alpha_dropout", "native_dropout", "zeros_like", "ones_like", "full_like",
    "empty_like", "rand_like", "randn_like", "where", "masked_fill", "feature_alpha_dropout", "hardswish",
    "log_sigmoid",
)  # fmt: skip
def _like(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    value = node.meta.get("val")
    if isinstance(value, list | tuple):
        r.made[node] = [r.fresh(node, v) for v in value]
        for made in r.made[node]:
            r.align(made, r.dims(arguments["input"]))
        return
    _pointwise(r, node, arguments)


@_rule("contiguous", "clone", "detach", "alias", "to", "_to_copy", "type_as", "lift_fresh", "lift_fresh_copy")
def _copy(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    source = next(iter(arguments.values()))
    made = r.made[node] = r.fresh(node)
    r.align(made, r.dims(source))
    if source in r.names or source in r.axes:  # still the parameter, whose use is yet to come
        r.axes[node] = r.axes.get(source, (source, tuple(range(len(made)))))


@_rule(
    "softmax", "log_softmax", "_softmax", "_log_softmax", "cumsum", "flip", "roll", "tril", "triu", "sort", "cumprod"
)
def _along(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    source = next(iter(arguments.values()))
    value = node.meta.get("val")
    outputs = [r.fresh(node, v) for v in (value if isinstance(value, list | tuple) else [value])]
    for made in outputs:
        r.align(made, r.dims(source))
    along = arguments.get("dim", arguments.get("dims", (-1, -2)))
    along = (list(along) or range(len(r.dims(source)))) if isinstance(along, list | tuple) else [along]
    r.fix([r.dims(source)[d] for d in along], f"{_name(node)} in {r.path(node)} runs along it")
    r.made[node] = outputs if isinstance(value, list | tuple) else outputs[0]


@_rule("mean", "sum", "amax", "amin", "var", "std", "argmax", "argmin", "any", "all", "prod", "logsumexp", "max", "min",
       "linalg_vector_norm")  # fmt: skip
def _reduce(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    tensors = _tensors(arguments)
    source = tensors[0]
    dims = r.dims(source)
    value = node.meta.get("val")
    outputs = [r.fresh(node, v) for v in (value if isinstance(value, list | tuple) else [value])]
    along = arguments.get("dim")
    if len(tensors) > 1:  # the maximum of two tensors
        _pointwise(r, node, arguments)
        return
    if along is None or along == []:
        reduced = set(range(len(dims)))
    else:
        reduced = {d % len(dims) for d in (along if isinstance(along, list | tuple) else [along])}
    r.fix([dims[d] for d in reduced], f"{_name(node)} in {r.path(node)} reduces over it")
    for made in outputs:
        if len(made) == len(dims):
            r.align(made, dims)
        else:
            for ours, theirs in zip(made, [d for i, d in enumerate(dims) if i not in reduced], strict=True):
                r.dimensions.same(ours, theirs)
    r.made[node] = outputs if isinstance(value, list | tuple) else outputs[0]


@_rule("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as")
def _view(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    source = r.dims(next(iter(arguments.values())))
    made = r.made[node] = r.fresh(node)
    size = r.dimensions.size
    old = [d for d in source if size(d) != 1]
    new = [d for d in made if size(d) != 1]
    while old and new:
        left, right = [old.pop(0)], [new.pop(0)]
        a, b = size(left[0]), size(right[0])
        while a != b:
            if a < b:
                left.append(old.pop(0))
                a *= size(left[-1])
            else:
                right.append(new.pop(0))
                b *= size(right[-1])
        if len(left) == 1:
            r.dimensions.product(left[0], right, r.path(node))
        elif len(right) == 1:
            r.dimensions.product(right[0], left, r.path(node))
        else:
            flat = r.dimensions.new(a, f"a dimension within {_name(node)} in {r.path(node)}")
            r.dimensions.product(flat, left, r.path(node))
            r.dimensions.product(flat, right, r.path(node))


@_rule("permute", "transpose", "t", "movedim", "numpy_T", "swapaxes")
def _permute(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    source = node.args[0]
    dims = r.dims(source)
    n = len(dims)
    # Replayed on a tensor whose sizes tell its dimensions apart.
    replayed = node.target(torch.empty(tuple(range(2, n + 2)), device="meta"), *node.args[1:], **node.kwargs)
    order = [size - 2 for size in replayed.shape]
    r.made[node] = tuple(dims[d] for d in order)
    if source in r.names or source in r.axes:
        origin, axes = r.axes.get(source, (source, tuple(range(n))))
        r.axes[node] = (origin, tuple(axes[d] for d in order))


@_rule("expand", "expand_as", "broadcast_to")
def _expand(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    made = r.made[node] = r.fresh(node)
    r.align(made, r.dims(arguments["self"]))


@_rule("repeat", "tile", "repeat_interleave", "constant_pad_nd", "pad", "pad_sequence")
def _same_size(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    """Dimensions that keep their size are the same; the others are fixed."""
    made = r.made[node] = r.fresh(node)
    source = r.dims(arguments["self"])
    reason = f"{_name(node)} in {r.path(node)} changes its size"
    r.align(made, source)
    for ours, theirs in zip(reversed(made), reversed(source), strict=False):
        if r.dimensions.size(ours) != r.dimensions.size(theirs):
            r.fix([ours, theirs], reason)


def _take(r: _Recorder, node: Any, source: Any, dim: int, positions: range, value: Any) -> Dims:
    """A tensor that is made of some positions of one dimension."""
    dims = r.dims(source)
    dim %= len(dims)
    made = list(r.fresh(node, value))
    for axis, (ours, theirs) in enumerate(zip(made, dims, strict=True)):
        if axis != dim or (positions == range(r.dimensions.size(theirs))):
            r.dimensions.same(ours, theirs)
        else:
            r.dimensions.part(theirs, positions, ours)
    return tuple(made)


@_rule("slice", "narrow")
def _slice(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    source, dim = arguments["self"], arguments["dim"]
    size = r.dimensions.size(r.dims(source)[dim])
    if "length" in arguments:
        positions = range(arguments["start"], arguments["start"] + arguments["length"])
    else:
        positions = range(size)[slice(arguments["start"], arguments["end"], arguments["step"])]
    r.made[node] = _take(r, node, source, dim, positions, node.meta["val"])


@_rule("split", "chunk", "split_with_sizes", "tensor_split")
def _split(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    source, dim = arguments["self"], arguments["dim"]
    start, made = 0, []
    for value in node.meta["val"]:
        length = value.shape[dim]
        made.append(_take(r, node, source, dim, range(start, start + length), value))
        start += length
    r.made[node] = made


@_rule("select", "unbind")
def _select(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    dims = r.dims(arguments["self"])
    dim = arguments["dim"] % len(dims)
    r.fix([dims[dim]], f"{_name(node)} in {r.path(node)} picks positions of it")
    rest = dims[:dim] + dims[dim + 1 :]
    value = node.meta["val"]
    r.made[node] = [rest] * len(value) if isinstance(value, list | tuple) else rest


@_rule("cat", "concat", "concatenate")
def _cat(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    made = r.made[node] = r.fresh(node)
    dim, start = arguments["dim"] % len(made), 0
    for tensor in arguments["tensors"]:
        dims = r.dims(tensor)
        if len(dims) != len(made):  # an empty one of old, which concatenates with anything
            continue
        for axis, (ours, theirs) in enumerate(zip(made, dims, strict=True)):
            if axis != dim:
                r.dimensions.same(ours, theirs)
        length = r.dimensions.size(dims[dim])
        r.dimensions.part(made[dim], range(start, start + length), dims[dim])
        start += length


@_rule("stack")
def _stack(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    made = r.made[node] = r.fresh(node)
    dim = arguments["dim"] % len(made)
    r.fix([made[dim]], f"stack in {r.path(node)} makes it")
    for tensor in arguments["tensors"]:
        for ours, theirs in zip(made[:dim] + made[dim + 1 :], r.dims(tensor), strict=True):
            r.dimensions.same(ours, theirs)


@_rule("linear")
def _linear(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    source, weight, bias = arguments["input"], arguments["weight"], arguments.get("bias")
    rows = r.dims(weight)[0]
    r.made[node] = (*r.dims(source)[:-1], rows)
    r.contract(node, (source, -1), (weight, 1))
    _bias(r, node, bias, rows)
    _written(r, node, rows)
    r.size_field(node, nn.Linear, "in_features", r.dims(source)[-1])
    r.size_field(node, nn.Linear, "out_features", rows)


def _bias(r: _Recorder, node: Any, bias: Any, rows: int) -> None:
    if bias is not None:
        r.dimensions.same(r.dims(bias)[-1], rows)
        r.used(node, bias, None)


def _written(r: _Recorder, node: Any, dimension: int) -> None:
    r.trace.written.setdefault(r.where(node), dimension)


@_rule("conv1d", "conv2d", "conv3d")
def _convolution(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    source, weight = arguments["input"], arguments["weight"]
    groups, x, w = arguments["groups"], r.dims(source), r.dims(weight)
    made = r.fresh(node)
    r.made[node] = (*made[: -len(w) + 1], w[0], *made[-len(w) + 2 :])
    channels = -len(w) + 1
    for ours, theirs in zip(made[:channels], x[:channels], strict=True):
        r.dimensions.same(ours, theirs)
    r.fix(x[channels + 1 :], f"it is an extent of the image that {r.path(node)} convolves")
    r.fix(w[2:], f"it is a kernel's; give {r.path(node)} kernel([…])")
    if groups == 1:
        r.contract(node, (source, channels), (weight, 1))
    else:
        each, per_group = len(r.dims(weight)), r.dimensions.size(x[channels]) // groups
        assert each == len(w)
        group = r.dimensions.new(groups, f"the groups of {r.path(node)}")
        r.fix([w[1]], f"it is the size of a group of {r.path(node)}")
        for flat, size in ((x[channels], per_group), (w[0], r.dimensions.size(w[0]) // groups)):
            inner = r.dimensions.new(size, f"a group of {r.path(node)}")
            r.fix([inner], f"groups of {r.path(node)} keep their size")
            r.dimensions.product(flat, (group,) if size == 1 else (group, inner), r.path(node))
        r.used(node, weight, None)
        r.size_field(node, nn.modules.conv._ConvNd, "groups", group)
    _bias(r, node, arguments.get("bias"), w[0])
    _written(r, node, w[0])
    r.size_field(node, nn.modules.conv._ConvNd, "in_channels", x[channels])
    r.size_field(node, nn.modules.conv._ConvNd, "out_channels", w[0])


@_rule("matmul", "bmm", "mm", "mv", "dot")
def _matmul(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    a, b = (
        arguments["self"],
        arguments.get("other", arguments.get("mat2", arguments.get("vec", arguments.get("tensor")))),
    )
    left, right = r.dims(a), r.dims(b)
    made = r.made[node] = r.fresh(node)
    r.contract(node, (a, len(left) - 1), (b, max(len(right) - 2, 0)))
    rest = made
    if len(right) > 1:
        r.dimensions.same(rest[-1], right[-1])
        rest = rest[:-1]
    if len(left) > 1:
        r.dimensions.same(rest[-1], left[-2])
        rest = rest[:-1]
    r.align(rest, left[:-2])
    r.align(rest, right[:-2])
    if r.parameter(b, 0) is not None and len(right) > 1:
        _written(r, node, right[-1])


@_rule("addmm", "addbmm", "baddbmm")
def _addmm(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    a = arguments.get("mat1", arguments.get("batch1"))
    b = arguments.get("mat2", arguments.get("batch2"))
    _matmul(r, node, {"self": a, "other": b})
    r.align(r.dims(node), r.dims(arguments["self"]))
    r.used(node, arguments["self"], None)


@_rule("einsum")
def _einsum(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    equation = arguments["equation"].replace(" ", "")
    if "." in equation or "->" not in equation:
        r._unknown(node)
        return
    left, _, right = equation.partition("->")
    tensors = list(arguments["tensors"])
    made = r.made[node] = r.fresh(node)
    letters: dict[str, list[tuple[Any, int]]] = {}
    for term, tensor in zip(left.split(","), tensors, strict=True):
        for axis, letter in enumerate(term):
            letters.setdefault(letter, []).append((tensor, axis))
    for letter, places in letters.items():
        for place in places[1:]:
            if r.dimensions.size(r.dims(place[0])[place[1]]) == r.dimensions.size(r.dims(places[0][0])[places[0][1]]):
                r.dimensions.same(r.dims(place[0])[place[1]], r.dims(places[0][0])[places[0][1]])
        if letter in right:
            r.dimensions.same(made[right.index(letter)], r.dims(places[0][0])[places[0][1]])
        elif len(places) == 2:
            r.contract(node, places[0], places[1])
        else:
            r.fix([r.dims(t)[a] for t, a in places], f"einsum in {r.path(node)} sums over it")
    for tensor in tensors:
        if not any(use.where == r.where(node) and use.axis is not None for use in r.trace.uses):
            r.used(node, tensor, None)


@_rule("embedding")
def _embedding(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    table, indices = r.dims(arguments["weight"]), r.dims(arguments["indices"])
    r.made[node] = (*indices, table[1])
    r.fix([table[0]], f"it is the vocabulary of {r.path(node)}")
    r.used(node, arguments["weight"], None)
    _written(r, node, table[1])
    r.size_field(node, nn.Embedding, "embedding_dim", table[1])


@_rule("batch_norm", "instance_norm")
def _batch_norm(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    source = arguments["input"]
    dims = r.made[node] = r.dims(source)
    channels = dims[min(1, len(dims) - 1)]
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = arguments.get(name)
        if tensor is not None:
            r.dimensions.same(r.dims(tensor)[0], channels)
            r.used(node, tensor, None)
    r.size_field(node, (nn.modules.batchnorm._NormBase,), "num_features", channels)


@_rule("group_norm")
def _group_norm(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    dims = r.made[node] = r.dims(arguments["input"])
    groups = arguments["num_groups"]
    group = r.dimensions.new(groups, f"the groups of {r.path(node)}")
    inner = r.dimensions.new(r.dimensions.size(dims[1]) // groups, f"a group of {r.path(node)}")
    r.fix([inner], f"groups of {r.path(node)} keep their size")
    r.dimensions.product(dims[1], (group, inner), r.path(node))
    for name in ("weight", "bias"):
        tensor = arguments.get(name)
        if tensor is not None:
            r.dimensions.same(r.dims(tensor)[0], dims[1])
            r.used(node, tensor, None)
    r.size_field(node, nn.GroupNorm, "num_groups", group)
    r.size_field(node, nn.GroupNorm, "num_channels", dims[1])


@_rule("layer_norm", "rms_norm")
def _layer_norm(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    dims = r.made[node] = r.dims(arguments["input"])
    count = len(arguments["normalized_shape"])
    for name in ("weight", "bias"):
        tensor = arguments.get(name)
        if tensor is not None:
            for ours, theirs in zip(r.dims(tensor), dims[-count:], strict=True):
                r.dimensions.same(ours, theirs)
            r.used(node, tensor, None)
    path, module = r.layer(node)
    if count == 1 and type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward):
        r.trace.norms[path] = dims[-1]
        r.size_field(node, (nn.LayerNorm, nn.RMSNorm), "normalized_shape", dims[-1])
    else:
        r.fix(
            dims[-count:],
            f"{_name(node)} in {r.path(node)} normalises over it; use the layer nn.LayerNorm or nn.RMSNorm over one "
            "dimension",
        )


@_rule("scaled_dot_product_attention")
def _attention(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    q, k, v = (r.dims(arguments[name]) for name in ("query", "key", "value"))
    made = r.fresh(node)
    r.dimensions.same(k[-2], v[-2])
    r.dimensions.same(q[-1], k[-1])
    r.fix([q[-1]], f"attention in {r.path(node)} compares queries and keys over it: the size of a head stays")
    r.made[node] = (*made[:-2], q[-2], v[-1])
    for dims in (q, k, v):
        for ours, theirs in zip(reversed(made[:-2]), reversed(dims[:-2]), strict=False):
            if r.dimensions.size(ours) == r.dimensions.size(theirs):
                r.dimensions.same(ours, theirs)
            elif r.dimensions.size(theirs) > 1:
                r.fix([ours, theirs], f"queries share keys in {r.path(node)}")
    mask = arguments.get("attn_mask")
    if mask is not None:
        r.align((*made[:-2], q[-2], k[-2]), r.dims(mask))


@_rule(
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d",
    "upsample_bicubic2d", "_upsample_bilinear2d_aa", "interpolate", "max_pool2d_with_indices",
)  # fmt: skip
def _spatial(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    """All but the trailing dimensions stay."""
    source = arguments.get("self", arguments.get("input"))
    name = node.target._schema.name
    extents = 1 if "1d" in name else 3 if "3d" in name else 2
    dims = r.dims(source)
    reason = f"it is an extent of the image that {_name(node)} in {r.path(node)} reads"
    r.fix(dims[-extents:], reason)
    value = node.meta["val"]
    outputs = []
    for each in value if isinstance(value, list | tuple) else [value]:
        made = r.fresh(node, each)
        for ours, theirs in zip(made[:-extents], dims[:-extents], strict=True):
            r.dimensions.same(ours, theirs)
        outputs.append(made)
    r.made[node] = outputs if isinstance(value, list | tuple) else outputs[0]


@_rule("prelu")
def _prelu(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    dims = r.made[node] = r.dims(arguments["self"])
    slope = r.dims(arguments["weight"])
    if r.dimensions.size(slope[0]) > 1:
        r.dimensions.same(slope[0], dims[1])
        r.size_field(node, nn.PReLU, "num_parameters", dims[1])
    r.used(node, arguments["weight"], None)


@_rule("_assert_tensor_metadata", "_assert_async", "sym_size", "sym_constrain_range_for_size")
def _nothing(r: _Recorder, node: Any, arguments: Mapping[str, Any]) -> None:
    r.made[node] = ()
