"""What some rows of a batch draw, beside what all of them would."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.engine import Ranks, RanksError
from sharewise.engine.ranks import Rows
from sharewise.engine.rows import Layouts
from sharewise.supernet.recomputation import again


class Drawing(nn.Module):
    """Draws for every example, in many ways, and for words, of which there are as many as examples of a process."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = words

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        table = F.dropout(torch.ones(self.words, 1, 6), 0.5)
        x = x * table[0] * torch.rand(n, 1, 1) + torch.randn(self.words, 1)[0]
        x = x + torch.empty(n, 1, 1).bernoulli_(0.5) + torch.empty(self.words).uniform_(1, 2)[1]
        x = F.dropout(x.reshape(n * 2, 2, 6), 0.4).reshape(n, 4, 6)
        x = F.dropout(x.transpose(0, 1), 0.3).transpose(0, 1)
        x = x + torch.bernoulli(torch.sigmoid(x)) + torch.empty(n, 4, 6).bernoulli_(torch.sigmoid(x))
        return x + torch.randint(0, 5, (n, 1, 1)) + torch.rand_like(x) + torch.empty_like(x).normal_()


@pytest.mark.parametrize("whole", [14, 15, 16])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_rows_draw_what_all_of_them_would(whole: int, world: int) -> None:
    inputs = torch.randn(whole, 4, 6, generator=torch.Generator().manual_seed(1))
    for rank in range(world):
        ranks = Ranks(rank, world)
        rows = ranks.rows(whole)
        network, layouts = Drawing(rows.stop - rows.start), Layouts()
        torch.manual_seed(0)
        expected = network(inputs)[rows]
        after = torch.get_rng_state()
        torch.manual_seed(0)
        batch = Rows(inputs[rows], torch.zeros(whole)[rows], whole)
        layout = layouts.of("path", network, network, batch.inputs)
        assert layout == (None, 0, None, 0, None, 0, 1, 0, 0, 0, 0, 0)
        with ranks.forward(batch, layout):
            found = network(batch.inputs)
        assert torch.equal(found, expected)
        assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("at", [0, 1])
def test_what_is_computed_a_second_time_draws_what_it_drew(at: int) -> None:
    inputs, passes = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)), []

    def layer(x: Tensor) -> Tensor:
        passes.append(y := F.dropout(x, 0.5))
        return y.square()

    def run(x: Tensor) -> Tensor:
        x = x if at == 0 else F.dropout(x, 0.1)
        return F.dropout(again(nn.Identity(), layer, x) + x, 0.1)

    rows = Ranks(1, 2).rows(9)
    batch = Rows(inputs[rows].requires_grad_(), torch.zeros(5), 9)
    torch.manual_seed(0)
    with Ranks(1, 2).forward(batch, (0,) * (2 + at)):
        found = run(batch.inputs)
    torch.manual_seed(3)
    torch.autograd.backward(found.sum())
    first, second = passes
    assert torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(run(inputs)[rows], found)  # and as all rows do


class Deep(nn.Module):
    """Skips layers by chance, and so draws less often where it does."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.norm, self.own = inner, nn.BatchNorm1d(4), torch.Generator().manual_seed(2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(self.norm(x), self.own)
        return result


def test_a_trial_leaves_nothing_behind() -> None:
    network = Deep(lambda x, own: x * torch.rand(len(x), 1, generator=own) * torch.rand(len(x), 1))
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    own = network.own.get_state()
    assert Layouts().of("path", network, network, torch.ones(1, 4)) == (0, 0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(network.own.get_state(), own)


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (lambda x, own: x * torch.rand(len(x), len(x)).sum(), r"shape \(2, 2\) for 2 examples and \(3, 3\) for 3"),
        (lambda x, own: x * torch.rand(len(x) + 1)[:1], r"no axis is that of the examples"),
        (lambda x, own: sum(torch.rand(1) for _ in x) * x, "2 times for 2 examples and 3 times for 3"),
    ],
)
def test_what_cannot_be_shared_out_is_said(inner: Any, words: str) -> None:
    network = Deep(inner)
    with pytest.raises(RanksError, match=words):
        Layouts().of("path", network, network, torch.ones(4, 4))


def test_a_draw_that_was_not_tried_is_refused() -> None:
    batch = Rows(torch.ones(4, 4), torch.ones(4), 8)
    with pytest.raises(RanksError, match=r"shape \(4, 1\).*depends on what was drawn"), Ranks(0, 2).forward(batch, ()):
        torch.rand(4, 1)
