"""Networks and programs to draw, and a reading of a drawing's SVG back into a graph, from its coordinates alone."""

import math
import random
import re
from dataclasses import dataclass, replace
from itertools import combinations
from xml.etree import ElementTree

from torch import Tensor

from workbench.diagram.place import Layout
from workbench.network import Network
from workbench.node import Node
from workbench.program import Add, Apply, Contract, Program, ProgramStep

SVG = "{http://www.w3.org/2000/svg}"
Point = tuple[float, float]


# ---- what is drawn


def train(n: int, prefix: str = "A", bonds: str = "a", conj: bool = False) -> tuple[Node, ...]:
    """The cores of a train of `n` sites: legs a0, s0 and so on."""
    nodes = []
    for k in range(n):
        legs = [f"{bonds}{k - 1}"] * (k > 0) + [f"s{k}"] + [f"{bonds}{k}"] * (k < n - 1)
        nodes.append(Node(f"{prefix}{k}", tuple(legs), tensor=f"A{k}", conj=conj))
    return tuple(nodes)


def mps(n: int) -> Network:
    return Network(train(n), tuple(f"s{k}" for k in range(n)))


def ladder(n: int) -> Network:
    """The norm of a train."""
    return Network((*train(n), *train(n, "B", "b", conj=True)))


def ring(n: int) -> Network:
    nodes = tuple(Node(f"A{k}", (f"a{(k - 1) % n}", f"s{k}", f"a{k}")) for k in range(n))
    return Network(nodes, tuple(f"s{k}" for k in range(n)))


def tree(depth: int) -> Network:
    """A binary tree of isometries, its root first."""
    nodes = []
    for level in range(depth):
        for k in range(2**level):
            up = f"e{level}.{k}" if level else "root"
            low = "s" if level == depth - 1 else f"e{level + 1}."
            legs = (up, f"{low}{2 * k}", f"{low}{2 * k + 1}")
            nodes.append(Node(f"T{level}.{k}", legs, form="isometry", tip=(up,)))
    return Network(tuple(nodes), ("root", *(f"s{k}" for k in range(2**depth))))


def lattice(n_rows: int, n_columns: int) -> tuple[Network, Layout]:
    """A PEPS, whose open legs leave aslant."""
    nodes = []
    for r in range(n_rows):
        for c in range(n_columns):
            legs = [f"p{r}{c}"] + [f"h{r}{c - 1}"] * (c > 0) + [f"h{r}{c}"] * (c < n_columns - 1)
            legs += [f"v{r - 1}{c}"] * (r > 0) + [f"v{r}{c}"] * (r < n_rows - 1)
            nodes.append(Node(f"T{r}{c}", tuple(legs)))
    opened = tuple(node.legs[0] for node in nodes)
    rows = [[f"T{r}{c}" for c in range(n_columns)] for r in range(n_rows)]
    return Network(tuple(nodes), opened), Layout.rows(rows, dict.fromkeys(opened, "out"))


def star(n: int) -> Network:
    """`n` tensors that share one spectator."""
    return Network(tuple(Node(f"A{k}", ("h", f"s{k}")) for k in range(n)), tuple(f"s{k}" for k in range(n)), {}, ("h",))


def complete(n: int) -> Network:
    """`n` tensors, every two joined by a bond."""
    legs = {pair: f"e{pair[0]}.{pair[1]}" for pair in combinations(range(n), 2)}
    return Network(tuple(Node(f"A{k}", tuple(leg for pair, leg in legs.items() if k in pair)) for k in range(n)))


def comb(n: int) -> Network:
    """A train of `n` sites, each with a tooth."""
    spine = tuple(replace(node, legs=tuple(leg.replace("s", "t") for leg in node.legs)) for node in train(n))
    return Network((*spine, *(Node(f"T{k}", (f"t{k}",)) for k in range(n))))


def steps(n: int) -> Program:
    """A vector, times `n` matrices one after the other."""
    names = ["x", *(f"v{k}" for k in range(n))]
    made = [Contract(names[k + 1], Network.from_einsum("i,ij->j", [names[k], f"W{k}"])) for k in range(n)]
    return Program({"x": ("i",), **{f"W{k}": ("i", "j") for k in range(n)}}, tuple(made))


def first(*values: Tensor) -> Tensor:
    return values[0]


def attention() -> Program:
    """A head's pattern and output from one X, used three times, with the heads as a spectator."""
    scores = Network.from_einsum("td,hdk,hek,se->hts", ["X", "W_Q", "W_K", "X"])
    out = Network.from_einsum("hts,se,hek,hkd->td", ["A", "X", "W_V", "W_O"])
    steps = (
        Contract("scores", scores),
        Apply("masked", "mask", first, ("scores",), ("h", "t", "s")),
        Apply("A", "softmax", first, ("masked",), ("h", "t", "s")),
        Contract("out", out),
        Add("resid", ("X", "out"), ("t", "d")),
    )
    weights = dict.fromkeys(("W_Q", "W_K", "W_V"), ("h", "d", "k")) | {"W_O": ("h", "k", "d")}
    return Program({"X": ("t", "d"), **weights}, steps)


def mlp() -> Program:
    """LayerNorm, two matrices with biases, GELU, and the residual stream beside it."""
    steps = (
        Apply("n", "LN", first, ("x", "g", "b"), ("t", "d")),
        Contract("h0", Network.from_einsum("td,df->tf", ["n", "W_in"])),
        Add("h1", ("h0", "b_in"), ("t", "f"), (("t", "f"), ("f",))),
        Apply("h2", "GELU", first, ("h1",), ("t", "f")),
        Contract("h3", Network.from_einsum("tf,fd->td", ["h2", "W_out"])),
        Add("y", ("x", "h3", "b_out"), ("t", "d"), (("t", "d"), ("t", "d"), ("d",))),
    )
    inputs = {"x": ("t", "d"), "W_in": ("d", "f"), "b_in": ("f",), "W_out": ("f", "d")}
    return Program({**inputs, "b_out": ("d",), "g": ("d",), "b": ("d",)}, steps)


def random_program(seed: int) -> Program:
    """Up to six steps on X (t, d): contractions, bubbles, sums, spectators, lines that run together or part."""
    dice, letters = random.Random(seed), iter("efghijklmnopqrsuvwxyz")
    inputs: dict[str, tuple[str, ...]] = {"X": ("t", "d")}
    values, steps = dict(inputs), []
    for number in range(dice.randint(1, 6)):
        name = dice.choice(list(values)[-3:])
        kind = dice.choice(["weight", "pair", "apply", "apply", "make", "sum", "sum", "merge", "split", "copy"])
        step = _random_step(kind, f"v{number}", name, values, inputs, dice, letters)
        if step is not None:
            steps.append(step)
            values[step.out] = step.legs
    return Program(inputs, tuple(steps) or (Apply("v", "f", first, ("X",), ("t", "d")),))


def _random_step(kind, out, name, values, inputs, dice, letters) -> ProgramStep | None:
    legs, number = values[name], out[1:]
    if kind == "apply":
        return Apply(out, dice.choice(["softmax", "GELU", "LN"]), first, (name,), legs)
    if kind == "make":
        return Apply(out, "embed", first, (name,), (*legs, next(letters)))
    if kind == "merge" and len(legs) > 1:
        return Apply(out, "merge", first, (name,), (*legs[:-2], next(letters)), "merge")
    if kind == "split" and 0 < len(legs) < 4:
        return Apply(out, "split", first, (name,), (*legs[:-1], next(letters), next(letters)), "split")
    if kind == "sum" and legs:
        own = [tuple(leg for leg in legs if dice.random() < 0.6) or legs[:1] for _ in range(dice.randint(1, 2))]
        inputs |= {f"b{number}{k}": term for k, term in enumerate(own)}
        return Add(out, (name, *(f"b{number}{k}" for k in range(len(own)))), legs, (legs, *own))
    if kind == "copy" and legs:
        inputs[f"W{number}"] = legs[-1:]
        nodes = Node(name, legs), Node(f"W{number}", legs[-1:])
        return Contract(out, Network(nodes, legs, spectators=legs[-1:]))
    if kind == "weight" and legs:
        cut, leg = dice.randrange(len(legs)), next(letters)
        inputs[f"W{number}"] = (leg, legs[cut])
        nodes = Node(name, legs), Node(f"W{number}", (leg, legs[cut]))
        return Contract(out, Network(nodes, (*legs[:cut], leg, *legs[cut + 1 :])))
    other = dice.choice(list(values))
    fresh = [next(letters) for _ in values[other]]
    if kind != "pair" or not legs or not fresh or len(legs) + len(fresh) > 6:
        return None
    joined = dice.choice(legs)
    fresh[dice.randrange(len(fresh))] = joined
    nodes = Node(name, legs), Node(other if other != name else f"{name}.1", tuple(fresh), tensor=other)
    return Contract(out, Network(nodes, tuple(leg for leg in (*legs, *fresh) if leg != joined)))


# ---- what is read


@dataclass(frozen=True)
class Seen:
    """A drawn wire: its leg, where its ends are, and the marks whose outlines they lie on."""

    name: str
    leg: str
    start: Point
    end: Point
    marks: tuple[str, ...]


def read_wires(svg: str) -> list[Seen]:
    """The wires of an SVG. An end on two outlines at once is a fault."""
    root = ElementTree.fromstring(svg)
    shapes = {group.get("data-name", ""): group[0] for group in root.iter(f"{SVG}g")}
    wires = []
    for path in root.iter(f"{SVG}path"):
        numbers = [float(word) for word in re.findall(r"-?[\d.]+", path.get("d", ""))]
        ends = (numbers[0], numbers[1]), (numbers[-2], numbers[-1])
        marks: list[str] = []
        for end in ends:
            touched = [name for name, shape in shapes.items() if _off_outline(shape, end) < 0.4]
            assert len(touched) < 2, f"wire {path.get('data-name')} ends on {touched} at once"
            marks += touched
        wires.append(Seen(path.get("data-name", ""), path.get("data-leg", ""), *ends, tuple(marks)))
    return wires


def _off_outline(shape: ElementTree.Element, point: Point) -> float:
    """How far a point is from the outline of a mark; from the middle of a small dot, where its legs meet."""

    def number(key: str) -> float:
        return float(shape.get(key, "0"))

    if shape.tag == f"{SVG}circle":
        off, radius = math.dist(point, (number("cx"), number("cy"))), number("r")
        return off if radius < 6 else abs(off - radius)
    if shape.tag == f"{SVG}polygon":
        corners = [tuple(map(float, pair.split(","))) for pair in shape.get("points", "").split()]
        return min(_off_line(point, a, b) for a, b in zip(corners, [*corners[1:], corners[0]], strict=True))
    wide, high = number("width") / 2, number("height") / 2
    radius = min(number("rx"), wide, high)
    x = abs(point[0] - number("x") - wide) - wide + radius
    y = abs(point[1] - number("y") - high) - high + radius
    return abs(math.hypot(max(x, 0), max(y, 0)) + min(max(x, y), 0) - radius)


def _off_line(point: Point, a: Point, b: Point) -> float:
    along = b[0] - a[0], b[1] - a[1]
    share = ((point[0] - a[0]) * along[0] + (point[1] - a[1]) * along[1]) / (along[0] ** 2 + along[1] ** 2)
    share = min(1.0, max(0.0, share))
    return math.dist(point, (a[0] + share * along[0], a[1] + share * along[1]))
