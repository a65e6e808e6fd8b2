"""Proofs: what holds is measured, what does not is refused with its number, and a saved proof can be made again."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from workbench.network import Network
from workbench.node import Node
from workbench.program import Apply, Contract, Program
from workbench.rewrite.bonds import Absorb, InsertGauge
from workbench.rewrite.dots import FuseDots
from workbench.rewrite.functions import FreezePattern, MoveThrough
from workbench.rewrite.isometries import CancelPair, SplitSVD
from workbench.rewrite.legs import MergeLegs, SplitLeg
from workbench.rewrite.place import UntrueRewrite
from workbench.rewrite.proof import OFFERED, Proof, replay, rewrites_for
from workbench.rewrite.trains import CyclicTrace, MoveCentre
from workbench.rounding import tolerance


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def product(dtype: torch.dtype = torch.float64) -> Proof:
    """A x, with A of shape (3, 4)."""
    program = Program.of(Network.from_einsum("ij,jk->ik", "Ax"))
    return Proof(program, {"A": random(3, 4).to(dtype), "x": random(4, 5).to(dtype)})


def attention(call) -> Proof:
    """A function of the scores X Yᵀ, times W."""
    program = Program(
        {"X": ("t", "k"), "Y": ("s", "k"), "W": ("s", "e")},
        (
            Contract("scores", Network.from_einsum("tk,sk->ts", "XY")),
            Apply("pattern", "softmax", call, ("scores",), ("t", "s")),
            Contract("out", Network.from_einsum("ts,se->te", ["pattern", "W"])),
        ),
    )
    return Proof(program, {"X": random(3, 2), "Y": random(4, 2), "W": random(4, 5)})


def longer() -> Proof:
    """A split, absorbed to the left; a gauge on the bond, cancelled; the rest of A split and cut to bond 2."""
    return (
        product()
        .then(SplitSVD("out", "A", ("i",), None, ("U", "s", "V")))
        .then(Absorb("out", "s", "U"))
        .then(InsertGauge("out", "j", "G", 3))
        .then(CancelPair("out", "G", "G⁻¹"))
        .then(SplitSVD("out", "U", ("i",), 2, ("u", "t", "v")))
    )


def test_a_proof_prints_a_line_for_every_step_and_never_equates_a_truncation():
    proof = longer()
    lines = str(proof).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "1. split A by SVD",
        "2. absorb s into U",
        "3. insert G G⁻¹ on j",
        "4. cancel G against G⁻¹",
        "5. split U by SVD, cut to bond 2",
    ]
    for line, step in zip(lines[:4], proof.steps, strict=False):
        assert line.endswith(f"  = (error {step.error:.2g})")
        assert step.error < 1e-14
    assert lines[4].endswith(f"  ≈ (error {proof.steps[4].error:.3g})")
    assert "=" not in lines[4]


def test_every_rewrite_says_what_it_does():
    said = [
        (FuseDots("out", "p", "q"), "fuse dots p and q"),
        (MergeLegs("out", ("a", "b"), "c"), "merge a, b into c"),
        (SplitLeg("out", "c", (3, 4), ("a", "b")), "split leg c into a, b"),
        (FreezePattern("A"), "freeze A"),
        (CyclicTrace("out", "B"), "turn the trace to begin with B"),
        (MoveCentre("out", "B"), "move the centre to B"),
        (MoveThrough("out", "A"), "move out through A"),
    ]
    assert [str(rewrite) for rewrite, _ in said] == [text for _, text in said]


@given(bond=st.integers(1, 3))
def test_the_error_of_a_truncation_is_measured_and_agrees_with_its_spectrum(bond):
    A = random(3, 4)
    start = Proof(Program.of(Network((Node("A", ("i", "j")),), ("i", "j"))), {"A": A})
    split = SplitSVD("out", "A", ("i",), bond, ("U", "s", "V"))
    proof = start.then(split)
    u, s, vh = torch.linalg.svd(A)
    off = A - u[:, :bond] @ torch.diag(s[:bond]) @ vh[:bond]
    assert proof.steps[0].error == pytest.approx(float(off.abs().max() / A.abs().max()), abs=1e-12)
    program, arrays = proof.last
    dropped = torch.linalg.vector_norm(program.run(arrays)["out"] - A)
    assert float(dropped) == pytest.approx(split.spectrum(*start.last).error(bond), abs=1e-12)
    assert "≈ (error" in str(proof)
    assert "=" not in str(proof)


def test_the_error_of_a_whole_proof_is_that_of_its_last_result():
    proof = longer()
    first, last = (program.run(arrays)["out"] for program, arrays in ((proof.program, dict(proof.arrays)), proof.last))
    assert proof.error() == pytest.approx(float((last - first).abs().max() / first.abs().max()))
    assert product().error() == 0


def test_moving_a_matrix_through_softmax_is_refused_with_its_number():
    proof = attention(lambda x: x.softmax(-1)).then(InsertGauge("scores", "k", "G", 1))
    X, Y, W = proof.arrays.values()
    before = (X @ Y.T).softmax(-1) @ W
    off = float(((X @ Y.T @ W).softmax(-1) - before).abs().max() / before.abs().max())
    with pytest.raises(
        UntrueRewrite, match=f"^move out through pattern is untrue: it changes 'out' by {off:.3g} of its"
    ):
        proof.then(MoveThrough("out", "pattern"))
    assert len(proof.steps) == 1, "the proof stays as it was"
    assert MoveThrough("out", "pattern") in rewrites_for(proof.last[0], "out")
    linear = attention(lambda x: 3 * x).then(MoveThrough("out", "pattern"))
    assert linear.steps[0].error < 1e-14


def test_rounding_is_told_from_untruth_in_each_dtype():
    assert (tolerance(torch.float64), tolerance(torch.float32)) == (1e-10, 1e-5)
    assert 1e-9 < product(torch.float32).then(InsertGauge("out", "j", "G", 0)).steps[0].error < 1e-6
    for dtype, share in ((torch.float64, 1e-7), (torch.float32, 1e-3)):
        near = attention(lambda x, share=share: x + share * x.square())
        near = replace(near, arrays={name: array.to(dtype) for name, array in near.arrays.items()})
        with pytest.raises(UntrueRewrite, match=f"where rounding in {dtype} explains {tolerance(dtype):g} at most"):
            near.then(MoveThrough("out", "pattern"))
    with pytest.raises(ValueError, match=r"an equality cannot be measured in torch\.bfloat16; convert the arrays to"):
        product(torch.bfloat16).then(Absorb("out", "x", "A"))


def test_nothing_over_nothing_is_no_error_and_something_over_nothing_is_refused():
    proof = replace(product(), arrays={"A": torch.zeros(3, 4), "x": torch.ones(4, 5)})
    assert proof.then(Absorb("out", "A", "x")).steps[0].error == 0
    proof = attention(lambda x: x + 1)
    zeros = replace(proof, arrays={**proof.arrays, "X": torch.zeros(3, 2).double(), "W": torch.zeros(4, 5).double()})
    with pytest.raises(UntrueRewrite, match="it changes 'out' by inf"):
        zeros.then(MoveThrough("out", "pattern"))


def test_what_is_not_a_number_proves_nothing():
    proof = attention(lambda x: x * (float("nan") if x.shape[1] == 5 else 1))
    with pytest.raises(UntrueRewrite, match="it changes 'out' by nan"):
        proof.then(MoveThrough("out", "pattern"))


def test_a_rewrite_that_makes_another_result_is_refused():
    class Turned(FreezePattern):
        def apply(self, program, arrays):
            return Program.of(Network((Node("W", ("s", "e")),), ("e", "s"))), {"W": arrays["W"]}

    class Renamed(FreezePattern):
        def apply(self, program, arrays):
            return Program.of(Network((Node("W", ("t", "e")),), ("t", "e"))), {"W": arrays["W"]}

    proof = attention(lambda x: x)
    with pytest.raises(ValueError, match=r"freeze pattern makes a result over the legs \(e, s\), not \(t, e\)"):
        proof.then(Turned("pattern"))
    with pytest.raises(ValueError, match=r"is torch.float64 \(4, 5\), and torch.float64 \(3, 5\) is wanted"):
        proof.then(Renamed("pattern"))


def test_a_saved_proof_is_made_again_with_the_same_errors(tmp_path):
    proof = longer()
    proof.save(tmp_path / "proof.json")
    for record in (tmp_path / "proof.json", json.loads((tmp_path / "proof.json").read_text()), proof.record()):
        again = replay(proof.program, proof.arrays, record)
        assert [step.rewrite for step in again.steps] == [step.rewrite for step in proof.steps]
        assert [step.error for step in again.steps] == pytest.approx([step.error for step in proof.steps], abs=1e-14)
        assert again.last[0] == proof.last[0]
    entry = json.loads((tmp_path / "proof.json").read_text())[1]
    assert entry == {"rewrite": "Absorb", "value": "out", "node": "s", "into": "U", "error": proof.steps[1].error}


def test_a_saved_proof_is_measured_again_on_other_arrays():
    steps = attention(lambda x: x / 2).then(MoveThrough("out", "pattern")).record()
    other = attention(torch.tanh)
    with pytest.raises(UntrueRewrite, match="move out through pattern is untrue"):
        replay(other.program, other.arrays, steps)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"rewrite": "Guess", "value": "out"}, "step 2 has rewrite 'Guess', which is none of FuseDots, DropLine"),
        ({"value": "out"}, "step 2 has rewrite None, which is none of"),
        (
            {"rewrite": "Absorb", "value": "out", "node": "A"},
            "step 2, Absorb, has value, node; it needs value, node, into",
        ),
        (
            {"rewrite": "FreezePattern", "value": "out", "seed": 1},
            "step 2, FreezePattern, has value, seed; it needs value",
        ),
    ],
)
def test_a_record_that_is_none_is_refused(entry, message):
    proof = product().then(InsertGauge("out", "j", "G", 0))
    with pytest.raises(ValueError, match=message):
        replay(proof.program, proof.arrays, [*proof.record(), entry])


GAUGE = {"rewrite": "InsertGauge", "value": "out", "bond": "j", "gauge": "G", "seed": 0}
SPLIT = {"rewrite": "SplitSVD", "value": "out", "node": "A", "left_legs": ["i"], "bond": None, "names": ["U", "s", "V"]}
PARTED = {"rewrite": "SplitLeg", "value": "out", "leg": "j", "sizes": [2, 2], "names": ["p", "q"]}


@pytest.mark.parametrize("record", [{}, 3, None, "abc", GAUGE])
def test_a_file_that_holds_no_list_of_steps_is_refused_by_its_name(tmp_path, record):
    path, proof = tmp_path / "proof.json", product()
    path.write_text(json.dumps(record))
    with pytest.raises(
        ValueError, match=r"^\S+proof\.json: a proof is a list of steps, as Proof\.save writes it, not "
    ):
        replay(proof.program, proof.arrays, path)


@pytest.mark.parametrize("content", [b"", b"nothing", b'[{"rewrite": "Abs', b"\xff\xfe\x00", b"[" * 100_000])
def test_a_file_that_is_no_json_is_refused_by_its_name(tmp_path, content):
    path, proof = tmp_path / "proof.json", product()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^\S+proof\.json is not JSON that can be read \(.+\); name a file of Proof"):
        replay(proof.program, proof.arrays, path)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (1, "is 1; a step is a rewrite's name with its fields"),
        (None, "is None; a step is a rewrite's name with its fields"),
        ({"rewrite": ["Absorb"]}, r"has rewrite \['Absorb'\], which is none of FuseDots"),
        ({"rewrite": "Absorb"}, "Absorb, has no fields; it needs value, node, into"),
        (GAUGE | {"bond": {"a": 1}}, r"InsertGauge has bond \{'a': 1\}; it needs a name"),
        (GAUGE | {"seed": "x"}, "InsertGauge has seed 'x'; it needs a whole number"),
        (GAUGE | {"seed": 1.5}, "InsertGauge has seed 1.5; it needs a whole number"),
        (GAUGE | {"seed": True}, "InsertGauge has seed True; it needs a whole number"),
        (GAUGE | {"seed": 2**63}, "seed 9223372036854775808 of gauge 'G' is not from −2⁶³ to"),
        (GAUGE | {"gauge": 5}, "InsertGauge has gauge 5; it needs a name"),
        (GAUGE | {"gauge": ""}, "InsertGauge has gauge ''; a name has one letter or more"),
        (PARTED | {"sizes": ["2", "2"]}, r"SplitLeg has sizes \('2', '2'\); it needs a tuple of whole numbers"),
        (PARTED | {"sizes": None}, "SplitLeg has sizes None; it needs a tuple of whole numbers"),
        (PARTED | {"sizes": [2.0, 2.0]}, r"SplitLeg has sizes \(2.0, 2.0\); it needs a tuple of whole numbers"),
        (PARTED | {"names": [1, 2]}, r"SplitLeg has names \(1, 2\); it needs a tuple of names"),
        (PARTED | {"names": "pq"}, "SplitLeg has names 'pq'; it needs a tuple of names"),
        (SPLIT | {"bond": "2"}, "SplitSVD has bond '2'; it needs a whole number or None"),
        (SPLIT | {"names": [1, 2, 3]}, r"SplitSVD has names \(1, 2, 3\); it needs a tuple of three names"),
        (SPLIT | {"names": ["U", "V"]}, r"SplitSVD has names \('U', 'V'\); it needs a tuple of three names"),
        (SPLIT | {"names": ["U", "", "V"]}, r"SplitSVD has names \('U', '', 'V'\); a name has one letter or more"),
        (SPLIT | {"node": "Z"}, "contraction 'out' has no node 'Z'"),
    ],
)
def test_a_step_of_a_file_that_is_none_is_refused_by_file_number_and_field(tmp_path, step, message):
    path, proof = tmp_path / "proof.json", product()
    path.write_text(json.dumps([GAUGE | {"gauge": "H"}, step]))
    with pytest.raises(ValueError, match=rf"^\S+proof\.json: step 2\W+{message}"):
        replay(proof.program, proof.arrays, path)


def test_good_steps_of_every_kind_of_field_are_read_from_a_file(tmp_path):
    path, proof = tmp_path / "proof.json", product()
    path.write_text(json.dumps([PARTED, GAUGE | {"bond": "p"}, {**SPLIT, "bond": 2}]))
    steps = replay(proof.program, proof.arrays, path).steps
    assert [str(step.rewrite) for step in steps] == [
        "split leg j into p, q",
        "insert G G⁻¹ on p",
        "split A by SVD, cut to bond 2",
    ]
    assert replay(proof.program, proof.arrays, []).steps == ()


def with_field(rewrite, name: str, value: object):
    """The rewrite with a field of any kind, as it is made where annotations are not checked."""
    object.__setattr__(rewrite, name, value)
    return rewrite


@pytest.mark.parametrize(("name", "value"), [("names", (1, 2)), ("sizes", ("2", "2")), ("leg", 1), ("value", None)])
def test_fields_of_another_kind_are_refused_before_anything_is_changed(name, value):
    proof, rewrite = product(), with_field(SplitLeg("out", "j", (2, 2), ("p", "q")), name, value)
    with pytest.raises(TypeError, match=rf"^SplitLeg has {name} .+; it needs a "):
        proof.then(rewrite)
    with pytest.raises(ValueError, match="SplitLeg has leg ' '; a name has one letter or more"):
        proof.then(SplitLeg("out", " ", (2, 2), ("p", "q")))
    assert proof.steps == ()


def test_an_untrue_step_is_refused_where_the_result_does_not_use_its_value():
    softmax = attention(lambda x: x.softmax(-1))
    unused = replace(softmax.program.steps[2], out="unused")
    result = Contract("out", Network.from_einsum("ts->t", ["scores"]))
    program = replace(softmax.program, steps=(*softmax.program.steps[:2], unused, result))
    proof = Proof(program, softmax.arrays)
    with pytest.raises(UntrueRewrite, match=r"^move unused through pattern is untrue: it changes 'unused' by \d"):
        proof.then(MoveThrough("unused", "pattern"))
    assert proof.then(InsertGauge("unused", "s", "G", 0)).steps[0].error < 1e-13
    cut = proof.then(SplitSVD("unused", "W", ("s",), 1, ("u", "s", "v")))
    before, after = (own.run(arrays)["unused"] for own, arrays in ((proof.program, dict(proof.arrays)), cut.last))
    assert cut.steps[0].error == pytest.approx(float((after - before).abs().max() / before.abs().max()))
    assert cut.steps[0].error > 1e-3
    assert cut.error() == 0, "the result is what it was"


def test_a_function_that_cannot_take_what_a_rewrite_gives_it_is_refused():
    normed = attention(torch.nn.LayerNorm(4, dtype=torch.float64))
    with pytest.raises(
        ValueError, match=r"^move out through pattern makes a program that cannot be run: out: Given norm"
    ):
        normed.then(MoveThrough("out", "pattern"))


def test_a_network_is_a_program_of_one_contraction():
    network = Network.from_einsum("ij,kj->ik", "AA")
    program = Program.of(network)
    assert program == Program({"A": ("i", "j")}, (Contract("out", network),))


def test_the_menu_offers_what_the_structure_allows():
    nodes = (
        Node("Q", ("i", "a"), form="isometry", tip=("a",)),
        Node("mirror", ("i", "b"), tensor="Q", form="isometry", tip=("b",), conj=True),
        Node("p", ("b", "x", "c"), copy=True),
        Node("q", ("c", "d"), copy=True),
        Node("s", ("x",), form="diagonal"),
        Node("M", ("d", "e", "f")),
        Node("N", ("e", "f", "j")),
    )
    program = Program.of(Network(nodes, ("a", "j")))
    offered = rewrites_for(program, "out")
    for rewrite in (
        FuseDots("out", "p", "q"),
        CancelPair("out", "Q", "mirror"),
        Absorb("out", "s", "mirror"),
        Absorb("out", "M", "N"),
        SplitSVD("out", "M", ("d", "e"), None, ("M.u", "M.s", "M.vh")),
        MergeLegs("out", ("e", "f"), "e·f"),
        InsertGauge("out", "i", "G", 0),
    ):
        assert rewrite in offered
    assert not [own for own in offered if isinstance(own, CyclicTrace | MoveCentre)]
    arrays = {"Q": torch.linalg.qr(random(5, 3))[0], "s": random(3), "M": random(3, 2, 4), "N": random(2, 4, 2)}
    for rewrite in offered:
        assert Proof(program, arrays).then(rewrite).steps[0].error < 1e-13, rewrite
    assert {type(own) for own in offered} <= set(OFFERED)


def test_a_frozen_pattern_opens_the_rest_to_every_identity():
    proof = attention(lambda x: x.softmax(-1))
    with pytest.raises(ValueError, match="node 'pattern' holds 'pattern', which a step computes; freeze it first"):
        proof.then(SplitSVD("out", "pattern", ("t",), None, ("u", "s", "v")))
    proof = proof.then(FreezePattern("pattern")).then(SplitSVD("out", "pattern", ("t",), None, ("u", "s", "v")))
    assert [step.error < 1e-14 for step in proof.steps] == [True, True]
    assert list(proof.last[0].inputs) == ["W", "u", "s", "v"]
