"""Colours of a drawing, from Okabe & Ito (2008): told apart with every common form of colour blindness."""

from collections.abc import Mapping
from dataclasses import dataclass

FONT = "DejaVu Sans, Verdana, sans-serif"


@dataclass(frozen=True)
class Theme:
    """Ink, background, the colour of labels on nodes, and for each tone of a node its fill and its edge."""

    ink: str
    background: str
    label: str
    tones: Mapping[str, tuple[str, str]]


_FILLS = {
    "tensor": ("#9fd3f2", "#0072b2"),
    "data": ("#a9dfc9", "#00734f"),
    "value": ("#f7f7f4", "#555555"),
    "isometry": ("#f0bb68", "#9c5f00"),
    "unitary": ("#ecc9dd", "#a3527e"),
    "diagonal": ("#fbf7b8", "#8a8000"),
}
_STRUCTURE = {"bubble": ("rgba(128,128,128,0.13)", "#808080"), "sum": ("none", "#808080")}

LIGHT = Theme(
    "#222222",
    "#ffffff",
    "#111111",
    _FILLS | _STRUCTURE | {"dot": ("#222222", "#222222"), "bar": ("#222222", "#222222")},
)
DARK = Theme(
    "#eeeeee",
    "#1c1c1c",
    "#111111",
    _FILLS | _STRUCTURE | {"dot": ("#eeeeee", "#eeeeee"), "bar": ("#eeeeee", "#eeeeee")},
)
PRINT = Theme(
    "#000000",
    "#ffffff",
    "#000000",
    dict.fromkeys(_FILLS, ("#ffffff", "#000000"))
    | {
        "bubble": ("none", "#000000"),
        "sum": ("none", "#000000"),
        "dot": ("#000000", "#000000"),
        "bar": ("#000000", "#000000"),
    },
)
THEMES = {"light": LIGHT, "dark": DARK, "print": PRINT}
