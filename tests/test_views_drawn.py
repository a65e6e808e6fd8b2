"""Views of real layers as pictures: no fault in any of them; branches, sums and legs where they belong."""

from dataclasses import replace

import pytest
import torch
from tiny_models import FAMILIES

from workbench import load
from workbench.diagram.defects import defects
from workbench.rounding import largest_relative_error
from workbench.transformer.anatomy import Anatomy
from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import paths, streams, view, view_of
from workbench.transformer.weight import Weight

MODELS = ("pygpt", "names-gpt2", "stories260K", "tiny-gpt2", "tiny-llama", "by hand")


@pytest.fixture(scope="module", params=MODELS)
def anatomy(request) -> Anatomy:
    name = request.param
    if name == "by hand":
        return induction_by_hand()
    if name.startswith("tiny-"):
        return anatomy_of(FAMILIES[name.removeprefix("tiny-")]())
    source = name if name == "pygpt" else request.getfixturevalue("shared_data") / "models" / name
    return anatomy_of(load(source, "cpu"))


def below(anatomy: Anatomy, path: str) -> list[str]:
    found = [path]
    for child in paths(anatomy, path):
        found += below(anatomy, child)
    return found


def cut(weight: Weight, out: str, into: str, shared: str = "") -> Weight:
    """The weight as two factors over a bond of 5, as a cut model stores it."""
    own = weight.with_legs((out, into))
    u, s, vh = torch.linalg.svd(own.dense(), full_matrices=False)
    sizes = {leg: weight.size(leg) for leg in (out, into)}
    factors = (u[:, :5] * s[:5], vh[:5])
    return Weight.pair(weight.name, {out: sizes[out]}, {into: sizes[into]}, factors, shared or f"{weight.name}.R")


def test_no_view_is_drawn_with_a_fault(anatomy):
    row = torch.tensor([1, 5, 2, 5, 1, 3])
    ends, seen = {0, len(anatomy.blocks) - 1}, set()
    for fold in (False, True):
        known = streams(anatomy, row)
        tops = [path for path in paths(anatomy) if not path.startswith("blocks.") or int(path.split(".")[1]) in ends]
        for path in ["model", *(each for top in tops for each in below(anatomy, top))]:
            scene = view_of(anatomy, path, fold, row, known).scene
            drawn = scene.marks, scene.wires, scene.texts
            assert drawn in seen or not defects(scene), f"{path}, fold {fold}: {defects(scene)}"
            seen.add(drawn)  # heads and layers are drawn alike


def test_a_cut_model_is_drawn_without_a_fault():
    anatomy = anatomy_of(FAMILIES["llama"]())
    block = anatomy.blocks[1]
    mlp = block.mlp
    assert mlp is not None
    assert mlp.W_gate is not None
    mlp = replace(mlp, W_in=cut(mlp.W_in, "f", "d"), W_gate=cut(mlp.W_gate, "f", "d"), W_out=cut(mlp.W_out, "d", "f"))
    anatomy = replace(anatomy, blocks=(anatomy.blocks[0], replace(block, mlp=mlp)))
    row = torch.tensor([1, 5, 2])
    for path in ("blocks.1", "blocks.1.mlp"):
        assert defects(view(anatomy, path, row).scene) == ()


@pytest.mark.parametrize("path", ["blocks.1", "blocks.1.mlp"])
def test_the_branches_of_a_gated_mlp_part_and_meet_at_dots_between_them(path):
    diagram = view(FAMILIES["llama"](), path, torch.tensor([1, 5, 2]))
    values = diagram.run()
    assert largest_relative_error(values["gate"] * values["pre_linear"], values["post"]) < 1e-6
    for name, legs in diagram.program.legs.items():
        assert tuple(diagram.sizes[name].get(leg) for leg in legs) == values[name].shape, "known beyond the dots too"
    at = {mark.node: mark for mark in diagram.scene.marks}
    dots = {at["dot_t"].name, at["dot_f"].name}
    sizes = {wire.leg: wire.size for wire in diagram.scene.wires if dots & set(wire.ends)}
    assert sizes == {"t": 3, "t.1": 3, "t.2": 3, "f": 48, "f.1": 48, "f.2": 48}
    assert at["dot_t"].y == at["dot_f"].y == at["W_out"].y
    assert at["gate"].y < at["dot_t"].y < at["W_in"].y
    assert at["dot_t"].x < at["W_in"].x < at["dot_f"].x < at["W_out"].x


def test_a_rotary_circuit_has_its_matrix_legs_aside_and_the_distance_below():
    scene = view(FAMILIES["llama"](), "blocks.0.attn.head.1.QK", torch.tensor([1, 5, 2])).scene
    end = {wire.leg: wire.path[-1][-2:] for wire in scene.wires if wire.ends[1] is None}
    at = {mark.node: mark for mark in scene.marks}
    assert end["d"][0] < at["W_Q"].box[0]
    assert end["e"][0] > at["W_K"].box[2]
    assert end["n"][1] > at["R"].box[3]


def test_what_is_added_to_the_stream_has_a_line_of_its_own_in_a_block():
    for model, wanted in ((FAMILIES["gpt2"](), "mlp"), (induction_by_hand(), "resid_post")):
        scene = view(model, "blocks.1").scene
        names = [text.content for text in scene.texts if text.content.endswith(" =")]
        assert "result =" in names
        assert f"{wanted} =" in names
        assert names.index("result =") < names.index("resid_post =")
