"""Trainings of many architectures, each on its own: the truth where no benchmark has a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, final

from sharewise.cost import cost
from sharewise.engine import SearchState
from sharewise.errors import CheckpointError, ConfigurationError, NonFiniteError
from sharewise.run.answers import Answers
from sharewise.run.configuration import Configuration, SearchConfiguration, TrainConfiguration, from_mapping
from sharewise.run.folder import RunFolder
from sharewise.run.scoring import Progress
from sharewise.run.search import build_network, fingerprint, train
from sharewise.run.standalone import TrainingRecipe
from sharewise.run.workers import one_thread, spread
from sharewise.space import Architecture
from sharewise.supernet import discrete

__all__ = ["Trained", "train_each"]


@final
@dataclass(frozen=True)
class Trained:
    """What became of an architecture that was trained on its own.

    Args:
        value: the task's metric on examples that were held out, negated where lower is better; not a number where the
            training diverged.
        multiply_accumulates: passes × multiply-accumulates of the training; evaluation is left out.
        seconds: of the training, measured here on one core.
    """

    value: float
    multiply_accumulates: int
    seconds: float


def train_each(
    source: RunFolder | SearchState,
    architectures: Sequence[Architecture],
    training: TrainingRecipe,
    *,
    seed: int,
    folder: Path | None = None,
    network: Mapping[str, Any] | None = None,
    jobs: int = 1,
    device: str | None = None,
    progress: Progress | None = None,
) -> list[Trained]:
    """Train architectures with the network and the data of a search, and score them on held-out examples.

    All are trained with one seed, hence on the same examples, and scored on the same others. The test examples stay
    sealed.

    Args:
        source: the folder of a search, or its state in memory.
        architectures: different ones, of its space.
        training: the recipe; its `validation_fraction` must be positive.
        seed: of every training.
        folder: where trainings of a search from a folder are kept as runs, so that each goes on where it was cut off;
            without one nothing is kept.
        network: options of the network as the search had them; for one in memory, since a folder holds its own.
        jobs: processes, each training on one core; more than one needs a search from a folder.
        device: overrides that of the search; for a folder.
        progress: told how many are finished.

    Returns:
        In the order of the architectures.

    Raises:
        ConfigurationError: when nothing is held out, or `jobs` does not fit.
        CheckpointError: when `folder` holds other trainings.
    """
    if not training.validation_fraction:
        raise ConfigurationError("trainings are scored on held-out examples: set validation_fraction > 0")
    if isinstance(source, SearchState):
        if jobs != 1:
            raise ConfigurationError(
                "a search in memory is followed in this process: set jobs to 1, or give its folder"
            )
        facts: dict[str, Any] = {"fingerprint": fingerprint(source), "network": dict(network or {})}
        configuration = None
    else:
        configuration = _configuration(source, training, seed, device)
        facts = {
            "configuration": {n: v for n, v in asdict(configuration).items() if n not in ("architecture", "device")}
        }
    store = None if folder is None else folder / "trainings.jsonl"
    answers = Answers(store, "trainings", {**facts, "training": asdict(training), "seed": seed})
    missing = [a for a in architectures if str(a) not in answers]
    done, told = len(architectures) - len(missing), progress or (lambda what, finished, of: None)
    told("trained", done, len(architectures))
    if isinstance(source, SearchState):
        found = spread(partial(_train_in_memory, source, training, dict(network or {}), seed), missing, 1)
    else:
        assert configuration is not None
        names = {str(a): f"{place:04d}" for place, a in enumerate(architectures)}
        work = partial(_train_in_folder, configuration, None if folder is None else folder, names)
        found = spread(work, missing, min(jobs, len(missing)) or 1)
    for architecture, answer in found:
        answers.add(str(architecture), answer)
        done += 1
        told("trained", done, len(architectures))
    if missing:
        answers.arrange([str(a) for a in architectures])
    try:
        return [_trained(answers[str(a)]) for a in architectures]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{store} is damaged ({error}); delete it to begin again") from None


def _trained(answer: Any) -> Trained:
    value, macs, seconds = answer
    return Trained(math.nan if value is None else float(value), int(macs), float(seconds))


def _configuration(source: RunFolder, training: TrainingRecipe, seed: int, device: str | None) -> TrainConfiguration:
    stored = source.read_config()
    searched = from_mapping(stored["command"], stored)
    if not isinstance(searched, SearchConfiguration):
        raise CheckpointError(f"{source.path} is no search; trainings take network and data from one")
    shared: dict[str, Any] = {field.name: getattr(searched, field.name) for field in fields(Configuration)}
    own: dict[str, Any] = {"network": searched.network_options(), "recipe": asdict(training), "seed": seed}
    own |= {"max_steps": None}
    return TrainConfiguration(**{**shared, **own, "threads": 1, "device": device or searched.device})


def _train_in_folder(
    configuration: TrainConfiguration, folder: Path | None, names: dict[str, str], architecture: Architecture
) -> list[Any]:
    out = None if folder is None else folder / names[str(architecture)]
    named = TrainConfiguration(**{**_fields(configuration), "architecture": str(architecture)})
    with one_thread():
        try:
            result = train(
                named.load_space(),
                architecture,
                named.load_data(),
                training=named.training(),
                network=named.network_options(),
                seed=named.seed,
                device=named.device,
                precision=named.precision,
                evaluate_on_test=False,
                out=out,
                resume=out is not None and RunFolder(out).config.exists(),
                configuration=named.complete(),
            )
        except NonFiniteError:
            return [None, 0, 0.0]
    return _answer(result.state)


def _fields(configuration: TrainConfiguration) -> dict[str, Any]:
    return {field.name: getattr(configuration, field.name) for field in fields(configuration)}


def _train_in_memory(
    searched: SearchState, training: TrainingRecipe, network: dict[str, Any], seed: int, architecture: Architecture
) -> list[Any]:
    dataset, space = searched.data.dataset, searched.supernet.space
    gates = discrete(searched.supernet.relaxation.encode(architecture))
    plain = build_network(architecture, space, dataset.input_shape, dataset.task.outputs, network=network)
    found = cost(plain, dataset.input_shape, integers=dataset.input_kind == "text").multiply_accumulates
    if found != searched.costs.of(gates):
        raise ConfigurationError(
            f"a network of options {network} is not of the size of the search's ({found:,} multiply-accumulates "
            f"instead of {searched.costs.of(gates):,}): give network= as it was given to the search"
        )
    try:
        result = train(
            space,
            architecture,
            dataset,
            training=training,
            network=network,
            seed=seed,
            device=str(searched.numerics.device),
            precision=searched.numerics.precision,
            evaluate_on_test=False,
        )
    except NonFiniteError:
        return [None, 0, 0.0]
    return _answer(result.state)


def _answer(state: SearchState) -> list[Any]:
    task, entries = state.task, state.ledger.entries
    followed = [record["selection"] for record in state.history if "selection" in record]
    value = followed[-1][task.primary] * (1 if task.higher_is_better else -1)
    return [value if math.isfinite(value) else None, entries["weights"].multiply_accumulates, entries["search"].seconds]
