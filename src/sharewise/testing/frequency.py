"""Frequencies against probabilities: what a sampler or an estimator draws, against what it says that it draws."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sharewise.testing.expect import expect

__all__ = ["check_frequencies"]

_LEVEL = 1e-6
"""Of the test; suites draw with fixed seeds, so that a sound piece is not refused now and then."""


def check_frequencies(names: Sequence[str], counts: Sequence[int], probabilities: Sequence[float], what: str) -> None:
    """Check counts of draws against the probabilities that they should have, by Pearson's chi-square.

    Cells of which fewer than five draws are expected are put together. With E_i expected and O_i observed draws the
    statistic Σ (O_i - E_i)² / E_i has, over c cells, a chi-square distribution with c - 1 degrees of freedom.

    Args:
        names: of the cells, for the message.
        counts: how often each was drawn.
        probabilities: of each, not negative; they are normalised.
        what: was drawn, and by whom.

    Raises:
        AssertionError: when something impossible was drawn, or when so large a deviation has a probability below 1e-6.

    Example:
        >>> check_frequencies(("heads", "tails"), (49, 51), (0.5, 0.5), "a coin")
    """
    total, mass = sum(counts), sum(probabilities)
    expected = [total * p / mass for p in probabilities]
    impossible = [name for name, count, e in zip(names, counts, expected, strict=True) if count and not e]
    expect(not impossible, f"{what} drew {impossible[:3]}, which it never should")
    cells = [(float(o), e) for o, e in zip(counts, expected, strict=True) if e >= 5]
    rest = [(float(o), e) for o, e in zip(counts, expected, strict=True) if 0 < e < 5]
    if rest:
        cells.append((sum(o for o, _ in rest), sum(e for _, e in rest)))
    if len(cells) < 2:
        return
    statistic = sum((o - e) ** 2 / e for o, e in cells)
    degrees = torch.tensor((len(cells) - 1) / 2, dtype=torch.float64)
    chance = float(torch.special.gammaincc(degrees, torch.tensor(statistic / 2, dtype=torch.float64)))
    gaps = [abs(o - e) for o, e in zip(counts, expected, strict=True)]
    worst = max(range(len(names)), key=gaps.__getitem__)
    expect(
        chance >= _LEVEL,
        f"{what} drew {names[worst]!r} {counts[worst]} times of {total}, where {expected[worst]:.1f} were to be "
        f"expected; frequencies as far from the probabilities have a chance of {chance:.1g}",
    )
