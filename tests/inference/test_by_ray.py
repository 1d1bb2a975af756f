"""Very many images: workers that end are replaced, killed calls are continued, and each image is there once."""

import contextlib
import os
import signal
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from builders.processes import start_command
from builders.training import tiny_settings
from PIL import Image

from htunet.cli.predict import main
from htunet.errors import HtunetError
from htunet.files import read_csv, read_json
from htunet.inference import by_ray
from htunet.inference.by_ray import CHUNKS, collect, predict_chunk
from htunet.inference.folder import FolderResult
from htunet.inference.growing_folder import GrowingFolder
from htunet.paths import DatasetPaths
from htunet.training import record
from htunet.training.run import train

NEEDS_RAY = pytest.mark.skipif(
    find_spec("ray") is None or find_spec("pyarrow") is None, reason="Ray Data is not installed (htunet[ray])"
)


def add(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 255, (48, 40)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.{'png' if index % 2 else 'bmp'}")
    Image.fromarray(pixels).save(folder / "000.png")  # beside 000.bmp: names depend on all files
    return folder


def test_chunks_of_a_killed_call_are_taken_over_once(tmp_path: Path) -> None:
    output, called = tmp_path / "out", []
    files = {f"{name}.png": tmp_path / f"{name}.png" for name in "abcd"}
    for path in files.values():
        path.write_bytes(b"1")

    def predict(images: list[Path], names: list[str], tables: Path) -> FolderResult:
        called.append(names)
        rows = "".join(f"{path.name},benign,0.5\n" for path in images)
        (tables / "classes.csv").write_text(f"case,predicted,benign\n{rows}", encoding="utf-8")
        return FolderResult(predicted=list(images), images=[path.name for path in images])

    output.mkdir()
    growing = GrowingFolder(output, {"model": "m"}, files)
    groups = (["a.png", "b.png"], ["c.png"])
    chunks = [[(str(files[name]), name, name[0], growing.sizes[name]) for name in names] for names in groups]
    for chunk in (*chunks, chunks[0]):
        predict_chunk(predict, output, chunk)
    assert called == [["a", "b"], ["c"]]
    result = collect(growing, files)
    assert sorted(path.name for path in result.predicted) == ["a.png", "b.png", "c.png"]
    assert GrowingFolder(output, {"model": "m"}, files).done == {"a.png", "b.png", "c.png"}
    assert not (output / CHUNKS).exists()
    growing = GrowingFolder(output, {"model": "m"}, files)
    predict_chunk(predict, output, [(str(files["d.png"]), "d.png", "d", growing.sizes["d.png"])])
    collect(growing, files)
    assert sorted(row["case"] for row in read_csv(output / "classes.csv", ())) == ["a.png", "b.png", "c.png", "d.png"]


def test_an_image_that_was_replaced_after_the_kill_is_predicted_again(tmp_path: Path) -> None:
    output = tmp_path / "out"
    files = {f"{name}.png": tmp_path / f"{name}.png" for name in "abc"}
    for path in files.values():
        path.write_bytes(b"1")

    def predict(images: list[Path], names: list[str], tables: Path) -> FolderResult:
        rows = "".join(f"{path.name},{path.read_text(encoding='utf-8')}\n" for path in images)
        (tables / "classes.csv").write_text(f"case,predicted\n{rows}", encoding="utf-8")
        return FolderResult(predicted=list(images), images=[path.name for path in images])

    output.mkdir()
    growing = GrowingFolder(output, {"model": "m"}, files)
    for names in (["a.png", "b.png"], ["c.png"]):
        predict_chunk(predict, output, [(str(files[name]), name, name[0], growing.sizes[name]) for name in names])
    growing.finish([])
    (output / CHUNKS / "0123").mkdir()  # of an earlier version, which did not say of what files
    (output / CHUNKS / "0123" / "result.json").write_text('{"predicted": ["b.png"]}', encoding="utf-8")
    files["a.png"].write_bytes(b"2")
    os.utime(files["a.png"], ns=(0, 0))
    growing = GrowingFolder(output, {"model": "m"}, files)
    assert [path.name for path in collect(growing, files).predicted] == ["c.png"]
    assert GrowingFolder(output, {"model": "m"}, files).done == {"c.png"}
    assert [row["case"] for row in read_csv(output / "classes.csv", ())] == ["c.png"]


def test_a_missing_ray_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_ray, "find_spec", lambda _: None)
    (tmp_path / "a.png").touch()
    growing = GrowingFolder(tmp_path / "out", {}, {"a.png": tmp_path / "a.png"})
    with pytest.raises(HtunetError, match=r"pip install 'htunet\[ray\]'"):
        by_ray.predict_by_ray(lambda: None, growing, {})  # type: ignore[arg-type,return-value]


@pytest.fixture
def words(tiny: DatasetPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Predict 201 images with a UNet."""
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=1))
    source = add(tmp_path / "images", 200)
    return ["-i", str(source), "-d", "Tiny", "-m", "UNet", "--device", "cpu"]


def workers_of(pid: int) -> list[int]:
    """Ray's processes that predict, of a call."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if b"ray::MapWorker" in (path / "cmdline").read_bytes() and session_of(int(path.name)) == pid:
                found.append(int(path.name))
    return found


def session_of(pid: int) -> int:
    """Ray gives its processes sessions of their own: the call that started them is above them."""
    while pid > 1:
        parent = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        if parent in STARTED:
            return parent
        pid = parent
    return 0


STARTED: list[int] = []


@pytest.mark.slow
@NEEDS_RAY
def test_a_worker_and_a_call_that_are_killed_leave_each_image_once(words: list[str], tmp_path: Path) -> None:
    plain, output = tmp_path / "plain", tmp_path / "out"
    assert main([*words, "-o", str(plain)]) == 0
    command = ["-m", "htunet.cli.predict", *words, "-o", str(output), "--engine", "ray", "--jobs", "2"]
    codes = []
    for number in range(3):
        call = start_command(tmp_path / f"call{number}", *command)
        STARTED.append(call.pid)
        if number == 0:
            call.wait_until(lambda: list((output / CHUNKS).glob("[0-9a-f]*")), "a finished chunk")
            call.kill()
        elif number == 1:
            call.wait_until(lambda pid=call.pid: workers_of(pid), "a worker")
            os.kill(workers_of(call.pid)[0], signal.SIGKILL)
        codes.append(call.whole())
    assert codes[0][0] == -signal.SIGKILL
    assert codes[1][0] == 0, codes[1]
    assert "Nothing new: 201 images predicted before" in codes[2][1]
    masks = {path.name: path.read_bytes() for path in output.glob("*.png")}
    assert len(masks) == 201
    assert masks == {path.name: path.read_bytes() for path in plain.glob("*.png")}
    assert len(read_json(output / "predicted.json")["files"]) == 201
    assert not (output / CHUNKS).exists()
