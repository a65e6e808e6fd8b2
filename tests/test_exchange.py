"""Networks from quimb, and contractions that memory would not hold."""

import re

import pytest
import torch
from torch import Tensor

from workbench import memory
from workbench.diagram.drawing import Diagram
from workbench.exchange import from_quimb
from workbench.network import Network
from workbench.node import Node

quimb = pytest.importorskip("quimb.tensor")
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def check_equal(network: Network, arrays: dict[str, Tensor], theirs) -> None:
    """Both contract to the same numbers over the same open legs."""
    found = network.contract(arrays)
    expected = theirs.contract(output_inds=network.open_legs)
    data = getattr(expected, "data", expected)
    inds = getattr(expected, "inds", ())
    assert tuple(inds) == network.open_legs
    torch.testing.assert_close(found, torch.as_tensor(data, dtype=found.dtype), **EXACT)


# ---- quimb


def test_a_train_of_quimb_contracts_to_the_same_tensor():
    theirs = quimb.MPS_rand_state(4, bond_dim=3, phys_dim=2, seed=1)
    network, arrays = from_quimb(theirs)
    assert [node.name for node in network.nodes] == ["I0", "I1", "I2", "I3"]
    assert network.open_legs == ("k0", "k1", "k2", "k3")
    check_equal(network, arrays, theirs)


def test_a_norm_of_quimb_contracts_to_the_same_number():
    theirs = quimb.MPS_rand_state(5, bond_dim=3, seed=2)
    theirs = theirs.H & theirs
    network, arrays = from_quimb(theirs)
    assert network.open_legs == ()
    assert len({node.name for node in network.nodes}) == 10
    found = network.contract(arrays)
    assert float(found.real) == pytest.approx(float((theirs ^ all).real), rel=1e-12)


def test_a_lattice_of_quimb_contracts_to_the_same_tensor():
    theirs = quimb.PEPS.rand(2, 3, bond_dim=2, phys_dim=2, seed=3)
    check_equal(*from_quimb(theirs), theirs)


def test_an_index_on_three_tensors_becomes_a_spectator_that_is_summed_over():
    a, b, c = (
        quimb.rand_tensor((2, 3), ("i", "h"), tags="A", seed=4),
        quimb.rand_tensor((3, 4), ("h", "j"), tags="B", seed=5),
        quimb.rand_tensor((3,), ("h",), tags="C", seed=6),
    )
    network, arrays = from_quimb(quimb.TensorNetwork([a, b, c]))
    assert network.spectators == ("h",)
    assert network.open_legs == ("i", "j")
    expected = torch.einsum("ih,hj,h->ij", *(torch.as_tensor(t.data) for t in (a, b, c)))
    torch.testing.assert_close(network.contract(arrays), expected, **EXACT)


def test_a_single_tensor_of_quimb_is_a_network_of_one_node():
    theirs = quimb.rand_tensor((2, 3, 4), ("i", "j", "k"), tags=("T", "other"), seed=7)
    network, arrays = from_quimb(theirs)
    assert network.nodes == (Node("T", ("i", "j", "k")),)
    assert network.sizes == {"i": 2, "j": 3, "k": 4}
    torch.testing.assert_close(arrays["T"], torch.as_tensor(theirs.data), **EXACT)


def test_tensors_without_tags_or_with_one_tag_get_names_of_their_own():
    tensors = [quimb.rand_tensor((2,), (leg,), tags=tags, seed=8) for leg, tags in (("i", ()), ("j", "A"), ("k", "A"))]
    network, _ = from_quimb(quimb.TensorNetwork(tensors))
    assert [node.name for node in network.nodes] == ["T0", "A", "A.1"]


def test_complex_numbers_stay_as_they_are():
    theirs = quimb.MPS_rand_state(3, bond_dim=2, dtype="complex128", seed=9)
    network, arrays = from_quimb(theirs)
    assert {array.dtype for array in arrays.values()} == {torch.complex128}
    check_equal(network, arrays, theirs)


def test_a_network_of_quimb_is_a_diagram_that_runs():
    theirs = quimb.MPS_rand_state(3, bond_dim=2, seed=10)
    diagram = Diagram.from_quimb(theirs)
    torch.testing.assert_close(diagram.result(), torch.as_tensor(theirs.contract().data), **EXACT)


# ---- memory


def outer(n: int) -> tuple[Network, dict[str, Tensor]]:
    """Vectors without a common leg, views of one number each: small to hold, and their product is n numbers cubed."""
    network = Network.from_einsum("i,j,k->ijk", ["u", "v", "w"])
    return network, {name: torch.zeros(1, dtype=torch.float64).expand(n) for name in "uvw"}


def test_a_contraction_too_large_for_memory_is_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 3 * 2**30)
    network, arrays = outer(1000)
    message = "contracting 3 nodes makes a tensor of 1e+09 numbers, 7.45 GiB in torch.float64, and 3 GiB are free"
    with pytest.raises(MemoryError, match="^" + re.escape(message)):
        network.contract(arrays)


def test_sizes_that_no_machine_holds_are_refused_with_the_size():
    network, arrays = outer(10**6)
    with pytest.raises(MemoryError, match=r"makes a tensor of 1e\+18 numbers, 7\.28e\+06 TiB in torch\.float64"):
        network.contract(arrays)


def test_what_fits_is_contracted_and_what_is_small_asks_nothing(monkeypatch):
    def unasked() -> int:
        raise AssertionError("the system was asked")

    monkeypatch.setattr(memory, "free_bytes", unasked)
    network, arrays = outer(100)
    assert network.contract(arrays).shape == (100, 100, 100)
    monkeypatch.setattr(memory, "free_bytes", lambda: None)  # a system that does not say refuses nothing
    memory.check_fits(10**9, torch.zeros(1), "a test")


def test_the_size_that_just_fits_is_allowed_and_one_more_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 2**30)
    memory.check_fits(2**28, torch.zeros(1), "a test")
    with pytest.raises(MemoryError, match=r"a test makes a tensor of 2\.68e\+08 numbers, 1 GiB in torch\.float32"):
        memory.check_fits(2**28 + 1, torch.zeros(1), "a test")


def test_memory_refused_inside_a_program_names_the_value(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 2**30)
    network, arrays = outer(1000)
    with pytest.raises(MemoryError, match=r"^out: contracting 3 nodes"):
        Diagram(network).run(arrays)


def test_nodes_of_tensornetwork_without_names_get_names():
    tensornetwork = pytest.importorskip("tensornetwork")
    a, b = (tensornetwork.Node(torch.randn(3, 3, dtype=torch.float64), backend="pytorch") for _ in range(2))
    tensornetwork.connect(a[1], b[0])
    network, arrays = Network.from_tensornetwork([a, b])
    assert [node.name for node in network.nodes] == ["T0", "T1"]
    torch.testing.assert_close(network.contract(arrays), a.tensor @ b.tensor)


def test_the_power_of_ten_that_quimb_keeps_beside_a_network_is_multiplied_in():
    quimb = pytest.importorskip("quimb.tensor")
    data = torch.randn(3, 4, dtype=torch.float64).numpy()
    network = quimb.Tensor(data, ("i", "j")) & quimb.Tensor(data, ("i", "j"))
    network.equalize_norms_(1.0)
    assert network.exponent
    ours, arrays = from_quimb(network)
    assert float(ours.contract(arrays)) == pytest.approx(float((data**2).sum()))
