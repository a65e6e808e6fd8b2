"""Healing: a compressed model learns on its factors to say again what its dense model says.

Trained are the numbers of every cut layer, as they are stored, and its bias; layers that run their original, embeddings
and norms are not, so that a healed model is the dense one with other block matrices and biases, and stores as many
numbers as before. The loss is that of a distillation (Hinton, Vinyals & Dean 2015) at temperature 1.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from torch import nn

from workbench.compress import heal_store
from workbench.compress.heal_descent import TRIAL_STEPS, TRIALS, Descent, searched_rates
from workbench.compress.heal_loss import Comparison
from workbench.compress.heal_recipe import HealRecipe, HealReport, HealStep, RateTrial
from workbench.compress.heal_student import Student
from workbench.compress.layers import BondLinear
from workbench.compress.windows import Windows
from workbench.memory import gpu_memory_named
from workbench.transformer.training import fast_dtype

_HELD_BACK_TOKENS = 2048  # about so many tokens of rows that are not trained on; at most a quarter of all rows
_SAVE_EVERY = 30.0  # seconds
_SAME = 0.01  # a loss measured again differs by rounding only; another model's or text's by more


class Healing:
    """A run of healing that can be watched, stopped, undone, and resumed after a restart.

    `layers` are the running layers of `model` by name, `dense` is the model to be like, and `windows` is calibration
    text, never that on which the result will be judged. The running layers always hold the best state found so far on
    rows held back from training: the start, until something is better. Learning happens on a copy.
    With `checkpoint`, a directory, the run is saved there every half minute and at its end, and goes on from there if
    it holds one: on the same machine's CPU, to the same bits as if it had never been interrupted.
    Raises ValueError where nothing is cut, for fewer than two rows, or a checkpoint of another run.
    """

    def __init__(
        self,
        model: nn.Module,
        dense: nn.Module,
        layers: Mapping[str, BondLinear],
        windows: Windows,
        recipe: HealRecipe | None = None,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.recipe = recipe or HealRecipe()
        self.learning_rate = self.recipe.learning_rate
        self.trials: tuple[RateTrial, ...] = ()
        self._student = Student(model, layers)
        self._layers = {name: layers[name] for name in self._student.linears}
        self._states = {name: layer.state for name, layer in self._layers.items()}
        self._running = {name: layer.now for name, layer in self._layers.items()}
        training, self._held_back = _comparisons(dense, windows, self.recipe)
        self._descent = Descent(self._student, training, self.recipe.seed)
        self._best, self._best_step = self._student.start, 0
        self._before: float | None = None
        self._after = math.inf
        self._curve: list[HealStep] = []
        self._seconds, self._saved_at = 0.0, 0.0
        self._ended, self._reason, self._stopping = "", "", False
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        if self._checkpoint is not None and heal_store.files(self._checkpoint).are_saved():
            self._resume(self._checkpoint)

    @property
    def curve(self) -> tuple[HealStep, ...]:
        """Every step so far, those before a restart too."""
        return tuple(self._curve)

    @property
    def report(self) -> HealReport:
        """How it went so far."""
        done, steps = len(self._curve), self.recipe.steps
        ended = self._ended or ("finished" if done == steps else "stopped")
        if self._before is None:
            told = "nothing was scored yet."
        elif not self._best_step:
            told = f"no step was better on the held-back rows than the start, {self._before:.4f} nats a token: it runs."
        else:
            told = (
                f"the loss on the held-back rows fell from {self._before:.4f} to {self._after:.4f} nats a token "
                f"at step {self._best_step}, which runs."
            )
        if ended == "undone":
            told = "the layers run what they ran before."
        message = " ".join(part for part in (f"{ended} after {done} of {steps} steps;", self._reason, told) if part)
        after = None if self._before is None else self._after
        return HealReport(
            ended, message, done, self._best_step, self._before, after, self.learning_rate, self.trials, self._seconds
        )

    def stop(self) -> None:
        """Ends the run after the present step, and scores where it is; `run` would go on."""
        self._stopping = True

    def undo(self) -> None:
        """Every layer as it was before healing, which ends it. Raises RuntimeError if a layer was moved since."""
        if self._moved():
            raise RuntimeError("a layer was cut or put since it was healed, so there is nothing left to undo.")
        for name, layer in self._layers.items():
            layer.restore(self._states[name])
        self._running = {name: layer.now for name, layer in self._layers.items()}
        self._ended = "undone"

    def run(self, progress: Callable[[str, int, int], None] | None = None) -> Iterator[HealStep]:
        """The steps still to do, each as it is done; whoever leaves the loop keeps the best state so far.

        Before the first, the start is scored and a learning rate searched for, of which `progress` is told. A loss that
        is not finite or far above the start's ends the run, and so does a layer that was moved: `report` tells.
        Raises RuntimeError if it has ended so, or was undone; BlockingIOError while another process runs there.
        """
        if self._ended:
            raise RuntimeError(f"this healing cannot go on: {self.report.message} Make a new one.")
        held = nullcontext() if self._checkpoint is None else heal_store.files(self._checkpoint).alone()
        with held, gpu_memory_named("healing"):
            yield from self._run(progress)

    def save(self) -> None:
        """Writes the run to its checkpoint, whole or not at all; without one, or before the first step, nothing."""
        if self._checkpoint is None or not self._curve:
            return
        record = {
            "recipe": asdict(self.recipe), "step": len(self._curve), "best_step": self._best_step,
            "before": self._before, "after": self._after, "learning_rate": self.learning_rate,
            "trials": [asdict(trial) for trial in self.trials], "seconds": self._seconds,
            "curve": [asdict(step) for step in self._curve],
        }  # fmt: skip
        groups = {"now": self._student.leaves, "moments": self._descent.moments()}
        if self._best_step:  # else it is the start, which the layers have
            groups["best"] = self._best
        heal_store.files(self._checkpoint).save(record, groups)
        self._saved_at = self._seconds

    def _run(self, progress: Callable[[str, int, int], None] | None) -> Iterator[HealStep]:
        self._stopping, began = False, time.perf_counter() - self._seconds
        if self._before is None:
            self._before = self._after = self._held_back.loss(self._student.model).total
        if self.learning_rate is None:
            self._search(progress)
            self._seconds = time.perf_counter() - began
        while self._goes_on():
            made = self._step(began)
            if made is None:
                return
            self._curve.append(made)
            if self._seconds - self._saved_at > _SAVE_EVERY:
                self.save()
            yield made
        if self._stopping and not self._ended and self._curve and self._curve[-1].held_back is None:
            self._score(len(self._curve))
        if not self._ended:
            self.save()

    def _goes_on(self) -> bool:
        if not self._ended and self._moved():
            self._ended, self._reason = "moved", "a layer was cut or put meanwhile, and is left as it is;"
        return not self._ended and not self._stopping and len(self._curve) < self.recipe.steps

    def _step(self, began: float) -> HealStep | None:
        """One step of the run; None if it diverged."""
        index = len(self._curve)
        rate = (self.learning_rate or 0.0) * self.recipe.share(index)
        loss, held_back = self._descent.step(index, rate), None
        due = (index + 1) % self.recipe.check_every == 0 or index + 1 == self.recipe.steps
        if self._is_far(loss.total, index + 1) or (
            due and self._is_far(held_back := self._score(index + 1), index + 1)
        ):
            return None
        self._seconds = time.perf_counter() - began
        return HealStep(index + 1, loss.total, loss.kl, rate, self._seconds, held_back)

    def _score(self, step: int) -> float:
        """The loss on the held-back rows; the layers run the present numbers if it is the smallest so far."""
        loss = self._held_back.loss(self._student.model).total
        if loss < self._after and not self._moved():
            self._best, self._best_step, self._after = self._student.copied(), step, loss
            self._put_best()
        return loss

    def _put_best(self) -> None:
        self._student.put(self._layers, self._best)
        self._running = {name: layer.now for name, layer in self._layers.items()}

    def _moved(self) -> bool:
        return any(layer.now is not self._running[name] for name, layer in self._layers.items())

    def _is_far(self, loss: float, step: int) -> bool:
        """Whether a loss is not finite, or so far above the start's that the steps lead nowhere; ends the run then."""
        assert self._before is not None
        if math.isfinite(loss) and loss <= 1.5 * self._before + 0.5:  # half a nat: small losses differ between batches
            return False
        self._ended = "diverged"
        self._reason = (
            f"at step {step} the loss was {loss:.4g} nats a token, from {self._before:.4g} at the start: "
            f"give a learning rate below {self.learning_rate:.2g};"
        )
        return True

    def _search(self, progress: Callable[[str, int, int], None] | None) -> None:
        """Chooses the learning rate whose trial ended best; none if the search was stopped."""
        trials, total = [], TRIALS * (TRIAL_STEPS + 1)
        for done, trial in enumerate(
            searched_rates(self._descent, self._student, self._held_back, self._student.start)
        ):
            trials += [trial] if trial else []
            if progress:
                progress("learning rate", done + 1, total)
            if self._stopping:
                return
        if progress:
            progress("learning rate", total, total)
        self.trials = tuple(trials)
        scored = [trial for trial in trials if trial.loss is not None]
        if scored:
            self.learning_rate = min(scored, key=lambda trial: trial.loss).learning_rate
        else:
            tried = ", ".join(f"{trial.learning_rate:.2g}" for trial in trials)
            self._ended, self._reason = "diverged", f"the loss was not finite at any learning rate of {tried};"

    def _resume(self, path: Path) -> None:
        record, groups = heal_store.files(path).load()
        heal_store.files(path).check_same(record["recipe"], asdict(self.recipe))
        for numbers in (groups["now"], groups.get("best", groups["now"])):
            heal_store.check_fits(path, numbers, self._student.start)
        self._student.load(groups.get("best", self._student.start))
        best = self._student.copied()
        again = self._held_back.loss(self._student.model).total
        if not abs(again - record["after"]) <= _SAME * (1 + abs(record["after"])):
            raise ValueError(
                f"{path} holds a run whose best loss was {record['after']:.4f}, but with this model and text it is "
                f"{again:.4f}; give the ones it began with, or another directory."
            )
        self._student.load(groups["now"])
        self._descent.remember(groups["moments"], record["step"])
        self._before, self._after = record["before"], record["after"]
        self._best_step, self.learning_rate = record["best_step"], record["learning_rate"]
        self.trials = tuple(RateTrial(**trial) for trial in record["trials"])
        self._curve = [HealStep(**step) for step in record["curve"]]
        self._seconds = self._saved_at = record["seconds"]
        if self._best_step:
            self._best = best
            self._put_best()


def _comparisons(dense: nn.Module, windows: Windows, recipe: HealRecipe) -> tuple[Comparison, Comparison]:
    """Batches to train on, and those held back; rows in a random order, without those where nothing is scored."""
    told = windows.scored.any(1)
    rows = Windows(windows.tokens[told], windows.scored[told]).shuffled(recipe.seed)
    length = rows.tokens.shape[1]
    if len(rows) < 2:
        raise ValueError(
            f"healing needs two or more rows with scored tokens, one to train on and one held back, not {len(rows)}; "
            "give a longer text."
        )
    n_held_back = max(1, min(_HELD_BACK_TOKENS // length, len(rows) // 4))
    batch, precision = max(1, recipe.batch_tokens // length), fast_dtype(str(next(dense.parameters()).device))
    held_back, training = rows.rows(0, n_held_back), rows.rows(n_held_back, len(rows))
    return (
        Comparison(dense, training, batch, recipe.kl_weight, precision),
        Comparison(dense, held_back, batch, recipe.kl_weight, precision),
    )
