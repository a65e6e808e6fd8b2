"""What is measured of a trained model of GPT-2's size, stage by stage; each puts what it finds in a file at once."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from workbench import CompressionLab, load
from workbench.compress.curve import Point
from workbench.compress.windows import Windows
from workbench.transformer.training import fast_dtype
from workbench.whole_files import write_json

SHARES = (0.8, 0.6, 0.4, 0.2)
DECOMPOSITIONS = {
    ("svd", "plain"): ("uniform", "global"),
    ("svd", "input"): ("uniform", "global"),
    ("svd", "two-sided"): ("uniform", "global"),
    ("mpo", "plain"): ("uniform",),
}
HEALED = (("svd", "plain", "uniform"), ("svd", "two-sided", "global"))
HEALED_SHARE = 0.2
TICK_SECONDS = 0.1  # what is wanted of a move of the slider, until the new perplexity is known


class Results:
    """What was measured so far, by stage and by name, in a JSON file that is written whole after every entry."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.found: dict[str, dict] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def has(self, stage: str, name: str) -> bool:
        """Whether a stage has put something under this name."""
        return name in self.found.get(stage, {})

    def put(self, stage: str, name: str, value: object) -> None:
        """Notes one thing and writes everything."""
        self.found.setdefault(stage, {})[name] = value
        write_json(self._file, self.found)

    def peak(self, stage: str, device: torch.device) -> None:
        """Notes the largest GPU memory that a stage held: what it held before an interrupt counts too."""
        if device.type == "cuda":
            own = torch.cuda.max_memory_allocated(device)
            self.put("peak_bytes", stage, max(own, self.found.get("peak_bytes", {}).get(stage, 0)))


@dataclass(frozen=True)
class Sizes:
    """How much a lab is given."""

    scored_windows: int = 64
    calibration_tokens: int = 65_536
    tick_tokens: int = 8_000
    ticks: int = 21
    heal_steps: int = 100


@dataclass(eq=False)
class Bench:
    """A trained model with the text that it is measured on, and where the results go."""

    model: Path
    streams: dict[str, torch.Tensor]
    device: torch.device
    sizes: Sizes
    results: Results

    @cached_property
    def lab(self) -> CompressionLab:
        """The lab, made when the first stage needs it; scored on modules that the model never saw."""
        lm = load(self.model, str(self.device))
        scored = rows(self.streams["held_out"], lm.context, self.sizes.scored_windows)
        n_calibration = -(-self.sizes.calibration_tokens // (lm.context - 1))
        return CompressionLab(lm, scored, rows(self.streams["library"], lm.context, n_calibration))

    def precisions(self) -> list[tuple[str, Callable[[], AbstractContextManager]]]:
        """float32, and bfloat16 where the device multiplies it: names, and what to run a model under."""
        fast = fast_dtype(str(self.device))
        chosen = [torch.float32] if fast == torch.float32 else [torch.float32, fast]

        def under(dtype: torch.dtype) -> Callable[[], AbstractContextManager]:
            return lambda: torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

        return [(str(dtype).removeprefix("torch."), under(dtype)) for dtype in chosen]

    def synchronize(self) -> None:
        """Waits until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @contextmanager
    def timed(self, stage: str, name: str) -> Iterator[None]:
        """Prints what is done, and puts its seconds under the stage."""
        self.synchronize()
        start = time.perf_counter()
        yield
        self.synchronize()
        seconds = time.perf_counter() - start
        self.results.put("seconds", f"{stage} {name}".strip(), seconds)
        print(f"{stage:>10}  {name}: {seconds:.1f} s", flush=True)


def rows(stream: torch.Tensor, context: int, n_rows: int) -> Windows:
    """`n_rows` of the stream's consecutive windows, in a fixed random order; every token but a row's first is scored.

    Raises ValueError if the stream has fewer.
    """
    n_windows = len(stream) // context
    if n_windows < n_rows:
        raise ValueError(f"{len(stream)} tokens fill {n_windows} windows of {context}, and {n_rows} are wanted.")
    chosen = torch.randperm(n_windows, generator=torch.Generator().manual_seed(0))[:n_rows]
    tokens = stream[: n_windows * context].view(n_windows, context)[chosen].long()
    return Windows(tokens, torch.ones(n_rows, context - 1, dtype=torch.bool))


def calibrate(bench: Bench) -> None:
    """The seconds of measuring the moments of inputs, and those of gradients with them.

    The moments themselves, gigabytes that take seconds, are measured again where they are needed.
    """
    for name, metric in (("inputs", "input"), ("inputs and gradients", "two-sided")):
        if not bench.results.has("seconds", f"calibrate {name}"):
            bench.lab  # noqa: B018  # loading is no part of it
            with bench.timed("calibrate", name):
                bench.lab.calibrate(gradients=metric == "two-sided", progress=quarters)


def sweep(bench: Bench) -> None:
    """The perplexity of every method, metric and budget at every share, beside the dense model's."""
    for (method, metric), budgets in DECOMPOSITIONS.items():
        wanted = [(budget, kept) for budget in budgets for kept in SHARES]
        missing = [(b, kept) for b, kept in wanted if not bench.results.has("table", _name(method, metric, b, kept))]
        if not missing:
            continue
        _decompose(bench, method, metric, "sweep")
        for budget, kept in missing:
            bench.lab.keep(kept, budget=budget)
            point = bench.lab.evaluate()
            row = {"method": method, "metric": metric, "budget": budget, "kept": kept} | _scores(point)
            bench.results.put("table", _name(method, metric, budget, kept), row)
            print(
                f"     sweep  {_name(method, metric, budget, kept)}: {point.perplexity_ratio:.4f} of dense", flush=True
            )
    if not bench.results.has("dense", "perplexity"):
        estimate = bench.lab.evaluate().estimate
        bench.results.put("dense", "accuracy", estimate.dense_accuracy)
        bench.results.put("dense", "loss", estimate.dense_loss)
        bench.results.put("dense", "perplexity", estimate.dense_perplexity)


def tick(bench: Bench) -> None:
    """The seconds from a move of the slider to the new perplexity over `tick_tokens` or more; the median of many."""
    names = [name for name, _ in bench.precisions() if not bench.results.has("tick", name)]
    if not names:
        return
    _decompose(bench, "svd", "two-sided", "tick")
    lab, count = bench.lab, bench.sizes.ticks
    for name, under in bench.precisions():
        if name not in names:
            continue
        waits, cuts, tokens = [], [], 0
        with under():
            for index in range(count + 3):  # the first three warm up, and score the dense side
                bench.synchronize()
                start = time.perf_counter()
                lab.keep(0.2 + 0.6 * (index * 8 % count) / count, budget="global")  # up and down, never twice the same
                cuts.append(time.perf_counter() - start)
                tokens = next(p for p in _estimates(lab) if p >= bench.sizes.tick_tokens)
                waits.append(time.perf_counter() - start)
        median = statistics.median(waits[3:])
        row = {"seconds": median, "slowest_seconds": max(waits[3:]), "cut_seconds": statistics.median(cuts[3:])}
        row |= {"tokens": tokens, "ticks": count, "wanted_seconds": TICK_SECONDS, "reached": median <= TICK_SECONDS}
        bench.results.put("tick", name, row)
        print(f"      tick  {name}: {median:.4f} s for {tokens} tokens, {row['cut_seconds']:.4f} s to cut", flush=True)


def speed(bench: Bench) -> None:
    """Tokens a second of the dense model and of compressed ones, scoring whole windows in batches."""
    settings: list[tuple[str, str, str, float]] = [("dense", "", "", 1.0)]
    settings += [("svd", "two-sided", "global", kept) for kept in SHARES] + [("mpo", "plain", "uniform", 0.4)]
    tokens = bench.lab.evaluator.windows.tokens[:8, :-1].to(bench.device)
    for method, metric, budget, kept in settings:
        name = _name(method, metric, budget, kept)
        missing = [
            (dtype, under) for dtype, under in bench.precisions() if not bench.results.has("speed", f"{name} {dtype}")
        ]
        if not missing:
            continue
        model = bench.lab.lm.model
        if method != "dense":
            _decompose(bench, method, metric, "speed")
            bench.lab.keep(kept, budget=budget)
            model = bench.lab.present.model
        for dtype, under in missing:
            with under():
                seconds = _pass_seconds(bench, model, tokens)
            bench.results.put("speed", f"{name} {dtype}", tokens.numel() / seconds)
            print(f"     speed  {name} {dtype}: {tokens.numel() / seconds:,.0f} tokens/s", flush=True)


def heal(bench: Bench) -> None:
    """The perplexity before and after a short retraining of the factors."""
    for method, metric, budget in HEALED:
        name = _name(method, metric, budget, HEALED_SHARE)
        if bench.results.has("heal", name):
            continue
        _decompose(bench, method, metric, "heal")
        bench.lab.keep(HEALED_SHARE, budget=budget)
        before = bench.lab.evaluate()
        with bench.timed("heal", name):
            report = bench.lab.heal(bench.sizes.heal_steps, progress=quarters)
        after = bench.lab.evaluate()
        row = {"before": before.perplexity_ratio, "after": after.perplexity_ratio, "steps": report.steps}
        row |= {"best_step": report.best_step, "learning_rate": report.learning_rate, "ended": report.ended}
        bench.results.put("heal", name, row)
        print(f"      heal  {name}: {row['before']:.4f} to {row['after']:.4f} of dense", flush=True)


def quarters(what: str, done: int, total: int) -> None:
    """Prints how far a slow step is, four times on its way."""
    if done * 4 // total > (done - 1) * 4 // total:
        print(f"{what:>10}  {done} of {total}", flush=True)


def _decompose(bench: Bench, method: str, metric: str, stage: str) -> None:
    """Decomposes anew, unless the lab is so already. Calibration, if it was missing, is not in its seconds."""
    recipe = bench.lab.recipe
    if recipe is not None and (recipe.method, recipe.metric) == (method, metric):
        return
    print(f"{stage:>10}  decomposing: {method}, {metric} metric", flush=True)
    bench.lab.decompose(method, metric, progress=quarters)
    if not bench.results.has("seconds", f"decompose {method} {metric}"):
        bench.results.put("seconds", f"decompose {method} {metric}", bench.lab.seconds["decompose"])


def _estimates(lab: CompressionLab) -> Iterator[int]:
    """How many tokens each estimate of the present setting stands for."""
    for point in lab.refine():
        yield point.estimate.n_tokens


def _pass_seconds(bench: Bench, model: nn.Module, tokens: torch.Tensor) -> float:
    """The median seconds of one forward pass over `tokens` (b, t)."""
    times = []
    with torch.inference_mode():
        for _ in range(3 + 10):  # three to warm up
            bench.synchronize()
            start = time.perf_counter()
            model(tokens, use_cache=False)
            bench.synchronize()
            times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def _scores(point: Point) -> dict:
    score = point.estimate
    return {
        "kept_params": point.kept_params,
        "perplexity": score.perplexity,
        "perplexity_ratio": score.ratio,
        "perplexity_ratio_error": score.ratio_error,
        "kl": score.kl,
        "n_tokens": score.n_tokens,
        "seconds": point.seconds,
    }


def _name(method: str, metric: str, budget: str, kept: float) -> str:
    return " ".join(part for part in (method, metric, budget, f"{kept}") if part)
