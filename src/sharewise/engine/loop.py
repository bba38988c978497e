"""The one loop: every method, every space, every task, and the training of a single network run through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sharewise.distribution import Distribution
from sharewise.engine.callback import Callback, EpochEnded, SelectionEnded, StageEntered, Started, Stepped
from sharewise.engine.reaction import goes_on
from sharewise.engine.select import Selected
from sharewise.engine.state import SearchState
from sharewise.engine.surgery import operate
from sharewise.engine.telling import columns, facts, recorded
from sharewise.engine.watch import watch
from sharewise.shown import Shown
from sharewise.space import Architecture
from sharewise.supernet import Supernet

__all__ = ["SearchResult", "begin_epoch", "end_epoch", "run", "train"]


@dataclass(frozen=True, repr=False)
class SearchResult(Shown):
    """What a search leaves behind.

    Args:
        architecture: the found one, an immutable value.
        selected: how it was chosen.
        state: supernet, distribution, ledger and history at the end.
    """

    architecture: Architecture
    selected: Selected
    state: SearchState

    @property
    def supernet(self) -> Supernet:
        """The trained shared weights."""
        return self.state.supernet

    @property
    def distribution(self) -> Distribution:
        """The learned distribution, or the sampler."""
        return self.state.distribution

    def table(self) -> list[dict[str, float]]:
        """A row of numbers for every epoch, by one name each: `pandas.DataFrame(result.table())`."""
        return columns(self.state.history)

    def recorded(self) -> dict[str, Any]:
        """Plain values of which `sharewise.report.pictures(result)` draws."""
        return recorded(self.state, self.architecture, "search")

    def told(self) -> dict[str, str]:
        """See `sharewise.shown.Shown`."""
        return {"found": str(self.architecture), "by": self.selected.rule, **facts(self.state)}


def run(state: SearchState, callbacks: Sequence[Callback] = ()) -> SearchResult:
    """Train from where the state stands to the end, then select.

    Args:
        state: as `prepare` or `load_state_dict` left it; it is advanced in place.
        callbacks: told of every event, in order.

    Returns:
        The found architecture with the final state.

    Raises:
        NonFiniteError: when a loss or θ is not finite at the end of an epoch.
    """
    train(state, callbacks)
    state.restart_clock()
    selected = state.recipe.selection.select(state)
    state.spend("selection")
    state.emit(SelectionEnded(selected))
    return SearchResult(selected.architecture, selected, state)


def train(state: SearchState, callbacks: Sequence[Callback] = ()) -> None:
    """The epochs of a run, without the selection at its end; arguments as for `run`."""
    state.callbacks = tuple(callbacks)
    state.supernet.train()
    state.restart_clock()
    state.emit(Started())
    while goes_on(state):
        begin_epoch(state)
        end = min((state.epoch + 1) * state.steps_per_epoch, state.total_steps)
        moves = state.course.stages[state.stage].architecture_steps
        while state.step < end:
            for name, loss in state.recipe.level.step(state, architecture=moves).items():
                state.meter(name, loss)
            state.step += 1
            state.emit(Stepped())
        end_epoch(state)


def begin_epoch(state: SearchState) -> None:
    """Apply what depends on the epoch alone; harmless when repeated by a resume within the epoch."""
    target = state.course.stage_at(state.epoch)
    while state.stage < target:
        state.stage += 1
        _enter_stage(state)
    for group in state.weight_optimizer.param_groups:
        group["lr"] = state.learning_rate(state.epoch)
    if state.on_epoch is not None:
        state.on_epoch(*state.moment)
    state.layouts.forget()


def _enter_stage(state: SearchState) -> None:
    stage = state.course.stages[state.stage]
    record: dict[str, Any] = {
        "event": "stage",
        "stage": state.stage,
        "epoch": state.epoch,
        "architecture_steps": stage.architecture_steps,
    }
    operate(state, stage.surgeries, record)
    if len(state.course.stages) > 1 or stage.surgeries:
        state.history.append(record)
        state.emit(StageEntered(record))


def end_epoch(state: SearchState) -> None:
    """Close an epoch: its line in the history, and what begins anew."""
    state.require_finite()
    state.spend("search")
    record: dict[str, Any] = {"event": "epoch", "epoch": state.epoch, "step": state.step, **state.means()}
    record["learning_rate"] = state.weight_optimizer.param_groups[0]["lr"]
    watch(state, record)
    record["ledger"] = state.ledger.to_json()
    record["seconds"] = state.ledger.seconds
    state.history.append(record)
    state.reset_meters()
    if state.step >= (state.epoch + 1) * state.steps_per_epoch:
        state.epoch += 1
    state.emit(EpochEnded(record))
