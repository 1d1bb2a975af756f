"""A name that a file gives cannot lead anything out of its folder."""

import csv
import json
from pathlib import Path

import pytest
from builders.raw import build_raw
from builders.training import build_training, run_of, tiny_settings

from htunet.cli.evaluate import main as evaluate
from htunet.cli.export import main as export
from htunet.cli.import_ import main as import_model
from htunet.cli.predict import main as predict
from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError
from htunet.paths import checked_name, root
from htunet.training.run import train

HOSTILE = [
    "../photo",
    "a/b",
    "/etc/passwd",
    "..",
    ".hidden",
    ".part-x",
    "a\\b",
    "a\nb",
    "a\0b",
    "",
    "x" * 201,
    "\x1b[31m",
]


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_a_name_that_could_be_a_place_is_refused(name: str) -> None:
    with pytest.raises(HtunetError, match=r"cases\.csv: the id .*files are named after it"):
        checked_name(name, "the id", "cases.csv")


@pytest.mark.parametrize(
    "name", ["benign (1)", "Müller_knoten", "患者-7", "a.b", "1.2.840.10008", "x" * 200, "case 1 + 2"]
)
def test_names_that_people_use_are_taken(name: str) -> None:
    assert checked_name(name, "the id", "cases.csv") == name


def test_an_id_of_the_raw_table_is_checked(home: Path) -> None:
    paths = build_raw(3)
    rows = list(csv.DictReader(paths.cases_csv.open(encoding="utf-8")))
    rows[1]["id"] = "../L/../../victim/photo"
    with paths.cases_csv.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(HtunetError, match="has a slash"):
        read_raw(paths)


def test_an_id_of_the_split_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["a"], "val": ["b"], "test": ["../c"]}]))
    with pytest.raises(HtunetError, match=r"fold 0: the id '\.\./c' has a slash"):
        load_splits(path)


@pytest.mark.usefixtures("tiny")
def test_evaluation_never_writes_where_an_id_points(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = home / "victim" / "photo.png"
    victim.parent.mkdir()
    victim.write_bytes(b"mine")
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    dataset = run_of_tiny().dataset
    text = dataset.splits_json.read_text(encoding="utf-8")
    first = json.loads(text)[0]["test"][0]
    dataset.splits_json.write_text(text.replace(f'"{first}"', '"../../../victim/photo"'), encoding="utf-8")
    assert evaluate(["Tiny", "Plain"]) == 1
    assert "has a slash" in capsys.readouterr().err
    assert victim.read_bytes() == b"mine"


def run_of_tiny():  # noqa: ANN201
    from htunet.paths import find_dataset

    return run_of(find_dataset("Tiny"), "Plain")


@pytest.fixture
def exported(home: Path) -> Path:
    build_training()
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=1))
    assert export(["Tiny", "UNet", "fold0", "-o", str(home / "model")]) == 0
    return home / "model"


CARDS = {
    "dataset": "../../x",
    "weights": {},
    "method": "../UNet",
    "adapter": "../a",
    "fold": -1,
    "plan": {"name": "tiny"},
    "ratio": 2.0,
}


def test_a_model_that_is_refused_is_not_installed_and_one_that_broke_later_stops_nothing(
    home: Path, exported: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    whole = json.loads((exported / "model.json").read_text(encoding="utf-8"))
    models = root("htunet_results") / "models"
    for key, value in CARDS.items():
        (exported / "model.json").write_text(json.dumps(whole | {key: value}), encoding="utf-8")
        assert import_model([str(exported)]) == 1, key
        assert list(models.glob("[!.]*")) == [], key
        assert "bug" not in capsys.readouterr().err
    (exported / "model.json").write_text(json.dumps(whole), encoding="utf-8")
    assert import_model([str(exported), "--name", "good"]) == 0
    (models / "bad").mkdir()
    (models / "bad" / "model.json").write_text(json.dumps(whole | {"dataset": "../../x"}), encoding="utf-8")
    images = read_raw(run_of_tiny().dataset).paths.raw / "imagesTr"
    arguments = ["-i", str(images), "-o", str(home / "masks"), "-d", "Tiny", "-m", "UNet", "--device", "cpu"]
    assert predict(arguments) == 0
    assert "Passed over an imported model" in caplog.text
