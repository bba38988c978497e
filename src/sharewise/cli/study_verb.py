"""`sharewise study`."""

from __future__ import annotations

import yaml

from sharewise.cli.lines import Lines
from sharewise.cli.output import print_json, unicode_output
from sharewise.cli.parser import Parser
from sharewise.errors import ConfigurationError, printable
from sharewise.studies.plan import StudyPlan
from sharewise.studies.study import study

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Run a study; the exit code is 1 where a search has no result."""
    add = parser.add_argument
    add(
        "plan", metavar="PLAN.yaml", help="methods, spaces, data, seeds, budget and judge, as --print-config shows them"
    )
    add("--out", metavar="DIR", help="folder of the study; one that was cut off goes on")
    add("--jobs", type=int, default=1, metavar="N", help="processes; results do not depend on them (default: 1)")
    add("--print-config", action="store_true", help="print the complete plan and stop")
    add("--json", action="store_true", help="print the results as one JSON object")
    options = parser.parse(words)
    plan = StudyPlan.read(options.plan)
    if options.print_config:
        print(yaml.safe_dump(plan.to_plain(), sort_keys=False, allow_unicode=unicode_output()), end="")
        return 0
    if options.out is None:
        raise ConfigurationError("give a folder for the study: --out DIR")
    found = study(plan, out=options.out, jobs=options.jobs, progress=Lines())
    if options.json:
        print_json(dict(found.document))
    else:
        for panel, sentences in found.sentences.items():
            print(panel)
            for sentence in sentences:
                print(f"  {sentence}")
            for note in found.document["panels"][panel]["notes"]:
                print(f"  note: {note}")
        for name, reason in found.failures.items():
            print(f"no result: {name}: {reason}")
        print("\n".join(printable(found.out / name) for name in ("study.json", "report.html")))
    return 1 if found.failures else 0
