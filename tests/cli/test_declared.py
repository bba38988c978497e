"""Options that are read from source are those that importing finds, and every option of every verb has a text."""

from __future__ import annotations

import argparse
import inspect
import subprocess
import sys
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from sharewise.cli import VERBS, main
from sharewise.cli.declared import fields_of_class, fields_of_method, methods, names_of_table
from sharewise.cli.options import Field
from sharewise.cli.parser import Parser
from sharewise.cli.space_options import fields_of_network
from sharewise.methods import METHODS, parameters
from sharewise.run import SearchConfiguration, TrainConfiguration
from sharewise.run.standalone import TrainingRecipe
from sharewise.spaces import SPACES, load
from sharewise.strategy.registry import STRATEGIES
from sharewise.supernet import networks_of

CELL = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"


def imported(cls: type) -> list[tuple[str, Any, Any]]:
    hints = get_type_hints(cls)
    return [(f.name, hints[f.name], None if f.default is MISSING else f.default) for f in fields(cls)]


def read(declared: list[Field]) -> list[tuple[str, Any, Any]]:
    return [(field.name, field.kind, field.default) for field in declared]


@pytest.mark.parametrize("cls", [SearchConfiguration, TrainConfiguration, TrainingRecipe])
def test_dataclasses_declare_what_they_are(cls: type) -> None:
    declared = fields_of_class(cls.__module__, cls.__name__)
    assert read(declared) == imported(cls)
    assert all(field.text for field in declared)


@pytest.mark.parametrize("space", list(SPACES))
def test_networks_declare_their_options(space: str) -> None:
    declared = fields_of_network(load(space))
    assert read(declared) == imported(networks_of(load(space)).options)
    assert all(field.text for field in declared)


def test_methods_are_all_there_with_their_summaries() -> None:
    assert set(methods()) == set(METHODS)
    for name, method in methods().items():
        assert method.summary == (inspect.getdoc(METHODS[name]) or "").splitlines()[0]


@pytest.mark.parametrize("name", list(METHODS))
def test_methods_declare_their_options_in_order(name: str) -> None:
    declared = fields_of_method(name)
    assert read(declared) == [(key, kind, default) for key, (kind, default) in parameters(name).items()]
    assert all(field.text for field in declared), "a variant has the texts of the method that it changes"


def test_strategies_are_listed_without_their_libraries() -> None:
    assert names_of_table("sharewise.strategy.registry", "STRATEGIES") == list(STRATEGIES)


class ParsedError(Exception):
    """Stands for everything that a verb does after it has understood its words."""


def actions(monkeypatch: pytest.MonkeyPatch, module: str, words: list[str]) -> list[argparse.Action]:
    """The options of a verb, taken where it parses its words."""
    seen: list[argparse.Action] = []

    def parse(parser: Parser, words: list[str]) -> argparse.Namespace:
        seen.extend(parser._actions)
        raise ParsedError

    monkeypatch.setattr(Parser, "parse", parse)
    with pytest.raises(ParsedError):
        import_module(module).execute(Parser("sharewise"), words)
    return seen


SITUATIONS = [
    *((verb, []) for verb in VERBS),
    *(("benchmark", [action]) for action in ("import", "info", "query")),
    *(("search", ["--method", method]) for method in METHODS),
    *((verb, ["--space", space]) for verb in ("search", "train", "cost") for space in SPACES),
]


@pytest.mark.parametrize(("verb", "words"), SITUATIONS, ids=lambda value: value if isinstance(value, str) else None)
def test_no_option_is_without_a_text(verb: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = actions(monkeypatch, f"sharewise.cli.{verb.replace('-', '_')}_verb", words)
    assert found
    for action in found:
        text = (action.help or "").partition("(default")[0].strip()
        assert text or isinstance(action, argparse._SubParsersAction), action.option_strings


def test_help_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["search", "--help"])
    shown = capsys.readouterr().out
    for name in ("toy-two-inputs", "tanglenas-gdas", "cifar100"):
        assert name in shown


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["serch"],
        ["list", "methods"],
        ["list", "spaces"],
        ["list", "data", "--json"],
        ["list", "method"],
        ["space", "nasbench201"],
        ["space", "nasbench101:A_1"],
        ["space", "nasbench"],
        *([verb, "--help"] for verb in VERBS),
        *([verb, "--nonsense"] for verb in VERBS),
        ["search"],
        ["search", "--method", "dart", "--out", "x"],
        ["search", "--space", "nasbench20", "--out", "x"],
        ["search", "--data", "digit", "--out", "x"],
        ["search", "--space", "conv-macro", "--channels", "4", "--out", "x"],
        ["search", "--seed", "x"],
        ["search", "--resume", "no-such-run"],
        ["search", "--config", "no-such-file"],
        ["train", "--space", "nasbench201", "--divisor", "2", "--out", "x"],
        ["evaluate", "no-such-run"],
        ["report", "no-such-run"],
        ["export", "no-such-run", "--out", "x"],
        ["appraise", "no-such-run", "--out", "x"],
        ["study", "no-such-plan", "--out", "x"],
        ["check-model", "no-such-file.py:f"],
        ["cost", "--architecture", "x"],
        ["cost", "--architecture", CELL, "--outputs", "0"],
    ],
    ids=" ".join,
)
def test_quick_verbs_load_nothing_slow(words: list[str], tmp_path: Path) -> None:
    require_unloaded({"torch", "scipy", "matplotlib", "rich", "optuna", "sklearn"}, words, tmp_path)


@pytest.mark.parametrize("words", [["list", "methods"], ["--help"], ["list", "recipes"]], ids=" ".join)
def test_verbs_that_name_no_space_load_none(words: list[str], tmp_path: Path) -> None:
    require_unloaded({"numpy", "sharewise.spaces", "sharewise.space"}, words, tmp_path)


def require_unloaded(modules: set[str], words: list[str], folder: Path) -> None:
    """A verb ends without a traceback, and has loaded none of these modules."""
    program = (
        "import sys\nfrom sharewise.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        f"found = {modules!r} & set(sys.modules)\n"
        "raise SystemExit(f'loaded {sorted(found)}' if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_all_lists_and_all_spaces_are_shown_without_anything_slow(tmp_path: Path) -> None:
    """One process shows everything: a single import of torch would be ten times what these verbs take."""
    program = (
        "import sys, io, contextlib\nfrom sharewise.cli import main\nfrom sharewise.cli.list_verb import _LISTS\n"
        "from sharewise.spaces import SPACES\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    for words in [*(['list', what] for what in _LISTS), *(['space', name, '--json'] for name in SPACES)]:\n"
        "        assert main(words) == 0, words\n"
        "slow = {'torch', 'scipy', 'pandas', 'matplotlib', 'rich', 'optuna', 'sklearn', 'tensorflow', 'onnx', 'yaml'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
