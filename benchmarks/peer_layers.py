"""The forward pass of one layer 768 → 3072 in our forms, beside the dense layer and two libraries' tensor-train layers.

Part of `peers.py`. All forms are warm: what the first passes make (a dense matrix, merged cores) is made before.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import torch
import trains
from speed import Row, row
from torch import Tensor, nn

from workbench.compress.layers import BondLinear
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator
from workbench.decompose.protocol import Decomposition

N_ROWS = 1024
SHARES = (0.2, 0.4)
PAIR_BONDS = (1, 8, 64, 128, 256, 400, 600, 614, 700, 767)
TRAIN_BONDS = (1, 8, 32, 128, 256)
WARM = 8  # passes before any is timed
REPEATS = 11
LONGEST = 3.0
Call = Callable[[], object]


def in_turn(calls: Mapping[str, Call], repeats: int) -> dict[str, float]:
    """Median seconds of each, all called in turn after one round that is not counted.

    What took longer than `LONGEST` in that round is not called again, and those seconds are its own.
    """
    with torch.no_grad():
        first = {name: seconds_of(call) for name, call in calls.items()}
        again = {name: call for name, call in calls.items() if first[name] <= LONGEST}
        rounds = [{name: seconds_of(call) for name, call in again.items()} for _ in range(repeats)]
    return first | {name: statistics.median(seconds[name] for seconds in rounds) for name in again}


def seconds_of(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def dense_layer(n_in: int, n_out: int) -> nn.Linear:
    """A layer with the spectrum of a trained one."""
    torch.manual_seed(0)
    dense = nn.Linear(n_in, n_out).requires_grad_(False)
    dense.weight.data = trains.decaying_weight(n_in, n_out).T.contiguous()
    return dense


def layers(usable: frozenset[str]) -> Iterator[Row]:
    """Every setting of ours beside the dense layer, then ours beside theirs at equal numbers of parameters."""
    dense = dense_layer(*trains.SHAPE)
    weight = dense.weight.detach()
    x = torch.randn(N_ROWS, weight.shape[1])
    pair, fixed = LowRank.from_weight(weight), LowRank.from_weight(weight, gauge_fixed=True)
    operators = {sites: TrainOperator.from_weight(weight, sites) for sites in (2, 3, 4)}
    for bond in PAIR_BONDS:
        yield sweep_row(f"svd, bond {bond}", dense, cut(dense, pair, bond), x)
        yield sweep_row(f"gauge-fixed, bond {bond}", dense, cut(dense, fixed, bond), x)
        yield sweep_row(f"gauge-fixed and stored so, bond {bond}", dense, stored_fixed(dense, fixed, bond), x)
    for sites, uncut in operators.items():
        for bond in sorted({*(b for b in TRAIN_BONDS if b < uncut.full_bond), uncut.full_bond - 1}):
            yield sweep_row(f"mpo of {sites} sites, bond {bond}", dense, cut(dense, uncut, bond), x)
    for share in SHARES:
        n_params = share * weight.numel()
        ours = {"svd": cut(dense, pair, pair.bond_within(n_params))}
        ours["gauge-fixed"] = stored_fixed(dense, fixed, fixed.bond_within(n_params))
        for sites in (2, 3):
            ours[f"mpo of {sites} sites"] = cut(dense, operators[sites], operators[sites].bond_within(n_params))
        yield from equal_rows(dense, x, share, ours, usable)


def cut(dense: nn.Linear, uncut: Decomposition, bond: int) -> BondLinear:
    layer = BondLinear(dense, dense.bias, uncut)
    layer.cut(bond)
    return layer


def stored_fixed(dense: nn.Linear, pair: LowRank, bond: int) -> BondLinear:
    """The layer that runs the r (out + in) - r² numbers themselves."""
    layer = BondLinear(dense, dense.bias, pair)
    layer.put(pair.truncate(bond).fixed())
    return layer


def sweep_row(what: str, dense: nn.Linear, layer: BondLinear, x: Tensor) -> Row:
    for _ in range(WARM):
        layer(x)
    seconds = in_turn({"ours": lambda: layer(x), "dense": lambda: dense(x)}, REPEATS)
    return row(f"forward 768→3072, {what}", seconds["ours"] / seconds["dense"], 1.15, "of dense",
               form=layer.form(N_ROWS), n_params=layer.now.n_params,
               seconds=seconds["ours"], dense_seconds=seconds["dense"])  # fmt: skip


def equal_rows(
    dense: nn.Linear, x: Tensor, share: float, ours: Mapping[str, BondLinear], usable: frozenset[str]
) -> Iterator[Row]:
    """Our forms and theirs with at most this share of the parameters; theirs are trains of the same shapes as ours."""
    calls: dict[str, Call] = {"dense": lambda: dense(x)}
    for name, layer in ours.items():
        calls[name] = lambda layer=layer: layer(x)
        for _ in range(WARM):
            layer(x)
    theirs: dict[str, tuple[nn.Module, float]] = {}
    for sites in (2, 3):
        train = ours[f"mpo of {sites} sites"].now
        assert isinstance(train, TrainOperator)
        for package, (build, target) in PEER_LAYERS.items():
            if package in usable:
                name = f"{package} of {sites} sites"
                layer, given = build(dense, train, x)
                theirs[name] = layer, target
                calls[name] = lambda layer=layer, given=given: layer(given)
    seconds = in_turn(calls, 5)
    for name, layer in ours.items():
        yield row(f"forward 768→3072 at {share} of the parameters, {name}", seconds[name] / seconds["dense"], 1.15,
                  "of dense", form=layer.form(N_ROWS), n_params=layer.now.n_params, bond=layer.now.bond,
                  seconds=seconds[name], dense_seconds=seconds["dense"])  # fmt: skip
    for name, (layer, target) in theirs.items():
        n_params = sum(parameter.numel() for parameter in layer.parameters()) - dense.bias.numel()
        for own in ours:
            yield row(f"forward 768→3072 at {share} of the parameters, {own}, against {name}",
                      seconds[name] / seconds[own], target, "times faster", True, seconds=seconds[own],
                      peer_seconds=seconds[name], peer_n_params=n_params,
                      peer_of_dense=seconds[name] / seconds["dense"])  # fmt: skip


def tltorch_layer(dense: nn.Linear, train: TrainOperator, x: Tensor) -> tuple[nn.Module, Tensor]:
    """tensorly-torch's factorized layer of the same matrix, and what it is given."""
    from tltorch import FactorizedLinear  # pyright: ignore[reportMissingImports]

    layer = FactorizedLinear.from_linear(
        dense, rank=(1, *train.train.bonds, 1), auto_tensorize=False,
        in_tensorized_features=train.in_dims, out_tensorized_features=train.out_dims,
        factorization="blocktt", implementation="factorized",
    )  # fmt: skip
    return layer.requires_grad_(False), x


def torchtt_layer(dense: nn.Linear, train: TrainOperator, x: Tensor) -> tuple[nn.Module, Tensor]:
    """torchTT's layer of the same matrix, whose cores must be put there by hand, and what it is given."""
    from torchtt.nn import LinearLayerTT  # pyright: ignore[reportMissingImports]

    layer = LinearLayerTT(list(train.in_dims), list(train.out_dims), [1, *train.train.bonds, 1]).requires_grad_(False)
    for parameter, core in zip(layer.cores, train.cores, strict=True):
        parameter.data = core.contiguous()
    layer.bias.data = dense.bias.reshape(train.out_dims)
    return layer, x.reshape(-1, *train.in_dims)


# How each library's layer is made, and how many times faster ours is to be.
PEER_LAYERS: dict[str, tuple[Callable[[nn.Linear, TrainOperator, Tensor], tuple[nn.Module, Tensor]], float]] = {
    "tensorly-torch": (tltorch_layer, 2.5),
    "torchTT": (torchtt_layer, 5.0),
}


def trial(package: str) -> None:
    """Makes and runs a small layer of one library; raises ValueError if it is not the matrix of its cores."""
    dense = dense_layer(12, 18)
    train = TrainOperator.from_weight(dense.weight.detach(), 2)
    x = torch.randn(5, 12)
    layer, given = PEER_LAYERS[package][0](dense, train, x)
    apart = float((layer(given).reshape(5, 18) - dense(x)).abs().max())
    if apart > 1e-4:
        raise ValueError(f"its layer is {apart:.1g} from the dense one, of which it is the whole train.")
