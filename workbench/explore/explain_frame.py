"""What a distribution still says when some of its symbols are given: the truth's answers beside those of a model."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.born.explain.direct import direct_dependence
from workbench.born.explain.pairs import correlation_map, information_map, pair_marginals
from workbench.born.explain.states import quantum_information_map
from workbench.born.machine import BornMachine
from workbench.truth.enumerated import TableSource


@dataclass(frozen=True)
class SiteMap:
    """How much two sites are tied: `made` of a distribution and its state √p, in `unit`, about zero if `signed`."""

    made: Callable[[TableSource, BornMachine], Float[Tensor, "i j"]]
    unit: str = "nats"
    signed: bool = False


def _correlations(source: TableSource, state: BornMachine) -> Float[Tensor, "i j"]:
    """Pearson's coefficient of the numbers of the symbols."""
    covariance = correlation_map(pair_marginals(source), torch.arange(len(source.alphabet), dtype=torch.float64))
    spread = covariance.diagonal().clamp_min(0).sqrt()  # below 0 is rounding
    scale = spread[:, None] * spread
    return torch.where(scale > 0, covariance / scale, 0)  # a site that does not vary is tied to none


MAPS = {
    "mutual information": SiteMap(lambda source, state: information_map(pair_marginals(source))),
    "quantum mutual information of √p": SiteMap(lambda source, state: quantum_information_map(state)),
    "direct dependence": SiteMap(lambda source, state: direct_dependence(source.table)),
    "correlation": SiteMap(_correlations, "of symbol numbers", signed=True),
}


@dataclass(frozen=True)
class Conditional:
    """What one distribution says where the symbols of some sites are given. Everything is exact, in nats.

    `probability` is that of the condition. `marginals` holds p(symbol) a site, 1 for a symbol that is given. `ties`
    is the chosen map: a number for two different sites that are free, nan elsewhere. `entropies` and `schmidt` are the
    entanglement entropy and the Schmidt values of the state √p at each bond, left to right.
    """

    probability: float
    marginals: tuple[tuple[float, ...], ...]
    ties: tuple[tuple[float, ...], ...]
    entropies: tuple[float, ...]
    schmidt: tuple[tuple[float, ...], ...]

    @property
    def strongest(self) -> tuple[int, int, float] | None:
        """The two sites that are tied most, by size, and their number; None where less than two are free."""
        found = [
            (i, j, value) for i, row in enumerate(self.ties) for j, value in enumerate(row[:i]) if math.isfinite(value)
        ]
        return max(((j, i, value) for i, j, value in found), key=lambda tie: abs(tie[2]), default=None)


@dataclass(frozen=True)
class ExplainFrame:
    """The truth and a model, given the same symbols at the same sites, and how far they are apart then.

    `given` are pairs of a site and the number of its symbol, by site; `map` is a name of `MAPS`, and `bond` the one
    whose Schmidt values are looked at, from 0, behind the site of that number. `distance` is the total variation
    between the two distributions over whole strings, given the condition.
    """

    source: str
    model: str
    alphabet: tuple[str, ...]
    given: tuple[tuple[int, int], ...]
    map: str
    bond: int
    truth: Conditional
    learned: Conditional
    distance: float

    @property
    def n_sites(self) -> int:
        """The length of a string."""
        return len(self.truth.marginals)

    @property
    def site_distances(self) -> tuple[float, ...]:
        """The total variation between the two marginals of each site."""
        pairs = zip(self.truth.marginals, self.learned.marginals, strict=True)
        return tuple([sum(abs(p - q) for p, q in zip(*rows, strict=True)) / 2 for rows in pairs])

    @property
    def site_distance(self) -> float:
        """The largest of `site_distances`."""
        return max(self.site_distances)

    @property
    def condition(self) -> str:
        """What is given, in words."""
        return condition_told(dict(self.given), self.alphabet)

    def __str__(self) -> str:
        apart = self.site_distances
        worst = apart.index(self.site_distance)
        sides = (("truth", self.truth), ("model", self.learned))
        lines = [
            f"{self.source}, {self.n_sites} sites: the truth beside {self.model}",
            f"given {self.condition}: probability {self.truth.probability:.4g} under the truth, "
            f"{self.learned.probability:.4g} under the model",
            f"marginals differ most at site {worst}, by {self.site_distance:.4f} in total variation; "
            f"whole strings by {self.distance:.4f}",
        ]
        for who, side in sides:
            lines.append(f"{self.map}, {MAPS[self.map].unit}, {who}: {_tie_told(side.strongest)}")
        for who, side in sides:
            most = max(side.entropies, default=0.0)
            lines.append(f"entanglement of √p, nats, {who}: at most {most:.4f}")
        return "\n".join(lines)


def condition_told(given: Mapping[int, int], alphabet: tuple[str, ...]) -> str:
    """Which symbols are given where, in words."""
    told = [f"{alphabet[symbol]} at site {site}" for site, symbol in sorted(given.items())]
    return ", ".join(told) or "nothing"


def _tie_told(tie: tuple[int, int, float] | None) -> str:
    if tie is None:
        return "less than two sites are free"
    i, j, value = tie
    return f"most {value:.4f}, sites {i} and {j}" if abs(value) >= 5e-5 else "below 0.0001 everywhere"


def probability_of(table: Float[Tensor, "*symbols"], given: Mapping[int, int]) -> float:
    """That of these symbols at these sites: the sum of a slice of the table."""
    return float(_slice(table, given).sum())


def distance_given(p: Float[Tensor, "*symbols"], q: Float[Tensor, "*symbols"], given: Mapping[int, int]) -> float:
    """The total variation between two distributions on the strings that have these symbols; not 0 under either."""
    kept = [_slice(table, given) for table in (p, q)]
    return float((kept[0] / kept[0].sum() - kept[1] / kept[1].sum()).abs().sum()) / 2


def conditional(source: TableSource, given: Mapping[int, int], map: str) -> Conditional:
    """What a distribution says on the strings that have these symbols, with this map of `MAPS`.

    The symbols must not be impossible. Cost: decompositions and sums of the slice of the table that is left.
    """
    kept, n, symbols = _slice(source.table, given), source.n_sites, len(source.alphabet)
    free = [site for site in range(n) if site not in given]
    marginals = {site: [float(k == symbol) for k in range(symbols)] for site, symbol in given.items()}
    ties = torch.full((n, n), torch.nan, dtype=torch.float64)
    # Bond k lies behind site k; what is given on either side of it is not entangled with anything.
    left_of = [sum(site <= bond for site in free) for bond in range(n - 1)]
    entropies, schmidt = {}, {}
    if free:
        rest = TableSource.of_probabilities(kept, source.alphabet, source.description)
        machine = BornMachine(rest.mps())
        marginals |= {site: rest.marginal((k,)).tolist() for k, site in enumerate(free)}
        entropies = dict(enumerate(machine.entropies(), 1))
        schmidt = {k: tuple(spectrum.values.tolist()) for k, spectrum in enumerate(machine.train.spectra, 1)}
        if len(free) > 1:
            places = torch.tensor(free)
            ties[places[:, None], places] = MAPS[map].made(rest, machine)
            ties.fill_diagonal_(torch.nan)
    return Conditional(
        float(kept.sum()),
        tuple([tuple(marginals[site]) for site in range(n)]),
        tuple([tuple(row) for row in ties.tolist()]),
        tuple([entropies.get(k, 0.0) for k in left_of]),
        tuple([schmidt.get(k, (1.0,)) for k in left_of]),
    )


def _slice(table: Float[Tensor, "*symbols"], given: Mapping[int, int]) -> Float[Tensor, "*free"]:
    return table[tuple([given.get(site, slice(None)) for site in range(table.ndim)])]
