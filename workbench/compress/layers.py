"""A weight matrix inside a running model that is cut by its bond, and runs in the cheapest of its forms."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from workbench.decompose.protocol import Decomposition

Form = Literal["original", "factors", "merged", "dense"]


class BondLinear(nn.Module):
    """A linear layer whose weight is a decomposition; uncut, it is the original layer itself (bypassed).

    `cut` only slices. What a form must first compute (cores merged into a pair, the dense matrix) is
    made in the first `forward` that finds it worth its multiply-adds, and kept until the next cut.
    """

    def __init__(self, original: nn.Module | None, bias: Tensor | None, uncut: Decomposition) -> None:
        super().__init__()
        self.original = original
        self.bias = bias if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.uncut = uncut
        self.now = uncut
        self.bypassed = original is not None
        self._made: dict[str, Decomposition | Tensor] = {}

    @property
    def n_params(self) -> int:
        """Numbers stored for the weight at this cut: its factors, or the dense matrix where that is smaller."""
        out_features, in_features = self.uncut.shape
        dense = out_features * in_features
        return dense if self.bypassed else min(self.now.n_params, dense)

    def cut(self, bond: int) -> None:
        """Cuts the bond; at the full bond the original layer runs. Slices only: nothing is computed."""
        self.now = self.uncut.truncate(bond)
        self.bypassed = self.original is not None and bond == self.uncut.full_bond
        self._made = {}

    def costs(self, rows: int) -> dict[Form, int]:
        """Multiply-adds to run `rows` rows in each form, with what must first be made for it."""
        out_features, in_features = self.uncut.shape
        if self.bypassed:
            return {"original": rows * out_features * in_features}
        costs: dict[Form, int] = {"factors": rows * self.now.apply_cost()}
        merged_build, merged_apply = self.now.merged_costs()
        if merged_build:
            costs["merged"] = rows * merged_apply + (0 if "merged" in self._made else merged_build)
        costs["dense"] = rows * out_features * in_features + (0 if "dense" in self._made else self.now.dense_cost())
        return costs

    def form(self, rows: int) -> Form:
        """The cheapest form for `rows` rows, by counted multiply-adds."""
        costs = self.costs(rows)
        return min(costs, key=costs.__getitem__)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """The layer's output at the present cut."""
        if self.bypassed and self.original is not None:
            return self.original(x)
        form = self.form(x.numel() // x.shape[-1])
        if form == "dense":
            return functional.linear(x, self._dense(), self.bias)
        runs = self._merged() if form == "merged" else self.now
        y = runs.apply(x)
        return y if self.bias is None else y + self.bias

    def weight_now(self) -> Float[Tensor, "out in"]:
        """The dense matrix this cut stands for."""
        return self._dense()

    def _dense(self) -> Tensor:
        if "dense" not in self._made:
            self._made["dense"] = self.now.dense()
        made = self._made["dense"]
        assert isinstance(made, Tensor)
        return made

    def _merged(self) -> Decomposition:
        if "merged" not in self._made:
            self._made["merged"] = self.now.merged()
        made = self._made["merged"]
        assert not isinstance(made, torch.Tensor)
        return made
