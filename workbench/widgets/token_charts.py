"""What is told of tokens, as small pictures and tables: an attention pattern with its tokens, and what comes next."""

from collections.abc import Sequence
from html import escape

from workbench.diagram.themes import FONT
from workbench.explore.predictions import NextTokens
from workbench.widgets.colours import KEPT

_INK = "var(--jp-content-font-color1, var(--vscode-editor-foreground, #222222))"
_LETTERS = 10  # of a token, at most, beside a chart
_SIGNS = {"\n": "⏎", "\t": "⇥", " ": "·"}


def visible(token: str) -> str:
    """A token with its spaces and line ends to be seen, cut where it is long: "⏎···" of a line's indent."""
    shown = "".join(_SIGNS.get(letter, letter) for letter in token)
    return shown if len(shown) <= _LETTERS else f"{shown[: _LETTERS - 1]}…"


def pattern_svg(pattern: Sequence[Sequence[float]], tokens: Sequence[str]) -> str:
    """An attention pattern: the darker a cell, the more the query of its row attends to the key of its column.

    Each cell tells its number to who points at it. Raises ValueError unless there is a token for each row and column.
    """
    n = len(tokens)
    if n == 0 or len(pattern) != n or any(len(row) != n for row in pattern):
        shape = f"{len(pattern)} × {len(pattern[0]) if pattern else 0}"
        raise ValueError(f"a pattern of {shape} does not fit {n} tokens; give one row and one column for each.")
    cell = min(20.0, max(9.0, 288 / n))
    names = [visible(token) for token in tokens]
    room = 7.0 * max(map(len, names)) + 10
    side = cell * n
    drawn = [f'<g transform="translate({room:g} {room:g})" fill="{KEPT}" shape-rendering="crispEdges">']
    for y, row in enumerate(pattern):
        for x, value in enumerate(row[: y + 1]):
            told = f"{names[y]} attends to {names[x]}: {value:.3g}"
            place = f'x="{x * cell:.4g}" y="{y * cell:.4g}" width="{cell:.4g}" height="{cell:.4g}"'
            drawn.append(f'<rect {place} fill-opacity="{value:.3f}"><title>{escape(told)}</title></rect>')
    drawn.append(f'<rect width="{side:g}" height="{side:g}" fill="none" stroke="{_INK}" pointer-events="none"/></g>')
    for k, name in enumerate(names):
        middle = room + cell * (k + 0.5) + 3.5
        drawn.append(f'<text x="{room - 4:g}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>')
        turned = f'transform="translate({middle:.1f} {room - 4:g}) rotate(-90)"'
        drawn.append(f"<text {turned}>{escape(name)}</text>")
    size = room + side + 2
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="pattern" role="img" aria-label="attention pattern of {n} '
        f'tokens" width="{size:.0f}" height="{size:.0f}" viewBox="0 0 {size:.0f} {size:.0f}" font-family="{FONT}" '
        f'font-size="10" fill="{_INK}">'
    )
    return "".join([head, *drawn, "</svg>"])


def next_tokens_html(rows: Sequence[NextTokens]) -> str:
    """A table, a line for each position: its token, and the likeliest next ones with their probabilities."""
    lines = []
    for row in rows:
        cells = "".join(
            f"<td style='padding:0 6px;white-space:nowrap'><code>{escape(visible(token))}</code> {share:.0%}</td>"
            for token, share in row.likeliest
        )
        lines.append(f"<tr><th style='text-align:right'><code>{escape(visible(row.token))}</code></th>{cells}</tr>")
    head = "<caption style='text-align:left'>after each token, the likeliest next</caption>"
    return f"<div style='max-height:340px;overflow:auto'><table class='next'>{head}{''.join(lines)}</table></div>"
