"""A bilinear layer and its quadratic forms against sums written out, and how far a real MLP is from one."""

from dataclasses import replace
from itertools import pairwise

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from tiny_models import FAMILIES
from torch import Tensor

from workbench import load
from workbench.transformer.anatomy import Mlp, Norm
from workbench.transformer.bilinear import BilinearLayer, bilinear_error, bilinear_term, symmetric_form
from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.capture import activations
from workbench.transformer.circuit import Circuit, qk_circuit
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import tokens_of
from workbench.transformer.weight import Weight

TEXT = "tensor bond core"


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer_of(o: int, f: int, d: int) -> BilinearLayer:
    return BilinearLayer("layer", randn(o, f, seed=1), randn(f, d, seed=2), randn(f, d, seed=3))


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9))
def test_the_tensor_of_a_layer_meets_its_input_twice(o, f, d):
    layer, x = layer_of(o, f, d), randn(2, d, seed=4)
    tensor = layer.diagram().result()
    assert tensor.shape == (o, d, d)
    wanted = torch.zeros(o, d, d, dtype=torch.float64)
    for term in range(f):
        wanted += torch.einsum("o,i,j->oij", layer.W_out[:, term], layer.W_gate[term], layer.W_in[term])
    close(tensor, wanted)
    close(layer.apply(x), torch.einsum("oij,ti,tj->to", tensor, x, x))


# Both ways: 2 f below d, through thin factors, and above.
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 14))
def test_eigenvalues_and_eigenvectors_give_the_output_along_a_direction(o, f, d):
    layer, x, direction = layer_of(o, f, d), randn(3, d, seed=4), randn(o, seed=5)
    form = layer.interaction(direction)
    close(form.apply(x), layer.apply(x) @ direction)
    assert len(form.values) == min(d, 2 * f)
    assert bool((form.values.abs().diff() <= 1e-12).all())
    close(form.vectors @ form.vectors.mT, torch.eye(len(form.values), dtype=torch.float64))
    matrix = torch.einsum("o,oij->ij", direction, layer.diagram().result())
    close(form.dense(), (matrix + matrix.mT) / 2)
    assert form.norm == pytest.approx(float(torch.linalg.matrix_norm(form.dense())))


def test_the_eigenvalues_are_those_of_the_symmetrised_matrix():
    layer, direction = layer_of(3, 2, 9), randn(3, seed=5)
    matrix = torch.einsum("o,oij->ij", direction, layer.diagram().result())
    dense = torch.linalg.eigvalsh((matrix + matrix.mT) / 2)
    found = layer.interaction(direction).values
    close(found.sort().values, dense[dense.abs() > 1e-9])


def test_a_truncated_form_keeps_the_largest_terms_and_leaves_the_rest_as_its_error():
    form = layer_of(3, 4, 6).interaction(randn(3, seed=5))
    cut = form.truncate(2)
    assert torch.equal(cut.values, form.values[:2])
    off = float(torch.linalg.matrix_norm(form.dense() - cut.dense()))
    assert off == pytest.approx(float(torch.linalg.vector_norm(form.values[2:])))
    assert not cut.truncate(0).apply(randn(2, 6)).any()
    with pytest.raises(ValueError, match=r"layer along a direction has 6 eigenvalues; rank 7 is none of 0 to that"):
        form.truncate(7)


def test_the_drawing_of_a_layer_is_three_matrices_at_one_dot():
    network = layer_of(3, 4, 6).diagram().subject
    assert [node.name for node in network.nodes if node.copy] == ["dot"]
    assert network.open_legs == ("o", "i", "j")
    assert layer_of(3, 4, 6).diagram().svg().startswith("<svg")


@given(st.integers(1, 4), st.integers(1, 11))
def test_the_form_of_a_circuit_is_what_it_gives_a_vector_with_itself(k, d):
    circuit, x = Circuit("made", randn(d, k, seed=1), randn(k, d, seed=2)), randn(3, d, seed=3)
    form = symmetric_form(circuit)
    dense = circuit.dense()
    close(form.apply(x), torch.einsum("td,de,te->t", x, dense, x))
    close(form.dense(), (dense + dense.mT) / 2)
    rest = float(torch.linalg.matrix_norm((dense - dense.mT) / 2))
    assert circuit.norm**2 - form.norm**2 == pytest.approx(rest**2, abs=1e-9)


def test_the_diagonal_of_a_heads_scores_is_the_form_of_its_qk_circuit():
    """LLaMA has no biases, and a key at its query's own place is turned as far as the query."""
    lm = FAMILIES["llama"]()
    own = activations(lm, TEXT)
    unit = anatomy_of(lm).blocks[1].ln1.unit(own["blocks.1.resid_pre"])
    q, k = own["blocks.1.q"][3], own["blocks.1.k"][1]
    found = symmetric_form(qk_circuit(anatomy_of(lm), 1, 3)).apply(unit)
    torch.testing.assert_close(found, (q * k).sum(-1), rtol=1e-4, atol=1e-4)


def test_the_form_of_the_matching_head_by_hand_is_half_of_its_circuit():
    """It asks with the token for the scratch: nothing is symmetric in that, so half the squared norm is left."""
    circuit = qk_circuit(induction_by_hand(), 1, 0)
    form = symmetric_form(circuit)
    assert form.norm**2 == pytest.approx(circuit.norm**2 / 2)
    assert sorted(form.values.tolist()) == pytest.approx([-30] * 13 + [30] * 13)


def test_a_circuit_that_is_not_square_has_no_form():
    with pytest.raises(ValueError, match=r"made is 4 × 3; a form needs a square matrix"):
        symmetric_form(Circuit("made", randn(4, 2), randn(2, 3)))


def gated(label: str = "SiLU", **more: object) -> Mlp:
    weights = {"W_gate": randn(5, 3, seed=1), "W_in": randn(5, 3, seed=2), "W_out": randn(3, 5, seed=3)}
    made = {name: Weight.of(name, "df" if name == "W_out" else "fd", array) for name, array in weights.items()}
    activations = {"SiLU": torch.nn.functional.silu, "GELU": torch.nn.functional.gelu, "linear": lambda x: x}
    mlp = Mlp(made["W_in"], made["W_out"], label, activations.get(label, torch.relu), W_gate=made["W_gate"])
    return replace(mlp, **more)


def run(mlp: Mlp, x: Tensor) -> Tensor:
    gate, into = x @ mlp.W_gate.dense().mT, x @ mlp.W_in.dense().mT
    return (mlp.activation(gate) * into) @ mlp.W_out.dense().mT


@pytest.mark.parametrize("label", ["SiLU", "GELU"])
def test_the_bilinear_term_is_the_second_order_of_a_gated_mlp(label):
    """Its error falls with the third power of the input: a slope, where a wrong factor would give two."""
    mlp, x = gated(label), randn(4, 3, seed=6)
    term = bilinear_term(mlp)
    errors = [float(torch.linalg.vector_norm(term.apply(size * x) - run(mlp, size * x))) for size in (1e-2, 1e-3, 1e-4)]
    for larger, smaller in pairwise(errors):
        assert larger / smaller == pytest.approx(1000, rel=0.05)


def test_a_gate_without_an_activation_is_bilinear_already():
    mlp, x = gated("linear"), randn(4, 3, seed=6)
    close(bilinear_term(mlp).apply(x), run(mlp, x))


def test_the_gain_of_a_norm_is_folded_into_both_sides():
    mlp, x, gain = gated(), randn(4, 3, seed=6), randn(3, seed=7)
    found = bilinear_term(mlp, Norm("RMS", gain, None, 1e-6))
    close(found.apply(x), bilinear_term(mlp).apply(x * gain))


def test_an_mlp_without_a_bilinear_term_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"an MLP of GELU without a gate has no bilinear term"):
        bilinear_term(anatomy_of(FAMILIES["gpt2"]()).blocks[0].mlp)
    with pytest.raises(ValueError, match=r"the MLP has b_gate and b_in, which add terms of lower order"):
        bilinear_term(gated(b_gate=randn(5), b_in=randn(5)))
    with pytest.raises(ValueError, match=r"the MLP has the norm's shift, which add"):
        bilinear_term(gated(), Norm("LN", randn(3), randn(3), 1e-6))
    with pytest.raises(ValueError, match=r"the gate is ReLU; its slope at zero is known for SiLU, GELU, linear"):
        bilinear_term(gated("ReLU"))
    with pytest.raises(ValueError, match=r"block 1 of induction by hand has no MLP; it has attention alone"):
        bilinear_error(induction_by_hand(), 1, torch.arange(4))


@pytest.mark.parametrize("name", ["tiny-llama", "stories260K"])
def test_the_error_of_the_term_is_measured_against_the_models_own_mlp(name, request):
    if name == "tiny-llama":
        lm = FAMILIES["llama"]()
    else:
        lm = load(request.getfixturevalue("shared_data") / "models" / name, "cpu")
    own = activations(lm, tokens_of(lm, TEXT))
    for layer, block in enumerate(anatomy_of(lm).blocks):
        wanted, gates = own[f"blocks.{layer}.mlp_out"], own[f"blocks.{layer}.pre"]
        post = gates * own[f"blocks.{layer}.pre_linear"] / 2
        off = post @ block.mlp.W_out.dense().mT - wanted
        found = bilinear_error(lm, layer, TEXT)
        norm = torch.linalg.vector_norm
        assert found.error == pytest.approx(float(norm(off) / norm(wanted)), rel=1e-4)
        torch.testing.assert_close(
            found.at_positions.float(), norm(off, dim=-1) / norm(wanted, dim=-1), rtol=1e-4, atol=0
        )
        assert found.cosine == pytest.approx(
            float(torch.cosine_similarity((off + wanted).flatten(), wanted.flatten(), 0))
        )
        assert found.gates == pytest.approx(float(gates.square().mean().sqrt()), rel=1e-5)
        assert found.error > 0.01  # an approximation, and said to be one
