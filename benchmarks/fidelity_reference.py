"""Product and authors' code side by side, in float64: `python benchmarks/fidelity_reference.py --autodl CHECKOUT …`.

Nothing of the authors' code is part of this repository; fetch what you want to compare with (each option takes the
folder of a checkout, and a comparison runs when all that it needs is given)::

    git clone https://github.com/D-X-Y/AutoDL-Projects           --autodl    darts, gdas
    git clone https://github.com/quark0/darts                    --darts     darts-second-order (with --autodl)
    git clone https://github.com/liamcli/gaea_release            --gaea      gaea-darts, gaea-gdas (with --fork);
                                                                             gaea-pc-darts
    git clone https://github.com/liamcli/AutoDL-Projects         --fork
    git clone https://github.com/xiangning-chen/DrNAS            --drnas     drnas, also progressive
    git clone https://github.com/yuhuixu1993/PC-DARTS            --pcdarts   pc-darts
    git clone https://github.com/xiangning-chen/SmoothDARTS      --smooth    sdarts
    git clone https://github.com/Sunshine-Ye/Beta-DARTS          --beta      beta-darts
    git clone https://github.com/xiaomi-automl/FairDARTS         --fair      fair-darts (with --smooth)
    git clone https://github.com/ruocwang/darts-pt               --pt        darts-pt
    git clone https://github.com/automl/TangleNAS                --tanglenas tanglenas-drnas, tanglenas-gdas

The weights of the product's supernet are copied into the authors' search network by position. Both sides then go some
whole steps of their own, on the same batches of the digits (as three equal channels) and with the same noise; the
authors' networks and architecture optimisers compute, and this script drives them as their search scripts do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from sharewise.data import Batch, Dataset, Examples, Sealed, digits
from sharewise.engine import SearchState, numerics, prepare, stream
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.run.networks import asked_network
from sharewise.spaces import load

ROUNDS, CHANNELS, SEED, BAR = 3, 4, 0, 1e-10
OPTIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
BEGIN, END = "<!-- begin: reference -->", "<!-- end: reference -->"
QUANTITIES = ("output", "w gradient", "w", "θ gradient", "θ")


@dataclass
class Row:
    """What one comparison found."""

    what: str
    differences: dict[str, float] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)

    def note(self, quantity: str, product: Tensor, reference: Tensor) -> None:
        gap = float((product.detach() - reference.detach()).abs().max())
        self.differences[quantity] = max(self.differences.get(quantity, 0.0), gap if gap == gap else float("inf"))


# The product's side


def three_channels() -> Dataset:
    data = digits().limited(64, seed=SEED)
    examples = Examples(data.train.inputs.repeat(1, 3, 1, 1), data.train.targets)
    return Dataset("digits, three channels", data.task, "image", examples, Sealed(examples))


ENTANGLED = {"sharing": "entangled", "published": True}


def prepared(
    method: str, *, space: str = "nasbench201", network: Mapping[str, Any] | None = None, **arguments: Any
) -> SearchState:
    """A search at a random θ; the methods of TangleNAS on a network with entangled weights in its authors' form."""
    data, recipe = three_channels(), build(method, {"epochs": 3, "batch_size": 16, **arguments})
    sizes = {"channels": CHANNELS, "cells": 1, **(ENTANGLED if method.startswith("tanglenas") else {})}
    options = asked_network(load(space), recipe, network or sizes)
    supernet = build_supernet(load(space), data.input_shape, 10, network=options, seed=SEED)
    roles = data.assign(recipe.roles, generator=stream(SEED, "data"))
    state = prepare(supernet, recipe, roles, numerics=numerics("cpu", "float64"), seed=SEED)
    theta = state.distribution.theta
    with torch.no_grad():
        noise = torch.randn(theta.shape, generator=torch.Generator().manual_seed(1), dtype=theta.dtype)
        alive = (theta != 0).to(theta.dtype)
        simplex = method.startswith("gaea")
        theta.copy_(alive * noise.exp() / (alive * noise.exp()).sum(-1, keepdim=True) if simplex else alive * noise)
    state.supernet.train()
    return state


@contextmanager
def lent(generator: torch.Generator) -> Iterator[None]:
    """The authors' code draws from the global generator; it is lent the state of ours."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        yield
        generator.set_state(torch.get_rng_state())


@contextmanager
def reseeded(generator: torch.Generator) -> Iterator[None]:
    """As `lent`, seeded by the next number of ours."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**63 - 1, (), generator=generator)))
        yield


# The authors' side


@contextmanager
def sources(*folders: Path, stubs: tuple[str, ...] = ()) -> Iterator[None]:
    """Import from checkouts, without a GPU, in float64; afterwards nothing of theirs is left among the modules."""
    path, cuda, module_cuda = list(sys.path), torch.Tensor.cuda, nn.Module.cuda
    sys.path[:0] = [str(folder) for folder in folders]
    stood_in = [name for name in stubs if name not in sys.modules]
    for name in stood_in:
        sys.modules[name] = types.ModuleType(name)
    for name in stood_in:
        if "." in name:
            setattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2], sys.modules[name])
    torch.Tensor.cuda = lambda self, *a, **k: self  # type: ignore[method-assign, assignment]
    nn.Module.cuda = lambda self, *a, **k: self  # type: ignore[method-assign, assignment]
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.Tensor.cuda, nn.Module.cuda, sys.path[:] = cuda, module_cuda, path  # type: ignore[method-assign]
        theirs = tuple(str(folder.resolve()) for folder in folders)
        for name, module in list(sys.modules.items()):
            if name in stood_in or str(getattr(module, "__file__", None) or "").startswith(theirs):
                del sys.modules[name]


def position(name: str, options: tuple[str, ...]) -> str:
    """The authors' name of a weight of the product's supernet (one cell per stage)."""
    words = [word for word in name.split(".") if word != "edge"]
    if words[0] == "stages":
        _, source, target = words[4].split("_")
        if words[5] == "groups":  # the one kernel of an entangled edge
            return f"cells.{2 * int(words[1])}.edges.{target}<-{source}._ops.nor_conv_3x3.op.op.op.1.weight"
        return f"cells.{2 * int(words[1])}.edges.{target}<-{source}.{options.index(words[6])}.op.1.weight"
    if words[0] == "reductions":
        block = {"first": "conv_a.op", "second": "conv_b.op", "shortcut": "downsample"}[words[2]]
        return f"cells.{2 * int(words[1]) + 1}.{block}.{words[3]}.{words[4]}"
    if words[0] == "head":
        return f"lastact.0.{words[2]}" if words[1] == "0" else f"classifier.{words[2]}"
    return name


class Reference:
    """A search network of the authors beside the product's state.

    Args:
        state: the product; its weights are copied.
        network: the authors'; biases of convolutions, which the batch norm behind them cancels, become zero.
        options: the network's operations in order.
        pairs: the network's weights by the product's names, where they have no place in NAS-Bench-201.
    """

    def __init__(
        self,
        state: SearchState,
        network: nn.Module,
        options: tuple[str, ...] = OPTIONS,
        pairs: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        self.network, self.listening, self.unreached = network.train(), True, 0
        self.zeros_are_absent = True
        self.outputs: list[Tensor] = []
        own = dict(network.named_parameters())
        names = [name for name, _ in state.supernet.named_parameters()]
        self.pairs = dict(pairs or {name: own[position(name, options)] for name in names})
        paired = {id(value) for value in self.pairs.values()}
        self.rest = [v for n, v in own.items() if id(v) not in paired and "arch_parameters" not in n]
        with torch.no_grad():
            for name, value in state.supernet.named_parameters():
                self.pairs[name].copy_(value)
            for bias in self.rest:
                bias.zero_()
        settings = state.recipe.weights
        self.rate = settings.learning_rate(0, state.recipe.epochs)
        self.optimizer = torch.optim.SGD(
            [*self.pairs.values(), *self.rest],
            self.rate,
            settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )
        network.register_forward_hook(self._listen)

    def _listen(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self.listening:
            scores = output if isinstance(output, Tensor) else next(o for o in reversed(output) if o is not None)
            self.outputs.append(scores.detach())

    def weight_step(self, batch: Batch) -> None:
        """As in the authors' search scripts."""
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.scores(batch.inputs), batch.targets).backward()
        for value in self.pairs.values():
            if self.zeros_are_absent and value.grad is not None and not value.grad.any():  # behind a zero operation
                value.grad, self.unreached = None, self.unreached + 1
        nn.utils.clip_grad_norm_([*self.pairs.values(), *self.rest], 5.0)
        self.optimizer.step()

    def scores(self, x: Tensor) -> Tensor:
        output = self.network(x)
        return output if isinstance(output, Tensor) else next(o for o in reversed(output) if o is not None)


@dataclass
class Theirs:
    """How the authors' architecture step is driven.

    Args:
        reference: their network.
        theta: their architecture parameters, a tensor or what copies and detaches like one.
        step: their step on θ from the batches of w and of θ; appends the gradient that it descended to `gradients`.
        noise: how their draws come to the product's noise, for a step's generator.
        before_weights: what their script does before a weight step, given its batch.
        after_weights: what it does behind it.
        weights_first: the order of the two steps.
    """

    reference: Reference
    theta: Any
    step: Callable[[Batch, Batch], None]
    gradients: list[Tensor]
    noise: Callable[[torch.Generator], Any] = lent
    before_weights: Callable[[Batch], None] = lambda batch: None
    after_weights: Callable[[], None] = lambda: None
    weights_first: bool = False


def follow(
    row: Row,
    method: str,
    theirs: Callable[[SearchState], Theirs],
    epoch: int = 0,
    enter: Callable[[SearchState, Theirs], None] | None = None,
    **arguments: Any,
) -> Row:
    """Some whole steps on both sides, in one of the three epochs; as many again where they enter a second stage."""
    state, batches = prepared(method, **arguments), prepared(method, **arguments)
    state.epoch = epoch
    side, outputs = theirs(state), []
    reference = side.reference
    # A network that has changed is priced anew, by passes on shapes alone.
    state.supernet.register_forward_hook(
        lambda module, inputs, output: None if output.is_meta else outputs.append(output.detach())
    )
    noise = {name: stream(SEED, name) for name in ("weights", "architecture")}
    theta, kept = state.distribution.theta, state.distribution.mask.any(dim=0)
    with torch.no_grad():
        side.theta.copy_(theta[:, kept])
    for number in range(ROUNDS if enter is None else 2 * ROUNDS):
        if enter is not None and number == ROUNDS:
            enter(state, side)
        outputs.clear()
        reference.outputs.clear()
        state.recipe.level.step(state, architecture=True)
        drawn = [batches.next_batch(role) for role in state.recipe.level.roles]
        train, valid = (Batch(b.inputs.contiguous(), b.targets) for b in drawn)  # one of the architects asks for it
        for role in ("weights", "architecture") if side.weights_first else ("architecture", "weights"):
            with side.noise(noise[role]):
                if role == "architecture":
                    side.step(train, valid)
                else:
                    side.before_weights(train)
                    reference.weight_step(train)
            if role == "weights":
                gradients = {n: None if v.grad is None else v.grad.clone() for n, v in reference.pairs.items()}
                side.after_weights()
        for mine, other in zip(outputs, reference.outputs, strict=True):
            row.note("output", mine, other)
        for name, value in state.supernet.named_parameters():
            mine, other = (torch.zeros(()) if g is None else g for g in (value.grad, gradients[name]))
            row.note("w gradient", mine, other)
            row.note("w", value, reference.pairs[name])
        alive = state.distribution.mask[:, kept]
        row.note("θ gradient", theta.grad[:, kept] * alive, side.gradients[-1] * alive)
        row.note("θ", theta[:, kept] * alive, side.theta.detach() * alive)
    if reference.unreached:
        row.aside.append(f"{reference.unreached} all-zero weight gradients taken for absent")
    return row


# The comparisons


def autodl_network(name: str) -> Any:
    module = import_module(f"xautodl.models.cell_searchs.search_model_{name.lower()}")
    return getattr(module, f"TinyNetwork{name}")(CHANNELS, 1, 4, 10, list(OPTIONS), False, True)


def benchmark_step(reference: Reference, theta: Tensor, gradients: list[Tensor]) -> Callable[[Batch, Batch], None]:
    """The step on α of the benchmark's search scripts."""
    optimizer = torch.optim.Adam([theta], lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

    def step(train: Batch, valid: Batch) -> None:
        theta.grad = None
        nn.functional.cross_entropy(reference.scores(valid.inputs), valid.targets).backward()
        gradients.append(theta.grad + 1e-3 * theta.detach())  # type: ignore[operator]
        optimizer.step()

    return step


def compare_darts(autodl: Path) -> Row:
    def theirs(state: SearchState) -> Theirs:
        network, gradients = autodl_network("Darts"), []
        reference = Reference(state, network)
        theta = network.arch_parameters
        return Theirs(reference, theta, benchmark_step(reference, theta, gradients), gradients)

    with sources(autodl):
        return follow(Row("darts against AutoDL-Projects: its DARTS network"), "darts", theirs)


@contextmanager
def chosen_only(network: Any) -> Iterator[list[bool]]:
    """Within the block, unchosen options pass no gradient, from outside: their gates are multiplied by zero."""
    on = [True]

    def wrap(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def forward(x: Tensor, hard: Tensor, index: Tensor) -> Tensor:
            return original(x, hard * torch.zeros_like(hard).scatter_(-1, index, 1.0) if on[0] else hard, index)

        return forward

    for cell in network.cells:
        if hasattr(cell, "forward_gdas"):
            cell.forward_gdas = wrap(cell.forward_gdas)
    yield on


def compare_gdas(autodl: Path) -> Row:
    row, quotients = Row("gdas against AutoDL-Projects: its GDAS network, gates of unchosen options left out"), []

    def theirs(state: SearchState) -> Theirs:
        network, gradients = autodl_network("GDAS"), []
        reference = Reference(state, network)
        theta, on = network.arch_parameters, stack.enter_context(chosen_only(network))
        inner = benchmark_step(reference, theta, gradients)

        def step(train: Batch, valid: Batch) -> None:
            before = torch.get_rng_state()
            theta.grad, reference.listening, on[0] = None, False, False
            nn.functional.cross_entropy(reference.scores(valid.inputs), valid.targets).backward()
            published = theta.grad + 1e-3 * theta.detach()
            reference.listening, on[0] = True, True
            torch.set_rng_state(before)
            inner(train, valid)
            quotients.append(float((published - gradients[-1]).norm() / gradients[-1].norm()))

        return Theirs(reference, theta, step, gradients, weights_first=True)

    with ExitStack() as stack:
        stack.enter_context(sources(autodl))
        follow(row, "gdas", theirs)
    row.aside.append("as published the θ gradient differs by " + ", ".join(f"{q:.1e}" for q in quotients))
    return row


class Unrollable(nn.Module):
    """The benchmark's DARTS network with what the architect of quark0/darts asks of a model."""

    def __init__(self, alpha: Tensor) -> None:
        super().__init__()
        self.inner = autodl_network("Darts")
        del self.inner._parameters["arch_parameters"]
        self.inner.arch_parameters = self.alpha = alpha
        self.on_copy: Callable[[Unrollable], None] = lambda copy: None

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[1]  # type: ignore[no-any-return]

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self(x), y)

    def arch_parameters(self) -> list[Tensor]:
        return [self.alpha]

    def new(self) -> Unrollable:
        copy = Unrollable(self.alpha.detach().clone().requires_grad_())
        self.on_copy(copy)
        return copy


def compare_second_order(autodl: Path, darts: Path) -> Row:
    def theirs(state: SearchState) -> Theirs:
        alpha, gradients = torch.zeros(6, 5, requires_grad=True), []
        model = Unrollable(alpha)
        reference = Reference(state, model.inner)
        settings = state.recipe.weights
        arguments = SimpleNamespace(
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            arch_learning_rate=3e-4,
            arch_weight_decay=1e-3,
        )
        architect = import_module("architect").Architect(model, arguments)
        model.on_copy = lambda copy: copy.inner.register_forward_hook(reference._listen) and None

        def step(train: Batch, valid: Batch) -> None:
            start = len(reference.outputs)
            architect.step(*train, *valid, reference.rate, reference.optimizer, True)
            gradients.append(alpha.grad + 1e-3 * before[-1])  # type: ignore[operator]
            assert len(reference.outputs) == start + 4

        before: list[Tensor] = []
        architect.optimizer.register_step_pre_hook(lambda *_: before.append(alpha.detach().clone()))
        return Theirs(reference, alpha, step, gradients)

    with sources(darts / "cnn", autodl):
        row = Row("darts-second-order, finite difference, against quark0/darts: its architect on the network above")
        return follow(row, "darts-second-order", theirs, finite_difference=0.01)


def gaea_network(**options: Any) -> Any:
    module = import_module("search_spaces.nasbench_201.model_search")
    return module.NASBENCH201Network(CHANNELS, 10, 3, 1, nn.functional.cross_entropy, "nas-bench-201", **options)


def silent() -> SimpleNamespace:
    return SimpleNamespace(add_scalar=lambda *arguments: None)


def driven_by(architect: Any, reference: Reference) -> Theirs:
    """An architect of GAEA, whose gradient is seen by a hook since it clears it itself."""
    theta, gradients = architect.alphas["normal"], []
    theta.register_hook(lambda gradient: gradients.append(gradient.clone()))

    def step(train: Batch, valid: Batch) -> None:
        architect.step(*train, *valid, reference.rate)
        kept.append(gradients[-1])

    def before(batch: Batch) -> None:
        architect.set_model_alphas()
        architect.set_model_edge_weights()

    kept: list[Tensor] = []
    return Theirs(reference, theta, step, kept, before_weights=before)


def compare_gaea_darts(gaea: Path, fork: Path) -> Row:
    def theirs(state: SearchState) -> Theirs:
        network = gaea_network(exclude_zero=True)
        search = {"learn_edges": False, "trace_norm": 1, "arch_learning_rate": 0.1, "edge_learning_rate": 0.1}
        search |= {"arch_grad_clip": None, "adapt_lr": False, "arch_weight_decay": 0.0, "gd": False}
        settings = SimpleNamespace(search=SimpleNamespace(**search))
        architect = import_module("architect.architect_edarts").ArchitectEDARTS(network, settings, silent())

        return driven_by(architect, Reference(state, network, tuple(network.op_names)))

    with sources(gaea / "cnn", fork, fork / "lib"):
        return follow(Row("gaea-darts against gaea_release: its EDARTS architect and network"), "gaea-darts", theirs)


def compare_gaea_gdas(gaea: Path, fork: Path) -> Row:
    def theirs(state: SearchState) -> Theirs:
        network = gaea_network()
        stack.enter_context(chosen_only(network))
        search = {"arch_learning_rate": 0.01, "max_tau": 10, "min_tau": 0.1, "warmup_epochs": 0}
        search |= {"arch_grad_clip": None, "arch_weight_decay": 0.01}
        settings = SimpleNamespace(search=SimpleNamespace(**search), run=SimpleNamespace(epochs=3))
        architect = import_module("architect.architect_egdas").ArchitectEGDAS(network, settings, silent())
        reference = Reference(state, network, tuple(network.op_names))
        plain = network.forward
        network.forward = lambda x, discrete=True: plain(x, discrete=discrete)

        return driven_by(architect, reference)

    row = Row("gaea-gdas against gaea_release: its EGDAS architect and network, gates of unchosen options left out")
    with ExitStack() as stack:
        stack.enter_context(sources(gaea / "cnn", fork, fork / "lib"))
        return follow(row, "gaea-gdas", theirs, warm_up=0.0)


def compare_drnas(drnas: Path, anchor: str) -> Row:
    def theirs(state: SearchState) -> Theirs:
        network = import_module("search_model").TinyNetwork(
            CHANNELS, 1, 4, 10, nn.functional.cross_entropy, list(OPTIONS), k=1, species="dirichlet", reg_type=anchor
        )
        reference = Reference(state, network)
        settings = SimpleNamespace(
            momentum=0.9, weight_decay=3e-4, arch_learning_rate=3e-4, reg_type=anchor, reg_scale=1e-3
        )
        architect, theta = import_module("architect").Architect(network, settings), network._arch_parameters
        decay, gradients = architect.optimizer.param_groups[0]["weight_decay"], []
        architect.optimizer.register_step_pre_hook(lambda *_: gradients.append(theta.grad + decay * theta.detach()))

        def step(train: Batch, valid: Batch) -> None:
            architect.step(*train, *valid, reference.rate, reference.optimizer, False)

        return Theirs(reference, theta, step, gradients, noise=reseeded)

    with sources(drnas / "201-space", drnas, stubs=("torchvision", "torchvision.transforms")):
        row = Row(f"drnas, anchor {anchor}, against DrNAS: its architect and network without partial channels")
        return follow(row, "drnas", theirs, anchor=anchor)


def benchmark_network(options: tuple[str, ...] = OPTIONS) -> Any:
    """The search network of SmoothDARTS, on which Beta-DARTS builds."""
    module = import_module("nasbench201.model")
    return module.Network(CHANNELS, 1, 4, 10, nn.functional.cross_entropy, list(options))


def observed(optimizer: torch.optim.Optimizer, theta: Tensor, decay: float) -> list[Tensor]:
    """The gradients that an optimiser of θ descends, weight decay included."""
    gradients: list[Tensor] = []
    optimizer.register_step_pre_hook(lambda *_: gradients.append(theta.grad + decay * theta.detach()))  # type: ignore[operator]
    return gradients


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Within the block running statistics rest, as in every architecture step of the product."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.0
    yield
    for norm in norms:
        norm.momentum = 0.1


_VISION = "torchvision.datasets"
SMOOTH = SimpleNamespace(momentum=0.9, weight_decay=3e-4, arch_learning_rate=3e-4, arch_weight_decay=1e-3)


def compare_sdarts(smooth: Path, form: str) -> Row:
    name = {"random": "Random_alpha", "adversarial": "Linf_PGD_alpha"}[form]

    def theirs(state: SearchState) -> Theirs:
        network, kind = benchmark_network(), ["alpha"]
        plain, attack = network.forward, getattr(import_module("attacker.perturb"), name)
        network.forward = lambda x, updateType=None: plain(x, updateType=updateType or kind[0])  # noqa: N803
        reference, theta = Reference(state, network), network._arch_parameters
        reference.zeros_are_absent = False  # an option may be perturbed to a weight of zero, and decays then
        architect = import_module("optimizers.darts.architect").Architect(network, SMOOTH)

        def step(train: Batch, valid: Batch) -> None:
            with still(network):
                architect.step(*train, *valid, reference.rate, reference.optimizer, False)

        def before(batch: Batch) -> None:
            network.softmax_arch_parameters()
            attack(network, *batch, 0.03 + 0.27 / 3)
            kind[0] = "weight"

        def after() -> None:
            network.restore_arch_parameters()
            kind[0] = "alpha"

        gradients = observed(architect.optimizer, theta, 1e-3)
        return Theirs(reference, theta, step, gradients, before_weights=before, after_weights=after)

    with sources(smooth):
        row = Row(f"sdarts, {form}, against SmoothDARTS: its architect, attack and network, running statistics resting")
        return follow(row, "sdarts", theirs, epoch=1, perturbation=form)


def compare_beta(beta: Path) -> Row:
    def theirs(state: SearchState) -> Theirs:
        network = benchmark_network()
        reference, theta = Reference(state, network), network._arch_parameters
        architect = import_module("optimizers.darts.architect").Architect(network, SMOOTH)

        def step(train: Batch, valid: Batch) -> None:  # epoch 1 of 3 is theirs at a third of their hundred
            architect.step(*train, *valid, reference.rate, reference.optimizer, 100 / 3, False)

        return Theirs(reference, theta, step, observed(architect.optimizer, theta, 1e-3))

    with sources(beta):
        row = Row("beta-darts against Beta-DARTS: its architect and network, in the second of three epochs")
        return follow(row, "beta-darts", theirs, epoch=1)


class Fair(nn.Module):
    """The benchmark's network under sigmoids, with what the architect of FairDARTS asks of a model."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.inner, self.criterion = benchmark_network(OPTIONS[1:]), criterion
        del self.inner._parameters["_arch_parameters"]
        self.alphas_normal = torch.zeros(6, 4, requires_grad=True)
        self.alphas_reduce = torch.zeros(0, 4, requires_grad=True)

    def arch_parameters(self) -> list[Tensor]:
        return [self.alphas_normal, self.alphas_reduce]

    def forward(self, x: Tensor) -> Tensor:
        self.inner.__dict__["_arch_parameters"] = self.alphas_normal.sigmoid()
        scores: Tensor = self.inner(x, updateType="weight")
        return scores

    def _loss(self, x: Tensor, y: Tensor, aside: Tensor) -> Any:
        return self.criterion(self(x), y, aside)


def compare_fair(smooth: Path, fair: Path, norm: str) -> Row:
    def theirs(state: SearchState) -> Theirs:
        loss = {"l2": "ConvSeparateLoss", "l1": "TriSeparateLoss"}[norm]
        model = Fair(getattr(import_module("separate_loss"), loss)(weight=10.0))
        reference = Reference(state, model.inner, OPTIONS[1:])
        reference.scores = lambda x: model(x)  # type: ignore[method-assign]
        settings = SimpleNamespace(**vars(SMOOTH) | {"arch_learning_rate": 3e-3, "arch_lr_gamma": 0.9})
        architect, theta = import_module("architect").Architect(model, settings), model.alphas_normal

        def step(train: Batch, valid: Batch) -> None:
            architect.step(*valid)

        return Theirs(reference, theta, step, observed(architect.optimizer, theta, 1e-3))

    with sources(fair / "fairdarts", smooth):
        row = Row(f"fair-darts, {norm}, against FairDARTS: its architect and loss on the network of SmoothDARTS")
        return follow(row, "fair-darts", theirs, zero_one_norm=norm)


def compare_pt(pt: Path, criterion: str) -> Row:
    """All choices on a supernet that was trained for some steps, without training in between."""
    row = Row(f"darts-pt, {criterion}, against darts-pt: the choices of its projection on its network")
    state = prepared("darts-pt", tuning_epochs=0, criterion=criterion)
    for _ in range(ROUNDS):
        state.recipe.level.step(state, architecture=True)
    selection, outputs = state.recipe.selection, []
    hook = state.supernet.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
    names = [decision.name for decision in state.distribution.relaxation.decisions]
    settled: dict[str, int] = {}
    generator = state.fresh_generator("selection")
    while len(settled) < len(names):
        settled |= selection.round(state, settled, generator)[0]  # type: ignore[attr-defined]
    hook.remove()
    order = [names.index(name) for name in settled]

    def judged(queue: Any, model: Any, criterion: Any, **options: Any) -> Any:
        if options.get("weights") is None:
            return 0.0, 0.0
        scores = [(model(x, weights=options["weights"]), y) for x, y in queue]
        count = sum(len(y) for _, y in scores)
        hits = sum(float((s.argmax(-1) == y).sum()) for s, y in scores)
        return hits / count, sum(float(criterion(s, y)) * len(y) for s, y in scores) / count

    with sources(pt, stubs=("nas_201_api", "torchvision", "torchvision.transforms", _VISION)):
        for name, words in {"nas_201_api": ("NASBench201API",), _VISION: ("VisionDataset", "utils")}.items():
            for word in words:
                setattr(sys.modules[name], word, object)
        settings = SimpleNamespace(learning_rate=0.025, momentum=0.9, weight_decay=3e-4, proj_intv=5, fast=True)
        settings.edge_decision, settings.proj_crit = "random", {"metric": "acc", "loss": "loss"}[criterion]
        module = import_module("nasbench201.search_model_darts_proj")
        network = module.TinyNetworkDartsProj(
            CHANNELS, 1, 4, 10, nn.functional.cross_entropy, list(OPTIONS[1:]), settings
        )
        reference = Reference(state, network, OPTIONS[1:])
        with torch.no_grad():
            network._arch_parameters.copy_(state.distribution.theta[:, 1:])
        projection, choice = import_module("nasbench201.projection"), projection_order(order)
        queue = [(batch.inputs, batch.targets) for batch in state.evaluation_batches("selection")]
        projection.np.random.choice, kept = choice, projection.np.random.choice
        try:
            with torch.no_grad():
                loss = nn.functional.cross_entropy
                projection.pt_project([], queue, network, None, loss, None, 0, settings, judged, None)
        finally:
            projection.np.random.choice = kept
    for mine, other in zip(outputs, reference.outputs, strict=True):
        row.note("output", mine, other)
    chosen = network.proj_weights.argmax(-1) + 1
    equal = sum(int(chosen[names.index(name)]) == option for name, option in settled.items())
    row.differences["output"] = row.differences["output"] if equal == len(names) else float("inf")
    row.aside.append(f"{equal} of {len(names)} choices are equal")
    return row


def projection_order(edges: list[int]) -> Callable[..., list[int]]:
    """In place of a random choice: the edges in the order in which the product drew them."""
    remaining = iter(edges)

    def choice(among: Any, size: int) -> list[int]:
        edge = next(remaining)
        assert edge in among
        return [edge]

    return choice


def tanglenas_network(optimizer: str) -> Any:
    """The entangled NAS-Bench-201 network of TangleNAS, which lists its operations backwards."""
    sys.modules["nas_201_api"].NASBench201API = sys.modules["sparsemax"].Sparsemax = None  # type: ignore[attr-defined]
    network = import_module("search_spaces.NB201.model_search").NASBench201SearchSpace
    return network(optimizer, CHANNELS, 1, 4, 10, list(OPTIONS), False, True, nn.functional.cross_entropy,
                   use_we_v2=True)  # fmt: skip


def compare_tanglenas(tanglenas: Path, host: str) -> Row:
    def theirs(state: SearchState) -> Theirs:
        network, gradients = tanglenas_network(host), []
        sampler, theta = network.sampler, torch.zeros(6, 5, requires_grad=True)
        # α is kept in the product's order, so that noise falls on the same options on both sides.
        network._arch_parameters = [theta]
        draw = sampler.sample
        sampler.sample = lambda alpha: draw(alpha).flip(-1)
        if host == "gdas":
            sampler.set_taus(0.1, 10)
            sampler.set_total_epochs(3)
            sampler.before_epoch()
        settings = SimpleNamespace(momentum=0.9, weight_decay=3e-4, arch_learning_rate=3e-4, arch_weight_decay=1e-3)
        network.arch_parameters = lambda: [theta]
        architect = import_module("search.architects").ArchitectV1(network, settings)
        architect.optimizer.register_step_pre_hook(lambda *_: gradients.append(theta.grad + 1e-3 * theta.detach()))
        reference = Reference(state, network)

        def step(train: Batch, valid: Batch) -> None:
            theta.grad = None
            with redirect_stdout(StringIO()):  # it names every parameter without a gradient
                architect.step(*train, *valid, reference.rate, reference.optimizer)

        return Theirs(reference, theta, step, gradients, noise=reseeded if host == "drnas" else lent)

    with sources(tanglenas, stubs=("nas_201_api", "sparsemax")):
        row = Row(f"tanglenas-{host}, entangled as published, against TangleNAS: its architect and network")
        return follow(row, f"tanglenas-{host}", theirs)


COMPARISONS: tuple[tuple[tuple[str, ...], Callable[..., Row]], ...] = (
    (("autodl",), compare_darts),
    (("autodl",), compare_gdas),
    (("autodl", "darts"), compare_second_order),
    (("gaea", "fork"), compare_gaea_darts),
    (("gaea", "fork"), compare_gaea_gdas),
    (("drnas",), lambda drnas: compare_drnas(drnas, "l2")),
    (("drnas",), lambda drnas: compare_drnas(drnas, "kl")),
    (("smooth",), lambda smooth: compare_sdarts(smooth, "random")),
    (("smooth",), lambda smooth: compare_sdarts(smooth, "adversarial")),
    (("beta",), compare_beta),
    (("smooth", "fair"), lambda smooth, fair: compare_fair(smooth, fair, "l2")),
    (("smooth", "fair"), lambda smooth, fair: compare_fair(smooth, fair, "l1")),
    (("pt",), lambda pt: compare_pt(pt, "metric")),
    (("pt",), lambda pt: compare_pt(pt, "loss")),
    (("tanglenas",), lambda tanglenas: compare_tanglenas(tanglenas, "drnas")),
    (("tanglenas",), lambda tanglenas: compare_tanglenas(tanglenas, "gdas")),
)


def comparisons() -> tuple[tuple[tuple[str, ...], Callable[..., Row]], ...]:
    """All of them; those with partial channels lie in a module of their own, which imports this one."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    try:
        from benchmarks.reference_cells import COMPARISONS as PARTIAL
    finally:
        del sys.path[0]
    return (*COMPARISONS, *PARTIAL)


def commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "log", "-1", "--format=%h of %cs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "an unknown commit"


def table(rows: list[Row]) -> str:
    lines = [f"| comparison | {' | '.join(QUANTITIES)} | remarks |", "| --- |" + " --- |" * 6]
    for row in rows:
        cells = " | ".join(f"{row.differences[q]:.0e}" if q in row.differences else "" for q in QUANTITIES)
        lines.append(f"| {row.what} | {cells} | {'; '.join(row.aside)} |")
    return "\n".join(lines)


def joined(old: str, new: str) -> str:
    """A block of the page with the rows and commits of a run in place of its former ones, others as they were."""
    lines = [text.split("\n")[0].rstrip(".").split("; ")[1].split(", ") for text in (old, new)]
    heads = [dict(part.split(" ", 1) for part in line) for line in lines]
    rows = [{line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| ")} for text in (old, new)]
    versions = ", ".join(f"{name} {version}" for name, version in (heads[0] | heads[1]).items())
    return f"{new.split('; ')[0]}; {versions}.\n\n" + "\n".join((rows[0] | rows[1]).values())


def main(arguments: list[str]) -> int:
    """Compare with whatever is at hand, print, and say by the exit status whether all differences are below the bar."""
    parser = argparse.ArgumentParser(
        prog="fidelity_reference", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("autodl", "darts", "gaea", "fork", "drnas", "pcdarts", "smooth", "beta", "fair", "pt", "tanglenas")
    for name in names:
        parser.add_argument(f"--{name}", type=Path, metavar="CHECKOUT")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into the marked block of a document")
    options = parser.parse_args(arguments)
    given = {name: Path(getattr(options, name)).resolve() for name in names if getattr(options, name) is not None}
    missing = [name for name, folder in given.items() if not folder.is_dir()]
    runnable = [(needs, compare) for needs, compare in comparisons() if all(name in given for name in needs)]
    if missing or not runnable:
        trouble = f"no folder at the path of {', '.join(missing)}" if missing else "no checkout is given"
        print(f"{trouble}.\n\n{__doc__}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    rows = [compare(*(given[name] for name in needs)) for needs, compare in runnable]
    versions = ", ".join(f"{name} {commit(folder)}" for name, folder in given.items())
    text = f"torch {torch.__version__}, float64, one thread, {ROUNDS} steps; {versions}.\n\n{table(rows)}"
    print(text)
    if options.write is not None:
        page = options.write.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        old, after = rest.split(END)
        options.write.write_text(f"{before}{BEGIN}\n{joined(old.strip(), text)}\n{END}{after}", encoding="utf-8")
    above = [row.what for row in rows if not max(row.differences.values()) < BAR]
    print(f"above {BAR:.0e}: {'; '.join(above)}" if above else f"all {len(rows)} comparisons are below {BAR:.0e}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
