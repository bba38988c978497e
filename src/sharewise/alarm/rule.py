"""The alarm: a rule on the history alone that says when a search begins to collapse, or has not learned anything.

What collapse looks like before it has happened: the shared weights learn their own examples by heart, so that the
architecture, which descends the loss of other examples, is better off with skip connections, which have no weights to
overfit. So the alarm speaks when both are seen together, or when more than half of a cell are skip connections. How
often it is right, and how early it speaks, was measured on recorded searches (docs/watching.md,
`experiments/collapse_alarm`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from sharewise.alarm.eigenvalue import EigenvalueRise
from sharewise.alarm.history import Reading, readings

__all__ = ["UNLEARNED", "Alarm", "SkipsAlone", "SkipsAndOverfitting", "alarms", "never_learned"]

UNLEARNED = 0.98
"""Of the loss of one answer for all: above it nothing was learned."""

_FIRST, _STEPS = 3, 100
"""Epochs and steps after which a search that has not learned anything is named."""


@final
@dataclass(frozen=True)
class Alarm:
    """That something began to go wrong, and what to try.

    Args:
        kind: `"collapse"` or `"unlearned"`.
        epoch: at whose end it began, from 0.
        sentence: what was seen, with its figures.
        advice: what to try.
        lacked: what the history does not hold and would have made the alarm better.
    """

    kind: str
    epoch: int
    sentence: str
    advice: str
    lacked: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return {**asdict(self), "lacked": list(self.lacked)}


@final
@dataclass(frozen=True)
class SkipsAndOverfitting:
    """A cell with many skip connections, while the shared weights overfit.

    The share of skips is at least `share`, and held-out loss over training loss has been at least `excess` in each of
    the last `window` epochs. Epochs without losses are passed over, as long as more than half of the window has them.

    Args:
        share: of skip connections in a cell.
        excess: of the held-out loss, as a factor of the training loss.
        window: epochs.
    """

    share: float = 3 / 8
    excess: float = 1.1
    window: int = 5

    def __call__(self, read: Sequence[Reading]) -> bool:
        """Whether the last reading shows it."""
        ratios = [ratio for reading in read[-self.window :] if (ratio := reading.excess) is not None]
        enough = len(read) >= self.window and 2 * len(ratios) > self.window
        return enough and min(ratios) >= self.excess and (read[-1].skips or 0.0) >= self.share


@final
@dataclass(frozen=True)
class SkipsAlone:
    """More than half of a cell are skip connections, several epochs running: a collapse that has happened.

    Args:
        share: of skip connections in a cell.
        running: epochs.
        start: the first epoch that counts; before, architectures are still drawn by noise.
    """

    share: float = 5 / 8
    running: int = 2
    start: int = 5

    def __call__(self, read: Sequence[Reading]) -> bool:
        """Whether the last readings show it."""
        last = [r for r in read[-self.running :] if r.epoch >= self.start and (r.skips or 0.0) >= self.share]
        return len(last) == self.running


def _rises(read: Sequence[Reading]) -> bool:
    """Whether R-DARTS's rule goes back at the last reading."""
    measured = [(reading.epoch, value) for reading in read if (value := reading.eigenvalue) is not None]
    return read[-1].eigenvalue is not None and EigenvalueRise().goes_back_to(measured) is not None


_NAMES: Mapping[str, str] = {
    "skips": "the share of skip connections",
    "held_out_loss": "a held-out loss",
    "training_loss": "the training loss",
    "eigenvalue": "the dominant eigenvalue (--eigenvalue-every)",
}


@final
@dataclass(frozen=True)
class _Sign:
    """One way to see a collapse.

    Args:
        needs: quantities of a reading.
        seen: whether the last of some readings shows it.
        words: what was seen, to be filled with the values of that reading.
        unless: quantities whose history makes this one superfluous.
    """

    needs: tuple[str, ...]
    seen: Callable[[Sequence[Reading]], bool]
    words: str
    unless: tuple[str, ...] = ()

    def applies(self, held: set[str]) -> bool:
        """Whether a history that holds these quantities can show it."""
        return held.issuperset(self.needs) and held.isdisjoint(self.unless)

    def sentence(self, reading: Reading) -> str:
        """What was seen, with its figures."""
        return self.words.format(
            skips=reading.skips or 0.0, excess=reading.excess or 0.0, eigenvalue=reading.eigenvalue or 0.0
        )


def _signs(overfitting: SkipsAndOverfitting) -> tuple[_Sign, ...]:
    """From the best to the last resort, which is wrong too often to be heard beside the others."""
    return (
        _Sign(
            ("skips", "held_out_loss", "training_loss"),
            overfitting,
            "the search begins to collapse into skip connections: they are {skips:.0%} of a cell, while the held-out "
            "loss is {excess:.2f} times the training loss",
        ),
        _Sign(("skips",), SkipsAlone(), "the search collapses into skip connections: they are {skips:.0%} of a cell"),
        _Sign(
            ("eigenvalue",),
            _rises,
            "the loss of the architecture becomes sharp: its dominant eigenvalue has risen to {eigenvalue:.3g}",
            unless=("skips",),
        ),
    )


_CURES = (
    "stop here (fewer --epochs), or start again with a stronger --weight-decay (three times as much), with drop path, "
    "or with --method r-darts, which goes back by itself"
)
_LEARN = "try another --learning-rate or a smaller --weight-decay, and look at the labels of the data"


def alarms(
    history: Sequence[Mapping[str, Any]] | Sequence[Reading], *, overfitting: SkipsAndOverfitting | None = None
) -> tuple[Alarm, ...]:
    """What a history gives reason to say, in the order in which it began.

    An alarm depends on the history up to its epoch alone, so whoever asks at the end of every epoch hears each once and
    at the same time as whoever asks of the whole.

    Args:
        history: `state.history`, the lines of a run's `metrics.jsonl`, or readings.
        overfitting: other thresholds of the first sign of a collapse than those that were measured.

    Returns:
        At most one alarm of each kind. A search that has not learned anything yet is not said to collapse.

    Example:
        >>> read = [Reading(e, skips=0.5, training_loss=1.0, held_out_loss=1.2) for e in range(6)]
        >>> [(alarm.kind, alarm.epoch) for alarm in alarms(read)]
        [('collapse', 4)]
    """
    given = [entry for entry in history if isinstance(entry, Reading)]
    read = given or list(readings(entry for entry in history if isinstance(entry, Mapping)))
    blind = next((reading.blind_loss for reading in read if reading.blind_loss is not None), None)
    found = (_unlearned(read, blind), _collapse(read, blind, _signs(overfitting or SkipsAndOverfitting())))
    return tuple(sorted((alarm for alarm in found if alarm is not None), key=lambda alarm: alarm.epoch))


def never_learned(read: Sequence[Reading], blind: float) -> int | None:
    """The index at which a search is named that has not learned anything: none of its losses lies below guessing.

    Args:
        read: its readings; three losses must be known and, where steps are counted, 100 of them made.
        blind: the loss of one answer for all.

    Example:
        >>> flat = [Reading(e, training_loss=2.3) for e in range(5)]
        >>> never_learned(flat, blind=2.303), never_learned([Reading(0, training_loss=2.1), *flat], blind=2.303)
        (2, None)
    """
    above = 0
    for index, reading in enumerate(read):
        if reading.training_loss is None:
            continue
        if reading.training_loss <= UNLEARNED * blind:
            return None
        above += 1
        if above >= _FIRST and (reading.step is None or reading.step >= _STEPS):
            return index
    return None


def _unlearned(read: Sequence[Reading], blind: float | None) -> Alarm | None:
    since = None if blind is None else never_learned(read, blind)
    if since is None:
        return None
    reading = read[since]
    return Alarm(
        "unlearned",
        reading.epoch,
        f"the shared weights have learned nothing in {reading.epoch + 1} epochs: their loss is "
        f"{reading.training_loss:.3f}, that of one answer for all {blind:.3f}",
        _LEARN,
    )


def _collapse(read: Sequence[Reading], blind: float | None, signs: tuple[_Sign, ...]) -> Alarm | None:
    """The first epoch at which any sign that the history then allows is seen."""
    held, learned = set[str](), blind is None
    for last, reading in enumerate(read):
        held |= {name for name in _NAMES if getattr(reading, name) is not None}
        learned = learned or (reading.training_loss is not None and reading.training_loss <= UNLEARNED * (blind or 0.0))
        able = [sign for sign in signs if sign.applies(held)] if learned else []
        sign = next((sign for sign in able if sign.seen(read[: last + 1])), None)
        if sign is not None:
            better = signs[: signs.index(sign)]
            lacked = dict.fromkeys(_NAMES[name] for other in better for name in other.needs if name not in held)
            return Alarm("collapse", reading.epoch, sign.sentence(reading), _CURES, tuple(lacked))
    return None
