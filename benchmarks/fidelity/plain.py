"""Every method of the zoo a second time, from the papers' equations, in plain tensor arithmetic.

Nothing of sharewise is imported here. The network is a function of a dictionary of weights, every edge sums its
operations one by one, gradients are those of autograd through the whole graph (no cut at the gates), and all updates
are written out. A `Rule` is a method as a table row; a `Search` is its run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Dirichlet
from torch.nn import functional as F

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPTIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

Weights = dict[str, Tensor]
Batch = tuple[Tensor, Tensor]


# The network


Norm = Callable[[str, Tensor], Tensor]
"""Normalises what the norm of a name is given."""


def by_batch(name: str, z: Tensor) -> Tensor:
    """Batch norm without scale and shift, by the statistics of the batch."""
    centred = z - z.mean((0, 2, 3), keepdim=True)
    return centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()


@dataclass
class Running:
    """Running means and variances of norms by name, from zero and one, which a batch moves by a tenth."""

    found: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def of(self, name: str, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance by channel."""
        channels = z.shape[1]
        return self.found.get(name, (torch.zeros(channels).double(), torch.ones(channels).double()))

    def training(self, name: str, z: Tensor) -> Tensor:
        """Normalise by the batch, and let it move the statistics."""
        values, (mean, variance) = z.detach().transpose(0, 1).flatten(1), self.of(name, z)
        self.found[name] = 0.9 * mean + 0.1 * values.mean(1), 0.9 * variance + 0.1 * values.var(1)
        return by_batch(name, z)

    def evaluation(self, name: str, z: Tensor) -> Tensor:
        """Normalise by the statistics."""
        mean, variance = (value[:, None, None] for value in self.of(name, z))
        return (z - mean) / (variance + 1e-5).sqrt()


def affine_norm(w: Weights, name: str, z: Tensor, norm: Norm) -> Tensor:
    return norm(name, z) * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def operation(w: Weights, name: str, option: str, x: Tensor, norm: Norm) -> Tensor:
    """One candidate operation other than `none`."""
    if option == "skip_connect":
        return x
    if option == "avg_pool_3x3":  # the padding does not count
        return F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(torch.ones_like(x), 3, 1, 1)
    kernel = w[f"{name}.operations.{option}.1.weight"]
    return norm(f"{name} {option}", F.conv2d(x.clamp_min(0), kernel, padding=kernel.shape[-1] // 2))


def entangled(w: Weights, name: str, x: Tensor, gate: Tensor, executed: Tensor, published: bool, norm: Norm) -> Tensor:
    """The convolutions of an edge as one: the 1×1 kernel is the centre of the 3×3 kernel, and both share a norm.

    m · BN(conv(x, Σ_o g_o pad(W_o) / m)) with the mass m = Σ_o g_o; the published form leaves the mass out, which the
    norm then erases.
    """
    kernel = w[f"{name}.groups.convolution.layers.layers.1.weight"]
    centre = F.pad(kernel[..., 1:2, 1:2], (1, 1, 1, 1))
    nested = [(gate[o], k) for o, k in ((2, centre), (3, kernel)) if executed[o]]
    if not nested:
        return torch.zeros_like(x)
    mass = torch.ones(()) if published else sum(g for g, _ in nested)
    mixed = sum(g / mass * k for g, k in nested)
    return mass * norm(f"{name} convolution", F.conv2d(x.clamp_min(0), mixed, padding=1))  # type: ignore[arg-type]


def cell(w: Weights, name: str, x: Tensor, draw: Draw, ghosts: bool, parts: int, norm: Norm, sharing: str) -> Tensor:
    """Node j is Σ_{i<j} Σ_o g_{ij,o} o(node i) over the executed options.

    With `ghosts` the gates of the others, whose value is zero, are added to every entry of the output as well. With
    `parts` the sum takes 1/K of the channels, the rest goes around it, and the channels of K groups are interleaved;
    with weights of edges each of these is multiplied by its own (PC-DARTS, equations 1 and 2).
    """
    nodes = [x]
    for target in range(1, 4):
        node = torch.zeros_like(x)
        for edge, (source, end) in enumerate(EDGES):
            if end == target:
                weighed = draw.edges is not None and target > 1
                path = f"{name}.edges.edge_{source}_{end}" + ".edge" * (weighed + (parts > 1))
                output = partial_edge(w, path, nodes[source], draw, edge, ghosts, parts, norm, sharing)
                node = node + (draw.edges[edge] * output if draw.edges is not None else output)
        nodes.append(node)
    return nodes[3]


def partial_edge(
    w: Weights, path: str, x: Tensor, draw: Draw, edge: int, ghosts: bool, parts: int, norm: Norm, sharing: str
) -> Tensor:
    size = x.shape[1] // parts
    seen, rest = x[:, :size], x[:, size:]
    total = torch.zeros_like(seen)
    if sharing != "disjoint":
        gate, executed = draw.gates[edge], draw.executed[edge]
        total = total + entangled(w, path, seen, gate, executed, sharing == "published", norm)
    alone = [word for word in OPTIONS if word != "none" and (sharing == "disjoint" or "conv" not in word)]
    for option, word in enumerate(OPTIONS):
        if draw.executed[edge, option] and word in alone:
            total = total + draw.gates[edge, option] * operation(w, path, word, seen, norm)
        elif ghosts and not draw.executed[edge, option]:
            total = total + draw.gates[edge, option]
    if parts == 1:
        return total
    whole = torch.cat([total, rest], 1)
    return whole[:, [group * size + channel for channel in range(size) for group in range(parts)]]


def reduction(w: Weights, name: str, x: Tensor, norm: Norm) -> Tensor:
    inner = F.conv2d(x.clamp_min(0), w[f"{name}.first.1.weight"], stride=2, padding=1)
    inner = affine_norm(w, f"{name}.first.2", inner, norm).clamp_min(0)
    inner = affine_norm(w, f"{name}.second.2", F.conv2d(inner, w[f"{name}.second.1.weight"], padding=1), norm)
    return inner + F.conv2d(F.avg_pool2d(x, 2), w[f"{name}.shortcut.1.weight"])


def network(
    w: Weights,
    x: Tensor,
    draw: Draw,
    ghosts: bool = False,
    cells: int = 1,
    parts: int = 1,
    norm: Norm = by_batch,
    sharing: str = "disjoint",
) -> Tensor:
    """Class scores of a NAS-Bench-201 network under gates of shape (edges, options)."""
    x = affine_norm(w, "stem.1", F.conv2d(x, w["stem.0.weight"], padding=1), norm)
    for stage in range(3):
        if stage:
            x = reduction(w, f"reductions.{stage - 1}", x, norm)
        for number in range(cells):
            x = cell(w, f"stages.{stage}.{number}", x, draw, ghosts, parts, norm, sharing)
    x = affine_norm(w, "head.0", x, norm).clamp_min(0).mean((2, 3))
    return x @ w["head.4.weight"].T + w["head.4.bias"]


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    return (scores.exp().sum(-1).log() - scores[torch.arange(len(scores)), targets]).mean()


# A search


class Draw(NamedTuple):
    """Gates with their graph to θ, which options run, log p of the draw where it is needed, and weights of edges."""

    gates: Tensor
    executed: Tensor
    score: Tensor | None = None
    edges: Tensor | None = None


@dataclass(frozen=True)
class Rule:
    """A method: its equations and the published settings."""

    step: Callable[[Search, bool], None]
    draw: Callable[[Search, str], list[Draw]]
    rate: float = 0.025
    last_rate: float = 0.001
    restarts: bool = False
    """Whether four cosines of doubling length fill the epochs, in place of one."""
    stretch: float = 1.0
    """Length of the one cosine, in epochs of the run."""
    decay: float = 3e-4
    nesterov: bool = False
    clip: float = 5.0
    summed: bool = False
    descent: Callable[[Search, Weights], None] | None = None
    """How the weights move along their clipped gradients, where not by momentum."""
    move: Callable[[Search, Weights], None] | None = None
    theta_rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    epsilon: float = 1e-8
    l2: float = 0.0
    entropy: float = 0.0
    tau: tuple[float, float] = (1.0, 1.0)
    warm_up: float = 0.0
    exclude: tuple[str, ...] = ()
    sharing: str = "disjoint"
    """Or entangled: convolutions of an edge in one kernel, or published: the same as TangleNAS has it."""
    penalties: tuple[Callable[[Search], Tensor], ...] = ()
    """Terms of the loss of architecture steps, beside `l2` and `entropy`."""
    parts: int = 1
    """K: operations see 1/K of the channels."""
    edge_rate: float = 0.1
    """Of the weights of edges on the simplex."""
    network: Callable[[Weights, Tensor, Draw, int, Norm, str], Tensor] = lambda w, x, draw, parts, norm, sharing: (
        network(w, x, draw, parts=parts, norm=norm, sharing=sharing)
    )
    """Class scores of images under a draw."""
    rows: int = 6
    """Of θ that hold operations; rows after them weigh edges."""
    options: tuple[str, ...] = OPTIONS
    """Of every edge."""
    kinds: int = 1
    """Kinds of cells, each with as many of the rows."""
    joins: tuple[tuple[int, ...], ...] = ()
    """Edges of one kind that lead to a node, of which two stay in the end."""
    enter: Callable[[Search], None] = lambda search: None
    """What happens before a step, such as the beginning of a stage."""
    perturb: Callable[[Search, Batch, Draw], Draw] | None = None
    """What happens to the gates of a weight step (SDARTS)."""
    rates: Callable[[Search], float] | None = None
    """The learning rate of w, where it is no cosine over the epochs."""
    removal: Callable[[Tensor, Tensor], Tensor] | None = None
    """A measure of (scores, targets) by which edges are settled once the epochs are over (DARTS-PT)."""


@dataclass
class Search:
    """The run of a rule; `record` holds what the last step computed."""

    rule: Rule
    w: Weights
    theta: Weights
    batches: Mapping[str, Iterator[Batch]]
    noise: Mapping[str, torch.Generator]
    epochs: int
    steps_per_epoch: int
    done: int = 0
    parts: int = 0
    kept: Tensor | None = None
    """Options that a stage has kept."""
    buffers: Weights = field(default_factory=dict)
    moments: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    moved: int = 0
    baseline: Tensor | None = None
    outputs: list[Tensor] = field(default_factory=list)
    weight_gradient: dict[str, Tensor | None] = field(default_factory=dict)
    theta_gradient: Weights | None = None
    readings: bool = True
    """Whether to compute other readings of the method too."""
    aside: dict[str, list[float]] = field(default_factory=dict)
    """Relative differences of the θ gradient under another reading of the method, one per architecture step."""
    running: Running = field(default_factory=Running)
    judges: list[Batch] = field(default_factory=list)
    """On which a removal is judged."""
    order: Callable[[int], torch.Generator] = lambda rounds: torch.Generator()
    """From which the edge of a round is drawn."""
    settled: dict[int, int] = field(default_factory=dict)
    """Option by edge."""
    removed: set[int] = field(default_factory=set)
    """Edges that are gone; their θ stays as it was."""
    settlings: int = 0
    """Rounds in which edges were settled."""
    teacher: tuple[Weights, Running] | None = None
    """Weights and statistics of a network that others learn from."""
    paths: int = 0
    """Networks per step, where a stage says so."""

    def __post_init__(self) -> None:
        self.parts = self.rule.parts

    @property
    def epoch(self) -> int:
        return self.done // self.steps_per_epoch

    @property
    def rate(self) -> float:
        """The cosine."""
        rule = self.rule
        if rule.rates is not None:
            return rule.rates(self)
        if self.epoch >= self.epochs:  # an epoch after each round, from a tenth along a cosine of as many epochs
            first, last, rounds = rule.rate / 10, min(rule.rate / 10, 1e-3), rule.rows // rule.kinds + len(rule.joins)
            return last + (first - last) * (1 + math.cos(math.pi * (self.epoch - self.epochs) / rounds)) / 2
        begin, period = 0.0, self.epochs * rule.stretch
        if rule.restarts:  # four cosines, of 1, 2, 4 and 8 fifteenths of the epochs
            share = next(n for n in (8, 4, 2, 1) if self.epoch >= self.epochs * (n - 1) / 15)
            begin, period = self.epochs * (share - 1) / 15, self.epochs * share / 15
        turn = math.pi * (self.epoch - begin) / period
        return rule.last_rate + (rule.rate - rule.last_rate) * (1 + math.cos(turn)) / 2

    @property
    def tau(self) -> float:
        first, last = self.rule.tau
        return first + (last - first) * self.epoch / (self.epochs - 1)

    @property
    def mask(self) -> Tensor:
        if self.kept is not None:
            return self.kept
        options = self.rule.options
        mask = torch.tensor([option not in self.rule.exclude for option in options]).repeat(self.rule.rows, 1)
        for edge, option in self.settled.items():
            mask[edge] = torch.arange(len(options)) == option
        return mask

    @property
    def executed(self) -> Tensor:
        """The mask without edges that are gone."""
        gone = torch.tensor([edge in self.removed for edge in range(self.rule.rows)])
        return self.mask & ~gone[:, None]

    def advance(self) -> None:
        """One step of the method."""
        self.outputs, self.weight_gradient, self.theta_gradient = [], {}, None
        self.rule.enter(self)
        if self.rule.removal is not None and self.epoch >= self.epochs and self.done % self.steps_per_epoch == 0:
            settle(self)
        self.rule.step(self, self.epoch >= math.floor(self.rule.warm_up * self.epochs + 0.5))
        self.done += 1

    def loss(self, batch: Batch, draw: Draw, w: Weights | None = None, norm: Norm = by_batch) -> Tensor:
        self.outputs.append(self.scores(self.w if w is None else w, batch, draw, norm=norm))
        return cross_entropy(self.outputs[-1], batch[1])

    def scores(self, w: Weights, batch: Batch, draw: Draw, ghosts: bool = False, norm: Norm = by_batch) -> Tensor:
        if not ghosts:
            return self.rule.network(w, batch[0], draw, self.parts, norm, self.rule.sharing)
        return network(w, batch[0], draw, ghosts, parts=self.parts, norm=norm, sharing=self.rule.sharing)

    def penalty(self) -> Tensor:
        """λ/2 ‖θ‖², λ Σ p log(p k) and the rule's own terms, for a θ that is one matrix."""
        theta = self.theta["theta"]
        # Rows beyond those of NAS-Bench-201 mask nothing but their padding, which is zero.
        kept = theta * self.mask if theta.shape == self.mask.shape else theta
        value = self.rule.l2 / 2 * kept.square().sum()
        if self.rule.entropy:
            value = value + self.rule.entropy * (theta * (theta * len(OPTIONS)).log()).sum()
        return sum((term(self) for term in self.rule.penalties), value)

    def differ(self, reading: str, other: Tensor, own: Tensor) -> None:
        self.aside.setdefault(reading, []).append(float((other - own).norm() / own.norm()))

    def descend(self, gradients: dict[str, Tensor | None]) -> None:
        """Clip by the global norm, then momentum SGD with weight decay on the weights that have a gradient."""
        rule, reached = self.rule, {name: g for name, g in gradients.items() if g is not None}
        norm = sum((g.square().sum() for g in reached.values()), torch.zeros(())).sqrt()
        factor = min(1.0, rule.clip / (float(norm) + 1e-6))
        self.weight_gradient = {name: None if g is None else g * factor for name, g in gradients.items()}
        if rule.descent is not None:
            rule.descent(self, {name: g * factor for name, g in reached.items()})
            return
        for name, g in reached.items():
            direction = g * factor + rule.decay * self.w[name].detach()
            self.buffers[name] = 0.9 * self.buffers[name] + direction if name in self.buffers else direction
            update = direction + 0.9 * self.buffers[name] if rule.nesterov else self.buffers[name]
            self.w[name] = leaf(self.w[name] - self.rate * update)

    def learn(self, gradients: Weights) -> None:
        assert self.rule.move is not None
        self.theta_gradient = gradients
        self.rule.move(self, gradients)


def dominant_eigenvalue(s: Search, batch: Batch) -> Tensor:
    """R-DARTS: the largest eigenvalue of ∂²L_val/∂α², row by row through the whole graph from the loss to α."""
    theta = s.theta["theta"]
    (draw,) = s.rule.draw(s, "architecture")
    (slope,) = torch.autograd.grad(s.loss(batch, draw), theta, create_graph=True)
    rows = [torch.autograd.grad(entry, theta, retain_graph=True)[0].flatten() for entry in slope.flatten()]
    return torch.linalg.eigvalsh(torch.stack(rows)).max()


def leaf(value: Tensor) -> Tensor:
    return value.detach().clone().requires_grad_()


def gradient(loss: Tensor, inputs: Weights, graph: bool = False) -> dict[str, Tensor | None]:
    found = torch.autograd.grad(loss, list(inputs.values()), create_graph=graph, retain_graph=True, allow_unused=True)
    return dict(zip(inputs, found, strict=True))


def full_gradient(loss: Tensor, inputs: Weights) -> Weights:
    """The same with zeros where the loss does not depend on an input."""
    return {n: torch.zeros_like(inputs[n]) if g is None else g for n, g in gradient(loss, inputs).items()}


# Draws: from θ to gates


def softmax(x: Tensor) -> Tensor:
    powers = (x - x.detach().amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


def gumbel(generator: torch.Generator) -> Tensor:
    return -torch.empty(len(EDGES), len(OPTIONS), dtype=torch.float64).exponential_(generator=generator).log()


def one_hot(index: Tensor) -> Tensor:
    return (index[:, None] == torch.arange(len(OPTIONS))).double()


def mixture(s: Search, role: str) -> list[Draw]:
    """DARTS, equation 2."""
    return [Draw(softmax(s.theta["theta"].masked_fill(~s.mask, -math.inf)), s.mask)]


def sigmoid_mixture(s: Search, role: str) -> list[Draw]:
    """Fair-DARTS: every option has a weight of its own."""
    return [Draw((1 + (-s.theta["theta"]).exp()).reciprocal() * s.mask, s.mask)]


def simplex_mixture(s: Search, role: str) -> list[Draw]:
    """GAEA: θ is the mixture."""
    return [Draw(s.theta["theta"], s.mask)]


INPUTS = {6: (0, 2), 7: (0, 3)}
"""Rows of θ beside the six of the edges: the columns that hold the weights of the edges into nodes 2 and 3."""


def of_edges(theta: Tensor, weights: Callable[[Tensor], Tensor]) -> Tensor:
    """One per edge, in order; the one edge into node 1 weighs one."""
    return torch.cat([torch.ones(1), *(weights(theta[row, slice(*ends)]) for row, ends in INPUTS.items())])


def weighed_mixture(s: Search, role: str) -> list[Draw]:
    """PC-DARTS: softmax over operations, and over the edges into a node."""
    theta = s.theta["theta"]
    return [Draw(softmax(theta[:6]), s.mask, edges=of_edges(theta, softmax))]


def weighed_simplex_mixture(s: Search, role: str) -> list[Draw]:
    """GAEA on the network of PC-DARTS: θ and the weights of edges themselves."""
    theta = s.theta["theta"]
    return [Draw(theta[:6], s.mask, edges=of_edges(theta, lambda row: row))]


def remaining_dirichlet_sample(s: Search, role: str) -> list[Draw]:
    """DrNAS after pruning: a Dirichlet of the options that remain, of which every edge has as many."""
    alpha, mask = s.theta["theta"], s.mask
    columns = mask.nonzero()[:, 1].view(len(mask), -1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**63 - 1, (), generator=s.noise[role])))
        sample = Dirichlet(F.elu(alpha.gather(1, columns)) + 1).rsample()
    return [Draw(torch.zeros_like(alpha).scatter(1, columns, sample), mask)]


def relaxed_sample(s: Search, role: str) -> list[Draw]:
    """SNAS, equation 5."""
    return [Draw(softmax((softmax(s.theta["theta"]).log() + gumbel(s.noise[role])) / s.tau), s.mask)]


def hard_sample(s: Search, role: str) -> list[Draw]:
    """GDAS, equations 3 to 5: value one-hot, gradient of the relaxed sample."""
    return [straight_through(softmax((softmax(s.theta["theta"]).log() + gumbel(s.noise[role])) / s.tau))]


def simplex_hard_sample(s: Search, role: str) -> list[Draw]:
    """The same with log θ for the log-probabilities."""
    return [straight_through(softmax((s.theta["theta"].log() + gumbel(s.noise[role])) / s.tau))]


def straight_through(soft: Tensor) -> Draw:
    hard = one_hot(soft.argmax(-1))
    return Draw(hard - soft.detach() + soft, hard.bool())


def dirichlet_sample(s: Search, role: str) -> list[Draw]:
    """DrNAS: x ~ Dir(elu(α) + 1). The library samples from the global generator only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**63 - 1, (), generator=s.noise[role])))
        return [Draw(Dirichlet(F.elu(s.theta["theta"]) + 1).rsample(), s.mask)]


def probable_path(s: Search, role: str) -> list[Draw]:
    """One path drawn from softmax(α), by the Gumbel-max trick."""
    hard = one_hot((softmax(s.theta["theta"]).log() + gumbel(s.noise[role])).argmax(-1)).detach()
    return [Draw(hard, hard.bool())]


def random_path(s: Search, role: str) -> list[Draw]:
    """SPOS, RS-WS: every option equally likely."""
    rng = host(s.noise[role])
    hard = one_hot(torch.tensor([int(rng.integers(len(OPTIONS))) for _ in EDGES]))
    return [Draw(hard, hard.bool())]


def fair_paths(s: Search, role: str) -> list[Draw]:
    """FairNAS, algorithm 1: a permutation per edge, path i takes the i-th entry of each."""
    rng = host(s.noise[role])
    columns = np.stack([rng.permutation(np.arange(len(OPTIONS))) for _ in EDGES])
    paths = [one_hot(torch.from_numpy(column)) for column in columns.T]
    return [Draw(hard, hard.bool()) for hard in paths]


def random_paths(number: int) -> Callable[[Search, str], list[Draw]]:
    """Several architectures for one batch, every option equally likely."""

    def draws(s: Search, role: str) -> list[Draw]:
        rng, found = host(s.noise[role]), []
        for _ in range(s.paths or number):
            hard = one_hot(torch.tensor([int(rng.integers(len(OPTIONS))) for _ in EDGES]))
            found.append(Draw(hard, hard.bool()))
        return found

    return draws


def controlled_path(s: Search, role: str) -> list[Draw]:
    """ENAS: a two-layer LSTM decides edge after edge; log p is the sum over the decisions."""
    p, x, score, chosen = s.theta, s.theta["start"][0], torch.zeros((), dtype=torch.float64), []
    hidden = [torch.zeros_like(x) for _ in range(2)]
    memory = [torch.zeros_like(x) for _ in range(2)]
    for _ in EDGES:
        for layer in range(2):
            name = f"cells.{layer}"
            z = p[f"{name}.weight_ih"] @ x + p[f"{name}.bias_ih"]
            z = z + p[f"{name}.weight_hh"] @ hidden[layer] + p[f"{name}.bias_hh"]
            take, keep, new, show = z.chunk(4)
            memory[layer] = keep.sigmoid() * memory[layer] + take.sigmoid() * new.tanh()
            x = hidden[layer] = show.sigmoid() * memory[layer].tanh()
        chances = softmax(2.5 * ((p["outputs.0.weight"] @ x + p["outputs.0.bias"]) / 5.0).tanh())
        index = int(torch.multinomial(chances.detach(), 1, generator=s.noise[role]))
        score, x = score + chances[index].log(), p["embeddings.0.weight"][index]
        chosen.append(index)
    hard = one_hot(torch.tensor(chosen))
    return [Draw(hard, hard.bool(), score)]


def host(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))


# Stages


def progressive(keep: int, parts: int, grow: Callable[[Search, int], None] | None = None) -> Callable[[Search], None]:
    """DrNAS, section 3.3: at half of the epochs keep the options of largest mean, and widen the operations.

    Args:
        keep: options that remain.
        parts: K from then on.
        grow: how weights are widened, where not as on NAS-Bench-201.
    """

    def enter(s: Search) -> None:
        if s.done == s.steps_per_epoch * math.floor(s.epochs / 2 + 0.5):
            prune(s, keep)
            (grow or widen)(s, parts)

    return enter


def prune(s: Search, keep: int) -> None:
    concentrations = (F.elu(s.theta["theta"].detach()) + 1) * s.mask
    mean = concentrations / concentrations.sum(-1, keepdim=True)
    s.kept = torch.zeros_like(mean).scatter(-1, mean.topk(keep).indices, 1.0).bool()
    s.theta["theta"] = leaf(s.theta["theta"] * s.kept)
    s.moments = {name: (m * s.kept, v * s.kept) for name, (m, v) in s.moments.items()}


def widen(s: Search, parts: int) -> None:
    """New channels copy random ones, in weights, momentum and statistics; one seed makes them all, layer by layer."""
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=s.noise["widening"])))
    for name in [name for name in s.w if ".operations." in name]:
        size = len(s.w[name])
        more = size * s.parts // parts - size
        outputs, inputs = (
            torch.cat([torch.arange(size), torch.randint(size, (more,), generator=generator)]) for _ in range(2)
        )
        s.w[name] = leaf(s.w[name][outputs][:, inputs])
        if name in s.buffers:
            s.buffers[name] = s.buffers[name][outputs][:, inputs]
        place, _, rest = name.partition(".operations.")
        statistics = f"{place} {rest.partition('.')[0]}"
        if statistics in s.running.found:
            mean, variance = s.running.found[statistics]
            s.running.found[statistics] = mean[outputs], variance[outputs]
    s.parts = parts


def kl_anchor(s: Search) -> Tensor:
    """10⁻³ Σ KL(Dir(β) ‖ Dir(1)) over the options that remain, in closed form."""
    total = torch.zeros(())
    for row, kept in zip(F.elu(s.theta["theta"]) + 1, s.mask, strict=True):
        beta = row[kept]
        mean_log = beta.digamma() - beta.sum().digamma()
        total = (
            total + beta.sum().lgamma() - beta.lgamma().sum() - math.lgamma(len(beta)) + ((beta - 1) * mean_log).sum()
        )
    return 1e-3 * total


# Steps


def weight_step(s: Search, batch: Batch | None = None) -> None:
    """w ← w - SGD(∇_w L(w)) along fresh gates; several paths are averaged, or added up."""
    batch = next(s.batches["weights"]) if batch is None else batch
    draws = s.rule.draw(s, "weights")
    if s.rule.perturb is not None:
        draws = [s.rule.perturb(s, batch, draw) for draw in draws]
    losses = [s.loss(batch, draw, norm=s.running.training) for draw in draws]
    s.descend(gradient(sum(losses[1:], losses[0]) / (1 if s.rule.summed else len(losses)), s.w))


def architecture_step(s: Search) -> None:
    """θ ← θ - …(∇_θ [L(w, θ) + penalty]), by autograd through the gates."""
    batch, [draw] = next(s.batches["architecture"]), s.rule.draw(s, "architecture")
    gradients = full_gradient(s.loss(batch, draw), s.theta)
    # Of a single path on NAS-Bench-201: what the zero-valued gates of the others would add.
    one = s.rule.kinds == 1 and draw.executed.shape == s.mask.shape
    if s.readings and one and not draw.executed.equal(s.mask):
        scores = s.scores(s.w, batch, draw, ghosts=True)
        ghosts = full_gradient(cross_entropy(scores, batch[1]), s.theta)
        s.differ("zero-valued gates of unchosen options added to the output", ghosts["theta"], gradients["theta"])
    penalty = full_gradient(s.penalty(), s.theta) if s.rule.l2 or s.rule.entropy or s.rule.penalties else {"theta": 0.0}
    s.learn({"theta": gradients["theta"] + penalty["theta"]})


def legal(gates: Tensor) -> Tensor:
    """SDARTS: entries in [0, 1], one at the former largest where none is left, and a sum of one."""
    rows = []
    for row in gates:
        kept = row.clamp(0, 1)
        rows.append(one_hot(row.argmax()[None])[0] if not kept.any() else kept / kept.sum())
    return torch.stack(rows)


def random_perturbation(s: Search, batch: Batch, draw: Draw) -> Draw:
    """SDARTS-RS: uniform noise on the probabilities, of a radius that grows from 0.03 towards 0.3."""
    radius = 0.03 + 0.27 * s.epoch / s.epochs
    uniform = torch.rand(draw.gates.shape, dtype=torch.float64, generator=s.noise["weights"])
    return draw._replace(gates=legal(draw.gates.detach() + radius * (2 * uniform - 1)))


def adversarial_perturbation(s: Search, batch: Batch, draw: Draw) -> Draw:
    """SDARTS-ADV: seven sign steps up the loss of the batch, in evaluation mode; undone if that did not rise."""
    radius, start = 0.03 + 0.27 * s.epoch / s.epochs, draw.gates.detach()
    before = s.loss(batch, draw, norm=s.running.evaluation)
    moved = random_perturbation(s, batch, draw).gates
    for _ in range(7):
        at = moved.clone().requires_grad_()
        loss = s.loss(batch, draw._replace(gates=at), norm=s.running.evaluation)
        moved = moved + 2 * radius / 7 * full_gradient(loss, {"gates": at})["gates"].sign()
        moved = legal(start + (moved - start).clamp(-radius, radius))
    after = s.loss(batch, draw._replace(gates=moved), norm=s.running.evaluation)
    return draw._replace(gates=start if before > after else moved)


def settle(s: Search) -> None:
    """DARTS-PT, a round: of every kind of cell a random open edge keeps the option without which the measure is least.

    No other weight is touched. Once no edge is open, two edges into a random node stay: those that are missed most.
    """
    assert s.rule.removal is not None
    if not s.settlings:
        s.buffers = {}
    order, size = s.order(s.settlings), s.rule.rows // s.rule.kinds
    s.settlings += 1
    for kind in range(s.rule.kinds):
        edges = range(kind * size, (kind + 1) * size)
        remaining = [edge for edge in edges if edge not in s.settled]
        nodes = [[edges[i] for i in join] for join in s.rule.joins]
        crowded = [node for node in nodes if len({*node} - s.removed) > 2]
        if remaining:
            edge = remaining[int(torch.randint(len(remaining), (), generator=order))]
            values = {int(option): without(s, edge, option) for option in s.mask[edge].nonzero()}
            s.settled[edge] = min(values, key=values.__getitem__)
        elif crowded:
            node = crowded[int(torch.randint(len(crowded), (), generator=order))]
            missed = {edge: without(s, edge, s.mask[edge]) for edge in node}
            s.removed |= {*sorted(node, key=missed.__getitem__)[2:]}
    s.theta["theta"] = leaf(s.theta["theta"] * s.mask)


def without(s: Search, edge: int, option: Tensor) -> float:
    """The measure on all judges of the mixture from which an option of an edge is taken; the rest is as it was."""
    assert s.rule.removal is not None
    [draw], total, count = s.rule.draw(s, "selection"), 0.0, 0
    gates, executed = draw.gates.detach().clone(), draw.executed.clone()
    gates[edge, option], executed[edge, option] = 0.0, False
    for x, y in s.judges:
        s.outputs.append(s.scores(s.w, (x, y), Draw(gates, executed)).detach())
        total, count = total + float(s.rule.removal(s.outputs[-1], y)) * len(y), count + len(y)
    return total / count


def accuracy(scores: Tensor, targets: Tensor) -> Tensor:
    return (scores.argmax(-1) == targets).double().mean()


def negative_loss(scores: Tensor, targets: Tensor) -> Tensor:
    return -cross_entropy(scores, targets)


# Penalties


def beta_decay(s: Search) -> Tensor:
    """β-DARTS: λ · mean over edges of log Σ exp(α), with λ growing towards 50."""
    return 50 * s.epoch / s.epochs * s.theta["theta"].exp().sum(-1).log().mean()


def zero_one(power: int) -> Callable[[Search], Tensor]:
    """Fair-DARTS: -10 times the mean of |σ(α) - 1/2| to a power, over the options that take part."""

    def term(s: Search) -> Tensor:
        sigma = (1 + (-s.theta["theta"]).exp()).reciprocal()[s.mask]
        return -10 * ((sigma - 0.5).abs() ** power).mean()

    return term


# Steps of other methods


def two_path_step(s: Search) -> None:
    """ProxylessNAS, equation 4: two options without replacement, binary gates, the rest as if absent."""
    batch, generator, alpha = next(s.batches["architecture"]), s.noise["architecture"], s.theta["theta"].detach()
    order = (softmax(alpha).log() + gumbel(generator)).argsort(-1, descending=True)
    uniform = torch.rand(len(EDGES), generator=generator, dtype=torch.float64)
    gates, executed = torch.zeros_like(alpha), torch.zeros_like(alpha).bool()
    pairs = order[:, :2].tolist()
    q = [softmax(alpha[edge, pair]) for edge, pair in enumerate(pairs)]
    for edge, pair in enumerate(pairs):
        gates[edge, pair[0] if uniform[edge] < q[edge][0] else pair[1]] = 1.0
        executed[edge, pair] = True
    gates.requires_grad_()
    slope = full_gradient(s.loss(batch, Draw(gates, executed)), {"gates": gates})["gates"]
    gradients = torch.zeros_like(alpha)
    for edge, pair in enumerate(pairs):
        for i in range(2):
            for j in range(2):
                gradients[edge, pair[i]] += slope[edge, pair[j]] * q[edge][j] * (float(i == j) - q[edge][i])
    s.learn({"theta": gradients})


def unrolled_step(s: Search, train: Batch, radius: float | None) -> None:
    """DARTS, equations 6 to 8, with momentum and weight decay in the inner step."""
    valid, [draw] = next(s.batches["architecture"]), s.rule.draw(s, "architecture")
    inner = gradient(s.loss(train, draw), s.w, graph=True)
    ahead = {}
    for name, value in s.w.items():
        update = inner[name] + s.rule.decay * value.detach() + 0.9 * s.buffers.get(name, torch.zeros_like(value))
        ahead[name] = value - s.rate * update
    total = exact = full_gradient(s.loss(valid, draw, ahead), s.theta)["theta"]
    if radius is not None:
        total = quotient(s, train, valid, draw, ahead, radius)
        seen = list(s.outputs)
        for other in (radius, 1e-6) if s.readings else ():
            found = quotient(s, train, valid, draw, ahead, other)
            s.differ(f"radius {other:g} instead of the exact product", found, exact)
        s.outputs = seen
    s.learn({"theta": total + full_gradient(s.penalty(), s.theta)["theta"]})


def quotient(s: Search, train: Batch, valid: Batch, draw: Draw, ahead: Weights, radius: float) -> Tensor:
    """DARTS, equations 7 and 8: a central difference along v instead of the Hessian-vector product."""
    at = {name: leaf(value) for name, value in ahead.items()}
    loss = cross_entropy(s.scores(at, valid, draw), valid[1])
    v, total = full_gradient(loss, at), full_gradient(loss, s.theta)["theta"]
    step = radius / torch.cat([x.flatten() for x in v.values()]).norm()
    for sign in (1, -1):
        moved = {name: value.detach() + sign * step * v[name] for name, value in s.w.items()}
        side = full_gradient(s.loss(train, draw, moved), s.theta)["theta"]
        total = total - sign * s.rate * side / (2 * step)
    return total


def reward_step(s: Search, samples: int) -> None:
    """REINFORCE with a moving baseline b ← 0.99 b + 0.01 R; R is the accuracy plus the bonus -10⁻⁴ log p."""
    draws = [s.rule.draw(s, "architecture")[0] for _ in range(samples)]
    loss = torch.zeros((), dtype=torch.float64)
    for draw in draws:
        batch = next(s.batches["architecture"])
        s.loss(batch, draw)
        assert draw.score is not None
        reward = accuracy(s.outputs[-1], batch[1]) - 1e-4 * draw.score.detach()
        s.baseline = reward if s.baseline is None else 0.99 * s.baseline + 0.01 * reward
        loss = loss - (reward - s.baseline) * draw.score / samples
    gradients = full_gradient(loss, s.theta)
    norm = torch.cat([g.flatten() for g in gradients.values()]).norm()
    s.learn({name: g * min(1.0, 5.0 / (float(norm) + 1e-6)) for name, g in gradients.items()})


# Levels: the order of the steps


def weights_only(s: Search, moves: bool) -> None:
    weight_step(s)


Soft = Callable[[Tensor, Tensor], Tensor]
"""From class scores and those of a teacher to a loss."""


def soft_cross_entropy(scores: Tensor, teacher: Tensor) -> Tensor:
    return -(softmax(teacher) * (scores - scores.exp().sum(-1, keepdim=True).log())).sum(-1).mean()


def alpha_divergence(scores: Tensor, teacher: Tensor) -> Tensor:
    """AlphaNet, algorithm 1: α of -1 or 1 by the larger divergence of each example; what has its gradient."""
    p, log_q = softmax(teacher), scores - scores.exp().sum(-1, keepdim=True).log()
    q = log_q.detach().exp()
    powers = {-1.0: (q / p).clamp_max(5.0), 1.0: p / q}
    left, right = (q * (powers[-1.0] - 1)).sum(-1) / 2, (p * (p / q).log()).sum(-1)
    alpha = torch.where(left > right, -1.0, 1.0)
    power = torch.where((left > right)[:, None], powers[-1.0], powers[1.0])
    return (-(q * power * log_q).sum(-1) / alpha).mean()


def macs(draw: Draw) -> float:
    """Of the operations, up to a factor."""
    return float((draw.executed * torch.tensor([0, 0, 1, 9, 0])).sum())


def sandwich(soft: Soft, attended: int = 1) -> Callable[[Search, bool], None]:
    """BigNAS: the first path learns from the labels, the others from it, in turn; their gradients are added.

    On a space without order the largest and the smallest are paths as the others. With `attended` (AttentiveNAS) each
    path in between is the one of least loss among some of its cost.
    """

    def step(s: Search, moves: bool) -> None:
        batch, draws = next(s.batches["weights"]), s.rule.draw(s, "weights")
        total = s.loss(batch, draws[0])
        teacher = s.outputs[-1].detach()
        between = [best(s, batch, draw, attended, lambda scores: soft(scores, teacher)) for draw in draws[1:-1]]
        for draw in (*between, draws[-1]):
            s.outputs.append(s.scores(s.w, batch, draw))
            total = total + soft(s.outputs[-1], teacher)
        s.descend(gradient(total, s.w))

    return step


def best(s: Search, batch: Batch, draw: Draw, attended: int, loss: Callable[[Tensor], Tensor]) -> Draw:
    """Of some paths of one cost, the one whose loss on the batch is least."""
    found = [draw]
    for _ in range(50 * (attended - 1)):
        if len(found) == attended:
            break
        for other in s.rule.draw(s, "weights"):
            new = all(not torch.equal(other.gates, known.gates) for known in found)
            if len(found) < attended and new and macs(other) == macs(draw):
                found.append(other)
    if len(found) == 1:
        return draw
    losses = []
    for each in found:
        s.outputs.append(s.scores(s.w, batch, each))
        losses.append(float(loss(s.outputs[-1].detach())))
    return found[losses.index(min(losses))]


def shrinking(s: Search, moves: bool) -> None:
    """Once-for-All: labels and a frozen teacher, the gradients of some paths added."""
    batch, draws = next(s.batches["weights"]), s.rule.draw(s, "weights")
    target, total = None, torch.zeros(())
    if s.teacher is not None:
        w, running = s.teacher
        s.outputs.append(s.scores(w, batch, draws[0], norm=running.evaluation).detach())
        target = s.outputs[-1]
    for draw in draws:
        total = total + s.loss(batch, draw, norm=s.running.training)
        if target is not None:
            total = total + soft_cross_entropy(s.outputs[-1], target)
    s.descend(gradient(total, s.w))


def shrinking_stages(s: Search) -> None:
    """An epoch each: the largest network; kernels, where there are three epochs; widths. Then it is a teacher."""
    if s.done % s.steps_per_epoch == 0:
        s.paths = 4 if s.epoch == s.epochs - 1 else 1
        if s.epoch == 1:
            s.teacher = ({name: value.detach().clone() for name, value in s.w.items()}, Running(dict(s.running.found)))


def shrinking_rate(s: Search) -> float:
    return 0.03 / 4 if s.epoch == s.epochs - 1 else 0.03


def architecture_first(s: Search, moves: bool) -> None:
    if moves:
        architecture_step(s)
    weight_step(s)


def weights_first(s: Search, moves: bool) -> None:
    weight_step(s)
    if moves:
        architecture_step(s)


def joint(s: Search, moves: bool) -> None:
    """SNAS, equation 6: one draw, one loss, both descend it."""
    batch, [draw] = next(s.batches["weights"]), s.rule.draw(s, "architecture")
    loss = s.loss(batch, draw)
    weights, theta = gradient(loss, s.w), full_gradient(loss + s.penalty(), s.theta)
    s.descend(weights)
    s.learn(theta)


def unrolled(radius: float | None) -> Callable[[Search, bool], None]:
    def step(s: Search, moves: bool) -> None:
        train = next(s.batches["weights"])
        unrolled_step(s, train, radius)
        weight_step(s, train)

    return step


def every_other(s: Search, moves: bool) -> None:
    """ProxylessNAS with an architecture step after every second weight step."""
    weight_step(s)
    if moves and (s.done + 1) % 2 == 0:
        two_path_step(s)


def rewarded(s: Search, moves: bool) -> None:
    """ENAS, with two controller steps of three samples at the end of every epoch."""
    weight_step(s)
    if (s.done + 1) % s.steps_per_epoch == 0:
        for _ in range(2):
            reward_step(s, samples=3)


# Moves of θ


def adam(s: Search, gradients: Weights) -> None:
    """Adam with bias correction."""
    (first, second), s.moved = s.rule.betas, s.moved + 1
    for name, g in gradients.items():
        m, v = s.moments.get(name, (torch.zeros_like(g), torch.zeros_like(g)))
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * g.square()
        s.moments[name] = m, v
        step = m / (1 - first**s.moved) / ((v / (1 - second**s.moved)).sqrt() + s.rule.epsilon)
        s.theta[name] = leaf(s.theta[name] - s.rule.theta_rate * step)


def decoupled_adam(s: Search, gradients: Weights) -> None:
    """AdamW on the weights that have a gradient, each with steps of its own."""
    for name, g in gradients.items():
        m, v = s.moments.get(name, (torch.zeros_like(g), torch.zeros_like(g)))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g.square()
        s.moments[name] = m, v
        steps = s.buffers[name] = s.buffers.get(name, torch.zeros((), dtype=torch.float64)) + 1
        step = m / (1 - 0.9**steps) / ((v / (1 - 0.999**steps)).sqrt() + 1e-8)
        s.w[name] = leaf(s.w[name] * (1 - s.rate * s.rule.decay) - s.rate * step)


def adam_of_pairs(s: Search, gradients: Weights) -> None:
    """Adam; then both logits of a pair are shifted so that the sum of their exponentials is what it was."""
    before, pairs = s.theta["theta"].detach(), gradients["theta"] != 0
    adam(s, gradients)
    after = s.theta["theta"].detach().clone()
    for edge, pair in enumerate(pairs):
        if pair.any():
            after[edge, pair] -= (after[edge, pair].exp().sum() / before[edge, pair].exp().sum()).log()
    s.theta["theta"] = leaf(after)


def exponentiated(s: Search, gradients: Weights) -> None:
    """GAEA: θ ← θ exp(-η g), normalised (far from the floor of 10⁻⁵, below which nothing may fall)."""
    grown = s.theta["theta"].detach() * (-s.rule.theta_rate * gradients["theta"]).exp()
    theta = grown / grown.sum(-1, keepdim=True)
    assert float(theta[s.mask].min()) > 1e-4
    s.theta["theta"] = leaf(theta)


def exponentiated_with_edges(s: Search, gradients: Weights) -> None:
    """GAEA on the network of PC-DARTS: every row by its own rate; only operations have a floor, far from here."""
    theta, slope = s.theta["theta"].detach(), gradients["theta"]
    rates = torch.full((len(theta), 1), s.rule.theta_rate, dtype=theta.dtype)
    rates[s.rule.rows :] = s.rule.edge_rate
    grown = theta * (-rates * slope).exp()
    s.theta["theta"] = leaf(grown / grown.sum(-1, keepdim=True))
    assert float(s.theta["theta"][: s.rule.rows].detach().min()) > 1e-4
