"""A straight line of contractions, sums and named functions: what a layer computes, drawn and run as one object."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from workbench.contraction import ContractionPlan
from workbench.network import Network


@dataclass(frozen=True)
class Contract:
    """`out` is the contraction of `network`, whose nodes name inputs or earlier values as their `tensor`."""

    out: str
    network: Network
    order: str = "auto"

    @property
    def reads(self) -> tuple[str, ...]:
        """The values it uses, each once."""
        return self.network.tensors

    @property
    def legs(self) -> tuple[str, ...]:
        """The legs of its value."""
        return self.network.open_legs

    def run(self, values: Mapping[str, Tensor]) -> Tensor:
        """The contraction of the values it reads."""
        return self.network.contract({name: values[name] for name in self.reads}, self.order)


@dataclass(frozen=True)
class Apply:
    """`out` is a named function of values, drawn as a bubble round the first of them.

    `call` takes the values with their axes in the order of their legs, and returns one with the axes `legs`. A
    function of the kind "merge" or "split" only reshapes: it is drawn as lines that run together or part.
    """

    out: str
    label: str
    call: Callable[..., Tensor] = field(repr=False)
    reads: tuple[str, ...]
    legs: tuple[str, ...]
    kind: str = "bubble"  # or "merge", "split"

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads", tuple(self.reads))
        object.__setattr__(self, "legs", tuple(self.legs))
        if not self.reads:
            raise ValueError(
                f"function {self.label!r} of {self.out!r} reads nothing; name a value, or make it an input."
            )
        if self.kind not in ("bubble", "merge", "split"):
            raise ValueError(
                f"function {self.label!r} is drawn as {self.kind!r}, which is none of bubble, merge, split."
            )

    def run(self, values: Mapping[str, Tensor]) -> object:
        """The function of the values it reads; a program takes nothing but a tensor from it."""
        return self.call(*(values[name] for name in self.reads))


@dataclass(frozen=True)
class Add:
    """`out` is the sum of `reads`, drawn as diagrams joined by +. A term is repeated along a leg it has not."""

    out: str
    reads: tuple[str, ...]
    legs: tuple[str, ...]
    term_legs: tuple[tuple[str, ...], ...] = ()  # of each term, among `legs`; all of them unless told otherwise

    def __post_init__(self) -> None:
        for name in ("reads", "legs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.reads:
            raise ValueError(f"sum {self.out!r} has no term; name one value or more.")
        own = tuple(tuple(legs) for legs in self.term_legs) or (self.legs,) * len(self.reads)
        object.__setattr__(self, "term_legs", own)
        if len(own) != len(self.reads):
            raise ValueError(f"sum {self.out!r} has {len(self.reads)} terms, but legs for {len(own)} of them.")
        for leg in self.legs:
            if not any(leg in legs for legs in own):
                raise ValueError(f"leg {leg!r} of sum {self.out!r} is on none of its terms, so it has no size.")
        for term, legs in zip(self.reads, own, strict=True):
            for leg in legs:
                if leg not in self.legs:
                    raise ValueError(
                        f"term {term!r} of sum {self.out!r} has leg {leg!r}, not one of {', '.join(self.legs)}."
                    )

    def run(self, values: Mapping[str, Tensor]) -> Tensor:
        """The sum, its axes ordered as `legs`. Raises ValueError where a leg has two sizes, or terms two dtypes."""
        sizes: dict[str, tuple[int, str]] = {}
        first = values[self.reads[0]]
        total: Tensor | None = None
        for name, legs in zip(self.reads, self.term_legs, strict=True):
            if (values[name].dtype, values[name].device) != (first.dtype, first.device):
                ours, theirs = (f"{own.dtype} on {own.device}" for own in (values[name], first))
                raise ValueError(f"term {name!r} is {ours} but {self.reads[0]!r} is {theirs}; nothing is cast.")
            for leg, n in zip(legs, values[name].shape, strict=True):
                m, owner = sizes.setdefault(leg, (n, name))
                if m != n:
                    raise ValueError(f"leg {leg!r} has size {m} on term {owner!r} but {n} on {name!r}.")
            term = values[name].permute([legs.index(leg) for leg in self.legs if leg in legs])
            for axis, leg in enumerate(self.legs):
                if leg not in legs:
                    term = term.unsqueeze(axis)
            total = term if total is None else total + term
        assert total is not None
        return total


ProgramStep = Contract | Apply | Add


@dataclass(frozen=True)
class Program:
    """Steps in order, each naming its value; the last one's is the result. `inputs` are named arrays with their legs.

    A value may be used any number of times, under the same legs or others: axes are matched by their order.
    Raises ValueError where a step reads a value that is not there yet, or under a number of legs it has not.
    """

    inputs: Mapping[str, tuple[str, ...]] = field(hash=False)
    steps: tuple[ProgramStep, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", {name: tuple(legs) for name, legs in self.inputs.items()})
        object.__setattr__(self, "steps", tuple(self.steps))
        if not self.steps:
            raise ValueError("a program has one or more steps; none was given.")
        known = dict(self.inputs)
        for step in self.steps:
            for name in step.reads:
                if name not in known:
                    raise ValueError(
                        f"step {step.out!r} reads {name!r}, but by then there are only {', '.join(known)}."
                    )
            for name, legs in used_legs(step):
                if len(legs) != len(known[name]):
                    raise ValueError(
                        f"step {step.out!r} reads {name!r} under {len(legs)} legs ({', '.join(legs)}), "
                        f"but it has {len(known[name])} ({', '.join(known[name])})."
                    )
            if step.out in known:
                raise ValueError(f"two values are called {step.out!r}; give each a name of its own.")
            known[step.out] = step.legs

    @classmethod
    def of(cls, network: Network, out: str = "out") -> "Program":
        """The program of one contraction."""
        legs: dict[str, tuple[str, ...]] = {}
        for node in network.nodes:
            if not node.copy:
                legs.setdefault(node.tensor, node.legs)
        return cls(legs, (Contract(out, network),))

    @property
    def out(self) -> str:
        """The name of the result."""
        return self.steps[-1].out

    @property
    def legs(self) -> dict[str, tuple[str, ...]]:
        """The legs of every value, inputs first."""
        return {**self.inputs, **{step.out: step.legs for step in self.steps}}

    def readers(self, name: str) -> tuple[str, ...]:
        """The value of every step that uses the value, once for each use."""
        return tuple(step.out for step in self.steps for used, _ in uses(step) if used == name)

    def run(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every value by name, the inputs included; differentiable.

        Raises ValueError for an array that is missing, unknown, not finite or of another order, TypeError for one
        that is no tensor, MemoryError for a contraction that would not fit.
        """
        values: dict[str, Tensor] = {}
        for name in arrays:
            if name not in self.inputs:
                raise ValueError(f"arrays has {name!r}, but the inputs are {', '.join(self.inputs)}.")
        for name, legs in self.inputs.items():
            values[name] = check_array(name, legs, arrays)
        for step in self.steps:
            made = _made(step, values)
            if made.ndim != len(step.legs):
                raise ValueError(
                    f"{step.out}: its function returned {made.ndim} axes {tuple(made.shape)} "
                    f"for the legs {', '.join(step.legs)}."
                )
            values[step.out] = made
        return values

    def sizes(self, arrays: Mapping[str, Tensor]) -> dict[str, dict[str, int]]:
        """The sizes of the legs within each value, as far as they follow from the arrays' shapes without running.

        A function's leg has the size of the leg of that name that it reads; a merged leg the product of its parts'.
        """
        found: dict[str, dict[str, int]] = {}
        for name, legs in self.inputs.items():
            found[name] = dict(zip(legs, arrays[name].shape, strict=True)) if name in arrays else {}
        legs_of = self.legs
        for step in self.steps:
            own = dict(step.network.sizes) if isinstance(step, Contract) else {}
            named = used_legs(step) if not isinstance(step, Apply) else [(name, legs_of[name]) for name in step.reads]
            for name, legs in named:
                own |= {leg: found[name][d] for leg, d in zip(legs, legs_of[name], strict=True) if d in found[name]}
            if isinstance(step, Apply) and step.kind == "merge":
                gone = [leg for leg in legs_of[step.reads[0]] if leg not in step.legs]
                made = [leg for leg in step.legs if leg not in legs_of[step.reads[0]]]
                if len(made) == 1 and all(leg in own for leg in gone):
                    own[made[0]] = math.prod(own[leg] for leg in gone)
            found[step.out] = step.network.sizes_from(own) if isinstance(step, Contract) else own
        return found

    def plans(self, arrays: Mapping[str, Tensor]) -> dict[str, ContractionPlan]:
        """The plan of every contraction, by its value: the steps and their cost for these arrays' sizes."""
        values = self.run(arrays)
        return {
            step.out: step.network.sized_by({name: values[name] for name in step.reads}).plan(step.order)
            for step in self.steps
            if isinstance(step, Contract)
        }

    def frozen(self, name: str) -> "Program":
        """The same program with the value as an input: what led to it alone is left out.

        A frozen attention pattern makes the rest multilinear in the residual stream.
        """
        if name not in {step.out for step in self.steps[:-1]}:
            inside = ", ".join(step.out for step in self.steps[:-1]) or "none"
            raise ValueError(f"{name!r} is no value inside; there are {inside}.")
        needed, kept = {self.out}, []
        for step in reversed(self.steps):
            if step.out in needed and step.out != name:
                kept.append(step)
                needed.update(step.reads)
        legs = self.legs
        inputs = {n: legs[n] for n in (*self.inputs, name) if n in needed}
        return replace(self, inputs=inputs, steps=tuple(reversed(kept)))


def uses(step: ProgramStep) -> list[tuple[str, str]]:
    """Every use of a value by the step: the value's name, and the name of the place it takes (a node's, or its own)."""
    if isinstance(step, Contract):
        return [(node.tensor, node.name) for node in step.network.nodes if not node.copy]
    return [(name, name) for name in step.reads]


def used_legs(step: ProgramStep) -> Iterable[tuple[str, Sequence[str]]]:
    """The values that the step names legs for, and those legs."""
    if isinstance(step, Contract):
        return [(node.tensor, node.legs) for node in step.network.nodes if not node.copy]
    return zip(step.reads, step.term_legs, strict=True) if isinstance(step, Add) else ()


def check_array(name: str, legs: Sequence[str], arrays: Mapping[str, Tensor]) -> Tensor:
    """The array, after checking that it is a finite tensor of that many axes."""
    if name not in arrays:
        raise ValueError(f"input {name!r} has no array; arrays has {', '.join(arrays) or 'none'}.")
    array = arrays[name]
    check_axes(name, legs, array)
    held = array
    for axis, stride in enumerate(array.stride()):  # what only repeats itself is looked at once
        held = held if stride else held.narrow(axis, 0, min(1, held.shape[axis]))
    # A finite sum is of finite numbers, and had ten times sooner than a look at each.
    if not torch.isfinite(held.sum()) and (bad := held.numel() - int(torch.isfinite(held).sum())):
        raise ValueError(f"the array of {name!r} holds {bad} non-finite values (nan or inf); check its source.")
    return array


def check_axes(name: str, legs: Sequence[str], array: object) -> None:
    """Raises unless `array` is a tensor with an axis for each leg."""
    if not isinstance(array, Tensor):
        raise TypeError(f"the array of {name!r} is a {type(array).__name__}; give a torch.Tensor.")
    if array.ndim != len(legs):
        wanted = f"{len(legs)} legs ({', '.join(legs)})"
        raise ValueError(f"{name!r} has {wanted} but its array has {array.ndim} axes {tuple(array.shape)}.")


def _made(step: ProgramStep, values: Mapping[str, Tensor]) -> Tensor:
    """The value of one step; what it raises names the step."""
    try:
        made = step.run(values)
    except MemoryError as error:
        raise MemoryError(f"{step.out}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{step.out}: {error}") from error
    except (RuntimeError, TypeError, IndexError) as error:
        raise type(error)(f"{step.out}: {error}") from error
    if not isinstance(made, Tensor):
        raise TypeError(f"{step.out}: its function returned a {type(made).__name__}; it must return a torch.Tensor.")
    return made
