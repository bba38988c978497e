"""`sharewise list`."""

from __future__ import annotations

import argparse
import inspect

from sharewise.cli.running import print_json

__all__ = ["execute"]


def _methods() -> list[dict[str, str]]:
    from sharewise.methods import METHODS

    return [
        {"name": name, "summary": (inspect.getdoc(function) or "").splitlines()[0]}
        for name, function in sorted(METHODS.items())
    ]


def _spaces() -> list[dict[str, str]]:
    from sharewise.spaces import SPACES

    return [{"name": name, "summary": build().summary} for name, build in sorted(SPACES.items())]


def _data() -> list[dict[str, str]]:
    from sharewise.data.sources import SOURCES

    return [{"name": name, "summary": source.summary} for name, source in sorted(SOURCES.items())]


_LISTS = {"methods": _methods, "spaces": _spaces, "data": _data}


def execute(parser: argparse.ArgumentParser, words: list[str]) -> int:
    """List what there is."""
    parser.add_argument("what", choices=sorted(_LISTS), help="what to list")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    options = parser.parse_args(words)
    rows = _LISTS[options.what]()
    if options.json:
        print_json(list(rows))
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['summary']}")
    return 0
