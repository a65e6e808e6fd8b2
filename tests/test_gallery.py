"""The gallery: its page runs once, and every picture on it is looked at, compared and run again in float32."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from drawn import read_wires

from workbench import Diagram
from workbench.diagram.defects import defects
from workbench.diagram.equation import Equation
from workbench.rounding import largest_relative_error

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT = (DOCS / "gallery.md").read_text(encoding="utf-8")
IMAGES = re.findall(r"^!\[[^\]]*\]\(([^)]*)\)$", TEXT, re.MULTILINE)
CONSTRUCTS = """
    Vector; Matrix; Tensor of order four; Outer product; Contraction; Trace; Grouping legs; Splitting legs;
    Kronecker product; Identity; Dot with one leg; Dot with three legs; Dot with four legs; Fused dots;
    Diagonal matrix of a vector; Hadamard product; Batch; Isometry against its mirror; Projector; Unitary;
    Unitary, the other order; Diagonal on a bond; Size of a bond; Softmax; GELU; LayerNorm; Causal mask;
    Sum of diagrams; Singular value decomposition (SVD); Singular value decomposition as a sum of rank-one terms;
    Singular value decomposition of a tensor; Canonical polyadic decomposition (CP); Tucker decomposition (HOSVD);
    Matrix product state (MPS); Gauge freedom; Canonical form; Matrix product operator (MPO); Kronecker sum;
    Tensor ring; Tree tensor network (TTN); Projected entangled pair state (PEPS);
    Multi-scale entanglement renormalisation (MERA); Norm of a matrix product state; Expectation value; Dense layer;
    Stack of layers; Convolution; Embedding; Unembedding; Residual stream; Frozen head; Attention pattern;
    Attention head; QK circuit; OV circuit; Heads; No layer; One layer; Two layers; Q-composition; K-composition;
    V-composition; Two layers of attention; Paths of the induction head; Scores of the second layer;
    Block of a trained GPT-2; Head with its norm folded; Circuit of a head and its singular values;
    Grouped heads and rotary positions; Bilinear layer
"""
PIECE = """# A page

```python
import torch
from workbench import Diagram
diagram = Diagram.from_einsum("ij->ij", M=torch.eye(3))
```
"""


def loaded_maker():
    """The script that makes the drawings, as a module."""
    spec = importlib.util.spec_from_file_location("make_gallery", DOCS / "make_gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks for its own annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def maker():
    return loaded_maker()


@pytest.fixture(scope="module")
def pieces(maker):
    return {piece.image: piece for piece in maker.pieces()}


def sides(subject: Diagram | Equation) -> tuple[Diagram, ...]:
    """The diagrams of a picture: both sides of an equation."""
    return (subject.left, subject.right) if isinstance(subject, Equation) else (subject,)


def test_every_construct_of_the_notation_has_its_picture(pieces):
    wanted = [" ".join(name.split()) for name in CONSTRUCTS.split(";")]
    assert [piece.heading for piece in pieces.values()] == wanted


def test_every_picture_has_a_file_of_its_own_and_no_file_is_left_over():
    assert sorted(IMAGES) == sorted(f"gallery/{path.name}" for path in (DOCS / "gallery").iterdir())


def test_every_picture_is_described_and_follows_a_sentence_and_a_short_block():
    for section in re.split(r"^#+ ", TEXT, flags=re.MULTILINE):
        heading, _, body = section.partition("\n")
        if "![" not in body:
            continue
        assert re.match(r"\n[A-Z][^`]*[.:]\n\n```python\n", body), f"{heading} says nothing before its code"
        assert re.search(r"!\[[A-Z][^\]]{9,}\]", body), f"the image of {heading} has no words"
        for block in re.findall(r"```python\n(.*?)^```$", body, re.MULTILINE | re.DOTALL):
            assert block.count("\n") <= 15, f"{heading} has a block of {block.count(chr(10))} lines"


@pytest.mark.parametrize("image", IMAGES)
def test_the_drawing_has_no_defect(pieces, image):
    assert defects(pieces[image].subject.scene) == ()


@pytest.mark.parametrize("image", [image for image in IMAGES if image != "gallery/residual-stream.svg"])
def test_the_coordinates_in_the_file_show_what_each_leg_joins(pieces, image):
    """A branch of the residual stream begins on the stream itself, and not at a mark: that picture is left out."""
    seen = sorted((wire.name, *sorted(wire.marks)) for wire in read_wires((DOCS / image).read_text(encoding="utf-8")))
    wires = pieces[image].subject.scene.wires
    assert seen == sorted((wire.name, *sorted(end for end in wire.ends if end)) for wire in wires)


@pytest.mark.parametrize("image", IMAGES)
def test_the_stored_drawing_is_the_one_that_the_code_makes_now(pieces, image):
    stored = (DOCS / image).read_text(encoding="utf-8")
    assert stored == pieces[image].svg(), f"{image} is out of date; run python docs/make_gallery.py"
    assert len(stored.encode()) < 60_000


@pytest.mark.parametrize("image", IMAGES)
def test_the_numbers_in_float32_are_those_in_float64(pieces, image):
    for diagram in sides(pieces[image].subject):
        assert {array.dtype for array in diagram.arrays.values()} == {torch.float64}
        single = diagram.result({name: array.float() for name, array in diagram.arrays.items()})
        assert single.dtype == torch.float32
        assert largest_relative_error(diagram.result(), single.double()) < 1e-5


def test_every_equation_on_the_page_holds_to_rounding(pieces):
    equations = {image: piece.subject for image, piece in pieces.items() if isinstance(piece.subject, Equation)}
    errors = {image: equation.error for image, equation in equations.items()}
    assert {image: error for image, error in errors.items() if not error <= 1e-10} == {}
    assert {equation.sign for equation in equations.values()} == {"="}
    assert len(equations) >= 10


def test_the_maker_writes_the_drawing_beside_the_page(maker, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PIECE + "\n![A box](pictures/box.svg)\n", encoding="utf-8")
    maker.main(page)
    (piece,) = maker.pieces(page)
    assert piece.heading == "A page"
    assert (tmp_path / "pictures" / "box.svg").read_text(encoding="utf-8") == piece.svg()
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["box.svg"]


def test_an_image_without_a_diagram_of_its_own_is_named_with_its_line(maker, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PIECE + "\n![A box](box.svg)\n\n![Again](again.svg)\n", encoding="utf-8")
    wanted = "page.md, line 11: again.svg needs one `diagram` or `equation` made before it and after the image above"
    with pytest.raises(ValueError, match=re.escape(wanted)):
        maker.pieces(page)
