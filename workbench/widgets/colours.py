"""One set of colours, safe for colour-blind readers, for the live and the printed charts."""

from dataclasses import dataclass

# Most of Okabe & Ito (2008): distinguishable with every common form of colour blindness, on white and on dark grey. A
# method has a colour, a metric a shape, so that neither is told by colour alone.
METHOD_COLOURS = {
    "svd": "#0072B2",
    "mpo": "#CC79A7",
    "kronecker": "#E69F00",
    "tucker": "#56B4E9",
    "cp": "#A6761D",
    "ring": "#7570B3",
}


@dataclass(frozen=True)
class Shape:
    """A marker's name in plotly and in matplotlib."""

    plotly: str
    matplotlib: str


METRIC_SHAPES = {
    "plain": Shape("square", "s"),
    "diagonal": Shape("triangle-up", "^"),
    "input": Shape("circle", "o"),
    "two-sided": Shape("diamond", "D"),
}
# Learners, in the order in which they are given.
LEARNER_COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#7570B3", "#56B4E9", "#A6761D")
LEARNER_SHAPES = (Shape("circle", "o"), Shape("square", "s"), Shape("diamond", "D"), Shape("triangle-up", "^"))
REPAIRED = Shape("star", "*")  # compensated, healed or quantised, in whatever metric
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
