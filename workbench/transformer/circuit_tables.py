"""What the circuits of all heads are like, side by side: their spectra, effective ranks, and whether they copy."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.spectrum import Spectrum
from workbench.transformer.anatomy import Anatomy
from workbench.transformer.circuit import Circuit, ov_circuit, qk_circuit
from workbench.transformer.composition import Head, layer_bounds
from workbench.transformer.load import LanguageModel
from workbench.transformer.reading import anatomy_of


@dataclass(frozen=True, eq=False)
class CircuitSpectra:
    """The singular values of one circuit, "QK" or "OV", of every head."""

    name: str
    which: str
    heads: tuple[Head, ...]
    spectra: tuple[Spectrum, ...]

    @property
    def layer_bounds(self) -> tuple[int, ...]:
        """The row at which each layer begins, and the number of rows."""
        return layer_bounds(self.heads)

    @property
    def values(self) -> Float[Tensor, "h r"]:
        """The singular values, a row for each head; zero beyond those that it has."""
        rows = [spectrum.values for spectrum in self.spectra]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    @property
    def norms(self) -> Float[Tensor, " h"]:
        """The Frobenius norm of each head's circuit."""
        return torch.tensor([spectrum.error(0) for spectrum in self.spectra], dtype=torch.float64)

    @property
    def effective_ranks(self) -> Float[Tensor, " h"]:
        """The effective rank of each head's circuit, as `Circuit.effective_rank`."""
        return torch.tensor([spectrum.entropy() for spectrum in self.spectra], dtype=torch.float64).exp()


def circuit_spectra(model: LanguageModel | Anatomy, which: str, fold: bool = True) -> CircuitSpectra:
    """The spectra of the QK or OV circuits of all heads, with the gain of the norm before them if `fold`.

    Raises ValueError for another circuit. Cost: O(d k²) a head.
    """
    if which not in ("QK", "OV"):
        raise ValueError(f"a head has the circuits QK and OV, and {which!r} was asked for.")
    model = anatomy_of(model)
    circuit_of = qk_circuit if which == "QK" else ov_circuit
    spectra = tuple(circuit_of(model, *head, fold).spectrum for head in model.heads)
    return CircuitSpectra(model.name, which, model.heads, spectra)


def copying_scores(model: LanguageModel | Anatomy, fold: bool = True) -> Float[Tensor, " h"]:
    """Σλ / Σ|λ| over the eigenvalues of each head's full OV circuit W_U W_O W_V W_E, in float64, in order of `heads`.

    1 where attending to a token raises, of all combinations of tokens, each one's own logits; −1 where it lowers them;
    0 for a circuit of zeros. Real, because eigenvalues other than real come in pairs. With `fold` the gains of the
    norms before the head and before W_U are in it.

    Exact: the eigenvalues of the matrix over tokens (v, v) that are not zero are those of W_V (W_E W_U) W_O (k, k),
    and W_E W_U (d, d) is the same for all heads. Cost: O(v d²) once, O(d² k) a head. Source: Elhage et al. (2021).
    """
    model = anatomy_of(model)
    W_U = model.W_U.dense()
    if fold and model.ln_final is not None:
        W_U = W_U * model.ln_final.gain
    through = (model.W_E.dense() @ W_U).double()
    found = []
    for head in model.heads:
        inner = ov_circuit(model, *head, fold)
        values = Circuit(inner.name, through @ inner.left.double(), inner.right.double()).eigenvalues()
        size = float(values.abs().sum())
        found.append(float(values.real.sum()) / size if size else 0.0)
    return torch.tensor(found, dtype=torch.float64)
