"""Configurations: everything that defines a run, as typed values that YAML files and the command line share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, final, get_type_hints

import torch
from torch import nn

from sharewise.cost import Latency, MultiplyAccumulates, Parameters, measure_latencies
from sharewise.data import Dataset
from sharewise.data.sources import load as load_data
from sharewise.engine import (
    BATCH_NORMS,
    Callback,
    CostTarget,
    Extension,
    Limit,
    Recipe,
    SearchResult,
    Teacher,
    numerics,
    pruned,
    selection_named,
)
from sharewise.errors import ConfigurationError, UnnamedFileError, unknown_name
from sharewise.files import expanded
from sharewise.methods import build, parameters
from sharewise.own_file import OwnFile, is_reference, require_named
from sharewise.run.arguments import checked, training_of
from sharewise.run.following import follow
from sharewise.run.inherit import inheritance_of_folder
from sharewise.run.networks import asked_network, build_network, network_options
from sharewise.run.origin import completed_training
from sharewise.run.own_space import space_made_by
from sharewise.run.place import Keep, Place, Setting
from sharewise.run.reading import read_yaml
from sharewise.run.search import Search
from sharewise.run.standalone import TrainingRecipe
from sharewise.run.teaching import teacher_named
from sharewise.run.threads import on_threads
from sharewise.run.train import Training, TrainingResult
from sharewise.space import Architecture, Space
from sharewise.spaces import load as load_space
from sharewise.supernet import networks_of

__all__ = ["Configuration", "SearchConfiguration", "TrainConfiguration", "from_mapping", "read_yaml"]


@dataclass(frozen=True)
class Configuration:
    """What searches and trainings have in common.

    Args:
        space: name of the search space, or FILE.py:factory, a function that makes one or an elastic model.
        data: name of the data set.
        data_path: file or folder of the data, where they are not built in.
        train_examples: use only so many training examples, drawn by the seed and balanced over classes.
        image_size: resize images to this height and width, in pixels.
        network: options of the network by name.
        recipe: options of the method or of the training by name.
        seed: of every random stream.
        device: auto, cpu, cuda, …
        precision: float32, float64 or bfloat16 (mixed).
        max_steps: stop after so many steps.
        checkpoint_every: steps between checkpoints within an epoch; one is always written after each epoch.
        text_length: tokens per example of a text.
        threads: of the CPU; by default one, or as many as torch takes where a step is large, since small ones wait more
            than they gain. The number is kept with the run: sums depend on it in the last bits.
        teacher: folder of a finished run, or exported program, from which weights learn as well.
        teacher_weight: of the loss towards its outputs, beside that towards the targets.
        teacher_temperature: by which its outputs and those that learn are divided.
        batch_norm: of several processes that share a run (torchrun): synchronised, by the moments of the whole batch,
            or per-rank, by those of each process's rows.
        accumulate: micro-batches in which every batch is computed, one after the other, for less memory; their
            gradients add up to those of the batch, and batch norm takes the moments of each.
        shard: let each of several processes (torchrun) keep a part of the weights and their moments, for networks
            beyond the memory of one device.
        compile: let torch.compile translate the network, where every step executes the same options: in trainings, and
            in searches that mix all of them. The first steps take minutes.
        capture: replay steps as CUDA graphs, which a graphics processor need not wait for; bits are the same.
        native: whether layers are computed by kernels that are compiled on this machine, where these know them;
            by default where that is measured to be faster. The choice is kept with the run: sums depend on it in the
            last bits.
        space_checksum: of the file that makes the space, and of those beside it that it imports.
        own: that file as the user named it, without which it is not executed; no part of what a folder stores.
    """

    space: str = "nasbench201"
    data: str = "digits"
    data_path: str | None = None
    train_examples: int | None = None
    image_size: int | None = None
    network: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"
    max_steps: int | None = None
    checkpoint_every: int | None = None
    text_length: int | None = None
    threads: int | None = None
    teacher: str | None = None
    teacher_weight: float = 1.0
    teacher_temperature: float = 1.0
    batch_norm: Literal["synchronised", "per-rank"] = "synchronised"
    accumulate: int = 1
    shard: bool = False
    compile: bool = False
    capture: bool = False
    native: bool | None = None
    space_checksum: str | None = None
    own: OwnFile | None = None

    def __post_init__(self) -> None:
        _ = self.place  # a number of threads that is out of range speaks up now
        if self.batch_norm not in BATCH_NORMS:
            raise unknown_name("batch_norm", self.batch_norm, BATCH_NORMS)
        if not 0 <= self.seed < 2**63:
            raise ConfigurationError(f"the seed must lie in [0, 2^63), got {self.seed}")

    def load_teacher(self) -> Teacher | None:
        """The teacher at its path, where one is named."""
        if self.teacher is None:
            return None
        return teacher_named(self.teacher, self.teacher_weight, self.teacher_temperature)

    def load_space(self) -> Space:
        """The space by its name, or of the file that the user named."""
        if self.own is not None:
            return space_made_by(self.own)
        if is_reference(self.space):
            raise UnnamedFileError(self.space)
        return load_space(self.space)

    def load_data(self) -> Dataset:
        """The data set, limited and resized as asked."""
        return load_data(
            self.data,
            self.data_path,
            image_size=self.image_size,
            length=self.text_length,
            train_examples=self.train_examples,
            seed=self.seed,
        )

    def network_options(self) -> dict[str, Any]:
        """All options of the network, with defaults filled in."""
        return network_options(self.load_space(), self.network)

    @property
    def place(self) -> Place:
        """Where the run computes."""
        where = self.device, self.precision, self.threads, self.batch_norm
        return Place(*where, self.accumulate, self.shard, self.compile, self.capture, self.native)

    def looked_at(self, device: str | None = None) -> Self:
        """The same for one who takes no step, and so needs no programs.

        Args:
            device: overrides the run's.
        """
        return replace(self, device=device or self.device, compile=False, capture=False)

    def setting(self) -> Setting:
        """What the run starts from, beside its space, recipe and data."""
        return Setting(self.network_options(), self.seed, self.place, self.max_steps)

    def _keep(self, out: str | Path, resume: bool, extension: Extension | None = None) -> Keep:
        """Where the run is kept, and what it shall go on by where it has ended."""
        return Keep(Path(out), resume, self.checkpoint_every, extension)


@final
@dataclass(frozen=True)
class SearchConfiguration(Configuration):
    """A search.

    Args:
        method: name of the search method.
        gap_examples: examples that measure the rounding gap after each epoch; 0 for none.
        eigenvalue_every: epochs between two measurements of the dominant eigenvalue of ∂²L_val/∂θ²; 0 for none.
        oracle: file of a table, in which the architecture of every epoch is looked up for the report alone.
        oracle_dataset: of the table, where it is not called as the data set.
        max_parameters: the largest number of trainable parameters that the found network may have.
        max_macs: the largest number of multiply-accumulates per example that the found network may need.
        max_latency: the longest time, in milliseconds, that the found network may take for one example by the latency
            table of the run.
        min_parameters: the smallest number of trainable parameters that the found network may have, with or without a
            largest one.
        min_macs: the smallest number of multiply-accumulates per example that the found network may need.
        min_latency: the shortest time, in milliseconds, that the found network may take for one example.
        selection: how the architecture is picked; by default as the method does.
        tuning_epochs: of the search between two rounds of the selection perturbation, 5 in its paper.
        keep: options per decision that remain from the second part of the search on, the third, and so on; the parts
            are of equal length, and none means a single one.
        budget_penalty: strength of a penalty on the expected cost above a budget, for methods that learn a
            distribution; a budget holds without it.
        latency: the latency table of the run; measured when it begins, if it is needed and not given.

    Raises:
        ConfigurationError: when a penalty has no budget.
    """

    method: str = "gaea-erm"
    gap_examples: int = 256
    selection: str | None = None
    tuning_epochs: int | None = None
    keep: tuple[int, ...] = ()
    eigenvalue_every: int = 0
    oracle: str | None = None
    oracle_dataset: str | None = None
    max_parameters: int | None = None
    max_macs: int | None = None
    max_latency: float | None = None
    min_parameters: int | None = None
    min_macs: int | None = None
    min_latency: float | None = None
    budget_penalty: float = 0.0
    latency: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        Configuration.__post_init__(self)
        if self.budget_penalty and (self.max_parameters, self.max_macs, self.max_latency) == (None, None, None):
            raise ConfigurationError(
                "budget_penalty needs a budget: give max_parameters, max_macs or max_latency as well"
            )
        if self.latency is not None and not self._bounds_latency:
            raise ConfigurationError(
                "a latency table bounds nothing without max_latency or min_latency: give one of them, or no table"
            )

    def network_options(self) -> dict[str, Any]:
        """All options of the network, with what the method asks for under what was given, and defaults filled in."""
        space = self.load_space()
        return network_options(space, asked_network(space, build(self.method, self.recipe), self.network))

    def build_recipe(self) -> Recipe:
        """The method's recipe with the configured options, selection, pruning and budgets."""
        recipe = build(self.method, self.recipe)
        selection = recipe.selection if self.selection is None else selection_named(self.selection)
        if self.tuning_epochs is not None:
            selection = selection.tuned(self.tuning_epochs)
        limits = tuple(
            Limit(quantity(), math.inf if most is None else most, 0 if least is None else least)
            for quantity, most, least in (
                (Parameters, self.max_parameters, self.min_parameters),
                (MultiplyAccumulates, self.max_macs, self.min_macs),
                (self._latencies, self.max_latency, self.min_latency),
            )
            if most is not None or least is not None
        )
        bounded = [limit for limit in limits if limit.most < math.inf]
        penalties = [CostTarget(limit.quantity, limit.most, self.budget_penalty) for limit in bounded]
        return replace(
            recipe,
            limits=limits,
            penalties=(*recipe.penalties, *(penalties if self.budget_penalty else ())),
            selection=selection,
            stages=pruned(recipe.stages, self.keep) if self.keep else recipe.stages,
        )

    @property
    def _bounds_latency(self) -> bool:
        return (self.max_latency, self.min_latency) != (None, None)

    def _latencies(self) -> Latency:
        return Latency(0.0, ()) if self.latency is None else Latency.from_json(self.latency)

    def legal_recipe(self) -> tuple[str, dict[str, Any]]:
        """Whose the options of `recipe` are, and their types by name."""
        return self.method, {name: kind for name, (kind, _) in parameters(self.method).items()}

    def with_latencies(self) -> SearchConfiguration:
        """The same search with a latency table, measured here and now on the device of the run, if it needs one."""
        if not self._bounds_latency or self.latency is not None:
            return self
        space, dataset = self.load_space(), self.load_data()

        def network(architecture: Architecture) -> nn.Module:
            outputs = dataset.task.outputs
            return build_network(architecture, space, dataset.input_shape, outputs, network=self.network_options())

        with self.place.entered(), on_threads(self.threads or torch.get_num_threads()):
            table = measure_latencies(space, network, dataset.input_shape, device=numerics(self.device).device)
        return replace(self, latency=table.to_json())

    def complete(self) -> dict[str, Any]:
        """The whole configuration as plain values, defaults included, as a run folder stores it."""
        return _complete("search", self, self.network_options(), dict(self.build_recipe().arguments))

    def execute(
        self,
        out: str | Path,
        *,
        resume: bool = False,
        callbacks: Sequence[Callback] = (),
        extension: Extension | None = None,
    ) -> SearchResult:
        """Run the search in a folder, or continue it there, by more epochs where it has ended."""
        if self._bounds_latency and self.latency is None:
            return self.with_latencies().execute(out, resume=resume, callbacks=callbacks, extension=extension)
        return self.search().run(self._keep(out, resume, extension), callbacks, self.complete())

    def search(self) -> Search:
        """The search before its first step, space and data loaded."""
        space, recipe, data = self.load_space(), self.build_recipe(), self.load_data()
        following = follow(self.oracle, space, data.name, self.oracle_dataset)
        return Search(
            space,
            recipe,
            data,
            self.setting(),
            self.gap_examples,
            self.eigenvalue_every,
            following,
            self.load_teacher,
        )


@final
@dataclass(frozen=True)
class TrainConfiguration(Configuration):
    """A training of one architecture.

    Args:
        architecture: its standard string.
        from_search: folder of a finished search, whose space, data, seed and network are taken over with the
            architecture that it found; what is given beside it wins.
        start: from new weights (scratch), or from those that the supernet of the search shares (inherited).

    Raises:
        ConfigurationError: when weights shall be inherited from nowhere.
    """

    architecture: str = ""
    from_search: str | None = None
    start: Literal["scratch", "inherited"] = "scratch"

    def __post_init__(self) -> None:
        Configuration.__post_init__(self)
        if self.start == "inherited" and self.from_search is None:
            raise ConfigurationError("weights are inherited from a search: give its folder as from_search")

    def legal_recipe(self) -> tuple[str, dict[str, Any]]:
        """Whose the options of `recipe` are, and their types by name."""
        hints = get_type_hints(TrainingRecipe)
        return "the training", {"recipe": str, **{f.name: hints[f.name] for f in fields(TrainingRecipe)}}

    def parse_architecture(self) -> Architecture:
        """The architecture as a value."""
        if not self.architecture:
            raise ConfigurationError("a training needs an architecture: give --architecture")
        return self.load_space().parse(self.architecture)

    def training(self) -> TrainingRecipe:
        """The training recipe with the configured options, after those of the recipe that they name."""
        return training_of(self.recipe)

    def complete(self) -> dict[str, Any]:
        """The whole configuration as plain values, defaults included, as a run folder stores it."""
        recipe = {"recipe": self.recipe["recipe"]} if "recipe" in self.recipe else {}
        values = _complete("train", self, self.network_options(), {**recipe, **asdict(self.training())})
        path = None if self.from_search is None else str(expanded(self.from_search).resolve())
        return values | {"architecture": str(self.parse_architecture()), "from_search": path}

    def execute(
        self,
        out: str | Path,
        *,
        resume: bool = False,
        callbacks: Sequence[Callback] = (),
        extension: Extension | None = None,
    ) -> TrainingResult:
        """Run the training in a folder, or continue it there, by more epochs where it has ended."""
        return self.train().run(self._keep(out, resume, extension), callbacks, self.complete())

    def train(self, *, evaluate_on_test: bool = True) -> Training:
        """The training before its first step, space and data loaded."""
        return Training(
            self.load_space(),
            self.parse_architecture(),
            self.load_data(),
            self.training(),
            self.setting(),
            evaluate_on_test,
            inheritance_of_folder(self.from_search, own=self.own)
            if self.from_search and self.start == "inherited"
            else None,
            self.load_teacher,
        )


_COMMANDS: Mapping[str, type[SearchConfiguration | TrainConfiguration]] = {
    "search": SearchConfiguration,
    "train": TrainConfiguration,
}
_FIRST = ("space", "space_checksum", "method", "architecture", "from_search", "start", "data", "data_path")


def _complete(
    command: str, configuration: Configuration, network: dict[str, Any], recipe: dict[str, Any]
) -> dict[str, Any]:
    values = {f.name: getattr(configuration, f.name) for f in fields(configuration) if f.name != "own"}
    if values["space_checksum"] is None:
        del values["space_checksum"]
    for name in ("data_path", "oracle", "teacher"):
        if values.get(name) is not None:
            values[name] = str(expanded(values[name]).resolve())
    values |= {"network": network, "recipe": {k: list(v) if isinstance(v, tuple) else v for k, v in recipe.items()}}
    order = [name for name in _FIRST if name in values] + [name for name in values if name not in _FIRST]
    return {"command": command, **{name: values[name] for name in order}}


def from_mapping(
    command: str, values: Mapping[str, Any], own: OwnFile | None = None
) -> SearchConfiguration | TrainConfiguration:
    """Read a configuration from plain values, checking every name and type.

    Args:
        command: `"search"` or `"train"`.
        values: as in a YAML file; missing ones take their defaults.
        own: the file that makes the space, where the user has named one; values alone execute none.

    Returns:
        The configuration.

    Raises:
        ConfigurationError: for an unknown name (the nearest legal one is shown) or a value of a wrong type; for a space
            of a file that the user did not name (`UnnamedFileError`), or of another one.

    Example:
        >>> from_mapping("search", {"method": "darts", "recipe": {"epochs": 3}}).build_recipe().epochs
        3
    """
    cls = _COMMANDS[command]
    given = completed_training(values, own) if command == "train" else dict(values)
    stated = given.pop("command", command)
    if stated != command:
        raise ConfigurationError(f"this configuration belongs to the command {stated!r}, not to {command!r}")
    if given.pop("origin", None) is not None:
        raise ConfigurationError(
            "this run was started from Python, with objects that no configuration file can name; continue, evaluate "
            "and export it there (resume=True, result.state, sharewise.export)"
        )
    require_named(given, own)
    hints = get_type_hints(cls)
    known = [f.name for f in fields(cls) if f.name != "own"]
    for name in given:
        if name not in known:
            raise unknown_name(f"option of {command}:", name, known)
    nested = {name: dict(given.pop(name) or {}) if _is_mapping(name, given) else {} for name in ("network", "recipe")}
    table = given.pop("latency", None)
    tables: dict[str, Any] = {} if table is None else {"latency": Latency.from_json(table).to_json()}
    plain = {name: checked(name, hints[name], value) for name, value in given.items()}
    if "space" in plain and own is None:
        plain["space"] = load_space(plain["space"]).name  # options in order, defaults left out
    draft = cls(**plain, own=own)
    legal = get_type_hints(networks_of(draft.load_space()).options)
    network = _options(f"network option of {draft.space}:", nested["network"], legal)
    owner, legal = draft.legal_recipe()
    recipe = _options(f"recipe option of {owner}:", nested["recipe"], legal)
    return cls(**plain, **tables, network=network, recipe=recipe, own=own)


def _options(kind: str, given: Mapping[str, Any], legal: Mapping[str, Any]) -> dict[str, Any]:
    """Nested options, each of its legal type."""
    for name in given:
        if name not in legal:
            raise unknown_name(kind, name, legal)
    return {name: checked(name, legal[name], value) for name, value in given.items()}


def _is_mapping(name: str, given: Mapping[str, Any]) -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} must be a mapping of options to values, got {value!r}")
    return name in given
