"""Born machines beside the matrix product states of tensorkrowch and quimb, in one run: data/results/born_speed.json.

The same cores of bond 16 on the same 1,437 binary images of 64 pixels, float64. All sides of a comparison are called in
turn and medians taken. quimb has no batch of strings: it is compared as it is, one contraction a string (timed on 40 of
them), and as a batched sweep over its tensors, which is ours.
"""

import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version

import torch
from peer_layers import in_turn
from speed import RESULTS, Row, row
from torch import Tensor

from workbench.born.density_pass import drawn_share, one_pass
from workbench.born.digits import digits
from workbench.born.gradient_fit import FitRecipe, fit
from workbench.born.machine import BornMachine
from workbench.truth.strings import numbered_strings
from workbench.whole_files import write_json

BOND, BATCH, REPEATS, FEW = 16, 128, 5, 40


def with_tensorkrowch(cores: list[Tensor], onehot: Tensor) -> tuple[Callable[[], Tensor], Callable[[], None]]:
    """All amplitudes, and an epoch of Adam on the normalised likelihood; the norm is a plain sweep over its cores."""
    import tensorkrowch  # pyright: ignore[reportMissingImports]

    def made():
        mps = tensorkrowch.models.MPS(tensors=[cores[0][0], *cores[1:-1], cores[-1][:, :, 0]], boundary="obc")
        mps.trace(onehot[:1], inline_input=True, inline_mats=True)
        return mps

    scored, learning = made(), made()
    optimizer = torch.optim.Adam(learning.parameters(), lr=1e-3)

    def log_norm() -> Tensor:
        ends = learning._left_node.tensor, learning._right_node.tensor
        joined = torch.ones(1, 1)
        for k, node in enumerate(learning.mats_env):
            core = node.tensor
            if k == 0 and core.shape[0] != 1:
                core = torch.tensordot(ends[0], core, dims=1)[None]
            if k == len(learning.mats_env) - 1 and core.shape[-1] != 1:
                core = (core @ ends[1])[..., None]
            joined = torch.einsum("ac,asb,csd->bd", joined, core, core)
        return joined.log().squeeze()

    def amplitudes() -> Tensor:
        with torch.no_grad():
            return scored(onehot, inline_input=True, inline_mats=True).flatten()

    @torch.enable_grad()
    def epoch() -> None:
        for rows in torch.randperm(len(onehot)).split(BATCH):
            said = learning(onehot[rows], inline_input=True, inline_mats=True).flatten()
            (log_norm() - 2 * said.abs().log().mean()).backward()
            optimizer.step()
            optimizer.zero_grad()

    return amplitudes, epoch


def with_quimb(cores: list[Tensor], strings: Tensor) -> tuple[Callable[[], list], Callable[[], Tensor]]:
    """The amplitudes of a few strings, each contracted by itself, and all of them by a batched sweep."""
    import quimb.tensor

    arrays = [cores[0][0], *cores[1:-1], cores[-1][:, :, 0]]
    mps = quimb.tensor.MatrixProductState([array.numpy() for array in arrays], shape="lpr")
    tensors = [torch.from_numpy(tensor.data) for tensor in mps.tensors]

    def one_by_one() -> list:
        chosen = ({f"k{site}": bit for site, bit in enumerate(string)} for string in strings[:FEW].tolist())
        return [mps.isel(indices).contract(optimize="greedy") for indices in chosen]

    def swept() -> Tensor:
        rows = tensors[0].reshape(-1, 2).T[strings[:, 0]]
        for site in range(1, len(tensors) - 1):
            rows = torch.einsum("na,nab->nb", rows, tensors[site].movedim(-1, 0)[strings[:, site]])
        return (rows * tensors[-1].reshape(-1, 2).T[strings[:, -1]]).sum(1)

    return one_by_one, swept


def main() -> None:
    """Measures, prints, and writes the file."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    strings = digits().train
    machine = BornMachine.random([2] * 64, BOND, torch.Generator().manual_seed(0))
    cores, onehot = list(machine.train.cores), torch.nn.functional.one_hot(strings, 2).double()
    ours = machine.log_prob(strings)
    krowch, epoch = with_tensorkrowch(cores, onehot)
    one_by_one, swept = with_quimb(cores, strings)
    agree = max(float((2 * amplitudes.abs().log() - ours).abs().max()) for amplitudes in (krowch(), swept()))
    run = fit(machine, strings, FitRecipe(rounds=10_000, batch=BATCH, patience=10_000)).run()
    scored = {"ours": lambda: machine.log_prob(strings), "tensorkrowch": krowch, "quimb": one_by_one, "swept": swept}
    seconds = in_turn(scored, REPEATS)
    seconds["quimb"] *= len(strings) / FEW
    epochs = in_turn({"ours": torch.enable_grad()(lambda: next(run)), "tensorkrowch": epoch}, REPEATS)
    even = numbered_strings(torch.arange(2**16), 16, 2)
    even = drawn_share(even[even.sum(1) % 2 == 0], 0.2, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    alone = in_turn(
        {"one pass": lambda: one_pass(even, 2), "sample": lambda: machine.sample(10_000, generator)}, REPEATS
    )
    what = f"log_prob of {len(strings):,} strings of 64 sites, bond {BOND}, against"
    rows: list[Row] = [
        row(f"{what} tensorkrowch", seconds["tensorkrowch"] / seconds["ours"], 3, "times faster", True),
        row(f"{what} quimb, a string at a time", seconds["quimb"] / seconds["ours"], 3, "times faster", True),
        row(f"{what} quimb's tensors in a sweep of ours", seconds["swept"] / seconds["ours"], 3, "times faster", True),
        row(f"training epoch, batch {BATCH}, against tensorkrowch", epochs["tensorkrowch"] / epochs["ours"], 3,
            "times faster", True),
        row("one pass on a fifth of the even strings of 16 bits", alone["one pass"], 0.2, "s"),
        row(f"10,000 strings of 64 sites drawn, bond {BOND}", alone["sample"], 1, "s"),
    ]  # fmt: skip
    for entry in rows:
        print(f"{' ' if entry['reached'] else '!'} {entry['what']}: {entry['measured']:.3g} {entry['unit']}")
    record = {
        "machine": {"cores": os.cpu_count(), "threads": 1, "cpu": torch.backends.cpu.get_cpu_capability()},
        "versions": {name: version(name) for name in ("torch", "tensorkrowch", "quimb")}
        | {"python": platform.python_version()},
        "largest_difference": agree, "seconds": seconds, "epoch_seconds": epochs, "rows": rows,
    }  # fmt: skip
    write_json(RESULTS.with_name("born_speed.json"), json.loads(json.dumps(record)))


if __name__ == "__main__":
    main()
