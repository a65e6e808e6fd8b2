"""Choices of a source, its size, a learner and what is asked, with every curve measured so far."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.explore.progress import Progress
from workbench.explore.sample_complexity import Learner, SampleLab
from workbench.explore.sample_frame import SampleFrame
from workbench.truth.source import Source


@dataclass(frozen=True)
class Family:
    """One kind of source at each size that it has: `make(n_sites)` for `n_sites` in `sites`."""

    name: str
    make: Callable[[int], Source]
    sites: tuple[int, ...]

    def nearest(self, n_sites: int) -> int:
        """The size it has that is nearest to the one asked for, the smaller of two."""
        return min(self.sites, key=lambda size: (abs(size - n_sites), size))


class SampleExplorer:
    """A source and a learner at a time, of those given; what was measured of others stays.

    At first the first of each, about 12 sites, the overlap, and 90 %. `sizes`, `seeds` and `cache` are those of
    `SampleLab`. Raises ValueError if there is no family or no learner.
    """

    def __init__(
        self, families: Sequence[Family], learners: Sequence[Learner], sizes: Sequence[int] | None = None,
        seeds: Sequence[int] = range(5), cache: str | Path | None = None,
    ) -> None:  # fmt: skip
        if not families or not learners:
            raise ValueError(f"give one or more sources and learners, not {len(families)} and {len(learners)}.")
        self.families = {family.name: family for family in families}
        self.learners = {learner.name: learner for learner in learners}
        self._sizes, self._seeds, self._cache = sizes, tuple(seeds), cache
        self._labs: dict[tuple[str, int, str], SampleLab] = {}
        self._sources: dict[tuple[str, int], Source] = {}
        first = families[0]
        self._chosen = (first.name, first.nearest(12), learners[0].name)
        self._asked = ("overlap", 0.9)

    @property
    def family(self) -> Family:
        """The kind of source looked at."""
        return self.families[self._chosen[0]]

    @property
    def n_sites(self) -> int:
        """Its size."""
        return self._chosen[1]

    @property
    def learner(self) -> str:
        """The learner's name."""
        return self._chosen[2]

    @property
    def metric(self) -> str:
        """What is asked of it."""
        return self._asked[0]

    @property
    def target(self) -> float:
        """The quality wanted, between 0 and 1."""
        return self._asked[1]

    @property
    def source(self) -> Source:
        """The source itself, made once for each size."""
        key = self._chosen[:2]
        if key not in self._sources:
            self._sources[key] = self.family.make(self.n_sites)
        return self._sources[key]

    @property
    def lab(self) -> SampleLab:
        """What measures the present choice, and keeps its points."""
        if self._chosen not in self._labs:
            learner = self.learners[self.learner]
            self._labs[self._chosen] = SampleLab(self.source, learner, self._sizes, self._seeds, self._cache)
        lab = self._labs[self._chosen]
        lab.ask(*self._asked)
        return lab

    def choose(self, source: str | None = None, n_sites: int | None = None, learner: str | None = None) -> None:
        """Another source, size or learner; a size that the source does not have becomes the nearest that it has.

        Nothing is measured. Raises ValueError for a name that is not there.
        """
        for name, known in ((source, self.families), (learner, self.learners)):
            if name is not None and name not in known:
                raise ValueError(f"there is no {name!r} here; there are {', '.join(known)}.")
        family = self.families[source or self._chosen[0]]
        self._chosen = (family.name, family.nearest(n_sites or self.n_sites), learner or self.learner)

    def ask(self, metric: str | None = None, target: float | None = None) -> None:
        """What is asked of every learner: see `SampleLab.ask`."""
        self.lab.ask(metric, target)
        self._asked = (metric or self.metric, self.target if target is None else target)

    def steps(self) -> Iterator[SampleFrame]:
        """Measures what is missing of the present choice, with a frame after each point."""
        yield from self.lab.steps()

    def run(self, progress: Progress | None = None) -> SampleFrame:
        """Measures all of it."""
        return self.lab.run(progress)

    def frame(self) -> SampleFrame:
        """The present choice."""
        return self.lab.frame()

    def frames(self) -> tuple[SampleFrame, ...]:
        """All learners that have points of the present source and size, and the present one, asked the same."""
        found = []
        for name in self.learners:
            lab = self._labs.get((*self._chosen[:2], name))
            if name == self.learner or lab is not None:
                lab = lab or self.lab
                lab.ask(*self._asked)
                frame = lab.frame()
                if frame.points or name == self.learner:
                    found.append(frame)
        return tuple(found)
