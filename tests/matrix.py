"""`make test-matrix`: a short part of the suite on every Python and on the oldest versions of the range.

Each row has an environment of its own in a temporary folder, removed afterwards. The newest versions are those that the
package index gives; the oldest are the lower bounds of `pyproject.toml`, all at once. What cannot be installed, and an
interpreter that is not here, is said and not counted. What was run is kept in `tests/matrix.json`; the table of
README.md is made of it, and `pyproject.toml` claims no more (`tests/test_matrix.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "tests" / "matrix.json"
MARKS = "<!-- tested -->", "<!-- /tested -->"
ROWS = (("3.11", "oldest"), ("3.11", "development"), ("3.12", "newest"), ("3.13", "newest"))
"""Versions of Python, and which versions of everything else."""
PART = (
    "tests/space/test_space_laws.py",
    "tests/strategy/test_strategies.py",
    "tests/appraisal/test_interval.py",
    "tests/distribution/test_estimators.py",
    "tests/engine/test_levels.py",
    "tests/engine/test_determinism.py",
    "tests/run/test_digests.py",
    "tests/supernet/elastic/test_follow.py",
    "tests/supernet/test_fused_cell.py",
    "tests/supernet/test_gates_and_slices.py",
    "tests/supernet/test_native.py",
    "tests/report/test_page.py",
    "tests/test_imports.py",
    "tests/test_private_names.py",
)
"""Values, draws, levels, equal seeds, cells, models of one's own, compiled kernels, pages, private names of torch."""
TOOLS = ("pytest>=8", "pytest-timeout>=2.3", "hypothesis>=6.100")
_BOUND = re.compile(r"([\w-]+)>=([\d.]+)")


def dependencies() -> dict[str, str]:
    """Lower bounds by name, as `pyproject.toml` states them."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    return {match[1]: match[2] for match in map(_BOUND.fullmatch, stated) if match}


def interpreter(version: str) -> str | None:
    """A Python of this version: on the path, or among those of pyenv."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(map(str, root.glob(f"{version}.*/bin/python")))]
    for path in filter(None, found):
        if subprocess.run([path, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            return path
    return None


def constraints(which: str) -> list[str]:
    """What pip is held to."""
    if which == "oldest":
        return [f"{name}=={bound}" for name, bound in dependencies().items()]
    if which == "development":
        return [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line]
    return []


def row(version: str, which: str, folder: Path) -> dict[str, Any]:
    """Install and run one row."""
    found: dict[str, Any] = {"python": version, "versions": which}
    python = interpreter(version)
    if python is None:
        return found | {"outcome": "not here"}
    held = folder / "constraints.txt"
    held.write_text("\n".join(constraints(which)), encoding="utf-8")
    inside = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    source = folder / "source"  # a build in the tree would take in what older builds left there
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [inside, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check"]
    installed = subprocess.run([*pip, "--constraint", held, source, *TOOLS], capture_output=True, text=True)
    if installed.returncode:
        return found | {"outcome": f"not installed: {installed.stderr.strip().splitlines()[-1][:120]}"}
    return found | tried(inside, which)


def tried(python: Path, which: str) -> dict[str, Any]:
    """Run the part of the suite in an environment, and say which versions it has."""
    names = "platform.python_version(), m.version('torch'), m.version('numpy')"
    ask = f"import json, platform, importlib.metadata as m; print(json.dumps([{names}]))"
    versions = json.loads(subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout)
    found = dict(zip(("python", "torch", "numpy"), versions, strict=True))
    # The installed package is tested, not the folder beside the tests.
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    # Old versions of other people's packages deprecate each other; nobody can mend that here.
    lenient = ("-W", "ignore::DeprecationWarning") if which == "oldest" else ()
    chosen = ("-q", "-p", "no:cacheprovider", "--timeout", "600", "-m", "not long")
    command = [python, "-m", "pytest", *chosen, *lenient, *PART]
    ran = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True)
    print(ran.stdout[-6000:] + ran.stderr[-2000:], file=sys.stderr)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error|skipped)", ran.stdout[-400:])}
    return found | counts | {"outcome": "passed" if ran.returncode == 0 else "failed"}


def table(kept: Mapping[str, Any]) -> str:
    """The table of README.md."""
    head = "| Python | torch | numpy | other packages | tests | outcome |\n| --- | --- | --- | --- | --- | --- |"
    which = {"oldest": "lower bounds", "development": "`constraints.txt`", "newest": "newest"}

    def cells(one: Mapping[str, Any]) -> Iterable[str]:
        ran = sum(one.get(word, 0) for word in ("passed", "failed", "error"))
        yield from (one["python"], one.get("torch", "–"), one.get("numpy", "–"), which[one["versions"]])
        yield f"{one.get('passed', 0)} of {ran} pass" if ran else "–"
        yield one.get("note", one["outcome"])

    rows = (f"| {' | '.join(cells(one))} |" for one in kept["rows"])
    return "\n".join((head, *rows, "", f"`make test-matrix`, {kept['date']}, {kept['machine']}."))


def main() -> int:
    """Run all rows, or some, and write what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", type=int, action="append", choices=range(len(ROWS)), help="repeatable")
    chosen = parser.parse_args().row or range(len(ROWS))
    unrun = [{"python": version, "versions": which, "outcome": "not run"} for version, which in ROWS]
    rows = json.loads(KEPT.read_text(encoding="utf-8"))["rows"] if KEPT.exists() else unrun
    for number in chosen:
        with tempfile.TemporaryDirectory(prefix="sharewise-matrix-") as folder:
            rows[number] = row(*ROWS[number], Path(folder))
        print(rows[number])
    kept = {"date": date.today().isoformat(), "machine": f"{platform.system()} {platform.machine()}", "rows": rows}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    readme = ROOT / "README.md"
    before_it, _, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
    readme.write_text(
        before_it + f"{MARKS[0]}\n{table(kept)}\n{MARKS[1]}" + rest.partition(MARKS[1])[2], encoding="utf-8"
    )
    return max(one["outcome"] == "failed" for one in rows)


if __name__ == "__main__":
    sys.exit(main())
