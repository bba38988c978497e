"""Modules that are left out where decisions made elsewhere say so."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.supernet import Gate
from sharewise.testing import check_model, check_relaxation, check_supernet


class Residual(nn.Module):
    """A layer beside a shortcut that is projected."""

    def __init__(self, before: int = 4, after: int = 6) -> None:
        super().__init__()
        self.enter, self.body = nn.Linear(3, before), nn.Linear(before, after)
        self.project = nn.Linear(before, after, bias=False)
        self.leave = nn.Linear(after, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.leave(self.body(x).relu() + self.project(x))


def chosen(where: Callable[..., Any] = operator.eq, **others: Any) -> dict[str, Any]:
    return {
        "enter": sw.width([2, 4], name="before"),
        "body": sw.width([2, 4, 6], name="after"),
        "project": sw.bypassed("before", "after", where=where),
        **others,
    }


def elastic(where: Callable[..., Any] = operator.eq, model: nn.Module | None = None) -> Any:
    torch.manual_seed(0)
    return sw.elastic(model or Residual().double(), chosen(where), example=torch.zeros(2, 3, dtype=torch.float64))


def test_what_is_left_out_keeps_the_laws() -> None:
    torch.manual_seed(0)
    supernet = sw.elastic(Residual(), chosen(), example=torch.zeros(2, 3))
    check_relaxation(supernet.space, samples=6)
    check_supernet(supernet, torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), samples=6)
    report = check_model(supernet, samples=6)
    assert report.original
    assert report.continuity <= 1e-12
    assert supernet.space.size == 6


def test_an_extracted_model_has_the_identity_there() -> None:
    supernet = elastic()
    for before in (2, 4):
        for after in (2, 4, 6):
            project = sw.extract(supernet, {"before": before, "after": after}).project
            assert isinstance(project, nn.Identity) == (before == after)
    assert supernet.reads()["project"] == ("before", "after")


def test_a_mixture_is_the_sum_of_what_passes_and_what_is_computed() -> None:
    supernet = elastic()
    g, h = torch.tensor([0.3, 0.7], dtype=torch.float64), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    model, passes = supernet.model, g[0] * h[0] + g[1] * h[1]
    s = sum(w * (torch.arange(4) < o) for w, o in zip(g, (2, 4), strict=True))
    t = sum(w * (torch.arange(6) < o) for w, o in zip(h, (2, 4, 6), strict=True))
    read = model.enter(x)
    shortcut = passes * nn.functional.pad(read, (0, 2)) + (1 - passes) * read @ (model.project.weight * s).T
    written = (read @ (model.body.weight * s).T + model.body.bias).relu() + shortcut
    expected = written @ (model.leave.weight * t).T + model.leave.bias
    found = supernet(x, {"before": Gate(g, (0, 1)), "after": Gate(h, (0, 1, 2))})
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_what_passes_is_cut_where_less_is_written() -> None:
    """With before 2 and 4 and after 2, the largest active width behind is 2."""
    supernet = elastic()
    g = torch.tensor([0.3, 0.7], dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    model, s = supernet.model, torch.tensor([1, 1, 0.7, 0.7], dtype=torch.float64)
    read = model.enter(x)
    shortcut = g[0] * read[:, :2] + g[1] * read @ (model.project.weight[:2] * s).T
    written = (read @ (model.body.weight[:2] * s).T + model.body.bias[:2]).relu() + shortcut
    expected = written @ model.leave.weight[:, :2].T + model.leave.bias
    gates = {"before": Gate(g, (0, 1)), "after": Gate(torch.tensor([1.0, 0, 0]).double(), (0,), unit=True)}
    assert torch.allclose(supernet(x, gates), expected, rtol=1e-12, atol=1e-14)


def test_positions_that_pass_keep_their_places() -> None:
    """Sorting them would part what a smaller model adds from what it computes."""
    with pytest.raises(ConfigurationError, match="nothing can be sorted by importance"):
        sw.sort_by_importance(elastic())


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (lambda before, after: before < after, "would be left out with the largest options of before and after"),
        (lambda before, after: after == 2, "the model with the choices .* fails in|differs from the masked model"),
        (lambda before, after: 1, "it must say True or False"),
    ],
)
def test_what_cannot_be_left_out_is_refused(where: Callable[..., Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        elastic(where)


def test_arguments_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="bypassed needs the names of decisions"):
        sw.bypassed(where=operator.eq)
    with pytest.raises(ConfigurationError, match="bypassed needs a function"):
        sw.bypassed("before", where=True)  # type: ignore[arg-type]
    others = {"project": sw.bypassed("before", "behind", where=operator.eq)}
    with pytest.raises(ConfigurationError, match="'behind'"):
        sw.elastic(Residual(), chosen(**others), example=torch.zeros(2, 3))
