"""RMSProp with the semantics of TensorFlow 1, in which the networks of NAS-Bench-101 were trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

__all__ = ["RootMeanSquare"]


@final
class RootMeanSquare(Optimizer):
    """RMSProp: every weight moves by its gradient over the root of a running mean of its square.

    With gradient g, weight decay λ, learning rate η, decay ρ and momentum μ, from s = 1 and m = 0::

        g ← g + λ w
        s ← ρ s + (1 - ρ) g²
        m ← μ m + η g / √(s + ε)
        w ← w - m

    torch's own RMSprop begins with s = 0, adds ε outside the root and multiplies η after the momentum. With the ε = 1
    of NAS-Bench-101 these are different methods: here the root is √2 at first and hardly less than 1 later, so that
    steps are nearly those of gradient descent.

    Args:
        parameters: to be moved; those without a gradient rest, with s and m.
        lr: η.
        decay: ρ.
        epsilon: ε.
        momentum: μ.
        weight_decay: λ.

    Example:
        >>> w = Parameter(torch.tensor([1.0]))
        >>> optimizer = RootMeanSquare([w], lr=0.5, decay=0.9, epsilon=1.0, momentum=0.0, weight_decay=0.0)
        >>> w.grad = torch.tensor([1.0])
        >>> optimizer.step()
        >>> w  # 1 - 0.5 / √(0.9 + 0.1 + 1)
        Parameter containing:
        tensor([0.6464], requires_grad=True)

    References:
        T. Tieleman and G. Hinton, *Lecture 6.5: RMSProp*, Coursera, 2012; TensorFlow 1, `tf.train.RMSPropOptimizer`;
        C. Ying et al., *NAS-Bench-101*, ICML 2019, appendix.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        *,
        lr: float,
        decay: float,
        epsilon: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        super().__init__(
            parameters,
            {"lr": lr, "decay": decay, "epsilon": epsilon, "momentum": momentum, "weight_decay": weight_decay},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; a closure is called first, with gradients enabled."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [w for w in group["params"] if w.grad is not None]
            if moving:
                self._move(moving, group)
        return loss

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """All weights at once: a few operations on lists instead of a few for each."""
        for w in weights:
            if w not in self.state:
                self.state[w] = {"square": torch.ones_like(w), "momentum_buffer": torch.zeros_like(w)}
        squares = [self.state[w]["square"] for w in weights]
        moments = [self.state[w]["momentum_buffer"] for w in weights]
        gradients = torch._foreach_add([w.grad for w in weights], weights, alpha=group["weight_decay"])  # type: ignore[misc]
        torch._foreach_mul_(squares, group["decay"])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["decay"])
        roots = torch._foreach_add(squares, group["epsilon"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(moments, group["momentum"])
        torch._foreach_addcdiv_(moments, gradients, roots, group["lr"])
        torch._foreach_sub_(weights, moments)
