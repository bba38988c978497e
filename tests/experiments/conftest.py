"""Programs of experiments as modules, which no package holds."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


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
