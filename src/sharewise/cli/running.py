"""What `search` and `train` share: options from fields, YAML and a run folder, and how they are merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sharewise.cli.options import Field, add_fields, dataclass_fields, given
from sharewise.cli.output import print_json, unicode_output
from sharewise.cli.parser import Parser
from sharewise.errors import CheckpointError, ConfigurationError, SharewiseError
from sharewise.files import read_bytes
from sharewise.run import RunFolder, SearchConfiguration, TrainConfiguration, from_mapping, read_yaml
from sharewise.sealed_json import parse_json

__all__ = ["Request", "print_json", "read_request"]

_NESTED = ("network", "recipe")
_TABLES = ("latency",)
"""Read from files of their own, not from the command line."""
_PLACE = ("device", "threads")
"""What a run may go on with that it was not started with: they change the last bits of sums, and nothing else."""


class Request:
    """What the user asked for.

    Args:
        configuration: complete and checked.
        out: the run folder.
        resume: whether the folder holds the run to be continued.
        print_config: whether to print the configuration and stop.
        as_json: whether to print one JSON object instead of words.
        tensorboard: whether to write TensorBoard scalars as well.
        dry_run: whether to say what the search will need, and stop.
    """

    def __init__(
        self,
        configuration: SearchConfiguration | TrainConfiguration,
        out: Path,
        *,
        resume: bool,
        print_config: bool,
        as_json: bool,
        tensorboard: bool,
        dry_run: bool = False,
    ) -> None:
        self.configuration, self.out, self.dry_run = configuration, out, dry_run
        self.resume, self.print_config, self.as_json, self.tensorboard = resume, print_config, as_json, tensorboard

    def show_config(self) -> None:
        """Print the complete configuration as YAML (or JSON), fit for `--config`."""
        values = self.configuration.complete()
        if self.as_json:
            print_json(values)
        else:
            print(yaml.safe_dump(values, sort_keys=False, allow_unicode=unicode_output()), end="")


def read_request(
    command: str,
    cls: type[SearchConfiguration] | type[TrainConfiguration],
    parser: Parser,
    words: list[str],
    nested: Callable[[Mapping[str, Any]], tuple[list[Field], list[Field]]],
) -> Request:
    """Parse the words of `search` or `train`.

    Later sources win: defaults, the YAML file, the command line. Beside `--resume`, options must agree with the run's.

    Args:
        command: `"search"` or `"train"`.
        cls: the configuration.
        parser: empty.
        words: after the verb.
        nested: the options of network and recipe, which depend on space and method.

    Raises:
        ConfigurationError: when options clash.
    """
    common = dataclass_fields(cls, skip=(*_NESTED, *_TABLES))
    _add_run_options(parser, command)
    group = parser.add_argument_group("what to run")
    add_fields(group, common)
    first = Parser(parser.prog, add_help=False)
    for name in ("space", "method", "config", "resume"):
        first.add_argument("--" + name)
    early, _ = first.parse_known_args(words)
    folder = None if early.resume is None else RunFolder(early.resume)
    stored = {} if folder is None else folder.read_config()
    if folder is not None:
        _require_mappings(stored, CheckpointError, f"{folder.config} is damaged: ")
    if stored and stored["command"] != command:
        raise ConfigurationError(
            f"{early.resume} holds a {stored['command']} run; continue it with sharewise {stored['command']} --resume"
        )
    file = {} if early.config is None else read_yaml(early.config)
    _require_mappings(file, ConfigurationError, "")
    named = {name: getattr(early, name) for name in ("space", "method") if getattr(early, name) is not None}
    network, recipe = nested({**stored, **file, **named})
    # A name may serve network and recipe alike only if it means the same; spaces and methods avoid each other's.
    add_fields(parser.add_argument_group("network"), network)
    add_fields(parser.add_argument_group("recipe"), recipe)
    namespace = parser.parse(words)
    table = getattr(namespace, "latency_table", None)
    if table is not None:
        file = {**file, "latency": _read_table(table)}
    asked = _merged(file, given(namespace, common), given(namespace, network), given(namespace, recipe))
    if folder is not None:
        _require_agreement(command, stored, asked, folder.path, namespace.out)
        elsewhere = {name: asked[name] for name in _PLACE if asked.get(name) is not None}
        configuration = from_mapping(command, {**stored, **elsewhere})
        out = folder.path
    else:
        configuration = from_mapping(command, asked)
        if namespace.out is None and not (namespace.print_config or getattr(namespace, "dry_run", False)):
            raise ConfigurationError("give a folder for the run: --out DIR (or continue one: --resume DIR)")
        out = Path(namespace.out or ".")
    return Request(
        configuration,
        out,
        resume=folder is not None,
        print_config=namespace.print_config,
        as_json=namespace.json,
        tensorboard=namespace.tensorboard,
        dry_run=getattr(namespace, "dry_run", False),
    )


def _add_run_options(parser: Parser, command: str) -> None:
    run = parser.add_argument_group("run")
    run.add_argument("--out", metavar="DIR", help="folder of the run, to be created")
    run.add_argument("--resume", metavar="DIR", help="continue the run in this folder; other options may be left out")
    run.add_argument("--config", metavar="FILE", help="YAML file with any of these options, as --print-config shows")
    run.add_argument("--print-config", action="store_true", help="print the complete configuration and stop")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object")
    run.add_argument("--tensorboard", action="store_true", help="also write TensorBoard scalars into the run folder")
    if command == "search":
        run.add_argument(
            "--latency-table", metavar="FILE", help="JSON file of milliseconds by option, in place of a measurement"
        )
        run.add_argument(
            "--dry-run", action="store_true", help="make a few steps, say what the search will need, and stop"
        )


def _read_table(path: str) -> Any:
    """A latency table from a file; its form is checked with the configuration."""
    try:
        return parse_json(read_bytes(Path(path), follow=True))
    except OSError as error:
        raise ConfigurationError(f"cannot read the latency table {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"the latency table {path} is not valid JSON: {error}") from None


def _merged(
    file: Mapping[str, Any], common: dict[str, Any], network: dict[str, Any], recipe: dict[str, Any]
) -> dict[str, Any]:
    values = {**file, **common}
    for name, extra in (("network", network), ("recipe", recipe)):
        if extra:
            values[name] = {**(values.get(name) or {}), **extra}
    return values


def _require_mappings(values: Mapping[str, Any], kind: type[SharewiseError], where: str) -> None:
    for name in _NESTED:
        value = values.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise kind(f"{where}{name} must be a mapping of options to values, got {value!r}")


def _require_agreement(
    command: str, stored: Mapping[str, Any], asked: Mapping[str, Any], path: Path, out: str | None
) -> None:
    """Options beside `--resume` may repeat what the run was started with, or say where it goes on; nothing else."""
    if out is not None and Path(out).resolve() != path.resolve():
        raise ConfigurationError(
            f"--out {out} and --resume {path} name different folders; a resumed run stays in its own"
        )
    plain = {name: value for name, value in stored.items() if name not in _NESTED}
    # Both sides are typed and completed alike, so that 1e-3 (text to YAML) equals 0.001, and 1 equals 1.0.
    before = _flat(from_mapping(command, stored).complete())
    now = _flat(from_mapping(command, {**plain, **asked}).complete())
    differences = []
    for name in _flat(asked):
        if name in _PLACE:  # the history says where it goes on
            continue
        if name not in before:
            differences.append(f"{name} was not part of the run and is now {now[name]!r}")
        elif now[name] != before[name]:
            differences.append(f"{name} was {before[name]!r} and is now {now[name]!r}")
    if differences:
        raise ConfigurationError(
            f"the options beside --resume {path} differ from the run's: {'; '.join(differences)}. "
            "Leave them out, or start a new run with --out"
        )


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in values.items() if name not in _NESTED}
    for name in _NESTED:
        flat |= {f"{name}.{key}": value for key, value in (values.get(name) or {}).items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in flat.items()}
