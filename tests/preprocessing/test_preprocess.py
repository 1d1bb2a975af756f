"""Arrays hold each case in its row, whatever happens while they are made."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from builders.plan import plan_of
from builders.raw import build_raw
from PIL import Image

from htunet.data.image_io import read_image, read_labels
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import RawDataset, read_raw
from htunet.errors import HtunetError
from htunet.planning.arrays import arrays_hash, check_arrays, raw_sha256
from htunet.preprocessing.geometry import box_of, mask_to_input, to_input
from htunet.preprocessing.preprocess import preprocess

NAMES = ["cases.csv", "checksums.json", "images.npy", "masks.npy", "preprocessed.json"]
PLAN = plan_of(geometry="letterbox", crop_border=True, input_size=(32, 48))
SCRIPT = """
from htunet.data.raw import read_raw
from htunet.paths import DatasetPaths
from htunet.preprocessing.preprocess import preprocess
from builders.plan import plan_of
from htunet import parallel
if __name__ == "__main__":
    parallel.THREADS_BELOW = 0  # else threads do it
    plan = plan_of(geometry="letterbox", crop_border=True, input_size=(224, 224))
    preprocess(read_raw(DatasetPaths("Dataset903_Tiny")), plan, "abc", workers=3)
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def raw(home: Path) -> RawDataset:
    return read_raw(build_raw(9, test=3, rule="8:2", groups=4))


def test_each_row_is_its_case(raw: RawDataset) -> None:
    made = preprocess(raw, PLAN, "abc")
    assert (made.cases, made.skipped, made.losing) == (12, False, {})
    assert sorted(contents(made.folder)) == NAMES
    found = PreprocessedDataset(made.folder)
    assert (found.images.shape, found.masks.shape) == ((12, 1, 32, 48), (12, 32, 48))
    assert found.images.dtype == found.masks.dtype == np.uint8
    for row, (case, source) in enumerate(zip(found.cases, sorted(raw.cases, key=lambda c: c.id), strict=True)):
        assert (case.id, case.class_name, case.group) == (source.id, source.class_name, source.group)
        image, mask = read_image(raw.image_path(source), 1), read_labels(raw.label_path(source))
        assert case.original_hw == mask.shape
        assert np.array_equal(found.images[row], to_input(image, box_of(case), PLAN))
        assert np.array_equal(found.masks[row], mask_to_input(mask, box_of(case), PLAN))


def test_the_bytes_do_not_depend_on_workers_or_case_order(raw: RawDataset) -> None:
    first = contents(preprocess(raw, PLAN, "abc").folder)
    other = replace(raw, cases=raw.cases[::-1])
    assert contents(preprocess(other, replace(PLAN, name="two"), "abc", workers=2).folder) == {
        **first,
        "preprocessed.json": first["preprocessed.json"].replace(b'"paper"', b'"two"'),
    }


def test_a_crop_that_cuts_lesion_is_reported_and_done_all_the_same(raw: RawDataset) -> None:
    case = raw.cases[1]
    image, mask = np.zeros((100, 200), np.uint8), np.zeros((100, 200), np.uint8)
    image[:, :150] = 90
    mask[10:20, 140:170] = 1
    Image.fromarray(image).save(raw.image_path(case))
    Image.fromarray(mask).save(raw.label_path(case))
    made = preprocess(raw, PLAN, "abc")
    assert made.losing == {case.id: 10 * (170 - 152)}  # two cells of one pixel and their margin
    assert PreprocessedDataset(made.folder).cases[1].crop_hw == (100, 152)
    assert preprocess(raw, PLAN, "abc").losing == made.losing


def test_nothing_is_done_twice(raw: RawDataset) -> None:
    made = preprocess(raw, PLAN, "abc")
    before = (made.folder / "images.npy").stat().st_ino
    assert preprocess(raw, replace(PLAN, num_epochs=9, batch_size=1), "abc").skipped
    assert (made.folder / "images.npy").stat().st_ino == before


def change_last_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))


@pytest.mark.parametrize("name", ["images.npy", "masks.npy", "cases.csv"])
def test_one_changed_bit_of_the_arrays_is_refused(raw: RawDataset, name: str) -> None:
    folder = preprocess(raw, PLAN, raw_sha256(raw.paths)).folder
    check_arrays(raw.paths, PLAN)
    change_last_byte(folder / name)
    with pytest.raises(HtunetError, match=rf"{name}: not what was written.*--plan paper$"):
        check_arrays(raw.paths, PLAN)
    assert not preprocess(raw, PLAN, raw_sha256(raw.paths)).skipped
    check_arrays(raw.paths, PLAN)


def test_arrays_of_earlier_versions_are_kept_if_their_sizes_fit(raw: RawDataset) -> None:
    folder = preprocess(raw, PLAN, raw_sha256(raw.paths)).folder
    (folder / "checksums.json").unlink()
    check_arrays(raw.paths, PLAN)
    assert preprocess(raw, PLAN, raw_sha256(raw.paths)).skipped
    os.truncate(folder / "images.npy", 5000)
    assert not preprocess(raw, PLAN, raw_sha256(raw.paths)).skipped
    assert (folder / "checksums.json").exists()


@pytest.mark.parametrize("change", ["raw", "size", "geometry", "crop", "cut short", "lost", "bits", "sums"])
def test_what_changed_is_made_again(raw: RawDataset, change: str) -> None:
    folder, plan, content = preprocess(raw, PLAN, "abc").folder, PLAN, "abc"
    if change == "raw":
        content = "def"
    elif change == "cut short":
        os.truncate(folder / "images.npy", 5000)
    elif change == "lost":
        (folder / "masks.npy").unlink()
    elif change == "bits":
        change_last_byte(folder / "images.npy")
    elif change == "sums":
        (folder / "checksums.json").write_text("{")
    else:
        changes = {
            "size": {"input_size": (48, 32)},
            "geometry": {"geometry": "stretch"},
            "crop": {"crop_border": False},
        }
        plan = replace(PLAN, **changes[change])
    assert not preprocess(raw, plan, content).skipped
    assert preprocess(raw, plan, content).skipped


def test_the_hash_is_of_what_the_arrays_depend_on() -> None:
    assert arrays_hash(PLAN) == arrays_hash(replace(PLAN, learning_rate=1.0, because={"x": "y"}))
    assert arrays_hash(PLAN) != arrays_hash(replace(PLAN, channels=3))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_names_the_file_and_leaves_the_old_arrays(raw: RawDataset, workers: int) -> None:
    folder = preprocess(raw, PLAN, "abc").folder
    before = contents(folder)
    raw.image_path(raw.cases[5]).write_bytes(b"not an image")
    with pytest.raises(HtunetError, match=r"case_0005_0000\.png"):
        preprocess(raw, PLAN, "def", workers=workers)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["paper"]


def wait_for(condition, seconds: float = 120.0) -> None:  # noqa: ANN001
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_run_leaves_the_old_state_and_the_next_one_makes_the_same_bytes(home: Path) -> None:
    raw = read_raw(build_raw(60, sizes=[(400, 500), (500, 420)]))
    large = replace(PLAN, input_size=(224, 224))
    folder = preprocess(raw, PLAN, "abc").folder
    old = contents(folder)
    script = home / "run.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, str(script)], env=environment)

    def images() -> list[Path]:
        return list(folder.parent.glob(".part-new-*-paper/images.npy"))

    try:
        # The middle row is written: half of the work is done.
        wait_for(lambda: bool(images()) and images()[0].stat().st_blocks * 512 > 30 * 224 * 224)
        children = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert contents(folder) == old
    wait_for(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))
    assert contents(preprocess(raw, large, "abc").folder) == contents(
        preprocess(raw, replace(large, name="undisturbed"), "abc").folder
    ) | {"preprocessed.json": (folder / "preprocessed.json").read_bytes()}
    assert not images()


def test_workers_never_import_torch(home: Path) -> None:
    build_raw(3)
    watched = SCRIPT + '    import sys\n    print([m for m in ("torch", "pandas", "matplotlib") if m in sys.modules])\n'
    (home / "run.py").write_text(watched.replace("workers=3", "workers=1"))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(home / "run.py")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
