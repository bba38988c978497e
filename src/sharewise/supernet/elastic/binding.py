"""Binding: what a module of one's own is told for the duration of one call, and always forgets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from torch import nn

__all__ = ["Bindings", "bound", "following"]

_ABSENT = object()


@final
class Bindings:
    """What is put in the place of attributes, parameters and buffers until the block of `bound` ends."""

    def __init__(self) -> None:
        self._put: list[tuple[dict[str, Any], str, Any, Any]] = []

    def put(self, own: dict[str, Any], name: str, value: object) -> None:
        """Replace an entry of a module's dictionary of attributes, parameters or buffers."""
        self._put.append((own, name, value, own.get(name, _ABSENT)))
        own[name] = value

    def set(self, module: nn.Module, name: str, value: object) -> None:
        """Set a plain attribute of a module."""
        self.put(module.__dict__, name, value)

    def undo(self) -> None:
        """Restore everything, the last change first."""
        for own, name, _, before in reversed(self._put):
            if before is _ABSENT:
                del own[name]
            else:
                own[name] = before

    def redo(self) -> None:
        """Put everything in place once more, after `undo`."""
        for own, name, value, _ in self._put:
            own[name] = value

    @contextmanager
    def once_more(self) -> Iterator[None]:
        """A context in which everything is in place once more."""
        self.redo()
        try:
            yield
        finally:
            self.undo()


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
