"""Where memory is short: what is then kept in files, and worked on in parts, is the same as with room for all."""

import resource
from pathlib import Path

import pytest
import tiny_models
import torch
from torch import Tensor

from workbench import CompressionLab
from workbench.compress import calibrate as calibration_module
from workbench.compress import evaluate, moment_groups
from workbench.compress.calibrate import calibrate
from workbench.compress.evaluate import Evaluator
from workbench.compress.windows import windows_of_text
from workbench.memory import free_bytes, is_short
from workbench.spill import spilled
from workbench.transformer.load import load

QUIET = {"progress": lambda what, done, total: None}
PUT_BY = "decompositions are kept in temporary files"


def windows(lm):
    return windows_of_text(lm, tiny_models.TEXT)


@pytest.fixture
def counted(monkeypatch) -> list[Tensor]:
    """The tensors that were put in files."""
    seen: list[Tensor] = []

    def noticed(tensor: Tensor) -> Tensor:
        seen.append(tensor)
        return spilled(tensor)

    for place in ("workbench.compress.calibrate", "workbench.compress.decompositions"):
        monkeypatch.setattr(f"{place}.spilled", noticed)
    return seen


# ---- in files


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(3, 4), (5,), (), (0, 4), (2, 3, 4)])
def test_a_spilled_tensor_is_the_same_numbers_in_the_same_shape(dtype, shape):
    tensor = (torch.randn(shape) * 3).to(dtype)
    found = spilled(tensor)
    assert (found.dtype, found.shape) == (dtype, tensor.shape)
    assert torch.equal(found, tensor)


def test_a_spilled_view_is_the_view_and_a_change_leaves_the_original_alone():
    tensor = torch.arange(12.0).reshape(3, 4)
    found = spilled(tensor.T[1:])
    assert torch.equal(found, tensor.T[1:])
    found.mul_(2)
    assert torch.equal(tensor, torch.arange(12.0).reshape(3, 4))


def test_a_spilled_tensor_is_no_data_of_the_process_and_its_file_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = spilled(torch.ones(300, 400))
    assert list(tmp_path.iterdir()) == []
    own = [block for block in Path("/proc/self/smaps").read_text().split("VmFlags") if str(tmp_path) in block]
    assert len(own) == 1
    assert " rw-s " in own[0], "shared with its file, so that the system can write it there and take the memory back"
    assert float(found.sum()) == 120_000


@pytest.mark.parametrize("method", ["svd", "mpo"])
def test_what_a_layer_makes_of_its_factors_and_an_export_of_it_are_put_by_where_memory_is_short(
    method, tmp_path, monkeypatch
):
    lab = tiny_models.lab("gpt2", method, "plain")
    lab.kept = 0.6
    expected = lab.evaluate().perplexity
    put_by = []
    monkeypatch.setattr("workbench.spill.is_short", lambda wanted: put_by.append(wanted) or True)
    lab.kept = 0.6
    assert lab.evaluate().perplexity == pytest.approx(expected, rel=1e-5)
    made = len(put_by)
    assert (made > 0) == (method == "mpo"), "of a pair nothing is made"
    out = lab.export(tmp_path / "out")
    assert len(put_by) == made + len(lab.layers)
    again = Evaluator(load(out / "dense", "cpu").model, lab.evaluator.windows)
    *_, estimate = again.estimates(lab.present.model)
    assert estimate.ratio == pytest.approx(1, abs=1e-4)


# ---- how much is free


def a_machine(folder: Path, monkeypatch, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr("workbench.memory.Path", lambda name: folder / str(name).removeprefix("/"))


def test_a_container_of_version_2_leaves_its_limit_less_what_it_could_not_give_back(tmp_path, monkeypatch):
    files = {"proc/meminfo": "MemAvailable: 9000 kB\n", "proc/self/cgroup": "0::/outer/own\n",
             "sys/fs/cgroup/outer/memory.max": "8000000\n", "sys/fs/cgroup/outer/memory.current": "5000000\n",
             "sys/fs/cgroup/outer/memory.stat": "anon 4000000\ninactive_file 300000\nactive_file 200000\n",
             "sys/fs/cgroup/outer/own/memory.max": "max\n", "sys/fs/cgroup/outer/own/memory.current": "10\n",
             "sys/fs/cgroup/outer/own/memory.stat": "anon 10\n"}  # fmt: skip
    a_machine(tmp_path, monkeypatch, files)
    assert free_bytes() == 8_000_000 - 5_000_000 + 500_000
    a_machine(tmp_path, monkeypatch, {"sys/fs/cgroup/outer/own/memory.max": "1000000\n"})
    assert free_bytes() == 1_000_000 - 10
    a_machine(tmp_path, monkeypatch, {"proc/meminfo": "MemAvailable: 7 kB\n"})
    assert free_bytes() == 7 * 1024, "the machine has less than the container may have"


def test_a_container_of_version_1_is_found_at_its_root_where_its_path_is_that_of_the_host(tmp_path, monkeypatch):
    group = "sys/fs/cgroup/memory"
    files = {"proc/meminfo": "MemAvailable: 9000 kB\n", "proc/self/cgroup": "7:cpu:/\n4:memory:/docker/4f\n",
             f"{group}/memory.limit_in_bytes": "6000000\n", f"{group}/memory.usage_in_bytes": "7000000\n",
             f"{group}/memory.stat": "inactive_file 1\ntotal_inactive_file 1500000\ntotal_active_file 0\n"}  # fmt: skip
    a_machine(tmp_path, monkeypatch, files)
    assert free_bytes() == 500_000
    a_machine(tmp_path, monkeypatch, {f"{group}/memory.usage_in_bytes": "9000000\n"})
    assert free_bytes() == 0, "never less than nothing"


@pytest.mark.parametrize(("limit", "size"), [(resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")])
def test_a_limit_of_the_process_leaves_what_it_does_not_use_yet(limit, size, tmp_path, monkeypatch):
    a_machine(
        tmp_path, monkeypatch, {"proc/meminfo": "MemAvailable: 9000 kB\n", "proc/self/status": f"{size}: 400 kB\n"}
    )
    unlimited = resource.RLIM_INFINITY
    monkeypatch.setattr("resource.getrlimit", lambda which: (2_000_000 if which == limit else unlimited, unlimited))
    assert free_bytes() == 2_000_000 - 400 * 1024


def test_memory_is_short_when_less_is_free_than_is_wanted_and_some_to_work_with(monkeypatch):
    monkeypatch.setattr("workbench.memory.free_bytes", lambda: 192 * 2**20 + 1000)
    assert (is_short(1000), is_short(1001)) == (False, True)
    monkeypatch.setattr("workbench.memory.free_bytes", lambda: None)
    assert not is_short(10**15)


# ---- in parts


def room_for(monkeypatch, n_bytes: int) -> None:
    """Memory for moments of so many bytes, in all."""
    monkeypatch.setattr(moment_groups, "is_short", lambda wanted: wanted > n_bytes)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
@pytest.mark.parametrize(("gradients", "table"), [(False, False), (True, False), (False, True), (True, True)])
def test_moments_measured_in_parts_are_those_measured_at_once(family, gradients, table, monkeypatch, counted):
    lm = tiny_models.FAMILIES[family]()
    whole = calibrate(lm.model, windows(lm), gradients, table=table)
    assert counted == []
    largest = max(8 * (m.weight.shape[1] ** 2 + gradients * m.weight.shape[0] ** 2)
                  for m in calibration_module.block_matrices(lm.model).values())  # fmt: skip
    room_for(monkeypatch, 3 * largest)
    told = []
    with pytest.warns(RuntimeWarning, match="moments are measured in several steps and kept in temporary files"):
        parts = calibrate(lm.model, windows(lm), gradients, table=table, progress=lambda *done: told.append(done))
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})
    assert told[-1][1] == told[-1][2] > 1
    kinds = ("second_moments", "means", "magnitudes", "gradient_moments")
    assert len(counted) == sum(len(getattr(whole, kind)) for kind in kinds)
    for kind in kinds:
        one, other = getattr(whole, kind), getattr(parts, kind)
        assert set(one) == set(other)
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert (whole.table is None) == (parts.table is None)
    if whole.table is not None and parts.table is not None:
        assert torch.equal(whole.table.second_moment, parts.table.second_moment)
        assert torch.equal(whole.table.read, parts.table.read)


def test_too_little_memory_for_one_matrix_is_said_in_words(monkeypatch):
    lm = tiny_models.gpt2()
    room_for(monkeypatch, 0)
    monkeypatch.setattr(moment_groups, "free_bytes", lambda: 3 * 2**20)
    message = r"blocks.0.mlp.W_out has second moments of 0 MiB, and 3 MiB of memory are free, too few to measure them"
    with pytest.raises(MemoryError, match=message):
        calibrate(lm.model, windows(lm))


@pytest.mark.parametrize(("method", "metric"), [("svd", "input"), ("mpo", "plain"), ("cp", "plain")])
def test_decompositions_put_by_in_files_are_those_in_memory(method, metric, monkeypatch, counted):
    whole = tiny_models.lab("gpt2", method, metric)
    assert counted == []
    monkeypatch.setattr("workbench.compress.decompositions.is_short", lambda wanted: True)
    with pytest.warns(RuntimeWarning, match=PUT_BY):
        put_by = tiny_models.lab("gpt2", method, metric)
    assert counted
    for kept in (0.7, 0.3):
        whole.kept = put_by.kept = kept
        assert put_by.evaluate().perplexity == pytest.approx(whole.evaluate().perplexity, rel=1e-5)
        for name, layer in whole.layers.items():
            for key, tensor in layer.now.tensors().items():
                assert torch.equal(tensor, put_by.layers[name].now.tensors()[key])


def test_a_cut_put_by_in_files_is_compensated_healed_quantised_and_exported(monkeypatch, tmp_path):
    monkeypatch.setattr("workbench.compress.decompositions.is_short", lambda wanted: True)
    with pytest.warns(RuntimeWarning, match=PUT_BY):
        lab = tiny_models.lab("gpt2", "svd", "input")
    lab.kept = 0.4
    whole = [tensor.clone() for layer in lab.layers.values() for tensor in layer.uncut.tensors().values()]
    lab.compensate(**QUIET)
    lab.heal(3, **QUIET)
    lab.quantise(8)
    expected = lab.evaluate().perplexity
    monkeypatch.undo()
    again = CompressionLab.from_model(lab.export(tmp_path / "out") / "dense", tiny_models.TEXT, max_windows=24)
    again.decompose("svd", "plain", **QUIET)
    assert again.evaluate().estimate.dense_perplexity == pytest.approx(expected, rel=1e-4)
    now = [tensor for layer in lab.layers.values() for tensor in layer.uncut.tensors().values()]
    assert all(torch.equal(one, other) for one, other in zip(whole, now, strict=True))


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_positions_scored_in_parts_give_the_same_estimate_and_an_uncut_model_none_of_a_difference(family, monkeypatch):
    lab = tiny_models.lab(family)
    dense, own = lab.lm.model, windows(lab.lm)
    lab.kept = 0.5
    *_, whole = Evaluator(dense, own).estimates(lab.present.model)
    a_position = 4 * 6 * tiny_models.VOCABULARY
    parts = []
    monkeypatch.setattr(evaluate, "free_bytes", lambda: 4 * 300 * a_position)
    monkeypatch.setattr(Evaluator, "_parts", noted(parts, Evaluator._parts))
    evaluator = Evaluator(dense, own)
    *_, estimate = evaluator.estimates(lab.present.model)
    assert min(len(cut) for cut in parts) > 1
    assert estimate.log_ratio == pytest.approx(whole.log_ratio, rel=1e-4)
    assert estimate.kl == pytest.approx(whole.kl, rel=1e-4)
    assert (estimate.accuracy, estimate.top1_agreement) == (whole.accuracy, whole.top1_agreement)
    *_, same = evaluator.estimates(dense)
    assert (same.log_ratio, same.kl, same.top1_agreement) == (0, 0, 1)


def noted(parts: list, original):
    def wrapped(self, hidden):
        parts.append(original(self, hidden))
        return parts[-1]

    return wrapped
