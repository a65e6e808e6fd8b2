"""How far a slow step is: told to a callback, or shown as a bar."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

# Told what is being done, how much of it is done, and of how much.
Progress = Callable[[str, int, int], None]


@contextmanager
def timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    """Puts the seconds that the block took under `what`."""
    start = time.perf_counter()
    yield
    seconds[what] = time.perf_counter() - start


@contextmanager
def shown(progress: Progress | None) -> Iterator[Progress]:
    """`progress`, or a bar that appears with the first report."""
    if progress is not None:
        yield progress
        return
    bars: list[tqdm] = []

    def advance(what: str, done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(total=total, desc=what, leave=False))
        bars[0].update(done - bars[0].n)

    try:
        yield advance
    finally:
        for bar in bars:
            bar.close()
