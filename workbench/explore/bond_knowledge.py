"""Compression as explanation: which kinds of knowledge of a known language die when one matrix is cut."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.compress.default_windows import speaks_known_language
from workbench.decompose.ladder import check_bond
from workbench.explore.compression_lab import CompressionLab
from workbench.explore.one_cut import OneCut, decompose_once
from workbench.explore.progress import Progress, shown
from workbench.transformer.grammar_card import said
from workbench.transformer.load import LanguageModel, load
from workbench.truth.grammar_english import english
from workbench.truth.grammar_knowledge import KINDS, WordSteps, knowledge_losses
from workbench.truth.grammar_stream import GrammarStream
from workbench.truth.sentence_contexts import Contexts

BONDS = (32, 16, 8, 4, 2)
_DEAD, _ALIVE = 0.5, 0.1  # shares of a kind of knowledge that are lost


@dataclass(frozen=True, eq=False)
class KnowledgeMap:
    """What the model loses of each kind of knowledge when one matrix is cut to one bond, all else uncut.

    `uncut` is what the whole model loses beyond the truth, kind by kind, in nats a token, and sums to its excess loss;
    `nothing` what one loses that takes every branch as likely as another, which knows nothing of the kind. `added` is
    what the cut adds to `uncut`, and `errors` its standard error over the streams; both are exact in the next word, so
    that only which streams were read is left to chance. A share lost (`lost`) is `added` over `nothing`: 1 is as bad as
    knowing nothing, and more is worse than that.
    """

    model: str
    cut: str
    kinds: tuple[str, ...]
    uncut: Float[Tensor, " kinds"]
    nothing: Float[Tensor, " kinds"]
    bonds: tuple[int, ...]
    matrices: tuple[str, ...]
    full_bonds: tuple[int, ...]
    added: Float[Tensor, "matrices bonds kinds"]
    errors: Float[Tensor, "matrices bonds kinds"]
    n_streams: int
    n_sites: int
    seconds: float

    @property
    def lost(self) -> Float[Tensor, "matrices bonds kinds"]:
        """The share of each kind of knowledge that a cut takes."""
        return self.added / self.nothing

    @property
    def selectivity(self) -> Float[Tensor, "matrices bonds kinds"]:
        """The share of a kind that a cut takes, less that of all the other kinds together: 0 if it takes all alike."""
        others = (self.added.sum(-1, keepdim=True) - self.added) / (self.nothing.sum() - self.nothing)
        return self.lost - others

    def at(self, matrix: str, bond: int) -> dict[str, float]:
        """The share lost of each kind. Raises ValueError for what is not in the map."""
        if matrix not in self.matrices or bond not in self.bonds:
            raise ValueError(
                f"{matrix!r} at bond {bond} is no cell of this map; its matrices are {', '.join(self.matrices)}, and "
                f"its bonds {', '.join(map(str, self.bonds))}."
            )
        shares = self.lost[self.matrices.index(matrix), self.bonds.index(bond)]
        return dict(zip(self.kinds, shares.tolist(), strict=True))

    def dies_alone(self, kind: str, among: Sequence[str]) -> list[tuple[str, int]]:
        """The cuts, as (matrix, bond), that take half or more of a kind, and a tenth or less of each of the others.

        Raises ValueError for a kind that is none of the map's.
        """
        strange = [name for name in (kind, *among) if name not in self.kinds]
        if strange:
            raise ValueError(f"{strange[0]!r} is no kind of knowledge here; they are {'; '.join(self.kinds)}.")
        kept = [self.kinds.index(name) for name in among]
        cuts = (self.lost[..., self.kinds.index(kind)] >= _DEAD) & (self.lost[..., kept] <= _ALIVE).all(-1)
        return [(self.matrices[row], self.bonds[column]) for row, column in cuts.nonzero().tolist()]

    def table(self, bond: int) -> str:
        """The shares lost at one bond: a line for the whole model, and one for each matrix. Raises as `at`."""
        lines = [["", *map(str, range(1, len(self.kinds) + 1))], ["uncut", *map(_percent, self.uncut / self.nothing)]]
        lines += [[matrix, *map(_percent, self.at(matrix, bond).values())] for matrix in self.matrices]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = ("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines)
        return "\n".join(
            [
                f"{self.model}: the share of each kind of knowledge that is lost when one matrix is cut to {bond} "
                f"({self.cut}), all else uncut",
                *padded,
                "; ".join(f"{i} {kind}" for i, kind in enumerate(self.kinds, 1)),
                f"100% is as bad as knowing nothing; {self.n_streams} streams of {self.n_sites} words, "
                f"{self.seconds:.1f} s",
            ]
        )

    def __str__(self) -> str:
        return self.table(self.bonds[-1])


class KnowledgeLab:
    """A model of the known English, and fresh streams of it of which the truth is known word by word.

    `model` is a name or path, a loaded model, or a `CompressionLab`, whose decompositions are used and whose bonds stay
    as they are. `metric` is that of the cut, `plain` unless told otherwise or the lab is decomposed already.
    Raises ValueError for a model of another language, fewer than two streams, which have no standard error, or where
    the lab's metric is another.
    """

    def __init__(
        self,
        model: str | Path | LanguageModel | CompressionLab = "truth-gpt",
        metric: str | None = None,
        n_streams: int = 16,
        seed: int = 0,
    ) -> None:
        if n_streams < 2:
            raise ValueError(f"{n_streams} stream has no standard error; give 2 or more.")
        if not isinstance(model, CompressionLab):
            lm = model if isinstance(model, LanguageModel) else load(model)
            _check_language(lm)
            model = CompressionLab.from_model(lm)
        _check_language(model.lm)
        decompose_once(model, metric)
        assert model.recipe is not None
        self.lab, self.lm = model, model.lm
        self.cut_told = f"{model.recipe.method}, {model.recipe.metric} metric"
        stream = GrammarStream(english(), self.lm.context)
        self.streams = stream.sample(n_streams, torch.Generator().manual_seed(seed))
        self._inputs, self._truth = stream.inputs(self.streams), stream.conditionals(self.streams)
        self._steps, self._contexts = WordSteps.of(english()), Contexts.of(english(), self.streams)
        self.uncut: Float[Tensor, "n kinds"] = self.losses(self.lm)

    def losses(self, lm: LanguageModel) -> Float[Tensor, "n kinds"]:
        """What a model of the same words loses on each stream beyond the truth, kind by kind, in nats a token."""
        return self._losses(said(lm, self._inputs))

    def maps(self, bonds: Sequence[int] = BONDS) -> Iterator[KnowledgeMap]:
        """The map with one matrix measured after another, from none to all, on a copy: the lab's bonds stay.

        Raises ValueError for no bonds, or one that some matrix does not have. Cost: a pass over the streams for each
        matrix and bond; no decomposition.
        """
        start, model = time.perf_counter(), OneCut(self.lab)
        if not bonds:
            raise ValueError("no bonds are given; give one or more.")
        for full in model.full_bonds.values():
            for bond in bonds:
                check_bond(bond, full)
        n_kinds = len(KINDS)
        nothing = self._losses(self._steps.even().expand_as(self._truth)).mean(0)
        none = torch.empty(0, len(bonds), n_kinds, dtype=torch.float64)
        found = KnowledgeMap(
            self.lm.name, self.cut_told, KINDS, self.uncut.mean(0), nothing, tuple(bonds), (), (), none, none,
            len(self.streams), self.streams.shape[1], 0.0,
        )  # fmt: skip
        yield found
        for matrix, full in model.full_bonds.items():
            each = []
            for bond in bonds:
                model.cut(matrix, bond)
                each.append(self.losses(model.model) - self.uncut)
            added = torch.stack(each)  # (bonds, n, kinds)
            errors = added.std(1) / math.sqrt(added.shape[1])
            found = replace(
                found, matrices=(*found.matrices, matrix), full_bonds=(*found.full_bonds, full),
                added=torch.cat([found.added, added.mean(1)[None]]), errors=torch.cat([found.errors, errors[None]]),
                seconds=time.perf_counter() - start,
            )  # fmt: skip
            yield found

    def map(self, bonds: Sequence[int] = BONDS, progress: Progress | None = None) -> KnowledgeMap:
        """The whole map. `progress` is told what is done, of how much; without it a bar is shown."""
        n_matrices = len(self.lab.layers)
        with shown(progress) as tell:
            for done, found in enumerate(self.maps(bonds)):  # noqa: B007
                tell("measure", done, n_matrices)
        return found

    def _losses(self, logits: Float[Tensor, "n sites v"]) -> Float[Tensor, "n kinds"]:
        return knowledge_losses(self._steps, self._contexts, self._truth, logits)


def _check_language(lm: LanguageModel) -> None:
    if not speaks_known_language(lm):
        raise ValueError(
            f"{lm.name} has {len(lm.tokenizer):,} tokens of its own; what it knows is measured by the words of the "
            "known English, as those of truth-gpt."
        )


def _percent(share: float | Tensor) -> str:
    return f"{float(share):.1%}"
