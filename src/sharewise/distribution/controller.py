"""The controller of ENAS: a recurrent network that decides one decision after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from sharewise.distribution.distribution import Distribution
from sharewise.distribution.factored import drawable, narrowed, option_mask, require_independent
from sharewise.distribution.phase import Phase
from sharewise.space import Architecture, Option, Relaxation
from sharewise.supernet.gate import Gate, Gates

__all__ = ["Controller"]

_MARGINAL_SAMPLES = 512


@final
class Controller(Distribution):
    """An autoregressive distribution, p(a) = Π_d p(a_d | a_1, …, a_{d-1}), by an LSTM.

    Decision d reads the embedding of the option that decision d - 1 took (a learned vector for the first one); from the
    hidden state h_d a linear layer makes logits ℓ, and

        p(a_d | …) = softmax(c · tanh(ℓ / T))

    with temperature T and bound c, which keep the controller from becoming certain too early. Decisions with the same
    options share embedding and output layer. Gates are one-hot and carry log p(a_d | …) for a score function.

    Args:
        relaxation: its decisions, in their order.
        generator: of the initial parameters.
        exclude: options that are masked from the start.
        hidden: width of the LSTM and of the embeddings.
        layers: of the LSTM.
        temperature: T, positive.
        bound: c, positive.
        learning_rate: of Adam.
        betas: of Adam.
        epsilon: of Adam.

    Example:
        >>> from sharewise.distribution import Autoregressive
        >>> from sharewise.spaces import load
        >>> g = torch.Generator().manual_seed(0)
        >>> controller = Autoregressive().build(load("nasbench201").relaxation, g)
        >>> [gates] = controller.draw(g, Phase("architecture"))
        >>> bool(gates["edge_2_3"].log_prob < 0)
        True

    References:
        H. Pham et al., *Efficient Neural Architecture Search via Parameter Sharing*, ICML 2018 (arXiv 1802.03268),
        section 2.2; its form for NAS-Bench-201 in X. Dong and Y. Yang (arXiv 2001.00326).

    Deviations:
        All parameters start uniform in ±0.1, as in the authors' code; the one for NAS-Bench-201 leaves biases and the
        second layer at the defaults of torch. Marginal probabilities have no closed form; those that are reported (and
        by which a stage prunes) are frequencies in 512 samples of a fixed stream.
    """

    mask: Tensor

    def __init__(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        *,
        hidden: int,
        layers: int,
        temperature: float,
        bound: float,
        learning_rate: float,
        betas: tuple[float, float],
        epsilon: float,
    ) -> None:
        require_independent(relaxation, "decides one after the other")
        super().__init__()
        self.relaxation, self.exclude = relaxation, exclude
        self.space = drawable(relaxation, exclude)
        self.temperature, self.bound = temperature, bound
        self._adam = {"lr": learning_rate, "betas": betas, "eps": epsilon}
        self.register_buffer("mask", option_mask(relaxation.decisions, exclude))
        alphabets = list(dict.fromkeys(d.options for d in relaxation.decisions))
        self._alphabet = [alphabets.index(d.options) for d in relaxation.decisions]
        self.start = nn.Parameter(torch.empty(1, hidden))
        self.cells = nn.ModuleList(nn.LSTMCell(hidden, hidden) for _ in range(layers))
        self.embeddings = nn.ModuleList(nn.Embedding(len(options), hidden) for options in alphabets)
        self.outputs = nn.ModuleList(nn.Linear(hidden, len(options)) for options in alphabets)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.1, 0.1, generator=generator)

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        """One set of one-hot gates with log-probabilities."""
        indices, log_probs = self._sequences(1, generator)
        gates = {}
        for d, index, log_prob in zip(self.relaxation.decisions, indices[0].tolist(), log_probs[0], strict=True):
            weights = torch.zeros(d.size, dtype=log_probs.dtype)
            weights[index] = 1
            gates[d.name] = Gate(weights, (index,), log_prob, unit=True)
        return [gates]

    def log_probability(self, indices: Tensor) -> Tensor:
        """log p of given sequences.

        Args:
            indices: option per decision, shape `(n, decisions)`.

        Returns:
            Shape `(n,)`, differentiable.
        """
        return self._sequences(len(indices), None, indices)[1].sum(dim=-1)

    def _sequences(
        self, count: int, generator: torch.Generator | None, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Options and their conditional log-probabilities, both of shape `(count, decisions)`."""
        x = self.start.expand(count, -1)
        states = [(torch.zeros_like(x), torch.zeros_like(x)) for _ in self.cells]
        indices, log_probs = [], []
        for row, (decision, alphabet) in enumerate(zip(self.relaxation.decisions, self._alphabet, strict=True)):
            for layer, cell in enumerate(self.cells):
                states[layer] = cell(x, states[layer])
                x = states[layer][0]
            logits = self.bound * torch.tanh(self.outputs[alphabet](x) / self.temperature)
            log_p = torch.log_softmax(logits.masked_fill(~self.mask[row, : decision.size], -torch.inf), dim=-1)
            if given is None:
                index = torch.multinomial(log_p.detach().exp(), 1, generator=generator)[:, 0]
            else:
                index = given[:, row]
            indices.append(index)
            log_probs.append(log_p.gather(-1, index[:, None])[:, 0])
            x = self.embeddings[alphabet](index)
        return torch.stack(indices, dim=1), torch.stack(log_probs, dim=1)

    def sample(self, generator: torch.Generator) -> Architecture:
        """One sequence, projected."""
        with torch.no_grad():
            [gates] = self.draw(generator, Phase("selection"))
        return self.relaxation.project({name: gate.weights.tolist() for name, gate in gates.items()}, self.exclude)

    def probabilities(self) -> Mapping[str, Tensor]:
        """Marginal frequencies of the options in 512 samples, the same ones at every call."""
        with torch.no_grad():
            indices, _ = self._sequences(_MARGINAL_SAMPLES, torch.Generator().manual_seed(0))
        return {
            d.name: torch.bincount(column, minlength=d.size) / _MARGINAL_SAMPLES
            for d, column in zip(self.relaxation.decisions, indices.unbind(dim=1), strict=True)
        }

    def optimizer(self) -> Optimizer:
        """Adam on all parameters of the controller."""
        return Adam(self.parameters(), **self._adam)  # type: ignore[arg-type]

    def restrict(self, keep: Mapping[str, Tensor]) -> None:
        """Mask options for good."""
        self.mask.copy_(narrowed(self.relaxation.decisions, self.mask, keep))
