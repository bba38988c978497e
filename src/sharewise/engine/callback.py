"""Callbacks: functions of the search state and an event; files, displays and tests listen through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sharewise.engine.select import Selected
    from sharewise.engine.state import SearchState

__all__ = [
    "Announced",
    "Callback",
    "EpochEnded",
    "Event",
    "Reacted",
    "SelectionEnded",
    "StageEntered",
    "Started",
    "Stepped",
]


@dataclass(frozen=True)
class Started:
    """The loop begins, or goes on after a resume."""


@dataclass(frozen=True)
class StageEntered:
    """A new stage begins; `record` says what changed."""

    record: Mapping[str, Any]


@dataclass(frozen=True)
class Stepped:
    """One step is done and counted."""


@dataclass(frozen=True)
class EpochEnded:
    """An epoch is done; `record` is its line of the history."""

    record: Mapping[str, Any]


@dataclass(frozen=True)
class Reacted:
    """The search has answered to its history between two epochs; `record` says how."""

    record: Mapping[str, Any]


@dataclass(frozen=True)
class Announced:
    """A word on progress within something long."""

    message: str


@dataclass(frozen=True)
class SelectionEnded:
    """The architecture is chosen."""

    selected: Selected


Event = Started | StageEntered | Stepped | EpochEnded | Reacted | Announced | SelectionEnded

Callback = Callable[["SearchState", Event], None]
