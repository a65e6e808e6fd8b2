"""What the steps of a chain say about its strings: whether each has one path, and entropies by path or by belief.

A step (left, symbol, right) is read as an automaton: bond values are its states.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.truth.strings import MOST_STRINGS

Conditioned = Callable[
    [int, Float[Tensor, "beliefs symbols right"]],
    tuple[Float[Tensor, "beliefs symbols"], Float[Tensor, "beliefs symbols right"]],
]

_SAME = 2.0**40  # beliefs that agree to this many parts are one


def has_one_path(steps: Sequence[Float[Tensor, "_ _ _"]]) -> bool:
    """Whether every string runs through one sequence of bond values alone: then √p is a train of the steps' roots.

    Two paths of one string part at some bond: there a pair of different states is reached from the start, and reaches
    the end, by the same symbols. Cost: (left, left, right) a symbol and site.
    Source: the test of ambiguity by the squared automaton (Weber & Seidl 1991).
    """
    linked = [(step > 0).double().transpose(0, 1) for step in steps]  # (symbol, left, right)
    ahead = [torch.ones(1, 1, dtype=torch.float64)]
    for link in reversed(linked[1:]):
        ahead.append(((link @ ahead[-1] @ link.mT).sum(0) > 0).double())
    behind = torch.ones(1, 1, dtype=torch.float64)
    for link, after in zip(linked[:-1], reversed(ahead[1:] if len(steps) > 1 else []), strict=True):
        behind = ((link.mT @ behind @ link).sum(0) > 0).double()
        pairs = behind * after
        if bool((pairs - torch.diag(pairs.diagonal())).any()):
            return False
    return True


def chain_entropy(steps: Sequence[Float[Tensor, "_ _ _"]]) -> float:
    """The entropy of a path, in nats: the sum over steps of that of symbol and next state, given the state.

    It is the entropy of the string where each has one path. The steps are conditional probabilities.
    """
    reached, total = torch.ones(1, dtype=torch.float64), 0.0
    for step in steps:
        total += float(reached @ torch.special.entr(step).sum((1, 2)))
        reached = reached @ step.sum(1)
    return total


def position_entropies(steps: Sequence[Float[Tensor, "_ _ _"]], conditioned: Conditioned) -> Float[Tensor, " sites"]:
    """The entropy of each symbol given all before it, in nats: by the chain rule, over the beliefs that strings leave.

    A belief is the normalised left environment, all that the symbols so far tell of those to come; `conditioned` makes
    of its products with the step at a site the probability of each symbol and the belief behind it. Strings that leave
    the same belief, within 1e-12, are taken together, so a long string is no harder where beliefs are few.
    Raises ValueError where the beliefs of a site, moved on, exceed 2^24 numbers.
    """
    beliefs, weights = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    entropies = []
    for k, step in enumerate(steps):
        _check_few(len(beliefs) * step.shape[1] * step.shape[2], k, len(steps))
        p, after = conditioned(k, torch.tensordot(beliefs, step, dims=1))
        entropies.append(weights @ torch.special.entr(p).sum(1))
        beliefs, weights = _together(after[p > 0], (weights[:, None] * p)[p > 0])
    return torch.stack(entropies)


def _together(beliefs: Float[Tensor, "n right"], weights: Float[Tensor, " n"]) -> tuple[Tensor, Tensor]:
    """The different beliefs, each with the weight of all that are the same."""
    rounded = (beliefs * _SAME).round()
    # The same beliefs have the same sum and so come next to each other; others of that sum between them do no harm.
    order = (rounded * torch.arange(1, beliefs.shape[1] + 1, dtype=torch.float64).sqrt()).sum(1).argsort()
    rounded = rounded[order]
    first = torch.cat([torch.tensor([True]), (rounded[1:] != rounded[:-1]).any(1)])
    place = first.cumsum(0) - 1
    return beliefs[order[first]], weights.new_zeros(int(place[-1]) + 1).index_add(0, place, weights[order])


def _check_few(n_numbers: int, site: int, n_sites: int) -> None:
    if n_numbers > MOST_STRINGS:
        raise ValueError(
            f"strings of {site} symbols leave so many different beliefs that the exact entropy at site {site} of "
            f"{n_sites} takes {n_numbers:.3g} numbers, more than 2^24; give fewer sites, or take the mean of -log_prob "
            "over samples, which is an estimate."
        )
