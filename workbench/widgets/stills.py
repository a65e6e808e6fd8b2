"""Printed twins of the views, drawn from the same frames: for a page without a kernel."""

import math

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.diagram.drawing import Diagram
from workbench.diagram.printed import drawn_on
from workbench.diagram.scene import Scene
from workbench.explore.cut import CutFrame
from workbench.explore.freeze import LinearityFrame
from workbench.explore.inspect import TensorFrame
from workbench.explore.proving import ProofFrame
from workbench.explore.theatre import TheatreFrame
from workbench.spectrum import Spectrum
from workbench.widgets.axes import log_ticks
from workbench.widgets.colours import DROPPED, KEPT, NOW

_INCH = 96  # pixels


def theatre_still(frame: TheatreFrame) -> Figure:
    """The tensors that are there, what the last step made, and what whole orders cost."""
    figure, (drawing, made, costs) = _beside(frame.scene, 2)
    drawn_on(drawing, frame.scene)
    heatmap_panel(figure, made, frame.made)
    for name, cost in frame.costs.items():
        costs.plot(max(cost, 1), name, "o", ms=9, color=NOW if name == "yours" else KEPT)
    costs.margins(y=0.3)
    costs.grid(axis="x", alpha=0.4)
    costs.axvline(max(frame.cost_so_far, 1), color=NOW, lw=1.5)
    costs.set(xscale="log", xlabel="multiply-adds; the line: so far", title="Whole orders")
    costs.invert_yaxis()
    costs.minorticks_off()
    figure.suptitle(str(frame).split("\n")[min(1, frame.step)], fontsize=10, parse_math=False)
    return figure


def cut_still(frame: CutFrame) -> Figure:
    """The decomposition at its cut, and the spectrum of the selected bond with the cut marked."""
    figure, (drawing, values) = _beside(frame.scene, 1)
    drawn_on(drawing, frame.scene)
    spectrum_panel(values, frame.spectrum, frame.cut)
    values.set_title(
        f"bond {frame.selected}, cut at {frame.cut} of {len(frame.spectrum)}", fontsize=10, parse_math=False
    )
    figure.suptitle("\n".join(str(frame).split("\n")[2:4]), fontsize=9, parse_math=False)
    return figure


def proof_still(frame: ProofFrame) -> Figure:
    """The last step's two sides, one above the other, and the sign between them with its number."""
    scene = frame.after
    high = scene.height / _INCH
    rows = 2 if frame.lines else 1
    figure, axes = plt.subplots(
        rows, 1, figsize=(max(4.0, scene.width / _INCH), rows * high + 0.6), layout="constrained", squeeze=False
    )
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    for panel, side in zip(axes[:, 0], (frame.before, frame.after)[-rows:], strict=True):
        drawn_on(panel, side)
    figure.suptitle(
        f"{len(frame.lines)}. {frame.lines[-1]}" if frame.lines else "no step yet", fontsize=10, parse_math=False
    )
    return figure


def inspector_still(diagram: Diagram, frame: TensorFrame) -> Figure:
    """The diagram, and the heatmap and the spectrum of one of its tensors."""
    figure, (drawing, heat, values) = _beside(diagram.scene, 2)
    drawn_on(drawing, diagram.scene)
    heatmap_panel(figure, heat, frame)
    if frame.spectrum is None:
        _words(values, frame.spectrum_told)
    else:
        spectrum_panel(values, frame.spectrum)
    figure.suptitle("; ".join(str(frame).split("\n")[:3]), fontsize=10, parse_math=False)
    return figure


def freeze_still(diagram: Diagram, frame: LinearityFrame) -> Figure:
    """The diagram, and below it the additivity defect on a logarithmic line, beside what rounding leaves."""
    scene = diagram.scene
    width, height = max(5.0, scene.width / 96), scene.height / 96
    figure, (drawing, line) = plt.subplots(
        2, 1, figsize=(width, height + 1.9), layout="constrained", height_ratios=(height, 0.9)
    )
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    drawn_on(drawing, scene)
    lowest = 1e-18
    line.axvspan(lowest, max(frame.rounding, lowest), color=DROPPED, alpha=0.35, label="rounding")
    line.plot(max(frame.defect, lowest), 0, "D", color=NOW, ms=9, label="additivity defect", clip_on=False)
    line.set(xscale="log", xlim=(lowest, 10), ylim=(-1, 1), yticks=[])
    line.minorticks_off()
    line.set_xlabel(f"additivity defect of {frame.out} in {frame.varied}: {frame.defect:.2e}", parse_math=False)
    line.legend(loc="upper right", fontsize=8, ncols=2)
    figure.suptitle("\n".join(str(frame).split("\n")[1:]), fontsize=9, parse_math=False)
    return figure


def heatmap_panel(figure: Figure, axes: Axes, frame: TensorFrame | None) -> None:
    """A tensor as a matrix of colours about zero."""
    if frame is None or not frame.heatmap:
        _words(axes, frame.heatmap_told if frame else "")
        return
    reach = max((abs(value) for row in frame.heatmap for value in row if math.isfinite(value)), default=0.0) or 1.0
    image = axes.imshow(frame.heatmap, cmap="PuOr", vmin=-reach, vmax=reach, aspect="auto")
    rows, columns = frame.sides
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(columns, parse_math=False)
    axes.set_ylabel(rows, parse_math=False)
    axes.set_title(frame.name, fontsize=10, parse_math=False)
    figure.colorbar(image, ax=axes, shrink=0.9)


def spectrum_panel(axes: Axes, spectrum: Spectrum, cut: int | None = None) -> None:
    """Singular values on a logarithmic axis, those that a cut drops in another colour."""
    values = spectrum.values.tolist()
    if values[0] == 0:
        _words(axes, "all singular values are zero")
        return
    shown = [max(value, 1e-8 * values[0]) for value in values]  # a logarithmic axis has no zero
    kept = len(values) if cut is None else cut
    axes.semilogy(range(1, kept + 1), shown[:kept], "o", color=KEPT, ms=4, label="kept")
    if kept < len(values):
        axes.semilogy(
            range(kept + 1, len(values) + 1), shown[kept:], "o", mfc="none", color=DROPPED, ms=4, label="dropped"
        )
        axes.axvline(kept + 0.5, color=NOW)
        axes.legend(fontsize=8)
    low, high = (float(edge) for edge in axes.get_ylim())
    ticks = log_ticks(low, high)
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="singular value, by size", ylabel=f"{spectrum.norm} norm")


def _words(axes: Axes, told: str) -> None:
    """Why there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, told or "no array", ha="center", va="center", wrap=True, parse_math=False)


def _beside(scene: Scene, n_panels: int) -> tuple[Figure, list[Axes]]:
    """A figure with room for the scene, and further panels beside it."""
    wide = max(4.0, min(9.0, scene.width / _INCH))
    ratios = (wide, *(3.5,) * n_panels)
    figure, axes = plt.subplots(1, 1 + n_panels, figsize=(sum(ratios), 3.6), layout="constrained", width_ratios=ratios)
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    return figure, list(axes)
