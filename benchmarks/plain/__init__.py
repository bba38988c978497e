"""Plain stand-ins for the peers of the table of speed: search steps as their authors write them.

An operation is a module and an edge a sum, weights of options multiply what operations put out, nothing is shared and
nothing left out. Each file is written from the equations, in the order of its peer's steps: a weight step also computes
the gradient of the architecture parameters, which hang in the graph, and an architecture step that of the weights.

A stand-in holds its parameters in the order of the supernet that it stands beside, so that `Peer.take` copies them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Peer", "Zero", "mixed", "rows"]

MOMENTUM, WEIGHT_DECAY, CLIP = 0.9, 3e-4, 5.0


class Zero(nn.Module):
    """The operation `none`: zeros of the shape that a stride leaves."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, c, h, w)` to zeros."""
        return (x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]).mul(0.0)


def mixed(operations: Iterable[nn.Module], weights: Iterable[Tensor], x: Tensor) -> Tensor:
    """Σ_o w_o · o(x), one operation after the other."""
    total: Tensor = sum(w * operation(x) for w, operation in zip(weights, operations, strict=True))  # type: ignore[assignment]
    return total


def rows(count: int, options: int) -> nn.Parameter:
    """Architecture parameters of so many edges."""
    generator = torch.Generator().manual_seed(0)
    return nn.Parameter(1e-3 * torch.randn(count, options, generator=generator))


@dataclass
class Peer:
    """A network and its architecture parameters under two optimisers.

    Args:
        network: without architecture parameters; its forward takes images and them.
        theta: architecture parameters.
        shared: the weights that the supernet beside it has too, in its order; all of them by default.
        rate: of the weights.
    """

    network: nn.Module
    theta: Sequence[nn.Parameter]
    shared: Sequence[nn.Parameter] = ()
    rate: float = 0.025
    weights: torch.optim.SGD = field(init=False)
    architecture: torch.optim.Adam = field(init=False)

    def __post_init__(self) -> None:
        self.weights = torch.optim.SGD(
            self.network.parameters(), self.rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        self.architecture = torch.optim.Adam(self.theta, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
        self.shared = self.shared or list(self.network.parameters())

    def take(self, supernet: nn.Module) -> None:
        """Copy the weights of a supernet."""
        with torch.no_grad():
            for own, theirs in zip(self.shared, supernet.parameters(), strict=True):
                own.copy_(theirs)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of a batch."""
        return F.cross_entropy(self.network(inputs, *self.theta), targets)

    def weight_step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One clipped step on w."""
        self.weights.zero_grad()
        loss = self.loss(inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.weights.step()
        return loss

    def architecture_step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One step on θ of first order, whose backward pass reaches the weights too."""
        self.architecture.zero_grad()
        loss = self.loss(inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.architecture.step()
        return loss

    def path_step(self, forward: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        """One clipped step on w along one path, which `forward` takes."""
        self.weights.zero_grad()
        loss = F.cross_entropy(forward(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.weights.step()
        return loss

    def unrolled_step(
        self, train: tuple[Tensor, Tensor], batch: tuple[Tensor, Tensor], radius: float = 0.01
    ) -> list[Tensor]:
        """One step on θ of second order, by the finite difference of the paper; w is what it was.

        Returns:
            The gradients of θ.
        """
        w = list(self.network.parameters())
        self.network.zero_grad()
        ahead = [p.detach().clone() for p in w]
        gradients = torch.autograd.grad(self.loss(*train), w)
        with torch.no_grad():
            for p, g in zip(w, gradients, strict=True):
                buffer = self.weights.state[p].get("momentum_buffer")
                moved = g + WEIGHT_DECAY * p
                p -= self.rate * (moved if buffer is None else moved + MOMENTUM * buffer)
        both = torch.autograd.grad(self.loss(*batch), [*self.theta, *w])
        direct, v = list(both[: len(self.theta)]), both[len(self.theta) :]
        epsilon = radius / torch.cat([g.reshape(-1) for g in v]).norm()
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                for p, start, g in zip(w, ahead, v, strict=True):
                    p.copy_(start + sign * epsilon * g)
            sides.append(torch.autograd.grad(self.loss(*train), self.theta))
        with torch.no_grad():
            for p, start in zip(w, ahead, strict=True):
                p.copy_(start)
        found = [d - self.rate * (a - b) / (2 * epsilon) for d, a, b in zip(direct, *sides, strict=True)]
        for parameter, gradient in zip(self.theta, found, strict=True):
            parameter.grad = gradient
        self.architecture.step()
        return found
