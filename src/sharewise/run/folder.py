"""A run as a folder: configuration, environment, checkpoint, history, result and report.

Every file but the history is written whole and moved into place, so a run that is killed, or a full disk, leaves the
last complete version. A resume cuts the history to the lines that its checkpoint vouches for, so that none is lost,
repeated or changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import yaml

from sharewise.data.sources import relocated
from sharewise.errors import CheckpointError, SharewiseError, SharewiseWarning
from sharewise.files import CONFIGURATION_BYTES, locked, read_bytes
from sharewise.run.checkpoint import CHECKPOINT_FORMAT, read_checkpoint, write_checkpoint
from sharewise.run.history import History
from sharewise.run.identity import Identity, difference
from sharewise.run.writing import finite, write_atomically
from sharewise.sealed_json import parse_json, sealed, unsealed
from sharewise.strict_yaml import parse_yaml

if TYPE_CHECKING:
    from sharewise.engine import SearchState

__all__ = ["CHECKPOINT_FORMAT", "RunFolder", "write_atomically"]

_KEPT = "history"
"""In the state of a checkpoint of format 3 and before, which held its history; a later one holds a mark of the file."""


@final
class RunFolder:
    """The files of one run.

    Args:
        path: of the folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.environment = self.path / "environment.json"
        self.checkpoint = self.path / "checkpoint.pt"
        self.metrics = self.path / "metrics.jsonl"
        self.history = History(self.metrics)
        self.result = self.path / "result.json"
        self.report = self.path / "report.html"

    # -----------------------------------------------------------------------------------------------------------------
    # The folder

    def make(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            SharewiseError: when it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SharewiseError(f"cannot create the run folder {self.path}: {error.strerror}") from None

    def create(self, configuration: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """Begin a run in a folder that is there; two processes that may do so at once hold its lock.

        Raises:
            CheckpointError: when the folder already holds a run, or what one has left.
            SharewiseError: when the folder cannot be written.
        """
        if os.path.lexists(self.config):
            raise CheckpointError(
                f"{self.path} already holds a run; continue it with --resume {self.path}, or choose another --out"
            )
        for old in (self.checkpoint, self.metrics, self.result):
            if os.path.lexists(old):
                raise CheckpointError(
                    f"{self.path} holds {old.name} of a run whose config.yaml is gone; two runs would mix. Choose "
                    "another --out, or empty the folder"
                )
        self.write_json(self.environment, environment)
        text = yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True)
        write_atomically(self.config, lambda file: file.write(text.encode()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the same run; the lock ends with the process, however that ends.

        Raises:
            CheckpointError: when another process holds it, or what should be its file is none.
        """
        with locked(self.path, "before you resume the run"):
            for name in (self.checkpoint.name, self.result.name, self.report.name):
                for leftover in self.path.glob(f".{name}.*"):  # of a process that was killed while it wrote
                    with contextlib.suppress(OSError):
                        leftover.unlink(missing_ok=True)
            yield

    # -----------------------------------------------------------------------------------------------------------------
    # Documents

    def read_config(self) -> dict[str, Any]:
        """The configuration with which the run began; data that lie elsewhere by now are looked for.

        Raises:
            CheckpointError: when this is no run folder or the file is damaged.
        """
        value = self.read_stored_config()
        if isinstance(value.get("data"), str) and isinstance(value.get("data_path"), str):
            value["data_path"] = relocated(value["data"], value["data_path"])
        return value

    def read_stored_config(self) -> dict[str, Any]:
        """The configuration as it stands in the file.

        Raises:
            CheckpointError: when this is no run folder or the file is damaged.
        """
        if not self.path.is_dir():
            raise CheckpointError(f"there is no run folder {self.path}; start a run with --out {self.path}")
        if not os.path.lexists(self.config):
            raise CheckpointError(f"{self.path} is not a run folder: it has no config.yaml")
        try:
            value = parse_yaml(read_bytes(self.config, most=CONFIGURATION_BYTES))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.config} is damaged: {_why(error)}") from None
        if not isinstance(value, dict) or value.get("command") not in ("search", "train"):
            raise CheckpointError(f"{self.config} is damaged: it holds no configuration of a search or a training")
        return value

    def write_json(self, path: Path, value: Mapping[str, Any]) -> None:
        """Write a JSON file whole or not at all."""
        text = json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))

    def write_sealed(self, path: Path, value: Mapping[str, Any]) -> None:
        """Write a JSON file with a digest of its content."""
        self.write_json(path, sealed(json.loads(json.dumps(finite(value)))))

    def write_result(self, value: Mapping[str, Any]) -> None:
        """Write the result; what it vouches for stays as it is."""
        self.write_sealed(self.result, value)

    def finish(self, value: Mapping[str, Any]) -> None:
        """Write the result of a run that has ended, which vouches for the history that stands beside it."""
        self.history.sync()
        self.write_result({**value, "history": self.history.digest()})

    def has_result(self) -> bool:
        """Whether the run has ended and its result is whole; one that is torn or was changed can be made again."""
        try:
            self.read_result()
        except CheckpointError:
            return False
        return True

    def read_result(self) -> dict[str, Any]:
        """The result of a finished run.

        Raises:
            CheckpointError: when the run is not finished, or the file is damaged or was changed.
        """
        if not os.path.lexists(self.result):
            self.read_config()
            raise CheckpointError(f"{self.path} has no result yet; finish it with --resume {self.path}")
        try:
            value = parse_json(read_bytes(self.result))
            value, verified = unsealed(value) if isinstance(value, dict) else (None, True)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.result} is damaged: {_why(error)}. --resume {self.path} writes it again from the checkpoint"
            ) from None
        test = value.get("test") if isinstance(value, dict) else 0
        if (
            not isinstance(value, dict)
            or not isinstance(value.get("architecture"), str)
            or not isinstance(value.get("test_openings"), list)
            or not (test is None or isinstance(test, dict))
        ):
            raise CheckpointError(f"{self.result} is damaged: it holds no result of a run")
        if not verified:
            message = f"{self.result} was written before results had digests: whether it was changed cannot be told"
            warnings.warn(message, SharewiseWarning, stacklevel=2)
        return value

    # -----------------------------------------------------------------------------------------------------------------
    # Checkpoints

    def save(self, identity: Identity, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint.

        Args:
            identity: of the run.
            state: tensors and plain values.
        """
        plain = {name: value for name, value in state.items() if name != "history"}
        write_checkpoint(self.checkpoint, {**identity.to_json(), "history": self.history.mark(), "state": plain})

    def load(self, identity: Identity, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """Read the checkpoint without executing code, and cut the history to the lines that belong to it.

        Args:
            identity: of the run.
            asked: the configuration with which it is to go on.

        Returns:
            The content of the checkpoint, or `None` for a run that ended before its first.

        Raises:
            CheckpointError: when the file is damaged, or belongs to another version, space or configuration; or when
                lines of the history are missing or were changed.
        """
        content = read_checkpoint(self.checkpoint)
        if content is None:
            self.history.begin([])
            return None
        self.require_same_run(content, identity.fingerprint)
        if "teacher" in content["fingerprint"].keys() - identity.fingerprint.keys():
            raise CheckpointError(
                f"{self.checkpoint} belongs to a run that learns from a teacher, {content['fingerprint']['teacher']}; "
                "give that teacher again"
            )
        if "accumulate" in content["fingerprint"].keys() - identity.fingerprint.keys():
            parts = content["fingerprint"]["accumulate"]
            raise CheckpointError(
                f"{self.checkpoint} belongs to a run that computes a batch in {parts} micro-batches; give accumulate="
                f"{parts} again"
            )
        differs = difference(content.get("configuration", {}), asked, edited=False)
        if differs is not None:
            raise CheckpointError(f"{self.checkpoint} belongs to another run: {differs}")
        if _KEPT in content["state"]:
            self.history.begin([identity.start, *_kept(content, self.checkpoint)])
            return content
        return _with_history(content, self.history.go_on(content["history"]))

    def require_same_run(self, content: Mapping[str, Any], fingerprint: Mapping[str, str]) -> None:
        """Refuse a checkpoint that was written under another configuration, and a configuration that was edited.

        Raises:
            CheckpointError: naming the first setting that differs.
        """
        saved = content["fingerprint"]
        for key, expected in fingerprint.items():
            if saved.get(key) != expected:
                raise CheckpointError(
                    f"{self.checkpoint} belongs to another run: {key} is {saved.get(key)!r} there and {expected!r} here"
                )
        if "configuration" not in content:  # of a version that did not keep it
            return
        differs = difference(content["configuration"], self.read_stored_config(), edited=True)
        if differs is not None:
            raise CheckpointError(
                f"{self.config} was edited since {self.checkpoint.name} was written: {differs}. Put it back, or start "
                "a new run with --out; device and threads may change beside --resume"
            )

    def read_checkpoint(self) -> dict[str, Any] | None:
        """The checkpoint's content, its part of the history included, or `None` where there is none yet.

        Raises:
            CheckpointError: when it is damaged, changed, or of another version; or when lines of the history are
                missing or were changed.
        """
        content = read_checkpoint(self.checkpoint)
        if content is None or _KEPT in content["state"]:
            return content
        return _with_history(content, self.history.records(content["history"])[1:])

    def restore(self, state: SearchState, saved: dict[str, Any]) -> None:
        """Bring a state to where a checkpoint says that it stood.

        Raises:
            CheckpointError: when the checkpoint does not hold what the state needs.
        """
        try:
            state.load_state_dict(saved)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            if isinstance(error, SharewiseError):
                raise
            raise CheckpointError(f"{self.checkpoint} is damaged: {type(error).__name__}: {error}") from None

    # -----------------------------------------------------------------------------------------------------------------
    # The history

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line to the history.

        Raises:
            SharewiseError: when the disk is full.
        """
        self.history.append(record)

    def read_history(self, result: Mapping[str, Any]) -> list[Any]:
        """The lines of a finished run, of which its result holds the digest; older ones hold none.

        Args:
            result: of the run.

        Raises:
            CheckpointError: when they are damaged or were changed.
        """
        return self.history.finished(result.get("history"))


def _kept(content: Mapping[str, Any], path: Path) -> list[Mapping[str, Any]]:
    history = content["state"][_KEPT]
    if not isinstance(history, list) or not all(isinstance(record, dict) for record in history):
        raise CheckpointError(f"{path} is damaged: it holds no history")
    return history


def _with_history(content: Mapping[str, Any], records: list[Any]) -> dict[str, Any]:
    """The content with the history in its state, where the engine looks for it."""
    return {**content, "state": {**content["state"], _KEPT: records}}


def _why(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
