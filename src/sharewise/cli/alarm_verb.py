"""`sharewise alarm`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sharewise.alarm import Alarm, alarms, read_search_logs
from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.cli.running import require_run
from sharewise.errors import CheckpointError, DataError, printable
from sharewise.files import read_bytes
from sharewise.sealed_json import parse_json

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Ask the alarm about a run, finished or not, or about a file of recorded searches."""
    parser.add_argument(
        "path", metavar="PATH", help="folder of a run, or a file of search logs in JSON lines, also behind gzip"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of words")
    options = parser.parse(words)
    path = Path(options.path)
    if not path.exists():
        raise DataError(f"there is no {printable(path)}: give the folder of a run or a file of search logs")
    searches = list(_asked(path))
    if options.json:
        rows = [{"search": name, "alarms": [alarm.to_json() for alarm in found]} for name, found in searches]
        print_json({"searches": rows})
        return 0
    for name, found in searches:
        print(f"{printable(name)}: {'; '.join(map(_words, found)) or 'no alarm'}")
    return 0


def _asked(path: Path) -> Iterator[tuple[str, tuple[Alarm, ...]]]:
    if path.is_dir():
        require_run(str(path))
        yield str(path), alarms(_history(path))
        return
    for log in read_search_logs(path):
        setting = f"weight decay {log.weight_decay:g}, drop path {log.drop_path:g}, seed {log.seed}"
        yield f"{log.space} {log.data}, {setting}", alarms(log.readings)


def _history(path: Path) -> list[dict[str, Any]]:
    """The history of a run, held against the digest in its result or its checkpoint."""
    from sharewise.run import RunFolder

    folder = RunFolder(path)
    if folder.result.exists():
        return folder.read_history(folder.read_result())
    folder.read_checkpoint()  # which vouches for the lines up to it; a run in progress has written more since
    return _lines(folder.metrics)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a history; the last one of a run in progress may be torn, and an earlier run may hold less."""
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"cannot read {printable(path)}: {error.strerror}") from None
    found = []
    for line in content.split(b"\n"):
        try:
            value = parse_json(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _words(alarm: Alarm) -> str:
    lacked = f" (the history lacks {', '.join(alarm.lacked)})" if alarm.lacked else ""
    return f"{alarm.kind} since epoch {alarm.epoch + 1}, {alarm.sentence}{lacked}"
