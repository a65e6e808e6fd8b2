"""How right an explanation is, where the right one is known: a map of dependencies against what was planted."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_TIE = 1e-9  # of the largest number: what differs by less is rounding, and tied
_NOTHING = 1e-10  # numbers that differ by this little are tied: sums over tables leave as much


@dataclass(frozen=True)
class MapScore:
    """A map of dependencies beside the truth; only pairs of different sites count, each once.

    `auc` is the chance that a pair which depends is given more than one which does not, a tie counting half: 1 for the
    right map, 1/2 for one that knows nothing; None where no dependencies are planted. `rank_correlation` is Spearman's,
    with the true amounts, from -1 to 1; None where these are all the same.
    """

    auc: float | None
    rank_correlation: float | None

    def __str__(self) -> str:
        auc = "" if self.auc is None else f"AUC {self.auc:.3f}"
        ranked = "" if self.rank_correlation is None else f"rank correlation {self.rank_correlation:+.3f}"
        return ", ".join(part for part in (auc, ranked) if part) or "nothing to compare with"


def map_score(
    found: Float[Tensor, "i j"], amounts: Float[Tensor, "_ _"], dependent: Bool[Tensor, "_ _"] | None
) -> MapScore:
    """The score of a map against true `amounts` and, if there are any, planted dependencies; all symmetric.

    Raises ValueError for tables of other sizes, or a map with numbers that are not finite off its diagonal.
    """
    for other in (amounts, dependent):
        if other is not None and other.shape != found.shape:
            raise ValueError(
                f"a map of {tuple(found.shape)} cannot be scored by a table of {tuple(other.shape)}; both have a row "
                "and a column a site."
            )
    own, true = off_diagonal(found), off_diagonal(amounts)
    if not bool(own.isfinite().all()):
        raise ValueError("the map holds nan or infinity off its diagonal, so its pairs have no order.")
    auc = None if dependent is None else area_under_curve(own, off_diagonal(dependent))
    same = bool((ranks(true) == (len(true) + 1) / 2).all())
    return MapScore(auc, None if same else rank_correlation(own, true))


def off_diagonal(table: Float[Tensor, "i j"] | Bool[Tensor, "i j"]) -> Tensor:
    """The entries above the diagonal, row by row: every pair of different sites once."""
    rows, columns = torch.triu_indices(*table.shape, offset=1)
    return table[rows, columns]


def attribution_score(found: Float[Tensor, "n sites"], true: Float[Tensor, "_ _"]) -> float:
    """The mean over strings of the rank correlation of what each site is given with what it truly carries.

    Strings whose sites truly carry all the same are left out. Raises ValueError if that is all of them.
    """
    if found.shape != true.shape:
        raise ValueError(f"attributions of {tuple(found.shape)} are compared with as many, not {tuple(true.shape)}.")
    told = [row for row in range(len(true)) if len(ranks(true[row]).unique()) > 1]
    if not told:
        raise ValueError("every site of every string truly carries the same, so attributions have no order to find.")
    return sum(rank_correlation(found[row], true[row]) for row in told) / len(told)


def area_under_curve(values: Float[Tensor, " n"], wanted: Bool[Tensor, " _"]) -> float:
    """The chance that a wanted one of the values is above an unwanted one, ties counting half.

    Also called the area under the receiver operating characteristic; that of Mann & Whitney (1947).
    Raises ValueError if all or none are wanted.
    """
    n, others = int(wanted.sum()), int((~wanted).sum())
    if not n or not others:
        raise ValueError(f"{n} of {len(wanted)} are wanted, so there is nothing to tell apart.")
    return float((ranks(values)[wanted].sum() - n * (n + 1) / 2) / (n * others))


def rank_correlation(first: Float[Tensor, " n"], second: Float[Tensor, " _"]) -> float:
    """Spearman's: the correlation of the ranks, from -1 to 1; 0 where all values of either are tied.

    Raises ValueError for other lengths.
    """
    if len(first) != len(second):
        raise ValueError(f"ranks are compared one by one, and there are {len(first)} and {len(second)} values.")
    one, other = (ranks(values) - (len(values) + 1) / 2 for values in (first, second))
    scale = float(torch.linalg.vector_norm(one) * torch.linalg.vector_norm(other))
    return float(one @ other) / scale if scale > 0 else 0.0


def ranks(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The place of each value from the smallest, 1, on; the tied share the mean of their places.

    Neighbours in order are tied if they differ by less than 1e-9 of the largest number, or by less than 1e-10.
    """
    ordered, order = values.double().sort()
    tie = max(_NOTHING, _TIE * float(ordered.abs().max())) if len(values) else 0.0
    group = (ordered.diff() > tie).cumsum(0)
    group = torch.cat([group.new_zeros(min(1, len(values))), group])
    places = torch.arange(1, len(values) + 1, dtype=torch.float64)
    sums = torch.zeros(len(values), dtype=torch.float64).index_add(0, group, places)
    counts = torch.zeros(len(values), dtype=torch.float64).index_add(0, group, torch.ones_like(places))
    found = torch.empty_like(places)
    found[order] = (sums / counts.clamp_min(1))[group]
    return found


def counterfactual_error(joint: Float[Tensor, "i j a b"], truth: Float[Tensor, "_ _ _ _"]) -> float:
    """How far what a site says of another is from the truth: 0 for the truth's own joint distributions, at most 1.

    The mean total variation between p(x_j | x_i = a) of both, over all pairs i ≠ j, and over a by the truth's
    probabilities. A symbol that the model never writes at site i counts 1. Exact for exact tables.
    Raises ValueError for tables of other sizes.
    """
    if joint.shape != truth.shape:
        raise ValueError(
            f"both tables hold the joint distributions of all pairs of sites, not {tuple(joint.shape)} and "
            f"{tuple(truth.shape)}."
        )
    first, own = truth.sum(3), joint.sum(3)
    apart = joint / own[..., None].clamp_min(torch.finfo(torch.float64).tiny)
    apart = (apart - truth / first[..., None].clamp_min(torch.finfo(torch.float64).tiny)).abs().sum(3) / 2
    apart = torch.where(own > 0, apart, 1.0)
    return float(off_diagonal((first * apart).sum(2)).mean() + off_diagonal((first * apart).sum(2).T).mean()) / 2
