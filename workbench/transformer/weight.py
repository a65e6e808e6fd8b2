"""A weight as the network it is stored as: one array, or the factors of a matrix whose bond has been cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from workbench.network import Network
from workbench.node import Node


@dataclass(frozen=True, eq=False)
class Part:
    """One array of a weight: the name of the array, its legs, and its numbers, a view of the model's own."""

    tensor: str
    legs: tuple[str, ...]
    array: Tensor


@dataclass(frozen=True, eq=False)
class Weight:
    """A named weight over the legs `legs`: the contraction of its parts over what bonds they share."""

    name: str
    legs: tuple[str, ...]
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, name: str, legs: Sequence[str], array: Tensor) -> "Weight":
        """The weight that is one array."""
        return cls(name, tuple(legs), (Part(name, tuple(legs), array),))

    @classmethod
    def pair(
        cls, name: str, out: Mapping[str, int], into: Mapping[str, int], factors: tuple[Tensor, Tensor], shared: str
    ) -> "Weight":
        """The weight that is a matrix cut to two factors (out, r) and (r, in), with the sizes of its legs on each side.

        `shared` names the right factor, which several weights may share, as query, key and value do in GPT-2.
        """
        bond = f"r_{shared.removeprefix('W_').removesuffix('.R')}"
        left = factors[0].reshape(*out.values(), -1)
        right = factors[1].reshape(-1, *into.values())
        return cls(name, (*out, *into), (Part(f"{name}.L", (*out, bond), left), Part(shared, (bond, *into), right)))

    @property
    def arrays(self) -> dict[str, Tensor]:
        """Its arrays by name."""
        return {part.tensor: part.array for part in self.parts}

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """The legs of its arrays by name."""
        return {part.tensor: part.legs for part in self.parts}

    def size(self, leg: str) -> int:
        """The size of one of its legs. Raises ValueError for a leg it has not."""
        for part in self.parts:
            if leg in part.legs:
                return part.array.shape[part.legs.index(leg)]
        raise ValueError(f"weight {self.name!r} has the legs {', '.join(self.legs)}, and not {leg!r}.")

    def nodes(self, renamed: Mapping[str, str] | None = None, suffix: str = "") -> tuple[Node, ...]:
        """Its nodes in a network, some of its legs called otherwise there; `suffix` tells two uses apart."""
        name_of = dict(renamed or {})
        made = []
        for part in self.parts:
            legs = tuple(name_of.get(leg, leg if leg in self.legs else f"{leg}{suffix}") for leg in part.legs)
            made.append(Node(f"{part.tensor}{suffix}", legs, tensor=part.tensor))
        return tuple(made)

    def dense(self) -> Tensor:
        """The weight as one array, its axes ordered as `legs`; for a single array that array itself."""
        if len(self.parts) == 1 and self.parts[0].legs == self.legs:
            return self.parts[0].array
        return Network(self.nodes(), self.legs).contract(self.arrays)

    def with_legs(self, legs: Sequence[str]) -> "Weight":
        """The same weight with its legs, and a single array's axes, in another order."""
        own, *more = self.parts
        if more:
            return replace(self, legs=tuple(legs))
        return Weight.of(self.name, legs, own.array.permute([own.legs.index(leg) for leg in legs]))

    def at(self, leg: str, index: int) -> "Weight":
        """The weight at one index of a leg, which it loses: one head's share of all heads'."""
        parts = []
        for part in self.parts:
            if leg in part.legs:
                axis = part.legs.index(leg)
                legs = (*part.legs[:axis], *part.legs[axis + 1 :])
                part = Part(part.tensor, legs, part.array.select(axis, index))
            parts.append(part)
        return replace(self, legs=tuple(own for own in self.legs if own != leg), parts=tuple(parts))

    def scaled(self, leg: str, factors: Tensor) -> "Weight":
        """The weight times a vector along one of its legs: how a norm's gain is folded into what reads it."""
        parts = []
        for part in self.parts:
            if leg in part.legs:
                shape = [1] * len(part.legs)
                shape[part.legs.index(leg)] = -1
                part = replace(part, array=part.array * factors.reshape(shape))
            parts.append(part)
        return replace(self, parts=tuple(parts))
