"""The bonds of a compressed model as a mapping: `bond["blocks.5.mlp.W_in"] = 64` cuts one."""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches

from workbench.compress.layers import BondLinear


class Bonds(Mapping[str, int]):
    """The present bond of every matrix by name. Setting one slices, and tells the lab that something moved.

    A train of several bonds takes one size for all of them, or a tuple with one a bond.
    """

    def __init__(
        self,
        layers: Callable[[], Mapping[str, BondLinear]],
        moving: Callable[[], None],
        moved: Callable[[str, int | tuple[int, ...]], None],
    ) -> None:
        self._layers = layers
        self._moving = moving
        self._moved = moved

    def __getitem__(self, name: str) -> int:
        return self._layers()[self.checked(name)].bond

    def __setitem__(self, name: str, bond: int | tuple[int, ...]) -> None:
        layer = self._layers()[self.checked(name)]
        try:
            layer.uncut.truncate(bond)  # pyright: ignore[reportArgumentType]  # refused before anything has moved
            self._moving()
            layer.cut(bond)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{name}: {error}") from None
        self._moved(name, bond)

    def __contains__(self, name: object) -> bool:
        return name in self._layers()

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers())

    def __len__(self) -> int:
        return len(self._layers())

    def __repr__(self) -> str:
        return f"Bonds({dict(self)})"

    def checked(self, name: str) -> str:
        """`name`, if it is a matrix of the model. Raises ValueError, with the nearest names, if not."""
        return checked_name(name, list(self._layers()))


def checked_name(name: str, names: list[str]) -> str:
    """`name`, if it is one of the matrices. Raises ValueError, with the nearest names, if not."""
    if name not in names:
        near = get_close_matches(name, names, 3, 0.4) or names[:3]
        raise ValueError(f"there is no matrix {name!r} in this model; did you mean {' or '.join(near)}?")
    return name
