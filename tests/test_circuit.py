"""Circuits kept as thin factors answer as the dense matrices do; tables of all heads' circuits; copying scores."""

import copy
from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from tiny_models import FAMILIES
from torch import Tensor

from workbench import LanguageModel
from workbench.transformer.anatomy import Anatomy
from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.circuit import Circuit, full_ov, full_qk, ov_circuit, qk_circuit
from workbench.transformer.circuit_tables import circuit_spectra, copying_scores
from workbench.transformer.composition import layer_bounds
from workbench.transformer.reading import anatomy_of

SIZES = st.integers(1, 7)


def made(m: int, k: int, n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Circuit:
    draw = torch.Generator().manual_seed(seed)
    return Circuit(
        "made", torch.randn(m, k, generator=draw, dtype=dtype), torch.randn(k, n, generator=draw, dtype=dtype)
    )


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def in_float64(lm: LanguageModel) -> LanguageModel:
    return replace(lm, model=copy.deepcopy(lm.model).double())


@pytest.fixture(params=FAMILIES)
def lm(request) -> LanguageModel:
    return in_float64(FAMILIES[request.param]())


@pytest.fixture
def anatomy(lm) -> Anatomy:
    return anatomy_of(lm)


def own_matrices(lm: LanguageModel, layer: int, head: int) -> dict[str, Tensor]:
    """W_Q, W_K, W_V and W_O of one head, cut from the modules by hand, with the norm's gain on what reads."""
    if lm.name == "tiny-gpt2":
        block = lm.model.transformer.h[layer]
        gain, out = block.ln_1.weight, block.attn.c_proj.weight.T
        q, k, v = block.attn.c_attn.weight.T.chunk(3)
        size, shared = 16, 1
    else:
        block = lm.model.model.layers[layer]
        gain, out = block.input_layernorm.weight, block.self_attn.o_proj.weight
        q, k, v = (getattr(block.self_attn, f"{name}_proj").weight for name in "qkv")
        size, shared = 8, 2
    own, key = slice(head * size, (head + 1) * size), slice(head // shared * size, (head // shared + 1) * size)
    return {"W_Q": q[own] * gain, "W_K": k[key] * gain, "W_V": v[key] * gain, "W_O": out[:, own]}


@given(SIZES, SIZES, SIZES, st.integers(0, 9))
def test_a_circuit_has_the_singular_values_and_the_norm_of_its_matrix(m, k, n, seed):
    circuit = made(m, k, n, seed)
    u, s, vh = circuit.svd
    assert len(s) == min(m, k, n)
    close((u * s) @ vh, circuit.dense())
    close(u.mT @ u, torch.eye(len(s), dtype=torch.float64))
    close(vh @ vh.mT, torch.eye(len(s), dtype=torch.float64))
    close(s, torch.linalg.svdvals(circuit.left @ circuit.right)[: len(s)])
    assert circuit.norm == pytest.approx(float(torch.linalg.matrix_norm(circuit.dense())), abs=1e-12)
    assert circuit.spectrum.error(0) == pytest.approx(circuit.norm)


@given(SIZES, SIZES, st.integers(0, 9))
def test_a_circuit_has_the_eigenvalues_of_its_matrix_that_are_not_zero(d, k, seed):
    circuit = made(d, k, d, seed)
    dense = torch.linalg.eigvals(circuit.dense())
    found = circuit.eigenvalues()
    assert bool((found.abs().diff() <= 1e-12).all())
    # Power sums settle a set of numbers whose order rounding may change.
    for power in range(1, 4):
        close((found**power).sum(), (dense**power).sum())


@given(SIZES, SIZES, SIZES, SIZES, SIZES)
def test_one_circuit_after_another_is_the_product_of_their_matrices(m, k, n, r, e):
    after, before = made(m, k, n, 1), made(n, r, e, 2)
    joined = after @ before
    close(joined.dense(), after.dense() @ before.dense())
    assert joined.left.shape[1] == min(k, r)
    close(joined.mT.dense(), joined.dense().mT)
    assert joined.shape == (m, e)


def test_a_circuit_keeps_its_dtype_and_is_computed_in_float64():
    circuit = made(40, 3, 30, dtype=torch.float32)
    u, s, vh = circuit.svd
    assert {part.dtype for part in (u, s, vh, circuit.dense())} == {torch.float32}
    torch.testing.assert_close((u * s) @ vh, circuit.dense())
    assert made(4, 2, 4, dtype=torch.float32).eigenvalues().dtype == torch.complex128


@pytest.mark.parametrize("n", [1, 3, 5])
def test_the_effective_rank_of_equal_singular_values_is_how_many_there_are(n):
    one = torch.eye(6, dtype=torch.float64)
    assert Circuit("equal", 2 * one[:, :n], one[:n]).effective_rank == pytest.approx(n)


def test_the_effective_rank_of_singular_values_2_and_1_is_that_of_shares_4_and_1():
    circuit = Circuit("two", torch.diag(torch.tensor([2.0, 1.0])).double(), torch.eye(2).double())
    assert circuit.effective_rank == pytest.approx(0.8**-0.8 * 0.2**-0.2)


def test_circuits_of_other_sizes_are_not_joined():
    with pytest.raises(ValueError, match=r"made reads 4 numbers and made writes 3; circuits are joined on the same"):
        made(5, 2, 4) @ made(3, 2, 6)


def test_only_a_square_circuit_has_eigenvalues():
    with pytest.raises(ValueError, match=r"made is 4 × 3; only a square matrix has eigenvalues"):
        made(4, 2, 3).eigenvalues()


def test_a_matrix_that_does_not_fit_is_not_formed(monkeypatch):
    monkeypatch.setattr("workbench.memory.free_bytes", lambda: 2**20)
    with pytest.raises(MemoryError, match=r"the dense made makes a tensor of"):
        made(5000, 1, 5000, dtype=torch.float32).dense()


def test_the_circuits_of_a_head_are_products_of_its_own_matrices(lm, anatomy):
    for layer, head in anatomy.heads:
        own = own_matrices(lm, layer, head)
        close(qk_circuit(anatomy, layer, head).dense(), own["W_Q"].mT @ own["W_K"])
        close(ov_circuit(anatomy, layer, head).dense(), own["W_O"] @ own["W_V"])
        W_E, W_U = anatomy.W_E.dense(), anatomy.W_U.dense() * anatomy.ln_final.gain
        close(full_qk(anatomy, layer, head).dense(), W_E.mT @ own["W_Q"].mT @ own["W_K"] @ W_E)
        close(full_ov(anatomy, layer, head).dense(), W_U @ own["W_O"] @ own["W_V"] @ W_E)


def with_gains(anatomy: Anatomy) -> Anatomy:
    """The same weights behind norms that have gains to fold: those of a random model are ones."""
    draw = torch.Generator().manual_seed(3)

    def gained(norm):
        return replace(norm, gain=torch.rand(norm.gain.shape, generator=draw, dtype=torch.float64) + 0.5)

    blocks = tuple(replace(block, ln1=gained(block.ln1)) for block in anatomy.blocks)
    return replace(anatomy, blocks=blocks, ln_final=gained(anatomy.ln_final))


def test_the_gains_of_norms_are_in_a_circuit_only_where_they_are_folded(anatomy):
    anatomy = with_gains(anatomy)
    gain, last = anatomy.blocks[1].ln1.gain, anatomy.ln_final.gain
    for made_by, folds in ((qk_circuit, (gain, gain)), (ov_circuit, (None, gain))):
        plain, folded = made_by(anatomy, 1, 1, False).dense(), made_by(anatomy, 1, 1, True).dense()
        close(folded, plain * gain * (1 if folds[0] is None else gain[:, None]))
    W_E, W_U = anatomy.W_E.dense(), anatomy.W_U.dense()
    close(full_ov(anatomy, 1, 1).dense(), (W_U * last) @ ov_circuit(anatomy, 1, 1).dense() @ W_E)
    close(full_ov(anatomy, 1, 1, False).dense(), W_U @ ov_circuit(anatomy, 1, 1, False).dense() @ W_E)


def test_the_table_of_spectra_has_a_row_for_each_head(anatomy):
    for which, made_by in (("QK", qk_circuit), ("OV", ov_circuit)):
        table = circuit_spectra(anatomy, which)
        assert table.heads == anatomy.heads
        assert table.layer_bounds == (0, len(anatomy.heads) // 2, len(anatomy.heads))
        for row, head in enumerate(table.heads):
            circuit = made_by(anatomy, *head)
            close(table.values[row], torch.linalg.svdvals(circuit.dense())[: table.values.shape[1]])
            assert float(table.norms[row]) == pytest.approx(circuit.norm)
            assert float(table.effective_ranks[row]) == pytest.approx(circuit.effective_rank)


def test_heads_of_other_sizes_have_zeros_beyond_their_singular_values():
    table = circuit_spectra(induction_by_hand(), "QK")
    assert table.values.shape == (2, 25)
    assert (table.values > 0).sum(1).tolist() == [25, 13]
    assert table.effective_ranks.tolist() == pytest.approx([25, 13])


def test_a_circuit_that_no_head_has_is_named():
    with pytest.raises(ValueError, match=r"a head has the circuits QK and OV, and 'VO' was asked for"):
        circuit_spectra(induction_by_hand(), "VO")


def test_copying_scores_are_those_of_the_matrix_over_tokens(anatomy):
    anatomy = with_gains(anatomy)
    for fold in (True, False):
        for score, head in zip(copying_scores(anatomy, fold).tolist(), anatomy.heads, strict=True):
            values = torch.linalg.eigvals(full_ov(anatomy, *head, fold).dense())  # (v, v): most of them zero
            assert score == pytest.approx(float(values.real.sum() / values.abs().sum()), abs=1e-9)


def test_a_head_that_copies_scores_1_one_that_suppresses_minus_1_and_one_that_does_neither_0():
    hand = induction_by_hand()
    assert copying_scores(hand).tolist() == [0, 1]  # head 0.0 writes to the scratch, which no logit reads
    last = hand.blocks[1]
    W_O = last.attn.W_O
    against = replace(
        last, attn=replace(last.attn, W_O=replace(W_O, parts=(replace(W_O.parts[0], array=-W_O.dense()),)))
    )
    assert copying_scores(replace(hand, blocks=(hand.blocks[0], against))).tolist() == [0, -1]


def test_layer_bounds_are_where_the_layer_changes():
    assert layer_bounds([(0, 0), (1, 0), (1, 1), (1, 2), (2, 0)]) == (0, 1, 4, 5)
