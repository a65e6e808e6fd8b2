"""Our drawings beside quimb's, their numbers beside torch's, and how fast they are: data/results/diagrams.json, .png.

Run by `make bench` or by itself: `python benchmarks/diagrams.py`. The machine should do nothing else meanwhile; a time
is the lower of the medians of two rounds.
"""

import io
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import matplotlib
import torch
from drawings import HOW, Peer, by_kind, counted, drawn_box
from matplotlib import pyplot
from matplotlib.figure import Figure
from pieces import Piece, ladder, overview, pieces, transformer_block
from redraw import redraw_milliseconds

from workbench import Diagram, Layout, TensorTrain
from workbench.diagram.defects import defects
from workbench.diagram.printed import printed
from workbench.diagram.scene import Scene
from workbench.rounding import largest_relative_error
from workbench.whole_files import replaced_file, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "data" / "results"
GALLERY = ROOT / "docs" / "gallery.md"
TARGETS = {torch.float64: 1e-10, torch.float32: 1e-5}
Row = dict[str, object]


def row(what: str, measured: float, target: float, unit: str, least: bool = False, **more: object) -> Row:
    """One result; `least` if the target is a lower limit."""
    reached = measured >= target if least else measured <= target
    return {"what": what, "measured": measured, "target": target, "unit": unit, "reached": reached} | more


def lower_median(*calls: Callable[[], object], repeats: int = 5) -> list[float]:
    """The seconds of each call, called in turn: the median of the repeats, in the better of two rounds."""
    medians: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(2):
        times: list[list[float]] = [[] for _ in calls]
        for _ in range(repeats):
            for call, own in zip(calls, times, strict=True):
                start = time.perf_counter()
                call()
                own.append(time.perf_counter() - start)
        for found, own in zip(medians, times, strict=True):
            found.append(statistics.median(own))
    return [min(found) for found in medians]


def drawn(piece: Piece) -> Iterator[tuple[str, Scene, Figure]]:
    """Every setting in which the piece is drawn, its scene, and the figure it was drawn as."""
    yield "workbench", piece.diagram.scene, printed(piece.diagram.scene)
    by_hand = replace(piece.diagram, layout=piece.layout).scene if piece.layout.cells else piece.diagram.scene
    if (by_hand.marks, by_hand.wires) != (piece.diagram.scene.marks, piece.diagram.scene.wires):
        yield "workbench, placed", by_hand, printed(by_hand)
    for setting, fix in (("quimb", {}), ("quimb, placed", piece.fix)):
        peer = Peer.of(piece.diagram.subject, piece.diagram.arrays, fix)
        figure = peer.figure()
        yield setting, peer.scene(figure), figure
        pyplot.close(figure)


def side_by_side() -> tuple[list[Row], list[dict[str, object]]]:
    """The counters of every piece in every setting; draws the picture too."""
    found, panels = [], []
    for piece in pieces():
        nodes = piece.diagram.subject.nodes
        entry = {
            "piece": piece.name,
            "roles": len({node.form for node in nodes}) + bool(piece.diagram.subject.spectators),
        }
        for setting, scene, figure in drawn(piece):
            entry[setting] = counted(scene, piece.chains)
            entry[setting]["empty_cropped"] = _empty_cropped(scene, figure) if "quimb" in setting else None
            panels.append((piece.name, setting, entry[setting]["faults"], _pixels(figure)))
        found.append(entry)
    _picture(panels)
    rows = []
    for ours, theirs in (("workbench", "quimb"), ("workbench, placed", "quimb, placed")):
        total = {name: sum(own.get(name, own["workbench"])["faults"] for own in found) for name in (ours, theirs)}
        given = "placed by hand" if "placed" in ours else "nothing given"
        rows.append(row(f"faults in six drawings, {given}", total[ours], 0, "faults", quimb=total[theirs]))
    for what, counter, join, target, unit, least in (
        ("largest bend of a chain", "bend", max, 0.001, "of its length", False),
        ("largest angle between rungs", "rung_angle", max, 1.0, "degrees", False),
        ("pieces in site order", "order_kept", sum, len(found), "pieces", True),
    ):
        value = {name: join(own[name][counter] or 0 for own in found) for name in ("workbench", "quimb")}
        rows.append(row(f"{what}, nothing given", value["workbench"], target, unit, least, quimb=value["quimb"]))
    return rows, found


def _empty_cropped(scene: Scene, figure: Figure) -> float:
    tight = figure.get_tightbbox(figure.canvas.get_renderer()).padded(0.1)
    left, top, right, bottom = drawn_box(scene)
    return max(0.0, 1 - (right - left) * (bottom - top) / (tight.width * tight.height * figure.dpi**2))


def _pixels(figure: Figure) -> object:
    """The figure as Jupyter shows it: cropped."""
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=110, bbox_inches="tight", pad_inches=0.1, facecolor="white")
    held.seek(0)
    return pyplot.imread(held)


def _picture(panels: list[tuple[str, str, int, object]]) -> None:
    """A row for each piece: ours, quimb's, quimb's placed by hand; one more where ours can be placed by hand too."""
    columns = ("workbench", "quimb", "quimb, placed")
    names = list(dict.fromkeys((name, "") for name, *_ in panels))
    names += [(name, ", placed") for name, setting, *_ in panels if setting == "workbench, placed"]
    names.sort(key=lambda name: [own for own, *_ in panels].index(name[0]))
    figure = Figure(figsize=(16, 1.9 * len(names)), layout="constrained")
    for axes in (grid := figure.subplots(len(names), 3)).flat:
        axes.set_axis_off()
    for name, setting, faults, image in panels:
        line = names.index((name, ", placed" if setting == "workbench, placed" else ""))
        axes = grid[line, columns.index(setting.replace("workbench, placed", "workbench"))]
        axes.imshow(image, interpolation="antialiased")
        axes.set_title(f"{name} · {setting}: {faults} fault{'s' * (faults != 1)}", fontsize=10, loc="left")
    with replaced_file(RESULTS / "diagrams.png") as temporary:
        figure.savefig(temporary, format="png", dpi=95, pil_kwargs={"optimize": True})


def agreement() -> tuple[list[Row], dict[str, dict[str, float]]]:
    """The largest relative error of every gallery piece, and of the pieces here, beside direct torch code."""
    rows, found = [], {}
    for dtype, target in TARGETS.items():
        errors: dict[str, float] = {}
        for heading, error in _gallery_errors(dtype, target) if GALLERY.exists() else ():
            errors[f"gallery: {heading}"] = max(error, errors.get(f"gallery: {heading}", 0.0))
        n_gallery = len(errors)
        for piece in (*pieces(), transformer_block()):
            arrays = {name: array.to(dtype) for name, array in piece.diagram.arrays.items()}
            made = piece.diagram.result(arrays)
            assert made.dtype == dtype
            errors[piece.name] = largest_relative_error(piece.direct(arrays), made)
        name = str(dtype).removeprefix("torch.")
        worst = max(errors, key=errors.__getitem__)
        what = f"largest relative error of {len(errors)} pieces beside torch, {name}"
        rows.append(row(what, errors[worst], target, "relative", worst=worst, gallery=n_gallery))
        found[name] = errors
    return rows, found


def _gallery_errors(dtype: torch.dtype, target: float) -> Iterator[tuple[str, float]]:
    """By heading, the largest error of the comparisons that the page's own code makes; infinite where it stops.

    The page's `close` is replaced by one that measures; another dtype is the same code with its name replaced.
    """
    text = GALLERY.read_text(encoding="utf-8")
    text = text.replace("torch.float64", str(dtype)).replace(".double()", f".to({dtype})")
    errors: list[float] = []

    def close(made: object, wanted: object) -> bool:
        error = largest_relative_error(torch.as_tensor(wanted).double(), torch.as_tensor(made).double())
        if error <= target:  # the page also asserts that some are not equal
            errors.append(error)
        return error <= target

    namespace: dict[str, object] = {"__name__": "__main__"}
    heading = ""
    for part in re.finditer(r"^#+ ([^\n]+)$|^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        heading = part[1] or heading
        if part[2]:
            errors.clear()
            try:
                exec(compile(part[2], f"{GALLERY.name}, {heading}", "exec"), namespace)
            except AssertionError:
                errors.append(float("inf"))
            namespace["close"] = close
            if errors:
                yield heading, max(errors)


def speed() -> list[Row]:
    """How long drawings take, and what the norm of a long train needs."""
    model = Diagram(overview(), layout=Layout(flow=True))
    block = transformer_block().diagram
    rows = []
    for name, diagram, target in (
        ("a model of 12 layers and 12 heads", model, 0.3),
        ("a transformer block of 12 heads", block, 0.05),
    ):
        (seconds,) = lower_median(lambda diagram=diagram: replace(diagram).svg(), repeats=7)  # nothing is kept
        rows.append(row(f"layout and SVG of {name}", seconds, target, "s"))
        found = defects(diagram.scene)
        rows.append(row(f"faults in the drawing of {name}", len(found), 0, "faults", by_kind=by_kind(found)))
    return rows + long_train()


def long_train(n_sites: int = 60, bond: int = 8) -> list[Row]:
    """A train drawn by both, and the contraction of its norm."""
    randn = partial(torch.randn, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sizes = [min(bond, 2 ** min(k, n_sites - k)) for k in range(n_sites + 1)]
    train = TensorTrain.from_cores([randn(left, 2, right) / 4 for left, right in pairwise(sizes)])
    diagram = Diagram.of(train)
    peer = Peer.of(diagram.subject, diagram.arrays)

    figure_seconds = []

    def theirs() -> None:
        start = time.perf_counter()
        figure = peer.figure()
        figure_seconds.append(time.perf_counter() - start)
        figure.savefig(io.BytesIO(), format="svg")
        pyplot.close(figure)

    ours, quimb = lower_median(lambda: Diagram.of(train).svg(), theirs)
    name = f"a train of {n_sites} sites"
    rows = [row(f"SVG of {name} with its labels, against quimb", quimb / ours, 1.0, "times faster", True, seconds=ours,
                quimb_seconds=quimb, quimb_figure_seconds=statistics.median(figure_seconds))]  # fmt: skip
    network = ladder(n_sites).sized_by(diagram.arrays)
    (seconds,) = lower_median(lambda: network.contract(diagram.arrays))
    largest, limit = network.plan().largest_intermediate, bond**2 * 2**2  # two neighbouring cores of a train, joined
    rows.append(row(f"largest intermediate of the norm of {name}", largest, limit, "numbers", seconds=seconds,
                    nodes=len(network.nodes), dense_numbers=2**n_sites))  # fmt: skip
    error = largest_relative_error(train.norm() ** 2, network.contract(diagram.arrays))
    return [*rows, row(f"the norm of {name} squared, against its inner product", error, 1e-10, "relative")]


def redraw() -> list[Row]:
    """A key press on a slider in JupyterLab; nothing where there is no Chromium."""
    times = redraw_milliseconds()
    if times is None:
        return []
    what = "key press to redrawn diagram in JupyterLab"
    return [row(what, statistics.median(times), 100, "ms", slowest=max(times), presses=len(times))]


def main() -> None:
    """Measures, writes both files and prints a table."""
    matplotlib.use("Agg")
    rows, drawings = side_by_side()
    more, errors = agreement()
    rows += [*more, *speed(), *redraw()]
    for entry in rows:
        mark = " " if entry["reached"] else "!"
        print(f"{mark} {entry['what']}: {entry['measured']:.3g} {entry['unit']}, wanted {entry['target']}")
    machine = {
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    packages = ("torch", "numpy", "opt_einsum", "tensornetwork", "quimb", "networkx", "matplotlib")
    versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
    result = {
        "machine": machine,
        "versions": versions,
        "rows": rows,
        "how": HOW,
        "drawings": drawings,
        "errors": errors,
    }
    write_json(RESULTS / "diagrams.json", json.loads(json.dumps(result)))


if __name__ == "__main__":
    main()
