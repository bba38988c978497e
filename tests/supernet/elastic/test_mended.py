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
