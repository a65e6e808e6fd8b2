"""Networks to and from the objects of tensornetwork and quimb."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.network import Network, fresh
from workbench.node import Node


def to_tensornetwork(network: Network, arrays: Mapping[str, Tensor]) -> tuple[list[Any], list[Any]]:
    """Connected tensornetwork nodes on its pytorch backend, and the open edges in order; edges are named as legs.

    Spectators, which tensornetwork has not, become its copy nodes.
    """
    import tensornetwork  # takes most of a second

    network = network.sized_by(arrays).spectators_as_copies()
    by_node = network.arrays_by_node(arrays)
    made = {}
    for node in network.nodes:
        if node.copy:
            dtype = next(iter(arrays.values())).new_empty(0, device="cpu").detach().numpy().dtype.type
            rank, size = len(node.legs), network.sizes[node.legs[0]]
            made[node.name] = tensornetwork.CopyNode(rank, size, node.name, backend="pytorch", dtype=dtype)
        else:
            axes = list(node.legs) if len(set(node.legs)) == len(node.legs) else None  # a trace names two
            made[node.name] = tensornetwork.Node(by_node[node.name], node.name, axes, backend="pytorch")
    edges = {}
    for leg, ends in network.ends.items():
        halves = [made[name][axis] for name, axis in ends]
        edges[leg] = halves[0] if len(halves) == 1 else tensornetwork.connect(*halves)
        edges[leg].set_name(leg)
    return list(made.values()), [edges[leg] for leg in network.open_legs]


def from_tensornetwork(
    nodes: Iterable[Any], open_edges: Sequence[Any] | None = None
) -> tuple[Network, dict[str, Tensor]]:
    """The network of connected tensornetwork nodes on the pytorch backend, and its arrays; they stay as they are.

    Nodes without a name of their own are called T0, T1, … Legs are named as edges; one without a name of its own is
    named after its first end, as in "A.left".
    Open legs are ordered as `open_edges`, or as the nodes and their axes.
    """
    from tensornetwork import CopyNode  # takes most of a second

    nodes = list(nodes)
    n_called = Counter(node.name for node in nodes)
    taken = {name for name, n in n_called.items() if n == 1}
    name_of = {  # tensornetwork calls every node alike that was given no name
        node: node.name if n_called[node.name] == 1 and node.name != "__unnamed_node__" else fresh(f"T{k}", taken)
        for k, node in enumerate(nodes)
    }
    ends: dict[Any, tuple[Any, int]] = {}
    for node in nodes:
        if node.backend.name != "pytorch":
            raise TypeError(f"node {name_of[node]!r} has backend {node.backend.name!r}; make it with 'pytorch'.")
        for axis, edge in enumerate(node.edges):
            ends.setdefault(edge, (node, axis))
    for edge, (node, _) in ends.items():
        for other in {edge.node1, edge.node2} - {None, *nodes}:
            raise ValueError(f"node {name_of[node]!r} is connected to {other.name!r}, which was not given.")
    n_named = Counter(edge.name for edge in ends) | dict.fromkeys((None, "__unnamed_edge__"), 2)
    leg_of = {
        edge: edge.name if n_named[edge.name] == 1 else f"{name_of[node]}.{node.axis_names[axis]}"
        for edge, (node, axis) in ends.items()
    }
    dangling = [edge for edge in ends if edge.is_dangling()]
    edges = dangling if open_edges is None else list(open_edges)
    if set(edges) != set(dangling):
        raise ValueError(f"open_edges has {len(edges)} edges; give the nodes' {len(dangling)} dangling ones.")
    network = Network(
        tuple(Node(name_of[n], tuple(leg_of[edge] for edge in n.edges), isinstance(n, CopyNode)) for n in nodes),
        tuple(leg_of[edge] for edge in edges),
        {leg_of[edge]: edge.dimension for edge in ends},
    )
    return network, {name_of[node]: node.tensor for node in nodes if not isinstance(node, CopyNode)}


def from_quimb(network: Any) -> tuple[Network, dict[str, Tensor]]:
    """The network of a quimb TensorNetwork (or Tensor), and its arrays as torch tensors.

    Nodes are named after their first tag, legs after their indices; an index on three tensors or more, which
    quimb sums over, becomes a spectator. Open legs come in quimb's own order of outer indices. The power of ten
    that quimb keeps beside a network is multiplied into its first tensor.
    """
    tensors = getattr(network, "tensors", (network,))
    taken: set[str] = set()
    arrays: dict[str, Tensor] = {}
    nodes = []
    for number, tensor in enumerate(tensors):
        name = fresh(next(iter(tensor.tags), f"T{number}"), taken)
        arrays[name] = torch.as_tensor(tensor.data)
        nodes.append(Node(name, tuple(tensor.inds)))
    first = nodes[0].name if nodes else ""
    if exponent := float(getattr(network, "exponent", 0.0)):
        arrays[first] = arrays[first] * 10.0**exponent
    count = Counter(leg for node in nodes for leg in node.legs)
    open_legs = tuple(network.outer_inds() if hasattr(network, "outer_inds") else network.inds)
    spectators = tuple(leg for leg, n in count.items() if n + (leg in open_legs) > 2)
    return Network(tuple(nodes), open_legs, spectators=spectators).sized_by(arrays), arrays
