"""Gates for a loop of one's own: bound to a block of code, so that a supernet is called as any other module.

This is the only place where gates are not passed. A block belongs to its thread, nests, and ends however its code ends;
the loop of sharewise never opens one. What a backward pass runs again (activation checkpointing) runs under the gates
of its forward pass, which the tensors that it is called with tell, whatever blocks are open by then.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from sharewise.errors import ConfigurationError
from sharewise.supernet.gate import Gates

__all__ = ["block", "called_in_block", "follow_again", "host_rng", "in_present_call"]

_BLOCKS: ContextVar[Mapping[int, Gates]] = ContextVar("gates of open blocks by supernet", default=MappingProxyType({}))
_PRESENT: ContextVar[_Call | None] = ContextVar("the call that is being executed", default=None)


class Rebound(Protocol):
    """What was put in place for a call, and can be put there once more."""

    def redo(self) -> None:
        """Put it in place again."""

    def undo(self) -> None:
        """Take it out again."""


def host_rng(generator: torch.Generator) -> np.random.Generator:
    """A numpy generator seeded by the next number of a torch generator, so that one stream drives both."""
    return np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))


@contextmanager
def block(supernet: nn.Module, gates: Gates) -> Iterator[None]:
    """A block in which a supernet that is called without gates runs under these.

    Args:
        supernet: called in the block.
        gates: of every decision.
    """
    token = _BLOCKS.set({**_BLOCKS.get(), id(supernet): gates})
    try:
        yield
    finally:
        _BLOCKS.reset(token)


def in_present_call() -> Callable[[], AbstractContextManager[None]]:
    """Makes blocks that belong to the call that is being executed now, for what is executed again after it."""
    call = _PRESENT.get()

    @contextmanager
    def present() -> Iterator[None]:
        token = _PRESENT.set(call)
        try:
            yield
        finally:
            _PRESENT.reset(token)

    return present


@final
class _Call:
    """One call of a supernet in a block; it lives as long as the graph of its outputs.

    Args:
        supernet: that was called.
        gates: of the block.
    """

    def __init__(self, supernet: nn.Module, gates: Gates) -> None:
        self.supernet, self.gates = supernet, gates
        self.bindings: Rebound | None = None


@final
class _Calls:
    """Which call a tensor was an input of, anywhere within it. A tensor that two living calls share tells nothing."""

    def __init__(self) -> None:
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._lock = threading.Lock()  # backward passes have threads of their own

    def note(self, call: _Call, tensors: Iterable[Tensor]) -> None:
        """These were inputs within the call."""
        with self._lock:
            for tensor in tensors:
                others = [known for known in self._of(tensor) if known() not in (None, call)]
                self._known[tensor] = (*others, weakref.ref(call))

    def find(self, tensors: Iterable[Tensor]) -> _Call | None:
        """The one call that these tell, if they do."""
        with self._lock:
            alive = [[c for known in self._of(tensor) if (c := known()) is not None] for tensor in tensors]
        told = {id(calls[0]): calls[0] for calls in alive if len(calls) == 1}
        return next(iter(told.values())) if len(told) == 1 else None

    def _of(self, tensor: Tensor) -> tuple[weakref.ref[_Call], ...]:
        known: tuple[weakref.ref[_Call], ...] = self._known.get(tensor, ())  # type: ignore[no-untyped-call]
        return known


_CALLS = _Calls()


def called_in_block(supernet: nn.Module, inputs: Any, run: Callable[[Any, Gates], Any]) -> Any:
    """Call a supernet under the gates of its block, or, within a backward pass, under those of the forward pass.

    Args:
        supernet: that was called without gates.
        inputs: that it was called with.
        run: executes it.

    Raises:
        ConfigurationError: outside of a block, or where a backward pass computes again what it cannot tell.
    """
    call = _call_of(supernet, inputs)
    _CALLS.note(call, _tensors(inputs))
    token = _PRESENT.set(call)
    try:
        with block(supernet, call.gates):
            outputs = run(_aliases(inputs), call.gates)
    finally:
        _PRESENT.reset(token)
    for output in _tensors(outputs):
        if output.grad_fn is not None:
            metadata: Any = output.grad_fn.metadata  # a dictionary, which torch's own types call a method
            metadata.setdefault("sharewise", []).append(call)
    return outputs


def _call_of(supernet: nn.Module, inputs: Any) -> _Call:
    if _in_backward():
        again = _CALLS.find(_tensors(inputs))
        if again is None or again.supernet is not supernet:
            raise _untold(type(supernet).__name__)
        return again
    gates = _BLOCKS.get().get(id(supernet))
    if gates is None:
        raise ConfigurationError(
            f"{type(supernet).__name__} was called without gates; pass them, or call it in a block of its own: "
            "with supernet.sample(generator): …"
        )
    return _Call(supernet, gates)


def follow_again(model: nn.Module, bindings: Rebound) -> None:
    """Have modules that a backward pass runs again find what is put in place now, for the call of a block.

    Outside of a call in a block nothing is done.

    Args:
        model: whose modules are meant.
        bindings: that are in place.
    """
    call = _PRESENT.get()
    if call is not None:
        if call.bindings is None:
            _HOOKS.serve(model, call)
        call.bindings = bindings


class _Entered(NamedTuple):
    module: nn.Module
    bindings: Rebound
    token: Token[_Call | None]


@final
class _Hooks:
    """Hooks on all modules of the process, from the first call that needs them until the last one is forgotten."""

    def __init__(self) -> None:
        self._modules: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._handles: list[RemovableHandle] = []
        self._calls = 0
        self._lock = threading.RLock()  # the end of a call may come in the middle of the beginning of another
        self._entered = threading.local()

    def serve(self, model: nn.Module, call: _Call) -> None:
        """Listen to the modules of a model while a call lives."""
        with self._lock:
            if model not in self._modules:
                self._modules.update(model.modules())
            if not self._calls:
                self._handles = [
                    register_module_forward_pre_hook(self._enter),
                    register_module_forward_hook(self._leave, always_call=True),
                ]
            self._calls += 1
        weakref.finalize(call, self._forget)

    def _forget(self) -> None:
        with self._lock:
            self._calls -= 1
            if not self._calls:
                for handle in self._handles:
                    handle.remove()

    def _enter(self, module: nn.Module, arguments: object) -> None:
        call = _PRESENT.get()
        if call is not None:
            _CALLS.note(call, _tensors(arguments))
        elif _in_backward() and module in self._modules:
            call = _CALLS.find(_tensors(arguments))
            if call is None or call.bindings is None:
                raise _untold(type(module).__name__)
            call.bindings.redo()
            self._stack.append(_Entered(module, call.bindings, _PRESENT.set(call)))

    def _leave(self, module: nn.Module, arguments: object, outputs: object) -> None:
        if self._stack and self._stack[-1].module is module:
            _, bindings, token = self._stack.pop()
            _PRESENT.reset(token)
            bindings.undo()

    @property
    def _stack(self) -> list[_Entered]:
        if not hasattr(self._entered, "stack"):
            self._entered.stack = []
        stack: list[_Entered] = self._entered.stack
        return stack


_HOOKS = _Hooks()


def _untold(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"a backward pass computes {name} again, and its inputs do not tell under which gates: checkpoint modules "
        "rather than functions, with use_reentrant=False, and give two calls on the same batch a copy each (x.clone())"
    )


def _in_backward() -> bool:
    return bool(torch._C._current_graph_task_id() >= 0)


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)


def _aliases(value: Any) -> Any:
    """The same values in tensors of their own, so that two calls on one batch can be told apart."""
    if isinstance(value, Tensor):
        return value.view_as(value)
    if isinstance(value, Mapping):
        return {key: _aliases(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_aliases(inner) for inner in value] if isinstance(value, list) else tuple(map(_aliases, value))
    return value
