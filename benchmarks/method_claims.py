"""What the rows of methods.py say of the claims that were made before they were measured."""

from collections.abc import Callable, Sequence

import numpy as np

Row = dict
PLAIN = "svd, plain metric, uniform"
INPUT = "svd, input metric, uniform"
BEST = "svd (gauge-fixed), two-sided metric, global, compensated"
GLOBAL = "svd (gauge-fixed), two-sided metric, global"
MEASURED = "svd (gauge-fixed), two-sided metric, measured"
MPO = "mpo of 2 sites, plain metric, uniform"
REFITTED = "mpo of 2 sites (refitted), two-sided metric, uniform"


def claims(rows: Sequence[Row]) -> list[dict]:
    """Each claim with what was reached and what was wanted; those whose rows are missing are left out.

    An excess is a perplexity over the dense one's, less 1, its median over the calibration sets.
    """
    found: list[dict] = []

    def add(what: str, value: Callable[[], float], wanted: str) -> None:
        try:
            found.append({"what": what, "value": value(), "wanted": wanted})
        except LookupError:
            print(f"not measured: {what}")

    for model in dict.fromkeys(row["model"] for row in rows):
        excess = _excess(rows, model)
        for kept, wanted in ((0.6, "≤ 0.333"), (0.4, "≤ 0.333"), (0.2, "≤ 0.25")):
            told = wanted if model == "pygpt" else "< 1"
            what = f"{model}, {kept:.0%} kept: excess of the best, untrained, over SVD-LLM(W)'s"
            add(what, lambda kept=kept, excess=excess: excess(BEST, kept) / excess(INPUT, kept), told)
    excess = _excess(rows, "pygpt")
    for kept, wanted in ((0.4, "≤ 0.167"), (0.2, "≤ 0.0833")):
        what = f"pygpt, {kept:.0%} kept: excess of the best, untrained, over plain SVD's"
        add(what, lambda kept=kept: excess(BEST, kept) / excess(PLAIN, kept), wanted)
    for kept in (0.6, 0.4):
        what = f"pygpt, {kept:.0%} kept: excess of the refitted MPO over the plain one's, same shapes"
        add(what, lambda kept=kept: excess(REFITTED, kept) / excess(MPO, kept), "≤ 0.2")
    healed = "pygpt, 20% kept: perplexity of the best, untrained, over that of plain SVD healed for 100 steps"
    add(healed, lambda: (1 + excess(BEST, 0.2)) / (1 + excess(PLAIN, 0.2, True)), "< 1")
    for kept in (0.8, 0.6, 0.4, 0.2):
        what = f"pygpt, {kept:.0%} kept: perplexity of the global budget over that of the measured one"
        add(what, lambda kept=kept: (1 + excess(GLOBAL, kept)) / (1 + excess(MEASURED, kept)), "≤ 1.005")
    add("pygpt: seconds of a global budget", lambda: _allocation(rows), "≤ 0.01")
    return found


def _excess(rows: Sequence[Row], model: str) -> Callable[..., float]:
    def of(method: str, kept: float, healed: bool = False) -> float:
        own = [
            row["ratio"] - 1
            for row in rows
            if (row["model"], row["method"], row["kept"], row["healed"]) == (model, method, kept, healed)
        ]
        if not own:
            raise LookupError(method)
        return float(np.median(own))

    return of


def _allocation(rows: Sequence[Row]) -> float:
    own = [row["cost"]["allocate"] for row in rows if row["model"] == "pygpt" and row["method"] == GLOBAL]
    if not own:
        raise LookupError(GLOBAL)
    return float(np.median(own))
