"""Planted truths: what was put in is what depends, and nothing else."""

import math

import pytest
import torch

from workbench.born.explain.direct import direct_dependence
from workbench.truth.enumerated import table_of
from workbench.truth.ising_chain import ising_chain
from workbench.truth.ising_graph import adjacency, ising_graph, random_tree
from workbench.truth.planted import Planted, planted_chain, planted_parity, planted_process, planted_tree
from workbench.truth.processes import mess3

GENERATOR = torch.Generator().manual_seed(3)


def test_a_graph_that_is_a_line_is_the_chain_solved_by_its_transfer_matrix():
    beta = 0.7
    line = ising_graph(6, {(k, k + 1): beta for k in range(5)})
    assert torch.allclose(line.table, table_of(ising_chain(6, beta)), atol=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_on_a_tree_the_correlation_of_two_spins_is_the_product_along_their_path(seed):
    n_sites = 7
    edges = random_tree(n_sites, torch.Generator().manual_seed(seed))
    couplings = {edge: 0.2 + 0.1 * k for k, edge in enumerate(edges)}
    source = ising_graph(n_sites, couplings)
    reached = {(i, i): 1.0 for i in range(n_sites)}
    while len(reached) < n_sites**2:
        for (i, j), coupling in couplings.items():
            for a in range(n_sites):
                for one, other in ((i, j), (j, i)):
                    if (a, one) in reached and (a, other) not in reached:
                        reached[a, other] = reached[a, one] * math.tanh(coupling)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)
    for (i, j), product in reached.items():
        if i != j:
            assert float(signs @ source.marginal((i, j)) @ signs) == pytest.approx(product, abs=1e-13)


@pytest.mark.parametrize("n_sites", [1, 2, 9])
def test_a_random_tree_joins_all_sites_by_one_edge_less(n_sites):
    edges = random_tree(n_sites, GENERATOR)
    assert len(set(edges)) == n_sites - 1
    together = torch.eye(n_sites) + adjacency(n_sites, edges)
    assert bool((torch.linalg.matrix_power(together, n_sites) > 0).all())


def test_random_trees_differ():
    assert len({random_tree(8, torch.Generator().manual_seed(seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    "planted",
    [planted_parity(8, (1, 4, 6)), planted_chain(8, 0.5), planted_chain(8, 0.5, seed=2), planted_tree(8, 0.8, seed=1)],
    ids=lambda planted: planted.name,
)
def test_exactly_the_planted_pairs_depend_on_each_other_given_all_others(planted):
    found = direct_dependence(table_of(planted.source)) > 1e-9
    found.fill_diagonal_(False)
    assert torch.equal(found, planted.dependent)


def test_a_shuffled_chain_is_the_chain_with_its_sites_in_another_order():
    source, other = planted_chain(8, 0.5).source, planted_chain(8, 0.5, seed=2).source
    assert other.entropy() == pytest.approx(source.entropy(), abs=1e-12)
    assert max(other.bond_dims()) > max(source.bond_dims()) == 2


def test_a_process_is_planted_with_amounts_alone():
    planted = planted_process(mess3(), 4)
    assert planted.dependent is None
    assert planted.source.n_sites == 4


@pytest.mark.parametrize(
    ("couplings", "complaint"),
    [
        ({(0, 3): 1.0}, r"site 3 is not in a string of 3 symbols; give 0 to 2"),
        ({(1, 1): 1.0}, r"site 1 is coupled to itself, which changes no probability; name two sites"),
        ({(0, 1): 1.0, (1, 0): 2.0}, r"the pair \(1, 0\) is coupled twice; give the sum of both couplings once"),
        ({(0, 1): math.nan}, r"the coupling of the pair \(0, 1\) is nan; a coupling is a finite number"),
    ],
)
def test_couplings_that_are_none_are_refused(couplings, complaint):
    with pytest.raises(ValueError, match=complaint):
        ising_graph(3, couplings)


def test_a_graph_of_too_many_spins_is_refused():
    with pytest.raises(ValueError, match=r"21 sites of 2 symbols make 2\^21 strings.*a chain or torus, which are"):
        ising_graph(21, {(0, 1): 1.0})


def test_planted_dependencies_fit_the_source_and_leave_something_to_find():
    source = planted_chain(4, 0.5).source
    with pytest.raises(ValueError, match=r"4 sites are a symmetric table of \(4, 4\), not \(3, 3\)"):
        Planted("wrong", source, torch.zeros(3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"0 of 6 pairs of nothing depend on each other: none to find"):
        Planted("nothing", source, torch.zeros(4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"6 of 6 pairs of all depend"):
        Planted("all", source, torch.ones(4, 4, dtype=torch.bool))
