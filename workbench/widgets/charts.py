"""The linked charts of a compression, live in plotly: built once, then moved from frame to frame."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportArgumentType=false, reportCallIssue=false
# (plotly builds its attributes when it runs; pyright sees none of them)

import math

import plotly.graph_objects as go

from workbench.compress.curve import Point
from workbench.compress.recipe import METRICS
from workbench.diagram.hovered import as_written
from workbench.explore.frame import FLOOR, Frame
from workbench.widgets.axes import log_ticks
from workbench.widgets.colours import DROPPED, KEPT, METHOD_COLOURS, METRIC_SHAPES, NOW, REPAIRED, Theme

_WIDTH, _HEIGHT = 400, 320
_RECIPES = [(method, metric) for method, metrics in METRICS.items() for metric in metrics]


def figures(frame: Frame) -> tuple[go.FigureWidget, go.FigureWidget, go.FigureWidget]:
    """The trade-off, the heatmap of discarded weight, and the spectrum of the selected bond, as of `frame`."""
    made = _trade_off(), _heatmap(frame), _spectrum()
    for figure in made:
        _frame_in(figure)
    draw(made, frame)
    return made


def draw(made: tuple[go.FigureWidget, go.FigureWidget, go.FigureWidget], frame: Frame) -> None:
    """Moves the three figures to `frame`, each in one update."""
    _draw_trade_off(made[0], frame)
    _draw_heatmap(made[1], frame)
    _draw_spectrum(made[2], frame)


def apply_theme(made: tuple[go.FigureWidget, ...], theme: Theme) -> None:
    """Ink for a light or a dark page; the background stays the page's own."""
    for figure in made:
        figure.update_layout(template=theme.template, font_color=theme.ink)


def healing_figure() -> go.FigureWidget:
    """An empty curve of a healing run: the loss of each step's batch, and that on rows held back."""
    figure = go.FigureWidget()
    figure.add_scatter(x=[], y=[], mode="lines", name="this step's batch", line={"color": DROPPED})
    figure.add_scatter(x=[], y=[], mode="lines+markers", name="rows held back", line={"color": KEPT})
    _frame_in(figure, "Healing")
    figure.update_layout(legend={"x": 1, "y": 1, "xanchor": "right", "yanchor": "top", "font": {"size": 11}})
    figure.update_xaxes(title="step")
    figure.update_yaxes(title="loss, nats a token")
    return figure


def _frame_in(figure: go.FigureWidget, title: str | None = None) -> None:
    figure.update_layout(
        width=_WIDTH,
        height=_HEIGHT,
        margin={"l": 66, "r": 14, "t": 44, "b": 52},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        title_font_size=14,
    )
    if title is not None:
        figure.update_layout(title=title)


def _trade_off() -> go.FigureWidget:
    figure = go.FigureWidget()
    for method, metric in _RECIPES:
        figure.add_scatter(
            x=[], y=[], mode="markers", name=f"{method}, {metric}", showlegend=False, hoverinfo="text",
            marker={"color": METHOD_COLOURS[method], "symbol": METRIC_SHAPES[metric].plotly, "size": 9},
        )  # fmt: skip
    figure.add_scatter(
        x=[], y=[], mode="lines", name="Pareto front", line={"color": DROPPED, "dash": "dot", "shape": "hv"}
    )
    figure.add_scatter(
        x=[],
        y=[],
        mode="markers",
        name="now",
        marker={"color": NOW, "size": 13, "symbol": "diamond-open", "line": {"width": 3}},
        error_y={"type": "data", "array": [], "color": NOW, "thickness": 2, "width": 6},
        hoverinfo="text",
    )
    figure.add_hline(y=1, line={"color": DROPPED, "width": 1})
    figure.update_layout(
        title="Accuracy against size",
        legend={"x": 1, "y": 1, "xanchor": "right", "yanchor": "top", "font": {"size": 11}},
    )
    figure.update_xaxes(title="bytes stored, % of the dense model", range=[0, 104])
    figure.update_yaxes(title="perplexity ÷ dense", type="log")
    return figure


def _draw_trade_off(figure: go.FigureWidget, frame: Frame) -> None:
    *by_recipe, front, now = figure.data
    harms = [point.harm for point in (*frame.history, *filter(None, [frame.point]))]
    points_of = [[p for p in frame.history if (p.recipe.method, p.recipe.metric) == key] for key in _RECIPES]
    with figure.batch_update():
        for trace, points in zip(by_recipe, points_of, strict=True):
            trace.x, trace.y = [_share(frame, p) for p in points], [p.harm for p in points]
            trace.text = [_told(p) for p in points]
        front.x = [_share(frame, p) for p in frame.front]
        front.y = [p.harm for p in frame.front]
        here = [] if frame.point is None else [frame.point]
        now.x, now.y = [_share(frame, p) for p in here], [p.harm for p in here]
        now.text = [_told(p) for p in here]
        now.error_y.array = [_finite(p.harm_error) for p in here]
        figure.layout.shapes[0].y0 = figure.layout.shapes[0].y1 = dense = frame.dense_harm
        figure.layout.yaxis.title.text = frame.harm_told
        low, high = min([0.97 * dense, *harms]), max([1.1 * dense, *harms])
        # Room at the bottom for the marks on the dense line, and at the top for the legend, as the axis shows it.
        log_axis(figure.layout.yaxis, low * min(0.98, (low / high) ** 0.05), high * (high / low) ** 0.5)
    # Each by itself: one update that sets these for some traces makes plotly 7 unset them in the others.
    for trace, points, (_, metric) in zip(by_recipe, points_of, _RECIPES, strict=True):
        own = METRIC_SHAPES[metric]
        trace.showlegend = bool(points)
        trace.marker.symbol = [(REPAIRED if p.after else own).plotly for p in points] or own.plotly


def _share(frame: Frame, point: Point) -> float:
    return 100 * point.bytes / frame.sizes.dense_bytes


def _told(point: Point) -> str:
    score = point.estimate
    above = "" if score.excess is None else f"<br>{score.excess:.4f} nats a token above the truth"
    return (
        f"{', '.join([str(point.recipe), *point.after])}: {point.kept_params:.1%} of the block matrices<br>"
        f"perplexity {score.perplexity:.2f}, {score.ratio:.3f} ± {_finite(score.ratio_error):.3f} of dense<br>"
        f"accuracy {score.accuracy:.1%}, agreement {score.top1_agreement:.1%}{above}"
    )


def _heatmap(frame: Frame) -> go.FigureWidget:
    figure = go.FigureWidget()
    figure.add_heatmap(
        x=list(range(frame.n_blocks)),
        y=list(frame.block_kinds),
        z=_logarithms(frame),
        zmin=math.log10(FLOOR),
        zmax=0,
        colorscale="Cividis",
        xgap=2,
        ygap=2,
        hoverinfo="text",
        colorbar={"thickness": 12, "tickvals": [-6, -4, -2, 0], "ticktext": ["10⁻⁶", "10⁻⁴", "0.01", "1"]},
    )
    figure.add_scatter(
        x=[],
        y=[],
        mode="markers",
        marker={"symbol": "square-open", "size": 20, "color": NOW, "line": {"width": 3}},
        showlegend=False,
        hoverinfo="skip",
    )
    figure.update_layout(title="Discarded weight (click a matrix)")
    figure.update_xaxes(title="block", dtick=1, showgrid=False, zeroline=False)
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False)
    return figure


def _draw_heatmap(figure: go.FigureWidget, frame: Frame) -> None:
    table, mark = figure.data
    chosen = next(layer for layer in frame.layers if layer.name == frame.selected)
    told = {
        (layer.kind, layer.block): f"{as_written(layer.name)}<br>bond {layer.bond} of {layer.full_bond}<br>"
        f"discarded weight {layer.discarded_weight:.3g}<br>{layer.n_params:,} of {layer.dense_params:,} numbers"
        for layer in frame.layers
    }
    # Two updates: one batch that sets x of a single trace makes plotly 7 unset it in the other.
    with figure.batch_update():
        table.z = _logarithms(frame)
        table.text = [[told[kind, block] for block in range(frame.n_blocks)] for kind in frame.block_kinds]
    with figure.batch_update():
        mark.x, mark.y = ([], []) if chosen.block is None else ([chosen.block], [chosen.kind])  # a table is in no block


def _spectrum() -> go.FigureWidget:
    figure = go.FigureWidget()
    figure.add_scatter(x=[], y=[], mode="lines", name="kept", line={"color": KEPT, "width": 2}, fill="tozeroy")
    figure.add_scatter(x=[], y=[], mode="lines", name="dropped", line={"color": DROPPED, "width": 2, "dash": "dot"})
    figure.add_vline(x=1, line={"color": NOW, "width": 2})
    figure.update_xaxes(title="singular value, by size")
    figure.update_yaxes(title="value", type="log")
    figure.update_layout(legend={"x": 1, "y": 1, "xanchor": "right", "yanchor": "top", "font": {"size": 11}})
    return figure


def _draw_spectrum(figure: go.FigureWidget, frame: Frame) -> None:
    kept, dropped = figure.data
    places = list(range(1, len(frame.values) + 1))
    # A logarithmic axis has no zero: values at rounding level are drawn at the floor.
    floor = 1e-8 * max([*frame.values[:1], 1e-300])
    values = [max(value, floor) for value in frame.values]
    with figure.batch_update():
        if not values:  # a form without a spectrum: fitted bond by bond
            kept.x = kept.y = dropped.x = dropped.y = []
            figure.layout.title.text = f"{as_written(frame.selected)}: this form has no spectrum"
            return
        kept.x, kept.y = places[: frame.cut], values[: frame.cut]
        dropped.x, dropped.y = places[max(0, frame.cut - 1) :], values[max(0, frame.cut - 1) :]
        figure.layout.shapes[0].x0 = figure.layout.shapes[0].x1 = frame.cut + 0.5
        figure.layout.title.text = f"{as_written(frame.selected)}: cut at {frame.cut} of {len(places)}"
        figure.layout.xaxis.range = [0, len(places) + 1]
        low, high = values[-1], values[0]
        log_axis(figure.layout.yaxis, low / 1.25, high * max(10.0, high / low) ** 0.35)


def _logarithms(frame: Frame) -> list[list[float]]:
    return [[math.log10(value) for value in row] for row in frame.heatmap()]


def log_axis(axis: object, low: float, high: float, form: str = ".3g") -> None:
    """Sets a logarithmic axis to the values `low` to `high`, with labels that cannot run into each other."""
    axis.range = [math.log10(low), math.log10(high)]
    axis.tickvals = ticks = log_ticks(low, high)
    axis.ticktext = [format(tick, form) for tick in ticks]


def _finite(error: float) -> float:
    return 0.0 if math.isnan(error) else error
