"""Letters typed in a menu or on a button of any view stay there: JupyterLab takes none of them for its cells."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

SETUP = """\
import torch
from workbench import CutLab, CutView, Diagram, ExplainLab, ExplainView, FreezeLab, FreezeView, LedgerLab, LedgerView
from workbench import ProofLab, ProofView
from workbench import SurvivalLab, SurvivalView, TensorTrain, Theatre, TheatreView, Zoom, ZoomView
from workbench import induction_by_hand, load, view
from workbench.truth.parity import even_parity
hand, tokens = induction_by_hand(), torch.tensor([0, 3, 1, 2, 3, 1, 2])
chain = Diagram.from_einsum("ij,jk,kl->il", A=torch.ones(2, 3), B=torch.ones(3, 4), C=torch.ones(4, 5))"""
VIEWS = {
    "theatre": "TheatreView(Theatre(chain))",
    "cut": "CutView(CutLab(TensorTrain.from_dense(torch.randn(3, 4, 5))))",
    "explain": "ExplainView(ExplainLab(even_parity(3), {'same': even_parity(3)}))",
    "freeze": "FreezeView(FreezeLab(view(hand, 'blocks.1', tokens)))",
    "proof": "ProofView(ProofLab(chain))",
    "ledger": "LedgerView(LedgerLab(hand, tokens))",
    "survival": "SurvivalView(SurvivalLab('attn2', n_rows=2))",
    "zoom": "ZoomView(Zoom(hand, tokens))",
}


def test_no_key_that_is_pressed_in_a_view_adds_cuts_or_changes_a_cell(lab, open_notebook):
    lab.write_notebook("keys.ipynb", SETUP, *VIEWS.values())
    page: Page = open_notebook("keys.ipynb")
    page.set_default_timeout(20_000)
    cells = page.locator(".jp-Notebook .jp-Cell")
    expect(cells).to_have_count(1 + len(VIEWS))
    outputs = page.locator(".jp-Cell:has(.widget-vbox)")
    expect(outputs).to_have_count(len(VIEWS))
    for number, name in enumerate(VIEWS):
        control = outputs.nth(number).locator("select:enabled:visible, button.jupyter-button:enabled:visible").first
        control.scroll_into_view_if_needed()
        control.focus()
        for key in ("b", "a", "m", "d", "d"):  # a cell below, above, turned to text, cut
            page.keyboard.press(key)
        page.wait_for_timeout(200)
        assert cells.count() == 1 + len(VIEWS), f"a key in the {name} view changed the notebook"
        assert page.locator(".jp-MarkdownCell").count() == 0, f"a key in the {name} view turned a cell to text"
