"""A leader board of explanations, printed: what each scored of what each learner made of the samples."""

import math

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from workbench.explore.board_frame import BoardFrame
from workbench.widgets.axes import legend_text
from workbench.widgets.colours import DROPPED, LEARNER_COLOURS, LEARNER_SHAPES

_SPREAD = 0.9  # of a line, over which its learners lie one below the other


def board_still(frame: BoardFrame) -> Figure:
    """AUC of every explanation, a line each, with the intervals over seeds; where no pairs are planted, the rank
    correlation with the true mutual information.

    A learner has a colour and a shape, and its smaller numbers of samples are hollow. A dotted line is what knowing
    nothing scores. Raises ValueError for a board without a score.
    """
    by_auc = any(row.auc is not None for row in frame.board)
    rows = [(row, row.auc if by_auc else row.rank_correlation) for row in frame.board]
    scored = [(row, score) for row, score in rows if score is not None]
    if not scored:
        raise ValueError(f"nothing on the board of {frame.planted} has a score; run it first.")
    names = list(dict.fromkeys(row.explanation for row, _ in scored))
    learners = list(dict.fromkeys(row.learner for row, _ in scored))
    places = list(dict.fromkeys((row.learner, row.n) for row, _ in scored))
    figure, axes = plt.subplots(figsize=(6.4, 1.2 + 0.3 * len(names)), dpi=70, layout="constrained")
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    for learner, n in places:
        own = [(row, score) for row, score in scored if (row.learner, row.n) == (learner, n)]
        place = learners.index(learner)
        colour, shape = LEARNER_COLOURS[place % len(LEARNER_COLOURS)], LEARNER_SHAPES[place % len(LEARNER_SHAPES)]
        most = max(size for name, size in places if name == learner)
        lines = [names.index(row.explanation) + _SPREAD * ((place + 1) / (len(learners) + 1) - 0.5) for row, _ in own]
        widths = [0.0 if math.isnan(score.half_width) else score.half_width for _, score in own]
        axes.errorbar(
            [score.mean for _, score in own], lines, xerr=widths, lw=1, ms=5,
            fmt=shape.matplotlib, color=colour, mfc=colour if n == most else "none", alpha=0.8,
            label=legend_text(f"{learner}, {n:,} samples" if n else learner),
        )  # fmt: skip
    axes.axvline(0.5 if by_auc else 0.0, color=DROPPED, lw=1, ls=":")
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    told = "AUC of the pairs that depend" if by_auc else "rank correlation with the true mutual information"
    axes.set(xlabel=told, xlim=(0 if by_auc else -1, 1.05))
    axes.set_title(f"{frame.planted}, {frame.n_sites} sites", fontsize=10, parse_math=False)
    axes.grid(alpha=0.2)
    figure.legend(loc="outside lower center", fontsize=8, ncols=1, frameon=False)
    return figure
