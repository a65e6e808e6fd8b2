"""Why a GPU is not used, in words: every state of driver, build and device, each faked and matched."""

import dataclasses
import os
import re
from types import SimpleNamespace

import pytest
import torch

from workbench import gpu
from workbench.cli import main
from workbench.gpu import Gpu, Surroundings, surroundings

GIB = 2**30
CARD = Gpu("Card 7", (8, 6), ("sm_75", "sm_80", "sm_90"), 20 * GIB, 24 * GIB)
USED = Surroundings("CUDA 13.0", "NVIDIA", None, False, True, CARD, "")
UNUSED = dataclasses.replace(USED, chosen=False, gpu=None)


def test_a_gpu_that_is_used_is_told_with_its_memory():
    assert USED.told() == "Card 7 by CUDA 13.0, 20.0 of 24.0 GiB free"
    assert USED.problem() is None


def test_no_driver_is_told_apart_by_what_torch_could_use():
    bare = dataclasses.replace(UNUSED, maker=None)
    assert bare.told().startswith("none: no driver of one is loaded here (a container must be started with its GPUs)")
    assert bare.told().endswith("this torch is built for CUDA 13.0 and would use one")
    assert dataclasses.replace(bare, build=None).told().endswith("this torch is built for the CPU alone")
    assert bare.problem() is None


@pytest.mark.parametrize(
    ("system", "remedy"),
    [("Linux", "`pip install --force-reinstall torch==2.9.1` brings"), ("Windows", "pytorch.org/get-started tells")],
)
def test_a_torch_without_cuda_beside_a_driver_comes_with_the_remedy(monkeypatch, system, remedy):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    monkeypatch.setattr(gpu.platform, "system", lambda: system)
    told = dataclasses.replace(UNUSED, build=None).told()
    assert told.startswith("NVIDIA's, not used: this torch, 2.9.1+cpu, is built without CUDA; ")
    assert remedy in told


def test_a_torch_of_the_other_maker_is_told():
    assert "is built without ROCm; install one with it" in dataclasses.replace(UNUSED, maker="AMD").told()
    assert "is built without CUDA" in dataclasses.replace(UNUSED, build="ROCm 6.4").told()


@pytest.mark.parametrize("value", ["", "-1", "-1,0"])
def test_a_hidden_gpu_is_told_with_the_variable_that_hides_it(value):
    hidden = dataclasses.replace(UNUSED, visible=value, refusal="No CUDA GPUs are available")
    assert hidden.told() == f"NVIDIA's, not used: CUDA_VISIBLE_DEVICES={value!r} hides it; unset that variable"
    assert "hides" not in dataclasses.replace(hidden, visible="3").told()


def test_an_old_driver_is_told_with_both_versions():
    said = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver."
    told = dataclasses.replace(UNUSED, refusal=said).told()
    assert "its driver serves CUDA up to 11.4, and this torch is built for CUDA 13.0; update the driver" in told
    assert "install a torch for CUDA 11.4 or older" in told


def test_any_other_refusal_is_given_in_the_words_of_torch():
    assert dataclasses.replace(UNUSED, refusal="CUDA unknown error").told().endswith("torch says: CUDA unknown error")


def test_a_gpu_of_apple_is_told_to_be_left_alone():
    apple = Surroundings(None, None, None, True, False, None, "")
    assert apple.told().startswith("Apple's, not used: it has no float64")


def test_short_memory_is_told_apart_from_a_small_card():
    held = dataclasses.replace(USED, gpu=dataclasses.replace(CARD, free=GIB))
    small = dataclasses.replace(USED, gpu=dataclasses.replace(CARD, free=GIB, total=3 * GIB))
    assert "1.0 of 24.0 GiB free: other programs hold the rest, and a model that does not fit" in held.told()
    assert "1.0 of 3.0 GiB free: it is a small one" in small.told()


@pytest.mark.parametrize(
    ("capability", "kernels", "runs"),
    [
        ((8, 6), ("sm_80",), True),  # a later minor of the same major
        ((8, 0), ("sm_86",), False),
        ((6, 1), ("sm_75", "sm_80"), False),
        ((12, 0), ("sm_90",), False),
        ((12, 0), ("sm_90", "compute_90"), True),  # PTX is compiled on a later device
        ((9, 0), ("sm_80", "compute_120"), False),
    ],
)
def test_kernels_run_on_their_own_generation_and_ptx_on_later_ones(capability, kernels, runs):
    card = dataclasses.replace(CARD, capability=capability, kernels=kernels)
    assert card.has_kernels is runs
    problem = dataclasses.replace(USED, gpu=card).problem()
    if runs:
        assert problem is None
    else:
        assert problem is not None
        assert problem.startswith(f"Card 7 has compute capability {capability[0]}.{capability[1]}, and this torch")
        assert f"has kernels for {', '.join(kernels)} only" in problem


def test_a_gpu_that_is_offered_and_refuses_is_a_problem_for_the_default_would_fail():
    busy = dataclasses.replace(USED, gpu=None, refusal="all CUDA-capable devices are busy")
    problem = busy.problem()
    assert problem is not None
    assert problem.startswith("torch offers a GPU that it cannot use (all CUDA-capable devices are busy); free it")


@pytest.fixture
def faked(monkeypatch):
    """A machine with one card, a driver, and a torch built for CUDA."""
    monkeypatch.setattr(torch.version, "cuda", "12.9")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    card = SimpleNamespace(name="Card 7", major=6, minor=1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (3 * GIB, 11 * GIB))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])
    monkeypatch.setattr(gpu.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("faked")
def test_the_machine_is_asked_for_everything():
    card = Gpu("Card 7", (6, 1), ("sm_75", "sm_80"), 3 * GIB, 11 * GIB)
    assert surroundings() == Surroundings("CUDA 12.9", "NVIDIA", None, False, True, card, "")


@pytest.mark.usefixtures("faked")
@pytest.mark.parametrize("kind", [RuntimeError, AssertionError])
def test_what_torch_refuses_is_kept_in_its_first_line_and_its_warnings_are_not_shown(monkeypatch, kind):
    def refused() -> None:
        raise kind("Found no device.\nPlease buy one.")

    def unavailable() -> bool:
        import warnings

        warnings.warn("CUDA initialization: found no device", UserWarning, stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "init", refused)
    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert surroundings() == Surroundings("CUDA 12.9", "NVIDIA", "3", False, False, None, "Found no device.")


@pytest.mark.usefixtures("faked")
def test_check_names_the_gpu_and_fails_where_the_default_device_would(capsys, monkeypatch):
    monkeypatch.setattr("workbench.machine.load", lambda name: pytest.fail("loaded on a faked card"))
    monkeypatch.setattr("workbench.machine._model_problems", lambda lines: [])
    assert main(["check"]) == 1
    printed = capsys.readouterr().out
    assert "gpu: Card 7 by CUDA 12.9, 3.0 of 11.0 GiB free" in printed
    assert "! Card 7 has compute capability 6.1" in printed


def test_check_names_what_only_some_commands_need(capsys, monkeypatch):
    from workbench import machine

    monkeypatch.setattr(machine, "find_spec", lambda name: True if name == "sklearn" else None)
    assert re.match(
        r"optional: quantise \(torchao is not installed\), digits \(scikit-learn [\d.]+\)", machine._optional_line()
    )


@pytest.mark.gpu
def test_the_gpu_of_this_machine_is_used():
    found = surroundings()
    assert found.gpu is not None, os.environ.get("CUDA_VISIBLE_DEVICES")
    assert found.problem() is None
