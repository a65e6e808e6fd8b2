"""A contraction step by step: what is merged, what it costs, what is held in memory, and how other orders would do."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import opt_einsum
from torch import Tensor

from workbench.contraction import ContractionPlan
from workbench.diagram.drawing import Diagram
from workbench.diagram.picture import Picture
from workbench.diagram.place import Cell, Layout
from workbench.diagram.routes import placed
from workbench.diagram.scene import Scene
from workbench.diagram.together import aligned, column_widths
from workbench.explore.inspect import TensorFrame, inspected
from workbench.memory import check_fits
from workbench.network import Network, fresh
from workbench.node import Node

Pair = tuple[str, str]
Live = tuple[str, tuple[str, ...], Tensor]  # a tensor that is there now: its name, labels and array


@dataclass(frozen=True)
class TheatreFrame:
    """One moment of a contraction. Costs are multiply-adds, memory is numbers; all are exact counts.

    `merged` are the names of the tensors that the last step took, `made` is what it made (None at the start).
    `costs` compares whole orders: "all at once", "greedy", the best, and this one ("yours" where it is your own).
    """

    step: int
    n_steps: int
    merged: tuple[str, ...]
    equation: str
    cost: int
    cost_so_far: int
    held: int
    most_held: int
    made: TensorFrame | None
    scene: Scene
    costs: Mapping[str, int]
    is_own: bool

    def __str__(self) -> str:
        lines = [f"step {self.step} of {self.n_steps}"]
        if self.merged:
            lines.append(f"merged {' and '.join(self.merged)} by {self.equation}: {self.cost:,} multiply-adds")
        lines.append(
            f"so far {self.cost_so_far:,} multiply-adds; {self.held:,} numbers held, at most {self.most_held:,}"
        )
        lines.append("whole orders: " + ", ".join(f"{name} {cost:,}" for name, cost in self.costs.items()))
        return "\n".join(lines)


@dataclass(frozen=True)
class _State:
    """The tensors that are there after a step, by number: name, labels and array."""

    live: Mapping[int, Live]
    cells: Mapping[str, Cell]


EXHAUSTIVE = 8  # tensors: the time of the search for the best order grows as the factorial of their number
SEARCH_OF = {"optimal": "optimal", "best found": "auto", "greedy": "greedy"}


class Theatre:
    """The contraction of a diagram of one network, to be stepped through, in an order searched for or your own.

    `best` is "optimal" for up to 8 tensors; for more, "best found": then nobody knows whether there is a better one.

    Raises ValueError if the diagram has several steps, no arrays, or open legs that meet in a dot.
    """

    def __init__(self, diagram: Diagram, order: str | Sequence[Pair] = "optimal") -> None:
        if len(diagram.program.steps) != 1 or not isinstance(diagram.subject, Network):
            raise ValueError(
                f"a theatre plays one contraction, but this diagram has {len(diagram.program.steps)} steps; "
                "give a Diagram of a Network, such as one step of the program."
            )
        self.diagram = diagram
        self.network = diagram.subject.sized_by(diagram.arrays)
        self._arrays = self.network.arrays_by_node(diagram.arrays)
        n_tensors = len(self._arrays)
        self.best = "optimal" if n_tensors <= EXHAUSTIVE else "best found"
        names = {"greedy": self.network.plan("greedy"), self.best: self.network.plan(SEARCH_OF[self.best])}
        if any(operand.is_delta for operand in names["greedy"].operands):
            raise ValueError("open legs meet in a dot here, which needs an identity; give each open leg its own end.")
        self._costs = {"all at once": names["greedy"].naive_cost} | {n: plan.cost for n, plan in names.items()}
        self._own: list[Pair] = []
        self.is_own = False
        self.play(self.best if order == "optimal" else order)

    def play(self, order: str | Sequence[Pair]) -> None:
        """Starts again with a whole order: `best`, "greedy", or pairs of node names."""
        if isinstance(order, str) and order not in ("greedy", self.best):
            raise ValueError(f"order {order!r} is not {self.best!r}, 'greedy' or a list of pairs of node names.")
        self.plan = self.network.plan(SEARCH_OF[order] if isinstance(order, str) else order)
        self.is_own = not isinstance(order, str)
        self.order = order if isinstance(order, str) else "your own"
        self._own = [] if isinstance(order, str) else [(a, b) for a, b in order]
        self.step = 0
        self._states = [self._start()]

    def play_own(self) -> None:
        """Starts again with no order: every `contract` adds a step."""
        self.is_own, self.order, self._own, self.step = True, "your own", [], 0
        self._replan()

    @property
    def n_steps(self) -> int:
        """Of the whole order; of your own, the steps chosen so far and those within single tensors before them."""
        return self._alone + len(self._own) if self.is_own else len(self.plan.steps)

    def go(self, step: object) -> None:
        """To the state after `step` steps."""
        if not isinstance(step, int) or isinstance(step, bool):
            raise TypeError(f"a step is a whole number, not {step!r}.")
        if not 0 <= step <= self.n_steps:
            raise ValueError(f"step {step} is not in this order; it has 0 to {self.n_steps}.")
        self.step = step

    def contract(self, first: str, second: str) -> None:
        """Adds the step that merges two of the tensors that are there now; later steps of one's own are dropped."""
        if not self.is_own:
            self.play_own()
        here = self._members()
        for name in (first, second):
            if name not in here:
                raise ValueError(f"there is no tensor {name!r} at this step; there are {', '.join(here)}.")
        if first == second:
            raise ValueError(f"{first!r} cannot be merged with itself; choose two tensors.")
        self._own = [*self._own[: max(0, self.step - self._alone)], (here[first], here[second])]
        self._replan()
        self.step = self.n_steps

    def contract_bond(self, leg: str) -> None:
        """Adds the step that merges the two tensors joined by a bond."""
        ends = [name for name, legs, _ in self._state(self.step).live.values() if leg in legs]
        if len(ends) != 2:
            told = f"joins {len(ends)} tensors at this step ({', '.join(ends)})"
            raise ValueError(f"leg {leg!r} {told}; name two that are to be merged.")
        self.contract(*ends)

    def undo(self) -> None:
        """Takes back the last step of one's own order."""
        if self._own:
            self._own.pop()
            self._replan()
            self.step = min(self.step, self.n_steps)

    def frame(self) -> TheatreFrame:
        """Everything there is to show of the present step."""
        done = self.plan.steps[: self.step]
        names = self._names()
        held = [sum(a.numel() for _, _, a in self._state(k).live.values()) for k in range(self.step + 1)]
        last = done[-1] if done else None
        number = len(self.plan.operands) + self.step - 1
        made = None
        if last is not None:
            name, labels, array = self._state(self.step).live[number]
            made = inspected({name: array}, name, labels)
        own = {"yours": sum(step.cost for step in self.plan.steps[: self.n_steps])} if self.is_own else {}
        return TheatreFrame(
            self.step,
            self.n_steps,
            () if last is None else tuple(names[k] for k in last.operands),
            "" if last is None else last.equation,
            0 if last is None else last.cost,
            sum(step.cost for step in done),
            held[-1],
            max(held),
            made,
            self._scene(),
            self._costs | own,
            self.is_own,
        )

    @property
    def finished(self) -> bool:
        """Whether one tensor is left."""
        return len(self._state(self.step).live) == 1

    @property
    def _alone(self) -> int:
        """Steps within single tensors, which come before all pairs."""
        return sum(len(step.operands) == 1 for step in self.plan.steps)

    def _replan(self) -> None:
        """The plan of one's own pairs, the rest joined as the nodes stand; only one's own part of it is shown."""
        part_of = {name: name for name in self._arrays}
        for a, b in self._own:
            first, second = part_of[a], part_of[b]
            part_of = {name: first if part == second else part for name, part in part_of.items()}
        parts = list(dict.fromkeys(part_of.values()))
        rest = [(parts[0], other) for other in parts[1:]]
        self.plan: ContractionPlan = self.network.plan([*self._own, *rest])
        self._states = [self._start()]

    def _members(self) -> dict[str, str]:
        """For every tensor there is now, the name of a node that is part of it."""
        member = {k: operand.name for k, operand in enumerate(self.plan.operands)}
        for k, step in enumerate(self.plan.steps[: self.step], start=len(self.plan.operands)):
            member[k] = member[step.operands[0]]
        return {name: member[k] for k, (name, _, _) in self._state(self.step).live.items()}

    def _names(self) -> list[str]:
        operands = [operand.name for operand in self.plan.operands]
        taken = set(operands)
        return operands + [fresh(f"#{k}", taken) for k in range(1, len(self.plan.steps) + 1)]

    def _start(self) -> _State:
        live = {k: (o.name, o.labels, self._arrays[o.name]) for k, o in enumerate(self.plan.operands)}
        start = _State(live, {})
        cells = placed(Picture(self._network(start)), self.diagram.layout.sides, self._first_cells()).cells
        return _State(live, cells)

    def _first_cells(self) -> Mapping[str, Cell]:
        names = {node.name for node in self.network.nodes if not node.copy}
        return {name: cell for name, cell in self.diagram.layout.cells.items() if name in names}

    def _state(self, number: int) -> _State:
        names = self._names()
        while len(self._states) <= number:
            before = self._states[-1]
            k = len(self._states) - 1
            step = self.plan.steps[k]
            live = dict(before.live)
            taken = [live.pop(operand) for operand in step.operands]
            check_fits(step.size, taken[0][2], f"step {k + 1} of this order")
            array = opt_einsum.contract(step.equation, *(each[2] for each in taken), backend="torch")
            made = len(self.plan.operands) + k
            live[made] = (names[made], self._labels_after(live, taken), array)
            own = [before.cells[name] for name, _, _ in taken]
            middle = (sum(column for column, _ in own) / len(own), own[0][1])
            cells = {name: before.cells[name] for name, _, _ in live.values() if name in before.cells}
            while middle in cells.values():
                middle = (middle[0] + 0.25, middle[1])
            self._states.append(_State(live, cells | {names[made]: middle}))
        return self._states[number]

    def _labels_after(self, others: Mapping[int, Live], taken: Sequence[Live]) -> tuple[str, ...]:
        """The labels of what a step makes, in the order the plan makes them."""
        if not others:
            return self.network.open_legs
        wanted = set(self.network.open_legs).union(*(labels for _, labels, _ in others.values()))
        return tuple(label for label in dict.fromkeys(lb for _, labels, _ in taken for lb in labels) if label in wanted)

    def _network(self, state: _State) -> Network:
        """The tensors of a state as a network; labels on three ends or more are spectators."""
        form = {node.name: node for node in self.network.nodes}
        nodes = []
        for name, labels, _ in state.live.values():
            claim = form.get(name, Node(name, labels))
            tensor = name if claim.conj else claim.tensor  # a conjugate is an array of its own here
            whole = len(labels) == len(claim.legs)  # else a trace or sum has been taken within it
            node = claim.with_legs(labels) if whole else Node(name, labels)
            nodes.append(replace(node, tensor=tensor, conj=False))
        count = Counter(label for node in nodes for label in node.legs)
        open_legs = self.network.open_legs
        spectators = tuple(label for label, n in count.items() if n + (label in open_legs) != 2)
        sizes = {label: self.network.sizes[label] for label in count}
        return Network(tuple(nodes), open_legs, sizes, spectators)

    def _scene(self) -> Scene:
        state = self._state(self.step)
        network = self._network(state)
        arrays = {node.tensor: array for node, (_, _, array) in zip(network.nodes, state.live.values(), strict=True)}
        layout = Layout(state.cells, self.diagram.layout.sides)
        title = f"step {self.step} of {self.n_steps}"
        made = tuple(name for name in self._names()[len(self.plan.operands) :] if name in arrays)
        # What is left keeps its place while others are merged.
        widths = column_widths(self._first, self._states[0].cells) if self.step else {}
        scene = Diagram(network, arrays, layout, title, data=made).scene_with(widths)
        return aligned(self._first, scene)[1]

    @cached_property
    def _first(self) -> Scene:
        """Before the first step, of whatever order."""
        start = self._states[0]
        return Diagram(self._network(start), {}, Layout(start.cells, self.diagram.layout.sides)).scene
