"""Nothing here runs code that came with data, nothing asks another machine, and nothing is written elsewhere."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from test_notebooks import NOTEBOOKS, source

from workbench import CompressionLab, LanguageModel, load
from workbench.transformer.skeleton import empty_model

REPOSITORY = Path(__file__).resolve().parents[1]
OWN = sorted(path for path in (REPOSITORY / "workbench").rglob("*.py"))
AROUND = sorted(path for folder in ("benchmarks", "docs", ".ci") for path in (REPOSITORY / folder).rglob("*.py"))
UNPICKLERS = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
NETWORK = ("requests", "urllib.request", "http.client", "httpx", "aiohttp", "ftplib", "smtplib", "huggingface_hub")
RUNNERS = ("eval", "exec", "compile", "__import__")
QUIET = {"progress": lambda what, done, total: None}


# ---- what the code does not do


def dangers(code: str) -> set[str]:
    """What a module does that may run what came with data, or ask another machine."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)]
        for kind, modules in (("unpickles", UNPICKLERS), ("network", NETWORK)):
            if any(name == module or name.startswith(f"{module}.") for name in names for module in modules):
                found.add(kind)
        if isinstance(node, ast.Call):
            found |= _called(node)
    return found


def _called(node: ast.Call) -> set[str]:
    called = ast.unparse(node.func)
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    found = {"runs text"} if called in RUNNERS else set()
    if called in ("torch.load", "torch.hub.load", "pd.read_pickle", "pandas.read_pickle"):
        found.add("unpickles")
    if given.get("allow_pickle", "False") != "False":  # numpy's, which is off unless told otherwise
        found.add("unpickles")
    if called in ("yaml.load", "yaml.unsafe_load", "os.system", "os.popen") or given.get("shell", "False") != "False":
        found.add("runs text")
    if given.get("trust_remote_code", "False") != "False":
        found.add("runs a checkpoint's code")
    if _reads_a_checkpoint(called) and "trust_remote_code" not in given:
        found.add("may ask whether to run a checkpoint's code")
    return found


def _reads_a_checkpoint(called: str) -> bool:
    """Whether transformers would ask at the keyboard, where nothing is said: its classes that pick another one."""
    return called.startswith("Auto") and called.endswith((".from_pretrained", ".from_config"))


PLANTED = {
    "import pickle": "unpickles",
    "from joblib import load": "unpickles",
    "import os, marshal as m": "unpickles",
    "state = torch.load(path)": "unpickles",
    "np.load(file, allow_pickle=True)": "unpickles",
    "import urllib.request": "network",
    "from urllib import request": "network",
    "from huggingface_hub import hf_hub_download": "network",
    "eval(words)": "runs text",
    "subprocess.run(line, shell=True)": "runs text",
    "yaml.load(text)": "runs text",
    "load(name, trust_remote_code=True)": "runs a checkpoint's code",
    "AutoModel.from_pretrained(name)": "may ask whether to run a checkpoint's code",
}


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_danger_is_found(code):
    assert dangers(code) == {PLANTED[code]}


def test_what_is_safe_is_not_taken_for_a_danger():
    safe = "from urllib.parse import quote\nmodel.eval()\nAutoConfig.from_pretrained(p, trust_remote_code=False)"
    assert dangers(safe) == set()


def test_no_module_unpickles_runs_text_trusts_a_checkpoint_or_opens_a_connection():
    found = {str(path.relative_to(REPOSITORY)): dangers(path.read_text(encoding="utf-8")) for path in OWN}
    assert {path: own for path, own in found.items() if own} == {}
    assert len(found) > 200


def test_what_lies_around_the_library_runs_the_gallery_alone_and_asks_this_machine_alone():
    allowed = {"docs/make_gallery.py": {"runs text"}, "benchmarks/diagrams.py": {"runs text"}}
    for path in AROUND:
        code = path.read_text(encoding="utf-8")
        found = dangers(code)
        if "network" in found:
            addresses = [
                n.value for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Constant) and "://" in f"{n.value}"
            ]
            assert addresses, path
            assert all(address.startswith(("http://127.0.0.1:", "ws://127.0.0.1:")) for address in addresses), addresses
        assert found - {"network"} <= allowed.get(str(path.relative_to(REPOSITORY)), set()), path


def test_a_notebook_fetches_nothing_but_its_own_package_on_colab_and_shows_nothing_from_elsewhere():
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            shown = json.dumps([output.get("data", {}) for output in cell.get("outputs", [])])
            for mark in ('src=\\"http', "@import", "url(http", "<script", "<iframe", "<link"):
                assert mark not in shown, (path.name, mark)
            if cell["cell_type"] == "code" and "google.colab" not in source(cell):
                assert "://" not in source(cell), path.name
                assert not [line for line in source(cell).splitlines() if line.startswith(("!", "%"))], path.name


# ---- code that comes with a checkpoint


def checkpoint(folder: Path, model_type: str, exported: bool = False) -> Path:
    """A tiny checkpoint that brings code for its config, model and tokenizer; the code writes `ran` when it runs."""
    lm = tiny_models.gpt2()
    if exported:
        lab = CompressionLab.from_model(lm, tiny_models.TEXT, max_windows=8)
        lab.decompose("svd", "plain", **QUIET)
        lab.kept = 0.5
        lab.export(folder)
    else:
        lm.model.save_pretrained(folder)
        lm.tokenizer.save_pretrained(folder)
    (folder / "own.py").write_text(
        f"open({str(folder / 'ran')!r}, 'w').close()\n"
        "from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast\n"
        "class Config(GPT2Config):\n    model_type = 'own'\n"
        "class Model(GPT2LMHeadModel):\n    config_class = Config\n"
        "class Tokenizer(PreTrainedTokenizerFast):\n    pass\n",
        encoding="utf-8",
    )
    _change(folder / "config.json", model_type=model_type, auto_map={
        "AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"})  # fmt: skip
    tokenizer = {"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]}
    _change(folder / "tokenizer_config.json", tokenizer_class="Tokenizer", auto_map=tokenizer)
    return folder


def _change(file: Path, **entries: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | entries), encoding="utf-8")


# Asked whether to run the code, this user says yes.
RUN = """
import sys
from pathlib import Path
from workbench import load
from workbench.transformer.skeleton import empty_model
for read, folder in zip((load, load, load, empty_model), map(Path, sys.argv[1:])):
    try:
        read(folder)
        print(folder.name, "read")
    except ValueError as error:
        print(folder.name, error)
"""


def test_the_code_that_a_checkpoint_brings_is_never_run_and_never_asked_about(tmp_path):
    folders = [
        checkpoint(tmp_path / "own-kind", "own"),
        checkpoint(tmp_path / "own-tokenizer", "gpt2"),
        checkpoint(tmp_path / "exported", "gpt2", exported=True),
        checkpoint(tmp_path / "streamed", "own"),
    ]
    command = [sys.executable, "-c", RUN, *map(str, folders)]
    done = subprocess.run(command, input="y\n" * 20, capture_output=True, text=True, timeout=120, env=_alone())
    assert done.returncode == 0, done.stderr
    assert not [folder.name for folder in folders if (folder / "ran").exists()]
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert told["own-tokenizer"] == told["exported"] == "read"
    assert "brings the code for it, which is never run; give one of a known kind" in told["own-kind"]
    assert "custom code" in told["streamed"] or "never run" in told["streamed"]
    assert "[y/N]" not in done.stdout + done.stderr


def _alone() -> dict[str, str]:
    """This environment without what a test run sets."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "HF_"))}


CONNECTIONS = """
import sys
asked = []
def heard(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        asked.append((event, str(arguments)))
sys.addaudithook(heard)
from workbench import load, view
for name in ("pygpt", "attn2", "truth-gpt"):
    lm = load(name, "cpu")
view(load("pygpt", "cpu"), "blocks.0").svg()
print(asked)
"""


def test_the_shipped_models_are_read_without_asking_any_machine():
    command = [sys.executable, "-c", CONNECTIONS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=_alone(), cwd=REPOSITORY)
    assert done.stdout == "[]\n", done.stdout + done.stderr


# ---- what an export writes, and what it reads again


@pytest.fixture
def cut_lab() -> CompressionLab:
    """A cut model whose name is a path out of any folder."""
    own = tiny_models.gpt2()
    lm = LanguageModel("../../escaped", "../../escaped", own.model, own.tokenizer)
    made = CompressionLab.from_model(lm, tiny_models.TEXT, max_windows=8)
    made.decompose("svd", "plain", **QUIET)
    made.kept = 0.5
    return made


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_an_export_writes_within_its_folder_whatever_the_model_is_called(cut_lab, tmp_path):
    out = tmp_path / "a" / "b" / "out"
    cut_lab.export(out)
    assert all(name.startswith("a") for name in files_of(tmp_path))
    assert files_of(tmp_path / "a") == {"b", "b/out", *(f"b/out/{name}" for name in files_of(out))}
    assert load(out).name == "../../escaped (out)"


def test_a_template_of_a_tokenizer_that_names_a_file_elsewhere_ends_the_export_and_leaves_nothing(cut_lab, tmp_path):
    cut_lab.lm.tokenizer.chat_template = {"default": "a", "../../../escaped": "b"}
    with pytest.raises(ValueError, match=r"Invalid chat template name: '\.\./\.\./\.\./escaped'"):
        cut_lab.export(tmp_path / "a" / "b" / "out")
    assert files_of(tmp_path) == {"a", "a/b"}


def test_an_export_does_not_follow_a_link_that_lies_in_its_place(cut_lab, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        cut_lab.export(tmp_path / "link")
    assert files_of(tmp_path) == {"link"}


def test_an_export_whose_index_names_a_file_elsewhere_is_refused(cut_lab, tmp_path):
    out = cut_lab.export(tmp_path / "out")
    tensors = load_file(out / "model.safetensors")
    save_file(tensors, tmp_path / "outside.safetensors")
    save_file({"one": torch.zeros(3)}, out / "model-00001-of-00001.safetensors")
    (out / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "../outside.safetensors")}
    (out / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ValueError, match=r"\.\./outside\.safetensors"):
        load(out)


def test_a_record_whose_layer_is_called_as_a_path_is_refused(cut_lab, tmp_path):
    out = cut_lab.export(tmp_path / "out")
    record = json.loads((out / "compressed.json").read_text(encoding="utf-8"))
    record["layers"] = {f"../{name}": own for name, own in record["layers"].items()}
    (out / "compressed.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ValueError, match=r"describes \.\./blocks\.0\.attn\.W_QKV, which its config\.json has not"):
        load(out)


def test_the_modules_of_a_known_kind_are_made_from_its_config_alone(tmp_path):
    assert empty_model(checkpoint(tmp_path / "known", "gpt2")).config.model_type == "gpt2"
    assert not (tmp_path / "known" / "ran").exists()
