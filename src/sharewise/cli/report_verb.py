"""`sharewise report`."""

from __future__ import annotations

import argparse

from sharewise.report import write_report
from sharewise.run import RunFolder

__all__ = ["execute"]


def execute(parser: argparse.ArgumentParser, words: list[str]) -> int:
    """Write the report of a run."""
    parser.add_argument("run", metavar="RUN", help="folder of a run, finished or not")
    options = parser.parse_args(words)
    folder = RunFolder(options.run)
    folder.read_config()
    print(write_report(folder.path))
    return 0
