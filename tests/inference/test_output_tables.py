"""The tables of an output folder hold all that was predicted into it, in whatever order and by whatever command."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from htunet.errors import HtunetError, UsageError
from htunet.files import read_csv, write_csv
from htunet.inference.output_tables import Rows, add_to_tables, read_tables
from htunet.inference.quality import COLUMNS, NOTHING, UNLIKE


def quality(mask: str, image: str, dice: str = "", look: str = "", **more: str) -> dict[str, str]:
    return dict.fromkeys(COLUMNS, "") | {"mask": mask, "image": image, "predicted_dice": dice, "look": look, **more}


def classes(case: str, benign: str = "0.25") -> dict[str, str]:
    other = f"{1 - float(benign):g}"
    return {"case": case, "probability_benign": benign, "probability_malignant": other, "predicted": "malignant"}


def rows(folder: Path, name: str = "quality.csv") -> Rows:
    return read_csv(folder / name, ())


OF_MASKS = [quality("a.png", "a.jpg", "0.900"), quality("b.png", "b.png", "0.500", distance="0.30", unlike="no")]
OF_CLASSES = [quality("a.jpg", "", distance="0.20", unlike="no", lesion_probability="0.750"),
              quality("b.png", "", look=UNLIKE, distance="2.00", unlike="yes")]  # fmt: skip


def test_masks_and_classes_in_either_order_give_the_same_tables(tmp_path: Path) -> None:
    """quality.csv of the classes once replaced that of the masks, and with it the predicted Dice."""
    folders = [tmp_path / name for name in ("masks first", "classes first")]
    for number, folder in enumerate(folders):
        for masks in (True, False) if number == 0 else (False, True):
            add_to_tables(folder, [] if masks else [classes("a.jpg"), classes("b.png")],
                          OF_MASKS if masks else OF_CLASSES)  # fmt: skip
        assert rows(folder) == [OF_MASKS[1], OF_MASKS[0] | {"lesion_probability": "0.750"}]  # the lower Dice first
    for name in ("quality.csv", "classes.csv"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1


def test_what_was_predicted_of_other_images_stays(tmp_path: Path) -> None:
    add_to_tables(tmp_path, [classes("a.jpg"), classes("c.png")], [quality("a.png", "a.jpg", look=NOTHING)])
    again = [classes("a.jpg", "0.75"), classes("d.png")]
    others = add_to_tables(tmp_path, again, [quality("a.png", "a.jpg", "0.300"), quality("d.png", "d.png", "0.200")])
    assert others == 1
    assert rows(tmp_path, "classes.csv") == [again[0], classes("c.png"), again[1]]
    assert [(row["mask"], row["predicted_dice"]) for row in rows(tmp_path)] == [("d.png", "0.200"), ("a.png", "0.300")]


def test_a_mask_is_not_described_by_the_model_that_made_the_one_before_it(tmp_path: Path) -> None:
    add_to_tables(tmp_path, [], [*OF_MASKS, *OF_CLASSES[:1]])
    unknown = [quality("a.png", "a.jpg"), quality("e.png", "e.png")]
    add_to_tables(tmp_path, [], unknown, known=False)
    assert rows(tmp_path) == OF_MASKS[1:]
    add_to_tables(tmp_path, [], [quality("b.png", "")], known=False)  # classes alone: the mask is the one it was
    assert rows(tmp_path) == OF_MASKS[1:]
    add_to_tables(tmp_path, [], [quality("b.png", "b.png")], known=False)
    assert not (tmp_path / "quality.csv").exists()


def test_a_table_of_an_earlier_version_is_continued_in_the_same_order(tmp_path: Path) -> None:
    columns = COLUMNS[:6]

    def row(mask: str, dice: str, unlike: str) -> dict[str, str]:
        return dict.fromkeys(columns, "") | {"mask": mask, "predicted_dice": dice, "distance": "0.50", "unlike": unlike}

    of_before = [row("none.png", "", "no"), row("odd.png", "0.900", "yes"), row("x.png", "0.5", "no")]
    write_csv(tmp_path / "quality.csv", columns, [*of_before, row("new.png", "0.100", "no")])
    add_to_tables(tmp_path, [], [quality("new.png", "new.jpg", "0.300")])
    assert [one["mask"] for one in rows(tmp_path)] == ["none.png", "odd.png", "new.png", "x.png"]
    assert [one["predicted_dice"] for one in rows(tmp_path)] == ["", "0.900", "0.300", "0.5"]


def test_tables_that_cannot_be_continued_are_refused(tmp_path: Path) -> None:
    add_to_tables(tmp_path, [classes("a.jpg")], [])
    assert read_tables(tmp_path, ["malignant", "benign"])["classes.csv"] == [classes("a.jpg")]
    with pytest.raises(UsageError, match="has the classes benign, malignant, and the model benign, cyst: they do not"):
        read_tables(tmp_path, ["benign", "cyst"])
    (tmp_path / "quality.csv").write_text("name,dice\na,1\n", encoding="utf-8")
    with pytest.raises(HtunetError, match="mask"):
        read_tables(tmp_path)


def test_rows_of_predictions_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    """Sixteen calls into one folder: each reads the tables and writes them with its row."""

    def add(number: int) -> None:
        add_to_tables(tmp_path, [{"case": f"{number}.png", "probability_a": "1", "predicted": "a"}], [])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(add, range(16)))
    assert {row["case"] for row in read_csv(tmp_path / "classes.csv", ("case",))} == {f"{n}.png" for n in range(16)}
    assert [path.name for path in tmp_path.iterdir()] == ["classes.csv"]
