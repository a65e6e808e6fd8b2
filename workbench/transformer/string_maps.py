"""Which sites of a string a GPT has depend on each other: one map a common explanation, so that they can be compared.

Each map is a mean over the given strings, float64, with an axis a site twice. An entry says how much the prediction of
the later site uses the earlier one; it is mirrored, and a site has no entry with itself. Symbol i is read at position
i + 1 and symbol j predicted at position j. Of a causal model's prediction these say what it computes from what; how
much two symbols tell of each other is another question (`information_map`), since what is between them may tell it.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from workbench.transformer.attribution_rules import mean_on_line, rolled_out
from workbench.transformer.matrices import shared_copy
from workbench.transformer.string_gpt import StringGPT

_ROWS = 1024  # strings of which patterns or gradients are held at once


def attention_map(gpt: StringGPT, x: Int[Tensor, "n sites"]) -> Float[Tensor, "i j"]:
    """The attention, 0 to 1, paid where x_j is predicted to where x_i is read, a mean over heads and layers (exact).

    The start takes the rest. Cost: one pass.
    """
    return _between_sites(_mean_over_strings(x, lambda rows: _patterns(gpt, rows).mean((0, 2))))


def rollout_map(gpt: StringGPT, x: Int[Tensor, "n sites"]) -> Float[Tensor, "i j"]:
    """The share, 0 to 1, of where x_j is predicted that comes from where x_i is read: attention rollout.

    The mean over heads, `rolled_out`. A heuristic: values and MLPs are not asked. Cost: one pass.
    Source: Abnar & Zuidema (2020).
    """
    return _between_sites(_mean_over_strings(x, lambda rows: rolled_out(_patterns(gpt, rows).mean(2))))


def gradient_map(gpt: StringGPT, x: Int[Tensor, "n sites"]) -> Float[Tensor, "i j"]:
    """The norm of gradient times input, of ln q(x_j | before) by the token embedding of x_i; in nats.

    The norm is that of the vector over the width. A local measure: nothing sums to ln q. Cost: a pass back a site.
    """

    def sizes(rows: Tensor) -> Tensor:
        embedded = gpt.embedded(rows)
        return (_gradients(gpt, rows, embedded) * embedded[:, None]).norm(dim=-1)

    return _between_sites(_mean_over_strings(x, sizes))


def integrated_gradients_map(gpt: StringGPT, x: Int[Tensor, "n sites"], nodes: int = 12) -> Float[Tensor, "i j"]:
    """How much x_i adds to ln q(x_j | before), in nats, whatever its sign: the mean of |`reading_contributions`|.

    An estimate, by fewer nodes than these have: a twentieth of its largest entry off, or less, for the GPTs of the
    tests.
    """
    return _between_sites(_mean_over_strings(x, lambda rows: reading_contributions(gpt, rows, nodes).abs()))


def reading_contributions(gpt: StringGPT, x: Int[Tensor, "n sites"], nodes: int = 32) -> Float[Tensor, "n j t"]:
    """What reading the token of position t adds to ln q(x_j | before) of each string, in nats: integrated gradients.

    At the baseline the mean embedding of all symbols is read, everywhere but at the start. Along the straight line from
    there the gradient is integrated by Gauss and Legendre's rule; what is added over t is ln q(x_j | before) less its
    value at the baseline (completeness), up to the error of the rule, which falls slowly where the model makes up its
    mind at one point of the line. Cost: `nodes` times that of `gradient_map`.
    Source: Sundararajan et al. (2017).
    """
    read = gpt.embedded(x)
    line = torch.zeros_like(read)
    line[:, 1:] = read[:, 1:] - gpt.model.transformer.wte.weight[: gpt.n_symbols].mean(0)
    return mean_on_line(lambda share: (_gradients(gpt, x, read - line * (1 - share)) * line[:, None]).sum(-1), nodes)


def ablation_map(gpt: StringGPT, x: Int[Tensor, "n sites"]) -> Float[Tensor, "i j"]:
    """How far q(x_j | before) moves when x_i is another symbol: total variation, 0 to 1, a mean over the others.

    An exact counterfactual of the model: nothing is read that is no symbol. Cost: a pass a site and other symbol.
    """

    def moved(rows: Tensor) -> Tensor:
        before, whole = gpt.log_conditionals(rows).exp(), torch.zeros(*rows.shape, gpt.n_sites, dtype=torch.float64)
        for site in range(gpt.n_sites - 1):
            for shift in range(1, gpt.n_symbols):
                other = rows.clone()
                other[:, site] = (rows[:, site] + shift) % gpt.n_symbols
                change = (gpt.log_conditionals(other).exp() - before).abs().sum(-1) / 2
                whole[:, :, site + 1] += change / (gpt.n_symbols - 1)  # where it is read
        return whole

    return _between_sites(_mean_over_strings(x, moved))


def _gradients(gpt: StringGPT, x: Int[Tensor, "n sites"], embedded: Float[Tensor, "n t d"]) -> Float[Tensor, "n j t d"]:
    """The gradient of each string's ln q(x_j | before) by each embedding that is read, where these are `embedded`."""
    with torch.enable_grad():
        leaves = embedded.detach().requires_grad_()
        terms = gpt.log_next(leaves).gather(-1, x[..., None])[..., 0].sum(0)  # of strings, which read themselves only
        parts = [torch.autograd.grad(term, leaves, retain_graph=True)[0] for term in terms]
    return torch.stack(parts, dim=1).double()


def _patterns(gpt: StringGPT, x: Int[Tensor, "n sites"]) -> Float[Tensor, "layers n heads t s"]:
    model = shared_copy(gpt.model)
    model.set_attn_implementation("eager")  # pyright: ignore[reportCallIssue]  # alone gives patterns
    with torch.no_grad():
        found = model(inputs_embeds=gpt.embedded(x), use_cache=False, output_attentions=True).attentions
    return torch.stack(found).double()


def _mean_over_strings(
    x: Int[Tensor, "n sites"], measured: Callable[[Tensor], Float[Tensor, "rows j t"]]
) -> Float[Tensor, "j t"]:
    if not len(x):
        raise ValueError("a map is a mean over strings, and none are given; give one or more.")
    return torch.stack([measured(rows).sum(0) for rows in x.split(_ROWS)]).sum(0) / len(x)


def _between_sites(read: Float[Tensor, "j t"]) -> Float[Tensor, "i j"]:
    """Of what the prediction of j takes from each position, that of the one where i is read."""
    return _mirrored(functional.pad(read[:, 1:], (0, 1)).T)


def _mirrored(earlier: Float[Tensor, "i j"]) -> Float[Tensor, "i j"]:
    above = earlier.triu(1)
    return above + above.T
