"""`sharewise appraise`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from sharewise.cli.declared import names_of_table
from sharewise.cli.executor import add_workers, workers_of
from sharewise.cli.going_on import repeatable
from sharewise.cli.lines import Lines
from sharewise.cli.options import place
from sharewise.cli.output import print_json
from sharewise.cli.own import add_own
from sharewise.cli.parser import Parser
from sharewise.cli.running import require_run
from sharewise.errors import ConfigurationError, printable
from sharewise.own_file import own_of

if TYPE_CHECKING:
    from sharewise.run.standalone import TrainingRecipe
    from sharewise.studies.appraise import Appraisal

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Compare supernets with the truth, and say whether sharing helps."""
    _add_options(parser)
    options = parser.parse(words)
    for run in options.runs:
        require_run(run)
    own = own_of(options.space)

    from sharewise.studies.appraise import appraise

    with repeatable("appraise", words):
        found = appraise(
            options.runs,
            options.oracle,
            dataset=options.dataset,
            architectures=options.architectures,
            recalibrate=options.recalibrate,
            examples=options.examples,
            fine_tune=options.fine_tune,
            fine_tune_rate=options.fine_tune_rate,
            seeds=options.seeds,
            training=_training(options),
            seed=options.seed,
            repeats=options.repeats,
            resamples=options.resamples,
            side_by_side=options.side_by_side,
            device=options.device,
            training_free=tuple(name for name in (options.training_free or "").split(",") if name),
            out=options.out,
            progress=Lines(),
            own=own,
            **workers_of(options),
        )
    if not found.document:
        return 0  # the first process of several has it
    if options.json:
        print_json(dict(found.document))
    else:
        _show(found)
    return 0


def _add_options(parser: Parser) -> None:
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="folders of finished searches that differ in nothing but the seed")
    add_own(parser)
    add("--oracle", default="standalone", metavar="TABLE", help="a table that `sharewise benchmark import` wrote, or "
        "standalone: train the sample here (default: standalone)")  # fmt: skip
    add("--dataset", metavar="NAME", help="of the table (default: its only one)")
    add("--architectures", type=int, metavar="N", help="in the sample (default: 300 from a table, 12 standalone)")
    add("--recalibrate", type=int, default=4, metavar="N", help="mini-batches for batch-norm statistics of an "
        "architecture's own, beside the running ones; 0 for none (default: 4)")  # fmt: skip
    add("--examples", type=int, metavar="N", help="held-out examples behind each score (default: all)")
    add("--fine-tune", type=int, default=0, metavar="K", help="steps on an architecture's weights before it is scored "
        "once more; they are restored afterwards (default: 0)")  # fmt: skip
    add(
        "--fine-tune-rate", type=float, metavar="X", help="their learning rate (default: a tenth of the search's first)"
    )
    add("--seeds", type=int, metavar="N", help="supernets in all; missing ones are trained like the first run")
    group = parser.add_argument_group("standalone trainings")
    group.add_argument("--epochs", type=int, metavar="N", help="of each training (default: 5)")
    group.add_argument("--batch-size", type=int, metavar="N", help="examples per step (default: 64)")
    group.add_argument("--learning-rate", type=float, metavar="X", help="at the start of the cosine (default: 0.025)")
    group.add_argument("--held-out", type=float, metavar="X", help="part of the training examples that trainings are "
        "scored on (default: 0.2)")  # fmt: skip
    group.add_argument("--side-by-side", type=int, default=1, metavar="N", help="small networks that a process trains "
        "at once, where a trial finds that this is faster; equal but for the order of sums (default: 1)")  # fmt: skip
    add("--repeats", type=int, default=500, metavar="N", help="of the searches beside (default: 500)")
    add("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap over architectures (default: 1000)")
    add("--seed", type=int, default=0, metavar="N", help="of the sample and all other random numbers (default: 0)")
    add_workers(parser, jobs=None, meaning="workers; results do not depend on them (default: one per core)")
    add("--training-free", metavar="A,B,…", help="scores of untrained networks to judge beside: "
        f"{', '.join(names_of_table('sharewise.studies.training_free.scores', 'SCORES'))}")  # fmt: skip
    add("--device", help="where to compute (default: as the runs)")
    add(
        "--out",
        type=place,
        required=True,
        metavar="DIR",
        help="folder of the results; an appraisal that was cut off goes on",
    )
    add("--json", action="store_true", help="print the results as one JSON object")


def _training(options: argparse.Namespace) -> TrainingRecipe | None:
    """How the sample is trained; `None` where a table knows."""
    from sharewise.run.standalone import TrainingRecipe
    from sharewise.studies.appraise import STANDALONE

    standalone = options.oracle == STANDALONE
    given = {
        name: value
        for name, value in (
            ("epochs", options.epochs),
            ("batch_size", options.batch_size),
            ("learning_rate", options.learning_rate),
            ("validation_fraction", options.held_out),
        )
        if value is not None
    }
    if given and not standalone:
        raise ConfigurationError(
            "--epochs, --batch-size, --learning-rate and --held-out belong to --oracle standalone; a table states what "
            "its trainings were"
        )
    if standalone and options.dataset is not None:
        raise ConfigurationError("--dataset names a data set of a table; standalone trainings use that of the runs")
    return replace(TrainingRecipe(epochs=5, validation_fraction=0.2), **given) if standalone else None


def _show(found: Appraisal) -> None:
    document = found.document
    for variant in document["variants"]:
        print(f"{variant}: {document['agreement'][variant]['over_seeds']['spearman']['sentence']}")
    if document["recalibration"] is not None:
        print(document["recalibration"]["sentence"])
    for variant, report in document["bias"].items():
        print(f"{variant}: {report['sentence']}")
    for free in document["training_free"].values():
        print(free["sentence"])
    for note in document["notes"]:
        print(f"note: {note}")
    assert found.out is not None
    order = found.document["verdict"]["order"]
    if order is not None and order["advice"] is not None:
        print(f"what to try: {order['advice']}")
    print(f"{found.verdict}\n{printable(found.out / 'report.html')}")
