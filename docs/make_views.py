"""Makes the pictures of the README: five of the workbench's views, each drawn from the numbers that its controls move.

Run `python docs/make_views.py` after a change to a view, with the names of some if not all are to be made again.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image

from workbench import CompressionLab, ExplainLab, LedgerLab, SampleExplorer, Zoom, load
from workbench.born.two_site import SweepRecipe, sweep
from workbench.explore import sample_choices
from workbench.transformer.head_scores import head_table
from workbench.transformer.probe_rows import repeat_rows
from workbench.truth.planted import planted_chain
from workbench.whole_files import replaced_file
from workbench.widgets.circuit_stills import ledger_still
from workbench.widgets.explain_still import explain_still
from workbench.widgets.sample_still import samples_still
from workbench.widgets.static import still
from workbench.widgets.zoom_still import zoom_still

FOLDER = Path(__file__).with_name("views")
LARGEST = 150_000  # bytes of a picture
WIDTH = 1400  # pixels, about twice what a page shows


def compression() -> Figure:
    """`CompressionView` after six cuts in two metrics, one matrix looked into."""
    lab = CompressionLab.from_model("pygpt", max_windows=16)
    for metric in ("plain", "input"):
        lab.decompose("svd", metric=metric)
        for kept in (0.9, 0.8, 0.6, 0.5, 0.4):
            lab.kept = kept
            lab.evaluate()
    return still(lab.frame("blocks.3.mlp.W_out"))


def zoom() -> Figure:
    """`ZoomView` on one head of a trained model."""
    zoom = Zoom(load("pygpt"), "def read_config(path):\n    with open(path) as")
    zoom.open("blocks.3.attn.head.2")
    return zoom_still(zoom.frame())


def ledger() -> Figure:
    """`LedgerView` on twenty letters that come twice, read by two layers of attention: an induction head selected."""
    model = load("attn2")
    lab = LedgerLab(model, repeat_rows(model, 64, 20, seed=3)[0])
    lab.positions = (21, 39)
    lab.selected = ".".join(map(str, head_table(model).repeats.strongest("induction", 1)[0].head))
    return ledger_still(lab.frame())


def samples() -> Figure:
    """`SampleView` on ten bits of even parity and three of its learners."""
    families, learners = sample_choices.usual_families(), sample_choices.usual_learners()
    explorer = SampleExplorer(families, learners, sizes=(16, 40, 100, 250, 600), seeds=range(5))
    for learner in ("linear code", "one pass, bond 2", "counts"):
        explorer.choose("even parity", 10, learner)
        explorer.run(progress=lambda *told: None)
    return samples_still(explorer.frames(), list(explorer.learners))


def explanations() -> Figure:
    """`ExplainView` on a chain whose neighbours depend, and two machines that learned it: two sites given."""
    source = planted_chain(12, 0.8).source
    strings = source.sample(1000, torch.Generator().manual_seed(0))
    machines = {f"sweeps, bond {bond}": sweep(strings, SweepRecipe(bond, rounds=10)).finish() for bond in (2, 16)}
    lab = ExplainLab(source, machines)
    lab.fix(2, 1)
    lab.fix(8, 0)
    return explain_still(lab.frame())


VIEWS: dict[str, Callable[[], Figure]] = {
    "compression": compression,
    "zoom": zoom,
    "ledger": ledger,
    "samples": samples,
    "explanations": explanations,
}


def picture(figure: Figure) -> bytes:
    """The figure as a PNG of 256 colours, `WIDTH` pixels wide. Raises ValueError where it is over `LARGEST` bytes."""
    drawn, stored = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, dpi=WIDTH / figure.get_figwidth(), facecolor="white")
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(stored, "PNG", optimize=True)
    if len(stored.getvalue()) > LARGEST:
        raise ValueError(f"the picture has {len(stored.getvalue()):,} bytes, over {LARGEST:,}; make it smaller.")
    return stored.getvalue()


if __name__ == "__main__":
    for name in sys.argv[1:] or VIEWS:
        made = picture(VIEWS[name]())
        with replaced_file(FOLDER / f"{name}.png") as temporary:
            temporary.write_bytes(made)
        print(f"{name}.png: {len(made):,} bytes", flush=True)
