"""A user's own strings, from arrays and from files, and what is wrong with files that hold none."""

import math

import numpy as np
import pytest
import torch

from workbench.truth.parity import even_parity
from workbench.truth.samples import from_samples

FOUR = np.array([[0, 1, 1], [0, 1, 1], [1, 0, 0], [0, 1, 1]])


def assert_the_four(source) -> None:
    assert source.strings.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert source.weights.tolist() == [0.75, 0.25]
    assert source.entropy() == pytest.approx(2 * math.log(2) - 0.75 * math.log(3))
    assert source.describe().exact is False


@pytest.mark.parametrize(
    "text",
    [
        "0,1,1\n0,1,1\n1,0,0\n0,1,1\n",
        "011\n011\n100\n011",
        "\ufeff0 1 1\r\n0 1 1\r\n\r\n1 0 0\r\n0 1 1\r\n",
        "0, 1, 1\n\n 011 \n1\t0\t0\n0,1,1\n\n",
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_strings_are_read_however_they_are_separated(tmp_path, text, suffix):
    path = tmp_path / f"shots{suffix}"
    path.write_text(text, encoding="utf-8")
    source = from_samples(path)
    assert_the_four(source)
    assert str(source.describe()) == (
        f"samples (4 samples of 3 symbols, 2 different); from shots{suffix}; an estimate, in nats"
    )


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint16, np.int64, np.float32])
def test_arrays_of_any_numbers_are_read_from_npy_and_from_memory(tmp_path, kind):
    np.save(tmp_path / "shots.npy", FOUR.astype(kind))
    assert_the_four(from_samples(str(tmp_path / "shots.npy")))
    assert_the_four(from_samples(FOUR.astype(kind)))
    assert_the_four(from_samples(torch.from_numpy(FOUR.astype(kind))))
    assert from_samples(FOUR.astype(kind)).describe().origin == "from the array"


def test_other_alphabets_are_numbered_as_given(tmp_path):
    path = tmp_path / "bases.csv"
    path.write_text("ACGT\nTGCA\nACGT\n")
    source = from_samples(path, "ACGT")
    assert source.alphabet == ("A", "C", "G", "T")
    assert source.strings.tolist() == [[0, 1, 2, 3], [3, 2, 1, 0]]
    path.write_text("up,down,down\ndown,up,down\n")
    assert from_samples(path, ("up", "down")).strings.tolist() == [[0, 1, 1], [1, 0, 1]]


def test_many_samples_of_long_strings_come_near_the_truth():
    truth = even_parity(6)
    drawn = truth.sample(20_000, torch.Generator().manual_seed(0))
    estimate = from_samples(drawn)
    assert estimate.entropy() == pytest.approx(truth.entropy(), abs=0.01)
    assert estimate.entropy() < truth.entropy()
    assert estimate.mutual_information(0, 3) > 0
    assert estimate.log_prob(torch.tensor([[1, 0, 0, 0, 0, 0]])).tolist() == [-math.inf]
    long = from_samples(torch.randint(0, 2, (3000, 100)))
    assert torch.isfinite(long.log_prob(long.sample(500, torch.Generator().manual_seed(0)))).all()
    with pytest.raises(ValueError, match="3000 different strings are listed, and a train is made of at most 1024"):
        long.mps()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("011\n0110\n", "line 2 of shots.csv has 4 symbols, but the lines before have 3"),
        ("\n011\n\n01\n", "line 4 of shots.csv has 2 symbols, but the lines before have 3"),
        ("011\n012\n", r"line 2 of shots.csv holds '2', which is not in the alphabet \('0', '1'\)"),
        (
            "bit 0,bit 1\n0,1\n",
            "line 1 of shots.csv holds 'bit 0', .*; give the file's alphabet, and no line of headings",
        ),
        ("0,1,\n", "line 1 of shots.csv holds ''"),
        ("", r"shots.csv holds no strings: a row a string was needed, not shape \(0, 0\)"),
        ("\n \n", "shots.csv holds no strings"),
    ],
)
def test_a_text_that_holds_no_strings_says_where(tmp_path, text, message):
    (tmp_path / "shots.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        from_samples(tmp_path / "shots.csv")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5, dtype=int), r"the array holds no strings: a row a string was needed, not shape \(5,\)"),
        (np.zeros((0, 4), dtype=int), r"holds no strings: .* not shape \(0, 4\)"),
        (np.zeros((3, 0)), r"holds no strings: .* not shape \(3, 0\)"),
        (np.array([["0", "1"]]), "the array holds <U1; symbols are numbers from 0 to 1"),
        (
            np.array([[0, 1, 1], [0, 3, 0]]),
            "row 1 of the array holds 3 at site 1; the alphabet of 2 has the numbers 0 to 1",
        ),
        (np.array([[0, -1]]), "row 0 of the array holds -1 at site 1"),
        (np.array([[0.5, 1.0]]), "row 0 of the array holds 0.5 at site 0"),
        (np.array([[1.0, np.nan]]), "row 0 of the array holds nan at site 1"),
    ],
)
def test_an_array_that_holds_no_strings_says_where(array, message):
    with pytest.raises(ValueError, match=message):
        from_samples(array)


def test_files_that_are_none_of_the_three_kinds_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.csv to read samples from"):
        from_samples(tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*folder\.csv"):
        from_samples(tmp_path / "folder.csv")
    with pytest.raises(ValueError, match=r"read from \.csv, \.txt, \.npy, not from shots\.parquet"):
        from_samples(tmp_path / "shots.parquet")
    (tmp_path / "latin.csv").write_bytes("0é1".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.csv is no UTF-8 text"):
        from_samples(tmp_path / "latin.csv")
    (tmp_path / "text.npy").write_text("011\n")
    with pytest.raises(ValueError, match=r"text\.npy is no array of numbers that NumPy reads without pickle"):
        from_samples(tmp_path / "text.npy")
    np.save(tmp_path / "objects.npy", np.array([[0, None]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"objects\.npy is no array of numbers that NumPy reads without pickle"):
        from_samples(tmp_path / "objects.npy")
    np.savez(tmp_path / "several.npz", a=FOUR, b=FOUR)
    (tmp_path / "several.npz").rename(tmp_path / "several.npy")
    with pytest.raises(ValueError, match=r"several\.npy holds several arrays"):
        from_samples(tmp_path / "several.npy")
