from __future__ import annotations

import html
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sharewise.cli import main
from sharewise.errors import CheckpointError
from sharewise.report import Candidate, Epoch, Picture, ReportData, read_run, render_report, write_report

WriteRun = Callable[..., Path]
KINDS = ["gaea", "sampler", "unfinished", "train"]
VOID = {"meta", "br", "wbr", "img", "input", "link", "hr"}


class Page(HTMLParser):
    """Collects what the checks need, and fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.references: list[str] = []
        self.stack: list[str] = []
        self.words = ""
        self.feed(text)
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"src", "srcset", "href", "xlink:href", "action", "data", "poster"}:
                self.links.append(value or "")
            self.references += re.findall(r"url\((.*?)\)", value or "")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_asks_nothing_of_the_outside(write_run: WriteRun, kind: str) -> None:
    text = write_report(write_run(kind)).read_text(encoding="utf-8")
    page = Page(text)
    assert {link.split(",")[0] for link in page.links if not link.startswith("#")} <= {"data:image/png;base64"}
    assert all(reference.startswith("#") for reference in page.references)
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert "@import" not in text
    assert "url(http" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_unique_and_links_lead_somewhere(write_run: WriteRun, kind: str) -> None:
    page = Page(render_report(read_run(write_run(kind))))
    assert len(page.ids) == len(set(page.ids))
    targets = [link[1:] for link in [*page.links, *page.references] if link.startswith("#")]
    assert set(targets) <= set(page.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_runs_give_equal_bytes(write_run: WriteRun, kind: str) -> None:
    run = write_run(kind)
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


@pytest.mark.parametrize(
    ("kind", "present", "absent"),
    [
        (
            "gaea",
            "cell comparison theta curves gap candidates cost next config environment",
            "Unfinished",
        ),
        ("sampler", "cell theta curves gap candidates cost next config environment", "undecided"),
        ("unfinished", "theta curves gap cost next config environment", "Ranked candidates"),
        ("train", "cell curves cost next config environment", "Probabilities"),
    ],
)
def test_sections_follow_the_data(write_run: WriteRun, kind: str, present: str, absent: str) -> None:
    text = render_report(read_run(write_run(kind)))
    assert re.findall(r'<section id="(\w+)"', text) == present.split()
    assert absent not in Page(text).words


def test_the_headline_of_a_search(write_run: WriteRun) -> None:
    words = Page(render_report(read_run(write_run("gaea")))).words
    for fact in (
        "gaea-erm in nasbench201 on digits",
        "87.0 %",
        "228 GMAC",
        "1 min 18 s",
        "12.9 k",
        "log 5 = 1.61",
    ):
        assert fact in words
    assert "better by 0.020" in words
    assert "4 more were scored" in words


def test_the_headline_of_a_training(write_run: WriteRun) -> None:
    words = Page(render_report(read_run(write_run("train")))).words
    for fact in (
        "Training in nasbench201 on digits",
        "97.2 %",
        "360 test examples",
        "learning rate",
        "held out",
    ):
        assert fact in words


def test_a_sampler_is_told_to_have_no_probabilities(write_run: WriteRun) -> None:
    assert "keeps no probabilities" in Page(render_report(read_run(write_run("sampler")))).words


def test_an_unfinished_run_says_how_to_go_on(write_run: WriteRun) -> None:
    run = write_run("unfinished")
    words = Page(render_report(read_run(run))).words
    assert "still running or interrupted" in words
    assert "9 of 25 epochs" in words
    assert f"sharewise search --resume {run}" in words
    assert "Architecture so far" in words
    assert "sharewise export" not in words
    assert "67.5 GMAC" in words  # summed from the ledger of the last epoch


def test_commands_survive_a_shell(write_run: WriteRun) -> None:
    run = write_run("gaea")
    words = Page(render_report(read_run(run))).words
    architecture = read_run(run).architecture
    command = (
        f"sharewise train --space nasbench201 --architecture '{architecture}' --data digits --channels 8 --cells 1 "
        f"--no-affine --fused --out {run}-retrained"
    )
    assert command in words
    assert "--epochs 25" not in words
    assert f"sharewise export {run} --out {run}-exported" in words
    assert f"sharewise evaluate {run}" in words


def commands(text: str) -> list[list[str]]:
    shown = re.findall(r"<pre><code>(.*?)</code></pre>", text, flags=re.DOTALL)
    return [shlex.split(html.unescape(re.sub(r"<[^>]*>", "", command))) for command in shown]


@pytest.mark.parametrize(
    "words",
    [
        "--space nasbench201 --channels 2 --cells 1 --affine --train-examples 128 --seed 3 --image-size 7",
        "--space toy-two-inputs --method darts --width 4 --train-examples 128 --precision float64",
    ],
)
def test_every_command_of_a_report_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["search", *words.split(), "--epochs", "1", "--threads", "1", "--out", "a run/first"]) == 0
    searched = commands(Path("a run/first/report.html").read_text(encoding="utf-8"))
    assert [command[:2] for command in searched] == [["sharewise", verb] for verb in ("train", "export", "evaluate")]
    for command in searched:
        short = ["--epochs", "1", "--max-steps", "1"] if command[1] == "train" else []
        assert main([*command[1:], *short]) == 0, command
    before, after = (read_run(Path(f"a run/{name}")).config for name in ("first", "first-retrained"))
    for key in ("space", "data", "train_examples", "image_size", "network", "seed", "precision"):
        assert after[key] == before[key]
    for command in commands(Path("a run/first-retrained/report.html").read_text(encoding="utf-8")):
        assert main(command[1:]) == 0, command


@pytest.mark.parametrize(
    ("folder", "beside"), [(".", "../retrained"), ("..", "../../retrained"), ("runs/a.b", "runs/a.b-retrained")]
)
def test_a_retraining_goes_beside_the_run(folder: str, beside: str) -> None:
    config = {"space": "toy", "data": "digits", "network": {"name_of": None, "sizes": [1, 2]}}
    data = ReportData(folder, "search", finished=True, config=config, architecture="a")
    expected = f"sharewise train --space toy --architecture a --data digits --sizes 1 2 --out {beside}"
    assert commands(render_report(data))[0] == expected.split()


def test_a_ledger_shows_a_dash_for_what_is_not_measured() -> None:
    ledger = {"weights": {"steps": 2.0, "seconds": 0.0}, "search": {"steps": 0.0, "seconds": 3.0}}
    text = render_report(ReportData("runs/a", "search", cost={"parameters": 3}, ledger=ledger))
    assert re.findall(r"(weights|search)</th>(.*?)</tr>", text.replace('<td class="number">', "<td>")) == [
        ("weights", "<td>2</td><td>–</td>"),
        ("search", "<td>–</td><td>3.0 s</td>"),
    ]
    assert "Seconds are measured per phase of the run" in text


@pytest.mark.parametrize("on", ["training examples", "held-out examples", None])
def test_the_page_says_what_the_shared_weights_were_scored_on(write_run: WriteRun, on: str | None) -> None:
    run = write_run("gaea")
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    result["inherited"] = {"accuracy": 0.87} | ({"on": on} if on else {})
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    words = Page(render_report(read_run(run))).words
    assert f"shared weights, {f'on {on}' if on else 'not retrained'}" in words
    assert f"of accuracy, on 256 {on or 'examples'}." in words


@pytest.mark.parametrize(
    ("openings", "said"),
    [
        ([], "The test examples were never opened."),
        (["train"], "The test examples were opened once."),
        (["train"] * 13, "The test examples were opened 13 times."),
        (None, None),
    ],
)
def test_the_page_says_how_often_the_test_examples_were_opened(
    write_run: WriteRun, openings: list[str] | None, said: str | None
) -> None:
    result = {"kind": "search"} | ({} if openings is None else {"test_openings": openings})
    words = Page(render_report(read_run(write_run(settings={"command": "search"}, result=result)))).words
    assert said in words if said else "The test examples were" not in words


HOSTILE = "<script>alert('1')</script>\"&$\\frac"


def test_every_string_is_escaped(write_run: WriteRun) -> None:
    line = {
        "event": "epoch",
        "epoch": 0,
        "weights_loss": 1.0,
        "entropy": 0.5,
        "probabilities": {HOSTILE: [0.4, 0.6]},
        "gap": {"supernet": {HOSTILE: 0.5}, "architecture": {HOSTILE: 0.4}},
        "ledger": {HOSTILE: {HOSTILE: 1}},
    }
    result = {
        "kind": "search",
        "architecture": HOSTILE,
        "description": HOSTILE,
        "decisions": {HOSTILE: [HOSTILE, HOSTILE]},
        "task": {"primary": HOSTILE},
        "picture": {"nodes": ["a", HOSTILE], "edges": [["a", HOSTILE, HOSTILE]]},
        "cost": {HOSTILE: 3},
        "comparison": {"metric": HOSTILE, "found": [0.5], "random": [{"value": 0.4}], "verdict": HOSTILE},
    }
    settings = {"command": "search", "space": HOSTILE, "method": HOSTILE, "data": HOSTILE, HOSTILE: HOSTILE}
    ranked = {"event": "selection", "candidates": [{"architecture": HOSTILE, HOSTILE: 0.4}]}
    run = write_run(settings=settings, lines=[line, ranked], result=result)
    (run / "environment.json").write_text(json.dumps({HOSTILE: HOSTILE, "sharewise": HOSTILE}), encoding="utf-8")
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "<script" not in text
    assert page.words.count("<script>alert('1')") > 12


def test_what_is_unknown_is_ignored(write_run: WriteRun) -> None:
    lines = [
        {"event": "weather", "rain": True},
        {"no": "event"},
        {"event": "stage", "name": "second"},
        {
            "event": "epoch",
            "epoch": 0,
            "weights_loss": "much",
            "probabilities": [1],
            "gap": 3,
            "ledger": None,
        },
        {"event": "epoch", "epoch": 1, "weights_loss": 2.0, "surprise": {"a": [1]}, "entropy": None},
        {"event": "selection", "candidates": [{"accuracy": 0.5}, "text"]},
    ]
    run = write_run(settings={"command": "search", "recipe": "none"}, lines=lines, result={"picture": {"edges": [[1]]}})
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('[1, 2]\n\n{"event": "epoch", "ep')
    data = read_run(run)
    assert (len(data.epochs), data.unreadable, data.candidates, data.pictures) == (2, 1, (), ())
    words = Page(render_report(data)).words
    assert "1 unreadable line " in words


def test_an_epoch_repeated_after_a_resume_counts_once(write_run: WriteRun) -> None:
    lines = [{"event": "epoch", "epoch": epoch, "weights_loss": loss} for epoch, loss in ((0, 3.0), (1, 2.0), (1, 1.5))]
    epochs = read_run(write_run(settings={"command": "train"}, lines=lines)).epochs
    assert [(epoch.index, epoch.values["weights_loss"]) for epoch in epochs] == [(0, 3.0), (1, 1.5)]


def test_a_run_that_has_only_begun_has_a_page(write_run: WriteRun) -> None:
    run = write_run(settings={"command": "search", "method": "gdas", "space": "nasbench201", "recipe": {"epochs": 5}})
    (run / "metrics.jsonl").unlink()
    (run / "environment.json").unlink()
    words = Page(write_report(run).read_text(encoding="utf-8")).words
    assert "0 of 5 epochs" in words
    assert "No epoch is logged yet" in words


def test_numbers_that_are_none_do_no_harm() -> None:
    nan = float("nan")
    data = ReportData(
        "runs/a",
        "search",
        epochs=(Epoch(0, {"weights_loss": nan, "entropy": nan}, {"edge": (nan, nan)}),),
        candidates=(Candidate("a", {"accuracy": nan}),),
        stages=(1,),
        test={"accuracy": nan},
        cost={"seconds": float("inf"), "parameters": nan},
    )
    assert "option 1" in render_report(data)
    assert "entropy" in render_report(ReportData("runs/a", "search", epochs=(Epoch(0, {"entropy": nan}),)))


def test_names_the_font_lacks_are_no_warning() -> None:
    data = ReportData(
        "runs/a",
        "search",
        epochs=(Epoch(0, {}, {"k": (0.5, 0.5)}),),
        decisions={"k": ("卷积", "a" * 60)},
        pictures=(Picture(("a", "b"), (("a", "b", "卷积"),)),),
    )
    assert "卷积" in render_report(data)


def test_options_that_fall_away_leave_their_rows_empty() -> None:
    epochs = (Epoch(0, {}, {"k": (0.3, 0.3, 0.4)}), Epoch(3, {}, {"k": (0.5, 0.5)}))
    assert "option 2" in render_report(ReportData("runs/a", "search", epochs=epochs))


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_another_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="is not a run folder"):
        write_report(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", "a: [1"),
        ("config.yaml", "just text"),
        ("result.json", '{"kind": '),
        ("environment.json", "[1]"),
    ],
)
def test_a_damaged_file_is_named(write_run: WriteRun, name: str, content: str) -> None:
    run = write_run("unfinished")
    (run / name).write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)} is damaged"):
        write_report(run)


def test_a_failed_write_leaves_the_old_report(write_run: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run("train")
    before = write_report(run).read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert sorted(path.name for path in run.iterdir() if path.name.startswith(".")) == []


def test_no_display_and_no_pyplot_are_needed(write_run: WriteRun) -> None:
    program = (
        "import sys, pathlib; from sharewise.report import write_report; "
        "write_report(pathlib.Path(sys.argv[1])); assert 'matplotlib.pyplot' not in sys.modules"
    )
    source = str(Path(sys.modules["sharewise.report"].__path__[0]).parents[1])
    kept = {key: value for key, value in os.environ.items() if key not in {"DISPLAY", "MPLBACKEND", "TERM"}}
    environment = kept | {"PYTHONPATH": source}
    subprocess.run(
        [sys.executable, "-c", program, str(write_run("gaea"))],
        env=environment,
        check=True,
        stdin=subprocess.DEVNULL,
    )


def test_the_page_is_read_back_by_its_own_record(write_run: WriteRun) -> None:
    data = read_run(write_run("gaea"))
    assert (data.kind, data.finished, data.primary, len(data.epochs)) == ("search", True, "accuracy", 25)
    assert data.against_random is not None
    assert data.against_random.interval == (0.01, 0.03)
    assert data.decisions["edge_0_1"][1] == "skip_connect"
    assert len(data.candidates) == 14
