"""A GPU whose memory does not suffice, played by a torch that says so: what falls back, and what is said in words."""

import warnings

import pytest
import tiny_models
import torch

from workbench import load
from workbench.cli import main
from workbench.compress import evaluate, heal_descent
from workbench.compress.calibrate import calibrate
from workbench.compress.heal_recipe import HealRecipe
from workbench.compress.windows import windows_of_text


def full(*arguments, **named):
    """What torch does where the memory is used up."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@pytest.fixture
def full_gpu(monkeypatch) -> None:
    """A GPU is chosen, and no tensor of a file fits on it."""
    from workbench.compress import store

    whole = store.load_file

    def load_file(file, device="cpu"):
        return full() if device == "cuda" else whole(file, device=device)

    monkeypatch.setattr(store, "load_file", load_file)
    monkeypatch.setattr("workbench.transformer.load.resolve_device", lambda device: torch.device("cuda"))


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    lab = tiny_models.lab()
    lab.keep(0.4)
    return lab.export(tmp_path_factory.mktemp("gpu") / "out")


def test_an_export_too_large_for_the_gpu_runs_on_the_cpu(full_gpu, export):
    with pytest.warns(RuntimeWarning, match=r"out needs 0\.00 GiB on cuda, which has less than that free; it runs on"):
        lm = load(export)
    assert lm.device.type == "cpu"


def test_an_export_too_large_for_the_gpu_that_was_asked_for_says_what_to_do(full_gpu, export):
    with pytest.raises(ValueError, match=r"out needs 0\.00 GiB on cuda.*give device='cpu', or free the GPU's memory"):
        load(export, device="cuda")


def test_a_score_without_room_is_told_and_can_be_made_again(monkeypatch):
    lab = tiny_models.lab()
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "_losses", full)
        with pytest.raises(
            MemoryError, match=r"^scoring \d+ windows at once needs more of the GPU's memory than is free"
        ):
            lab.evaluate()
    assert lab.evaluate().perplexity == tiny_models.lab().evaluate().perplexity


def test_a_calibration_without_room_is_told(monkeypatch):
    lm = tiny_models.gpt2()
    monkeypatch.setattr(type(lm.model), "forward", full)
    monkeypatch.setattr(type(lm.model.base_model), "forward", full)
    with pytest.raises(
        MemoryError, match=r"^calibrating needs more of the GPU's memory than is free; free some, or load"
    ):
        calibrate(lm.model, windows_of_text(lm, tiny_models.TEXT))


def test_healing_without_room_keeps_the_best_so_far_and_goes_on_later(monkeypatch, tmp_path):
    recipe = HealRecipe(steps=4, learning_rate=0.02, batch_tokens=192, warmup=2, check_every=1)

    def healed(lab):
        lab.keep(0.4)
        return lab.heal(recipe, tmp_path / "heal", lambda what, done, total: None)

    whole, steps = heal_descent.Descent.step, []

    def step(self, *arguments):
        steps.append(arguments)
        return full() if len(steps) == 3 else whole(self, *arguments)

    lab = tiny_models.lab()
    with monkeypatch.context() as patch:
        patch.setattr(heal_descent.Descent, "step", step)
        with pytest.raises(MemoryError, match=r"^healing needs more of the GPU's memory than is free"):
            healed(lab)
    assert (lab.healed.steps, lab.healed.best_step) == (2, 2)
    assert healed(tiny_models.lab()).after < lab.healed.after


def test_the_command_line_says_it_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "_losses", full)
    with warnings.catch_warnings(action="ignore"):
        assert main(["compress", "--model", "attn2", "--method", "svd", "--metric", "plain", "--windows", "1"]) == 2
    told = capsys.readouterr().err
    assert "workbench compress: scoring" in told
    assert "Traceback" not in told
