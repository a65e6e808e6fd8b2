"""Long work that is killed: each job does it in a folder, goes on with what it finds there, and tells its numbers.

`outcome` does it three times, each in a process of its own: left alone, killed by signal 9 as soon as the files show
the moment, and begun again in the folder of the killed one. All are forks of one program, which is imported once.
"""

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tiny_models
import torch

from workbench import load
from workbench.born import learning
from workbench.born.counts import Counted
from workbench.born.two_site import SweepRecipe, sweep
from workbench.compress import heal
from workbench.compress.heal_recipe import HealRecipe
from workbench.explore.explanation_board import ExplanationBoard
from workbench.explore.sample_complexity import Learner, SampleLab
from workbench.transformer.grammar_recipe import GrammarRecipe
from workbench.transformer.repeats import RepeatsRecipe
from workbench.transformer.text_recipe import TextRecipe
from workbench.transformer.training import TrainingRecipe, train
from workbench.truth.planted import planted_tree

TINY = {"d_model": 16, "n_layers": 1, "n_heads": 2, "context": 24, "batch": 2, "steps": 8, "warmup": 2}
TEXT = TextRecipe(**TINY, vocabulary=300)
REPEATS = RepeatsRecipe(**TINY, longest_prefix=4, shortest_period=3, longest_period=9)
GRAMMAR = GrammarRecipe(**TINY)
HEAL = HealRecipe(steps=6, learning_rate=0.02, batch_tokens=192, warmup=2, check_every=2)
COUNTS = Learner("counts", lambda samples, n_symbols, seed: Counted.of(samples))
_LINGERS = 0.1  # seconds that a killed process waits before each of its files takes its name


def quiet(what: str, done: int, total: int) -> None:
    """Tells nobody."""


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """A hash of named numbers, to the last bit."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def training(recipe: TrainingRecipe, folder: Path) -> list:
    """A training run: its losses, and the weights of its checkpoint."""
    library = folder.parent / "library"
    library.mkdir(exist_ok=True)
    (library / "module.py").write_text("def first(second):\n    return second + 1\n" * 40)
    record = train(folder / "out", recipe, root=library, save_every=2)
    lm = load(folder / "out", "cpu")
    return [[entry["loss"] for entry in record["log"]], digest(dict(lm.model.named_parameters()))]


def healed(folder: Path) -> list:
    """A healing run that is saved after every step: what it told of itself, and the logits."""
    heal._SAVE_EVERY = 0.0
    lab = tiny_models.lab()
    lab.keep(0.4)
    report = lab.heal(HEAL, folder / "heal", quiet)
    return [report.before, report.after, report.best_step, logits_digest(lab.present.model)]


def exported(folder: Path) -> list:
    """An export, read again in both its forms."""
    lab = tiny_models.lab("llama")
    lab.keep(0.4)
    out = lab.export(folder / "out")
    return [logits_digest(load(path, "cpu").model) for path in (out, out / "dense")]


def learned(folder: Path) -> list:
    """A Born machine that is saved after every round: its curve, and its cores."""
    learning._SAVE_EVERY = 0.0
    samples = torch.randint(2, (60, 8), generator=torch.Generator().manual_seed(3))
    run = sweep(samples, SweepRecipe(max_bond=4, rounds=5, patience=5), checkpoint=folder / "born")
    machine = run.finish()
    return [[made.nll for made in run.curve], digest(dict(enumerated(machine.train.cores)))]


def profiled(folder: Path) -> list:
    """A measured sensitivity profile, in the order of its names."""
    return [sorted(tiny_models.lab().sweep(folder / "profile.json", quiet).points.items())]


def sampled(folder: Path) -> list:
    """The points of a sample lab with a cache."""
    lab = SampleLab(planted_tree(6, 0.8, seed=1).source, COUNTS, [5, 20, 80], range(3), folder / "cache")
    return [[(point.n, point.seed, repr(point.scores)) for point in lab.run(quiet).points]]


def explained(folder: Path) -> list:
    """The points of an explanation board with a cache, without their seconds."""
    board = ExplanationBoard(planted_tree(6, 0.8, seed=1), [COUNTS], (50, 200), (0, 1), [], folder / "cache")
    return [[(point.learner, point.n, point.seed, repr(point.kl)) for point in board.run(quiet).points]]


def enumerated(cores: tuple[torch.Tensor, ...]) -> list[tuple[str, torch.Tensor]]:
    """The cores under names that sort as they stand."""
    return [(f"{site:03}", core) for site, core in enumerate(cores)]


def logits_digest(model: torch.nn.Module) -> str:
    """A hash of what a model says of the same few tokens."""
    return digest({"logits": tiny_models.logits(model, tiny_models.tokens())})


@dataclass(frozen=True)
class Job:
    """Work in a folder, and the files (a glob each) that are all there at the moment when it is to be killed."""

    work: Callable[[Path], list]
    moment: tuple[str, ...]

    def has_come(self, folder: Path) -> bool:
        """Whether the moment is there."""
        return all(any(folder.glob(pattern)) for pattern in self.moment)


CACHED = ("cache/*.json", "cache/.*.json.*.*.*")  # some points, and more of them being written
JOBS = {
    "text, at its tokenizer": Job(partial(training, TEXT), ("out/.tokenizer.json.*/tokenizer.json",)),
    "text, while it saves": Job(partial(training, TEXT), ("out/.training/.step4.safetensors.*",)),
    "repeats, between two steps": Job(partial(training, REPEATS), ("out/.training/step6.safetensors",)),
    "grammar, while it publishes": Job(partial(training, GRAMMAR), ("out/.model.safetensors.*/model*",)),
    "healing": Job(healed, ("heal/.step4.safetensors.*",)),
    "export": Job(exported, (".out.*/dense/model.safetensors",)),
    "Born machine": Job(learned, ("born/step3.safetensors",)),
    "profile": Job(profiled, ("profile.json", ".profile.json.*.*.*")),
    "sample lab": Job(sampled, CACHED),
    "explanation board": Job(explained, CACHED),
}


def forked(job: Job, folder: Path, lingers: bool = False) -> int:
    """The process that does a job in a folder, and writes its numbers beside it at its end."""
    folder.mkdir(exist_ok=True)
    process = os.fork()
    if process:
        return process
    if lingers:
        at_once = os.replace
        os.replace = lambda *paths: (time.sleep(_LINGERS), at_once(*paths))
    folder.with_suffix(".json").write_text(json.dumps(job.work(folder)))
    os._exit(0)


def outcome(name: str, folder: Path) -> dict:
    """What a job gave alone, what it left when it was killed, and what it gave when it was begun again."""
    job, alone, killed = JOBS[name], folder / "alone", folder / "killed"
    folder.mkdir()
    waited(forked(job, alone))
    process = forked(job, killed, lingers=True)
    while not job.has_come(killed):
        assert os.waitpid(process, os.WNOHANG) == (0, 0), f"{name}: it ended before it was to be killed"
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    left = temporaries(killed)
    waited(forked(job, killed))
    told = [json.loads(path.with_suffix(".json").read_text()) for path in (alone, killed)]
    return {"alone": told[0], "again": told[1], "left": left, "still": temporaries(killed)}


def temporaries(folder: Path) -> list[str]:
    """The hidden files and folders that work leaves when it is killed."""
    return sorted(path.name for path in folder.rglob(".*") if path.name != ".training")


def waited(process: int) -> None:
    """Waits for a process. Fails where it did not end well."""
    assert os.waitpid(process, 0)[1] == 0, "it did not end well"
