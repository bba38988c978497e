"""A search in a loop of one's own: the batches, and where one likes the forward and backward passes, are the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.data import Batch, Role, RoleData, Task
from sharewise.engine.level import Losses
from sharewise.engine.loop import begin_epoch, end_epoch
from sharewise.engine.numerics import Numerics
from sharewise.engine.recipe import Recipe
from sharewise.engine.state import SearchState, prepare
from sharewise.engine.step import architecture_draws, leaves_of, move_architecture
from sharewise.engine.telling import facts
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.given import got, whole
from sharewise.shown import Shown
from sharewise.space import Architecture
from sharewise.supernet import Gates, Supernet, frozen_statistics
from sharewise.supernet.own_loop import block
from sharewise.supernet.structures import integers_of, shapes_of

__all__ = ["Searcher"]

Pair = Sequence[Any]
"""Inputs and targets."""


@final
class Searcher(Shown):
    """The steps of a recipe, for a loop that sharewise does not run.

    What the loop of `sharewise.search` does between two batches is done here: gates are drawn, w and θ moved, schedules
    asked, stages entered, and everything that a resume needs is in `state_dict`. Either `step` makes both halves of a
    step from a batch, or the loop makes them itself in the blocks `weights` and `architecture`, in which the supernet
    is called without gates.

    Args:
        supernet: where its weights are is where batches must be.
        recipe: the method.
        loss: of (outputs, targets), a mean over the batch; cross-entropy by default.
        example: a batch of inputs, for what a step costs; a model of one's own brings its own.
        steps_per_epoch: batches per epoch, for schedules and stages.
        seed: of θ and of all draws.

    Raises:
        ConfigurationError: for a recipe that reads examples on its own, between steps or in its selection.

    Example:
        >>> import torch
        >>> import sharewise as sw
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
        >>> supernet = sw.elastic(model, {"0": sw.width([4, 8, 16])}, example=torch.zeros(2, 4))
        >>> search = sw.Searcher(supernet, sw.methods.tanglenas_gaea(epochs=1), steps_per_epoch=5)
        >>> generator = torch.Generator().manual_seed(0)
        >>> while not search.done:
        ...     batches = [(torch.randn(8, 4, generator=generator), torch.arange(8) % 3) for _ in range(2)]
        ...     losses = search.step(*batches)
        >>> sorted(losses), list(search.best())
        (['architecture_loss', 'weights_loss'], ['layer_0_width'])

    Deviations:
        A level with several steps on θ per epoch (ENAS) makes them all on the last batch that it was given.
    """

    def __init__(
        self,
        supernet: Supernet,
        recipe: Recipe,
        *,
        loss: Callable[[Any, Any], Tensor] = F.cross_entropy,
        example: Any = None,
        steps_per_epoch: int = 1,
        seed: int = 0,
    ) -> None:
        if not isinstance(supernet, Supernet):
            raise ConfigurationError(
                f"expected a supernet, {got(supernet)}: make a model of your own one by sharewise.elastic(model, …)"
            )
        if not isinstance(recipe, Recipe):
            raise ConfigurationError(
                f"expected a recipe, {got(recipe)}: give one such as sharewise.methods.tanglenas_gaea(epochs=…)"
            )
        whole("steps_per_epoch", steps_per_epoch)
        example = getattr(supernet, "example", None) if example is None else example
        if not isinstance(example, Tensor | Mapping):
            raise ConfigurationError(
                f"{type(supernet).__name__} holds no example of one input or of several by name; give one: example=…"
            )
        _require_own(recipe, supernet)
        task = Task("own", 1, loss, primary="loss", higher_is_better=False)
        self._given = _Given(_Described(task, example), steps_per_epoch)
        weight = next(supernet.parameters())
        self.state: SearchState = prepare(
            supernet,
            recipe,
            cast(RoleData, self._given),  # it answers what a search without selection asks of its data
            numerics=Numerics(weight.device, "float64" if weight.dtype == torch.float64 else "float32", False),
            seed=seed,
        )
        self._drawn: tuple[Gates, Gates] | None = None
        self._begun = False

    def told(self) -> dict[str, str]:
        """See `sharewise.shown.Shown`."""
        state = self.state
        return {**facts(state), "trained": f"{state.step:,} of {state.total_steps:,} steps"}

    @property
    def done(self) -> bool:
        """Whether the epochs of the recipe are over."""
        return self.state.step >= self.state.total_steps

    def step(self, batch: Pair, held_out: Pair | None = None) -> Losses:
        """Both halves of a step, in the order of the recipe's level.

        Args:
            batch: inputs and targets that train w.
            held_out: those that train θ; `None` where the recipe reads the same ones (single level).

        Returns:
            Detached scalars by name, still on the device.

        Raises:
            ConfigurationError: when the epochs are over, or θ wants examples of its own.
        """
        self._begin()
        recipe = self.state.recipe
        if held_out is None and "architecture" in recipe.level.roles:
            if recipe.roles.is_disjoint("weights", "architecture"):
                raise ConfigurationError(
                    f"method {recipe.name!r} trains θ on examples that do not train the weights: give a second batch, "
                    "step(batch, held_out), or take a single-level method"
                )
            held_out = batch
        self._given.batches = {"weights": Batch(*batch)}
        if held_out is not None:
            self._given.batches["architecture"] = Batch(*held_out)
        moves = self.state.course.stages[self.state.stage].architecture_steps
        losses = recipe.level.step(self.state, architecture=moves)
        self._end(losses)
        return losses

    @contextmanager
    def weights(self) -> Iterator[None]:
        """A block under gates of a weight step; loss, backward pass and the step of an optimiser are the loop's.

        Where the block ends the searcher counts a step.
        """
        self._begin()
        with torch.no_grad():
            drawn = self.state.distribution.draw(self.state.generators["weights"], self.state.phase("weights"))
        gates = self._single(drawn)
        with block(self.state.supernet, leaves_of(self.state, gates, differentiable=False)):
            yield
        self._end({})

    @contextmanager
    def architecture(self) -> Iterator[None]:
        """A block under gates of an architecture step; after the backward pass of its loss `move` moves θ.

        Weights gather gradients in this pass, too: clear them before the next weight step, as a loop does.
        """
        self._begin()
        if self.state.recipe.level.gradient != "path":
            raise ConfigurationError(f"method {self.state.recipe.name!r} does not train θ through the weights of gates")
        drawn = self._single(architecture_draws(self.state))
        leaves = leaves_of(self.state, drawn, differentiable=True)
        self._drawn = drawn, leaves
        with block(self.state.supernet, leaves), frozen_statistics(self.state.supernet):
            yield

    def move(self) -> None:
        """Carry the gradient of the last `architecture` block to θ, add penalties, and move θ.

        Raises:
            ConfigurationError: without such a block, or before its backward pass.
        """
        if self._drawn is None:
            raise ConfigurationError("move() follows a block: with search.architecture(): loss = …; loss.backward()")
        drawn, leaves = self._drawn
        slopes = {name: gate.weights.grad for name, gate in leaves.items() if gate.weights.grad is not None}
        if not slopes:
            raise ConfigurationError("no gate has a gradient yet: call loss.backward() before move()")
        self._drawn = None
        if self.state.course.stages[self.state.stage].architecture_steps:  # not in a warm-up
            self.state.distribution.pullback(drawn, slopes)
            move_architecture(self.state)

    def best(self) -> Architecture:
        """The architecture that the rule of the recipe reads off θ at present.

        Raises:
            ConfigurationError: for a recipe that ranks architectures by scores: score them on data of your own.
        """
        if not self.state.recipe.selection.reads_probabilities:
            raise ConfigurationError(
                f"method {self.state.recipe.name!r} ranks architectures by scores, which needs held-out examples: "
                "call the supernet in a block of each candidate, with supernet.under(architecture): …"
            )
        return self.state.recipe.selection.select(self.state).architecture

    def state_dict(self) -> dict[str, Any]:
        """Everything that an exact resume needs, the weights of the supernet included: tensors and plain values."""
        return self.state.state_dict()

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, with a supernet and a recipe like those of then.

        Raises:
            CheckpointError: for anything else than what `state_dict` returned, or the state of a supernet or a space of
                other sizes; nothing is loaded then.
        """
        for name, kind in _PARTS.items():
            if name not in content:
                raise CheckpointError(f"this is no state of a searcher, since it lacks {name!r}: give a state_dict()")
            if not isinstance(content[name], kind):
                raise CheckpointError(
                    f"this is no state of a searcher, since its {name!r} is {type(content[name]).__name__}: give a "
                    "state_dict()"
                )
        if not all(isinstance(record, Mapping) and "event" in record for record in content["history"]):
            raise CheckpointError(
                "this is no state of a searcher, since its 'history' lists no events: give a state_dict()"
            )
        if not any(record["event"] == "stage" for record in content["history"]):  # which may have changed sizes since
            _require_sizes("supernet", self.state.supernet, content["supernet"])
            _require_sizes("distribution", self.state.distribution, content["distribution"])
        self.state.load_state_dict(dict(content))
        self._drawn, self._begun = None, False  # an epoch is entered anew, which is harmless within it

    def _begin(self) -> None:
        if self.done:
            raise ConfigurationError(
                f"all {self.state.total_steps} steps of the recipe are done; build it with more epochs"
            )
        if not self._begun:
            self.state.supernet.train()
            begin_epoch(self.state)
            self._begun = True

    def _end(self, losses: Losses) -> None:
        state = self.state
        for name, loss in losses.items():
            state.meter(name, loss)
        state.step += 1
        if state.step % state.steps_per_epoch == 0:
            end_epoch(state)
            self._begun = False

    def _single(self, paths: Sequence[Gates]) -> Gates:
        if len(paths) != 1:
            raise ConfigurationError(
                f"method {self.state.recipe.name!r} draws {len(paths)} paths for a batch, which a block cannot hold; "
                "use step(batch)"
            )
        return paths[0]


_PARTS: Mapping[str, type] = {"history": list, "supernet": Mapping, "distribution": Mapping, "streams": Mapping}
"""Parts of a state, and what they are."""


def _require_sizes(what: str, module: nn.Module, content: Mapping[str, Any]) -> None:
    """Refuse values of another module than this one, before any is loaded."""
    here, there = (
        {name: tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__ for name, value in of.items()}
        for of in (module.state_dict(), content)
    )
    for name in dict.fromkeys([*there, *here]):
        if here.get(name) != there.get(name):
            found, expected = (shapes.get(name, "absent") for shapes in (there, here))
            raise CheckpointError(
                f"{name} of the {what} is {found} in the state and {expected} here; build supernet and recipe as they "
                "were when the state was taken"
            )


def _require_own(recipe: Recipe, supernet: Supernet) -> None:
    """Refuse what reads examples that a loop of one's own does not hand over."""
    reading = [type(reaction).__name__ for reaction in recipe.reactions]
    if recipe.selection.tuning(recipe, supernet.relaxation) is not None:
        reading.append(type(recipe.selection).__name__)
    reading += [type(s).__name__ for stage in recipe.stages for s in stage.surgeries if s.reads_examples]
    if reading:
        raise ConfigurationError(
            f"method {recipe.name!r} evaluates examples on its own ({', '.join(reading)}), which a loop of your own "
            "does not hand over; use sharewise.search"
        )


@final
@dataclass(frozen=True, eq=False)
class _Described:
    """What a search asks of a data set of which it sees only batches.

    Args:
        task: the loss.
        example: a batch of inputs.
    """

    task: Task
    example: Any

    @property
    def train(self) -> Batch:
        """Inputs of the right kind, without targets."""
        return Batch(self.example, torch.empty(0))

    @property
    def input_shape(self) -> Any:
        """Of one example, by name where there are several inputs."""
        return shapes_of(self.example)

    @property
    def integers(self) -> Any:
        """Whether inputs are indices, likewise."""
        return integers_of(self.example)


@final
@dataclass
class _Given:
    """The data of a search whose batches are handed over one by one.

    Args:
        dataset: as far as it is known.
        steps: batches per epoch.
        batches: the present ones by role.
    """

    dataset: _Described
    steps: int
    batches: dict[Role, Batch] = field(default_factory=dict)

    def size(self, role: Role) -> int:
        """Unknown before the batches come, and no reason to refuse."""
        return 1 << 30

    def stream(self, role: Role, batch_size: int, **settings: Any) -> _Handed:
        """The batches of a role."""
        return _Handed(self, role)


@final
@dataclass(frozen=True)
class _Handed:
    """A stream that yields the present batch of a role."""

    given: _Given
    role: Role

    @property
    def steps_per_pass(self) -> int:
        """Batches per epoch."""
        return self.given.steps

    def __next__(self) -> Batch:
        return self.given.batches[self.role]

    def state_dict(self) -> dict[str, Any]:
        """Where the loop stands in its data is its own affair."""
        return {}

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Nothing to restore."""
