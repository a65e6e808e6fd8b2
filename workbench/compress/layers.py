"""A weight matrix inside a running model that is cut by its bond, and runs in the cheapest of its forms."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from workbench.compress.budget import Rungs, Unit
from workbench.decompose.ladder import Ladder
from workbench.decompose.protocol import Decomposition
from workbench.spill import held

# Putting a number in another order takes as long as up to 300 multiply-adds (measured on two cores, a train of
# 768 x 3072, 1,024 rows; 100 where everything fits the cache). By their multiply-adds alone, trains of small bonds
# were up to ten times slower than the dense matrix that they seemed to beat.
MOVE = 300

Form = Literal["original", "factors", "merged", "dense"]


@dataclass(frozen=True, eq=False)
class _Cut:
    """One setting of the bond, with the forms that were made for it; never changed in place, since a forward
    pass may still be running in another thread when the bond moves on."""

    now: Decomposition
    bypassed: bool
    made: dict[str, Decomposition | Tensor]
    bias: nn.Parameter | None
    rows: list[int] = field(default_factory=lambda: [0])  # run at this cut; one lost to a race does no harm


@dataclass(frozen=True, eq=False)
class Running:
    """What a layer ran at some moment; its content is the layer's own affair."""

    present: _Cut
    bare: _Cut


class BondLinear(nn.Module):
    """A linear layer whose weight is a decomposition; uncut, it is the original layer itself (bypassed).

    `cut` only slices. What a form must first compute (cores merged into a pair, the dense matrix) is
    made in the first `forward` that finds it worth its multiply-adds, and kept until the next cut.
    """

    _present: _Cut
    _bare: _Cut

    def __init__(self, original: nn.Module | None, bias: Tensor | None, uncut: Decomposition) -> None:
        super().__init__()
        self.original = original
        self.bias = bias if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.uncut = uncut
        self._full_bond = uncut.full_bond
        self._rungs: dict[str, Rungs] = {}
        self._set(_Cut(uncut, original is not None, {}, self.bias))

    @property
    def now(self) -> Decomposition:
        """The decomposition at the present cut."""
        return self._present.now

    @property
    def bond(self) -> int:
        """The bond of the last cut, whatever form was put in its place: a whole matrix, quantised, has the full one."""
        return self._bare.now.bond

    @property
    def bypassed(self) -> bool:
        """Whether the original layer runs, because nothing is cut."""
        return self._present.bypassed

    @property
    def n_params(self) -> int:
        """Numbers stored for the weight at this cut: its factors, or the dense matrix where that is smaller."""
        return self.dense_params if self.bypassed else min(self.now.n_params, self.dense_params)

    @property
    def dense_params(self) -> int:
        """Numbers of the whole matrix."""
        out_features, in_features = self.uncut.shape
        return out_features * in_features

    @cached_property
    def ladder(self) -> Ladder:
        """Every setting of the bond; made once, since a budget looks at all of them."""
        return self.uncut.ladder()

    def rungs(self, unit: Unit) -> Rungs:
        """The settings that a budget chooses among, by numbers stored or by multiply-adds; made once of each."""
        if unit not in self._rungs:
            self._rungs[unit] = Rungs.of(self.ladder, self.uncut.shape, unit)
        return self._rungs[unit]

    @property
    def present_bias(self) -> Tensor | None:
        """The bias that runs now: the layer's own, or the one put with another form."""
        return self._present.bias

    def cut(self, bond: int | tuple[int, ...]) -> None:
        """Cuts the bond, or each bond of a train to its own size; at the full bond the original layer runs.

        Nothing is computed. What was `put` is left behind.
        """
        now = self.uncut.truncate(bond)  # pyright: ignore[reportArgumentType]  # a train takes one size a bond too
        self._set(_Cut(now, bond == self._full_bond and self.original is not None, {}, self.bias))

    def put(self, form: Decomposition, bias: Float[Tensor, " out"] | None = None) -> None:
        """Runs another form of the matrix, healed or fitted elsewhere, until the next cut; with its own bias if given.

        Raises ValueError if it is of another shape.
        """
        if form.shape != self.uncut.shape:
            raise ValueError(f"a layer of {self.uncut.shape} cannot run a matrix of {form.shape}.")
        own = self.bias if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        object.__setattr__(self, "_present", _Cut(form, False, {}, own))

    def bare(self) -> None:
        """Runs the last cut again, without what was `put` in its place."""
        object.__setattr__(self, "_present", self._bare)

    @property
    def state(self) -> Running:
        """What runs now and what was cut last, to be given to `restore`."""
        return Running(self._present, self._bare)

    def restore(self, state: Running) -> None:
        """Runs again what ran when `state` was taken."""
        object.__setattr__(self, "_present", state.present)
        object.__setattr__(self, "_bare", state.bare)

    def costs(self, rows: int) -> dict[Form, int]:
        """Multiply-adds to run `rows` rows in each form, with what must first be made for it.

        A number that a train puts in another order counts as `MOVE` of them.
        """
        return self._costs(self._present, rows)

    def form(self, rows: int) -> Form:
        """The form that `rows` rows would run in now: the cheapest for them and all that have run at this cut."""
        costs = self._costs(self._present, self._present.rows[0] + rows)
        return min(costs, key=costs.__getitem__)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """The layer's output at the present cut."""
        present = self._present
        if present.bypassed and self.original is not None:
            return self.original(x)
        present.rows[0] += x.numel() // x.shape[-1]  # renting or buying: at most twice the cost of the best choice
        costs = self._costs(present, present.rows[0])
        form = min(costs, key=costs.__getitem__)
        if form == "dense":
            if "dense" not in present.made:
                present.made["dense"] = held(present.now.dense())
            return functional.linear(x, present.made["dense"], present.bias)  # pyright: ignore[reportArgumentType]
        runs = present.now
        if form == "merged":
            if "merged" not in present.made:
                merged = present.now.merged()
                present.made["merged"] = merged.with_tensors({n: held(made) for n, made in merged.tensors().items()})
            runs = present.made["merged"]
        return runs.apply(x, present.bias)  # pyright: ignore[reportAttributeAccessIssue]

    def rows_at(self, index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """The rows of the matrix at the present cut: what it gives as a table of tokens.

        They go through the factors, unless the matrix was made for other rows already.
        """
        present = self._present
        if present.bypassed and self.original is not None:
            return functional.embedding(index, self.original.weight)  # pyright: ignore[reportArgumentType]
        dense = present.made.get("dense")
        return functional.embedding(index, dense) if isinstance(dense, Tensor) else present.now.rows_at(index)

    def _costs(self, present: _Cut, rows: int) -> dict[Form, int]:
        out_features, in_features = self.uncut.shape
        if present.bypassed:
            return {"original": rows * out_features * in_features}
        costs: dict[Form, int] = {"factors": rows * (present.now.apply_cost() + MOVE * present.now.apply_moves())}
        merged_build, merged_apply = present.now.merged_costs()
        if merged_build:
            per_row = merged_apply + MOVE * present.now.merged_moves()
            costs["merged"] = rows * per_row + (0 if "merged" in present.made else merged_build)
        dense_build = 0 if "dense" in present.made else present.now.dense_cost()
        costs["dense"] = rows * out_features * in_features + dense_build
        return costs

    def _set(self, cut: _Cut) -> None:
        # Past nn.Module's own bookkeeping, which costs as much as the slice.
        object.__setattr__(self, "_present", cut)
        object.__setattr__(self, "_bare", cut)


class Lookup(nn.Module):
    """An embedding that takes its rows from `table`, a layer with a bond, which may run elsewhere as the head too."""

    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table = table

    def forward(self, tokens: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """The table's row of each token."""
        return self.table.rows_at(tokens)  # pyright: ignore[reportCallIssue]
