"""The trade-off of the shipped model, every method at the same shares: data/results/trade_off.json and its picture.

Run by `make bench` or by itself: `python benchmarks/trade_off.py`.
"""

import os
import platform
from pathlib import Path

import torch
import transformers

from workbench import CompressionLab
from workbench.whole_files import replaced_file, write_json
from workbench.widgets.static import still

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"
SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
RECIPES = (("mpo", "plain"), ("svd", "plain"), ("svd", "input"))  # the last one's setting is drawn as `now`


def main() -> None:
    """Measures, writes both files and prints a table."""
    lab = CompressionLab.from_model("pygpt", device="cpu")
    for method, metric in RECIPES:
        lab.decompose(method, metric)
        for kept in SHARES if method == "svd" else SHARES[:6]:  # below, this one says nothing any more
            lab.kept = kept
            point = lab.evaluate()
            print(f"{method:>4} {metric:>6} {kept:.1f} kept: {point.perplexity_ratio:.4f} of dense", flush=True)
    lab.kept = 0.4
    lab.evaluate()
    dense = lab.curve[0].estimate
    write_json(
        RESULTS / "trade_off.json",
        {
            "model": "pygpt",
            "machine": {"cores": os.cpu_count(), "cpu": torch.backends.cpu.get_cpu_capability()},
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
            "dense": {
                "perplexity": dense.dense_perplexity,
                "accuracy": dense.dense_accuracy,
                "n_params": lab.sizes.dense_n_params,
            },
            "points": [point.as_dict() for point in lab.curve],
        },
    )
    with replaced_file(RESULTS / "trade_off.png") as temporary:
        still(lab.frame("blocks.3.mlp.W_in")).savefig(temporary, format="png", dpi=110)


if __name__ == "__main__":
    main()
