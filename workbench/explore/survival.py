"""Which circuit survives a cut: a head's pattern, scores and singular values before and after one matrix is cut."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from threading import RLock

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.compress.windows import Windows
from workbench.decompose.ladder import check_bond
from workbench.explore.circuit_change import CircuitChange, circuit_change
from workbench.explore.compression_lab import CompressionLab
from workbench.explore.one_cut import OneCut, decompose_once, shapes_patterns
from workbench.explore.progress import Progress, shown
from workbench.explore.survival_table import Asked, SurvivalTable, tables, told
from workbench.spectrum import Spectrum
from workbench.transformer.circuit import Circuit, ov_circuit, qk_circuit
from workbench.transformer.composition import Head
from workbench.transformer.head_scores import HeadScores, scores_of
from workbench.transformer.load import LanguageModel, load
from workbench.transformer.probe_rows import longest_period, repeat_rows
from workbench.transformer.reading import anatomy_of
from workbench.transformer.repeats import second_copy_hits

_CALIBRATION_TOKENS = 4096
_PER_INPUT = 4  # calibration tokens for each input of the widest matrix, where that is more


@dataclass(frozen=True, eq=False)
class SurvivalFrame:
    """One head before and after one matrix is cut to `bond`, all else uncut, on rows of tokens that come twice.

    `scores` and `scores_after` are those of the head by behaviour, means over all rows, 0 to 1; the accuracies are the
    model's, over the second copy. The patterns, (t, s), are on the first row. `weight_lost` is the share of the
    matrix's squared norm, in the metric of the cut, that is gone; `spectrum` is that of its bond, of its widest one
    for a train.
    """

    model: str
    cut: str
    head: Head
    matrix: str
    bond: int
    full_bond: int
    weight_lost: float
    spectrum: Spectrum
    shapes_pattern: bool
    scores: tuple[float, ...]
    scores_after: tuple[float, ...]
    accuracy: float
    accuracy_after: float
    n_rows: int
    period: int
    pattern: Float[Tensor, "t t"]
    pattern_after: Float[Tensor, "t t"]
    qk: CircuitChange
    ov: CircuitChange

    @property
    def kept(self) -> int:
        """How many values of `spectrum` the cut keeps."""
        return min(self.bond, len(self.spectrum))

    @property
    def numbers(self) -> tuple[tuple[str, float, float], ...]:
        """What is scored, with its values before and after."""
        named = ("previous-token score", "duplicate-token score", "induction score")
        own = zip(named, self.scores, self.scores_after, strict=True)
        return (*own, ("second-copy accuracy", self.accuracy, self.accuracy_after))

    def __str__(self) -> str:
        lines = [
            f"{self.model}, head {told(self.head)}: {self.matrix} cut to {self.bond} of {self.full_bond} ({self.cut}), "
            f"{self.weight_lost:.2%} of its weight lost"
        ]
        if not self.shapes_pattern:
            lines.append("the head's pattern does not depend on this matrix")
        lines += [f"{name}: {before:.3f} → {after:.3f}" for name, before, after in self.numbers]
        lines += [str(self.qk), str(self.ov), f"on {self.n_rows} rows of {self.period} tokens twice"]
        return "\n".join(lines)


class SurvivalLab:
    """A model on repeated random tokens, and a matrix of it under the knife: what a head still does then.

    `model` is a name or path, a loaded model, or a `CompressionLab`, whose decompositions are used and whose bonds
    stay as they are. `metric` is that of the cut, `plain` unless told otherwise or the lab is decomposed already;
    `input` is calibrated on other rows of the same kind. At first the head is the one with the highest induction
    score, and the first matrix is chosen, at its full bond.
    Raises ValueError where the context or vocabulary is too small for the period, or the lab's metric is another.
    """

    def __init__(
        self, model: str | Path | LanguageModel | CompressionLab = "attn2", metric: str | None = None,
        n_rows: int = 16, period: int | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        if not isinstance(model, CompressionLab):
            lm = model if isinstance(model, LanguageModel) else load(model)
            self.period = longest_period(lm) if period is None else period
            model = _lab(lm, self.period, seed + 1)
        else:
            self.period = longest_period(model.lm) if period is None else period
        self.lab, self.lm = model, model.lm
        self.rows: Int[Tensor, "n t"] = repeat_rows(self.lm, n_rows, self.period, seed)
        decompose_once(model, metric)
        assert model.recipe is not None
        self.cut_told = f"{model.recipe.method}, {model.recipe.metric} metric"
        self._anatomy = anatomy_of(self.lm)
        self._one_cut = OneCut(model)
        self._running = RLock()
        self._patterns, self.scores, self.accuracy = self._read()
        self._circuits: dict[Head, tuple[Circuit, Circuit]] = {}
        first = next(iter(self.full_bonds))
        self._chosen = (self.scores.strongest("induction", 1)[0].head, first, self.full_bonds[first])

    @property
    def heads(self) -> tuple[Head, ...]:
        """Every head as (layer, head)."""
        return self._anatomy.heads

    @property
    def full_bonds(self) -> dict[str, int]:
        """The matrices that can be cut, with the sizes of their bonds."""
        return self._one_cut.full_bonds

    @property
    def head(self) -> Head:
        """The head that is looked at."""
        return self._chosen[0]

    @property
    def matrix(self) -> str:
        """The matrix that is cut."""
        return self._chosen[1]

    @property
    def bond(self) -> int:
        """The size of its bond."""
        return self._chosen[2]

    def look_at(self, layer: int, head: int) -> None:
        """Chooses the head; the cut stays. Raises ValueError, saying which there are, for one that is not there."""
        self._anatomy.head(layer, head)
        self._chosen = ((layer, head), self.matrix, self.bond)

    def cut(self, matrix: str, bond: int | None = None) -> None:
        """Cuts this matrix to `bond`, its full one unless told otherwise, and makes every other one whole.

        Nothing is computed before the next frame. Raises ValueError for a matrix or bond that is not there.
        """
        if matrix not in self.full_bonds:
            near = get_close_matches(matrix, self.full_bonds, 3, 0.4) or list(self.full_bonds)[:3]
            raise ValueError(f"there is no matrix {matrix!r} in {self.lm.name}; did you mean {' or '.join(near)}?")
        if bond is not None:
            check_bond(bond, self.full_bonds[matrix])
        self._chosen = (self.head, matrix, self.full_bonds[matrix] if bond is None else bond)

    @property
    def present(self) -> LanguageModel:
        """The model as it is cut now, for `view` and `activations`: the running one, which later cuts move on."""
        with self._running:
            self._one_cut.cut(self.matrix, self.bond)
        return replace(self._one_cut.model, name=f"{self.lm.name}, {self.matrix} cut to {self.bond}")

    def frame(self) -> SurvivalFrame:
        """Everything there is to show of the present cut and head.

        Cost: one forward pass on the rows, and the SVD of two k × k matrices, the middles of the head's circuits.
        """
        head, matrix, bond = self._chosen
        layer, number = head
        with self._running:
            self._one_cut.cut(matrix, bond)
            state = self._one_cut.state(matrix)
            patterns, scores, accuracy = self._read()
            circuits = _circuits(self._one_cut.model, head)
        if head not in self._circuits:
            self._circuits[head] = _circuits(self.lm, head)
        spectra = self.lab.layers[matrix].uncut.spectra
        place = self.heads.index(head)
        return SurvivalFrame(
            self.lm.name, self.cut_told, head, matrix, bond, self.full_bonds[matrix],
            state.discarded_weight, max(spectra, key=len), shapes_patterns(matrix, layer),
            tuple(self.scores.values[:, place].tolist()), tuple(scores.values[:, place].tolist()),
            self.accuracy, accuracy, len(self.rows), self.period,
            self._patterns[layer][number], patterns[layer][number],
            *(circuit_change(*pair) for pair in zip(self._circuits[head], circuits, strict=True)),
        )  # fmt: skip

    def tables(self, behaviour: str = "induction", keep: float = 0.95) -> Iterator[SurvivalTable]:
        """The survival table with one matrix measured after another, on a copy: frames may be made meanwhile."""
        asked = Asked(self.cut_told, self.rows, self.period, behaviour, keep)
        return tables(OneCut(self.lab), asked, self.scores)

    def table(
        self, behaviour: str = "induction", keep: float = 0.95, progress: Progress | None = None
    ) -> SurvivalTable:
        """The whole survival table. `progress` is told what is done, of how much; without it a bar is shown."""
        with shown(progress) as tell:
            for done, table in enumerate(self.tables(behaviour, keep)):  # noqa: B007
                tell("measure", min(done, len(self.full_bonds)), len(self.full_bonds))
        return table

    def _read(self) -> tuple[list[Tensor], HeadScores, float]:
        """The patterns on the first row by layer, all heads' scores, and the accuracy, as the model is cut."""
        patterns, hidden = self._one_cut.read(self.rows)
        logits = self._one_cut.logits(hidden[:, -self.period : -1])
        first = [pattern[0].cpu() for pattern in patterns]
        return first, scores_of(self._anatomy, patterns, self.period), second_copy_hits(logits, self.rows)


def _circuits(lm: LanguageModel, head: Head) -> tuple[Circuit, Circuit]:
    anatomy = anatomy_of(lm)
    return qk_circuit(anatomy, *head), ov_circuit(anatomy, *head)


def _lab(lm: LanguageModel, period: int, seed: int) -> CompressionLab:
    """A lab that calibrates on rows of the same kind as those that are scored, but not on the same ones."""
    widest = int(getattr(lm.model.config, "intermediate_size", None) or 4 * anatomy_of(lm).d_model)  # pyright: ignore
    n_rows = -(-max(_CALIBRATION_TOKENS, _PER_INPUT * widest) // (2 * period))
    rows = repeat_rows(lm, n_rows, period, seed)
    windows = Windows(rows, torch.ones(rows.shape[0], rows.shape[1] - 1, dtype=torch.bool))
    return CompressionLab(lm, windows, windows)
