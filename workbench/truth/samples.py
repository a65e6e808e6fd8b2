"""Somebody's own measured strings: their empirical distribution, an estimate and labelled as one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench.truth.listed import ListedSource
from workbench.truth.parity import BITS
from workbench.truth.source import Description
from workbench.truth.strings import check_alphabet

_SUFFIXES = (".csv", ".txt", ".npy")


def from_samples(data: str | Path | np.ndarray | Tensor, alphabet: Sequence[str] = BITS) -> ListedSource:
    """Strings as measured, each as probable as it was frequent; every answer is an estimate of the unknown truth.

    An array holds a string a row, symbols by number from 0; so does a file .npy. A file .csv or .txt has a string a
    line, its symbols written as in `alphabet` with commas or blanks between them, or nothing. Entropy and mutual
    information are those of the samples: of few samples the entropy comes out too low, the information too high.
    Raises FileNotFoundError, or ValueError for what holds no strings of one length over the alphabet: the message tells
    the line or the row.
    """
    check_alphabet(alphabet)
    where = "the array"
    if isinstance(data, str | Path):
        path = Path(data)
        where = path.name
        _check_path(path)
        rows = _loaded(path) if path.suffix == ".npy" else _read(path, alphabet)
    else:
        rows = data.detach().cpu().numpy() if isinstance(data, Tensor) else data
    strings, counts = torch.unique(_symbols(rows, where, alphabet), dim=0, return_counts=True)
    told = f"{int(counts.sum())} samples of {strings.shape[1]} symbols, {len(strings)} different"
    return ListedSource(strings, counts.double(), tuple(alphabet), Description("samples", told, f"from {where}", False))


def _check_path(path: Path) -> None:
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"samples are read from {', '.join(_SUFFIXES)}, not from {path.name}.")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} to read samples from.")


def _loaded(path: Path) -> np.ndarray:
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as refused:
        raise ValueError(f"{path.name} is no array of numbers that NumPy reads without pickle: {refused}.") from refused
    if not isinstance(rows, np.ndarray):
        raise ValueError(f"{path.name} holds several arrays; save the one with the samples by numpy.save.")
    return rows


def _read(path: Path, alphabet: Sequence[str]) -> np.ndarray:
    numbers = {symbol: number for number, symbol in enumerate(alphabet)}
    rows: list[list[int]] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as refused:
        raise ValueError(f"{path.name} is no UTF-8 text; save it as CSV again.") from refused
    for place, line in enumerate(lines, 1):
        symbols = _split(line)
        if not symbols:
            continue
        unknown = [symbol for symbol in symbols if symbol not in numbers]
        if unknown:
            raise ValueError(
                f"line {place} of {path.name} holds {unknown[0]!r}, which is not in the alphabet {tuple(alphabet)}; "
                "give the file's alphabet, and no line of headings."
            )
        if rows and len(symbols) != len(rows[0]):
            raise ValueError(
                f"line {place} of {path.name} has {len(symbols)} symbols, but the lines before have {len(rows[0])}."
            )
        rows.append([numbers[symbol] for symbol in symbols])
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(rows[0]) if rows else 0)


def _split(line: str) -> list[str]:
    """The symbols of a line: between commas, or between blanks, or each character."""
    if "," in line:
        return [symbol.strip() for symbol in line.split(",")]
    words = line.split()
    return list(words[0]) if len(words) == 1 else words


def _symbols(rows: np.ndarray, where: str, alphabet: Sequence[str]) -> Tensor:
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{where} holds no strings: a row a string was needed, not shape {rows.shape}.")
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"{where} holds {rows.dtype}; symbols are numbers from 0 to {len(alphabet) - 1}.")
    wrong = np.argwhere(~np.isin(rows, np.arange(len(alphabet))))
    if len(wrong):
        row, site = wrong[0]
        raise ValueError(
            f"row {row} of {where} holds {rows[row, site]} at site {site}; the alphabet of {len(alphabet)} has the "
            f"numbers 0 to {len(alphabet) - 1}."
        )
    return torch.from_numpy(rows.astype(np.int64))
