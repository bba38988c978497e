"""`sharewise report`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sharewise.cli.parser import Parser
from sharewise.errors import printable
from sharewise.report import write_report
from sharewise.report.appraisal_page import write_appraisal
from sharewise.report.comparison_page import write_comparison
from sharewise.report.study_page import write_study
from sharewise.run import RunFolder

__all__ = ["execute"]

_PAGES: Mapping[str, Callable[[Path], Path]] = {
    "appraisal.json": write_appraisal,
    "results.json": write_comparison,
    "study.json": write_study,
}
"""What shows a folder of results, by the document that it holds."""


def execute(parser: Parser, words: list[str]) -> int:
    """Write the page of a run, an appraisal, a comparison or a study."""
    parser.add_argument(
        "run", metavar="RUN", help="folder of a run, finished or not, or of an appraisal, a comparison, a study"
    )
    options = parser.parse(words)
    run = Path(options.run)
    for name, write in _PAGES.items():
        if (run / name).is_file():
            print(printable(write(run)))
            return 0
    folder = RunFolder(run)
    folder.read_config()
    if folder.result.exists():
        folder.read_result()  # which says so where it cannot be verified
    print(printable(write_report(folder.path)))
    return 0
