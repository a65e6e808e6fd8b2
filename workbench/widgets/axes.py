"""Labels of printed and live charts: the ticks of logarithmic axes, and names as they are written."""

import math


def legend_text(name: str) -> str:
    """The name such that a matplotlib legend shows it as it is: between two dollar signs it would read a formula."""
    return name.replace("$", r"\$")


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` round values from `low` to `high`, as even as their logarithms allow; at least two.

    The finest of 1-2-5 or 1-3 steps, powers of ten, or every other power that is not too many; within less than
    a factor of two, evenly spaced round numbers.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = range(first, last + 1)
    candidates = [[m * 10.0**p for p in powers for m in steps] for steps in ((1, 2, 5), (1, 3))]
    candidates += [[10.0**p for p in powers if p % every == 0] for every in (1, 2, 3, 4)]
    for values in candidates:
        inside = [value for value in values if low <= value <= high]
        if 3 <= len(inside) <= most:
            return inside
    for digits in range(-first, 4 - first):
        for step in (5, 2, 1):
            size = step * 10.0**-digits
            begin, end = math.ceil(low / size), math.floor(high / size)
            if 3 <= end - begin + 1 <= most:
                return [round(n * size, 12) for n in range(begin, end + 1)]
    return [low, high]
