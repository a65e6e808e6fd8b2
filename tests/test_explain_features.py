"""Which sites tell the class of a string: choices by entanglement beside classical ones; and the sites' order."""

import math

import pytest
import torch

from workbench.born.digits import Digits, digits
from workbench.born.explain.estimates import sample_information
from workbench.born.explain.features import (
    CHANCES,
    ChainClassifier,
    feature_curves,
    feature_scores,
    label_information,
    learn_classes,
)
from workbench.born.explain.pairs import information_map, pair_marginals
from workbench.born.explain.site_order import greedy_path, order_effect
from workbench.born.machine import BornMachine
from workbench.born.nonnegative import NonNegativeTrain
from workbench.born.two_site import SweepRecipe, sweep
from workbench.truth.ising_chain import ising_chain


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images() -> Digits:
    """Those of 0 to 4 only: five classes are learned in a second or two."""
    data = digits()
    early, late = data.train_labels < 5, data.test_labels < 5
    return Digits(data.train[early], data.test[late], data.train_labels[early], data.test_labels[late])


def test_labels_go_with_their_images():
    first, other = digits(), digits(seed=3)
    assert (len(first.train_labels), len(first.test_labels)) == (1437, 360)
    counts = torch.bincount(torch.cat([first.train_labels, first.test_labels]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    labelled = [torch.cat([torch.cat([d.train, d.test]), torch.cat([d.train_labels, d.test_labels])[:, None]], 1)
                for d in (first, other)]  # fmt: skip
    assert torch.equal(torch.unique(labelled[0], dim=0), torch.unique(labelled[1], dim=0))


def test_a_class_is_the_most_probable_one_by_bayes_rule_from_the_sites_seen():
    shape, log_shares = [2, 3, 2, 2], torch.tensor([0.7, 0.3], dtype=torch.float64).log()
    models = tuple([BornMachine.random(shape, 3, seeded(seed)) for seed in (1, 2)])
    classifier = ChainClassifier(models, log_shares)
    x = models[0].sample(30, seeded(3))
    joint = torch.stack([model.marginal((2, 0)) for model in models]) * log_shares.exp()[:, None, None]
    expected = joint[:, x[:, 2], x[:, 0]].T
    seen = torch.tensor([[True, False, True, False]])
    assert torch.allclose(classifier.log_joint(x, seen).exp(), expected, atol=1e-12)
    assert torch.equal(classifier.classify(x, [2, 0]), expected.argmax(1))
    assert torch.equal(classifier.classify(x, []), torch.zeros(30, dtype=torch.int64))


def test_the_information_with_a_label_is_that_of_the_joint_shares():
    labels = torch.arange(600) % 3
    x = torch.stack([labels, labels % 2, torch.arange(600) // 300], 1)
    found = label_information(x, labels, 3)
    # The second site says whether the label is 1; the third says nothing.
    expected = [math.log(3), math.log(3) - 2 / 3 * math.log(2), 0]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12)


def test_entanglement_chooses_pixels_far_better_than_chance_and_no_better_than_their_entropy(images):
    classifier = learn_classes(images.train, images.train_labels)
    machine = sweep(images.train, SweepRecipe(max_bond=8, rounds=2)).finish()
    scores = feature_scores(machine, images.train, images.train_labels, seeded())
    curves = feature_curves(classifier, images.test, images.test_labels, scores, (4, 12, 64))
    assert curves.orders == ("entanglement", "site entropy", "information with the label", "by chance")
    quantum, entropy, information, chance = curves.accuracies
    assert float(quantum[1] - chance[1]) > 0.1
    assert abs(float(quantum[1] - entropy[1])) < 0.05
    assert float(information[0]) > float(quantum[0])
    assert torch.equal(curves.accuracies[:, 2], quantum[2].expand(4))
    assert float(quantum[2]) > 0.95
    lines = str(curves).splitlines()
    assert lines[0].split() == ["sites", "kept", "4", "12", "64"]
    assert lines[1].split() == ["entanglement", *[f"{share:.3f}" for share in quantum.tolist()]]
    assert lines[-1] == f"shares of {len(images.test)} strings classified right"
    assert scores["by chance"].shape == (CHANCES, 64)


def test_several_orders_of_one_name_are_averaged_and_equal_scores_keep_the_earlier_site():
    # The class is the first symbol; the second says nothing.
    sure = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
    even = torch.full((1, 2, 1), 0.5, dtype=torch.float64)
    models = tuple([NonNegativeTrain((first.reshape(1, 2, 1), even)) for first in sure])
    classifier = ChainClassifier(models, torch.tensor([0.6, 0.4], dtype=torch.float64).log())
    x, labels = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]]), torch.tensor([0, 1, 0, 1])
    scores = {
        "right": torch.tensor([[2.0, 1.0]]), "both": torch.tensor([[2.0, 1.0], [0.0, 3.0]]),
        "equal": torch.tensor([[1.0, 1.0]]),
    }  # fmt: skip
    curves = feature_curves(classifier, x, labels, scores, (1, 2))
    assert curves.accuracies.tolist() == [[1, 1], [0.75, 1], [1, 1]]


def test_the_path_through_a_shuffled_chain_is_the_chain():
    source = ising_chain(11, 0.7)
    information = information_map(pair_marginals(source))
    order = torch.randperm(11, generator=seeded(1)).tolist()
    path = greedy_path(information[order][:, order])
    along = [order[site] for site in path]
    assert along in (list(range(11)), list(range(11))[::-1])


def test_a_path_of_one_site_or_of_equal_pairs_has_each_site_once():
    assert greedy_path(torch.zeros(1, 1)) == (0,)
    assert sorted(greedy_path(torch.ones(5, 5))) == list(range(5))


def test_along_the_path_the_bonds_of_a_shuffled_chain_carry_less():
    source = ising_chain(10, 0.7)
    shuffled = torch.randperm(10, generator=seeded(4)).tolist()
    x, held_out = (source.sample(2000, seeded(seed))[:, shuffled] for seed in (0, 1))
    path = greedy_path(sample_information(x, 2))
    recipe = SweepRecipe(max_bond=3, rounds=4)
    before, after = (order_effect(x, held_out, order, recipe) for order in (range(10), path))
    assert float(after.entropies.mean()) < 0.7 * float(before.entropies.mean())
    assert after.held_out < before.held_out
    assert after.held_out == pytest.approx(source.entropy(), abs=0.15)
    assert str(after).startswith(f"bond entropies {float(after.entropies.mean()):.3f} nats on average, ")
    assert str(after).endswith(f"; -ln p {after.nll:.3f} nats a string, {after.held_out:.3f} held out")


def test_bad_input_is_refused():
    models = tuple([BornMachine.random(shape, 2, seeded()) for shape in ([2, 3, 2], [2, 3, 2])])
    shares = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
    classifier = ChainClassifier(models, shares)
    x, labels = models[0].sample(3, seeded()), torch.tensor([0, 2, 0])
    with pytest.raises(ValueError, match="2 classes have a share each, not 3 of them"):
        ChainClassifier(models, torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"strings of other sites: \[\(2, 3, 2\), \(2, 4\)\]"):
        ChainClassifier((models[0], BornMachine.random([2, 4], 2, seeded())), shares)
    with pytest.raises(ValueError, match="no string has the label 1; number the classes from 0"):
        learn_classes(x, labels)
    with pytest.raises(ValueError, match="1 to 3 sites of a string are kept, not 4"):
        feature_curves(classifier, x, labels, {"one": torch.rand(1, 3)}, (2, 4))
    with pytest.raises(ValueError, match=r"a row and a column a site, not \(3, 4\)"):
        greedy_path(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="this one holds nan or infinity"):
        greedy_path(torch.full((3, 3), math.nan))
    with pytest.raises(ValueError, match="an order of 3 sites has each of them once, and 2 are given"):
        order_effect(x, x, (2, 0), SweepRecipe())
    with pytest.raises(ValueError, match="site 4 is not in a string of 3 symbols"):
        order_effect(x, x, (0, 4, 1), SweepRecipe())
