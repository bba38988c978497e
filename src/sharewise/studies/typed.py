"""Nested plain values as typed ones: every name and type is checked, and an error says where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.run.arguments import checked

__all__ = ["typed"]

Value = TypeVar("Value")


def typed(kind: type[Value], values: Any, where: str) -> Value:
    """Read a dataclass, and those within it, from mappings and lists.

    A word stands for a mapping that gives the first field alone.

    Args:
        kind: the dataclass.
        values: as a YAML file holds them.
        where: what they belong to, for errors.

    Raises:
        ConfigurationError: for an unknown name (the nearest legal one is shown), a missing one, or a wrong type.

    Example:
        >>> from sharewise.studies.plan import Budget
        >>> typed(Budget, {"steps": 3}, "budget")
        Budget(steps=3, multiply_accumulates=None)
        >>> typed(Budget, {"step": 3}, "budget")
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: unknown name in budget: 'step'; did you mean 'steps'? Legal: ...
    """
    assert is_dataclass(kind)
    own = {field.name: field for field in fields(kind)}
    if isinstance(values, str):
        values = {next(iter(own)): values}
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{where} must be a mapping of names to values, got {values!r}")
    for name in values:
        if name not in own:
            raise unknown_name(f"name in {where}:", name, own)
    for name, field in own.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigurationError(f"{where} needs {name}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], value, name) for name, value in values.items()})


def _value(kind: Any, value: Any, name: str) -> Any:
    if isinstance(kind, type) and is_dataclass(kind):
        return typed(kind, {} if value is None else value, name)
    if get_origin(kind) is Mapping:
        if value is not None and not isinstance(value, Mapping):
            raise ConfigurationError(f"{name} must be a mapping of options to values, got {value!r}")
        return dict(value or {})
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if not isinstance(value, list | tuple):
            raise ConfigurationError(f"{name} must be a list, got {value!r}")
        return tuple(_value(item, one, name) for one in value)
    return checked(name, kind, value)
