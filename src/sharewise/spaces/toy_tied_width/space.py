"""A toy space with a tied dimension: one width serves two layers, so one decision is consumed in two places.

A residual perceptron whose hidden width is the output of one layer and the input of the next, and whose activation is a
separate choice.
"""

from __future__ import annotations

from functools import cache

from sharewise.space import Architecture, Choice, Picture, Space

__all__ = ["ACTIVATIONS", "WIDTHS", "toy_tied_width"]

WIDTHS = (4, 8, 16, 32)
ACTIVATIONS = ("relu", "tanh", "gelu")


def _draw(architecture: Architecture) -> Picture:
    width = architecture["width"]
    return Picture(
        ("input", f"hidden ({width})", "output"),
        (
            ("input", f"hidden ({width})", str(architecture["activation"])),
            (f"hidden ({width})", "output", "linear"),
        ),
    )


@cache
def toy_tied_width() -> Space:
    """The space itself.

    Returns:
        The space of 12 architectures; the same object at every call.

    Example:
        >>> toy_tied_width().size
        12
    """
    return Space(
        name="toy-tied-width",
        choices=(Choice("width", WIDTHS, ordered=True), Choice("activation", ACTIVATIONS)),
        networks="sharewise.spaces.toy_tied_width.supernet",
        draw=_draw,
        summary="toy perceptron: one width shared by two layers (a tied dimension)",
    )
