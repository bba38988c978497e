"""The content of result files: what a run found or trained, its scores and what it cost, as plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sharewise.alarm import standing
from sharewise.cost import cost
from sharewise.data import Dataset, evaluation_batches
from sharewise.engine import Numerics, SearchResult, SearchState, evaluate, evaluate_gates
from sharewise.errors import NonFiniteError
from sharewise.run.environment import versions
from sharewise.run.networks import build_network, without_auxiliary
from sharewise.run.remarks import remarks
from sharewise.space import Architecture, Space
from sharewise.supernet import RecalibratedStatistics, discrete
from sharewise.supernet.structures import call

if TYPE_CHECKING:
    from sharewise.run.search import Search
    from sharewise.run.train import Training

__all__ = ["evaluate_test", "result_of_search", "result_of_training"]


_WATCHED = ("entropies", "skips", "eigenvalue", "smallest_eigenvalue")


def result_of_search(search: Search, result: SearchResult) -> dict[str, Any]:
    """What a search found, with the score of inherited weights, and what it cost."""
    state, architecture, dataset, recipe = result.state, result.architecture, search.dataset, search.recipe
    gates = discrete(state.distribution.relaxation.encode(architecture))
    policy = RecalibratedStatistics()
    calibration = state.calibration_batches(policy.batches)
    selection = state.evaluation_batches("selection", 1024)
    inherited = evaluate_gates(state, gates, selection, policy, calibration, part="measurement")
    state.spend("measurement")
    shape, outputs = dataset.input_shape, dataset.task.outputs
    plain = build_network(architecture, search.space, shape, outputs, network=search.network)
    epochs = standing(state.history)
    gaps = [record["gap"] for record in epochs if "gap" in record]
    return {
        "kind": "search",
        **_facts(search.space, architecture, dataset, search.setting.seed),
        "method": recipe.name,
        "description": recipe.describe(),
        "decisions": {d.name: list(d.options) for d in state.distribution.relaxation.decisions},
        "selection": result.selected.to_json() | {"candidates": result.selected.to_json()["candidates"][:10]},
        "inherited": {
            **_finite(inherited, "the found architecture with inherited weights"),
            "on": "held-out examples" if recipe.roles.is_disjoint("weights", "selection") else "training examples",
            "statistics": f"recalibrated on {policy.batches} training batches",
        },
        "remarks": [remark.to_json() for remark in remarks(state, architecture)],
        "gap": gaps[-1] if gaps else None,
        "watch": {name: found for name in _WATCHED if (found := _last(epochs, name)) is not None},
        "alarms": [alarm for record in epochs for alarm in record.get("alarms", {}).values()],
        "reactions": [record for record in state.history if record["event"] == "back"],
        "table": None if search.following is None else search.following.result(architecture),
        "budget": None if state.affordable is None else state.affordable.spent(architecture),
        "cost": _cost(plain, dataset, state),
        "ledger": state.ledger.to_json(),
    }


def result_of_training(
    training: Training, network: nn.Module, state: SearchState, scores: Mapping[str, float] | None
) -> dict[str, Any]:
    """What a training came to, and what it cost."""
    followed = [record["selection"] for record in state.history if "selection" in record]
    inherited = [record for record in state.history if record["event"] == "inherited"]
    return {
        "kind": "train",
        **_facts(training.space, training.architecture, training.dataset, training.setting.seed),
        "start": inherited[0] if inherited else "scratch",
        "description": _begun(inherited[0], training.dataset) if inherited else "from scratch",
        "test": None if scores is None else _finite(scores, "the trained network"),
        "selection": followed[-1] if followed else None,
        "cost": _cost(without_auxiliary(network), training.dataset, state),
        "ledger": state.ledger.to_json(),
    }


def _begun(start: Mapping[str, Any], dataset: Dataset) -> str:
    primary = dataset.task.primary
    return (
        f"fine-tuned from weights inherited from {start['method']}, seed {start['seed']} ({start['from']}): {primary} "
        f"{start['scores'][primary]:.4f} on {start['scores']['examples']} {start['on']} before the first step"
    )


def evaluate_test(
    network: nn.Module,
    dataset: Dataset,
    place: Numerics,
    *,
    reader: str,
    run: Callable[[Any], torch.Tensor] | None = None,
) -> dict[str, float]:
    """Open the test examples and score a network on them, in evaluation mode.

    Args:
        network: on the device of `place`.
        dataset: whose seal is opened.
        place: device and precision.
        reader: who looks, for the record of openings.
        run: how it is called with inputs, where that is not what a plain network expects.

    Returns:
        Loss, metrics and number of examples.
    """
    examples = dataset.open_test(reader)
    batches = evaluation_batches(examples, dataset, 256, device=place.device, dtype=place.dtype)
    mode = network.training
    network.eval()

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        with place.autocast():
            outputs: torch.Tensor = call(network, inputs) if run is None else run(inputs)
        return outputs

    scores = evaluate(forward, (place.arrange(batch) for batch in batches), dataset.task)
    network.train(mode)
    return scores


def _last(epochs: Sequence[Mapping[str, Any]], name: str) -> Any:
    """What the last epoch that knows a quantity says of it."""
    return next((record[name] for record in reversed(epochs) if name in record), None)


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
        "picture": None if picture is None else asdict(picture),
        "versions": versions(),
    }


def _cost(network: nn.Module, dataset: Dataset, state: SearchState) -> dict[str, Any]:
    return {
        **cost(network, dataset.input_shape, integers=dataset.integers).to_json(),
        "search_multiply_accumulates": state.ledger.multiply_accumulates,
        "seconds": state.ledger.seconds,
    }


def _finite(scores: Mapping[str, float], whose: str) -> Mapping[str, float]:
    """Scores that are all finite; a network that overflows is no result."""
    broken = [f"{name} is {value}" for name, value in scores.items() if not math.isfinite(value)]
    if broken:
        raise NonFiniteError(f"{whose} overflows: {', '.join(broken)}. Start again with a smaller learning rate")
    return scores
