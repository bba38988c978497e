"""What a search will need, before it starts: steps, passes, seconds and memory, from a few steps that are made."""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor

from sharewise.engine import SearchState, evaluate_gates, seeded_modules
from sharewise.engine.stage import stage_at
from sharewise.run.fits import require_step_fits
from sharewise.run.search import Search
from sharewise.supernet import Gates, RecalibratedStatistics, discrete

__all__ = ["Forecast", "foresee"]

_STEPS, _SECONDS = 24, 12.0
"""Of each kind, as many steps as this and no more seconds than this are made; two at least."""
_FORWARDS = 24
"""Evaluations that are really made; the others are counted."""


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

    Every kind of step is made up to two dozen times, the measurement between epochs once. The selection runs as it
    would at the end, but only its first evaluations are real: later ones return what an earlier one did, and are
    counted. Seconds are those of this machine at this moment, and do not contain the start of Python; memory is that
    of the present process.

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
    with place.entered(), seeded_modules(search.setting.seed, "modules", place.numerics().device):
        return _foreseen(search.prepare())


def _foreseen(state: SearchState) -> Forecast:
    seconds = dict.fromkeys(("training", "measurement", "selection"), 0.0)
    macs, passes = dict.fromkeys(seconds, 0), dict.fromkeys(seconds, 0)
    made = 0
    counted = _Forwards(state, real=10**9)
    require_step_fits(state)
    state.supernet.train()
    for (architecture, closing), steps in _kinds(state).items():
        before, calls = state.ledger.multiply_accumulates, counted.calls
        state.step = state.steps_per_epoch - 1 if closing else 0
        with counted.watching():
            most = 1 if closing else min(steps, state.steps_per_epoch - 1)
            times, once = _times(state, architecture=architecture, most=most)
        made += len(times)
        seconds["training"] += _extrapolated(times, once, steps)
        share = steps / len(times)
        macs["training"] += round(share * (state.ledger.multiply_accumulates - before))
        passes["training"] += round(share * (counted.calls - calls))
    epochs = -(-state.total_steps // state.steps_per_epoch)
    seconds["training"] += epochs * _checkpoint(state)
    parts: list[tuple[str, int, Callable[[], object]]] = [
        ("measurement", epochs, lambda: state.measure and state.measure(state)),
        ("selection", 1, lambda: state.recipe.selection.select(state)),
        ("measurement", 1, lambda: _inherited(state)),
    ]
    for part, times_over, action in parts:
        before = state.ledger.multiply_accumulates
        forwards = _Forwards(state, real=_FORWARDS)
        with forwards.watching():
            start = time.perf_counter()
            action()
            _wait(state)
            elapsed = time.perf_counter() - start
        seconds[part] += times_over * (elapsed + forwards.missing)
        macs[part] += times_over * (state.ledger.multiply_accumulates - before)
        passes[part] += times_over * forwards.calls
    return Forecast(state.total_steps, passes, macs, seconds, _peak(state), made)


def _kinds(state: SearchState) -> dict[tuple[bool, bool], int]:
    """How many steps there are by whether θ moves, and whether they close an epoch, when some levels do more."""
    recipe, kinds = state.recipe, dict[tuple[bool, bool], int]()
    for epoch in range(recipe.epochs):
        steps = min(state.steps_per_epoch, state.total_steps - epoch * state.steps_per_epoch)
        moves = recipe.stages[stage_at(recipe.stages, epoch, recipe.epochs)].architecture_steps
        for closing, number in ((False, steps - 1), (True, 1)):
            if steps > 0 and number > 0:
                kinds[moves, closing] = kinds.get((moves, closing), 0) + number
    return kinds


def _times(state: SearchState, *, architecture: bool, most: int) -> tuple[list[float], float]:
    """Seconds of a few steps, and those that building the tables of prices took, which is done once."""
    times: list[float] = []
    charges: list[float] = []
    charge = state.charge

    def timed(part: str, gates: Gates, examples: int, passes: int) -> None:
        start = time.perf_counter()
        charge(part, gates, examples, passes)
        charges.append(time.perf_counter() - start)

    state.charge = timed  # type: ignore[method-assign]
    while len(times) < min(most, _STEPS) and (len(times) < 2 or sum(times) < _SECONDS):
        start, before = time.perf_counter(), sum(charges)
        for name, loss in state.recipe.level.step(state, architecture=architecture).items():
            state.meter(name, loss)
        _wait(state)
        state.step += 1
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


@final
class _Forwards:
    """Stands before the supernet's forward: the first passes are real, later ones return an earlier result.

    Args:
        state: whose supernet is watched.
        real: how many passes of each size of batch are made.
    """

    def __init__(self, state: SearchState, real: int) -> None:
        self.calls = 0
        self._state, self._real, self._forward = state, real, state.supernet.forward
        self._times: dict[int, list[float]] = {}
        self._skipped: dict[int, int] = {}
        self._outputs: dict[int, Tensor] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch within the block."""
        self._state.supernet.forward = self  # type: ignore[method-assign]
        try:
            yield
        finally:
            del self._state.supernet.forward

    @property
    def missing(self) -> float:
        """Seconds that the passes which were left out would have taken."""
        return sum(count * statistics.fmean(self._times[size]) for size, count in self._skipped.items())

    def __call__(self, inputs: Tensor, gates: Gates) -> Tensor:
        self.calls += 1
        size = len(inputs)
        times = self._times.setdefault(size, [])
        if len(times) >= self._real and not torch.is_grad_enabled():
            self._skipped[size] = self._skipped.get(size, 0) + 1
            return self._outputs[size]
        start = time.perf_counter()
        outputs = self._forward(inputs, gates)
        if not torch.is_grad_enabled():
            _wait(self._state)
            times.append(time.perf_counter() - start)
            self._outputs[size] = outputs
        return outputs
