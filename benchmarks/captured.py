"""The forward and backward pass of a weight step as one CUDA graph, where the active options never change.

A graph is launched at once, where a step of a small network waits for the launches of thousands of kernels. Gates,
images and targets are copied into the tensors that the graph reads; the draw, clipping and the optimiser stay outside.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sharewise.data import Batch
from sharewise.engine import SearchState, weight_step
from sharewise.engine.step import leaves_of, move_weights, weight_draws
from sharewise.supernet import Gates

__all__ = ["CapturedPass", "captured_step", "largest_difference"]

_WARM = 3
"""Passes before the capture, which the documentation of torch asks for; what they change is put back."""


class CapturedPass:
    """Captures at construction; a call replays.

    Args:
        state: of a search or training on a CUDA device, with weights that stay where they are.
        batch: of the size of all to come.
        gates: of one path, with the active options of all to come.
    """

    def __init__(self, state: SearchState, batch: Batch, gates: Gates) -> None:
        self.state = state
        self.inputs, self.targets = batch.inputs.clone(), batch.targets.clone()
        leaves = leaves_of(state, gates, differentiable=False)
        self.leaves = {name: replace(gate, weights=gate.weights.clone()) for name, gate in leaves.items()}
        before = [buffer.clone() for buffer in state.supernet.buffers()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM):
                self._passed()
        torch.cuda.current_stream().wait_stream(side)
        for buffer, value in zip(state.supernet.buffers(), before, strict=True):
            buffer.copy_(value)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = self._passed()
        self.gradients = [(p, p.grad) for p in state.supernet.parameters() if p.grad is not None]

    def _passed(self) -> Tensor:
        self.state.weight_optimizer.zero_grad(set_to_none=True)
        with self.state.numerics.autocast():
            loss = self.state.loss(self.state.supernet(self.inputs, self.leaves), self.targets)
        torch.autograd.backward(loss)
        return loss.detach()

    def __call__(self, batch: Batch, gates: Gates) -> Tensor:
        """The loss; gradients lie where the optimiser looks for them."""
        self.inputs.copy_(batch.inputs, non_blocking=True)
        self.targets.copy_(batch.targets, non_blocking=True)
        for name, gate in self.leaves.items():
            if gates[name].active != gate.active:
                raise ValueError(f"captured with options {gate.active} of {name!r}, called with {gates[name].active}")
            gate.weights.copy_(gates[name].weights, non_blocking=True)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.loss.clone()


def captured_step(state: SearchState, passes: dict[int, CapturedPass]) -> Tensor:
    """A weight step by a graph, which the first one captures; as `sharewise.engine.weight_step`, but for the ledger.

    Args:
        state: of the search.
        passes: captured ones by the identity of their state.
    """
    batch = state.next_batch("weights")
    [gates] = weight_draws(state)
    if id(state) not in passes:
        passes[id(state)] = CapturedPass(state, batch, gates)
    return move_weights(state, [passes[id(state)](batch, gates)])


def largest_difference(plain: SearchState, captured: SearchState, steps: int = 3) -> float:
    """Between weights and statistics after a few steps, plain and captured.

    Args:
        plain: at step 0.
        captured: another one of the same search, which takes the weights and θ of the first.
        steps: to make.
    """
    captured.supernet.load_state_dict(plain.supernet.state_dict())
    captured.distribution.load_state_dict(plain.distribution.state_dict())
    passes: dict[int, CapturedPass] = {}
    for _ in range(steps):
        weight_step(plain)
        captured_step(captured, passes)
    pairs = zip(plain.supernet.state_dict().values(), captured.supernet.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
