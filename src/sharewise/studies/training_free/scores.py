"""Five published scores of a network at its initialisation; higher is better.

Each is a function of a plain network, the inputs and targets of one batch, and the loss. It works on a copy in training
mode, so that batch norms use the statistics of the batch, and leaves the network as it is. "Weights" are those of
convolutions and linear layers, as in the authors' code.

References:
    M. S. Abdelfattah et al., *Zero-Cost Proxies for Lightweight NAS*, ICLR 2021 (arXiv 2101.08134), section 3;
    mohsaied/zero-cost-nas, `foresight/pruners/measures`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from sharewise.errors import ConfigurationError

__all__ = ["SCORES", "TrainingFreeScore", "grad_norm", "jacobian_covariance", "naswot", "snip", "synflow"]

Loss = Callable[[Tensor, Tensor], Tensor]

_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU)
_SMALLEST = 1e-5  # keeps eigenvalues of zero apart from infinity


def grad_norm(network: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> float:
    """The sum over layers of the Euclidean norm of the gradient to their weights, Σ_l ‖∂L/∂W_l‖₂.

    Args:
        network: plain, as it was initialised.
        inputs: of one batch.
        targets: of the batch.
        loss: L, a mean over the batch.

    Example:
        >>> network = nn.Linear(2, 1, bias=False)
        >>> inputs = torch.tensor([[3.0, 4.0]])
        >>> grad_norm(network, inputs, torch.zeros(1), lambda outputs, _: outputs.sum())
        5.0
    """
    network = _copied(network)
    return sum(float(slope.norm()) for _, slope in _slopes(network, loss(network(inputs), targets)))


def snip(network: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> float:
    """The sum of the sensitivities of the loss to a mask of ones on the weights, Σ |∂L/∂m| = Σ |W ⊙ ∂L/∂W|.

    Args:
        network: plain, as it was initialised.
        inputs: of one batch.
        targets: of the batch.
        loss: L, a mean over the batch.

    References:
        N. Lee, T. Ajanthan and P. Torr, *SNIP*, ICLR 2019 (arXiv 1810.02340), equation 5.
    """
    network = _copied(network)
    slopes = _slopes(network, loss(network(inputs), targets))
    return sum(float((weight * slope).abs().sum()) for weight, slope in slopes)


def synflow(network: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> float:
    """The synaptic flow Σ |W ⊙ ∂R/∂W| of R = Σ f(1), in a network of absolute parameters without batch norms.

    It needs no data: of the batch only the shape of an example counts. Computed in double precision, in which it may
    still be infinite for very deep networks.

    Args:
        network: plain, as it was initialised.
        inputs: of one batch.
        targets: not used.
        loss: not used.

    References:
        H. Tanaka et al., *Pruning Neural Networks without Any Data by Iteratively Conserving Synaptic Flow*, NeurIPS
        2020 (arXiv 2006.05467), equations 1 and 2.

    Deviations:
        Evaluation mode, so that dropout does not draw; the authors' networks have none.
    """
    _require_numbers(inputs, "synflow")
    linear = _without_batch_norm(_copied(network)).eval().double()
    with torch.no_grad():
        for tensor in linear.state_dict().values():
            tensor.abs_()
    flow = linear(torch.ones_like(inputs[:1], dtype=torch.float64)).sum()
    return sum(float((weight * slope).abs().sum()) for weight, slope in _slopes(linear, flow))


def jacobian_covariance(network: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> float:
    """How little correlated the slopes of the outputs at different examples are.

    With J_i = ∂ Σ f / ∂x_i and the eigenvalues v of the correlation matrix of the rows J_i, the score is
    −Σ (log(v + k) + 1 / (v + k)), k = 1e-5. It is not a number where the slope at an example is constant.

    Args:
        network: plain, as it was initialised.
        inputs: of one batch of at least two examples.
        targets: not used.
        loss: not used.

    References:
        J. Mellor et al., *Neural Architecture Search without Training*, first version (arXiv 2006.04647v1), section 3.

    Deviations:
        Eigenvalues by a solver for symmetric matrices.
    """
    _require_numbers(inputs, "jacobian_covariance")
    leaf = inputs.clone().requires_grad_()
    value = _copied(network)(leaf).sum()  # which may not see the inputs; then slopes are zero
    (slopes,) = torch.autograd.grad(value, leaf, allow_unused=True, materialize_grads=True)
    centred = slopes.flatten(1).double()
    centred = centred - centred.mean(dim=1, keepdim=True)
    rows = centred / centred.norm(dim=1, keepdim=True)
    if not rows.isfinite().all():
        return float("nan")
    values = torch.linalg.eigvalsh(rows @ rows.T) + _SMALLEST
    return -float((values.log() + 1 / values).sum())


def naswot(network: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> float:
    """How well the linear regions of the rectifiers tell the examples apart: log |det K|.

    K_ij counts the rectifiers that are on for both of the examples i and j, or off for both, over all rectifying layers
    from which a path leads to the output. It is −∞ where two examples fall into one region.

    Args:
        network: plain, as it was initialised, with rectifiers that are modules.
        inputs: of one batch.
        targets: not used.
        loss: not used.

    Raises:
        ConfigurationError: when no rectifier leads to the output.

    References:
        J. Mellor et al., *Neural Architecture Search without Training*, ICML 2021 (arXiv 2006.04647), equation 2;
        BayesWatch/nas-without-training, `score_networks.py`.

    Deviations:
        The authors' code finds the rectifiers that lead to the output by a backward pass of its own; here the same one
        forward pass serves both.
    """
    network = _copied(network)
    with _recorded(network) as seen:
        outputs = network(inputs)
    slopes = torch.autograd.grad(outputs.sum(), [output for _, output in seen], allow_unused=True) if seen else ()
    used = [signs for (signs, _), slope in zip(seen, slopes, strict=True) if slope is not None]
    if not used:
        raise ConfigurationError("naswot counts rectified units, but no ReLU of the network leads to its output")
    kernel = torch.zeros(len(inputs), len(inputs), dtype=torch.float64, device=inputs.device)
    for signs in used:
        on = signs.float()  # counts of one layer are whole numbers below 2**24
        kernel += (on @ on.T).double() + ((1 - on) @ (1 - on).T).double()
    return float(torch.linalg.slogdet(kernel).logabsdet)


@contextmanager
def _recorded(network: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Which units every rectifier that is called within the block lets through, `(n, units)`, and its output."""
    seen: list[tuple[Tensor, Tensor]] = []

    def note(layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        if output.requires_grad:
            seen.append((arguments[0].detach().flatten(1) > 0, output))

    handles = [layer.register_forward_hook(note) for layer in network.modules() if isinstance(layer, _RECTIFIERS)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _copied(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).train().requires_grad_(True)


def _slopes(network: nn.Module, value: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weights and the gradient of a value to them, of layers on which the value depends."""
    layers = [layer for layer in network.modules() if isinstance(layer, _ConvNd | nn.Linear)]
    weights = list(dict.fromkeys(layer.weight for layer in layers))
    if not weights:
        raise ConfigurationError("the score is a sum over convolutions and linear layers, and the network has none")
    slopes = torch.autograd.grad(value, weights, allow_unused=True)
    return [(w.detach().double(), s.double()) for w, s in zip(weights, slopes, strict=True) if s is not None]


def _without_batch_norm(network: nn.Module) -> nn.Module:
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, nn.Identity())
    return network


def _require_numbers(inputs: Tensor, score: str) -> None:
    if not inputs.is_floating_point():
        raise ConfigurationError(f"{score} takes slopes at the inputs, which must be real numbers, got {inputs.dtype}")


@final
@dataclass(frozen=True)
class TrainingFreeScore:
    """A score, and how much of a batch it runs through the network, forward and backward.

    Args:
        function: of a plain network, inputs, targets and loss.
        reads: the whole batch, or the shape of one example.
        summary: one line.
    """

    function: Callable[[nn.Module, Tensor, Tensor, Loss], float]
    reads: Literal["batch", "shape"]
    summary: str


SCORES: Mapping[str, TrainingFreeScore] = {
    "grad_norm": TrainingFreeScore(grad_norm, "batch", "sum of the norms of weight gradients"),
    "jacobian_covariance": TrainingFreeScore(jacobian_covariance, "batch", "correlation of slopes at the inputs"),
    "naswot": TrainingFreeScore(naswot, "batch", "log-determinant of the kernel of rectified units"),
    "snip": TrainingFreeScore(snip, "batch", "sensitivity of the loss to a mask on the weights"),
    "synflow": TrainingFreeScore(synflow, "shape", "synaptic flow, which needs no data"),
}
