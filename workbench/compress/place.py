"""Where in a transformer a weight matrix stands, as far as a method of decomposition may want to know."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """The kind of a matrix, its name within its block such as `W_QKV`, and the size of a head."""

    kind: str
    head_dim: int
