"""Drawing a cell: nodes on one line from left to right, edges as arcs above and below it.

Neighbours are joined by a straight edge; every longer edge takes the side where it crosses least, and a
lane of its own beyond all edges that it overlaps there. So no two labels can meet, however dense a cell is. For narrow
screens the line runs from top to bottom, where labels of several heights share the width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sharewise.report.markup import Markup, element
from sharewise.report.read import Picture

__all__ = ["colours_of", "draw_cell", "draw_tall_cell"]

ABSENT = frozenset({"none", "zero", "zeroize"})
COLOURS = 6

GLYPH = 7.4  # advance of the 12 px monospace label font, with a little air
LABEL = 22.0  # height of a label
NODE = 32.0  # height of a node
PITCH = 40.0  # distance between lanes
MARGIN = 14.0


@dataclass(frozen=True)
class _Edge:
    source: int
    target: int
    operation: str
    side: int  # -1 above the line, 1 below, 0 on it
    lane: int

    @property
    def span(self) -> tuple[int, int]:
        return min(self.source, self.target), max(self.source, self.target)


def draw_cell(picture: Picture, colours: Mapping[str, str] | None = None) -> Markup:
    """Draw a cell as an SVG graph, because an architecture is grasped from its picture and not from its text.

    Args:
        picture: the nodes in order and the labelled edges between them.
        colours: of every operation, where several pictures share them (`colours_of`).

    Returns:
        An `<svg>` element whose colours follow the page's theme; absent operations are faint and dotted,
        and edges without a name (such as a concatenation) are faint.

    Example:
        >>> drawing = draw_cell(Picture(("in", "out"), (("in", "out", "conv_3x3"),)))
        >>> drawing.startswith("<svg"), "conv_3x3" in drawing
        (True, True)
    """
    edges = _arrange(picture)
    half = max(20.0, max(len(node) for node in picture.nodes) * GLYPH / 2 + 10)
    longest = max(len(edge.operation) for edge in edges) if edges else 0
    pitch = 2 * half + _width(longest) + 44
    above = max((edge.lane for edge in edges if edge.side < 0), default=0)
    below = max((edge.lane for edge in edges if edge.side > 0), default=0)
    width = 2 * (MARGIN + half) + (len(picture.nodes) - 1) * pitch
    line = MARGIN + (_rise(above) + LABEL / 2 if above else NODE / 2)
    height = line + MARGIN + (_rise(below) + LABEL / 2 if below else NODE / 2)
    columns = [MARGIN + half + index * pitch for index in range(len(picture.nodes))]
    colours = colours_of([picture]) if colours is None else colours

    drawn = [
        _draw_edge(edge, edges, columns, line, half, colours[edge.operation]) for edge in sorted(edges, key=_present)
    ]
    nodes = [_draw_node(name, x, line, half) for name, x in zip(picture.nodes, columns, strict=True)]
    style = f"min-width:{0.62 * width:.0f}px;max-width:{1.15 * width:.0f}px"
    return _graph(picture, drawn, nodes, (width, height), "cell", style)


def draw_tall_cell(picture: Picture, colours: Mapping[str, str] | None = None) -> Markup:
    """Draw a cell from top to bottom, for screens that are too narrow for `draw_cell`.

    Args:
        picture: the nodes in order and the labelled edges between them.
        colours: of every operation, where several pictures share them (`colours_of`).

    Returns:
        An `<svg>` element in the same style.

    Example:
        >>> drawing = draw_tall_cell(Picture(("in", "out"), (("in", "out", "conv_3x3"),)))
        >>> drawing.startswith("<svg"), "conv_3x3" in drawing
        (True, True)
    """
    edges = _arrange(picture)
    half = max(20.0, max(len(node) for node in picture.nodes) * GLYPH / 2 + 10)
    rows = [MARGIN + NODE / 2 + index * (NODE + LABEL + 36) for index in range(len(picture.nodes))]
    colours = colours_of([picture]) if colours is None else colours
    reaches = _reaches(edges, rows, half)
    sides = [
        max((reaches[edge] + _width(len(edge.operation)) / 2 for edge in edges if edge.side == side), default=0.0)
        for side in (-1, 1)
    ]
    centre = max((_width(len(edge.operation)) / 2 for edge in edges if not edge.side), default=0.0)
    left, right = (MARGIN + max(half, centre, side) for side in sides)
    line, width, height = left, left + right, rows[-1] + NODE / 2 + MARGIN
    drawn = [
        _draw_tall_edge(edge, rows, line, half, reaches.get(edge, 0.0), colours[edge.operation])
        for edge in sorted(edges, key=_present)
    ]
    nodes = [_draw_node(name, line, y, half) for name, y in zip(picture.nodes, rows, strict=True)]
    return _graph(picture, drawn, nodes, (width, height), "cell tall", f"max-width:{width:.0f}px")


def _present(edge: _Edge) -> bool:
    """What carries nothing is drawn first, below everything else."""
    return edge.operation not in ABSENT


def _graph(
    picture: Picture,
    drawn: Sequence[tuple[Markup, Markup | None]],
    nodes: Sequence[Markup],
    size: tuple[float, float],
    kind: str,
    style: str,
) -> Markup:
    """Edges, their labels above all of them, and nodes above both."""
    return element(
        "svg",
        *(path for path, _ in drawn),
        *(label for _, label in drawn),
        *nodes,
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        role="img",
        aria_label=_said(picture),
        class_=kind,
        style=style,
    )


def _reaches(edges: Sequence[_Edge], rows: Sequence[float], half: float) -> dict[_Edge, float]:
    """How far from the line of nodes each arc bends: beyond what it overlaps and what its label would meet."""
    taken = [(y, half) for y in rows]
    taken += [((rows[e.source] + rows[e.target]) / 2, _width(len(e.operation)) / 2) for e in edges if not e.side]
    widest = max((reach for _, reach in taken), default=half)
    found: dict[_Edge, float] = {}
    ends: dict[int, list[tuple[float, float]]] = {-1: list(taken), 1: list(taken)}
    for edge in (edge for edge in edges if edge.side):
        middle, width = (rows[edge.source] + rows[edge.target]) / 2, _width(len(edge.operation))
        inner = [found[other] for other in _overlapping(edge.span, edge.side, list(found))]
        beside = [end for y, end in ends[edge.side] if abs(y - middle) < max(LABEL, (NODE + LABEL) / 2) + 4]
        reach = max([widest + 14, *(other + 26 for other in inner), *(end + 8 + width / 2 for end in beside)])
        found[edge] = reach
        ends[edge.side].append((middle, reach + width / 2))
    return found


def _arrange(picture: Picture) -> list[_Edge]:
    """Give each edge a side and a lane, short edges first so that longer ones arch over them."""
    place = {node: index for index, node in enumerate(picture.nodes)}
    ends = [(place[source], place[target], operation) for source, target, operation in picture.edges]
    arranged: list[_Edge] = []
    for source, target, operation in sorted(ends, key=lambda end: (abs(end[1] - end[0]), end[:2])):
        if source == target:
            continue
        span = min(source, target), max(source, target)
        straight = span[1] - span[0] == 1 and not any(edge.span == span for edge in arranged)
        side = 0 if straight else min((-1, 1), key=lambda side: _cost(span, side, arranged))
        lane = 0 if straight else _lane(span, side, arranged)
        arranged.append(_Edge(source, target, operation, side, lane))
    return arranged


def _overlapping(span: tuple[int, int], side: int, edges: Sequence[_Edge]) -> list[_Edge]:
    return [e for e in edges if e.side == side and e.span[0] < span[1] and span[0] < e.span[1]]


def _lane(span: tuple[int, int], side: int, edges: Sequence[_Edge]) -> int:
    return 1 + max((edge.lane for edge in _overlapping(span, side, edges)), default=0)


def _cost(span: tuple[int, int], side: int, edges: Sequence[_Edge]) -> tuple[int, int]:
    """The crossings on a side, then how far out the edge would have to go."""
    crossings = sum(
        edge.span[0] < span[0] < edge.span[1] < span[1] or span[0] < edge.span[0] < span[1] < edge.span[1]
        for edge in _overlapping(span, side, edges)
    )
    return crossings, _lane(span, side, edges)


def _rise(lane: int) -> float:
    """The distance of a lane from the line of nodes."""
    return NODE / 2 + LABEL / 2 + 16 + (lane - 1) * PITCH


def _width(characters: int) -> float:
    return characters * GLYPH + 18


def colours_of(pictures: Sequence[Picture]) -> Mapping[str, str]:
    """A colour for every operation that occurs in some pictures, the same in all of them."""
    present = sorted({operation for picture in pictures for *_, operation in picture.edges} - ABSENT - {""})
    colours = {operation: f"var(--series-{index % COLOURS})" for index, operation in enumerate(present)}
    return colours | dict.fromkeys((*sorted(ABSENT), ""), "var(--faint)")


def _port(edge: _Edge, edges: Sequence[_Edge], node: int, half: float) -> float:
    """Where on a node's rim an arc starts or ends: inner lanes further out, so that arcs nest."""
    right = node == edge.span[0]
    rivals = sorted(e.lane for e in edges if e.side == edge.side and e.span[0 if right else 1] == node)
    share = (rivals.index(edge.lane) + 0.5) / len(rivals)
    offset = (half - 5) * (0.95 - 0.8 * share)
    return offset if right else -offset


def _draw_edge(
    edge: _Edge, edges: Sequence[_Edge], columns: Sequence[float], line: float, half: float, colour: str
) -> tuple[Markup, Markup | None]:
    start, end = columns[edge.source], columns[edge.target]
    forward = 1.0 if end > start else -1.0
    if edge.side == 0:
        start, end = start + forward * half, end - forward * half
        tip, direction = (end - 1 * forward, line), (forward, 0.0)
        trace = f"M{start:g} {line:g}L{end - 7 * forward:g} {line:g}"
        centre = (start + end) / 2 - 2.5 * forward, line
    else:
        start += _port(edge, edges, edge.source, half)
        end += _port(edge, edges, edge.target, half)
        rim = line + edge.side * NODE / 2
        reach = (_rise(edge.lane) - NODE / 2) * 4 / 3
        bend = forward * min(abs(end - start) * 0.2, 60.0)
        controls = start + bend, end - bend
        far = rim + edge.side * reach
        length = ((end - controls[1]) ** 2 + reach**2) ** 0.5
        direction = (end - controls[1]) / length, (rim - far) / length
        tip = end - direction[0], rim - direction[1]
        base = tip[0] - 6 * direction[0], tip[1] - 6 * direction[1]
        trace = (
            f"M{start:.1f} {rim:.1f}C{controls[0]:.1f} {far:.1f} {controls[1]:.1f} {far:.1f} "
            f"{base[0]:.1f} {base[1]:.1f}"
        )
        centre = (start + end) / 2, line + edge.side * _rise(edge.lane)
    absent = edge.operation in ABSENT
    return _stroke(trace, tip, direction, colour, absent), _draw_label(edge.operation, centre, colour, absent)


def _draw_tall_edge(
    edge: _Edge, rows: Sequence[float], line: float, half: float, reach: float, colour: str
) -> tuple[Markup, Markup | None]:
    start, end = rows[edge.source], rows[edge.target]
    forward = 1.0 if end > start else -1.0
    if edge.side == 0:
        start, end = start + forward * NODE / 2, end - forward * NODE / 2
        trace = f"M{line:g} {start:g}L{line:g} {end - 7 * forward:g}"
        tip, direction = (line, end - forward), (0.0, forward)
        centre = line, (start + end) / 2 - 2.5 * forward
    else:
        rim, far = line + edge.side * half, line + edge.side * (half + (reach - half) * 4 / 3)
        start, end = start + forward * 6, end - forward * 6
        bend = forward * min(abs(end - start) * 0.2, 40.0)
        length = ((rim - far) ** 2 + bend**2) ** 0.5
        direction = (rim - far) / length, bend / length
        tip = rim - direction[0], end - direction[1]
        base = tip[0] - 6 * direction[0], tip[1] - 6 * direction[1]
        trace = (
            f"M{rim:.1f} {start:.1f}C{far:.1f} {start + bend:.1f} {far:.1f} {end - bend:.1f} "
            f"{base[0]:.1f} {base[1]:.1f}"
        )
        centre = line + edge.side * reach, (start + end) / 2
    absent = edge.operation in ABSENT
    return _stroke(trace, tip, direction, colour, absent), _draw_label(edge.operation, centre, colour, absent)


def _stroke(trace: str, tip: tuple[float, float], direction: tuple[float, float], colour: str, absent: bool) -> Markup:
    """An edge with its head; one that carries nothing is dotted and has none."""
    line = element(
        "path",
        d=trace,
        style=f"fill:none;stroke:{colour};stroke-width:{1.4 if absent else 2.2}",
        stroke_dasharray="1 5" if absent else None,
        stroke_linecap="round",
    )
    return element("g", line, None if absent else _arrow(tip, direction, colour))


def _said(picture: Picture) -> str:
    """The drawing in words."""
    edges = (f"{source} to {target}: {operation}" for source, target, operation in picture.edges)
    return f"Cell graph. {'; '.join(edges)}"


def _arrow(tip: tuple[float, float], direction: tuple[float, float], colour: str) -> Markup:
    (x, y), (dx, dy) = tip, direction
    back = x - 9 * dx, y - 9 * dy
    left = back[0] - 4.5 * dy, back[1] + 4.5 * dx
    right = back[0] + 4.5 * dy, back[1] - 4.5 * dx
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in (tip, left, right))
    return element("polygon", points=points, style=f"fill:{colour}")


def _draw_label(text: str, centre: tuple[float, float], colour: str, absent: bool) -> Markup | None:
    if not text:
        return None
    x, y = centre
    box = element(
        "rect",
        class_="label",
        x=x - _width(len(text)) / 2,
        y=y - LABEL / 2,
        width=_width(len(text)),
        height=LABEL,
        rx=LABEL / 2,
        style=f"fill:var(--card);stroke:{'none' if absent else colour};stroke-width:1.4",
    )
    return element("g", box, element("text", text, x=x, y=y, class_="absent" if absent else None))


def _draw_node(name: str, x: float, y: float, half: float) -> Markup:
    box = element(
        "rect", class_="node", x=x - half, y=y - NODE / 2, width=2 * half, height=NODE, rx=min(NODE / 2, 12.0)
    )
    return element("g", box, element("text", name, x=x, y=y, class_="name"))
