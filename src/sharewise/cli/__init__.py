"""The command line: thin verbs over the public functions, one module each."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TextIO

from sharewise.allocation import keep_memory
from sharewise.cli.failures import explained
from sharewise.cli.own import asking_for_it
from sharewise.cli.parser import Parser
from sharewise.errors import (
    ConfigurationError,
    SharewiseError,
    SharewiseWarning,
    UnnamedFileError,
    printable,
    unknown_name,
)
from sharewise.processes import rank_here

__all__ = ["VERBS", "main"]

VERBS = {
    "search": "search a space with a method on a data set",
    "train": "train one architecture by itself and evaluate it on the test examples",
    "evaluate": "evaluate the network of a finished run on the test examples",
    "report": "write a run's report again, also for a run in progress",
    "alarm": "say whether a search collapses or never learned, from the history of a run or from records",
    "export": "write a run's network as a folder that loads without sharewise",
    "inspect": "show what a model of your own offers, and prove that it shares its weights as it should",
    "check-model": "the old name of inspect",
    "list": "list methods, spaces, data or recipes of trainings",
    "space": "show a space: its size, choices and decisions",
    "front": "find the best architectures of one supernet over several budgets",
    "appraise": "say whether sharing weights helps: rank agreement, bias and regret at equal cost",
    "compare": "draw regret against cost for strategies and finished searches on a benchmark's table",
    "status": "say what of a folder of runs is finished, running, waiting or failed",
    "study": "run methods × options × spaces × data × seeds, and say what may be said about them",
    "benchmark": "convert an official benchmark into a fast local table, and query it",
    "cost": "count parameters and multiply-accumulates of an architecture",
    "completion": "print the script that completes verbs and options in a shell",
    "doctor": "say what this machine and this installation offer",
    "demo": "search, extract, retrain and compare on embedded real images, in about a minute and a half",
}
"""Summaries of the verbs by name, in the order in which help lists them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words after the program's name; `None` takes those of the process.

    Returns:
        The exit code: 0, 1 where a verb says so, 2 for an error that a line explains, 130 after an interruption, 141
        where nobody reads the output any more. An error of the program itself is raised, with its traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Before torch is loaded: threads that wait for each other sleep. Spinning, they hold the cores that others need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_memory()
    first = True
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="replace")  # a terminal without × shows a question mark
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a run that is piped into a file is followed there
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show
            try:
                rank, world = rank_here()
                first = rank == 0
                if not first:
                    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
                return _dispatch(words, alone=world == 1)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()  # here, where a full disk or a closed pipe can still be answered
    except KeyboardInterrupt as interruption:
        # A run with a folder says itself where it stands and how to go on.
        if first:
            print(str(interruption) or "interrupted; a run with a folder continues with --resume", file=sys.stderr)
        return 128 + getattr(interruption, "number", signal.SIGINT)
    except BrokenPipeError:
        _discard_output()
        return 141  # as a process that SIGPIPE ended
    except Exception as error:
        line = explained(error)
        if line is None:
            raise
        if not first and isinstance(error, SharewiseError) and type(error).__name__ != "RanksError":
            return 2  # which the first process says as well
        if isinstance(error, UnnamedFileError):
            line = f"{line}: {asking_for_it(words, error)}"
        _report(line, type(error).__name__, as_json="--json" in words)
        return 2


def _report(line: str, kind: str, *, as_json: bool) -> None:
    """Say what went wrong, wherever something can still be written."""
    with suppress(OSError):
        print(f"error: {line}", file=sys.stderr)
    try:
        if as_json:
            print(json.dumps({"error": line, "kind": kind}))
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _discard_output()


def _discard_output() -> None:
    """Let nothing more be written to a standard output that is closed or full, not even when the process ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print what is worth a line as one, and other warnings as Python does."""
    said = issubclass(category, SharewiseWarning)
    text = (
        f"warning: {printable(message)}\n"
        if said
        else warnings.formatwarning(message, category, filename, lineno, line)
    )
    (file or sys.stderr).write(text)


_TOGETHER = ("search", "train", "appraise")
"""Verbs that several processes share, as `torchrun` starts them."""


def _dispatch(words: list[str], *, alone: bool) -> int:
    if words and words[0] in VERBS and words[0] not in _TOGETHER and not alone:
        raise ConfigurationError(f"{words[0]} is one process: start it without torchrun")
    if words and words[0] in VERBS:
        verb, rest = words[0], words[1:]
        module = import_module(f"sharewise.cli.{verb.replace('-', '_')}_verb")
        execute: Callable[[Parser, list[str]], int] = module.execute
        return execute(Parser(f"sharewise {verb}", VERBS[verb]), rest)
    if words and not words[0].startswith("-"):
        raise unknown_name("verb", words[0], VERBS)
    parser = Parser(
        "sharewise",
        "Weight-sharing neural architecture search: share, search, appraise, deliver.",
        "`sharewise VERB --help` shows the options of a verb.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=argparse.ArgumentParser)
    for verb, summary in VERBS.items():
        verbs.add_parser(verb, help=summary, add_help=False)
    if parser.parse(words).version:
        from sharewise import __version__

        print(f"sharewise {__version__}")
    else:
        parser.print_help()
    return 0
