"""A run as a folder: configuration, environment, checkpoint, history, result and report.

Every file but the history is written whole and moved into place, so a run that is killed, or a full disk, leaves the
last complete version. The history is cut back to the checkpoint by a resume, so no line is lost or repeated.
"""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, final

import torch
import yaml

from sharewise.atomic import replacing
from sharewise.data.sources import relocated
from sharewise.errors import CheckpointError, SharewiseError

if TYPE_CHECKING:
    from sharewise.engine import SearchState

__all__ = ["CHECKPOINT_FORMAT", "RunFolder", "write_atomically"]

CHECKPOINT_FORMAT = 2
"""Raised by one whenever an older checkpoint could not be understood."""


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file whole or not at all, and force it to disk before it takes its name.

    Args:
        path: the final name; its folder exists.
        write: writes the content to an open binary file.

    Raises:
        SharewiseError: when the disk is full or the folder cannot be written; an earlier version of the file stays.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            write(file)
    except BaseException as error:
        cause = _os_error(error)
        if cause is not None:
            raise SharewiseError(_unwritable(path, cause)) from None
        raise


def _json(value: Any) -> Any:
    """The same value with `null` for numbers that are not finite, which JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _json(inner) for key, inner in value.items()}
    return [_json(inner) for inner in value] if isinstance(value, list | tuple) else value


def _os_error(error: BaseException) -> OSError | None:
    """The operating system's error behind an exception; torch wraps a failed write in a RuntimeError."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, RuntimeError) and "PytorchStreamWriter" in str(error):
        return OSError(errno.EIO, "the write failed; the disk may be full")
    return None


def _unwritable(path: Path, cause: OSError) -> str:
    reason = "the disk is full" if cause.errno in (errno.ENOSPC, errno.EDQUOT) else (cause.strerror or str(cause))
    return (
        f"cannot write {path}: {reason}. The run folder keeps its last complete state; "
        f"free some space or mend the folder's permissions, then continue with --resume {path.parent}"
    )


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
        self.result = self.path / "result.json"
        self.report = self.path / "report.html"

    def create(self, configuration: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """Begin a run.

        Raises:
            CheckpointError: when the folder already holds a run.
            SharewiseError: when the folder cannot be written.
        """
        if self.config.exists():
            raise CheckpointError(
                f"{self.path} already holds a run; continue it with --resume {self.path}, or choose another --out"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SharewiseError(f"cannot create the run folder {self.path}: {error.strerror}") from None
        self.write_json(self.environment, environment)
        text = yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True)
        write_atomically(self.config, lambda file: file.write(text.encode()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the same run; the lock ends with the process, however that ends.

        Raises:
            CheckpointError: when another process holds it.
        """
        try:
            import fcntl
        except ImportError:  # not a Unix: there is nothing to lock with
            yield
            return
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CheckpointError(
                    f"another process is writing to {self.path}; wait for it or stop it before you resume the run"
                ) from None
            except OSError:
                pass  # a file system without locks
            for name in (self.checkpoint.name, self.result.name, self.report.name):
                for leftover in self.path.glob(f".{name}.*"):  # of a process that was killed while it wrote
                    leftover.unlink(missing_ok=True)
            yield

    def read_config(self) -> dict[str, Any]:
        """The configuration with which the run began; data that lie elsewhere by now are looked for.

        Raises:
            CheckpointError: when this is no run folder or the file is damaged.
        """
        if not self.path.is_dir():
            raise CheckpointError(f"there is no run folder {self.path}; start a run with --out {self.path}")
        if not self.config.exists():
            raise CheckpointError(f"{self.path} is not a run folder: it has no config.yaml")
        try:
            value = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CheckpointError(f"{self.config} is damaged: {str(error).splitlines()[0]}") from None
        if not isinstance(value, dict) or value.get("command") not in ("search", "train"):
            raise CheckpointError(f"{self.config} is damaged: it holds no configuration of a search or a training")
        if isinstance(value.get("data"), str) and isinstance(value.get("data_path"), str):
            value["data_path"] = relocated(value["data"], value["data_path"])
        return value

    def write_json(self, path: Path, value: Mapping[str, Any]) -> None:
        """Write a JSON file whole or not at all."""
        text = json.dumps(_json(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))

    def read_result(self) -> dict[str, Any]:
        """The result of a finished run.

        Raises:
            CheckpointError: when the run is not finished or the file is damaged.
        """
        if not self.result.exists():
            self.read_config()
            raise CheckpointError(f"{self.path} has no result yet; finish it with --resume {self.path}")
        try:
            value = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{self.result} is damaged: {error}") from None
        test = value.get("test") if isinstance(value, dict) else 0
        if (
            not isinstance(value, dict)
            or not isinstance(value.get("architecture"), str)
            or not isinstance(value.get("test_openings"), list)
            or not (test is None or isinstance(test, dict))
        ):
            raise CheckpointError(f"{self.result} is damaged: it holds no result of a run")
        return value

    def save(self, fingerprint: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Replace the checkpoint.

        Args:
            fingerprint: what must agree for the checkpoint to be loaded.
            state: tensors and plain values.
        """
        if self.metrics.exists():
            try:
                with self.metrics.open("ab") as history:  # no checkpoint may know of lines that a power cut can take
                    os.fsync(history.fileno())
            except OSError as error:
                raise SharewiseError(_unwritable(self.metrics, error)) from None
        content = {
            "format": CHECKPOINT_FORMAT,
            "fingerprint": dict(fingerprint),
            "state": dict(state),
            "metrics_bytes": self.metrics.stat().st_size if self.metrics.exists() else 0,
        }
        write_atomically(self.checkpoint, lambda file: torch.save(content, file))

    def load(self, fingerprint: Mapping[str, Any]) -> dict[str, Any] | None:
        """Read the checkpoint without executing code, and cut the history back to it.

        Args:
            fingerprint: of the run as it is configured now.

        Returns:
            The state, or `None` for a run that ended before its first checkpoint.

        Raises:
            CheckpointError: when the file is damaged, or belongs to another version, space or configuration.
        """
        content = self.read_checkpoint()
        if content is None:
            self.metrics.unlink(missing_ok=True)
            return None
        self.require_same_run(content, fingerprint)
        state: dict[str, Any] = content["state"]
        if self.metrics.exists() and self.metrics.stat().st_size >= content["metrics_bytes"]:
            with self.metrics.open("ab") as file:
                file.truncate(content["metrics_bytes"])
        else:  # lost or shortened by others: the checkpoint holds the history too
            lines = [json.dumps(_json(record), ensure_ascii=False) + "\n" for record in state.get("history", [])]
            write_atomically(self.metrics, lambda file: file.write("".join(lines).encode()))
        return state

    def require_same_run(self, content: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint that was written under another configuration.

        Raises:
            CheckpointError: naming the first setting that differs.
        """
        saved = content["fingerprint"]
        for key, expected in fingerprint.items():
            if saved.get(key) != expected:
                raise CheckpointError(
                    f"{self.checkpoint} belongs to another run: {key} is {saved.get(key)!r} there and {expected!r} here"
                )

    def read_checkpoint(self) -> dict[str, Any] | None:
        """The checkpoint's content, or `None` where there is none yet."""
        if not self.checkpoint.exists():
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of foreign pickles, which are refused right after
                content = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except (
            OSError,
            EOFError,
            RuntimeError,
            ValueError,
            KeyError,
            pickle.UnpicklingError,
            zipfile.BadZipFile,
        ) as e:
            reason = (str(e).splitlines() or [type(e).__name__])[0]
            raise CheckpointError(
                f"{self.checkpoint} is damaged or not a checkpoint ({reason}); restore it from a copy or start again"
            ) from None
        required = {"format", "fingerprint", "state", "metrics_bytes"}
        if not isinstance(content, dict) or not required <= content.keys():
            raise CheckpointError(f"{self.checkpoint} is not a checkpoint of sharewise")
        kinds = {"fingerprint": dict, "state": dict, "metrics_bytes": int}
        if any(not isinstance(content[key], kind) for key, kind in kinds.items()) or content["metrics_bytes"] < 0:
            raise CheckpointError(f"{self.checkpoint} is damaged: its entries are not what a checkpoint holds")
        if content["format"] != CHECKPOINT_FORMAT:
            raise CheckpointError(
                f"{self.checkpoint} has format {content['format']}, this version of sharewise reads format "
                f"{CHECKPOINT_FORMAT}; use the version named in {self.environment}"
            )
        return content

    def restore(self, state: SearchState, saved: dict[str, Any]) -> None:
        """Bring a state to where a checkpoint says that it stood.

        Raises:
            CheckpointError: when the checkpoint does not hold what the state needs.
        """
        try:
            state.load_state_dict(saved)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CheckpointError(f"{self.checkpoint} is damaged: {type(error).__name__}: {error}") from None

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line to the history.

        Raises:
            SharewiseError: when the disk is full.
        """
        line = json.dumps(_json(record), ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise SharewiseError(_unwritable(self.metrics, error)) from None
