"""The path ledger: an attention-only model's logits as a sum of paths, exactly, and what each contributes."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.diagram.drawing import Diagram
from workbench.transformer.anatomy import Anatomy
from workbench.transformer.frozen import FrozenRun, check_attention_only, frozen_run
from workbench.transformer.load import LanguageModel
from workbench.transformer.path_diagrams import Heads, path_plans
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import Tokens, tokens_of

MOST_LAYERS = 2  # each further one multiplies the paths by the number of its heads


@dataclass(frozen=True, eq=False)
class Path:
    """One way from the embedding to the logits: none, one or two heads on it, or all biases together.

    `diagram` runs to its logits, (t, v), with patterns and scales of norms held. `along`, `squared` and `right` are
    numbers at each position, in float64, of these logits less their mean over the vocabulary, which a softmax does
    not see: ⟨path, logits⟩, ‖path‖², and the logit of the token that comes next (the last position has none).
    """

    name: str
    kind: str  # "direct", "head", "virtual head" or "biases"
    heads: Heads  # (layer, head), first to last
    diagram: Diagram
    along: Float[Tensor, " t"]
    squared: Float[Tensor, " t"]
    right: Float[Tensor, " n"]

    def logits(self) -> Float[Tensor, "t v"]:
        """What it adds to the logits, computed anew: only one path's are held at a time."""
        return self.diagram.result()

    def centred_logits(self) -> Float[Tensor, "t v"]:
        """The same in float64, less their mean over the vocabulary."""
        return _centred(self.logits())


@dataclass(frozen=True)
class Share:
    """What a path contributes over some positions.

    `share` is ⟨path, logits⟩ / ⟨logits, logits⟩, centred over the vocabulary: exact, below zero for a path that works
    against the rest; those of all paths sum to one. `size` is ‖path‖² / ‖logits‖²; those do not, for paths are not
    orthogonal. Both are 0 where the logits do not tell tokens apart. `right` is how far the path raises the logit of
    the token that comes next above the mean of the vocabulary, in logits and as the mean over positions; those of all
    paths sum to the model's own.
    """

    share: float
    size: float
    right: float


@dataclass(frozen=True)
class NormScale:
    """What one norm divides by, over the positions of a run: `spread` is its standard deviation over its mean."""

    name: str
    kind: str
    low: float
    high: float
    mean: float
    spread: float

    def __str__(self) -> str:
        name = f"{self.name} ({self.kind})"
        return f"{name}: divides by {self.low:.3g} to {self.high:.3g}, spread {self.spread:.1%} of the mean"


@dataclass(frozen=True)
class NormsHidden:
    """What the freezing of norms hides: a frozen norm is linear, but its scale was the run's own.

    `frozen_error` and `live_error` are the relative changes ‖Δ‖ / ‖logits‖, centred over the vocabulary, when every
    norm instead divides all positions by the mean of its scales: with the patterns held, and with them computed anew.
    """

    scales: tuple[NormScale, ...]
    frozen_error: float
    live_error: float

    def __str__(self) -> str:
        if not self.scales:
            return "no norms: nothing but the patterns is frozen"
        changed = (
            f"with one scale for all positions the logits change by {self.frozen_error:.1%}, "
            f"with patterns computed anew by {self.live_error:.1%}"
        )
        return "\n".join([*map(str, self.scales), changed])


@dataclass(frozen=True, eq=False)
class Ledger:
    """The logits of one run of an attention-only model as the sum of its paths.

    The embedding, token and position together, is where every path but the biases begins. `off` is, at each position,
    the largest |sum of the paths − logits| over the vocabulary, over the largest |logit| anywhere; `squared` and
    `right` are those of the logits, as a path's. `run` holds the patterns and scales.
    """

    run: FrozenRun
    paths: tuple[Path, ...]
    off: Float[Tensor, " t"]
    squared: Float[Tensor, " t"]
    right: Float[Tensor, " n"]

    @property
    def name(self) -> str:
        """The model's."""
        return self.run.anatomy.name

    @property
    def error(self) -> float:
        """The largest relative error of the sum of all paths against the logits."""
        return float(self.off.max())

    def path(self, name: str) -> Path:
        """A path by name: "direct", "0.3", "1.2", "0.3 → 1.2" or "biases". Raises ValueError for another."""
        for path in self.paths:
            if path.name == name:
                return path
        told = ", ".join(path.name for path in self.paths[:6])
        raise ValueError(f"{self.name} has no path {name!r}; it has {len(self.paths)}: {told} …")

    def share(self, path: str, first: int = 0, last: int | None = None) -> Share:
        """What a path contributes at the positions `first` to `last`, both counted; all unless told otherwise."""
        own, (begin, end) = self.path(path), self.span(first, last)
        total = float(self.squared[begin:end].sum())
        along, squared = float(own.along[begin:end].sum()), float(own.squared[begin:end].sum())
        right = float(own.right[begin:end].mean())
        return Share(along / total, squared / total, right) if total else Share(0.0, 0.0, right)

    def total_right(self, first: int = 0, last: int | None = None) -> float:
        """How far the model raises the logit of the next token above the mean of the vocabulary, over positions."""
        begin, end = self.span(first, last)
        return float(self.right[begin:end].mean())

    def span(self, first: int, last: int | None) -> tuple[int, int]:
        """The positions as a half-open span. Raises ValueError unless one of them has a next token."""
        n = len(self.squared)
        last = n - 1 if last is None else last
        if not 0 <= first <= last < n or first == n - 1:
            raise ValueError(
                f"positions {first} to {last} are none of 0 to {n - 1} that a token comes after; the first is "
                f"0 to {n - 2}, and the last no smaller."
            )
        return first, last + 1

    @cached_property
    def hidden(self) -> NormsHidden:
        """What the freezing of norms hides. Cost: two runs of the model."""
        run = self.run
        scales = tuple(
            _norm_scale(name, norm.kind, scale)
            for name, norm, scale in zip(_norm_names(run.anatomy), run.norms, run.scales, strict=True)
            if norm is not None and scale is not None
        )
        if not scales:
            return NormsHidden((), 0.0, 0.0)
        even = tuple(None if scale is None else scale.mean().expand_as(scale) for scale in run.scales)
        frozen = frozen_run(run.anatomy, run.tokens, even, run.patterns).logits
        live = frozen_run(run.anatomy, run.tokens, even).logits
        return NormsHidden(scales, _change(run.logits, frozen), _change(run.logits, live))


def ledger_of(model: LanguageModel | Anatomy, tokens: Tokens) -> Ledger:
    """Every path of a model of one or two layers of attention alone, on a text or a row of tokens.

    Paths: "direct"; each head, "0.3"; each head after a head, a virtual head, "0.3 → 1.2"; and "biases", which are all
    shifts of norms, b_V and b_O and what later heads make of them. Patterns are held, so queries, keys, their biases
    and rotary positions stand in the patterns alone. Each norm is held as the linear map that it was: centring and
    gain are in the weights that read it, the scale of each position is a diagonal. The sum is then exact, up to
    rounding: `Ledger.error` measures it, on the logits that every path's diagram gives.

    Cost: one run of the model, and for each path one of its factors: nothing larger than (t, t) or (t, v) is made.
    Raises ValueError for a model with MLPs or more layers, or tokens it cannot read.
    Source: the path expansion of Elhage et al. (2021).
    """
    anatomy = anatomy_of(model)
    check_attention_only(anatomy)
    if not 1 <= len(anatomy.blocks) <= MOST_LAYERS:
        raise ValueError(
            f"{anatomy.name} has {len(anatomy.blocks)} layers; paths are listed for 1 or {MOST_LAYERS}, since each "
            "further layer multiplies them by the number of its heads."
        )
    row = tokens_of(model, tokens, anatomy)
    if len(row) < 2:
        raise ValueError("1 token was given; a ledger needs 2 or more, since it asks what comes next.")
    run = frozen_run(anatomy, row)
    total, following = _centred(run.logits), row[1:, None]
    summed = torch.zeros_like(run.logits)
    paths = []
    for plan in path_plans(run):
        logits = plan.diagram.result()
        summed += logits
        own = _centred(logits)
        right = own[:-1].gather(1, following)[:, 0]
        numbers = ((own * total).sum(-1).cpu(), own.square().sum(-1).cpu(), right.cpu())
        paths.append(Path(plan.name, plan.kind, plan.heads, plan.diagram, *numbers))
    off = (summed - run.logits).abs().amax(-1) / run.logits.abs().max().clamp_min(torch.finfo(summed.dtype).tiny)
    right = total[:-1].gather(1, following)[:, 0]
    return Ledger(run, tuple(paths), off.double().cpu(), total.square().sum(-1).cpu(), right.cpu())


def _centred(logits: Float[Tensor, "t v"]) -> Float[Tensor, "t v"]:
    """In float64, less the mean over the vocabulary."""
    wide = logits.double()
    return wide - wide.mean(-1, keepdim=True)


def _change(before: Tensor, after: Tensor) -> float:
    wanted = _centred(before)
    change, size = (float(torch.linalg.vector_norm(own)) for own in (_centred(after) - wanted, wanted))
    return change / size if size else 0.0 if change == 0 else math.inf


def _norm_names(anatomy: Anatomy) -> list[str]:
    return [*(f"blocks.{layer}.ln1" for layer in range(len(anatomy.blocks))), "ln_final"]


def _norm_scale(name: str, kind: str, scale: Tensor) -> NormScale:
    wide = scale.double()
    mean = float(wide.mean())
    return NormScale(name, kind, float(wide.min()), float(wide.max()), mean, float(wide.std(correction=0)) / mean)
