"""Searches as runs: build a supernet, run a recipe, and keep everything in a folder."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sharewise.cost import cost
from sharewise.data import Dataset, evaluation_batches
from sharewise.engine import (
    Callback,
    Numerics,
    Recipe,
    SearchResult,
    SearchState,
    evaluate,
    evaluate_gates,
    numerics,
    prepare,
    rounding_gap,
    run,
    seeded_modules,
    selection_scores,
    stream,
)
from sharewise.errors import CheckpointError, ConfigurationError, NonFiniteError
from sharewise.report import write_report
from sharewise.run.environment import environment, versions
from sharewise.run.folder import RunFolder
from sharewise.run.listeners import record_to
from sharewise.run.standalone import Standalone, TrainingRecipe
from sharewise.space import Architecture, Space
from sharewise.supernet import RecalibratedStatistics, Supernet, discrete, networks_of

__all__ = [
    "TrainingResult",
    "build_network",
    "build_supernet",
    "evaluate_test",
    "fingerprint",
    "network_options",
    "prepare_search",
    "prepare_training",
    "search",
    "train",
    "without_auxiliary",
]


def build_supernet(
    space: Space,
    input_shape: Sequence[int],
    outputs: int,
    *,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Supernet:
    """The shared network of a space, initialised from the stream `initialisation` of a seed.

    Args:
        space: any space that has networks.
        input_shape: of one example.
        outputs: number of classes or targets.
        network: network options by name (`{"channels": 16, "cells": 5}`).
        seed: of the initialisation.

    Returns:
        The supernet on the CPU.

    Raises:
        ConfigurationError: for an unknown or illegal option.

    Example:
        >>> from sharewise.spaces import load
        >>> supernet = build_supernet(load("toy-tied-width"), (4,), outputs=3)
        >>> type(supernet).__name__
        'TiedWidthSupernet'
    """
    networks = networks_of(space)
    options = networks.configure(dict(network or {}))
    with seeded_modules(seed, "initialisation"):
        return networks.supernet(space, input_shape, outputs, options)


def build_network(
    architecture: Architecture,
    space: Space,
    input_shape: Sequence[int],
    outputs: int,
    *,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> nn.Module:
    """The plain network of an architecture with weights of its own; arguments as for `build_supernet`.

    Example:
        >>> from sharewise.spaces import load
        >>> space = load("toy-tied-width")
        >>> a = space.architecture({"width": 8, "activation": "relu"})
        >>> sum(p.numel() for p in build_network(a, space, (4,), outputs=3).parameters())
        67
    """
    networks = networks_of(space)
    options = networks.configure(dict(network or {}))
    with seeded_modules(seed, "initialisation"):
        return networks.plain(space.own(architecture), input_shape, outputs, options)


def search(
    space: Space | Supernet,
    recipe: Recipe,
    dataset: Dataset,
    *,
    network: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
    max_steps: int | None = None,
    gap_examples: int = 256,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    callbacks: Sequence[Callback] = (),
    configuration: Mapping[str, Any] | None = None,
) -> SearchResult:
    """Search a space with a recipe on a data set.

    Args:
        space: what to search: a space, or a model of your own that `sharewise.elastic` has made one.
        recipe: the method, such as `sharewise.methods.gaea_erm()`.
        dataset: its training examples are dealt to the roles that the recipe names; the test examples stay sealed.
        network: options of the network by name.
        epochs: overrides the recipe's.
        seed: of every random stream.
        device: `"auto"`, `"cpu"`, `"cuda"`, …
        precision: `"float32"`, `"float64"` or `"bfloat16"`.
        max_steps: stop after so many steps.
        gap_examples: selection examples that measure the rounding gap after each epoch; 0 for none.
        out: a folder for the run; without one nothing is written.
        resume: continue the run in `out`, which must have been started with the same arguments.
        checkpoint_every: steps between checkpoints within an epoch; one is always written after each epoch.
        callbacks: told of every event.
        configuration: what to store as the run's configuration; by default the arguments in words.

    Returns:
        The found architecture, and the final state with supernet, distribution, history and ledger.

    Raises:
        ConfigurationError: when settings clash.
        CheckpointError: when `out` holds a run already, or one that does not fit.
        NonFiniteError: when training diverges.

    Example:
        >>> import sharewise as sw
        >>> result = sw.search(sw.spaces.toy_tied_width(), sw.methods.gaea_erm(), sw.data.digits(), max_steps=2,
        ...                    device="cpu")
        >>> sorted(result.architecture)
        ['activation', 'width']
    """
    space = space.space if isinstance(space, Supernet) else space
    if epochs is not None:
        recipe = recipe.with_epochs(epochs)
    with seeded_modules(seed, "modules", numerics(device, precision).device):
        state = prepare_search(
            space,
            recipe,
            dataset,
            network=network,
            seed=seed,
            device=device,
            precision=precision,
            max_steps=max_steps,
            gap_examples=gap_examples,
        )
        facts = {
            "command": "search",
            "space": space.name,
            "method": recipe.name,
            "data": dataset.name,
            "network": network_options(space, network),
            "recipe": recipe.arguments,
            "limits": {limit.quantity.option: limit.most for limit in recipe.limits},
            "seed": seed,
            "device": device,
            "precision": precision,
            "max_steps": max_steps,
            "gap_examples": gap_examples,
        }

        def finish(result: SearchResult) -> dict[str, Any]:
            return _search_result(space, recipe, dataset, network, seed, result)

        return _execute(state, out, resume, checkpoint_every, callbacks, facts, configuration, finish)


def prepare_search(
    space: Space,
    recipe: Recipe,
    dataset: Dataset,
    *,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
    max_steps: int | None = None,
    gap_examples: int = 256,
) -> SearchState:
    """The state of a search at step 0; arguments as for `search`."""
    _check_input_kind(space, dataset)
    place = numerics(device, precision)
    return prepare(
        build_supernet(space, dataset.input_shape, dataset.task.outputs, network=network, seed=seed),
        recipe,
        dataset.assign(recipe.roles, generator=stream(seed, "data")),
        numerics=place,
        seed=seed,
        max_steps=max_steps,
        measure=rounding_gap(gap_examples),
    )


@dataclass(frozen=True)
class TrainingResult:
    """A network that was trained on its own.

    Args:
        network: the trained plain network, in evaluation mode.
        architecture: which one.
        test: loss and metrics on the test examples, opened once; `None` where that was not asked for.
        state: the final state of the loop, with history and ledger.
    """

    network: nn.Module
    architecture: Architecture
    test: dict[str, float] | None
    state: SearchState


def train(
    space: Space | Supernet,
    architecture: Architecture,
    dataset: Dataset,
    *,
    training: TrainingRecipe | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
    max_steps: int | None = None,
    evaluate_on_test: bool = True,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    callbacks: Sequence[Callback] = (),
    configuration: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train one architecture from scratch and evaluate it on the test examples, once.

    Args:
        space: of the architecture, or a model of your own that `sharewise.elastic` has made one.
        architecture: what to train.
        dataset: its training examples train, its test examples are opened at the end.
        training: the recipe; the default is the schedule of NAS-Bench-201.
        network: options of the network by name.
        seed: of every random stream.
        device: `"auto"`, `"cpu"`, `"cuda"`, …
        precision: `"float32"`, `"float64"` or `"bfloat16"`.
        max_steps: stop after so many steps.
        evaluate_on_test: whether to open the test examples at the end.
        out: a folder for the run; without one nothing is written.
        resume: continue the run in `out`.
        checkpoint_every: steps between checkpoints within an epoch.
        callbacks: told of every event.
        configuration: what to store as the run's configuration; by default the arguments in words.

    Returns:
        The trained network and its scores.

    Raises:
        ConfigurationError: when settings clash.
        CheckpointError: when `out` holds a run already, or one that does not fit.
        NonFiniteError: when training diverges.

    Example:
        >>> import sharewise as sw
        >>> space = sw.spaces.toy_tied_width()
        >>> a = space.architecture({"width": 8, "activation": "relu"})
        >>> result = sw.train(space, a, sw.data.digits(), max_steps=2, device="cpu")
        >>> result.test["examples"]
        360
    """
    space = space.space if isinstance(space, Supernet) else space
    training, architecture = training or TrainingRecipe(), space.own(architecture)
    with seeded_modules(seed, "modules", numerics(device, precision).device):
        state, plain = prepare_training(
            space,
            architecture,
            dataset,
            training,
            network=network,
            seed=seed,
            device=device,
            precision=precision,
            max_steps=max_steps,
        )
        facts = {
            "command": "train",
            "space": space.name,
            "architecture": str(architecture),
            "data": dataset.name,
            "network": network_options(space, network),
            "recipe": state.recipe.arguments,
            "seed": seed,
            "device": device,
            "precision": precision,
            "max_steps": max_steps,
        }
        scores: dict[str, float] | None = None

        def finish(result: SearchResult) -> dict[str, Any]:
            nonlocal scores
            plain.eval()
            if evaluate_on_test:
                scores = evaluate_test(plain, dataset, state.numerics, reader=f"final evaluation of {architecture}")
            return _training_result(space, architecture, dataset, plain, seed, result.state, scores)

        result = _execute(state, out, resume, checkpoint_every, callbacks, facts, configuration, finish)
        if scores is None and out is not None:  # the run had ended before: the test examples stay closed
            scores = RunFolder(out).read_result()["test"]
    return TrainingResult(without_auxiliary(plain.eval()), architecture, scores, result.state)


def prepare_training(
    space: Space,
    architecture: Architecture,
    dataset: Dataset,
    training: TrainingRecipe,
    *,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
    max_steps: int | None = None,
) -> tuple[SearchState, nn.Module]:
    """The state of a training at step 0 and the plain network in it; arguments as for `train`."""
    _check_input_kind(space, dataset)
    place = numerics(device, precision)
    plain = build_network(architecture, space, dataset.input_shape, dataset.task.outputs, network=network, seed=seed)
    if training.auxiliary_weight:
        plain = _with_auxiliary(plain, seed)
    dataset = replace(dataset, augmentation=training.augmentation(dataset.augmentation, dataset.input_kind))
    recipe = training.recipe(architecture)
    state = prepare(
        Standalone(plain),
        recipe,
        dataset.assign(recipe.roles, generator=stream(seed, "data")),
        numerics=place,
        seed=seed,
        max_steps=max_steps,
        measure=selection_scores if training.validation_fraction else None,
        loss=training.loss(dataset.task),
        on_epoch=training.on_epoch(plain),
    )
    return state, plain


def evaluate_test(network: nn.Module, dataset: Dataset, place: Numerics, *, reader: str) -> dict[str, float]:
    """Open the test examples and score a network on them, in evaluation mode.

    Args:
        network: plain, on the device of `place`.
        dataset: whose seal is opened.
        place: device and precision.
        reader: who looks, for the record of openings.

    Returns:
        Loss, metrics and number of examples.
    """
    examples = dataset.open_test(reader)
    batches = evaluation_batches(examples, dataset, 256, device=place.device, dtype=place.dtype)
    mode = network.training
    network.eval()

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        with place.autocast():
            outputs: torch.Tensor = network(inputs)
        return outputs

    scores = evaluate(forward, (place.arrange(batch) for batch in batches), dataset.task)
    network.train(mode)
    return scores


def _execute(
    state: SearchState,
    out: str | Path | None,
    resume: bool,
    checkpoint_every: int | None,
    callbacks: Sequence[Callback],
    facts: Mapping[str, Any],
    configuration: Mapping[str, Any] | None,
    finish: Callable[[SearchResult], dict[str, Any]],
) -> SearchResult:
    """Run with or without a folder; `finish` turns the outcome into the content of the result file."""
    if out is None:
        if resume or checkpoint_every is not None:
            raise ConfigurationError("resume and checkpoint_every need a run folder: give out=")
        result = run(state, callbacks)
        finish(result)
        return result
    folder = RunFolder(out)
    identity = fingerprint(state)
    listener = record_to(folder, identity, checkpoint_every)
    if resume:
        folder.read_config()
    else:
        facts_of_data = {f"data {key}": value for key, value in state.data.dataset.provenance.items()}
        folder.create(
            _plain(configuration or {**facts, "origin": "library"}),
            {**environment(state.numerics.device), **facts_of_data},
        )
    with folder.locked():
        saved = folder.load(identity) if resume else None
        if saved is not None:
            try:
                state.load_state_dict(saved)
            except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
                raise CheckpointError(f"{folder.checkpoint} is damaged: {type(error).__name__}: {error}") from None
        ended = saved is not None and state.step >= state.total_steps and folder.result.exists()
        result = run(state, (listener, *callbacks))
        if not ended:
            folder.write_json(folder.result, finish(result))
        write_report(folder.path)
    return result


def fingerprint(state: SearchState) -> dict[str, str]:
    """What must agree for a checkpoint to be loaded: everything that shapes the numbers of a run."""
    dataset, supernet = state.data.dataset, state.supernet
    checksum = dataset.provenance.get("checksum")
    return {
        "space": supernet.space.name,
        "network": str({name: tuple(value.shape) for name, value in supernet.state_dict().items()}),
        "recipe": re.sub(r" at 0x[0-9a-f]+", "", repr(state.recipe)),  # addresses differ between processes
        "data": f"{dataset.name}, {len(dataset.train)} of shape {dataset.input_shape}, {checksum}",
        "seed": str(state.seed),
        "precision": state.numerics.precision,
        "max_steps": str(state.max_steps),
    }


def network_options(space: Space, network: Mapping[str, Any] | None) -> dict[str, Any]:
    """All options of a space's network, with defaults filled in."""
    return asdict(networks_of(space).configure(dict(network or {})))


def without_auxiliary(network: nn.Module) -> nn.Module:
    """The network without its auxiliary head, which serves in training alone; the same object where it has none."""
    configuration: dict[str, Any] = getattr(network, "configuration", {})
    if not configuration.get("auxiliary"):
        return network
    with torch.device("meta"):
        plain = type(network)(**{**configuration, "auxiliary": False})
    kept = {name: value.clone() for name, value in network.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(kept, strict=True, assign=True)
    return plain.requires_grad_(True).train(network.training)


def _search_result(
    space: Space,
    recipe: Recipe,
    dataset: Dataset,
    network: Mapping[str, Any] | None,
    seed: int,
    result: SearchResult,
) -> dict[str, Any]:
    state, architecture = result.state, result.architecture
    gates = discrete(state.distribution.relaxation.encode(architecture))
    policy = RecalibratedStatistics()
    calibration = state.calibration_batches(policy.batches)
    selection = state.evaluation_batches("selection", 1024)
    inherited = evaluate_gates(state, gates, selection, policy, calibration, part="measurement")
    state.spend("measurement")
    plain = build_network(architecture, space, dataset.input_shape, dataset.task.outputs, network=network)
    gaps = [record["gap"] for record in state.history if "gap" in record]
    return {
        "kind": "search",
        **_facts(space, architecture, dataset, seed),
        "method": recipe.name,
        "description": recipe.describe(),
        "decisions": {d.name: list(d.options) for d in state.distribution.relaxation.decisions},
        "selection": result.selected.to_json() | {"candidates": result.selected.to_json()["candidates"][:10]},
        "inherited": {
            **_finite(inherited, "the found architecture with inherited weights"),
            "on": "held-out examples" if recipe.roles.is_disjoint("weights", "selection") else "training examples",
            "statistics": f"recalibrated on {policy.batches} training batches",
        },
        "gap": gaps[-1] if gaps else None,
        "budget": None if state.affordable is None else state.affordable.spent(architecture),
        "cost": _cost(plain, dataset, state),
        "ledger": state.ledger.to_json(),
    }


def _training_result(
    space: Space,
    architecture: Architecture,
    dataset: Dataset,
    network: nn.Module,
    seed: int,
    state: SearchState,
    scores: dict[str, float] | None,
) -> dict[str, Any]:
    followed = [record["selection"] for record in state.history if "selection" in record]
    return {
        "kind": "train",
        **_facts(space, architecture, dataset, seed),
        "test": None if scores is None else _finite(scores, "the trained network"),
        "selection": followed[-1] if followed else None,
        "cost": _cost(without_auxiliary(network), dataset, state),
        "ledger": state.ledger.to_json(),
    }


def _facts(space: Space, architecture: Architecture, dataset: Dataset, seed: int) -> dict[str, Any]:
    """What the results of searches and trainings both say."""
    picture = None if space.draw is None else space.draw(architecture)
    return {
        "space": space.name,
        "seed": seed,
        "data": dataset.name,
        "architecture": str(architecture),
        "choices": architecture.to_json()["choices"],
        "task": {"name": dataset.task.name, "primary": dataset.task.primary},
        "test_openings": list(dataset.openings),
        "picture": None
        if picture is None
        else {"nodes": list(picture.nodes), "edges": [list(e) for e in picture.edges]},
        "versions": versions(),
    }


def _cost(network: nn.Module, dataset: Dataset, state: SearchState) -> dict[str, Any]:
    return {
        **cost(network, dataset.input_shape, integers=dataset.input_kind == "text").to_json(),
        "search_multiply_accumulates": state.ledger.multiply_accumulates,
        "seconds": state.ledger.seconds,
    }


def _finite(scores: dict[str, float], whose: str) -> dict[str, float]:
    """Scores that are all finite; a network that overflows is no result."""
    broken = [f"{name} is {value}" for name, value in scores.items() if not math.isfinite(value)]
    if broken:
        raise NonFiniteError(f"{whose} overflows: {', '.join(broken)}. Start again with a smaller learning rate")
    return scores


def _check_input_kind(space: Space, dataset: Dataset) -> None:
    kinds = networks_of(space).input_kinds
    if dataset.input_kind not in kinds:
        raise ConfigurationError(
            f"networks of space {space.name!r} take {' or '.join(kinds)} inputs, but data {dataset.name!r} "
            f"holds {dataset.input_kind} inputs"
        )


def _with_auxiliary(network: nn.Module, seed: int) -> nn.Module:
    """The same kind of network with its auxiliary head, which is how a plain network's class offers one."""
    configuration: dict[str, Any] = getattr(network, "configuration", {})
    if "auxiliary" not in configuration:
        raise ConfigurationError(f"{type(network).__name__} has no auxiliary head; set auxiliary_weight to 0")
    with seeded_modules(seed, "initialisation"):
        return type(network)(**{**configuration, "auxiliary": True})


def _plain(value: Any) -> Any:
    """Tuples as lists and mappings as dictionaries, for YAML and JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
