"""How many architectures a rank correlation needs before its interval is as narrow as one would like."""

from __future__ import annotations

import math

from scipy import stats

from sharewise.errors import ConfigurationError

__all__ = ["correlation_half_width", "needed_architectures"]


def correlation_half_width(rho: float, n: int, confidence: float = 0.95) -> float:
    """Half the length of the usual interval of Spearman's correlation of n pairs.

    By Fisher's transformation z = atanh ρ, whose standard error is √((1 + ρ²/2) / (n - 3)).

    Args:
        rho: correlation, strictly between -1 and 1.
        n: pairs, at least 4.
        confidence: of the interval, between 0 and 1.

    Raises:
        ConfigurationError: when a number is out of range.

    Example:
        >>> round(correlation_half_width(0.6, 12), 2), round(correlation_half_width(0.6, 300), 2)
        (0.45, 0.08)

    References:
        D. Bonett and T. Wright, *Sample size requirements for estimating Pearson, Kendall and Spearman correlations*,
        Psychometrika 65, 2000.
    """
    if not -1 < rho < 1 or n < 4 or not 0 < confidence < 1:
        raise ConfigurationError(
            f"an interval of a correlation needs one between -1 and 1, at least 4 pairs and a confidence between 0 and "
            f"1; got {rho}, {n} and {confidence}"
        )
    step = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    z = math.atanh(rho)
    return (math.tanh(z + step) - math.tanh(z - step)) / 2


def needed_architectures(rho: float, half_width: float, confidence: float = 0.95) -> int:
    """The smallest sample whose interval of Spearman's correlation is expected to be ± `half_width` or narrower.

    Args:
        rho: the correlation that one expects.
        half_width: wanted, between 0 and 1.
        confidence: of the interval.

    Raises:
        ConfigurationError: when a number is out of range.

    Example:
        >>> needed_architectures(0.6, 0.1), needed_architectures(0.6, 0.2)
        (189, 50)
    """
    if not 0 < half_width < 1:
        raise ConfigurationError(f"the half width of a correlation's interval lies between 0 and 1, got {half_width}")
    low, high = 4, 8
    while correlation_half_width(rho, high, confidence) > half_width:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if correlation_half_width(rho, middle, confidence) > half_width:
            low = middle + 1
        else:
            high = middle
    return low
