"""Binding: what a module of one's own is told for the duration of one call, and always forgets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.supernet.gate import Gate
from sharewise.supernet.mixed import add, weighted

__all__ = ["Bindings", "bound", "following", "skip_and_mix"]

_ABSENT = object()


@final
class Bindings:
    """Attributes that are set until the block of `bound` ends."""

    def __init__(self) -> None:
        self._before: list[tuple[dict[str, Any], str, Any]] = []

    def set(self, module: nn.Module, name: str, value: Any) -> None:
        """Set a plain attribute of a module."""
        own = module.__dict__
        self._before.append((own, name, own.get(name, _ABSENT)))
        own[name] = value

    def undo(self) -> None:
        """Restore everything, the last change first."""
        for own, name, value in reversed(self._before):
            if value is _ABSENT:
                del own[name]
            else:
                own[name] = value


@contextmanager
def bound() -> Iterator[Bindings]:
    """A context that undoes all bindings, however it ends.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> with bound() as bindings:
        ...     bindings.set(layer, "out_features", 2)
        >>> layer.out_features
        3
    """
    bindings = Bindings()
    try:
        yield bindings
    finally:
        bindings.undo()


@contextmanager
def following(network: nn.Module) -> Iterator[list[str]]:
    """A context with the paths of the modules that are being executed; after an error the last one is where it was.

    Example:
        >>> with following(nn.Sequential(nn.Linear(2, 3))) as running:
        ...     running
        []
    """
    running: list[str] = []
    handles = []
    for path, module in network.named_modules():

        def enter(layer: nn.Module, arguments: object, path: str = path) -> None:
            running.append(path)

        def leave(layer: nn.Module, arguments: object, output: object) -> None:
            running.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()


def skip_and_mix(bindings: Bindings, blocks: list[nn.Module], depths: tuple[int, ...], gate: Gate, path: str) -> None:
    """Let a row of blocks compute Σ_i g_i · x^(d_i) over prefix outputs, without executing blocks behind the deepest.

    Args:
        bindings: take the changed forward methods.
        blocks: in order of execution, each called once with a tensor and returning one; the whole row may be repeated.
        depths: one per option.
        gate: of the depth.
        path: of the blocks, for messages.
    """
    deepest = depths[gate.active[-1]]
    terms = {depths[index]: index for index in gate.active}
    plain = gate.unit and len(gate.active) == 1
    total: list[Tensor | None] = [None]
    following = [0]

    def term(depth: int, x: Tensor) -> None:
        if depth in terms and not plain:
            before = total[0]
            if before is not None and before.shape != x.shape:
                raise ConfigurationError(
                    f"depths {tuple(terms)} of {path!r} end in tensors of different shapes, {tuple(before.shape)} and "
                    f"{tuple(x.shape)}; blocks that can be left out must keep the shape"
                )
            total[0] = add(total[0], weighted(gate, terms[depth], x))

    def wrap(number: int, block: nn.Module) -> None:
        forward = block.forward

        def run(*args: Any, **kwargs: Any) -> Any:
            source = args[0] if args else next(iter(kwargs.values()))
            if number != following[0]:
                raise ConfigurationError(
                    f"depth needs blocks that are executed once each, in their order, but block {number} of {path!r} "
                    f"is executed where block {following[0]} should follow"
                )
            following[0] = (number + 1) % len(blocks)
            if number == 0:
                total[0] = None
                term(0, source)
            if number >= deepest:
                return total[0] if number == 0 and not plain else source
            output = forward(*args, **kwargs)
            if not isinstance(output, Tensor):
                raise ConfigurationError(
                    f"depth needs blocks that return a tensor, but block {number} of {path!r} returns a "
                    f"{type(output).__name__}"
                )
            term(number + 1, output)
            return total[0] if number + 1 == deepest and not plain else output

        bindings.set(block, "forward", run)

    if not plain or deepest < len(blocks):
        for number, block in enumerate(blocks):
            wrap(number, block)
