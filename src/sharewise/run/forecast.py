"""What a search will need, before it starts: steps, passes, seconds and memory, from a few steps that are made."""

from __future__ import annotations

import operator
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from sharewise.engine import Scorer, SearchState, evaluate_gates, seeded_modules
from sharewise.engine.score import ScoreGates
from sharewise.engine.watch import measure
from sharewise.errors import ConfigurationError
from sharewise.ledger import EVALUATION
from sharewise.run.fits import require_step_fits
from sharewise.run.place import NOWHERE
from sharewise.run.search import Search
from sharewise.run.threads import on_threads, threads_of
from sharewise.supernet import Gates, RecalibratedStatistics, discrete

__all__ = ["Forecast", "foresee"]

_MADE, _SECONDS = 24, 12.0
"""Of each kind, as many steps or evaluations as this and no more seconds than this are made; two at least."""


@final
@dataclass(frozen=True)
class Forecast:
    """What a search will need on this machine.

    Args:
        steps: of training.
        passes: forward passes of the supernet by part.
        multiply_accumulates: passes × multiply-accumulates, as the ledger charges them, by part.
        seconds: by part: training, measurement (between epochs and of the result), selection.
        peak_bytes: largest resident memory of the process, or largest allocation of the device.
        made: steps that were really made for this.
    """

    steps: int
    passes: Mapping[str, int]
    multiply_accumulates: Mapping[str, int]
    seconds: Mapping[str, float]
    peak_bytes: int
    made: int

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


def foresee(search: Search) -> Forecast:
    """Foresee a search by making a few steps and evaluations of it; nothing is written.

    Every kind of step is made up to two dozen times, every kind of measurement between epochs once. The selection runs
    as it would at the end, but only its first two dozen evaluations are real. Later ones answer and last as those that
    are like them let expect, so that an evolution converges here too, though not necessarily to what the trained
    weights will prefer: where architectures differ much in cost, so may its seconds. They are those of this machine at
    this moment, and do not contain the start of Python; memory is that of the present process.

    Args:
        search: before its first step.

    Raises:
        ConfigurationError: as the search would.

    Example:
        >>> import sharewise as sw
        >>> data = sw.data.digits().limited(64, seed=0)
        >>> search = Search(sw.spaces.toy_tied_width(), sw.methods.gaea_erm(epochs=2, batch_size=16), data)
        >>> found = foresee(search)
        >>> found.steps, found.passes["training"]
        (8, 16)
    """
    place = search.setting.place
    if place.shard:
        raise ConfigurationError("sharded weights are not foreseen; leave --shard or --dry-run out")
    if place.compile:
        raise ConfigurationError("compiled steps are not foreseen; leave --compile or --dry-run out")
    if place.capture:
        raise ConfigurationError("captured steps are not foreseen; leave --capture or --dry-run out")
    with place.entered(), seeded_modules(search.setting.seed, "modules", place.numerics().device):
        with on_threads(1):
            state, teacher = search.prepare(), search.teacher()
            if teacher is not None:
                state.teach(teacher)
        with on_threads(threads_of(state, NOWHERE, place.threads).count):
            return _foreseen(state, search.eigenvalue_every)


@final
@dataclass
class _Need:
    """What a part of a run takes."""

    seconds: float = 0.0
    passes: int = 0
    multiply_accumulates: int = 0

    def add(self, other: _Need, times: float = 1) -> None:
        """Add what is done so many times."""
        self.seconds += times * other.seconds
        self.passes += round(times * other.passes)
        self.multiply_accumulates += round(times * other.multiply_accumulates)


def _foreseen(state: SearchState, eigenvalue_every: int) -> Forecast:
    require_step_fits(state)
    state.supernet.train()
    made, training = _training(state)
    epochs = -(-state.total_steps // state.steps_per_epoch)
    measurement, selection = _Need(), _once(state, lambda: state.recipe.selection.select(state))
    for alike in _epochs_alike(state, epochs, eigenvalue_every):
        state.epoch = alike[0]
        measurement.add(_once(state, lambda: measure(state, {})), len(alike))
    state.epoch = 0
    measurement.add(_once(state, lambda: _inherited(state)))
    training.seconds += epochs * _checkpoint(state)
    parts = {"training": training, "measurement": measurement, "selection": selection}
    return Forecast(
        state.total_steps,
        {part: need.passes for part, need in parts.items()},
        {part: need.multiply_accumulates for part, need in parts.items()},
        {part: need.seconds for part, need in parts.items()},
        _peak(state),
        made,
    )


def _epochs_alike(state: SearchState, epochs: int, eigenvalue_every: int) -> list[list[int]]:
    """Epochs by what is measured at their ends: eigenvalues are not in every one."""
    found: dict[tuple[bool, ...], list[int]] = {}
    for epoch in range(epochs):
        due = eigenvalue_every > 0 and epoch % eigenvalue_every == 0
        kind = (due, *(reaction.observes(epoch) for reaction in state.recipe.reactions))
        found.setdefault(kind, []).append(epoch)
    return list(found.values())


def _training(state: SearchState) -> tuple[int, _Need]:
    """How many steps were made, and what all of them take."""
    made, total = 0, _Need()
    for (architecture, closing), steps in _kinds(state).items():
        before = state.ledger.multiply_accumulates
        with _counted(state) as forwards:
            most = 1 if closing and state.steps_per_epoch > 1 else steps  # a closing one may hold many of θ
            times, once = _times(state, architecture=architecture, closing=closing, most=most)
        made += len(times)
        total.seconds += _extrapolated(times, once, steps)
        few = _Need(0.0, len(forwards), state.ledger.multiply_accumulates - before)
        total.add(few, steps / len(times))
    return made, total


def _once(state: SearchState, action: Callable[[], object]) -> _Need:
    """What is done after steps of training, with few of its evaluations made."""
    before = state.ledger.multiply_accumulates
    with _counted(state) as forwards:
        state.instead = instead = _Alike(forwards)
        start = time.perf_counter()
        action()
        _wait(state)
        elapsed = time.perf_counter() - start
    state.instead = None
    spent = state.ledger.multiply_accumulates - before
    return _Need(elapsed + instead.seconds, len(forwards) + instead.passes, spent)


def _kinds(state: SearchState) -> dict[tuple[bool, bool], int]:
    """How many steps there are by whether θ moves, and whether they close an epoch, when some levels do more."""
    kinds = dict[tuple[bool, bool], int]()
    for epoch in range(state.course.epochs):
        steps = min(state.steps_per_epoch, state.total_steps - epoch * state.steps_per_epoch)
        moves = state.course.stages[state.course.stage_at(epoch)].architecture_steps
        for closing, number in ((False, steps - 1), (True, 1)):
            if steps > 0 and number > 0:
                kinds[moves, closing] = kinds.get((moves, closing), 0) + number
    return kinds


def _times(state: SearchState, *, architecture: bool, closing: bool, most: int) -> tuple[list[float], float]:
    """Seconds of a few steps, and those that building the tables of prices took, which is done once.

    They are the first steps of the run that close an epoch, or do not: some levels count them. As many as are made are
    enough for the tables of a supernet of which each step runs another path.
    """
    times: list[float] = []
    charges: list[float] = []
    charge = state.charge

    def timed(part: str, gates: Gates, examples: int, passes: int) -> None:
        start = time.perf_counter()
        charge(part, gates, examples, passes)
        charges.append(time.perf_counter() - start)

    state.charge = timed  # type: ignore[method-assign]
    last = state.total_steps - 1  # closes an epoch as well, which may be a part of one
    ends = (step == last or (step + 1) % state.steps_per_epoch == 0 for step in range(state.total_steps))
    wanted = (step for step, end in enumerate(ends) if end == closing)
    for state.step in islice(wanted, min(most, _MADE)):
        if len(times) >= 2 and sum(times) >= _SECONDS:
            break
        start, before = time.perf_counter(), sum(charges)
        for name, loss in state.recipe.level.step(state, architecture=architecture).items():
            state.meter(name, loss)
        _wait(state)
        times.append(time.perf_counter() - start - (sum(charges) - before))
    del state.charge
    state.reset_meters()
    return times, sum(charges)


def _extrapolated(times: Sequence[float], once: float, steps: int) -> float:
    """Seconds of all steps; what the first one took beyond the others to warm up is added once."""
    later = times[1:] if len(times) > 3 else times
    usual = statistics.fmean(later)
    return once + max(times[0] - usual, 0.0) + steps * usual


def _checkpoint(state: SearchState) -> float:
    """Seconds of the checkpoint that every epoch ends with."""
    with tempfile.TemporaryFile() as file:
        start = time.perf_counter()
        torch.save(state.state_dict(), file)
        file.flush()
        os.fsync(file.fileno())
        return time.perf_counter() - start


def _inherited(state: SearchState) -> None:
    """The evaluation of what was found, which stands in the result."""
    policy = RecalibratedStatistics()
    found = state.recipe.selection.projected(state) or state.distribution.sample(state.fresh_generator("forecast"))
    gates = discrete(state.distribution.relaxation.encode(found))
    batches = state.evaluation_batches("selection", 1024)
    evaluate_gates(state, gates, batches, policy, state.calibration_batches(policy.batches), part="measurement")


def _wait(state: SearchState) -> None:
    if state.numerics.device.type == "cuda":
        torch.cuda.synchronize(state.numerics.device)


def _peak(state: SearchState) -> int:
    if state.numerics.device.type == "cuda":
        return torch.cuda.max_memory_allocated(state.numerics.device)
    unit = 1 if sys.platform == "darwin" else 1024  # of what the system states
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def _counted(state: SearchState) -> Iterator[list[int]]:
    """The sizes of the batches that go through the supernet within the block."""
    forward, sizes = state.supernet.forward, list[int]()

    def counted(inputs: Tensor, gates: Gates) -> Tensor:
        sizes.append(len(inputs))
        outputs: Tensor = forward(inputs, gates)
        return outputs

    state.supernet.forward = counted  # type: ignore[method-assign]
    try:
        yield sizes
    finally:
        del state.supernet.forward


@final
@dataclass(frozen=True)
class _Evaluation:
    """One that was really made: which options were active, what it answered, and what it took."""

    active: tuple[tuple[int, ...], ...]
    scores: Mapping[str, float]
    seconds: float
    passes: int
    examples: int


@final
class _Alike:
    """Stands in for most scores: the first are real, later ones are estimated from these by main effects.

    With y_i the real answers, ȳ their mean, and those m_d of them that have the same options active in decision d,

        ȳ + Σ_d Σ_{i alike in d} (y_i - ȳ) / (m_d + 1)

    So children score like their parents, as under trained weights, and a population converges; with equal answers for
    all, it would remain one of random architectures, and cost what those cost. Of planted scores that are sums over
    decisions this ranks better than means weighted by likeness, and much better than the nearest answer.

    Args:
        forwards: grows with every forward pass of the supernet.
    """

    def __init__(self, forwards: list[int]) -> None:
        self.seconds, self.passes, self._forwards = 0.0, 0, forwards
        self._made: dict[Scorer, list[_Evaluation]] = {}

    def __call__(self, scorer: Scorer, score: ScoreGates, gates: Gates) -> dict[str, float]:
        made = self._made.setdefault(scorer, [])
        active = tuple(gates[name].active for name in gates)
        if len(made) < _MADE and (len(made) < 2 or sum(one.seconds for one in made) < _SECONDS):
            made.append(self._evaluated(scorer, score, gates, active))
            return dict(made[-1].scores)
        alike = np.array([[*map(operator.eq, one.active, active)] for one in made], dtype=np.float64)
        weights = 1 / len(made) + ((alike - alike.mean(0)) / (alike.sum(0) + 1)).sum(1)
        scorer.charge(gates, made[0].examples, EVALUATION)
        self.passes += made[0].passes
        self.seconds += max(float(weights @ [one.seconds for one in made]), 0.0)
        return {name: float(weights @ [one.scores[name] for one in made]) for name in made[0].scores}

    def _evaluated(
        self, scorer: Scorer, score: ScoreGates, gates: Gates, active: tuple[tuple[int, ...], ...]
    ) -> _Evaluation:
        state, before = scorer.state, len(self._forwards)
        state.costs.of(gates)  # whose tables are built once for all
        start = time.perf_counter()
        scores = score(gates)
        _wait(state)
        seconds, sizes = time.perf_counter() - start, self._forwards[before:]
        return _Evaluation(active, scores, seconds, len(sizes), sum(sizes))
