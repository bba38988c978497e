"""Capture: a small network keeps a graphics processor waiting for its launches, so they are all launched at once.

What one call of the network does, and what its backward pass does, are written down as one CUDA graph each, on tensors
that stay where they are; a call copies its inputs and gates there and replays. The kernels are those of the plain
network, in the same order, so that bits do not change. The loss, penalties, clipping and the optimiser stay outside.

A graph belongs to one way of calling the network: sizes of a batch, options that are executed, norms that track
statistics or do not, and whether gradients of weights are asked for. Where every step executes the same options, a
search has two. Where paths are drawn, a pattern of options is captured when it comes for the third time, and gives way
to one that comes twice as often.
"""

from __future__ import annotations

import random
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.utils import _pytree as pytree

from sharewise.engine.compilation import Compiled
from sharewise.engine.program import drawing_aside, first_line, key_of, require_program
from sharewise.errors import ConfigurationError
from sharewise.supernet import Gates, Supernet, norms
from sharewise.supernet.recomputation import once

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["MOST", "OFTEN", "Captured", "Passes", "Record", "Recorded", "cuda_graphs", "require_capturable"]

MOST = 16
"""Patterns of options that are held at once."""

OFTEN = 3
"""Times that a drawn pattern is met before it is captured, which takes about five steps."""

_REMEMBERED = 256
"""Patterns that are not held whose number of calls is known."""

_WARM = 3
"""Passes before a capture, in which libraries choose their kernels and make their workspaces."""

_ADVICE = "leave capture out"

_Network = Callable[[Any, Gates], Any]


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
    """Refuse, before a run begins, what is known not to be captured.

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
        supernet: whose weights and statistics are used, and which stays as it is.
        compiled: what to record in its place.
        often: calls of a kind before it is recorded, at least 1.
        record: by CUDA graphs if `None`.
    """

    def __init__(
        self,
        supernet: Supernet,
        compiled: Compiled | None = None,
        *,
        often: int = OFTEN,
        record: Record | None = None,
    ) -> None:
        self.supernet = supernet
        self._plain: _Network = supernet if compiled is None else compiled
        self._plain_fixed: _Network = supernet if compiled is None else compiled.fixed
        self._often, self._record = often, record
        self._norms, self._weights = norms(supernet), _Weights(dict(supernet.named_parameters()))
        self._calls: OrderedDict[Hashable, int] = OrderedDict()  # of patterns that are not held
        self._counts: dict[Hashable, int] = {}  # of those that are
        self._programs: dict[Hashable, _Program] = {}
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
        return self._called(self._plain, inputs, gates, moving=True)

    def fixed(self, inputs: Any, gates: Gates) -> Any:
        """The outputs of the network, where no gradient of its weights will be asked for."""
        return self._called(self._plain_fixed, inputs, gates, moving=False)

    def _called(self, network: _Network, inputs: Any, gates: Gates, *, moving: bool) -> Any:
        if not torch.is_grad_enabled() or self._busy:
            return network(inputs, gates)
        key = moving, key_of(self._norms, self.supernet.training, inputs, gates)
        if not self._held(key):
            return network(inputs, gates)
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = self._made(network, inputs, gates, moving)
        outputs, call = program(inputs, gates, self._answered)
        self._awaited = None if call is None else weakref.ref(call)
        return outputs

    @property
    def _busy(self) -> bool:
        """Whether a replay now would overwrite what a backward pass still needs."""
        return self._awaited is not None and self._awaited() is not None

    def _answered(self) -> None:
        self._awaited = None

    def _held(self, key: Hashable) -> bool:
        """Whether a pattern is held, or shall be; for one that comes twice as often another one is let go."""
        if key in self._counts:
            self._counts[key] += 1
            return True
        count = self._calls[key] = self._calls.pop(key, 0) + 1
        if len(self._calls) > _REMEMBERED:
            self._calls.popitem(last=False)
        full = len(self._counts) >= MOST
        stale = min(self._counts, key=self._counts.__getitem__) if full else None
        if count < (self._often if stale is None else 2 * self._counts[stale]):
            return False
        if stale is not None:
            del self._counts[stale]
            self._programs.pop(stale, None)
        self._counts[key] = self._calls.pop(key)
        return True

    def _made(self, network: _Network, inputs: Any, gates: Gates, moving: bool) -> _Program:
        weights = self._weights
        weights.spare()
        if self._record is None:  # intermediate results of all share their memory: of two passes one is over
            self._record = cuda_graphs(next(self.supernet.parameters()).device)
        with drawing_aside(weights.own.values()), _buffers_kept(self.supernet):
            return _Program(_Whole(network, self.supernet), inputs, gates, weights, moving, self._record)


@contextmanager
def _buffers_kept(supernet: Supernet) -> Iterator[None]:
    """Afterwards buffers hold what they held, and none has been replaced, which no graph would do again."""
    before = dict(supernet.named_buffers())
    values = {name: buffer.clone() for name, buffer in before.items()}
    try:
        yield
    finally:
        replaced = [name for name, buffer in supernet.named_buffers() if buffer is not before.get(name)]
        for name in replaced:
            owner, _, local = name.rpartition(".")
            supernet.get_submodule(owner)._buffers[local] = before.get(name)
        for name, buffer in before.items():
            buffer.copy_(values[name])
    if replaced:
        raise ConfigurationError(
            f"the network assigns its buffer {replaced[0]!r}, which a CUDA graph does not; change it in place (copy_), "
            f"or {_ADVICE}"
        )


@final
class _Whole(nn.Module):
    """A supernet that can be called at other tensors than its own, also where what is compiled of it is called."""

    def __init__(self, network: _Network, supernet: Supernet) -> None:
        super().__init__()
        self.supernet, self.called = supernet, (network,)  # a tuple, since it may be the supernet

    def forward(self, inputs: Any, gates: Gates) -> Any:
        with once(f"cells are computed a second time (recompute), which a CUDA graph does not do; {_ADVICE}, or that"):
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
        self._inputs = pytree.tree_unflatten(own, layout)
        self._network, self._gates, self.weights = network, held, weights
        self._seen = weights.seen(moving)
        self._moved = {name: weight for name, weight in self._seen.items() if weight.requires_grad}
        self.sources = [gate.weights for gate in held.values() if gate.weights.requires_grad]
        self._form: tuple[list[Any], Any] | None = None  # of the outputs: `None` where a tensor is, and the layout
        self.slopes: list[Tensor] = []  # of those outputs that have a gradient
        self.reach: list[list[bool]] = []  # by such an output: what it depends on
        self.recorded = record(self)

    def forward(self) -> list[Tensor]:
        """See `Passes`."""
        torch.clear_autocast_cache()  # what was cast elsewhere is no part of this pass
        weights = {f"supernet.{name}": weight for name, weight in self._seen.items()}
        leaves, layout = pytree.tree_flatten(functional_call(self._network, weights, (self._inputs, self._gates)))
        torch.clear_autocast_cache()
        if strange := [leaf for leaf in leaves if not (leaf is None or isinstance(leaf, Tensor))]:
            raise ConfigurationError(
                f"the network answers more than tensors, such as a {type(strange[0]).__name__}, which a CUDA graph "
                f"does not hold; {_ADVICE}"
            )
        self._form = [leaf is None for leaf in leaves], layout
        return [leaf for leaf in leaves if leaf is not None]

    def backward(self, outputs: list[Tensor]) -> list[Tensor | None]:
        """See `Passes`."""
        moved, wanted = [output for output in outputs if output.requires_grad], [*self.sources, *self._moved.values()]
        if not moved or not wanted:
            return [None] * len(wanted)
        if not self.slopes:
            self.slopes = [torch.ones_like(output) for output in moved]
            self.reach = [
                [g is not None for g in torch.autograd.grad(o, wanted, s, retain_graph=True, allow_unused=True)]
                for o, s in zip(moved, self.slopes, strict=True)
            ]
        found = torch.autograd.grad(moved, wanted, self.slopes, allow_unused=True)
        count = len(self.sources)
        return [*found[:count], *self.weights.placed(dict(zip(self._moved, found[count:], strict=True)))]

    def __call__(self, inputs: Any, gates: Gates, answered: Callable[[], None]) -> tuple[Any, Any]:
        """The outputs for other values, and the node of their graph, of which `answered` is called when it is run."""
        given = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
        given += [gate.weights for gate in gates.values()]
        wanted = [gate.weights for gate in gates.values() if gate.weights.requires_grad]
        wanted += [self.weights.own[name] for name in self._moved]
        with torch.no_grad():
            for place, value in zip(self._placed, given, strict=True):
                place.copy_(value, non_blocking=True)
        outputs = iter(_Replayed.apply(self, answered, *wanted))  # type: ignore[no-untyped-call]
        assert self._form is not None
        absent, layout = self._form
        found = [None if none else next(outputs) for none in absent]
        node = next((output.grad_fn for output in found if output is not None and output.grad_fn is not None), None)
        return pytree.tree_unflatten(found, layout), node


@final
class _Replayed(torch.autograd.Function):
    """Recorded passes, as a function of the weights of gates and of the network.

    The gradients of weights are for `backward`, which adds them up at once; the next pass overwrites them.
    """

    @staticmethod
    def forward(ctx: Any, program: _Program, answered: Callable[[], None], *wanted: Tensor) -> tuple[Tensor, ...]:
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
        asked = [reach for reach, gradient in zip(program.reach, moved, strict=True) if gradient is not None]
        found = [
            gradient if any(reached) else None
            for gradient, *reached in zip(program.recorded.gradients, *asked, strict=True)
        ]
        count = len(program.sources)
        # Those of gates are few, and whoever asks for them keeps them; those of weights are taken up at once.
        gates = [None if g is None else g.clone() for g in found[:count]]
        return None, None, *gates, *(None if g is None else g.detach() for g in found[count:])


def cuda_graphs(device: torch.device) -> Record:
    """Record passes as CUDA graphs, whose intermediate results share their memory.

    Args:
        device: of the network, which need not be the current one.
    """
    with torch.cuda.device(device):
        pool = torch.cuda.graph_pool_handle()

    def record(passes: Passes) -> Recorded:
        host = torch.get_rng_state(), random.getstate()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM):
                passes.backward(passes.forward())
        torch.cuda.current_stream().wait_stream(side)
        if not torch.equal(host[0], torch.get_rng_state()) or host[1] != random.getstate():
            raise ConfigurationError(
                f"the network draws random numbers on the host, which a CUDA graph would never draw again; {_ADVICE}"
            )
        forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        try:
            # Threads that read ahead may use the device meanwhile. A capture that fails leaves its stream entered.
            with torch.cuda.stream(torch.cuda.current_stream()):
                with torch.cuda.graph(forward, pool=pool, capture_error_mode="thread_local"):
                    outputs = passes.forward()
                with torch.cuda.graph(backward, pool=pool, capture_error_mode="thread_local"):
                    gradients = passes.backward(outputs)
        except RuntimeError as error:
            raise ConfigurationError(
                f"the network cannot be captured as a CUDA graph: {first_line(error)}; {_ADVICE}"
            ) from error
        places = [output.detach().requires_grad_(output.requires_grad) for output in outputs]
        return Recorded(places, gradients, _on(device, forward.replay), _on(device, backward.replay))

    def recorded(passes: Passes) -> Recorded:
        with torch.cuda.device(device):
            return record(passes)

    return recorded


def _on(device: torch.device, replay: Callable[[], None]) -> Callable[[], None]:
    def replayed() -> None:
        with torch.cuda.device(device):
            replay()

    return replayed
