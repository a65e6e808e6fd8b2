"""What any two symbols of a string know of each other: the joint tables of all pairs, and the maps made of them.

Everything is exact for the distribution it is asked of; maps are of sites i and j, symbols a at i and b at j.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.born.environments import LinearWeights, Weights
from workbench.born.questions import ChainModel
from workbench.memory import check_fits
from workbench.truth.chain import ChainSource
from workbench.truth.state import StateSource

_NEVER = 1e-15  # what rounding leaves of a probability of 0 in a table that sums to 1


@runtime_checkable  # annotations are checked in the tests
class HasMarginals(Protocol):
    """A source or a model that knows the joint distribution of symbols at a few sites."""

    @property
    def n_sites(self) -> int:
        """The length of a string."""
        ...

    def marginal(self, sites: Sequence[int]) -> Float[Tensor, "*symbols"]:
        """The joint distribution of the symbols at `sites`, an axis a site in the order given."""
        ...


def pair_marginals(model: HasMarginals) -> Float[Tensor, "i j a b"]:
    """p(x_i = a, x_j = b) of all pairs of sites, exact; [i, i] is the diagonal matrix of the symbols at i.

    Raises ValueError where sites differ in their number of symbols.
    Cost: of a chain one sweep, N² / 2 environments a symbol each past a core; else a marginal of each pair.
    """
    weights = _chain_weights(model)
    with torch.no_grad():
        joint = _asked(model) if weights is None else _swept(weights)
    return joint / joint.sum((2, 3), keepdim=True)


def information_map(joint: Float[Tensor, "i j a b"]) -> Float[Tensor, "i j"]:
    """The mutual information of every pair, in nats; the entropy of the site where i = j.

    Exact for the tables it is given, and of weak ties too: what is no tie at all comes out below 1e-30.
    """
    apart = joint.sum(3, keepdim=True) * joint.sum(2, keepdim=True)
    excess = torch.where(apart > 0, (joint - apart) / apart, 0)
    # Σ p ln(p / q) = Σ q ((1 + e) ln(1 + e) - e) for p = q (1 + e), of which no term is negative.
    return (apart * (torch.special.xlog1py(1 + excess, excess) - excess)).sum((2, 3))


def correlation_map(joint: Float[Tensor, "i j a b"], values: Float[Tensor, " symbols"]) -> Float[Tensor, "i j"]:
    """The covariance of the `values` of the symbols at every pair, in their unit squared; the variance where i = j.

    Raises ValueError unless there is a value for each symbol.
    """
    if len(values) != joint.shape[2]:
        raise ValueError(f"{len(values)} values are given for {joint.shape[2]} symbols; give one for each.")
    values = values.to(joint)
    means = joint.sum(3) @ values  # (i, j): of the symbol at i
    return torch.einsum("ijab,a,b->ij", joint, values, values) - means * means.T


def counterfactuals(joint: Float[Tensor, "i j a b"]) -> Float[Tensor, "i j a b"]:
    """p(x_j = b | x_i = a) of all pairs: what one symbol seen tells of another; exact for the tables it is given.

    All nan where the symbol a has a probability below 1e-15 at i, which is what rounding leaves of 0.
    """
    share = joint.sum(3, keepdim=True)
    return joint / torch.where(share > _NEVER, share, torch.nan)


def influence_map(joint: Float[Tensor, "i j a b"]) -> Float[Tensor, "i j"]:
    """How far one symbol seen moves another: the total variation of p(x_j | x_i = a) from p(x_j), its mean over a.

    The mean is over p(x_i = a), which makes it that of the joint table from the product of its margins: from 0 to 1,
    symmetric, and exact for the tables it is given.
    """
    return (joint - joint.sum(3, keepdim=True) * joint.sum(2, keepdim=True)).abs().sum((2, 3)) / 2


def check_one_alphabet(shape: Sequence[int]) -> int:
    """How many symbols each site has. Raises ValueError unless all have the same number."""
    for k, size in enumerate(shape):
        if size != shape[0]:
            raise ValueError(
                f"site {k} has {size} symbols, but site 0 has {shape[0]}; maps of pairs need one alphabet at all sites."
            )
    return shape[0]


def _chain_weights(model: HasMarginals) -> Weights | None:
    """The weights to sweep over, of what is a chain."""
    if isinstance(model, StateSource):
        return model.machine.weights
    if isinstance(model, ChainSource):
        return LinearWeights(tuple([step.unsqueeze(2) for step in model.steps]))
    return model.weights if isinstance(model, ChainModel) else None


def _swept(weights: Weights) -> Float[Tensor, "i j a b"]:
    """Weights of all pairs, to a factor each, by environments that wait for the second site, one a symbol at the first.

    They are scaled together: for one first site they sum to the environment in which nothing is seen.
    """
    n_sites, symbols = len(weights.cores), check_one_alphabet([core.shape[1] for core in weights.cores])
    joint = weights.cores[0].new_zeros(n_sites, n_sites, symbols, symbols)
    waiting = weights.cores[0].new_ones(1, *[1] * weights.n_bond_legs)  # nothing seen; then by first site and symbol
    for k, (core, end) in enumerate(zip(weights.cores, weights.ends()[0], strict=True)):
        largest = core.numel() * max(core.shape[0], core.shape[3]) ** (weights.n_bond_legs - 1)  # on the way past
        check_fits(len(waiting) * largest, core, f"the map of all pairs of {n_sites} sites")
        passed = weights.passed(waiting, core)  # (1 + k symbols, symbol, *right)
        masses = (passed * end).flatten(2).sum(2).clamp_min(0)  # below 0 is rounding
        joint[k, k] = masses[0].diag()
        joint[:k, k] = masses[1:].unflatten(0, (k, symbols))
        joint[k, :k] = joint[:k, k].transpose(1, 2)
        waiting = torch.cat([passed.sum(1), passed[0]])
        waiting = waiting / torch.linalg.vector_norm(waiting[0])
    return joint


def _asked(model: HasMarginals) -> Float[Tensor, "i j a b"]:
    """The tables of all pairs, asked one by one."""
    alone = [model.marginal((site,)) for site in range(model.n_sites)]
    check_one_alphabet([len(shares) for shares in alone])
    joint = torch.diag_embed(torch.stack(alone)).repeat(model.n_sites, 1, 1, 1)
    for j in range(model.n_sites):
        for i in range(j):
            joint[i, j] = model.marginal((i, j))
            joint[j, i] = joint[i, j].T
    return joint
