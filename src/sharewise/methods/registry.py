"""The register of methods: functions that return recipes, found by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar, get_type_hints

from sharewise.engine import Recipe
from sharewise.errors import ConfigurationError, unknown_name

__all__ = ["METHODS", "build", "method", "named", "parameters", "variant"]

METHODS: dict[str, Callable[..., Recipe]] = {}
"""Method functions by the name that the command line uses."""

_HINTS: dict[str, dict[str, Any]] = {}
"""Types of the arguments of every method."""

P = ParamSpec("P")
T = TypeVar("T")


def method(name: str) -> Callable[[Callable[P, Recipe]], Callable[P, Recipe]]:
    """Register a method function and let its recipes carry their name and complete arguments.

    All arguments of a method function are plain numbers, words or tuples of words, given by keyword, so that a
    configuration file can hold them.

    Args:
        name: the field's usual name in lower case, with dashes.
    """

    def register(function: Callable[P, Recipe]) -> Callable[P, Recipe]:
        _HINTS[name] = get_type_hints(function)
        return _registered(name, function, inspect.signature(function))

    return register


def variant(
    name: str, of: Callable[..., Recipe], **defaults: Any
) -> Callable[[Callable[..., Recipe]], Callable[..., Recipe]]:
    """Register a method that takes the arguments of another one, and perhaps some more, and changes its recipe.

    The decorated function maps the recipe of `of`, its only positional argument, to the variant's. The registered
    method has the arguments of `of` followed by the keyword arguments of the decorated function.

    Args:
        name: the field's usual name in lower case, with dashes.
        of: a registered method function.
        defaults: of arguments of `of`, where the variant has others.
    """

    def register(change: Callable[..., Recipe]) -> Callable[..., Recipe]:
        found = inspect.signature(of).parameters
        inherited = {key: p.replace(default=defaults.get(key, p.default)) for key, p in found.items()}
        own = dict(list(inspect.signature(change).parameters.items())[1:])

        @functools.wraps(change)
        def function(**arguments: Any) -> Recipe:
            changed = {key: arguments.pop(key) for key in own if key in arguments}
            return change(of(**(defaults | arguments)), **changed)

        signature = inspect.Signature([*inherited.values(), *own.values()])
        _HINTS[name] = {**_hints_of(of), **get_type_hints(change)}
        return _registered(name, function, signature)

    return register


def _registered(name: str, function: Callable[P, Recipe], signature: inspect.Signature) -> Callable[P, Recipe]:
    @functools.wraps(function)
    def build_recipe(*args: P.args, **kwargs: P.kwargs) -> Recipe:
        for argument in kwargs:
            if argument not in signature.parameters:
                raise unknown_name(f"option of method {name!r}:", argument, signature.parameters)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return replace(function(*args, **kwargs), name=name, arguments=dict(bound.arguments))

    build_recipe.__signature__ = signature  # type: ignore[attr-defined]
    METHODS[name] = build_recipe
    return build_recipe


def _hints_of(function: Callable[..., Recipe]) -> dict[str, Any]:
    return next(_HINTS[name] for name, registered in METHODS.items() if registered is function)


def named(argument: str, word: str, **values: T) -> T:
    """The value that an argument of a method names: configuration files hold words, recipes hold pieces.

    Args:
        argument: its name, for the message.
        word: what it was given.
        values: the legal words with what they stand for.

    Raises:
        ConfigurationError: naming the legal words.

    Example:
        >>> named("anchor", "kl", l2=2, kl=1)
        1
    """
    if word not in values:
        raise unknown_name(argument, word, values)
    return values[word]


def parameters(name: str) -> Mapping[str, tuple[Any, Any]]:
    """For every argument of a method its type and its default.

    Example:
        >>> parameters("darts")["epochs"]
        (<class 'int'>, 50)
    """
    function = _find(name)
    return {key: (_HINTS[name][key], p.default) for key, p in inspect.signature(function).parameters.items()}


def build(name: str, arguments: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a named method.

    Args:
        name: a key of `METHODS`.
        arguments: overrides of its defaults.

    Raises:
        ConfigurationError: for an unknown method or argument, or a value out of range.

    Example:
        >>> build("gaea-erm", {"epochs": 2}).epochs
        2
    """
    function = _find(name)
    try:
        return function(**dict(arguments or {}))
    except TypeError as error:
        raise ConfigurationError(f"method {name!r}: {error}") from None


def _find(name: str) -> Callable[..., Recipe]:
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]
