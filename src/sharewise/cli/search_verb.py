"""`sharewise search`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sharewise.cli.going_on import repeatable
from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.cli.running import Many, Request, read_request
from sharewise.errors import ConfigurationError, printable
from sharewise.processes import rank_here

if TYPE_CHECKING:
    from sharewise.run import Forecast

__all__ = ["execute"]


def _show(found: Forecast, *, as_json: bool) -> None:
    """What a search will need."""
    if as_json:
        print_json(found.to_json())
        return
    parts = ("training", "measurement", "selection")
    print(f"steps:        {found.steps:>14,}   (this forecast made {found.made} of them)")
    for part in parts:
        print(
            f"{part + ':':13s} {found.seconds.get(part, 0.0):>13,.1f} s   {found.passes.get(part, 0):>10,} forward "
            f"passes   {found.multiply_accumulates.get(part, 0):.3g} passes × multiply-accumulates"
        )
    print(f"in all:       {sum(found.seconds.values()):>13,.1f} s   on this machine as it is now")
    print(f"peak memory:  {found.peak_bytes / 2**20:>12,.0f} MiB")


def _search_under_seeds(request: Request, many: Many) -> int:
    """Search once a seed, retrain what was found, and print means with intervals."""
    from sharewise.cli.study_verb import run_study, show_plan
    from sharewise.run import SearchConfiguration
    from sharewise.studies.one_search import plan_of_search, retraining
    from sharewise.studies.plan import JudgeSettings

    assert isinstance(request.configuration, SearchConfiguration)
    judge = retraining(many.retrain, request.configuration.load_space()) if many.retrain else JudgeSettings()
    plan = plan_of_search(request.configuration, many.seeds, judge)
    if request.print_config:
        show_plan(plan)
        return 0
    return run_study(plan, request.out, many.workers, as_json=request.as_json)


def _in_table(table: dict[str, Any]) -> str:
    """What the table says of what was found."""
    words = [
        f"{name} error {100 * table[f'{split}_error']:.2f} % (least of the space: {100 * least:.2f} %)"
        if f"{split}_error" in table
        else f"{name} error not known"
        for split, name in (("valid", "validation"), ("test", "test"))
        if (least := table["least"].get(f"{split}_error")) is not None
    ]
    return f"in the table ({table['benchmark']}, {table['dataset']}): " + ", ".join(words)


def execute(parser: Parser, words: list[str]) -> int:
    """Search, and print what was found."""
    request = read_request("search", parser, words)
    if request.many is not None:
        if rank_here()[1] > 1:
            raise ConfigurationError("--seeds and --retrain are many runs: start them without torchrun, with --jobs")
        with repeatable("search", words):
            return _search_under_seeds(request, request.many)
    if request.print_config:
        request.show_config()
        return 0
    from rich.markup import escape

    from sharewise.cli.display import console, show_course, show_picture, show_remarks
    from sharewise.engine import candidates_at_once
    from sharewise.run import RunFolder, SearchConfiguration, foresee, tensorboard
    from sharewise.run.progress import progress
    from sharewise.studies.workers import cores

    configuration = request.configuration
    assert isinstance(configuration, SearchConfiguration)
    screen = console(quiet=request.as_json)
    if request.note:
        screen.print(request.note, markup=False)
    if request.dry_run:
        _show(foresee(configuration.with_latencies().search()), as_json=request.as_json)
        return 0
    folder = RunFolder(request.out)
    screen.print(
        f"[bold]{escape(configuration.method)}[/bold] on [bold]{escape(configuration.space)}[/bold] with data "
        f"[bold]{escape(configuration.data)}[/bold]: {escape(configuration.build_recipe().describe())}"
    )
    extra = [tensorboard(folder.path / "tensorboard")] if request.tensorboard else []
    with candidates_at_once(cores() if request.jobs is None else request.jobs), progress(screen) as display:
        configuration.execute(
            request.out, resume=request.resume, callbacks=[display, *extra], extension=request.extension
        )
    result = folder.read_result()
    if request.as_json:
        print_json(result)
        return 0
    screen.print(f"found: [bold]{escape(result['architecture'])}[/bold]")
    screen.print(f"by: {result['selection']['rule']}", markup=False)
    show_picture(screen, result["picture"])
    primary = result["task"]["primary"]
    screen.print(
        f"{primary} with inherited weights: {result['inherited'][primary]:.4f} on "
        f"{result['inherited']['examples']} {result['inherited']['on']} (never the test examples)",
        markup=False,
    )
    if result.get("table"):
        screen.print(_in_table(result["table"]), markup=False)
    show_course(screen, result)
    show_remarks(screen, result.get("remarks", []))
    offer = json.loads(folder.environment.read_text(encoding="utf-8")).get("bfloat16", "")
    if "--precision" in offer:
        screen.print(printable(offer), markup=False)
    screen.print(f"parameters: {result['cost']['parameters']:,}   seconds: {result['cost']['seconds']:.1f}")
    screen.print(f"report: {printable(folder.report)}", markup=False)
    return 0
