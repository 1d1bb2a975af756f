"""Measurements come back as they were written, say what they are of, and are told from those of something else."""

from pathlib import Path

import numpy as np
import pytest

from htunet.data.measurements import is_measured, read_measurement, write_measurement
from htunet.errors import HtunetError
from htunet.files import file_hash

ABOUT = {"checkpoint": "ab", "levels": [0.0, 0.5], "images": ("a", "b")}


def test_arrays_and_their_description_come_back(tmp_path: Path) -> None:
    arrays = {"weights": np.arange(6.0).reshape(2, 3), "classes": np.array(["benign", ""])}
    write_measurement(tmp_path / "x.npz", arrays, ABOUT)
    found = read_measurement(tmp_path / "x.npz")
    assert found.arrays["weights"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.arrays["classes"].tolist() == ["benign", ""]
    assert found.about["checkpoint"] == "ab"


def test_what_was_measured_of_something_else_is_told_from_it(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    assert not is_measured(path, ABOUT)
    write_measurement(path, {"a": np.zeros(1)}, ABOUT)
    assert is_measured(path, ABOUT)
    assert not is_measured(path, ABOUT | {"checkpoint": "cd"})
    assert not is_measured(path, ABOUT | {"more": 1})


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + b"\0" * 18])
def test_a_broken_file_is_an_error_with_its_name_and_counts_as_not_measured(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(HtunetError, match=r"x\.npz"):
        read_measurement(path)
    assert not is_measured(path, ABOUT)


def test_a_file_that_holds_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, about=np.array({"format": 1}, dtype=object))
    with pytest.raises(HtunetError, match="cannot be read"):
        read_measurement(path)
    with pytest.raises(ValueError, match="objects"):
        write_measurement(path, {"a": np.array([{}], dtype=object)}, ABOUT)


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a").startswith("ba7816bf")
    with pytest.raises(HtunetError, match="missing"):
        file_hash(tmp_path / "b")
