"""A weight matrix inside a running model that is cut by its bond, and runs in the cheapest of its forms."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from workbench.decompose.protocol import Decomposition

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


class BondLinear(nn.Module):
    """A linear layer whose weight is a decomposition; uncut, it is the original layer itself (bypassed).

    `cut` only slices. What a form must first compute (cores merged into a pair, the dense matrix) is
    made in the first `forward` that finds it worth its multiply-adds, and kept until the next cut.
    """

    _present: _Cut

    def __init__(self, original: nn.Module | None, bias: Tensor | None, uncut: Decomposition) -> None:
        super().__init__()
        self.original = original
        self.bias = bias if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.uncut = uncut
        self._full_bond = uncut.full_bond
        self._set(_Cut(uncut, original is not None, {}))

    @property
    def now(self) -> Decomposition:
        """The decomposition at the present cut."""
        return self._present.now

    @property
    def bypassed(self) -> bool:
        """Whether the original layer runs, because nothing is cut."""
        return self._present.bypassed

    @property
    def n_params(self) -> int:
        """Numbers stored for the weight at this cut: its factors, or the dense matrix where that is smaller."""
        out_features, in_features = self.uncut.shape
        dense = out_features * in_features
        return dense if self.bypassed else min(self.now.n_params, dense)

    def cut(self, bond: int) -> None:
        """Cuts the bond; at the full bond the original layer runs. Slices only: nothing is computed."""
        now = self.uncut.truncate(bond)
        self._set(_Cut(now, bond == self._full_bond and self.original is not None, {}))

    def costs(self, rows: int) -> dict[Form, int]:
        """Multiply-adds to run `rows` rows in each form, with what must first be made for it.

        A number that a train puts in another order counts as `MOVE` of them.
        """
        return self._costs(self._present, rows)

    def form(self, rows: int) -> Form:
        """The cheapest form for `rows` rows, by counted multiply-adds."""
        costs = self.costs(rows)
        return min(costs, key=costs.__getitem__)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """The layer's output at the present cut."""
        present = self._present
        if present.bypassed and self.original is not None:
            return self.original(x)
        costs = self._costs(present, x.numel() // x.shape[-1])
        form = min(costs, key=costs.__getitem__)
        if form == "dense":
            if "dense" not in present.made:
                present.made["dense"] = present.now.dense()
            return functional.linear(x, present.made["dense"], self.bias)  # pyright: ignore[reportArgumentType]
        runs = present.now
        if form == "merged":
            if "merged" not in present.made:
                present.made["merged"] = present.now.merged()
            runs = present.made["merged"]
        return runs.apply(x, self.bias)  # pyright: ignore[reportAttributeAccessIssue]

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
