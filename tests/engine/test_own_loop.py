"""A loop of one's own: blocks of gates, recomputation in backward passes, and the steps of a recipe."""

from __future__ import annotations

import copy
import gc
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import sharewise as sw
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.supernet import Supernet, discrete, own_loop


class Block(nn.Module):
    """A residual block with a hidden width."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(features), nn.Linear(features, 32), nn.Linear(32, features)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Blocks(nn.Module):
    """A row of blocks, which are computed again in the backward pass where that is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(4, 16), nn.Linear(16, 3)
        self.blocks = nn.ModuleList(Block(16) for _ in range(3))
        self.again: dict[str, Any] | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x) if self.again is None else checkpoint(block, x, **self.again)
        return self.leave(x)


def elastic() -> Supernet:
    torch.manual_seed(0)
    choices = {
        "blocks.*.up": sw.width([8, 16, 32]),
        "enter": sw.width([8, 16], name="stream"),
        "blocks.*": sw.depth([1, 3]),
    }
    return sw.elastic(Blocks().double(), choices, example=torch.zeros(2, 4, dtype=torch.float64))


def named() -> Supernet:
    return sw.build_supernet(sw.spaces.toy_tied_width(), (4,), 3).double()


def batch(seed: int = 0) -> Tensor:
    return torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradients(supernet: Supernet, *losses: Tensor) -> dict[str, Tensor]:
    supernet.zero_grad()
    torch.stack(losses).sum().backward()
    return {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("build", [elastic, named])
def test_a_block_runs_what_it_drew(build: Callable[[], Supernet]) -> None:
    supernet, x, generator = build().train(), batch(), torch.Generator().manual_seed(3)
    with supernet.sample(generator) as architecture:
        inside = supernet(x)
    assert supernet.space.own(architecture) == architecture
    passed = supernet(x, discrete(supernet.relaxation.encode(architecture), dtype=torch.float64))
    assert torch.equal(inside, passed)
    drawn = set()
    for _ in range(20):
        with supernet.sample(generator) as architecture:
            drawn.add(architecture)
    assert len(drawn) > 3


@pytest.mark.parametrize("build", [elastic, named])
def test_without_a_block_a_call_is_refused(build: Callable[[], Supernet]) -> None:
    supernet = build()
    with pytest.raises(ConfigurationError, match=r"without gates.*supernet\.sample"):
        supernet(batch())
    with pytest.raises(ZeroDivisionError), supernet.sample(torch.Generator()):
        raise ZeroDivisionError
    with pytest.raises(ConfigurationError, match="without gates"):
        supernet(batch())
    with supernet.sample(torch.Generator()), pytest.raises(ConfigurationError, match="without gates"):
        build()(batch())  # another one


@pytest.mark.parametrize("build", [elastic, named])
def test_a_block_takes_an_architecture_in_every_form(build: Callable[[], Supernet]) -> None:
    supernet, x = build().eval(), batch()
    largest = supernet.space.architecture({choice.name: choice.options[-1] for choice in supernet.space.choices})
    gates = discrete(supernet.relaxation.encode(largest), dtype=torch.float64)
    outputs = []
    for given in (str(largest), largest, dict(largest), gates):
        with supernet.under(given):
            outputs.append(supernet(x))
    assert all(torch.equal(outputs[0], other) for other in outputs)
    name = next(iter(gates))
    for wrong, words in (
        (supernet.space, "is not an architecture of space"),
        ({other: gate for other, gate in gates.items() if other != name}, f"there is none of '{name}'"),
        (sw.spaces.conv_macro().own("smallest"), "belongs to space 'conv-macro'"),
    ):
        with pytest.raises(ConfigurationError, match=words), supernet.under(wrong):
            pass
    with pytest.raises(ConfigurationError, match=r"by a torch\.Generator on the CPU, got 3"), supernet.sample(3):  # type: ignore[arg-type]
        pass


def test_blocks_nest_and_belong_to_their_thread() -> None:
    supernet, x = elastic(), batch()
    smallest, largest = (
        supernet.space.architecture({c.name: c.options[i] for c in supernet.space.choices}) for i in (0, -1)
    )
    refused: list[BaseException] = []

    def elsewhere() -> None:
        try:
            supernet(x)
        except ConfigurationError as error:
            refused.append(error)

    with supernet.under(largest):
        before = supernet(x)
        with supernet.under(smallest):
            assert not torch.equal(before, supernet(x))
        assert torch.equal(before, supernet(x))
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert len(refused) == 1


@pytest.mark.parametrize("inside", [True, False])
def test_what_a_backward_pass_computes_again_sees_the_gates_of_its_forward_pass(inside: bool) -> None:
    supernet, x = elastic().train(), batch()

    def run() -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(5)
        with supernet.sample(generator) as first:
            one = supernet(x).square().mean()
            with supernet.sample(generator) as second:
                other = supernet(x).square().mean()
                if inside:
                    return gradients(supernet, one, other)
        assert first != second
        return gradients(supernet, one, other)

    plain = run()
    supernet.model.again = {"use_reentrant": False}
    assert same(plain, run())
    gc.collect()
    assert not own_loop._HOOKS._calls  # nothing is left behind
    supernet.model.again = None
    with supernet.sample(torch.Generator().manual_seed(5)):
        whole = checkpoint(supernet, x.clone(), use_reentrant=False).square().mean()
        kept = supernet(x).square().mean()
    assert same(gradients(supernet, kept), gradients(supernet, whole))


def test_what_cannot_be_told_is_refused() -> None:
    supernet, x = elastic().train(), batch()
    with supernet.sample(torch.Generator().manual_seed(0)):
        one = checkpoint(supernet, x, use_reentrant=False)
        with supernet.sample(torch.Generator().manual_seed(1)):
            other = checkpoint(supernet, x, use_reentrant=False)
    with pytest.raises(ConfigurationError, match="do not tell under which gates"):
        (one + other).sum().backward()
    supernet.model.again = {"use_reentrant": True}
    with supernet.sample(torch.Generator().manual_seed(0)):
        loss = supernet(x).sum()
    with pytest.raises(ConfigurationError, match="use_reentrant=False"):
        loss.backward()


def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        inputs = torch.randn(8, 4, generator=generator, dtype=torch.float64)
        yield inputs, (inputs.sum(1) > 0).long()


def searcher(supernet: Supernet, method: str = "tanglenas-gaea", **arguments: Any) -> sw.Searcher:
    recipe = sw.methods.build(method, {"epochs": 3, **arguments})
    return sw.Searcher(supernet, recipe, steps_per_epoch=4, seed=1, example=torch.zeros(2, 4, dtype=torch.float64))


def run_steps(search: sw.Searcher, stream: Iterator[tuple[Tensor, Tensor]], count: int) -> None:
    for _ in range(count):
        search.step(next(stream), next(stream))


@pytest.mark.parametrize(
    "method", ["tanglenas-gaea", "tanglenas-drnas", "darts", "gdas", "snas", "spos", "fairnas", "enas"]
)
@pytest.mark.parametrize("build", [elastic, named])
def test_steps_resume_to_the_bit(build: Callable[[], Supernet], method: str) -> None:
    if method == "fairnas" and build is elastic:
        pytest.skip("strict fairness wants as many options everywhere")
    arguments = {"controller_steps": 2, "controller_samples": 2} if method == "enas" else {}
    whole, stream = searcher(build(), method, **arguments), batches(0)
    run_steps(whole, stream, 5)
    kept, state = {k: v.clone() for k, v in whole.state.supernet.state_dict().items()}, whole.state_dict()
    state = torch.load(_stored(state), weights_only=True)
    run_steps(whole, stream, 4)
    again, rest = searcher(build(), method, **arguments), batches(0)
    for _ in range(10):
        next(rest)
    again.load_state_dict(state)
    assert all(torch.equal(kept[k], v) for k, v in again.state.supernet.state_dict().items())
    run_steps(again, rest, 4)
    for one, other in (
        (whole.state.supernet, again.state.supernet),
        (whole.state.distribution, again.state.distribution),
    ):
        assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())
    if whole.state.recipe.selection.reads_probabilities:
        assert whole.best() == again.best()
    else:
        with pytest.raises(ConfigurationError, match="held-out examples"):
            whole.best()


def _stored(content: dict[str, Any]) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return file


def test_the_loop_may_make_the_halves_itself() -> None:
    ours, stream = searcher(elastic()), batches(0)
    run_steps(ours, stream, 4)
    theirs, stream = searcher(elastic()), batches(0)
    supernet, optimizer = theirs.state.supernet, theirs.state.weight_optimizer
    for _ in range(4):
        (x, y), (held, targets) = next(stream), next(stream)
        with theirs.architecture():
            loss = F.cross_entropy(supernet(held), targets)
        loss.backward()
        theirs.move()
        optimizer.zero_grad(set_to_none=True)
        with theirs.weights():
            loss = F.cross_entropy(supernet(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(supernet.parameters(), 5.0)
        optimizer.step()
    assert theirs.state.step == ours.state.step == 4
    for one, other in ((ours.state.supernet, supernet), (ours.state.distribution, theirs.state.distribution)):
        for name, value in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("classes", "widths", "what"),
    [
        (5, [8, 16], r"leave\.weight of the supernet is \(5, 16\) in the state and \(3, 16\) here"),
        (3, [4, 8, 16], r"theta of the distribution is \(1, 3\) in the state and \(1, 2\) here"),
    ],
)
def test_a_state_of_other_sizes_is_named_and_not_loaded(classes: int, widths: list[int], what: str) -> None:
    def made(classes: int, widths: list[int]) -> sw.Searcher:
        model = Blocks()
        model.leave = nn.Linear(16, classes)
        choices = {"enter": sw.width(widths, name="stream")}
        return searcher(sw.elastic(model.double(), choices, example=torch.zeros(2, 4, dtype=torch.float64)))

    search = made(3, [8, 16])
    before = copy.deepcopy(search.state_dict())
    with pytest.raises(CheckpointError, match=what):
        search.load_state_dict(made(classes, widths).state_dict())
    after = search.state_dict()
    for part in ("supernet", "distribution"):
        assert all(torch.equal(value, after[part][name]) for name, value in before[part].items())


def test_misuse_is_named() -> None:
    stream = batches(0)
    search = searcher(elastic())
    with pytest.raises(ConfigurationError, match="second batch"):
        search.step(next(stream))
    with pytest.raises(ConfigurationError, match="follows a block"):
        search.move()
    with search.architecture():
        pass
    with pytest.raises(ConfigurationError, match="backward"):
        search.move()
    run_steps(search, stream, 12)
    assert search.done
    assert repr(search).splitlines()[0] == "Searcher"
    assert "12 of 12 steps" in repr(search)
    assert "12 of 12 steps" in search._repr_html_()
    with pytest.raises(ConfigurationError, match="12 steps"):
        search.step(next(stream), next(stream))
    with pytest.raises(ConfigurationError, match="example"):
        sw.Searcher(named(), sw.methods.spos(epochs=2))
    with pytest.raises(ConfigurationError, match=r"expected a recipe, got 'spos': give one such as"):
        sw.Searcher(elastic(), "spos")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"expected a supernet, got a Blocks: .* sharewise\.elastic"):
        sw.Searcher(Blocks(), sw.methods.spos())  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="no state of a searcher, since it lacks 'history'"):
        search.load_state_dict(search.state.supernet.state_dict())
    for part, wrong in [("history", None), ("history", [1]), ("history", [{}]), ("supernet", None), ("streams", 1)]:
        with pytest.raises(CheckpointError, match=f"no state of a searcher, since its '{part}'"):
            search.load_state_dict({**search.state_dict(), part: wrong})
    with pytest.raises(ConfigurationError, match="on its own"):
        searcher(elastic(), "r-darts")
