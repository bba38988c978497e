"""A user's own model as a supernet: its parameters sliced and superposed, its modules bound for one call."""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Decision, Space
from sharewise.supernet.elastic.binding import Bindings, bound, following, skip_and_mix
from sharewise.supernet.elastic.choices import (
    Choices,
    Choose,
    ElasticConv2d,
    ElasticEmbedding,
    ElasticLinear,
)
from sharewise.supernet.elastic.dimensions import Alive, FixedDimensionError
from sharewise.supernet.elastic.places import Place, condition, expanded, target
from sharewise.supernet.elastic.relaxation import ConditionalRelaxation
from sharewise.supernet.elastic.trace import Trace, is_own, trace
from sharewise.supernet.gate import Gate, Gates, discrete
from sharewise.supernet.slices.axis import Mask
from sharewise.supernet.supernet import Networks, Shared, Supernet

__all__ = ["ElasticModel", "ElasticOptions", "elastic", "vary_constants"]

Base = tuple[int, ...]
"""For every decision the largest active option: what is executed."""


@final
@dataclass(frozen=True)
class ElasticOptions:
    """The network is the user's own model and has no options here."""


@dataclass(frozen=True)
class _Kernel:
    """A convolution whose kernel is searched."""

    decision: str
    path: str
    sizes: tuple[int, ...]
    mask: int


@dataclass
class _Plan:
    """How the model is executed when certain options are the largest active ones."""

    positions: dict[int, Tensor | int]
    attributes: list[tuple[str, str, Any]]
    tensors: dict[str, tuple[Tensor | int | None, ...]] = field(default_factory=dict)


@final
class ElasticModel(Supernet, Shared):
    """A model of one's own, all of whose smaller versions share its weights; built by `elastic`.

    A searched dimension is sliced wherever it occurs, and superposed where it is *read*: with survival
    s_j = Σ_{i : j alive under option i} g_i, the columns of every weight that reads the dimension are scaled by s. All
    between writer and reader (norms, non-linearities, sums) is left alone, so for a hidden dimension the mixture is
    exact: Σ_i g_i W₂[:, :o_i] φ(W₁[:o_i] x) = W₂ (s ⊙ φ(W₁ x)). Layer norms over a searched dimension weigh their mean
    and variance by s. Kernels are superposed as centred rings, depths as Σ_i g_i x^(d_i).

    The model's own forward runs unchanged: gates are bound to its modules for one call and always unbound.

    Args:
        model: the user's model; it is copied.
        choices: by pattern of module paths.
        example: a batch of inputs.
        published: see `elastic`.

    Example:
        >>> from sharewise.supernet.elastic import width
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> supernet = elastic(model, {"0": width([8, 16], name="hidden")}, example=torch.zeros(2, 4))
        >>> small = supernet.plain(supernet.space.architecture({"hidden": 8}))
        >>> small[0].weight.shape, small[2].weight.shape
        (torch.Size([8, 4]), torch.Size([3, 8]))
    """

    def __init__(
        self, model: nn.Module, choices: Mapping[str, Choices], example: Tensor, *, published: bool = False
    ) -> None:
        super().__init__()
        self.published = False  # until attributes are settled, for which masks must be exact
        self.model = copy.deepcopy(model)
        self.example = example.detach().clone()
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        self._places = expanded(self.model, choices)
        self.space = self._space(type(model).__name__, published)
        self.relaxation = self.space.relaxation
        self._decisions = {d.name: d for d in self.relaxation.decisions}
        self._order = {name: i for i, name in enumerate(self._decisions)}
        self._plans: dict[tuple[Base, torch.device], _Plan] = {}
        self._attributes: dict[tuple[str, str], int | str] = {}
        with bound() as bindings, torch.no_grad():
            self._bind_modules(bindings, self._gates(lambda d: tuple(range(d.size)), unit=True))
            traced = trace(self.model, self.example)
        self.output_shape = traced.output
        self._prepare(traced)
        self._settle_attributes(traced)
        self.published = published
        self.training = model.training
        for module, mode in modes:
            module.training = mode

    # --- what is chosen -------------------------------------------------------------------------------------------

    def _space(self, title: str, published: bool) -> Space:
        options: dict[str, Place] = {}
        for place in self._places:
            known = options.setdefault(place.decision, place)
            if known.options != place.options:
                raise ConfigurationError(
                    f"decision {place.decision!r} is shared by {known.path!r} and {place.path!r}, which offer "
                    f"different options: {known.options} and {place.options}"
                )
        if not options:
            raise ConfigurationError(
                "nothing is chosen: give choices such as {'blocks.*.mlp': sharewise.width([64, 128])}, or put Choose "
                "modules or Elastic layers into the model"
            )
        depths = [p for p in self._places if p.kind == "depth"]
        choices = []
        for place in sorted(options.values(), key=lambda p: p.kind != "depth"):
            acting = [p for p in self._places if p.decision == place.decision]
            choices.append(
                Choice(
                    place.decision,
                    place.options,
                    ordered=place.kind != "module",
                    condition=condition(acting, depths),
                )
            )
        digest = hashlib.sha256(repr((choices, self._places, published)).encode()).hexdigest()[:8]
        return Space(
            name=f"elastic:{title}-{digest}",
            choices=tuple(choices),
            relax=ConditionalRelaxation,
            networks=_networks(self),
            summary=f"{title}, a model of one's own",
        )

    def _gates(self, active: Any, *, unit: bool, weights: Any = None) -> dict[str, Gate]:
        gates = {}
        for name, decision in self._decisions.items():
            value = torch.ones(decision.size) if weights is None else weights(decision)
            gates[name] = Gate(value, active(decision), unit=unit)
        return gates

    # --- what follows from it -------------------------------------------------------------------------------------

    def _prepare(self, traced: Trace) -> None:
        alive, problems = {}, []
        for name, decision in self._decisions.items():
            try:
                alive[name] = self._alive(traced, decision)
            except ConfigurationError as error:  # all parts that cannot be followed are named at once
                problems.append(str(error))
        if problems:
            raise ConfigurationError("\n".join(dict.fromkeys(problems)))
        self._require_joint(traced, alive)
        self.masks = nn.ModuleList()
        self._reach: dict[int, list[tuple[str, int]]] = {}  # by dimension: decisions and their masks
        self._tables: dict[int, Alive] = {}  # of masks, on the host, so that a plan needs no copy from a device
        known: dict[tuple[str, bytes], int] = {}
        for name, options in alive.items():
            for root in {root for option in options for root in option}:
                whole = np.ones(traced.dimensions.size(root), dtype=bool)
                table = np.stack([option.get(root, whole) for option in options], axis=1)
                index = known.setdefault((name, table.tobytes()), len(self.masks))
                if index == len(self.masks):
                    self.masks.append(Mask((self._decisions[name],), torch.from_numpy(table)))
                    self._tables[index] = table.copy()
                self._reach.setdefault(root, []).append((name, index))
        find = traced.dimensions.find
        self._sliced = {
            name: tuple(root if (root := find(d)) in self._reach else None for d in dims)
            for name, dims in traced.tensors.items()
            if any(find(d) in self._reach for d in dims)
        }
        self._read = self._readers(traced)
        self._norms = {path: find(d) for path, d in traced.norms.items() if find(d) in self._reach}
        self._fields = {
            key: (find(d), as_tuple) for key, (d, as_tuple) in traced.fields.items() if find(d) in self._reach
        }
        self._kernels: dict[str, _Kernel] = {}
        for place in self._places:
            if place.kind == "kernel":
                self._add_kernel(place)

    def _alive(self, traced: Trace, decision: Decision) -> list[dict[int, Alive]]:
        """What is alive under every option of a decision."""
        found = [self._closure(traced, {decision.name: option}) for option in range(decision.size)]
        for option, (small, large) in enumerate(itertools.pairwise(found)):
            for root, positions in large.items():
                inside = small.get(root, np.ones_like(positions))
                if (inside & ~positions).any():
                    raise ConfigurationError(
                        f"options {decision.options[option]} and {decision.options[option + 1]} of decision "
                        f"{decision.name!r} do not nest in {traced.dimensions.label(root)}"
                    )
        return found

    def _closure(self, traced: Trace, chosen: Mapping[str, int]) -> dict[int, Alive]:
        seeds: dict[int, Alive] = {}
        for place in self._places:
            if place.decision not in chosen or place.kind not in ("width", "heads"):
                continue
            option = chosen[place.decision]
            dimension = target(self.model, traced, place)
            size = traced.dimensions.size(dimension)
            keep = np.arange(size) < int(place.options[option])  # type: ignore[arg-type]
            root = traced.dimensions.find(dimension)
            seeds[root] = seeds.get(root, np.ones(size, dtype=bool)) & keep
        try:
            return traced.dimensions.closure(seeds)
        except FixedDimensionError as error:
            words = ", ".join(f"{n} = {self._decisions[n].options[i]}" for n, i in chosen.items())
            paths = ", ".join(sorted({repr(p.path) for p in self._places if p.decision in chosen}))
            raise ConfigurationError(f"cannot choose {words} (at {paths}): {error}") from None

    def _require_joint(self, traced: Trace, alive: Mapping[str, list[dict[int, Alive]]]) -> None:
        """Together, decisions leave alive what each of them leaves alive."""
        joint = self._closure(traced, dict.fromkeys(self._decisions, 0))
        for root, positions in joint.items():
            each = np.ones_like(positions)
            for options in alive.values():
                each &= options[0].get(root, np.ones_like(positions))
            if not (each == positions).all():
                names = [name for name, options in alive.items() if root in options[0]]
                raise ConfigurationError(
                    f"decisions {names} shrink {traced.dimensions.label(root)} together in a way that none of them "
                    "does alone; give them one name, so that they are one decision"
                )

    def _readers(self, traced: Trace) -> dict[str, int]:
        """For every parameter that reads a searched dimension its axis."""
        uses: dict[str, dict[int | None, str]] = {}
        for use in traced.uses:
            uses.setdefault(use.name, {})[use.axis] = use.where
        read = {}
        for name, axes in uses.items():
            roots = self._sliced.get(name, ())
            searched = [axis for axis in axes if axis is not None and roots and roots[axis] is not None]
            if not searched:
                continue
            if len(axes) > 1:
                other = next(where for axis, where in axes.items() if axis != searched[0])
                raise ConfigurationError(
                    f"parameter {name!r} is read in {axes[searched[0]] or 'the model'!r} and used otherwise in "
                    f"{other or 'the model'!r}; give each use a module of its own with the same parameter, such as "
                    "head = nn.Linear(…); head.weight = embedding.weight"
                )
            read[name] = searched[0]
        return read

    def _add_kernel(self, place: Place) -> None:
        module = self.model.get_submodule(place.path)
        if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) or module.padding_mode != "zeros":
            raise ConfigurationError(
                f"a kernel is chosen for convolutions that pad with zeros, but {place.path!r} is a "
                f"{type(module).__name__}"
            )
        sizes = tuple(int(o) for o in place.options)  # type: ignore[arg-type]
        largest = sizes[-1]
        if set(module.kernel_size) != {largest}:
            raise ConfigurationError(
                f"the largest kernel of {place.path!r} must be the layer's own, {module.kernel_size[0]}, got {largest}"
            )
        paddings = () if isinstance(module.padding, str) else module.padding
        for padding, dilation in zip(paddings, module.dilation, strict=False):
            least = dilation * (largest - sizes[0]) // 2
            if padding < least:
                raise ConfigurationError(
                    f"padding {padding} of {place.path!r} leaves none for a kernel of {sizes[0]}; it must be at least "
                    f"{least} for the largest kernel"
                )
        grid = torch.meshgrid(*[torch.arange(largest)] * len(module.kernel_size), indexing="ij")
        distance = torch.stack([torch.minimum(g, largest - 1 - g) for g in grid]).amin(0)  # from the border
        reach = torch.stack([distance >= (largest - size) // 2 for size in sizes], dim=-1)
        self.masks.append(Mask((self._decisions[place.decision],), reach))
        self._kernels[f"{place.path}.weight"] = _Kernel(place.decision, place.path, sizes, len(self.masks) - 1)

    # --- attributes that hold sizes -------------------------------------------------------------------------------

    def _settle_attributes(self, traced: Trace) -> None:
        """Find which attributes of the user's modules follow which dimension, by trial against masked execution."""
        guesses = self._guesses(traced)
        keys = sorted({(type(self.model.get_submodule(path)), name) for path, name in guesses}, key=repr)
        numbers = [
            max(len(g) for (path, name), g in guesses.items() if (type(self.model.get_submodule(path)), name) == key)
            for key in keys
        ]
        trial = _sharpened(self)
        masked = {architecture: trial._masked(architecture) for architecture in self._corners()}
        problem = ""
        for numbering in itertools.islice(itertools.product(*map(range, numbers)), _TRIALS):
            pick = dict(zip(keys, numbering, strict=True))
            trial._attributes = {}
            for (path, name), roots in guesses.items():
                index = pick[type(self.model.get_submodule(path)), name]
                choice = roots[index] if index < len(roots) else None
                if choice is not None:
                    trial._attributes[path, name] = choice
            trial._plans.clear()
            outcome = next((words for a, expected in masked.items() if (words := trial._problem(a, expected))), "")
            if not outcome:
                self._attributes = trial._attributes
                self._plans.clear()
                return
            problem = problem or outcome
        raise ConfigurationError(
            f"{problem}. A size is written into the model's code, something is computed from a size, or something "
            "happens between blocks that a depth counts: take sizes from a tensor's shape, write -1 for them in view "
            "and reshape, scale by constants, move what happens into the blocks, or leave that choice out"
        )

    def _corners(self) -> list[Architecture]:
        """Architectures that tell attributes, blocks and modules apart: most choices are their first or last option."""
        kinds = {place.decision: place.kind for place in self._places}
        choices = self.space.choices
        rows = [[0] * len(choices)]
        for number in range(max((len(c.options) for c in choices if kinds[c.name] == "module"), default=1)):
            option = {"depth": -1, "module": number}  # all blocks and, one after the other, all modules
            rows.append([min(option.get(kinds[c.name], 0), len(c.options) - 1) for c in choices])
        for bit in range((len(choices) - 1).bit_length()):  # two choices differ in some bit of their numbers
            rows += [[-(i >> bit & 1 == value) for i in range(len(choices))] for value in (0, 1)]
        return list(
            dict.fromkeys(
                self.space.architecture({c.name: c.options[i] for c, i in zip(choices, row, strict=True)})
                for row in rows
            )
        )

    def _masked(self, architecture: Architecture) -> Tensor:
        """What an architecture computes when nothing is cut off, and what is not its own is read with weight zero."""
        gates = discrete(self.relaxation.encode(architecture), dtype=self.dtype)
        with torch.no_grad():
            outputs: Tensor = self(self.example, {n: Gate(g.weights, tuple(range(g.size))) for n, g in gates.items()})
        return outputs

    def _problem(self, architecture: Architecture, masked: Tensor) -> str:
        """What is wrong with the extracted network or the slice of an architecture, in words; empty for nothing."""
        gates = discrete(self.relaxation.encode(architecture), dtype=self.dtype)
        network = self._extracted(gates)
        for model, run in ((network, network), (self.model, partial(self, gates=gates))):
            if words := _attempt(model, run, self.example, masked):
                return f"the model with the choices {architecture} {words}"
        return ""

    def _guesses(self, traced: Trace) -> dict[tuple[str, str], list[int | str | None]]:
        """For every integer attribute of the user's modules the dimensions that it may hold, the likeliest first."""
        find = traced.dimensions.find
        guesses: dict[tuple[str, str], list[int | str | None]] = {}
        for path, module in self.model.named_modules():
            if not is_own(module):
                continue
            here = list(dict.fromkeys(find(d) for d in traced.touched.get(path, ())))
            for name, value in vars(module).items():
                if not isinstance(value, int) or isinstance(value, bool) or value < 2 or name.startswith("_"):
                    continue
                equal = [root for root in here if traced.dimensions.size(root) == value]
                searched: list[int | str | None] = [root for root in equal if root in self._reach]
                searched += [
                    place.decision
                    for place in self._places
                    if place.kind == "depth" and place.path.rpartition(".")[0] == path and len(place.blocks) == value
                ]
                if searched:
                    certain = len(searched) == len(equal)
                    guesses[path, name] = [*searched, None] if certain else [None, *searched]
        return guesses

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of gates."""
        return next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)

    def _at(self, index: int) -> Architecture:
        return self.space.architecture({c.name: c.options[index] for c in self.space.choices})

    @property
    def largest(self) -> Architecture:
        """The architecture that the model itself is: the last option of every choice."""
        return self._at(-1)

    @property
    def smallest(self) -> Architecture:
        """The first option of every choice."""
        return self._at(0)

    # --- execution ------------------------------------------------------------------------------------------------

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Outputs under `gates`: slices up to the largest active options, superposed where weights differ from one."""
        plan = self._plan(self._base(gates))
        with bound() as bindings:
            for path, name, value in plan.attributes:
                bindings.set(self.model.get_submodule(path), name, value)
            self._bind_modules(bindings, gates)
            survivals = self._survivals(plan, gates)
            self._bind_norms(bindings, survivals)
            tensors = self._tensors(plan, gates, survivals)
            outputs: Tensor = functional_call(self.model, tensors, (inputs,), tie_weights=False)
            self._write_back(plan, tensors)
        return outputs

    def _base(self, gates: Gates) -> Base:
        base = []
        for name in self._decisions:
            active = gates[name].active
            if not active:
                raise ConfigurationError(f"decision {name!r} has no active option; a shared model needs at least one")
            base.append(active[-1])
        return tuple(base)

    def _plan(self, base: Base) -> _Plan:
        device = next(self.model.parameters()).device
        key = (base, device)
        if key not in self._plans:
            if len(self._plans) >= _PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = self._made_plan(base, device)
        return self._plans[key]

    def _made_plan(self, base: Base, device: torch.device) -> _Plan:
        positions: dict[int, Tensor | int] = {}
        counts: dict[int, int] = {}
        for root, masks in self._reach.items():
            alive = None
            for name, index in masks:
                column = self._tables[index][:, base[self._order[name]]]
                alive = column if alive is None else alive & column
            assert alive is not None
            kept = np.flatnonzero(alive)
            counts[root] = len(kept)
            leading = bool(alive[: len(kept)].all())
            rows = torch.tensor(kept.tolist(), device="cpu")
            positions[root] = len(kept) if leading else rows.to(device, non_blocking=True)
        attributes: list[tuple[str, str, Any]] = [
            (path, name, (counts[root],) if as_tuple else counts[root])
            for (path, name), (root, as_tuple) in self._fields.items()
        ]
        for (path, name), what in self._attributes.items():
            if isinstance(what, str):
                attributes.append((path, name, self._decisions[what].options[base[self._order[what]]]))
            else:
                attributes.append((path, name, counts[what]))
        for kernel in self._kernels.values():
            attributes += self._kernel_attributes(kernel, kernel.sizes[base[self._order[kernel.decision]]])
        plan = _Plan(positions, attributes)
        for name, roots in self._sliced.items():
            plan.tensors[name] = tuple(None if root is None else positions[root] for root in roots)
        return plan

    def _kernel_attributes(self, kernel: _Kernel, size: int) -> list[tuple[str, str, Any]]:
        module = self.model.get_submodule(kernel.path)
        assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        smaller = kernel.sizes[-1] - size
        found: list[tuple[str, str, Any]] = [(kernel.path, "kernel_size", (size,) * len(module.kernel_size))]
        if not isinstance(module.padding, str):
            padding = tuple(p - d * smaller // 2 for p, d in zip(module.padding, module.dilation, strict=True))
            found.append((kernel.path, "padding", padding))
        return found

    def _bind_modules(self, bindings: Bindings, gates: Gates) -> None:
        for place in self._places:
            if place.kind == "module":
                bindings.set(self.model.get_submodule(place.path), "gate", gates[place.decision])
            elif place.kind == "depth":
                blocks = [self.model.get_submodule(path) for path in place.blocks]
                depths = tuple(int(o) for o in place.options)  # type: ignore[arg-type]
                skip_and_mix(bindings, blocks, depths, gates[place.decision], place.path)

    def _survivals(self, plan: _Plan, gates: Gates) -> dict[int, Tensor]:
        """The survival vector of every searched dimension that is not a true slice, at its alive positions."""
        masks: dict[int, Tensor | None] = {}
        survivals: dict[int, Tensor] = {}
        for root, reach in self._reach.items():
            total: Tensor | None = None
            for _, index in reach:
                if index not in masks:
                    masks[index] = self.masks[index](gates)
                mask = masks[index]
                if mask is not None:
                    total = mask if total is None else total * mask
            if total is not None:
                survivals[root] = _taken(total, 0, plan.positions[root])
        return survivals

    def _bind_norms(self, bindings: Bindings, survivals: Mapping[int, Tensor]) -> None:
        for path, root in self._norms.items():
            if root in survivals and not self.published:
                norm = self.model.get_submodule(path)
                assert isinstance(norm, nn.LayerNorm | nn.RMSNorm)
                bindings.set(norm, "forward", partial(_weighted_norm, norm, survivals[root]))

    def _tensors(self, plan: _Plan, gates: Gates, survivals: Mapping[int, Tensor]) -> dict[str, Tensor]:
        tensors = {}
        for name in dict.fromkeys((*self._sliced, *self._kernels)):
            tensor = whole = _tensor(self.model, name)
            for axis, where in enumerate(plan.tensors.get(name, ())):
                tensor = tensor if where is None else _taken(tensor, axis, where)
            for axis in self._scaled(name):
                root = self._sliced[name][axis]
                if root is not None and root in survivals:
                    scale = survivals[root].to(tensor.dtype)
                    tensor = tensor * scale.reshape([-1 if i == axis else 1 for i in range(tensor.dim())])
            kernel = self._kernels.get(name)
            if kernel is not None:
                tensor = self._with_kernel(tensor, kernel, gates)
            if tensor is not whole:
                tensors[name] = tensor
        return tensors

    def _scaled(self, name: str) -> Sequence[int]:
        """The axes of a tensor that are scaled by survival."""
        if self.published and isinstance(_tensor(self.model, name), nn.Parameter):
            return range(len(self._sliced.get(name, ())))
        return [self._read[name]] if name in self._read else []

    def _with_kernel(self, weight: Tensor, kernel: _Kernel, gates: Gates) -> Tensor:
        size = kernel.sizes[gates[kernel.decision].active[-1]]
        margin = (kernel.sizes[-1] - size) // 2
        rings = self.masks[kernel.mask](gates)
        for axis in range(2, weight.dim()):
            weight = weight.narrow(axis, margin, size)
            rings = None if rings is None else rings.narrow(axis - 2, margin, size)
        return weight if rings is None else weight * rings.to(weight.dtype)

    def _write_back(self, plan: _Plan, tensors: Mapping[str, Tensor]) -> None:
        """Statistics of leading slices are updated in place; those of other slices are copies, and copied back."""
        for name, where in plan.tensors.items():
            owner, _, local = name.rpartition(".")
            module = self.model.get_submodule(owner)
            if local in module._buffers and module.training and len(where) == 1 and isinstance(where[0], Tensor):
                with torch.no_grad():
                    _tensor(self.model, name).index_copy_(0, where[0], tensors[name])

    # --- extraction -----------------------------------------------------------------------------------------------

    def plain(self, architecture: Architecture) -> nn.Module:
        """The model with smaller layers, of the user's own classes; its weights are the inherited ones."""
        return self._extracted(discrete(self.relaxation.encode(architecture)))

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of the extracted model."""
        return dict(self._extracted(gates).state_dict())

    def _extracted(self, gates: Gates) -> nn.Module:
        base = self._base(gates)
        plan = self._plan(base)
        network = copy.deepcopy(self.model)
        survivals: dict[int, Tensor] = {}
        made: dict[tuple[Any, ...], nn.Parameter] = {}
        tied: dict[str, int] = {name: id(p) for name, p in self.model.named_parameters(remove_duplicate=False)}
        with torch.no_grad():
            for name, tensor in self._tensors(plan, _units(gates), survivals).items():
                owner, _, local = name.rpartition(".")
                module = network.get_submodule(owner)
                if name not in tied:
                    module._buffers[local] = tensor.clone()
                    continue
                key = (tied[name], *(self._sliced.get(name) or ()), tuple(tensor.shape))
                if key not in made:
                    wanted = _tensor(self.model, name).requires_grad
                    made[key] = nn.Parameter(tensor.detach().clone(), requires_grad=wanted)
                module._parameters[local] = made[key]
        for path, attribute, value in plan.attributes:
            network.get_submodule(path).__dict__[attribute] = value
        for place in reversed(self._places):  # inner ones first
            if place.kind == "module":
                option = str(place.options[base[self._order[place.decision]]])
                chosen = network.get_submodule(place.path)
                assert isinstance(chosen, Choose)
                network = _replaced(network, chosen, chosen.options[option])
        for place in self._places:
            if place.kind == "depth":
                number = int(place.options[base[self._order[place.decision]]])  # type: ignore[arg-type]
                for path in place.blocks[number:]:
                    owner, _, local = path.rpartition(".")
                    del network.get_submodule(owner)._modules[local]
        for module in list(network.modules()):
            if isinstance(module, ElasticLinear | ElasticConv2d | ElasticEmbedding):
                network = _replaced(network, module, _plain_layer(module))
        return network


_TRIALS = 256
"""Of assignments of attributes to dimensions."""
_PLANS = 512
"""Kept for patterns of active options that may come again."""

_PLAIN: Mapping[type, type[nn.Module]] = {
    ElasticLinear: nn.Linear,
    ElasticConv2d: nn.Conv2d,
    ElasticEmbedding: nn.Embedding,
}


def elastic(
    model: nn.Module, choices: Mapping[str, Choices] | None = None, *, example: Tensor, published: bool = False
) -> ElasticModel:
    """Make a search space of a model of one's own: smaller versions of it that share its weights.

    The model may be trained: the largest architecture is the model itself, output for output, and every smaller one
    inherits slices of its weights. What depends on a chosen dimension is found by tracing the model once: the layers
    that read it, norms, residual sums, concatenations, heads. What cannot be followed is refused, with the path of the
    module and the tensor.

    Args:
        model: maps one tensor to one tensor; it is copied and never changed.
        choices: by pattern of module paths, in which `*` stands for one name (`"blocks.*.mlp"`), what is chosen there:
            `width`, `depth`, `kernel` or `heads`. `Choose` modules and Elastic layers in the model need no entry.
        example: a batch of inputs of the form that data will have.
        published: superpose as TangleNAS does: every parameter is scaled along all searched dimensions that it has, so
            that what is written scaled is scaled again where it is read, and norms see scaled inputs.

    Returns:
        A supernet with a space of its own. `sharewise.search` takes it in place of a space; `supernet(inputs, gates)`
        runs it; `sharewise.extract(supernet, architecture)` gives a plain model.

    Raises:
        ConfigurationError: when a pattern matches nothing, a choice does not fit the model, or a dimension cannot be
            followed.

    Example:
        >>> import sharewise as sw
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))
        >>> supernet = sw.elastic(model, {"0": sw.width([4, 8, 16], name="hidden")}, example=torch.zeros(2, 4))
        >>> supernet.space.size, str(supernet.largest)
        (3, '{"hidden": 16}')

    References:
        H. Cai et al., *Once-for-All*, ICLR 2020 (arXiv 1908.09791), for nested widths, depths and kernels; R. S.
        Sukthanker et al., *Weight-Entanglement Meets Gradient-Based Neural Architecture Search* (arXiv 2312.10440), for
        their superposition.

    Deviations:
        TangleNAS scales what is written and what is read; here a dimension is scaled once, by its readers, unless
        `published` asks for the authors' form.
    """
    for value, kind in ((model, nn.Module), (example, Tensor)):
        if not isinstance(value, kind):
            raise ConfigurationError(f"elastic needs a {kind.__name__} here, got a {type(value).__name__}: {value!r}")
    return ElasticModel(model, choices or {}, example, published=published)


def _networks(supernet: ElasticModel) -> Networks:
    """Builders for `sharewise.search` and `sharewise.train`."""

    def fits(input_shape: Sequence[int], outputs: int) -> None:
        expected = tuple(supernet.example.shape[1:])
        if tuple(input_shape) != expected or outputs != supernet.output_shape[-1]:
            raise ConfigurationError(
                f"the model was made elastic with inputs of shape {expected} and has {supernet.output_shape[-1]} "
                f"outputs, but the data have inputs of shape {tuple(input_shape)} and {outputs} outputs"
            )

    def shared(space: Space, input_shape: Sequence[int], outputs: int, options: ElasticOptions) -> Supernet:
        fits(input_shape, outputs)
        return copy.deepcopy(supernet)

    def plain(
        architecture: Architecture, input_shape: Sequence[int], outputs: int, options: ElasticOptions
    ) -> nn.Module:
        fits(input_shape, outputs)
        network = supernet.plain(architecture)
        for module in network.modules():
            reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))  # of attention
            if callable(reset):
                reset()
        return network

    return Networks(ElasticOptions, shared, plain, ("image", "table", "text"))


def _taken(tensor: Tensor, axis: int, where: Tensor | int) -> Tensor:
    """The alive positions along an axis."""
    if isinstance(where, Tensor):
        return tensor.index_select(axis, where)
    return tensor if where == tensor.shape[axis] else tensor.narrow(axis, 0, where)


def _tensor(model: nn.Module, name: str) -> Tensor:
    owner, _, local = name.rpartition(".")
    module = model.get_submodule(owner)
    found: Tensor | None = module._parameters.get(local)
    found = module._buffers.get(local) if found is None else found
    assert found is not None
    return found


def _weighted_norm(norm: nn.LayerNorm | nn.RMSNorm, s: Tensor, x: Tensor) -> Tensor:
    """Layer norm or root-mean-square norm whose statistics are weighted by survival."""
    y, p = x.to(s.dtype), s / s.sum()
    if isinstance(norm, nn.LayerNorm):
        y = y - (y * p).sum(-1, keepdim=True)
    eps = torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
    y = y * torch.rsqrt((y.square() * p).sum(-1, keepdim=True) + eps)
    if norm.weight is not None:
        y = y * norm.weight
    bias = getattr(norm, "bias", None)
    return (y if bias is None else y + bias).to(x.dtype)


def _units(gates: Gates) -> Gates:
    """The same slices without any scale."""
    return {name: Gate(gate.weights, gate.active[-1:], unit=True) for name, gate in gates.items()}


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


def vary_constants(module: nn.Module, generator: torch.Generator) -> None:
    """Give parameters whose elements are all equal different ones, in place.

    A layer that starts as zero hides whatever is wrong before it, and equal elements that they are sliced wrongly.

    Args:
        module: any module.
        generator: source of randomness, on the host.

    Example:
        >>> norm = nn.LayerNorm(2)
        >>> vary_constants(norm, torch.Generator().manual_seed(0))
        >>> bool(norm.bias[0] == norm.bias[1])
        False
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point() and bool((parameter == parameter.reshape(-1)[:1]).all()):
                noise = 0.75 + 0.5 * torch.rand(parameter.shape, generator=generator)
                parameter.copy_(noise.to(parameter) * torch.where(parameter.abs() > 0.1, parameter, 0.5))


def _sharpened(supernet: ElasticModel) -> ElasticModel:
    """A copy in which wrong slices show: no constant parameters, and double precision where its code allows that."""
    supernet = copy.deepcopy(supernet)
    vary_constants(supernet, torch.Generator().manual_seed(0))
    precise = copy.deepcopy(supernet).double()
    if precise.example.is_floating_point():
        precise.example = precise.example.double()
    try:
        precise._masked(precise.largest)
    except Exception:  # of whatever kind, where code asks for another precision
        return supernet
    return precise


def _attempt(network: nn.Module, run: Callable[[Tensor], Tensor], example: Tensor, expected: Tensor) -> str:
    """Run a network; empty where it computes what is expected, else what went wrong, in words."""
    with following(network) as running:
        try:
            with torch.no_grad():
                actual = run(example)
        except Exception as error:  # whatever the user's code raises
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            return f"fails in {(running or [''])[-1] or 'its forward'!r}: {reason}"
    if actual.shape != expected.shape:
        return f"returns a tensor of shape {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    scale = max(float(expected.abs().max()), 1e-3)
    worst = float((actual - expected).abs().max())
    eps = torch.finfo(expected.dtype).eps
    if not worst <= max(1e-5 if eps < 1e-10 else 1e-3, 8 * eps) * scale:  # in that order, since it may be nan
        return f"differs from the masked model by up to {worst:.3g}"
    return ""
