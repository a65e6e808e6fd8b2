"""Which circuit survives a cut, under the hand: a head before and after, and the table of smallest bonds to press."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from collections.abc import Iterator
from html import escape
from itertools import groupby

import ipywidgets as widgets

from workbench.explore.circuit_change import CircuitChange
from workbench.explore.survival import SurvivalFrame, SurvivalLab
from workbench.explore.survival_table import SurvivalTable, told
from workbench.transformer.composition import Head
from workbench.transformer.head_scores import BEHAVIOURS
from workbench.widgets.cell_table import CellTable
from workbench.widgets.latest import Latest
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.small_charts import heatmap_svg, spectra_svg, spectrum_svg

_LABEL = {"description_width": "6em"}


class SurvivalView(widgets.VBox):
    """A `SurvivalLab` to look at and to move: choose a head and a matrix, drag the bond, or press a cell of the table.

    Built once; every move changes traits. Frames and the table come from threads of their own: the slider is heard
    meanwhile. The table is measured on request, a column at a time; one that is there already may be given.
    """

    def __init__(self, lab: SurvivalLab, table: SurvivalTable | None = None) -> None:
        self.lab = lab
        self._measured = table
        self._frames = Latest(self._framed, self._failed)
        self._tables = Latest(self._columns, self._failed)
        self.head = widgets.Dropdown(
            options=[(_head_told(lab, head), head) for head in lab.heads], value=lab.head, description="Head",
            style=_LABEL, layout=widgets.Layout(width="22em"),
        )  # fmt: skip
        self.matrix = widgets.Dropdown(
            options=list(lab.full_bonds), value=lab.matrix, description="Matrix", style=_LABEL,
            layout=widgets.Layout(width="22em"),
        )  # fmt: skip
        self.bond = widgets.IntSlider(
            value=lab.bond, min=1, max=lab.full_bonds[lab.matrix], description="Bond", style=_LABEL,
            layout=widgets.Layout(width="min(480px, 98%)"),
        )  # fmt: skip
        self.reset = widgets.Button(description="Reset", tooltip="The bond full again")
        self.behaviour = widgets.Dropdown(
            options=BEHAVIOURS, value=table.behaviour if table else "induction", description="Score", style=_LABEL,
            layout=widgets.Layout(width="16em"),
        )  # fmt: skip
        self.measure = widgets.Button(
            description="Measure the table", tooltip="The smallest bond of each matrix that keeps each head's score"
        )
        self.status, self.numbers = widgets.HTML(), widgets.HTML()
        self.charts = tuple(widgets.HTML() for _ in range(5))
        self.table = CellTable(corner="head, score")
        self._connect()
        wrap = widgets.Layout(flex_flow="row wrap", align_items="flex-start")
        super().__init__(
            [
                widgets.Box([self.head, self.matrix], layout=wrap),
                widgets.Box([self.bond, self.reset], layout=wrap),
                self.status,
                widgets.Box([*self.charts[:2], self.numbers], layout=wrap),
                widgets.Box(self.charts[2:], layout=wrap),
                widgets.Box([self.behaviour, self.measure], layout=wrap),
                self.table,
            ]
        )
        OwnKeys.within(self)
        self._draw(lab.frame())
        self._show_table()

    def settle(self, seconds: float | None = None) -> None:
        """Waits until the present frame is drawn and a table that was asked for is whole; for scripts and tests."""
        self._frames.settle(seconds)
        self._tables.settle(seconds)

    def _connect(self) -> None:
        self.head.observe(lambda change: self._head_chosen(change["new"]), "value")
        self.matrix.observe(lambda change: self._matrix_chosen(change["new"]), "value")
        self.bond.observe(lambda change: self._bond_moved(), "value")
        self.reset.on_click(lambda button: self._reset())
        self.measure.on_click(lambda button: self._tables.restart())
        self.table.observe(lambda change: self._pressed(), "activated")

    def _head_chosen(self, head: Head) -> None:
        self.lab.look_at(*head)
        self._moved()

    def _matrix_chosen(self, matrix: str) -> None:
        if matrix != self.lab.matrix:
            self.lab.cut(matrix)
        self._place_slider()

    def _bond_moved(self) -> None:
        if self.bond.value != self.lab.bond:
            self.lab.cut(self.lab.matrix, self.bond.value)
            self._moved()

    def _reset(self) -> None:
        self.lab.cut(self.lab.matrix)
        self._place_slider()

    def _pressed(self) -> None:
        """The head and matrix of a cell, cut to the smallest bond that keeps the score where there is one."""
        if self._measured is None:
            return
        row, column = self.table.activated_cell
        head, matrix = self._measured.heads[row], self._measured.matrices[column]
        self.lab.look_at(*head)
        self.lab.cut(matrix, self._measured.bond(head, matrix))
        self.head.value, self.matrix.value = head, matrix
        self._place_slider()

    def _place_slider(self) -> None:
        """The slider takes the matrix's own range and the lab's bond; it moves nothing, since that is set already."""
        full, bond = self.lab.full_bonds[self.lab.matrix], self.lab.bond
        self.bond.max = max(self.bond.max, full)
        self.bond.value = bond
        self.bond.max = full
        self._moved()

    def _moved(self) -> None:
        self.status.value = ""
        self._mark()
        self._frames.restart()

    def _framed(self) -> Iterator[None]:
        frame = self.lab.frame()
        yield  # a newer move ends it here
        self._draw(frame)

    def _columns(self) -> Iterator[None]:
        self.measure.disabled = True
        try:
            for table in self.lab.tables(self.behaviour.value):
                self._measured = table
                self._show_table()
                yield
        finally:
            self.measure.disabled = False

    def _failed(self, error: BaseException) -> None:
        self.status.value = f'<span role="alert">{escape(type(error).__name__)}: {escape(str(error))}</span>'

    def _draw(self, frame: SurvivalFrame) -> None:
        # The first query attends to itself alone, with 1: both heatmaps have the same colours.
        drawn = [
            _titled(f"{when} the cut", heatmap_svg(pattern.tolist(), "query", "key"))
            for when, pattern in (("before", frame.pattern), ("after", frame.pattern_after))
        ]
        drawn += [
            _titled(f"{change.name}{_turned(change)}", spectra_svg(change.before, change.after))
            for change in (frame.qk, frame.ov)
        ]
        drawn.append(_titled(_cut_told(frame), spectrum_svg(frame.spectrum, frame.kept)))
        for chart, svg in zip(self.charts, drawn, strict=True):
            chart.value = svg
        self.numbers.value = _numbers(frame)

    def _show_table(self) -> None:
        """What is measured so far, in one update."""
        table = self._measured
        with self.table.hold_sync():
            if table is None:
                self.table.caption = "Not measured yet: the smallest bond of each matrix that keeps each head's score."
            else:
                self.table.caption = _caption(table)
                self.table.groups = [
                    {"label": place, "span": len(list(own))} for place, own in groupby(table.matrices, key=_place_told)
                ]
                self.table.columns = [
                    {"label": matrix.rsplit(".", 1)[1], "note": str(full), "title": f"{matrix}, full bond {full}"}
                    for matrix, full in zip(table.matrices, table.full_bonds, strict=True)
                ]
                self.table.rows = [_row(table, head) for head in table.heads]
                self.table.cells = [[_cell(table, head, matrix) for matrix in table.matrices] for head in table.heads]
        self._mark()

    def _mark(self) -> None:
        table, lab = self._measured, self.lab
        if table is None or lab.matrix not in table.matrices:
            self.table.selected = []
        else:
            self.table.selected = [table.heads.index(lab.head), table.matrices.index(lab.matrix)]


def _place_told(matrix: str) -> str:
    """Where a matrix stands: `block 3`, or `embed` of the token table."""
    place, rest = matrix.split(".", 1)
    return f"block {rest.split('.')[0]}" if place == "blocks" else place


def _head_told(lab: SurvivalLab, head: Head) -> str:
    place = lab.heads.index(head)
    best = max(BEHAVIOURS, key=lambda behaviour: float(lab.scores.of(behaviour)[place]))
    return f"{told(head)}: {best} {float(lab.scores.of(best)[place]):.2f}"


def _titled(title: str, svg: str) -> str:
    return f"<div style='margin-right:1em'><div style='line-height:1.4'>{title}</div>{svg}</div>"


def _turned(change: CircuitChange) -> str:
    """The angles, beneath the circuit's name."""
    told = f"cosines: {'; '.join(change.cosines)}"
    return f", rank {len(change.before)} → {len(change.after)}<br><small>{told}</small>"


def _cut_told(frame: SurvivalFrame) -> str:
    return f"{escape(frame.matrix)}<br><small>bond {frame.bond} of {frame.full_bond}</small>"


def _numbers(frame: SurvivalFrame) -> str:
    rows = [("", "before", "after")]
    rows += [(name, f"{before:.3f}", f"{after:.3f}") for name, before, after in frame.numbers]
    cells = "".join(
        f"<tr><td>{escape(what)}</td>"
        + "".join(f"<td style='text-align:right;padding-left:1em'>{value}</td>" for value in values)
        + "</tr>"
        for what, *values in rows
    )
    note = "" if frame.shapes_pattern else "<br>the head's pattern does not depend on this matrix"
    return (
        f'<div role="status" aria-live="polite" style="line-height:1.4"><b>head {told(frame.head)}</b>, '
        f"{escape(frame.matrix)} cut to {frame.bond} of {frame.full_bond}<br>{escape(frame.cut)}, "
        f"{frame.weight_lost:.2%} of its weight lost{note}<table>{cells}</table>"
        f"means over {frame.n_rows} rows of {frame.period} tokens twice</div>"
    )


def _caption(table: SurvivalTable) -> str:
    first, *_, last = str(table).split("\n")
    return f"{first}. {last}."


def _row(table: SurvivalTable, head: Head) -> dict:
    score = table.scores[table.heads.index(head)]
    faint = table.keeps_nothing(head)
    title = f"head {told(head)}: {table.behaviour} score {score:.3f}" + (", near chance" if faint else "")
    return {"label": told(head), "note": f"{score:.2f}", "title": title, "faint": faint}


def _cell(table: SurvivalTable, head: Head, matrix: str) -> dict:
    bond, full = table.bond(head, matrix), table.full_bonds[table.matrices.index(matrix)]
    if bond is not None:
        title = f"head {told(head)}, {matrix}: keeps its score down to bond {bond} of {full}"
        return {"text": str(bond), "title": title, "share": bond / full}
    why = "has no score to keep" if table.keeps_nothing(head) else "does not depend on it"
    return {"text": "–", "title": f"head {told(head)}, {matrix}: the head {why}"}
