"""The state of a search: everything that a resume needs, and nothing that it can rebuild."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from sharewise.cost import SupernetCost
from sharewise.data import Batch, Role, RoleData, Stream, Task
from sharewise.distribution import Distribution, Phase, Step, option_mask
from sharewise.engine.aside import load_trained, trained
from sharewise.engine.budget import Affordable
from sharewise.engine.callback import Announced, Callback, Event
from sharewise.engine.capture import OFTEN, Captured, require_capturable
from sharewise.engine.compilation import Compiled, require_compilable
from sharewise.engine.course import Course, Period
from sharewise.engine.extension import Extension, extended
from sharewise.engine.numerics import Numerics
from sharewise.engine.recipe import Recipe
from sharewise.engine.rows import Layouts
from sharewise.engine.shards import divide, here
from sharewise.engine.streams import stream
from sharewise.engine.surgery import Moments, carried, replay
from sharewise.engine.teacher import Teacher
from sharewise.engine.watch import blind_loss
from sharewise.errors import ConfigurationError, NonFiniteError
from sharewise.ledger import Ledger
from sharewise.space import Architecture, Space
from sharewise.supernet import Gates, Supernet, discrete, to_device
from sharewise.supernet.without_values import without_values

if TYPE_CHECKING:
    from sharewise.engine.score import ScoreGates, Scorer

__all__ = ["Instead", "Measure", "SearchState", "prepare"]

Measure = Callable[["SearchState"], Mapping[str, Any]]

Instead = Callable[["Scorer", "ScoreGates", Gates], dict[str, float]]
"""Answers in the place of a scorer, which it may ask; so a forecast makes few evaluations of many."""

_STREAMS = ("weights", "architecture")


@final
class SearchState:
    """A search in progress.

    Mutable by design: the loop and the levels advance it, `state_dict` and `load_state_dict` carry it across processes
    to the bit.

    Args:
        recipe: the method.
        supernet: shared weights w, already placed.
        distribution: θ, or a sampler.
        data: training examples by role.
        numerics: device and precision.
        seed: from which all named streams derive.
        loss: overrides the task's loss (an auxiliary head needs that).
        max_steps: stop after so many steps in all, or `None`.
        measure: what to add to the history at the end of each epoch, such as `rounding_gap(256)`.
        on_epoch: called with (epoch, epochs) at the start of each, to set what a schedule drives in the network.
    """

    def __init__(
        self,
        *,
        recipe: Recipe,
        supernet: Supernet,
        distribution: Distribution,
        data: RoleData,
        numerics: Numerics,
        seed: int,
        loss: Callable[[Any, Tensor], Tensor] | None = None,
        max_steps: int | None = None,
        measure: Measure | None = None,
        on_epoch: Callable[[int, int], None] | None = None,
    ) -> None:
        self.recipe, self.supernet, self.distribution = recipe, supernet, distribution
        self.data, self.numerics, self.seed = data, numerics, seed
        self.task: Task = data.dataset.task
        self.loss = self.task.loss if loss is None else loss
        self.max_steps, self.measure, self.on_epoch = max_steps, measure, on_epoch
        self._follow_weights()
        self.architecture_optimizer = distribution.optimizer()
        self.generators = {name: stream(seed, name) for name in _STREAMS}
        self.streams: dict[Role, Stream] = {
            role: data.stream(
                role,
                recipe.batch_size,
                order=stream(seed, f"data/{role}"),
                augment=stream(seed, f"augmentation/{role}"),
                device=numerics.device,
                dtype=numerics.dtype,
            )
            for role in recipe.level.roles
        }
        self._price()
        self.teacher: Teacher | None = None
        self.ledger = Ledger()
        self.epoch, self.step, self.stage = 0, 0, -1
        self.moves = 0  # steps on θ
        self.meters: dict[str, Tensor] = {}
        self.metered: dict[str, int] = {}
        self.memory: dict[str, Tensor] = {}  # what a level carries from step to step, such as a baseline; on the host
        self.history: list[dict[str, Any]] = []
        self.aside: dict[int, dict[str, Any]] = {}  # by epoch: what a reaction may go back to
        self.extensions: tuple[Extension, ...] = ()
        self.callbacks: tuple[Callback, ...] = ()
        self.instead: Instead | None = None
        self.layouts = Layouts()  # of what several processes draw
        self._clock = time.perf_counter()

    def _follow_weights(self) -> None:
        self._weights = dict(self.supernet.named_parameters())
        self.weight_optimizer = self.recipe.weights.build(self._weights.values())

    def shard(self) -> None:
        """At step 0, let every process keep a part of the weights, where that is asked for; see `shards`.

        Raises:
            ConfigurationError: when the method or the network does not allow it.
        """
        if not self.numerics.ranks.sharded:
            return
        surgeries = [type(each).__name__ for stage in self.course.stages for each in stage.operations]
        if surgeries:
            raise ConfigurationError(
                f"method {self.recipe.name!r} changes weights between stages ({surgeries[0]}), which cannot be done to "
                "sharded ones; leave shard out"
            )
        self.costs.of(self.mixture)  # now, since a network that looks at values is copied for it
        divide(self.supernet, self.numerics.device, self.numerics.ranks.world)
        self._follow_weights()
        inputs = self.calibration_batches(1)[0].inputs
        leaves = to_device(self.mixture, self.numerics.device, self.numerics.dtype)
        try:
            self.layouts.of("shards", self.supernet, lambda inputs: self.supernet(inputs, leaves), inputs)
        except RuntimeError as error:
            if "DTensor" not in str(error):
                raise
            raise ConfigurationError(
                "the network reads weights of a module in a row (ModuleList, Sequential) without calling it, and "
                "sharded weights are in place within a call alone; leave shard out"
            ) from None

    @property
    def weights(self) -> list[Tensor]:
        """The shared weights; a walk over the modules of a supernet takes as long as a small step."""
        return list(self._weights.values())

    @property
    def mixture(self) -> Gates:
        """Gates of all options at once, equally."""
        return discrete({d.name: (1 / d.size,) * d.size for d in self.supernet.relaxation.decisions})

    def _price(self) -> None:
        """What the supernet costs, and which architectures keep the limits."""
        self.costs = SupernetCost(
            self.supernet,
            self.data.dataset.input_shape,
            integers=self.data.dataset.integers,
        )
        limits = self.recipe.limits
        self.affordable = (
            Affordable(limits, self.costs, self.distribution.relaxation, self._selectable()) if limits else None
        )

    def _selectable(self) -> Space:
        """The architectures that the selection may return."""
        space = self.distribution.space
        known = {option for choice in space.choices for option in choice.options}
        return space.without(tuple(o for o in dict.fromkeys(self.recipe.selection.exclude) if o in known))

    def admits(self, architecture: Architecture) -> bool:
        """Whether a selection may score an architecture: it keeps the budget, where there is one."""
        return self.affordable is None or self.affordable.admits(architecture)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the examples of the role `weights`."""
        return self.streams["weights"].steps_per_pass

    @property
    def course(self) -> Course:
        """The epochs of the recipe, and those in which its selection trains on."""
        recipe = self.recipe
        own = Period(recipe.epochs, recipe.stages, recipe.weights.learning_rate)
        tuning = recipe.selection.tuning(recipe, self.distribution.relaxation)
        return Course((own,) if tuning is None else (own, tuning))

    @property
    def total_steps(self) -> int:
        """Steps of the whole run; those that were made, once a reaction has ended it."""
        if self.history and self.history[-1].get("stopped"):
            return self.step
        total = self.steps_per_epoch * self.epochs
        return total if self.max_steps is None else min(total, self.max_steps)

    @property
    def epochs(self) -> int:
        """Of the whole run, those of a selection that trains on and extensions included."""
        return self.extensions[-1].epochs if self.extensions else self.course.epochs

    @property
    def moment(self) -> tuple[int, int]:
        """Epoch and epochs as schedules read them: beyond the epochs of the recipe, those of their last one.

        There all but the learning rate stay where the recipe's epochs ended: temperatures, strengths, probabilities. A
        warm-up is not repeated, and nothing that was annealed is heated again.
        """
        epochs = self.recipe.epochs
        return min(self.epoch, epochs - 1), epochs

    def learning_rate(self, epoch: int) -> float:
        """Of the shared weights in an epoch."""
        if self.extensions:
            return extended(self.recipe.weights.learning_rate, epoch, self.recipe.epochs, self.extensions)
        return self.course.learning_rate_at(epoch)

    @cached_property
    def network(self) -> Callable[[Any, Gates], Any]:
        """The supernet as steps execute it: by compiled programs, or captured, where that is asked for."""
        compiled = Compiled(self.supernet) if self.numerics.compile else None
        if self.numerics.capture:
            return Captured(self.supernet, compiled, often=1 if self.distribution.constant else OFTEN)
        return self.supernet if compiled is None else compiled

    @property
    def fixed_network(self) -> Callable[[Any, Gates], Any]:
        """The same where no gradient of the shared weights will be asked for."""
        network = self.network
        return network.fixed if isinstance(network, Compiled | Captured) else network

    @cached_property
    def blind_loss(self) -> float | None:
        """See `sharewise.engine.watch.blind_loss`."""
        return blind_loss(self)

    def phase(self, step: Step) -> Phase:
        """The present moment, for a draw."""
        return Phase(step, *self.moment)

    def next_batch(self, role: Role) -> Batch:
        """The next training batch of a role: this process's rows of it."""
        batch = self.numerics.arrange(next(self.streams[role]))
        return self.numerics.ranks.part(batch, self.numerics.accumulate)

    def evaluation_batches(self, role: Role, limit: int | None = None) -> list[Batch]:
        """The same examples in the same order at every call.

        A last batch of a single example, whose own statistics would be undefined, joins the one before.
        """
        batches = list(
            self.data.batches(
                role,
                max(self.recipe.batch_size, 64),
                device=self.numerics.device,
                dtype=self.numerics.dtype,
                limit=limit,
            )
        )
        if len(batches) > 1 and len(batches[-1].inputs) == 1:
            last, before = batches.pop(), batches.pop()
            batches.append(Batch.joined([before, last]))
        return [self.numerics.arrange(batch) for batch in batches]

    def calibration_batches(self, count: int) -> list[Batch]:
        """Up to `count` mini-batches of training examples without augmentation, evenly spaced over all of them."""
        if count == 0:
            return []
        size = min(self.recipe.batch_size, self.data.size("weights"))
        limit = min(count * size, self.data.size("weights") // size * size)
        batches = self.data.batches(
            "weights", size, device=self.numerics.device, dtype=self.numerics.dtype, limit=limit
        )
        return [self.numerics.arrange(batch) for batch in batches]

    def fresh_generator(self, name: str) -> torch.Generator:
        """A generator for something that is done once, the same at every call."""
        return stream(self.seed, name)

    def teach(self, teacher: Teacher) -> None:
        """Let weight steps learn from a network as well, of which the state takes a frozen copy.

        Args:
            teacher: of the same task.

        Raises:
            ConfigurationError: when it does not fit the task, the data or the method.
        """
        self.teacher = teacher.frozen(self.numerics)
        self.teacher.check(self)
        for part in self.recipe.parts:
            part.check(self)

    def rebind_weights(self, moments: Moments = MappingProxyType({})) -> None:
        """Let the optimiser and the prices follow parameters that a surgery has replaced, added or removed.

        Moments go on under the names of parameters; new parameters begin without any.

        Args:
            moments: how the old moments of a parameter become those of the new one, by name; the rest stay as they are.

        Raises:
            ConfigurationError: when a parameter has another shape than its moments.
        """
        self.numerics.place(self.supernet)
        self.__dict__.pop("network", None)
        before, self._weights = self._weights, dict(self.supernet.named_parameters())
        fresh = self.recipe.weights.build(self._weights.values())
        for group, old in zip(fresh.param_groups, self.weight_optimizer.param_groups, strict=True):
            group["lr"] = old["lr"]
        self.weight_optimizer = carried(self.weight_optimizer, fresh, before, self._weights, moments)
        self._price()

    def charge(self, part: str, gates: Gates, examples: int, passes: int) -> None:
        """Enter a step's cost into the ledger."""
        self.ledger.charge(part, examples=examples, multiply_accumulates=self.costs.of(gates), passes=passes)

    def spend(self, part: str) -> None:
        """Charge the seconds since the last call to a part of the run."""
        now = time.perf_counter()
        self.ledger.spend(part, now - self._clock)
        self._clock = now

    def restart_clock(self) -> None:
        """Forget the time since the last `spend` (building, loading)."""
        self._clock = time.perf_counter()

    def emit(self, event: Event) -> None:
        """Tell every callback."""
        for callback in self.callbacks:
            callback(self, event)

    def announce(self, message: str) -> None:
        """A word on progress."""
        self.emit(Announced(message))

    def meter(self, name: str, value: Tensor) -> None:
        """Add to the epoch's mean of a scalar, without waiting for the device."""
        value = value.detach().double()
        self.meters[name] = self.meters[name] + value if name in self.meters else value
        self.metered[name] = self.metered.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The means of all meters so far; waits for the device."""
        return {name: float(total) / self.metered[name] for name, total in self.meters.items()}

    def reset_meters(self) -> None:
        """Begin a new epoch's means."""
        self.meters, self.metered = {}, {}

    def require_finite(self) -> None:
        """Stop before anything that is not a number reaches a checkpoint.

        Raises:
            NonFiniteError: naming what is not finite, where, and what to do.
        """
        broken = [name for name, mean in self.means().items() if not _finite(mean)]
        broken += [f"θ ({n})" for n, p in self.distribution.named_parameters() if not bool(p.isfinite().all())]
        shared = [value for value in here(self.supernet.state_dict().values()) if value.is_floating_point()]
        finite = not shared or bool(torch.stack([value.isfinite().all() for value in shared]).all())
        if self.numerics.ranks.any(not finite) if self.numerics.ranks.sharded else not finite:
            broken.append("a shared weight or a running statistic")
        if broken:
            raise NonFiniteError(
                f"{' and '.join(broken)} became non-finite by step {self.step} (epoch {self.epoch}); the run folder "
                "keeps the last finite checkpoint. Start again with a smaller learning rate, a gradient clip or "
                "float32 precision"
            )

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only, so that loading executes no code."""
        return {**trained(self), **self.progress()}

    def progress(self) -> dict[str, Any]:
        """What of it moves beside what training changes: streams, costs, history."""
        return {
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "streams": {role: stream.state_dict() for role, stream in self.streams.items()},
            "modules_rng": torch.get_rng_state(),
            "modules_cuda_rng": (
                torch.cuda.get_rng_state(self.numerics.device) if self.numerics.device.type == "cuda" else None
            ),
            "ledger": self.ledger.to_json(),
            "epoch": self.epoch,
            "step": self.step,
            "meters": self.meters,
            "metered": self.metered,
            "extensions": [[extension.epochs, extension.rate] for extension in self.extensions],
            "history": self.history,
            "aside": self.aside,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, for a search that was prepared with the same settings."""
        replay(self, state["history"])  # shapes before values
        load_trained(self, state)
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        for role, batches in self.streams.items():
            batches.load_state_dict(state["streams"][role])
        torch.set_rng_state(state["modules_rng"])
        if state["modules_cuda_rng"] is not None and self.numerics.device.type == "cuda":
            torch.cuda.set_rng_state(state["modules_cuda_rng"], self.numerics.device)
        self.ledger = Ledger.from_json(state["ledger"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.meters = {name: value.to(self.numerics.device) for name, value in state["meters"].items()}
        self.aside = dict(state.get("aside", {}))  # absent in checkpoints of before reactions
        self.metered, self.history = dict(state["metered"]), list(state["history"])
        self.extensions = tuple(Extension(*values) for values in state.get("extensions", ()))  # not in older ones
        self.restart_clock()


def prepare(
    supernet: Supernet,
    recipe: Recipe,
    data: RoleData,
    *,
    numerics: Numerics,
    seed: int = 0,
    max_steps: int | None = None,
    measure: Measure | None = None,
    loss: Callable[[Any, Tensor], Tensor] | None = None,
    on_epoch: Callable[[int, int], None] | None = None,
) -> SearchState:
    """Place a supernet, draw the initial θ and open the data streams.

    Args:
        supernet: freshly initialised.
        recipe: the method.
        data: examples by role.
        numerics: device and precision.
        seed: of all named streams.
        max_steps: stop after so many steps, at least 1, or `None`.
        measure: see `SearchState`.
        loss: see `SearchState`.
        on_epoch: see `SearchState`.

    Returns:
        The state at step 0.

    Raises:
        ConfigurationError: when a limit is out of range or the recipe does not fit the space.
    """
    if max_steps is not None and max_steps < 1:
        raise ConfigurationError(f"max_steps must be at least 1, got {max_steps}")
    numerics.place(supernet)
    if recipe.distribution.learns:  # what is neither masked nor barred from the result must leave a choice
        option_mask(supernet.relaxation.decisions, (*recipe.exclude, *recipe.selection.exclude))

    def size(architecture: Architecture) -> int:
        with without_values():
            return sum(p.numel() for p in supernet.plain(architecture).parameters() if p.requires_grad)

    distribution = recipe.distribution.build(supernet.relaxation, stream(seed, "theta"), recipe.exclude, size)
    distribution.to(dtype=numerics.dtype, device="cpu" if distribution.sampled else numerics.device)
    state = SearchState(
        recipe=recipe,
        supernet=supernet,
        distribution=distribution,
        data=data,
        numerics=numerics,
        seed=seed,
        loss=loss,
        max_steps=max_steps,
        measure=measure,
        on_epoch=on_epoch,
    )
    for part in recipe.parts:
        part.check(state)
    if numerics.compile:
        require_compilable(state)
    if numerics.capture:
        require_capturable(state)
    return state


def _finite(value: float) -> bool:
    return value - value == 0
