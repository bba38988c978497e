"""`sharewise front`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from sharewise.cli.executor import add_workers, workers_of
from sharewise.cli.going_on import repeatable
from sharewise.cli.lines import Lines
from sharewise.cli.options import Words, listed, place
from sharewise.cli.output import print_json
from sharewise.cli.own import add_own
from sharewise.cli.parser import Parser
from sharewise.cli.running import read_latency_table, require_run
from sharewise.errors import ConfigurationError, printable
from sharewise.own_file import own_of

if TYPE_CHECKING:
    from sharewise.studies.front import Front

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Find the front of a finished search over several budgets."""
    _add_options(parser)
    options = parser.parse(words)
    require_run(options.run)
    budgets = (options.parameters, options.multiply_accumulates, options.latency)
    if not any(budgets):
        raise ConfigurationError("give budgets: --parameters, --multiply-accumulates or --latency, such as 1e5,2e5,4e5")
    if options.latency_table is not None and not options.latency:
        raise ConfigurationError("a latency table bounds nothing without --latency")
    own = own_of(options.space)
    table = None if options.latency_table is None else read_latency_table(options.latency_table)

    from sharewise.studies.front import front

    with repeatable("front", words):
        found = front(
            options.run,
            parameters=options.parameters,
            multiply_accumulates=options.multiply_accumulates,
            latency=options.latency,
            latency_table=table,
            evaluations=options.evaluations,
            population=options.population,
            examples=options.examples,
            recalibrate=options.recalibrate,
            seed=options.seed,
            device=options.device,
            out=options.out,
            progress=Lines(),
            own=own,
            **workers_of(options),
        )
    if options.json:
        print_json(dict(found.document))
    else:
        _show(found, Path(options.out))
    return 0


def _add_options(parser: Parser) -> None:
    add = parser.add_argument
    add("run", metavar="RUN", help="folder of a finished search")
    for name, meaning in (
        ("--parameters", "budgets, in trainable parameters"),
        ("--multiply-accumulates", "budgets, per example"),
        ("--latency", "budgets, in milliseconds by a latency table"),
    ):
        add(name, action=Words, read=listed(float), default=(), metavar="N,…", help=meaning)
    add("--latency-table", type=place, metavar="FILE", help="JSON file of milliseconds by option (default: the run's)")
    add_own(parser)
    add("--evaluations", type=int, default=400, metavar="N", help="architectures to score; a space that has no more is "
        "scored completely, a larger one by NSGA-II (default: 400)")  # fmt: skip
    add("--population", type=int, default=40, metavar="N", help="of the evolution (default: 40)")
    add("--examples", type=int, metavar="N", help="held-out examples behind each score (default: all)")
    add("--recalibrate", type=int, default=4, metavar="N", help="mini-batches for batch-norm statistics of an "
        "architecture's own; 0 for the running ones (default: 4)")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="of the evolution (default: 0)")
    add_workers(parser)
    add("--device", help="where to compute (default: as the run)")
    add(
        "--out",
        type=place,
        required=True,
        metavar="DIR",
        help="folder of the results; one that was cut off goes on",
    )
    add("--json", action="store_true", help="print the results as one JSON object")


def _show(found: Front, out: Path) -> None:
    document = found.document
    print(found)
    for row in document["budgets"]:
        value = row["scores"][document["metric"]]
        print(
            f"within {row['most']:,.10g} {row['quantity']}: point {row['point']}, {document['metric']} {value:.4f}, "
            f"{row['costs'][row['quantity']]:,.10g} spent"
        )
    for note in document["notes"]:
        print(f"note: {note}")
    chosen = ["sharewise", "train", "--from-front", str(out), "--point", str(document["budgets"][0]["point"])]
    chosen += [] if document["file"] is None else ["--space", document["file"]]
    print(printable(f"train a point:  {shlex.join([*chosen, '--out', 'DIR'])}"))
    print("\n".join(printable(out / name) for name in ("front.json", "figure.png", "report.html")))
