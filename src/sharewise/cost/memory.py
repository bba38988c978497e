"""Memory: what training a network keeps, found without computing anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from sharewise.cost.replica import shape_copy
from sharewise.supernet.structures import blank, call

__all__ = ["TrainingMemory", "training_memory"]


@final
@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one training step.

    Args:
        parameters: and buffers.
        gradients: of trainable parameters.
        optimizer: state of the optimiser.
        activations: what the forward pass keeps for the backward pass, of the whole batch.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of them, which is nearly the peak: the last activations meet the first gradients."""
        return self.parameters + self.gradients + self.optimizer + self.activations

    def to_json(self) -> dict[str, int]:
        """Plain numbers by name."""
        return {**asdict(self), "total": self.total}


def training_memory(
    network: nn.Module,
    input_shape: Any,
    batch_size: int,
    *,
    integers: Any = False,
    optimizer_states: int = 1,
) -> TrainingMemory:
    """Foresee the memory of a training step from shapes alone.

    Tensors that are kept for the backward pass are those that autograd would keep, each storage once; parameters are
    not counted again. What a kernel needs while it runs is left out; attention keeps its matrix of weights, which
    fused kernels do not.

    Args:
        network: takes one tensor of inputs, or several by keyword; it is not touched.
        input_shape: of one example; by name where there are several inputs.
        batch_size: examples per step.
        integers: whether inputs are indices, likewise.
        optimizer_states: tensors that the optimiser keeps per parameter: 1 for momentum, 2 for Adam.

    Example:
        >>> training_memory(nn.Sequential(nn.Linear(3, 8), nn.ReLU()), (3,), 10).activations == 4 * 10 * (3 + 8)
        True
    """
    replica = shape_copy(network).train()
    trainable = sum(_bytes(p) for p in replica.parameters() if p.requires_grad)
    held = [*replica.parameters(), *replica.buffers()]
    kept = {tensor.untyped_storage()._cdata: 0 for tensor in replica.parameters()}
    alive = []  # so that no address of a storage comes twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        alive.append(storage)
        kept.setdefault(storage._cdata, storage.nbytes())
        return tensor

    floating = next((p.dtype for p in replica.parameters() if p.is_floating_point()), torch.float32)
    example = blank(input_shape, batch_size, integers=integers, floating=floating)
    for part in replica.modules():
        part._buffers = {name: b if b is None else b.to("meta") for name, b in part._buffers.items()}
    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        call(replica, example)
    return TrainingMemory(sum(map(_bytes, held)), trainable, optimizer_states * trainable, sum(kept.values()))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
