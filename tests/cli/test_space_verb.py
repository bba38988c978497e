"""`sharewise space` on spaces that are too large to be walked one by one."""

from __future__ import annotations

import json

import pytest

from sharewise.cli import main


def described(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["space", *words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_nasbench101_is_counted_by_vertices_and_edges(capsys: pytest.CaptureFixture[str]) -> None:
    found = described(capsys, "nasbench101")
    assert found["size"] == 423_624
    assert found["by_vertices"] == {"2": 1, "3": 6, "4": 84, "5": 2_441, "6": 62_010, "7": 359_082}
    assert sum(found["by_edges"].values()) == 423_624  # type: ignore[attr-defined]
    assert len(found["decisions"]) == 21 + 5, "an edge between any two vertices, an operation of each inner one"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("A_1", 120_933),
        ("A_2", 201_441),
        ("A_3", 90_782),
        ("A_4", 10_467),
        ("FULL", 423_624),
        ("RES", 81_020),
        ("NRES", 342_604),
    ],
)
def test_sub_spaces(capsys: pytest.CaptureFixture[str], name: str, size: int) -> None:
    found = described(capsys, f"nasbench101:{name}")
    assert found["size"] == size
    for counts in (found["by_vertices"], found["by_edges"]):
        assert sum(counts.values()) == size  # type: ignore[attr-defined]


def test_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["space", "nasbench101:A_4"]) == 0
    shown = capsys.readouterr().out
    assert "size: 10,467 architectures" in shown
    assert "by vertices: 6: 2,853, 7: 7,614" in shown


def test_other_spaces_print_what_they_did(capsys: pytest.CaptureFixture[str]) -> None:
    found = described(capsys, "toy-tied-width")
    assert list(found) == ["name", "summary", "size", "unique", "choices", "decisions"]
    assert found["decisions"] == found["choices"]
