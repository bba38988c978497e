"""`sharewise space`."""

from __future__ import annotations

from collections.abc import Mapping

from sharewise.cli.options import add_fields, given
from sharewise.cli.output import print_json
from sharewise.cli.own import named, space_named
from sharewise.cli.parser import Parser
from sharewise.cli.space_options import fields_of_space
from sharewise.errors import ConfigurationError
from sharewise.space import Option, Space, enumerate_architectures
from sharewise.spaces import SPACES, with_options

__all__ = ["execute"]

_COUNTABLE = 100_000


def _decisions(space: Space) -> dict[str, list[Option]] | None:
    """What a supernet of the space would mix; `None` where it has no relaxation."""
    try:
        return {d.name: list(d.options) for d in space.relaxation.decisions}
    except ConfigurationError:
        return None


def _classes(space: Space) -> Mapping[str, int]:
    """How many architectures differ, by canonical level, where they can be counted at once."""
    if len(space.levels) == 1 or space.size > _COUNTABLE:
        return {}
    architectures = list(enumerate_architectures(space))
    return {level: len({space.canonical(a, level) for a in architectures}) for level in space.levels[1:]}


def execute(parser: Parser, words: list[str]) -> int:
    """Show a space."""
    parser.add_argument("space", metavar="SPACE", help=f"its name ({', '.join(SPACES)}), or FILE.py:FACTORY")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    plain = [word for word in words if not word.startswith("-")]
    name = next((word for word in plain if word.partition(":")[0] in SPACES), plain[0] if plain else "")
    sizes = fields_of_space(name) if name else []
    if sizes:
        add_fields(parser.add_argument_group("space"), sizes)
    options = parser.parse(words)
    own = named(options.space)
    space = space_named(options.space if own else with_options(options.space, given(options, sizes)), own)
    size = space.size
    counts = {} if space.counts is None else dict(space.counts(space))
    classes = counts.pop("unique") if "unique" in counts else _classes(space)
    description = {
        "name": space.name,
        "summary": space.summary,
        "size": size,
        "unique": classes,
        "choices": {c.name: list(c.options) for c in space.choices},
        "decisions": _decisions(space),
    }
    description |= {"named": dict(space.named)} if space.named else {}
    description |= counts
    if options.json:
        print_json(description)
        return 0
    print(f"{space.name}: {space.summary}\nsize: {size:,} architectures")
    for level, count in classes.items():
        print(f"unique up to {level!r}: {count:,}")
    for property_, numbers in counts.items():
        print(f"{property_.replace('_', ' ')}: " + ", ".join(f"{value}: {count:,}" for value, count in numbers.items()))
    if space.named:
        print(f"named architectures: {', '.join(space.named)}")
    for choice in space.choices:
        print(f"  {choice.name}: {', '.join(map(str, choice.options))}")
    return 0
