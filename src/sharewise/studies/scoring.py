"""Scoring: what a trained supernet thinks of thousands of architectures.

All architectures see the same examples, which are laid out on the device once; recalibration is explicit, and every
architecture is scored without it as well. Scores are stored as they come, so that an interrupted sitting goes on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from sharewise.data import Batch
from sharewise.engine import Numerics, SearchState, evaluate, seeded_modules, stream
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.ledger import EVALUATION, TRAINING
from sharewise.run.identity import fingerprint
from sharewise.run.finished import Finished
from sharewise.space import Architecture
from sharewise.studies.answers import Answers
from sharewise.studies.workers import HERE, Workers
from sharewise.supernet import Gates, discrete, norms, to_device

__all__ = ["FINE_TUNED", "RECALIBRATED", "RUNNING", "Score", "Scorer", "Scoring", "score"]

RUNNING, RECALIBRATED, FINE_TUNED = "running", "recalibrated", "fine-tuned"
_NUMBERS = 2**18
"""The most numbers in a joined batch of inputs: 85 images of CIFAR, so that batches of 64 stay as they are."""


@final
@dataclass(frozen=True)
class Scoring:
    """How a supernet scores an architecture.

    Every architecture is scored with the running statistics of the supernet (`"running"`), with statistics of its own
    (`"recalibrated"`) where `recalibrate` is positive, and after a few steps on its own weights (`"fine-tuned"`) where
    `fine_tune` is.

    Args:
        recalibrate: mini-batches of training examples from which an architecture's batch-norm statistics are
            estimated; 0 for the running statistics alone.
        examples: of the selection role, evenly spaced; `None` for all.
        fine_tune: steps on the weights of the architecture before it is scored once more; they are restored afterwards.
        fine_tune_rate: learning rate of these steps; `None` for a tenth of the rate with which the search began.

    Raises:
        ConfigurationError: when a number is out of range.

    Example:
        >>> Scoring(recalibrate=0).variants, Scoring(fine_tune=2).variants
        (('running',), ('running', 'recalibrated', 'fine-tuned'))
    """

    recalibrate: int = 4
    examples: int | None = None
    fine_tune: int = 0
    fine_tune_rate: float | None = None

    def __post_init__(self) -> None:
        for name in ("recalibrate", "fine_tune"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.examples is not None and self.examples < 1:
            raise ConfigurationError(f"scoring needs at least 1 example, got {self.examples}")
        if self.fine_tune_rate is not None and not 0 < self.fine_tune_rate < math.inf:
            raise ConfigurationError(f"fine_tune_rate must be positive and finite, got {self.fine_tune_rate}")

    @property
    def variants(self) -> tuple[str, ...]:
        """The scores that each architecture gets, by name."""
        asked = {RUNNING: True, RECALIBRATED: self.recalibrate > 0, FINE_TUNED: self.fine_tune > 0}
        return tuple(name for name, wanted in asked.items() if wanted)


@final
@dataclass(frozen=True)
class Score:
    """What a supernet thinks of an architecture, by variant.

    Args:
        values: the task's metric, negated where lower is better; not a number where the network overflows.
        losses: on the same examples.
        multiply_accumulates: passes × multiply-accumulates that the score took, recalibration and steps included.
    """

    values: Mapping[str, float]
    losses: Mapping[str, float]
    multiply_accumulates: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain values, `null` for what is not a number."""
        return {
            name: [_plain(self.values[name]), _plain(self.losses[name]), self.multiply_accumulates[name]]
            for name in self.values
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Score:
        """The inverse of `to_json`.

        Raises:
            TypeError: when the value has another form.
        """
        rows = {name: (_number(v), _number(loss), int(macs)) for name, (v, loss, macs) in value.items()}
        return cls(*({name: row[place] for name, row in rows.items()} for place in range(3)))  # type: ignore[arg-type]


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"{value!r:.80} is no number")


@final
class Scorer:
    """Scores architectures with a trained supernet, whose weights and statistics are as before after each of them.

    The statistics are those of `RecalibratedStatistics` to the bit. What that policy saves and restores for every
    architecture is saved here once: modes, momenta and statistics. Small inputs are evaluated in larger batches than
    they are trained in, which changes outputs in the last bits at most.

    Args:
        state: of a search that has ended.
        scoring: how.

    Example:
        >>> import sharewise as sw
        >>> result = sw.search(sw.spaces.nasbench201(), sw.methods.spos(candidates=1), sw.data.digits(),
        ...                    network={"channels": 2, "cells": 1}, max_steps=2, device="cpu")
        >>> with Scorer(result.state, Scoring(recalibrate=1, examples=64)).opened() as score:
        ...     sorted(score(result.architecture).values)
        ['recalibrated', 'running']
    """

    def __init__(self, state: SearchState, scoring: Scoring) -> None:
        self._state, self._scoring = state, scoring
        self._batches = _joined(state.evaluation_batches("selection", scoring.examples), state.numerics)
        self._calibration = [batch.inputs for batch in state.calibration_batches(scoring.recalibrate)]
        if scoring.recalibrate and not self._calibration:
            raise ConfigurationError("the search has no training examples to recalibrate with; set recalibrate to 0")
        self._norms = norms(state.supernet)
        self._momenta = [layer.momentum for layer in self._norms]
        self._tuning = self._tuning_batches() if scoring.fine_tune else []
        self._charged = 0

    def _tuning_batches(self) -> list[Batch]:
        state = self._state
        batches = state.data.stream(
            "weights",
            state.recipe.batch_size,
            order=stream(state.seed, "fine-tuning"),
            augment=stream(state.seed, "fine-tuning/augmentation"),
            device=state.numerics.device,
            dtype=state.numerics.dtype,
        )
        return [state.numerics.arrange(next(batches)) for _ in range(self._scoring.fine_tune)]

    @contextmanager
    def opened(self) -> Iterator[Callable[[Architecture], Score]]:
        """Give a function that scores; the supernet is in evaluation mode until the block ends."""
        supernet = self._state.supernet
        modes = [(module, module.training) for module in supernet.modules()]
        supernet.eval()
        statistics = [(buffer, buffer.clone()) for layer in self._norms for buffer in layer.buffers(recurse=False)]
        weights = [(p, p.detach().clone()) for p in supernet.parameters()] if self._tuning else []
        self._set_momenta([None] * len(self._norms))  # plain averages; running statistics do not move in evaluation
        try:
            yield partial(self._score, statistics=statistics, weights=weights)
        finally:
            self._set_momenta(self._momenta)
            _restore(statistics)
            _restore(weights)
            for module, mode in modes:
                module.training = mode

    def _set_momenta(self, momenta: Sequence[float | None]) -> None:
        for layer, momentum in zip(self._norms, momenta, strict=True):
            layer.momentum = momentum

    def _score(self, architecture: Architecture, statistics: _Saved, weights: _Saved) -> Score:
        state = self._state
        encoding = state.supernet.relaxation.encode(architecture)
        gates = to_device(discrete(encoding), state.numerics.device, state.numerics.dtype)
        found: dict[str, tuple[float, float, int]] = {}
        try:
            with torch.no_grad():
                found[RUNNING] = self._evaluated(gates)
                if self._calibration:
                    self._recalibrate(gates)
                    found[RECALIBRATED] = self._evaluated(gates)
            if self._tuning:
                _restore(statistics)
                self._fine_tune(gates)
                with torch.no_grad():
                    if self._calibration:
                        self._recalibrate(gates)
                    found[FINE_TUNED] = self._evaluated(gates)
        finally:
            _restore(statistics)
            if self._tuning:
                _restore(weights)
        return Score(*({name: row[place] for name, row in found.items()} for place in range(3)))  # type: ignore[arg-type]

    def _forward(self, gates: Gates, inputs: Tensor, passes: int = EVALUATION) -> Tensor:
        state = self._state
        self._charged += state.costs.of(gates) * len(inputs) * passes
        with state.numerics.autocast():
            outputs: Tensor = state.supernet(inputs, gates)
        return outputs

    def _evaluated(self, gates: Gates) -> tuple[float, float, int]:
        task = self._state.task
        scores = evaluate(partial(self._forward, gates), self._batches, task)
        spent, self._charged = self._charged, 0
        sign = 1.0 if task.higher_is_better else -1.0
        return sign * scores[task.primary], scores["loss"], spent

    def _recalibrate(self, gates: Gates) -> None:
        """As `sharewise.supernet.recalibrate`, for a module that is in evaluation mode with momenta set already."""
        for layer in self._norms:
            layer.reset_running_stats()
            layer.training = True
        try:
            for inputs in self._calibration:
                self._forward(gates, inputs)
        finally:
            for layer in self._norms:
                layer.training = False

    def _fine_tune(self, gates: Gates) -> None:
        state, supernet = self._state, self._state.supernet
        settings = state.recipe.weights
        optimizer = settings.build(supernet.parameters())
        rate = self._scoring.fine_tune_rate or settings.learning_rate(0, state.recipe.epochs) / 10
        for group in optimizer.param_groups:
            group["lr"] = rate
        supernet.train()
        self._set_momenta(self._momenta)
        with seeded_modules(state.seed, "fine-tuning", state.numerics.device):
            for batch in self._tuning:
                optimizer.zero_grad(set_to_none=True)
                loss = state.loss(self._forward(gates, batch.inputs, TRAINING), batch.targets)
                if loss.requires_grad:
                    torch.autograd.backward(loss)
                if settings.gradient_clip is not None:
                    torch.nn.utils.clip_grad_norm_(supernet.parameters(), settings.gradient_clip)
                optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self._set_momenta([None] * len(self._norms))
        supernet.eval()


def _joined(batches: Sequence[Batch], place: Numerics) -> list[Batch]:
    """The same examples in fewer batches, where inputs are so small that a batch does not fill the processor."""
    groups: list[list[Batch]] = []
    room = 0
    for batch in batches:
        if not groups or room < batch.inputs.numel():
            groups.append([])
            room = _NUMBERS
        groups[-1].append(batch)
        room -= batch.inputs.numel()
    return [
        place.arrange(Batch(torch.cat([b.inputs for b in group]), torch.cat([b.targets for b in group])))
        for group in groups
    ]


_Saved = Sequence[tuple[Tensor, Tensor]]


def _restore(saved: _Saved) -> None:
    with torch.no_grad():
        for tensor, value in saved:
            tensor.copy_(value)


# ---------------------------------------------------------------------------------------------------------------------
# Many architectures


def score(
    source: Finished,
    architectures: Sequence[Architecture],
    scoring: Scoring,
    *,
    store: Path | None = None,
    workers: Workers = HERE,
    title: str = "scored",
) -> list[Score]:
    """Score many architectures with one trained supernet.

    Each score depends on nothing but the supernet and the architecture, so that neither the number of processes nor an
    interruption changes a bit.

    Args:
        source: a finished search.
        architectures: different ones.
        scoring: how.
        store: a file in which scores are kept as they come, and from which those of an earlier sitting are taken.
        workers: one process for a search in memory.
        title: what they tell.

    Returns:
        Scores in the order of the architectures.

    Raises:
        CheckpointError: when the run is damaged, or the store holds scores of another supernet or another scoring.
        ConfigurationError: when there are more processes than can look at the search.
    """
    source.require_jobs(workers.jobs)
    state = source.open()
    answers = Answers(store, "scores", _facts(state, scoring))

    def ask(missing: list[Architecture]) -> Iterator[tuple[Architecture, Any]]:
        done = len(architectures) - len(missing)
        if min(workers.jobs, len(missing)) > 1:
            begin = partial(_begin_worker, source, scoring)
            yield from workers.do(title, _work, missing, done=done, begin=begin)
        elif not missing:
            workers.progress(title, done, done)
        else:
            with Scorer(state, scoring).opened() as here:
                yield from workers.do(title, lambda a: here(a).to_json(), missing, done=done)

    found = answers.to_all(architectures, ask)
    try:
        scores = [Score.from_json(answer) for answer in found]
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{store} is damaged ({error}); delete it to score again") from None
    if any(tuple(known.values) != scoring.variants for known in scores):
        raise CheckpointError(f"{store} is damaged (scores are missing); delete it to score again")
    return scores


_worker: list[Any] = []


def _begin_worker(source: Finished, scoring: Scoring) -> None:
    context = Scorer(source.open(), scoring).opened()
    _worker[:] = [context, context.__enter__()]  # for the life of the process


def _work(architecture: Architecture) -> dict[str, Any]:
    found: Score = _worker[1](architecture)
    return found.to_json()


def _facts(state: SearchState, scoring: Scoring) -> dict[str, Any]:
    """Everything that a score depends on."""
    digest = hashlib.sha256()
    for name, value in state.supernet.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().to("cpu", torch.float64).contiguous().numpy().tobytes())
    run = {"fingerprint": fingerprint(state), "device": state.numerics.device.type, "weights": digest.hexdigest()}
    return {**run, "scoring": asdict(scoring)}
