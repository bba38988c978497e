"""`sharewise check-model`, the old name of `sharewise inspect`."""

from __future__ import annotations

import sys

from sharewise.cli import inspect_verb
from sharewise.cli.parser import Parser

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Say what the verb is called by now, and do what it does."""
    code = inspect_verb.execute(parser, words)
    print("check-model is now called inspect; both names stay", file=sys.stderr)
    return code
