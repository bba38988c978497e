"""`sharewise check-model`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.errors import ConfigurationError, SharewiseError, unknown_name

if TYPE_CHECKING:
    from sharewise.supernet.elastic import ElasticModel

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Run the user's own file, and check the model that a function in it returns."""
    parser.add_argument(
        "model", metavar="FILE:FACTORY", help="a Python file, and a function in it that returns sharewise.elastic(…)"
    )
    parser.add_argument("--samples", type=int, default=20, metavar="N", help="networks to extract (default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the networks (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse(words)
    if options.samples < 1:
        raise ConfigurationError(f"--samples must be at least 1, got {options.samples}")
    supernet = _made(options.model)

    from sharewise.testing import check_model

    try:
        report = check_model(supernet, samples=options.samples, seed=options.seed)
    except AssertionError as error:
        if options.json:
            print_json({"model": options.model, "holds": False, "broken": str(error)})
        print(f"broken: {error}", file=sys.stderr)
        return 1
    if options.json:
        print_json({"model": options.model, "holds": True, **report.to_json()})
        return 0
    print(f"{options.model}: {report.architectures:,} architectures")
    for name, choice in report.decisions.items():
        print(f"  {name}: {', '.join(map(str, choice))}")
    if report.original:
        print("the largest architecture computes what the model computes, bit for bit")
    else:
        print("the model has Choose modules, so that there is no original to compare with")
    print(f"{report.samples} extracted networks equal their slices, bit for bit")
    print(f"one-hot mixtures equal their slices up to {report.continuity:.1e} (float64, relative)")
    print(f"parameters: {report.parameters[0]:,} in the largest, {report.parameters[1]:,} in the smallest")
    return 0


def _made(text: str) -> ElasticModel:
    """Import the file and call the factory."""
    path, colon, name = text.rpartition(":")
    if not colon or not name.isidentifier():
        raise ConfigurationError(f"expected FILE:FACTORY, such as model.py:factory, got {text!r}")
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ConfigurationError(f"there is no file {path}")

    from sharewise.supernet.elastic import ElasticModel

    specification = importlib.util.spec_from_file_location(file.stem, file)
    if specification is None or specification.loader is None:
        raise ConfigurationError(f"{path} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(specification)
    before = sys.modules.get(file.stem)
    sys.path.insert(0, str(file.parent))  # so that the file can import its neighbours, as a script can
    try:
        sys.modules[file.stem] = module  # dataclasses look their module up
        specification.loader.exec_module(module)
        supernet = _factory(module, name, path)()
    except SharewiseError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise ConfigurationError(f"{text} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
        if before is not None:
            sys.modules[file.stem] = before
        else:
            sys.modules.pop(file.stem, None)
    if not isinstance(supernet, ElasticModel):
        raise ConfigurationError(
            f"{name} in {path} must return what sharewise.elastic returns, but returned a {type(supernet).__name__}"
        )
    return supernet


def _factory(module: Any, name: str, path: str) -> Any:
    found = getattr(module, name, None)
    if not callable(found):
        functions = [
            n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
        ]
        raise unknown_name(f"factory in {path}:", name, functions)
    return found
