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
from htunet.data.class_probabilities import read_class_probabilities
from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError
from htunet.files import write_csv
from htunet.paths import checked_name, root
from htunet.records import check_schema
from htunet.schemas import SUMMARY
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
    assert "Ignored an imported model" in caplog.text


@pytest.mark.parametrize("name", ["", " ", "a\0b", "\x1b[31m", "a\nb", "x" * 201], ids=repr)
@pytest.mark.parametrize("key", ["labels", "classes"])
def test_labels_and_classes_of_dataset_json_are_texts_that_can_be_shown(key: str, name: str, home: Path) -> None:
    paths = build_raw(3)
    content = json.loads(paths.dataset_json.read_text(encoding="utf-8"))
    content["htunet"][key] = {"background": 0, name: 1}
    paths.dataset_json.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(HtunetError, match=r"dataset\.json: the (label|class) "):
        read_raw(paths)


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_cases_and_classes_of_probabilities_are_checked(name: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    columns = ["case", "class", "probability_a", "probability_b", "predicted"]
    write_csv(path, columns, [dict(zip(columns, (name, "a", 0.5, 0.5, "a"), strict=True))])
    with pytest.raises(HtunetError, match=r"classes\.csv(: the case .*files are named after it| is not text)"):
        read_class_probabilities(path)


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
@pytest.mark.parametrize("key", ["dataset", "method", "plan"])
def test_names_of_a_summary_are_checked(key: str, name: str) -> None:
    own = {"dataset": "Dataset903_Tiny", "method": "UNet", "plan": "tiny", "task": "seg", "fold": 0, "seed": 1}
    check_schema({"htunet": own}, SUMMARY, "summary.json")
    with pytest.raises(HtunetError, match=rf"summary\.json\.htunet\.{key}: the name .*files are named after it"):
        check_schema({"htunet": own | {key: name}}, SUMMARY, "summary.json")
