"""A table whose cells can be pressed, by hand or by key."""

from pathlib import Path

import anywidget
import traitlets


class CellTable(anywidget.AnyWidget):
    """Rows and columns of cells that are buttons. Built once; the traits change.

    `groups` stand above the columns (`label`, `span`), `columns` and `rows` are words (`label`, `note`, `title`), and
    `cells` by row and column (`text`, `title`, `share`: the length of a bar beneath, 0 to 1). `selected` is the row and
    column that is marked, or empty. A press, Enter or space adds one to `activated`, for the cell `activated_cell`;
    the arrow keys go from cell to cell.
    """

    _esm = Path(__file__).with_name("cell_table.js")
    _css = Path(__file__).with_name("cell_table.css")

    caption = traitlets.Unicode("").tag(sync=True)
    corner = traitlets.Unicode("").tag(sync=True)
    groups = traitlets.List(traitlets.Dict()).tag(sync=True)
    columns = traitlets.List(traitlets.Dict()).tag(sync=True)
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    cells = traitlets.List(traitlets.List(traitlets.Dict())).tag(sync=True)
    selected = traitlets.List(traitlets.Int()).tag(sync=True)
    activated = traitlets.Int(0).tag(sync=True)
    activated_cell = traitlets.List(traitlets.Int()).tag(sync=True)
