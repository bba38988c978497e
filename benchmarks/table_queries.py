"""What a table costs: opening, memory, one query, a batch; beside nats-bench and nasbenchapi on the same records.

Every side runs in a fresh process per round, in turn; figures are process CPU time and growth of resident memory after
the imports, medians over rounds. `--others PYTHON` names an interpreter that has nats-bench and nasbenchapi; without it
only sharewise is measured. nats-bench reads the official records 0, 11 and 284 of the topology space, and so does the
table. nasbenchapi reads a pickle of its own; it is given the 151,644 cells of which single runs are known, written in
the layout that it expects, and asked for cells in the very form that it stores, since it knows no isomorphism; the
table is asked for random relabellings. Batches are random architectures, each asked for once: as row numbers, strings,
`Architecture` and `Cell` objects. `--data FOLDER` holds the published tables (else `$SHAREWISE_DATA`, or
`../shared/data`).
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import pickle
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sharewise.oracle.readers import import_benchmark
from sharewise.spaces.nasbench101 import Cell
from sharewise.spaces.nasbench101.enumeration import enumeration

RECORDS = "nasbench201/nats_official_samples/NATS-tss-v1_0-3ffb9-simple"
SIZES = "nasbench201/nats_official_samples/NATS-sss-v1_0-50262-simple"
BATCHES = {
    "nasbench201": {"metric": "accuracy", "dataset": "cifar10", "split": "valid", "epochs": 200, "seed": "mean"},
    "nasbench_macro": {"metric": "accuracy", "dataset": "cifar10", "split": "test", "seed": "mean"},
    SIZES: {"metric": "parameters", "dataset": "cifar10", "epochs": 90, "seed": "mean"},
}

_COMMON = """
import gc, json, sys, time
def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
def clock(function, times=1):
    gc.collect()
    start = time.process_time()
    for _ in range(times):
        result = function()
    return (time.process_time() - start) / times, result
path, out = sys.argv[1], {}
memory = lambda: resident()
"""

_PROGRAMS = {
    "sharewise, official records": """
from sharewise.oracle.table import open_table
before = memory(); out["open"], table = clock(lambda: open_table(path)); out["kilobytes"] = memory() - before
key = dict(metric="accuracy", dataset="cifar10", split="valid", epochs=200, seed="mean")
out["first"], _ = clock(lambda: table.query(11, **key))
text = str(table.space.listing.at(11))
out["query"], _ = clock(lambda: table.query(11, **key), QUERIES)
out["by_string"], answer = clock(lambda: table.query(text, **key), QUERIES)
out["answer"] = answer.value
""",
    "sharewise, batches": """
from sharewise.oracle.table import open_table
import numpy as np
before = memory(); out["open"], table = clock(lambda: open_table(path)); out["kilobytes"] = memory() - before
key = json.loads(sys.argv[2])
rows = np.random.default_rng(0).integers(0, table.rows, QUERIES)
architectures = [table.space.listing.at(int(row)) for row in rows]
texts = [str(architecture) for architecture in architectures]
forms = {"architectures": architectures, "strings": texts, "rows": rows}
ask = table.reporter().query_many
for name, items in forms.items():
    seconds, found = clock(lambda: ask(items, **key))
    out["batch_of_" + name] = seconds / len(items)
out["answer"] = float(np.nansum(found))
""",
    "nats-bench": """
from nats_bench import create
before = memory(); out["open"], api = clock(lambda: create(path, "tss", fast_mode=True, verbose=False))
out["kilobytes"] = memory() - before
ask = lambda: api.get_more_info(11, "cifar10-valid", hp="200", is_random=False)
out["first"], _ = clock(ask)
text = api.meta_archs[11]
out["query"], answer = clock(ask, QUERIES // 10)
by_string = lambda: api.get_more_info(api.query_index_by_arch(text), "cifar10-valid", hp="200", is_random=False)
out["by_string"], _ = clock(by_string, QUERIES // 10)
out["answer"] = answer["valid-accuracy"]
""",
    "sharewise, NAS-Bench-101": """
from sharewise.oracle.table import open_table
from sharewise.spaces.nasbench101 import Cell
import numpy as np
cells = [Cell(edges, tuple(operations)) for edges, operations in json.load(open(sys.argv[2]))["forms"]]
texts = [str(cell) for cell in cells]
before = memory(); out["open"], table = clock(lambda: open_table(path)); out["kilobytes"] = memory() - before
key = dict(metric="accuracy", dataset="cifar10", split="valid", epochs=108, seed="mean")
out["first"], _ = clock(lambda: table.query(cells[0], **key))
out["query"], found = clock(lambda: [table.query(cell, **key).value for cell in cells])
out["by_string"], _ = clock(lambda: [table.query(text, **key) for text in texts])
architectures = [table.space.listing.at(int(row)) for row in table.rows_of(cells)]
again = [str(cell) for cell in cells]
out["batch_of_cells"], _ = clock(lambda: table.query_many(cells, **key))
out["batch_of_strings"], _ = clock(lambda: table.query_many(again, **key))
out["batch_of_architectures"], _ = clock(lambda: table.query_many(architectures, **key))
codes = np.array([cell.code for cell in cells], np.uint32)
out["batch_of_codes"], _ = clock(lambda: table.query_many(table.rows_of_codes(codes), **key))
rows = table.rows_of(cells)
out["batch_of_rows"], _ = clock(lambda: table.query_many(rows, **key))
out["all_rows"], _ = clock(lambda: table.column(**key))
for name in out:
    if name in ("query", "by_string") or name.startswith("batch"): out[name] /= len(cells)
out["all_rows"] /= table.rows
out["answer"] = sum(found) / len(found)
""",
    "nasbenchapi": """
from nasbenchapi.nasbench101_api import NASBench101, Arch101
cells = [Arch101(*value) for value in json.load(open(sys.argv[2]))["stored"]]
before = memory(); out["open"], api = clock(lambda: NASBench101(path, verbose=False))
out["kilobytes"] = memory() - before
ask = lambda cell: api.query(cell, average=True)[1][108]["final_validation_accuracy"]
out["first"], _ = clock(lambda: ask(cells[0]))
out["query"], found = clock(lambda: [ask(cell) for cell in cells])
out["query"] /= len(cells)
out["answer"] = sum(found) / len(found)
""",
}


def known_cells(source: Path) -> list[Cell]:
    """The cells of which single runs are known."""
    test = dict(np.load(source / "nasbench101_test108.npz", allow_pickle=False))
    index = np.load(source / "nasbench101_runs108.npz", allow_pickle=False)["index"]
    operations = [tuple(o for o in row if o != 255) for row in test["ops"][index].tolist()]
    return [Cell(edges, labels) for edges, labels in zip(test["edges"][index].tolist(), operations, strict=True)]


def questions(folder: Path, cells: list[Cell], queries: int) -> Path:
    """A sample of cells to ask for, in the form that is stored and in a random isomorphic one."""
    stored, forms, everything = [], [], enumeration()
    rng = np.random.default_rng(1)
    for place in np.random.default_rng(0).choice(len(cells), queries, replace=False):
        cell = cells[place]
        stored.append((cell.matrix, list(cell.names)))
        row = int(everything.find(np.array([cell.code]))[0])
        other = Cell.from_code(int(rng.choice(everything.codes[np.flatnonzero(everything.rows == row)])))
        forms.append((other.edges, other.operations))
    asked = folder / "asked.json"
    asked.write_text(json.dumps({"stored": stored, "forms": forms}))
    return asked


def foreign_pickle(folder: Path, source: Path, cells: list[Cell]) -> Path:
    """The cells of which single runs are known in the layout of nasbenchapi."""
    test = dict(np.load(source / "nasbench101_test108.npz", allow_pickle=False))
    runs = dict(np.load(source / "nasbench101_runs108.npz", allow_pickle=False))
    entries, latest = {}, {}
    for place, index in enumerate(runs["index"]):
        cell = cells[place]
        matrix, name = cell.matrix, test["hash"][index].tobytes().hex()
        adjacency = "".join(str(entry) for row in matrix for entry in row)
        records = []
        for repeat in range(3):
            final = [108.0, float(runs["train_seconds"][place, repeat])]
            final += [float(runs[f"{split}_correct"][place, repeat]) / 9984 for split in ("train", "valid", "test")]
            content = b""
            for moment in ([0.0] * 5, [54.0, *final[1:]], final):
                inner = b"".join(bytes([n << 3 | 1]) + struct.pack("<d", v) for n, v in enumerate(moment, start=1))
                content += b"\x0a" + bytes([len(inner)]) + inner
            records.append({"epoch": 108, "metrics_b64": base64.b64encode(content).decode(), "derived": {}})
        entries[name] = records
        latest[name] = {"adjacency_str": adjacency, "operations_str": ",".join(cell.names)}
    path = folder / "nasbenchapi.pickle"
    path.write_bytes(
        pickle.dumps({"entries_by_arch": entries, "latest_by_arch": latest, "num_records": 3 * len(entries)})
    )
    return path


def side(python: str, name: str, queries: int, *arguments: Path | str) -> dict[str, float]:
    """Run one side in a fresh process."""
    program = _COMMON + _PROGRAMS[name.partition(":")[0]].replace("QUERIES", str(queries)) + "\nprint(json.dumps(out))"
    command = [python, "-c", program, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("table_queries", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--queries", type=int, default=2_000, help="in a batch, and of a median")
    parser.add_argument("--others", metavar="PYTHON", help="interpreter with nats-bench and nasbenchapi")
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    options = parser.parse_args(arguments)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    data = options.data or Path(os.environ.get("SHAREWISE_DATA", beside))
    if not data.is_dir():
        print(f"no published data at {data}; nothing to measure")
        return 0
    imports, results = {}, {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for source in ("nasbench201", "nasbench_macro", "nasbench101", RECORDS, SIZES):
            start = time.process_time()
            import_benchmark(data / source, folder / f"{Path(source).name}.table")
            imports[Path(source).name] = time.process_time() - start
        known = known_cells(data / "nasbench101")
        asked = questions(folder, known, options.queries)
        foreign = foreign_pickle(folder, data / "nasbench101", known) if options.others else folder
        records, cells = folder / f"{Path(RECORDS).name}.table", folder / "nasbench101.table"
        sides = [
            (sys.executable, "sharewise, official records", records),
            (options.others, "nats-bench", data / RECORDS),
            (sys.executable, "sharewise, NAS-Bench-101", cells, asked),
            (options.others, "nasbenchapi", foreign, asked),
        ]
        for source, key in BATCHES.items():
            name = Path(source).name
            sides.append((sys.executable, f"sharewise, batches: {name}", folder / f"{name}.table", json.dumps(key)))
        rounds: dict[str, list[dict[str, float]]] = {}
        for _ in range(options.rounds):
            for python, which, *given in sides:
                if python is not None:
                    rounds.setdefault(which, []).append(side(python, which, options.queries, *given))
        for which, found in rounds.items():
            results[which] = {key: statistics.median(each[key] for each in found) for key in found[0]}
    show(results)
    print("CPU seconds of an import:", ", ".join(f"{name} {seconds:.2f}" for name, seconds in imports.items()))
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, {options.rounds} rounds")
    print(json.dumps({"imports": imports, "results": results}))
    return 0


def show(results: dict[str, dict[str, float]]) -> None:
    """Print the medians, and how many times longer the others take."""
    for which, found in results.items():
        parts = [f"opening {found['open'] * 1e3:.2f} ms", f"{found['kilobytes'] / 1024:.1f} MB"]
        measured = [name for name in found if name not in ("open", "kilobytes", "answer")]
        parts += [f"{name} {found[name] * 1e6:.3g} µs" for name in measured]
        print(f"{which}: {', '.join(parts)} (answer {found['answer']:.9g})")
    for ours, theirs in (("sharewise, official records", "nats-bench"), ("sharewise, NAS-Bench-101", "nasbenchapi")):
        if theirs in results:
            ratios = {n: results[theirs][n] / results[ours][n] for n in ("open", "first", "query") if results[ours][n]}
            print(f"{theirs} / {ours}: " + ", ".join(f"{name} ×{ratio:.3g}" for name, ratio in ratios.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
