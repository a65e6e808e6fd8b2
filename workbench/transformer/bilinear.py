"""Layers that multiply two linear maps of their input, and the eigenvectors of what those give in a direction."""

from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.diagram.drawing import Diagram
from workbench.memory import check_fits
from workbench.network import Network
from workbench.node import Node
from workbench.transformer.anatomy import Anatomy, Mlp, Norm
from workbench.transformer.block_runs import run_blocks
from workbench.transformer.circuit import Circuit
from workbench.transformer.load import LanguageModel
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import Tokens, tokens_of

# The slope at zero of activations that are zero there: what a gate is to first order.
_SLOPES = {"SiLU": 0.5, "GELU": 0.5, "linear": 1.0}


@dataclass(frozen=True, eq=False)
class QuadraticForm:
    """x ↦ xᵀ M x for a symmetric M, by its eigenvalues, largest in size first, and its eigenvectors as rows.

    Eigenvalues that are zero because M has few terms are left out.
    """

    name: str
    values: Float[Tensor, " r"]
    vectors: Float[Tensor, "r d"]

    def apply(self, x: Float[Tensor, "*t d"]) -> Float[Tensor, "*t"]:
        """Σ λᵢ (vᵢ·x)²."""
        return (x @ self.vectors.mT).square() @ self.values

    def truncate(self, rank: int) -> "QuadraticForm":
        """The form of the `rank` eigenvalues that are largest in size; slices. Raises ValueError for a rank beyond."""
        if not 0 <= rank <= len(self.values):
            raise ValueError(f"{self.name} has {len(self.values)} eigenvalues; rank {rank} is none of 0 to that.")
        return QuadraticForm(self.name, self.values[:rank], self.vectors[:rank])

    @property
    def norm(self) -> float:
        """The Frobenius norm of M."""
        return float(torch.linalg.vector_norm(self.values.double()))

    def dense(self) -> Float[Tensor, "d d"]:
        """M itself. Raises MemoryError where it would not fit."""
        check_fits(self.vectors.shape[1] ** 2, self.vectors, f"the dense {self.name}")
        return (self.vectors.mT * self.values) @ self.vectors


@dataclass(frozen=True, eq=False)
class BilinearLayer:
    """y_o = Σ_f W_out[o, f] (W_gate x)_f (W_in x)_f, a tensor over (o, i, j) kept as its three matrices.

    The legs f of the three meet in a copy dot: a canonical polyadic decomposition with one term for each f. Only the
    part that is symmetric in i and j acts on an x.
    """

    name: str
    W_out: Float[Tensor, "o f"]
    W_gate: Float[Tensor, "f d"]
    W_in: Float[Tensor, "f d"]

    def apply(self, x: Float[Tensor, "*t d"]) -> Float[Tensor, "*t o"]:
        """The layer's output."""
        return ((x @ self.W_gate.mT) * (x @ self.W_in.mT)) @ self.W_out.mT

    def diagram(self) -> Diagram:
        """The tensor over (o, i, j) as a network."""
        nodes = (
            Node("W_out", ("o", "f_out")), Node("dot", ("f_out", "f_gate", "f_in"), copy=True),
            Node("W_gate", ("f_gate", "i")), Node("W_in", ("f_in", "j")),
        )  # fmt: skip
        arrays = {"W_out": self.W_out, "W_gate": self.W_gate, "W_in": self.W_in}
        return Diagram(Network(nodes, ("o", "i", "j")), arrays, title=self.name)

    def interaction(self, direction: Float[Tensor, " o"]) -> QuadraticForm:
        """The output along a direction as a quadratic form of the input: direction · y = Σ λᵢ (vᵢ·x)², exact.

        Cost: one eigendecomposition of the size min(d, 2 f). Source: Pearce, Dooms et al. (2024, arXiv 2410.08417).
        """
        return _symmetric(f"{self.name} along a direction", self.W_gate, direction @ self.W_out, self.W_in)


def bilinear_term(mlp: Mlp, norm: Norm | None = None) -> BilinearLayer:
    """The second-order term of a gated MLP about zero: SiLU(g)·u is g·u/2 to second order in what it reads.

    With a `norm` its gain is folded in. An approximation of the MLP, good where the gates are small: the next term is
    g²·u/4. `bilinear_error` measures it.
    Raises ValueError for an MLP without a gate, one with biases (which add terms of lower order), or an activation
    that has no slope at zero.
    """
    if mlp.W_gate is None:
        raise ValueError(f"an MLP of {mlp.label} without a gate has no bilinear term; give a gated one, as LLaMA's.")
    biases = {"b_gate": mlp.b_gate, "b_in": mlp.b_in, "the norm's shift": None if norm is None else norm.shift}
    if given := [name for name, bias in biases.items() if bias is not None]:
        raise ValueError(f"the MLP has {' and '.join(given)}, which add terms of lower order; it needs none of them.")
    if mlp.label not in _SLOPES:
        raise ValueError(f"the gate is {mlp.label}; its slope at zero is known for {', '.join(_SLOPES)}.")
    gate, into = (weight if norm is None else weight.scaled("d", norm.gain) for weight in (mlp.W_gate, mlp.W_in))
    return BilinearLayer("bilinear term", mlp.W_out.dense() * _SLOPES[mlp.label], gate.dense(), into.dense())


@dataclass(frozen=True, eq=False)
class BilinearError:
    """How far the bilinear term of an MLP is from the MLP on real activations.

    `error` is ‖term − MLP‖ / ‖MLP‖ over all positions, where predicting zero has 1; `at_positions` the same at each;
    `cosine` is between the two; `gates` is the root-mean-square of the gates, which the term takes to be small.
    """

    error: float
    at_positions: Float[Tensor, " t"]
    cosine: float
    gates: float


def bilinear_error(model: LanguageModel | Anatomy, layer: int, tokens: Tokens) -> BilinearError:
    """The error of `bilinear_term` in place of one block's MLP, on what the block really reads of these tokens.

    Raises ValueError as `bilinear_term`, and for a block without an MLP or tokens that the model cannot read.
    """
    anatomy = anatomy_of(model)
    block = anatomy.block(layer)
    if block.mlp is None:
        raise ValueError(f"block {layer} of {anatomy.name} has no MLP; it has attention alone.")
    term = bilinear_term(block.mlp, block.ln2)
    values = next(islice(run_blocks(anatomy, tokens_of(model, tokens, anatomy)), layer, None))
    x, own = values["resid_mid"], values["mlp"].double()
    made = term.apply(x if block.ln2 is None else block.ln2.unit(x)).double()
    off, size = torch.linalg.vector_norm(made - own, dim=-1), torch.linalg.vector_norm(own, dim=-1)
    cosine = (made * own).sum() / (torch.linalg.vector_norm(made) * torch.linalg.vector_norm(own))
    error = torch.linalg.vector_norm(off) / torch.linalg.vector_norm(size)
    return BilinearError(float(error), off / size, float(cosine), float(values["pre"].double().square().mean().sqrt()))


def symmetric_form(circuit: Circuit) -> QuadraticForm:
    """What a square circuit gives a vector with itself: xᵀ M x, through the symmetric part (M + Mᵀ)/2.

    Of a QK circuit, how much a position asks for one that holds the same: eigenvectors with λ > 0 are asked for
    where they are, those with λ < 0 are shunned. The norm of what is left of the circuit, which tells asking from
    answering, is √(`circuit.norm`² − `norm`²).
    Raises ValueError where the matrix is not square. Cost: one eigendecomposition of the size min(d, 2 k).
    """
    if circuit.shape[0] != circuit.shape[1]:
        raise ValueError(f"{circuit.name} is {circuit.shape[0]} × {circuit.shape[1]}; a form needs a square matrix.")
    ones = circuit.left.new_ones(circuit.left.shape[1])
    return _symmetric(f"symmetric part of {circuit.name}", circuit.left.mT, ones, circuit.right)


def _symmetric(
    name: str, left: Float[Tensor, "f d"], weights: Float[Tensor, " f"], right: Float[Tensor, "f d"]
) -> QuadraticForm:
    """The form of Σ_f weights[f] left[f] ⊗ right[f], symmetrised, computed in float64 and returned in their dtype."""
    n_terms, d = left.shape
    wide, half = (left.double(), right.double()), weights.double() / 2
    if 2 * n_terms < d:  # M = B K Bᵀ, and with B = Q R its eigenvectors are Q times those of R K Rᵀ
        q, r = torch.linalg.qr(torch.cat(wide).mT)
        crossed = torch.cat((r[:, n_terms:] * half, r[:, :n_terms] * half), dim=1)
        values, vectors = torch.linalg.eigh(crossed @ r.mT)
        vectors = q @ vectors
    else:
        product = (wide[0].mT * half) @ wide[1]
        values, vectors = torch.linalg.eigh(product + product.mT)
    order = values.abs().argsort(descending=True)
    return QuadraticForm(name, values[order].to(left), vectors[:, order].mT.to(left))
