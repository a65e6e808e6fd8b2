"""What the heads of real models do, with controls, and how bilinear their MLPs are: the records of circuits.py."""

from torch import Tensor

from workbench import LanguageModel
from workbench.transformer.ablation import second_copy_accuracy
from workbench.transformer.bilinear import bilinear_error
from workbench.transformer.circuit_tables import copying_scores
from workbench.transformer.composition import Head, composition_scores
from workbench.transformer.controls import untrained
from workbench.transformer.head_scores import BEHAVIOURS, HeadScores, head_table
from workbench.transformer.probe_rows import longest_period, repeat_rows
from workbench.transformer.reading import anatomy_of
from workbench.transformer.score_parts import score_shares


def heads_of(lm: LanguageModel, n_rows: int = 64, n_best: int = 3) -> dict[str, object]:
    """The best heads of each behaviour with both controls, what they are made of, and what is lost without heads."""
    period = longest_period(lm)
    table, rows = head_table(lm, period, n_rows), repeat_rows(lm, n_rows, period, seed=1)
    found: dict[str, object] = {"period": period, "rows": n_rows}
    for behaviour in BEHAVIOURS:
        found[behaviour] = {"repeats": _told(table.repeats, behaviour, n_best)} | {
            name: _told(control, behaviour, 1)
            for name, control in (("plain", table.plain), ("untrained", table.untrained))
            if control is not None
        }
    anatomy, best = anatomy_of(lm), table.repeats.strongest("induction", 1)[0].head
    copying = dict(zip(map(_name, anatomy.heads), copying_scores(anatomy).tolist(), strict=True))
    return found | {
        "second_copy_accuracy": accuracies(lm, rows, table.repeats),
        "copying": copying,
        "composition": [str(one) for one in composition_scores(anatomy).strongest(n_best)],
        f"scores of head {_name(best)}": [str(one) for one in score_shares(lm, *best, rows[0]).strongest(n_best)],
    }


def accuracies(lm: LanguageModel, rows: Tensor, scores: HeadScores) -> dict[str, object]:
    """The accuracy on the second copy of the whole model, of it untrained, without each head, and without the two that
    score highest for induction: beside it, without the two of the same layer that score lowest."""
    ranked = [one.head for one in scores.strongest("induction", len(scores.heads))]
    beside = [head for head in ranked if head[0] == ranked[0][0]]
    without = {"best 2 for induction": ranked[:2], "least 2 of that layer": beside[-2:]}
    without |= {_name(head): [head] for head in scores.heads}
    return {
        "whole": second_copy_accuracy(lm, rows, scores.period),
        "untrained": second_copy_accuracy(untrained(lm), rows, scores.period),
        "without": {
            name: {by: second_copy_accuracy(lm, rows, scores.period, taken, by) for by in ("zero", "mean")}
            for name, taken in without.items()
        },
    }


def _told(scores: HeadScores, behaviour: str, n: int) -> dict[str, float]:
    return {_name(one.head): one.score for one in scores.strongest(behaviour, n)}


def _name(head: Head) -> str:
    return f"{head[0]}.{head[1]}"


def mlps_of(lm: LanguageModel, text: str) -> dict[str, object]:
    """How far the bilinear term of each gated MLP is from it on a text, by block; nothing where none has a gate."""
    blocks = anatomy_of(lm).blocks
    gated = [layer for layer, block in enumerate(blocks) if block.mlp is not None and block.mlp.W_gate is not None]
    errors = {layer: bilinear_error(lm, layer, text) for layer in gated}
    return {
        f"blocks.{layer}": {"error": one.error, "cosine": one.cosine, "gates": one.gates}
        for layer, one in errors.items()
    }
