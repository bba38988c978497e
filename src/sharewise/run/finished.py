"""Finished searches, wherever they lie: one value for a run's folder and for a result in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, final

from torch import nn

from sharewise.cost import cost
from sharewise.engine import SearchResult, SearchState
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.given import got
from sharewise.own_file import OwnFile
from sharewise.run.configuration import Configuration, SearchConfiguration, TrainConfiguration, from_mapping
from sharewise.run.folder import RunFolder
from sharewise.run.identity import fingerprint
from sharewise.run.networks import build_network
from sharewise.run.place import PLAIN, Keep, Place, Setting
from sharewise.run.standalone import TrainingRecipe
from sharewise.run.train import Training
from sharewise.space import Architecture

__all__ = ["Finished", "InFolder", "InMemory", "finished", "finished_search"]


class Finished(ABC):
    """A search that has ended, with all that one may ask of it afterwards."""

    anywhere = True
    """Whether other processes can look at it."""

    def require_reach(self, *, here: bool) -> None:
        """Refuse to be looked at by processes that cannot.

        Args:
            here: whether this process alone looks at it.

        Raises:
            ConfigurationError: when others would, and cannot.
        """
        if not here and not self.anywhere:
            raise ConfigurationError(
                "a search in memory is followed in this process: set jobs to 1 and leave the executor out, or give its "
                "folder"
            )

    @property
    @abstractmethod
    def seed(self) -> int:
        """Of every random stream."""

    @property
    @abstractmethod
    def path(self) -> Path | None:
        """Its folder; `None` in memory."""

    @abstractmethod
    def configuration(self) -> SearchConfiguration | None:
        """The settings from which it can be repeated; `None` where it was made of objects that no file can name."""

    @abstractmethod
    def extensions(self) -> list[tuple[int, float]]:
        """Epochs and rate of each extension, in order; none for a search that was not extended."""

    @abstractmethod
    def open(self) -> SearchState:
        """The final state; nothing in a folder is changed."""

    @abstractmethod
    def ledger(self) -> Mapping[str, Any]:
        """What each part of it has spent, as plain numbers."""

    @abstractmethod
    def network_options(self) -> Mapping[str, Any]:
        """Options of the network, for plain networks of single architectures."""

    @abstractmethod
    def facts_of_training(self, recipe: TrainingRecipe, seed: int) -> dict[str, Any]:
        """Everything that a training with its network and data depends on, but for the architecture."""

    @abstractmethod
    def training(self, architecture: Architecture, recipe: TrainingRecipe, seed: int) -> Training:
        """The training of an architecture on its own before its first step; the test set stays sealed.

        Args:
            architecture: of its space.
            recipe: of the training.
            seed: of the training.
        """

    @abstractmethod
    def train(self, architecture: Architecture, recipe: TrainingRecipe, seed: int, out: Path | None) -> SearchState:
        """Train an architecture on its own with the network and the data of the search; the test set stays sealed.

        Args:
            architecture: of its space.
            recipe: of the training.
            seed: of the training.
            out: folder of the training, which goes on there; searches in memory keep none.

        Raises:
            NonFiniteError: when the training diverges.
        """


@final
@dataclass(frozen=True)
class InFolder(Finished):
    """A finished search in its folder, which is read when it is asked; other processes may ask as well.

    Args:
        folder: of the run.
        device: overrides the run's.
        own: the file that makes its space, where the user has named one.
    """

    folder: Path
    device: str | None = None
    own: OwnFile | None = None

    @property
    def seed(self) -> int:
        """See `Finished.seed`."""
        return self.configuration().seed

    @property
    def path(self) -> Path:
        """See `Finished.path`."""
        return self.folder

    def configuration(self) -> SearchConfiguration:
        """See `Finished.configuration`.

        Raises:
            CheckpointError: when the folder holds no search.
        """
        stored = RunFolder(self.folder).read_config()
        found = from_mapping(stored["command"], stored, self.own)
        if not isinstance(found, SearchConfiguration):
            raise CheckpointError(f"{self.folder} is no search; only a search leaves a supernet")
        return found

    def extensions(self) -> list[tuple[int, float]]:
        """See `Finished.extensions`."""
        found = RunFolder(self.folder).read_result().get("extended", ())
        return [(int(record["epochs"]), float(record["rate"])) for record in found]

    def open(self) -> SearchState:
        """See `Finished.open`."""
        return finished_search(RunFolder(self.folder), device=self.device, own=self.own)

    def ledger(self) -> Mapping[str, Any]:
        """See `Finished.ledger`."""
        found = RunFolder(self.folder).read_result().get("ledger", {})
        if not isinstance(found, Mapping):
            raise CheckpointError(f"{self.folder / 'result.json'} is damaged: its ledger is no mapping")
        return found

    def network_options(self) -> Mapping[str, Any]:
        """See `Finished.network_options`."""
        return self.configuration().network_options()

    def facts_of_training(self, recipe: TrainingRecipe, seed: int) -> dict[str, Any]:
        """See `Finished.facts_of_training`."""
        values = asdict(replace(self._training("", recipe, seed), own=None)) | {"recipe": recipe.arguments()}
        apart = ["architecture", "device", "native", "from_search", "start", "own", *PLAIN]
        apart += ["space_checksum" if values["space_checksum"] is None else "space"]  # a file may move
        return {"configuration": {name: value for name, value in values.items() if name not in apart}}

    def train(self, architecture: Architecture, recipe: TrainingRecipe, seed: int, out: Path | None) -> SearchState:
        """See `Finished.train`."""
        configuration = self._training(str(architecture), recipe, seed)
        training = configuration.train(evaluate_on_test=False)
        return training.run(Keep.at(out), configuration=configuration.complete()).state

    def training(self, architecture: Architecture, recipe: TrainingRecipe, seed: int) -> Training:
        """See `Finished.training`."""
        return self._training(str(architecture), recipe, seed).train(evaluate_on_test=False)

    def _training(self, architecture: str, recipe: TrainingRecipe, seed: int) -> TrainConfiguration:
        searched = self.configuration()
        shared: dict[str, Any] = {f.name: getattr(searched, f.name) for f in fields(Configuration)}
        shared |= {"network": searched.network_options(), "recipe": asdict(recipe), "seed": seed, "threads": 1}
        shared["native"] = None
        shared |= {"max_steps": None, "device": self.device or searched.device, **PLAIN}
        return TrainConfiguration(**shared, architecture=architecture)


@final
@dataclass(frozen=True, eq=False)
class InMemory(Finished):
    """A finished search in memory, which is looked at in this process.

    Args:
        state: at its end.
        network: options of the network as the search had them, for trainings of single architectures.
    """

    anywhere = False
    state: SearchState
    network: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """See `Finished.seed`."""
        return self.state.seed

    @property
    def path(self) -> None:
        """See `Finished.path`."""

    def configuration(self) -> None:
        """See `Finished.configuration`."""

    def extensions(self) -> list[tuple[int, float]]:
        """See `Finished.extensions`."""
        return [(extension.epochs, extension.rate) for extension in self.state.extensions]

    def open(self) -> SearchState:
        """See `Finished.open`."""
        return self.state

    def ledger(self) -> Mapping[str, Any]:
        """See `Finished.ledger`."""
        return self.state.ledger.to_json()

    def network_options(self) -> Mapping[str, Any]:
        """See `Finished.network_options`.

        Raises:
            ConfigurationError: when `network` is not that of the search.
        """
        dataset, space = self.state.data.dataset, self.state.supernet.space
        architecture = space.listing.at(0)
        outputs = dataset.task.outputs
        self._require_its_size(
            architecture, build_network(architecture, space, dataset.input_shape, outputs, network=self.network)
        )
        return self.network

    def facts_of_training(self, recipe: TrainingRecipe, seed: int) -> dict[str, Any]:
        """See `Finished.facts_of_training`."""
        return {"fingerprint": fingerprint(self.state), "network": dict(self.network)}

    def train(self, architecture: Architecture, recipe: TrainingRecipe, seed: int, out: Path | None) -> SearchState:
        """See `Finished.train`.

        Raises:
            ConfigurationError: when `network` is not that of the search.
        """
        return self.training(architecture, recipe, seed).run().state

    def training(self, architecture: Architecture, recipe: TrainingRecipe, seed: int) -> Training:
        """See `Finished.training`.

        Raises:
            ConfigurationError: when `network` is not that of the search.
        """
        state = self.state
        place = Place(str(state.numerics.device), state.numerics.precision)
        setting = Setting(dict(self.network), seed, place)
        dataset, space = state.data.dataset, state.supernet.space
        training = Training(space, architecture, dataset, recipe, setting, evaluate_on_test=False)
        self._require_its_size(architecture, training.network())
        return training

    def _require_its_size(self, architecture: Architecture, plain: nn.Module) -> None:
        """Refuse a plain network that costs something else than that of the search."""
        state, dataset = self.state, self.state.data.dataset
        wanted = state.costs.multiply_accumulates(architecture)
        found = cost(plain, dataset.input_shape, integers=dataset.integers).multiply_accumulates
        if found != wanted:
            raise ConfigurationError(
                f"a network of options {dict(self.network)} is not of the size of the search's ({found:,} "
                f"multiply-accumulates instead of {wanted:,}): give network= as it was given to the search"
            )


def finished(
    runs: str | Path | SearchResult | Iterable[str | Path | SearchResult],
    *,
    device: str | None = None,
    network: Mapping[str, Any] | None = None,
    own: OwnFile | None = None,
) -> list[Finished]:
    """Finished searches as a user names them.

    Args:
        runs: a folder or a result, or several.
        device: overrides that of searches in folders.
        network: options of the network of results in memory.
        own: the file that makes the space of searches in folders, where the user has named one.
    """
    given = list(runs) if isinstance(runs, Iterable) and not isinstance(runs, str | Path) else [runs]
    for run in given:
        if not isinstance(run, str | Path | SearchResult) or not str(run).strip():
            raise ConfigurationError(
                f"expected finished searches as runs, {got(run)}: give their folders, or what sharewise.search returned"
            )
    return [
        InMemory(run.state, dict(network or {})) if isinstance(run, SearchResult) else InFolder(Path(run), device, own)
        for run in given
    ]


def finished_search(folder: RunFolder, *, device: str | None = None, own: OwnFile | None = None) -> SearchState:
    """The final state of a search, from its folder; nothing in the folder is changed.

    Args:
        folder: of the run.
        device: overrides the run's.
        own: the file that makes its space, where the user has named one.

    Raises:
        CheckpointError: when the run is no search, not finished, or damaged.
    """
    folder.read_config()
    folder.read_result()
    configuration = InFolder(folder.path, own=own).configuration()
    content = folder.read_checkpoint()
    if content is None:
        raise CheckpointError(f"{folder.checkpoint} is missing; the run cannot be restored without it")
    state = configuration.looked_at(device).search().prepare()
    folder.require_same_run(content, fingerprint(state))
    folder.restore(state, content["state"])
    return state
