"""Families of spaces: a function of options makes a space for each of their values, whose name says them.

A macro space is one network in many sizes, and which sizes are meant is an option: `language-model:layers=1,2,3` has
fewer and other layers than `language-model`. The name is all that a file has to hold: who loads it has the same space.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, wraps
from typing import Any, ParamSpec, final, get_args, get_origin, get_type_hints

from sharewise.errors import ConfigurationError, shown, unknown_name
from sharewise.given import got
from sharewise.space.choice import plain_option
from sharewise.space.space import Space

__all__ = ["MOST_LAYERS", "SpaceOption", "ascending", "family", "options_of", "read_options", "written_options"]

P = ParamSpec("P")


@final
@dataclass(frozen=True)
class SpaceOption:
    """One option of a space.

    Args:
        name: of the argument.
        kind: its type: `int`, `float`, `bool`, `str`, or `tuple[…, ...]` of one of these.
        default: its value where nothing is said.
    """

    name: str
    kind: Any
    default: Any

    def read(self, value: Any) -> Any:
        """A value of the option's type, also as its text (`"1,2,3"`) or as a list.

        Raises:
            ConfigurationError: naming option, type and value.

        Example:
            >>> SpaceOption("layers", tuple[int, ...], (5, 6)).read("1, 2")
            (1, 2)
        """
        if get_origin(self.kind) is tuple:
            items = value.split(",") if isinstance(value, str) else plain_option(value)
            items = items if isinstance(items, Sequence) else (items,)
            return tuple(self._one(get_args(self.kind)[0], item) for item in items)
        return self._one(self.kind, value)

    def _one(self, kind: type, value: Any) -> Any:
        if kind is str and isinstance(value, str) and value.strip():
            return value.strip()
        if kind is bool and str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        if kind in (int, float) and not isinstance(value, bool):
            with suppress(TypeError, ValueError, OverflowError):
                number = kind(value)
                if math.isfinite(number) and (isinstance(value, str) or number == value):
                    return number
        words = f"a list of type {kind.__name__}" if get_origin(self.kind) is tuple else f"of type {kind.__name__}"
        raise ConfigurationError(f"option {self.name} must be {words}, {got(value)}")

    def write(self, value: Any) -> str:
        """The value as `read` reads it.

        Example:
            >>> SpaceOption("ratios", tuple[float, ...], ()).write((3.5, 4.0))
            '3.5,4'
        """
        return ",".join(map(_written, value if isinstance(value, tuple) else (value,)))


def _written(value: Any) -> str:
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def family(name: str) -> Callable[[Callable[P, Space]], Callable[P, Space]]:
    """Make a function of options a family of spaces, each called by what differs from the defaults.

    Args:
        name: of the space of all defaults. A space of other options is called `name:option=value:option=value`, in the
            order of the arguments, and belongs to the same family of names; architectures are those of their space.

    Returns:
        A decorator of a function whose arguments are keyword arguments with defaults, typed and documented one by one.
        The decorated function returns the same object for the same options.

    Example:
        >>> from sharewise.space import Choice
        >>> @family("tower")
        ... def tower(*, layers: tuple[int, ...] = (5, 6, 7)) -> Space:
        ...     return Space("tower", (Choice("layers", ascending("layers", layers)),))
        >>> tower().name, tower(layers=(1, 2)).name, tower(layers=(1, 2)).size
        ('tower', 'tower:layers=1,2', 2)
    """

    def decorate(build: Callable[P, Space]) -> Callable[P, Space]:
        @cache
        def member(**options: Any) -> Space:
            space = build(**options)  # type: ignore[call-arg]
            return replace(space, name=name + written_options(build, options))

        @wraps(build)
        def make(*args: P.args, **options: P.kwargs) -> Space:
            if args:
                raise ConfigurationError(f"options of space {name!r} are given by name, got {args}")
            known = {option.name: option for option in options_of(build)}
            for given in options:
                if given not in known:
                    raise unknown_name(f"option of space {name!r}:", given, known)
            read = {key: option.read(options[key]) for key, option in known.items() if key in options}
            return member(**{key: value for key, value in read.items() if value != known[key].default})

        return make

    return decorate


def options_of(build: Callable[..., Space]) -> tuple[SpaceOption, ...]:
    """The options of the function that makes a space; none for most spaces.

    Example:
        >>> from sharewise.spaces import SPACES
        >>> options_of(SPACES["nasbench201"])
        ()
    """
    plain = inspect.unwrap(build)
    found = [p for p in inspect.signature(build).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    if not found:
        return ()
    hints = get_type_hints(plain)
    return tuple(SpaceOption(parameter.name, hints[parameter.name], parameter.default) for parameter in found)


def written_options(build: Callable[..., Space], options: Mapping[str, Any]) -> str:
    """What the name of a space has behind that of its family; empty where all options are the defaults."""
    known = options_of(build)
    return "".join(f":{option.name}={option.write(options[option.name])}" for option in known if option.name in options)


def read_options(text: str) -> dict[str, str] | None:
    """The options that stand behind the first colon of a space's name; `None` where something else stands there.

    Example:
        >>> read_options("layers=1,2:heads=2"), read_options("A_1")
        ({'layers': '1,2', 'heads': '2'}, None)
    """
    pairs = [part.partition("=") for part in text.split(":")]
    if not all(name and equals for name, equals, _ in pairs):
        return None
    options = {name.strip().replace("-", "_"): value for name, _, value in pairs}
    if len(options) < len(pairs):
        raise ConfigurationError(f"an option is given twice in {text!r}")
    return options


MOST_LAYERS = 200
"""Of a space that a name asks for; the largest published one here has 36."""
_MOST_SIZES = 64
"""Among which one choice chooses; a name can ask for any number of them."""
_DECIMALS = 3
"""Of a size that is no integer: what standard strings keep."""


def ascending(name: str, sizes: Sequence[Any], *, least: float = 1, most: float = 99_999) -> tuple[Any, ...]:
    """Sizes among which a choice chooses: some, in ascending order, without repetition.

    Args:
        name: of the option.
        sizes: its value.
        least: the smallest legal one.
        most: the largest legal one; loops over a size must end, whoever wrote the name of the space.

    Raises:
        ConfigurationError: naming option and value.

    Example:
        >>> ascending("layers", (2, 1))
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: option layers needs ascending sizes of at least 1, such as 1,2, got 2,1
    """
    found = tuple(sizes)
    if len(found) > _MOST_SIZES or any(size > most or round(size, _DECIMALS) != size for size in found):
        raise ConfigurationError(
            f"option {name} takes at most {_MOST_SIZES} sizes of at most {most:,g} with at most {_DECIMALS} decimals, "
            f"got {shown(','.join(map(_written, found)))}"
        )
    if not found or list(found) != sorted(set(found)) or found[0] < least:
        example = ",".join(map(_written, sorted({size for size in found if size >= least}) or (1, 2)))
        written = ",".join(map(_written, found)) or "none"
        raise ConfigurationError(
            f"option {name} needs ascending sizes of at least {least:g}, such as {example}, got {written}"
        )
    return found
