"""Options of the command line, generated from typed fields and their docstrings."""

from __future__ import annotations

import argparse
import re
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union, final, get_args, get_origin

from sharewise.errors import ConfigurationError

__all__ = ["Field", "Words", "add_fields", "described", "given", "listed", "place", "require_own"]

_METAVARS: Mapping[Any, str] = {int: "N", float: "X"}


@final
@dataclass(frozen=True)
class Field:
    """One option: name, type, default and help.

    Args:
        name: as in the configuration file; the option is `--name` with dashes.
        kind: its type.
        default: shown in the help.
        text: what it means.
    """

    name: str
    kind: Any
    default: Any
    text: str


@final
class Words(argparse.Action):
    """An option that reads all its words at once.

    Args:
        read: what the words mean; a `ValueError` says why they mean nothing.
        settings: as for `add_argument`.
    """

    def __init__(self, read: Callable[[Sequence[str]], Any], nargs: str = "+", **settings: Any) -> None:
        super().__init__(nargs=nargs, **settings)
        self.read = read

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Store what the words mean."""
        try:
            found = self.read(list(values or ()))
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        setattr(namespace, self.dest, found)


def listed(item: Callable[[str], Any]) -> Callable[[Sequence[str]], tuple[Any, ...]]:
    """How a list is read that is written with commas, with spaces or with both.

    Args:
        item: the type of one part, such as `int`.

    Example:
        >>> [listed(int)(words) for words in (["3", "224", "224"], ["3,224,224"], ["3,", "224,", "224"])]
        [(3, 224, 224), (3, 224, 224), (3, 224, 224)]
    """

    def read(words: Sequence[str]) -> tuple[Any, ...]:
        return tuple(_item(item, part) for word in words for part in word.removesuffix(",").split(","))

    return read


def _item(item: Callable[[str], Any], part: str) -> Any:
    try:
        return item(part.strip())
    except ValueError:
        raise ValueError(f"invalid {item.__name__} value: {part!r}") from None


def described(docstring: str) -> dict[str, str]:
    """The descriptions in the `Args` section of a docstring, by argument.

    Example:
        >>> described("A box." + chr(10) * 2 + "Args:" + chr(10) + "    width: in pixels." + chr(10))
        {'width': 'in pixels.'}
    """
    match = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", docstring, flags=re.MULTILINE)
    if match is None:
        return {}
    block = textwrap.dedent(match[1])
    entries = re.findall(r"^(\w+): (.*(?:\n[ ]+.*)*)", block, flags=re.MULTILINE)
    return {name: " ".join(description.split()) for name, description in entries}


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
            metavar = _METAVARS.get(item, "WORD")
            parser.add_argument(flag, action=Words, nargs="*", read=listed(item), metavar=metavar, **settings)
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


def place(text: str) -> str:
    """A path as argparse's type: the empty one would mean the folder in which one stands."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"give a path, got {text!r}")
    return text


def require_own(
    words: Iterable[str], owner: str, known: Iterable[Field], mine: Iterable[Field], others: Iterable[Field]
) -> None:
    """Refuse an option that another owner has, and name those that this one has.

    Args:
        words: of the command line.
        owner: in words, with its verb (`"networks of space 'conv-macro' have"`).
        known: all options of the command.
        mine: the options of the owner.
        others: the options of all owners of its kind.

    Raises:
        ConfigurationError: naming the option and the owner's.
    """
    flags, elsewhere = _flags(known), _flags(others)
    for word in words:
        name = word.partition("=")[0]
        if name in elsewhere and name not in flags:
            legal = ", ".join(flag for flag in _flags(mine) if not flag.startswith("--no-")) or "none"
            raise ConfigurationError(f"{owner} no option {name}; legal: {legal}")


def _flags(fields: Iterable[Field]) -> dict[str, None]:
    """How options are written, in order; those that are true or false in both forms."""
    names = [(field.name.replace("_", "-"), field.kind) for field in fields]
    return {flag: None for name, kind in names for flag in ("--" + name, *(["--no-" + name] if kind is bool else []))}
