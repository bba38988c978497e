"""Options of the command line, generated from typed fields and their docstrings."""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["Field", "add_fields", "argument_docs", "dataclass_fields", "fields_of_function", "given"]

_METAVARS: Mapping[Any, str] = {int: "N", float: "X"}


class Field:
    """One option: name, type, default and help.

    Args:
        name: as in the configuration file; the option is `--name` with dashes.
        kind: its type.
        default: shown in the help.
        text: what it means.
    """

    def __init__(self, name: str, kind: Any, default: Any, text: str) -> None:
        self.name, self.kind, self.default, self.text = name, kind, default, text


def argument_docs(documented: object) -> dict[str, str]:
    """The descriptions in the `Args` section of a docstring, by argument.

    Example:
        >>> argument_docs(Field)["kind"]
        'its type.'
    """
    text = inspect.getdoc(documented) or ""
    match = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", text, flags=re.MULTILINE)
    if match is None:
        return {}
    block = textwrap.dedent(match[1])
    entries = re.findall(r"^(\w+): (.*(?:\n[ ]+.*)*)", block, flags=re.MULTILINE)
    return {name: " ".join(description.split()) for name, description in entries}


def dataclass_fields(cls: type, *, skip: tuple[str, ...] = ()) -> list[Field]:
    """The fields of a dataclass as options, documented by its docstring and those of its parents."""
    assert is_dataclass(cls)
    docs: dict[str, str] = {}
    for parent in reversed(cls.__mro__):
        docs |= argument_docs(parent)
    hints = get_type_hints(cls)
    return [
        Field(f.name, hints[f.name], None if f.default is MISSING else f.default, docs.get(f.name, ""))
        for f in fields(cls)
        if f.name not in skip
    ]


def fields_of_function(function: Callable[..., Any], parameters: Mapping[str, tuple[Any, Any]]) -> list[Field]:
    """The arguments of a method function as options."""
    docs = argument_docs(inspect.unwrap(function))
    return [Field(name, kind, default, docs.get(name, "")) for name, (kind, default) in parameters.items()]


def add_fields(parser: argparse._ArgumentGroup, options: list[Field]) -> None:
    """Add options that leave no trace when they are not given, so that a configuration file can fill them."""
    for option in options:
        flag = "--" + option.name.replace("_", "-")
        kind, text = _inner(option.kind), option.text.rstrip(".").replace("%", "%%")
        default = " ".join(map(str, option.default)) if isinstance(option.default, tuple) else option.default
        shown = "" if default in (None, "") else f" (default: {default})"
        settings: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS, "help": text + shown}
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **settings)
        elif get_origin(kind) is tuple:
            item = get_args(kind)[0]
            parser.add_argument(flag, nargs="*", type=item, metavar=_METAVARS.get(item, "WORD"), **settings)
        else:
            metavar = _METAVARS.get(kind, "TEXT")
            parser.add_argument(flag, type=kind if kind in (int, float) else str, metavar=metavar, **settings)


def _inner(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        return next(a for a in get_args(kind) if a is not type(None))
    return kind


def given(namespace: argparse.Namespace, options: list[Field]) -> dict[str, Any]:
    """The values of those options that were given."""
    return {option.name: getattr(namespace, option.name) for option in options if hasattr(namespace, option.name)}
