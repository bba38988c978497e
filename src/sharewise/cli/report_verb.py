"""`sharewise report`."""

from __future__ import annotations

from sharewise.cli.parser import Parser
from sharewise.report import write_report
from sharewise.run import RunFolder

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Write the report of a run."""
    parser.add_argument("run", metavar="RUN", help="folder of a run, finished or not")
    options = parser.parse(words)
    folder = RunFolder(options.run)
    folder.read_config()
    print(write_report(folder.path))
    return 0
