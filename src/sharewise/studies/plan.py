"""Plans of studies: methods × options × spaces × data × seeds as typed values that YAML files share."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, final

from sharewise.errors import ConfigurationError, UnnamedFileError, unknown_name
from sharewise.files import expanded
from sharewise.own_file import OwnFile, is_reference
from sharewise.run.configuration import SearchConfiguration, from_mapping, read_yaml
from sharewise.studies.typed import typed

__all__ = ["SETTINGS", "Arm", "Budget", "Cell", "DataPart", "JudgeSettings", "SpacePart", "StudyPlan"]

_SEEDS = 10_000
"""As many as a number may stand for."""


@final
@dataclass(frozen=True)
class Arm:
    """A method with its options; a name stands for one that keeps its defaults.

    Args:
        method: name of the search method.
        name: in results; by default the method's.
        options: of the method, by name.
        grid: lists of values by option; every combination is an arm of its own.
    """

    method: str
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Any] = field(default_factory=dict)

    def spread(self) -> Iterator[Arm]:
        """The arms of the grid.

        Example:
            >>> [arm.name for arm in Arm("darts", grid={"epochs": [2, 4]}).spread()]
            ['darts-epochs=2', 'darts-epochs=4']
        """
        for option, values in self.grid.items():
            if not isinstance(values, list | tuple) or not values:
                raise ConfigurationError(f"grid of {self.method}: {option} must be a list of values, got {values!r}")
        for values in itertools.product(*self.grid.values()):
            chosen = dict(zip(self.grid, values, strict=True))
            name = "-".join([self.name or self.method, *(f"{option}={value}" for option, value in chosen.items())])
            yield Arm(self.method, name, {**self.options, **chosen})


@final
@dataclass(frozen=True)
class SpacePart:
    """A space with the options of its networks; a name stands for one that keeps its defaults.

    Args:
        space: name of the search space, or a file of yours and its function, as `FILE.py:FACTORY`.
        name: in results; by default the space's.
        network: options of the network, by name.
        checksum: of the file, which a plan records once the file was named.
    """

    space: str
    name: str = ""
    network: Mapping[str, Any] = field(default_factory=dict)
    checksum: str = ""

    def named(self, own: Sequence[OwnFile]) -> SpacePart:
        """With the checksum of its file, where it is one.

        Args:
            own: files that the user named.

        Raises:
            ConfigurationError: when the file is not what a plan was recorded with.
            UnnamedFileError: when nobody named it: a plan alone executes no code.
        """
        if not is_reference(self.space):
            return self
        found = self.own(own)
        space = self.space if self.checksum else found.reference
        return replace(
            self, space=space, name=self.name or f"{found.file.name}:{found.factory}", checksum=found.checksum
        )

    def own(self, own: Sequence[OwnFile]) -> OwnFile:
        """The file among those that the user named; one that was recorded may have moved.

        Args:
            own: files that the user named.

        Raises:
            ConfigurationError: when the file is not what the plan was recorded with.
            UnnamedFileError: when nobody named it.
        """
        path, _, factory = self.space.rpartition(":")
        same = [file for file in own if file.reference == f"{expanded(path).resolve()}:{factory}"]
        moved = [file for file in own if self.checksum and file.factory == factory]
        if not same + moved:
            raise UnnamedFileError(self.space)
        found = next((file for file in moved if file.checksum == self.checksum), (same + moved)[0])
        if self.checksum:
            found.require({"space": self.space, "space_checksum": self.checksum})
        return found


@final
@dataclass(frozen=True)
class DataPart:
    """A data set; a name stands for one that is whole and built in.

    Args:
        data: name of the data set.
        name: in results; by default that of the data set.
        path: file or folder of the data, where they are not built in.
        train_examples: use only so many training examples, drawn by the seed of each run.
        image_size: resize images to this height and width, in pixels.
        text_length: tokens per example of a text.
    """

    data: str
    name: str = ""
    path: str | None = None
    train_examples: int | None = None
    image_size: int | None = None
    text_length: int | None = None


@final
@dataclass(frozen=True)
class Budget:
    """What every search may spend; neither leaves each method its own epochs.

    Args:
        steps: weight steps of every search.
        multiply_accumulates: passes × multiply-accumulates of every search until it has chosen its architecture.

    Raises:
        ConfigurationError: when both are given, or one is not positive.
    """

    steps: int | None = None
    multiply_accumulates: float | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.multiply_accumulates is not None:
            raise ConfigurationError("a budget is steps or multiply_accumulates, not both")
        for name in ("steps", "multiply_accumulates"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigurationError(f"a budget must be positive, got {name}: {value}")

    @property
    def free(self) -> bool:
        """Whether each method keeps its own epochs."""
        return self.steps is None and self.multiply_accumulates is None


@final
@dataclass(frozen=True)
class JudgeSettings:
    """How what was found is judged.

    Args:
        by: `table`: the test accuracy of a benchmark; `training`: each architecture is trained here from scratch and
            evaluated on the test examples; `inherited`: the score of inherited weights, for nothing.
        table: file of the table.
        dataset: of the table; may be left out where there is one.
        training: options of the trainings, by name; `recipe` may name a published one, which the others change.
        network: options of the networks that are trained, by name; by default those of the recipe, else of the search.
        points: architectures of each search, evenly over its epochs, that are trained; the last is the found one.
    """

    by: Literal["table", "training", "inherited"] = "inherited"
    table: str | None = None
    dataset: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    points: int = 1
    network: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.by == "table") != (self.table is not None):
            raise ConfigurationError("judge: give table: FILE with by: table, and with nothing else")
        if self.by != "training" and (self.training or self.network or self.points != 1):
            raise ConfigurationError("judge: training, network and points belong to by: training")
        if self.dataset is not None and self.by != "table":
            raise ConfigurationError("judge: dataset names a data set of a table; it belongs to by: table")
        if self.points < 1:
            raise ConfigurationError(f"judge: points must be at least 1, got {self.points}")


@final
@dataclass(frozen=True)
class Cell:
    """One search of a study.

    Args:
        name: also that of its folder.
        arm: by name.
        panel: space and data, which all compared searches share.
        configuration: as planned; a budget still sets its length.
    """

    name: str
    arm: str
    panel: str
    configuration: SearchConfiguration

    @property
    def seed(self) -> int:
        """Of the search."""
        return self.configuration.seed


@final
@dataclass(frozen=True)
class StudyPlan:
    """Methods × options × spaces × data × seeds, at equal steps or at equal cost.

    Args:
        methods: what is compared.
        spaces: where.
        data: on what.
        seeds: of the searches; arms are paired by them. In plain values a number n stands for 0 to n - 1.
        title: above the page.
        options: of all methods, by name; an arm's own win.
        budget: of every search.
        judge: how what was found is judged.
        gap_examples: examples that measure the rounding gap after each epoch; 0 for none.
        checkpoint_every: steps between checkpoints within an epoch.
        device: auto, cpu, cuda, …
        precision: float32, float64 or bfloat16.
        settings: of every search, by name: max_steps, max_parameters, min_parameters, max_macs, max_latency with the
            latency table that it is read from, budget_penalty, and whatever else `sharewise search` may be told.
        own: files that make spaces, as the user named them; no part of what a folder stores.

    Raises:
        ConfigurationError: when a part is missing, or named twice.

    Example:
        >>> plan = StudyPlan((Arm("darts"), Arm("gdas")), (SpacePart("toy-tied-width"),), seeds=(0, 1))
        >>> [cell.name for cell in plan.cells()]
        ['darts-seed0', 'gdas-seed0', 'darts-seed1', 'gdas-seed1']
    """

    methods: tuple[Arm, ...]
    spaces: tuple[SpacePart, ...]
    data: tuple[DataPart, ...] = (DataPart("digits"),)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    title: str = "study"
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    gap_examples: int = 0
    checkpoint_every: int | None = None
    device: str = "auto"
    precision: str = "float32"
    settings: Mapping[str, Any] = field(default_factory=dict)
    own: tuple[OwnFile, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        self._check_settings()
        for part in ("methods", "spaces", "data", "seeds"):
            if not getattr(self, part):
                raise ConfigurationError(f"a study needs {part}: at least one")
        for part, names in (
            ("methods", [arm.name for arm in self.arms()]),
            ("spaces", [place.name or place.space for place in self.spaces]),
            ("data", [data.name or data.data for data in self.data]),
            ("seeds", [str(seed) for seed in self.seeds]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ConfigurationError(f"{part} of a study need different names; twice: {', '.join(twice)}")

    def _check_settings(self) -> None:
        for name in self.settings:
            if name not in SETTINGS:
                raise unknown_name("setting of every search:", name, SETTINGS)
        if "max_steps" in self.settings and not self.budget.free:
            raise ConfigurationError("a budget sets the steps of every search; leave out max_steps, or budget")
        bounds = [name for name in ("max_latency", "min_latency") if name in self.settings]
        if bounds and "latency" not in self.settings:
            raise ConfigurationError(
                f"{bounds[0]} needs the latency table that all searches read (--latency-table FILE): each would "
                "measure another one"
            )

    @classmethod
    def read(cls, path: str | Path, own: Sequence[OwnFile] = ()) -> StudyPlan:
        """A plan from a YAML file.

        Args:
            path: of the file.
            own: files that make spaces of it, as the user named them.

        Raises:
            ConfigurationError: for an unknown name (the nearest legal one is shown) or a value of a wrong type.
        """
        return cls.from_plain(read_yaml(path), own)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], own: Sequence[OwnFile] = ()) -> StudyPlan:
        """A plan from plain values, as `to_plain` gives them.

        Args:
            values: by name.
            own: files that make spaces of it, as the user named them; values alone execute none.

        Example:
            >>> StudyPlan.from_plain({"methods": ["darts"], "spaces": ["nasbench201"], "sedes": [1]})
            Traceback (most recent call last):
            sharewise.errors.ConfigurationError: unknown name in the plan: 'sedes'; did you mean 'seeds'? Legal: ...
        """
        plan = cls.drafted(values).naming(own)
        plan.cells()  # whatever is wrong with a method, a space or an option is said now
        return plan

    @classmethod
    def drafted(cls, values: Mapping[str, Any]) -> StudyPlan:
        """A plan whose searches are not looked at: it executes nothing.

        Args:
            values: by name.

        Raises:
            ConfigurationError: for an unknown name or a value of a wrong type.
        """
        values = {name: value for name, value in values.items() if (name, value) != ("kind", "study")}
        if "own" in values:
            raise unknown_name("name in the plan:", "own", [field.name for field in fields(cls) if field.name != "own"])
        seeds = values.get("seeds")
        if isinstance(seeds, int) and not isinstance(seeds, bool):
            if seeds > _SEEDS:
                raise ConfigurationError(f"a study has at most {_SEEDS:,} seeds, got {seeds:,}; list those you mean")
            values["seeds"] = list(range(seeds))
        return typed(cls, values, "the plan")

    def naming(self, own: Sequence[OwnFile]) -> StudyPlan:
        """The same plan with files that make spaces of it.

        Args:
            own: files, as the user named them.

        Raises:
            ConfigurationError: when one makes no space of the plan, or is not what the plan was recorded with.
            UnnamedFileError: when the plan has a space of a file that is not among them.
        """
        used = [part.own(own) for part in self.spaces if is_reference(part.space)]
        for file in own:
            if file not in used:
                raise ConfigurationError(f"the plan has no space {file.reference}: list it under spaces")
        return replace(self, spaces=tuple(part.named(own) for part in self.spaces), own=tuple(own))

    def to_plain(self) -> dict[str, Any]:
        """The whole plan as plain values, defaults included; of what came later, what is said, for older folders."""
        found: dict[str, Any] = _plain(asdict(replace(self, own=())))
        del found["own"]
        for part, name in ((found, "settings"), (found["judge"], "network")):
            if not part[name]:
                del part[name]
        for space in found["spaces"]:
            if not space["checksum"]:
                del space["checksum"]
        return found

    def arms(self) -> list[Arm]:
        """All arms, grids spread, each with a name."""
        return [arm for method in self.methods for arm in method.spread()]

    def cells(self) -> list[Cell]:
        """Every search: the first seed of everything first, so that a part of a study is balanced."""
        cells = [self._cell(*part) for part in self._parts()]
        folders = {cell.name: cell.arm for cell in reversed(cells)}
        for cell in cells:
            if folders[cell.name] != cell.arm:
                raise ConfigurationError(
                    f"{cell.arm!r} and {folders[cell.name]!r} would share the folder {cell.name}; name one differently"
                )
        return cells

    def names(self) -> list[str]:
        """Of the folders of all searches, without looking at these."""
        return [self._name(*part) for part in self._parts()]

    def _parts(self) -> Iterator[tuple[int, SpacePart, DataPart, Arm]]:
        return itertools.product(self.seeds, self.spaces, self.data, self.arms())

    def _name(self, seed: int, space: SpacePart, data: DataPart, arm: Arm) -> str:
        names = [arm.name]
        names += [space.name or space.space] if len(self.spaces) > 1 else []
        names += [data.name or data.data] if len(self.data) > 1 else []
        return _folder_name([*names, f"seed{seed}"])

    def _cell(self, seed: int, space: SpacePart, data: DataPart, arm: Arm) -> Cell:
        options = {**self.options, **arm.options}
        if "epochs" in options and not self.budget.free:
            raise ConfigurationError(
                f"{arm.name}: a budget sets the epochs of every search; leave out epochs, or budget"
            )
        own = space.own(self.own) if is_reference(space.space) else None
        of_file = {} if own is None else {"space": own.reference, "space_checksum": own.checksum}
        configuration = from_mapping(
            "search",
            {
                "space": space.space,
                "method": arm.method,
                "data": data.data,
                "data_path": data.path,
                "train_examples": data.train_examples,
                "image_size": data.image_size,
                "text_length": data.text_length,
                "network": space.network,
                "recipe": options,
                "seed": seed,
                "device": self.device,
                "precision": self.precision,
                "checkpoint_every": self.checkpoint_every,
                "threads": 1,
                "gap_examples": self.gap_examples,
                **self.settings,
                **of_file,
            },
            own,
        )
        assert isinstance(configuration, SearchConfiguration)
        configuration.build_recipe()
        panel = f"{space.name or space.space}, {data.name or data.data}"
        return Cell(self._name(seed, space, data, arm), arm.name, panel, configuration)


_OF_THE_PLAN = {"space", "method", "network", "recipe", "seed", "device", "precision", "threads", "checkpoint_every"}
_OF_THE_PLAN |= {"space_checksum", "own"}
_OF_THE_PLAN |= {"data", "data_path", "train_examples", "image_size", "text_length", "gap_examples"}

SETTINGS = tuple(field.name for field in fields(SearchConfiguration) if field.name not in _OF_THE_PLAN)
"""What a search may be told and a plan says nowhere else."""


def _folder_name(parts: list[str]) -> str:
    return re.sub(r"[^A-Za-z0-9._=+-]+", "_", "-".join(parts))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
