"""Decompositions as named tensors and a few words, and back: what a checkpoint holds of each matrix."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from torch import Tensor

from workbench.decompose.cp import CanonicalPolyadic
from workbench.decompose.family import Family
from workbench.decompose.head_tucker import HeadTucker, RankPath
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator
from workbench.decompose.outer_sum import OuterSum
from workbench.decompose.permuted import Permuted
from workbench.decompose.pivots import PivotPair
from workbench.decompose.protocol import Decomposition
from workbench.decompose.ring import TensorRing
from workbench.decompose.ring_operator import RingOperator
from workbench.decompose.train import TensorTrain
from workbench.spectrum import Spectrum

Taken = Callable[[str], Tensor]

WHOLE_NUMBERS = ("order", "rows", "columns")  # tensors that say where rows and columns stand
_FAMILY = ("bonds", "squared_errors", "total", "norm", "full_bond")


def stored(form: Decomposition) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a form by short names, and what else is needed to make it again, as JSON.

    A pair whose gauge is fixed is stored without its r² redundant numbers; a family as its present member.
    """
    if isinstance(form, Family):
        return stored(form.present)
    if isinstance(form, LowRank) and form.gauge_fixed:
        return stored(form.fixed())
    spectra = {f"spectrum.{index}": spectrum.values for index, spectrum in enumerate(form.spectra)}
    kind, extra, words = _described(form)
    described = {"kind": kind, "norms": [spectrum.norm for spectrum in form.spectra]} | words
    return form.tensors() | spectra | extra, described


def restored(description: Mapping, taken: Taken) -> Decomposition:
    """The form that `stored` described; `taken` gives a tensor by its short name.

    Raises ValueError, TypeError or LookupError where description and tensors do not fit together.
    """
    norms = description["norms"]
    spectra = tuple([Spectrum(taken(f"spectrum.{index}"), norm) for index, norm in enumerate(norms)])
    return _MADE[description["kind"]](description, taken, spectra)


def stored_uncut(form: Decomposition) -> tuple[dict[str, Tensor], dict]:
    """All tensors of an uncut form, whose bond can be moved when it is made again: of a family each member's, and of a
    pair whose gauge is fixed the nested factors.
    """
    if isinstance(form, Family):
        parts = [stored_uncut(member) for member in form.members]
        tensors = {f"{index}:{name}": own[name] for index, (own, _) in enumerate(parts) for name in own}
        words = {name: getattr(form, name) for name in _FAMILY}
        return tensors, {"kind": "Family", "members": [described for _, described in parts], "words": words}
    if isinstance(form, LowRank) and form.gauge_fixed:
        tensors, described = stored(replace(form, gauge_fixed=False))
        return tensors, described | {"gauge_fixed": True}
    return stored(form)


def restored_uncut(description: Mapping, taken: Taken) -> Decomposition:
    """The uncut form that `stored_uncut` described.

    Raises ValueError, TypeError or LookupError where description and tensors do not fit together.
    """
    if description["kind"] == "Family":
        members = tuple(
            [
                restored_uncut(described, lambda name, index=index: taken(f"{index}:{name}"))
                for index, described in enumerate(description["members"])
            ]
        )
        bonds, errors, total, norm, full_bond = (description["words"][name] for name in _FAMILY)
        return Family(members, tuple(bonds), tuple(errors), total, norm, full_bond)
    form = restored(description, taken)
    return replace(form, gauge_fixed=True) if description.get("gauge_fixed") and isinstance(form, LowRank) else form


def _described(form: Decomposition) -> tuple[str, dict[str, Tensor], dict]:
    """The kind of a form, tensors of it that are no learned numbers, and words."""
    if isinstance(form, LowRank):
        return "LowRank", {}, {}
    if isinstance(form, PivotPair):
        return "PivotPair", {"order": form.order.int()}, {}
    if isinstance(form, TrainOperator):
        return "TrainOperator", {}, {"out_dims": form.out_dims, "in_dims": form.in_dims}
    if isinstance(form, Permuted):
        inner, _, words = _described(form.form)
        return "Permuted", {"rows": form.rows.int(), "columns": form.columns.int()}, {"of": inner} | words
    if isinstance(form, HeadTucker):
        path = form.path
        words = {"ranks": path.ranks, "squared_errors": path.squared_errors, "total": path.total, "reads": form.reads}
        return "HeadTucker", {}, words
    if isinstance(form, OuterSum | RingOperator):
        words = {"out_dims": form.out_dims, "in_dims": form.in_dims, "n_tensors": len(form.tensors())}
        return type(form).__name__, {}, words | {"squared_error": form.squared_error, "total": form.total}
    raise TypeError(f"a {type(form).__name__} has no form on disk.")


def _low_rank(description: Mapping, taken: Taken, spectra: tuple[Spectrum, ...]) -> LowRank:
    return LowRank(taken("left"), taken("right"), _only(spectra))


def _pivot_pair(description: Mapping, taken: Taken, spectra: tuple[Spectrum, ...]) -> PivotPair:
    return PivotPair(taken("right"), taken("rest"), taken("order").long(), _only(spectra))


def _train(description: Mapping, taken: Taken, spectra: tuple[Spectrum, ...]) -> TrainOperator:
    cores = tuple([taken(f"core.{index}") for index in range(len(spectra) + 1)])
    return TrainOperator(TensorTrain(cores, spectra), tuple(description["out_dims"]), tuple(description["in_dims"]))


def _permuted(description: Mapping, taken: Taken, spectra: tuple[Spectrum, ...]) -> Permuted:
    return Permuted(_train(description, taken, spectra), taken("rows").long(), taken("columns").long())


def _head_tucker(description: Mapping, taken: Taken, spectra: tuple[Spectrum, ...]) -> HeadTucker:
    ranks = tuple([(int(k), int(d)) for k, d in description["ranks"]])
    path = RankPath(ranks, tuple(description["squared_errors"]), description["total"])
    core, of_heads, of_model = (taken(name) for name in ("core", "head_factor", "model_factor"))
    first, second = spectra
    return HeadTucker(core, of_heads, of_model, (first, second), path, description["reads"])


def _outer_sum(description: Mapping, taken: Taken, spectra: tuple[Spectrum, ...]) -> OuterSum:
    factors = tuple([taken(f"factor.{index}") for index in range(description["n_tensors"] - 1)])
    return OuterSum(CanonicalPolyadic(taken("weights"), factors), *_fitted(description))


def _ring(description: Mapping, taken: Taken, spectra: tuple[Spectrum, ...]) -> RingOperator:
    cores = tuple([taken(f"core.{index}") for index in range(description["n_tensors"])])
    return RingOperator(TensorRing(cores), *_fitted(description))


def _fitted(description: Mapping) -> tuple[tuple[int, ...], tuple[int, ...], float, float]:
    outs, ins = (tuple(description[name]) for name in ("out_dims", "in_dims"))
    return outs, ins, float(description["squared_error"]), float(description["total"])


def _only(spectra: tuple[Spectrum, ...]) -> Spectrum:
    (spectrum,) = spectra
    return spectrum


_MADE: Mapping[str, Callable[[Mapping, Taken, tuple[Spectrum, ...]], Decomposition]] = MappingProxyType(
    {
        "LowRank": _low_rank,
        "PivotPair": _pivot_pair,
        "TrainOperator": _train,
        "Permuted": _permuted,
        "HeadTucker": _head_tucker,
        "OuterSum": _outer_sum,
        "RingOperator": _ring,
    }
)
