"""The bond slider on the diagram: pick a bond, drag its size; the line thins, and the numbers follow."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from html import escape

import ipywidgets as widgets

from workbench.explore.cut import CutFrame, CutLab
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.scene_view import SceneView
from workbench.widgets.small_charts import spectrum_svg

_LABEL = {"description_width": "6em"}


class CutView(widgets.VBox):
    """A `CutLab` to look at and to move. Click a bond of the diagram, or choose it by name, and move its size."""

    def __init__(self, lab: CutLab) -> None:
        self.lab = lab
        frame = lab.frame()
        self.scene = SceneView(frame.scene)
        self.bond = widgets.Dropdown(
            options=list(frame.bonds), value=frame.selected, description="Bond", style=_LABEL,
            layout=widgets.Layout(width="14em"),
        )  # fmt: skip
        self.size = widgets.IntSlider(
            value=frame.cut, min=1, max=frame.full_bonds[frame.selected], description="Size", style=_LABEL,
            layout=widgets.Layout(width="min(480px, 98%)"),
        )  # fmt: skip
        self.reset = widgets.Button(description="Reset", tooltip="Every bond full again")
        self.numbers, self.spectrum = widgets.HTML(), widgets.HTML()
        self.bond.observe(lambda change: self._selected(change["new"]), "value")
        self.size.observe(lambda change: self._moved(), "value")
        self.reset.on_click(lambda button: self._reset())
        self.scene.observe(lambda change: self._clicked(), "activated")
        row = widgets.Box([self.bond, self.size, self.reset], layout=widgets.Layout(flex_flow="row wrap"))
        below = widgets.Box([self.spectrum, self.numbers], layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([row, self.scene, below])
        OwnKeys.within(self)
        self._draw()

    def _clicked(self) -> None:
        if self.scene.activated_kind == "wire" and self.scene.activated_name in self.lab.bonds:
            self.bond.value = self.scene.activated_name

    def _selected(self, leg: str) -> None:
        self.lab.select(leg)
        # The slider takes the bond's own range and size; it moves nothing, since the bond is chosen already.
        self.size.max = max(self.size.max, self.lab.full_bonds[leg])
        self.size.value = self.lab.bonds[leg]
        self.size.max = self.lab.full_bonds[leg]
        self._draw()

    def _moved(self) -> None:
        self.lab.cut(self.lab.selected, self.size.value)
        self._draw()

    def _reset(self) -> None:
        for leg, full in self.lab.full_bonds.items():
            self.lab.cut(leg, full)
        self._selected(self.lab.selected)

    def _draw(self) -> None:
        frame = self.lab.frame()
        self.scene.show(frame.scene)
        self.scene.highlight = [frame.selected]
        self.numbers.value = _told(frame)
        self.spectrum.value = spectrum_svg(frame.spectrum, frame.cut)


def _told(frame: CutFrame) -> str:
    rows = [
        (f"bond {frame.selected}", f"{frame.cut} of {frame.full_bonds[frame.selected]}"),
        ("discarded weight there", f"{frame.discarded_weight:.3g}"),
        ("error there", f"{frame.error:.4g}"),
        ("error of all cuts, at most", f"{frame.bound:.4g}"),
        ("error of all cuts, measured", "not measured" if frame.measured is None else f"{frame.measured:.4g}"),
        ("numbers stored", f"{frame.n_params:,} of {frame.full_n_params:,} uncut"),
        ("numbers of the dense tensor", f"{frame.dense_n_params:,}"),
    ]
    if frame.effect is not None:
        rows.append((frame.effect_name, f"{frame.effect:.4g}"))
    cells = "".join(
        f"<tr><td>{escape(what)}</td><td style='text-align:right'>{value}</td></tr>" for what, value in rows
    )
    return f'<div role="status"><table>{cells}</table></div>'
