"""Which sites of a string say most about its class: chosen by entanglement, beside classical choices and by chance.

A Born machine a class says the class of a string from any of its sites, since the others are summed out exactly. So one
classifier judges every choice of sites, with nothing learned again. Choosing by the entanglement of a site with all
others needs no labels (after Liu et al. 2021, Front. Appl. Math. Stat. 7, 716044; Bai, Tang & Ran 2022; Ran & Su 2023).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from workbench.born.explain.estimates import sample_information
from workbench.born.explain.seen_sites import log_marginal
from workbench.born.explain.states import site_entropies
from workbench.born.machine import BornMachine
from workbench.born.questions import ChainModel
from workbench.born.two_site import SweepRecipe, sweep
from workbench.truth.strings import table_information

CHANCES = 5  # random orders beside the chosen ones


@dataclass(frozen=True, eq=False)
class ChainClassifier:
    """A chain model for the strings of each class, and ln of the share of strings that is of the class.

    Raises ValueError unless there is one share a model, and all models have the same sites.
    """

    models: tuple[ChainModel, ...]
    log_shares: Float[Tensor, " _"]

    def __post_init__(self) -> None:
        if len(self.models) != len(self.log_shares):
            raise ValueError(f"{len(self.models)} classes have a share each, not {len(self.log_shares)} of them.")
        if len({model.shape for model in self.models}) != 1:
            raise ValueError(f"the classes have strings of other sites: {[model.shape for model in self.models]}.")

    def log_joint(self, x: Int[Tensor, "n sites"], seen: Bool[Tensor, "_ sites"]) -> Float[Tensor, "n classes"]:
        """ln of the probability of each class together with the symbols at the `seen` sites; exact for the models.

        Raises ValueError, and costs, as `log_marginal` of every model.
        """
        return torch.stack([log_marginal(model, x, seen) for model in self.models], 1) + self.log_shares

    def classify(self, x: Int[Tensor, "n sites"], sites: Sequence[int]) -> Int[Tensor, " n"]:
        """The most probable class of each string, given its symbols at `sites` alone (Bayes' rule)."""
        seen = torch.zeros(1, self.models[0].n_sites, dtype=torch.bool)
        seen[0, list(sites)] = True
        return self.log_joint(x, seen).argmax(1)


def learn_classes(
    x: Int[Tensor, "n sites"], labels: Int[Tensor, " n"], recipe: SweepRecipe | None = None
) -> ChainClassifier:
    """A Born machine for the strings of each label, by two-site sweeps: bond 4 and two rounds without a recipe.

    Labels are numbers from 0. Raises ValueError for one that no string has, and as `sweep` does.
    Cost: that of `sweep` for each class.
    """
    recipe = recipe or SweepRecipe(max_bond=4, rounds=2)
    counts = torch.bincount(labels)
    if not bool((counts > 0).all()):
        raise ValueError(f"no string has the label {int((counts == 0).nonzero()[0])}; number the classes from 0.")
    machines = [sweep(x[labels == label], recipe).finish() for label in range(len(counts))]
    return ChainClassifier(tuple(machines), (counts.double() / len(x)).log())


def label_information(x: Int[Tensor, "n sites"], labels: Int[Tensor, " n"], n_symbols: int) -> Float[Tensor, " sites"]:
    """Between the symbol at each site and the label, in nats: of the samples' shares, so an estimate, and too large."""
    symbols, classes = one_hot(x, n_symbols).double(), one_hot(labels).double()
    joint = torch.einsum("nia,nc->iac", symbols, classes) / len(x)
    return torch.tensor([table_information(table) for table in joint], dtype=torch.float64)


def feature_scores(
    machine: BornMachine,
    x: Int[Tensor, "n sites"],
    labels: Int[Tensor, " n"],
    generator: torch.Generator,
) -> dict[str, Float[Tensor, "_ sites"]]:
    """How much each site is worth by several measures, which are names of rows: larger is kept earlier.

    The entanglement entropy of the site in `machine`, learned from all strings without labels; the entropy of the
    site's symbol, and its information with the label, in the samples; and 5 rows by chance, the control.
    """
    n_symbols = machine.shape[0]
    return {
        "entanglement": site_entropies(machine)[None],
        "site entropy": sample_information(x, n_symbols).diagonal()[None],
        "information with the label": label_information(x, labels, n_symbols)[None],
        "by chance": torch.rand(CHANCES, x.shape[1], generator=generator, dtype=torch.float64),
    }


@dataclass(frozen=True, eq=False)
class FeatureCurves:
    """The share of `n` strings classified right from the `counts` best sites, a row for each way to order them.

    Each share has a standard error of √(share (1 - share) / n); rows of several orders are their means.
    """

    orders: tuple[str, ...]
    counts: tuple[int, ...]
    accuracies: Float[Tensor, "orders counts"]
    n: int

    def __str__(self) -> str:
        width = max(len(name) for name in ("sites kept", *self.orders))
        lines = [f"{'sites kept':<{width}}" + "".join(f"{count:>7}" for count in self.counts)]
        for name, row in zip(self.orders, self.accuracies.tolist(), strict=True):
            lines.append(f"{name:<{width}}" + "".join(f"{share:7.3f}" for share in row))
        return "\n".join([*lines, f"shares of {self.n} strings classified right"])


def feature_curves(
    classifier: ChainClassifier,
    x: Int[Tensor, "n sites"],
    labels: Int[Tensor, " n"],
    scores: Mapping[str, Float[Tensor, "_ sites"]],
    counts: Sequence[int],
) -> FeatureCurves:
    """How many strings are classified right from the sites of highest score, so many of them at a time.

    Scores have a row for each order of a name, over which is averaged. Of equal scores the earlier site is kept first.
    Raises ValueError for a count that is none of 1 to the number of sites. Cost: n rows of `log_marginal` for each
    class, count and order.
    """
    n_sites = classifier.models[0].n_sites
    for count in counts:
        if not 1 <= count <= n_sites:
            raise ValueError(f"1 to {n_sites} sites of a string are kept, not {count}.")
    rows = []
    for rankings in scores.values():
        orders = rankings.argsort(dim=1, descending=True, stable=True).tolist()
        found = [
            [classifier.classify(x, order[:count]).eq(labels).double().mean() for count in counts] for order in orders
        ]
        rows.append(torch.tensor(found, dtype=torch.float64).mean(0))
    return FeatureCurves(tuple(scores), tuple(counts), torch.stack(rows), len(x))
