"""Steps: what the levels are made of, as functions of the search state.

The network always sees leaf gates; one vector-Jacobian product (`Distribution.pullback`) carries their gradient to θ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sharewise.data import Batch
from sharewise.distribution import Factored
from sharewise.engine.rows import Layout
from sharewise.engine.widest import widest
from sharewise.ledger import EVALUATION, TRAINING
from sharewise.supernet import Gates, cut, frozen_statistics, to_device
from sharewise.supernet.again import forgetting
from sharewise.supernet.recomputation import kept
from sharewise.supernet.twice import differentiated_twice

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = [
    "Aim",
    "added",
    "architecture_draws",
    "architecture_step",
    "gate_gradients",
    "gate_loss",
    "gate_slopes",
    "joint_step",
    "leaves_of",
    "move_architecture",
    "move_weights",
    "reward_step",
    "taught",
    "unrolled_step",
    "weight_draws",
    "weight_step",
]


class Aim(Protocol):
    """From the outputs for some rows of a batch, and which rows these are, to their mean loss."""

    def __call__(self, outputs: Any, rows: slice) -> Tensor:
        """The mean loss, with its graph."""


def weight_step(
    state: SearchState, batch: Batch | None = None, *, altered: Callable[[Gates, Batch], Gates] | None = None
) -> Tensor:
    """One descent step on w along gates drawn for it; θ is not touched.

    Args:
        state: the search; its weight stream yields the batch.
        batch: use this one instead.
        altered: makes other gates of those that were drawn for the batch, such as the worst ones near by.

    Returns:
        The mean loss over the drawn paths, detached.
    """
    batch = state.next_batch("weights") if batch is None else batch
    paths = weight_draws(state)
    parts, aim = 1 if state.distribution.summed else len(paths), taught(state, batch, paths)
    losses = [
        added(state, batch, gates if altered is None else altered(gates, batch), aim, parts=parts) for gates in paths
    ]
    return move_weights(state, losses)


def weight_draws(state: SearchState) -> Sequence[Gates]:
    """The paths of a weight step, before which gradients are cleared."""
    with torch.no_grad():
        paths = state.distribution.draw(state.generators["weights"], state.phase("weights"))
    state.weight_optimizer.zero_grad(set_to_none=True)
    return paths


def added(state: SearchState, batch: Batch, gates: Gates, aim: Aim, *, parts: int = 1) -> Tensor:
    """Add the gradient of one path to those of w, micro-batch by micro-batch, of which nothing is kept.

    Args:
        state: the search, between `weight_draws` and `move_weights`.
        batch: of examples.
        gates: of the path.
        aim: of the outputs of the supernet.
        parts: of which the gradient is a mean, and this is one.

    Returns:
        What this process adds to the loss, detached.
    """
    leaves = leaves_of(state, gates, differentiable=False)
    losses = []
    for rows, some in state.numerics.micro_batches(batch):
        loss = _passed(state, some, leaves, partial(aim, rows=rows))
        torch.autograd.backward(loss if parts == 1 else loss / parts)
        losses.append(loss.detach())
    state.charge("weights", leaves, batch.examples, TRAINING)
    return _sum(losses)


def taught(state: SearchState, batch: Batch, paths: Sequence[Gates]) -> Aim:
    """The loss of a weight step: towards the targets, and towards a teacher where there is one.

    Args:
        state: the search.
        batch: of examples, which a teacher sees once.
        paths: as they were drawn.
    """
    if state.teacher is None:
        return lambda outputs, rows: state.loss(outputs, batch.targets[rows])
    towards = state.teacher.towards(state, batch, widest(state.distribution, paths[0]))
    return lambda outputs, rows: state.loss(outputs, batch.targets[rows]) + towards(outputs, rows)


def architecture_step(state: SearchState) -> Tensor:
    """One descent step on θ at the present w; neither w nor running statistics are touched.

    The network sees leaf gates; only their gradient is asked for, so no weight gradient is computed. One
    vector-Jacobian product carries it to θ, where penalties are added.

    Args:
        state: the search; its architecture stream yields the batch.

    Returns:
        The mean loss over the drawn paths without penalties, detached.
    """
    batch = state.next_batch("architecture")
    losses = []
    with _moving_architecture(state) as paths:
        for gates in paths:
            loss, slopes = gate_slopes(state, batch, gates, "architecture")
            if len(paths) > 1:
                slopes = {name: slope / len(paths) for name, slope in slopes.items()}
            state.distribution.pullback(gates, slopes)
            losses.append(loss)
    return torch.stack(losses).mean()


def gate_loss(state: SearchState, batch: Batch, gates: Gates, part: str, aim: Aim | None = None) -> Tensor:
    """The loss of a batch under gates, detached; nothing is touched. Arguments as for `gate_slopes` and `added`."""
    leaves = leaves_of(state, gates, differentiable=False)
    with torch.no_grad(), frozen_statistics(state.supernet):
        losses = [
            _passed(state, some, leaves, None if aim is None else partial(aim, rows=rows))
            for rows, some in state.numerics.micro_batches(batch)
        ]
    state.charge(part, leaves, batch.examples, EVALUATION)
    return state.numerics.ranks.slopes(_sum(losses), {})[0]


def gate_slopes(state: SearchState, batch: Batch, gates: Gates, part: str) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch under gates, and dL/dgate; neither w, its gradients nor running statistics are touched.

    Args:
        state: the search.
        batch: of examples.
        gates: of one path.
        part: of the run, to which the ledger charges it.

    Returns:
        The loss, detached, and the gradients of those gates that had an effect, by decision name.
    """
    leaves = leaves_of(state, gates, differentiable=True)
    losses, slopes = [], dict[str, Tensor]()
    for _, some in state.numerics.micro_batches(batch):
        with frozen_statistics(state.supernet):
            loss = _passed(state, some, leaves, network=state.fixed_network)
        for name, slope in gate_gradients(loss, leaves).items():
            slopes[name] = slopes[name] + slope if name in slopes else slope
        losses.append(loss.detach())
    state.charge(part, leaves, batch.examples, state.costs.gate_passes)
    return state.numerics.ranks.slopes(_sum(losses), slopes)


def joint_step(state: SearchState) -> Tensor:
    """One descent step on w and θ together, by one backward pass through one draw.

    Args:
        state: the search; its weight stream yields the batch.

    Returns:
        The mean loss over the drawn paths without penalties, detached.
    """
    batch = state.next_batch("weights")
    state.weight_optimizer.zero_grad(set_to_none=True)
    losses = []
    with _moving_architecture(state) as paths:
        aim = taught(state, batch, paths)
        for gates in paths:
            leaves = leaves_of(state, gates, differentiable=True)
            parts = []
            for rows, some in state.numerics.micro_batches(batch):
                loss = _passed(state, some, leaves, partial(aim, rows=rows))
                torch.autograd.backward(loss / len(paths))
                parts.append(loss.detach())
            cotangents = {name: g.weights.grad for name, g in leaves.items() if g.weights.grad is not None}
            state.numerics.ranks.add_up(list(cotangents.values()))
            state.distribution.pullback(gates, cotangents)
            losses.append(_sum(parts))
            state.charge("weights", leaves, batch.examples, TRAINING)
    return move_weights(state, losses)


def unrolled_step(
    state: SearchState, train: Batch, *, inner_learning_rate: float | None = None, radius: float | None = None
) -> Tensor:
    """One descent step on θ at the weights that a weight step on `train` would lead to; w itself is not touched.

    With g the leaf gates of one draw, ξ the inner learning rate and u(w, g) the update of the weight optimiser
    (gradient, weight decay and momentum buffer), w'(g) = w - ξ u(w, g), and the gradient is the total derivative::

        d L_arch(w'(g), g) / dg = ∂_g L_arch(w', g) - ξ c ∂²_{g,w} L_train(w, g) · v,     v = ∂_w' L_arch(w', g)

    with c = 1 (1 + momentum under Nesterov). The second term is differentiated exactly, or, with a radius R, by the
    central difference of ∂_g L_train at w ± ε v, ε = R / ‖v‖.

    Args:
        state: the search; its architecture stream yields the other batch.
        train: the batch of the weight step to come.
        inner_learning_rate: ξ; `None` for the present one of the weights. Zero gives the first-order gradient.
        radius: R of the finite difference, 0.01 in the paper; `None` for the exact product.

    Returns:
        The mean loss L_arch(w') over the drawn paths without penalties, detached.
    """
    batch = state.next_batch("architecture")
    group = state.weight_optimizer.param_groups[0]
    rate = group["lr"] if inner_learning_rate is None else inner_learning_rate
    losses = []
    with _moving_architecture(state) as paths, frozen_statistics(state.supernet):
        for gates in paths:
            leaves = leaves_of(state, gates, differentiable=True)
            own = _unrolled_gradients(state, train, batch, leaves, rate, radius)
            loss, cotangents = state.numerics.ranks.slopes(*own)
            state.distribution.pullback(gates, {name: g / len(paths) for name, g in cotangents.items()})
            losses.append(loss)
            # To w, to w' and g, and the product: two passes more for each gradient of which it is made.
            inner = TRAINING + 2 * state.costs.gate_passes
            for examples, passes in ((train.examples, inner), (batch.examples, TRAINING)):
                state.charge("architecture", leaves, examples, passes)
    return torch.stack(losses).mean()


def reward_step(
    state: SearchState, *, samples: int, decay: float, surprise: float, clip: float | None = None
) -> Tensor:
    """One ascent step on θ along the score of rewards, at the present w.

    With rewards R_i = metric of architecture a_i on a batch + λ · (-log p(a_i)), and a baseline b that follows them,
    first b ← δ b + (1 - δ) R_i, then the gradient gains -(R_i - b) ∇ log p(a_i) / samples. The first of all rewards is
    its own baseline.

    Args:
        state: the search; its architecture stream yields one batch per sample.
        samples: architectures per step.
        decay: δ of the baseline.
        surprise: λ; E[-log p] is the entropy, which this bonus keeps from vanishing.
        clip: largest norm of the gradient before penalties, or `None`.

    Returns:
        The mean metric, detached; as a reward, so that higher is better.
    """
    task, host, ranks = state.task, [], state.numerics.ranks
    metric = task.metrics.get(task.primary, task.loss)
    with _moving_architecture(state, samples) as paths:
        with torch.no_grad(), frozen_statistics(state.supernet):
            for gates in paths:
                batch = state.next_batch("architecture")
                leaves = leaves_of(state, gates, differentiable=False)
                with state.numerics.autocast():
                    answers = [
                        (_forward(state, some, leaves, state.supernet), some.targets)
                        for _, some in state.numerics.micro_batches(batch)
                    ]
                value = ranks.metric(metric, answers)
                host.append(value * (1.0 if task.higher_is_better else -1.0))
                state.charge("architecture", leaves, batch.examples, EVALUATION)
        log_probs = [_log_probability(gates) for gates in paths]
        rewards = torch.stack(host).to(log_probs[0])  # the one copy to the host in a step
        loss = torch.zeros_like(log_probs[0])
        for reward, log_prob in zip(rewards, log_probs, strict=True):
            total = reward - surprise * log_prob.detach()
            baseline = state.memory.get("baseline", total)
            state.memory["baseline"] = baseline = decay * baseline + (1 - decay) * total
            loss = loss - (total - baseline) * log_prob / len(paths)
        torch.autograd.backward(loss)
        if clip is not None:
            nn.utils.clip_grad_norm_(state.distribution.parameters(), clip)
    return rewards.mean().to(state.numerics.device)


@contextmanager
def _moving_architecture(state: SearchState, draws: int = 1) -> Iterator[Sequence[Gates]]:
    """Draw gates for an architecture step; after the block add penalties and move θ."""
    yield architecture_draws(state, draws)
    move_architecture(state)


def architecture_draws(state: SearchState, draws: int = 1) -> list[Gates]:
    """Gates for an architecture step, whose gradient `move_architecture` will follow."""
    assert state.architecture_optimizer is not None
    generator, phase = state.generators["architecture"], state.phase("architecture")
    paths = [gates for _ in range(draws) for gates in state.distribution.draw(generator, phase)]
    state.architecture_optimizer.zero_grad(set_to_none=True)
    return paths


def move_architecture(state: SearchState) -> None:
    """Add the penalties to the gradient of θ, and move it."""
    assert state.architecture_optimizer is not None
    for penalty in state.recipe.penalties:
        assert isinstance(state.distribution, Factored)  # see `Penalty.fits`
        value = penalty(state.distribution, state.costs, state.phase("architecture"))
        if value.requires_grad:  # not where pruning has left nothing to penalise
            torch.autograd.backward(value)
    state.architecture_optimizer.step()
    state.moves += 1


def leaves_of(state: SearchState, gates: Gates, *, differentiable: bool) -> Gates:
    """The gates that the network sees: leaves on its device, so that the graph is cut there."""
    return cut(to_device(gates, state.numerics.device, state.numerics.dtype), differentiable=differentiable)


def _loss(state: SearchState, batch: Batch, leaves: Gates, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    """The loss of a batch under leaf gates, at the supernet's weights or at others: what this process adds to it."""
    network = None if weights is None else partial(_called, state.supernet, weights)
    with nullcontext() if weights is None else kept():  # a second time w would be back
        return _passed(state, batch, leaves, network=network)


def _passed(
    state: SearchState,
    batch: Batch,
    leaves: Gates,
    loss_of: Callable[[Any], Tensor] | None = None,
    network: Callable[[Any, Gates], Any] | None = None,
) -> Tensor:
    """What this process adds to a loss, towards the targets or as it is told."""
    ranks = state.numerics.ranks
    with state.numerics.autocast():
        outputs = _forward(state, batch, leaves, state.network if network is None else network)
        loss: Tensor = state.loss(outputs, batch.targets) if loss_of is None else loss_of(outputs)
    share = ranks.share(batch)
    return loss if share == 1 else loss * share


def _sum(losses: Sequence[Tensor]) -> Tensor:
    """Of the losses of micro-batches, each of which is its share of the whole."""
    return losses[0] if len(losses) == 1 else torch.stack(list(losses)).sum()


def _called(network: nn.Module, weights: Mapping[str, Tensor], *arguments: Any) -> Any:
    """A network at other weights than its own."""
    return functional_call(network, dict(weights), arguments)


def _forward(state: SearchState, batch: Batch, leaves: Gates, network: Callable[[Any, Gates], Any]) -> Any:
    """The outputs for the rows of this process, as they would be among all."""
    ranks = state.numerics.ranks
    layout = () if ranks.alone else _layout(state, batch, leaves, network)
    with ranks.forward(batch, layout):
        return network(batch.inputs, leaves)


def _layout(state: SearchState, batch: Batch, leaves: Gates, network: Callable[[Any, Gates], Any]) -> Layout:
    """Where examples are in what a forward pass draws; most networks draw nothing along any path."""

    def whole(inputs: Any) -> Any:
        return network(inputs, leaves_of(state, state.mixture, differentiable=False))

    def tried(key: Any, run: Callable[[Any], Any]) -> Layout:
        return state.layouts.of(key, state.supernet, run, batch.inputs)

    if not tried("all options", whole):
        return ()
    return tried(tuple(gate.active for gate in leaves.values()), lambda inputs: network(inputs, leaves))


def move_weights(state: SearchState, losses: Sequence[Tensor]) -> Tensor:
    """Add up over processes, move w, and return the mean of the losses."""
    loss, ranks = torch.stack(list(losses)).mean(), state.numerics.ranks
    own = [] if ranks.alone or ranks.sharded else state.weights  # sharded ones are added up in the backward pass
    ranks.add_up([loss, *(p.grad for p in own if p.grad is not None)])
    ranks.settle_statistics(state.supernet)
    clip = state.recipe.weights.gradient_clip
    if clip is not None:
        nn.utils.clip_grad_norm_(state.weights, clip)
    state.weight_optimizer.step()
    return loss


def _log_probability(gates: Gates) -> Tensor:
    scores = [gate.log_prob for gate in gates.values() if gate.log_prob is not None]
    return torch.stack(scores).sum()


def gate_gradients(loss: Tensor, leaves: Gates) -> dict[str, Tensor]:
    """dL/dgate for the gates that had an effect, by decision name."""
    names = [name for name, gate in leaves.items() if gate.active]
    if not loss.requires_grad:  # every active option computes zero: the loss does not depend on any gate
        return {}
    gradients = torch.autograd.grad(loss, [leaves[name].weights for name in names], allow_unused=True)
    return {name: g for name, g in zip(names, gradients, strict=True) if g is not None}


def _unrolled_gradients(
    state: SearchState, train: Batch, batch: Batch, leaves: Gates, rate: float, radius: float | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """L_arch(w'(g), g), detached, and its total derivative with respect to the leaf gates."""
    exact = radius is None
    w = {name: p for name, p in state.supernet.named_parameters() if p.requires_grad}
    one = state.numerics.ranks.alone  # whose batch norms are ours alone
    forgets = exact and state.numerics.native  # where what is forgotten is cheap to compute again
    with forgetting() if forgets and one else nullcontext():
        with nullcontext() if not exact else differentiated_twice(by_weights=False) if one else kept():
            inner = _loss(state, train, leaves)
        gradients = torch.autograd.grad(inner, list(w.values()), create_graph=exact, allow_unused=True)
    reached = {name: g for name, g in zip(w, gradients, strict=True) if g is not None}
    reached = dict(zip(reached, state.numerics.ranks.added_up(list(reached.values())), strict=True))
    ahead = {name: w[name] - rate * _update(state.weight_optimizer, w[name], g) for name, g in reached.items()}
    if radius is None:
        with forgetting() if forgets else nullcontext():
            loss = _loss(state, batch, leaves, ahead)
        return loss.detach(), gate_gradients(loss, leaves)
    ahead = {name: value.detach().requires_grad_() for name, value in ahead.items()}
    loss = _loss(state, batch, leaves, ahead)
    gates = [name for name, gate in leaves.items() if gate.active]
    inputs = [*ahead.values(), *(leaves[name].weights for name in gates)]
    both = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
    v, total = dict(zip(ahead, both, strict=False)), dict(zip(gates, both[len(ahead) :], strict=True))
    v = dict(zip(v, state.numerics.ranks.added_up(list(v.values())), strict=True))
    for name, product in _finite_difference(state, train, leaves, v, radius):
        total[name] = total[name] - rate * product
    return loss.detach(), total


def _finite_difference(
    state: SearchState, train: Batch, leaves: Gates, v: Mapping[str, Tensor], radius: float
) -> Iterator[tuple[str, Tensor]]:
    """Terms of c ∂²_{g,w} L_train(w, g) · v by gate: half the difference of ∂_g L_train at w ± ε v, over ε."""
    w = dict(state.supernet.named_parameters())
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(x) for x in v.values()]))
    epsilon = radius / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    group = state.weight_optimizer.param_groups[0]
    momentum = group["momentum"] if group["nesterov"] else 0.0
    for sign in (1.0, -1.0):
        shifted = {name: (w[name] + sign * epsilon * v[name]).detach() for name in v}
        for name, g in gate_gradients(_loss(state, train, leaves, shifted), leaves).items():
            yield name, sign * (1 + momentum) * g / (2 * epsilon)


def _update(optimizer: torch.optim.Optimizer, weight: Tensor, gradient: Tensor) -> Tensor:
    """The direction in which stochastic gradient descent would move a weight, without touching its buffers."""
    group = optimizer.param_groups[0]
    direction = gradient + group["weight_decay"] * weight.detach()
    buffer = optimizer.state[weight].get("momentum_buffer") if weight in optimizer.state else None
    moving = direction if buffer is None else direction + group["momentum"] * buffer
    update: Tensor = direction + group["momentum"] * moving if group["nesterov"] else moving
    return update
