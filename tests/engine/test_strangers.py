"""Pieces that a stranger brings: a few lines each, judged by themselves, and joined to any recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import pytest
import torch
from torch import Tensor

from sharewise.cost import Parameters, SupernetCost
from sharewise.data import Role, digits
from sharewise.distribution import (
    Blueprint,
    Bounded,
    Expectation,
    Factored,
    Gradient,
    Joined,
    Learned,
    Setting,
    Simplex,
    Uniform,
)
from sharewise.engine import (
    AdamOptimization,
    Alternating,
    AnchorPenalty,
    Constant,
    EntropyPenalty,
    ExpectedCost,
    Level,
    Limit,
    Linear,
    Losses,
    Mode,
    Penalty,
    Recipe,
    Reward,
    SearchState,
    Selected,
    Selection,
    Stage,
    Surgery,
    Unrolled,
    WeightDecay,
    WeightOptimization,
    architecture_step,
    numerics,
    prepare,
    run,
    stream,
)
from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS, build
from sharewise.run import build_supernet
from sharewise.spaces import load
from sharewise.testing import check_method


@final
@dataclass(frozen=True)
class LogitPenalty(Penalty):
    """β-DARTS: λ(t) · mean over decisions of log Σ exp α, with λ growing from 0 to 50 over the epochs."""

    strength: Setting

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        return distribution.theta.masked_fill(~distribution.mask, -torch.inf).logsumexp(dim=-1).mean()


GROWING = Linear(0.0, 50.0)


def state_of(recipe: Recipe, space: str = "toy-two-inputs") -> SearchState:
    dataset = digits().limited(64, seed=0)
    supernet = build_supernet(load(space), dataset.input_shape, 10)
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    return prepare(supernet, recipe, data, numerics=numerics("cpu", "float64"))


def with_penalties(*penalties: Penalty, **arguments: Any) -> Recipe:
    return replace(build("darts", {"epochs": 5, "batch_size": 16, **arguments}), penalties=penalties)


@pytest.mark.parametrize(("epoch", "strength"), [(0, 0.0), (1, 12.5), (4, 50.0)])
def test_a_growing_strength_is_taken_at_its_epoch(epoch: int, strength: float) -> None:
    gradients = []
    for penalties in ((), (LogitPenalty(GROWING),)):
        state = state_of(with_penalties(*penalties, exclude=("none",)))
        state.epoch = epoch
        architecture_step(state)
        assert isinstance(state.distribution, Factored)
        assert state.distribution.theta.grad is not None
        gradients.append(state.distribution.theta.grad)
    fresh, last = state_of(with_penalties()).distribution, state.distribution
    assert isinstance(fresh, Factored)
    assert isinstance(last, Factored)
    expected = strength * torch.softmax(fresh.theta.detach().masked_fill(~last.mask, -torch.inf), -1) / len(last.mask)
    torch.testing.assert_close(gradients[1] - gradients[0], expected, rtol=1e-9, atol=1e-12)


def test_a_search_with_it_keeps_the_contract() -> None:
    check_method(with_penalties(LogitPenalty(GROWING), WeightDecay()), load("toy-two-inputs"))
    free, held = (state_of(with_penalties(*p, architecture_learning_rate=0.1)) for p in ((), (LogitPenalty(GROWING),)))
    for state in (free, held):
        run(state)
    entropies = [state.distribution.entropy() or 0.0 for state in (free, held)]
    assert entropies[1] > entropies[0], "the penalty holds large logits down, as β-DARTS says"


@pytest.mark.parametrize("penalty", [WeightDecay, EntropyPenalty, ExpectedCost])
def test_every_strength_may_be_a_schedule(penalty: type[Any]) -> None:
    state = state_of(with_penalties(penalty(Linear(0.0, 2.0))), "nasbench201")
    assert isinstance(state.distribution, Factored)
    values = []
    for epoch in range(5):
        state.epoch = epoch
        value = penalty(Linear(0.0, 2.0))(state.distribution, state.costs, state.phase("architecture"))
        values.append(float(value.detach()))
    constant = float(penalty(1.0)(state.distribution, state.costs, state.phase("architecture")).detach())
    assert constant != 0
    assert values == pytest.approx([constant * s for s in (0.0, 0.5, 1.0, 1.5, 2.0)], rel=1e-12)


@pytest.mark.parametrize(
    ("base", "change", "words"),
    [
        ("darts", {"penalties": (LogitPenalty(Linear(1.0, -1.0)),)}, ["strength of penalty LogitPenalty", "epoch 2"]),
        ("darts", {"penalties": (WeightDecay(Constant(float("nan"))),)}, ["strength of penalty WeightDecay", "nan"]),
        ("darts", {"penalties": (AnchorPenalty(),)}, ["AnchorPenalty", "geometry Concentrations", "not SoftmaxLogits"]),
        ("enas", {"penalties": (LogitPenalty(GROWING),)}, ["independent decisions", "Autoregressive", "remove"]),
        ("darts-second-order", {"weights": AdamOptimization(Constant(0.1))}, ["Unrolled", "AdamOptimization"]),
        ("darts", {"level": Reward()}, ["level Reward", "SoftmaxLogits × Expectation", "ScoreFunction"]),
        ("enas", {"level": Alternating()}, ["level Alternating", "weights of gates", "Autoregressive", "Expectation"]),
        ("darts", {"weights": WeightOptimization(Linear(0.1, -0.1))}, ["learning rate", "not negative", "epoch 2"]),
    ],
)  # fmt: skip
def test_what_clashes_is_refused(base: str, change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        replace(build(base, {"epochs": 4}), **change)
    for word in words:
        assert word in str(caught.value)


class RefusalError(ConfigurationError):
    """What the pieces below raise."""


@dataclass(frozen=True)
class OwnLevel(Level):
    gradient: ClassVar[Gradient | None] = "path"
    roles: ClassVar[tuple[Role, ...]] = ("weights", "architecture")

    def step(self, state: SearchState, *, architecture: bool) -> Losses:
        return self.weight_step(state)

    def fits(self, recipe: Recipe) -> None:
        raise RefusalError("level")


@dataclass(frozen=True)
class OwnBlueprint(Blueprint):
    gradient: Gradient = "path"

    def build(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def fits(self, recipe: Joined) -> None:
        raise RefusalError(f"distribution in {recipe.epochs} epochs")


@dataclass(frozen=True)
class OwnSelection(Selection):
    reads_probabilities: bool = False

    def select(self, state: SearchState) -> Selected:
        raise NotImplementedError

    def fits(self, recipe: Recipe) -> None:
        raise RefusalError("selection")


@dataclass(frozen=True)
class OwnPenalty(Penalty):
    strength: Setting = 1.0

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        return distribution.theta.sum()

    def fits(self, recipe: Recipe) -> None:
        raise RefusalError("penalty")


@dataclass(frozen=True)
class OwnSurgery(Surgery):
    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        return {}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        """Nothing."""

    def fits(self, recipe: Recipe) -> None:
        raise RefusalError("surgery")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"level": OwnLevel()}, "level"),
        ({"distribution": OwnBlueprint(), "penalties": ()}, "distribution in 50 epochs"),
        ({"selection": OwnSelection()}, "selection"),
        ({"penalties": (OwnPenalty(),)}, "penalty"),
        ({"stages": (Stage(operations=(OwnSurgery(),)),)}, "surgery"),
    ],
)
def test_every_kind_of_piece_is_asked(change: dict[str, Any], word: str) -> None:
    with pytest.raises(RefusalError, match=word):
        replace(build("darts"), **change)


def test_limits_and_optimisers_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for kind in (Limit, WeightOptimization):
        monkeypatch.setattr(kind, "fits", lambda self, recipe: asked.append(type(self).__name__))
    replace(build("darts"), limits=(Limit(Parameters(), 1e6),))
    assert {"Limit", "WeightOptimization"} <= set(asked)


@pytest.mark.parametrize("method", list(METHODS))
def test_a_level_is_its_two_halves(method: str) -> None:
    """Each half moves its own side; a level without a step on θ alone says so and does nothing."""
    recipe = build(method).shortened()
    state = state_of(recipe)
    w, theta = ({n: v.clone() for n, v in m.named_parameters()} for m in (state.supernet, state.distribution))
    place = repr(state.streams["weights"].state_dict())
    losses = recipe.level.architecture_step(state)
    assert all(torch.equal(v, w[n]) for n, v in state.supernet.named_parameters())
    if losses is None:
        assert all(torch.equal(v, theta[n]) for n, v in state.distribution.named_parameters())
        assert state.moves == 0
        assert repr(state.streams["weights"].state_dict()) == place
    else:
        assert state.moves == 1
        assert all(torch.isfinite(loss) for loss in losses.values())
    before = {n: v.clone() for n, v in state.distribution.named_parameters()}
    assert recipe.level.weight_step(state).keys() == {"weights_loss"}
    assert all(torch.equal(v, before[n]) for n, v in state.distribution.named_parameters())
    assert not all(torch.equal(v, w[n]) for n, v in state.supernet.named_parameters())


def test_the_look_ahead_uses_the_batch_that_the_weights_then_use() -> None:
    state = state_of(build("darts-second-order", {"epochs": 2, "batch_size": 16}))
    seen: list[Tensor] = []
    state.supernet.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    assert isinstance(state.recipe.level, Unrolled)
    state.recipe.level.step(state, architecture=True)
    assert torch.equal(seen[0], seen[-1])
    assert not torch.equal(seen[0], seen[1])


def test_schedules_have_one_check() -> None:
    assert Bounded(0.0).check("rate") is None  # type: ignore[func-returns-value]
    with pytest.raises(ConfigurationError, match="the rate must be positive and finite, got 0"):
        Bounded(0.0, positive=True).check("rate")
    with pytest.raises(ConfigurationError, match="the dropout must be not negative and below 1, got 1"):
        Bounded(Linear(0.0, 1.0), below=1.0).check("dropout", 3)
    recipe = build("spos", {"epochs": 3})
    too_often = Uniform(path_dropout=Linear(0.0, 1.5))
    with pytest.raises(ConfigurationError, match=r"the path dropout must be .* below 1, got 1\.5 in epoch 2"):
        replace(recipe, distribution=too_often)


def test_shortened_recipes_are_short() -> None:
    for method in METHODS:
        recipe = build(method).shortened()
        assert recipe.epochs <= max(2, len(recipe.stages))
        assert recipe.batch_size <= 16
        assert recipe.shortened() == recipe
        assert getattr(recipe.selection, "candidates", 3) <= 3
    assert Reward(steps=50, samples=20).shortened() == Reward(steps=2, samples=2)
    assert Mode().shortened() == Mode()
    assert Learned(Simplex(), Expectation()).shortened() == Learned(Simplex(), Expectation())
