"""One self-contained HTML page per run: what was found, whether to believe it, its cost and what to do next.

The page asks nothing of the outside: its style and pictures are inline, it holds no script, and its own
security policy forbids every request.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from sharewise.atomic import replacing
from sharewise.report.cell import ABSENT, draw_cell
from sharewise.report.figures import (
    Line,
    colour_scale,
    draw_difference,
    draw_heat_map,
    draw_lines,
    draw_strip,
)
from sharewise.report.markup import Markup, element, join
from sharewise.report.read import Epoch, ReportData, read_run

__all__ = ["render_report", "write_report"]

SHOWN_CANDIDATES = 10
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
COST_NAMES = {
    "parameters": "Parameters of the architecture",
    "multiply_accumulates": "Multiply-accumulates of one forward pass of the architecture",
    "activations": "Numbers that one forward pass of the architecture writes",
    "search_multiply_accumulates": "Passes × multiply-accumulates of the whole run",
    "seconds": "Wall-clock time",
}
PARTS_NOTE = "Seconds are measured per phase of the run; steps and multiply-accumulates per kind of step."
TRAINING_DEFAULTS = {"seed": 0, "precision": "float32"}
COST_UNITS = {"multiply_accumulates": "MAC", "search_multiply_accumulates": "MAC"}


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder, so that a run can be judged and shared as one file.

    Args:
        run: the folder of a finished, running or interrupted run.

    Returns:
        The path of the report, which replaces an older one only once it is complete.

    Raises:
        CheckpointError: the folder is not a run folder, or a file in it cannot be parsed.

    Example:
        >>> import tempfile
        >>> run = Path(tempfile.mkdtemp())
        >>> _ = (run / "config.yaml").write_text("{command: search, method: gaea-erm, seed: 0}")
        >>> write_report(run).name
        'report.html'
    """
    run = Path(run)
    page = render_report(read_run(run))
    path = run / "report.html"
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def render_report(data: ReportData) -> str:
    """Render the page as a pure function of what was read, so that equal runs give equal bytes.

    Args:
        data: the record of a run.

    Returns:
        A complete HTML document.

    Example:
        >>> page = render_report(ReportData("runs/a", "search", config={"method": "gaea-erm"}))
        >>> page.startswith("<!doctype html>"), "still running or interrupted" in page
        (True, True)
    """
    built = [(key, title, build(data)) for key, title, build in _SECTIONS]
    present = [(key, title, content) for key, title, content in built if content]
    title = _title(data)
    head = join(
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        element("title", f"{title} · sharewise"),
        element("style", Markup(files("sharewise.report").joinpath("style.css").read_text(encoding="utf-8"))),
    )
    header = element(
        "header",
        element("p", f"sharewise {'training' if data.kind == 'train' else 'search'} report", class_="eyebrow"),
        element("h1", title),
        element("p", data.description, class_="subtitle") if data.description else None,
        element("nav", *(element("a", name, href=f"#{key}") for key, name, _ in present), aria_label="Sections"),
        _status(data),
        _cards(data),
    )
    sections = (
        element("section", element("h2", name, id=f"{key}-title"), content, id=key, aria_labelledby=f"{key}-title")
        for key, name, content in present
    )
    body = element("body", element("main", header, *sections, _footer(data)))
    return f'<!doctype html>\n<html lang="en">\n{element("head", head)}\n{body}\n</html>\n'


# --------------------------------------------------------------------------------------------------- headline


def _title(data: ReportData) -> str:
    space, of = _setting(data, "space") or "unknown space", _setting(data, "data")
    subject = "Training" if data.kind == "train" else _setting(data, "method") or "Search"
    return f"{subject} in {space}" + (f" on {of}" if of else "")


def _status(data: ReportData) -> Markup | None:
    if data.finished:
        return None
    total, done = _number_at(data.config, "recipe", "epochs"), len(data.epochs)
    of = f" of {total:g}" if total else ""
    share = min(100.0, 100 * done / total) if total else None
    return element(
        "div",
        element(
            "p",
            element("strong", "Unfinished: still running or interrupted."),
            f" {done}{of} epochs are logged and there is no result yet. If nothing runs any more, resume with",
        ),
        _resume(data),
        element("div", element("div", style=f"width:{share:.1f}%"), class_="progress") if share is not None else None,
        class_="status",
    )


def _cards(data: ReportData) -> Markup:
    cards: list[Markup] = []
    if data.architecture:
        name = "Architecture" if data.finished or data.kind == "train" else "Architecture so far"
        cards.append(_card(name, _code(data.architecture), wide=True))
    if data.primary in data.test:
        examples = data.test.get("examples")
        note = f"{examples:g} test examples" if examples else "on test examples"
        cards.append(_card(f"Test {data.primary}", _score(data.primary, data.test[data.primary]), note))
    inherited = _inherited(data)
    if inherited is not None and data.kind == "search":
        on = _inherited_on(data)
        note = f"shared weights, on {on}" if on else "shared weights, not retrained"
        cards.append(_card(f"Inherited {data.primary}", _score(data.primary, inherited), note))
    spent = _number_at(data.cost, "search_multiply_accumulates")
    if spent is not None:
        cards.append(
            _card(
                "Search cost" if data.kind == "search" else "Training cost",
                _si(spent, "MAC"),
                "multiply-accumulates in all",
            )
        )
    parameters = _number_at(data.cost, "parameters")
    if parameters is not None:
        cards.append(_card("Parameters", _si(parameters), "of the architecture"))
    seconds = _number_at(data.cost, "seconds")
    if seconds is None and data.epochs:
        seconds = data.epochs[-1].values.get("seconds")
    if seconds is not None:
        device = _text_at(data.environment, "device") or _setting(data, "device")
        cards.append(_card("Time", _duration(seconds), f"on {device}" if device else None))
    seed = _setting(data, "seed")
    if seed is not None:
        cards.append(_card("Seed", seed, _setting(data, "precision")))
    return element("dl", *cards, class_="cards")


def _card(name: str, value: str, note: str | None = None, *, wide: bool = False) -> Markup:
    small = element("small", note) if note else None
    return element("div", element("dt", name), element("dd", value, small), class_="wide" if wide else None)


def _inherited(data: ReportData) -> float | None:
    chosen = _number_at(data.inherited, data.primary)
    if chosen is None and data.gap is not None:
        return data.gap.architecture.get(data.primary)
    return chosen


def _inherited_on(data: ReportData) -> str | None:
    """Which examples the shared weights were scored on, such as "training examples", where the result says it."""
    on = data.inherited.get("on")
    return on if isinstance(on, str) and on else None


def _footer(data: ReportData) -> Markup:
    version = _text_at(data.environment, "sharewise")
    lines = "line" if data.unreadable == 1 else "lines"
    lost = f" Left out: {data.unreadable} unreadable {lines} of metrics.jsonl." if data.unreadable else ""
    return element(
        "footer",
        f"Made by sharewise{f' {version}' if version else ''} from ",
        element("code", data.folder),
        f".{lost}{_openings(data)}",
    )


def _openings(data: ReportData) -> str:
    if data.test_openings is None:
        return ""
    count = len(data.test_openings)
    how_often = {0: "never opened", 1: "opened once"}.get(count, f"opened {count} times")
    return f" The test examples were {how_often}."


# --------------------------------------------------------------------------------------------------- sections


def _cell(data: ReportData) -> Markup | None:
    if data.picture is None:
        return None
    absent = any(operation in ABSENT for *_, operation in data.picture.edges)
    dotted = "; a dotted edge carries nothing" if absent else ""
    return join(
        _how(f"Data flows from left to right, and each arrow is an operation of the architecture{dotted}."),
        element("div", draw_cell(data.picture), class_="drawing"),
    )


def _against_random(data: ReportData) -> Markup | None:
    versus = data.against_random
    if versus is None:
        return None
    scale, label = _unit(versus.metric)
    strip = draw_strip(versus, name="strip", scale=scale, label=label)
    unit = f"{versus.metric}, percentage points" if scale == 100 else label
    difference = draw_difference(versus, name="difference", scale=scale, label=unit)
    return join(
        _how(
            "Each dot is one trained architecture and each bar a mean; only where the interval of the "
            "difference stays clear of the dashed zero did the search beat luck."
        ),
        element("p", versus.verdict, class_="verdict") if versus.verdict else None,
        _plots(strip, difference),
    )


def _theta(data: ReportData) -> Markup | None:
    if data.kind == "train":
        return None
    named = [name for epoch in data.epochs for name in epoch.probabilities]
    decisions = dict.fromkeys([*(name for name in data.decisions if name in set(named)), *named])
    if not decisions:
        why = (
            "This method samples architectures and keeps no probabilities, so there is nothing to show here."
            if data.epochs
            else "No epoch is logged yet."
        )
        return element("p", why, class_="note")
    panels = [_panel(data, name, index) for index, name in enumerate(decisions)]
    scale = element(
        "div",
        "probability 0",
        element("i", style=f"background-image:{colour_scale()}", aria_hidden="true"),
        "1",
        class_="scale",
    )
    return join(
        _how(
            "Each panel is one decision, with a row per option and a column per epoch: the brighter, the "
            "more probable; a search that has made up its mind ends with one bright row, named in bold."
        ),
        scale,
        element("div", *panels, class_="panels"),
    )


def _panel(data: ReportData, name: str, index: int) -> Markup:
    epochs = [epoch for epoch in data.epochs if name in epoch.probabilities]
    rows = [epoch.probabilities[name] for epoch in epochs]
    count = max(map(len, rows))
    options = [*data.decisions.get(name, ())[:count]]
    options += [f"option {place}" for place in range(len(options), count)]
    leader = max(range(len(rows[-1])), key=lambda place: rows[-1][place])
    plot = draw_heat_map(rows, options, [epoch.index for epoch in epochs], name=f"theta-{index}", title=name)
    caption = element("figcaption", element("code", name), element("span", f"max {rows[-1][leader]:.2f}"))
    return element("figure", caption, plot)


def _curves(data: ReportData) -> Markup | None:
    losses = [
        *_line(data, "shared weights" if data.kind == "search" else "training", "weights_loss"),
        *_line(data, "architecture", "architecture_loss"),
        *_scores(data, "held out", "loss"),
    ]
    entropy = _line(data, "θ", "entropy")
    marks = data.stages
    plots: list[Markup] = []
    if losses:
        plots.append(draw_lines(losses, title="loss", name="loss", marks=marks))
    if entropy:
        most = _most_entropy(data)
        reference = None if most is None else (f"undecided, {most[0]} = {most[1]:.2f}", most[1])
        title = "mean entropy of θ, nats"
        plots.append(draw_lines(entropy, title=title, name="entropy", reference=reference, marks=marks, floor=0.0))
    held_out = _scores(data, "held out", data.primary)
    if held_out:
        plots.append(draw_lines(held_out, title=_unit(data.primary)[1], name="held-out", marks=marks))
    rate = _line(data, "learning rate", "learning_rate")
    if rate and data.kind == "train":
        plots.append(draw_lines(rate, title="learning rate", name="rate", marks=marks))
    if not plots:
        return None
    how = "Losses should fall and level off."
    if entropy:
        how += " Entropy starts at the dashed line, where every option is alike, and falls to 0 as θ decides."
    if marks:
        how += " A vertical line marks a new stage."
    return join(_how(how), _plots(*plots))


def _gap(data: ReportData) -> Markup | None:
    measured = [(epoch.index, epoch.gap) for epoch in data.epochs if epoch.gap is not None]
    plots: list[Markup] = []
    for metric in dict.fromkeys((data.primary, "loss")):
        scale, label = _unit(metric)
        points = [(x, gap) for x, gap in measured if metric in gap.supernet and metric in gap.architecture]
        if points:
            x = [x for x, _ in points]
            lines = [
                Line("supernet", x, [scale * gap.supernet[metric] for _, gap in points]),
                Line("architecture", x, [scale * gap.architecture[metric] for _, gap in points]),
            ]
            plots.append(draw_lines(lines, title=label, name=f"gap-{len(plots)}", fill=True))
    if data.gap is None:
        return None
    return join(
        _how(
            "The same weights are scored as the whole supernet and as the one architecture it rounds to: the "
            "wider the band, the more is lost by rounding and the less the search says about the result."
        ),
        _plots(*plots) if plots else None,
        element("p", _gap_at_the_end(data), class_="note"),
    )


def _gap_at_the_end(data: ReportData) -> str:
    assert data.gap is not None
    supernet, architecture = (
        scores.get(data.primary, math.nan) for scores in (data.gap.supernet, data.gap.architecture)
    )
    scale, _ = _unit(data.primary)
    unit = " points" if scale == 100 else ""
    counted, kind = data.gap.examples, _inherited_on(data)
    on = f", on {counted} {kind or 'examples'}" if counted else f", on {kind}" if kind else ""
    when = "At the end" if data.finished else "Last measured"
    return (
        f"{when}: supernet {_score(data.primary, supernet)}, architecture {_score(data.primary, architecture)}, "
        f"a gap of {scale * (supernet - architecture):.2f}{unit} of {data.primary}{on}."
    )


def _ranked(data: ReportData) -> Markup | None:
    shown = data.candidates[:SHOWN_CANDIDATES]
    if not shown:
        return None
    metrics = [name for name in dict.fromkeys((data.primary, "loss")) if any(name in c.scores for c in shown)]
    values = [candidate.scores.get(data.primary, math.nan) for candidate in shown]
    head = element(
        "tr",
        element("th", "#", class_="number", scope="col"),
        element("th", "Architecture", scope="col"),
        *(element("th", name, class_="number", scope="col") for name in metrics),
        element("th", scope="col", aria_hidden="true"),
    )
    rows = (
        element(
            "tr",
            element("td", str(rank), class_="number"),
            element("td", _code(candidate.architecture)),
            *(element("td", _score(name, candidate.scores.get(name, math.nan)), class_="number") for name in metrics),
            element("td", _meter(value, values), class_="meter", aria_hidden="true"),
        )
        for rank, (candidate, value) in enumerate(zip(shown, values, strict=True), start=1)
    )
    rest = len(data.candidates) - len(shown)
    return join(
        _how("Scored with the shared weights and not retrained, so trust the order more than the values."),
        _table(head, *rows),
        element("p", f"{rest} more were scored and rank lower.", class_="note") if rest else None,
    )


def _meter(value: float, values: Sequence[float]) -> Markup | None:
    top = max((abs(other) for other in values if math.isfinite(other)), default=0.0)
    if not math.isfinite(value) or not top:
        return None
    return element("div", style=f"width:{100 * abs(value) / top:.1f}%")


def _costs(data: ReportData) -> Markup | None:
    amounts = [(key, value) for key, value in _flatten(data.cost) if isinstance(value, int | float)]
    if not amounts:
        return None
    known = {key: place for place, key in enumerate(COST_NAMES)}
    amounts.sort(key=lambda amount: known.get(amount[0], len(known)))
    rows = (
        element(
            "tr",
            element("th", COST_NAMES.get(key) or key.replace("_", " ").replace(".", ": "), scope="row"),
            element("td", _amount(key, float(value)), class_="number"),
            element("td", _exact(value), class_="number"),
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
        _how("Multiply-accumulates and passes compare across machines; time compares on one machine only." + until),
        _table(head, *rows),
        element("p", "By part of the run:", class_="note") if parts else None,
        parts,
        element("p", PARTS_NOTE, class_="note") if parts else None,
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
    return _table(head, *rows)


def _next(data: ReportData) -> Markup:
    items = (element("li", element("p", what), command) for what, command in _commands(data))
    return join(
        _how("Click a command to select all of it, then copy it into a terminal."),
        element("ul", *items, class_="commands"),
    )


def _config(data: ReportData) -> Markup | None:
    return _pairs("These settings and the seed repeat the run.", data.config)


def _environment(data: ReportData) -> Markup | None:
    return _pairs("What the run stood on; times and last digits may differ elsewhere.", data.environment)


_SECTIONS: tuple[tuple[str, str, Callable[[ReportData], Markup | None]], ...] = (
    ("cell", "The cell", _cell),
    ("comparison", "Against random architectures", _against_random),
    ("theta", "Probabilities θ over time", _theta),
    ("curves", "Learning curves", _curves),
    ("gap", "Rounding gap", _gap),
    ("candidates", "Ranked candidates", _ranked),
    ("cost", "Cost", _costs),
    ("next", "What to do next", _next),
    ("config", "Configuration", _config),
    ("environment", "Environment", _environment),
)


# --------------------------------------------------------------------------------------------------- commands


def _resume(data: ReportData) -> Markup:
    return _command("sharewise", data.kind, "--resume", data.folder)


def _commands(data: ReportData) -> Iterator[tuple[str, Markup]]:
    if not data.finished:
        yield "Resume where it stopped:", _resume(data)
        return
    if data.kind == "search" and data.architecture and _setting(data, "space") and _setting(data, "data"):
        yield (
            "Train the architecture from scratch, on the schedule of the benchmark; --epochs N shortens it:",
            _command(*_training(data, data.architecture)),
        )
    yield (
        "Export the weights and the architecture:",
        _command("sharewise", "export", data.folder, "--out", "export"),
    )
    yield "Evaluate on the test examples:", _command("sharewise", "evaluate", data.folder)


def _training(data: ReportData, architecture: str) -> Iterator[str]:
    """The words that train an architecture on the data and with the network of the search that found it."""
    settings = {"space": data.config["space"], "architecture": architecture}
    for key in ("data", "data_path", "train_examples", "image_size", "text_length", "seed", "precision"):
        value = data.config.get(key)
        if value is not None and value != TRAINING_DEFAULTS.get(key):
            settings[key] = value
    network = data.config.get("network")
    yield from ("sharewise", "train")
    for key, value in [*settings.items(), *(network.items() if isinstance(network, Mapping) else ())]:
        yield from _option(str(key), value)
    folder = Path(data.folder)
    beside = folder / ".." / "retrained" if folder.name in {"", ".."} else folder.with_name(f"{folder.name}-retrained")
    yield from ("--out", str(beside))


def _option(key: str, value: object) -> Iterator[str]:
    name = key.replace("_", "-")
    if isinstance(value, bool):
        yield f"--{name}" if value else f"--no-{name}"
    elif value is not None:
        yield f"--{name}"
        yield from map(str, value if isinstance(value, list | tuple) else (value,))


def _command(*words: str) -> Markup:
    """A command whose flags are never broken across lines."""
    spaced = (
        join(" " if place else None, element("b" if word.startswith("--") else "span", shlex.quote(word)))
        for place, word in enumerate(words)
    )
    return element("pre", element("code", *spaced))


# ----------------------------------------------------------------------------------------------------- pieces


def _how(sentence: str) -> Markup:
    return element("p", sentence, class_="how")


def _table(head: Markup, *rows: Markup) -> Markup:
    return element("div", element("table", element("thead", head), element("tbody", *rows)), class_="scroll")


def _code(text: str) -> Markup:
    """An architecture that breaks across lines only after a bar, and copies as one."""
    return element("code", Markup(join(text).replace("|", "|<wbr>")))


def _plots(*plots: Markup | None) -> Markup:
    return element("div", *(element("figure", plot) for plot in plots if plot), class_="plots")


def _pairs(how: str, mapping: Mapping[str, object]) -> Markup | None:
    pairs = [element("div", element("dt", key), element("dd", _shown(value))) for key, value in _flatten(mapping)]
    return join(_how(how), element("dl", *pairs, class_="pairs")) if pairs else None


def _line(data: ReportData, label: str, key: str) -> list[Line]:
    return _over_epochs(data, label, lambda epoch: epoch.values.get(key))


def _scores(data: ReportData, label: str, metric: str) -> list[Line]:
    scale = 1.0 if metric == "loss" else _unit(metric)[0]
    return _over_epochs(
        data, label, lambda epoch: scale * epoch.selection[metric] if metric in epoch.selection else None
    )


def _over_epochs(data: ReportData, label: str, value: Callable[[Epoch], float | None]) -> list[Line]:
    """A curve of what the epochs hold, or none if they do not."""
    points = [(epoch.index, y) for epoch in data.epochs if (y := value(epoch)) is not None]
    return [Line(label, [x for x, _ in points], [y for _, y in points])] if points else []


def _most_entropy(data: ReportData) -> tuple[str, float] | None:
    """The mean entropy of uniform θ, and how to write it."""
    # An option that is masked has probability zero from the start, and takes no part.
    counts = [sum(p > 0 for p in row) for epoch in data.epochs[:1] for row in epoch.probabilities.values()]
    if not counts:
        counts = [len(options) for options in data.decisions.values()]
    if not counts or min(counts) < 1:
        return None
    written = f"log {counts[0]}" if len(set(counts)) == 1 else "mean of log k"
    return written, sum(map(math.log, counts)) / len(counts)


def _setting(data: ReportData, key: str) -> str | None:
    value = data.config.get(key)
    return None if value is None else str(value)


def _text_at(mapping: Mapping[str, object], key: str) -> str | None:
    value = mapping.get(key)
    return None if value is None else str(value)


def _number_at(mapping: Mapping[str, object], *keys: str) -> float | None:
    value: object = mapping
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _flatten(mapping: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: object) -> str:
    if value is None:
        return "—"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _unit(metric: str) -> tuple[float, str]:
    """What to multiply a metric by to show it, and its name with the unit."""
    return (100.0, f"{metric}, %") if metric.endswith("accuracy") else (1.0, metric.replace("_", " "))


def _score(metric: str, value: float) -> str:
    if not math.isfinite(value):
        return "—"
    if _unit(metric)[0] == 100:
        return f"{100 * value:.1f} %"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def _amount(key: str, value: float) -> str:
    if key.rpartition(".")[2] == "seconds":
        return _duration(value)
    return _si(value, COST_UNITS.get(key, ""))


def _si(value: float, unit: str = "") -> str:
    """Write three digits and an SI prefix."""
    prefixes = ("", "k", "M", "G", "T", "P", "E", "Z")
    step = 0
    while abs(value) >= 999.5 and step < len(prefixes) - 1:
        value, step = value / 1000, step + 1
    return f"{value:.3g} {prefixes[step]}{unit}".rstrip()


def _exact(value: float) -> str:
    """Write every digit, in groups of three."""
    return f"{value:,.0f}".replace(",", "\u202f") if value == round(value, 0) else f"{value:g}"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "—"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
