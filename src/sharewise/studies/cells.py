"""Cells of a study as run folders: how long each search is, how it is run, and what became of it."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from sharewise.distribution import Phase
from sharewise.engine import SearchState, train
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.files import read_bytes
from sharewise.run.configuration import SearchConfiguration, from_mapping
from sharewise.run.folder import RunFolder
from sharewise.sealed_json import parse_json, unsealed
from sharewise.studies.plan import Budget, Cell
from sharewise.studies.points import spent_until_chosen
from sharewise.supernet import Gates

__all__ = ["CellTask", "Price", "Step", "Trail", "price_of", "read_trail", "run_cell"]

_PROBED_EPOCHS = 20
"""Of one step each, over which the whole schedule of a method is run to learn what its steps cost."""
_OTHERS = 128
"""Draws whose mean every draw is held against."""


@final
@dataclass(frozen=True)
class Price:
    """What a search costs in passes × multiply-accumulates.

    Args:
        step: the mean over the schedule.
        selection: of choosing the architecture at the end.
    """

    step: float
    selection: float

    def steps(self, budget: float) -> int:
        """How many a budget allows, at least 1.

        Raises:
            ConfigurationError: when the budget allows none.
        """
        count = math.floor((budget - self.selection) / self.step)
        if count < 1:
            raise ConfigurationError(
                f"the budget of {budget:.3g} multiply-accumulates allows no step: choosing the architecture costs "
                f"{self.selection:.3g} and a step {self.step:.3g}; give more, or let the method score fewer candidates"
            )
        return count


def price_of(configuration: SearchConfiguration) -> Price:
    """What a step and the selection of a search cost, found by a short run on a few examples and one real selection.

    The schedule is run as a whole, a step an epoch, since warm-up and pruning change what a step costs. Where chance
    does too, 20 steps would know the mean to a fifth: so every draw is held against many others, whose mean is known.
    With the cost c of a step and that of its draws above their mean, d, the estimate is the mean of c - b d, where b is
    the slope of c by d (a control variate); it is exact where a step costs the same multiple of what it draws.

    Args:
        configuration: of the search; its seed draws the examples.
    """
    search = replace(configuration, gap_examples=0, checkpoint_every=None).search()
    recipe = search.recipe
    few = min(len(search.dataset.train), math.ceil(recipe.batch_size / min(recipe.roles.parts)) + 10)
    limited = search.dataset.limited(few, seed=configuration.seed)
    state = replace(search, dataset=limited, recipe=recipe.with_epochs(_PROBED_EPOCHS)).prepare()
    beyond = _drawn_beyond_the_mean(state, configuration.seed)
    train(state)
    epochs = [record for record in state.history if record["event"] == "epoch"]
    spent = np.diff([0.0, *(spent_until_chosen(record["ledger"]) for record in epochs)])
    apart = np.array([beyond[record["epoch"]] for record in epochs])
    slope = float(np.cov(spent, apart)[0, 1] / apart.var(ddof=1)) if len(epochs) > 1 and apart.any() else 0.0
    whole = search.prepare()
    whole.recipe.selection.select(whole)
    step = float((spent - slope * apart).sum()) / state.step
    return Price(step, spent_until_chosen(whole.ledger.to_json()))


def _drawn_beyond_the_mean(state: SearchState, seed: int) -> Mapping[int, float]:
    """By epoch, from now on: the cost of what is drawn, less the mean cost of as many other draws."""
    distribution, found = state.distribution, defaultdict[int, float](float)
    if not distribution.sampled:
        return found
    draw, others = distribution.draw, torch.Generator().manual_seed(seed)

    def cost(paths: Sequence[Gates]) -> float:
        return float(sum(state.costs.of(path) for path in paths))

    def watched(generator: torch.Generator, phase: Phase) -> list[Gates]:
        paths = draw(generator, phase)
        with torch.no_grad():
            found[phase.epoch] += cost(paths) - float(np.mean([cost(draw(others, phase)) for _ in range(_OTHERS)]))
        return paths

    distribution.draw = watched  # type: ignore[method-assign] # of a search that is thrown away
    return found


def _with_budget(configuration: SearchConfiguration, budget: Budget, price: Price | None) -> SearchConfiguration:
    """A search of as many steps as the budget says; its schedules stretch over the epochs that these steps take."""
    if budget.free:
        return configuration
    steps = budget.steps
    if steps is None:
        assert price is not None
        assert budget.multiply_accumulates is not None
        steps = price.steps(budget.multiply_accumulates)
    an_epoch = configuration.search().prepare().steps_per_epoch
    recipe = {**configuration.recipe, "epochs": math.ceil(steps / an_epoch)}
    return replace(configuration, recipe=recipe, max_steps=steps if steps % an_epoch else None)


@final
@dataclass(frozen=True)
class CellTask:
    """A cell with what is needed to run it.

    Args:
        cell: of the plan.
        folder: of its run.
        budget: of every search.
        price: of its steps, where the budget is in multiply-accumulates.
    """

    cell: Cell
    folder: Path
    budget: Budget
    price: Price | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return (self.folder / "cell.json").exists()


def run_cell(task: CellTask) -> None:
    """Start a search, or go on where its folder stands, and note the processor's time.

    Of a search that was cut off, that time is lost with its process.
    """
    folder = RunFolder(task.folder)
    resume, began = folder.config.exists(), time.process_time()
    if resume:
        stored = from_mapping("search", folder.read_config(), task.cell.configuration.own)
        assert isinstance(stored, SearchConfiguration)
        configuration = stored
    else:
        configuration = _with_budget(task.cell.configuration, task.budget, task.price)
    configuration.execute(task.folder, resume=resume)
    spent = None if resume else round(time.process_time() - began, 3)
    folder.write_sealed(task.folder / "cell.json", {"processor_seconds": spent})


# ---------------------------------------------------------------------------------------------------------------------
# Reading


@final
@dataclass(frozen=True)
class Step:
    """Where a search stood.

    Args:
        cost: passes × multiply-accumulates so far, measurements left out.
        architecture: that it would have handed over; `None` for methods that decide at the end.
        inherited: its score with the shared weights, where it was measured.
    """

    cost: float
    architecture: str | None
    inherited: Mapping[str, float] | None


@final
@dataclass(frozen=True)
class Trail:
    """What a finished search did.

    Args:
        cell: of the plan.
        result: as its folder holds it.
        steps: of its epochs, and last the choice.
        processor_seconds: of the search; `None` where it was cut off.
    """

    cell: Cell
    result: Mapping[str, Any]
    steps: tuple[Step, ...]
    processor_seconds: float | None

    @property
    def architecture(self) -> str:
        """What it found."""
        return str(self.result["architecture"])

    @property
    def metric(self) -> str:
        """The primary metric of its task."""
        return str(self.result["task"]["primary"])

    @property
    def inherited(self) -> float:
        """The metric of what it found with the shared weights, in percent where that is an accuracy."""
        return float(self.result["inherited"][self.metric]) * (100.0 if self.metric.endswith("accuracy") else 1.0)


def read_trail(cell: Cell, folder: Path) -> Trail:
    """A finished search from its folder.

    Raises:
        CheckpointError: when a file is damaged.
    """
    result = RunFolder(folder).read_result()
    try:
        history = RunFolder(folder).read_history(result)
        epochs = [record for record in history if record["event"] == "epoch"]
        steps = [_step(record) for record in epochs]
        last = Step(spent_until_chosen(result["ledger"]), str(result["architecture"]), result["inherited"])
        noted, _ = unsealed(parse_json(read_bytes(folder / "cell.json")))
        return Trail(cell, result, (*steps, last), noted["processor_seconds"])
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder} is damaged: {error!r}") from None


def _step(record: Mapping[str, Any]) -> Step:
    gap = record.get("gap")
    found = record.get("architecture")
    return Step(spent_until_chosen(record["ledger"]), found, None if gap is None else gap["architecture"])
