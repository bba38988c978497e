"""`sharewise status`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.errors import printable

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Say what of a folder is finished, running, waiting or failed; the exit code is 1 where something failed."""
    parser.add_argument("folder", metavar="FOLDER", help="of a run, a study, an appraisal, or of several of them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse(words)

    from sharewise.studies.status import status

    runs = status(options.folder)
    counts = Counter(run.state for run in runs)
    if options.json:
        print_json({"counts": dict(counts), "runs": [asdict(run) for run in runs]})
    else:
        width = max(len(run.name) for run in runs)
        for run in runs:
            step = "" if run.step is None else f"step {run.step}"
            print(printable(f"{run.name:{width}}  {run.state:8}  {step:10}  {run.why}".rstrip()))
        print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    return 1 if counts["failed"] else 0
