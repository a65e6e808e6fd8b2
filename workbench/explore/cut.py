"""A decomposition under the knife: choose a bond, move its size, and see what is lost and what is stored."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.decompose.kronecker import KroneckerSum
from workbench.decompose.ladder import check_bond
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator
from workbench.decompose.train import TensorTrain
from workbench.decompose.tucker import Tucker
from workbench.diagram.drawing import Diagram
from workbench.diagram.scene import Scene
from workbench.spectrum import Spectrum

Nested = LowRank | TensorTrain | TrainOperator | Tucker | KroneckerSum

_MEASURED_UP_TO = 4_000_000  # numbers: above, the error of a cut is only bounded, not measured


@dataclass(frozen=True)
class CutFrame:
    """One state of the cut. Errors are 2-norms in the spectra's own norm; `bound` holds always, `measured` is exact.

    `measured` is None where the tensor is too large to be made dense, or the norm is not that of its entries.
    `effect` is what the caller's own measure says of the cut matrix, None without one.
    """

    selected: str
    bonds: Mapping[str, int]
    full_bonds: Mapping[str, int]
    spectrum: Spectrum
    bound: float
    measured: float | None
    n_params: int
    full_n_params: int
    dense_n_params: int
    effect: float | None
    effect_name: str
    scene: Scene

    @property
    def cut(self) -> int:
        """The size of the selected bond."""
        return self.bonds[self.selected]

    @property
    def error(self) -> float:
        """Of the cut at the selected bond alone (exact)."""
        return self.spectrum.error(self.cut)

    @property
    def discarded_weight(self) -> float:
        """At the selected bond alone (exact)."""
        return self.spectrum.discarded_weight(self.cut)

    def __str__(self) -> str:
        sizes = ", ".join(f"{leg} {size} of {self.full_bonds[leg]}" for leg, size in self.bonds.items())
        measured = "" if self.measured is None else f", measured {self.measured:.4g}"
        lines = [
            f"bonds: {sizes}",
            f"at {self.selected}: error {self.error:.4g}, discarded weight {self.discarded_weight:.3g}",
            f"all cuts: error at most {self.bound:.4g}{measured} ({self.spectrum.norm} norm)",
            f"{self.n_params:,} numbers stored; the dense tensor has {self.dense_n_params:,}",
        ]
        if self.effect is not None:
            lines.append(f"{self.effect_name}: {self.effect:.4g}")
        return "\n".join(lines)


class CutLab:
    """A nested decomposition whose bonds are cut by slicing: nothing is decomposed again.

    `effect` is a measure of your own, a function of the dense tensor that the cut stands for, such as what happens
    to a model's predictions with it in place. Raises TypeError for a decomposition that is not nested.
    """

    def __init__(
        self, form: object, effect: Callable[[Tensor], float] | None = None, effect_name: str = "effect"
    ) -> None:
        if not isinstance(form, Nested):
            raise TypeError(
                f"a {type(form).__name__} is not nested: another bond needs another decomposition; give LowRank, "
                "TensorTrain, TrainOperator, Tucker or KroneckerSum."
            )
        self.form = form
        self._effect, self.effect_name = effect, effect_name
        self.full_bonds = _sizes(form)  # of what was given: a cut made before is not opened again
        if not self.full_bonds:
            raise ValueError("this decomposition has one core, and so no bond to cut; give one of two cores or more.")
        self._bonds = dict(self.full_bonds)
        self.selected = next(iter(self._bonds))
        self._dense = form.dense() if self._measurable else None

    @property
    def bonds(self) -> dict[str, int]:
        """The size of every bond now, by its leg in the diagram."""
        return dict(self._bonds)

    def select(self, leg: str) -> None:
        """Chooses the bond whose spectrum is shown."""
        self.selected = self._checked(leg)

    def cut(self, leg: str, bond: int) -> None:
        """Cuts a bond, or opens it again up to its full size."""
        full = self.full_bonds[self._checked(leg)]
        check_bond(bond, full)
        self._bonds[leg] = bond

    def now(self) -> Nested:
        """The decomposition at the present cut."""
        return _truncated(self.form, list(self._bonds.values()))

    def frame(self) -> CutFrame:
        """Everything there is to show of the present cut."""
        form = self.now()
        spectra = dict(zip(self._bonds, self.form.spectra, strict=True))
        dense = form.dense() if self._effect or self._measurable else None
        measured = None
        if self._measurable and dense is not None and self._dense is not None:
            measured = float(torch.linalg.vector_norm(self._dense - dense))
        return CutFrame(
            self.selected,
            self.bonds,
            self.full_bonds,
            spectra[self.selected],
            form.error_bound(),
            measured,
            form.n_params,
            self.form.n_params,
            _dense_params(self.form),
            None if self._effect is None or dense is None else self._effect(dense),
            self.effect_name,
            Diagram.of(form, "a cut decomposition").scene,
        )

    @property
    def _measurable(self) -> bool:
        plain = all(spectrum.norm == "Frobenius" for spectrum in self.form.spectra)
        return plain and _dense_params(self.form) <= _MEASURED_UP_TO

    def _checked(self, leg: str) -> str:
        if leg not in self._bonds:
            raise ValueError(f"there is no bond {leg!r} here; the bonds are {', '.join(self._bonds)}.")
        return leg


def _legs(form: Nested) -> list[str]:
    """The bonds' legs as the diagram names them, in the order of the spectra."""
    if isinstance(form, LowRank):
        return ["a"]
    if isinstance(form, KroneckerSum):
        return ["r"]
    return [f"a{k}" for k in range(1, len(form.spectra) + 1)]


def _sizes(form: Nested) -> dict[str, int]:
    if isinstance(form, LowRank | KroneckerSum):
        sizes: tuple[int, ...] = (form.bond,)
    elif isinstance(form, Tucker):
        sizes = tuple(form.ranks)
    else:
        sizes = (form.train if isinstance(form, TrainOperator) else form).bonds
    return dict(zip(_legs(form), sizes, strict=True))


def _truncated(form: Nested, bonds: list[int]) -> Nested:
    if isinstance(form, LowRank | KroneckerSum):
        return form.truncate(bonds[0])
    if isinstance(form, TrainOperator):
        return TrainOperator(form.train.truncate(bonds), form.out_dims, form.in_dims)
    return form.truncate(bonds)


def _dense_params(form: Nested) -> int:
    return math.prod(form.shape)
