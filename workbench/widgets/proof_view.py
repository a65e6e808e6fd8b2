"""Proof mode under the hand: choose a rewrite, see both sides, and the number it is true to."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from collections.abc import Callable
from html import escape
from pathlib import Path

import ipywidgets as widgets

from workbench.explore.proving import ProofFrame, ProofLab
from workbench.rewrite.isometries import SplitSVD
from workbench.widgets.attempt import attempted
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.scene_view import SceneView

_LABEL = {"description_width": "6em"}


class ProofView(widgets.VBox):
    """A `ProofLab` to look at and to move. Pick a tensor in the lower drawing to see the rewrites that name it."""

    def __init__(self, lab: ProofLab) -> None:
        self.lab = lab
        frame = lab.frame()
        self.before, self.after = SceneView(frame.before), SceneView(frame.after)
        self.rewrite = widgets.Dropdown(
            description="Rewrite", style=_LABEL, layout=widgets.Layout(width="min(480px, 98%)")
        )
        self.bond = widgets.IntText(
            value=0, description="Bond (0: full)", style={"description_width": "7em"},
            layout=widgets.Layout(width="13em", display="none"),
        )  # fmt: skip
        self.apply = widgets.Button(
            description="Apply", button_style="primary", tooltip="Take this step, if it is true"
        )
        self.undo = widgets.Button(description="Undo", tooltip="Take back the last step")
        self.path = widgets.Text(
            value="proof.json", description="File", style=_LABEL, layout=widgets.Layout(width="22em")
        )
        self.save = widgets.Button(description="Save", tooltip="Write the steps as JSON")
        self.load = widgets.Button(description="Replay", tooltip="Take the steps of the file, and measure them again")
        self.lines, self.status = widgets.HTML(), widgets.HTML()
        self.rewrite.observe(lambda change: self._chosen(), "value")
        self.after.observe(lambda change: self._offer(), "selected")
        self.apply.on_click(lambda button: self._do(self._applied))
        self.undo.on_click(lambda button: self._do(lab.undo))
        self.save.on_click(lambda button: self._do(self._saved))
        self.load.on_click(lambda button: self._do(lambda: lab.replay(self.path.value)))
        wrap = widgets.Layout(flex_flow="row wrap")
        top = widgets.Box([self.rewrite, self.bond, self.apply, self.undo], layout=wrap)
        files = widgets.Box([self.path, self.save, self.load], layout=wrap)
        super().__init__([top, self.status, self.before, self.after, self.lines, files])
        OwnKeys.within(self)
        self._draw()

    def _do(self, action: Callable[[], None]) -> None:
        """Does it and draws what came of it; what cannot be done is said, and changes nothing."""
        attempted(self.status, action)
        self._draw()

    def _applied(self) -> None:
        rewrite = self.rewrite.value
        if rewrite is not None:
            cut = isinstance(rewrite, SplitSVD) and self.bond.value > 0  # the field is hidden for all others
            self.lab.apply(rewrite, self.bond.value if cut else None)

    def _saved(self) -> None:
        self.lab.save(self.path.value)
        self.status.value = (
            f'<span role="status">{len(self.lab.proof.steps)} steps in {escape(str(Path(self.path.value)))}</span>'
        )

    def _chosen(self) -> None:
        self.bond.layout.display = "flex" if isinstance(self.rewrite.value, SplitSVD) else "none"

    def _offer(self) -> None:
        """The rewrites there are; with a tensor picked, those that name it."""
        picked = self.after.selected
        options = self.lab.options()
        named = [rewrite for rewrite in options if picked in str(rewrite).split()]
        self.rewrite.options = [(str(rewrite), rewrite) for rewrite in named or options]
        if self.rewrite.options and self.rewrite.index is None:  # a menu that was empty chooses nothing by itself
            self.rewrite.index = 0

    def _draw(self) -> None:
        frame = self.lab.frame()
        self.before.show(frame.before)
        self.after.show(frame.after)
        self.before.highlight, self.after.highlight = list(frame.gone), list(frame.new)
        self.before.layout.display = "none" if not frame.lines else ""
        self.undo.disabled = not frame.lines
        self.lines.value = _told(frame)
        if frame.refused:
            self.status.value = f'<span role="alert">refused: {escape(frame.refused)}</span>'
        self._offer()
        self._chosen()


def _told(frame: ProofFrame) -> str:
    if not frame.lines:
        return '<div role="status">no step yet</div>'
    lines = "".join(f"<li>{escape(line)}</li>" for line in frame.lines)
    return (
        f'<div role="status">above {frame.sign} below, largest relative error {frame.error:.2g}; '
        f"from first to last {frame.total_error:.2g}</div><ol>{lines}</ol>"
    )
