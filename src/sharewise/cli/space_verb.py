"""`sharewise space`."""

from __future__ import annotations

from sharewise.cli.parser import Parser
from sharewise.cli.running import print_json
from sharewise.space import enumerate_architectures
from sharewise.spaces import load

__all__ = ["execute"]

_COUNTABLE = 100_000


def execute(parser: Parser, words: list[str]) -> int:
    """Show a space."""
    parser.add_argument("space", metavar="SPACE", help="its name, as `sharewise list spaces` shows")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse(words)
    space = load(options.space)
    size = space.size
    classes = {}
    if size <= _COUNTABLE:
        architectures = list(enumerate_architectures(space))
        for level in space.levels[1:]:
            classes[level] = len({space.canonical(a, level) for a in architectures})
    description = {
        "name": space.name,
        "summary": space.summary,
        "size": size,
        "unique": classes,
        "choices": {c.name: list(c.options) for c in space.choices},
        "decisions": {d.name: list(d.options) for d in space.relaxation.decisions},
    }
    if options.json:
        print_json(description)
        return 0
    print(f"{space.name}: {space.summary}\nsize: {size:,} architectures")
    for level, count in classes.items():
        print(f"unique up to {level!r}: {count:,}")
    for choice in space.choices:
        print(f"  {choice.name}: {', '.join(map(str, choice.options))}")
    return 0
