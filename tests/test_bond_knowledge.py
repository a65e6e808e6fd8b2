"""What bonds know of a known language: kinds that sum to the excess loss exactly, and cuts against cuts by hand."""

import math
from itertools import groupby, pairwise

import hypothesis
import pytest
import torch
from hypothesis import strategies

from workbench import CompressionLab
from workbench.explore.bond_knowledge import BONDS, KnowledgeLab, KnowledgeMap
from workbench.explore.one_cut import OneCut
from workbench.transformer.agreement_scores import agreement_fidelity
from workbench.transformer.grammar_card import said
from workbench.transformer.matrices import shared_copy
from workbench.truth.grammar_agreement import NumberedWords, agreement_cases
from workbench.truth.grammar_english import english
from workbench.truth.grammar_knowledge import KINDS, WordSteps, knowledge_losses
from workbench.truth.grammar_score import excess_loss
from workbench.truth.grammar_stream import GrammarStream
from workbench.truth.sentence_contexts import Contexts, categories
from workbench.widgets.knowledge_still import knowledge_bonds_still, knowledge_still

STEPS = WordSteps.of(english())
ATTRACTOR = "verb number, attractor"
OTHERS = tuple(kind for kind in KINDS if not kind.startswith("verb number"))


@pytest.fixture(scope="module")
def lab() -> KnowledgeLab:
    return KnowledgeLab("truth-gpt", n_streams=12)


@pytest.fixture(scope="module")
def found(lab) -> KnowledgeMap:
    return lab.map((8, 4), lambda *told: None)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    """Distributions over the words of which many are impossible, as the truth's are."""
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(*shape, 399, generator=generator, dtype=torch.float64)
    p = p * (torch.rand(*shape, 399, generator=generator) > 0.6)
    return p / p.sum(-1, keepdim=True)


@hypothesis.given(strategies.integers(0, 2**32 - 1))
@hypothesis.settings(max_examples=20)
def test_the_steps_sum_to_the_divergence_and_none_is_negative(seed):
    p, log_q = drawn(seed, 3), torch.log(drawn(seed + 1, 3) + 1e-9)
    log_q = log_q.log_softmax(-1)
    each = STEPS.divergences(p, log_q)
    whole = (torch.special.xlogy(p, p) - p * log_q).sum(-1)
    assert torch.allclose(each.sum(-1), whole, rtol=1e-12)
    assert bool((each > -1e-12).all())


def test_a_step_is_the_divergence_of_its_branches_where_it_is_taken():
    """Word by word, in plain Python: the number of verbs, and which word of its category."""
    p, q = drawn(1), drawn(2) + 1e-3
    q = q / q.sum()
    category = categories(english())
    by_category: dict[str, list[int]] = {}
    for i, word in enumerate(english().alphabet):
        by_category.setdefault(category[word], []).append(i)
    word, number = 0.0, {True: 0.0, False: 0.0}
    for places in by_category.values():
        own, other = float(p[places].sum()), float(q[places].sum())
        word += sum(float(p[i]) * math.log(float(p[i]) / own / float(q[i]) * other) for i in places if p[i] > 0)
    stems = groupby(sorted(by_category), lambda name: name.removesuffix(".sg").removesuffix(".pl"))
    for stem, names in stems:
        masses = [(float(p[by_category[name]].sum()), float(q[by_category[name]].sum())) for name in names]
        own, other = (sum(side) for side in zip(*masses, strict=True))
        is_verb = stem == "verb" or stem == "copula" or stem.endswith("-verb")
        number[is_verb] += sum(a * math.log(a / own / b * other) for a, b in masses if a > 0)
    each = STEPS.divergences(p, q.log()).tolist()
    assert each[3:] == pytest.approx([number[False], word, number[True]], rel=1e-10)
    stop = english().alphabet.index(".")
    a, b = float(p[stop]), float(q[stop])
    assert each[0] == pytest.approx(
        a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b)) if a else -math.log(1 - b)
    )


def test_knowing_nothing_takes_every_branch_alike():
    even = STEPS.even().exp()
    word = dict(zip(english().alphabet, even.tolist(), strict=True))
    assert even.sum().item() == pytest.approx(1)
    assert word["."] == pytest.approx(1 / 2)
    assert word["is"] == pytest.approx(1 / 2 / 14 / 7 / 2), "14 parts of speech, 7 kinds of verbs, two numbers"
    assert word["he"] == pytest.approx(1 / 2 / 14 / 4 / 2 / 2), "names, it, and two kinds of pronouns; he or she"
    assert word["these"] == pytest.approx(1 / 2 / 14 / 1 / 3 / 7)


def test_categories_are_the_classes_of_words_that_stand_for_one_another():
    category = categories(english())
    classes = GrammarStream(english(), 1)._classes.of_terminal.tolist()
    pairs = set(zip((category[word] for word in english().alphabet), classes, strict=True))
    assert len(pairs) == len(set(category.values())) == len(set(classes)) == 40


def contexts(text: str) -> list[tuple[int, bool, int]]:
    """Before each word of a text: the number of the nearest noun, whether a pair, and the verbs owed."""
    context = Contexts.of(english(), torch.tensor([english().ids(text)]))
    return list(zip(context.nearest[0].tolist(), context.pair[0].tolist(), context.owed[0].tolist(), strict=True))


def test_contexts_by_hand():
    text = "the girls that Anna sees in the house sleep , and Tom and the boys run . today , he"
    found = dict(zip(text.split(), contexts(text), strict=False))  # of a word that comes twice, the last
    assert found["that"] == (2, False, 1)
    assert found["Anna"] == (2, False, 2), "two clauses are begun, and no verb"
    assert found["sees"] == (1, False, 2)
    assert found["sleep"] == (1, False, 1)
    assert contexts("the girls that they see in the house sleep")[-1] == (1, False, 1), (
        "a house is nearer than the girls"
    )
    assert found["Tom"] == (1, False, 1)
    assert found["run"] == (2, True, 1)
    assert contexts("Tom sees Anna and the boy .")[-1] == (1, False, 0), "they are no subject"
    assert contexts("today , he sees")[-1] == (1, False, 1)
    assert contexts("when he sleeps , she runs")[-1] == (1, False, 1)


def test_contexts_agree_with_what_the_truth_allows():
    stream = GrammarStream(english(), 64)
    x = stream.sample(40, torch.Generator().manual_seed(3))
    truth, context = stream.conditionals(x), Contexts.of(english(), x)
    singular, plural = (truth @ verbs.double() for verbs in STEPS.verbs)
    may_verb, may_stop = singular + plural > 0, truth[..., stream.stop] > 0
    assert int(context.owed[may_verb].min()) == 1
    assert context.owed[may_stop].unique().tolist() == [0]
    assert bool((plural > 0)[may_verb & context.pair].all()), "two together are plural"
    assert int(context.nearest[may_verb].min()) == 1, "a verb has a subject before it"
    differs = may_verb & ~context.pair & (context.nearest != 1 + (plural > singular).long())
    assert 20 < int(differs.sum()) < 0.15 * int(may_verb.sum())
    marks = torch.tensor([english().ids(word)[0] for word in ("of", "that", ",")])
    before = torch.stack([torch.isin(x[row, :site], marks).any() for row, site in differs.nonzero().tolist()])
    assert bool(before.all()), "an attractor is in an of-phrase or a relative clause"


# The lab.


def test_the_kinds_of_the_uncut_model_sum_to_its_excess_loss(lab):
    stream = GrammarStream(english(), 64)
    score = excess_loss(stream.conditionals(lab.streams), said(lab.lm, stream.inputs(lab.streams)))
    assert lab.uncut.shape == (12, len(KINDS))
    assert float(lab.uncut.sum(1).mean()) == pytest.approx(score.excess, rel=1e-9)
    assert float(lab.uncut.sum(1).std()) / math.sqrt(12) == pytest.approx(score.error, rel=1e-9)


def test_the_truth_itself_loses_nothing_and_each_kind_alone_what_it_is(lab):
    stream = GrammarStream(english(), 64)
    truth, context = stream.conditionals(lab.streams), Contexts.of(english(), lab.streams)
    assert knowledge_losses(STEPS, context, truth, truth.log()).abs().max() < 1e-12
    swapped = truth[..., NumberedWords.of(english(), nouns=()).other]  # verbs in the other number
    mixed = knowledge_losses(STEPS, context, truth, (0.9 * truth + 0.1 * swapped).log()).mean(0)
    verbs = torch.tensor([kind.startswith("verb number") for kind in KINDS])
    assert float(mixed[~verbs].abs().max()) < 1e-12
    may_verb = truth @ STEPS.verbs.any(0).double()
    assert float(mixed[verbs].sum()) == pytest.approx(-math.log(0.9) * float(may_verb.mean()), rel=1e-9)
    with pytest.raises(ValueError, match=r"the truth is of shape \(12, 64, 399\) .* logits of \(12, 63, 399\)"):
        knowledge_losses(STEPS, context, truth, truth.log()[:, 1:])


def test_a_cell_is_what_the_model_loses_with_one_dense_matrix_cut_by_hand(lab, found):
    model = shared_copy(lab.lm.model)
    weight = model.transformer.h[3].attn.c_attn.weight  # (in, out)
    u, s, vh = torch.linalg.svd(weight.double(), full_matrices=False)
    model.transformer.h[3].attn.c_attn.weight = torch.nn.Parameter(
        ((u[:, :4] * s[:4]) @ vh[:4]).float(), requires_grad=False
    )
    cut = type(lab.lm)("by hand", "", model, lab.lm.tokenizer)
    added = lab.losses(cut) - lab.uncut
    row, column = found.matrices.index("blocks.3.attn.W_QKV"), found.bonds.index(4)
    assert found.added[row, column].tolist() == pytest.approx(added.mean(0).tolist(), rel=2e-3, abs=1e-6)
    expected = (added.std(0) / math.sqrt(12)).tolist()
    assert found.errors[row, column].tolist() == pytest.approx(expected, rel=2e-3, abs=1e-6)
    assert found.added.shape == (16, 2, len(KINDS))


def test_at_full_bonds_nothing_is_added_and_the_labs_bonds_stay(lab):
    inner = CompressionLab.from_model(lab.lm)
    inner.decompose("svd", "plain", progress=lambda *told: None)
    inner.bond["blocks.0.mlp.W_in"] = 7
    own = KnowledgeLab(inner, n_streams=2)
    maps = list(own.maps((128,)))
    assert [len(each.matrices) for each in maps] == list(range(17))
    assert all(a.matrices == b.matrices[:-1] for a, b in pairwise(maps))
    assert float(maps[-1].added.abs().max()) < 1e-5
    assert inner.bond["blocks.0.mlp.W_in"] == 7


def test_agreement_across_attractors_dies_alone_when_the_last_attention_is_cut(lab, found):
    """The same by cases of which no stream was chosen: the right verb is found beside its noun, not across another."""
    assert ("blocks.3.attn.W_QKV", 4) in found.dies_alone(ATTRACTOR, OTHERS)
    lost = found.at("blocks.3.attn.W_QKV", 4)
    assert lost[ATTRACTOR] > 0.7
    assert max(lost[kind] for kind in OTHERS) < 0.05
    row, column, kind = found.matrices.index("blocks.3.attn.W_QKV"), found.bonds.index(4), KINDS.index(ATTRACTOR)
    whole = float(found.added[row, column].sum() - found.added[row, column, kind])
    others = whole / float(found.nothing.sum() - found.nothing[kind])
    assert float(found.selectivity[row, column, kind]) == pytest.approx(lost[ATTRACTOR] - others)
    model, words = OneCut(lab.lab), NumberedWords.of(english())
    model.cut("blocks.3.attn.W_QKV", 4)
    across, near = (
        agreement_fidelity(
            model.model, words, agreement_cases(english(), words, 150, torch.Generator().manual_seed(1), which)
        )
        for which in (True, False)
    )
    assert near.right.value - across.right.value > 4 * math.hypot(near.right.error, across.right.error)
    assert across.error.value > 2 * near.error.value


def test_a_map_is_told_in_words(found):
    lines = str(found).split("\n")
    assert lines[0].startswith(
        "truth-gpt: the share of each kind of knowledge that is lost when one matrix is cut to 4"
    )
    assert lines[2].split()[:2] == ["uncut", "0.0%"]
    assert lines[3 + found.matrices.index("blocks.1.mlp.W_in")].split()[0] == "blocks.1.mlp.W_in"
    assert "7 verb number, attractor" in lines[-2]
    assert "12 streams of 64 words" in lines[-1]
    assert max(BONDS) < 128


def test_what_is_no_cell_kind_or_lab_is_refused(lab, found):
    with pytest.raises(ValueError, match=r"'blocks.9.W' at bond 4 is no cell of this map; its matrices are blocks.0"):
        found.at("blocks.9.W", 4)
    with pytest.raises(ValueError, match=r"at bond 5 is no cell of this map; .* its bonds 8, 4"):
        found.table(5)
    with pytest.raises(ValueError, match="'verbs' is no kind of knowledge here; they are sentence end; part of"):
        found.dies_alone(ATTRACTOR, ("word", "verbs"))
    with pytest.raises(ValueError, match="1 stream has no standard error; give 2 or more"):
        KnowledgeLab("truth-gpt", n_streams=1)
    with pytest.raises(ValueError, match=r"attn2 has .* tokens of its own; what it knows is measured by the words of"):
        KnowledgeLab("attn2")
    with pytest.raises(ValueError, match="the lab is decomposed in the plain metric and 'input' was asked for"):
        KnowledgeLab(lab.lab, "input")
    with pytest.raises(ValueError, match="no bonds are given; give one or more"):
        next(lab.maps(()))
    with pytest.raises(ValueError, match="129"):
        next(lab.maps((4, 129)))


def test_progress_is_told_from_none_to_all(lab):
    told = []
    lab.map((128,), lambda *what: told.append(what))
    assert told == [("measure", done, 16) for done in range(17)]


# The printed twins.


def boxes(figure) -> list:
    figure.canvas.draw()
    axes = figure.axes[0]
    labels = [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label]
    return [label.get_window_extent() for label in labels]


def test_the_still_shows_the_share_of_every_cell(found):
    figure = knowledge_still(found, 4)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == [
        "uncut: lost already", "blocks.0.attn.W_QKV (128)",
    ]  # fmt: skip
    texts = [text.get_text() for text in axes.texts]
    assert len(texts) == 17 * len(KINDS)
    row = found.matrices.index("blocks.3.attn.W_QKV") + 1
    assert texts[row * len(KINDS) + KINDS.index(ATTRACTOR)] == f"{found.at('blocks.3.attn.W_QKV', 4)[ATTRACTOR]:.2f}"
    assert "bond 4" in figure.get_suptitle()
    bonds = knowledge_bonds_still(found, "blocks.3.attn.W_QKV").axes[0]
    assert [label.get_text() for label in bonds.get_yticklabels()][1:] == ["bond 8", "bond 4"]
    assert [text.get_text() for text in bonds.texts][-len(KINDS) :] == texts[row * len(KINDS) :][: len(KINDS)]


def test_no_two_numbers_or_labels_of_the_still_overlap(found):
    for figure in (knowledge_still(found, 8), knowledge_bonds_still(found, "blocks.0.mlp.W_in")):
        numbers = boxes(figure)[: len(figure.axes[0].texts)]
        assert not any(a.overlaps(b) for i, a in enumerate(numbers) for b in numbers[:i])


def test_a_still_of_nothing_is_refused(lab, found):
    with pytest.raises(ValueError, match="no matrix of truth-gpt is measured yet; take a later map"):
        knowledge_still(next(lab.maps((4,))), 4)
    with pytest.raises(ValueError, match="at bond 7 is no cell of this map"):
        knowledge_still(found, 7)
    with pytest.raises(ValueError, match="'W' at bond 8 is no cell of this map"):
        knowledge_bonds_still(found, "W")
