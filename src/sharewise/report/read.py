"""Reading a run folder into one record, forgiving about what is missing and strict about what is damaged.

A report is wanted most when a run went wrong, so an absent or unknown piece is no error: only a folder that
holds no run, or a file that cannot be parsed at all, is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from sharewise.errors import CheckpointError
from sharewise.files import CONFIGURATION_BYTES, open_regular, read_bytes
from sharewise.sealed_json import parse_json, unsealed
from sharewise.strict_yaml import parse_yaml

__all__ = [
    "AgainstRandom",
    "Candidate",
    "Epoch",
    "Gap",
    "Picture",
    "ReportData",
    "read_memory",
    "read_run",
]

Scores = Mapping[str, float]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Gap:
    """The rounding gap: the shared weights scored as a mixture and as the one architecture it rounds to.

    Args:
        supernet: scores of the whole supernet, by metric.
        architecture: scores of the projected architecture with the same weights.
        examples: how many examples both were scored on.

    Example:
        >>> Gap({"accuracy": 0.75}, {"accuracy": 0.5}, 256).supernet["accuracy"]
        0.75
    """

    supernet: Scores
    architecture: Scores
    examples: int | None = None


@dataclass(frozen=True)
class Epoch:
    """One epoch line of `metrics.jsonl`.

    Args:
        index: the epoch as logged, from 0.
        values: every number that stands directly in the line (`"weights_loss"`, `"entropy"`, …).
        probabilities: θ of each decision, absent for methods that only sample.
        gap: the rounding gap, where it was measured.
        selection: scores on held-out examples, where they were measured.
        architecture: the projected architecture at that time.
        ledger: what each part of the run had spent by then.
        entropies: of each decision, in nats.
        skips: the share of skip connections by cell.
        alarms: those that began with the epoch, in words.
        table: errors of that architecture in a benchmark's table, by split, where the search was followed in one.

    Example:
        >>> Epoch(0, {"weights_loss": 2.1}).values["weights_loss"]
        2.1
    """

    index: int
    values: Scores
    probabilities: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    gap: Gap | None = None
    selection: Scores = field(default_factory=dict)
    architecture: str | None = None
    ledger: Mapping[str, Scores] = field(default_factory=dict)
    entropies: Scores = field(default_factory=dict)
    skips: Scores = field(default_factory=dict)
    alarms: tuple[str, ...] = ()
    table: Scores = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """An architecture that was scored with the shared weights at the end of a search.

    Args:
        architecture: its text.
        scores: its scores, by metric.

    Example:
        >>> Candidate("|none~0|", {"accuracy": 0.4}).scores["accuracy"]
        0.4
    """

    architecture: str
    scores: Scores


@dataclass(frozen=True)
class Picture:
    """The graph of a cell, to be drawn from left to right.

    Args:
        nodes: the nodes' names in topological order.
        edges: `(source, target, operation)` triples.
        title: what the graph is, where there are several.

    Example:
        >>> Picture(("in", "out"), (("in", "out", "conv"),)).nodes
        ('in', 'out')
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str, str], ...]
    title: str = ""


@dataclass(frozen=True)
class AgainstRandom:
    """What was found against architectures drawn at random, all trained alike.

    Args:
        metric: the name of what was measured.
        found: one value per seed.
        random: one value per random architecture.
        verdict: the sentence that the numbers allow.
        interval: the interval of the difference of means, where there is a finite one.

    Example:
        >>> AgainstRandom("accuracy", (0.97,), (0.95, 0.94)).found
        (0.97,)
    """

    metric: str
    found: tuple[float, ...]
    random: tuple[float, ...]
    verdict: str = ""
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows, read once, so that the page is a pure function of it.

    Args:
        folder: the run folder as the user named it, for commands to copy.
        kind: whether the run searches an architecture or trains one.
        finished: whether a result was written.
        config: the settings of the run.
        environment: the machine and the versions.
        epochs: the logged epochs in order, a repeated one (after a resume) only as last logged.
        stages: the epochs at which a new stage began.
        reactions: what the search did in answer to its own history, in words.
        candidates: ranked architectures, best first.
        architecture: the architecture found or trained, or the current one of an unfinished search.
        decisions: the names of each decision's options.
        pictures: the graphs of its cells.
        against_random: the comparison with random architectures.
        gap: the rounding gap at the end.
        inherited: scores of the architecture with inherited weights.
        test: scores on the test examples (train runs).
        test_openings: who opened the test examples, one entry per time, or `None` where the result does not say.
        cost: what the run spent, or has spent so far.
        ledger: the same by part of the run.
        primary: the metric by which architectures are compared.
        description: the method in one line.
        table: what a benchmark's table says of the architecture, where the search was followed in one.
        remarks: what the search says against its own result: a sentence and what to try, for each.
        course: how the run went on: where it was extended or moved to, in words.
        epochs_in_all: of a run that was extended; `None` for what its settings say.
        unreadable: how many lines of `metrics.jsonl` were no JSON and are left out.

    Example:
        >>> ReportData("runs/a", "search", config={"seed": 0}).finished
        False
    """

    folder: str
    kind: Literal["search", "train"]
    finished: bool = False
    config: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()
    stages: tuple[int, ...] = ()
    reactions: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    architecture: str | None = None
    decisions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    against_random: AgainstRandom | None = None
    gap: Gap | None = None
    inherited: Mapping[str, object] = field(default_factory=dict)
    test: Scores = field(default_factory=dict)
    test_openings: tuple[str, ...] | None = None
    cost: Mapping[str, object] = field(default_factory=dict)
    ledger: Mapping[str, Scores] = field(default_factory=dict)
    primary: str = "accuracy"
    description: str = ""
    table: Mapping[str, object] = field(default_factory=dict)
    remarks: tuple[tuple[str, str], ...] = ()
    course: tuple[str, ...] = ()
    epochs_in_all: int | None = None
    unreadable: int = 0


def read_run(run: Path) -> ReportData:
    """Read a run folder, finished or not, so that a report can be built from it.

    Args:
        run: the folder that a search or a training wrote.

    Returns:
        The record of the run.

    Raises:
        CheckpointError: the folder is not a run folder, or a file in it cannot be parsed.

    Example:
        >>> import tempfile
        >>> run = Path(tempfile.mkdtemp())
        >>> _ = (run / "config.yaml").write_text("{command: search, method: gaea-erm, seed: 0}")
        >>> read_run(run).config["method"]
        'gaea-erm'
    """
    run = Path(run)
    if not os.path.lexists(run / "config.yaml"):
        raise CheckpointError(
            f"{run} is not a run folder: it has no config.yaml. Give the folder that `sharewise search` or "
            "`sharewise train` wrote."
        )
    config = _read(run / "config.yaml", parse_yaml, most=CONFIGURATION_BYTES)
    environment = _read(run / "environment.json", parse_json)
    result = _read(run / "result.json", _parse_result)
    told = _Told.of(_lines(run / "metrics.jsonl", result.get("history")), _mapping(result.get("decisions")))
    ordered = told.epochs
    ledger = _ledger(result) or _last(ordered, lambda epoch: epoch.ledger) or {}
    command = result.get("kind", config.get("command"))
    architecture = (
        _text(result.get("architecture"))
        or _last(ordered, lambda epoch: epoch.architecture)
        or _text(config.get("architecture"))
    )
    return ReportData(
        folder=str(run),
        kind="train" if command == "train" else "search",
        finished=bool(result),
        config=config,
        environment=environment,
        epochs=ordered,
        stages=told.stages,
        reactions=told.reactions,
        candidates=told.candidates,
        architecture=architecture,
        decisions={name: _texts(options) for name, options in told.decisions.items()},
        pictures=_pictures(result.get("picture")),
        against_random=_against_random(result.get("comparison")),
        gap=_gap(result.get("gap")) or _last(ordered, lambda epoch: epoch.gap),
        inherited=_mapping(result.get("inherited")),
        test=_numbers(result.get("test")),
        test_openings=_texts(openings) if isinstance(openings := result.get("test_openings"), list) else None,
        cost=_mapping(result.get("cost")) or _spent(ledger),
        ledger=ledger,
        primary=_text(_mapping(result.get("task")).get("primary")) or _guess_primary(ordered),
        description=_text(result.get("description")) or "",
        table=_mapping(result.get("table")),
        remarks=_remarks(result.get("remarks")),
        course=told.course,
        epochs_in_all=told.epochs_in_all,
        unreadable=told.unreadable,
    )


def read_memory(content: Mapping[str, object]) -> ReportData:
    """Read a run that lies in no folder, as its result records it, so that its pictures can be drawn.

    Args:
        content: the lines of its `history`, and `kind`, `architecture`, `decisions`, `picture` and `primary` as
            `result.json` holds them.

    Example:
        >>> history = [{"event": "epoch", "epoch": 0, "entropy": 1.5}]
        >>> read_memory({"kind": "search", "history": history}).epochs[0].values
        {'entropy': 1.5}
    """
    read = _mapping(json.loads(json.dumps(content)))  # tuples become lists, as in a file
    told = _Told.of(map(_mapping, _sequence(read.get("history"))), _mapping(read.get("decisions")))
    return ReportData(
        folder="",
        kind="train" if read.get("kind") == "train" else "search",
        epochs=told.epochs,
        stages=told.stages,
        reactions=told.reactions,
        architecture=_text(read.get("architecture")),
        decisions={name: _texts(options) for name, options in told.decisions.items()},
        pictures=_pictures(read.get("picture")),
        primary=_text(read.get("primary")) or _guess_primary(told.epochs),
    )


def _remarks(value: object) -> tuple[tuple[str, str], ...]:
    rows = [_mapping(row) for row in value] if isinstance(value, list) else []
    return tuple((_text(row.get("sentence")) or "", _text(row.get("advice")) or "") for row in rows)


@dataclass(frozen=True)
class _Told:
    """What the lines of a history tell, the last word of each epoch counting."""

    epochs: tuple[Epoch, ...]
    stages: tuple[int, ...]
    reactions: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    decisions: Mapping[str, object]
    course: tuple[str, ...]
    epochs_in_all: int | None
    unreadable: int

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, object] | None], decisions: Mapping[str, object]) -> _Told:
        epochs: dict[int, Epoch] = {}
        stages: set[int] = set()
        reactions: list[str] = []
        candidates: tuple[Candidate, ...] = ()
        course: list[str] = []
        epochs_in_all: float | None = None
        unreadable = 0
        for line in lines:
            if line is None:
                unreadable += 1
                continue
            event = line.get("event")
            decisions = decisions or _mapping(line.get("decisions"))
            if event == "epoch":
                epoch = _epoch(line, len(epochs))
                epochs[epoch.index] = epoch
            elif event == "stage":
                stages.add(int(_number(line.get("epoch")) or len(epochs)))
            elif event == "back":
                reactions += [_text(line.get("note")) or "the search went back"]
            elif event == "selection":
                candidates = _candidates(line.get("candidates"))
            elif event in ("extended", "moved"):
                course.append(_text(line.get("note")) or event)
                epochs_in_all = _number(line.get("epochs")) or epochs_in_all
                stages |= {int(_number(line.get("epoch")) or 0)} if event == "extended" else set()
        ordered = tuple(epochs[index] for index in sorted(epochs))
        total = None if epochs_in_all is None else int(epochs_in_all)
        return cls(
            ordered, tuple(sorted(stages)), tuple(reactions), candidates, decisions, tuple(course), total, unreadable
        )


def _last(epochs: Sequence[Epoch], value: Callable[[Epoch], Value | None]) -> Value | None:
    """The last value that epochs have."""
    return next((found for epoch in reversed(epochs) if (found := value(epoch))), None)


def _read(path: Path, parse: Callable[[bytes], object], most: int | None = None) -> Mapping[str, object]:
    """Parse a file that holds one mapping; a file that is not there reads as an empty one."""
    try:
        content = parse(read_bytes(path, most=most))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: expected a mapping, got {type(content).__name__}")
    return _mapping(content)


def _parse_result(content: bytes) -> object:
    """A result whose digest fits; older ones have none."""
    value = parse_json(content)
    return unsealed(value)[0] if isinstance(value, dict) else value


def _lines(path: Path, digest: object) -> Iterator[Mapping[str, object] | None]:
    """The JSON lines of a history one by one, however long it is; `None` for what is none, such as a line half written.

    Args:
        path: of the history.
        digest: of the whole file, as the result of a finished run holds it.
    """
    try:
        with open_regular(path) as file:
            if digest is not None:
                _require_digest(path, file, digest)
            for line in file:
                if line.strip():
                    yield _parsed(line)
    except FileNotFoundError:
        if digest is not None and digest != f"sha256:{hashlib.sha256().hexdigest()}":
            raise _changed(path) from None
    except OSError as error:
        raise CheckpointError(f"{path} is damaged: {error.strerror}") from error


def _require_digest(path: Path, file: BinaryIO, digest: object) -> None:
    found = hashlib.sha256()
    while chunk := file.read(1 << 20):
        found.update(chunk)
    if digest != f"sha256:{found.hexdigest()}":
        raise _changed(path)
    file.seek(0)


def _changed(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} was changed since the run wrote it; restore it from a copy, or start a new run with --out"
    )


def _parsed(line: bytes) -> Mapping[str, object] | None:
    try:
        return _mapping(parse_json(line.decode(errors="replace")))
    except ValueError:
        return None


def _epoch(line: Mapping[str, object], position: int) -> Epoch:
    index = _number(line.get("epoch"))
    rows = {name: _row(row) for name, row in _mapping(line.get("probabilities")).items()}
    return Epoch(
        index=position if index is None else int(index),
        values={key: value for key, value in _numbers(line).items() if key != "epoch"},
        probabilities={name: row for name, row in rows.items() if row},
        gap=_gap(line.get("gap")),
        selection=_numbers(line.get("selection")),
        architecture=_text(line.get("architecture")),
        ledger=_ledger(line),
        entropies=_numbers(line.get("entropies")),
        skips=_numbers(line.get("skips")),
        alarms=tuple(_alarm(_mapping(entry)) for entry in _mapping(line.get("alarms")).values()),
        table=_numbers(line.get("table")),
    )


def _alarm(entry: Mapping[str, object]) -> str:
    lacked = _texts(entry.get("lacked"))
    without = f" (the history lacks {', '.join(lacked)})" if lacked else ""
    return f"{_text(entry.get('sentence')) or 'an alarm'}{without}. To try: {_text(entry.get('advice')) or 'nothing'}"


def _ledger(holder: Mapping[str, object]) -> Mapping[str, Scores]:
    entries = _mapping(holder.get("ledger"))
    return {part: numbers for part, entry in entries.items() if (numbers := _numbers(entry))}


def _spent(ledger: Mapping[str, Scores]) -> Mapping[str, float]:
    """The sums over the parts of a run that has no result yet."""
    keys = {"search_multiply_accumulates": "multiply_accumulates", "seconds": "seconds"}
    return {
        name: sum(part.get(key, 0.0) for part in ledger.values())
        for name, key in keys.items()
        if any(key in part for part in ledger.values())
    }


def _gap(value: object) -> Gap | None:
    entry = _mapping(value)
    supernet, architecture = _numbers(entry.get("supernet")), _numbers(entry.get("architecture"))
    if not supernet or not architecture:
        return None
    examples = _number(entry.get("examples"))
    return Gap(supernet, architecture, None if examples is None else int(examples))


def _candidates(value: object) -> tuple[Candidate, ...]:
    entries = [_mapping(entry) for entry in _sequence(value)]
    return tuple(
        Candidate(architecture, _numbers(entry))
        for entry in entries
        if (architecture := _text(entry.get("architecture"))) is not None
    )


_MOST_PICTURES = 8


def _pictures(value: object) -> tuple[Picture, ...]:
    """A graph, and those below it; what is none is left out."""
    found: list[Picture] = []
    for _ in range(_MOST_PICTURES):
        entry = _mapping(value)
        picture = _picture(entry)
        found += [] if picture is None else [picture]
        value = entry.get("below")
    return tuple(found)


def _picture(entry: Mapping[str, object]) -> Picture | None:
    edges = []
    for edge in _sequence(entry.get("edges")):
        texts = _texts(edge)
        if len(texts) == 3:
            edges.append((texts[0], texts[1], texts[2]))
    named = [*_texts(entry.get("nodes")), *(node for edge in edges for node in edge[:2])]
    title = _text(entry.get("title")) or ""
    return Picture(tuple(dict.fromkeys(named)), tuple(edges), title) if edges else None


def _against_random(value: object) -> AgainstRandom | None:
    entry = _mapping(value)
    found = _row(entry.get("found"))
    draws = (_number(_mapping(draw).get("value", draw)) for draw in _sequence(entry.get("random")))
    random = tuple(draw for draw in draws if draw is not None)
    if not found or not random:
        return None
    ends = _row(entry.get("interval"))
    return AgainstRandom(
        metric=_text(entry.get("metric")) or "accuracy",
        found=found,
        random=random,
        verdict=_text(entry.get("verdict")) or "",
        interval=(ends[0], ends[1]) if len(ends) == 2 else None,
    )


def _guess_primary(epochs: Sequence[Epoch]) -> str:
    """The first score that is not the loss, for a run that has not said yet what it is judged by."""
    for epoch in epochs:
        scores = epoch.gap.architecture if epoch.gap else epoch.selection
        for name in scores:
            if name != "loss":
                return name
    return "accuracy"


def _mapping(value: object) -> Mapping[str, object]:
    return {str(key): entry for key, entry in value.items()} if isinstance(value, dict) else {}


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _numbers(value: object) -> dict[str, float]:
    pairs = ((key, _number(entry)) for key, entry in _mapping(value).items())
    return {key: number for key, number in pairs if number is not None}


def _row(value: object) -> tuple[float, ...]:
    numbers = (_number(entry) for entry in _sequence(value))
    return tuple(number for number in numbers if number is not None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(entry) for entry in _sequence(value))
