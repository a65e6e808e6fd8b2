"""What was done to the cut matrices beyond cutting them, step by step, and the way back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from workbench.compress.layers import BondLinear, Running

Mark = tuple[tuple[str, ...], int | None, dict[str, Running]]


class Repairs:
    """The steps that led from the bare cut to what runs now, such as `compensated` and `healed 100`.

    `undo` takes the last step back. A move of a bond leaves them all behind, and can itself be undone as long as no
    further step was taken: what took minutes to heal is not lost to a slip of a slider.
    """

    def __init__(self) -> None:
        self.layers: Mapping[str, BondLinear] = {}
        self.done: tuple[str, ...] = ()
        self.bytes: int | None = None  # of the block matrices, where quantised numbers take other than their own
        self._before: list[Mark] = []

    def begin(self, layers: Mapping[str, BondLinear]) -> None:
        """New layers: there is nothing to undo."""
        self.layers, self.done, self.bytes, self._before = layers, (), None, []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """What happens inside is one step; if it fails, or changes its mind by an error, everything is as before."""
        before = self.mark()
        try:
            yield
        except BaseException:
            self._restore(before)
            raise
        self.took(before, name)

    def mark(self) -> Mark:
        """The present state, to be given to `took`."""
        return self.done, self.bytes, {name: layer.state for name, layer in self.layers.items()}

    def took(self, before: Mark, name: str) -> None:
        """A step was taken since `before`."""
        self._before.append(before)
        self.done = (*self.done, name)

    def leave(self) -> None:
        """A bond is about to move: what was repaired is put aside."""
        if self.done:
            self._before.append(self.mark())
            self.done, self.bytes = (), None
            for layer in self.layers.values():
                layer.bare()

    def undo(self) -> None:
        """Takes the last step back. Raises RuntimeError if there is none."""
        if not self._before:
            raise RuntimeError("there is nothing to undo: no matrix was compensated, healed or quantised.")
        self._restore(self._before.pop())

    def _restore(self, state: Mark) -> None:
        self.done, self.bytes, states = state
        for name, layer in self.layers.items():
            layer.restore(states[name])
