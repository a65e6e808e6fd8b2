"""A scene under the hand: hover, pick, drag, zoom, and the same by keys."""

from pathlib import Path

import anywidget
import traitlets

from workbench.diagram.scene import Scene
from workbench.diagram.svg import svg


class SceneView(anywidget.AnyWidget):
    """A `Scene` to point at and to pick from. Built once; `show` draws another scene in its place.

    `selected` and `hovered` are the names of marks or wires ("" for none), and `selected_kind` and `hovered_kind`
    are "mark" or "wire": a leg may be called as a tensor is. Where only a name is set, a mark is meant if there is
    one. A click, Enter or space adds one to `activated`, for the mark or wire `activated_name`; `activated_by` is
    "key", "click", or "click again" where it was selected before.

    `shifts` holds how far marks were dragged, in pixels; `highlight` and `dimmed` name what to bring out and what
    to let recede. Reading order for the arrow keys: marks, then wires, by lines (left, right) or columns (up, down).
    """

    _esm = Path(__file__).with_name("scene_view.js")
    _css = Path(__file__).with_name("scene_view.css")

    svg = traitlets.Unicode("").tag(sync=True)
    aria = traitlets.Unicode("").tag(sync=True)
    selected = traitlets.Unicode("").tag(sync=True)
    selected_kind = traitlets.Unicode("").tag(sync=True)
    hovered = traitlets.Unicode("").tag(sync=True)
    hovered_kind = traitlets.Unicode("").tag(sync=True)
    activated = traitlets.Int(0).tag(sync=True)
    activated_name = traitlets.Unicode("").tag(sync=True)
    activated_kind = traitlets.Unicode("").tag(sync=True)
    activated_by = traitlets.Unicode("").tag(sync=True)
    shifts = traitlets.Dict(key_trait=traitlets.Unicode(), value_trait=traitlets.List(traitlets.Float())).tag(sync=True)
    highlight = traitlets.List(traitlets.Unicode()).tag(sync=True)
    dimmed = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, scene: Scene) -> None:
        super().__init__(svg=svg(scene, inline=True), aria=_spoken(scene))

    def show(self, scene: Scene) -> None:
        """Draws this scene instead. What was selected, dragged and brought out stays so where its name is there."""
        with self.hold_sync():
            self.svg, self.aria = svg(scene, inline=True), _spoken(scene)


def _spoken(scene: Scene) -> str:
    """The words that stand for a drawing where it is not seen."""
    return f"{scene.title or 'tensor network'}. {scene.description}".strip()
