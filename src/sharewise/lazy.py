"""Names of a package that are fetched when they are first used, so that importing it imports no torch.

A package writes its names as any other does: as imports, here under `if TYPE_CHECKING`, where type checkers and editors
see them, and in `__all__`. Where a name lives is read from those imports, so that no third list can disagree.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["lazily"]


def lazily(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose imports stand under `if TYPE_CHECKING`.

    Args:
        package: its `__name__`.
        file: its `__file__`.

    Returns:
        The two functions, to be bound to those names in the package.

    Example:
        >>> import sharewise.data
        >>> sharewise.data.__getattr__("Batch").__name__
        'Batch'
    """
    homes = dict(_imported(ast.parse(Path(file).read_text(encoding="utf-8"))))

    def fetch(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        return import_module(f"{package}.{name}") if home == package else getattr(import_module(home), name)

    return fetch, lambda: sorted(homes)


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Name and module of every import under `if TYPE_CHECKING`."""
    for block in tree.body:
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            for line in block.body:
                if isinstance(line, ast.ImportFrom) and line.module is not None:
                    yield from ((alias.name, line.module) for alias in line.names)
