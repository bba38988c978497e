"""Appraise: should you share? Supernets beside the truth, from scores to a verdict, in a folder that survives."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from sharewise import given
from sharewise.engine import SearchResult, SearchState
from sharewise.engine.streams import derived_seed
from sharewise.errors import ConfigurationError
from sharewise.interruption import whole
from sharewise.oracle import Table, open_table
from sharewise.own_file import OwnFile, own_of
from sharewise.processes import by_itself
from sharewise.report.appraisal_page import write_appraisal
from sharewise.run.arguments import training_of
from sharewise.run.environment import environment
from sharewise.run.finished import Finished, finished
from sharewise.run.folder import RunFolder
from sharewise.run.joining import ranks_here
from sharewise.run.place import Place
from sharewise.run.standalone import TrainingRecipe
from sharewise.shown import Shown
from sharewise.studies.evidence import describe, scored_on, spent_on_training, supernets_of
from sharewise.studies.executors import DAY, PROCESSES, require_executor
from sharewise.studies.judgement import Supernets, judge
from sharewise.studies.results import ResultFolder
from sharewise.studies.sample import Sample, TruthSource, from_table, from_trainings
from sharewise.studies.scoring import Score, Scoring, score
from sharewise.studies.siblings import by_seed, missing_siblings, train_together
from sharewise.studies.training_free import TrainingFreeOracle, against_truth, known_scores
from sharewise.studies.trainings import train_each
from sharewise.studies.truth import Truth, require_enough
from sharewise.studies.workers import Progress, Workers, cores, one_thread, silent

__all__ = ["STANDALONE", "Appraisal", "appraise"]

STANDALONE = "standalone"


@final
@dataclass(frozen=True, eq=False, repr=False)
class Appraisal(Shown):
    """What an appraisal found.

    Args:
        verdict: in one sentence.
        document: verdict and evidence as plain values, as `appraisal.json` holds them.
        out: the folder with figures and report; `None` where none was asked for.
        architectures: of the sample, each with its truth and all of its scores, as `architectures.json` holds them.
    """

    verdict: str
    document: Mapping[str, Any]
    out: Path | None = None
    architectures: Sequence[Mapping[str, Any]] = ()

    def table(self) -> list[dict[str, Any]]:
        """A row for every architecture of the sample: what it is worth, its cost, and its score by every supernet."""
        return [
            {name: value for name, value in row.items() if name != "scores"}
            | {f"{way}/{seed}": value for way, seeds in row["scores"].items() for seed, value in seeds.items()}
            for row in self.architectures
        ]

    def told(self) -> dict[str, str]:
        """See `sharewise.shown.Shown`."""
        found, verdict = self.document, self.document.get("verdict", {})
        return {
            "verdict": self.verdict,
            **({"order": verdict["order"]["sentence"]} if verdict.get("order") else {}),
            "search": ", ".join(str(found[name]) for name in ("method", "space", "data") if name in found),
            "rests on": f"{len(found.get('runs', ()))} supernets, {found.get('n', 0)} architectures",
            **({} if self.out is None else {"page": str(self.out / "report.html")}),
        }

    def __str__(self) -> str:
        return self.verdict


def appraise(
    runs: str | Path | SearchResult | Sequence[str | Path | SearchResult],
    oracle: str | Path | Table = STANDALONE,
    *,
    dataset: str | None = None,
    architectures: int | None = None,
    recalibrate: int = 4,
    examples: int | None = None,
    fine_tune: int = 0,
    fine_tune_rate: float | None = None,
    seeds: int | None = None,
    training: TrainingRecipe | Mapping[str, Any] | None = None,
    epochs: int | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    repeats: int = 500,
    resamples: int = 1000,
    jobs: int | None = None,
    executor: str = PROCESSES,
    task_timeout: float = DAY,
    side_by_side: int = 1,
    device: str | None = None,
    training_free: Sequence[str] = (),
    out: str | Path | None = None,
    progress: Progress | None = None,
    own: OwnFile | str | None = None,
) -> Appraisal:
    """Say whether sharing weights helps in a space: rank agreement, biases, and regret at equal cost.

    A sample of architectures is scored by every supernet on held-out examples, with running and with recalibrated
    batch-norm statistics, and compared with what each architecture is worth when it is trained on its own: by a table,
    or by trainings that are made here. A search that trains the k best by score is charged the supernet's training,
    the scoring of the sample and its k trainings; random search and, with a table, regularized evolution get the same.

    Args:
        runs: finished searches that differ in nothing but the seed: folders, or results in memory.
        oracle: a table, or its file; or `"standalone"`.
        dataset: of the table; may be left out where there is one.
        architectures: in the sample, at least 3; by default 300 from a table, 12 that are trained here.
        recalibrate: mini-batches for an architecture's own batch-norm statistics; 0 scores with the running ones alone.
        examples: held-out examples that each score rests on; `None` for all.
        fine_tune: steps on an architecture's weights before it is scored once more; 0 for none.
        fine_tune_rate: their learning rate; `None` for a tenth of the search's first.
        seeds: supernets in all; those that are missing are trained with the first run's configuration and the next
            seeds, in `out`.
        training: of an architecture on its own, for `"standalone"`.
        epochs: overrides those of `training`.
        network: options of the network as the search had them; for results in memory with `"standalone"`.
        seed: of the sample, the trainings, the bootstrap and the searches beside.
        repeats: of each search beside.
        resamples: of the bootstrap over architectures.
        jobs: processes; by default one per core for folders on a CPU, else one. Results do not depend on it.
        executor: where they are: `"processes"`, or `"ray"`, `"dask"`, `"slurm"`, with an address after `://`.
        task_timeout: seconds that one of them may take for a task before it is ended, and the task begun again.
        side_by_side: networks that a process trains at once for `"standalone"`, where a trial finds that this is
            faster: small ones, of layers that are known. Each is trained as it is alone but for the order of sums, and
            a group that was cut off begins again.
        device: overrides the runs'.
        training_free: scores that need no training, to be judged beside the supernets; keys of
            `sharewise.studies.training_free.SCORES`.
        out: folder for scores, trainings, figures and the report; an appraisal that was cut off goes on there.
        progress: told what is being done.
        own: the file that makes the space of runs in folders, as `"model.py:factory"`; a run folder alone executes no
            code.

    Returns:
        The verdict with its evidence. Where `torchrun` starts several processes, they train the missing supernets
        together, and the first one has the answer; the others return one without a document.

    Raises:
        ConfigurationError: when runs differ in more than the seed, the table is of another space, or a number is out of
            range.
        CheckpointError: when a run is damaged, or `out` holds another appraisal.

    Example:
        >>> import sharewise as sw
        >>> options = {"channels": 2, "cells": 1}
        >>> result = sw.search(sw.spaces.nasbench201(), sw.methods.spos(candidates=1), sw.data.digits(),
        ...                    network=options, max_steps=4, device="cpu")
        >>> found = sw.appraise(result, architectures=3, epochs=1, examples=64, network=options, resamples=20)
        >>> found.document["n"], found.document["verdict"]["answer"]
        (3, 'cannot tell')

    References:
        A. Pourchot, A. Ducarouge and O. Sigaud, *To Share or Not To Share: An Extensive Appraisal of Weight-Sharing*
        (arXiv 2002.04289).
    """
    began, place = time.perf_counter(), given.optional(given.folder, "out", out)
    count = partial(given.optional, given.whole)
    jobs, network = count("jobs", jobs), given.optional(given.mapping, "network", network)
    require_executor(given.text("executor", executor))
    task_timeout = given.number("task_timeout", task_timeout)
    side_by_side = given.whole("side_by_side", side_by_side)
    told = given.optional(given.function, "progress", progress, "what is done, how much of it, and how much there is")
    device = given.optional(given.text, "device", str(device) if isinstance(device, torch.device) else device)
    scoring = Scoring(
        given.whole("recalibrate", recalibrate, least=0),
        count("examples", examples),
        given.whole("fine_tune", fine_tune, least=0),
        given.optional(given.number, "fine_tune_rate", fine_tune_rate),
    )
    design = _Design(
        _source(oracle, given.optional(given.text, "dataset", dataset), training, count("epochs", epochs)),
        count("architectures", architectures),
        scoring,
        count("seeds", seeds),
        given.whole("seed", seed, least=0),
        given.whole("repeats", repeats),
        given.whole("resamples", resamples, least=0),
        known_scores(training_free),
    )
    if side_by_side > 1 and design.source.training is None:
        raise ConfigurationError("side_by_side belongs to the oracle standalone; from a table nothing is trained")
    searches = finished(runs, device=device, network=network, own=own_of(own))
    if not searches:
        raise ConfigurationError("there is nothing to appraise: give at least one finished search")
    by_seed(searches)  # before anything is trained
    jobs = _default_jobs(searches, device) if jobs is None else jobs
    workers = Workers(jobs, told or silent, executor, side_by_side, task_timeout)
    appraising = _Appraising(design, searches, workers, device, place)
    with whole(appraising.folder, f"sharewise.appraise(…, out={str(out)!r})"):
        return appraising.run(began)


# ---------------------------------------------------------------------------------------------------------------------
# The question


def _source(
    oracle: str | Path | Table,
    dataset: str | None,
    training: TrainingRecipe | Mapping[str, Any] | None,
    epochs: int | None,
) -> TruthSource:
    """Where the truth comes from; whatever is wrong with it is an error before anything is done."""
    if oracle == STANDALONE:
        usual = TrainingRecipe(epochs=5, validation_fraction=0.2)
        return from_trainings(training_of(usual if training is None else training, epochs))
    if training is not None or epochs is not None:
        raise ConfigurationError("trainings are for the oracle standalone; a table states what its own were")
    return from_table(oracle if isinstance(oracle, Table) else open_table(oracle), dataset)


@final
@dataclass(frozen=True)
class _Design:
    """What is asked; arguments as for `appraise`."""

    source: TruthSource
    architectures: int | None
    scoring: Scoring
    seeds: int | None
    seed: int
    repeats: int
    resamples: int
    training_free: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_enough(self.count)
        if self.seed < 0 or self.repeats < 2 or self.resamples < 20:
            raise ConfigurationError(
                f"the seed must not be negative, repeats at least 2 and resamples at least 20; got {self.seed}, "
                f"{self.repeats} and {self.resamples}"
            )
        if self.seeds is not None and self.seeds < 1:
            raise ConfigurationError(f"seeds is the number of supernets in all, at least 1; got {self.seeds}")

    @property
    def count(self) -> int:
        """Architectures in the sample."""
        return self.source.count if self.architectures is None else self.architectures

    def plan(self, first: SearchState) -> dict[str, Any]:
        """What the folder of an appraisal depends on."""
        return {
            "kind": "appraisal",
            "space": first.supernet.space.name,
            "method": first.recipe.name,
            "data": first.data.dataset.name,
            "oracle": self.source.oracle,
            "architectures": self.count,
            "seed": self.seed,
            "repeats": self.repeats,
            "resamples": self.resamples,
            "scoring": asdict(self.scoring),
            "training": self.source.training,
            **({"training_free": list(self.training_free)} if self.training_free else {}),
        }


def _default_jobs(runs: Sequence[Finished], device: str | None) -> int:
    """One process per core for folders on a CPU, else one."""
    on_cpu = device == "cpu" or (device in (None, "auto") and not torch.cuda.is_available())
    return cores() if on_cpu and all(run.anywhere for run in runs) else 1


# ---------------------------------------------------------------------------------------------------------------------
# The answer


@final
@dataclass(frozen=True)
class _Appraising:
    """Runs, and what is done with them.

    Args:
        design: the question.
        runs: that were given.
        workers: do what takes long.
        device: overrides the runs'.
        folder: of the results; `None` keeps nothing.
    """

    design: _Design
    runs: Sequence[Finished]
    workers: Workers
    device: str | None
    folder: Path | None

    def run(self, began: float) -> Appraisal:
        """From the sample to the verdict."""
        with by_itself():
            first = self.runs[0].open()
        if not ranks_here().alone:
            return self._shared(first, began)
        if self.folder is None:
            return self._answered(first, began)
        with self._kept(first, self.folder):
            return self._answered(first, began)

    @contextmanager
    def _kept(self, first: SearchState, folder: Path) -> Iterator[None]:
        results = ResultFolder(folder, "appraisal")
        results.begin(self.design.plan(first))
        with results.locked():
            yield

    def _shared(self, first: SearchState, began: float) -> Appraisal:
        """Several processes train the missing supernets together; the first one goes on by itself."""
        if self.folder is None or self.design.seeds is None:
            raise ConfigurationError(
                "several processes share the supernets that --seeds N asks for beside those given, and nothing "
                "else of an appraisal: give --seeds and --out, or start it without torchrun, with --jobs"
            )
        ranks = ranks_here()
        with ExitStack() as kept:
            with Place(first.numerics.device.type).entered():
                if ranks.first:
                    with ranks.leading():
                        kept.enter_context(self._kept(first, self.folder))
                else:
                    ranks.led()
                told = self.workers.progress if ranks.first else silent
                train_together(self.runs, self.design.seeds, self.folder, self.device, told)
            if not ranks.first:
                return Appraisal("", {}, self.folder)
            with by_itself():
                return self._answered(first, began)

    def _answered(self, first: SearchState, began: float) -> Appraisal:
        design, sample = self.design, self._sample(first)
        siblings = missing_siblings(self.runs, design.seeds, self.folder, self.device, self.workers)
        named = by_seed([*self.runs, *siblings])
        with one_thread() if first.numerics.device.type == "cpu" else nullcontext():
            scores = {name: self._scores(name, run, sample) for name, run in named.items()}
            truth = sample.reveal()
            described = describe(first, truth.architectures)
            free = self._training_free(first, truth)
            ledgers = {name: spent_on_training(run) for name, run in named.items()}
            kept = {name: _kept(sample, column, truth) for name, column in scores.items()}
            supernets, spent = supernets_of(design.scoring, kept, ledgers)
            judgement = judge(
                truth, supernets, described, seed=design.seed, repeats=design.repeats, resamples=design.resamples
            )
        document = {
            **self._facts(first),
            "runs": [
                {"seed": name, "run": None if run.path is None else str(run.path), **spent[name]}
                for name, run in named.items()
            ],
            **judgement.document,
            "training_free": free,
        }
        rows = _rows(truth, supernets)
        document["notes"] = [*design.source.notes(first, truth), *document["notes"]]
        if self.folder is not None:
            _write(self.folder, document, rows, described)
            effort = {**self.workers.facts(), "seconds": time.perf_counter() - began}
            threads = {"threads": 1} if first.numerics.device.type == "cpu" else {}
            facts = {**environment(first.numerics.device), **threads, **effort}
            RunFolder(self.folder).write_json(self.folder / "environment.json", facts)
        return Appraisal(judgement.verdict.sentence, document, self.folder, rows)

    def _workers_of(self, run: Finished) -> Workers:
        return self.workers if run.anywhere else self.workers.only_here()

    def _sample(self, first: SearchState) -> Sample:
        design, run = self.design, self.runs[0]
        train = partial(
            train_each,
            run,
            # Not a seed of the runs, which would hold out the very examples on which their supernets score.
            seed=derived_seed(design.seed, "standalone trainings") % 2**31,
            folder=None if self.folder is None else self.folder / "trainings",
            workers=self._workers_of(run),
        )
        return design.source.draw(first, design.count, np.random.default_rng([design.seed, 1]), train)

    def _scores(self, name: str, run: Finished, sample: Sample) -> list[Score]:
        return score(
            run,
            sample.architectures,
            self.design.scoring,
            store=None if self.folder is None else self.folder / "scores" / f"seed-{name}.jsonl",
            workers=self._workers_of(run),
            title=f"scored with seed {name}",
        )

    def _training_free(self, first: SearchState, truth: Truth) -> dict[str, Any]:
        """Scores at initialisation against the truth, by name; they stand beside the verdict and have no part in it."""
        design, run = self.design, self.runs[0]
        if not design.training_free:
            return {}
        space, data, network = first.supernet.space, first.data.dataset, run.network_options()
        folder = None if self.folder is None else self.folder / "training_free"
        found = {}
        for name in design.training_free:
            oracle = TrainingFreeOracle(
                space,
                data,
                name,
                batch_size=min(64, len(data.train)),
                network=network,
                seed=design.seed,
                device=str(first.numerics.device),
            )
            store = None if folder is None else folder / f"{name}.jsonl"
            found[name] = against_truth(oracle, truth, store=store, seed=design.seed, resamples=design.resamples)
        return found

    def _facts(self, first: SearchState) -> dict[str, Any]:
        design = self.design
        return {
            "kind": "appraisal",
            "space": first.supernet.space.name,
            "method": first.recipe.name,
            "description": first.recipe.describe(),
            "data": first.data.dataset.name,
            "scored_on": scored_on(first, design.scoring),
            "scoring": asdict(design.scoring),
            "training": design.source.training,
        }


def _kept(sample: Sample, scores: Sequence[Score], truth: Truth) -> list[Score]:
    """Scores of those architectures of which something is true: trainings may have diverged."""
    known = set(truth.architectures)
    return [found for architecture, found in zip(sample.architectures, scores, strict=True) if architecture in known]


# ---------------------------------------------------------------------------------------------------------------------
# Files


def _rows(truth: Truth, supernets: Supernets) -> list[dict[str, Any]]:
    """The numbers of every architecture."""
    return [
        {
            "architecture": str(architecture),
            "truth": float(truth.test[place]),
            "signal": float(truth.signal[place]),
            "cost": None if truth.costs is None else float(truth.costs[place]),
            "scores": {
                variant: {name: _number(column[place]) for name, column in seeds.items()}
                for variant, seeds in supernets.scores.items()
            },
        }
        for place, architecture in enumerate(truth.architectures)
    ]


def _write(
    folder: Path, document: dict[str, Any], rows: list[dict[str, Any]], described: Mapping[str, NDArray[Any]]
) -> None:
    """The numbers of every architecture, the document, and last the page that shows them."""
    run = RunFolder(folder)
    features = {name: column.tolist() for name, column in described.items()}
    run.write_sealed(folder / "architectures.json", {"architectures": rows, "features": features})
    run.write_sealed(folder / "appraisal.json", document)
    write_appraisal(folder)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
