"""Networks that compute at once against each of them alone: outputs, gradients, statistics, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, final

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from sharewise.errors import ConfigurationError
from sharewise.space import sample
from sharewise.spaces import load
from sharewise.spaces.nasbench201.network import Network
from sharewise.supernet.layout import is_channels_last
from sharewise.supernet.side_by_side import SideBySide


def cells(count: int, different: bool = True) -> list[nn.Module]:
    """Networks of NAS-Bench-201, among them with dead edges."""
    space, rng = load("nasbench201"), np.random.default_rng(3)
    names = [str(sample(space, rng)) for _ in range(count)]
    made = []
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        made.append(Network(name if different else names[0], (3, 8, 8), 5, 4, 1).double().train())
    return list(made)


class Assorted(nn.Module):
    """Every function that has a common form, among them one that reads the same tensor twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, width, 1), nn.Conv2d(3, 2, 3, padding=1, bias=False)
        self.norm, self.pool, self.still = nn.BatchNorm2d(width + 2), nn.MaxPool2d(2), nn.Dropout(0.0)
        self.last, self.head = nn.Linear(width + 2, 4, bias=False), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([torch.relu(self.one(x)), self.two(x)], dim=1)
        y = self.still(self.pool(self.norm(both + both)))
        y = y + torch.zeros_like(y)
        return self.head(self.last(F.relu(y).mean((2, 3)))).flatten(1)  # type: ignore[no-any-return]


def assorted(count: int) -> list[nn.Module]:
    torch.manual_seed(0)
    return [Assorted(3 + seed % 2).double().train() for seed in range(count)]


def images(n: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradients(networks: list[nn.Module], together: SideBySide) -> list[list[Tensor | None]]:
    """Of every parameter of every network; `None` where none arrived."""
    found: list[dict[int, Tensor | None]] = [dict.fromkeys(map(id, network.parameters())) for network in networks]
    for weight, owners, parts in zip(together.weights, together.owners, together.parts, strict=True):
        for row, (owner, part) in enumerate(zip(owners.tolist(), parts, strict=True)):
            found[owner][id(part)] = None if weight.grad is None else weight.grad[row]
    return [list(of.values()) for of in found]


@pytest.mark.parametrize("shared", [True, False], ids=["one batch", "a batch each"])
@pytest.mark.parametrize("make", [cells, assorted, lambda n: cells(n, different=False)], ids=["cells", "any", "equal"])
def test_outputs_gradients_and_statistics_are_those_of_each_alone(
    make: Callable[[int], list[nn.Module]], shared: bool
) -> None:
    together, alone = make(5), make(5)
    inputs = [images(seed=0 if shared else seed) for seed in range(5)]
    batch = SideBySide(together, images(2))
    found = batch(inputs[0] if shared else inputs)
    torch.autograd.backward([y.square().sum() + y[:, 0].sum() for y in found])
    for network, x, y in zip(alone, inputs, found, strict=True):
        expected = network(x)
        torch.testing.assert_close(y, expected, atol=1e-12, rtol=1e-12)
        (expected.square().sum() + expected[:, 0].sum()).backward()
    for network, other, own in zip(alone, together, gradients(together, batch), strict=True):
        for (name, parameter), gradient in zip(network.named_parameters(), own, strict=True):
            assert (parameter.grad is None) == (gradient is None), name
            if gradient is not None:
                torch.testing.assert_close(gradient, parameter.grad, atol=1e-10, rtol=1e-10)
        for (name, value), (_, same) in zip(network.state_dict().items(), other.state_dict().items(), strict=True):
            torch.testing.assert_close(value, same, atol=1e-12, rtol=1e-12, msg=name)


def test_in_evaluation_mode_running_statistics_are_used_and_kept() -> None:
    together = [network.eval() for network in cells(3)]
    before = copy.deepcopy([network.state_dict() for network in together])
    expected = [network(images()) for network in together]
    found = SideBySide(together, images(2))(images())
    for y, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(y, wanted, atol=1e-12, rtol=1e-12)
    for network, state in zip(together, before, strict=True):
        assert all(bool((value == state[name]).all()) for name, value in network.state_dict().items())


def test_networks_hold_the_rows_that_move() -> None:
    networks = cells(3, different=False)
    together = SideBySide(networks, images(2))
    with torch.no_grad():
        for weight in together.weights:
            weight.mul_(1.5)
    for y, network in zip(together(images()), networks, strict=True):
        torch.testing.assert_close(y, network(images()), atol=1e-12, rtol=1e-12)


def test_equal_networks_make_as_many_operations_as_one_and_gather_nothing() -> None:
    count = [len(SideBySide(cells(k, different=False), images(2))._operations) for k in (1, 8)]
    assert count[0] == count[1]
    together = SideBySide(cells(8, different=False), images(2))
    assert all(rows is None for cuts in together._cuts for rows in cuts)


@final
class _Formats(TorchDispatchMode):
    """Images that operations make which are not stored with channels last, by operation."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        made = function(*arguments, **(named or {}))
        if isinstance(made, Tensor) and made.dim() == 4 and not is_channels_last(made):
            self.others.append(str(function))
        return made


def test_gray_images_leave_all_that_is_made_of_them_with_channels_last() -> None:
    """Torch cannot tell how images of one channel lie, and joins them as if channels lay outermost."""
    name = str(sample(load("nasbench201"), np.random.default_rng(3)))
    networks = [Network(name, (1, 8, 8), 5, 4, 1).to(memory_format=torch.channels_last) for _ in range(3)]  # type: ignore[call-overload]
    inputs = [images(seed=seed)[:, :1].float() for seed in range(3)]
    together = SideBySide(networks, inputs[0])
    with _Formats() as formats:
        together(inputs)
    assert formats.others == ["aten.cat.default"]


def test_different_cells_run_in_fewer_operations_than_one_by_one() -> None:
    networks = cells(16)
    apart = sum(len(SideBySide([network], images(2))._operations) for network in networks)
    assert len(SideBySide(cells(16), images(2))._operations) < apart / 3


def test_a_frozen_weight_gets_no_gradient() -> None:
    networks = cells(2, different=False)
    for network in networks:
        next(network.parameters()).requires_grad_(False)
    together = SideBySide(networks, images(2))
    torch.autograd.backward([y.sum() for y in together(images())])
    assert [weight.requires_grad for weight in together.weights].count(False) == 1
    assert gradients(networks, together)[1][0] is None


def _hooked() -> nn.Module:
    layer = nn.Conv2d(3, 2, 1)
    layer.register_forward_hook(lambda *_: None)
    return nn.Sequential(layer)


def _tied() -> nn.Module:
    layer = nn.Conv2d(3, 3, 1)
    return nn.Sequential(layer, nn.ReLU(), layer)


def _overridden() -> nn.Module:
    layer = nn.ReLU()
    layer.forward = lambda x: x + 1  # type: ignore[method-assign, assignment]
    return nn.Sequential(layer)


def _hooked_whole() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 2, 1))
    network.register_forward_hook(lambda *_: None)
    return network


def _unmoved() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    norm.track_running_stats = False
    return nn.Sequential(norm)


class _Written(nn.Module):
    def __init__(self, forward: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.written = forward
        self.layer = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> object:
        return self.written(self.layer(x))


REFUSED = {
    "chance": lambda: nn.Sequential(nn.Dropout(0.5)),
    "a cumulative average": lambda: nn.Sequential(nn.BatchNorm2d(3, momentum=None)),  # type: ignore[arg-type]
    "in place": lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True)),
    "reflection": lambda: nn.Sequential(nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect")),
    "a hook": _hooked,
    "a hook of the whole": _hooked_whole,
    "a forward of its own": _overridden,
    "statistics that are kept and do not move": _unmoved,
    "one weight twice": _tied,
    "a norm over channels": lambda: nn.Sequential(nn.GroupNorm(1, 3)),
    "features that are no vector": lambda: nn.Sequential(nn.Linear(8, 2)),
    "another flattening": lambda: nn.Sequential(nn.Flatten(2)),
    "a pair from one layer": lambda: nn.Sequential(nn.MaxPool2d(2, return_indices=True)),
    "several outputs": lambda: _Written(lambda y: (y, y)),
    "control flow": lambda: _Written(lambda y: y if y.sum() > 0 else -y),
    "channels that meet": lambda: _Written(lambda y: y.mean(1)),
    "a broadcast": lambda: _Written(lambda y: y + y.mean((2, 3), keepdim=True)),
    "a number": lambda: _Written(lambda y: y + 1),
    "another side": lambda: _Written(lambda y: torch.cat([y, y], dim=2)),
    "a scaled sum": lambda: _Written(lambda y: torch.add(y, y, alpha=2)),
}


def test_pooling_over_channels_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no form"):
        SideBySide([nn.Sequential(nn.AvgPool2d(2)) for _ in range(2)], torch.ones(2, 4, 6))


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_common_form_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SideBySide([REFUSED[name](), REFUSED[name]()], images(2).float())
    assert "\n" not in str(caught.value)


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.tanh = nn.Conv2d(3, 3, 1), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.relu(x)) + self.layer(self.tanh(x))  # type: ignore[no-any-return]


def test_a_weight_that_one_network_alone_uses_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="share"):
        SideBySide([_Twice(), nn.Sequential(nn.ReLU())], images(2).float())
