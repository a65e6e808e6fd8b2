"""The fields of a rewrite: each of the kind that its annotation says, and no name empty."""

import reprlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

NEEDED = {
    str: "a name",
    int: "a whole number",
    int | None: "a whole number or None",
    tuple[str, ...]: "a tuple of names",
    tuple[int, ...]: "a tuple of whole numbers",
    tuple[str, str, str]: "a tuple of three names",
}


def check_fields(kind: type, given: Mapping[str, object]) -> None:
    """Raises TypeError where a field is of another kind than its annotation, ValueError where a name is empty."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        value, wanted = given[field.name], hints[field.name]
        if not _fits(value, wanted):
            raise TypeError(
                f"{kind.__name__} has {field.name} {reprlib.repr(value)}; it needs {NEEDED.get(wanted, wanted)}."
            )
        for name in value if isinstance(value, tuple) else (value,):
            if isinstance(name, str) and not name.strip():
                raise ValueError(f"{kind.__name__} has {field.name} {value!r}; a name has one letter or more.")


def _fits(value: object, wanted: Any) -> bool:
    """Whether the value is of the kind; True and False are no numbers."""
    kinds = get_args(wanted)
    if get_origin(wanted) is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    return isinstance(value, kinds or wanted) and not isinstance(value, bool)
