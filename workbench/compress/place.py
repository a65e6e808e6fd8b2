"""Where in a transformer a weight matrix stands, as far as a method of decomposition may want to know."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """The kind of a matrix and the size of a head: `W_QKV` and such, its name within its block, or `W_E` or `W_U`."""

    kind: str
    head_dim: int
