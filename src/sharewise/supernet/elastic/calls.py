"""Calls of a model's code that sum over a dimension, told apart by the module that makes them and by their number.

A graph knows operations, and a run knows calls. While a model is traced, every watched call marks its operand in the
graph with a key; when it runs under gates, the same key says by which survival the sum is weighed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.binding import Bindings
from sharewise.supernet.elastic.weighing import FORMULAS, Scale

__all__ = ["MARK", "Form", "Frames", "Marking", "Reduction", "Weighing", "enter_frames", "form_of", "framed"]

MARK = "sharewise::mark"


@torch.library.custom_op(MARK, mutates_args=())
def _mark(x: Tensor, key: str, operand: int) -> Tensor:
    """A copy of a tensor that carries the key of the call that reads it; it exists in graphs alone."""
    return x.clone()


@_mark.register_fake
def _(x: Tensor, key: str, operand: int) -> Tensor:
    return torch.empty_like(x)


Form = tuple[tuple[int, ...], str]
"""The ranks of the operands of a call, and its other arguments in words."""


@final
@dataclass(frozen=True)
class Reduction:
    """A call that sums over searched dimensions.

    Args:
        operation: of the graph, which names the formula where one function of torch serves several.
        scales: operand, axis and dimension of what is weighed.
        options: of the operation, by name.
        calls: how many calls of the same function a run of its module may make.
        forms: what the call may look like; see `form_of`.
    """

    operation: str
    scales: tuple[tuple[int, int, int], ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    calls: frozenset[int] = frozenset()
    forms: frozenset[Form] = frozenset()


@final
class Frames:
    """The modules that are running, each with the number of watched calls that it made.

    Example:
        >>> frames = Frames()
        >>> frames.enter("norm")
        >>> frames.key("mean"), frames.key("mean")
        ('norm:mean:0', 'norm:mean:1')
    """

    def __init__(self) -> None:
        self._stack: list[tuple[str, Counter[str], bool]] = []
        self.runs: dict[str, list[Counter[str]]] = {}

    def enter(self, path: str) -> None:
        """A module starts."""
        self._stack.append((path, Counter(), torch.is_grad_enabled()))

    def leave(self) -> None:
        """The innermost module ends; how many calls it made is kept, of different runs once."""
        path, counted, _ = self._stack.pop()
        known = self.runs.setdefault(path, [])
        if counted not in known:
            known.append(counted)

    @property
    def depth(self) -> int:
        """How many modules are running."""
        return len(self._stack)

    @property
    def counted(self) -> Counter[str]:
        """How many watched calls of each function the innermost module made so far."""
        return self._stack[-1][1]

    def key(self, name: str) -> str | None:
        """The key of the next call of a function; none outside of modules and where gradients are switched off within
        one, as in the power iterations of a spectral norm, which a model in evaluation mode leaves out."""
        if not self._stack:
            return None
        path, counted, gradients = self._stack[-1]
        if torch.is_grad_enabled() != gradients:
            return None
        counted[name] += 1
        return f"{path}:{name}:{counted[name] - 1}"


@contextmanager
def enter_frames(model: nn.Module) -> Iterator[Frames]:
    """A context in which all modules of a model enter frames when they run."""
    frames, handles = Frames(), []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda layer, arguments, path=path: frames.enter(path)))
        handles.append(module.register_forward_hook(lambda layer, arguments, output: frames.leave()))
    try:
        yield frames
    finally:
        for handle in handles:
            handle.remove()


def framed(
    bindings: Bindings,
    model: nn.Module,
    callers: frozenset[str],
    reductions: Mapping[str, Reduction],
    survival: Callable[[int], Tensor | None],
) -> None:
    """Let the modules that make watched calls weigh their sums, for one call of the model.

    Every module counts its own calls alone, so that a backward pass can run any of them again by itself.

    Args:
        bindings: take the changed forward methods.
        model: whose modules they are.
        callers: paths of all modules that make watched calls.
        reductions: by key.
        survival: of a dimension, `None` within a slice.
    """
    frames = Frames()
    weighing = {key.partition(":")[0] for key in reductions}

    def run(path: str, forward: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        frames.enter(path)
        try:
            if path not in weighing:
                return forward(*args, **kwargs)
            with Weighing(frames, reductions, survival) as weighs:
                outputs = forward(*args, **kwargs)
            weighs.require_known(path)
            return outputs
        finally:
            frames.leave()

    if weighing:
        for path in callers:
            module = model.get_submodule(path)
            bindings.set(module, "forward", partial(run, path, module.forward))


def _operands(name: str, args: tuple[Any, ...]) -> list[Tensor]:
    """The tensors of a call that may be weighed: all of an einsum, else the first."""
    if name != "einsum":
        return [args[0]] if args and isinstance(args[0], Tensor) else []
    rest = args[1:]
    return list(rest[0]) if len(rest) == 1 and isinstance(rest[0], tuple | list) else list(rest)


def _replaced(name: str, args: tuple[Any, ...], operands: list[Tensor]) -> tuple[Any, ...]:
    return (args[0], *operands) if name == "einsum" else (*operands, *args[1:])


def _positional(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The first argument by position, however it was given."""
    for word in () if args else ("input", "self"):
        if word in kwargs:
            return (kwargs[word],), {name: value for name, value in kwargs.items() if name != word}
    return args, kwargs


_OF_AXES = frozenset(("sum", "mean", "var", "std", "norm", "linalg_vector_norm", "normalize", "softmax"))
"""Functions whose other arguments say what is summed over, and hold no sizes."""


def form_of(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Form:
    """What tells one call of a function from another: the ranks of its operands, and over which axes it runs.

    Args:
        name: of the function.
        args: its first argument among them.
        kwargs: the others.
    """
    ranks = tuple(x.dim() for x in _operands(name, args) if isinstance(x, Tensor))
    words = f"{args[1:]}, {kwargs.get('dim', kwargs.get('axis'))}" if name in _OF_AXES else ""
    return ranks, words


@final
class Marking(TorchFunctionMode):
    """Marks the operands of watched calls while a model is traced.

    Args:
        frames: of the modules that run.
    """

    def __init__(self, frames: Frames) -> None:
        super().__init__()
        self.frames = frames
        self.callers: set[str] = set()
        self.forms: dict[str, set[Form]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        key = self.frames.key(name) if name in FORMULAS else None
        if key is None:
            return func(*args, **kwargs)
        self.callers.add(key.split(":")[0])
        args, kwargs = _positional(args, kwargs)
        self.forms.setdefault(key, set()).add(form_of(name, args, kwargs))
        operands = [_mark(x, key, i) for i, x in enumerate(_operands(name, args))]
        return func(*(_replaced(name, args, operands) if operands else args), **kwargs)


@final
class Weighing(TorchFunctionMode):
    """Weighs the sums of a model's code by the survival of what they sum over.

    Args:
        frames: of the modules that run; the innermost one makes the calls that are weighed.
        reductions: by key.
        survival: of a dimension, `None` within a slice.
    """

    def __init__(
        self, frames: Frames, reductions: Mapping[str, Reduction], survival: Callable[[int], Tensor | None]
    ) -> None:
        super().__init__()
        self.frames, self.reductions, self.survival = frames, reductions, survival
        self.depth = frames.depth
        self._weighed, self._other = False, False

    def require_known(self, path: str) -> None:
        """Refuse a run that weighed something, though its calls are not those that were traced.

        Raises:
            ConfigurationError: naming the module.
        """
        counted = self.frames.counted
        own = {key.split(":")[1]: r for key, r in self.reductions.items() if key.split(":")[0] == path}
        if self._weighed and (self._other or any(counted[name] not in r.calls for name, r in own.items())):
            raise ConfigurationError(
                f"{path or 'the model'!r} sums over searched dimensions by other calls of {', '.join(own)} than when "
                "it was traced in evaluation mode, so that none can be told apart; let it make the same calls in "
                "training and for all inputs, or move the others into a module of their own"
            )

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        mine = name in FORMULAS and self.frames.depth == self.depth
        key = self.frames.key(name) if mine else None
        reduction = None if key is None else self.reductions.get(key)
        if reduction is None:
            return func(*args, **kwargs)
        found = [(operand, axis, self.survival(root)) for operand, axis, root in reduction.scales]
        scales = [Scale(operand, axis, s) for operand, axis, s in found if s is not None]
        if not scales:
            return func(*args, **kwargs)
        args, kwargs = _positional(args, kwargs)
        operands = _operands(name, args)
        self._weighed = True
        if form_of(name, args, kwargs) not in reduction.forms:
            self._other = True
            return func(*args, **kwargs)
        return FORMULAS[name](
            lambda changed: func(*_replaced(name, args, changed), **kwargs),
            operands,
            scales,
            reduction.options,
            (args[1:], kwargs),
        )
