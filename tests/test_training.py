"""Training: repeatable, resumable to the same bits, and honest about what was held out."""

import json

import pytest
import torch
from safetensors.torch import load_file

from workbench import load
from workbench.transformer import repeats, text_recipe
from workbench.transformer.attention_only import AttentionOnlyLM
from workbench.transformer.card import score, write_card
from workbench.transformer.corpus import is_candidate, is_test, shared_lines, split, stdlib_modules
from workbench.transformer.repeats import RepeatsRecipe
from workbench.transformer.repeats_card import write_repeats_card
from workbench.transformer.text_recipe import TextRecipe
from workbench.transformer.training import fast_dtype, train

RECIPE = TextRecipe(
    d_model=32, n_layers=1, n_heads=2, context=32, vocabulary=300, batch=2, steps=6, warmup=2, learning_rate=1e-2
)
REPEATS = RepeatsRecipe(
    d_model=32, n_layers=1, n_heads=2, context=24, batch=2, steps=6, warmup=2, longest_prefix=4,
    shortest_period=3, longest_period=9,
)  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A small library: some modules, tests of them, and a near-duplicate of a training module that is held out."""
    root = tmp_path_factory.mktemp("library")
    for number in range(40):
        body = "\n".join(
            f"def function_{number}_{line}(first, second):\n    return first + {line}" for line in range(20)
        )
        (root / f"module{number}.py").write_text(f'"""Module {number}."""\n{body}\n')
    (root / "test").mkdir()
    (root / "test" / "test_module1.py").write_text("import module1\n" * 60)
    held_out = next(f"copy{n}.py" for n in range(1000) if is_candidate(f"copy{n}.py"))
    training_module = next(f"module{n}.py" for n in range(40) if not is_candidate(f"module{n}.py"))
    (root / held_out).write_text((root / training_module).read_text())
    return root


def weights(out) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def test_the_same_recipe_gives_the_same_weights(library, tmp_path):
    for name in ("one", "two"):
        train(tmp_path / name, RECIPE, root=library)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert one["transformer.wte.weight"].dtype == torch.float16


def test_a_run_interrupted_in_the_middle_resumes_to_the_same_bits(library, tmp_path, monkeypatch):
    train(tmp_path / "whole", RECIPE, root=library)
    original, calls = text_recipe.windows, []

    def interrupted(streams, recipe, step):
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(streams, recipe, step)

    monkeypatch.setattr(text_recipe, "windows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", RECIPE, root=library, save_every=2)
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    record = train(tmp_path / "broken", RECIPE, root=library, save_every=2)
    assert calls == [0, 1, 2, 3, 2, 3, 4, 5], "two steps were saved"
    assert record["step"] == 6
    whole, broken = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_a_run_on_repeats_interrupted_in_the_middle_resumes_to_the_same_bits(tmp_path, monkeypatch):
    train(tmp_path / "whole", REPEATS)
    original, calls = repeats.training_rows, []

    def interrupted(recipe, step):
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(recipe, step)

    monkeypatch.setattr(repeats, "training_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", REPEATS, save_every=2)
    record = train(tmp_path / "broken", REPEATS, save_every=2)
    assert calls == [0, 1, 2, 3, 2, 3, 4, 5], "two steps were saved"
    assert [entry["step"] for entry in record["log"]] == [2, 4, 6]
    whole, broken = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert {tensor.dtype for tensor in whole.values()} == {torch.float16}
    loaded = load(tmp_path / "whole", device="cpu")
    assert isinstance(loaded.model, AttentionOnlyLM)
    assert loaded.tokenizer("Az")["input_ids"] == [1, 52]


def test_a_run_may_be_lengthened_before_its_learning_rate_falls_and_not_after(library, tmp_path):
    short, longer = RECIPE, TextRecipe(**{**RECIPE.__dict__, "steps": 20})
    train(tmp_path / "fallen", short, root=library)
    with pytest.raises(ValueError, match="at step 6, where the learning rate already falls; resume with steps=6"):
        train(tmp_path / "fallen", longer, root=library)


def test_a_run_of_another_recipe_is_not_mixed_in(library, tmp_path):
    train(tmp_path / "run", RECIPE, root=library)
    with pytest.raises(ValueError, match="a run with other learning_rate, seed"):
        train(tmp_path / "run", TextRecipe(**{**RECIPE.__dict__, "seed": 1, "learning_rate": 1e-3}), root=library)


def test_a_run_of_the_other_kind_is_not_mixed_in(library, tmp_path):
    train(tmp_path / "text", RECIPE, root=library)
    tokenizer = (tmp_path / "text" / "tokenizer.json").read_bytes()
    with pytest.raises(
        ValueError, match=r"text begins a text with '<\|endoftext\|>', and this recipe with '<\|start\|>'"
    ):
        train(tmp_path / "text", REPEATS)
    assert (tmp_path / "text" / "tokenizer.json").read_bytes() == tokenizer
    train(tmp_path / "repeats", REPEATS)
    with pytest.raises(ValueError, match=r"repeats begins a text with '<\|start\|>', and this recipe with '<\|endof"):
        train(tmp_path / "repeats", RECIPE, root=library)


def test_a_text_too_short_for_a_window_is_refused(tmp_path):
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "short.py").write_text("x = 1")
    with pytest.raises(ValueError, match=r"the training text has \d tokens; one window needs 33"):
        train(tmp_path / "run", RECIPE, root=tmp_path / "library")


def test_numbers_are_multiplied_in_float32_except_on_a_gpu_that_has_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert (fast_dtype("cpu"), fast_dtype("cuda:1")) == (torch.float32, torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert fast_dtype("cuda") == torch.float32


def test_the_learning_rate_warms_up_stays_and_falls_to_zero():
    rates = [TextRecipe(steps=100, warmup=10, learning_rate=1.0).rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:71] == [1.0] * 61
    assert rates[85] == pytest.approx(0.5)
    assert rates[100] == 0


def test_the_library_is_split_by_path_and_a_near_duplicate_is_set_aside(library):
    modules = stdlib_modules(library)
    parts = split(modules)
    assert sorted(parts.train + parts.held_out + parts.set_aside) == sorted(modules)
    assert parts.held_out
    assert len(parts.set_aside) == 1
    assert parts.set_aside[0].startswith("copy")
    assert all(is_candidate(name) for name in parts.held_out)
    assert "test/test_module1.py" in parts.train


def test_lines_are_shared_or_not():
    seen = {"a line that is long enough to count", "another line that is long enough"}
    lines = ["a line that is long enough to count", "    another line that is long enough", "short"]
    text = "\n".join([*lines, "this one nobody has seen before"])
    assert shared_lines(text, seen) == pytest.approx(2 / 3)
    assert shared_lines("short\n", seen) == 0


def test_no_test_of_the_library_is_ever_held_out():
    assert all(not is_candidate(name) for name in stdlib_modules() if is_test(name))


def test_the_card_says_what_was_reached(library, tmp_path):
    record = train(tmp_path / "run", RECIPE, root=library)
    figures = write_card(tmp_path / "run", record, root=library)
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"| held-out bits per byte | {figures['bits_per_byte']:.3f} |" in card
    assert "workbench train --out pygpt-again --steps 6" in card
    assert json.loads((tmp_path / "run" / "training.json").read_text())["recipe"]["steps"] == 6


def test_the_card_of_repeats_says_what_was_reached(tmp_path):
    record = train(tmp_path / "run", REPEATS)
    figures = write_repeats_card(tmp_path / "run", record)
    assert list(figures["periods"]) == ["3", "6", "9"]
    reached = [each["second_copy_accuracy"] for each in figures["periods"].values()]
    assert figures["second_copy_accuracy"] == min(reached)
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"| period 6 | {reached[1]:.2%} | {figures['periods']['6']['first_copy_loss']:.3f} |" in card
    assert "ln 52 = 3.951 nats" in card
    assert "workbench train --task repeats --out attn2-again --steps 6\n" in card
    written = json.loads((tmp_path / "run" / "training.json").read_text())
    assert written["recipe"] == REPEATS.__dict__
    assert written["periods"] == figures["periods"]


def test_bits_per_byte_is_that_of_a_loop_over_the_windows(library, tmp_path):
    train(tmp_path / "run", RECIPE, root=library)
    lm = load(tmp_path / "run", device="cpu")
    text = "def function(first, second):\n    return first + second\n" * 16
    ids = [0, *lm.tokenizer(text)["input_ids"]]
    nats, n_bytes = 0.0, 0
    for start in range(0, len(ids) - 31, 32):
        row = torch.tensor(ids[start : start + 32])
        log_p = lm.model(row[None, :-1]).logits[0].double().log_softmax(-1)
        nats -= float(log_p[torch.arange(31), row[1:]].sum())
        n_bytes += len(lm.tokenizer.decode(row[1:]).encode())
    expected = nats / torch.log(torch.tensor(2.0, dtype=torch.float64)).item() / n_bytes
    assert score(lm, [text])["bits_per_byte"] == pytest.approx(expected, rel=1e-6)


def test_the_shipped_model_is_the_one_its_record_describes(repository):
    record = json.loads((repository / "data" / "pygpt" / "training.json").read_text())
    lm = load("pygpt", device="cpu")
    assert sum(parameter.numel() for parameter in lm.model.parameters()) == record["n_params"]
    assert record["step"] == record["recipe"]["steps"]
    assert f"{record['bits_per_byte']:.3f}" in (repository / "data" / "pygpt" / "README.md").read_text()
    assert (repository / "data" / "pygpt" / "model.safetensors").stat().st_size <= 26e6
