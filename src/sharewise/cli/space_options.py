"""The options of spaces and of their networks, for help and for what a command gives."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import get_type_hints

from sharewise.cli.declared import network_options
from sharewise.cli.options import Field, described
from sharewise.own_file import is_reference
from sharewise.space import Space, options_of
from sharewise.spaces import SPACES, load, split_name

__all__ = ["fields_of_network", "fields_of_space", "own_and_others"]


def fields_of_network(space: Space) -> list[Field]:
    """The options of a space's networks.

    Raises:
        ConfigurationError: when the space has no networks.
    """
    if not isinstance(space.networks, str):
        return _fields_of_value(space)
    return network_options(space.networks)


def _fields_of_value(space: Space) -> list[Field]:
    """The options of networks that are a value, as those of a user's own space."""
    from sharewise.supernet import networks_of

    options = networks_of(space).options
    hints, texts = get_type_hints(options), described(inspect.getdoc(options) or "")
    return [
        Field(f.name, hints[f.name], None if f.default is MISSING else f.default, texts.get(f.name, "of the network"))
        for f in fields(options)
    ]


def fields_of_space(name: str) -> list[Field]:
    """The options of a space, with those that its name gives as defaults.

    Raises:
        ConfigurationError: when there is no such space.

    Example:
        >>> fields_of_space("nasbench201")
        []
    """
    if is_reference(name):
        return []
    base, written = split_name(name)
    texts = described(inspect.getdoc(SPACES[base]) or "")
    return [
        Field(o.name, o.kind, o.read(written[o.name]) if o.name in written else o.default, texts.get(o.name, ""))
        for o in options_of(SPACES[base])
    ]


def own_and_others(name: str, space: Space) -> tuple[list[Field], list[Field]]:
    """The options of a space and of its networks, and those of all spaces and their networks.

    Args:
        name: of the space.
        space: itself, which a file of the user's own may have made.

    Example:
        >>> own, others = own_and_others("conv-macro", load("conv-macro"))
        >>> [field.name for field in own], len(own) < len(others)
        (['divisor', 'dropout', 'published'], True)
    """
    others = [field for each in SPACES for field in (*fields_of_space(each), *fields_of_network(load(each)))]
    return [*fields_of_space(name), *fields_of_network(space)], others
