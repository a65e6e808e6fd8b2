"""Decompositions on disk: the same numbers as those that were made, and nothing else is ever taken for them."""

import json
import os
from pathlib import Path

import pytest
import tiny_models
import torch

from workbench import CompressionLab, Recipe
from workbench.cli import main
from workbench.compress import decompositions
from workbench.compress.decompositions import decomposition
from workbench.compress.kept_forms import KeptForms
from workbench.compress.place import Place
from workbench.decompose.family import Family
from workbench.decompose.metric import PLAIN, Metric

QUIET = {"progress": lambda what, done, total: None}
CPU = torch.device("cpu")
RECIPES = {
    "svd": Recipe("svd", "plain"),
    "svd input": Recipe("svd", "input"),
    "svd gauge-fixed": Recipe("svd", "input", gauge_fixed=True),
    "mpo": Recipe("mpo", "plain", sites=3),
    "mpo refitted": Recipe("mpo", "input"),
    "kronecker permuted": Recipe("kronecker", "plain", permuted=True),
    "tucker": Recipe("tucker", "plain"),
    "cp": Recipe("cp", "plain"),
    "ring": Recipe("ring", "plain"),
}


def matrix(name: str = "blocks.1.mlp.W_in"):
    return CompressionLab.from_model(tiny_models.gpt2(), tiny_models.TEXT, max_windows=2).matrices[name]


def metric(size: int) -> Metric:
    x = torch.randn(5 * size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return Metric(x.T @ x / len(x))


@pytest.fixture
def cache(tmp_path) -> KeptForms:
    return KeptForms(tmp_path / "cache")


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_form_comes_back_with_all_its_bonds_and_the_very_same_numbers(name, dtype, cache):
    own = matrix("blocks.1.attn.W_O")
    own.module.to(dtype)
    made = decomposition(RECIPES[name], own, metric(32) if RECIPES[name].needs_calibration else PLAIN)
    file = cache.directory / "a.safetensors"
    cache.keep(file, made)
    found = cache.kept(file, CPU)
    assert type(found) is type(made)
    assert (found.shape, found.full_bond, found.ladder()) == (made.shape, made.full_bond, made.ladder())
    for bond in made.ladder().bonds:
        one, other = made.truncate(bond), found.truncate(bond)
        assert (one.n_params, one.error_bound()) == (other.n_params, other.error_bound())
        for key, tensor in one.tensors().items():
            assert tensor.dtype == dtype
            assert torch.equal(tensor, other.tensors()[key])


def test_a_file_has_another_name_as_soon_as_anything_is_different(cache):
    weight, place, of = torch.randn(3, 4), Place("W_in", 8), metric(4)
    altered = weight.clone()
    altered[2, 3] = torch.nextafter(altered[2, 3], torch.tensor(9.0))
    moved = Metric(of.inputs + 1e-15 * torch.eye(4, dtype=torch.float64))
    names = [
        cache.file(recipe, given, seen, at).name
        for recipe, given, seen, at in [
            (Recipe("svd", "input"), weight, of, place),
            (Recipe("svd", "two-sided"), weight, of, place),
            (Recipe("svd", "input", gauge_fixed=True), weight, of, place),
            (Recipe("svd", "input"), altered, of, place),
            (Recipe("svd", "input"), weight.double(), of, place),
            (Recipe("svd", "input"), weight.reshape(4, 3), of, place),
            (Recipe("svd", "input"), weight, PLAIN, place),
            (Recipe("svd", "input"), weight, moved, place),
            (Recipe("svd", "input"), weight, Metric(of.inputs, metric(3).inputs), place),
            (Recipe("svd", "input"), weight, Metric(None, of.inputs), place),
            (Recipe("svd", "input"), weight, of, Place("W_out", 8)),
            (Recipe("svd", "input"), weight, of, Place("W_in", 16)),
        ]
    ]
    assert len(set(names)) == len(names)


def test_the_order_in_memory_and_the_fate_of_the_table_do_not_change_the_name(cache):
    weight, place, of = torch.randn(3, 4), Place("W_in", 8), metric(4)
    one = cache.file(Recipe("svd", "input"), weight, of, place)
    assert cache.file(Recipe("svd", "input", table="both"), weight.T.contiguous().T, of, place) == one


@pytest.mark.parametrize(("method", "given"), [("svd", "input"), ("ring", "plain")])
def test_a_second_lab_finds_what_the_first_has_made_and_decomposes_nothing(method, given, cache, monkeypatch):
    def lab(**more) -> CompressionLab:
        made = CompressionLab.from_model(tiny_models.gpt2(), tiny_models.TEXT, max_windows=24)
        made.decompose(method, given, **QUIET, **more)
        made.kept = 0.4
        return made

    plain, first = lab(), lab(cache=cache.directory)
    monkeypatch.setattr(decompositions, "decomposition", lambda *call: pytest.fail("decomposed again"))
    second = lab(cache=str(cache.directory))
    assert len(list(cache.directory.iterdir())) == len(plain.layers) == 8
    assert plain.evaluate().perplexity == pytest.approx(first.evaluate().perplexity, rel=1e-6)
    assert first.evaluate().perplexity == second.evaluate().perplexity
    assert isinstance(second.layers["blocks.0.mlp.W_in"].uncut, Family) == (method == "ring")
    for name, layer in plain.layers.items():
        for key, tensor in layer.now.tensors().items():
            assert torch.equal(tensor, first.layers[name].now.tensors()[key])
            assert torch.equal(tensor, second.layers[name].now.tensors()[key])


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 5)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def altered(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def another(file: Path) -> None:
    from safetensors.torch import save_file

    save_file({"left": torch.zeros(3, 4)}, file)


def pickled(file: Path) -> None:
    torch.save({"left": torch.zeros(3, 4)}, file)


@pytest.mark.parametrize(
    ("damage", "told"),
    [(truncated, "Error"), (emptied, "Error"), (altered, "not those that were written"), (another, "kept"),
     (pickled, "Error")],
)  # fmt: skip
def test_a_damaged_file_is_named_and_its_matrix_decomposed_again(damage, told, cache):
    lab = tiny_models.lab()
    lab.decompose("svd", "plain", cache=cache.directory, **QUIET)
    files = {file: file.read_bytes() for file in cache.directory.iterdir()}
    broken = sorted(files)[2]
    damage(broken)
    again = CompressionLab.from_model(tiny_models.gpt2(), tiny_models.TEXT, max_windows=24)
    message = rf"{broken.name} is damaged \(.*{told}.*\); the matrix is decomposed again and the file replaced"
    with pytest.warns(RuntimeWarning, match=message) as told_once:
        again.decompose("svd", "plain", cache=cache.directory, **QUIET)
    assert len(told_once) == 1
    assert {file: file.read_bytes() for file in cache.directory.iterdir()} == files
    for name, layer in lab.layers.items():
        assert torch.equal(layer.now.left, again.layers[name].now.left)


def test_a_change_of_what_was_found_does_not_reach_the_file(cache):
    file = cache.directory / "a.safetensors"
    cache.keep(file, decomposition(Recipe("svd", "plain"), matrix(), PLAIN))
    before, found = file.read_bytes(), cache.kept(file, CPU)
    found.left.mul_(2)
    assert file.read_bytes() == before
    assert torch.equal(cache.kept(file, CPU).left * 2, found.left)


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(NotADirectoryError, match="taken is a file; name a directory to keep decompositions in"):
        tiny_models.lab().decompose("svd", "plain", cache=tmp_path / "taken", **QUIET)


def test_the_command_keeps_its_decompositions_where_it_is_told(tmp_path, capsys):
    words = ["compress", "--metric", "plain", "--windows", "1", "--json", "--cache", str(tmp_path / "cache")]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    assert len(times) == 24
    assert main(words) == 0
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()} == times
    assert json.loads(capsys.readouterr().out)["perplexity"] == first["perplexity"]
