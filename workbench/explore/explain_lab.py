"""A known truth and models of it, side by side, while symbols are given and taken back."""

from collections.abc import Mapping, Sequence

from workbench.born.likelihood import Probable
from workbench.explore.explain_frame import (
    MAPS,
    ExplainFrame,
    condition_told,
    conditional,
    distance_given,
    probability_of,
)
from workbench.explore.progress import Progress, shown
from workbench.explore.sample_choices import gpt_learner, sweep_learner
from workbench.explore.sample_complexity import MOST_SCORED, Learner, SampleLab
from workbench.transformer.string_gpt import StringGPTRecipe
from workbench.truth.enumerated import tabled
from workbench.truth.source import Source
from workbench.truth.strings import check_enumerable, check_sites


class ExplainLab:
    """A source, one of several named models beside it, and the symbols that are given at some of the sites.

    All are tables: whatever gives strings a probability is asked for every string once, when the lab is made, and each
    frame is exact. At first nothing is given, and the first model, the mutual information and the middle bond are
    looked at. Raises ValueError for a source of more than 2^20 strings or less than 2 sites, no model, or one that is
    no distribution over the strings of the source. Cost: `log_prob` of every string, by every model.
    """

    def __init__(self, source: Source, models: Mapping[str, Probable]) -> None:
        remedy = "every frame is made of all of them: give fewer sites"
        check_enumerable(len(source.alphabet), source.n_sites, remedy, MOST_SCORED)
        if not models:
            raise ValueError(f"give one or more models to look at beside {source.describe().name}; none is given.")
        if source.n_sites < 2:
            raise ValueError(f"{source.describe().name} has {source.n_sites} site; a chain to explore has 2 or more.")
        self.source = source
        self._truth = tabled(source, source, source.describe().name)
        self._models = {name: tabled(source, model, name) for name, model in models.items()}
        self._given: dict[int, int] = {}
        self._model, self._map, self._bond = next(iter(models)), next(iter(MAPS)), source.n_sites // 2 - 1

    @classmethod
    def learned(
        cls, source: Source, n: int, learners: Sequence[Learner] | None = None, seed: int = 0,
        progress: Progress | None = None,
    ) -> "ExplainLab":  # fmt: skip
        """What learners make of `n` samples of the source, each by its name: at first sweeps of bond 4, and a GPT.

        Learning takes its time, seconds a learner, and tells how far it is.
        """
        chosen = [sweep_learner(4), gpt_learner(StringGPTRecipe())] if learners is None else list(learners)
        models = {}
        with shown(progress) as told:
            for place, learner in enumerate(chosen):
                told("learn", place, len(chosen))
                samples = SampleLab(source, learner, (n,), (seed,)).samples(n, seed)
                models[learner.name] = learner.learn(samples, len(source.alphabet), seed)
            told("learn", len(chosen), len(chosen))
        return cls(source, models)

    @property
    def n_sites(self) -> int:
        """The length of a string."""
        return self.source.n_sites

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(self._models)

    @property
    def model(self) -> str:
        """The name of the one that is looked at."""
        return self._model

    @property
    def map(self) -> str:
        """Which of `MAPS` is looked at."""
        return self._map

    @property
    def bond(self) -> int:
        """The bond whose Schmidt values are looked at: that behind the site of this number."""
        return self._bond

    @property
    def given(self) -> dict[int, int]:
        """The number of the symbol at each site that is fixed."""
        return dict(sorted(self._given.items()))

    def fix(self, site: int, symbol: int) -> None:
        """Gives the symbol of a site.

        Raises ValueError, and leaves all as it was, for what is not there, or if the truth or the model looked at
        excludes every string with the symbols that are given then.
        """
        check_sites((site,), self.n_sites)
        if not 0 <= symbol < len(self.source.alphabet):
            raise ValueError(
                f"the symbol {symbol} is given at site {site}, which has {len(self.source.alphabet)} symbols, "
                f"0 to {len(self.source.alphabet) - 1} by number."
            )
        self._move(self._given | {site: symbol}, self._model)

    def release(self, *sites: int) -> None:
        """Frees these sites; all of them if none is named."""
        gone = check_sites(sites or range(self.n_sites), self.n_sites)
        self._given = {site: symbol for site, symbol in self._given.items() if site not in gone}

    def choose(self, model: str | None = None, map: str | None = None, bond: int | None = None) -> None:
        """Another model, map or bond to look at.

        Raises ValueError, and leaves all as it was, for what is not there, or a model that excludes every string with
        the symbols that are given.
        """
        for name, known in ((model, self._models), (map, MAPS)):
            if name is not None and name not in known:
                raise ValueError(f"there is no {name!r} here; there are {', '.join(known)}.")
        if bond is not None and not 0 <= bond < self.n_sites - 1:
            raise ValueError(
                f"bond {bond} is not in a chain of {self.n_sites} sites, whose bonds are 0 to {self.n_sites - 2}."
            )
        self._move(self._given, model or self._model)
        self._map, self._bond = map or self._map, self._bond if bond is None else bond

    def frame(self) -> ExplainFrame:
        """Truth and model given the symbols that are fixed.

        Cost: that of `conditional`, twice: hundredths of a second for 2^12 strings, seconds for 2^20.
        """
        truth, learned = self._truth, self._models[self._model]
        return ExplainFrame(
            self.source.describe().name, self._model, self.source.alphabet, tuple(self.given.items()), self._map,
            self._bond, conditional(truth, self._given, self._map), conditional(learned, self._given, self._map),
            distance_given(truth.table, learned.table, self._given),
        )  # fmt: skip

    def _move(self, given: dict[int, int], model: str) -> None:
        """Takes these as the state, if strings are left under both."""
        for name, table in (("the truth", self._truth), (model, self._models[model])):
            if not probability_of(table.table, given) > 0:
                told = condition_told(given, self.source.alphabet)
                raise ValueError(f"{name} excludes every string with {told}; free a site or choose another symbol.")
        self._given, self._model = given, model
