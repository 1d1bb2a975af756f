"""What conversion measured is what planning would measure, and is used for files of exactly the same bytes alone."""

import hashlib
import shutil
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.busi import build_busi
from builders.raw import build_raw

from dataset_conversion import convert
from dataset_conversion.common import Options
from htunet.data import measured_case, verification
from htunet.data.duplicates import find_duplicates
from htunet.data.image_io import write_png
from htunet.data.measured_case import Files, MeasuredCase, MeasuredCases, load_measured, measure_case
from htunet.data.raw import read_raw
from htunet.data.verification import verify
from htunet.files import file_hash, read_json
from htunet.paths import DatasetPaths
from htunet.planning.fingerprint import hash_raw
from htunet.preprocessing.prepare import PrepareRequest, prepare

BUSI = DatasetPaths("Dataset503_BUSI")
REQUEST = PrepareRequest(plans=["paper"], preprocess=False)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def in_words(cases: Mapping[Any, MeasuredCase]) -> dict[Any, str]:
    """Every number of them, to be compared."""
    with np.printoptions(threshold=100_000, floatmode="unique"):
        return {key: repr(case) for key, case in cases.items()}


def save(path: Path, channels: int, cases: Mapping[Files, MeasuredCase]) -> dict[str, Files]:
    """Write the file, each case under an id of its own; returns the ids' files, to read it with."""
    measured, files = MeasuredCases(channels), {f"case_{number}": pair for number, pair in enumerate(cases)}
    for case_id, pair in files.items():
        measured.add(case_id, cases[pair], pair)
    measured.save(path)
    return files


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_stored_comes_back(tmp_path: Path, channels: int) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[3:20, 5:30], mask[30:33, 50:52] = 1, 7
    image = noise(channels, 40, 60)
    image[:, :, 45:] = 0  # the second lesion lies outside the field
    cases = {
        ("a" * 64, "b" * 64): measure_case(image, mask),
        ("a" * 64, ""): measure_case(image, None),
        ("c" * 64, "d" * 64): measure_case(image * 0, mask * 0),
    }
    assert cases["a" * 64, "b" * 64].overshoot > 0
    path = tmp_path / "measured.npz"
    files = save(path, channels, cases)
    found = load_measured(path, channels, files)
    assert {files[case]: text for case, text in in_words(found).items()} == in_words(cases)
    assert not load_measured(path, 4 - channels, files)
    assert not load_measured(path, channels, {"case_0": ("a" * 64, "c" * 64)})  # its mask is another one now
    copies = load_measured(path, channels, {"one": files["case_1"], "other": files["case_1"]})
    assert [*in_words(copies).values()] == [in_words(cases)[files["case_1"]]] * 2


def test_the_file_is_that_of_numpy(tmp_path: Path) -> None:
    cases = {("a" * 64, "b" * 64): measure_case(noise(1, 30, 30), noise(30, 30) // 200)}
    files = save(tmp_path / "measured.npz", 1, cases)
    with np.load(tmp_path / "measured.npz") as found:
        assert found["cases"]["image"].tolist() == [b"a" * 64]
        assert found["cases"]["histogram"].sum() == 900
        np.savez(tmp_path / "again.npz", **found)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "measured.npz").read_bytes()
    assert in_words(load_measured(tmp_path / "again.npz", 1, files))


def test_memory_holds_little_of_each_case(tmp_path: Path) -> None:
    one, measured = measure_case(noise(1, 30, 30), noise(30, 30) // 200), MeasuredCases(1)
    tracemalloc.start()
    for number in range(500):
        measured.add(f"case_{number:04d}", one, (f"{number:064x}", "b" * 64))
    measured.save(tmp_path / "measured.npz")
    files = {f"case_{number:04d}": (f"{number:064x}", "b" * 64) for number in range(500)}
    assert len(load_measured(tmp_path / "measured.npz", 1, files)) == 500
    assert find_duplicates(measured[case].signature for case in measured)[-1].second == 499
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500 * 1500  # 7,300 bytes are measured of each


def test_another_way_of_measuring_has_another_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When this fails because something is measured differently: raise FORMAT, and correct the numbers."""
    image, mask = np.full((1, 48, 96), 90, np.uint8), np.zeros((48, 96), np.uint8)
    image[0, :, 48:], image[0, 10:20, 10:20], mask[10:20, 10:20] = 2, 30, 1
    one = measure_case(image, mask)
    assert measured_case.FORMAT == 3
    assert (one.hw, one.field_hw, one.overshoot) == ((48, 96), (48, 49), 0)
    assert (one.lesion_pixels, one.lesion_sides, one.lesions) == (100, (10, 10), 1)
    assert one.signature.content == hashlib.sha256(b"(1, 48, 96)" + image.tobytes()).hexdigest()
    assert np.flatnonzero(one.histogram).tolist() == [2, 30, 90]
    files = save(tmp_path / "m.npz", 1, {("a", "b"): one})
    assert load_measured(tmp_path / "m.npz", 1, files)
    monkeypatch.setattr(measured_case, "FORMAT", 4)
    assert not load_measured(tmp_path / "m.npz", 1, files)


def test_conversion_measures_what_reading_its_files_does(home: Path) -> None:
    convert("BUSI", build_busi(home / "in").folder, Options())
    raw = read_raw(BUSI)
    files, measured = hash_raw(raw)[1], MeasuredCases(1)
    stored = load_measured(BUSI.measured_npz, 1, files)
    verify(raw, measured)
    assert set(files) == set(stored)
    assert in_words(stored) == in_words(measured)
    assert files[raw.cases[0].id] == (file_hash(raw.image_path(raw.cases[0])), file_hash(raw.label_path(raw.cases[0])))


def test_planning_reads_the_files_alone_that_have_changed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert("BUSI", build_busi(home / "in").folder, Options())
    raw, read = read_raw(BUSI), list[Path]()
    before, label = raw.cases[3], raw.label_path(raw.cases[3])
    changed = np.zeros_like(verification.read_labels(label))
    changed[2:4, 2:5] = 1
    write_png(label, changed)

    def reading(path: Path, channels: int) -> np.ndarray:
        read.append(path)
        return original(path, channels)

    original = verification.read_image
    monkeypatch.setattr(verification, "read_image", reading)
    found = prepare(BUSI, REQUEST).fingerprint
    assert read == [raw.image_path(before)]
    warnings = read_json(BUSI.warnings_json)["warnings"]
    shutil.rmtree(BUSI.preprocessed)
    assert prepare(BUSI, REQUEST).fingerprint == found
    assert read_json(BUSI.warnings_json)["warnings"] == warnings
    assert len(read) == 1 + len(raw.cases)


def test_what_is_known_is_judged_by_what_dataset_json_says_now(home: Path) -> None:
    raw = read_raw(build_raw(4))
    verify(raw, known := MeasuredCases(1))
    shutil.rmtree(raw.paths.raw / "imagesTr")
    write_png(raw.label_path(raw.cases[1]), np.full((9, 9), 5, np.uint8))
    known.add("case_0001", measure_case(noise(1, 9, 9), np.full((9, 9), 5, np.uint8)))
    assert [problem.kind for problem in verify(raw, known) if problem.severity == "error"] == ["unexpected_mask_values"]
    assert {problem.kind for problem in verify(raw)} >= {"missing_file"}


def test_damaged_bytes_are_measured_again(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "measured.npz"
    files = save(path, 1, {("a" * 64, "b" * 64): measure_case(noise(1, 30, 30), noise(30, 30) // 200)})
    content, whole = path.read_bytes(), in_words(load_measured(path, 1, files))
    assert not load_measured(tmp_path / "none.npz", 1, files)
    for position in range(0, len(content), 31):
        flipped = bytes([content[position] ^ 4])
        for damaged in (content[:position], content[:position] + flipped + content[position + 1 :]):
            path.write_bytes(damaged)
            assert in_words(load_measured(path, 1, files)) in (whole, {}), position
