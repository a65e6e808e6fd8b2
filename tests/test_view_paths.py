"""Paths into a model: every one opens, leads back up, and what is not there or cannot be read is said in words."""

from dataclasses import replace

import pytest
import torch
from tiny_models import CONTEXT, FAMILIES, VOCABULARY, gpt2, llama, tokenizer
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from workbench import LanguageModel
from workbench.rounding import largest_relative_error
from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.capture import activations
from workbench.transformer.circuit import full_ov, full_qk, ov_circuit, qk_circuit
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import above, paths, streams, tokens_of, view

SIZES = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = SIZES | {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "num_key_value_heads": 2}
GPT2 = {"vocab_size": VOCABULARY, "n_positions": CONTEXT, "n_embd": 32, "n_layer": 2, "n_head": 2}
VARIANTS = {
    "GPT-2 with a scale a layer": lambda: GPT2LMHeadModel(GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True)),
    "GPT-2 without a scale": lambda: GPT2LMHeadModel(GPT2Config(**GPT2, scale_attn_weights=False, n_inner=20)),
    "LLaMA with biases": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, attention_bias=True, mlp_bias=True)),
    "LLaMA with a key head for each query head": lambda: LlamaForCausalLM(
        LlamaConfig(**LLAMA | {"num_key_value_heads": 4}, head_dim=6)
    ),
    "Mistral": lambda: MistralForCausalLM(MistralConfig(**LLAMA, sliding_window=None)),
}  # fmt: skip


def wrapped(model) -> LanguageModel:
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    return LanguageModel("made", "made", model.eval().requires_grad_(False), tokenizer())


def tokens(n: int = 9, vocabulary: int = VOCABULARY) -> torch.Tensor:
    return torch.randint(vocabulary, (n,), generator=torch.Generator().manual_seed(3))


def all_paths(lm, path="model") -> list[str]:
    found = [path]
    for below in paths(lm, path):
        found += all_paths(lm, below)
    return found


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("fold", [False, True], ids=["drawn", "folded"])
def test_a_variant_of_a_family_gives_its_own_numbers(variant, fold):
    lm = wrapped(VARIANTS[variant]())
    row = tokens()
    own = activations(lm, row)
    for layer in range(2):
        values = view(lm, f"blocks.{layer}", row, fold).run()
        for name in ("q", "k", "v", "pattern", "z", "resid_mid", "pre", "post", "resid_post"):
            wanted = own[f"blocks.{layer}.{name}"]
            assert largest_relative_error(wanted, values[name].reshape(wanted.shape)) < 1e-5, f"{layer} {name}"
    assert largest_relative_error(own["logits"], view(lm, "model", row, fold).result()) < 1e-5


@pytest.mark.parametrize("model", ["gpt2", "llama", "by hand"])
def test_every_path_opens_draws_and_runs_and_leads_back_to_where_it_was_opened(model):
    lm = induction_by_hand() if model == "by hand" else FAMILIES[model]()
    found = all_paths(lm)
    heads = 2 if model == "by hand" else 4 if model == "gpt2" else 8
    assert len(found) == len(set(found)) == 4 + 2 * (3 + (model != "by hand")) + 7 * heads
    for path in found:
        diagram = view(lm, path, tokens(vocabulary=13))
        assert torch.isfinite(diagram.result()).all(), path
        assert path in diagram.svg()
        for below in paths(lm, path):
            assert above(below) == path
    assert above("model") == "model"


def test_a_view_without_tokens_is_drawn_and_says_what_it_lacks_when_it_is_run():
    diagram = view(gpt2(), "blocks.1.attn.head.0")
    assert "pattern" in diagram.program.legs
    assert diagram.svg().startswith("<svg")
    with pytest.raises(ValueError, match="input 'resid_pre' has no array"):
        diagram.run()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_gives_the_same_view_as_its_tokens(family):
    lm = FAMILIES[family]()
    row = torch.tensor(lm.tokenizer("tensor core")["input_ids"])
    by_text, by_row = view(lm, "blocks.0.mlp", "tensor core"), view(lm, "blocks.0.mlp", row)
    assert torch.equal(by_text.result(), by_row.result())
    assert torch.equal(view(lm, "blocks.0.mlp", row.tolist()).result(), by_row.result())


def test_the_lens_after_the_last_block_is_the_models_own_logits_and_the_direct_path_skips_every_block():
    lm = gpt2()
    row = tokens()
    own = activations(lm, row)
    assert largest_relative_error(own["logits"], view(lm, "blocks.1.logit_lens", row).result()) < 1e-5
    body = lm.model.transformer
    embedded = body.wte(row) + body.wpe(torch.arange(len(row)))
    wanted = lm.model.lm_head(body.ln_f(embedded))
    assert largest_relative_error(wanted, view(lm, "direct_path", row).result()) < 1e-5


@pytest.mark.parametrize("fold", [False, True], ids=["as stored", "folded"])
def test_circuits_are_the_products_of_the_weights_whether_drawn_or_kept_as_factors(fold):
    anatomy = anatomy_of(gpt2())
    gain = torch.linspace(0.5, 2, 32)
    anatomy = replace(
        anatomy,
        blocks=tuple(replace(block, ln1=replace(block.ln1, gain=gain)) for block in anatomy.blocks),
        ln_final=replace(anatomy.ln_final, gain=gain.flip(0)),
    )
    attn = anatomy.blocks[1].attn.head(1)
    own = gain if fold else torch.ones(32)
    W_Q, W_K, W_V = (weight.dense() * own for weight in (attn.W_Q, attn.W_K, attn.W_V))
    W_O, W_E = attn.W_O.dense(), anatomy.W_E.dense()
    W_U = anatomy.W_U.dense() * (gain.flip(0) if fold else 1)
    wanted = {
        "QK": (W_Q.T @ W_K, qk_circuit), "OV": (W_O @ W_V, ov_circuit),
        "full_QK": (W_E.T @ W_Q.T @ W_K @ W_E, full_qk), "full_OV": (W_U @ W_O @ W_V @ W_E, full_ov),
    }  # fmt: skip
    for name, (matrix, circuit) in wanted.items():
        drawn = view(anatomy, f"blocks.1.attn.head.1.{name}", fold=fold)
        assert largest_relative_error(matrix, drawn.result()) < 1e-5, name
        assert largest_relative_error(matrix, circuit(anatomy, 1, 1, fold).dense()) < 1e-5, name
    for name in ("QK", "OV"):
        drawn = view(anatomy, f"blocks.1.attn.head.1.{name}.svd", fold=fold)
        assert largest_relative_error(wanted[name][0], drawn.result()) < 1e-5
        assert drawn.arrays["s"].shape == (16,)


def test_with_rotary_positions_a_score_is_the_circuit_at_the_distance_of_query_and_key():
    lm = llama()
    row = tokens(7)
    values = view(lm, "blocks.1.attn.head.3", row).run()
    circuit = view(lm, "blocks.1.attn.head.3.QK", row).result()  # (n, d, e)
    assert circuit.shape == (7, 32, 32)
    x = values["ln1"]
    for t in range(7):
        for s in range(t + 1):
            score = x[t] @ circuit[t - s] @ x[s]
            assert torch.allclose(score, values["qk"][t, s], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "longrope", "llama3"])
def test_rotary_positions_that_lengthen_queries_and_keys_leave_that_to_the_scale_of_the_scores(kind):
    more = {
        "longrope": {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4},
        "llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0},
    }
    rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 8}
    lm = wrapped(LlamaForCausalLM(LlamaConfig(**LLAMA, rope_parameters=rope | more.get(kind, {}))))
    row = tokens(7)
    own = activations(lm, row)
    values = view(lm, "blocks.1.attn", row).run()
    assert largest_relative_error(own["blocks.1.pattern"], values["pattern"].reshape(4, 7, 7)) < 1e-5
    turn = anatomy_of(lm).rotation(7)
    assert torch.allclose(turn @ turn.mT, torch.eye(8).expand(7, 8, 8), atol=1e-6)
    head = view(lm, "blocks.1.attn.head.3", row).run()
    circuit = view(lm, "blocks.1.attn.head.3.QK", row).result()
    assert torch.allclose(head["ln1"][5] @ circuit[3] @ head["ln1"][2], head["qk"][5, 2], rtol=1e-4)
    assert torch.allclose(
        head["ln1"][5] @ qk_circuit(lm, 1, 3, fold=False).dense() @ head["ln1"][5], head["qk"][5, 5], rtol=1e-4
    )


def test_streams_are_run_no_farther_than_asked():
    anatomy = anatomy_of(gpt2())
    row = tokens()
    assert set(streams(anatomy, row, up_to=0)) == {
        "blocks.0.resid_pre", "blocks.0.resid_mid", "blocks.0.resid_post",
    }  # fmt: skip
    assert "blocks.1.resid_post" in streams(anatomy, row)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("blocks.7", "tiny-gpt2 has no block 7; it has 0 to 1"),
        ("blocks.1.attn.head.5", "block 1 of tiny-gpt2 has no head 5; it has 0 to 1"),
        ("blocks.1.attn.head", r"there is no view 'blocks.1.attn.head'; there are model, embed.*blocks.1, of a block"),
        ("blocks.1.attn.head.0.QQ", "there is no view 'blocks.1.attn.head.0.QQ'"),
        ("", "there is no view ''"),
        ("blocks.00", "there is no view 'blocks.00'"),
    ],
)
def test_an_unknown_path_says_what_there_is(path, message):
    with pytest.raises(ValueError, match=message):
        view(gpt2(), path)
    with pytest.raises(ValueError, match=message):
        paths(gpt2(), path)


def test_a_block_without_an_mlp_says_so():
    with pytest.raises(ValueError, match="block 1 of induction by hand has no MLP; it has attention alone"):
        view(induction_by_hand(), "blocks.1.mlp")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (torch.arange(17), ValueError, "17 tokens were given, and tiny-gpt2 has a context of 16"),
        (torch.tensor([3, 64]), ValueError, r"tokens are 3 to 64, and tiny-gpt2 has a vocabulary of 64 \(0 to 63\)"),
        (torch.tensor([-1, 4]), ValueError, "tokens are -1 to 4"),
        (torch.zeros(2, 3, dtype=torch.int64), ValueError, r"one row of 1 to 16 tokens, not a \(2, 3\)"),
        ([], ValueError, r"one row of 1 to 16 tokens, not a \(0,\)"),
        ("", ValueError, "the text '' has no token that tiny-gpt2 knows"),
        (torch.tensor([0.5]), TypeError, "a text or a row of whole numbers, and these are torch.float32"),
        ([True], TypeError, "a text or a row of whole numbers, and these are torch.bool"),
    ],
)
def test_tokens_that_the_model_cannot_read_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        tokens_of(gpt2(), given)


def test_a_model_by_hand_has_no_tokenizer_for_a_text():
    with pytest.raises(TypeError, match="induction by hand is made by hand and has no tokenizer"):
        view(induction_by_hand(), "model", "words")


def test_an_architecture_that_is_not_known_names_what_is_missing():
    neox = GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20,
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"made is a GPTNeoXForCausalLM, and views read GPT2LMHeadModel.*GPTNeoXAttention"
    ):
        view(wrapped(GPTNeoXForCausalLM(neox)))
    qwen = Qwen3Config(**LLAMA, head_dim=8)
    with pytest.raises(ValueError, match=r"made is a Qwen3ForCausalLM.*Qwen3Attention"):
        view(wrapped(Qwen3ForCausalLM(qwen)))
    with pytest.raises(ValueError, match="sliding window of 5 tokens in a context of 16"):
        view(wrapped(MistralForCausalLM(MistralConfig(**LLAMA, sliding_window=5))))
    with pytest.raises(ValueError, match="made has reorder_and_upcast_attn"):
        view(wrapped(GPT2LMHeadModel(GPT2Config(**GPT2, reorder_and_upcast_attn=True))))
    with pytest.raises(TypeError, match=r"a GPT2LMHeadModel was given; load a model .* with workbench.load"):
        anatomy_of(gpt2().model)


def test_a_block_with_a_part_of_its_own_is_refused_by_the_parts_name():
    lm = wrapped(GPT2LMHeadModel(GPT2Config(**GPT2)))
    lm.model.transformer.h[1].adapter = torch.nn.Linear(3, 4)
    with pytest.raises(ValueError, match="block 1 of made holds adapter, which views do not compute"):
        view(lm)
