from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sharewise.cli import VERBS, main
from sharewise.cli.completion_verb import whole_parser


def test_the_parser_of_all_verbs_knows_their_options() -> None:
    whole = whole_parser(VERBS)
    options = whole.parse_args(["search", "--method", "gaea-erm", "--epochs", "2", "--channels", "4", "--out", "RUN"])
    assert (options.verb, options.epochs, options.out) == ("search", 2, "RUN")
    chosen = whole._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert list(chosen) == list(VERBS)  # type: ignore[arg-type]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_is_one_of_the_shell(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="shtab is not installed")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "--architecture-learning-rate" in script
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(script, encoding="utf-8")
    assert subprocess.run([program, "-n", str(tmp_path / "script")]).returncode == 0


def test_without_the_library_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'sharewise[completion]'" in capsys.readouterr().err


def test_a_shell_that_is_not_known_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="shtab is not installed")
    assert main(["completion", "bas"]) == 2
    assert "did you mean 'bash'" in capsys.readouterr().err
