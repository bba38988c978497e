"""`sharewise export`."""

from __future__ import annotations

import json
from pathlib import Path

from sharewise.cli.options import place
from sharewise.cli.output import print_json
from sharewise.cli.own import add_own
from sharewise.cli.parser import Parser
from sharewise.cli.running import require_front, require_run
from sharewise.errors import ConfigurationError, printable
from sharewise.own_file import own_of

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Write the network and `manifest.json`."""
    parser.add_argument("run", metavar="RUN", help="folder of a finished search or training, or of a front")
    parser.add_argument("--point", type=int, metavar="N", help="of a front, whose architecture is taken (from 1)")
    add_own(parser)
    parser.add_argument("--out", type=place, metavar="DIR", required=True, help="folder to write")
    parser.add_argument(
        "--format",
        choices=list(_WORDS),
        help="model.py with its weights (source), model.pt2 (torch-export) or model.onnx (onnx); default: source, and "
        "torch-export for models of your own",
    )
    parser.add_argument("--force", action="store_true", help="write into a folder that holds files, over its export")
    parser.add_argument("--json", action="store_true", help="print the manifest")
    options = parser.parse(words)
    run, architecture = require_run(options.run) if options.point is None else require_front(options.run), None
    own = own_of(options.space)
    form = options.format or ("source" if own is None else "torch-export")
    _require_free(Path(options.out), options.force)

    import torch

    from sharewise.cost import cost
    from sharewise.data.on_disk import in_memory
    from sharewise.run import RunFolder, restore, versions
    from sharewise.studies.front import point_of
    from sharewise.supernet import export

    if options.point is not None:
        run, architecture = point_of(Path(run), options.point)
    restored = restore(RunFolder(run), device="cpu", own=own, architecture=architecture)
    dataset = restored.dataset
    manifest: dict[str, object] = {
        "architecture": str(restored.architecture),
        "space": restored.architecture.space,
        "weights": restored.origin,
        "input_shape": list(dataset.input_shape),
        "normalisation": {"mean": list(dataset.mean), "std": list(dataset.std), "of": "inputs in [0, 1]"},
        "class_names": list(dataset.class_names),
        **cost(restored.network, dataset.input_shape, integers=dataset.integers).to_json(),
        "versions": versions(),
    }
    example = in_memory(dataset.train.inputs[:2])
    if dataset.input_kind != "text":
        example = torch.rand(example.shape, generator=torch.Generator().manual_seed(0))
    path = export(restored.network, Path(options.out), description=manifest, format=form, example=example.contiguous())
    written = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    if options.json:
        print_json(written)
        return 0
    for line in _WORDS[form](path):
        print(printable(line))
    if "difference" in written:
        print(f"outputs equal those of the network up to {written['difference']:.1e}, relative to the largest")
    return 0


def _require_free(out: Path, force: bool) -> None:
    """Refuse a place where something would be overwritten that nobody meant.

    Raises:
        ConfigurationError: for a file, a run, or a folder with files unless that was asked for.
    """
    if out.exists() and not out.is_dir():
        raise ConfigurationError(f"--out {out} is a file; give a folder")
    if (out / "config.yaml").exists():
        raise ConfigurationError(f"--out {out} is the folder of a run; give another one")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ConfigurationError(f"--out {out} holds files; give another folder, or --force to write into it")


_WORDS = {
    "source": lambda path: (
        f"wrote {path / 'model.py'} and {path / 'weights.safetensors'}",
        f"load it without sharewise, in {path}:  python -c 'import model; network = model.load()'",
    ),
    "torch-export": lambda path: (
        f"wrote {path / 'model.pt2'}",
        f"load it without sharewise:  torch.export.load({str(path / 'model.pt2')!r}).module()",
    ),
    "onnx": lambda path: (
        f"wrote {path / 'model.onnx'}",
        f"load it without sharewise:  onnxruntime.InferenceSession({str(path / 'model.onnx')!r})",
    ),
}
