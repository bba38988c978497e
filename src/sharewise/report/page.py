"""One self-contained HTML page per run: what was found, whether to believe it, its cost and what to do next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sharewise.own_file import is_reference
from sharewise.recipes import in_words
from sharewise.report import run_costs, run_views, table_view, watch_views
from sharewise.report.components import Page, Section, card, cards, code, render, save
from sharewise.report.facts import inherited, inherited_on, number_at, setting, text_at
from sharewise.report.markup import Markup, element, join
from sharewise.report.read import ReportData, read_run
from sharewise.report.words import duration, score, si

__all__ = ["render_report", "write_report"]


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
    return save(run / "report.html", render_report(read_run(run)))


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
    return render(
        Page(
            eyebrow=f"sharewise {'training' if data.kind == 'train' else 'search'} report",
            title=_title(data),
            subtitle=_subtitle(data),
            headline=join(_status(data), _course(data), *_remarks(data), _cards(data)),
            sections=[Section(key, title, build(data)) for key, title, build in _SECTIONS],
            footer=_footer(data),
        )
    )


def _title(data: ReportData) -> str:
    space, of = setting(data, "space") or "unknown space", setting(data, "data")
    space = space.rpartition("/")[2] if is_reference(space) else space
    subject = "Training" if data.kind == "train" else setting(data, "method") or "Search"
    return f"{subject} in {space}" + (f" on {of}" if of else "")


def _subtitle(data: ReportData) -> str:
    """The method of a search, or the recipe of a training and what it started from."""
    recipe = in_words(data.config) if data.kind == "train" else None
    return "; ".join(part for part in (recipe, data.description) if part)


def _status(data: ReportData) -> Markup | None:
    if data.finished:
        return None
    total, done = data.epochs_in_all or number_at(data.config, "recipe", "epochs"), len(data.epochs)
    of = f" of {total:g}" if total else ""
    share = min(100.0, 100 * done / total) if total else None
    return element(
        "div",
        element(
            "p",
            element("strong", "Unfinished: still running or interrupted."),
            f" {done}{of} epochs are logged and there is no result yet. If nothing runs any more, resume with",
        ),
        run_costs.resume(data),
        element("div", element("div", style=f"width:{share:.1f}%"), class_="progress") if share is not None else None,
        class_="status",
    )


def _course(data: ReportData) -> Markup | None:
    """How the run went on after it had ended, or elsewhere."""
    if not data.course:
        return None
    return element("div", *(element("p", f"This run {sentence}.") for sentence in data.course), class_="status")


def _remarks(data: ReportData) -> list[Markup]:
    """What the search says against its own result, before the figures."""
    return [
        element(
            "div",
            element("p", f"{sentence[:1].upper()}{sentence[1:]}."),
            element("p", f"To try: {advice}."),
            class_="status",
        )
        for sentence, advice in data.remarks
    ]


def _cards(data: ReportData) -> Markup:
    found: list[Markup] = []
    if data.architecture:
        name = "Architecture" if data.finished or data.kind == "train" else "Architecture so far"
        found.append(card(name, code(data.architecture), wide=True))
    if data.primary in data.test:
        examples = data.test.get("examples")
        small = f"{examples:g} test examples" if examples else "on test examples"
        found.append(card(f"Test {data.primary}", score(data.primary, data.test[data.primary]), small))
    shared = inherited(data)
    if shared is not None and data.kind == "search":
        on = inherited_on(data)
        small = f"shared weights, on {on}" if on else "shared weights, not retrained"
        found.append(card(f"Inherited {data.primary}", score(data.primary, shared), small))
    spent = number_at(data.cost, "search_multiply_accumulates")
    if spent is not None:
        found.append(
            card(
                "Search cost" if data.kind == "search" else "Training cost",
                si(spent, "MAC"),
                "multiply-accumulates in all",
            )
        )
    parameters = number_at(data.cost, "parameters")
    if parameters is not None:
        found.append(card("Parameters", si(parameters), "of the architecture"))
    seconds = number_at(data.cost, "seconds")
    if seconds is None and data.epochs:
        seconds = data.epochs[-1].values.get("seconds")
    if seconds is not None:
        device = text_at(data.environment, "device") or setting(data, "device")
        found.append(card("Time", duration(seconds), f"on {device}" if device else None))
    seed = setting(data, "seed")
    if seed is not None:
        found.append(card("Seed", seed, setting(data, "precision")))
    return cards(found)


def _footer(data: ReportData) -> Markup:
    version = text_at(data.environment, "sharewise")
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


_SECTIONS: tuple[tuple[str, str, Callable[[ReportData], Markup | None]], ...] = (
    ("cell", "The cell", run_views.cell),
    ("comparison", "Against random architectures", run_views.against_random),
    ("theta", "Probabilities θ over time", run_views.theta),
    ("curves", "Learning curves", run_views.curves),
    ("watch", "What the search saw of itself", watch_views.watch),
    ("gap", "Rounding gap", run_views.gap),
    ("table", "In the table", table_view.followed),
    ("candidates", "Ranked candidates", run_views.candidates),
    ("cost", "Cost", run_costs.costs),
    ("next", "What to do next", run_costs.what_next),
    ("config", "Configuration", run_costs.configuration),
    ("environment", "Environment", run_costs.environment),
)
