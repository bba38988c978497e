"""Compilation: where every step executes the same options, the supernet is one program, and `torch.compile` takes it.

The program is written down once by running the network (`make_fx`): whatever code makes the network, the gates become
numbers, and what remains are operations on tensors, which the compiler fuses and differentiates. Another program is
written for each way in which the network is called: sizes of batches, norms that track statistics or do not, options
that are masked by then. Shapes are those of the batch and no symbols, so that what is compiled does not depend on what
was compiled before: a resumed run has the bits of one that was left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sharewise.engine.program import drawing_aside, first_line, key_of, require_program
from sharewise.errors import ConfigurationError
from sharewise.supernet import Gate, Gates, Supernet, norms
from sharewise.supernet.recomputation import kept

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Compiled", "require_compilable"]

HOW: Mapping[str, Any] = {"backend": "inductor", "options": {"fallback_random": True}}
"""What `torch.compile` is given: random numbers are drawn as ever, so that dropout drops what it would."""

_ADVICE = "leave compile out"

_Program = Callable[[Sequence[Tensor], Sequence[Tensor], Any, Sequence[Tensor]], Any]
"""Outputs of parameters, buffers, inputs and the weights of gates."""


def require_compilable(state: SearchState) -> None:
    """Refuse what is not one program, before a run begins, and a machine without a compiler.

    Args:
        state: at step 0.

    Raises:
        ConfigurationError: naming what changes from step to step, and what would work.
    """
    distribution, recipe = state.distribution, state.recipe
    if not distribution.constant:
        raise ConfigurationError(
            f"method {recipe.name!r} executes other options in every step ({recipe.distribution.describe()}), and what "
            "is compiled is one network; compile serves trainings, and methods that always mix all options, such as "
            f"darts, gaea-erm and drnas; {_ADVICE}"
        )
    require_program(state, "compile")
    missing = no_compiler() if state.numerics.device.type == "cpu" else None
    if missing is not None:
        raise ConfigurationError(
            f"compile needs a C++ compiler such as g++, and there is none here ({missing}); install one, or {_ADVICE}"
        )


def no_compiler() -> str | None:
    """Why code for the CPU cannot be compiled here, or `None`; asked of the one who will compile."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except RuntimeError as error:
        return first_line(error)
    return None


@final
class Compiled:
    """A supernet that is called as ever, and executes compiled programs with its own weights and statistics.

    Args:
        supernet: which stays as it is: nothing in it or its state tells that it was compiled.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self._norms = norms(supernet)
        self._programs: dict[Hashable, _Program] = {}

    def __call__(self, inputs: Any, gates: Gates) -> Any:
        """The outputs of the supernet.

        Raises:
            ConfigurationError: when the network is no program of its inputs, or its program cannot be compiled.
        """
        return self._called([*self.supernet.parameters()], inputs, gates)

    def fixed(self, inputs: Any, gates: Gates) -> Any:
        """The outputs of the supernet, where no gradient of its weights will be asked for: none is computed."""
        return self._called([parameter.detach() for parameter in self.supernet.parameters()], inputs, gates)

    def _called(self, parameters: Sequence[Tensor], inputs: Any, gates: Gates) -> Any:
        weights = [gate.weights for gate in gates.values()]
        tensors = parameters, [*self.supernet.buffers()], inputs, weights
        moving = any(parameter.requires_grad for parameter in parameters)
        key = moving, key_of(self._norms, self.supernet.training, inputs, gates)
        program = self._programs.get(key)
        if program is not None:
            return program(*tensors)
        program = torch.compile(self._written(tensors, gates), dynamic=False, fullgraph=True, **HOW)
        with _backward_too():
            outputs = _tried(lambda: program(*tensors), "the network cannot be compiled here")
        self._programs[key] = program
        return outputs

    def _written(self, tensors: tuple[Any, ...], gates: Gates) -> nn.Module:
        """The operations that the supernet executes, from one run that leaves nothing behind."""
        from torch.fx.experimental.proxy_tensor import make_fx

        supernet = self.supernet
        names = [name for name, _ in supernet.named_parameters()], [name for name, _ in supernet.named_buffers()]

        def run(parameters: Sequence[Tensor], buffers: Sequence[Tensor], inputs: Any, weights: Sequence[Tensor]) -> Any:
            held = dict(zip((*names[0], *names[1]), (*parameters, *buffers), strict=True))
            own = {
                name: Gate(weight, gate.active, unit=gate.unit)
                for (name, gate), weight in zip(gates.items(), weights, strict=True)
            }
            return functional_call(supernet, held, (inputs, own))

        parameters, buffers, inputs, weights = tensors
        copies = [buffer.clone() for buffer in buffers]
        with drawing_aside(parameters), kept():  # what is kept is the compiler's choice
            found: nn.Module = _tried(
                lambda: make_fx(run)(parameters, copies, inputs, weights), "the network is no program of its inputs"
            )
        return found


def _backward_too() -> AbstractContextManager[object]:
    """Where torch can, the backward pass is compiled with the forward pass, so that its errors are met here, too."""
    from torch._functorch import config

    name = "force_non_lazy_backward_lowering"  # not in the oldest torch of the range
    return config.patch({name: True}) if hasattr(config, name) else nullcontext()


def _tried(action: Callable[[], Any], words: str) -> Any:
    """What an action returns, or one line that says why it could not."""
    try:
        return action()
    except RuntimeError as error:
        raise ConfigurationError(f"{words}: {first_line(error)}; {_ADVICE}") from error
