"""Scoring: what a trained supernet thinks of thousands of architectures.

All architectures see the same examples, which are laid out on the device once; recalibration is explicit, and every
architecture is scored without it as well. Scores are stored as they come, so that an interrupted sitting goes on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from sharewise.data import Batch
from sharewise.engine import Numerics, Scorer, SearchState, seeded_modules, stream
from sharewise.engine.score import ScoreGates
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.ledger import TRAINING, Ledger
from sharewise.run.finished import Finished
from sharewise.run.identity import fingerprint
from sharewise.space import Architecture
from sharewise.studies.answers import Answers
from sharewise.studies.workers import HERE, PerWorker, Workers
from sharewise.supernet import Gates, RecalibratedStatistics, RunningStatistics, to_device

__all__ = ["FINE_TUNED", "RECALIBRATED", "RUNNING", "Score", "Scoring", "VariantScorer", "score"]

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
class VariantScorer:
    """Scores architectures by every variant, with a trained supernet that is as before after each of them.

    Small inputs are evaluated in larger batches than they are trained in, which changes outputs in the last bits at
    most.

    Args:
        state: of a search that has ended.
        scoring: how.

    Raises:
        ConfigurationError: when there are no training examples to recalibrate with.

    Example:
        >>> import sharewise as sw
        >>> result = sw.search(sw.spaces.nasbench201(), sw.methods.spos(candidates=1), sw.data.digits(),
        ...                    network={"channels": 2, "cells": 1}, max_steps=2, device="cpu")
        >>> with VariantScorer(result.state, Scoring(recalibrate=1, examples=64)).opened() as score:
        ...     sorted(score(result.architecture).values)
        ['recalibrated', 'running']
    """

    def __init__(self, state: SearchState, scoring: Scoring) -> None:
        self._state, self._scoring, self._ledger = state, scoring, Ledger()
        batches = _joined(state.evaluation_batches("selection", scoring.examples), state.numerics)
        calibration = state.calibration_batches(scoring.recalibrate)
        if scoring.recalibrate and not calibration:
            raise ConfigurationError("the search has no training examples to recalibrate with; set recalibrate to 0")
        running = Scorer(state, RunningStatistics(), batches, ledger=self._ledger)
        own = replace(running, policy=RecalibratedStatistics(), calibration=calibration) if calibration else running
        self._scorers = {RUNNING: running, RECALIBRATED: own, FINE_TUNED: own}
        self._tuning = self._tuning_batches() if scoring.fine_tune else []

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
        with ExitStack() as stack:
            opened = {
                name: stack.enter_context(self._scorers[name].opened(still=name != FINE_TUNED))
                for name in self._scoring.variants
            }
            shared = self._state.supernet.state_dict().values() if self._tuning else ()
            yield partial(self._score, opened, [(tensor, tensor.clone()) for tensor in shared])

    def _score(self, opened: Mapping[str, ScoreGates], saved: _Saved, architecture: Architecture) -> Score:
        gates = self._scorers[RUNNING].gates(architecture)
        task = self._state.task
        values: dict[str, float] = {}
        losses: dict[str, float] = {}
        spent: dict[str, int] = {}
        for name, score in opened.items():
            before = self._ledger.multiply_accumulates
            with self._tuned(gates, saved) if name == FINE_TUNED else nullcontext():
                found = score(gates)
            values[name] = found[task.primary] * (1.0 if task.higher_is_better else -1.0)
            losses[name], spent[name] = found["loss"], self._ledger.multiply_accumulates - before
        return Score(values, losses, spent)

    @contextmanager
    def _tuned(self, gates: Gates, saved: _Saved) -> Iterator[None]:
        """Within the block the architecture's weights have made a few steps of their own."""
        try:
            self._fine_tune(gates)
            yield
        finally:
            with torch.no_grad():
                for tensor, value in saved:
                    tensor.copy_(value)

    def _fine_tune(self, gates: Gates) -> None:
        state, supernet = self._state, self._state.supernet
        settings = state.recipe.weights
        optimizer = settings.build(supernet.parameters())
        rate = self._scoring.fine_tune_rate or settings.learning_rate(0, state.recipe.epochs) / 10
        for group in optimizer.param_groups:
            group["lr"] = rate
        placed = to_device(gates, state.numerics.device, state.numerics.dtype)
        running = self._scorers[RUNNING]
        supernet.train()
        with seeded_modules(state.seed, "fine-tuning", state.numerics.device):
            for batch in self._tuning:
                optimizer.zero_grad(set_to_none=True)
                with state.numerics.autocast():
                    outputs = supernet(batch.inputs, placed)
                loss = state.loss(outputs, batch.targets)
                if loss.requires_grad:
                    torch.autograd.backward(loss)
                if settings.gradient_clip is not None:
                    torch.nn.utils.clip_grad_norm_(supernet.parameters(), settings.gradient_clip)
                optimizer.step()
                running.charge(gates, len(batch.inputs), TRAINING)
        optimizer.zero_grad(set_to_none=True)
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
    return [place.arrange(Batch.joined(group)) for group in groups]


_Saved = Sequence[tuple[Tensor, Tensor]]


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
    source.require_reach(here=workers.here)
    state = source.open()
    answers = Answers(store, "scores", _facts(state, scoring))

    def ask(missing: list[Architecture]) -> Iterator[tuple[Architecture, Any]]:
        done = len(architectures) - len(missing)
        if missing and not workers.at_most(len(missing)).here:
            yield from workers.do(title, PerWorker(partial(_opened, source, scoring)), missing, done=done)
        elif not missing:
            workers.progress(title, done, done)
        else:
            with VariantScorer(state, scoring).opened() as here:
                yield from workers.do(title, partial(_to_json, here), missing, done=done)

    found = answers.to_all(architectures, ask)
    try:
        scores = [Score.from_json(answer) for answer in found]
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{store} is damaged ({error}); delete it to score again") from None
    if any(tuple(known.values) != scoring.variants for known in scores):
        raise CheckpointError(f"{store} is damaged (scores are missing); delete it to score again")
    return scores


@contextmanager
def _opened(source: Finished, scoring: Scoring) -> Iterator[Callable[[Architecture], dict[str, Any]]]:
    with VariantScorer(source.open(), scoring).opened() as scored:
        yield partial(_to_json, scored)


def _to_json(scored: Callable[[Architecture], Score], architecture: Architecture) -> dict[str, Any]:
    return scored(architecture).to_json()


def _facts(state: SearchState, scoring: Scoring) -> dict[str, Any]:
    """Everything that a score depends on."""
    digest = hashlib.sha256()
    for name, value in state.supernet.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().to("cpu", torch.float64).contiguous().numpy().tobytes())
    run = {"fingerprint": fingerprint(state), "device": state.numerics.device.type, "weights": digest.hexdigest()}
    kernels = {"native": True} if state.numerics.has_kernels else {}
    return {**run, **kernels, "scoring": asdict(scoring)}
