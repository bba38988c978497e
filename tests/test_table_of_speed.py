"""How the table of speed judges: by medians of ratios within rounds, and by exactness."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
try:
    from benchmarks import table
    from benchmarks.table import exact, steps
    from benchmarks.table.row import FULL, QUICK, AtLeast, AtMost, Row
finally:
    sys.path.pop(0)

VALUES = {"ours": [1.0, 2.0, 9.0, 1.0, 1.0], "peer": [2.0, 4.0, 9.0, 2.0, 2.0]}


def row(*claims: AtLeast | AtMost, difference: float | None = 0.0) -> Row:
    return Row("a row", lambda size, rounds: VALUES, claims, None if difference is None else lambda: difference)


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    ("claim", "full", "quick"),
    [
        (AtLeast("peer", 2.0), True, True),
        (AtLeast("peer", 2.01), False, True),
        (AtLeast("peer", 2.9), False, False),
        (AtMost(0.5, "peer"), True, True),
        (AtMost(0.49, "peer"), False, True),
        (AtMost(0.3, "peer"), False, False),
        (AtMost(1.0), True, True),
        (AtMost(0.99), False, True),
    ],
)
def test_a_claim_is_judged_by_the_median_of_ratios_within_rounds(
    claim: AtLeast | AtMost, full: bool, quick: bool
) -> None:
    for size, expected in ((FULL, full), (QUICK, quick)):
        found = row(claim).measured(size, 5)
        assert found.good is expected
        assert any(line.startswith("FAIL") for line in found.lines) is not expected


def test_what_is_not_exact_fails_however_fast_it_is() -> None:
    found = row(AtLeast("peer", 1.0), difference=1e-9).measured(QUICK, 5)
    assert not found.good
    assert found.lines[0].startswith("FAIL a row")
    assert row(AtLeast("peer", 1.0), difference=None).measured(QUICK, 5).good


def test_the_exit_code_says_whether_every_goal_is_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = row(AtLeast("peer", 2.0)), replace(row(AtLeast("peer", 3.0)), name="another")
    monkeypatch.setattr(table, "ROWS", (good,))
    assert table.main(["--quick"]) == 0
    monkeypatch.setattr(table, "ROWS", (good, bad))
    assert table.main(["--quick"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert set(json.loads(lines[-1])) == {"a row", "another"}
    assert lines[-2].startswith("FAIL")
    assert table.main(["--quick", "--only", "row"]) == 0


def test_fewer_rounds_than_five_are_refused() -> None:
    with pytest.raises(SystemExit):
        table.main(["--rounds", "4"])


@pytest.mark.parametrize(
    "name", ["DARTS, weight step", "exact", "finite difference", "single path", "random architectures"]
)
def test_stand_ins_compute_what_we_do(name: str) -> None:
    [found] = [each for each in steps.ROWS if name in each.name]
    assert found.exact is not None
    assert found.exact() < 1e-10


TRAINED = {"convolution_by_kernel", "transposed_by_kernel", "norm_by_kernel", "norm_gradient"}
EVALUATED = {"convolution_by_kernel", "norm_by_kernel", "average_by_kernel"}


@pytest.mark.usefixtures("compiler", "kernel_cache")
@pytest.mark.parametrize(
    ("name", "kernels", "convolutions", "twice"),
    [
        ("DARTS, weight step", TRAINED, 3 * 6, False),  # of an edge in each of three stages
        ("exact", TRAINED, 3 * 6, True),
        ("single path", EVALUATED, 0, False),
        ("random architectures", EVALUATED, 0, False),
    ],
)
def test_what_is_compared_is_what_kernels_compute(
    kernel_calls: list[str], name: str, kernels: set[str], convolutions: int, twice: bool
) -> None:
    [found] = [each for each in steps.ROWS if name in each.name]
    assert found.exact is not None
    assert found.exact() < 1e-10
    assert kernels <= set(kernel_calls)
    assert kernel_calls.count("convolution_gradient") >= convolutions
    assert ("norm_second_gradient" in kernel_calls) == twice


def test_a_difference_is_noticed() -> None:
    peer, supernet = steps.small()
    wrong: Callable[..., list[torch.Tensor]] = lambda p: list(torch.softmax(p.theta[0] * 1.0001, -1))  # noqa: E731
    assert exact.same_gradients(peer, supernet, wrong) > 1e-8
