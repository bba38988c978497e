"""Trainings as runs: one architecture, from scratch or from shared weights, evaluated on the test examples once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

from torch import nn

from sharewise.data import Dataset
from sharewise.engine import (
    Callback,
    SearchResult,
    SearchState,
    Teacher,
    evaluate_gates,
    prepare,
    seeded_modules,
    selection_scores,
    stream,
)
from sharewise.engine.telling import columns, facts, recorded
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.given import mapping, optional, truth
from sharewise.run.arguments import (
    AnyArchitecture,
    AnyData,
    AnySpace,
    AnyTraining,
    architecture_of,
    callbacks_of,
    dataset_of,
    keep_of,
    network_of,
    network_of_training,
    setting_of,
    space_of,
    training_of,
)
from sharewise.run.execute import Record, described, execute
from sharewise.run.extending import epochs_begun
from sharewise.run.folder import RunFolder
from sharewise.run.inherit import Inheritance, inheritance_of_folder
from sharewise.run.native import native_of
from sharewise.run.networks import (
    build_extracted,
    build_network,
    network_options,
    require_input_kind,
    with_auxiliary,
    without_auxiliary,
)
from sharewise.run.place import NOWHERE, Keep, Setting
from sharewise.run.result import evaluate_test, result_of_training
from sharewise.run.standalone import Standalone, TrainingRecipe
from sharewise.run.teaching import AnyTeacher, no_teacher, teacher_of
from sharewise.run.threads import on_threads, threads_of
from sharewise.shown import Shown
from sharewise.space import Architecture, Space
from sharewise.supernet import RunningStatistics

__all__ = ["Training", "TrainingResult", "train"]


@dataclass(frozen=True, repr=False)
class TrainingResult(Shown):
    """A network that was trained on its own.

    Args:
        network: the trained plain network, in evaluation mode.
        architecture: which one.
        test: loss and metrics on the test examples, opened once; `None` where that was not asked for.
        state: the final state of the loop, with history and ledger.
    """

    network: nn.Module
    architecture: Architecture
    test: dict[str, float] | None
    state: SearchState

    def table(self) -> list[dict[str, float]]:
        """A row of numbers for every epoch, by one name each: `pandas.DataFrame(result.table())`."""
        return columns(self.state.history)

    def recorded(self) -> dict[str, Any]:
        """Plain values of which `sharewise.report.pictures(result)` draws."""
        return recorded(self.state, self.architecture, "train")

    def told(self) -> dict[str, str]:
        """See `sharewise.shown.Shown`."""
        scores = ", ".join(
            f"{name} {value:,}" if name == "examples" else f"{name} {value:.4g}"
            for name, value in (self.test or {}).items()
        )
        test = {"test": scores or "not opened"}
        size = f"{sum(parameter.numel() for parameter in self.network.parameters()):,} parameters"
        return {"architecture": str(self.architecture), "network": size, **test, **facts(self.state)}


def train(
    space: AnySpace,
    architecture: AnyArchitecture,
    dataset: AnyData,
    *,
    training: AnyTraining | None = None,
    network: Mapping[str, Any] | None = None,
    start: Literal["scratch", "inherited"] = "scratch",
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
    evaluate_on_test: bool = True,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    extension_rate: float | None = None,
    teacher: AnyTeacher | None = None,
    callbacks: Sequence[Callback] = (),
    configuration: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train one architecture and evaluate it on the test examples, once.

    Args:
        space: of the architecture, or its name, or a model of your own that `sharewise.elastic` has made one.
        architecture: what to train, also as its standard string, or what a search found: its result, or the `Path` of
            its folder.
        dataset: a data set or its name; its training examples train, its test examples are opened at the end.
        training: the recipe, or the name of a published one (`sharewise list recipes`), or options by name, among which
            `recipe` may name one; the default is the schedule of NAS-Bench-201.
        network: options of the network by name; they win over those of a named recipe.
        start: from `"scratch"`, or from the weights that the search has shared (`"inherited"`), for a search as
            `architecture`; its network must be the same.
        epochs: overrides the recipe's; beside `resume`, epochs in all of a run that has ended and shall go on.
        seed: of every random stream.
        device: `"auto"`, `"cpu"`, `"cuda"`, …
        precision: `"float32"`, `"float64"` or `"bfloat16"`.
        threads: of the CPU; by default one, or as many as torch takes where a step is large.
        accumulate: micro-batches in which every batch is computed, one after the other, for less memory; their
            gradients add up to those of the batch. Batch norm takes the moments of each.
        compile: let `torch.compile` translate the network, which takes minutes; sums come in another order.
        capture: replay steps as CUDA graphs, since a graphics processor waits for the launches of small networks; bits
            are the same.
        native: whether layers are computed by kernels that are compiled on this machine, where these know them;
            by default where that is measured to be faster.
        max_steps: stop after so many steps.
        evaluate_on_test: whether to open the test examples at the end.
        out: a folder for the run; without one nothing is written.
        resume: continue the run in `out`.
        checkpoint_every: steps between checkpoints within an epoch.
        extension_rate: the learning rate at which a schedule that has ended starts anew in an extension, as a fraction
            of the first one; by default 0.1.
        teacher: a trained network from which this one learns as well, as a module, a result, a path, or a `Teacher`
            that says weight and temperature; it must be given again where the run is resumed.
        callbacks: told of every event.
        configuration: what to store as the run's configuration; by default the arguments in words.

    Returns:
        The trained network and its scores.

    Raises:
        ConfigurationError: when settings clash, or weights cannot be inherited.
        CheckpointError: when `out` holds a run already, or one that does not fit.
        NonFiniteError: when training diverges.

    Example:
        >>> import sharewise as sw
        >>> space = sw.spaces.toy_tied_width()
        >>> a = space.architecture({"width": 8, "activation": "relu"})
        >>> result = sw.train(space, a, sw.data.digits(), max_steps=2, device="cpu")
        >>> result.test["examples"]
        360
    """
    searched = space_of(space)
    keep = keep_of(out, resume, checkpoint_every, epochs, extension_rate)
    begun = epochs_begun(keep.folder) if keep.extension is not None and keep.folder is not None else epochs
    data = dataset_of(dataset)
    wanted = {} if start == "inherited" else network_of_training(searched, training)
    found = Training(
        searched,
        architecture_of(architecture, searched),
        data,
        training_of(training, epochs if begun is None else begun, data.batch_size),
        setting_of(
            searched,
            {**wanted, **network_of(searched, network)},
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
        truth("evaluate_on_test", evaluate_on_test),
        _inheritance(start, architecture),
        partial(teacher_of, teacher),
    )
    return found.run(keep, callbacks_of(callbacks), optional(mapping, "configuration", configuration))


def _inheritance(start: str, searched: AnyArchitecture) -> Inheritance | None:
    """Whose weights a training starts from."""
    if start not in ("scratch", "inherited"):
        raise unknown_name("start", start, ("scratch", "inherited"))
    if start == "scratch":
        return None
    if isinstance(searched, SearchResult):
        return Inheritance(lambda: searched.state, "the search in memory")
    if isinstance(searched, Path):
        return inheritance_of_folder(searched)
    raise ConfigurationError(
        "start='inherited' needs a finished search: give its result, or the Path of its folder, as the architecture"
    )


_SCORED = 1024
"""Examples on which inherited weights are scored before the first step."""


@final
@dataclass(frozen=True)
class Training:
    """A training before its first step.

    Args:
        space: of the architecture.
        architecture: what to train.
        dataset: to train on.
        recipe: how.
        setting: network, seed, place and limit.
        evaluate_on_test: whether to open the test examples at the end.
        inheritance: whose shared weights it starts from; `None` for new ones.
        teacher: gives the network from which a run learns as well, or nothing; not asked to open one that has ended.
    """

    space: Space
    architecture: Architecture
    dataset: Dataset
    recipe: TrainingRecipe
    setting: Setting = field(default_factory=Setting)
    evaluate_on_test: bool = True
    inheritance: Inheritance | None = None
    teacher: Callable[[], Teacher | None] = no_teacher

    def __post_init__(self) -> None:
        object.__setattr__(self, "architecture", self.space.own(self.architecture))

    def prepare(self) -> tuple[SearchState, nn.Module]:
        """The state at step 0, and the plain network in it."""
        require_input_kind(self.space, self.dataset)
        seed, training, dataset = self.setting.seed, self.recipe, self.dataset
        place = self.setting.place.numerics()
        plain = self.network()
        if training.auxiliary_weight:
            plain = with_auxiliary(plain, seed)
        dataset = replace(dataset, augmentation=training.augmentation(dataset))
        recipe = training.recipe(self.architecture)
        state = prepare(
            Standalone(plain),
            recipe,
            dataset.assign(recipe.roles, generator=stream(seed, "data")),
            numerics=place,
            seed=seed,
            max_steps=self.setting.max_steps,
            measure=selection_scores if training.validation_fraction else None,
            loss=training.loss(dataset.task),
            on_epoch=training.on_epoch(plain),
        )
        return state, plain

    def network(self) -> nn.Module:
        """The plain network before its first step, without an auxiliary head.

        One that inherits is of the supernet's form, such as norms that learn no scale, so that it computes the same.
        """
        dataset, setting = self.dataset, self.setting
        shape, outputs = dataset.input_shape, dataset.task.outputs
        build = build_network if self.inheritance is None else build_extracted
        return build(self.architecture, self.space, shape, outputs, network=setting.network, seed=setting.seed)

    def run(
        self,
        keep: Keep = NOWHERE,
        callbacks: Sequence[Callback] = (),
        configuration: Mapping[str, Any] | None = None,
    ) -> TrainingResult:
        """Train, or go on where the folder stands; `configuration` as for `train`."""
        place = self.setting.place
        place.require_others(keep)
        if self.inheritance is not None and place.numerics().ranks.sharded:
            raise ConfigurationError(
                "sharded weights begin from new ones: leave shard out, or start from scratch instead of inherited"
            )
        with place.entered(), seeded_modules(self.setting.seed, "modules", place.numerics().device):
            with on_threads(1):
                (state, plain), teacher = self.prepare(), self.teacher()
                if teacher is not None:
                    state.teach(teacher)
                if self.inheritance is not None and not keep.holds_checkpoint:
                    self._inherit(self.inheritance, state, plain)
                state.shard()
            threads = threads_of(state, keep, place.threads)
            native = native_of(state, keep, place.native, threads)
            scores: dict[str, float] | None = None
            sharded = state.numerics.ranks.sharded

            def finish(result: SearchResult) -> dict[str, Any]:
                nonlocal scores
                state.supernet.eval()
                if self.evaluate_on_test:
                    reader = f"final evaluation of {self.architecture}"
                    scores = evaluate_test(
                        state.supernet,
                        self.dataset,
                        state.numerics,
                        reader=reader,
                        run=lambda inputs: state.supernet(inputs, {}),
                    )
                return result_of_training(self, self.network() if sharded else plain, result.state, scores)

            record = Record(described("train", configuration) or self._facts(state), finish, threads, native)
            result = execute(state, keep, record, callbacks)
            if scores is None and keep.folder is not None:  # it had ended before: the test examples stay closed
                scores = RunFolder(keep.folder).read_result()["test"]
        network = plain.eval() if sharded else without_auxiliary(plain.eval())
        return TrainingResult(network, self.architecture, scores, result.state)

    def _inherit(self, inheritance: Inheritance, state: SearchState, plain: nn.Module) -> None:
        """Give the network its first weights, and note what they are worth before the first step."""
        record = inheritance.give(plain, self.architecture, self.space)
        batches = state.evaluation_batches("selection", _SCORED)
        scores = evaluate_gates(state, {}, batches, RunningStatistics(), part="measurement")
        kind = "held-out" if state.recipe.roles.is_disjoint("weights", "selection") else "training"
        state.history.append({**record, "scores": scores, "on": f"{kind} examples"})

    def _facts(self, state: SearchState) -> dict[str, Any]:
        """The arguments in words, for a training of objects that no configuration can name."""
        setting = self.setting
        return {
            "command": "train",
            "space": self.space.name,
            "architecture": str(self.architecture),
            "data": self.dataset.name,
            "network": network_options(self.space, setting.network),
            "recipe": state.recipe.arguments,
            "start": "scratch" if self.inheritance is None else "inherited",
            "seed": setting.seed,
            "device": setting.place.device,
            "precision": setting.place.precision,
            "max_steps": setting.max_steps,
            "origin": "library",
        }
