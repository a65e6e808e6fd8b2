"""The charts of an explorer of explanations, live in plotly: built once, then moved from frame to frame."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportCallIssue=false
# (plotly builds its attributes when it runs; pyright sees none of them)

import math
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.diagram.hovered import as_written
from workbench.explore.explain_frame import MAPS, Conditional, ExplainFrame
from workbench.widgets.axes import log_ticks
from workbench.widgets.colours import DROPPED, LEARNER_COLOURS, NOW

TRUTH, MODEL = DROPPED, LEARNER_COLOURS[0]
FLOOR = 1e-8  # a Schmidt value below is drawn there
LEAST = 1e-3  # the end of a colour scale at least, or what rounding leaves would look like a tie
BLANK = (0.5, 0.5, 0.5, 0.3)  # where a map has no number, told apart from zero on light and on dark
_WIDE, _NARROW = 820, 405  # two narrow ones side by side beside the file list of a page of 1280


@dataclass(frozen=True)
class ExplainCharts:
    """Marginals, both maps, the entropies of all bonds, and the Schmidt values of one: a figure each.

    A trace is moved by an update of its own: what one update sets for some traces, plotly 7 unsets in the others.
    """

    marginals: go.FigureWidget
    maps: go.FigureWidget
    entropies: go.FigureWidget
    schmidt: go.FigureWidget

    @property
    def figures(self) -> tuple[go.FigureWidget, ...]:
        """All four."""
        return self.marginals, self.maps, self.entropies, self.schmidt

    def draw(self, frame: ExplainFrame) -> None:
        """Moves every figure to `frame`."""
        _draw_marginals(self.marginals, frame)
        _draw_maps(self.maps, frame)
        _draw_entropies(self.entropies, frame)
        _draw_schmidt(self.schmidt, frame)


def explain_charts(n_sites: int, alphabet: tuple[str, ...]) -> ExplainCharts:
    """Empty ones for chains of so many sites and these symbols."""
    made = ExplainCharts(_marginals(n_sites, alphabet), _maps(n_sites), _entropies(n_sites), _schmidt())
    for figure in made.figures:
        figure.update_layout(
            margin={"l": 58, "r": 14, "t": 46, "b": 46}, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
            title_font_size=14,
            legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "font": {"size": 11}},
        )  # fmt: skip
    for figure in (made.entropies, made.schmidt):  # too narrow for a title and a legend beside each other
        figure.update_layout(margin_t=64, title={"y": 0.97, "yanchor": "top"})
    made.maps.update_layout(plot_bgcolor="rgba({:.0%},{:.0%},{:.0%},{})".format(*BLANK))
    return made


def shown_symbols(alphabet: tuple[str, ...]) -> range:
    """The symbols whose shares are drawn, stacked: all but the first, which is the rest up to 1."""
    return range(min(1, len(alphabet) - 1), len(alphabet))


def shade(k: int, alphabet: tuple[str, ...]) -> float:
    """How opaque the bar of a symbol is, the first that is drawn most of all."""
    return 1 - 0.7 * (k - shown_symbols(alphabet)[0]) / len(alphabet)


def share_told(alphabet: tuple[str, ...]) -> str:
    """What the bars of the marginals are."""
    told = " then ".join(alphabet[k] for k in shown_symbols(alphabet))
    return f"p of {told}" if len(alphabet) <= 4 else f"p of all but {alphabet[0]}"


def map_reach(frame: ExplainFrame) -> float:
    """The end of the colour scale of both maps."""
    found = [abs(side.strongest[2]) for side in (frame.truth, frame.learned) if side.strongest is not None]
    return max([LEAST, *found])


def _marginals(n_sites: int, alphabet: tuple[str, ...]) -> go.FigureWidget:
    figure, sites = go.FigureWidget(), list(range(n_sites))
    for who, colour in (("truth", TRUTH), ("model", MODEL)):
        for k in shown_symbols(alphabet):
            symbol = as_written(alphabet[k])
            figure.add_bar(
                x=sites, y=[0.0] * n_sites, offsetgroup=who, name=who, legendgroup=who,
                showlegend=k == shown_symbols(alphabet)[0],
                marker={"color": colour, "opacity": shade(k, alphabet), "line": {"width": 0}},
                hovertemplate=f"site %{{x}}: p({symbol}) = %{{y:.4f}}<extra></extra>",
            )  # fmt: skip
    figure.update_layout(
        width=_WIDE, height=250, barmode="stack", bargap=0.25, title_text="Marginals",
        yaxis_title=as_written(share_told(alphabet)),
    )  # fmt: skip
    figure.update_xaxes(title="site; those in bold are fixed", tickvals=sites, ticktext=sites, showgrid=False)
    figure.update_yaxes(range=[0, 1.02])
    return figure


def _draw_marginals(figure: go.FigureWidget, frame: ExplainFrame) -> None:
    symbols, given = shown_symbols(frame.alphabet), dict(frame.given)
    traces = iter(figure.data)
    for side, name in _sides(frame):
        for k in symbols:
            next(traces).update(y=[row[k] for row in side.marginals], name=name)
    ticks = [f"<b>{site}</b>" if site in given else f"{site}" for site in range(frame.n_sites)]
    figure.layout.xaxis.ticktext = ticks


def _maps(n_sites: int) -> go.FigureWidget:
    figure = go.FigureWidget(make_subplots(1, 2, subplot_titles=("truth", "model"), horizontal_spacing=0.1))
    sites = list(range(n_sites))
    for column in (1, 2):
        figure.add_heatmap(
            x=sites, y=sites, z=[[None] * n_sites] * n_sites, coloraxis="coloraxis", xgap=1, ygap=1, hoverongaps=False,
            hovertemplate="sites %{y} and %{x}: %{z:.5f}<extra></extra>", row=1, col=column,
        )  # fmt: skip
    step = 1 if n_sites <= 16 else 2
    figure.update_layout(width=_WIDE, height=440, title_text="", coloraxis={"colorbar": {"thickness": 12}})
    figure.update_xaxes(dtick=step, tickangle=0, showgrid=False, zeroline=False, range=[-0.5, n_sites - 0.5])
    figure.update_yaxes(dtick=step, showgrid=False, zeroline=False, range=[n_sites - 0.5, -0.5])
    figure.update_annotations(font_size=12)
    return figure


def _draw_maps(figure: go.FigureWidget, frame: ExplainFrame) -> None:
    reach, signed = map_reach(frame), MAPS[frame.map].signed
    for trace, (side, _) in zip(figure.data, _sides(frame), strict=True):
        trace.update(z=[[value if math.isfinite(value) else None for value in row] for row in side.ties])
    with figure.batch_update():
        figure.layout.annotations[1].text = as_written(frame.model)
        figure.layout.title.text = f"{frame.map.capitalize()}, {MAPS[frame.map].unit}"
        axis = figure.layout.coloraxis
        axis.cmin, axis.cmax = -reach if signed else 0, reach
        axis.colorscale = "PuOr" if signed else "Cividis"


def _entropies(n_sites: int) -> go.FigureWidget:
    figure = go.FigureWidget()
    bonds = [bond + 0.5 for bond in range(n_sites - 1)]
    for who, colour, symbol in (("truth", TRUTH, "square"), ("model", MODEL, "circle")):
        figure.add_scatter(
            x=bonds, y=[0.0] * len(bonds), mode="lines+markers", name=who, line={"color": colour},
            marker={"symbol": symbol, "size": 8}, text=[f"bond {bond_told(bond)}" for bond in range(n_sites - 1)],
            hovertemplate="%{text}: %{y:.4f} nats<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=0.5, line={"color": NOW, "width": 2}, layer="below")
    figure.update_layout(
        width=_NARROW, height=320, title_text="Entanglement of √p", yaxis_title="entropy, nats", xaxis_title="site"
    )
    figure.update_xaxes(tickvals=list(range(0, n_sites, 1 + n_sites // 16)), range=[-0.2, n_sites - 0.8])
    return figure


def bond_told(bond: int) -> str:
    """A bond by the sites on either side of it."""
    return f"{bond}|{bond + 1}"


def _draw_entropies(figure: go.FigureWidget, frame: ExplainFrame) -> None:
    for trace, (side, name) in zip(figure.data, _sides(frame), strict=True):
        trace.update(y=side.entropies, name=name)
    with figure.batch_update():
        figure.layout.shapes[0].x0 = figure.layout.shapes[0].x1 = frame.bond + 0.5
        most = max(value for side, _ in _sides(frame) for value in side.entropies)
        figure.layout.yaxis.range = [-0.04 * max(most, 0.1), 1.1 * max(most, 0.1)]


def _schmidt() -> go.FigureWidget:
    figure = go.FigureWidget()
    for who, colour, symbol in (("truth", TRUTH, "square-open"), ("model", MODEL, "circle")):
        figure.add_scatter(
            x=[], y=[], mode="markers", name=who, marker={"color": colour, "symbol": symbol, "size": 9},
            hovertemplate="number %{x}: %{y:.3g}<extra></extra>",
        )  # fmt: skip
    figure.update_traces(marker_line_width=2, selector=0)
    figure.update_layout(width=_NARROW, height=320, title_text="", yaxis_title="value")
    figure.update_xaxes(title="by size")
    figure.update_yaxes(type="log")
    return figure


def schmidt_shown(side: Conditional, bond: int) -> list[float]:
    """The Schmidt values of a bond that a logarithmic axis shows: none lower than 1e-8."""
    return [max(value, FLOOR) for value in side.schmidt[bond]]


def _draw_schmidt(figure: go.FigureWidget, frame: ExplainFrame) -> None:
    found = [schmidt_shown(side, frame.bond) for side, _ in _sides(frame)]
    for trace, values, (_, name) in zip(figure.data, found, _sides(frame), strict=True):
        trace.update(x=list(range(1, 1 + len(values))), y=values, name=name)
    with figure.batch_update():
        figure.layout.title.text = f"Schmidt values at bond {bond_told(frame.bond)}"
        longest, low = max(map(len, found)), min(map(min, found))
        figure.layout.xaxis.range = [0.5, max(longest, 4) + 0.5]
        axis = figure.layout.yaxis
        axis.tickvals = ticks = log_ticks(min(low, 0.1), 1)
        axis.ticktext = [f"{tick:.3g}" for tick in ticks]
        axis.range = [math.log10(min(low, 0.1)) * 1.06, 0.15]


def _sides(frame: ExplainFrame) -> tuple[tuple[Conditional, str], ...]:
    """The truth and the model, by name."""
    return (frame.truth, "truth"), (frame.learned, as_written(frame.model))
