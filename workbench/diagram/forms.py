"""The diagrams of decompositions: low rank, trains and operators, Tucker, CP, Kronecker sums and rings."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from workbench.decompose.cp import CanonicalPolyadic
from workbench.decompose.kronecker import KroneckerSum
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator
from workbench.decompose.ring import TensorRing
from workbench.decompose.train import TensorTrain
from workbench.decompose.tucker import Tucker
from workbench.diagram.place import Layout
from workbench.network import Network
from workbench.node import Node
from workbench.program import Apply, Contract, Program

Parts = tuple[Network | Program, dict[str, Tensor], Layout]


def parts_of(form: object) -> Parts:
    """The network of a decomposition, its arrays, and where its legs leave.

    A core is drawn as an isometry where its numbers are one, to rounding: that is measured, not assumed.
    """
    if isinstance(form, LowRank):
        arrays = {"L": form.left, "R": form.right}
        nodes = (_measured("L", ("i", "a"), form.left, ["a"]), _measured("R", ("a", "j"), form.right, ["a"]))
        return Network(nodes, ("i", "j")), arrays, Layout()
    if isinstance(form, TensorTrain):
        sites = [f"i{k}" for k in range(1, len(form.cores) + 1)]
        return _chain(form.cores, [[site] for site in sites], dict.fromkeys(sites, "down"))
    if isinstance(form, TrainOperator):
        n = len(form.cores)
        sides = {f"i{k}": "up" for k in range(1, n + 1)} | {f"j{k}": "down" for k in range(1, n + 1)}
        network, arrays, layout = _chain(form.cores, [[f"i{k}", f"j{k}"] for k in range(1, n + 1)], sides)
        open_legs = tuple(f"{letter}{k}" for letter in "ij" for k in range(1, n + 1))
        return Network(network.nodes, open_legs), arrays, layout
    if isinstance(form, Tucker):
        return _tucker(form)
    if isinstance(form, CanonicalPolyadic):
        return _polyadic(form)
    if isinstance(form, KroneckerSum):
        return _kronecker(form)
    if isinstance(form, TensorRing):
        return _ring(form)
    raise TypeError(
        f"a {type(form).__name__} has no diagram of its own; give LowRank, TensorTrain, TrainOperator, Tucker, "
        "CanonicalPolyadic, KroneckerSum or TensorRing, or make a Diagram of a Network or Program."
    )


def is_isometry(array: Tensor, tip: Sequence[int]) -> bool:
    """Whether the array is the identity on its axes `tip` once the others are summed over with its conjugate's."""
    rest = [axis for axis in range(array.ndim) if axis not in tip]
    n_tip = math.prod(array.shape[axis] for axis in tip)
    matrix = array.permute(*rest, *tip).reshape(-1, n_tip)
    if matrix.shape[0] < matrix.shape[1]:
        return False
    gram = matrix.conj().T @ matrix
    one = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return bool((gram - one).abs().max() < 100 * torch.finfo(array.dtype).eps)


def _measured(name: str, legs: tuple[str, ...], array: Tensor, tips: Sequence[str]) -> Node:
    """A node, an isometry with the first of `tips` on which its numbers are one."""
    for tip in tips:
        if is_isometry(array, [legs.index(tip)]):
            return Node(name, legs, form="isometry", tip=(tip,))
    return Node(name, legs)


def _chain(
    cores: Sequence[Tensor], sites: list[list[str]], sides: dict[str, str]
) -> tuple[Network, dict[str, Tensor], Layout]:
    nodes, arrays, last = [], {}, len(cores) - 1
    for k, core in enumerate(cores):
        left, right = ([f"a{k}"] if k else []), ([f"a{k + 1}"] if k < last else [])
        name = f"A{k + 1}"
        shape = [n for axis, n in enumerate(core.shape) if (axis or k) and (axis < core.ndim - 1 or k < last)]
        arrays[name] = core.reshape(shape)
        nodes.append(_measured(name, (*left, *sites[k], *right), arrays[name], [*right, *left]))
    open_legs = tuple(leg for own in sites for leg in own)
    return Network(tuple(nodes), open_legs), arrays, Layout(sides=sides)


def _tucker(form: Tucker) -> Parts:
    order = len(form.factors)
    bonds, opens = [f"a{k}" for k in range(1, order + 1)], [f"i{k}" for k in range(1, order + 1)]
    nodes, arrays = [Node("G", tuple(bonds))], {"G": form.core}
    for k, factor in enumerate(form.factors):
        name = f"U{k + 1}"
        nodes.append(_measured(name, (opens[k], bonds[k]), factor, [bonds[k]]))
        arrays[name] = factor
    network = Network(tuple(nodes), tuple(opens))
    return network, arrays, Layout.tree(network, "G")


def _polyadic(form: CanonicalPolyadic) -> Parts:
    order = len(form.factors)
    names = [f"F{k}" for k in range(1, order + 1)]
    opens = [f"i{k}" for k in range(1, order + 1)]
    nodes = [Node(name, (leg, "r")) for name, leg in zip(names, opens, strict=True)]
    arrays = dict(zip(names, form.factors, strict=True)) | {"w": form.weights}
    return Network((*nodes, Node("w", ("r",))), tuple(opens), spectators=("r",)), arrays, Layout()


def _kronecker(form: KroneckerSum) -> Parts:
    product = Network(
        (Node("A", ("r", "o1", "i1")), Node("B", ("r", "o2", "i2"))), ("o1", "o2", "i1", "i2"), spectators=()
    )
    steps = (
        Contract("pair", product),
        Apply("tall", "out", partial(torch.flatten, start_dim=0, end_dim=1), ("pair",), ("out", "i1", "i2"), "merge"),
        Apply("W", "in", partial(torch.flatten, start_dim=1, end_dim=2), ("tall",), ("out", "in"), "merge"),
    )
    inputs = {"A": ("r", "o1", "i1"), "B": ("r", "o2", "i2")}
    cells = {"A": (1.0, 0), "tall": (0.0, 1), "B": (1.0, 1), "W": (2.0, 1)}
    return Program(inputs, steps), {"A": form.left, "B": form.right}, Layout(cells, {"out": "left", "in": "right"})


def _ring(form: TensorRing) -> Parts:
    n = len(form.cores)
    nodes = [Node(f"A{k + 1}", (f"a{k}", f"i{k + 1}", f"a{(k + 1) % n}")) for k in range(n)]
    arrays = {f"A{k + 1}": core for k, core in enumerate(form.cores)}
    return Network(tuple(nodes), tuple(f"i{k + 1}" for k in range(n))), arrays, Layout()
