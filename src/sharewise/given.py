"""Plain values that users give to public functions: each is read as what it must be, or named in one line.

What needs the library to be understood (spaces, methods, data, architectures) is read in `run/arguments.py`.
"""

from __future__ import annotations

import math
import operator
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sharewise.errors import ConfigurationError

__all__ = ["folder", "function", "got", "mapping", "number", "optional", "shape", "text", "truth", "whole", "wholes"]

Value = TypeVar("Value")


def whole(name: str, given: Any, *, least: int = 1) -> int:
    """A whole number below 2^63, also one of numpy.

    Args:
        name: of the argument.
        given: its value.
        least: the smallest legal one.

    Raises:
        ConfigurationError: naming argument and value.

    Example:
        >>> whole("seed", None, least=0)
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: seed must be a whole number of at least 0 and below 2^63, got None
    """
    with suppress(TypeError):
        value = operator.index(given)
        if not isinstance(given, bool) and least <= value < 2**63:
            return value
    raise ConfigurationError(f"{name} must be a whole number of at least {least} and below 2^63, {got(given)}")


def wholes(name: str, given: Any, *, least: int = 1) -> tuple[int, ...]:
    """Several whole numbers.

    Example:
        >>> wholes("input_shape", [3, 32, 32])
        (3, 32, 32)
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence):
        raise ConfigurationError(f"{name} must be a list of whole numbers, {got(given)}")
    return tuple(whole(name, one, least=least) for one in given)


def shape(name: str, given: Any) -> Any:
    """The shape of one example, or such by name where there are several inputs.

    Example:
        >>> shape("input_shape", {"tokens": [7], "length": []})
        {'tokens': (7,), 'length': ()}
    """
    if isinstance(given, Mapping):
        return {key: wholes(f"{name}[{key!r}]", one) for key, one in given.items()}
    return wholes(name, given)


def number(name: str, given: Any) -> float:
    """A finite number.

    Example:
        >>> number("fine_tune_rate", "fast")
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: fine_tune_rate must be a finite number, got 'fast'
    """
    if not isinstance(given, bool | str):
        with suppress(TypeError, ValueError, OverflowError):
            if math.isfinite(float(given)):
                return float(given)
    raise ConfigurationError(f"{name} must be a finite number, {got(given)}")


def truth(name: str, given: Any) -> bool:
    """True or False."""
    if type(given).__name__ in ("bool", "bool_"):  # of numpy too, which may not be loaded
        return bool(given)
    raise ConfigurationError(f"{name} must be True or False, {got(given)}")


def text(name: str, given: Any) -> str:
    """A word or a name."""
    if isinstance(given, str) and given.strip():
        return given
    raise ConfigurationError(f"{name} must be a text, {got(given)}")


def folder(name: str, given: Any) -> Path:
    """The name of a folder, which need not be there.

    Example:
        >>> folder("out", "")
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: out must name a folder, got ''
    """
    if isinstance(given, str | Path) and str(given).strip():
        return Path(given)
    raise ConfigurationError(f"{name} must name a folder, {got(given)}")


def function(name: str, given: Any, arguments: str) -> Callable[..., Any]:
    """A function.

    Args:
        name: of the argument.
        given: its value.
        arguments: what it will be called with, in words.
    """
    if callable(given):
        return given  # type: ignore[no-any-return]
    raise ConfigurationError(f"{name} must be a function of {arguments}, {got(given)}")


def mapping(name: str, given: Any) -> Mapping[str, Any]:
    """A mapping of names to values."""
    if isinstance(given, Mapping):
        return given
    raise ConfigurationError(f"{name} must be a mapping of names to values, {got(given)}")


def optional(read: Callable[..., Value], name: str, given: Any, *rest: Any, **options: Any) -> Value | None:
    """What another reader makes of a value; `None` for none.

    Example:
        >>> optional(whole, "jobs", None) is None, optional(whole, "jobs", 2)
        (True, 2)
    """
    return None if given is None else read(name, given, *rest, **options)


def got(given: object) -> str:
    """The value where it is short, else its kind."""
    if given is None or isinstance(given, str | bool | int | float | Path):
        return f"got {given!r}"
    name = given.__name__ if isinstance(given, types.FunctionType) else type(given).__name__
    return f"got {'the function' if isinstance(given, types.FunctionType) else 'a'} {name}"
