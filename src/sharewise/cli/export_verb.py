"""`sharewise export`."""

from __future__ import annotations

from pathlib import Path

from sharewise.cli.parser import Parser
from sharewise.cli.running import print_json
from sharewise.cost import cost
from sharewise.run import RunFolder, restore, versions
from sharewise.supernet import export

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Write `model.py`, `weights.safetensors` and `manifest.json`."""
    parser.add_argument("run", metavar="RUN", help="folder of a finished search or training")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write")
    parser.add_argument("--json", action="store_true", help="print the manifest")
    options = parser.parse(words)
    folder = RunFolder(options.run)
    restored = restore(folder, device="cpu")
    dataset = restored.dataset
    manifest: dict[str, object] = {
        "architecture": str(restored.architecture),
        "space": restored.architecture.space,
        "weights": restored.origin,
        "input_shape": list(dataset.input_shape),
        "normalisation": {"mean": list(dataset.mean), "std": list(dataset.std), "of": "inputs in [0, 1]"},
        "class_names": list(dataset.class_names),
        **cost(restored.network, dataset.input_shape, integers=dataset.input_kind == "text").to_json(),
        "versions": versions(),
    }
    path = export(restored.network, Path(options.out), description=manifest)
    if options.json:
        print_json(manifest)
        return 0
    print(f"wrote {path / 'model.py'} and {path / 'weights.safetensors'}")
    print(f"load it without sharewise, in {path}:  python -c 'import model; network = model.load()'")
    return 0
