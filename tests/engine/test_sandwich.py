"""The sandwich rule: one step equals the same step by hand, in the published order."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.data import digits, held_out
from sharewise.distribution import Constant, Offered, Uniform
from sharewise.engine import (
    Attention,
    Level,
    RankSampled,
    Recipe,
    Sandwich,
    SearchState,
    Summed,
    WeightOptimization,
    numerics,
    prepare,
    stream,
)
from sharewise.engine.alpha_divergence import AlphaDivergence
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.supernet import Gates, Supernet
from sharewise.testing import check_level, check_sampler


def elastic_network() -> sw.ElasticModel:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10)),
    )
    choices = {
        "0": sw.width([2, 4, 8], name="first"),
        "4": [sw.width([4, 8, 12], name="second"), sw.kernel([1, 3], name="taps")],
    }
    return sw.elastic(model, choices, example=torch.zeros(2, 1, 8, 8))


def prepared(supernet: Supernet, level: Level, paths: int = 4) -> SearchState:
    recipe = Recipe(
        name="by hand",
        distribution=Uniform(paths),
        level=level,
        roles=held_out(),
        selection=RankSampled(candidates=2),
        weights=WeightOptimization(Constant(0.1), momentum=0.0, weight_decay=0.0, gradient_clip=None),
        epochs=2,
        batch_size=16,
    )
    data = digits().limited(64, seed=0)
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    return prepare(supernet, recipe, roles, numerics=numerics("cpu", "float64"))


def drawn(state: SearchState) -> Sequence[Gates]:
    """The paths of the next step, whose generator stays where it is."""
    generator = torch.Generator()
    generator.set_state(state.generators["weights"].get_state())
    return state.distribution.draw(generator, state.phase("weights"))


def options(gates: Gates) -> dict[str, int]:
    return {name: gate.active[0] for name, gate in gates.items()}


def soft(outputs: Tensor, teacher: Tensor) -> Tensor:
    return -(teacher.softmax(-1) * outputs.log_softmax(-1)).sum(-1).mean()


@pytest.mark.parametrize("distil", [True, False])
def test_a_step_equals_the_same_step_by_hand(distil: bool) -> None:
    state = prepared(elastic_network(), Sandwich(distil=distil))
    twin, batch, paths = copy.deepcopy(state.supernet), state.next_batch("weights"), drawn(state)
    seen: list[dict[str, int]] = []
    hook = state.supernet.register_forward_pre_hook(lambda module, given: seen.append(options(given[1])))
    state.supernet.train()
    losses = state.recipe.level.weight_step(state, batch)
    hook.remove()

    largest, smallest = {"first": 2, "second": 2, "taps": 1}, {"first": 0, "second": 0, "taps": 0}
    assert seen == [largest, *(options(path) for path in paths[1:-1]), smallest]
    twin.train()
    order = [twin.space.architecture({c.name: c.options[i[c.name]] for c in twin.space.choices}) for i in seen]
    gates = [sw.supernet.discrete(twin.relaxation.encode(a), dtype=torch.float64) for a in order]
    first = twin(batch.inputs, gates[0])
    total = F.cross_entropy(first, batch.targets)
    assert float(losses["weights_loss"]) == pytest.approx(float(total.detach()), abs=1e-12)
    for each in gates[1:]:
        outputs = twin(batch.inputs, each)
        total = total + (soft(outputs, first.detach()) if distil else F.cross_entropy(outputs, batch.targets))
    total.backward()
    for name, value in twin.named_parameters():
        assert value.grad is not None
        moved = state.supernet.get_parameter(name)
        torch.testing.assert_close(moved, (value - 0.1 * value.grad).detach(), rtol=0, atol=1e-12, msg=name)


def test_summed_losses_are_added() -> None:
    supernet = elastic_network()
    state = prepared(supernet, Summed(), paths=2)
    twin, batch, paths = copy.deepcopy(state.supernet).train(), state.next_batch("weights"), drawn(state)
    state.supernet.train()
    state.recipe.level.weight_step(state, batch)
    sum(F.cross_entropy(twin(batch.inputs, path), batch.targets) for path in paths).backward()  # type: ignore[union-attr]
    for name, value in twin.named_parameters():
        if value.grad is not None:
            moved = state.supernet.get_parameter(name)
            torch.testing.assert_close(moved, (value - 0.1 * value.grad).detach(), rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize(
    ("level", "paths"),
    [
        (Sandwich(), 3),
        (Sandwich(attention=Attention(candidates=2)), 3),
        (Summed(), 2),
    ],
)
def test_levels_keep_their_contract(level: Level, paths: int) -> None:
    check_level(level, distribution=Uniform(paths))


def test_options_that_are_all_offered_are_drawn_uniformly() -> None:
    check_sampler(Offered(), draws=400)


@pytest.mark.parametrize(("best", "pick"), [(True, min), (False, max)])
def test_attention_trains_the_extreme_of_its_bin(best: bool, pick: object) -> None:
    state = prepared(elastic_network(), Sandwich(attention=Attention(best, candidates=3, bins=1)), paths=3)
    state.supernet.train()
    batch, target = state.next_batch("weights"), torch.zeros(())
    attention = state.recipe.level.attention  # type: ignore[attr-defined]
    losses: dict[tuple[int, ...], float] = {}

    def aim(outputs: Tensor, rows: slice) -> Tensor:
        loss = outputs.square().mean() + target
        losses[key] = float(loss.detach())
        return loss

    key: tuple[int, ...] = ()

    def remember(module: nn.Module, given: tuple[object, Gates]) -> None:
        nonlocal key
        key = tuple(options(given[1]).values())

    hook = state.supernet.register_forward_pre_hook(remember)
    chosen = attention.chosen(state, batch, drawn(state)[1], aim)
    hook.remove()
    assert len(losses) == 3
    assert losses[tuple(options(chosen).values())] == pick(losses.values())  # type: ignore[operator]
    assert state.ledger.entries["attention"].steps == 3


def test_the_alpha_divergence_forgives_neither_side() -> None:
    sure, unsure = torch.tensor([[6.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    for outputs, teacher in ((sure, unsure), (unsure, sure)):
        p, q = teacher.softmax(-1), outputs.softmax(-1)
        left = (q * ((q / p).clamp(max=5) - 1)).sum() / 2
        right = (p * (p / q).log()).sum()
        assert float(AlphaDivergence().of(outputs, teacher)) == pytest.approx(float(max(left, right)), rel=1e-5)
    assert float(AlphaDivergence().of(sure, sure)) == pytest.approx(0.0, abs=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"draws 1 path; use Uniform\(paths=4\)"):
        prepared(elastic_network(), Sandwich(), paths=1)
    with pytest.raises(ConfigurationError, match="random_paths must not be negative, got -1"):
        build("sandwich", {"random_paths": -1})
    with pytest.raises(ConfigurationError, match="attention"):
        build("attentive-nas", {"attention": "sideways"})
    with pytest.raises(ConfigurationError, match="neither of them 0"):
        build("alphanet", {"alpha_most": 0.0})


def test_the_rule_trains_a_model_of_ones_own() -> None:
    recipe = build("sandwich", {"epochs": 1, "batch_size": 16, "candidates": 2})
    result = sw.search(elastic_network(), recipe, digits().limited(48, seed=0), device="cpu")
    assert set(result.architecture) == {"first", "second", "taps"}
    [epoch] = [record for record in result.state.history if record["event"] == "epoch"]
    assert epoch["weights_loss"] > 0
