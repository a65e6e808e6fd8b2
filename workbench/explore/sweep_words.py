"""Sources, learners and recipes in words that can travel: "parity 10", "one-pass 4", svd in the input metric."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from workbench.compress.recipe import METRICS, Recipe, published
from workbench.explore.sample_choices import (
    COUNTS,
    LINEAR_CODE,
    gpt_learner,
    one_pass_learner,
    sweep_learner,
    usual_families,
)
from workbench.explore.sample_complexity import Learner
from workbench.transformer.string_gpt import StringGPTRecipe
from workbench.truth.source import Source

# The usual families in a word each, in their order.
SOURCES: tuple[str, ...] = (
    "parity", "bars-and-stripes", "ising-chain", "ising-ground-state", "ghz", "w-state", "dyck", "motzkin"
)  # fmt: skip
# Learners that come in sizes: a largest bond, or a width.
SIZED: Mapping[str, Callable[[int], Learner]] = MappingProxyType(
    {
        "one-pass": one_pass_learner,
        "sweep": sweep_learner,
        "gpt": lambda width: gpt_learner(StringGPTRecipe(d_model=width)),
    }
)
PLAIN: Mapping[str, Learner] = MappingProxyType({"counts": COUNTS, "linear-code": LINEAR_CODE})


def source_of(words: str) -> Source:
    """The source that is told as a name and a number of sites: `parity 10`.

    Raises ValueError for a name that is not among `SOURCES`, or a size that it does not have.
    """
    families = dict(zip(SOURCES, usual_families(), strict=True))
    name, n_sites = _with_number(words, "source", families)
    if n_sites not in families[name].sites:
        has = ", ".join(map(str, families[name].sites))
        raise ValueError(f"the source {name} has {has} sites, not {n_sites}.")
    return families[name].make(n_sites)


def learner_of(words: str) -> Learner:
    """The learner that is told as a name, and a bond or a width where it has one: `one-pass 4`, `gpt 32`, `counts`.

    Raises ValueError for a name that is not there, or a number where there is none, or none where there is one.
    """
    if words in PLAIN:
        return PLAIN[words]
    name, size = _with_number(words, "learner", [*SIZED, *PLAIN])
    if name not in SIZED:
        raise ValueError(f"the learner {name} has no size; leave out the {size}.")
    return SIZED[name](size)


def recipes_of(methods: Sequence[str], metrics: Sequence[str] | None = None) -> tuple[Recipe, ...]:
    """Every method in those of the metrics that it has, by default in its first; a published one as it was published.

    Raises ValueError for a method or metric that is not there, or a method that has none of the metrics.
    """
    known = list(dict.fromkeys(metric for own in METRICS.values() for metric in own))
    for metric in metrics or ():
        if metric not in known:
            raise ValueError(f"unknown metric {metric!r}; there are {', '.join(known)}.")
    found: list[Recipe] = []
    for method in methods:
        whole = published(method)
        if whole is not None:
            found.append(whole)
            continue
        own = METRICS[method][:1] if metrics is None else [metric for metric in metrics if metric in METRICS[method]]
        if not own:
            raise ValueError(
                f"method {method!r} has none of the metrics {', '.join(metrics or ())}; it has "
                f"{', '.join(METRICS[method])}."
            )
        found += [Recipe(method, metric) for metric in own]
    return tuple(dict.fromkeys(found))


def _with_number(words: str, kind: str, known: Iterable[str]) -> tuple[str, int]:
    """A name and the whole number above 0 behind it."""
    name, _, number = words.strip().partition(" ")
    if name not in known:
        raise ValueError(f"there is no {kind} {name!r}; there are {', '.join(known)}.")
    if not number.strip().isdigit() or int(number) < 1:
        raise ValueError(f"the {kind} {name} takes one number behind it, such as '{name} 8', not {words!r}.")
    return name, int(number)
