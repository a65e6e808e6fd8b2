"""The printed twin of the zoom: one view of a model, drawn from its frame, for a page without a kernel."""

from collections.abc import Callable

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from workbench.diagram.printed import drawn_on
from workbench.explore.inspect import TensorFrame
from workbench.explore.predictions import NextTokens
from workbench.explore.zoom import ZoomFrame
from workbench.widgets.stills import heatmap_panel, spectrum_panel
from workbench.widgets.token_charts import visible

_INCH = 96  # pixels
_PANEL = 3.5  # inches
_LINES = 14  # of the table of next tokens: the last positions, where a text is longer


def zoom_still(frame: ZoomFrame) -> Figure:
    """The drawing, and below it what the frame tells: what is selected, the pattern, next tokens, singular values."""
    panels = _panels(frame)
    scene = frame.scene
    width = max(scene.width / _INCH, _PANEL * max(1, len(panels)), 6.5)
    heights = (scene.height / _INCH, *(_PANEL,) * bool(panels))
    figure = plt.figure(figsize=(width, sum(heights) + 0.7), layout="constrained")
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    grid = figure.add_gridspec(len(heights), max(1, len(panels)), height_ratios=heights)
    drawn_on(figure.add_subplot(grid[0, :]), scene)
    for number, draw in enumerate(panels):
        draw(figure, figure.add_subplot(grid[1, number]))
    figure.suptitle(
        f"{frame.model}: {' › '.join(name for name, _ in frame.crumbs)}\n{frame.told}", fontsize=9, parse_math=False
    )
    return figure


def _panels(frame: ZoomFrame) -> list[Callable[[Figure, Axes], None]]:
    found: list[Callable[[Figure, Axes], None]] = []
    shown, pattern, spectrum = frame.shown, frame.pattern, frame.spectrum
    if isinstance(shown, TensorFrame):
        found.append(lambda figure, axes: heatmap_panel(figure, axes, shown))
    if isinstance(shown, TensorFrame) and (own := shown.spectrum) is not None:
        found.append(lambda figure, axes: spectrum_panel(axes, own))
    if pattern is not None:
        found.append(lambda figure, axes: _pattern_panel(axes, pattern, frame.tokens, frame.head))
    if frame.next_tokens:
        found.append(lambda figure, axes: _next_panel(axes, frame.next_tokens[-_LINES:]))
    if spectrum is not None:
        found.append(lambda figure, axes: spectrum_panel(axes, spectrum))
    return found


def _pattern_panel(axes: Axes, pattern: TensorFrame, tokens: tuple[str, ...], head: int) -> None:
    axes.imshow(pattern.heatmap, cmap="Greens", vmin=0, vmax=1)
    axes.set_title(f"pattern of head {head}", fontsize=10, parse_math=False)
    if len(tokens) != len(pattern.heatmap):
        axes.set(xlabel="key", ylabel="query", xticks=[], yticks=[])
        return
    names = [visible(token) for token in tokens]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=7, parse_math=False)


def _next_panel(axes: Axes, rows: tuple[NextTokens, ...]) -> None:
    axes.set_axis_off()
    axes.set_title("after each token, the likeliest next", fontsize=10)
    cells = [[f"{visible(token)} {share:.0%}" for token, share in row.likeliest] for row in rows]
    place = Bbox.from_bounds(0.2, 0, 0.8, 1)
    table = axes.table(cells, rowLabels=[visible(row.token) for row in rows], cellLoc="left", bbox=place)
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    for cell in table.get_celld().values():
        cell.set_linewidth(0)
        cell.get_text().set_parse_math(False)
