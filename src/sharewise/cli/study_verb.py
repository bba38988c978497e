"""`sharewise study`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharewise.cli.executor import add_workers, workers_of
from sharewise.cli.going_on import repeatable
from sharewise.cli.lines import Lines
from sharewise.cli.options import place
from sharewise.cli.output import print_json, unicode_output
from sharewise.cli.parser import Parser
from sharewise.errors import ConfigurationError, printable
from sharewise.own_file import own_file

if TYPE_CHECKING:
    from sharewise.studies.plan import StudyPlan

__all__ = ["execute", "run_study", "show_plan"]


def execute(parser: Parser, words: list[str]) -> int:
    """Run a study; the exit code is 1 where a search has no result."""
    add = parser.add_argument
    add(
        "plan",
        type=place,
        metavar="PLAN.yaml",
        help="methods, spaces, data, seeds, budget and judge, as --print-config shows them",
    )
    add("--out", type=place, metavar="DIR", help="folder of the study; one that was cut off goes on")
    add_workers(parser)
    add(
        "--space",
        action="append",
        default=[],
        metavar="FILE.py:FACTORY",
        help="a file and its function that make a space of the plan; once for each: a plan alone executes no code",
    )
    add("--print-config", action="store_true", help="print the complete plan and stop")
    add("--json", action="store_true", help="print the results as one JSON object")
    options = parser.parse(words)
    if options.out is None and not options.print_config:
        raise ConfigurationError("give a folder for the study: --out DIR")
    if not Path(options.plan).is_file():
        raise ConfigurationError(f"there is no plan {options.plan}; examples/study.yaml shows one")

    from sharewise.studies.plan import StudyPlan

    plan = StudyPlan.read(options.plan, [own_file(text) for text in options.space])
    if options.print_config:
        show_plan(plan)
        return 0
    with repeatable("study", words):
        return run_study(plan, Path(options.out), workers_of(options), as_json=options.json)


def show_plan(plan: StudyPlan) -> None:
    """Print a complete plan as YAML, fit for `sharewise study`."""
    import yaml

    print(yaml.safe_dump(plan.to_plain(), sort_keys=False, allow_unicode=unicode_output()), end="")


def run_study(plan: StudyPlan, out: Path, workers: Mapping[str, Any], *, as_json: bool) -> int:
    """Run a study, or go on with it, and print what may be said; the exit code is 1 where a search has no result.

    Args:
        plan: of the study.
        out: its folder.
        workers: arguments of `study` that say who does it.
        as_json: whether to print the results as one JSON object.
    """
    from sharewise.studies.study import study

    found = study(plan, out=out, progress=Lines(), **workers)
    if as_json:
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
