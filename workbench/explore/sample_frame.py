"""What samples bought: points of a learner at growing sizes, and the size at which a quality is reached."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from workbench.truth.scores import Scores

_BOOTSTRAPS = 400
_BAND = (0.05, 0.95)

# What is asked of a learner, each as a quality from 0 to 1, which the truth itself has.
QUALITIES: dict[str, Callable[[Scores], float]] = {
    "overlap": lambda found: found.overlap,
    "perplexity": lambda found: math.exp(-found.kl),
    "total variation": lambda found: 1 - found.total_variation,
    "next symbol": lambda found: found.next_symbol / found.best_next_symbol,
}


@dataclass(frozen=True)
class SamplePoint:
    """What one learner made of one draw of `n` samples."""

    n: int
    seed: int
    scores: Scores
    seconds: float

    def as_row(self) -> dict:
        """Its numbers by name, for JSON, which has no infinity: an infinite divergence is None there."""
        row = asdict(self)
        row["scores"]["kl"] = self.scores.kl if math.isfinite(self.scores.kl) else None
        return row

    @classmethod
    def of_row(cls, row: Mapping) -> "SamplePoint":
        """What `as_row` gave. Raises LookupError or TypeError for something else."""
        own = dict(row["scores"])
        own["kl"] = math.inf if own["kl"] is None else own["kl"]
        return cls(row["n"], row["seed"], Scores(**own), row["seconds"])


@dataclass(frozen=True)
class Needed:
    """The samples at which the median quality reaches the target, with the 5 % and 95 % quantiles of that number over
    redrawn seeds; `high` is infinite where some of these draws never reach it within the sizes measured.
    """

    n: float
    low: float
    high: float

    def __str__(self) -> str:
        high = f"{self.high:,.0f}" if math.isfinite(self.high) else "beyond the sizes measured"
        return f"{self.n:,.0f} samples (90 % interval {self.low:,.0f} to {high})"


@dataclass(frozen=True)
class SampleFrame:
    """All points of one source and learner so far, and what one metric says of them.

    `entropy` is that of the source, the floor of any model's loss, nats a string.
    """

    source: str
    n_sites: int
    learner: str
    metric: str
    target: float
    entropy: float
    points: tuple[SamplePoint, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of samples at which there is a point, smallest first."""
        return tuple(sorted({point.n for point in self.points}))

    def qualities(self, n: int) -> tuple[float, ...]:
        """The quality of every draw of `n` samples, from 0 to 1, the truth's own."""
        return tuple([QUALITIES[self.metric](point.scores) for point in self.points if point.n == n])

    def median(self, n: int) -> float:
        """The middle quality at `n`."""
        return float(np.median(self.qualities(n)))

    def band(self, n: int) -> tuple[float, float]:
        """The quartiles of the qualities at `n`."""
        low, high = np.quantile(self.qualities(n), (0.25, 0.75))
        return float(low), float(high)

    @property
    def needed(self) -> Needed | None:
        """Where the median reaches the target for good, read off between sizes on a logarithmic axis; None if never."""
        table = {n: np.array(self.qualities(n)) for n in self.sizes}
        n = _crossing(table, self.target)
        if n is None:
            return None
        generator = np.random.default_rng(0)
        drawn = []
        for _ in range(_BOOTSTRAPS):
            again = {size: generator.choice(own, len(own)) for size, own in table.items()}
            crossing = _crossing(again, self.target)
            drawn.append(math.inf if crossing is None else crossing)
        low, high = np.quantile(drawn, _BAND, method="nearest")
        return Needed(n, float(low), float(high))

    def __str__(self) -> str:
        lines = [f"{self.source}, {self.n_sites} sites, learned by {self.learner}: {self.metric}"]
        for n in self.sizes:
            low, high = self.band(n)
            count = len(self.qualities(n))
            lines.append(f"{n:>9,} samples  {self.median(n):6.1%}  quartiles {low:.1%} to {high:.1%} of {count} draws")
        told = "not reached within these sizes" if self.needed is None else str(self.needed)
        lines.append(f"{self.target:.0%}: {told}")
        return "\n".join(lines)


def _crossing(table: dict[int, np.ndarray], target: float) -> float | None:
    """The size from which on the median is at least the target, between sizes by a straight line over ln n."""
    sizes = sorted(table)
    medians = [float(np.median(table[n])) for n in sizes]
    first = next((k for k in range(len(sizes)) if min(medians[k:]) >= target), None)
    if first is None or first == 0:
        return None if first is None else float(sizes[0])
    below, above = medians[first - 1], medians[first]
    share = (target - below) / (above - below)
    return math.exp((1 - share) * math.log(sizes[first - 1]) + share * math.log(sizes[first]))
