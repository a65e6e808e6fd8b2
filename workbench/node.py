"""A tensor's place in a network."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

FORMS = ("tensor", "isometry", "unitary", "diagonal")


@dataclass(frozen=True)
class Node:
    """A tensor's place in a network: its name and its legs, one for each axis of its array.

    A copy node holds no array: it is 1 where all its indices agree and 0 elsewhere (a delta, drawn as a dot).
    A tensor used more than once has as many nodes, each naming it as its `tensor`; `conj` takes its conjugate.

    `form` says what is claimed of the array, and drawn: an isometry is the identity on its `tip` legs once its other
    legs are summed over with its conjugate's; a unitary is that on either side; a diagonal holds singular values.
    """

    name: str
    legs: tuple[str, ...]
    copy: bool = False
    tensor: str = ""  # the name of its array; its own name unless told otherwise
    conj: bool = False
    form: str = "tensor"  # one of FORMS
    tip: tuple[str, ...] = ()  # the legs on the smaller side of an isometry, or on one side of a unitary

    def __post_init__(self) -> None:
        object.__setattr__(self, "legs", tuple(self.legs))
        object.__setattr__(self, "tip", tuple(self.tip))
        object.__setattr__(self, "tensor", self.tensor or self.name)
        if self.copy and not self.legs:
            raise ValueError(f"copy node {self.name!r} has no leg; a delta needs one or more.")
        if self.form not in FORMS:
            raise ValueError(f"node {self.name!r} has form {self.form!r}, which is none of {', '.join(FORMS)}.")
        for leg in self.tip:
            if leg not in self.legs:
                raise ValueError(f"the tip of node {self.name!r} names {leg!r}; its legs are {', '.join(self.legs)}.")
        if self.form in ("isometry", "unitary") and not 0 < len(self.tip) < len(self.legs):
            raise ValueError(
                f"{self.form} {self.name!r} has {len(self.tip)} of its {len(self.legs)} legs on its tip; "
                "name one or more there, and leave one or more on the other side."
            )

    def with_legs(self, legs: Iterable[str]) -> "Node":
        """The same node with its legs, and those of its tip, renamed axis by axis."""
        legs = tuple(legs)
        tip = tuple(new for old, new in zip(self.legs, legs, strict=True) if old in self.tip)
        return replace(self, legs=legs, tip=tip)
