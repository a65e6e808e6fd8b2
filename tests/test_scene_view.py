"""The scene under the hand, without a browser: what is sent to the page, and what comes back."""

import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
import traitlets

from workbench import Diagram, Network, Node
from workbench.diagram.scene import Scene
from workbench.widgets.scene_view import SceneView

SVG = "{http://www.w3.org/2000/svg}"


def scene(first: str = "A", second: str = "B", title: str = "") -> Scene:
    network = Network((Node(first, ("i", "j")), Node(second, ("j", "k"))), ("i", "k"), {"i": 2, "j": 3, "k": 4})
    return Diagram(network, title=title).scene


def names_drawn(view: SceneView) -> set[str]:
    return {each.get("data-name", "") for each in ET.fromstring(view.svg).iter() if each.get("data-name")}


def test_the_page_gets_the_drawing_and_the_words_for_it():
    view = SceneView(scene(title="a product"))
    assert names_drawn(view) == {"A", "B", "i", "j", "k"}
    assert view.aria.startswith("a product. ")
    assert len(view.aria) > len("a product. ")
    assert set(view.get_state()) >= {"svg", "aria", "selected", "hovered", "shifts", "highlight", "dimmed", "activated"}


def test_another_scene_is_shown_by_the_same_widget_and_what_was_done_to_it_stays():
    view = SceneView(scene())
    view.selected, view.shifts, view.highlight, view.dimmed = "A", {"A": [3.0, 4.0]}, ["B"], ["i"]
    model = view.model_id
    view.show(scene(second="C", title="another"))
    assert names_drawn(view) == {"A", "C", "i", "j", "k"}
    assert view.aria.startswith("another")
    assert (view.selected, view.shifts, view.highlight, view.dimmed) == ("A", {"A": [3.0, 4.0]}, ["B"], ["i"])
    assert view.model_id == model


def test_a_drawing_is_sent_in_one_message():
    view, sent = SceneView(scene()), []
    view.send_state = lambda key=None: sent.append(set(key))
    view.show(scene(second="C", title="another"))
    assert sent == [{"svg", "aria"}]


def test_a_name_that_is_markup_reaches_the_page_as_text():
    evil = "<img src=x onerror=alert(1)>"
    view = SceneView(scene(first=evil))
    assert evil in names_drawn(view)
    assert all(each.tag.startswith(SVG) and not each.tag.endswith("img") for each in ET.fromstring(view.svg).iter())


def test_what_comes_back_from_the_page_is_checked():
    view = SceneView(scene())
    view.set_state({"selected": "A", "selected_kind": "mark", "shifts": {"A": [1.5, -2.0]}, "activated": 1})
    assert (view.selected, view.selected_kind, view.shifts, view.activated) == ("A", "mark", {"A": [1.5, -2.0]}, 1)
    with pytest.raises(traitlets.TraitError):
        view.shifts = {"A": "far"}


def test_the_name_comes_before_the_count_that_announces_it():
    view, heard = SceneView(scene()), []
    view.observe(lambda change: heard.append((view.activated_name, view.activated_kind)), "activated")
    view.set_state({"activated": 1, "activated_name": "B", "activated_kind": "mark"})
    assert heard == [("B", "mark")]


def test_script_and_style_lie_in_the_package_and_ask_for_nothing(repository):
    folder = repository / "workbench" / "widgets"
    script, style = (folder / f"scene_view.{end}" for end in ("js", "css"))
    assert str(SceneView(scene())._esm) == script.read_text(encoding="utf-8")
    for text in (script.read_text(encoding="utf-8"), style.read_text(encoding="utf-8")):
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        for word in ("innerHTML", "import ", "eval(", "fetch("):
            assert word not in text


def test_the_headless_modules_load_no_widget_package():
    code = (
        "import sys, workbench.explore.inspect, workbench.explore.freeze; "
        "print([name for name in ('ipywidgets', 'anywidget', 'plotly', 'matplotlib') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
