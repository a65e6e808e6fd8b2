"""Sources with closed forms: counts, entropies and bonds known to their last digit, at sizes beyond enumeration too."""

import itertools
import math

import pytest
import torch

from workbench.truth.images import bars_and_stripes
from workbench.truth.parity import even_parity, hidden_parity, modular_addition
from workbench.truth.state import cluster, ghz, w_state
from workbench.truth.words import dyck, motzkin

LN2 = math.log(2)


def entanglement(source, bond: int) -> float:
    return source.mps().spectra[bond].entropy()


@pytest.mark.parametrize("n", [8, 16, 300])
def test_even_parity_hides_everything_from_pairs_and_halves_share_ln_2(n):
    source = even_parity(n)
    assert source.entropy() == pytest.approx((n - 1) * LN2, rel=1e-12)
    assert source.position_entropies().tolist() == pytest.approx([LN2] * (n - 1) + [0], abs=1e-12)
    assert set(source.bond_dims()) == {2}
    assert [spectrum.entropy() for spectrum in source.mps().spectra] == pytest.approx([LN2] * (n - 1))
    assert source.mutual_information(0, n - 1) == pytest.approx(0, abs=1e-12)
    assert source.log_partition == pytest.approx((n - 1) * LN2)


def test_even_parity_of_16_bits_has_the_floor_of_the_one_pass_paper():
    assert even_parity(16).entropy() == pytest.approx(10.397208, abs=1e-6)


def test_a_hidden_parity_is_seen_on_its_subset_alone():
    source = hidden_parity(40, (3, 17, 31))
    assert source.entropy() == pytest.approx(39 * LN2, rel=1e-12)
    assert source.bond_dims() == tuple(2 if 3 < k <= 31 else 1 for k in range(1, 40))
    planted = source.marginal((3, 17, 31))
    for bits in itertools.product((0, 1), repeat=3):
        assert float(planted[bits]) == pytest.approx(0.25 if sum(bits) % 2 == 0 else 0, abs=1e-14)
    assert source.marginal((3, 17, 30)).flatten().tolist() == pytest.approx([1 / 8] * 8)
    drawn = source.sample(500, torch.Generator().manual_seed(0))
    assert int(drawn[:, [3, 17, 31]].sum(1).remainder(2).max()) == 0


def test_modular_addition_binds_three_and_no_two():
    source = modular_addition(97)
    assert source.entropy() == pytest.approx(2 * math.log(97), rel=1e-12)
    assert source.bond_dims() == (97, 97)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert source.mutual_information(i, j) == pytest.approx(0, abs=1e-12)
    assert 3 * math.log(97) - source.entropy() == pytest.approx(math.log(97))  # what all three share
    drawn = source.sample(300, torch.Generator().manual_seed(0))
    assert torch.equal((drawn[:, 0] + drawn[:, 1]) % 97, drawn[:, 2])


def test_bars_and_stripes_are_30_images_with_the_listed_bonds():
    source = bars_and_stripes(4, 4)
    assert source.strings.shape == (30, 16)
    assert source.entropy() == pytest.approx(math.log(30), abs=1e-12)
    assert source.entropy() == pytest.approx(3.401197, abs=1e-6)
    assert source.bond_dims() == (2, 4, 8, 15, 16, 16, 16, 15, 16, 16, 16, 15, 8, 4, 2)
    assert max(spectrum.entropy() for spectrum in source.mps().spectra) == pytest.approx(2.292162, abs=1e-6)
    assert bars_and_stripes(3, 3).entropy() == pytest.approx(2.639057, abs=1e-6)


def test_bars_and_stripes_of_unequal_sides_are_listed_once():
    source = bars_and_stripes(2, 3)
    images = {tuple(row) for row in source.strings.tolist()}
    expected = set()
    for bits in itertools.product((0, 1), repeat=6):
        image = torch.tensor(bits).reshape(2, 3)
        if bool((image == image[:, :1]).all()) or bool((image == image[:1]).all()):
            expected.add(bits)
    assert images == expected
    assert len(images) == 2**2 + 2**3 - 2


@pytest.mark.parametrize(
    ("n", "count", "entropy", "half", "rank"),
    [(8, 14, 2.639057, 0.830472, 3), (16, 1430, 7.265430, 1.078932, 5), (20, 16796, 9.728896, 1.171995, 6)],
)
def test_dyck_words_are_a_catalan_number(n, count, entropy, half, rank):
    source = dyck(n)
    assert count == math.comb(n, n // 2) // (n // 2 + 1)
    assert source.entropy() == pytest.approx(math.log(count), rel=1e-12)
    assert source.entropy() == pytest.approx(entropy, abs=1e-6)
    assert source.log_partition == pytest.approx(math.log(count), rel=1e-12)
    assert entanglement(source, n // 2 - 1) == pytest.approx(half, abs=1e-6)
    assert source.bond_dims()[n // 2 - 1] == rank


@pytest.mark.parametrize(
    ("n", "count", "half", "rank"), [(8, 323, 1.220639, 5), (16, 853467, 1.529824, 9), (20, 50852019, 1.633585, 11)]
)
def test_motzkin_words_are_a_motzkin_number(n, count, half, rank):
    source = motzkin(n)
    assert sum(math.comb(n, 2 * k) * math.comb(2 * k, k) // (k + 1) for k in range(n // 2 + 1)) == count
    assert source.entropy() == pytest.approx(math.log(count), rel=1e-12)
    assert entanglement(source, n // 2 - 1) == pytest.approx(half, abs=1e-6)
    assert source.bond_dims()[n // 2 - 1] == rank


@pytest.mark.parametrize(("make", "up", "down"), [(dyck, 0, 1), (motzkin, 0, 2)])
def test_drawn_words_balance(make, up, down):
    drawn = make(60).sample(400, torch.Generator().manual_seed(2))
    heights = ((drawn == up).long() - (drawn == down).long()).cumsum(1)
    assert int(heights.min()) == 0
    assert int(heights[:, -1].abs().max()) == 0


def test_every_word_of_its_length_is_as_probable_as_any_other():
    source = motzkin(30)
    drawn = source.sample(50, torch.Generator().manual_seed(2))
    assert source.log_prob(drawn).tolist() == pytest.approx([-source.entropy()] * 50)
    unbalanced = drawn[:1].clone()
    unbalanced[0, 0] = 2
    assert source.log_prob(unbalanced).tolist() == [-math.inf]


def test_ghz_is_one_bit_of_news_in_z_and_all_but_one_in_x():
    for n in (5, 60):
        source = ghz(n)
        assert source.entropy() == pytest.approx(LN2)
        assert source.mutual_information(0, n - 1) == pytest.approx(LN2)
        assert set(source.bond_dims()) == {2}
        assert entanglement(source, n // 2) == pytest.approx(LN2)
        assert set(map(int, source.sample(100, torch.Generator().manual_seed(0)).sum(1))) == {0, n}
        turned = ghz(n, "x")
        assert turned.entropy() == pytest.approx((n - 1) * LN2)
        assert int(turned.sample(100, torch.Generator().manual_seed(0)).sum(1).remainder(2).max()) == 0
        assert turned.mutual_information(0, 1) == pytest.approx(0, abs=1e-12)


def test_the_w_state_has_one_excitation():
    for n in (6, 100):
        source = w_state(n)
        assert source.entropy() == pytest.approx(math.log(n))
        assert entanglement(source, n // 2 - 1) == pytest.approx(LN2)
        assert set(map(int, source.sample(100, torch.Generator().manual_seed(0)).sum(1))) == {1}


def test_a_cluster_state_tells_nothing_in_z_and_its_stabilisers_in_turns():
    source = cluster(41)
    assert source.entropy() == pytest.approx(41 * LN2)
    assert entanglement(source, 20) == pytest.approx(LN2)
    turns = cluster(41, "zx" * 20 + "z")
    assert turns.entropy() == pytest.approx(21 * LN2)  # every x between two z is known from them
    drawn = turns.sample(200, torch.Generator().manual_seed(0))
    assert torch.equal((drawn[:, :-1:2] + drawn[:, 2::2]) % 2, drawn[:, 1::2])


def test_a_state_turned_at_every_site_is_measured_the_other_way_round():
    upright, turned = w_state(5), w_state(5, [math.pi] * 5)
    x = upright.sample(30, torch.Generator().manual_seed(0))
    assert torch.allclose(turned.log_prob(1 - x), upright.log_prob(x))


def test_letters_and_angles_name_the_same_basis():
    x = torch.randint(0, 2, (40, 4))
    by_letter, by_angle = w_state(4, "zxxz"), w_state(4, [0.0, math.pi / 2, math.pi / 2, 0.0])
    assert torch.allclose(by_letter.log_prob(x), by_angle.log_prob(x))
    assert str(by_letter.describe()) == "W state (N = 4, measured in zxxz); its cores written down; exact, in nats"
    assert w_state(9, [0.25] * 9).describe().parameters == f"N = 9, measured at {', '.join(['0.25'] * 8)}, …"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: even_parity(1), "parity ties two or more bits, not 1"),
        (lambda: hidden_parity(4, ()), "a hidden parity ties one or more sites"),
        (lambda: hidden_parity(4, (1, 5)), "site 5 is not in a string of 4 symbols"),
        (lambda: modular_addition(1), "addition is modulo 2 or more, not 1"),
        (lambda: bars_and_stripes(1, 4), "sides of 2 to 14, not 1 x 4"),
        (lambda: bars_and_stripes(3, 15), "sides of 2 to 14, not 3 x 15"),
        (lambda: dyck(7), "an even length of 2 or more, not 7"),
        (lambda: motzkin(0), "one or more symbols, not 0"),
        (lambda: ghz(1), "a GHZ state has 2 or more sites, not 1"),
        (lambda: cluster(4, "zxz"), "4 sites are measured in a letter or an angle each, or one letter, not 3"),
        (lambda: w_state(3, [0.1, 0.2]), "3 sites are measured in a letter or an angle each, or one letter, not 2"),
        (lambda: w_state(3, "zyx"), "in z, in x or at an angle in radians, not in 'y'"),
    ],
)
def test_a_source_that_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_more_images_than_a_train_is_made_of_are_refused():
    source = bars_and_stripes(5, 10)
    assert source.entropy() == pytest.approx(math.log(2**5 + 2**10 - 2))
    with pytest.raises(ValueError, match="1054 different strings are listed, and a train is made of at most 1024"):
        source.bond_dims()
