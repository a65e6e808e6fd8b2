"""How far two results may differ before they are two results: one measure, and one tolerance for each dtype."""

import torch
from torch import Tensor

TOLERANCES = {torch.float64: 1e-10, torch.complex128: 1e-10, torch.float32: 1e-5, torch.complex64: 1e-5}


def tolerance(dtype: torch.dtype) -> float:
    """The largest relative error that rounding explains in `dtype`. Raises ValueError for dtypes of fewer digits."""
    if dtype not in TOLERANCES:
        raise ValueError(f"an equality cannot be measured in {dtype}; convert the arrays to float32 or float64.")
    return TOLERANCES[dtype]


def largest_relative_error(wanted: Tensor, found: Tensor) -> float:
    """max|found − wanted| / max|wanted|; 0/0 is 0. Raises ValueError for two shapes or dtypes."""
    if (wanted.shape, wanted.dtype) != (found.shape, found.dtype):
        has, wants = (f"{own.dtype} {tuple(own.shape)}" for own in (found, wanted))
        raise ValueError(f"the result is {has}, and {wants} is wanted.")
    if wanted.numel() == 0:
        return 0.0
    wanted, found = wanted.detach(), found.detach()
    largest, off = float(wanted.abs().max()), float((found - wanted).abs().max())
    return off / largest if largest else 0.0 if off == 0 else float("inf")
