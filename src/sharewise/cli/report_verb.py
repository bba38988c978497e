"""`sharewise report`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from sharewise.cli.parser import Parser
from sharewise.cli.running import require_run
from sharewise.errors import printable

__all__ = ["execute"]

_PAGES: Mapping[str, tuple[str, str]] = {
    "front.json": ("sharewise.report.front_page", "write_front"),
    "appraisal.json": ("sharewise.report.appraisal_page", "write_appraisal"),
    "results.json": ("sharewise.report.comparison_page", "write_comparison"),
    "study.json": ("sharewise.report.study_page", "write_study"),
}
"""What shows a folder of results, by the document that it holds: module and function."""


def execute(parser: Parser, words: list[str]) -> int:
    """Write the page of a run, an appraisal, a comparison, a front or a study."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="folder of a run, finished or not, an appraisal, a comparison, a front or a study",
    )
    options = parser.parse(words)
    run = Path(options.run)
    for document, (module, name) in _PAGES.items():
        if (run / document).is_file():
            print(printable(getattr(import_module(module), name)(run)))
            return 0
    require_run(options.run)

    from sharewise.report import write_report
    from sharewise.run import RunFolder

    folder = RunFolder(run)
    folder.read_config()
    if folder.result.exists():
        folder.read_result()  # which says so where it cannot be verified
    else:
        folder.read_checkpoint()  # which vouches for the lines of an unfinished run
    print(printable(write_report(folder.path)))
    return 0
