"""`sharewise compare`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharewise.cli.declared import names_of_table
from sharewise.cli.executor import add_workers, workers_of
from sharewise.cli.going_on import repeatable
from sharewise.cli.options import Words, listed, place
from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.errors import printable

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Draw regret against cost for strategies, and for finished searches."""
    add = parser.add_argument
    add("--oracle", type=place, required=True, metavar="TABLE", help="a table that `sharewise benchmark import` wrote")
    add("--space", metavar="NAME", help="a sub-space of the table's, such as nasbench101:A_4 (default: all of it)")
    add("--dataset", action="append", metavar="NAME", help="of the table; may be repeated (default: all of them)")
    names = ", ".join(names_of_table("sharewise.strategy.registry", "STRATEGIES"))
    some = ("random", "evolution", "local")
    add(
        "--strategies",
        action=Words,
        read=listed(str),
        default=some,
        metavar="A,B,…",
        help=f"of {names} (default: {','.join(some)})",
    )
    add(
        "--signal-epochs",
        action=Words,
        read=listed(int),
        metavar="N",
        help="training that searches see (default: the longest)",
    )
    add(
        "--signal-seed",
        choices=("mean", "random"),
        default="mean",
        help="the mean over the runs of a training, or a run at random (default: mean)",
    )
    add("--cost-seconds", type=float, metavar="X", help="budget of a repeat in seconds of the benchmark's trainings")
    add("--cost-trainings", type=float, metavar="X", help="budget in passes × multiply-accumulates of mean trainings")
    add("--evaluations", type=int, metavar="N", help="budget in evaluations")
    add("--workers", type=int, default=1, metavar="W", help="simulated ones, which evaluate at the same time by the "
        "table's recorded training times; --cost-seconds is then wall-clock (default: 1)")  # fmt: skip
    add("--latency", metavar="DEVICE", help="of the table: a further objective, lower is better, for nsga2 and tpe")
    add("--runs", nargs="+", default=[], metavar="RUN", help="folders of finished searches, shown as points")
    add("--repeats", type=int, default=500, metavar="N", help="of every strategy (default: 500)")
    add("--seed", type=int, default=0, metavar="N", help="of all random numbers (default: 0)")
    add_workers(parser)
    add(
        "--out",
        type=place,
        required=True,
        metavar="DIR",
        help="folder of the results; a comparison that was cut off goes on",
    )
    add("--json", action="store_true", help="print the results as one JSON object")
    options = parser.parse(words)

    from sharewise.studies.compare import compare
    from sharewise.studies.contest import Contest

    contest = Contest(
        strategies=options.strategies,
        datasets=tuple(options.dataset or ()),
        signal_epochs=tuple(options.signal_epochs or ()),
        signal_seed=options.signal_seed,
        cost_seconds=options.cost_seconds,
        cost_trainings=options.cost_trainings,
        evaluations=options.evaluations,
        latency=options.latency,
        repeats=options.repeats,
        seed=options.seed,
        workers=options.workers,
    )
    with repeatable("compare", words):
        found = compare(
            options.oracle, contest, space=options.space, runs=options.runs, out=options.out, **workers_of(options)
        )
    if options.json:
        print_json(dict(found.document))
    else:
        _show(found.document["datasets"], Path(options.out))
    return 0


def _show(panels: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    for name, panel in panels.items():
        print(f"{name}: best possible test accuracy {panel['best_test']:.2f} %; cost in {panel['unit_shown']}")
        for strategy, curve in panel["strategies"].items():
            mean, interval = curve["mean"][-1], curve["mean_interval"][-1]
            shown = "no result in some repeats" if mean is None else f"{mean:.2f}"
            shown += "" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]"
            print(f"  {strategy:28s} regret {shown} after {curve['evaluations']['mean']:.0f} evaluations")
        for method, found in panel["methods"].items():
            ends = found["interval"]
            shown = "" if ends is None else f" [{ends[0]:.2f}, {ends[1]:.2f}]"
            cost = found["mean_cost"] / panel["scale"]
            print(f"  {method:28s} regret {found['mean']:.2f}{shown}, {found['n']} searches of cost {cost:.3g}")
        for claim in panel["verdicts"]:
            print(f"  {claim['sentence']}")
        for note in panel["notes"]:
            print(f"  note: {note}")
    print("\n".join(printable(out / name) for name in ("results.json", "figure.png", "report.html")))
