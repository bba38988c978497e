"""Views of what a run cost and was, and of what to do with it next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sharewise.own_file import is_reference
from sharewise.report.components import command, how, note, table
from sharewise.report.facts import flatten, setting
from sharewise.report.markup import Markup, element, join
from sharewise.report.read import ReportData
from sharewise.report.words import duration, exact, shown, si

__all__ = ["configuration", "costs", "environment", "resume", "what_next"]

_COST_NAMES = {
    "parameters": "Parameters of the architecture",
    "multiply_accumulates": "Multiply-accumulates of one forward pass of the architecture",
    "activations": "Numbers that one forward pass of the architecture writes",
    "search_multiply_accumulates": "Passes × multiply-accumulates of the whole run",
    "seconds": "Wall-clock time",
}
_PARTS_NOTE = "Seconds are measured per phase of the run; steps and multiply-accumulates per kind of step."
_TRAINING_DEFAULTS = {"seed": 0, "precision": "float32"}
_COST_UNITS = {"multiply_accumulates": "MAC", "search_multiply_accumulates": "MAC"}


def costs(data: ReportData) -> Markup | None:
    """What the run cost, in all and by its parts."""
    amounts = [(key, value) for key, value in flatten(data.cost) if isinstance(value, int | float)]
    if not amounts:
        return None
    known = {key: place for place, key in enumerate(_COST_NAMES)}
    amounts.sort(key=lambda amount: known.get(amount[0], len(known)))
    rows = (
        element(
            "tr",
            element("th", _COST_NAMES.get(key) or key.replace("_", " ").replace(".", ": "), scope="row"),
            element("td", _amount(key, float(value)), class_="number"),
            element("td", exact(value), class_="number"),
        )
        for key, value in amounts
    )
    head = element(
        "tr",
        element("th", "What", scope="col"),
        *(element("th", n, class_="number", scope="col") for n in ("", "Exact")),
    )
    parts = _parts(data)
    until = "" if data.finished else " Counted up to the last logged epoch."
    return join(
        how("Multiply-accumulates and passes compare across machines; time compares on one machine only." + until),
        table(head, *rows),
        note("By part of the run:") if parts else None,
        parts,
        note(_PARTS_NOTE) if parts else None,
    )


def _parts(data: ReportData) -> Markup | None:
    columns = list(dict.fromkeys(key for part in data.ledger.values() for key in part))
    if not columns:
        return None
    head = element(
        "tr",
        element("th", "Part", scope="col"),
        *(
            element("th", key.replace("multiply_accumulates", "multiply-accumulates"), class_="number", scope="col")
            for key in columns
        ),
    )
    rows = (
        element(
            "tr",
            element("th", part, scope="row"),
            *(element("td", _amount(key, n) if (n := numbers.get(key)) else "–", class_="number") for key in columns),
        )
        for part, numbers in data.ledger.items()
    )
    return table(head, *rows)


def _amount(key: str, value: float) -> str:
    if key.rpartition(".")[2] == "seconds":
        return duration(value)
    return si(value, _COST_UNITS.get(key, ""))


def what_next(data: ReportData) -> Markup:
    """Commands that go on from here."""
    items = (element("li", element("p", what), words) for what, words in _commands(data))
    return join(
        how("Click a command to select all of it, then copy it into a terminal."),
        element("ul", *items, class_="commands"),
    )


def resume(data: ReportData) -> Markup:
    """The command that goes on with the run."""
    return command("sharewise", data.kind, "--resume", data.folder, *_file(data))


def _commands(data: ReportData) -> Iterator[tuple[str, Markup]]:
    if not data.finished:
        yield "Resume where it stopped:", resume(data)
        return
    if data.kind == "search" and data.architecture and setting(data, "space") and setting(data, "data"):
        yield (
            "Train the architecture from scratch, on the schedule of the benchmark; --epochs N shortens it:",
            command(*_training(data, data.architecture)),
        )
    yield (
        "Export the weights and the architecture:",
        command("sharewise", "export", data.folder, *_file(data), "--out", _beside(data, "exported")),
    )
    yield "Evaluate on the test examples:", command("sharewise", "evaluate", data.folder, *_file(data))


def _file(data: ReportData) -> tuple[str, ...]:
    """The words that name the file of a space of the user's own, without which no run of it goes on."""
    space = data.config.get("space")
    return ("--space", str(space)) if is_reference(space) else ()


def _training(data: ReportData, architecture: str) -> Iterator[str]:
    """The words that train an architecture on the data and with the network of the search that found it."""
    settings = {"space": data.config["space"], "architecture": architecture}
    for key in ("data", "data_path", "train_examples", "image_size", "text_length", "seed", "precision"):
        value = data.config.get(key)
        if value is not None and value != _TRAINING_DEFAULTS.get(key):
            settings[key] = value
    network = data.config.get("network")
    yield from ("sharewise", "train")
    for key, value in [*settings.items(), *(network.items() if isinstance(network, Mapping) else ())]:
        yield from _option(str(key), value)
    yield from ("--out", _beside(data, "retrained"))


def _beside(data: ReportData, what: str) -> str:
    """A folder beside that of the run, of a name that no other run's page gives."""
    folder = Path(data.folder)
    return str(folder / ".." / what if folder.name in {"", ".."} else folder.with_name(f"{folder.name}-{what}"))


def _option(key: str, value: object) -> Iterator[str]:
    name = key.replace("_", "-")
    if isinstance(value, bool):
        yield f"--{name}" if value else f"--no-{name}"
    elif value is not None:
        yield f"--{name}"
        yield from map(str, value if isinstance(value, list | tuple) else (value,))


def configuration(data: ReportData) -> Markup | None:
    """The settings of the run."""
    return _pairs("These settings and the seed repeat the run.", data.config)


def environment(data: ReportData) -> Markup | None:
    """What the run stood on."""
    return _pairs("What the run stood on; times and last digits may differ elsewhere.", data.environment)


def _pairs(sentence: str, mapping: Mapping[str, object]) -> Markup | None:
    pairs = [element("div", element("dt", key), element("dd", shown(value))) for key, value in flatten(mapping)]
    return join(how(sentence), element("dl", *pairs, class_="pairs")) if pairs else None
