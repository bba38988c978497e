"""`sharewise report`."""

from __future__ import annotations

from pathlib import Path

from sharewise.cli.parser import Parser
from sharewise.report import write_report
from sharewise.run import RunFolder

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Write the report of a run, or of an appraisal."""
    parser.add_argument("run", metavar="RUN", help="folder of a run, finished or not, or of an appraisal")
    options = parser.parse(words)
    if (Path(options.run) / "appraisal.json").is_file():
        from sharewise.report.appraisal_page import write_appraisal

        print(write_appraisal(Path(options.run)))
        return 0
    folder = RunFolder(options.run)
    folder.read_config()
    print(write_report(folder.path))
    return 0
