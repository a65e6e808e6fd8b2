"""A search for an order of rows and columns in which few Kronecker products come near a weight matrix.

That such an order helps is the idea of TQCompressor (2024). How its authors search is not in their code, which loads
finished orders; what is searched here, and how, is this library's own.

In A ⊗ B with small blocks B, row o·P + p of the matrix is row p of the blocks in band o. Three kinds of step move rows,
each to the best of what it may do, exactly:

- *By the span*, where B has few entries. Only the span of the products' right factors is kept, while the left ones
  follow: the rows at one p are dealt anew to the bands, each with the other rows of the band as they are, a linear
  assignment. A row may end far from its old neighbours, since nothing ties it to the sum that they made.
- *By a swap*, there too: in every band the two rows change places whose exchange brings most into that span. So rows
  come to another p, to be dealt anew from there.
- *By the sum*, where the rows of B are too many to go through. The present sum is kept, and all rows of the matrix are
  put where they are nearest to its rows, a linear assignment. It alone gains less than the other two.

Columns likewise. After each step the sum is decomposed again. So none can raise the error, but for rounding: one that
did not lower it is taken back. The end is a local optimum and depends on the start. Sorting by norm is often a good
one: it puts the strong rows at one p and the weak ones at another, so that whole products carry little. Two rounds tell
which start to go on from.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from workbench.decompose.ladder import check_bond
from workbench.decompose.operator import TrainOperator
from workbench.decompose.permuted import Permuted

ROUNDS = 30  # at most, of all steps once
TRIAL = 2  # rounds that each start gets before the best alone goes on
LEAST_GAIN = 1e-3  # of the squared error in a round, or the search stops
LARGEST_SPAN = 64  # entries of a small block up to which its positions are tried one by one

# From a matrix in its present order, the left factors (o, i, r) and the right ones (r, p, j): a new order of its rows.
Step = Callable[[Tensor, Tensor, Tensor], Tensor]


def permuted_kronecker(
    weight: Float[Tensor, "out in"],
    dims: tuple[tuple[int, int], tuple[int, int]],
    bond: int,
    starts: int = 3,
    seed: int = 0,
) -> Permuted:
    """The uncut Kronecker sum of `weight` in the best order found for a cut to `bond`; other cuts use the same order.

    `dims` are the outputs' sizes (o, p) and the inputs' (i, j). Its error at `bond` is at most that of the weight as
    it stands: that order is the first start; the second sorts by norm, and all others are drawn from `seed`.
    Raises ValueError for dimensions or a bond that do not fit.
    Cost: a round takes p + j assignments of sizes o and i, each at most its cube and in practice nearer its square, or
    two of sizes out and in, and about as many decompositions; 2 rounds a start, then 28 at most.
    """
    if starts < 1:
        raise ValueError(f"a search has one or more starts, not {starts}.")
    weight = weight.contiguous()
    check_bond(bond, TrainOperator.from_weight(weight, None, *dims).full_bond)
    tried = [
        _improved(weight, _ordered(weight, dims, rows, columns), bond, TRIAL)
        for rows, columns in _starts(weight, dims, starts, seed)
    ]
    return _improved(weight, min(tried, key=lambda found: _error(found, bond)), bond, ROUNDS - TRIAL)


def _starts(
    weight: Float[Tensor, "out in"], dims: tuple[tuple[int, int], tuple[int, int]], starts: int, seed: int
) -> Iterator[tuple[Int[Tensor, " out"], Int[Tensor, " in"]]]:
    """Orders to start from: as it stands, by norm, then at random."""
    out_features, in_features = weight.shape
    generator = torch.Generator().manual_seed(seed)
    for start in range(starts):
        if start == 0:
            orders = torch.arange(out_features), torch.arange(in_features)
        elif start == 1:
            orders = tuple(_by_norm(weight.norm(dim=1 - axis), inner) for axis, (_, inner) in enumerate(dims))
        else:
            orders = tuple(torch.randperm(size, generator=generator) for size in weight.shape)
        rows, columns = (order.to(weight.device) for order in orders)
        yield rows, columns


def _by_norm(norms: Float[Tensor, " n"], inner: int) -> Int[Tensor, " n"]:
    """The order whose position 0 in every block is one of the longest, and the last one of the shortest."""
    return norms.argsort(descending=True, stable=True).reshape(inner, -1).T.flatten()


def _improved(weight: Float[Tensor, "out in"], now: Permuted, bond: int, rounds: int) -> Permuted:
    """The order after every step that lowered the error at `bond`, round after round until one gains too little."""
    dims = (now.form.out_dims, now.form.in_dims)
    for _ in range(rounds):
        before = _error(now, bond)
        for axis, step in _steps(dims[0][1], dims[1][1], weight.numel()):
            first, second = now.form.truncate(bond).cores
            ordered, left, right = weight[now.rows][:, now.columns], first[0], second[..., 0]
            if axis == 1:
                ordered, left, right = ordered.T, left.transpose(0, 1), right.transpose(1, 2)
            orders = [now.rows, now.columns]
            orders[axis] = orders[axis][step(ordered, left, right)]
            moved = _ordered(weight, dims, *orders)
            now = moved if _error(moved, bond) < _error(now, bond) else now
        if before - _error(now, bond) <= LEAST_GAIN * before:
            break
    return now


def _steps(p: int, j: int, n_params: int) -> Iterator[tuple[int, Step]]:
    """The steps of a round with blocks (p, j), on rows (axis 0), then on columns (1); none where a block has one."""
    few = p * j <= min(LARGEST_SPAN, n_params // (p * j))
    for axis, size in enumerate((p, j)):
        if size > 1 and few:
            yield from ((axis, partial(by_span, place=place)) for place in range(size))
            yield axis, by_swap
        elif size > 1:
            yield axis, by_sum


def by_sum(
    ordered: Float[Tensor, "n m"], left: Float[Tensor, "o i r"], right: Float[Tensor, "r p j"]
) -> Int[Tensor, " n"]:
    """Every row where it is nearest to the rows of the sum: ‖row − held‖² is least where their product is largest."""
    held = torch.einsum("oir,rpj->opij", left, right).reshape(ordered.shape)
    return _assigned(-held @ ordered.T)


def by_span(
    ordered: Float[Tensor, "n m"], left: Float[Tensor, "o i r"], right: Float[Tensor, "r p j"], place: int
) -> Int[Tensor, " n"]:
    """The rows at `place` dealt anew to the bands, best for blocks projected onto the span of `right`.

    Its matrices are orthonormal, V, since these blocks are the smaller ones. What a block w loses is wᵀ (1 − V Vᵀ) w:
    of that only the product of a row with the others of its band depends on which row meets which band.
    """
    _, p, j = right.shape
    blocks = ordered.unflatten(1, (-1, j)).unflatten(0, (-1, p))  # (o, p, i, j)
    others = blocks.clone()
    others[:, place] = 0
    kept = torch.einsum("opij,rpj->oir", others, right)
    met = torch.einsum("oir,rj->oij", kept, right[:, place]).flatten(1)  # half of what a row there is multiplied with
    dealt = _assigned(-met @ blocks[:, place].flatten(1).T)
    order = torch.arange(len(ordered), device=ordered.device).reshape(-1, p)
    order[:, place] = order[dealt, place]
    return order.flatten()


def by_swap(
    ordered: Float[Tensor, "n m"], left: Float[Tensor, "o i r"], right: Float[Tensor, "r p j"]
) -> Int[Tensor, " n"]:
    """In every band the exchange of two rows, or none, that leaves most of it in the span of `right`."""
    _, p, j = right.shape
    blocks = ordered.unflatten(1, (-1, j)).unflatten(0, (-1, p))  # (o, p, i, j)
    ways = [list(range(p))]
    for a, b in combinations(range(p), 2):
        ways.append(list(range(p)))
        ways[-1][a], ways[-1][b] = b, a
    kept = [torch.einsum("opij,rpj->oir", blocks, right[:, way]).square().sum((1, 2)) for way in ways]
    best = torch.tensor(ways, device=ordered.device)[torch.stack(kept).argmax(0)]  # (o, p)
    return torch.arange(len(ordered), device=ordered.device).reshape(-1, p).gather(1, best).flatten()


def _assigned(costs: Float[Tensor, "n n"]) -> Int[Tensor, " n"]:
    """For each row of `costs` the column that the assignment of least total cost gives it."""
    return torch.as_tensor(linear_sum_assignment(costs.cpu().numpy())[1], device=costs.device)


def _ordered(
    weight: Float[Tensor, "out in"],
    dims: tuple[tuple[int, ...], tuple[int, ...]],
    rows: Int[Tensor, " out"],
    columns: Int[Tensor, " in"],
) -> Permuted:
    return Permuted(TrainOperator.from_weight(weight[rows][:, columns], None, *dims), rows, columns)


def _error(form: Permuted, bond: int) -> float:
    """The squared error at `bond`, exact for two sites."""
    return float(form.spectra[0].squared_errors()[bond])
