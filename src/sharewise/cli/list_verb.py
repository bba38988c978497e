"""`sharewise list`."""

from __future__ import annotations

from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.errors import unknown_name

__all__ = ["execute"]


def _methods() -> list[dict[str, str]]:
    from sharewise.cli.declared import methods

    return [{"name": name, "summary": method.summary} for name, method in sorted(methods().items())]


def _spaces() -> list[dict[str, str]]:
    from sharewise.spaces import SPACES

    return [{"name": name, "summary": build().summary} for name, build in sorted(SPACES.items())]


def _data() -> list[dict[str, str]]:
    from sharewise.data.sources import SOURCES

    return [{"name": name, "summary": source.summary} for name, source in sorted(SOURCES.items())]


def _recipes() -> list[dict[str, str]]:
    from sharewise.recipes import RECIPES

    return [{"name": name, "summary": recipe.summary, "source": recipe.source} for name, recipe in RECIPES.items()]


_LISTS = {"methods": _methods, "spaces": _spaces, "data": _data, "recipes": _recipes}


def execute(parser: Parser, words: list[str]) -> int:
    """List what there is."""
    parser.add_argument("what", metavar="WHAT", help=f"what to list: {', '.join(sorted(_LISTS))}")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    options = parser.parse(words)
    if options.what not in _LISTS:
        raise unknown_name("list", options.what, _LISTS)
    rows = _LISTS[options.what]()
    if options.json:
        print_json(list(rows))
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['summary']}")
    return 0
