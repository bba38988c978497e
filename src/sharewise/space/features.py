"""Features: numbers that describe the structure of an architecture, by which a bias of a supernet can be named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sharewise.space.architecture import Architecture
from sharewise.space.space import Space

__all__ = ["features", "longest_path"]


def features(space: Space, architecture: Architecture) -> dict[str, bool | float]:
    """What an architecture is made of, by name.

    What the space offers itself (`Space.features`), or else for every choice its value where options are ordered
    numbers, and one boolean per option where not; and how often an option occurs where several choices share it. A
    choice that is not active has no option: its booleans are false, its value is 0.

    Args:
        space: of the architecture.
        architecture: a member.

    Returns:
        Booleans and numbers; the same names in the same order for every architecture of the space.

    Example:
        >>> from sharewise.space import Choice
        >>> toy = Space("toy", (Choice("width", (8, 16), ordered=True), Choice("activation", ("relu", "tanh"))))
        >>> features(toy, toy.architecture({"width": 16, "activation": "tanh"}))
        {'width': 16.0, 'activation = relu': False, 'activation = tanh': True}
    """
    architecture = space.own(architecture)
    if space.features is not None:
        return dict(space.features(architecture))
    found: dict[str, bool | float] = {}
    shared = Counter(option for choice in space.choices if not choice.ordered for option in choice.options)
    for option in (o for o, choices in shared.items() if choices > 1 and not isinstance(o, tuple)):
        found[f"number of {option}"] = float(sum(value == option for value in architecture.values()))
    for choice in space.choices:
        value = architecture.get(choice.name)
        if choice.ordered and all(isinstance(option, int | float) for option in choice.options):
            found[choice.name] = float(value) if isinstance(value, int | float) else 0.0
        else:
            found |= {f"{choice.name} = {option}": value == option for option in choice.options}
    return found


def longest_path(lengths: Mapping[tuple[int, int], float | None], nodes: Sequence[int]) -> float:
    """The length of the longest path from the first node to the last.

    Args:
        lengths: of each edge (source, target); `None`, or an absent edge, leads nowhere.
        nodes: in topological order.

    Returns:
        The sum along the longest path; 0 where none connects the two.

    Example:
        >>> longest_path({(0, 1): 1, (1, 2): 1, (0, 2): 1}, (0, 1, 2))
        2.0
    """
    reach: dict[int, float] = {nodes[0]: 0.0}
    for place, target in enumerate(nodes[1:], start=1):
        ends = [
            reach[source] + length
            for source in nodes[:place]
            if source in reach and (length := lengths.get((source, target))) is not None
        ]
        if ends:
            reach[target] = max(ends)
    return reach.get(nodes[-1], 0.0)
