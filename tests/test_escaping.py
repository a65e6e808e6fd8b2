"""Names, tokens, symbols and prompts that are markup stay text: in every view, drawing, figure and formula."""

import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree

import anywidget
import hostile
import ipywidgets as widgets
import plotly.graph_objects as go
import pytest
from hostile import EVIL
from matplotlib.figure import Figure

from workbench import Limit
from workbench.diagram.hovered import as_written
from workbench.diagram.tikz import tikz
from workbench.widgets.circuit_stills import ledger_still, survival_still
from workbench.widgets.explain_still import explain_still
from workbench.widgets.formats_still import formats_still
from workbench.widgets.passages import _passage
from workbench.widgets.sample_still import samples_still
from workbench.widgets.static import still
from workbench.widgets.stills import cut_still, freeze_still, inspector_still, proof_still, theatre_still
from workbench.widgets.token_charts import next_tokens_html, pattern_svg
from workbench.widgets.zoom_still import zoom_still

TAGS = {
    "b", "br", "caption", "code", "desc", "details", "div", "g", "circle", "path", "polygon", "pre", "rect", "small",
    "span", "style", "summary", "svg", "table", "tbody", "td", "text", "th", "thead", "title", "tr", "tspan", "li",
    "ol",
}  # fmt: skip


class _Seen(HTMLParser):
    """The elements, attributes and words that a page would make of a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


def check_text(html: str) -> str:
    """The words of an HTML text, once it is seen that no element or attribute came of a name."""
    seen = _Seen(html)
    assert seen.tags <= TAGS, seen.tags - TAGS
    assert not [name for name in seen.attributes if name.startswith("on")]
    return seen.words


def strings(value: object) -> Iterator[str]:
    """All strings within what a figure is sent as."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for own in value.values():
            yield from strings(own)
    elif isinstance(value, list | tuple):
        for own in value:
            yield from strings(own)


def shown(widget: widgets.Widget) -> str:
    """What a widget would show, once nothing in it acts."""
    if isinstance(widget, widgets.HTML | widgets.HTMLMath):
        return check_text(widget.value)
    if isinstance(widget, go.FigureWidget):
        found = list(strings(widget.to_dict()))
        assert not [own for own in found if "<img" in own or "$" in own]
        return " ".join(found)
    if isinstance(widget, anywidget.AnyWidget):
        state = {name: value for name, value in widget.get_state().items() if not name.startswith("_")}
        drawings = [own for own in strings(state) if own.startswith("<svg")]
        for drawing in drawings:
            tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(drawing).iter()}
            assert tags <= TAGS, tags - TAGS
        return " ".join(strings(state))
    texts = {"description", "tooltip", "placeholder", "value", "options"}  # ipywidgets sets these as text
    assert not getattr(widget, "description_allow_html", False)
    return " ".join(own for name in texts if widget.has_trait(name) for own in strings(getattr(widget, name)))


@pytest.mark.parametrize("name", hostile.VIEWS)
def test_nothing_acts_in_a_view_of_hostile_names_and_they_are_there_as_text(name):
    view = hostile.VIEWS[name]()
    told = " ".join(shown(part) for part in hostile.parts(view))
    assert ("hacked" in told) == (name != "SurvivalView")  # which says no name but those of heads and matrices


def test_a_drawing_of_hostile_names_is_what_it_was_in_every_output():
    diagram = hostile.program()
    bundle = diagram._repr_mimebundle_()
    assert EVIL in check_text(bundle["text/html"])
    assert EVIL in " ".join(ElementTree.fromstring(bundle["image/svg+xml"]).itertext())
    assert EVIL in check_text((diagram == diagram)._repr_mimebundle_()["text/html"])
    for figure in (diagram.plotly(), hostile.diagram().plotly()):
        assert not [own for own in strings(figure.to_dict()) if re.search(r"<(?!/?(i|sub)>)|\$|%\{", own)]
    drawn = tikz(diagram.scene)
    assert r"\frac" not in drawn
    assert not re.search(r"(?<!\\)%", drawn)
    assert r"\frac" not in diagram.formula()
    diagram.matplotlib().figure.savefig(io.BytesIO(), format="png")


def test_text_for_plotly_has_no_tag_no_formula_and_no_template():
    assert as_written("a&b <b>$x$ %{y}</b>") == "a&amp;b &lt;b&gt;&#36;x&#36; &#37;{y}&lt;/b&gt;"
    assert as_written("'0.0' → \"1.0\"") == "'0.0' → \"1.0\""


def test_tokens_and_passages_stay_text():
    from workbench.explore.predictions import NextTokens

    rows = [NextTokens(EVIL, ((EVIL, 0.5), ("b", 0.25)))]
    assert "<img" in check_text(next_tokens_html(rows))
    assert "<img" in check_text(pattern_svg([[1.0]], [EVIL]))
    assert check_text(_passage(EVIL, EVIL, EVIL)) == 3 * EVIL


STILLS = {
    "CompressionView": lambda view: still(view.lab.frame()),
    "CutView": lambda view: cut_still(view.lab.frame()),
    "ExplainView": lambda view: explain_still(view.lab.frame()),
    "FormatsView": lambda view: formats_still(view.lab.frame(0.5)),
    "FreezeView": lambda view: freeze_still(view.lab.diagram, view.lab.frame()),
    "Inspector": lambda view: inspector_still(view.diagram, view.frame(f"A{EVIL}")),
    "LedgerView": lambda view: ledger_still(view.lab.frame()),
    "ProofView": lambda view: proof_still(view.lab.frame()),
    "SampleView": lambda view: samples_still(view.explorer.frames()),
    "SurvivalView": lambda view: survival_still(view.lab.frame()),
    "TheatreView": lambda view: theatre_still(view.theatre.frame()),
    "ZoomView": lambda view: zoom_still(view.zoom.frame()),
}


@pytest.mark.parametrize("name", STILLS)
def test_a_printed_twin_takes_a_name_for_no_formula(name):
    figure: Figure = STILLS[name](hostile.VIEWS[name]())
    figure.savefig(io.BytesIO(), format="png")  # a formula that cannot be read raises here


def test_the_lines_of_code_of_a_setting_hold_its_names_as_strings(monkeypatch):
    view = hostile.compression_view()
    view.lab.keep(Limit(kept=0.4), "*.W_in")
    lines = compile(view.lab.code(), "code", "exec")
    assert EVIL in lines.co_consts
