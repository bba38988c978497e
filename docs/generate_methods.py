"""Write `docs/methods.md` from the docstrings of the zoo: `python docs/generate_methods.py > docs/methods.md`."""

from __future__ import annotations

import inspect

from sharewise.methods import METHODS, build, parameters

HEAD = """# Methods

Generated from the docstrings by `python docs/generate_methods.py > docs/methods.md`. Every method is a recipe:
geometry × estimator × level × data roles × (penalties, schedules, stages) × selection. Its arguments are options of the
command line (`sharewise search --method NAME --help`) and entries of `recipe:` in a configuration file.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, "| method | pieces |\n| --- | --- |"]
    parts[-1] += "".join(f"\n| [`{name}`](#{name}) | {build(name).describe()} |" for name in sorted(METHODS))
    for name in sorted(METHODS):
        defaults = ", ".join(f"`{key}={value!r}`" for key, (_, value) in parameters(name).items())
        text = inspect.getdoc(METHODS[name]) or ""
        parts.append(f"## {name}\n\nDefaults: {defaults}.\n\n```text\n{text.strip()}\n```")
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
