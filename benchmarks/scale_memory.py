"""The main notebook on a model of GPT-2 small's shape, in the memory that a free Binder gives: 1.5 GB.

Part of `scale.py`, and run by the fault tests too. The weights are random: memory does not ask what they say. The limit
is the system's own, on private memory that is written to; pages that a file stands behind do not count in it, which a
container's limit would take back as well.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LIMIT = 1536 * 2**20  # bytes

BUILD = """
import shutil, sys
from pathlib import Path
from transformers import GPT2Config, GPT2LMHeadModel
from workbench.transformer.corpus import bundled_path
out = Path(sys.argv[1])
GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0)).save_pretrained(out)
for file in bundled_path("pygpt").glob("*token*"):
    shutil.copy(file, out)
"""

# The loops over shares take one, and what is decomposed as before in the first cells is left out; the text is as short
# as the calibration of 3,072 inputs allows.
RUN = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]), int(sys.argv[2])))
from workbench.transformer.corpus import held_out_text, training_text
LOAD = 'CompressionLab.from_model("pygpt")'
OWN = (f"CompressionLab.from_model({sys.argv[1]!r}, held_out_text()[:9000], training_text()[:16500], device='cpu', "
       "max_windows=1)")
cells = [cell for cell in json.load(open("notebooks/05_compression_lab.ipynb"))["cells"] if cell["cell_type"] == "code"]
code = ["".join(cell["source"]) for cell in cells]
assert sum(LOAD in cell for cell in code) == 1
again = [cell for cell in code if 'metric="plain")' in cell or 'lab.keep(0.3, "*.W_in")' in cell]
assert len(again) == 2
names = {"held_out_text": held_out_text, "training_text": training_text}
for cell in code:
    if cell not in again:
        exec(cell.replace(LOAD, OWN).replace("0.8, 0.6, 0.4", "0.4,").replace(", 0.3, 0.2", ""), names)
lab = names["lab"]
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"settings": len(lab.curve), "ratios": [point.perplexity_ratio for point in lab.curve],
                  "resident": int(status["VmHWM"].split()[0]) * 1024}))
"""


def ran(code: str, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """The program on two threads, with warnings shown and no display; `folder`, its first word, is for what it leaves
    too: the notebook exports a model.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
    environment["TMPDIR"] = str(folder)
    return subprocess.run(
        [sys.executable, "-c", code, str(folder), *words],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )


def rows() -> list[dict[str, object]]:
    """Whether the notebook came to its end within the limit, and how long it took."""
    from speed import row  # not at the top: the tests do without what it imports

    with tempfile.TemporaryDirectory() as folder:
        ran(BUILD, Path(folder)).check_returncode()
        start = time.perf_counter()
        survived = ran(RUN, Path(folder), str(LIMIT))
        seconds = time.perf_counter() - start
    told = json.loads(survived.stdout.splitlines()[-1]) if survived.returncode == 0 else {"settings": 0}
    what = "main notebook on 124M parameters within 1.5 GB of private memory: settings scored"
    return [row(what, told["settings"], 4, "settings", least=True, seconds=seconds, **told)]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
