"""A diagram whose bubbles are frozen and let go by hand, with the number that says whether it is linear then."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from html import escape

import ipywidgets as widgets

from workbench.diagram.scene import Mark
from workbench.explore.freeze import FreezeLab
from workbench.explore.inspect import picked, value_at
from workbench.program import Apply
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.scene_view import SceneView

_WIDE = widgets.Layout(width="min(460px, 98%)")
_LABEL = {"description_width": "9em"}


class FreezeView(widgets.VBox):
    """A `FreezeLab` to look at and to move: a button for each bubble, or a click on the bubble itself.

    A frozen bubble is drawn as a plain node; a click on that lets it go. Built once; every move changes traits.
    """

    def __init__(self, lab: FreezeLab) -> None:
        self.lab = lab
        self._scene = lab.diagram.scene
        self.scene_view = SceneView(self._scene)
        label_of = {step.out: step.label for step in lab.whole.program.steps if isinstance(step, Apply)}
        self.buttons = {
            name: widgets.ToggleButton(
                value=name in lab.frozen, layout=widgets.Layout(width="auto"), tooltip=f"Hold {name} as it is now"
            )
            for name in lab.bubbles
        }
        self._label_of = label_of
        self.varied = widgets.Dropdown(
            options=lab.inputs, value=lab.varied, description="Input to move", layout=_WIDE, style=_LABEL
        )
        self.scale = widgets.FloatLogSlider(
            value=1.0, base=10, min=-2, max=1, step=0.25, description="Moved by", readout_format=".2g",
            layout=_WIDE, style=_LABEL,
        )  # fmt: skip
        self.numbers = widgets.HTML()
        for button in self.buttons.values():
            button.observe(self._pressed, "value")
        self.varied.observe(self._varied_chosen, "value")
        self.scale.observe(lambda change: self._tell(), "value")
        self.scene_view.observe(self._activated, "activated")
        row = widgets.Box(list(self.buttons.values()), layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([row, self.varied, self.scale, self.scene_view, self.numbers])
        OwnKeys.within(self)
        self._name_buttons()
        self._tell()

    def _pressed(self, change: dict) -> None:
        name = next(name for name, button in self.buttons.items() if button is change["owner"])
        if (name in self.lab.frozen) != change["new"]:
            self.lab.toggle(name)
            self._show(name)

    def _activated(self, change: dict) -> None:
        mark = picked(self._scene, self.scene_view.activated_name, self.scene_view.activated_kind)
        name = value_at(mark) if isinstance(mark, Mark) else ""
        if name in self.buttons:
            self.buttons[name].value = not self.buttons[name].value

    def _varied_chosen(self, change: dict) -> None:
        self.lab.varied = change["new"]
        self._tell()

    def _show(self, toggled: str) -> None:
        """The present diagram. Where the bubble was selected, or the node in its place, what is there now is."""
        scene, view = self.lab.diagram.scene, self.scene_view
        was = picked(self._scene, view.selected, view.selected_kind)
        now = next((mark.name for mark in scene.marks if value_at(mark) == toggled), "")
        self._scene = scene
        with view.hold_sync():
            view.show(scene)
            if isinstance(was, Mark) and value_at(was) == toggled:
                view.selected = now
        self._name_buttons()
        self._tell()

    def _name_buttons(self) -> None:
        for name, button in self.buttons.items():
            state = "frozen" if name in self.lab.frozen else "live"
            button.description = f"{self._label_of[name]} → {name}: {state}"

    def _tell(self) -> None:
        first, verdict, *more = escape(str(self.lab.frame(self.scale.value))).split("\n")
        told = "<br>".join([first, f"<b>{verdict}</b>", *more])
        self.numbers.value = f"<div role='status' aria-live='polite' style='line-height:1.45'>{told}</div>"
