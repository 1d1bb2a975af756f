"""What was computed of files that have changed since is computed again, or refused with the command that does so."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders.raw import build_raw
from builders.training import register_tiny_methods

from htunet import api
from htunet.cli.evaluate import main as evaluate
from htunet.cli.export import main as export
from htunet.cli.train import main as train
from htunet.data.image_io import read_image, read_labels, write_png
from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError
from htunet.experiments.review import runs_to_review
from htunet.experiments.robustness_study import RobustnessConfig, measure
from htunet.files import read_json
from htunet.paths import DatasetPaths, RunPaths, find_runs
from htunet.planning import arrays
from htunet.reporting.summaries import evaluated_contents
from htunet.reporting.tables.rows import table_rows
from htunet.training import record

SMALL = {"input_size": [32, 32], "batch_size": 4, "num_epochs": 1, "crop_border": False}
PLAN = ["--plan", "paper"]


def planned(home: Path) -> DatasetPaths:
    """A data set of 24 images with the plan ``paper`` at 32 x 32 pixels, which trains one epoch."""
    paths = build_raw(24)
    api.plan("Tiny", plans=["paper"], preprocess=False)
    content = read_json(paths.plans_json)
    content["plans"]["paper"] |= SMALL
    paths.plans_json.write_text(json.dumps(content))
    api.plan("Tiny", plans=["paper"])
    return paths


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    """Trained, predicted and evaluated."""
    register_tiny_methods()
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    paths = planned(home)
    assert train(["Tiny", "Plain", "fold0", *PLAN, "--weights", "random", "--device", "cpu", "--workers", "0"]) == 0
    assert evaluate(["Tiny"]) == 0
    return next(iter(find_runs(paths)))


def masks_of(run: RunPaths) -> list[bytes]:
    return [path.read_bytes() for path in sorted(run.predictions.iterdir())]


def first_tested(run: RunPaths) -> tuple[Path, Path]:
    """Image and mask of the first test case."""
    raw, case_id = read_raw(run.dataset), load_splits(run.dataset.splits_json)[0]["test"][0]
    case = next(case for case in raw.cases if case.id == case_id)
    return raw.image_path(case), raw.label_path(case)


def turned(path: Path, read: Callable[..., np.ndarray] = read_labels) -> None:
    """The picture upside down and brighter, or the mask on the other side: same size, as a tool writes it anew."""
    values = read(path) if read is read_labels else read_image(path, 1)[0]
    changed = values[::-1, ::-1] if read is read_labels else 255 - values[::-1]
    write_png(path, np.ascontiguousarray(changed))
    os.utime(path, ns=(1, 1))  # an older file may have been put in its place


def test_masks_that_have_changed_are_scored_at_no_size_before_the_data_set_is_planned_again(
    run: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run.summary_json.read_bytes()
    turned(first_tested(run)[1])
    assert evaluate(["Tiny"]) == 1
    message = capsys.readouterr().err
    assert "has changed since" in message
    assert "htunet_plan_and_preprocess -d Dataset903_Tiny --plan paper" in message
    assert run.summary_json.read_bytes() == before
    api.plan("Tiny", plans=["paper"])
    predictions = masks_of(run)
    assert evaluate(["Tiny"]) == 0
    assert "Trained on images, masks or classes that have changed since" in capsys.readouterr().err
    assert masks_of(run) == predictions  # the images are as they were
    assert (
        read_json(run.summary_json)["htunet"]["references_sha256"] != json.loads(before)["htunet"]["references_sha256"]
    )
    contents = (json.loads(before), read_json(run.summary_json))
    values = [[case["htunet"][size] for case in content["metric_per_case"]]
              for content in contents for size in ("input_size", "original_size")]  # fmt: skip
    assert values[0] != values[2]
    assert values[1] != values[3]


def test_test_images_that_have_changed_are_predicted_again(run: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    before = masks_of(run)
    turned(first_tested(run)[0], read_image)
    assert evaluate(["Tiny"]) == 1
    assert "has changed since" in capsys.readouterr().err
    assert masks_of(run) == before
    api.plan("Tiny", plans=["paper"])
    assert evaluate(["Tiny"]) == 0
    assert masks_of(run) != before
    after = masks_of(run)
    assert evaluate(["Tiny"]) == 0
    assert "Already evaluated" in capsys.readouterr().err
    assert masks_of(run) == after


def test_nothing_is_trained_on_arrays_of_files_that_have_changed(
    run: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    turned(first_tested(run)[1])
    assert train(["Tiny", "Plain", "fold0", *PLAN, "--weights", "random", "--device", "cpu", "--seed", "2"]) == 1
    assert "has changed since" in capsys.readouterr().err
    assert len(list(find_runs(run.dataset))) == 1


def test_an_image_more_and_labels_of_other_names_are_noticed(run: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    index = run.dataset.dataset_json
    original = index.read_text()
    content = json.loads(original)
    content["htunet"]["labels"] = {"background": 0, "nodule": 1}
    index.write_text(json.dumps(content))
    assert evaluate(["Tiny", "--force"]) == 1
    assert "has changed since" in capsys.readouterr().err
    index.write_text(original)
    assert evaluate(["Tiny", "--force"]) == 0


def test_files_that_were_copied_or_touched_are_as_they_were_and_read_once(
    run: RunPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in run.dataset.raw.rglob("*.png"):
        shutil.copyfile(path, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)
    calls = []
    monkeypatch.setattr(arrays, "hash_raw", lambda raw, read=arrays.hash_raw: calls.append(raw) or read(raw))
    for _ in range(2):
        arrays._hash_of.cache_clear()  # as in another process
        assert evaluate(["Tiny"]) == 0
        assert "Already evaluated" in capsys.readouterr().err
    assert len(calls) == 1


def test_tables_and_reviews_name_results_of_earlier_files(run: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluated_contents(lambda text: pytest.fail(text))
    assert runs_to_review(run.dataset, None, None) == [run]
    turned(first_tested(run)[1])
    messages: list[str] = []
    assert list(evaluated_contents(messages.append)) == [run]
    assert "have changed since 1 run of Tiny was evaluated" in messages[0]
    (row,) = table_rows(evaluated_contents(messages.append).values())
    assert row.plan.endswith(", of earlier images or masks")  # which is never averaged with results of now
    with pytest.raises(HtunetError, match=r"have changed since .* Evaluate it again: htunet_evaluate Tiny Plain"):
        runs_to_review(run.dataset, None, None)
    assert export(["Tiny", "Plain", "fold0", "--plan", "paper", "-o", str(run.folder.parent / "model")]) == 0
    assert "the export has its earlier results" in capsys.readouterr().out
    api.plan("Tiny", plans=["paper"])
    assert evaluate(["Tiny"]) == 0
    assert evaluated_contents(lambda text: pytest.fail(text))


def test_masks_of_another_data_set_that_have_changed_are_scored_at_both_sizes(
    run: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    other = build_raw(6, name="Dataset904_Other", seed=3)
    words = ["Other", "--trained-on", "Tiny", "--split", "all"]
    assert evaluate(words) == 0
    across = next(one for one in find_runs(other) if one.trained_on)
    before = read_json(across.summary_json)
    raw = read_raw(other)
    for case in raw.cases:
        turned(raw.label_path(case))
    assert evaluate(words) == 0
    after = read_json(across.summary_json)
    for size in ("input_size", "original_size"):
        first, second = ([case["htunet"][size] for case in content["metric_per_case"]] for content in (before, after))
        assert first != second
    capsys.readouterr()
    assert evaluate(words) == 0
    assert "Already evaluated" in capsys.readouterr().err


def test_robustness_is_measured_again_on_other_images(run: RunPaths) -> None:
    config = RobustnessConfig(artefacts=["speckle"], strengths=[0.5])
    assert measure(run, config)[1]
    assert not measure(run, config)[1]
    turned(first_tested(run)[0], read_image)
    api.plan("Tiny", plans=["paper"])
    assert measure(run, config)[1]


def test_labels_that_mean_something_else_now_are_refused(run: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    settings = read_json(run.settings_json)
    settings["plan_content"]["labels"] = {"background": 0, "cyst": 1, "lesion": 2}
    run.settings_json.write_text(json.dumps(settings))
    run.summary_json.unlink()
    assert evaluate(["Tiny"]) == 1
    assert "has learnt the labels cyst 1, lesion 2" in capsys.readouterr().err
