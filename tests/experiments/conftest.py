"""Programs of experiments as modules, which no package holds."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="session")
def executed() -> Callable[[Path], ModuleType]:
    """Execute a program as a module that is called after its folder."""

    def module_of(program: Path) -> ModuleType:
        name = f"{program.parent.name}_{program.stem}"
        specification = importlib.util.spec_from_file_location(name, program)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module  # where dataclasses look for it
        specification.loader.exec_module(module)
        return module

    return module_of


@pytest.fixture
def running(request: pytest.FixtureRequest, executed: Callable[[Path], ModuleType]) -> ModuleType:
    """`run.py` of the `FOLDER` of a test, alone."""
    return executed(request.module.FOLDER / "run.py")


@pytest.fixture
def programs(executed: Callable[[Path], ModuleType]) -> ModuleType:
    """What programs of experiments share."""
    return executed(Path(__file__).resolve().parents[2] / "experiments" / "programs.py")


@pytest.fixture
def equal_cost(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What experiments at equal cost share, as they import it, with fronts of two budgets."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "experiments")
    module = importlib.import_module("equal_cost")
    for name, value in {"EVALUATIONS": 4, "POPULATION": 2, "RUNGS": 2}.items():
        monkeypatch.setattr(module, name, value)
    return module


@pytest.fixture
def sampled(equal_cost: ModuleType) -> list[dict[str, Any]]:
    """The arms of single paths whose fronts are compared, in small."""
    options = {"selection": "evolution", "candidates": 4, "population": 2, "selection_examples": 32}
    arms = {"spos": equal_cost.UNIFORM, "sandwich": equal_cost.SANDWICH}
    return [{"method": method, "name": name, "options": options} for method, name in arms.items()]


@pytest.fixture
def same_again(running: ModuleType, tmp_path: Path, words_for: Callable[..., list[str]]) -> Callable[..., Any]:
    """Run a study and tell it, then tell it once more, which changes nothing; the results."""

    def results_of(plan: Mapping[str, Any]) -> Any:
        words, path = words_for(plan), tmp_path / "results.json"
        assert running.main([*words, "--run"]) == 0
        results = path.read_text()
        assert running.main(words) == 0
        assert path.read_text() == results
        return json.loads(results)

    return results_of


@pytest.fixture
def plan(request: pytest.FixtureRequest) -> dict[str, Any]:
    """`plan.yaml` of the `FOLDER` of a test."""
    loaded: dict[str, Any] = yaml.safe_load((request.module.FOLDER / "plan.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """`config.yaml` of the `FOLDER` of a test."""
    loaded: dict[str, Any] = yaml.safe_load((request.module.FOLDER / "config.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def appraised(running: ModuleType, tmp_path: Path) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Run an experiment on sharing below `tmp_path`, and once more, which skips what is finished; its results."""

    def results_of(config: Mapping[str, Any]) -> dict[str, Any]:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
        words = ["--config", str(path), "--out", str(tmp_path), "--data-root", str(tmp_path)]
        words += ["--results", str(tmp_path / "results.json")]
        history, found = tmp_path / "study-1" / "runs" / "spos-seed0" / "metrics.jsonl", []
        for _ in range(2):
            assert running.main(words) == 0
            found.append((history.read_bytes(), json.loads((tmp_path / "results.json").read_text())))
        (first, results), (second, again) = found
        assert first == second
        assert results["answers"] == again["answers"]
        return dict(results)

    return results_of


@pytest.fixture
def words_for(tmp_path: Path) -> Callable[[Mapping[str, Any]], list[str]]:
    """Write a plan, and give the words by which `run.py` studies it and writes `results.json`, all below `tmp_path`."""

    def written(plan: Mapping[str, Any]) -> list[str]:
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(dict(plan)))
        words = ["--plan", str(path), "--out", str(tmp_path / "study"), "--data-root", str(tmp_path)]
        return [*words, "--results", str(tmp_path / "results.json")]

    return written


@pytest.fixture(scope="module")
def modules(request: pytest.FixtureRequest) -> Iterator[tuple[ModuleType, ModuleType]]:
    """`run.py` and `analyse.py` of the `FOLDER` of a test, which import each other as scripts do."""
    folder: Path = request.module.FOLDER
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("run"), importlib.import_module("analyse")
    finally:
        sys.path.remove(str(folder))
        for program in folder.glob("*.py"):
            sys.modules.pop(program.stem, None)
