"""`sharewise completion`: the script that completes verbs and options in a shell."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Mapping
from importlib import import_module

from sharewise.cli.parser import Parser
from sharewise.errors import ConfigurationError, unknown_name

__all__ = ["execute", "whole_parser"]


def execute(parser: Parser, words: list[str]) -> int:
    """Print the script."""
    parser.add_argument("shell", metavar="SHELL", help="bash, zsh, fish or tcsh, as far as shtab writes them")
    options = parser.parse(words)
    try:
        import shtab
    except ImportError:
        raise ConfigurationError("completion needs shtab: pip install 'sharewise[completion]'") from None
    if options.shell not in shtab.SUPPORTED_SHELLS:
        raise unknown_name("shell", options.shell, shtab.SUPPORTED_SHELLS)

    from sharewise.cli import VERBS

    print(shtab.complete(whole_parser(VERBS), options.shell))
    return 0


def whole_parser(verbs: Mapping[str, str]) -> argparse.ArgumentParser:
    """One parser that knows all options of all verbs, those of `search` for its default method and space.

    A verb adds its options when it is executed; asked for its help, it adds them and ends.

    Args:
        verbs: their summaries by name.
    """
    whole = argparse.ArgumentParser("sharewise")
    whole.add_argument("--version", action="store_true", help="print the version and exit")
    chosen = whole.add_subparsers(dest="verb", metavar="VERB")
    for verb, summary in verbs.items():
        parser = Parser(f"sharewise {verb}", summary)
        module = import_module(f"sharewise.cli.{verb.replace('-', '_')}_verb")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            module.execute(parser, ["--help"])
        chosen.add_parser(verb, help=summary, parents=[parser], add_help=False)
    return whole
