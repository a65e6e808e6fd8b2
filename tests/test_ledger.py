"""The path ledger: its paths sum to the logits whatever the model, each is what a second way says, and refusals."""

import math
from dataclasses import replace

import pytest
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_attention_only import model as attention_only
from torch import Tensor

from workbench import LanguageModel, load
from workbench.diagram.defects import defects
from workbench.explore.path_ledger import SORTS, LedgerLab
from workbench.rounding import largest_relative_error, tolerance
from workbench.transformer.anatomy import Anatomy, Attention, Block, Norm
from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.capture import activations
from workbench.transformer.frozen import frozen_run
from workbench.transformer.ledger import Ledger, ledger_of
from workbench.transformer.reading import anatomy_of
from workbench.transformer.repeats import repeated_tokens
from workbench.transformer.view import view
from workbench.transformer.weight import Weight

D, K, V = 12, 3, 11


def random_anatomy(
    n_layers: int = 2,
    norm: str = "LN",
    biases: bool = True,
    groups: tuple[int, int] | None = None,
    positions: bool = True,
    dtype: torch.dtype = torch.float64,
) -> Anatomy:
    """A random attention-only model of 3 heads a layer, or of g · m heads of which m share keys and values."""
    generator = torch.Generator().manual_seed(11)

    def made(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    def normed() -> Norm | None:
        if norm == "none":
            return None
        return Norm(norm, 1 + 0.3 * made(D), 0.5 * made(D) if norm == "LN" and biases else None, 1e-5)

    def attention() -> Attention:
        queries, keys, legs, own = (3,), (3,), "h", "h"
        if groups is not None:
            queries, keys, legs, own = groups, groups[:1], "gm", "g"
        bias = [made(*queries, K), made(*keys, K), made(*keys, K), made(D)] if biases else [None] * 4
        return Attention(
            Weight.of("W_Q", (*legs, "k", "d"), made(*queries, K, D)),
            Weight.of("W_K", (*own, "k", "d"), made(*keys, K, D)),
            Weight.of("W_V", (*own, "k", "d"), made(*keys, K, D)),
            Weight.of("W_O", (*legs, "d", "k"), made(*queries, D, K)),
            K**-0.5,
            *bias,
        )

    blocks = tuple(Block(attention(), normed()) for _ in range(n_layers))
    W_E, W_U = Weight.of("W_E", "dv", made(D, V)), Weight.of("W_U", "vd", made(V, D))
    W_pos = made(9, D) if positions else None
    return Anatomy("random", W_E, W_U, blocks, 9, W_pos=W_pos, ln_final=normed())


def row(n: int = 7, vocabulary: int = V) -> Tensor:
    return torch.randint(vocabulary, (n,), generator=torch.Generator().manual_seed(3))


def tiny(dtype: torch.dtype = torch.float32) -> LanguageModel:
    return LanguageModel("tiny", "tiny", attention_only().to(dtype), tiny_models.tokenizer())


def assert_sums_to(ledger: Ledger, wanted: Tensor) -> None:
    found = torch.zeros_like(wanted)
    for path in ledger.paths:
        found = found + path.logits()
    error = largest_relative_error(wanted, found)
    assert error <= tolerance(wanted.dtype), f"the paths are {error:.1e} from the logits"
    assert ledger.error <= tolerance(wanted.dtype)
    shares = [ledger.share(path.name) for path in ledger.paths]
    assert math.fsum(share.share for share in shares) == pytest.approx(1, abs=10 * tolerance(wanted.dtype))
    assert math.fsum(share.right for share in shares) == pytest.approx(ledger.total_right(), abs=1e-4)


# ---- the law


def test_the_hand_built_induction_head_is_four_paths_and_two_of_them_write_no_logits():
    tokens = repeated_tokens(1, 12, 13)[0]
    model = induction_by_hand()
    ledger = ledger_of(model, tokens)
    assert [path.name for path in ledger.paths] == ["direct", "0.0", "1.0", "0.0 → 1.0"]
    assert [path.kind for path in ledger.paths] == ["direct", "head", "head", "virtual head"]
    assert_sums_to(ledger, view(model, "model", tokens).result())
    for name in ("0.0", "0.0 → 1.0"):  # all that head 0.0 does, it does in the pattern of 1.0
        assert float(ledger.path(name).logits().abs().max()) < 1e-10
    # In the second copy, 1.0 attends to the token that came next before, and raises it by 2 of 13 tokens' logits.
    assert ledger.share("1.0", 13).right == pytest.approx(2 - 2 / 13)


@settings(max_examples=30)
@given(
    n_layers=st.sampled_from([1, 2]),
    norm=st.sampled_from(["LN", "RMS", "none"]),
    biases=st.booleans(),
    groups=st.sampled_from([None, (2, 3)]),
    positions=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_the_paths_of_any_model_sum_to_its_logits(n_layers, norm, biases, groups, positions, dtype):
    model = random_anatomy(n_layers, norm, biases, groups, positions, dtype)
    ledger, n_heads = ledger_of(model, row()), 3 if groups is None else 6
    if norm == "RMS" and dtype == torch.float64:  # which the views take in float32
        wanted = by_formula(model, row())
    else:
        wanted = view(model, "model", row()).result()
    assert_sums_to(ledger, wanted)
    assert len(ledger.paths) == 1 + n_layers * n_heads + (n_layers - 1) * n_heads**2 + biases


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("norm", ["LN", "none"])
@pytest.mark.parametrize("groups", [None, (2, 1)])
def test_every_kind_of_path_is_drawn_without_a_fault(n_layers, norm, groups):
    paths = ledger_of(random_anatomy(n_layers, norm, True, groups), row()).paths
    one_of_each = {path.kind: path for path in paths}
    assert set(one_of_each) == {"direct", "head", "biases"} | ({"virtual head"} if n_layers == 2 else set())
    for path in one_of_each.values():
        assert defects(path.diagram.scene) == (), path.name


def by_formula(model: Anatomy, tokens: Tensor) -> Tensor:
    """The logits of a model with RMSNorms, in plain torch and float64."""

    def normed(norm: Norm | None, x: Tensor) -> Tensor:
        assert norm is not None
        return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.gain

    def bias(own: Tensor | None) -> Tensor | float:
        return 0.0 if own is None else own

    x = model.W_E.dense().mT[tokens]
    x = x if model.W_pos is None else x + model.W_pos[: len(tokens)]
    for block in model.blocks:
        read, written = normed(block.ln1, x), torch.zeros_like(x)
        for index in range(block.attn.n_heads):
            head = block.attn.head(index)
            q = read @ head.W_Q.dense().mT + bias(head.b_Q)
            k = read @ head.W_K.dense().mT + bias(head.b_K)
            v = read @ head.W_V.dense().mT + bias(head.b_V)
            scores = (q @ k.mT * head.scale).masked_fill(torch.ones(len(x), len(x)).triu(1).bool(), -math.inf)
            written += scores.softmax(-1) @ v @ head.W_O.dense().mT
        x = x + written + bias(block.attn.b_O)
    return normed(model.ln_final, x) @ model.W_U.dense().mT


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_paths_of_a_loaded_model_sum_to_the_logits_it_gives_itself(dtype):
    lm = tiny(dtype)
    tokens = tiny_models.tokens()[0]
    ledger = ledger_of(lm, tokens)
    assert len(ledger.paths) == 1 + 8 + 16 + 1
    assert_sums_to(ledger, activations(lm, tokens)["logits"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_paths_of_the_shipped_attention_only_model_sum_to_its_logits(repository, dtype):
    if not (repository / "data" / "attn2" / "config.json").exists():
        pytest.skip("data/attn2 is not in this checkout")
    lm = load("attn2", "cpu")
    lm.model.to(dtype)
    tokens = repeated_tokens(1, 20, 53)[0]
    ledger = ledger_of(lm, tokens)
    assert_sums_to(ledger, activations(lm, tokens)["logits"])
    assert ledger.total_right(21) > ledger.total_right(0, 19)


def test_rotary_positions_and_grouped_heads_of_a_llama_without_mlps_are_in_the_patterns_alone():
    whole = anatomy_of(tiny_models.llama())
    model = replace(whole, blocks=tuple(replace(block, mlp=None, ln2=None) for block in whole.blocks))
    tokens = tiny_models.tokens()[1]
    ledger = ledger_of(model, tokens)
    assert len(ledger.paths) == 1 + 8 + 16
    assert_sums_to(ledger, view(model, "model", tokens).result())


def test_weights_that_are_cut_stay_factors_in_the_diagrams_of_paths():
    model = random_anatomy()
    generator = torch.Generator().manual_seed(5)

    def factors(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    blocks = []
    for block in model.blocks:
        heads = {"h": 3, "k": K}
        W_V = Weight.pair("W_V", heads, {"d": D}, (factors(3 * K, 2), factors(2, D)), "W_QKV.R")
        W_O = Weight.pair("W_O", {"d": D}, heads, (factors(D, 2), factors(2, 3 * K)), "W_O.R")
        cut = replace(block.attn, W_V=W_V.with_legs("hkd"), W_O=W_O.with_legs("hdk"))
        blocks.append(replace(block, attn=cut))
    model = replace(model, blocks=tuple(blocks))
    ledger = ledger_of(model, row())
    assert_sums_to(ledger, view(model, "model", row()).result())
    assert {"W_QKV.R·1.2", "W_V.L·1.2"} <= set(ledger.path("0.1 → 1.2").diagram.arrays)
    for name in ("1.2", "0.1 → 1.2", "biases"):
        assert defects(ledger.path(name).diagram.scene) == (), name


# ---- second ways to single paths


def only(model: Anatomy, heads: set[tuple[int, int]]) -> Anatomy:
    """The model whose other heads write nothing."""
    blocks = []
    for layer, block in enumerate(model.blocks):
        kept = torch.tensor([float((layer, head) in heads) for head in range(3)], dtype=torch.float64)
        blocks.append(replace(block, attn=replace(block.attn, W_O=block.attn.W_O.scaled("h", kept))))
    return replace(model, blocks=tuple(blocks))


@pytest.mark.parametrize("norm", ["LN", "RMS", "none"])
def test_a_path_is_what_its_heads_add_while_patterns_and_scales_are_held(norm):
    model = random_anatomy(norm=norm, biases=False)
    run = frozen_run(model, row())
    ledger = ledger_of(model, row())

    def held(*heads: tuple[int, int]) -> Tensor:
        return frozen_run(only(model, set(heads)), row(), run.scales, run.patterns).logits

    first, second = (0, 1), (1, 2)
    wanted = {
        "direct": held(),
        "0.1": held(first) - held(),
        "1.2": held(second) - held(),
        "0.1 → 1.2": held(first, second) - held(first) - held(second) + held(),
    }
    for name, logits in wanted.items():
        assert largest_relative_error(logits, ledger.path(name).logits()) < 1e-10, name


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("norm", ["LN", "none"])
def test_the_biases_are_the_logits_of_a_model_that_embeds_nothing_while_patterns_and_scales_are_held(norm, n_layers):
    model = random_anatomy(n_layers, norm)
    run = frozen_run(model, row())
    assert model.W_pos is not None
    nothing = replace(model, W_E=Weight.of("W_E", "dv", 0 * model.W_E.dense()), W_pos=0 * model.W_pos)
    wanted = frozen_run(nothing, row(), run.scales, run.patterns).logits
    assert largest_relative_error(wanted, ledger_of(model, row()).path("biases").logits()) < 1e-10


@pytest.mark.parametrize(
    ("layer", "kept"), [(0, "b_O"), (1, "b_O"), (None, "final shift"), (0, "b_V")], ids=lambda value: str(value)
)
def test_a_single_bias_anywhere_is_the_whole_of_the_biases_path(layer, kept):
    model = random_anatomy(norm="LN", biases=False)
    bias = torch.randn(D, dtype=torch.float64)
    if layer is None:
        assert model.ln_final is not None
        model = replace(model, ln_final=replace(model.ln_final, shift=bias))
    else:
        value = {"b_O": bias} if kept == "b_O" else {"b_V": torch.randn(3, K, dtype=torch.float64)}
        blocks = list(model.blocks)
        blocks[layer] = replace(blocks[layer], attn=replace(blocks[layer].attn, **value))
        model = replace(model, blocks=tuple(blocks))
    ledger = ledger_of(model, row())
    assert ledger.paths[-1].name == "biases"
    assert defects(ledger.paths[-1].diagram.scene) == ()
    assert_sums_to(ledger, view(model, "model", row()).result())


def test_shares_are_those_of_centred_logits_at_the_positions_asked_for():
    ledger = ledger_of(random_anatomy(), row())
    total = ledger.run.logits - ledger.run.logits.mean(-1, keepdim=True)
    own = ledger.path("0.2").logits()
    own = own - own.mean(-1, keepdim=True)
    found = ledger.share("0.2", 2, 4)
    assert found.share == pytest.approx(float((own * total)[2:5].sum() / total[2:5].square().sum()))
    assert found.size == pytest.approx(float(own[2:5].square().sum() / total[2:5].square().sum()))
    assert found.right == pytest.approx(sum(float(own[t, row()[t + 1]]) for t in (2, 3, 4)) / 3)
    assert ledger.share("0.2", 3).right == pytest.approx(sum(float(own[t, row()[t + 1]]) for t in (3, 4, 5)) / 3)


def test_a_constant_added_to_all_logits_of_a_path_is_no_share():
    model = random_anatomy()
    lifted = replace(model, W_U=Weight.of("W_U", "vd", model.W_U.dense() + torch.randn(D, dtype=torch.float64)))
    for name in ("direct", "0.0 → 1.1", "biases"):
        before, after = (ledger_of(own, row()).share(name) for own in (model, lifted))
        assert (after.share, after.size, after.right) == pytest.approx((before.share, before.size, before.right))


def test_no_path_makes_a_matrix_of_the_residual_stream():
    model, n = random_anatomy(), 4
    for path in ledger_of(model, row(n)).paths:
        assert path.diagram.cost().largest_intermediate <= max(n * D, n * V, 3 * n * K * 3) < D * D, path.name


# ---- what the norms hide


def test_the_scales_of_norms_are_the_deviations_of_the_models_own_stream():
    lm, tokens = tiny(torch.float64), tiny_models.tokens()[0]
    own = activations(lm, tokens)
    streams = [own["blocks.0.resid_pre"], own["blocks.1.resid_pre"], own["blocks.1.resid_post"]]
    for found, stream in zip(ledger_of(lm, tokens).hidden.scales, streams, strict=True):
        wanted = (stream.var(-1, correction=0) + 1e-5).sqrt()
        numbers = (wanted.min(), wanted.max(), wanted.mean(), wanted.std(correction=0) / wanted.mean())
        assert (found.low, found.high, found.mean, found.spread) == pytest.approx([float(x) for x in numbers])


def test_one_scale_for_all_positions_changes_the_logits_as_a_second_way_says():
    model = random_anatomy(1, biases=False)
    run = frozen_run(model, row())
    scales = [scale.mean() for scale in run.scales if scale is not None]
    assert model.ln_final is not None
    assert model.blocks[0].ln1 is not None

    def centred(x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True)

    read = centred(run.embedded) / scales[0] * model.blocks[0].ln1.gain
    stream = run.embedded.clone()
    for head in range(3):
        own = model.head(0, head)
        stream += run.pattern(0, head) @ read @ own.W_V.dense().mT @ own.W_O.dense().mT
    logits = centred(stream) / scales[1] * model.ln_final.gain @ model.W_U.dense().mT
    wanted = centred(run.logits)
    change = torch.linalg.vector_norm(centred(logits) - wanted) / torch.linalg.vector_norm(wanted)
    hidden = ledger_of(model, row()).hidden
    assert hidden.frozen_error == pytest.approx(float(change))
    assert hidden.live_error != pytest.approx(hidden.frozen_error)


def test_a_model_without_norms_hides_nothing():
    hidden = ledger_of(induction_by_hand(), torch.tensor([0, 1, 2])).hidden
    assert (hidden.scales, hidden.frozen_error, hidden.live_error) == ((), 0.0, 0.0)
    assert str(hidden) == "no norms: nothing but the patterns is frozen"


# ---- the lab


def test_rows_are_sorted_by_what_is_asked_and_the_frame_prints_them_all():
    lab = LedgerLab(tiny(), tiny_models.tokens()[0])
    shares = [abs(row.share) for row in lab.frame().rows]
    assert shares == sorted(shares, reverse=True)
    lab.sort = "share of the right logit"
    rights = [abs(row.right) for row in lab.frame().rows]
    assert rights == sorted(rights, reverse=True)
    lab.sort = "name"
    frame = lab.frame()
    assert [row.name for row in frame.rows[:3]] == ["direct", "0.0", "0.1"]
    assert frame.rows[-1].name == "biases"
    printed = str(frame).split("\n")
    assert [line.split("  ")[0] for line in printed[3:-5]] == [row.name for row in frame.rows]
    assert printed[-5].split()[2] == "100.00%"
    assert float(printed[-5].split()[3]) == pytest.approx(frame.total_right, abs=1e-3)
    assert f"{frame.error:.1e}, at position {frame.error_at} of 16" in printed[0]
    assert float(lab.ledger.off[frame.error_at]) == frame.error > 0


def test_an_opened_path_shows_where_it_moves_what_and_which_tokens_it_raises():
    lm = tiny()
    lab = LedgerLab(lm, tiny_models.tokens()[0])
    lab.selected = "0.3 → 1.2"
    frame, run = lab.frame(), lab.ledger.run
    wanted = run.pattern(1, 2) @ run.pattern(0, 3)
    torch.testing.assert_close(torch.tensor(frame.shown.heatmap, dtype=torch.float32), wanted)
    assert frame.scene is lab.ledger.path("0.3 → 1.2").diagram.scene
    mean = lab.ledger.path("0.3 → 1.2").centred_logits().mean(0)
    assert frame.favoured[0] == (lm.tokenizer.decode([int(mean.argmax())]), pytest.approx(float(mean.max())))
    lab.selected = "biases"
    assert lab.frame().shown.columns == ("v",)
    assert lab.frame().row.name == "biases"


def test_narrower_positions_change_the_numbers_and_the_equation_stays():
    lab = LedgerLab(induction_by_hand(), repeated_tokens(1, 12, 13)[0])
    before = lab.frame()
    lab.positions = (13, 24)
    after = lab.frame()
    assert (after.first, after.last) == (13, 24)
    assert after.total_right > before.total_right
    assert (after.error, after.error_at) == (before.error, before.error_at)


# ---- refusals


def test_a_model_with_mlps_is_refused_and_told_what_there_is():
    with pytest.raises(ValueError, match=r"block 0 of tiny-gpt2 has an MLP.*attention-only models, such as load"):
        ledger_of(tiny_models.gpt2(), tiny_models.tokens()[0])
    deeper = anatomy_of(tiny_models.gpt2())
    with pytest.raises(ValueError, match="block 0 of tiny-gpt2 has an MLP"):
        ledger_of(replace(deeper, blocks=deeper.blocks * 2), tiny_models.tokens()[0])


def test_three_layers_are_refused():
    with pytest.raises(ValueError, match="random has 3 layers; paths are listed for 1 or 2"):
        ledger_of(random_anatomy(3), row())


def test_a_single_token_has_nothing_after_it():
    with pytest.raises(ValueError, match="1 token was given; a ledger needs 2 or more"):
        ledger_of(random_anatomy(), row(1))


def test_what_is_not_there_is_said():
    lab = LedgerLab(random_anatomy(), row())
    with pytest.raises(
        ValueError, match=r"random has no path '0\.3'; it has 17: direct, 0\.0, 0\.1, 0\.2, 1\.0, 1\.1 …"
    ):
        lab.selected = "0.3"
    with pytest.raises(
        ValueError, match="positions 6 to 6 are none of 0 to 6 that a token comes after; the first is 0 to 5"
    ):
        lab.positions = (6, 6)
    with pytest.raises(ValueError, match="positions 4 to 3"):
        lab.positions = (4, 3)
    with pytest.raises(ValueError, match=f"rows are not sorted by 'size'; they are by {SORTS[0]}"):
        lab.sort = "size"
    assert (lab.positions, lab.sort) == ((0, 6), SORTS[0])


def test_norms_hide_nothing_where_the_logits_tell_no_tokens_apart():
    lm = load("attn2", "cpu")
    lm.model.lm_head.weight.data.zero_()
    assert ledger_of(lm, [1, 2, 3]).hidden.live_error == 0
