"""A row of the table: sides that are measured in turn, what they must agree on, and what is claimed of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

__all__ = ["FULL", "QUICK", "AtLeast", "AtMost", "Measured", "Row", "Size", "Step", "alternating", "spread_of"]

Step = Callable[[], object]
Values = Mapping[str, Sequence[float]]
"""What was measured of every side, by round; the first side is ours."""

EXACT = 1e-10
LENIENT = 0.7
"""Of a goal, what is asked at reduced sizes."""


@final
@dataclass(frozen=True)
class Size:
    """Sizes of all rows.

    Args:
        channels: of the first stage.
        cells: of NAS-Bench-201, a stage.
        layers: of the DARTS cells.
        batch: images in a step; a row of the DARTS cells takes half as many.
        side: of an image, in pixels.
        architectures: that are scored.
        choices: per decision, of entangled networks.
        full: whether goals hold as they stand.
    """

    channels: int
    cells: int
    layers: int
    batch: int
    side: int
    architectures: int
    choices: tuple[int, ...]
    full: bool

    def __str__(self) -> str:
        return (
            f"{self.channels} channels, {self.cells} cells a stage or {self.layers} layers, {self.batch} images of "
            f"{self.side}×{self.side}" + ("" if self.full else f": reduced, FAIL below {LENIENT} of a goal")
        )


FULL = Size(16, 5, 8, 32, 32, 60, (2, 4, 8, 16), full=True)
QUICK = Size(16, 1, 3, 32, 32, 12, (4,), full=False)


@final
@dataclass(frozen=True)
class AtLeast:
    """`side` takes at least `goal` times as much as ours."""

    side: str
    goal: float

    def judged(self, values: Values, ours: str, full: bool) -> tuple[str, bool]:
        """In words, and whether it holds."""
        ratios = [other / own for other, own in zip(values[self.side], values[ours], strict=True)]
        words = f"ours is {spread_of(ratios, 2)} times as fast (goal: at least {self.goal:g})"
        return words, statistics.median(ratios) >= self.goal * (1 if full else LENIENT)


@final
@dataclass(frozen=True)
class AtMost:
    """Ours takes at most `goal` times as much as `side`, or `goal` in all where there is no side."""

    goal: float
    side: str | None = None

    def judged(self, values: Values, ours: str, full: bool) -> tuple[str, bool]:
        """In words, and whether it holds."""
        found = list(values[ours])
        if self.side is not None:
            found = [own / other for own, other in zip(found, values[self.side], strict=True)]
        words = f"goal: at most {self.goal:g}"
        if self.side is not None:
            words = f"ours is {spread_of(found, 2)} of it ({words})"
        return words, statistics.median(found) <= self.goal / (1 if full else LENIENT)


@final
@dataclass(frozen=True)
class Measured:
    """A row that was measured.

    Args:
        lines: to print.
        values: of every side, by round.
        difference: the largest that exactness found; `None` where there is nothing to compare.
        good: whether it is exact and every claim holds.
    """

    lines: Sequence[str]
    values: Values
    difference: float | None
    good: bool


@final
@dataclass(frozen=True)
class Row:
    """A row of the table.

    Args:
        name: what is measured.
        measure: the values of every side, ours first, at a size and over so many rounds.
        claims: what is said of them.
        exact: the largest difference between the sides in float64; `None` where they compute no numbers.
        unit: of the values.
        factor: from values to the unit.
    """

    name: str
    measure: Callable[[Size, int], Values]
    claims: Sequence[AtLeast | AtMost]
    exact: Callable[[], float] | None = None
    unit: str = "CPU ms"
    factor: float = 1e3

    def measured(self, size: Size, rounds: int) -> Measured:
        """Check that the sides agree, measure them, and judge the claims."""
        difference = None if self.exact is None else self.exact()
        values = self.measure(size, rounds)
        gc.collect()
        ours, good = next(iter(values)), difference is None or difference < EXACT
        lines = [_line(self.name, good)]
        if difference is not None:
            lines.append(f"       largest difference in float64: {difference:.1e}")
        claims = {claim.side: claim for claim in self.claims}
        for side, found in values.items():
            text, holds = f"{side}: {spread_of([self.factor * v for v in found], 1)} {self.unit}", True
            claim = claims.get(side) if side != ours else claims.get(None)
            if claim is not None:
                words, holds = claim.judged(values, ours, size.full)
                text += f"; {words}"
            good &= holds
            lines.append(_line("  " + text, holds))
        return Measured(lines, values, difference, good)


def _line(text: str, good: bool) -> str:
    return f"{'' if good else 'FAIL':<5}{text}"


def spread_of(values: Sequence[float], digits: int) -> str:
    """Median and quartiles."""
    middle = statistics.median(values)
    if len(values) < 2:
        return f"{middle:.{digits}f}"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def alternating(sides: Callable[[Size], Mapping[str, Step]]) -> Callable[[Size, int], Values]:
    """Measure the CPU seconds of sides that come in turn, after one round that is not counted."""

    def measure(size: Size, rounds: int) -> Values:
        steps = sides(size)
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for number in range(rounds + 1):
            for name, step in steps.items():
                start = time.process_time()
                step()
                if number:
                    seconds[name].append(time.process_time() - start)
        return seconds

    return measure
