"""Numbers as a reader wants them: amounts with SI prefixes, durations, scores, means with intervals, p-values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = [
    "capital",
    "duration",
    "estimate",
    "exact",
    "mean",
    "p_value",
    "score",
    "shown",
    "si",
    "signed",
    "unit",
]

Plain = Mapping[str, Any]


def unit(metric: str) -> tuple[float, str]:
    """What to multiply a metric by to show it, and its name with the unit."""
    return (100.0, f"{metric}, %") if metric.endswith("accuracy") else (1.0, metric.replace("_", " "))


def score(metric: str, value: float) -> str:
    """A score in the unit of its metric.

    Example:
        >>> score("accuracy", 0.5), score("loss", 1.25)
        ('50.0 %', '1.250')
    """
    if not math.isfinite(value):
        return "—"
    if unit(metric)[0] == 100:
        return f"{100 * value:.1f} %"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def si(value: float, of: str = "") -> str:
    """Three digits and an SI prefix.

    Example:
        >>> si(2_500_000, "MAC")
        '2.5 MMAC'
    """
    prefixes = ("", "k", "M", "G", "T", "P", "E", "Z")
    step = 0
    while abs(value) >= 999.5 and step < len(prefixes) - 1:
        value, step = value / 1000, step + 1
    return f"{value:.3g} {prefixes[step]}{of}".rstrip()


def exact(value: float) -> str:
    """Every digit, in groups of three."""
    return f"{value:,.0f}".replace(",", "\u202f") if value == round(value, 0) else f"{value:g}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours.

    Example:
        >>> duration(3.21), duration(75), duration(7260)
        ('3.2 s', '1 min 15 s', '2 h 01 min')
    """
    if not math.isfinite(seconds):
        return "—"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def shown(value: object) -> str:
    """Any plain value in words."""
    if value is None:
        return "—"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def mean(interval: Plain | None, digits: int) -> str:
    """A mean over seeds with half of its interval."""
    if interval is None:
        return "–"
    if interval["low"] is None:
        return f"{interval['mean']:.{digits}f} (one seed)"
    return f"{interval['mean']:.{digits}f} ± {(interval['high'] - interval['low']) / 2:.{digits}f}"


def estimate(found: Plain) -> str:
    """A value with the ends of its interval."""
    ends = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
    return f"{found['value']:.2f}{ends}"


def signed(found: Plain) -> str:
    """A difference with the ends of its interval."""
    ends = "" if found["low"] is None else f" [{found['low']:+.2f}, {found['high']:+.2f}]"
    return f"{found['value']:+.2f}{ends}"


def p_value(value: float | None) -> str:
    """The p-value of a test."""
    if value is None:
        return "p unknown"
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def capital(sentence: str) -> str:
    """A sentence that begins with a capital letter."""
    return sentence[:1].upper() + sentence[1:]
