"""Our decompositions and layers beside those of five libraries, in one run: data/results/peers.json.

`python benchmarks/peers.py [--only decompositions | layers]` (then only printed). All sides of a comparison are called
in turn and medians taken. A library that is not there is written down with its error, and the others go on.
"""

import argparse
import importlib
import json
import os
import platform
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

import peer_layers
import torch
import trains
from jaxtyping import Float
from peer_layers import in_turn
from speed import RESULTS, Row, row
from torch import Tensor

from workbench import load
from workbench.decompose.operator import TrainOperator
from workbench.decompose.orders import contract_chain
from workbench.transformer.matrices import block_matrices
from workbench.whole_files import write_json

SITES = (2, 3, 4)
BONDS = (64, 128)
REPEATS = 5
ROUNDING = 1e-6  # relative errors of float32 numbers where no bond is cut
MODULES = {
    "tensorly": "tensorly",
    "tensorly-torch": "tltorch",
    "torchTT": "torchtt",
    "tensorkrowch": "tensorkrowch",
    "tntorch": "tntorch",
}
HOW = (
    "Seconds are medians of calls in turn; what takes over 3 s is called once. Errors are Frobenius norms of what is "
    "missing over that of the weight. Ours decomposes at all bonds and is then cut by a slice; the others cut as they "
    "go, so that where two or more bonds are cut, they fit the second cut to the first. Layers are warm, no gradients."
)
Cores = tuple[Float[Tensor, "_ _ _ _"], ...]  # (left, out, in, right)


@dataclass(frozen=True, eq=False)
class Case:
    """A weight (out, in), the dimensions of its sites, and the cap on its bonds."""

    name: str
    weight: Tensor
    out_dims: tuple[int, ...]
    in_dims: tuple[int, ...]
    full_bonds: tuple[int, ...]
    bond: int

    @classmethod
    def of(cls, name: str, weight: Tensor, sites: int, bond: int) -> "Case":
        """In the dimensions that ours chooses."""
        uncut = TrainOperator.from_weight(weight, sites)
        return cls(name, weight, uncut.out_dims, uncut.in_dims, uncut.train.full_bonds, bond)

    @property
    def sites(self) -> int:
        return len(self.out_dims)

    @property
    def what(self) -> str:
        return f"MPO of {self.name}, {self.sites} sites, bond {self.bond}"

    def ours(self) -> Cores:
        return TrainOperator.from_weight(self.weight, self.sites).truncate(self.bond).cores


def with_tensorly(case: Case) -> Cores:
    from tensorly.decomposition import tensor_train_matrix

    ranks = [1, *(min(case.bond, full) for full in case.full_bonds), 1]
    return tuple(tensor_train_matrix(case.weight.reshape(*case.out_dims, *case.in_dims), rank=ranks))


def with_torchtt(case: Case) -> Cores:
    from torchtt import TT  # pyright: ignore[reportMissingImports]

    return tuple(TT(case.weight, list(zip(case.out_dims, case.in_dims, strict=True)), rmax=case.bond).cores)


def with_tensorkrowch(case: Case) -> Cores:
    from tensorkrowch.decompositions import mat_to_mpo  # pyright: ignore[reportMissingImports]

    paired = [axis for k in range(case.sites) for axis in (k, case.sites + k)]
    legs = case.weight.reshape(*case.out_dims, *case.in_dims).permute(paired)
    first, *middle, last = mat_to_mpo(legs, rank=case.bond)  # (out, right, in), (left, out, right, in), (left, out, in)
    between = (core.permute(0, 1, 3, 2) for core in middle)
    return (first.permute(0, 2, 1)[None], *between, last[..., None])


def with_tntorch(case: Case) -> Cores:
    from tntorch import TTMatrix  # pyright: ignore[reportMissingImports]

    return tuple(TTMatrix(case.weight, [case.bond] * (case.sites - 1), list(case.out_dims), list(case.in_dims)).cores)


# How many times faster ours is to be, and the numbers of sites at which each is called: tntorch takes long.
PEERS: dict[str, tuple[Callable[[Case], Cores], float, tuple[int, ...]]] = {
    "tensorly": (with_tensorly, 3.0, SITES),
    "torchTT": (with_torchtt, 3.0, SITES),
    "tensorkrowch": (with_tensorkrowch, 3.0, SITES),
    "tntorch": (with_tntorch, 50.0, (3,)),
}


def tried() -> dict[str, dict[str, str | None]]:
    """Each library's version, and the first line of the error where it is not there or fails on a small matrix."""
    found = {}
    for package, module in MODULES.items():
        here, problem = None, "not installed"
        if find_spec(module):
            here, problem = version(package), None
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # torchTT says at each import that it runs without its C++ part
                    imported = importlib.import_module(module)
                if package == "tensorly":
                    imported.set_backend("pytorch")
                if package in PEERS:
                    case = Case.of("trial", torch.arange(192.0).reshape(12, 16).sin(), 3, 4)
                    relative_error(case, PEERS[package][0](case))
                if package in peer_layers.PEER_LAYERS:
                    peer_layers.trial(package)
            except (ImportError, AttributeError, OSError, RuntimeError, ValueError, TypeError, IndexError) as error:
                problem = first_line(error)
        found[package] = {"version": here, "error": problem}
    return found


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def cases() -> Iterator[Case]:
    """A matrix with the spectrum of a trained one, and a trained one."""
    trained = block_matrices(load("pygpt").model)["blocks.3.mlp.W_in"].weight.contiguous()
    for name, weight in (("768×3072", trains.decaying_weight(*trains.SHAPE)), ("pygpt's W_in of block 3", trained)):
        for sites in SITES:
            for bond in BONDS:
                yield Case.of(name, weight, sites, bond)


def decompositions(usable: frozenset[str]) -> Iterator[Row]:
    """Ours holds every bond and is then cut by a slice; theirs is made for one bond."""
    for case in cases():
        yield from compare(case, usable)


def compare(case: Case, usable: frozenset[str]) -> Iterator[Row]:
    """One row for each library on one case; errors are relative Frobenius norms, taken in float64."""
    asked = {name: (make, target) for name, (make, target, sites) in PEERS.items() if case.sites in sites}
    makers = {"ours": Case.ours} | {name: make for name, (make, _) in asked.items() if name in usable}
    made: dict[str, Cores] = {}

    def call(name: str) -> None:
        made[name] = makers[name](case)

    seconds = in_turn({name: partial(call, name) for name in makers}, REPEATS)
    errors = {name: relative_error(case, cores) for name, cores in made.items()}
    for name in list(makers)[1:]:
        apart = abs(errors[name] - errors["ours"])
        yield row(
            f"{case.what}, against {name}", seconds[name] / seconds["ours"], asked[name][1], "times faster", True,
            sites=case.sites, bond=case.bond, seconds=seconds["ours"], peer_seconds=seconds[name],
            error=errors["ours"], peer_error=errors[name],
            errors_agree=apart <= max(1e-5 * errors["ours"], ROUNDING),
        )  # fmt: skip


def relative_error(case: Case, cores: Cores) -> float:
    """Of the matrix that the cores stand for; raises ValueError if a bond is larger than was asked for."""
    bonds = [core.shape[0] for core in cores[1:]]
    if max(bonds) > case.bond:
        raise ValueError(f"bonds {bonds} were made where at most {case.bond} was asked for.")
    legs = contract_chain([core.flatten(1, 2) for core in cores])
    paired = legs.reshape([size for pair in zip(case.out_dims, case.in_dims, strict=True) for size in pair])
    dense = paired.permute(*range(0, paired.ndim, 2), *range(1, paired.ndim, 2)).reshape(case.weight.shape)
    return trains.relative_error(case.weight, dense)


PARTS: dict[str, Callable[[frozenset[str]], Iterable[Row]]] = {
    "decompositions": decompositions,
    "layers": peer_layers.layers,
}


def main() -> None:
    """Measures both parts, or the one named, and writes the file if it measured them both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS)
    only = parser.parse_args().only
    peers = tried()
    for name, found in peers.items():
        print(f"  {name} {found['version'] or ''} {found['error'] or ''}")
    usable = frozenset(name for name, found in peers.items() if found["error"] is None)
    rows = []
    for name, part in PARTS.items():
        for entry in part(usable) if only in (None, name) else ():
            rows.append(entry)
            mark = " " if entry["reached"] else "!"
            told = f"{entry['measured']:.3g} {entry['unit']}, wanted {entry['target']}"
            if not entry.get("errors_agree", True):
                told += f"; errors {entry['error']:.5f} and {entry['peer_error']:.5f}"
            print(f"{mark} {entry['what']}: {told}", flush=True)
    if only is None:
        machine = {
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
            "cpu": torch.backends.cpu.get_cpu_capability(),
        }
        versions = {"python": platform.python_version(), "torch": version("torch"), "numpy": version("numpy")}
        result = {"machine": machine, "versions": versions, "peers": peers, "how": HOW, "rows": rows}
        write_json(RESULTS.with_name("peers.json"), json.loads(json.dumps(result)))


if __name__ == "__main__":
    main()
