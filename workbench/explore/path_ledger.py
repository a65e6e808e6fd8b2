"""The path ledger looked at: paths sorted by what they contribute at some positions, and one of them opened."""

import math
from dataclasses import dataclass

from workbench.diagram.scene import Scene
from workbench.explore.inspect import TensorFrame, inspected
from workbench.transformer.anatomy import Anatomy
from workbench.transformer.ledger import Ledger, NormsHidden, ledger_of
from workbench.transformer.load import LanguageModel
from workbench.transformer.view import Tokens

SORTS = ("share of the logits", "share of the right logit", "name")
FAVOURED = 5  # tokens told of a path


@dataclass(frozen=True)
class LedgerRow:
    """One path's numbers over the positions chosen; see `ledger.Share`."""

    name: str
    kind: str
    share: float
    size: float
    right: float


@dataclass(frozen=True, eq=False)
class LedgerFrame:
    """Every path over some positions, in order, and one of them opened.

    `share` of all rows sums to one, `right` to `total_right` (see `ledger.Share`). `error` is the largest relative
    error of the sum of all paths against the logits, at position `error_at`. `shown` is the selected path's pattern,
    (t, s), that of two heads being their product; of a path without heads its logits, centred over the vocabulary.
    `favoured` are the tokens that the selected path raises most, and by how much on average, centred likewise.
    """

    model: str
    first: int
    last: int
    n_positions: int
    sort: str
    rows: tuple[LedgerRow, ...]
    selected: str
    total_right: float
    error: float
    error_at: int
    hidden: NormsHidden
    scene: Scene
    shown: TensorFrame
    favoured: tuple[tuple[str, float], ...]

    @property
    def row(self) -> LedgerRow:
        """The selected path's."""
        return next(row for row in self.rows if row.name == self.selected)

    @property
    def reach(self) -> tuple[float, float]:
        """The largest magnitudes of `share` and of `right`: how long the longest bar is."""
        columns = ([row.share for row in self.rows], [row.right for row in self.rows])
        share, right = (max(map(abs, own)) for own in columns)
        return share, right

    @property
    def equation(self) -> str:
        """What the sum of all paths is true to."""
        return (
            f"the sum of {len(self.rows)} paths is the logits: largest relative error {self.error:.1e}, at position "
            f"{self.error_at} of {self.n_positions}"
        )

    def __str__(self) -> str:
        wide = max(len("all paths"), *(len(row.name) for row in self.rows))
        lines = [
            f"{self.model}: {self.equation}",
            f"over positions {self.first} to {self.last}, by {self.sort}; logits less their mean over the vocabulary",
            f"{'path':<{wide}}  {'share':>8}  {'size':>8}  {'right logit':>11}",
        ]
        for row in self.rows:
            mark = "  ←" if row.name == self.selected else ""
            lines.append(f"{row.name:<{wide}}  {row.share:>8.2%}  {row.size:>8.2%}  {row.right:>+11.3f}{mark}")
        share = math.fsum(row.share for row in self.rows)
        lines.append(f"{'all paths':<{wide}}  {share:>8.2%}  {'':>8}  {self.total_right:>+11.3f}")
        return "\n".join([*lines, str(self.hidden)])


class LedgerLab:
    """The ledger of a model on some tokens, to be sorted, narrowed to some positions, and opened path by path.

    Every path is computed once, when this is built. Raises ValueError as `ledger_of` does.
    """

    def __init__(self, model: LanguageModel | Anatomy, tokens: Tokens) -> None:
        self.model = model
        self.ledger: Ledger = ledger_of(model, tokens)
        self._sort = SORTS[0]
        self._first, self._last = 0, self.n_positions - 1
        self._opened: dict[str, TensorFrame] = {}
        self._selected = ""
        self._selected = self.rows()[0].name

    @property
    def n_positions(self) -> int:
        """How many tokens there are."""
        return len(self.ledger.run.tokens)

    @property
    def sort(self) -> str:
        """What rows are sorted by, one of `SORTS`: the largest magnitude first, or names in the order of the paths."""
        return self._sort

    @sort.setter
    def sort(self, by: str) -> None:
        if by not in SORTS:
            raise ValueError(f"rows are not sorted by {by!r}; they are by {', '.join(SORTS)}.")
        self._sort = by

    @property
    def selected(self) -> str:
        """The path that is opened."""
        return self._selected

    @selected.setter
    def selected(self, name: str) -> None:
        self._selected = self.ledger.path(name).name

    @property
    def positions(self) -> tuple[int, int]:
        """The first and the last position that numbers are taken over."""
        return self._first, self._last

    @positions.setter
    def positions(self, span: tuple[int, int]) -> None:
        first, last = span
        self.ledger.span(first, last)
        self._first, self._last = first, last

    def rows(self) -> tuple[LedgerRow, ...]:
        """Every path's numbers over the present positions, sorted."""
        made = []
        for path in self.ledger.paths:
            own = self.ledger.share(path.name, self._first, self._last)
            made.append(LedgerRow(path.name, path.kind, own.share, own.size, own.right))
        if self._sort == SORTS[0]:
            made.sort(key=lambda row: -abs(row.share))
        elif self._sort == SORTS[1]:
            made.sort(key=lambda row: -abs(row.right))
        return tuple(made)

    def scene(self, name: str) -> Scene:
        """The drawing of a path."""
        return self.ledger.path(name).diagram.scene

    def frame(self) -> LedgerFrame:
        """Everything there is to show of the present state."""
        ledger, name = self.ledger, self._selected
        return LedgerFrame(
            ledger.name,
            self._first,
            self._last,
            self.n_positions,
            self._sort,
            self.rows(),
            name,
            ledger.total_right(self._first, self._last),
            ledger.error,
            int(ledger.off.argmax()),
            ledger.hidden,
            self.scene(name),
            self._shown(name),
            self._favoured(name),
        )

    def _shown(self, name: str) -> TensorFrame:
        if name not in self._opened:
            path, run = self.ledger.path(name), self.ledger.run
            if path.heads:
                array = run.pattern(*path.heads[0])
                for head in path.heads[1:]:
                    array = run.pattern(*head) @ array
                self._opened[name] = inspected({f"pattern {name}": array}, f"pattern {name}", ("t", "s"))
            else:
                array = path.centred_logits()
                self._opened[name] = inspected({f"logits of {name}": array}, f"logits of {name}", ("t", "v"))
        return self._opened[name]

    def _favoured(self, name: str) -> tuple[tuple[str, float], ...]:
        mean = self.ledger.path(name).centred_logits()[self._first : self._last + 1].mean(0)
        top = mean.topk(min(FAVOURED, len(mean)))
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return tuple((self._token(token), value) for token, value in pairs)

    def _token(self, token: int) -> str:
        if not isinstance(self.model, LanguageModel):
            return str(token)
        return str(self.model.tokenizer.decode([token]))
