"""Capture: a network that small keeps a graphics processor waiting for its launches, so they are launched at once.

What one call of the network does, and what its backward pass does, are written down as one CUDA graph each, on tensors
that stay where they are; a call copies its inputs and gates there and replays. The kernels are those of the plain
network, in the same order, so that bits do not change. The loss, penalties, clipping and the optimiser stay outside.

A graph belongs to one way of calling the network: sizes of a batch, options that are executed, norms that track
statistics or do not, and whether gradients of weights are asked for. Where every step executes the same options, a
search has two. Where paths are drawn, a pattern of options is captured when it comes for the third time, and the least
recently used ones are forgotten.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.utils import _pytree as pytree

from sharewise.engine.program import key_of, require_program
from sharewise.errors import ConfigurationError
from sharewise.supernet import Gates, Supernet, norms
from sharewise.supernet.recomputation import once

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Captured", "Passes", "Record", "Recorded", "cuda_graphs", "require_capturable"]

MOST = 16
"""Patterns of options that are held at once."""

OFTEN = 3
"""Times that a drawn pattern is met before it is captured, which takes about five steps."""

_REMEMBERED = 4096
"""Patterns whose number of calls is known."""

_WARM = 3
"""Passes before a capture, in which libraries choose their kernels and make their workspaces."""

_ADVICE = "leave capture out"


class Passes(Protocol):
    """What is to be recorded."""

    def forward(self) -> list[Tensor]:
        """Run the network; the outputs carry their graph."""

    def backward(self, outputs: list[Tensor]) -> list[Tensor | None]:
        """The gradients of what is asked for, through that graph."""


class Recorded(NamedTuple):
    """Two passes that can be executed again.

    Args:
        outputs: where each forward pass leaves them.
        gradients: where each backward pass leaves them; `None` for what had no effect.
        forward: executes the forward pass.
        backward: executes the backward pass of the last forward pass.
    """

    outputs: list[Tensor]
    gradients: list[Tensor | None]
    forward: Callable[[], None]
    backward: Callable[[], None]


Record = Callable[[Passes], Recorded]
"""How passes are recorded: as CUDA graphs, or by a stand-in that tests can run anywhere."""


def require_capturable(state: SearchState) -> None:
    """Refuse what cannot be captured, before a run begins.

    Args:
        state: at step 0.

    Raises:
        ConfigurationError: naming what stands against it.
    """
    require_program(state, "capture")
    if state.numerics.device.type != "cuda":
        raise ConfigurationError(
            f"capture replays steps as CUDA graphs, and this run computes on {state.numerics.device}; {_ADVICE}"
        )


@final
class Captured:
    """A network that is called as ever, and replays recorded passes.

    Args:
        network: the supernet, or what is compiled of it.
        supernet: whose weights and statistics it uses, and which stays as it is.
        often: calls of a kind before it is recorded, at least 1.
        record: by CUDA graphs if `None`.
    """

    def __init__(
        self,
        network: Callable[[Any, Gates], Any],
        supernet: Supernet,
        *,
        often: int = OFTEN,
        record: Record | None = None,
    ) -> None:
        self.network, self.supernet = network, supernet
        self._often, self._record = often, record
        self._norms = norms(supernet)
        self._weights = _Weights(dict(supernet.named_parameters()))
        self._calls: OrderedDict[Hashable, int] = OrderedDict()
        self._programs: OrderedDict[Hashable, _Program] = OrderedDict()
        self._awaited: weakref.ref[Any] | None = None  # the last forward pass whose backward pass has not come

    @property
    def patterns(self) -> int:
        """How many are held."""
        return len(self._programs)

    def __call__(self, inputs: Any, gates: Gates) -> Any:
        """The outputs of the network, with the graph of its weights.

        Raises:
            ConfigurationError: when the network cannot be captured.
        """
        return self._called(inputs, gates, moving=True)

    def fixed(self, inputs: Any, gates: Gates) -> Any:
        """The outputs of the network, where no gradient of its weights will be asked for."""
        return self._called(inputs, gates, moving=False)

    def _called(self, inputs: Any, gates: Gates, *, moving: bool) -> Any:
        if not torch.is_grad_enabled() or self._busy:
            return self.network(inputs, gates)
        key = moving, key_of(self._norms, self.supernet.training, inputs, gates)
        program = self._programs.get(key)
        if program is None:
            if not self._recurs(key):
                return self.network(inputs, gates)
            program = self._programs[key] = self._made(inputs, gates, moving)
            if len(self._programs) > MOST:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        outputs, call = program(inputs, gates, self._answered)
        self._awaited = None if call is None else weakref.ref(call)
        return outputs

    @property
    def _busy(self) -> bool:
        """Whether a replay now would overwrite what a backward pass still needs."""
        return self._awaited is not None and self._awaited() is not None

    def _answered(self) -> None:
        self._awaited = None

    def _recurs(self, key: Hashable) -> bool:
        count = self._calls[key] = self._calls.pop(key, 0) + 1
        if len(self._calls) > _REMEMBERED:
            self._calls.popitem(last=False)
        return count >= self._often

    def _made(self, inputs: Any, gates: Gates, moving: bool) -> _Program:
        if self._record is None:  # intermediate results of all share their memory: of two passes one is over
            self._record = cuda_graphs(torch.cuda.graph_pool_handle())
        buffers = [(buffer, buffer.clone()) for buffer in self.supernet.buffers()]
        self._weights.spare()
        try:
            with _drawing_aside(self._weights.own.values()):
                whole = _Whole(self.network, self.supernet)
                return _Program(whole, inputs, gates, self._weights, moving, self._record)
        except RuntimeError as error:
            line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ConfigurationError(f"the network cannot be captured as a CUDA graph: {line}; {_ADVICE}") from error
        finally:
            for buffer, value in buffers:
                buffer.copy_(value)


@final
class _Whole(nn.Module):
    """A supernet that can be called at other tensors than its own, also where what is compiled of it is called."""

    def __init__(self, network: Callable[[Any, Gates], Any], supernet: Supernet) -> None:
        super().__init__()
        self.supernet, self.called = supernet, (network,)  # a tuple, since it may be the supernet

    def forward(self, inputs: Any, gates: Gates) -> Any:
        return self.called[0](inputs, gates)


@final
class _Weights:
    """The weights of a network, as all of its recordings see them.

    Their gradients are left in places outside of the memory that recorded passes share, which the next forward pass
    would overwrite: autograd hands the first gradient of a step to `weight.grad` as it is, and adds the others to it.

    Args:
        own: by name.
    """

    def __init__(self, own: Mapping[str, Tensor]) -> None:
        self.own = own
        self._places: dict[str, Tensor] = {}

    def seen(self, moving: bool) -> dict[str, Tensor]:
        """The same memory, and no part of any graph that is still alive.

        Args:
            moving: whether gradients are asked for.
        """
        return {
            name: weight.detach().requires_grad_(moving and weight.requires_grad) for name, weight in self.own.items()
        }

    def placed(self, gradients: Mapping[str, Tensor | None]) -> list[Tensor | None]:
        """Put gradients in their places."""
        found = {name: gradient for name, gradient in gradients.items() if gradient is not None}
        for name in found:
            if name not in self._places:
                self._places[name] = torch.empty_like(self.own[name])
        if found:
            torch._foreach_copy_([self._places[name] for name in found], list(found.values()))
        return [self._places[name] if name in found else None for name in gradients]

    def spare(self) -> None:
        """Keep what earlier passes of a step have left in places that the next one will overwrite."""
        for name, place in self._places.items():
            gradient = self.own[name].grad
            if gradient is not None and gradient.data_ptr() == place.data_ptr():
                self.own[name].grad = gradient.clone()


@final
class _Program:
    """Forward and backward pass of one way of calling a network, on tensors of their own.

    Args:
        network: which is called.
        inputs: of the sizes of all to come.
        gates: with the active options of all to come.
        weights: of the network.
        moving: whether their gradients are asked for.
        record: how.
    """

    def __init__(
        self, network: _Whole, inputs: Any, gates: Gates, weights: _Weights, moving: bool, record: Record
    ) -> None:
        leaves, layout = pytree.tree_flatten(inputs)
        own = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        held = {
            name: replace(gate, weights=gate.weights.detach().clone().requires_grad_(gate.weights.requires_grad))
            for name, gate in gates.items()
        }
        self._placed = [leaf for leaf in own if isinstance(leaf, Tensor)]
        self._placed += [gate.weights for gate in held.values()]
        self.sources = [gate.weights for gate in held.values() if gate.weights.requires_grad]
        self._inputs = pytree.tree_unflatten(own, layout)
        self._network, self._gates, self.weights = network, held, weights
        self._seen = weights.seen(moving)
        self._moved = {name: weight for name, weight in self._seen.items() if weight.requires_grad}
        self.recorded = record(self)

    def forward(self) -> list[Tensor]:
        """See `Passes`."""
        torch.clear_autocast_cache()  # what was cast elsewhere is no part of this pass
        weights = {f"supernet.{name}": weight for name, weight in self._seen.items()}
        with once():
            found = functional_call(self._network, weights, (self._inputs, self._gates))
        outputs, self._layout = pytree.tree_flatten(found)
        torch.clear_autocast_cache()
        if not all(isinstance(output, Tensor) for output in outputs):
            raise RuntimeError("its outputs are not tensors alone")
        return outputs

    def backward(self, outputs: list[Tensor]) -> list[Tensor | None]:
        """See `Passes`; where the gradient of the outputs is put is found at the first time."""
        moved = [output for output in outputs if output.requires_grad]
        if not hasattr(self, "slopes"):
            self.slopes = [torch.ones_like(output) for output in moved]
        wanted = [*self.sources, *self._moved.values()]
        if not moved or not wanted:
            return [None] * len(wanted)
        found = torch.autograd.grad(moved, wanted, self.slopes, allow_unused=True)
        count = len(self.sources)
        return [*found[:count], *self.weights.placed(dict(zip(self._moved, found[count:], strict=True)))]

    def __call__(self, inputs: Any, gates: Gates, answered: Callable[[], None]) -> tuple[Any, Any]:
        """The outputs for other values, and the node of their graph, of which `answered` is called when it is run."""
        given = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
        given += [gate.weights for gate in gates.values()]
        sources = [gate.weights for gate in gates.values() if gate.weights.requires_grad]
        with torch.no_grad():
            for place, value in zip(self._placed, given, strict=True):
                place.copy_(value, non_blocking=True)
        outputs = _Replayed.apply(self, answered, *sources, *(self.weights.own[name] for name in self._moved))  # type: ignore[no-untyped-call]
        node = next((output.grad_fn for output in outputs if output.grad_fn is not None), None)
        return pytree.tree_unflatten(list(outputs), self._layout), node


@final
class _Replayed(torch.autograd.Function):
    """Recorded passes, as a function of the weights of gates and of the network."""

    @staticmethod
    def forward(ctx: Any, program: _Program, answered: Callable[[], None], *sources: Tensor) -> tuple[Tensor, ...]:
        ctx.program, ctx.answered, ctx.over = program, answered, False
        program.recorded.forward()
        outputs = tuple(output.detach().clone() for output in program.recorded.outputs)
        ctx.mark_non_differentiable(
            *(own for own, output in zip(outputs, program.recorded.outputs, strict=True) if not output.requires_grad)
        )
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        program: _Program = ctx.program
        if ctx.over:
            raise RuntimeError("a captured pass is differentiated once: what it kept is gone by then")
        ctx.over = True
        program.weights.spare()
        moved = [g for g, output in zip(gradients, program.recorded.outputs, strict=True) if output.requires_grad]
        for place, gradient in zip(program.slopes, moved, strict=True):
            if gradient is None:
                place.zero_()
            else:
                place.copy_(gradient, non_blocking=True)
        program.recorded.backward()
        ctx.answered()
        count = len(program.sources)
        found = program.recorded.gradients
        # Those of gates are few, and whoever asks for them keeps them; those of weights are taken up at once.
        gates = [None if g is None else g.clone() for g in found[:count]]
        return None, None, *gates, *(None if g is None else g.detach() for g in found[count:])


def cuda_graphs(pool: Any) -> Record:
    """Record passes as CUDA graphs.

    Args:
        pool: of memory, as `torch.cuda.graph_pool_handle` names it.
    """

    def record(passes: Passes) -> Recorded:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM):
                passes.backward(passes.forward())
        torch.cuda.current_stream().wait_stream(side)
        forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # Threads that read ahead may use the device meanwhile.
        with torch.cuda.graph(forward, pool=pool, capture_error_mode="thread_local"):
            outputs = passes.forward()
        with torch.cuda.graph(backward, pool=pool, capture_error_mode="thread_local"):
            gradients = passes.backward(outputs)
        places = [output.detach().requires_grad_(output.requires_grad) for output in outputs]
        return Recorded(places, gradients, forward.replay, backward.replay)

    return record


@contextmanager
def _drawing_aside(weights: Iterable[Tensor]) -> Iterator[None]:
    """Afterwards random numbers go on as if nothing had been drawn."""
    devices = sorted({weight.device.index for weight in weights if weight.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        yield
