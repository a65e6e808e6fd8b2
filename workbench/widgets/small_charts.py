"""Small charts as SVG text, quick enough to follow a pointer: a heatmap and a spectrum."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from workbench.diagram.themes import FONT
from workbench.spectrum import Spectrum
from workbench.widgets.axes import log_ticks
from workbench.widgets.colours import DROPPED, KEPT, NOW

_INK = "var(--jp-content-font-color1, var(--vscode-editor-foreground, #222222))"
# Orange, light grey, purple (Brewer's PuOr): told apart with every common form of colour blindness.
_STOPS = ((179, 88, 6), (241, 163, 64), (246, 246, 246), (153, 142, 195), (84, 39, 136))
_LEVELS = 41  # colours of a heatmap: odd, so that one of them is zero's
_SIDE = 192.0  # pixels, of a heatmap
_FLOOR = 1e-8  # of the largest singular value: what is smaller is drawn there


def heatmap_svg(values: Sequence[Sequence[float]], rows: str = "rows", columns: str = "columns") -> str:
    """A matrix as coloured cells about zero: orange below, purple above, a cross where a value is not finite.

    `rows` and `columns` label the axes. The first row is on top.
    """
    n_rows, n_columns = len(values), len(values[0]) if values else 0
    if n_columns == 0:
        return _framed(220, 30, "a heatmap of nothing", [_label(110, 18, "no numbers to draw")])
    finite = [value for row in values for value in row if math.isfinite(value)]
    reach = max(map(abs, finite), default=0.0)
    cell = min(24.0, _SIDE / n_rows, _SIDE / n_columns)
    height, width = cell * n_rows, cell * n_columns
    left, top = 24.0, 8.0
    right = left + max(width, 60.0)
    cells = f'<g transform="translate({left:g} {top:g}) scale({cell:.4g})" shape-rendering="crispEdges">'
    drawn = [
        cells + "".join(_cells(values, reach)) + "</g>",
        f'<rect x="{left:g}" y="{top:g}" width="{width:.4g}" height="{height:.4g}" fill="none" stroke="{_INK}"/>',
        _label(left + width / 2, top + height + 14, columns),
        _label(14, top + height / 2, rows, turned=True),
        *_scale(right + 14, top, max(height, 60.0), reach),
    ]
    told = f"{n_rows} × {n_columns} cells from {min(finite, default=0):.3g} to {max(finite, default=0):.3g}"
    return _framed(right + 90, top + max(height, 60.0) + 22, f"heatmap of {told}", drawn)


def spectrum_svg(spectrum: Spectrum, cut: int | None = None) -> str:
    """Singular values by size on a logarithmic axis; kept ones are filled, those that a `cut` drops are hollow.

    Values below 1e-8 of the largest are drawn there. Raises ValueError for a cut that does not fit.
    """
    values = spectrum.values.tolist()
    kept = len(values) if cut is None else cut
    if not 0 <= kept <= len(values):
        raise ValueError(f"cut {kept} does not fit a spectrum of {len(values)} values; give 0 to {len(values)}.")
    if values[0] == 0:
        return _framed(300, 30, "a spectrum of zeros", [_label(150, 18, "all singular values are zero")])
    plot = _SpectrumPlot(values[0], values[-1], len(values))
    points = plot.points(values)
    drawn = [*plot.axes(spectrum.norm), *_dots(points[:kept], points[kept:], plot.radius)]
    if cut is not None:
        x = plot.left + plot.step * cut
        drawn.append(f'<path class="cut" d="M{x:.1f} {plot.top:g}v{plot.height:g}" stroke="{NOW}" stroke-width="2"/>')
        drawn.append(_label(min(max(x, plot.left + 30), plot.left + plot.width - 30), plot.top - 6, f"cut at {cut}"))
    told = f"spectrum of {len(values)} singular values from {values[0]:.3g} to {values[-1]:.3g}"
    return plot.framed(told + ("" if cut is None else f", cut at {cut}"), drawn)


def spectra_svg(before: Spectrum, after: Spectrum) -> str:
    """The singular values before a change, hollow, and after it, filled, by size on one logarithmic axis."""
    was, now = before.values.tolist(), after.values.tolist()
    largest = max(was[0], now[0])
    if largest == 0:
        return _framed(300, 30, "spectra of zeros", [_label(150, 18, "all singular values are zero")])
    plot = _SpectrumPlot(largest, min(was[-1], now[-1]), max(len(was), len(now)))
    middle = plot.left + plot.width / 2
    key = [(middle - 44, "after"), (middle + 26, "before")]
    drawn = [
        *plot.axes(before.norm),
        *_dots(plot.points(now), plot.points(was), plot.radius),
        *_dots([(key[0][0] - 8, plot.top - 10)], [(key[1][0] - 8, plot.top - 10)], 4.0, "key "),
        *(_label(x, plot.top - 6, word, anchor="start") for x, word in key),
    ]
    told = (
        f"{len(was)} singular values before, from {was[0]:.3g} to {was[-1]:.3g}, "
        f"and {len(now)} after, from {now[0]:.3g} to {now[-1]:.3g}"
    )
    return plot.framed(told, drawn)


@dataclass(frozen=True)
class _SpectrumPlot:
    """Where singular values stand: the n-th in the middle of its step, its height the logarithm."""

    largest: float
    smallest: float
    n: int
    left: float = 78.0
    top: float = 20.0
    width: float = 230.0
    height: float = 140.0

    @property
    def step(self) -> float:
        return self.width / self.n

    @property
    def radius(self) -> float:
        return min(4.0, max(1.2, self.step / 2.6))

    @property
    def floor(self) -> float:
        return _FLOOR * self.largest

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value on the axis."""
        low = max(self.smallest, self.floor)
        space = max(1.2, (self.largest / low) ** 0.06)  # so that no dot touches an axis
        return low / space, self.largest * space

    def y_of(self, value: float) -> float:
        low, high = self.ends
        return self.top + self.height * math.log(high / max(value, self.floor)) / math.log(high / low)

    def points(self, values: Sequence[float]) -> list[tuple[float, float]]:
        return [(self.left + self.step * (k + 0.5), self.y_of(value)) for k, value in enumerate(values)]

    def axes(self, norm: str) -> list[str]:
        low, high = self.ends
        drawn = [f'<path d="M{self.left:g} {self.top:g}v{self.height:g}h{self.width:g}" fill="none" stroke="{_INK}"/>']
        ticks = log_ticks(low, high)
        if ticks == [low, high]:  # too few round numbers inside: the largest and the smallest value, then
            ticks = [max(self.smallest, self.floor), self.largest]
        for tick in ticks:
            y = self.y_of(tick)
            drawn.append(f'<path d="M{self.left - 4:g} {y:.1f}h4" stroke="{_INK}"/>')
            drawn.append(_label(self.left - 7, y + 3.5, f"{tick:.3g}", anchor="end"))
        bottom = self.top + self.height
        for k in dict.fromkeys((0, self.n - 1)):
            drawn.append(_label(self.left + self.step * (k + 0.5), bottom + 14, str(k + 1)))
        drawn.append(_label(self.left + self.width / 2, bottom + 28, "singular value, by size"))
        drawn.append(_label(12, self.top + self.height / 2, f"{norm} norm", turned=True))
        return drawn

    def framed(self, told: str, drawn: list[str]) -> str:
        return _framed(self.left + self.width + 22, self.top + self.height + 36, told, drawn)


def _cells(values: Sequence[Sequence[float]], reach: float) -> list[str]:
    """Unit cells, those of a colour in one path; what is not finite is a cross."""
    found: dict[int | None, list[str]] = {}
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            level = level_of(value, reach) if math.isfinite(value) else None
            shape = f"M{x} {y}l1 1m-1 0l1-1" if level is None else f"M{x} {y}h1v1h-1z"
            found.setdefault(level, []).append(shape)
    crosses = found.pop(None, [])
    paths = [f'<path fill="{_colour(level)}" d="{"".join(own)}"/>' for level, own in found.items() if level is not None]
    if crosses:
        paths.append(f'<path class="none" fill="none" stroke="{_INK}" stroke-width="0.1" d="{"".join(crosses)}"/>')
    return paths


def level_of(value: float, reach: float) -> int:
    """The number of a value's colour, from 0 at −reach to 40 at +reach; 20 is zero's."""
    middle = _LEVELS // 2
    return middle if reach == 0 else middle + round(middle * max(-1.0, min(1.0, value / reach)))


def _colour(level: int) -> str:
    place = level / (_LEVELS - 1) * (len(_STOPS) - 1)
    k = min(int(place), len(_STOPS) - 2)
    mixed = (round(a + (place - k) * (b - a)) for a, b in zip(_STOPS[k], _STOPS[k + 1], strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _scale(x: float, y: float, height: float, reach: float) -> list[str]:
    step = height / _LEVELS
    bars = [
        f'<rect x="{x:g}" y="{y + step * k:.2f}" width="10" height="{step + 0.3:.2f}" '
        f'fill="{_colour(_LEVELS - 1 - k)}"/>'
        for k in range(_LEVELS)
    ]
    edge = f'<rect x="{x:g}" y="{y:g}" width="10" height="{height:.4g}" fill="none" stroke="{_INK}"/>'
    ends = [(y + 7, f"{reach:.3g}"), (y + height / 2 + 3.5, "0"), (y + height, f"−{reach:.3g}")]
    return [*bars, edge, *(_label(x + 15, place, told, anchor="start") for place, told in ends)]


def _dots(
    kept: list[tuple[float, float]], dropped: list[tuple[float, float]], radius: float, which: str = ""
) -> list[str]:
    full = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.2g}"/>' for x, y in kept)
    hollow = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.2g}"/>' for x, y in dropped)
    return [
        f'<g class="{which}kept" fill="{KEPT}">{full}</g>',
        f'<g class="{which}dropped" fill="none" stroke="{DROPPED}" stroke-width="1.2">{hollow}</g>',
    ]


def _label(x: float, y: float, content: str, anchor: str = "middle", turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x:g} {y:g})"' if turned else ""
    place = f'x="{x:g}" y="{y:.1f}" text-anchor="{anchor}"{turn}'
    return f'<text {place} font-size="11" fill="{_INK}">{escape(content)}</text>'


def _framed(width: float, height: float, told: str, drawn: list[str]) -> str:
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(told)}" width="{width:.0f}" '
            f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}">',
            f"<title>{escape(told)}</title>",
            *drawn,
            "</svg>",
        ]
    )
