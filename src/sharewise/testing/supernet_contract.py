"""The contract of a supernet: one-hot gates are a plain network, and inactive options do not exist."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sharewise.errors import InheritanceError
from sharewise.space import Architecture, sample
from sharewise.supernet import Gate, Gates, MixedOperation, Shared, Supernet, discrete, extract
from sharewise.supernet.extract import inherited_state
from sharewise.testing.expect import expect
from sharewise.testing.influence import check_influence

__all__ = ["check_supernet", "randomise_norms"]


def randomise_norms(module: nn.Module, generator: torch.Generator) -> None:
    """Give every normalisation layer random scales, shifts and running statistics, in place.

    A fresh layer has scale 1, shift 0, mean 0 and variance 1, so that a comparison between fresh networks would not
    notice a norm that was lost, swapped or sliced wrongly.

    Args:
        module: any module.
        generator: source of randomness, on the host.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> randomise_norms(norm, torch.Generator().manual_seed(0))
        >>> bool((norm.running_var != 1).all())
        True
    """

    def draw(like: Tensor, low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(like.shape, generator=generator)).to(like)

    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, _BatchNorm | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm):
                if layer.weight is not None:
                    layer.weight.copy_(draw(layer.weight, 0.5, 1.5))
                bias = getattr(layer, "bias", None)
                if isinstance(bias, Tensor):
                    bias.copy_(draw(bias, -0.5, 0.5))
            if isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_var is not None:
                layer.running_mean.copy_(draw(layer.running_mean, -0.5, 0.5))
                layer.running_var.copy_(draw(layer.running_var, 0.5, 1.5))


def check_supernet(supernet: Supernet, inputs: Tensor, *, samples: int = 6, seed: int = 0) -> None:
    """Check the laws of weight sharing on a copy of a supernet; the supernet itself is not touched.

    With the gates of an architecture, evaluation equals the extracted plain network bit for bit, and training has the
    same loss, gradients and running statistics, with no gradient left over for anything that is not part of the
    architecture; where what is inherited is no slice but a function of the weights, such as a transformed kernel, they
    are gradients through that function. Under random gates the operations that are not active are neither executed nor given a gradient
    (`None`, not zeros). Gates leave no trace in the network. Every choice changes something where it is active and
    nothing where it is not, and the weights of every gate are read (`check_influence`). All norm layers are randomised
    first, without which these comparisons would be vacuous. Where a supernet says that no network can inherit its
    weights (`InheritanceError`, as under partial channels), nothing is compared with an extracted one.

    Args:
        supernet: on the CPU.
        inputs: a batch of at least two examples.
        samples: how many random architectures and random gates to try.
        seed: of these and of the norms.

    Raises:
        AssertionError: for the first law that is broken, naming architecture or decision.

    Example:
        >>> from sharewise.run import build_supernet
        >>> from sharewise.spaces import load
        >>> check_supernet(build_supernet(load("toy-two-inputs"), (4,), outputs=3), torch.ones(2, 4))
    """
    generator = torch.Generator().manual_seed(seed)
    supernet = copy.deepcopy(supernet)
    randomise_norms(supernet, generator)
    rng = np.random.default_rng(seed)
    architectures = [sample(supernet.space, rng) for _ in range(samples)]
    heirs = _has_heirs(supernet, architectures[0])
    previous: tuple[Gates, Tensor] | None = None
    for architecture in architectures:
        output = _check_output(supernet, architecture, inputs)
        if heirs:
            _check_extracted(supernet, architecture, inputs, output)
        if previous is not None:
            with torch.no_grad():
                again = supernet(inputs, previous[0])
            expect(torch.equal(again, previous[1]), f"the gates of {architecture} left a trace in the supernet")
        previous = discrete(supernet.relaxation.encode(architecture), dtype=inputs.dtype), output
    precise = copy.deepcopy(supernet).double()
    many = inputs.double() if inputs.is_floating_point() else inputs
    for architecture in architectures if heirs else ():
        _check_training(precise, architecture, many, generator)
    for _ in range(samples):
        _check_inactive(precise, many, generator)
    check_influence(precise, many, seed=seed)


def _has_heirs(supernet: Supernet, architecture: Architecture) -> bool:
    try:
        extract(supernet, architecture)
    except InheritanceError:
        return False
    except RuntimeError as error:
        raise AssertionError(f"what {architecture} inherits does not fit its plain network: {error}") from error
    return True


def _check_output(supernet: Supernet, architecture: Architecture, inputs: Tensor) -> Tensor:
    gates = discrete(
        supernet.relaxation.encode(architecture),
        dtype=inputs.dtype if inputs.dtype.is_floating_point else torch.float32,
    )
    supernet.eval()
    with torch.no_grad():
        output: Tensor = supernet(inputs, gates)
    expect(
        len(output) == len(inputs),
        f"the supernet maps {len(inputs)} examples to outputs of shape {tuple(output.shape)}",
    )
    return output


def _check_extracted(supernet: Supernet, architecture: Architecture, inputs: Tensor, expected: Tensor) -> None:
    try:
        network = extract(supernet, architecture)
    except RuntimeError as error:
        raise AssertionError(f"what {architecture} inherits does not fit its plain network: {error}") from error
    strangers = [name for name, module in network.named_modules() if isinstance(module, Shared | Supernet)]
    expect(not strangers, f"the extracted network of {architecture} is not plain: {strangers}")
    theirs = {tensor.data_ptr() for tensor in supernet.state_dict().values() if tensor.numel()}
    shared = [name for name, tensor in network.state_dict().items() if tensor.numel() and tensor.data_ptr() in theirs]
    expect(not shared, f"the extracted network of {architecture} shares storage with the supernet: {shared}")
    with torch.no_grad():
        actual = network(inputs)
    expect(
        torch.equal(expected, actual),
        f"the extracted network of {architecture} differs from the supernet by up to "
        f"{(expected - actual).abs().max():.3g}",
    )


def _check_training(supernet: Supernet, architecture: Architecture, inputs: Tensor, generator: torch.Generator) -> None:
    """The same loss, gradients and statistics as the plain network, and gradients nowhere else."""
    gates = discrete(supernet.relaxation.encode(architecture), dtype=torch.float64)
    whole = copy.deepcopy(supernet).train()
    plain = extract(whole, architecture)
    for network, arguments in ((whole, (inputs, gates)), (plain, (inputs,))):
        network.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            loss = network(*arguments).square().mean()
        if loss.requires_grad:
            torch.autograd.backward(loss)
    statistics = inherited_state(whole, gates)
    for name, buffer in plain.named_buffers():
        if name not in statistics:  # a constant that the state does not hold
            continue
        expect(
            torch.allclose(buffer, statistics[name], rtol=1e-10, atol=1e-12),
            f"training {architecture} in the supernet leaves other statistics in {name!r} than training it plainly",
        )
    ours = {p: torch.zeros_like(p) if p.grad is None else p.grad for p in whole.parameters()}
    theirs = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in plain.named_parameters()}
    if _is_slicing(whole, gates, theirs):
        _check_slices_of_gradients(whole, architecture, gates, ours, theirs)
    else:
        _check_chain_rule(whole, architecture, gates, ours, theirs, generator)


def _at(supernet: Supernet, gates: Gates, values: Mapping[nn.Parameter, Tensor]) -> dict[str, Tensor]:
    """What is inherited when the parameters have other values, which they lose again."""
    kept = {parameter: parameter.detach().clone() for parameter in values}
    with torch.no_grad():
        for parameter, value in values.items():
            parameter.copy_(value)
        state = {name: tensor.clone() for name, tensor in inherited_state(supernet, gates).items()}
        for parameter, value in kept.items():
            parameter.copy_(value)
    return state


def _is_slicing(supernet: Supernet, gates: Gates, names: Iterable[str]) -> bool:
    """Whether what is inherited are parts of weights, which double with them, and no product of weights."""
    parameters = dict.fromkeys(supernet.parameters())
    one, two = (_at(supernet, gates, {p: factor * p.detach() for p in parameters}) for factor in (1, 2))
    return all(torch.equal(two[name], 2 * one[name]) for name in names)


def _check_slices_of_gradients(
    whole: Supernet,
    architecture: Architecture,
    gates: Gates,
    ours: Mapping[nn.Parameter, Tensor],
    theirs: Mapping[str, Tensor],
) -> None:
    total, inside = sum(float(gradient.abs().sum()) for gradient in ours.values()), 0.0
    gradients = _at(whole, gates, ours)
    for name, expected in theirs.items():
        inside += float(expected.abs().sum())
        expect(
            torch.allclose(expected, gradients[name], rtol=1e-8, atol=1e-11),
            f"{name!r} of {architecture} has another gradient in the supernet than in the plain network",
        )
    expect(
        abs(total - inside) <= 1e-8 * max(total, 1e-3),
        f"{architecture} sends gradients to weights that are not its own: {total:.6g} in all, {inside:.6g} to its own",
    )


def _check_chain_rule(
    whole: Supernet,
    architecture: Architecture,
    gates: Gates,
    ours: Mapping[nn.Parameter, Tensor],
    theirs: Mapping[str, Tensor],
    generator: torch.Generator,
) -> None:
    """⟨dL/dw, d⟩ = ⟨dL/dv, dv/dw · d⟩ for random directions d, where v(w) are the inherited weights.

    The derivative is a difference of five points, exact for products of up to four weights.
    """
    for _ in range(3):
        direction = {p: torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in ours}
        moved = {s: _at(whole, gates, {p: p.detach() + s * d for p, d in direction.items()}) for s in (-2, -1, 1, 2)}
        slopes = {n: (8 * (moved[1][n] - moved[-1][n]) - moved[2][n] + moved[-2][n]) / 12 for n in theirs}
        expected = sum(float((gradient * slopes[name]).sum()) for name, gradient in theirs.items())
        actual = sum(float((gradient * direction[p]).sum()) for p, gradient in ours.items())
        scale = sum(float((gradient * slopes[name]).abs().sum()) for name, gradient in theirs.items())
        expect(
            abs(expected - actual) <= 1e-9 * max(scale, 1e-3),
            f"the gradient of {architecture} in the supernet is not that of the plain network through what it "
            f"inherits: along a random direction the loss rises by {actual:.6g} instead of {expected:.6g}",
        )


def _check_inactive(supernet: Supernet, inputs: Tensor, generator: torch.Generator) -> None:
    """Under random gates with some options active, the others are not executed and their gradient is `None`."""
    gates: dict[str, Gate] = {}
    for decision in supernet.relaxation.decisions:
        flags = torch.rand(decision.size, generator=generator) < 0.5
        flags[int(torch.randint(decision.size, (), generator=generator))] = True
        active = tuple(flags.nonzero().flatten().tolist())
        weights = torch.rand(decision.size, generator=generator, dtype=torch.float64) * flags
        gates[decision.name] = Gate((weights / weights.sum()).requires_grad_(), active)
    supernet = copy.deepcopy(supernet).train()
    supernet.zero_grad(set_to_none=True)
    with _calls(supernet) as executed:
        loss = supernet(inputs, gates).square().mean()
    expect(bool(loss.isfinite()), f"the loss under random gates is {float(loss.detach())}")
    if loss.requires_grad:
        torch.autograd.backward(loss)
    for path, mixed in supernet.named_modules():
        if not isinstance(mixed, MixedOperation):
            continue
        for index, option in enumerate(map(str, mixed.decision.options)):
            if option not in mixed.operations or index in gates[mixed.decision.name].active:
                continue
            operation = mixed.operations[option]
            where = f"option {option!r} of decision {mixed.decision.name!r} (at {path!r}) is not active"
            expect(not any(module in executed for module in operation.modules()), f"{where}, but was executed")
            for name, parameter in operation.named_parameters():
                expect(parameter.grad is None, f"{where}, but its {name!r} has a gradient")


@contextmanager
def _calls(module: nn.Module) -> Iterator[set[nn.Module]]:
    """Collect every sub-module that is called within the block."""
    called: set[nn.Module] = set()

    def note(layer: nn.Module, arguments: object) -> None:
        called.add(layer)

    handles = [layer.register_forward_pre_hook(note) for layer in module.modules()]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()
