"""R-DARTS's rule: go back when the dominant eigenvalue of ∂²L_val/∂θ² has risen too fast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from sharewise.errors import ConfigurationError

__all__ = ["EigenvalueRise"]


@final
@dataclass(frozen=True)
class EigenvalueRise:
    """Compare local averages λ̄ of the dominant eigenvalue, a few measurements apart.

    With λ_0, λ_1, … measured every few epochs, λ̄_i is the mean of the last `window` of them, or of fewer at the
    beginning, but at least of half a window. It belongs to the measurement in the middle of a full window, i - window
    // 2. The rule goes back to measurement i - window // 2 - delta as soon as this is not before epoch `start` and

        λ̄_i / λ̄_{i - delta} > factor.

    Args:
        every: epochs between two measurements, at least 1.
        window: measurements in an average, at least 1.
        delta: measurements between the two averages, at least 1.
        factor: by which the average may rise, positive.
        start: the first epoch to which the rule may go back.

    Raises:
        ConfigurationError: when a value is out of range.

    Example:
        >>> rule = EigenvalueRise(every=1, window=1, delta=1, factor=2.0, start=0)
        >>> rule.goes_back_to([(0, 0.1), (1, 0.15), (2, 0.4)])
        1

    References:
        A. Zela et al., *Understanding and Robustifying Differentiable Architecture Search*, ICLR 2020
        (arXiv 1909.09656), section 4.3.

    Deviations:
        As in the authors' code, which compares by a ratio above 1.3; the paper writes λ(i - k)/λ(i) < 0.75.
    """

    every: int = 2
    window: int = 5
    delta: int = 4
    factor: float = 1.3
    start: int = 10

    def __post_init__(self) -> None:
        for name in ("every", "window", "delta"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} of the eigenvalue rule must be at least 1, got {getattr(self, name)}")
        if not 0 < self.factor < math.inf or self.start < 0:
            raise ConfigurationError(
                "the eigenvalue rule needs a positive finite factor and a start that is not negative, got "
                f"factor={self.factor}, start={self.start}"
            )

    @property
    def reach(self) -> int:
        """How many measurements lie between the last one and the one that the rule goes back to."""
        return self.window // 2 + self.delta

    def due(self, epoch: int) -> bool:
        """Whether an epoch is one to be measured."""
        return epoch % self.every == 0

    def goes_back_to(self, measured: Sequence[tuple[int, float]]) -> int | None:
        """The epoch to go back to, if the last measurement says so.

        Args:
            measured: pairs of epoch and eigenvalue, in order.
        """
        last = len(measured) - 1
        half = -(-self.window // 2)  # measurements of the first average
        target = last - self.reach
        if target < 0 or last - self.delta < half - 1 or measured[target][0] < self.start:
            return None
        now, before = self._average(measured, last), self._average(measured, last - self.delta)
        return measured[target][0] if before > 0 and now / before > self.factor else None

    def _average(self, measured: Sequence[tuple[int, float]], last: int) -> float:
        values = [value for _, value in measured[max(0, last + 1 - self.window) : last + 1]]
        return sum(values) / len(values)
