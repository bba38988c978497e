"""Searches as runs: build a supernet, run a recipe, and keep everything in a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

import torch

from sharewise.data import Dataset
from sharewise.engine import (
    Callback,
    Recipe,
    SearchResult,
    SearchState,
    Teacher,
    curvature,
    prepare,
    require_curvature,
    rounding_gap,
    seeded_modules,
    stream,
    together,
)
from sharewise.errors import ConfigurationError
from sharewise.given import mapping, optional, whole
from sharewise.oracle.table import Table
from sharewise.run.arguments import (
    AnyData,
    AnyMethod,
    AnySpace,
    callbacks_of,
    dataset_of,
    keep_of,
    recipe_of,
    setting_of,
    space_of,
)
from sharewise.run.execute import Record, described, execute
from sharewise.run.extending import epochs_begun
from sharewise.run.following import Following, follow
from sharewise.run.native import native_of
from sharewise.run.networks import asked_network, build_supernet, network_options, require_input_kind
from sharewise.run.place import NOWHERE, Keep, Setting
from sharewise.run.result import result_of_search
from sharewise.run.teaching import AnyTeacher, no_teacher, teacher_of
from sharewise.run.threads import on_threads, threads_of
from sharewise.space import Space

__all__ = ["Search", "search"]


def search(
    space: AnySpace,
    recipe: AnyMethod,
    dataset: AnyData,
    *,
    network: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
    threads: int | None = None,
    accumulate: int = 1,
    compile: bool = False,  # noqa: A002 - as torch calls it
    capture: bool = False,
    native: bool | None = None,
    max_steps: int | None = None,
    gap_examples: int = 256,
    eigenvalue_every: int = 0,
    oracle: Table | str | Path | None = None,
    oracle_dataset: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    extension_rate: float | None = None,
    teacher: AnyTeacher | None = None,
    callbacks: Sequence[Callback] = (),
    configuration: Mapping[str, Any] | None = None,
) -> SearchResult:
    """Search a space with a recipe on a data set.

    Args:
        space: what to search: a space or its name, or a model of your own that `sharewise.elastic` has made one.
        recipe: the method, such as `sharewise.methods.gaea_erm()`, or its name.
        dataset: a data set or its name; its training examples are dealt to the roles that the recipe names, the test
            examples stay sealed.
        network: options of the network by name.
        epochs: overrides the recipe's; beside `resume`, epochs in all of a run that has ended and shall go on.
        seed: of every random stream.
        device: `"auto"`, `"cpu"`, `"cuda"`, …
        precision: `"float32"`, `"float64"` or `"bfloat16"`.
        threads: of the CPU; by default one, or as many as torch takes where a step is large.
        accumulate: micro-batches in which every batch is computed, one after the other, for less memory; their
            gradients add up to those of the batch. Batch norm takes the moments of each.
        compile: let `torch.compile` translate the network, for methods whose every step mixes all options; the first
            steps take minutes, and sums come in another order.
        capture: replay steps as CUDA graphs, since a graphics processor waits for the launches of small networks; bits
            are the same.
        native: whether layers are computed by kernels that are compiled on this machine, where these know them;
            by default where that is measured to be faster.
        max_steps: stop after so many steps.
        gap_examples: selection examples that measure the rounding gap after each epoch; 0 for none.
        eigenvalue_every: epochs between two measurements of the dominant eigenvalue of ∂²L_val/∂θ²; 0 for none.
        oracle: a table of the space, or its file: the architecture of every epoch is looked up in it, for the report
            alone.
        oracle_dataset: of the table, where it is not called as the data set.
        out: a folder for the run; without one nothing is written.
        resume: continue the run in `out`, which must have been started with the same arguments.
        checkpoint_every: steps between checkpoints within an epoch; one is always written after each epoch.
        extension_rate: the learning rate at which a schedule that has ended starts anew in an extension, as a fraction
            of the first one; by default 0.1.
        teacher: a trained network from which weight steps learn as well, as a module, a result, a path, or a
            `Teacher` that says weight and temperature; it must be given again where the run is resumed.
        callbacks: told of every event.
        configuration: what to store as the run's configuration; by default the arguments in words.

    Returns:
        The found architecture, and the final state with supernet, distribution, history and ledger.

    Raises:
        ConfigurationError: when settings clash.
        CheckpointError: when `out` holds a run already, or one that does not fit.
        NonFiniteError: when training diverges.

    Example:
        >>> import sharewise as sw
        >>> result = sw.search(sw.spaces.toy_tied_width(), sw.methods.gaea_erm(), sw.data.digits(), max_steps=2,
        ...                    device="cpu")
        >>> sorted(result.architecture)
        ['activation', 'width']
    """
    searched = space_of(space)
    keep = keep_of(out, resume, checkpoint_every, epochs, extension_rate)
    begun = epochs_begun(keep.folder) if keep.extension is not None and keep.folder is not None else epochs
    data = dataset_of(dataset)
    found = Search(
        searched,
        recipe_of(recipe, epochs if begun is None else begun, data.batch_size),
        data,
        setting_of(
            searched,
            network,
            seed,
            device,
            precision,
            max_steps,
            threads,
            accumulate,
            compile,
            capture,
            native,
        ),
        whole("gap_examples", gap_examples, least=0),
        whole("eigenvalue_every", eigenvalue_every, least=0),
        following=follow(oracle, searched, data.name, oracle_dataset),
        teacher=partial(teacher_of, teacher),
    )
    return found.run(keep, callbacks_of(callbacks), optional(mapping, "configuration", configuration))


@final
@dataclass(frozen=True)
class Search:
    """A search before its first step.

    Args:
        space: what to search.
        recipe: the method.
        dataset: its training examples are dealt to the roles that the recipe names.
        setting: network, seed, place and limit.
        gap_examples: selection examples that measure the rounding gap after each epoch; 0 for none.
        eigenvalue_every: epochs between two measurements of the dominant eigenvalue of ∂²L_val/∂θ²; 0 for none.
        following: the table in which the architecture of every epoch is looked up.
        teacher: gives the network from which a run learns as well, or nothing; not asked to open one that has ended.
    """

    space: Space
    recipe: Recipe
    dataset: Dataset
    setting: Setting = field(default_factory=Setting)
    gap_examples: int = 256
    eigenvalue_every: int = 0
    following: Following | None = None
    teacher: Callable[[], Teacher | None] = no_teacher

    @property
    def network(self) -> dict[str, Any]:
        """Options of the network: what the method asks for, under those of the setting."""
        return asked_network(self.space, self.recipe, self.setting.network)

    def prepare(self) -> SearchState:
        """The state at step 0."""
        require_input_kind(self.space, self.dataset)
        seed, place, dataset = self.setting.seed, self.setting.place.numerics(), self.dataset
        shape, outputs = dataset.input_shape, dataset.task.outputs
        state = prepare(
            build_supernet(self.space, shape, outputs, network=self.network, seed=seed),
            self.recipe,
            dataset.assign(self.recipe.roles, generator=stream(seed, "data")),
            numerics=place,
            seed=seed,
            max_steps=self.setting.max_steps,
            measure=together(
                rounding_gap(self.gap_examples),
                curvature(self.eigenvalue_every),
                None if self.following is None else self.following.measure,
            ),
        )
        if self.eigenvalue_every:
            require_curvature(state)
            if place.ranks.sharded:
                raise ConfigurationError(
                    "eigenvalues differentiate twice, which sharded weights do not allow; leave --eigenvalue-every or "
                    "shard out"
                )
        return state

    def run(
        self,
        keep: Keep = NOWHERE,
        callbacks: Sequence[Callback] = (),
        configuration: Mapping[str, Any] | None = None,
    ) -> SearchResult:
        """Search, or go on where the folder stands; `configuration` as for `search`."""
        self.setting.place.require_others(keep)
        with self.setting.place.entered(), seeded_modules(self.setting.seed, "modules", self._device):
            with on_threads(1):
                state, teacher = self.prepare(), self.teacher()
                if teacher is not None:
                    state.teach(teacher)
                state.shard()
            threads = threads_of(state, keep, self.setting.place.threads)
            native = native_of(state, keep, self.setting.place.native, threads)
            facts = described("search", configuration) or self._facts()
            record = Record(facts, partial(result_of_search, self), threads, native)
            return execute(state, keep, record, callbacks)

    @property
    def _device(self) -> torch.device:
        return self.setting.place.numerics().device

    def _facts(self) -> dict[str, Any]:
        """The arguments in words, for a search of objects that no configuration can name."""
        setting, recipe = self.setting, self.recipe
        return {
            "command": "search",
            "space": self.space.name,
            "method": recipe.name,
            "data": self.dataset.name,
            "network": network_options(self.space, self.network),
            "recipe": {"epochs": recipe.epochs, **recipe.arguments},
            "limits": {name: bound for limit in recipe.limits for name, bound in limit.bounds.items()},
            "seed": setting.seed,
            "device": setting.place.device,
            "precision": setting.place.precision,
            "max_steps": setting.max_steps,
            "gap_examples": self.gap_examples,
            "eigenvalue_every": self.eigenvalue_every,
            "oracle": None if self.following is None else str(self.following.table.path),
            "oracle_dataset": None if self.following is None else self.following.dataset,
            "origin": "library",
        }
