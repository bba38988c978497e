"""The decisions of a model of one's own: a space made of the places where something is chosen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import attrgetter

from sharewise.errors import ConfigurationError
from sharewise.space import Choice, Condition, ConditionalRelaxation, Space
from sharewise.supernet.elastic.places import Place, within

__all__ = ["space_of"]


def space_of(title: str, places: Sequence[Place], *, published: bool) -> Space:
    """The space of all that is chosen in a model.

    Args:
        title: of the model's class.
        places: where decisions act; those of one decision share its options.
        published: part of the space's name, since runs in the two forms are different runs.

    Raises:
        ConfigurationError: when nothing is chosen, or places of one decision offer different options.
    """
    options: dict[str, Place] = {}
    for place in filter(attrgetter("decides"), places):
        known = options.setdefault(place.decision, place)
        if known.options != place.options:
            raise ConfigurationError(
                f"decision {place.decision!r} is shared by {known.path!r} and {place.path!r}, which offer different "
                f"options: {known.options} and {place.options}"
            )
    if not options:
        raise ConfigurationError(
            "nothing is chosen: give choices such as {'blocks.*.mlp': sharewise.width([64, 128])}, or put Choose "
            "modules or Elastic layers into the model"
        )
    depths = [place for place in places if place.kind == "depth"]
    choices = tuple(
        Choice(
            place.decision,
            place.options,
            ordered=place.kind != "module",
            condition=_condition(place.decision, places, depths),
        )
        for place in sorted(options.values(), key=lambda p: p.kind != "depth")
    )
    digest = hashlib.sha256(repr((list(choices), tuple(places), published)).encode()).hexdigest()[:8]
    return Space(
        name=f"elastic:{title}-{digest}",
        choices=choices,
        relax=ConditionalRelaxation,
        family=f"elastic:{title}-",
        summary=f"{title}, a model of one's own",
    )


def _condition(name: str, places: Sequence[Place], depths: Sequence[Place]) -> Condition | None:
    """A decision matters only while the block in which it acts, and all that follows it, is executed."""
    acting = [place for place in places if name in place.decisions]
    if sum(place.decides and place.decision == name for place in acting) != 1:
        return None
    for place in depths:
        for number, block in enumerate(place.blocks):
            if place.decision != name and all(within(other.path, block) for other in acting):
                deep = tuple(size for size in place.sizes if size > number)
                return None if deep == place.options else Condition(place.decision, deep)
    return None
