"""The execution of a model under gates: slices and attributes are put in place for one call, and taken out again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn

from sharewise.space import Decision
from sharewise.supernet.elastic.analysis import Analysis
from sharewise.supernet.elastic.attention import attending, scores
from sharewise.supernet.elastic.binding import Bindings, bound
from sharewise.supernet.elastic.blocks import skip_and_mix
from sharewise.supernet.elastic.calls import framed
from sharewise.supernet.elastic.places import Place
from sharewise.supernet.elastic.plan import (
    Attributes,
    Base,
    Portion,
    SlicedLayer,
    Where,
    alive,
    base_of,
    followers,
    planned,
    taken,
    where,
)
from sharewise.supernet.elastic.scaled import scaled_form
from sharewise.supernet.elastic.settings import bypass_and_mix, set_and_mix, with_parameter
from sharewise.supernet.gate import Gates
from sharewise.supernet.own_loop import follow_again, in_present_call
from sharewise.supernet.recomputation import again
from sharewise.supernet.slices.kernels import centre
from sharewise.supernet.slices.nesting import superposition
from sharewise.supernet.slices.norms import weighted_layer_norm, weighted_rms_norm
from sharewise.supernet.slices.superposed import superposed
from sharewise.supernet.structures import Inputs, call

__all__ = ["Execution", "bind_places", "bind_rows", "paths_of"]

T = TypeVar("T")

Copied = tuple[Tensor, Tensor, Tensor]
"""A whole tensor, positions of it, and what stands there."""

_REMEMBERED = 4096
"""Parts of plans that are kept for options that may come again."""


@final
class Execution:
    """How a model is executed when gates are given; it holds no module and serves every copy of the model.

    Args:
        analysis: of the model.
        attributes: of the user's modules that hold sizes.
        published: see `elastic`.
        recompute: paths of modules that the backward pass computes a second time.
    """

    def __init__(
        self,
        analysis: Analysis,
        attributes: Attributes,
        *,
        published: bool = False,
        recompute: Sequence[str] = (),
    ) -> None:
        self.analysis, self.attributes, self.published = analysis, dict(attributes), published
        self.recompute = tuple(recompute)
        self._decisions = {decision.name: decision for decision in analysis.decisions}
        self._followers = followers(analysis, attributes)
        order = {decision.name: place for place, decision in enumerate(analysis.decisions)}
        self._places = {
            root: [order[name] for i in own for name in analysis.tables[i].decisions]
            for root, own in analysis.reach.items()
        }
        self._layers: dict[tuple[object, ...], SlicedLayer] = {}
        self._wheres: dict[tuple[object, ...], Where] = {}
        self._tables: dict[tuple[int, torch.device], Tensor] = {}

    @property
    def kinds(self) -> dict[str, str]:
        """By decision that chooses a kernel or a depth that it does."""
        return {p.decision: p.kind for p in self.analysis.places if p.kind in ("kernel", "depth")}

    def __deepcopy__(self, memo: object) -> Execution:
        return self  # nothing in it changes but what it remembers

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_layers": {}, "_wheres": {}, "_tables": {}}

    def run(
        self, model: nn.Module, inputs: Inputs, gates: Gates, apart: Collection[tuple[str, ...]] = frozenset()
    ) -> Any:
        """Outputs under gates: slices up to the largest active options, superposed where weights differ from one.

        Args:
            model: a copy of the model that was analysed.
            inputs: as the model takes them: a tensor, a tuple of positional arguments or a mapping of those by keyword.
            gates: of every decision.
            apart: paths of modules whose weights are whole within their own forward alone: slices are taken there.
        """
        device = next(model.parameters()).device
        base = base_of(self.analysis, gates)
        scales = _Scales(self, base, gates, device)
        copied: list[Copied] = []
        with bound() as bindings:
            bind_places(bindings, model, self.analysis.places, gates)
            later: dict[tuple[str, ...], list[SlicedLayer]] = {path: [] for path in apart}
            for layer in self.layers(base, device):
                within = _within(layer.path, apart)
                if within is None:
                    copied += _bind_layer(bindings, _module(model, layer.path), layer, scales)
                else:
                    later[within].append(layer)
            for block, layers in later.items():
                _bind_apart(bindings, model, block, _Apart(self.analysis.places, layers, scales, gates))
            for path, roots in self.analysis.heads.items():
                _bind_attention(bindings, model.get_submodule(path), [scales.scores(root) for root in roots])
            rest = [place for place in self.analysis.places if _within(place.path.split("."), apart) is None]
            bind_parameters(bindings, model, rest, gates)
            bind_bypasses(bindings, model, self.analysis.places, gates)
            with self._weighing(bindings, model, scales):
                for path in self.recompute:
                    _bind_again(bindings, model.get_submodule(path))
                bind_rows(bindings, model, self.analysis.places, gates)
                follow_again(model, bindings)
                outputs = call(model, inputs)
            _copy_back(copied)
        return outputs

    @contextmanager
    def _weighing(self, bindings: Bindings, model: nn.Module, scales: _Scales) -> Iterator[None]:
        """A context in which statistics and sums over mixed dimensions are weighed, wherever the code has them."""
        analysis = self.analysis
        summed = {root for reduction in analysis.reductions.values() for _, _, root in reduction.scales}
        normalised = set(analysis.norms.values())
        if self.published or all(scales.mixed_survival(root) is None for root in summed | normalised):
            yield
            return
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # one operation, which computes norms by itself
        try:
            framed(bindings, model, analysis.callers, analysis.reductions, scales.mixed_survival)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)

    def layers(self, base: Base, device: torch.device) -> Iterator[SlicedLayer]:
        """What changes in each module; a module's part is made once for the options that it depends on."""
        for number, follower in enumerate(self._followers):
            key = (number, device, *[base[place] for place in follower.decisions])
            layer = self._layers.get(key)
            if layer is None:
                layer = planned(self.analysis, follower, base, device, published=self.published)
                _remember(self._layers, key, layer)
            yield layer

    def where(self, root: int, base: Base, device: torch.device) -> Where:
        """The alive positions of a dimension."""
        key = (root, device, *[base[place] for place in self._places[root]])
        found = self._wheres.get(key)
        if found is None:
            options = {d.name: option for d, option in zip(self.analysis.decisions, base, strict=True)}
            found = where(alive(self.analysis, root, options), device)
            _remember(self._wheres, key, found)
        return found

    def superposition(self, index: int, gates: Gates, device: torch.device) -> Tensor | None:
        """The scale of the positions of a table, `None` within a slice."""
        return superposition(self._reach(index, device), self._of(index), gates)

    def scores(self, root: int, gates: Gates, device: torch.device) -> Tensor | None:
        """The scale of queries over a searched size of heads, `None` within a slice."""
        [index] = self.analysis.reach[root]
        return scores(self._reach(index, device), self._of(index), gates)

    def _of(self, index: int) -> list[Decision]:
        """The decisions of a table."""
        return [self._decisions[name] for name in self.analysis.tables[index].decisions]

    def _reach(self, index: int, device: torch.device) -> Tensor:
        """A table on a device, brought there once."""
        reach = self._tables.get((index, device))
        if reach is None:
            reach = torch.from_numpy(self.analysis.tables[index].reach).to(device, non_blocking=True)
            self._tables[index, device] = reach
        return reach


@final
class _Scales:
    """The scales of one call, each computed once, when it is first asked for."""

    def __init__(self, execution: Execution, base: Base, gates: Gates, device: torch.device) -> None:
        self.execution, self.base, self.gates, self.device = execution, base, gates, device
        self._of_tables: dict[int, Tensor | None] = {}
        self._of_dimensions: dict[int, Tensor | None] = {}

    def _superposition(self, index: int) -> Tensor | None:
        if index not in self._of_tables:
            self._of_tables[index] = self.execution.superposition(index, self.gates, self.device)
        return self._of_tables[index]

    def survival(self, root: int) -> Tensor | None:
        """Of a dimension at its alive positions, `None` within a slice. Different decisions multiply."""
        if root not in self._of_dimensions:
            total: Tensor | None = None
            for index in self.execution.analysis.reach[root]:
                total = _product(total, self._superposition(index))
            if total is not None:
                total = taken(total, 0, self.execution.where(root, self.base, self.device))
            self._of_dimensions[root] = total
        return self._of_dimensions[root]

    def scores(self, root: int) -> Tensor | None:
        """The scale of queries over a searched size of heads at its alive positions, `None` within a slice."""
        scale = self.execution.scores(root, self.gates, self.device)
        return None if scale is None else taken(scale, 0, self.execution.where(root, self.base, self.device))

    def mixed_survival(self, root: int) -> Tensor | None:
        """The same, `None` too where there is one size: a common factor of all positions moves no statistics."""
        analysis = self.execution.analysis
        decisions = (name for index in analysis.reach[root] for name in analysis.tables[index].decisions)
        return self.survival(root) if any(len(self.gates[name].active) > 1 for name in decisions) else None

    def know(self, layers: Iterable[SlicedLayer]) -> None:
        """Compute all that some layers will ask for."""
        for layer in layers:
            for portion in layer.portions:
                for _, root in portion.scaled:
                    self.survival(root)
                if portion.kernel is not None:
                    self._superposition(portion.kernel.table)
            if layer.norm is not None:
                self.mixed_survival(layer.norm)

    def parts(self, portion: Portion, whole: Tensor, owner: nn.Module) -> tuple[Tensor, Tensor | None]:
        """A slice, its kernels mixed, and what scales it, `None` for ones.

        Args:
            portion: what is executed.
            whole: the tensor that it is a part of.
            owner: the module that holds the tensor.
        """
        tensor, covered = self._kernels(portion, whole, owner)
        scale: Tensor | None = None
        for axis, root in portion.scaled:
            s = self.survival(root)
            if s is not None:
                scale = _product(scale, s.reshape([-1 if i == axis else 1 for i in range(tensor.dim())]))
        return tensor, _product(*(part if part is None else part.to(tensor.dtype) for part in (scale, covered)))

    def _kernels(self, portion: Portion, whole: Tensor, owner: nn.Module) -> tuple[Tensor, Tensor | None]:
        """A slice, and by what its kernels are scaled ring by ring; nothing where they are sums of transformed ones."""
        kernel = portion.kernel
        covered = None if kernel is None else self._superposition(kernel.table)
        if kernel is None or covered is None:
            return portion.cut(whole, owner), None
        if kernel.transforms is not None:
            return kernel.transforms.superposed(owner, portion.sliced(whole), self.gates[kernel.decision]), None
        return portion.cut(whole, owner), centre(covered, portion.size, kernel.axes)


def _bind_again(bindings: Bindings, module: nn.Module) -> None:
    """Let a module be computed a second time in the backward pass, when all that is bound now is bound once more."""
    call = in_present_call()

    @contextmanager
    def around() -> Iterator[None]:
        with bindings.once_more(), call():
            yield

    bindings.set(module, "forward", partial(again, module, module.forward, around=around))


@final
@dataclass(frozen=True)
class _Apart:
    """What is bound within one module alone, anew in each of its calls."""

    places: Sequence[Place]
    layers: Sequence[SlicedLayer]
    scales: _Scales
    gates: Gates


def _bind_apart(bindings: Bindings, model: nn.Module, path: tuple[str, ...], apart: _Apart) -> None:
    """Let a module take the slices of its weights whenever it is called."""
    module = _module(model, path)
    places = [place for place in apart.places if _within(place.path.split("."), (path,)) is not None]
    if not apart.layers and not places:
        return
    forward = module.forward
    apart.scales.know(apart.layers)  # now, or a second computation of the module would lack what the first one made

    def sliced(*args: Any, **kwargs: Any) -> Any:
        with bound() as own:
            own.set(module, "forward", forward)
            copied: list[Copied] = []
            for layer in apart.layers:
                copied += _bind_layer(own, _module(model, layer.path), layer, apart.scales)
            bind_parameters(own, model, places, apart.gates)
            outputs = module.forward(*args, **kwargs)
            _copy_back(copied)
        return outputs

    bindings.set(module, "forward", sliced)


def _copy_back(copied: Sequence[Copied]) -> None:
    with torch.no_grad():
        for whole, positions, part in copied:
            whole.index_copy_(0, positions, part)


def _within(path: Sequence[str], blocks: Collection[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Which of some modules, of which none is within another, one belongs to."""
    return next((tuple(path[:n]) for n in range(len(path) + 1) if tuple(path[:n]) in blocks), None) if blocks else None


def _remember(known: dict[tuple[object, ...], T], key: tuple[object, ...], value: T) -> None:
    if len(known) >= _REMEMBERED:
        known.pop(next(iter(known)))
    known[key] = value


def _product(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Of two scales, of which each may be absent, absent meaning ones."""
    if first is None or second is None:
        return second if first is None else first
    return first * second


def _bind_layer(bindings: Bindings, module: nn.Module, layer: SlicedLayer, scales: _Scales) -> list[Copied]:
    """Put everything in its place; what must be copied back when the model has run."""
    copied = []
    for name, value in layer.attributes:
        bindings.set(module, name, value)
    for portion in layer.portions:
        own = module._parameters if portion.local in module._parameters else module._buffers
        whole = own[portion.local]
        assert whole is not None
        part, scale = scales.parts(portion, whole, module)
        if scale is not None:
            product = superposed(part, scale)
            form = scaled_form(module, part, scale, product) if portion.local == "weight" else None
            if form is not None:  # and code that reads the weight by itself finds it superposed
                bindings.set(module, "forward", form)
            part = product
        if own is module._parameters:
            part = _as_parameter(module, part, whole)
        if part is not whole:
            bindings.put(own, portion.local, part)
            if portion.copied is not None and own is module._buffers and module.training:
                copied.append((whole, portion.copied, part))
    if isinstance(module, nn.RNNBase) and layer.portions:
        bindings.set(module, "_flat_weights", [module._parameters[name] for name in module._flat_weights_names])
    s = None if layer.norm is None else scales.mixed_survival(layer.norm)
    if s is not None:
        bindings.set(module, "forward", partial(_normalised, module, s))
    return copied


def _as_parameter(module: nn.Module, part: Tensor, whole: Tensor) -> Tensor:
    """A slice that asks for gradients as its parameter does, by which torch chooses how it multiplies: the last bits.

    Those of recurrences depend on the layout, too.
    """
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        part = part.contiguous()
    alike = torch.is_grad_enabled() or part is whole or part.requires_grad == whole.requires_grad
    return part if alike else part.detach().requires_grad_(whole.requires_grad)


def _bind_attention(bindings: Bindings, module: nn.Module, scales: Sequence[Tensor | None]) -> None:
    """Let the attention of a module mix sizes of heads, unless all of them are slices."""
    mixed = {len(scale): scale for scale in scales if scale is not None}
    if mixed:
        bindings.set(module, "forward", partial(attending, module.forward, mixed))


def _normalised(norm: nn.Module, s: Tensor, x: Tensor) -> Tensor:
    """What a norm of torch computes on a mixture of slices."""
    if isinstance(norm, nn.LayerNorm):
        return weighted_layer_norm(x, s, norm.weight, norm.bias, norm.eps).to(x.dtype)
    assert isinstance(norm, nn.RMSNorm)
    eps = torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
    return weighted_rms_norm(x, s, norm.weight, eps).to(x.dtype)


def _module(model: nn.Module, path: Sequence[str]) -> nn.Module:
    """The module at a path; looked up anew in every call, so that a module may be replaced."""
    for name in path:
        child = model._modules[name]
        assert child is not None
        model = child
    return model


def paths_of(model: nn.Module, modules: Sequence[nn.Module]) -> frozenset[tuple[str, ...]]:
    """Where some modules of a model are."""
    wanted = {id(module) for module in modules}
    return frozenset(tuple(path.split(".")) for path, module in model.named_modules() if id(module) in wanted)


def bind_places(bindings: Bindings, model: nn.Module, places: Sequence[Place], gates: Gates) -> None:
    """Let `Choose` modules and attributes follow their gates.

    Args:
        bindings: take what is put in place.
        model: whose places they are.
        places: where decisions act.
        gates: of every decision.
    """
    for place in places:
        if place.kind == "module":
            bindings.set(model.get_submodule(place.path), "gate", gates[place.decision])
        elif place.kind == "setting":
            set_and_mix(bindings, model.get_submodule(place.path), place.name, place.sizes, gates[place.decision])


def bind_rows(bindings: Bindings, model: nn.Module, places: Sequence[Place], gates: Gates) -> None:
    """Let rows of blocks follow their gates, around all else that is bound to a block."""
    for place in places:
        if place.kind == "depth":
            blocks = [model.get_submodule(path) for path in place.blocks]
            skip_and_mix(bindings, blocks, place.sizes, gates[place.decision], place.path)


def bind_parameters(bindings: Bindings, model: nn.Module, places: Sequence[Place], gates: Gates) -> None:
    """Let parameters that may be absent follow their gates, once they are sliced."""
    for place in places:
        if place.kind == "present":
            with_parameter(bindings, model.get_submodule(place.path), place.name, gates[place.decision])


def bind_bypasses(bindings: Bindings, model: nn.Module, places: Sequence[Place], gates: Gates) -> None:
    """Let modules that may be left out follow the gates of the decisions that say so, around all else but rows."""
    for place in places:
        if place.kind == "bypassed":
            bypass_and_mix(bindings, model.get_submodule(place.path), place, gates)
