"""An argument parser whose errors are one line that names the option and the nearest legal one."""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import TYPE_CHECKING, NoReturn, final

from sharewise.errors import ConfigurationError, unknown_name

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = ["Parser"]


@final
class _Help(argparse.HelpFormatter):
    """Help whose lines end between words: a name with dashes, broken in two, could not be copied."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


@final
class Parser(argparse.ArgumentParser):
    """The parser of a verb: it raises `ConfigurationError` where argparse prints its usage and exits.

    Args:
        prog: what the user typed so far (`"sharewise search"`).
        description: shown by `--help`.
        epilog: shown below the options.
        add_help: whether `--help` is an option; a parser that looks ahead at some options has none.
    """

    def __init__(
        self, prog: str, description: str | None = None, epilog: str | None = None, *, add_help: bool = True
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            add_help=add_help,
            allow_abbrev=False,
            formatter_class=_Help,
        )

    def parse(self, words: list[str]) -> argparse.Namespace:
        """Parse all words.

        Raises:
            ConfigurationError: for an unknown option (the nearest legal one is shown), a missing one, a value of a
                wrong type, or a word that belongs to no option.
        """
        for word in words:
            if word == "--":
                break
            # Before argparse, which would report a misspelt required option as missing. Words with a space are values.
            if word.startswith("--") and " " not in word.partition("=")[0]:
                self._require_known(word)
        namespace, rest = self.parse_known_args(words)
        for word in rest:
            if word.startswith("-") and word != "--":
                self._require_known(word)
            self.error(f"unexpected word {word!r}")
        return namespace

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Print a help text; where that fails, argparse would go on as if nothing had happened."""
        if message:
            (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Refuse the words.

        Raises:
            ConfigurationError: always.
        """
        text = " ".join(message.split())
        if text.startswith("argument "):
            text = "option " + text.removeprefix("argument ")
        raise ConfigurationError(f"{text}; see {self.prog} --help")

    def _require_known(self, word: str) -> None:
        name = word.partition("=")[0]
        if name not in self._option_string_actions:
            legal = [option for option in self._option_string_actions if option.startswith("--") and option != "--help"]
            raise unknown_name("option", name, legal)
