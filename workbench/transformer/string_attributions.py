"""What each symbol of a string has to do with how surprising a GPT finds it: -ln p(x) given out to the sites, in nats.

A symbol has two parts in -ln p(x): it is predicted, and it is read where later ones are. To differentiate by both, a
site may hold a mixture of symbols: it is read as the mixture of their embeddings, and its surprise is the mean of
theirs (`mixed_surprises`; ours). For a mixture of one symbol that is the string's own.

In the game of the surprise, where v(S) = -ln p(x_S) is what the sites S are worth together, `surprises` are what each
site adds in the order of the string and `leave_one_out` what it adds as the last of all; Shapley values are means over
all orders, and need more than a GPT's conditionals.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from workbench.transformer.attribution_rules import mean_on_line
from workbench.transformer.string_gpt import StringGPT


def surprises(gpt: StringGPT, x: Int[Tensor, "n sites"]) -> Float[Tensor, "n sites"]:
    """-ln q(x_t | before): they sum to -ln p(x) (exact). Cost: one pass."""
    return -gpt.log_conditionals(x).gather(-1, x[..., None])[..., 0]


def leave_one_out(gpt: StringGPT, x: Int[Tensor, "n sites"]) -> Float[Tensor, "n sites"]:
    """-ln q(x_t | all other symbols), before and after: what the string's surprise loses if x_t is not looked at.

    p(x) is beside the sum of p over all symbols at t, so each is 0 or more, and they sum to nothing known (exact).
    Cost: a pass a site and symbol.
    """
    log_p, left = gpt.log_prob(x), torch.empty(x.shape, dtype=torch.float64)
    for site in range(x.shape[1]):
        others = [log_p]
        for shift in range(1, gpt.n_symbols):
            other = x.clone()
            other[:, site] = (x[:, site] + shift) % gpt.n_symbols
            others.append(gpt.log_prob(other))
        left[:, site] = torch.stack(others).logsumexp(0) - log_p
    return left


def gradient_times_input(gpt: StringGPT, x: Int[Tensor, "n sites"]) -> Float[Tensor, "n sites"]:
    """The derivative of -ln p(x) by how much of x_t site t holds: its own surprise, and its embedding times gradient.

    A local measure: they sum to nothing known. Cost: one pass, and one back.
    """
    own = functional.one_hot(gpt.checked(x), gpt.n_symbols).double()
    return (_gradient(gpt, own) * own).sum(-1)


def integrated_gradients(gpt: StringGPT, x: Int[Tensor, "n sites"], nodes: int = 32) -> Float[Tensor, "n sites"]:
    """What x_t adds to -ln p(x) on the straight line from all symbols mixed evenly, and the site's surprise there.

    They sum to -ln p(x) (completeness), up to the error of Gauss and Legendre's rule of so many `nodes`. What two
    symbols tell of each other is given to both in halves, where it is a product of what they are.
    Cost: `nodes` times that of `gradient_times_input`. Source: Sundararajan et al. (2017); on mixtures, ours.
    """
    own = functional.one_hot(gpt.checked(x), gpt.n_symbols).double()
    line = own - 1 / gpt.n_symbols
    with torch.no_grad():
        whole = mixed_surprises(gpt, own - line)
    return whole + mean_on_line(lambda share: (_gradient(gpt, own - line * (1 - share)) * line).sum(-1), nodes)


def mixed_surprises(gpt: StringGPT, mixed: Float[Tensor, "n sites symbols"]) -> Float[Tensor, "n sites"]:
    """Of every site, the mean of -ln q(a | before) over the symbols a that it holds, where mixtures are read before.

    Differentiable by the mixtures, whose shares sum to one at each site.
    """
    symbols = gpt.model.transformer.wte.weight[: gpt.n_symbols]
    start = gpt.model.transformer.wte.weight[gpt.n_symbols].expand(len(mixed), 1, -1)
    read = torch.cat([start, mixed[:, :-1].to(symbols) @ symbols], dim=1)
    return -(mixed * gpt.log_next(read)).sum(-1)


def _gradient(gpt: StringGPT, mixed: Float[Tensor, "n sites symbols"]) -> Float[Tensor, "n sites symbols"]:
    """The derivative of each string's summed surprise by every share."""
    with torch.enable_grad():
        leaves = mixed.detach().requires_grad_()
        return torch.autograd.grad(mixed_surprises(gpt, leaves).sum(), leaves)[0]
