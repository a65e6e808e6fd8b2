"""One set of colours, safe for colour-blind readers, for the live and the printed charts."""

from dataclasses import dataclass

# Okabe & Ito (2008): distinguishable with every common form of colour blindness, on white and on dark grey.
RECIPE_COLOURS = {
    ("svd", "input"): "#0072B2",
    ("svd", "plain"): "#E69F00",
    ("mpo", "plain"): "#CC79A7",
}
NOW = "#D55E00"
KEPT = "#009E73"
DROPPED = "#999999"


@dataclass(frozen=True)
class Theme:
    """What a chart takes from the page: ink, faint ink, and its background."""

    template: str
    ink: str
    faint: str


LIGHT = Theme("plotly_white", "#222222", "#888888")
DARK = Theme("plotly_dark", "#eeeeee", "#999999")
