"""Extraction of a plain network from a user's model: slices become parameters, choices disappear."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import nn

from sharewise.space import Decision
from sharewise.supernet.elastic.analysis import combination, transforms_of
from sharewise.supernet.elastic.choices import Choose, ElasticConv2d, ElasticEmbedding, ElasticLinear
from sharewise.supernet.elastic.places import Place
from sharewise.supernet.elastic.plan import Portion, base_of
from sharewise.supernet.elastic.sliced_execution import Execution
from sharewise.supernet.gate import Gates

__all__ = ["extracted", "with_transforms"]

_PLAIN: Mapping[type, type[nn.Module]] = {
    ElasticLinear: nn.Linear,
    ElasticConv2d: nn.Conv2d,
    ElasticEmbedding: nn.Embedding,
}


def extracted(model: nn.Module, execution: Execution, gates: Gates) -> nn.Module:
    """A network of the user's own classes and of torch's layers, with the inherited weights.

    Args:
        model: with the shared weights; it is copied.
        execution: of the model.
        gates: of one architecture.
    """
    base = base_of(execution.analysis, gates)
    options = {decision.name: option for decision, option in zip(execution.analysis.decisions, base, strict=True)}
    network = copy.deepcopy(model)
    inheritance = _Inheritance(model, execution.analysis.sliced)
    for layer in execution.layers(base, next(model.parameters()).device):
        module, path = network.get_submodule(".".join(layer.path)), ".".join(layer.path)
        for name, value in layer.attributes:
            module.__dict__[name] = value
        for portion in layer.portions:
            inheritance.give(module, model.get_submodule(path), portion)
        if isinstance(module, nn.RNNBase):
            module._flat_weights = [module._parameters[name] for name in module._flat_weights_names]
    places = execution.analysis.places
    _without_transforms(network, places)
    _settle(network, places, options)
    network = _with_chosen_modules(network, places, options)
    network = _without_bypassed(network, places, execution.analysis.decisions, options)
    _cut_blocks(network, places, options)
    for module in list(network.modules()):
        if isinstance(module, ElasticLinear | ElasticConv2d | ElasticEmbedding):
            network = _replaced(network, module, _plain_layer(module))
    return network


@final
class _Inheritance:
    """Slices as parameters; equal slices of tied parameters become one."""

    def __init__(self, model: nn.Module, sliced: Mapping[str, tuple[int | None, ...]]) -> None:
        self._sliced = sliced
        self._tied = {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)}
        self._made: dict[tuple[object, ...], nn.Parameter] = {}

    def give(self, module: nn.Module, source: nn.Module, portion: Portion) -> None:
        """Put the slice of a module's tensor in the place of the whole."""
        local = portion.local
        of_module = source._parameters if portion.name in self._tied else source._buffers
        whole = of_module[local]
        assert whole is not None
        with torch.no_grad():
            part = portion.cut(whole.detach(), source)
        if part.shape == whole.shape:
            return
        if portion.name not in self._tied:
            module._buffers[local] = part.clone()
            return
        key = (self._tied[portion.name], *self._sliced.get(portion.name, ()), tuple(part.shape), *_matrices(portion))
        if key not in self._made:
            self._made[key] = nn.Parameter(part.clone(), requires_grad=whole.requires_grad)
        module._parameters[local] = self._made[key]


def _settle(network: nn.Module, places: Sequence[Place], options: Mapping[str, int]) -> None:
    """Give attributes their chosen values, and take parameters away that are chosen to be absent."""
    for place in places:
        if place.kind == "setting":
            network.get_submodule(place.path).__dict__[place.name] = place.size(options[place.decision])
        elif place.kind == "present" and not place.size(options[place.decision]):
            network.get_submodule(place.path)._parameters[place.name] = None


def _matrices(portion: Portion) -> tuple[str, ...]:
    """What tells slices of one tensor apart that different matrices have transformed."""
    return (portion.name,) if portion.kernel is not None and portion.kernel.transforms is not None else ()


def with_transforms(model: nn.Module, places: Sequence[Place]) -> None:
    """Give convolutions the matrices by which their kernels are transformed, in place.

    Args:
        model: whose places they are.
        places: where decisions act.
    """
    for place in places:
        if (transforms := transforms_of(model, place)) is not None:
            transforms.register(model.get_submodule(place.path))


def _without_transforms(network: nn.Module, places: Sequence[Place]) -> None:
    for place in places:
        if (transforms := transforms_of(network, place)) is not None:
            for name in transforms.names.values():
                del network.get_submodule(place.path)._parameters[name]


def _with_chosen_modules(network: nn.Module, places: Sequence[Place], options: Mapping[str, int]) -> nn.Module:
    for place in reversed(places):  # inner ones first
        if place.kind == "module":
            choose = network.get_submodule(place.path)
            assert isinstance(choose, Choose)
            network = _replaced(network, choose, choose.options[str(place.options[options[place.decision]])])
    return network


def _without_bypassed(
    network: nn.Module, places: Sequence[Place], decisions: Sequence[Decision], options: Mapping[str, int]
) -> nn.Module:
    """Put the identity in the place of every module that is left out."""
    sizes = {decision.name: decision.size for decision in decisions}
    for place in places:
        if place.kind == "bypassed" and not place.size(combination(place.decisions, sizes, options)):
            network = _replaced(network, network.get_submodule(place.path), nn.Identity())
    return network


def _cut_blocks(network: nn.Module, places: Sequence[Place], options: Mapping[str, int]) -> None:
    for place in places:
        if place.kind == "depth":
            for path in place.blocks[place.size(options[place.decision]) :]:
                owner, _, local = path.rpartition(".")
                del network.get_submodule(owner)._modules[local]


def _replaced(network: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Put a module in the place of another one, wherever that is registered."""
    if network is old:
        return new
    for owner in list(network.modules()):
        for name, module in owner._modules.items():
            if module is old:
                owner._modules[name] = new
    return network


def _plain_layer(module: nn.Module) -> nn.Module:
    """The same layer as one of torch, with the same tensors and hooks."""
    kind = _PLAIN[type(module)]
    layer = kind.__new__(kind)
    layer.__dict__ = {name: value for name, value in module.__dict__.items() if name != "choices"}
    return layer
