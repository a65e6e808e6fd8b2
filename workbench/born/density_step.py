"""One bond of the one-pass method, laid open: the density matrix of the prefixes, its sectors, and what is kept."""

import math
from dataclasses import dataclass
from operator import itemgetter

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_NOTHING = 1e-14  # of the trace: eigenvalues below are rounding


@dataclass(frozen=True, eq=False)
class Sector:
    """A block of the density matrix: prefixes that share a suffix, or are linked by others that do.

    `rows` are its rows in the whole matrix and `example` is a prefix in it, as symbols. Eigenvalues are shares of the
    whole trace, largest first; `n_kept` of their vectors are kept.
    """

    rows: tuple[int, ...]
    example: tuple[int, ...]
    block: Float[Tensor, "rows rows"]
    eigenvalues: Float[Tensor, " rows"]
    n_kept: int

    @property
    def weight(self) -> float:
        """Its trace: the share of the samples' state that runs through it, as far as it was kept so far."""
        return float(self.block.trace())

    @property
    def angle(self) -> float | None:
        """Where the leading vector (cos θ, sin θ) of a block of two rows lies, in radians; π/4 for equal prefixes.

        θ = ½ arctan2(2s, d₁ − d₂) of the block [[d₁, s], [s, d₂]]. None for a block of another size.
        """
        if len(self.rows) != 2:
            return None
        (d_1, s), (_, d_2) = self.block.tolist()
        return math.atan2(2 * s, d_1 - d_2) / 2


@dataclass(frozen=True, eq=False)
class Step:
    """The bond behind `site`, counted from 0: what the one-pass method sees there and keeps.

    `density` is the density matrix of the prefixes, of trace 1; its row `left * symbols + symbol` is an index of the
    bond before, and a symbol. `kept` holds the vectors that are kept, a column each, by falling eigenvalue.
    """

    site: int
    density: Float[Tensor, "rows rows"]
    sectors: tuple[Sector, ...]
    eigenvalues: Float[Tensor, " rows"]
    kept: Float[Tensor, "rows kept"]

    @property
    def dropped(self) -> tuple[Sector, ...]:
        """The sectors that have a weight and of which nothing is kept: the named failure of the method."""
        return tuple([sector for sector in self.sectors if not sector.n_kept and sector.weight > _NOTHING])

    @property
    def discarded_weight(self) -> float:
        """The share of the trace that is not kept."""
        return float(self.eigenvalues[self.kept.shape[1] :].sum())


def step_of(
    site: int,
    summed: Float[Tensor, "groups rows"],
    max_bond: int,
    environments: Float[Tensor, "n left"],
    samples: Int[Tensor, "n sites"],
) -> Step:
    """The step behind `site`, from what stands before each suffix, summed over the samples that end in it.

    Every block is solved by itself, so that a vector has exact zeros outside its own sector.
    """
    density = summed.T @ summed
    density = density / density.trace()
    solved = [_solved(density, rows) for rows in _blocks(density != 0)]
    ranked = [
        (value, k, place) for k, (_, values, _) in enumerate(solved) for place, value in enumerate(values.tolist())
    ]
    ranked.sort(key=itemgetter(0), reverse=True)
    chosen = [entry for entry in ranked[:max_bond] if entry[0] > _NOTHING]
    kept = density.new_zeros(len(density), len(chosen))
    for column, (_, k, place) in enumerate(chosen):
        rows, _, vectors = solved[k]
        kept[rows, column] = vectors[:, place]
    sectors = []
    for k, (rows, values, _) in enumerate(solved):
        block = density[rows][:, rows]
        if bool(block.any()):  # rows that no sample reaches are no sector
            example = _example(rows[0], site, environments, samples, len(density))
            sectors.append(Sector(tuple(rows), example, block, values, sum(owner == k for _, owner, _ in chosen)))
    return Step(site, density, tuple(sectors), density.new_tensor([value for value, _, _ in ranked]), kept)


def _solved(density: Float[Tensor, "rows rows"], rows: list[int]) -> tuple[list[int], Tensor, Tensor]:
    """A block's eigenvalues, largest first, and vectors, each with the sign that makes its largest number positive."""
    values, vectors = torch.linalg.eigh(density[rows][:, rows])
    values, vectors = values.clamp_min(0).flip(0), vectors.flip(1)
    return rows, values, vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()


def _blocks(linked: Bool[Tensor, "rows rows"]) -> list[list[int]]:
    """The rows of each connected part, in order of their first."""
    reach = (linked | torch.eye(len(linked), dtype=torch.bool, device=linked.device)).double()
    for _ in range(max(1, len(linked) - 1).bit_length()):
        reach = (reach @ reach > 0).double()
    blocks = {tuple(row.nonzero()[:, 0].tolist()): None for row in reach}
    return [list(rows) for rows in blocks]


def _example(
    row: int, site: int, before: Float[Tensor, "n left"], samples: Int[Tensor, "n sites"], n_rows: int
) -> tuple[int, ...]:
    """The prefix of the first sample that reaches this row of the density matrix."""
    left, symbol = divmod(row, n_rows // before.shape[1])
    reaches = (before[:, left] != 0) & (samples[:, site] == symbol)
    return tuple(samples[int(reaches.int().argmax()), : site + 1].tolist())
