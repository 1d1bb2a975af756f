"""A folder that grows: each image is predicted once, and tables hold all of them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from builders.classes import build_visible_classes
from builders.training import tiny_settings
from PIL import Image

from htunet.cli.predict import main
from htunet.errors import HtunetError, UsageError
from htunet.files import read_csv
from htunet.inference.growing_folder import GrowingFolder
from htunet.paths import DatasetPaths
from htunet.training.run import train

pytestmark = pytest.mark.usefixtures("without_pictures")


def add(folder: Path, name: str, seed: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (48, 40)).astype(np.uint8)).save(folder / name)


def test_only_what_is_new_or_changed_is_predicted(
    tiny: DatasetPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    images, output = tmp_path / "new", tmp_path / "masks"
    words = ["-i", str(images), "-o", str(output), "-d", "Tiny", "-m", "Plain", "--device", "cpu", "--continue"]
    add(images, "a.png")
    (images / "half.png").write_bytes(b"not all of it is there yet")
    assert main(words) == 1
    before = (output / "a.png").stat().st_mtime_ns
    add(images, "half.png", 1)
    add(images, "b.png", 2)
    capsys.readouterr()
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "Predicted before: 1 image\n" in shown
    assert "Predicted 2 of 3 images" in shown
    assert (output / "a.png").stat().st_mtime_ns == before
    assert {path.name for path in output.glob("*.png")} == {"a.png", "b.png", "half.png"}
    assert main(words) == 0
    assert "Nothing new: 3 images predicted before" in capsys.readouterr().out
    add(images, "a.png", 5)
    assert main(words) == 0
    assert "Predicted 1 of 3 images" in capsys.readouterr().out
    assert (output / "a.png").stat().st_mtime_ns != before

    add(images, "c.png")
    assert main([*words, "--npz"]) == 1
    assert "was predicted with another save_probabilities" in capsys.readouterr().err
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=2), restart=True)
    for plain in (words, words[:-1]):  # without --continue it would replace masks that the record says are others
        assert main(plain) == 1
        assert "was predicted with another weights" in capsys.readouterr().err
    shutil.rmtree(output)
    add(output, "of_somebody.png")
    assert main(words) == 2
    assert "holds files that were not written with --continue" in capsys.readouterr().err


def test_classes_of_all_images_are_in_one_table(tiny: DatasetPaths, tmp_path: Path) -> None:
    shutil.rmtree(tiny.raw)
    shutil.rmtree(tiny.preprocessed)
    build_visible_classes()
    train("Tiny", "PlainClasses", 0, tiny_settings(num_epochs=1, task="cls"))
    images, output = tmp_path / "new", tmp_path / "out"
    words = ["-i", str(images), "-o", str(output), "-d", "Tiny", "-m", "PlainClasses", "--device", "cpu", "--continue"]
    tables = []
    for number, name in enumerate(("a.png", "b.png")):
        add(images, name, number)
        assert main(words) == 0
        tables.append(read_csv(output / "classes.csv", ()))
    assert [len(table) for table in tables] == [1, 2]
    assert tables[1][0] == tables[0][0]


def test_a_folder_of_another_model_or_of_nobody_knows_what_is_refused(tmp_path: Path) -> None:
    image, output, request = tmp_path / "new.png", tmp_path / "out", {"model": "m"}
    image.write_bytes(b"x")
    GrowingFolder(output, request, {"new.png": image}).finish(["new.png"])
    assert GrowingFolder(output, request, {"new.png": image}).done == {"new.png"}
    with pytest.raises(HtunetError, match="was predicted with another model"):
        GrowingFolder(output, {"model": "other"}, {})
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "file").write_text("x")
    with pytest.raises(UsageError, match="not written with --continue"):
        GrowingFolder(tmp_path / "strange", request, {})


def test_what_an_earlier_version_did_not_record_is_no_other_model(tmp_path: Path) -> None:
    image, output = tmp_path / "new.png", tmp_path / "out"
    image.write_bytes(b"x")
    GrowingFolder(output, {"model": "m", "weights": []}, {"new.png": image}).finish(["new.png"])
    now = {"model": "m", "weights": ["a"], "postprocessing": {"fill_holes": True}}
    growing = GrowingFolder(output, now, {"new.png": image})
    assert growing.done == {"new.png"}
    growing.finish([])
    for name, other in {"weights": ["b"], "postprocessing": {}}.items():
        with pytest.raises(HtunetError, match=f"was predicted with another {name}\\."):
            GrowingFolder(output, now | {name: other}, {"new.png": image})


def test_outputs_keep_their_names_whatever_comes_later(tiny: DatasetPaths, tmp_path: Path) -> None:
    """``a.tif`` and a picture that is called like a page of it come after ``a.png`` and ``p.tif``, and one goes."""
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    images, output = tmp_path / "new", tmp_path / "masks"
    words = ["-i", str(images), "-o", str(output), "-d", "Tiny", "-m", "Plain", "--device", "cpu", "--continue"]
    add(images, "a.png")
    pages = [Image.fromarray(np.full((20 + n, 30), n, np.uint8)) for n in range(2)]
    pages[0].save(images / "p.tif", save_all=True, append_images=pages[1:])
    assert main(words) == 0
    for name in ("a.tif", "p__0001.png"):
        add(images, name, 1)
    assert main(words) == 0
    first = {"a.png", "p__0001.png", "p__0002.png"}
    assert {path.name for path in output.glob("*.png")} == first | {"a.tif.png", "p__0001.png.png"}
    assert Image.open(output / "p__0001.png").size == (30, 20)
    before = (output / "a.png").stat().st_mtime_ns
    add(images, "a.png", 2)
    assert main(words) == 0
    assert (output / "a.png").stat().st_mtime_ns != before
    (images / "a.png").unlink()
    add(images, "a.bmp", 3)
    before = (output / "a.png").stat().st_mtime_ns
    assert main(words) == 0
    assert (output / "a.png").stat().st_mtime_ns == before
    assert (output / "a.bmp.png").exists()
