"""The table of the script that goes with an export keeps the rows of images that were predicted earlier."""

from pathlib import Path

import pytest

from htunet.files import read_csv
from htunet.inference.onnx_tables import ClassesTable

CLASSES = ["benign", "malignant"]


def predicted(folder: Path, **shares: float) -> None:
    table = ClassesTable(folder, CLASSES)
    for case, share in shares.items():
        table.add(f"{case}.png", [1 - share, share])
    table.write()


def test_rows_of_other_images_stay_and_an_image_has_one_row(tmp_path: Path) -> None:
    predicted(tmp_path, a=0.25, b=0.75)
    predicted(tmp_path, b=0.125, c=1.0)
    table = ClassesTable(tmp_path, CLASSES)
    table.add('d, "left".png', [0.5, 0.5])
    table.write()
    rows = read_csv(tmp_path / "classes.csv", ("case", "predicted"))
    assert [(row["case"], row["probability_malignant"], row["predicted"]) for row in rows] == [
        ("a.png", "0.25", "benign"),
        ("b.png", "0.125", "benign"),
        ("c.png", "1.0", "malignant"),
        ('d, "left".png', "0.5", "benign"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["classes.csv"]


def test_what_another_model_has_predicted_is_not_mixed_in(tmp_path: Path) -> None:
    predicted(tmp_path, a=0.25)
    before = (tmp_path / "classes.csv").read_bytes()
    with pytest.raises(SystemExit, match="not case, class, probability_cyst, probability_solid, predicted"):
        ClassesTable(tmp_path, ["cyst", "solid"])
    (tmp_path / "quality.csv").write_text("mask,predicted_dice\n")
    for classes in (CLASSES, []):
        with pytest.raises(SystemExit, match=r"with a quality\.csv of it\. Choose another output folder"):
            ClassesTable(tmp_path, classes)
    assert (tmp_path / "classes.csv").read_bytes() == before


def test_masks_alone_have_no_table(tmp_path: Path) -> None:
    ClassesTable(tmp_path / "new", []).write()
    assert not any((tmp_path / "new").iterdir())
