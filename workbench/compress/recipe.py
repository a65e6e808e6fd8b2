"""Which decomposition of the block matrices and of the token table, in which metric; and the published ones by name."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from workbench.compress.calibrate import METRIC_KINDS
from workbench.transformer.tables import TABLES, check_table

# A site factorisation of one kind of matrix: its name, the outputs' sizes and the inputs'.
Dims = tuple[str, tuple[int, ...], tuple[int, ...]]

# In which metrics each method can be cut. A train and a Kronecker sum see no metric until they are refitted.
METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "svd": ("input", "plain", "two-sided", "diagonal"),
        "mpo": ("plain", "input", "two-sided"),
        "kronecker": ("plain", "input", "two-sided"),
        "tucker": ("plain",),
        "cp": ("plain",),
        "ring": ("plain",),
    }
)
METHODS = tuple(METRICS)
REFITTED = ("mpo", "kronecker")
_TABLE_TOLD = {"whole": "", "both": ", with the table", "input": ", with the input table"}


@dataclass(frozen=True)
class Recipe:
    """How every block matrix is decomposed, and the token table if asked for.

    `method`: `svd`, a low-rank pair; `mpo`, a train operator of `sites` cores; `kronecker`, a sum of Kronecker products
    with small blocks, `permuted` or not; `tucker`, heads stacked with shared factors; `cp` and `ring`, fitted bond by
    bond. `metric`: `plain`, the Frobenius norm of the weight; `diagonal`, inputs scaled by E|x|; `input`, the root mean
    square of the layer's output over the calibration text; `two-sided`, that output as the loss feels it.
    `gauge_fixed` stores a pair without its r² redundant numbers. `dims` gives site dimensions by kind of matrix. In a
    metric other than the plain one, the cores of `mpo` and `kronecker` are refitted.
    `table` says what becomes of the table of tokens: it stays `whole`; `both` its uses run one factored table, so that
    a tied model stays tied, while an untied one gets a bond in each of its two tables; or the `input`, the lookup,
    alone is factored. The head of a tied model then keeps the whole table, and both are stored: TQCompressor's 81
    million numbers are 119 million so.
    """

    method: str = "svd"
    metric: str = "input"
    sites: int = 2
    permuted: bool = False
    gauge_fixed: bool = False
    dims: tuple[Dims, ...] = ()
    table: str = "whole"

    def __post_init__(self) -> None:
        if self.method not in METRICS:
            raise ValueError(f"unknown method {self.method!r}; there are {', '.join(METHODS)}.")
        if self.metric not in METRICS[self.method]:
            raise ValueError(
                f"method {self.method!r} is not cut in metric {self.metric!r}; "
                f"give {' or '.join(METRICS[self.method])}."
            )
        check_table(self.table)
        if self.method == "mpo" and self.sites not in (2, 3, 4):
            raise ValueError(f"a train operator of a weight has 2, 3 or 4 sites here, not {self.sites!r}.")
        defaults = {field.name: field.default for field in fields(self)}
        for option in ("sites", "permuted", "gauge_fixed", "dims"):
            if getattr(self, option) != defaults[option] and option not in OPTIONS[self.method]:
                known = ", ".join(OPTIONS[self.method]) or "none"
                raise ValueError(f"method {self.method!r} has no option {option!r}; it has {known}.")

    @property
    def refit(self) -> bool:
        """Whether cores are fitted again under the metric, one bond at a time."""
        return self.method in REFITTED and self.metric != "plain"

    @property
    def needs_calibration(self) -> bool:
        """Whether the metric is measured on text."""
        return self.metric != "plain"

    @property
    def needs_gradients(self) -> bool:
        """Whether the metric looks at the loss's gradients too."""
        return self.metric == "two-sided"

    def dims_of(self, kind: str) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
        """The site dimensions given for this kind of matrix, outputs and inputs; None where the method chooses."""
        for name, outs, ins in self.dims:
            if name == kind:
                return outs, ins
        return None, None

    def __str__(self) -> str:
        sites = f" of {self.sites} sites" if self.method == "mpo" else ""
        extras = [name for name in ("permuted", "gauge_fixed") if getattr(self, name)] + ["refitted"] * self.refit
        told = f" ({', '.join(extras)})".replace("_", "-") if extras else ""
        return f"{self.method}{sites}{told}, {self.metric} metric{_TABLE_TOLD[self.table]}"

    @property
    def decomposed(self) -> str:
        """What has a bond, in words."""
        return "block matrices" if self.table == "whole" else "block matrices and table"


OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "svd": ("gauge_fixed",),
        "mpo": ("sites", "dims"),
        "kronecker": ("permuted", "dims"),
        "tucker": (),
        "cp": ("dims",),
        "ring": ("dims",),
    }
)

# What the papers do to a weight, as far as it is training-free; their healing and their choice of bonds come on top.
PUBLISHED: Mapping[str, Recipe] = MappingProxyType(
    {
        "svd": Recipe("svd", "plain"),
        "asvd": Recipe("svd", "diagonal"),
        "svd-llm": Recipe("svd", "input"),
        "gfwsvd": Recipe("svd", "two-sided"),
        "pifa": Recipe("svd", "input", gauge_fixed=True),
        "compactifai": Recipe("mpo", "plain", sites=3),
        "tqcompressor": Recipe("kronecker", "plain", permuted=True),
        "tensorllm": Recipe("tucker", "plain"),
    }
)


def published(method: str) -> Recipe | None:
    """The recipe that a published method is, None for one of `METHODS`. Raises ValueError if it is neither."""
    if method not in METHODS and method not in PUBLISHED:
        listed = ", ".join(dict.fromkeys([*METHODS, *PUBLISHED]))
        raise ValueError(f"unknown method {method!r}; there are {listed}.")
    return None if method in METHODS else PUBLISHED[method]


def recipe_of(method: str | Recipe, metric: str, sites: int) -> Recipe:
    """A recipe as it is, or the one of a method in a metric; only `mpo` has `sites`."""
    return method if isinstance(method, Recipe) else Recipe(method, metric, sites if method == "mpo" else 2)


assert set(METRICS) == set(OPTIONS)
assert set(_TABLE_TOLD) == set(TABLES)
assert {metric for metrics in METRICS.values() for metric in metrics} == set(METRIC_KINDS)
