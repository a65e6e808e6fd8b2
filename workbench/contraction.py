"""A contraction as a list of steps: in which order, which einsum each step is, and what it costs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import opt_einsum
import torch
from opt_einsum.paths import get_path_fn, linear_to_ssa
from torch import Tensor

SEARCHES = ("auto", "optimal", "greedy")


@dataclass(frozen=True)
class Operand:
    """A tensor about to be contracted: its name, and one label for each axis."""

    name: str
    labels: tuple[str, ...]
    is_delta: bool = False  # no array of the user's: the ones (one label) or the identity (two labels)


@dataclass(frozen=True)
class Step:
    """One einsum of a contraction: tensors by number, the inputs first, then the results of the steps before it."""

    operands: tuple[int, ...]
    equation: str
    cost: int  # multiply-adds
    size: int  # numbers in the result


@dataclass(frozen=True)
class ContractionPlan:
    """An order of contraction as its steps, with their cost in multiply-adds (exact); the repr shows all of it."""

    equation: str
    operands: tuple[Operand, ...]
    sizes: tuple[tuple[str, int], ...]
    steps: tuple[Step, ...]
    naive_cost: int  # of one sum over all legs at once

    @property
    def cost(self) -> int:
        """Multiply-adds of all steps together."""
        return sum(step.cost for step in self.steps)

    @property
    def speed_up(self) -> float:
        """`naive_cost` over `cost`; 1 where nothing is multiplied or added."""
        try:
            return self.naive_cost / self.cost if self.cost else 1.0
        except OverflowError:  # a train of a thousand sites
            return math.inf

    @property
    def largest_intermediate(self) -> int:
        """Numbers in the largest tensor that a step makes, the result included; 0 where there is no step."""
        return max((step.size for step in self.steps), default=0)

    def __repr__(self) -> str:
        names = [operand.name for operand in self.operands]
        names += [f"#{number}" for number in range(1, len(self.steps) + 1)]
        rows = [("step", "tensors", "einsum", "multiply-adds", "result")]
        for number, step in enumerate(self.steps, start=1):
            tensors = " ".join(names[operand] for operand in step.operands)
            rows.append((f"#{number}", tensors, step.equation, _count(step.cost), _count(step.size)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        ratio = _count(Decimal(self.naive_cost) / self.cost if self.cost else 1)
        return "\n".join(
            [
                f"contraction of {self.equation}",
                f"  multiply-adds, all at once    {_count(self.naive_cost)}",
                f"  multiply-adds, in this order  {_count(self.cost)} (speed-up {ratio})",
                f"  largest intermediate          {_count(self.largest_intermediate)} numbers",
                *("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows),
            ]
        )


def joined_labels(legs: Iterable[str], joints: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """Each leg's label: the first, in the order of `legs`, of those that the joints (copy nodes) make one index."""
    legs = tuple(dict.fromkeys(legs))
    group_of = {leg: frozenset([leg]) for leg in legs}
    for joint in joints:
        group = frozenset().union(*(group_of[leg] for leg in joint))
        group_of |= dict.fromkeys(group, group)
    label_of: dict[frozenset[str], str] = {}
    return {leg: label_of.setdefault(group_of[leg], leg) for leg in legs}


def einsum_equation(inputs: Iterable[tuple[str, ...]], output: tuple[str, ...], letter: Mapping[str, str]) -> str:
    """The equation of one einsum, each label written as its letter."""
    left, right = [
        ",".join("".join(letter[label] for label in labels) for labels in side) for side in (inputs, [output])
    ]
    return f"{left}->{right}"


def labelled_operands(
    held_legs: Mapping[str, tuple[str, ...]], open_legs: tuple[str, ...], label: Mapping[str, str]
) -> tuple[tuple[Operand, ...], tuple[str, ...]]:
    """The tensors to contract, and the labels of the result.

    An open leg with the label of one before it needs an identity; a label that no array has, a row of ones.
    """
    operands = [Operand(name, tuple(label[leg] for leg in legs)) for name, legs in held_legs.items()]
    operands += [Operand("delta", (label[leg], leg), is_delta=True) for leg in open_legs if label[leg] != leg]
    held = {own for operand in operands for own in operand.labels}
    free = [own for own in dict.fromkeys(label.values()) if own not in held]
    operands += [Operand("delta", (own,), is_delta=True) for own in free]
    return tuple(operands), open_legs


def check_arrays(held: Sequence[tuple[str, str, tuple[str, ...]]], arrays: Mapping[str, Tensor]) -> None:
    """Raises unless there is one torch tensor for each (node, its array's name, legs) of that order, alike in kind."""
    if not held:
        raise ValueError("every node is a copy node, so nothing says which dtype and device; add a node with an array.")
    wanted = list(dict.fromkeys(tensor for _, tensor, _ in held))
    for name in arrays:
        if name not in wanted:
            raise ValueError(f"arrays has {name!r}, but the nodes that take an array are {', '.join(wanted)}.")
    first = held[0][1]
    for name, tensor, legs in held:
        if tensor not in arrays:
            raise ValueError(f"node {name!r} has no array; arrays has {', '.join(arrays) or 'none'}.")
        array = arrays[tensor]
        if not isinstance(array, Tensor):
            raise TypeError(f"the array of node {name!r} is a {type(array).__name__}; give a torch.Tensor.")
        if array.ndim != len(legs):
            own = f"{len(legs)} legs ({', '.join(legs)})"
            raise ValueError(f"node {name!r} has {own} but its array has {array.ndim} axes {tuple(array.shape)}.")
        if (array.dtype, array.device) != (arrays[first].dtype, arrays[first].device):
            ours, theirs = [f"{a.dtype} on {a.device}" for a in (array, arrays[first])]
            raise ValueError(f"node {name!r} is {ours} but node {first!r} is {theirs}; convert one: nothing is cast.")


@lru_cache(maxsize=1024)
def plan_contraction(
    operands: tuple[Operand, ...],
    output: tuple[str, ...],
    sizes: tuple[tuple[str, int], ...],
    letters: tuple[tuple[str, str], ...],
    order: str | tuple[tuple[str, str], ...],
) -> ContractionPlan:
    """The steps that contract `operands` to `output`, in the order searched for or the one given."""
    size_of, letter_of = dict(sizes), dict(letters)
    live = {number: operand.labels for number, operand in enumerate(operands)}
    steps: list[Step] = []

    def volume(labels: Sequence[str]) -> int:
        return math.prod(size_of[label] for label in set(labels))

    def result_of(taken: tuple[int, ...]) -> tuple[str, ...]:
        others = [labels for number, labels in live.items() if number not in taken]
        wanted = set(output).union(*others)
        own = dict.fromkeys(label for number in taken for label in live[number])
        return tuple(label for label in own if label in wanted) if others else output

    def add_step(taken: tuple[int, ...]) -> int:
        result = result_of(taken)
        inputs = [live.pop(number) for number in taken]
        work = volume([label for labels in inputs for label in labels])
        # A tensor alone is summed over; where no label goes, its axes are only put in another order.
        rounds = len(inputs) - 1 or int(len(result) < len(inputs[0]))
        steps.append(Step(taken, einsum_equation(inputs, result, letter_of), work * rounds, volume(result)))
        live[len(operands) + len(steps) - 1] = result
        return len(operands) + len(steps) - 1

    # Traces and sums within one tensor come first, so that every later step is a pair without them.
    place = list(range(len(operands)))  # tensors are multiplied in the order of their first operands
    numbers = [add_step((k,)) if result_of((k,)) != live[k] else k for k in range(len(operands))]
    for pair in _path(operands, [live[number] for number in numbers], output, size_of, order):
        first, second = sorted(pair, key=place.__getitem__)
        numbers.append(add_step((numbers[first], numbers[second])))
        place.append(place[first])
    labels = [operand.labels for operand in operands]
    naive = volume([label for legs in labels for label in legs]) * (len(operands) - 1)
    naive = naive or sum(step.cost for step in steps)
    return ContractionPlan(einsum_equation(labels, output, letter_of), operands, sizes, tuple(steps), naive)


def run_plan(plan: ContractionPlan, arrays: Mapping[str, Tensor]) -> Tensor:
    """The contraction by opt_einsum, step by step; legs may be shared by any number of arrays."""
    size_of, like = dict(plan.sizes), next(iter(arrays.values()))
    live = {}
    for number, operand in enumerate(plan.operands):
        sizes = [size_of[label] for label in operand.labels]
        if not operand.is_delta:
            live[number] = arrays[operand.name]
        elif len(sizes) == 1:
            live[number] = like.new_ones(sizes)
        else:
            live[number] = torch.eye(*sizes, dtype=like.dtype, device=like.device)
    for number, step in enumerate(plan.steps, start=len(live)):
        live[number] = opt_einsum.contract(step.equation, *(live.pop(k) for k in step.operands), backend="torch")
    return live.popitem()[1]


def run_plan_on_nodes(plan: ContractionPlan, nodes: Sequence[Any], open_edges: Sequence[Any]) -> Tensor:
    """The contraction by tensornetwork, of its connected nodes in the order of `plan.operands`; uses the nodes up."""
    import tensornetwork  # takes most of a second

    live = dict(enumerate(nodes))
    for number, step in enumerate(plan.steps, start=len(nodes)):
        taken = [live.pop(k) for k in step.operands]
        if len(taken) == 1:
            live[number] = tensornetwork.contract_trace_edges(taken[0])
        else:
            live[number] = tensornetwork.contract_between(*taken, allow_outer_product=True)
    return live.popitem()[1].reorder_edges(list(open_edges)).tensor


def _path(
    operands: Sequence[Operand],
    inputs: Sequence[tuple[str, ...]],
    output: tuple[str, ...],
    size_of: dict[str, int],
    order: str | tuple[tuple[str, str], ...],
) -> list[tuple[int, ...]]:
    """Pairs of tensors by number: the inputs first, then the results of the pairs before."""
    if not isinstance(order, str):
        return _path_of_names(operands, order)
    if order not in SEARCHES:
        raise ValueError(f"order {order!r} is none of {', '.join(SEARCHES)}, nor a list of pairs of node names.")
    if len(operands) == 1:
        return []
    # Numbers for labels: sets of them have the same order in every process, and so have equally cheap paths.
    number_of = {leg: number for number, leg in enumerate(size_of)}
    search: Any = get_path_fn(order)  # typed for labels that are letters
    path = search(
        [frozenset(number_of[leg] for leg in legs) for legs in inputs],
        frozenset(number_of[leg] for leg in output),
        {number_of[leg]: size for leg, size in size_of.items()},
        None,
    )
    return [tuple(pair) for pair in linear_to_ssa(path)]


def _path_of_names(operands: Sequence[Operand], order: Sequence[tuple[str, str]]) -> list[tuple[int, ...]]:
    """The path that joins what the two names of each pair have become part of; deltas join at the end."""
    part_of = {operand.name: number for number, operand in enumerate(operands) if not operand.is_delta}
    path: list[tuple[int, ...]] = []
    for pair in order:
        for name in pair:
            if name not in part_of:
                raise ValueError(f"order names {name!r}, but the nodes with arrays are {', '.join(part_of)}.")
        first, second = (part_of[name] for name in pair)
        if first == second:
            raise ValueError(f"order joins {pair[0]!r} and {pair[1]!r}, which are in one tensor by then; leave it out.")
        made = len(operands) + len(path)
        part_of = {name: made if part in (first, second) else part for name, part in part_of.items()}
        path.append((first, second))
    left = set(part_of.values())
    if len(left) > 1:
        raise ValueError(
            f"order leaves {len(left)} tensors; the {len(part_of)} nodes with arrays need {len(part_of) - 1} pairs."
        )
    last = left.pop()
    for number, operand in enumerate(operands):
        if operand.is_delta:
            path.append((last, number))
            last = len(operands) + len(path) - 1
    return path


def _count(number: int | Decimal) -> str:
    """A number as people read it: to the digit where it is small, three digits and the power where it is not."""
    if number >= 10**9:
        return f"{Decimal(number):.3g}"
    return f"{number:,}" if isinstance(number, int) else f"{number:,.3g}"
