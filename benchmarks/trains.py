"""Our trains against tensorly's: a weight of 768 × 3072 as an operator of 2, 3 and 4 sites, at equal bonds.

Ours holds every bond and is then cut by a slice; tensorly's is made for one bond and made again for the
next. One of each is timed in turn, so that a busy machine slows both; errors are taken in float64.
"""

import statistics
import time
from collections.abc import Callable

import tensorly
import torch
from tensorly.decomposition import tensor_train_matrix

from workbench.decompose.operator import TrainOperator

SHAPE = (768, 3072)
SITES = (2, 3, 4)
BONDS = (64, 128)


def measure(repeats: int = 5) -> list[dict[str, float]]:
    """One row for each number of sites and bond: median seconds, their ratio, and relative errors of both."""
    weight = decaying_weight(*SHAPE)
    return [compare(weight, sites, bond, repeats) for sites in SITES for bond in BONDS]


def compare(weight: torch.Tensor, sites: int, bond: int, repeats: int) -> dict[str, float]:
    """Both libraries on one weight, with the same site dimensions and the same cap on all bonds."""
    ours = TrainOperator.from_weight(weight, sites)
    legs = weight.reshape(*ours.out_dims, *ours.in_dims)
    ranks = [1, *(min(bond, full) for full in ours.train.full_bonds), 1]

    def make_ours() -> torch.Tensor:
        return TrainOperator.from_weight(weight, sites).truncate(bond).dense()

    def make_theirs() -> torch.Tensor:
        return tensor_train_matrix(legs, rank=list(ranks)).to_matrix()

    seconds = alternate(
        lambda: TrainOperator.from_weight(weight, sites).truncate(bond),
        lambda: tensor_train_matrix(legs, rank=list(ranks)),
        repeats,
    )
    return {
        "sites": sites,
        "bond": bond,
        "seconds": seconds[0],
        "tensorly_seconds": seconds[1],
        "speed_up": seconds[1] / seconds[0],
        "error": relative_error(weight, make_ours()),
        "tensorly_error": relative_error(weight, make_theirs()),
    }


def alternate(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of both, called in turn after one call of each that is not counted."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):
        for call, times in zip((ours, theirs), seconds, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return statistics.median(seconds[0][1:]), statistics.median(seconds[1][1:])


def decaying_weight(rows: int, columns: int) -> torch.Tensor:
    """A float32 matrix with random singular vectors and the singular values k^-0.6, seen in trained weights."""
    generator = torch.Generator().manual_seed(0)
    rank = min(rows, columns)
    u = torch.linalg.qr(torch.randn(rows, rank, generator=generator)).Q
    v = torch.linalg.qr(torch.randn(columns, rank, generator=generator)).Q
    return (u * torch.arange(1, rank + 1) ** -0.6) @ v.T


def relative_error(weight: torch.Tensor, approximation: torch.Tensor) -> float:
    """The Frobenius norm of the difference over that of the weight, in float64."""
    exact = weight.double()
    return float(torch.linalg.norm(exact - approximation.double()) / torch.linalg.norm(exact))


if __name__ == "__main__":
    tensorly.set_backend("pytorch")
    for row in measure():
        print(", ".join(f"{name} {value:.5g}" for name, value in row.items()))
