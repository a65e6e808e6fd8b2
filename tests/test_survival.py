"""Which circuit survives a cut: scores, patterns and accuracies by a second way, angles no gauge can alter, and every
smallest bond against all bonds tried one by one."""

import math

import pytest
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.decompose.low_rank import LowRank
from workbench.explore import survival_table
from workbench.explore.circuit_change import circuit_change
from workbench.explore.one_cut import OneCut, shapes_patterns
from workbench.explore.survival import SurvivalLab
from workbench.explore.survival_table import Asked, smallest_bonds
from workbench.transformer.ablation import second_copy_accuracy
from workbench.transformer.capture import activations
from workbench.transformer.circuit import Circuit
from workbench.transformer.head_scores import head_scores
from workbench.transformer.load import load

KINDS = [("gpt2", "svd", "plain", 2), ("gpt2", "mpo", "plain", 2), ("llama", "svd", "input", 2)]


def quiet(what: str, done: int, total: int) -> None:
    """In the place of a bar."""


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(map(str, kind)))
def lab(request) -> SurvivalLab:
    return SurvivalLab(tiny_models.lab(*request.param), n_rows=4)


@pytest.fixture(scope="module")
def attn2() -> SurvivalLab:
    return SurvivalLab(load("attn2", "cpu"))


# ---- one state


def test_at_full_bonds_nothing_changes(lab):
    frame = lab.frame()
    assert frame.bond == frame.full_bond
    assert frame.scores_after == frame.scores
    assert frame.accuracy_after == frame.accuracy
    assert torch.equal(frame.pattern, frame.pattern_after)
    assert frame.weight_lost == 0
    for change in (frame.qk, frame.ov):
        assert (*change.out_cosines, *change.in_cosines) == pytest.approx((1.0,) * 8)
        assert torch.equal(change.before.values, change.after.values)


def test_what_is_shown_after_a_cut_is_what_the_cut_model_itself_does(lab):
    other = lab.lab  # has bonds of its own
    for matrix, full in lab.full_bonds.items():
        other.reset()
        other.bond[matrix] = max(1, full // 4)
        lab.cut(matrix, max(1, full // 4))
        for layer, head in ((0, 1), (1, 0)):
            lab.look_at(layer, head)
            frame = lab.frame()
            place = lab.heads.index((layer, head))
            own = head_scores(other.present, lab.rows, lab.period).values[:, place].tolist()
            assert frame.scores_after == pytest.approx(own, abs=1e-5)
            assert frame.accuracy_after == second_copy_accuracy(other.present, lab.rows, lab.period)
            pattern = activations(other.present, lab.rows[0])[f"blocks.{layer}.pattern"][head]
            torch.testing.assert_close(frame.pattern_after, pattern, atol=1e-5, rtol=1e-4)
            assert frame.shapes_pattern or torch.equal(frame.pattern, frame.pattern_after)
            state = next(state for state in other.frame(matrix).layers if state.name == matrix)
            assert frame.weight_lost == state.discarded_weight
        assert tuple(frame.spectrum.values.tolist()) == other.frame(matrix).values


def test_what_a_head_wrote_before_is_compared_with_what_it_writes_now():
    lab = SurvivalLab(tiny_models.gpt2(), n_rows=2)
    lab.look_at(1, 0)
    lab.cut("blocks.1.attn.W_QKV", 3)
    cut = lab.frame()
    assert (len(cut.qk.before), len(cut.qk.after)) == (16, 3)
    assert cut.qk.out_cosines[3] == cut.qk.in_cosines[3] == 0, "a rank of three has no fourth direction"
    lab.cut("blocks.1.attn.W_O", 5)
    other = lab.frame()
    assert other.qk.in_cosines == pytest.approx((1.0,) * 4), "W_O is in no QK circuit"
    assert len(other.ov.after) == 5


def test_a_cut_only_slices(monkeypatch):
    lab = SurvivalLab(tiny_models.gpt2(), n_rows=2)

    def refuse(*arguments, **named):
        raise AssertionError("a move computed something")

    monkeypatch.setattr(LowRank, "from_weight", refuse)
    lab.cut("blocks.1.mlp.W_in", 3)
    lab.frame()
    for name in ("eigh", "svd", "qr"):
        monkeypatch.setattr(torch.linalg, name, refuse)
    monkeypatch.setattr(torch.nn.Module, "__call__", refuse)
    lab.look_at(0, 0)
    lab.cut("blocks.1.mlp.W_in", 7)
    lab.cut("blocks.0.attn.W_O", 2)
    assert lab.present.model is not None


def test_one_matrix_is_cut_at_a_time_and_the_model_is_opened_as_it_is_cut():
    lab = SurvivalLab(tiny_models.gpt2(), n_rows=2)
    uncut = activations(lab.lm, lab.rows[0])["logits"]
    lab.cut("blocks.0.attn.W_O", 2)
    assert not torch.allclose(activations(lab.present, lab.rows[0])["logits"], uncut, atol=1e-3)
    assert lab.present.name == "tiny-gpt2, blocks.0.attn.W_O cut to 2"
    lab.cut("blocks.1.mlp.W_in")
    assert torch.equal(activations(lab.present, lab.rows[0])["logits"], uncut)


def test_a_lab_lends_its_decompositions_and_keeps_its_bonds():
    owner = tiny_models.lab()
    owner.kept = 0.4
    bonds = dict(owner.bond)
    lab = SurvivalLab(owner, n_rows=2)
    assert lab.frame().scores == lab.frame().scores_after, "the lab's own cuts are not in it"
    lab.cut("blocks.0.attn.W_QKV", 1)
    lab.frame()
    assert dict(owner.bond) == bonds
    layer = lab._one_cut._layers["blocks.0.attn.W_QKV"]
    assert layer.uncut is owner.layers["blocks.0.attn.W_QKV"].uncut


def test_the_input_metric_is_calibrated_on_other_rows():
    lab = SurvivalLab(tiny_models.gpt2(), metric="input", n_rows=2)
    assert lab.frame().spectrum.norm == "output"
    assert "svd, input metric" in str(lab.frame())
    calibrated = {tuple(row) for row in lab.lab._calibration.windows.tokens.tolist()}
    assert not calibrated & {tuple(row) for row in lab.rows.tolist()}


def test_the_printed_frame_tells_its_numbers():
    lab = SurvivalLab(tiny_models.gpt2(), n_rows=2)
    lab.look_at(0, 1)
    lab.cut("blocks.1.attn.W_QKV", 4)
    frame = lab.frame()
    printed = str(frame)
    assert "tiny-gpt2, head 0.1: blocks.1.attn.W_QKV cut to 4 of 32 (svd, plain metric)" in printed
    assert "the head's pattern does not depend on this matrix" in printed
    for name, before, after in frame.numbers:
        assert f"{name}: {before:.3f} → {after:.3f}" in printed
    assert "on 2 rows of 7 tokens twice" in printed


# ---- angles between circuits


def circuit(seed: int, out: int = 9, k: int = 5, into: int = 7) -> Circuit:
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((out, k), (k, into)))
    return Circuit("OV 1.0", left, right)


@given(st.integers(0, 100), st.integers(1, 5))
def test_the_angles_are_those_of_the_dense_matrices_and_the_same_in_every_gauge(seed, n):
    first, second = circuit(seed), circuit(seed + 1000)
    gauge = torch.linalg.qr(circuit(seed + 2000, 5, 5, 5).left).Q @ torch.diag(torch.tensor([1.0, 2, 3, 4, 5]).double())
    turned = Circuit("OV 1.0", second.left @ gauge, torch.linalg.inv(gauge) @ second.right)
    change, again = circuit_change(first, second, n), circuit_change(first, turned, n)
    (u, _, vh), (u_after, _, vh_after) = (torch.linalg.svd(each.dense()) for each in (first, second))
    out = torch.linalg.svdvals(u[:, :n].T @ u_after[:, :n])
    into = torch.linalg.svdvals(vh[:n] @ vh_after[:n].T)
    assert change.out_cosines == pytest.approx(out.tolist(), abs=1e-7)
    assert change.in_cosines == pytest.approx(into.tolist(), abs=1e-7)
    assert again.out_cosines == pytest.approx(change.out_cosines, abs=1e-7)
    assert again.in_cosines == pytest.approx(change.in_cosines, abs=1e-7)


def test_a_plane_turned_by_an_angle_has_its_cosine():
    angle = 0.4
    one = torch.eye(4, dtype=torch.float64)
    turned = one.clone()
    turned[1:3, 1:3] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    values = torch.diag(torch.tensor([3.0, 2.0], dtype=torch.float64))
    before = Circuit("QK 0.0", one[:, :2] @ values, one[:2])
    after = Circuit("QK 0.0", turned[:, :2] @ values, one[:2])
    change = circuit_change(before, after, 2)
    assert change.out_cosines == pytest.approx((1.0, math.cos(angle)))
    assert change.in_cosines == pytest.approx((1.0, 1.0))
    assert "QK 0.0: rank 2 → 2" in str(change)


def test_circuits_of_other_shapes_or_no_directions_are_refused():
    with pytest.raises(ValueError, match=r"OV 1\.0 is 9 × 7 before and 9 × 8 after; only circuits on the same legs"):
        circuit_change(circuit(0), circuit(0, into=8))
    with pytest.raises(ValueError, match="0 leading directions are none; give 1 or more"):
        circuit_change(circuit(0), circuit(1), 0)


# ---- the table


def by_hand(scores: torch.Tensor, wanted: torch.Tensor) -> list[int]:
    """The smallest bond of each head such that it and every larger one does; `scores` by bond, from 1, then head."""
    full = len(scores)
    found = []
    for head in range(scores.shape[1]):
        kept = [bond for bond in range(1, full) if scores[bond - 1, head] < wanted[head]]
        found.append(max(kept, default=0) + 1)
    return found


@given(st.integers(1, 128), st.integers(1, 4), st.integers(0, 1000))
def test_narrow_bonds_are_all_tried_and_every_larger_one_keeps_the_score(full, n_heads, seed):
    scores = torch.rand(full, n_heads, generator=torch.Generator().manual_seed(seed)) ** 0.05
    wanted = torch.full((n_heads,), 0.9)
    found = smallest_bonds(lambda bond: scores[bond - 1], full, wanted, torch.ones(n_heads, dtype=torch.bool))
    assert list(found) == by_hand(scores, wanted)


@settings(max_examples=40)
@given(st.integers(129, 900), st.lists(st.integers(1, 900), min_size=1, max_size=4))
def test_wide_bonds_are_exact_where_scores_fall_with_the_bond_and_most_are_not_tried(full, thresholds):
    thresholds = [min(full, threshold) for threshold in thresholds]
    tried = []

    def scores_at(bond: int) -> torch.Tensor:
        tried.append(bond)
        return torch.tensor([1.0 if bond >= threshold else 0.0 for threshold in thresholds])

    concerned = torch.ones(len(thresholds), dtype=torch.bool)
    assert list(smallest_bonds(scores_at, full, torch.ones(len(thresholds)), concerned)) == thresholds
    assert len(tried) == len(set(tried)), "none is tried twice"
    step = math.ceil(full / 64)
    assert len(tried) <= 64 + 1 + len(thresholds) * step


def test_heads_that_are_not_concerned_have_no_bond_and_cost_nothing():
    tried = []

    def scores_at(bond: int) -> torch.Tensor:
        tried.append(bond)
        return torch.tensor([0.0, 1.0 if bond >= 9 else 0.0])

    assert smallest_bonds(scores_at, 12, torch.ones(2), torch.tensor([False, True])) == (None, 9)
    assert tried == [11, 10, 9, 8]


@pytest.mark.parametrize("behaviour", ["previous", "induction"])
def test_every_cell_is_what_trying_all_bonds_one_by_one_gives(monkeypatch, behaviour):
    monkeypatch.setattr(survival_table, "_TIMES_CHANCE", 0.8)  # random heads do little: count what they do
    lab, other = SurvivalLab(tiny_models.gpt2(), n_rows=3), tiny_models.lab()
    table = lab.table(behaviour, keep=0.9, progress=quiet)
    uncut = head_scores(lab.lm, lab.rows, lab.period).of(behaviour)
    assert table.scores == pytest.approx(uncut.tolist())
    assert any(map(table.keeps_nothing, table.heads)) or behaviour == "previous"
    for matrix, full in zip(table.matrices, table.full_bonds, strict=True):
        scores = []
        for bond in range(1, full + 1):
            other.reset()
            other.bond[matrix] = bond
            scores.append(head_scores(other.present, lab.rows, lab.period).of(behaviour))
        bonds = by_hand(torch.stack(scores), 0.9 * uncut)
        for head, bond in zip(table.heads, bonds, strict=True):
            depends = shapes_patterns(matrix, head[0]) and not table.keeps_nothing(head)
            assert table.bond(head, matrix) == (bond if depends else None), f"{head}, {matrix}"


def test_a_heads_pattern_depends_on_all_before_it_and_on_what_makes_queries_and_keys():
    own = {"W_QKV": True, "W_Q": True, "W_K": True, "W_V": False, "W_O": False}
    assert {kind: shapes_patterns(f"blocks.1.attn.{kind}", 1) for kind in own} == own
    assert shapes_patterns("blocks.0.mlp.W_out", 1)
    assert not shapes_patterns("blocks.2.attn.W_QKV", 1)
    assert shapes_patterns("blocks.9.attn.W_QKV", 10), "layers are numbers, not words"
    assert not shapes_patterns("blocks.10.attn.W_QKV", 9)


def test_an_induction_head_needs_the_layer_before_it(attn2):
    table = attn2.table(progress=quiet)
    head = attn2.scores.strongest("induction", 1)[0].head
    assert head[0] == 1
    assert table.matrices == ("blocks.0.attn.W_QKV", "blocks.0.attn.W_O", "blocks.1.attn.W_QKV")
    for matrix, full in zip(table.matrices, table.full_bonds, strict=True):
        bond = table.bond(head, matrix)
        assert bond is not None
        assert 1 < bond < full
        attn2.look_at(*head)
        attn2.cut(matrix, bond)
        assert attn2.frame().scores_after[2] >= 0.95 * attn2.frame().scores[2]
        attn2.cut(matrix, bond - 1)
        assert attn2.frame().scores_after[2] < 0.95 * attn2.frame().scores[2]
    previous = attn2.scores.strongest("previous", 1)[0].head
    assert previous[0] == 0
    assert attn2.table("previous", progress=quiet).bond(previous, "blocks.0.attn.W_QKV") is not None
    assert all(table.bond(previous, matrix) is None for matrix in table.matrices), "it is no induction head"


def test_cut_to_one_the_pattern_of_an_induction_head_is_gone(attn2):
    attn2.look_at(*attn2.scores.strongest("induction", 1)[0].head)
    attn2.cut("blocks.0.attn.W_O", 1)
    frame = attn2.frame()
    assert frame.scores_after[2] < 0.2 * frame.scores[2]
    assert frame.accuracy_after < 0.5 < 0.99 < frame.accuracy


def test_a_frame_is_not_disturbed_by_a_table_that_is_measured_meanwhile(monkeypatch):
    lab = SurvivalLab(tiny_models.gpt2(), n_rows=2)
    monkeypatch.setattr(survival_table, "_TIMES_CHANCE", 0.8)
    lab.cut("blocks.1.attn.W_QKV", 5)
    alone, measured, read = lab.frame().scores_after, lab.tables("previous"), lab._one_cut.read

    def read_later(rows: torch.Tensor):
        next(measured)
        return read(rows)

    monkeypatch.setattr(lab._one_cut, "read", read_later)
    for _ in range(3):
        assert lab.frame().scores_after == alone
    assert len(next(measured).matrices) == 3


def test_the_printed_table_tells_every_bond_and_what_it_took(monkeypatch):
    monkeypatch.setattr(survival_table, "_TIMES_CHANCE", 0.8)
    lab = SurvivalLab(tiny_models.gpt2(), n_rows=3)
    table = lab.table("previous", progress=quiet)
    first, heads, *rows, last = str(table).split("\n")
    assert "tiny-gpt2: the smallest bond (svd, plain metric) that keeps 95% of a head's previous score" in first
    assert "1.1, 0." in heads
    for matrix, full, row in zip(table.matrices, table.full_bonds, rows, strict=True):
        assert row.startswith(f"{matrix} of {full} ")
        kept = [head for head in table.heads if not table.keeps_nothing(head)]
        told = ["–" if (bond := table.bond(head, matrix)) is None else str(bond) for head in kept]
        assert row.split()[3:] == told
    assert f"{table.n_passes} forward passes" in last
    assert table.seconds > 0


def test_wide_tables_say_that_bonds_were_tried_on_a_grid(monkeypatch):
    monkeypatch.setattr(survival_table, "_TIMES_CHANCE", 0.8)
    lab = SurvivalLab(tiny_models.gpt2(), n_rows=2)
    assert lab.table("previous", progress=quiet).exact
    monkeypatch.setattr(survival_table, "EXACT_UP_TO", 31)
    monkeypatch.setattr(survival_table, "_GRID", 4)
    wide = lab.table("previous", progress=quiet)
    assert not wide.exact
    assert "wide bonds are tried on a grid, then refined" in str(wide)


# ---- refusals


def test_what_is_not_there_is_refused_and_changes_nothing():
    lab = SurvivalLab(tiny_models.gpt2(), n_rows=2)
    before = lab.head, lab.matrix, lab.bond
    with pytest.raises(ValueError, match="block 1 of tiny-gpt2 has no head 5; it has 0 to 1"):
        lab.look_at(1, 5)
    with pytest.raises(ValueError, match=r"there is no matrix 'blocks\.1\.attn\.W_K' in tiny-gpt2; did you mean"):
        lab.cut("blocks.1.attn.W_K", 3)
    with pytest.raises(ValueError, match=r"bond 33 does not fit: this bond can be cut to 1, 2, … 32 \(full\)"):
        lab.cut("blocks.1.attn.W_QKV", 33)
    with pytest.raises(ValueError, match="no score is called 'copying'; there are previous, duplicate, induction"):
        lab.table("copying", progress=quiet)
    with pytest.raises(ValueError, match=r"the share of a score to keep is above 0 and at most 1, not 1\.5"):
        lab.table(keep=1.5, progress=quiet)
    assert (lab.head, lab.matrix, lab.bond) == before
    table = lab.table(progress=quiet)
    with pytest.raises(ValueError, match=r"head 7\.0 and 'blocks\.0\.attn\.W_O' are no cell of this table"):
        table.bond((7, 0), "blocks.0.attn.W_O")


def test_another_metric_than_the_labs_is_refused():
    with pytest.raises(ValueError, match="the lab is decomposed in the plain metric and 'input' was asked for"):
        SurvivalLab(tiny_models.lab(), metric="input")


def test_a_period_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="do not fit the context of tiny-gpt2, 16; give a period of 7 or less"):
        SurvivalLab(tiny_models.gpt2(), period=9)


def test_a_model_without_bonds_cannot_be_cut():
    lab = tiny_models.lab()
    assert set(OneCut(lab).full_bonds) == set(lab.layers)
    with pytest.raises(ValueError, match="the share of a score"):
        Asked("svd", torch.zeros(2, 4, dtype=torch.int64), 2, keep=0.0)
