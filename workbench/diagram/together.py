"""Two diagrams on one grid: a node that both have stands in the same place in both, so that a rewrite is seen."""

from collections.abc import Mapping
from dataclasses import replace

from workbench.diagram.drawing import Diagram
from workbench.diagram.picture import Picture, program_pictures
from workbench.diagram.place import Cell, Layout
from workbench.diagram.routes import placed
from workbench.diagram.scene import Mark, Scene, moved, shifted_mark


def together(before: Diagram, after: Diagram) -> tuple[Scene, Scene]:
    """The scenes of both. Nodes of one name share their place where both are one picture, in the same order.

    New nodes stand between those they are joined to, in columns that the other scene leaves empty. Scenes of
    several lines, or of nodes in another order, are drawn each for itself.
    """
    pictures = [_only_picture(diagram) for diagram in (before, after)]
    if pictures[0] is None or pictures[1] is None:
        return before.scene, after.scene
    first = _cells(before, pictures[0])
    second = _kept_cells(first, _cells(after, pictures[1]))
    if second is None:
        return before.scene, after.scene
    columns = {c: float(k) for k, c in enumerate(sorted({c for c, _ in (*first.values(), *second.values())}))}
    both = [
        (diagram, {name: (columns[c], row) for name, (c, row) in cells.items()})
        for diagram, cells in ((before, first), (after, second))
    ]
    widths: dict[float, float] = {}
    for diagram, cells in both:
        for column, width in column_widths(diagram.scene, cells).items():
            widths[column] = max(widths.get(column, 0.0), width)
    one, other = (
        replace(diagram, layout=Layout(cells, diagram.layout.sides)).scene_with(widths) for diagram, cells in both
    )
    return aligned(one, other)


def column_widths(scene: Scene, cells: Mapping[str, Cell]) -> dict[float, float]:
    """The width of the widest node of every column: with it, another drawing keeps the same columns."""
    widths: dict[float, float] = {}
    for mark in scene.marks:
        if mark.name in cells:
            column = cells[mark.name][0]
            widths[column] = max(widths.get(column, 0.0), mark.width)
    return widths


def aligned(before: Scene, after: Scene) -> tuple[Scene, Scene]:
    """Both scenes, shifted so that the first node they share is in one place, and made equally large."""
    here = {mark.name: mark for mark in after.marks}
    shared = next((mark for mark in before.marks if mark.name in here), None)
    if shared is None:
        return before, after
    dx, dy = shared.x - here[shared.name].x, shared.y - here[shared.name].y
    left, top = min(0.0, dx), min(0.0, dy)
    width = max(before.width, after.width + dx) - left
    height = max(before.height, after.height + dy) - top
    return _shifted(before, -left, -top, width, height), _shifted(after, dx - left, dy - top, width, height)


def _shifted(scene: Scene, dx: float, dy: float, width: float, height: float) -> Scene:
    return replace(
        scene,
        width=width,
        height=height,
        marks=tuple(shifted_mark(mark, dx, dy) for mark in scene.marks),
        wires=tuple(replace(wire, path=moved(wire.path, dx, dy)) for wire in scene.wires),
        texts=tuple(replace(text, x=text.x + dx, y=text.y + dy) for text in scene.texts),
    )


def _only_picture(diagram: Diagram) -> Picture | None:
    pictures = program_pictures(diagram.program, rows=diagram.rows)
    if len(pictures) > 1 or diagram.layout.flow:
        return None
    (picture,) = pictures.values()
    nodes = picture.network.nodes
    return None if len(nodes) == 1 and nodes[0].name in picture.inside else picture


def _cells(diagram: Diagram, picture: Picture) -> dict[str, Cell]:
    """The cells of all nodes but the dots of spectators, which find their own."""
    names = {node.name for node in picture.network.nodes}
    given = diagram.layout.cells if set(diagram.layout.cells) >= names else {}
    plan = placed(picture, diagram.layout.sides, given)
    return {name: cell for name, cell in plan.cells.items() if name in names}


def _kept_cells(before: Mapping[str, Cell], after: Mapping[str, Cell]) -> dict[str, Cell] | None:
    """Cells of the second picture: those of the first for nodes that both have, and others between them.

    None where a row would have its nodes in another order than before.
    """
    rows: dict[int, list[str]] = {}
    for name, (_, row) in sorted(after.items(), key=lambda item: item[1][0]):
        rows.setdefault(row, []).append(name)
    found: dict[str, Cell] = {}
    for row, names in rows.items():
        kept = [name for name in names if name in before]
        columns = [before[name][0] for name in kept]
        if any(before[name][1] != row for name in kept) or columns != sorted(columns):
            return None
        gone = [c for name, (c, r) in before.items() if r == row and name not in after]
        found |= _spread(names, dict(zip(kept, columns, strict=True)), row, gone)
    return found


def _spread(names: list[str], column: Mapping[str, float], row: int, gone: list[float]) -> dict[str, Cell]:
    """A row's nodes: those with a column there, and runs of new ones evenly between, or about where others were."""
    found: dict[str, Cell] = {}
    run: list[str] = []
    last: float | None = None
    for name in [*names, None]:
        if name is not None and name not in column:
            run.append(name)
            continue
        following = None if name is None else column[name]
        for k, new in enumerate(run, start=1):
            if last is None and following is None:
                middle = sum(gone) / len(gone) if gone else 0.0
                at = middle + k - (len(run) + 1) / 2
            elif last is None:
                assert following is not None
                at = following - (len(run) + 1 - k)
            elif following is None:
                at = last + k
            else:
                at = last + k * (following - last) / (len(run) + 1)
            found[new] = (at, row)
        run = []
        if name is not None and following is not None:
            found[name], last = (following, row), following
    return found


def moved_marks(before: Scene, after: Scene) -> tuple[list[Mark], list[Mark]]:
    """The marks that only the first has, and those that only the second has."""
    names = {mark.name for mark in before.marks}, {mark.name for mark in after.marks}
    return [m for m in before.marks if m.name not in names[1]], [m for m in after.marks if m.name not in names[0]]
