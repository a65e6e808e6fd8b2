"""A matrix of the residual stream that is a product of two thin factors, and what is asked of it without forming it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from workbench.memory import check_fits
from workbench.spectrum import Spectrum
from workbench.transformer.anatomy import Anatomy
from workbench.transformer.load import LanguageModel
from workbench.transformer.reading import anatomy_of
from workbench.transformer.weight import Weight


@dataclass(frozen=True, eq=False)
class Circuit:
    """`left @ right`, a matrix (m, n) of rank k at most, kept as its factors: an OV or QK circuit, or their product.

    Every number but `dense` costs O((m + n) k²).
    """

    name: str
    left: Float[Tensor, "m k"]
    right: Float[Tensor, "k n"]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the matrix it stands for."""
        return self.left.shape[0], self.right.shape[1]

    def __matmul__(self, other: "Circuit") -> "Circuit":
        """One circuit after another: `self @ other` writes with self what it reads from other (a virtual head)."""
        if self.shape[1] != other.shape[0]:
            raise ValueError(
                f"{self.name} reads {self.shape[1]} numbers and {other.name} writes {other.shape[0]}; "
                "circuits are joined on the same residual stream."
            )
        middle = self.right @ other.left
        name = f"{self.name} · {other.name}"
        if self.left.shape[1] <= other.left.shape[1]:
            return Circuit(name, self.left, middle @ other.right)
        return Circuit(name, self.left @ middle, other.right)

    @property
    def mT(self) -> "Circuit":
        """The transposed matrix."""
        return Circuit(f"{self.name}ᵀ", self.right.mT, self.left.mT)

    @cached_property
    def svd(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, " r"], Float[Tensor, "r n"]]:
        """u, s, vh of the matrix, r = min(m, k, n), computed in float64 and returned in the circuit's dtype."""
        q_left, r_left = torch.linalg.qr(self.left.double())
        q_right, r_right = torch.linalg.qr(self.right.double().mT)
        u, s, vh = torch.linalg.svd(r_left @ r_right.mT, full_matrices=False)
        return (q_left @ u).to(self.left), s.to(self.left), (vh @ q_right.mT).to(self.left)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Its singular values."""
        return Spectrum(self.svd[1])

    @property
    def norm(self) -> float:
        """Its Frobenius norm."""
        return float(torch.linalg.vector_norm(self.svd[1].double()))

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of the squared singular values over their sum: r for r equal ones, 1 for a single one.

        Source: Roy & Vetterli (2007), with squared values, so that it is the entropy of `Spectrum`.
        """
        return float(torch.tensor(self.spectrum.entropy()).exp())

    def eigenvalues(self) -> Complex[Tensor, " k"]:
        """The eigenvalues that can be other than zero, largest first: those of `right @ left` (k, k), in complex128.

        Raises ValueError where the matrix is not square.
        """
        if self.shape[0] != self.shape[1]:
            raise ValueError(f"{self.name} is {self.shape[0]} × {self.shape[1]}; only a square matrix has eigenvalues.")
        values = torch.linalg.eigvals(self.right.double() @ self.left.double())
        return values[values.abs().argsort(descending=True)]

    def dense(self) -> Float[Tensor, "m n"]:
        """The matrix itself. Raises MemoryError where it would not fit."""
        check_fits(self.shape[0] * self.shape[1], self.left, f"the dense {self.name}")
        return self.left @ self.right


def qk_circuit(model: LanguageModel | Anatomy, layer: int, head: int, fold: bool = True) -> Circuit:
    """W_Qᵀ W_K of one head, (d, d): how much a query direction asks for a key direction, before scaling.

    With `fold` the gain of the norm before it is in it; biases are in no circuit. For rotary positions this is
    the score of a key at its query's own place.
    """
    model = anatomy_of(model)
    attn, gain = model.head(layer, head), _gain(model, layer, fold)
    left, right = _matrix(attn.W_Q, ("d", "k"), gain), _matrix(attn.W_K, ("k", "d"), gain)
    return Circuit(f"QK {layer}.{head}", left, right)


def ov_circuit(model: LanguageModel | Anatomy, layer: int, head: int, fold: bool = True) -> Circuit:
    """W_O W_V of one head, (d, d): what it writes when it attends to a position, by what stands there."""
    model = anatomy_of(model)
    attn, gain = model.head(layer, head), _gain(model, layer, fold)
    return Circuit(f"OV {layer}.{head}", _matrix(attn.W_O, ("d", "k"), None), _matrix(attn.W_V, ("k", "d"), gain))


def full_qk(model: LanguageModel | Anatomy, layer: int, head: int, fold: bool = True) -> Circuit:
    """W_Eᵀ W_Qᵀ W_K W_E, (v, v): how much a query token asks for a key token, straight from the embedding."""
    model = anatomy_of(model)
    inner, W_E = qk_circuit(model, layer, head, fold), model.W_E.dense()
    return Circuit(f"full QK {layer}.{head}", W_E.mT @ inner.left, inner.right @ W_E)


def full_ov(model: LanguageModel | Anatomy, layer: int, head: int, fold: bool = True) -> Circuit:
    """W_U W_O W_V W_E, (v, v): what attending to a token does to the logits, straight from the embedding."""
    model = anatomy_of(model)
    inner, W_E, W_U = ov_circuit(model, layer, head, fold), model.W_E.dense(), model.W_U.dense()
    if fold and model.ln_final is not None:
        W_U = W_U * model.ln_final.gain
    return Circuit(f"full OV {layer}.{head}", W_U @ inner.left, inner.right @ W_E)


def _gain(model: Anatomy, layer: int, fold: bool) -> Tensor | None:
    norm = model.block(layer).ln1
    return norm.gain if fold and norm is not None else None


def _matrix(weight: Weight, legs: tuple[str, str], gain: Tensor | None) -> Tensor:
    """A head's weight as a matrix over these legs, the gain of the norm it reads in it."""
    whole = (weight if gain is None else weight.scaled("d", gain)).dense()
    return whole if weight.legs == legs else whole.mT
