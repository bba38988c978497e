"""Every method equals a plain computation of its equations, and the page that says so lists every method."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sharewise.methods import METHODS, build

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
try:
    from benchmarks import fidelity_reference
    from benchmarks.fidelity import BAR, BEGIN, END, cells, compare, comparisons, method_of, plain

    RULES = {label: case.rule for label, case in comparisons().items()}
finally:
    sys.path.remove(str(ROOT))

PAGE = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
TABLE = PAGE.split(BEGIN)[1].split(END)[0].split("| dominant eigenvalue")[0]
CELLS = {row.split(" | ")[0].removeprefix("| "): row for row in TABLE.splitlines() if row.count(" | ") > 3}


def _marks(label: str) -> Any:
    """Those of cells take seconds; one settles 34 decisions and nodes, one writes a Hessian of 224 rows out."""
    if label in ("darts-pt, cells of DARTS", "r-darts, cells of DARTS"):
        return pytest.mark.long
    return pytest.mark.slow if "cells of DARTS" in label else ()


@pytest.mark.sweep(2, slow=2)
@pytest.mark.parametrize("label", [pytest.param(name, marks=_marks(name)) for name in RULES])
def test_every_step_equals_its_equations(label: str) -> None:
    found = compare(label, epochs=2, readings=False)
    assert found.worst < BAR, found.differences
    assert {"output", "w gradient", "w"} <= found.differences.keys()
    recipe = build(method_of(label))
    if recipe.distribution.learns and any(stage.architecture_steps for stage in recipe.stages):
        assert {"θ gradient", "θ"} <= found.differences.keys()
        assert found.size > 1e-4  # there was something to compare
        assert found.moved > 1e-4


def test_every_method_is_compared() -> None:
    assert {method_of(label) for label in RULES} == set(METHODS)


def test_the_page_lists_the_comparisons() -> None:
    rows = {label: row for label, row in CELLS.items() if label not in ("comparison", "---")}
    regenerate = "run: python -m benchmarks fidelity --write docs/fidelity.md"
    assert list(rows) == list(RULES), regenerate
    for row in rows.values():
        differences = [float(cell) for cell in row.strip("| ").split(" | ")[2:7] if cell.strip()]
        assert max(differences) < BAR


def always_undone(search: plain.Search, batch: plain.Batch, draw: plain.Draw) -> plain.Draw:
    plain.adversarial_perturbation(search, batch, draw)
    return draw


def widened_without_momentum(search: plain.Search, parts: int) -> None:
    cells.widen(search, parts)
    search.buffers = {name: torch.zeros_like(value) for name, value in search.buffers.items()}


WRONG: dict[str, tuple[str, Callable[[plain.Rule], plain.Rule]]] = {
    "weight decay of α": ("darts", lambda rule: replace(rule, l2=0.0)),
    "nesterov": ("gdas", lambda rule: replace(rule, nesterov=False)),
    "temperature": ("gdas", lambda rule: replace(rule, tau=(5.0, 0.1))),
    "clip": ("rs-ws", lambda rule: replace(rule, clip=5.0)),
    "sum of paths": ("fairnas", lambda rule: replace(rule, summed=False)),
    "growth of the decay": ("beta-darts", lambda rule: replace(rule, penalties=())),
    "noise": ("sdarts", lambda rule: replace(rule, perturb=None)),
    "ascent": ("sdarts, adversarial", lambda rule: replace(rule, perturb=always_undone)),
    "zero-one loss": ("fair-darts", lambda rule: replace(rule, penalties=(plain.zero_one(1),))),
    "removal": ("darts-pt", lambda rule: replace(rule, removal=lambda *data: -plain.accuracy(*data))),
    "rescaling": ("proxylessnas", lambda rule: replace(rule, move=plain.adam)),
    "copied channels": (
        "drnas, progressive, cells of DARTS",
        lambda rule: replace(rule, enter=plain.progressive(4, 4, widened_without_momentum)),
    ),
    "mass of nested kernels": (
        "drnas, K = 6, entangled weights, cells of DARTS",
        lambda rule: replace(rule, sharing="published"),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if "cells of DARTS" in label else ())
        for name, (label, _) in WRONG.items()
    ],
)
def test_a_wrong_equation_is_noticed(name: str) -> None:
    label, change = WRONG[name]
    found = compare(label, change(RULES[label]), epochs=2, readings=False)
    assert found.worst > 1e3 * BAR, found.differences


def test_a_wrong_eigenvalue_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_the_softmax(s: plain.Search, batch: plain.Batch) -> Tensor:
        (draw,) = s.rule.draw(s, "architecture")
        gates = plain.leaf(draw.gates)
        (slope,) = torch.autograd.grad(s.loss(batch, draw._replace(gates=gates)), gates, create_graph=True)
        rows = [torch.autograd.grad(x, gates, retain_graph=True)[0].flatten() for x in slope.flatten()]
        return torch.linalg.eigvalsh(torch.stack(rows)).max()

    monkeypatch.setattr(plain, "dominant_eigenvalue", without_the_softmax)
    assert compare("r-darts", epochs=2, readings=False).differences["eigenvalue"] > 1e3 * BAR


def test_the_comparison_with_authors_code_says_what_it_needs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert fidelity_reference.main([]) == 2
    assert "--autodl" in capsys.readouterr().err
    assert fidelity_reference.main(["--autodl", str(tmp_path / "absent")]) == 2
    assert "no folder at the path of autodl" in capsys.readouterr().err
