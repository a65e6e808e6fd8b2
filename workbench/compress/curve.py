"""Measured settings of a compressed model, and the ones among them that no other beats."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from workbench.compress.evaluate import Estimate
from workbench.compress.recipe import Recipe

_Measured = TypeVar("_Measured")


@dataclass(frozen=True)
class Point:
    """One setting of the bonds with what it stores and how it did.

    `kept_params` and `kept_total` are shares of the dense numbers, of the block matrices and of the whole
    model. `bytes` counts the numbers as the model holds them. `seconds` is the time spent scoring.
    """

    recipe: Recipe
    bonds: tuple[tuple[str, int], ...]
    after: tuple[str, ...]
    kept_params: float
    kept_total: float
    n_params: int
    bytes: int
    estimate: Estimate
    seconds: float

    @property
    def setting(self) -> tuple:
        """What was set, apart from what came of it."""
        return self.recipe, self.bonds, self.after

    @property
    def perplexity(self) -> float:
        """exp of the mean loss a token."""
        return self.estimate.perplexity

    @property
    def perplexity_ratio(self) -> float:
        """Perplexity over the dense model's on the same tokens."""
        return self.estimate.ratio

    @property
    def harm(self) -> float:
        """What a trade-off is drawn by: nats a token above the truth where that is known, else `perplexity_ratio`."""
        return self.perplexity_ratio if self.estimate.excess is None else self.estimate.excess

    @property
    def harm_error(self) -> float:
        """The standard error of `harm`: where the truth is known that of the loss, which is the larger one."""
        return self.estimate.ratio_error if self.estimate.excess is None else self.estimate.log_ratio_error

    def as_dict(self) -> dict:
        """Every number by name, for JSON."""
        row = {name: value for name, value in asdict(self).items() if name not in ("estimate", "bonds", "recipe")}
        score = self.estimate
        return (
            asdict(self.recipe)
            | row
            | {
                "bonds": dict(self.bonds),
                "perplexity": score.perplexity,
                "dense_perplexity": score.dense_perplexity,
                "perplexity_ratio": score.ratio,
                "perplexity_ratio_error": score.ratio_error,
                "accuracy": score.accuracy,
                "dense_accuracy": score.dense_accuracy,
                "top1_agreement": score.top1_agreement,
                "kl": score.kl,
                "excess": score.excess,
                "dense_excess": score.dense_excess,
                "n_tokens": score.n_tokens,
            }
        )


def pareto(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points that no other beats in both numbers stored and perplexity, smallest first."""
    return unbeaten(points, lambda point: point.n_params, lambda point: point.perplexity)


def unbeaten(
    points: Sequence[_Measured], size: Callable[[_Measured], float], harm: Callable[[_Measured], float]
) -> tuple[_Measured, ...]:
    """Those that no other beats in both `size` and `harm`, smallest first; of equals the first."""
    front: list[_Measured] = []
    for point in sorted(points, key=lambda point: (size(point), harm(point))):
        if not front or harm(point) < harm(front[-1]):
            front.append(point)
    return tuple(front)
