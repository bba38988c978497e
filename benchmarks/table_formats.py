"""What a format of tables costs to open: a folder of `.npy` files, an `.npz` archive, this project's, and Arrow IPC.

Each candidate holds the same 80 columns of 15,625 numbers. Every round opens each of them twice in a fresh process and
makes all columns ready to read, mapped into memory where the format allows it (`.npz` is read whole); figures are
process CPU time, medians over rounds, and the time of the import that the format needs beyond numpy. `--arrow PYTHON`
names an interpreter that has pyarrow; without it Arrow IPC is left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sharewise.oracle.columns import write_columns

COLUMNS, ROWS = 80, 15_625

_PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
path = sys.argv[1]
start = time.process_time()
{prepare}
imported = time.process_time() - start
def opening():
    start = time.process_time()
    {opening}
    return time.process_time() - start, columns
first, columns = opening()
again, _ = opening()
answer = float(sum(column[7] for column in columns))
print(json.dumps({{"first": first, "again": again, "import": imported, "answer": answer}}))
"""

_CANDIDATES = {
    "folder of .npy files": ("", 'columns = [np.load(f, mmap_mode="r") for f in sorted(Path(path).iterdir())]'),
    ".npz archive": ("", "archive = np.load(path); columns = [archive[name] for name in archive.files]"),
    "sharewise table": (
        "from sharewise.oracle.columns import ColumnFile",
        "file = ColumnFile(path); columns = [file.column(name) for name in file.names]",
    ),
    "Arrow IPC": (
        "import pyarrow as pa",
        (
            "table = pa.ipc.open_file(pa.memory_map(path)).read_all(); "
            "columns = [column.chunk(0).to_numpy() for column in table.columns]"
        ),
    ),
}

_WRITE_ARROW = """
import sys
import numpy as np
import pyarrow as pa
archive = np.load(sys.argv[1])
table = pa.table({name: archive[name] for name in archive.files})
with pa.OSFile(sys.argv[2], "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
    writer.write_table(table)
"""


def write(folder: Path, arrow: str | None) -> dict[str, Path]:
    """The same columns in every format."""
    rng = np.random.default_rng(0)
    columns = {f"c{place:04d}": rng.random(ROWS).astype(np.float32) for place in range(COLUMNS)}
    paths = {name: folder / name.replace(" ", "_") for name in _CANDIDATES}
    paths["folder of .npy files"].mkdir()
    for name, values in columns.items():
        np.save(paths["folder of .npy files"] / f"{name}.npy", values)
    paths[".npz archive"] = folder / "columns.npz"
    np.savez(paths[".npz archive"], **columns)
    write_columns(paths["sharewise table"], {}, columns)
    if arrow is None:
        del paths["Arrow IPC"]
    else:
        command = [arrow, "-c", _WRITE_ARROW, str(paths[".npz archive"]), str(paths["Arrow IPC"])]
        subprocess.run(command, check=True)
    return paths


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("table_formats", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--arrow", metavar="PYTHON", help="interpreter with numpy and pyarrow")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), options.arrow)
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in paths}
        for _ in range(options.rounds):
            for name, path in paths.items():
                prepare, opening = _CANDIDATES[name]
                python = options.arrow if name == "Arrow IPC" else sys.executable
                program = _PROGRAM.format(prepare=prepare, opening=opening)
                done = subprocess.run([python, "-c", program, str(path)], check=True, capture_output=True, text=True)
                rounds[name].append(json.loads(done.stdout))
    answers = {each["answer"] for found in rounds.values() for each in found}
    assert len(answers) == 1, answers
    results = {
        name: {key: statistics.median(each[key] for each in found) for key in ("first", "again", "import")}
        for name, found in rounds.items()
    }
    for name, found in results.items():
        parts = ", ".join(f"{key} {found[key] * 1e3:.2f} ms" for key in ("first", "again", "import"))
        print(f"{name}: {parts}")
    print(
        f"{COLUMNS} columns of {ROWS:,} numbers, {platform.machine()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, {options.rounds} rounds"
    )
    print(json.dumps({"results": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
