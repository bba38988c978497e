"""Small models that were once followed wrongly, or refused without words."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.importance import reorder
from sharewise.supernet.gate import Gate
from sharewise.supernet.structures import blank, shapes_of
from sharewise.testing import check_model


class Summing(nn.Module):
    """A module that sums over its hidden features, and once more in training."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 3)
        self.extra = True

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.up(x)
        if self.training and self.extra:
            hidden = hidden - hidden.mean(0, keepdim=True)
        return self.down(hidden - hidden.mean(-1, keepdim=True))


def _hidden(model: nn.Module, pattern: str = "up") -> sw.supernet.elastic.model.ElasticModel:
    return sw.elastic(model, {pattern: sw.width([4, 8], name="hidden")}, example=torch.randn(2, 4))


MIXED = {"hidden": Gate(torch.tensor([0.5, 0.5]), (0, 1))}
SMALL = {"hidden": Gate(torch.tensor([1.0, 0.0]), (0,), unit=True)}


def test_other_sums_in_training_are_refused_and_equal_ones_are_not() -> None:
    supernet = _hidden(Summing())
    supernet.train()
    with pytest.raises(ConfigurationError, match="sums over searched dimensions by other calls"):
        supernet(torch.randn(2, 4), MIXED)
    supernet(torch.randn(2, 4), SMALL)
    supernet.model.extra = False
    assert supernet(torch.randn(2, 4), MIXED).shape == (2, 3)


class Propertied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    @property
    def heads(self) -> int:
        return 2

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.heads


def test_a_setting_is_an_attribute_of_the_instance() -> None:
    model = nn.Sequential(Propertied())
    with pytest.raises(ConfigurationError, match="attribute of the instance"):
        sw.elastic(model, {"0": sw.setting("heads", [1, 2])}, example=torch.zeros(2, 4))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.up(x).chunk(2, -1)
        return self.down(a * b.sigmoid())


def test_a_fused_gated_layer_has_a_group() -> None:
    supernet, x = _hidden(Gated()), torch.randn(3, 4)
    before = supernet(x, {"hidden": Gate(torch.tensor([0.0, 1.0]), (1,), unit=True)})
    order = sw.sort_by_importance(supernet)
    assert len(order["hidden"]) == 4
    after = supernet(x, {"hidden": Gate(torch.tensor([0.0, 1.0]), (1,), unit=True)})
    assert torch.allclose(before, after, atol=1e-6)


def test_orders_are_checked_before_they_are_inverted() -> None:
    supernet = _hidden(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), "0")
    with pytest.raises(ConfigurationError, match="order of 'hidden'"):
        reorder(supernet, {"hidden": [0, 0, 1, 2, 3, 4, 5, 6]}, back=True)


def test_gradient_scores_pass_over_frozen_parameters() -> None:
    supernet = _hidden(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), "0")
    supernet.model[0].bias.requires_grad_(False)
    batch = (torch.randn(2, 4), torch.randn(2, 3))
    assert len(sw.sort_by_importance(supernet, "gradient", batches=[batch], loss=F.mse_loss)["hidden"]) == 8


@pytest.mark.parametrize("choices", [5, {"0": 5}, {"0": None}])
def test_garbage_is_named_without_strictness(choices: object) -> None:
    with pytest.raises(ConfigurationError):
        sw.elastic(nn.Sequential(nn.Linear(4, 4)), choices, example=torch.zeros(2, 4), strict=False)  # type: ignore[arg-type]


def test_what_a_model_brings_with_it_is_enough_without_strictness() -> None:
    model = nn.Sequential(sw.ElasticLinear(4, sw.width([4, 8], name="hidden")), nn.Linear(8, 3))
    assert sw.elastic(model, {}, example=torch.zeros(2, 4), strict=False).space.size == 2


def test_ratios_are_infinite_nowhere() -> None:
    with pytest.raises(ConfigurationError, match="ratio needs"):
        sw.ratio([1, float("inf")], of="hidden")


def test_blank_batches_of_several_arguments() -> None:
    shapes = shapes_of((torch.zeros(2, 3), torch.zeros(2, 4)))
    assert [tuple(x.shape) for x in blank(shapes, 5, integers=(False, True), floating=torch.float32)] == [
        (5, 3),
        (5, 4),
    ]


class Attending(nn.Module):
    """Attention with heads of eight features and with heads of four, in one module."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.fixed = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.scaled_dot_product_attention(self.query(x), self.key(x), x)
        return F.scaled_dot_product_attention(self.fixed(x), self.fixed(x), y)


@pytest.mark.parametrize(("sizes", "meet"), [([2, 4, 8], True), ([2, 8], False)])
def test_heads_that_can_be_taken_for_one_another_are_refused(sizes: list[int], meet: bool) -> None:
    given = {"query": sw.width(sizes, name="size")}
    if meet:
        with pytest.raises(ConfigurationError, match="more than once"):
            sw.elastic(Attending(), given, example=torch.randn(2, 5, 4))
    else:
        assert sw.elastic(Attending(), given, example=torch.randn(2, 5, 4)).space.size == len(sizes)


@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_a_softmax_of_a_mixture_has_the_precision_that_was_asked_for(dtype: torch.dtype | None) -> None:
    class Softmax(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 3)
            self.seen: torch.dtype | None = None

        def forward(self, x: Tensor) -> Tensor:
            weights = torch.softmax(self.up(x), -1, dtype=dtype)
            self.seen = weights.dtype
            return self.down(weights.to(self.down.weight.dtype))

    supernet = _hidden(Softmax())
    supernet(torch.randn(2, 4), MIXED)
    assert supernet.model.seen == (dtype or torch.float32)


def test_no_parameter_of_a_recurrence_is_absent_alone() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRU(4, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x)[0]

    with pytest.raises(ConfigurationError, match="cannot do without"):
        sw.elastic(Recurrent(), {"cell": sw.present("bias_ih_l0")}, example=torch.zeros(2, 3, 4))


def test_a_weight_norm_of_the_whole_is_weighed() -> None:
    def built(features: int) -> nn.Module:
        layer = nn.utils.parametrizations.weight_norm(nn.Linear(features, 3), dim=None)
        return nn.Sequential(nn.Linear(4, features), layer)

    supernet, x = _hidden(built(8), "0"), torch.randn(2, 4)
    small = supernet.plain(supernet.space.architecture({"hidden": 4})).eval()
    dense = {"hidden": Gate(torch.tensor([1.0, 0.0]), (0, 1))}
    assert torch.allclose(supernet.eval()(x, dense), small(x), atol=1e-5)


def test_a_depth_that_changes_how_many_features_are_returned_is_refused_in_words() -> None:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

        def forward(self, x: Tensor) -> list[Tensor]:
            found = []
            for block in self.blocks:
                x = block(x)
                found.append(x)
            return found

    with pytest.raises(ConfigurationError, match="tensors instead of"):
        sw.elastic(Features(), {"blocks.*": sw.depth([1, 2, 3])}, example=torch.zeros(2, 4))


def test_a_length_over_several_axes_is_weighed_over_all_of_them() -> None:
    class Normalising(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.down(F.normalize(self.up(x), dim=(1, 2)))  # type: ignore[arg-type]

    given = {"up": sw.width([4, 8], name="hidden")}
    supernet, x = sw.elastic(Normalising(), given, example=torch.randn(2, 5, 4)), torch.randn(2, 5, 4)
    dense = {"hidden": Gate(torch.tensor([1.0, 0.0]), (0, 1))}
    assert torch.allclose(supernet(x, dense), supernet(x, SMALL), atol=1e-5)


def test_what_depends_on_a_width_is_kept_with_it_without_strictness() -> None:
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    given = {
        "0": sw.ratio([1, 2], of="features"),
        "2": sw.width([4, 8], name="features"),
        "4": sw.width([2, 3], name="outputs"),  # which no model can do without
    }
    supernet = sw.elastic(model, given, example=torch.zeros(2, 4), strict=False)
    assert supernet.space.size == 4
    assert list(supernet.left) == ["4 (width)"]


class CastingHead(nn.Module):
    """Sums in float32 whatever comes in, as attention of language models does."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.float(), self.weight.float()).to(x.dtype)


def test_a_model_that_casts_by_itself_is_held_to_the_type_it_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    heads = {"float32": CastingHead(64, 3), "float64": nn.Linear(64, 3)}
    for computes_in, head in heads.items():
        model = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), head)
        supernet = sw.elastic(model, {"0": sw.width([13, 37, 64])}, example=torch.randn(5, 4))
        report = check_model(supernet, samples=6)
        assert report.computes_in == computes_in
        assert (report.continuity > 1e-12) == (computes_in == "float32")
        monkeypatch.setattr("sharewise.testing.elastic_contract._continuity", lambda *_: 1e-4)
        with pytest.raises(AssertionError, match=rf"differs from its slice by 0\.0001 in {computes_in}"):
            check_model(supernet, samples=6)
        monkeypatch.undo()
