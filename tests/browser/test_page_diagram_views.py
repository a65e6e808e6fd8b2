"""The theatre, the bond slider and proof mode in JupyterLab: a hand on the drawing, and every linked view moves."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

SETUP = """\
import torch
from workbench import Diagram, TensorTrain
from workbench.explore.cut import CutLab
from workbench.explore.proving import ProofLab
from workbench.explore.theatre import Theatre
from workbench.widgets.cut_view import CutView
from workbench.widgets.proof_view import ProofView
from workbench.widgets.theatre_view import TheatreView
generator = torch.Generator().manual_seed(0)
random = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)
chain = Diagram.from_einsum("ij,jk,kl,l->i", A=random(2, 3), B=random(3, 4), C=random(4, 5), v=random(5))"""


def wire(page: Page, leg: str):
    return page.locator(f'.tn-wire[data-name="{leg}"]').last


def marks(page: Page) -> list[str]:
    return page.locator(".tn-mark").evaluate_all("(marks) => marks.map((mark) => mark.dataset.name)")


def on_line(page: Page, leg: str) -> tuple[float, float]:
    """A point of the page on the middle of a wire."""
    return tuple(
        wire(page, leg).evaluate(
            """(path) => {
              const point = path.getPointAtLength(path.getTotalLength() / 2);
              const at = new DOMPoint(point.x, point.y).matrixTransform(path.getScreenCTM());
              return [at.x, at.y];
            }"""
        )
    )


def test_the_theatre_steps_by_its_slider_and_plays_clicked_bonds(lab, open_notebook):
    lab.write_notebook("theatre.ipynb", SETUP, "view = TheatreView(Theatre(chain))\nview")
    page = open_notebook("theatre.ipynb")
    expect(page.get_by_role("status").filter(has_text="step 0 of 3")).to_be_visible()
    assert set(marks(page)) == {"A", "B", "C", "v"}
    page.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("status").filter(has_text="merged C and v")).to_be_visible()
    expect(page.locator('.tn-mark[data-name="#1"]')).to_be_visible()
    assert set(marks(page)) == {"A", "B", "#1"}
    page.mouse.click(*on_line(page, "j"))
    expect(page.get_by_role("status").filter(has_text="merged A and B")).to_be_visible()
    assert set(marks(page)) == {"#1", "C", "v"}
    page.get_by_role("button", name="Take back").click()
    expect(page.get_by_role("status").filter(has_text="step 0 of 0")).to_be_visible()


def test_a_bond_is_clicked_and_its_slider_thins_the_line(lab, open_notebook):
    lab.write_notebook("cut.ipynb", SETUP, "view = CutView(CutLab(TensorTrain.from_dense(random(4, 5, 6))))\nview")
    page = open_notebook("cut.ipynb")
    expect(page.get_by_role("status").filter(has_text="bond a1")).to_be_visible()
    page.mouse.click(*on_line(page, "a2"))
    expect(page.get_by_role("status").filter(has_text="bond a2")).to_be_visible()
    thick = float(wire(page, "a2").get_attribute("stroke-width"))
    page.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("status").filter(has_text="5 of 6")).to_be_visible()
    page.wait_for_function(
        """(thick) => {
          const wires = document.querySelectorAll('.tn-wire[data-name="a2"]');
          return +wires[wires.length - 1].getAttribute("stroke-width") < thick;
        }""",
        arg=thick,
    )


def test_a_proof_shows_both_sides_and_refuses_with_a_number(lab, open_notebook):
    cut = (
        "from workbench import Apply, Contract, Network, Program\n"
        "steps = (Contract('scores', Network.from_einsum('td,sd->ts', ['Q', 'K'])),\n"
        "    Apply('pattern', 'softmax', torch.nn.Softmax(dim=-1), ('scores',), ('t', 's')),\n"
        "    Contract('out', Network.from_einsum('ts,sr->tr', ['pattern', 'M'])))\n"
        "program = Program({'Q': ('t', 'd'), 'K': ('s', 'd'), 'M': ('s', 'r')}, steps)\n"
        "arrays = {'Q': random(4, 3), 'K': random(4, 3), 'M': random(4, 4)}\n"
        "view = ProofView(ProofLab(Diagram(program, arrays)))\nview"
    )
    lab.write_notebook("proof.ipynb", SETUP, cut)
    page = open_notebook("proof.ipynb")
    menu = page.get_by_role("combobox", name="Rewrite")
    menu.select_option(label="move out through pattern")
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="is untrue: it changes 'out' by")).to_be_visible()
    menu.select_option(label="insert G G⁻¹ on s")
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="above = below")).to_be_visible()
