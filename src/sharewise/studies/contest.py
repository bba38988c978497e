"""Contests: which strategies meet on which data sets of a table, with what budget, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from sharewise import given
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.oracle import Table, table_oracle
from sharewise.oracle.tabulated import final_accuracies
from sharewise.space import Space
from sharewise.strategy.comparison import Arena
from sharewise.strategy.history import Budget
from sharewise.strategy.registry import build_strategy
from sharewise.studies.points import Point

__all__ = ["Contest", "Field"]

_BUDGETS = ("cost_seconds", "cost_trainings", "evaluations")
_SHOWN = {
    "seconds": "seconds of the benchmark's trainings",
    "evaluations": "evaluations",
    "multiply-accumulates": "mean trainings of {epochs} epochs (passes × multiply-accumulates)",
}


@final
@dataclass(frozen=True, eq=False)
class Field:
    """A data set with everything that its comparison needs.

    Args:
        arena: signals, costs and test values.
        budget: of a repeat.
        scale: costs are shown divided by this.
        unit_shown: what the quotient is.
    """

    arena: Arena
    budget: Budget
    scale: float
    unit_shown: str


@final
@dataclass(frozen=True)
class Contest:
    """Strategies that meet on a benchmark's table.

    Args:
        strategies: different ones, by name.
        datasets: of the table; none stands for all.
        signal_epochs: trainings that searches see; none stands for the longest.
        signal_seed: `"mean"` over the runs of a training, or a run at `"random"`.
        cost_seconds: budget of a repeat in seconds of the benchmark's trainings.
        cost_trainings: budget in passes × multiply-accumulates of mean trainings.
        evaluations: budget in evaluations.
        latency: device of the table whose latency is a further objective for `nsga2` and `tpe`.
        repeats: of every strategy.
        seed: of all random numbers.
        workers: simulated ones, which evaluate at the same time; the budget in seconds is then wall-clock.

    Raises:
        ConfigurationError: when a number is out of range, or several budgets are given.

    Example:
        >>> Contest(("random", "local"), evaluations=100).unit
        'evaluations'
    """

    strategies: tuple[str, ...] = ("random", "evolution", "local")
    datasets: tuple[str, ...] = ()
    signal_epochs: tuple[int, ...] = ()
    signal_seed: Literal["mean", "random"] = "mean"
    cost_seconds: float | None = None
    cost_trainings: float | None = None
    evaluations: int | None = None
    latency: str | None = None
    repeats: int = 500
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        self._read()
        if len(self.budget) > 1:
            raise ConfigurationError("give one budget: --cost-seconds, --cost-trainings or --evaluations")
        for name, value in self.budget.items():
            if not 0 < value < float("inf"):
                raise ConfigurationError(f"--{name.replace('_', '-')} must be positive and finite, got {value}")
        if self.repeats < 1 or self.seed < 0:
            raise ConfigurationError("--repeats must be at least 1, and --seed not negative")
        if self.workers > 1 and self.cost_seconds is None:
            raise ConfigurationError(
                f"--workers {self.workers} simulates wall-clock by the recorded durations of trainings: give the "
                "budget as --cost-seconds"
            )
        if not self.strategies or len(set(self.strategies)) != len(self.strategies):
            raise ConfigurationError(f"--strategies needs different names, got {','.join(self.strategies)!r}")

    def _read(self) -> None:
        """Take what users give: one name for several, and numbers of numpy."""
        for name in ("strategies", "datasets"):
            value = getattr(self, name)
            listed = [value] if isinstance(value, str) else value
            if not isinstance(listed, list | tuple):
                raise ConfigurationError(f"{name} must be names, {given.got(value)}")
            object.__setattr__(self, name, tuple(given.text(name, one) for one in listed))
        epochs = self.signal_epochs if isinstance(self.signal_epochs, list | tuple) else [self.signal_epochs]
        object.__setattr__(self, "signal_epochs", given.wholes("signal_epochs", epochs))
        for name in _BUDGETS:
            given.optional(given.number, name, getattr(self, name))
        object.__setattr__(self, "workers", given.whole("--workers", self.workers))
        for name in ("repeats", "seed"):
            object.__setattr__(self, name, given.whole(name, getattr(self, name), least=0))

    @property
    def budget(self) -> dict[str, float]:
        """The budget by its name; empty where finished searches set it."""
        found = {name: getattr(self, name) for name in _BUDGETS}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def unit(self) -> str:
        """In which costs are counted."""
        units = {"evaluations": "evaluations", "cost_seconds": "seconds"}
        return units.get(next(iter(self.budget), ""), "multiply-accumulates")

    def require_budget(self, runs: Sequence[object]) -> None:
        """Refuse a budget in which finished searches cannot be charged, or none at all."""
        if runs and self.unit != "multiply-accumulates":
            (name,) = self.budget
            raise ConfigurationError(
                f"--runs cannot be compared in --{name.replace('_', '-')}: seconds of the benchmark's machine are not "
                "seconds of this one. Give the budget as --cost-trainings; both sides are then charged in passes × "
                "multiply-accumulates"
            )
        if not (self.budget or runs):
            raise ConfigurationError("give one budget: --cost-seconds, --cost-trainings or --evaluations")

    def require_strategies(self, space: Space) -> None:
        """Refuse strategies that are unknown, do not suit the space, or need a further objective."""
        for name in self.strategies:
            if build_strategy(name, space).objectives > 1 and not self.latency:
                raise ConfigurationError(
                    f"{name} is made for several objectives, and accuracy is one: give --latency DEVICE, or leave it "
                    "out"
                )

    def signals(self, table: Table) -> dict[str, tuple[int, ...]]:
        """The data sets to compare on, each with the epochs of its searching signal."""
        legal = _legal_signals(table)
        signals = {}
        for name in dict.fromkeys(self.datasets or legal):
            if name not in legal:
                raise unknown_name(f"data set of {table.benchmark} with validation and test accuracy:", name, legal)
            wanted = tuple(sorted(set(self.signal_epochs or [max(legal[name])])))
            for number in wanted:
                if number not in legal[name]:
                    known = ", ".join(map(str, sorted(legal[name])))
                    raise ConfigurationError(f"{name} has no signal of {number} epochs; legal --signal-epochs: {known}")
            signals[name] = wanted
        return signals

    def field(
        self, table: Table, space: Space, dataset: str, epochs: tuple[int, ...], points: Sequence[Point]
    ) -> Field:
        """A data set with signals, costs and budget."""
        costs, mean_epoch = None, 0.0
        if self.unit == "multiply-accumulates":
            from sharewise.run.training_cost import training_epochs

            costs, mean_epoch = training_epochs(space, dataset)
        oracle = table_oracle(
            table,
            dataset=dataset,
            epochs=epochs,
            seed=self.signal_seed,
            unit=self.unit,
            costs=costs,
            latency=self.latency,
            space=space,
        )
        scale = mean_epoch * epochs[-1] if costs is not None else 1.0
        arena = Arena(dataset, oracle, final_accuracies(table, dataset, space))
        shown = _SHOWN[self.unit].format(epochs=epochs[-1])
        if self.workers > 1:
            shown = f"seconds of wall-clock, {self.workers} workers on the benchmark's machine"
        return Field(arena, self._budget(scale, points), scale, shown)

    def _budget(self, scale: float, points: Sequence[Point]) -> Budget:
        if self.evaluations is not None:
            return Budget(cost=float(self.evaluations), evaluations=self.evaluations)
        if self.cost_seconds is not None:
            return Budget(cost=self.cost_seconds, workers=self.workers)
        if self.cost_trainings is not None:
            return Budget(cost=self.cost_trainings * scale)
        return Budget(cost=max(1.5 * max(point.cost for point in points), 100 * scale))

    def plan(self, table: Table, space: Space, signals: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """What the folder of a comparison depends on, but for finished searches."""
        return {
            "table": {"benchmark": table.benchmark, "space": table.space.name, "provenance": table.provenance},
            "space": space.name,
            "datasets": {name: list(epochs) for name, epochs in signals.items()},
            "signal_seed": self.signal_seed,
            "latency": self.latency,
            "unit": self.unit,
            "budget": {name: getattr(self, name) for name in _BUDGETS},
            "strategies": list(self.strategies),
            "repeats": self.repeats,
            "seed": self.seed,
            **({"workers": self.workers} if self.workers > 1 else {}),
        }


def _legal_signals(table: Table) -> dict[str, set[int]]:
    """Epochs of mean validation accuracies, by data sets that have a test accuracy as well."""
    epochs: dict[str, set[int]] = {}
    tested = set()
    for key in (column.key for column in table.columns):
        if key.metric == "accuracy" and key.seed == "mean" and key.dataset is not None and key.epochs is not None:
            if key.split == "valid":
                epochs.setdefault(key.dataset, set()).add(key.epochs)
            if key.split == "test":
                tested.add(key.dataset)
    legal = {name: found for name, found in epochs.items() if name in tested}
    if not legal:
        raise ConfigurationError(
            f"{table.benchmark} has no data set with mean validation accuracy to search by and test accuracy to "
            "judge by"
        )
    return legal
