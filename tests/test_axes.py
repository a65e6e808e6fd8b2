"""Labels of logarithmic axes: few, round, inside, and quickly found."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.widgets.axes import log_ticks


@given(st.floats(-8, 4), st.floats(0.01, 9))
def test_ticks_are_two_to_six_in_order_and_inside_the_axis(low_exponent, decades):
    low, high = 10.0**low_exponent, 10.0 ** (low_exponent + decades)
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert all(a < b for a, b in pairwise(ticks))
    assert low * (1 - 1e-9) <= ticks[0]
    assert ticks[-1] <= high * (1 + 1e-9)


@given(st.floats(-8, 4), st.floats(1, 9))
def test_over_a_decade_or_more_no_two_labels_are_nearer_than_a_tenth_of_the_axis(low_exponent, decades):
    ticks = log_ticks(10.0**low_exponent, 10.0 ** (low_exponent + decades))
    gaps = [math.log10(b / a) for a, b in pairwise(ticks)]
    assert min(gaps) >= 0.1 * decades


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.0, 12.0, [1, 2, 5, 10]),
        (0.5, 20000.0, [1, 10, 100, 1000, 10000]),
        (0.2, 26.0, [0.3, 1, 3, 10]),
        (0.98, 1.06, [0.98, 1.0, 1.02, 1.04, 1.06]),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert log_ticks(low, high) == pytest.approx(expected)
