"""Appraise: should you share? Supernets beside the truth, from scores to a verdict, in a folder that survives."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from sharewise.engine import SearchResult, SearchState
from sharewise.engine.streams import derived_seed
from sharewise.errors import CheckpointError, ConfigurationError, SharewiseError
from sharewise.oracle import Table, open_table
from sharewise.report.appraisal_page import write_appraisal
from sharewise.run.configuration import SearchConfiguration, from_mapping
from sharewise.run.environment import environment
from sharewise.run.folder import RunFolder, write_atomically
from sharewise.run.judgement import Judgement, Supernets, judge
from sharewise.run.oracles import finished_search
from sharewise.run.scoring import Progress, Score, Scoring, score
from sharewise.run.search import fingerprint
from sharewise.run.standalone import TrainingRecipe
from sharewise.run.trainings import train_each
from sharewise.run.truth import Truth, draw, require_enough, truth_of_table, truth_of_trainings
from sharewise.run.workers import cores, one_thread, spread
from sharewise.space import Architecture, features
from sharewise.supernet import discrete

__all__ = ["Appraisal", "appraise"]

STANDALONE = "standalone"
_IGNORED = ("seed", "device", "threads", "checkpoint_every", "gap_examples", "data_path")
"""Settings in which siblings may differ: none of them changes what is learned, but for the seed."""


@final
@dataclass(frozen=True, eq=False)
class Appraisal:
    """What an appraisal found.

    Args:
        verdict: in one sentence.
        document: verdict and evidence as plain values, as `appraisal.json` holds them.
        out: the folder with figures and report; `None` where none was asked for.
    """

    verdict: str
    document: Mapping[str, Any]
    out: Path | None = None

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
    training: TrainingRecipe | None = None,
    epochs: int | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    repeats: int = 500,
    resamples: int = 1000,
    jobs: int | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
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
        device: overrides the runs'.
        out: folder for scores, trainings, figures and the report; an appraisal that was cut off goes on there.
        progress: told what is being done.

    Returns:
        The verdict with its evidence.

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
    began = time.perf_counter()
    sources = _sources(runs)
    standalone = isinstance(oracle, str) and oracle == STANDALONE
    count = architectures if architectures is not None else (12 if standalone else 300)
    require_enough(count)
    if seed < 0 or repeats < 2 or resamples < 20:
        raise ConfigurationError(
            f"the seed must not be negative, repeats at least 2 and resamples at least 20; got {seed}, {repeats} and "
            f"{resamples}"
        )
    if seeds is not None and seeds < 1:
        raise ConfigurationError(f"seeds is the number of supernets in all, at least 1; got {seeds}")
    scoring = Scoring(recalibrate, examples, fine_tune, fine_tune_rate)
    recipe = replace(training or TrainingRecipe(epochs=5, validation_fraction=0.2))
    recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
    table = None if standalone else oracle if isinstance(oracle, Table) else open_table(oracle)
    if not standalone and (training is not None or epochs is not None):
        raise ConfigurationError("trainings are for the oracle standalone; a table states what its own were")
    if standalone and (recipe.epochs < 1 or not recipe.validation_fraction):
        raise ConfigurationError(
            "trainings need at least 1 epoch, and examples that are held out to score them; got "
            f"{recipe.epochs} epochs and a held-out part of {recipe.validation_fraction}"
        )
    folder = None if out is None else Path(out)
    _by_seed(sources, device)  # before anything is trained
    processes = _jobs(jobs, sources, device)
    first = _opened(sources[0], device)
    if folder is not None:
        plan = {
            "kind": "appraisal",
            "space": first.supernet.space.name,
            "method": first.recipe.name,
            "data": first.data.dataset.name,
            "oracle": STANDALONE if table is None else {"benchmark": table.benchmark, "dataset": dataset},
            "architectures": count,
            "seed": seed,
            "repeats": repeats,
            "resamples": resamples,
            "scoring": asdict(scoring),
            "training": asdict(recipe) if standalone else None,
        }
        _create(folder, plan)
    space, rng = first.supernet.space, np.random.default_rng([seed, 1])
    exclude = first.recipe.exclude
    if table is not None:
        truth = truth_of_table(table, space, dataset, count, rng, exclude=exclude)
    else:
        chosen = draw(space, count, rng, exclude=exclude)
    sample = truth.architectures if table is not None else chosen
    sources = [*sources, *_siblings(sources, seeds, folder, processes, device, progress)]
    named = _by_seed(sources, device)
    with one_thread() if first.numerics.device.type == "cpu" else nullcontext():
        found = {
            name: score(
                first if source is sources[0] and processes == 1 else source,
                sample,
                scoring,
                store=None if folder is None else folder / "scores" / f"seed-{name}.jsonl",
                jobs=processes if isinstance(source, RunFolder) else 1,
                device=device,
                progress=progress,
                title=f"scored with seed {name}",
            )
            for name, source in named.items()
        }
        if table is None:
            truth = _trained(sources[0], chosen, recipe, seed, folder, network, processes, device, progress, first)
            kept = {str(architecture) for architecture in truth.architectures}
            found = {
                name: [s for a, s in zip(chosen, scores, strict=True) if str(a) in kept]
                for name, scores in found.items()
            }
        described = _features(first, truth.architectures)
        supernets, spent = _supernets(scoring, found, {name: _ledger(source) for name, source in named.items()})
        judgement = judge(truth, supernets, described, seed=seed, repeats=repeats, resamples=resamples)
    document = {
        "kind": "appraisal",
        "space": space.name,
        "method": first.recipe.name,
        "description": first.recipe.describe(),
        "data": first.data.dataset.name,
        "scored_on": _scored_on(first, scoring),
        "scoring": asdict(scoring),
        "training": asdict(recipe) if table is None else None,
        "runs": [
            {"seed": name, "run": str(s.path) if isinstance(s, RunFolder) else None, **spent[name]}
            for name, s in named.items()
        ],
        **judgement.document,
    }
    if table is not None:
        document["notes"].insert(
            0, f"the supernets were trained on {first.data.dataset.name}; the truth is that of {truth.source}"
        )
    if folder is not None:
        _write(folder, document, judgement, truth, supernets, described)
        facts = {**environment(first.numerics.device), "jobs": processes, "seconds": time.perf_counter() - began}
        RunFolder(folder).write_json(folder / "environment.json", facts)
    return Appraisal(judgement.verdict.sentence, document, folder)


# ---------------------------------------------------------------------------------------------------------------------
# Runs


_Source = RunFolder | SearchState


def _sources(runs: Any) -> list[_Source]:
    given = [runs] if isinstance(runs, str | Path | SearchResult) else list(runs)
    if not given:
        raise ConfigurationError("there is nothing to appraise: give at least one finished search")
    return [run.state if isinstance(run, SearchResult) else RunFolder(run) for run in given]


def _opened(source: _Source, device: str | None) -> SearchState:
    return finished_search(source, device=device) if isinstance(source, RunFolder) else source


def _jobs(jobs: int | None, sources: Sequence[_Source], device: str | None) -> int:
    if jobs is not None:
        if jobs < 1:
            raise ConfigurationError(f"jobs must be at least 1, got {jobs}")
        return jobs
    in_memory = any(isinstance(source, SearchState) for source in sources)
    on_cpu = device == "cpu" or (device in (None, "auto") and not torch.cuda.is_available())
    return cores() if on_cpu and not in_memory else 1


def _configuration(source: RunFolder) -> SearchConfiguration:
    stored = source.read_config()
    found = from_mapping(stored["command"], stored)
    if not isinstance(found, SearchConfiguration):
        raise CheckpointError(f"{source.path} is no search; only a search leaves a supernet to appraise")
    return found


def _siblings(
    sources: Sequence[_Source],
    seeds: int | None,
    folder: Path | None,
    jobs: int,
    device: str | None,
    progress: Progress | None,
) -> list[RunFolder]:
    """Searches like the first one with the next seeds, trained in the folder, or found there."""
    if seeds is None or seeds <= len(sources):
        return []
    first = sources[0]
    if folder is None or not isinstance(first, RunFolder):
        raise ConfigurationError("missing seeds are trained from the first run's folder, into out: give both")
    configuration = _configuration(first)
    taken = {_seed(source) for source in sources}
    wanted: list[int] = []
    candidate = configuration.seed
    while len(wanted) < seeds - len(sources):
        candidate += 1
        if candidate not in taken:
            wanted.append(candidate)
    tasks = [(replace(configuration, seed=s, device=device or configuration.device), _home(folder, s)) for s in wanted]
    missing = [task for task in tasks if not RunFolder(task[1]).result.exists()]
    told, done = progress or (lambda what, finished, of: None), len(tasks) - len(missing)
    told("trained sibling supernets:", done, len(tasks))
    for _ in spread(_search, missing, min(jobs, len(missing)) or 1):
        done += 1
        told("trained sibling supernets:", done, len(tasks))
    return [RunFolder(path) for _, path in tasks]


def _home(folder: Path, seed: int) -> Path:
    return folder / "supernets" / f"seed-{seed}"


def _search(task: tuple[SearchConfiguration, Path]) -> None:
    configuration, path = task
    configuration.execute(path, resume=RunFolder(path).config.exists())


def _seed(source: _Source) -> int:
    return source.seed if isinstance(source, SearchState) else _configuration(source).seed


def _by_seed(sources: Sequence[_Source], device: str | None) -> dict[str, _Source]:
    """Runs by the name of their seed; refused where they differ in anything else."""
    named: dict[str, _Source] = {}
    first: dict[str, Any] | None = None
    for source in sources:
        name = str(_seed(source))
        if name in named:
            raise ConfigurationError(
                f"two runs have seed {name}: every run is one seed, and the same supernet twice is no replication"
            )
        facts = _facts(source, any(isinstance(s, SearchState) for s in sources), device)
        if first is None:
            first = facts
        for key in sorted({*first, *facts}):
            if facts.get(key) != first.get(key):
                raise ConfigurationError(
                    f"runs to appraise together may differ in the seed alone: {key} is {_short(first.get(key))} with "
                    f"seed {next(iter(named))} and {_short(facts.get(key))} with seed {name}"
                )
        named[name] = source
    return named


def _facts(source: _Source, by_fingerprint: bool, device: str | None) -> dict[str, Any]:
    if by_fingerprint:
        return {key: value for key, value in fingerprint(_opened(source, device)).items() if key != "seed"}
    assert isinstance(source, RunFolder)
    complete = _configuration(source).complete()
    flat = {key: value for key, value in complete.items() if key not in (*_IGNORED, "network", "recipe")}
    for group in ("network", "recipe"):
        flat |= {f"{group}.{key}": value for key, value in complete[group].items()}
    return flat


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _ledger(source: _Source) -> dict[str, Any]:
    """What training a supernet took: multiply-accumulates and seconds, without its own selection."""
    ledger = source.ledger.to_json() if isinstance(source, SearchState) else source.read_result().get("ledger", {})
    try:
        macs = sum(int(ledger[part]["multiply_accumulates"]) for part in ("weights", "architecture") if part in ledger)
        return {"multiply_accumulates": macs, "seconds": float(ledger["search"]["seconds"])}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        where = source.result if isinstance(source, RunFolder) else "the search"
        raise CheckpointError(f"the ledger of {where} is damaged: {error!r}") from None


def _supernets(
    scoring: Scoring, found: Mapping[str, Sequence[Score]], ledgers: Mapping[str, Mapping[str, Any]]
) -> tuple[Supernets, dict[str, dict[str, Any]]]:
    scores = {
        variant: {name: np.array([s.values[variant] for s in column]) for name, column in found.items()}
        for variant in scoring.variants
    }
    macs = {
        variant: {name: float(sum(s.multiply_accumulates[variant] for s in column)) for name, column in found.items()}
        for variant in scoring.variants
    }
    upfront = {
        variant: {name: ledgers[name]["multiply_accumulates"] + spent for name, spent in seeds.items()}
        for variant, seeds in macs.items()
    }
    spent = {
        name: {
            "training_multiply_accumulates": ledgers[name]["multiply_accumulates"],
            "training_seconds": ledgers[name]["seconds"],
            "scoring_multiply_accumulates": {variant: macs[variant][name] for variant in scoring.variants},
        }
        for name in found
    }
    return Supernets(scores, upfront), spent


def _scored_on(state: SearchState, scoring: Scoring) -> str:
    available = state.data.size("selection")
    count = available if scoring.examples is None else min(scoring.examples, available)
    held_out = state.recipe.roles.is_disjoint("weights", "selection")
    return f"{count:,} {'held-out' if held_out else 'training'} examples"


# ---------------------------------------------------------------------------------------------------------------------
# Truth and features


def _trained(
    source: _Source,
    chosen: Sequence[Architecture],
    recipe: TrainingRecipe,
    seed: int,
    folder: Path | None,
    network: Mapping[str, Any] | None,
    jobs: int,
    device: str | None,
    progress: Progress | None,
    first: SearchState,
) -> Truth:
    trained = train_each(
        source,
        chosen,
        recipe,
        # Not a seed of the runs, which would hold out the very examples on which their supernets score.
        seed=derived_seed(seed, "standalone trainings") % 2**31,
        folder=None if folder is None else folder / "trainings",
        network=network,
        jobs=jobs if isinstance(source, RunFolder) else 1,
        device=device,
        progress=progress,
    )
    return truth_of_trainings(chosen, trained, metric=first.task.primary, epochs=recipe.epochs)


def _features(state: SearchState, architectures: Sequence[Architecture]) -> dict[str, NDArray[Any]]:
    """The features of the space, and the sizes of the networks."""
    space = state.supernet.space
    rows = [features(space, architecture) for architecture in architectures]
    found: dict[str, NDArray[Any]] = {}
    for name in rows[0]:
        column = [row[name] for row in rows]
        found[name] = np.array(column, dtype=bool if all(isinstance(v, bool) for v in column) else np.float64)
    sizes = []
    for architecture in architectures:
        with torch.device("meta"):
            sizes.append(sum(p.numel() for p in state.supernet.plain(architecture).parameters()))
    found["parameters"] = np.array(sizes, dtype=np.float64)
    encode = state.supernet.relaxation.encode
    macs = [state.costs.of(discrete(encode(architecture))) for architecture in architectures]
    found["multiply-accumulates"] = np.array(macs, dtype=np.float64)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Files


def _create(folder: Path, plan: Mapping[str, Any]) -> None:
    path = folder / "plan.json"
    text = json.dumps(dict(plan), indent=1, ensure_ascii=False) + "\n"
    try:
        if path.exists():
            stored = path.read_text(encoding="utf-8")
            if stored == text:
                return
            # A plan under which nothing was kept was a mistake in the command, which may be put right.
            if '"kind": "appraisal"' not in stored or any(other != path for other in folder.iterdir()):
                raise CheckpointError(f"{folder} holds another appraisal (see {path}); choose another --out")
        elif folder.exists() and any(folder.iterdir()):
            raise CheckpointError(f"{folder} is not empty and holds no appraisal; choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SharewiseError(f"cannot use {folder} as a folder of results: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{path} is damaged; choose another --out") from None
    write_atomically(path, partial(_write_text, text))


def _write_text(text: str, file: Any) -> None:
    file.write(text.encode())


def _write(
    folder: Path,
    document: dict[str, Any],
    judgement: Judgement,
    truth: Truth,
    supernets: Supernets,
    described: Mapping[str, NDArray[Any]],
) -> None:
    """The numbers of every architecture, the figures, the document, and last the page that shows them."""
    rows = [
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
    run = RunFolder(folder)
    run.write_json(folder / "architectures.json", {"architectures": rows, "features": _plain_features(described)})
    run.write_json(folder / "appraisal.json", document)
    write_appraisal(folder)


def _plain_features(described: Mapping[str, NDArray[Any]]) -> dict[str, list[Any]]:
    return {name: column.tolist() for name, column in described.items()}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
