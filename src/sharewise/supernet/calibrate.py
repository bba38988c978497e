"""Batch-norm statistics as an explicit policy: batch, running, or recalibrated.

The running statistics of a supernet are averages over mixtures or over many sampled paths and fit no single
architecture. Whoever evaluates says which statistics are meant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sharewise.errors import ConfigurationError
from sharewise.given import function, got

__all__ = [
    "BatchStatistics",
    "NormPolicy",
    "RecalibratedStatistics",
    "RunningStatistics",
    "evaluating",
    "frozen_statistics",
    "norms",
    "recalibrate",
]

Forward = Callable[[Any], object]
"""Runs a module on a batch of inputs (a supernet: with fixed gates)."""
Applied = Callable[[Forward, Iterable[Tensor]], AbstractContextManager[None]]


def norms(module: nn.Module) -> list[_BatchNorm]:
    """All batch-norm layers of a module that keep running statistics."""
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Within the block, batch norm in training mode normalises by the batch and leaves running statistics unchanged.

    Architecture steps, second-order terms and recomputed forward passes run inside it.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with frozen_statistics(norm):
        ...     _ = norm(torch.ones(4, 2))
        >>> int(norm.num_batches_tracked)
        0
    """
    layers = [layer for layer in norms(module) if layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; every module's own mode is restored afterwards.

    Example:
        >>> layer = nn.Dropout()
        >>> with evaluating(layer):
        ...     layer.training
        False
        >>> layer.training
        True
    """
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes:
            child.training = mode


def recalibrate(module: nn.Module, forward: Forward, inputs: Iterable[Tensor | Sequence[Tensor]]) -> None:
    """Replace running statistics by their average over some mini-batches, in place, or change nothing.

    After n mini-batches each layer that was executed holds the plain average of the n batch means and of the n
    (unbiased) batch variances; with one mini-batch exactly its statistics. Layers that were not executed are reset.

    Args:
        module: whose batch-norm layers are reset and re-estimated.
        forward: runs the module (with fixed gates, for a supernet) on a batch of inputs.
        inputs: training inputs, each of more than one example; of tuples, such as (inputs, targets), the first.

    Raises:
        ConfigurationError: when there are no mini-batches, or one has a single value per channel. Whatever is raised,
            also by `forward`, the statistics are what they were.

    References:
        Z. Guo et al., *Single Path One-Shot*, ECCV 2020 (arXiv 1904.00420), section 3.1; A. Pourchot et al., *To Share
        or Not To Share* (arXiv 2002.04289), section 3.3 (BNS-FT).

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> recalibrate(norm, norm, [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [6.0]])])
        >>> norm.running_mean, norm.running_var
        (tensor([3.]), tensor([2.]))
    """
    if not isinstance(module, nn.Module):
        raise ConfigurationError(f"recalibrate needs a module, {got(module)}")
    if not isinstance(inputs, Iterable):
        raise ConfigurationError(f"recalibrate needs mini-batches as its inputs, {got(inputs)}: give a list of tensors")
    function("forward", forward, "a batch of inputs")
    layers = norms(module)
    saved = _statistics(layers)
    try:
        with evaluating(module):
            _estimate(layers, forward, inputs)
    except BaseException:
        _restore(saved)
        raise


def _estimate(layers: Sequence[_BatchNorm], forward: Forward, inputs: Iterable[Tensor | Sequence[Tensor]]) -> None:
    """See `recalibrate`; for the norms of a module in evaluation mode, whose statistics somebody else restores."""
    momenta = [layer.momentum for layer in layers]
    count = 0
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # cumulative average
            layer.training = True
        with torch.no_grad():
            for batch in inputs:
                forward(batch[0] if isinstance(batch, tuple | list) else batch)
                count += 1
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigurationError(
            f"mini-batch {count + 1} of a recalibration has a single example, which has no variance; leave a last "
            "batch of one out (drop_last), or join it to the one before"
        ) from None
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.training = False
    if count == 0:
        raise ConfigurationError("recalibration needs at least one mini-batch; is the iterator exhausted?")


_Statistics = list[tuple[Tensor, Tensor]]
"""Buffers, each with what it held."""


def _statistics(layers: Sequence[_BatchNorm]) -> _Statistics:
    return [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers(recurse=False)]


def _restore(saved: _Statistics) -> None:
    for buffer, value in saved:
        buffer.copy_(value)


class NormPolicy(ABC):
    """Which statistics batch norm uses while an architecture is evaluated."""

    batches: int
    """How many mini-batches of the `weights` role an evaluation consumes."""
    own: ClassVar[bool] = False
    """Whether the statistics are those of the evaluated architecture alone."""

    @abstractmethod
    def opened(self, module: nn.Module) -> AbstractContextManager[Applied]:
        """A context for any number of evaluations, in which the module belongs to the policy.

        It gives `applied(forward, inputs)`, a context in which `forward` evaluates under the policy and after which the
        statistics are as before. Modes are set, and copies made, once for all evaluations; when the block ends they are
        as they were.
        """

    @contextmanager
    def applied(self, module: nn.Module, forward: Forward, inputs: Iterable[Tensor]) -> Iterator[None]:
        """A context in which `forward` evaluates under the policy; it leaves modes and statistics as they were."""
        with self.opened(module) as applied, applied(forward, inputs):
            yield


def _as_they_are(forward: Forward, inputs: Iterable[Tensor]) -> AbstractContextManager[None]:
    return nullcontext()


@final
@dataclass(frozen=True)
class BatchStatistics(NormPolicy):
    """Normalise by the evaluated batch itself; outputs then depend on what else is in the batch."""

    batches: int = 0
    own: ClassVar[bool] = True

    @contextmanager
    def opened(self, module: nn.Module) -> Iterator[Applied]:
        """See `NormPolicy.opened`."""
        with evaluating(module), frozen_statistics(module):
            for layer in norms(module):
                layer.training = True
            yield _as_they_are


@final
@dataclass(frozen=True)
class RunningStatistics(NormPolicy):
    """Normalise by the running statistics as they are."""

    batches: int = 0

    @contextmanager
    def opened(self, module: nn.Module) -> Iterator[Applied]:
        """See `NormPolicy.opened`."""
        with evaluating(module):
            yield _as_they_are


@final
@dataclass(frozen=True)
class RecalibratedStatistics(NormPolicy):
    """Re-estimate the statistics for the evaluated architecture from training mini-batches, then use them.

    Args:
        batches: how many mini-batches, at least 1. *To Share or Not To Share* uses 4, SPOS 200 on ImageNet.
    """

    batches: int = 4
    own: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.batches < 1:
            raise ConfigurationError(f"recalibration needs at least 1 mini-batch, got {self.batches}")

    @contextmanager
    def opened(self, module: nn.Module) -> Iterator[Applied]:
        """See `NormPolicy.opened`."""
        layers = norms(module)
        saved = _statistics(layers)

        @contextmanager
        def applied(forward: Forward, inputs: Iterable[Tensor]) -> Iterator[None]:
            try:
                if layers:
                    _estimate(layers, forward, inputs)
                yield
            finally:
                _restore(saved)

        with evaluating(module):
            yield applied
