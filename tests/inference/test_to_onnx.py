"""ONNX and its runner, which know nothing of htunet, find what htunet finds."""

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.backbone import register_tiny, tiny_in_place_of_clip
from builders.medical import write_dicom
from builders.training import build_training, run_of, tiny_settings
from PIL import Image

from htunet.cli.export import main as export
from htunet.cli.predict import main as predict
from htunet.data.image_io import read_labels
from htunet.data.postprocessing import postprocess
from htunet.inference import run_onnx, to_onnx
from htunet.inference.export import export_run
from htunet.inference.trained import TrainedModel
from htunet.models import checkpoint
from htunet.paths import DatasetPaths
from htunet.training.run import train

pytestmark = pytest.mark.usefixtures("without_pictures")

LONGEST_RUNNER = 88
"""Lines, so that anybody can read it before using it."""


@pytest.fixture
def _tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    register_tiny(tmp_path_factory.mktemp("configs"))
    with tiny_in_place_of_clip():
        yield


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Gray, in colour, with 16 bits, with hidden pixels, turned, wide and high; each with a black border."""
    folder = tmp_path / "new"
    folder.mkdir()
    source = np.random.default_rng(0)
    for name, size in {"wide": (60, 130), "high": (150, 70)}.items():
        pixels = np.zeros(size, np.uint8)
        pixels[10:-15, 12:-8] = source.integers(10, 255, (size[0] - 25, size[1] - 20))
        Image.fromarray(pixels).save(folder / f"{name}.png")
        Image.fromarray(np.stack([pixels, pixels // 2, pixels // 3], axis=2)).save(folder / f"{name}_colour.bmp")
        Image.fromarray(pixels.astype(np.uint16) * 17 + 5).save(folder / f"{name}_16_bits.png")
        Image.fromarray(pixels.astype(np.uint16) // 2).save(folder / f"{name}_16_bits_within_8.png")
        hidden = np.dstack([pixels] * 3 + [np.where(pixels > 60, 255, 0).astype(np.uint8)])
        Image.fromarray(hidden).save(folder / f"{name}_hidden.png")
        turned = Image.Exif()
        turned[274] = 6
        Image.fromarray(pixels).save(folder / f"{name}_turned.jpg", exif=turned, quality=95)
    return folder


def run_alone(folder: Path, output: Path, images: Path, *, excluded: int = 0) -> str:
    """The runner in a process that cannot import htunet or torch; what it says where it leaves files out."""
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['htunet'] = sys.modules['torch'] = None\n")
    words = [
        sys.executable,
        str(folder / "run_onnx.py"),
        str(output),
        *map(str, sorted(path for path in images.rglob("*") if path.is_file())),
    ]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)  # set by the import of the runner here
    with tempfile.TemporaryDirectory() as temporary:
        environment["TMPDIR"] = temporary
        result = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert os.listdir(temporary) == []  # where onnxruntime keeps the number of a session that it reports
    assert (result.returncode, len(result.stderr.splitlines())) == ((1, excluded) if excluded else (0, 0)), (
        result.stderr
    )
    return result.stderr


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.usefixtures("_tiny_clip")
@pytest.mark.parametrize(
    ("method", "task", "side", "changes", "seeds"),
    [
        pytest.param("UNet", "seg", 48, {"geometry": "letterbox", "crop_border": True}, [1], id="UNet"),
        pytest.param(
            "UNet", "seg", 32, {"channels": 3, "resize": "bicubic", "align_corners": True}, [1], id="UNet in colour"
        ),
        pytest.param("CLIP_HT", "seg+cls", 64, {"geometry": "letterbox"}, [1, 2], id="CLIP_HT"),
        pytest.param("ResNet18", "cls", 32, {"resize": "bicubic", "normalise": False}, [1], id="ResNet18"),
    ],
)
def test_the_runner_finds_what_htunet_finds(
    home: Path, images: Path, method: str, task: str, side: int, changes: dict[str, object], seeds: list[int]
) -> None:
    build_training(input_size=(side, side + 16), **changes)
    for seed in seeds:
        train("Tiny", method, 0, tiny_settings(num_epochs=1, task=task, seed=seed))
    of_seeds = ["--seed", *map(str, seeds)]
    assert export(["Tiny", method, "fold0", *of_seeds, "-o", str(home / "model"), "--onnx"]) == 0
    ours, theirs = home / "ours", home / "theirs"
    words = ["-d", "Tiny", "-m", method, *of_seeds, "--device", "cpu"]
    assert predict(["-i", str(images), "-o", str(ours), *words]) == 0
    run_alone(home / "model", theirs, images)
    assert ("onnxruntime scipy" in (home / "model" / "README.md").read_text()) == changes.get("crop_border", False)
    if "seg" in task:
        for path in sorted(ours.glob("*.png")):
            expected, found = read_labels(path), read_labels(theirs / path.name)
            assert expected.shape == found.shape
            assert (expected != found).mean() < 0.002  # nothing but ties
        assert len(list(ours.glob("*.png"))) == len(list(theirs.glob("*.png"))) == len(list(images.iterdir())) == 12
    if "cls" in task:
        for want, got in zip(rows_of(ours / "classes.csv"), rows_of(theirs / "classes.csv"), strict=True):
            assert (want["case"], want["predicted"]) == (got["case"], got["predicted"])
            assert float(got["probability_malignant"]) == pytest.approx(float(want["probability_malignant"]), abs=1e-4)


def test_the_runner_and_htunet_post_process_alike(home: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_training(input_size=(48, 64))
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=1))
    run = run_of(paths)
    speckle = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (1, 1, 48, 64), dtype=np.uint8))
    with torch.inference_mode():
        background, lesion = TrainedModel.of_run(run).network().eval()(speckle)[0]
    tensors, about = checkpoint.load(run.checkpoint_best)
    (name,) = [name for name in tensors if name.endswith("classify.bias")]
    tensors[name][0] += (lesion - background).median()  # so that it finds something nearly everywhere
    checkpoint.save(run.checkpoint_best, tensors, about)
    steps = {"smallest_share": 0.002, "largest_component": True, "fill_holes": True}
    export_run(run, home / "model", onnx=True, quality={"postprocessing": steps})
    ours, raw, theirs = home / "ours", home / "raw", home / "theirs"
    words = ["-i", str(images), "--model", str(home / "model"), "--device", "cpu"]
    in_words = "post-processed: components below 0.002 of the image removed, the largest component alone, holes filled"
    assert in_words in (home / "model" / "README.md").read_text()
    assert predict([*words, "-o", str(ours)]) == 0
    assert f"Masks are {in_words}; --no-postprocessing switches it off." in capsys.readouterr().out
    assert predict([*words, "-o", str(raw), "--no-postprocessing"]) == 0
    assert "post-processed" not in capsys.readouterr().out
    run_alone(home / "model", theirs, images)
    different = 0
    for path in sorted(ours.glob("*.png")):
        expected, found = read_labels(path), read_labels(theirs / path.name)
        assert (expected != found).mean() < 0.02  # ties may join or part components, seldom
        assert (postprocess(read_labels(raw / path.name), **steps) == expected).all()
        different += int((expected != read_labels(raw / path.name)).any())
    assert different > 0
    assert "onnxruntime scipy" in (home / "model" / "README.md").read_text()


def test_the_runner_names_what_it_does_not_read_and_gives_each_picture_a_mask(home: Path, tmp_path: Path) -> None:
    build_training()
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=1))
    assert export(["Tiny", "UNet", "fold0", "-o", str(home / "model"), "--onnx"]) == 0
    gray = np.random.default_rng(0).integers(0, 255, (48, 40)).astype(np.uint8)
    new = tmp_path / "new"
    for folder in (new, new / "left", new / "right"):
        folder.mkdir()
    for name in ("a.png", "a.bmp", "left/b.png", "right/b.png", "c.jpg"):
        Image.fromarray(gray).save(new / name)
    for name in ("pages.tif", "loop.gif", "loop.webp"):
        Image.fromarray(gray).save(new / name, save_all=True, append_images=[Image.fromarray(gray[::-1])])
    Image.fromarray(np.where(gray > 250, np.nan, gray).astype(np.float32)).save(new / "nan.tif")
    write_dicom(new / "scan.dcm", gray)
    errors = run_alone(home / "model", home / "theirs", new, excluded=5)
    for name in ("pages.tif", "loop.gif", "loop.webp", "nan.tif", "scan.dcm"):
        assert f"Skipped {new / name} (" in errors
    masks = sorted(path.name for path in (home / "theirs").iterdir())
    assert len(masks) == 5
    assert "c.png" in masks
    assert sum(name.endswith(("a.png.png", "a.bmp.png", "left_b.png.png", "right_b.png.png")) for name in masks) == 4


def test_the_export_says_how_to_use_it(home: Path, tiny: DatasetPaths) -> None:
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    assert export(["Tiny", "Plain", "fold0", "-o", str(home / "model"), "--onnx"]) == 0
    about = json.loads((home / "model" / "preprocessing.json").read_text())
    assert about["input"] == {"name": "images", "type": "uint8", "shape": [1, 1, 32, 32]}
    assert (about["outputs"], about["labels"]) == (["seg"], {"background": 0, "lesion": 1})
    assert "python run_onnx.py OUT IMAGE..." in (home / "model" / "README.md").read_text()
    assert not re.findall(rb"[\w/.-]+\.py\b", (home / "model" / "model.onnx").read_bytes())  # folders of this machine
    assert sorted(path.name for path in (home / "model").iterdir()) == [
        *(
            "README.md",
            "checkpoint.safetensors",
            "model.json",
            "model.onnx",
            "onnx_tables.py",
            "preprocessing.json",
            "run_onnx.py",
        )
    ]


@pytest.mark.parametrize("words", [[], ["--help"], ["OUT"]])
def test_the_runner_says_how_it_is_called(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, run_onnx.__file__, *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr.strip()) == (1, str(run_onnx.__doc__).strip())
    assert not list(tmp_path.iterdir())


def test_the_runner_is_short() -> None:
    assert len(Path(run_onnx.__file__).read_text().splitlines()) <= LONGEST_RUNNER


def test_without_its_packages_one_error_says_how_to_get_them(
    home: Path, tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export(["Tiny", "Plain", "fold0", "-o", str(home / "model"), "--onnx"]) == 1
    assert "pip install 'htunet[onnx]'" in capsys.readouterr().err
    assert not (home / "model").exists()


def test_scores_that_differ_are_never_exported(
    home: Path, tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    monkeypatch.setattr(to_onnx, "TOLERANCE", 0.0)
    assert export(["Tiny", "Plain", "fold0", "-o", str(home / "model"), "--onnx"]) == 1
    assert "nothing was exported" in capsys.readouterr().err
    assert [path for path in home.iterdir() if "model" in path.name or path.name.startswith(".part")] == []
