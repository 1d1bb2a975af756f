"""What a user of an earlier version has on disk keeps working: files made by commit 4fe71f3, read by today's code."""

import csv
import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from builders.contrastive import tiny_contrastive
from builders.training import register_tiny_methods
from PIL import Image

from htunet.cli.evaluate import main as evaluate
from htunet.cli.import_ import main as import_model
from htunet.cli.plan_and_preprocess import main as plan_and_preprocess
from htunet.cli.predict import main as predict
from htunet.cli.report import main as report
from htunet.cli.robustness import main as robustness
from htunet.cli.tables import main as tables
from htunet.cli.train import main as train
from htunet.data.raw import read_raw
from htunet.data.verification import verify
from htunet.models import build
from htunet.models.backbones import BACKBONES
from htunet.paths import find_dataset, root
from htunet.planning.plans import load_plan, load_plans
from htunet.training import record

ARCHIVE = Path(__file__).with_name("files_of_4fe71f3.zip")
TRAIN = ["--plan", "tiny", "--device", "cpu", "--precision", "fp32", "--workers", "0", "--weights", "random"]
PLAIN = "results/Dataset930_Old/SegmentationTrainer__tiny__Plain/fold_0"


@pytest.fixture
def old(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files in place, and the methods known that they were made with."""
    for registry in (build.STANDALONE, BACKBONES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    register_tiny_methods()
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(home)
    return home


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def assert_same_values(old_text: str, new_text: str, name: str) -> None:
    """Every row and column of the older table is in the new one with its value; further rows and columns may follow.

    Columns of the paper's figures that hold nothing are gone, marks compare own data no longer with the paper, the
    distances of its public code leave empty masks out and have its figures, and an AUC of few cases that no resample
    changes is none.
    """
    before, now = rows_of(old_text), rows_of(new_text)
    now = [row for row in now if row.get("metric") not in ("hd95_max", "asd_directed")]
    assert len(before) == len(now), name
    for number, (a, b) in enumerate(zip(before, now, strict=True)):
        for column, value in a.items():
            excluded = b.get("n_excluded", "0") != "0" and column.startswith(("hd95_max", "asd_directed"))
            no_auc = column == "auc" and not b[column] and "few test cases" in b["marks"]
            moved = column == "paper" and a["metric"] in ("hd95", "asd")  # to the rows that are left out above
            if moved or no_auc or column == "marks" or (column.startswith("paper_") and not value) or excluded:
                continue
            where = f"{name}, row {number}, {column}"
            assert column in b, where
            try:
                assert math.isclose(float(value), float(b[column]), rel_tol=1e-9), where
            except ValueError:
                assert value == b[column], where


def masks_in(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def assert_same_masks(first: Path, second: Path) -> None:
    a, b = masks_in(first), masks_in(second)
    assert len(a) == 2
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_raw_folder_is_read_and_verified(old: Path) -> None:
    raw = read_raw(find_dataset("Old"))
    assert len(raw.cases) == 60
    assert {case.class_name for case in raw.cases} == {"benign", "malignant"}
    assert len({case.group for case in raw.cases}) == 30
    assert not [problem for problem in verify(raw) if problem.severity == "error"]


def test_plans_are_read_and_none_counts_as_edited(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = find_dataset("Old")
    before = load_plans(paths.plans_json)
    assert {"paper", "adaptive", "tiny"} <= before.keys()
    arrays = (paths.plan_folder("tiny") / "images.npy").stat().st_mtime_ns
    assert plan_and_preprocess(["-d", "Old", "--plan", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert "edited" not in shown.lower()
    assert load_plan(paths.plans_json, "tiny").input_size == (32, 32)
    assert (paths.plan_folder("tiny") / "images.npy").stat().st_mtime_ns == arrays, "arrays that fit were made anew"


def test_tables_of_old_results_have_the_old_values(old: Path) -> None:
    assert evaluate([]) == 0
    for path in sorted((old / "expected" / "tables").glob("*.csv")):
        found = (root("htunet_results") / "tables" / path.name).read_text(encoding="utf-8")
        assert_same_values(path.read_text(encoding="utf-8"), found, path.name)


def test_old_results_fill_the_tables_of_the_paper_and_the_report(old: Path) -> None:
    assert tables(["table2"]) == 0
    assert report([]) == 0
    assert "Plain" in (root("htunet_results") / "report.html").read_text(encoding="utf-8")


def test_an_old_run_predicts_the_same_masks(old: Path) -> None:
    arguments = ["-i", str(old / "new_images"), "-o", str(old / "masks"), "-d", "Old", "-m", "Plain", "--plan", "tiny"]
    assert predict([*arguments, "--device", "cpu"]) == 0
    assert_same_masks(old / "masks", old / "expected" / "masks_Plain")


@pytest.mark.parametrize("kind", ["exported_Plain", "exported_Plain.zip"])
def test_an_old_export_is_imported_and_predicts_the_same_masks(old: Path, kind: str) -> None:
    assert import_model([str(old / kind), "--name", "theirs"]) == 0
    arguments = ["-i", str(old / "new_images"), "-o", str(old / "masks"), "--model", "theirs", "--device", "cpu"]
    assert predict(arguments) == 0
    assert_same_masks(old / "masks", old / "expected" / "masks_Plain")


def test_an_interrupted_run_is_resumed_to_the_end_that_it_would_have_had(old: Path) -> None:
    assert train(["Old", "Plain", "fold0", *TRAIN, "--seed", "3"]) == 0
    expected = old / "expected" / "uninterrupted"
    found = rows_of((old / PLAIN / "seed_3" / "progress.csv").read_text(encoding="utf-8"))
    rows_before = rows_of((expected / "progress.csv").read_text(encoding="utf-8"))
    assert len(found) == len(rows_before) == 6
    for a, b in zip(rows_before, found, strict=True):
        for column in ("train_loss", "val_loss"):
            assert float(b[column]) == pytest.approx(float(a[column]), rel=1e-4)


def test_a_finished_run_is_known_to_be_finished(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (old / PLAIN / "seed_1" / "checkpoint_best.safetensors").read_bytes()
    assert train(["Old", "Plain", "fold0", *TRAIN]) == 0
    assert "Already finished" in capsys.readouterr().out
    assert (old / PLAIN / "seed_1" / "checkpoint_best.safetensors").read_bytes() == before


def test_a_fine_tuned_adapter_is_where_a_training_starts(old: Path) -> None:
    with tiny_contrastive():
        assert train(["Old", "CLIP_HT", "fold0", *TRAIN, "--adapter", "finetuned", "--num_epochs", "1"]) == 0


def test_a_robustness_study_is_complete_without_measuring_again(old: Path) -> None:
    folder = old / "results/Dataset930_Old/robustness/altered/SegmentationTrainer__tiny__fold_0__seed_1"
    before = (folder / "curves.csv").read_text(encoding="utf-8")
    tables_before = {p: p.stat().st_mtime_ns for p in (old / PLAIN / "seed_1" / "robustness").rglob("*.csv")}
    assert robustness(["Old", "Plain", "--plan", "tiny", "--artefacts", "gain", "--device", "cpu"]) == 0
    assert_same_values(before, (folder / "curves.csv").read_text(encoding="utf-8"), "curves.csv")
    assert tables_before
    assert all(path.stat().st_mtime_ns == when for path, when in tables_before.items())


def test_summaries_keep_the_values_that_they_had(old: Path) -> None:
    path = old / PLAIN / "seed_1" / "test" / "summary.json"
    before = json.loads(path.read_text(encoding="utf-8"))
    assert evaluate(["Old", "Plain", "--force"]) == 0
    now = json.loads(path.read_text(encoding="utf-8"))
    values = {key: value for key, value in before["foreground_mean"].items() if isinstance(value, float)}
    assert len(values) >= 4
    for key, value in values.items():
        assert now["foreground_mean"][key] == pytest.approx(value, rel=1e-9), key
    assert len(now["metric_per_case"]) == len(before["metric_per_case"])
