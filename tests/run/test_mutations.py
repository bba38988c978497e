"""Seeded mutations of every file of a run: one line of error, or the same result as without them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharewise.cli import main

WORDS = "search --space toy-tied-width --method gaea-erm --threads 1 --gap-examples 8 --train-examples 64 --epochs 2"
SEED = 12

pytestmark = [
    pytest.mark.filterwarnings("always::sharewise.errors.SharewiseWarning"),
    pytest.mark.timeout(1500),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mutations") / "RUN"
    assert main([*WORDS.split(), "--batch-size", "16", "--device", "cpu", "--out", str(out)]) == 0
    return out


def flip(content: bytearray, draw: random.Random) -> None:
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def cut(content: bytearray, draw: random.Random) -> None:
    del content[draw.randrange(len(content)) :]


def lose(content: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(content))
    del content[start : start + draw.randrange(1, 40)]


def repeat(content: bytearray, draw: random.Random) -> None:
    start, to = draw.randrange(len(content)), draw.randrange(len(content))
    content[to:to] = content[start : start + draw.randrange(1, 200)]


def insert(content: bytearray, draw: random.Random) -> None:
    strange = (b"\0", b"\xff\xfe", b"\r\n", b"NaN", b"1e999", b"[" * 3000, b"&a *a", b"9" * 5000, b"\x1b[31m", b"null")
    at = draw.randrange(len(content))
    content[at:at] = draw.choice(strange)


def digits(content: bytearray, draw: random.Random) -> None:
    """Another digit in place of one: what stays well-formed is the most dangerous."""
    places = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    content[draw.choice(places)] = ord(draw.choice("0123456789"))


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (flip, flip, cut, lose, repeat, insert, digits)


def essence(run: Path) -> dict[str, Any]:
    """What a run says, but for seconds and for the record of openings."""
    value = json.loads((run / "result.json").read_text())
    kept = {name: value[name] for name in ("architecture", "choices", "inherited", "selection", "gap", "seed", "data")}
    return {
        **kept,
        "history": [timeless(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()],
    }


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key != "seconds"}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.sweep(2)
@pytest.mark.parametrize(
    ("count", "seed"),
    [(12, 1), pytest.param(40, 2, marks=pytest.mark.slow), pytest.param(200, 3, marks=pytest.mark.long)],
    ids=["dozen", "dozens", "hundreds"],
)
@pytest.mark.parametrize("name", ["config.yaml", "checkpoint.pt", "metrics.jsonl", "result.json"])
def test_a_mutated_file_is_named_or_changes_nothing(
    name: str, count: int, seed: int, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw, truth = random.Random(f"{name}-{seed}"), essence(finished)
    original = (finished / name).read_bytes()
    for number in range(count):
        run = Path(shutil.copytree(finished, tmp_path / f"{number}"))
        content = bytearray(original)
        mutation = draw.choice(MUTATIONS)
        mutation(content, draw)
        (run / name).write_bytes(content)
        for verb in (["report"], ["search", "--resume"]):
            capsys.readouterr()
            code = main([*verb, str(run)])  # an exception that is none of ours fails here
            captured = capsys.readouterr()
            where = f"mutation {number} ({mutation.__name__}) of {name}, {verb[0]}: {captured.err}"
            assert len(captured.err) < 6000, where
            assert "\x1b" not in captured.err, where
            if code == 0 and verb[0] == "search":
                assert essence(run) == truth, where
            elif code:
                assert code == 2, where
                assert captured.err.startswith(("error: ", "warning: ")), where
        shutil.rmtree(run)
