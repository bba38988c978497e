"""Write `docs/methods.md` from the docstrings of the zoo: `python docs/generate_methods.py > docs/methods.md`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from sharewise.methods import METHODS, build, parameters

HEAD = """# Methods

Generated from the docstrings by `python docs/generate_methods.py > docs/methods.md`. Every method is a recipe:
geometry × estimator × level × data roles × (penalties, schedules, stages) × selection. Its arguments are options of the
command line (`sharewise search --method NAME --help`) and entries of `recipe:` in a configuration file.

*Deviations* are said under each method. *Equal to* names what [fidelity](fidelity.md) compares it with, number by
number; every method keeps the contracts of `tests/methods` on every space that it searches.

*Sharing* is that of its paper: a weight of its own for every option (separate), or slices of one weight (entangled).
Here it is a property of the network, not of the method: each runs on both, since gates are all that it sees of one.
"""
ENTANGLED = re.compile(r"alphanet|attentive-nas|autoformer|progressive-shrinking|sandwich|tanglenas-.*")
"""The methods whose papers entangle."""
COMPARED = Path(__file__).with_name("fidelity.md")


def section(name: str, title: str) -> str:
    """A section of a docstring on one line."""
    _, _, rest = (inspect.getdoc(METHODS[name]) or "").partition(f"\n{title}:\n")
    return " ".join(re.split(r"\n(?=\S)", rest)[0].split())


def paper(name: str) -> str:
    """The first work that a method is from: its title, where it has one, to its number at arXiv."""
    reference = section(name, "References")
    found = re.match(r".*?\(arXiv [\d.]+\)|[^*]*\*[^*]*\*, \w+ \d+", reference)
    return re.sub(r"^[^*]*(?=\*)", "", found[0] if found else reference)


def compared(name: str) -> str:
    """What the tables of fidelity hold a method against."""
    text = COMPARED.read_text(encoding="utf-8")
    kinds = {"equations": "fidelity", "authors' code": "reference"}
    blocks = {kind: text.partition(f"begin: {mark}")[2].partition(f"end: {mark}")[0] for kind, mark in kinds.items()}
    return ", ".join(kind for kind, block in blocks.items() if re.search(rf"^\| {name}[ ,|]", block, re.MULTILINE))


def row(name: str) -> str:
    """A method in one line."""
    deviations = f"[said](#{name})" if section(name, "Deviations") else "none"
    sharing = "entangled" if ENTANGLED.fullmatch(name) else "separate"
    pieces, equal_to = build(name).describe(), compared(name) or "contracts"
    cells = (f"[`{name}`](#{name})", pieces, sharing, paper(name), deviations, equal_to)
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """The whole page."""
    head = "| method | pieces | sharing | paper | deviations | equal to |\n| --- | --- | --- | --- | --- | --- |"
    parts = [HEAD, "\n".join((head, *map(row, sorted(METHODS))))]
    for name in sorted(METHODS):
        defaults = ", ".join(f"`{key}={value!r}`" for key, (_, value) in parameters(name).items())
        text = inspect.getdoc(METHODS[name]) or ""
        parts.append(f"## {name}\n\nDefaults: {defaults}.\n\n```text\n{text.strip()}\n```")
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
