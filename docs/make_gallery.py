"""Runs gallery.md from top to bottom and writes the drawing that each of its images shows.

Run `python docs/make_gallery.py` after a change to the page or to the layout; the tests compare the files.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from workbench import Diagram
from workbench.diagram.equation import Equation
from workbench.diagram.svg import svg
from workbench.whole_files import replaced_file

PAGE = Path(__file__).with_name("gallery.md")
PART = re.compile(
    r"^#+ (?P<heading>[^\n]+)$|^```python\n(?P<code>.*?)^```$|^!\[(?P<alt>[^\]]*)\]\((?P<image>[^)]*)\)$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, eq=False)
class Piece:
    """One picture of the page: where its drawing lies beside the page, its words, and what is drawn."""

    heading: str
    alt: str
    image: str
    subject: Diagram | Equation

    def svg(self) -> str:
        """The drawing as a file by itself."""
        return svg(self.subject.scene)


def pieces(page: Path = PAGE) -> list[Piece]:
    """The page's pictures in order, each of the one `diagram` or `equation` that the blocks before it make.

    Raises ValueError for an image that follows no such block, or one that makes both.
    """
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, object] = {"__name__": "__main__"}
    found, heading, shown = [], "", set()
    for part in PART.finditer(text):
        number = text.count("\n", 0, part.start()) + 1
        if part["heading"]:
            heading = part["heading"]
        elif part["code"] is not None:
            exec(compile("\n" * number + part["code"], str(page), "exec"), namespace)
        else:
            values = [namespace.get(name) for name in ("diagram", "equation")]
            made = [each for each in values if isinstance(each, Diagram | Equation) and id(each) not in shown]
            if len(made) != 1:
                raise ValueError(
                    f"{page.name}, line {number}: {part['image']} needs one `diagram` or `equation` "
                    f"made before it and after the image above, not {len(made)}."
                )
            found.append(Piece(heading, part["alt"], part["image"], made[0]))
            shown.add(id(made[0]))
    return found


def main(page: Path = PAGE) -> None:
    """Write every drawing of the page."""
    for piece in pieces(page):
        path = page.parent / piece.image
        with replaced_file(path) as temporary:
            temporary.write_text(piece.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
