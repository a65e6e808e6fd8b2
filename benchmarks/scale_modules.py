"""An encoder that is no language model, trained on the spot and cut by the names of its modules.

Part of `scale.py`. A small vision transformer of the transformers library learns scikit-learn's 1,797 digits, 8 × 8
pixels in patches of 2 × 2, on three quarters of them; the other quarter is held out. Half a minute on one thread, and
always the same model.
"""

import json
import time

import torch
from sklearn.datasets import load_digits
from speed import Row, row
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

from workbench import ModuleLab

MODULES = "vit.layers.*"
SHARES = (0.5, 0.3)
N_TRAIN = 1350
BATCH = 50
STEPS = 500
LEARNING_RATE = 3e-3
LEAST = 0.95  # of the dense accuracy, at the larger share in the input metric


def digits() -> tuple[Tensor, Tensor]:
    """The images (n, 1, 8, 8), 0 to 1, in a fixed random order, and which digit each shows."""
    ink, written = load_digits(return_X_y=True)
    order = torch.randperm(len(ink), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(ink, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    return images[order], torch.tensor(written)[order]


def trained_encoder(images: Tensor, labels: Tensor) -> ViTForImageClassification:
    """A vision transformer of two blocks of width 48, after `STEPS` steps of AdamW."""
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=96, num_labels=10,
    )  # fmt: skip
    model = ViTForImageClassification(config).train()
    descent = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(descent, LEARNING_RATE, total_steps=STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(images), (64,))
        loss = nn.functional.cross_entropy(model(pixel_values=images[chosen]).logits, labels[chosen])
        descent.zero_grad()
        loss.backward()
        descent.step()
        schedule.step()
    return model.eval()


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images whose digit is told."""
    with torch.no_grad():
        return float((model(pixel_values=images).logits.argmax(-1) == labels).double().mean())


def rows() -> list[Row]:
    """The held-out accuracy and cosine at each share, in two metrics, beside the dense model."""
    images, labels = digits()
    start = time.perf_counter()
    model = trained_encoder(images[:N_TRAIN], labels[:N_TRAIN])
    seconds = time.perf_counter() - start
    batches = [{"pixel_values": own} for own in images.split(BATCH)]
    first = N_TRAIN // BATCH
    lab = ModuleLab(
        model, MODULES, batches[first:], calibration=batches[:first],
        score=lambda own: accuracy(own, images[N_TRAIN:], labels[N_TRAIN:]),
    )  # fmt: skip
    points = []
    for metric in ("plain", "input"):
        lab.decompose("svd", metric, progress=lambda what, done, total: None)
        for kept in SHARES:
            lab.kept = kept
            points.append(lab.evaluate().as_dict() | {"share": kept})
    best = next(point for point in points if (point["metric"], point["share"]) == ("input", SHARES[0]))
    return [
        row(
            "a vision transformer on digits cut to half by naming its modules: accuracy, of the dense one's",
            best["score"] / best["dense_score"], LEAST, "share", least=True, dense_accuracy=best["dense_score"],
            points=points, n_held_out=len(images) - N_TRAIN, n_modules=len(lab.layers), training_seconds=seconds,
        )
    ]  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
