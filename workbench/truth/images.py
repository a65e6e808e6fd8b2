"""Small black and white images with a simple rule."""

import torch

from workbench.truth.listed import ListedSource
from workbench.truth.parity import BITS
from workbench.truth.source import Description
from workbench.truth.strings import numbered_strings

_LONGEST_SIDE = 14


def bars_and_stripes(rows: int, columns: int) -> ListedSource:
    """Images whose rows are each of one colour, or whose columns are, equally probable; a string is row by row.

    There are 2^rows + 2^columns - 2. Source: MacKay (2003); learned by Han et al. (2018).
    Raises ValueError for a side below 2 or above 14.
    """
    if not 2 <= min(rows, columns) <= max(rows, columns) <= _LONGEST_SIDE:
        raise ValueError(f"an image has sides of 2 to {_LONGEST_SIDE}, not {rows} x {columns}.")
    lying = numbered_strings(torch.arange(2**rows), rows, 2)[:, :, None].expand(-1, rows, columns)
    standing = numbered_strings(torch.arange(2**columns), columns, 2)[:, None, :].expand(-1, rows, columns)
    images = torch.unique(torch.cat([lying.flatten(1), standing.flatten(1)]), dim=0)
    description = Description("bars and stripes", f"{rows} x {columns}", "counted")
    return ListedSource(images, torch.ones(len(images), dtype=torch.float64), BITS, description)
