"""Counting by operation: one pass on shapes alone, in which every operation says where it ran and what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sharewise.cost.replica import real_copy, shape_copy
from sharewise.cost.rules import RULES, Rule, costs_unknown
from sharewise.cost.shapes import SHAPES, Shape
from sharewise.supernet.structures import Inputs, blank, call, examples_of, leaves, mapped

__all__ = ["Counted", "Meter", "Tracer", "Unit", "outside"]

Unit = tuple[str, str, int]
"""Where the work is done: the path of a module, the operation, and which call of it there."""

Meter = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], int]
"""What an operation takes with these arguments, of which tensors may be without values."""

_BATCH = 2
"""Examples of a traced pass."""


@final
@dataclass
class Counted:
    """What one example costs in one pass.

    Args:
        units: multiply-accumulates by unit; a unit that ran without any stands with zero.
        written: numbers that operations wrote, views aside.
        uncounted: operations that cost something, but have no rule.
    """

    units: dict[Unit, int] = field(default_factory=dict)
    written: int = 0
    uncounted: tuple[str, ...] = ()

    @property
    def multiply_accumulates(self) -> int:
        """Of all units."""
        return sum(self.units.values())


@final
class Tracer:
    """Runs a module on tensors without values and counts what each operation in it costs.

    Operations on parameters and gates alone do not count: superposing or normalising weights is done once per batch.
    Tensors that `forward` makes itself keep their values, so that code which looks at a mask runs; code that looks at
    values which depend on the input is run on zeros instead.

    Args:
        module: stays untouched; parameters that are tied stay tied.
        real: builds the same module with values; then `module` itself is run, and need have none.
        meter: measures every operation of a pass instead of counting per example.

    Example:
        >>> tracer = Tracer(nn.Linear(3, 2))
        >>> tracer(tracer.example((3,))).units
        {('', 'linear', 0): 8}
    """

    def __init__(
        self, module: nn.Module, *, real: Callable[[], nn.Module] | None = None, meter: Meter | None = None
    ) -> None:
        self._real = partial(real_copy, module) if real is None else real
        self.module = _followed(shape_copy(module) if real is None else module)
        self._device, self._meter = "meta", meter

    def example(self, shape: Any, *, integers: Any = False) -> Inputs:
        """A batch of inputs of the module's precision, for a call.

        Args:
            shape: of one example; by name where there are several inputs.
            integers: whether inputs are indices, likewise.
        """
        floating = (p.dtype for p in self.module.parameters() if p.is_floating_point())
        return blank(shape, _BATCH, integers=integers, floating=next(floating, torch.float32))

    def __call__(self, inputs: Inputs, *arguments: Any, gates: Iterable[Tensor] = ()) -> Counted:
        """Count one pass of `module(inputs, *arguments)`.

        Args:
            inputs: as `example` returns them.
            arguments: whatever else the module takes.
            gates: the tensors among them that scale weights, which is done once per batch.
        """
        gates = list(gates)
        if self._device == "meta":
            try:
                return self._run(inputs, arguments, gates)
            except Exception:  # values are asked for; what is really wrong shows below
                self._device = "cpu"
                self.module = _followed(self._real())
        return self._run(mapped(_zeros, inputs), arguments, gates)

    def _run(self, inputs: Inputs, arguments: tuple[Any, ...], gates: Sequence[Tensor]) -> Counted:
        running = _running(self.module)
        running[:] = [""]
        counter = _Counter(running, self._meter)
        with torch.inference_mode(), _plainly():
            inputs = mapped(torch.clone, inputs)  # inference tensors of their own
            counter.mark("input", *(tensor for _, tensor in leaves(inputs)))
            counter.mark("gate", *gates)
            counter.mark("buffer", *self.module.buffers())
            counter.mark("weight", *self.module.parameters())
            with counter:
                self.module(inputs, *arguments) if arguments else call(self.module, inputs)
        examples = examples_of(inputs) if self._meter is None else 1
        units = {unit: count // examples for unit, count in counter.units.items()}
        return Counted(units, counter.written // examples, tuple(counter.uncounted))


def _zeros(tensor: Tensor) -> Tensor:
    return torch.zeros(tensor.shape, dtype=tensor.dtype)


def _followed(module: nn.Module) -> nn.Module:
    """The module in evaluation mode, with hooks that say which of its parts is running."""
    running: list[str] = [""]
    module.__dict__["_running_path"] = running
    for path, part in module.named_modules():

        def enter(layer: nn.Module, arguments: object, path: str = path) -> None:
            running.append(path)

        def leave(layer: nn.Module, arguments: object, output: object) -> None:
            running.pop()

        part.register_forward_pre_hook(enter)
        part.register_forward_hook(leave)
    return module.eval()


def _running(module: nn.Module) -> list[str]:
    running: list[str] = module.__dict__["_running_path"]
    return running


@contextmanager
def outside() -> Iterator[None]:
    """Within a meter: compute for real, unseen and with every kernel that a plain pass would use."""
    fused = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(True)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(fused)


@contextmanager
def _plainly() -> Iterator[None]:
    """Without kernels that hide several operations in one."""
    fast, fused = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(fused)


@final
@dataclass(frozen=True)
class _Known:
    """What is to be done with an operation.

    Args:
        name: without overload.
        rule: its multiply-accumulates.
        shape: of its output, where that is known without asking torch.
        composite: whether it is made of operations that are met one by one.
        writes: whether its outputs are new numbers, neither views nor changed in place.
        mutates: whether it changes its first argument.
        unknown: whether it costs what no rule says.
    """

    name: str
    rule: Rule | None
    shape: Shape | None
    composite: bool
    writes: bool
    mutates: bool
    unknown: bool


_OPERATIONS: dict[Any, _Known] = {}
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


def _known(operation: Any) -> _Known:
    if operation not in _OPERATIONS:
        namespace, _, name = operation._schema.name.rpartition("::")
        rule = RULES.get(name) if namespace == "aten" else None
        composite = rule is None and (
            _COMPOSITE in operation.py_kernels or operation.has_kernel_for_dispatch_key(_COMPOSITE)
        )
        _OPERATIONS[operation] = _Known(
            name=name,
            rule=rule,
            shape=SHAPES.get(name) if namespace == "aten" and not operation._schema.is_mutable else None,
            composite=composite,
            writes=all(value.alias_info is None for value in operation._schema.returns),
            mutates=bool(operation._schema.is_mutable),
            unknown=rule is None and costs_unknown(namespace, name),
        )
    return _OPERATIONS[operation]


@final
class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation of a pass below autograd."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's hook: else it imports its compiler, only to hide this mode from it, which takes as long as torch."""
        return False

    def __init__(self, running: list[str], meter: Meter | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._meter = meter
        self.units: dict[Unit, int] = {}
        self.written = 0
        self.uncounted: dict[str, None] = {}
        self._running = running
        self._calls: dict[tuple[str, str], int] = {}
        self._origins: dict[int, tuple[str, Any]] = {}  # by storage, which stays alive, so that no address comes twice

    def mark(self, origin: str, *tensors: Tensor) -> None:
        """Say what the tensors, and all that shares their storage, are made of from now on."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._origins[storage._cdata] = (origin, storage)

    def _met(self, tensors: Sequence[Tensor]) -> set[str]:
        """What the arguments of an operation are made of; nothing for constants."""
        return {self._origins.get(tensor.untyped_storage()._cdata, ("", None))[0] for tensor in tensors}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        known = _known(func)
        tensors = list(_tensors((*args, *kwargs.values())))
        shaped = any(tensor.is_meta for tensor in tensors)
        output = known.shape(_shapes(args)) if known.shape is not None and shaped and not kwargs else None
        if output is None and known.composite:
            with self:
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        if output is None:
            output = _executed(func, known, args, kwargs, shaped and not all(tensor.is_meta for tensor in tensors))
        if self._meter is not None:
            self.units[self._unit(known.name)] = self._meter(func, args, kwargs)
            return output
        met = self._met(tensors)
        origin = _origin(met)
        written = list(_tensors(output if isinstance(output, list | tuple) else (output,)))
        changed = [args[0]] if known.mutates and args and isinstance(args[0], Tensor) else []
        if origin:
            self.mark(origin, *written, *changed)
        if origin == "input":
            self._count(known, args, kwargs, output, written, weighed="gate" in met)
        return output

    def _count(
        self,
        known: _Known,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: Any,
        written: Sequence[Tensor],
        *,
        weighed: bool,
    ) -> None:
        if known.writes and not (args and output is args[0]):
            self.written += sum(tensor.numel() for tensor in written)
        if known.unknown:
            self.uncounted[known.name] = None
        if known.rule is not None and not weighed:  # gates weigh a mean as they scale a term, which is free
            arguments = args if not kwargs else _positional(known.name, args, kwargs)
            self.units[self._unit(known.name)] = known.rule(arguments, output)

    def _unit(self, name: str) -> Unit:
        path = self._running[-1]
        call = self._calls[path, name] = self._calls.get((path, name), -1) + 1
        return path, name, call


def _origin(met: set[str]) -> str:
    """What an output is made of: `input`, `gate`, `weight`, `buffer`, or nothing but constants."""
    if "input" in met:
        return "input"
    if "gate" in met:
        return "weight" if "weight" in met else "gate"
    kept = "weight" if "weight" in met else "buffer" if "buffer" in met else ""
    return "input" if kept and "" in met else kept  # a state of zeros that meets a weight is work as any other


def _executed(func: Any, known: _Known, args: tuple[Any, ...], kwargs: Mapping[str, Any], mixed: bool) -> Any:
    """What torch answers; where tensors with and without values meet, none of them has any."""
    if mixed:
        output = func(*_shapes(args), **_shapes(dict(kwargs)))
        kept = known.mutates and isinstance(args[0], Tensor) and not args[0].is_meta
        return args[0] if kept else output
    if known.name == "_to_copy" and args[0].is_meta:
        return func(*args, **{**kwargs, "device": torch.device("meta")})
    return func(*args, **kwargs)


def _positional(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Arguments in the order that rules know; only a bias is ever named here."""
    return (*args, kwargs["bias"]) if name == "linear" and "bias" in kwargs and len(args) == 2 else args


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _shapes(value: Any) -> Any:
    """The same arguments with tensors without values."""
    match value:
        case Tensor():
            return value if value.is_meta else torch.empty_like(value, device="meta")
        case dict():
            return {name: torch.device("meta") if name == "device" else _shapes(v) for name, v in value.items()}
        case list() | tuple():
            return type(value)(_shapes(v) for v in value)
    return value
