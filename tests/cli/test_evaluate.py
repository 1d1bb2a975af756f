"""htunet_evaluate from the outside: finished runs to summaries, pictures and tables."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from builders.run import build_dataset, build_run, make_older, predict
from PIL import Image

from htunet.cli import evaluate
from htunet.cli.evaluate import main
from htunet.data.image_io import write_png
from htunet.errors import HtunetError
from htunet.files import read_json
from htunet.paths import RunPaths


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[RunPaths]:
    """Stands for the network: a list of the runs that were asked to be predicted."""
    calls: list[RunPaths] = []

    def predict_test(run: RunPaths) -> None:
        calls.append(run)
        predict(run)

    module = types.ModuleType("htunet.inference.test_set")
    module.predict_test = predict_test  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "htunet.inference.test_set", module)
    return calls


def test_every_finished_run_gets_its_files_and_the_tables_are_written(
    home: Path, capsys: pytest.CaptureFixture[str], predicted: list[RunPaths]
) -> None:
    dataset = build_dataset(name="Dataset503_BUSI")
    runs = [build_run(dataset, seed=seed, shift=seed) for seed in (1, 2)]
    runs.append(build_run(dataset, method="UNet", missed=["case_0006"], settings={"weights": {"source": "random"}}))
    assert main([]) == 0
    out = capsys.readouterr().out
    for run in runs:
        names = {path.name for path in run.test_folder.iterdir()}
        assert {"summary.json", "per_case.csv", "contact_sheet.png", "overlays"} <= names
        assert len(list(run.overlays.glob("*.png"))) == 4
    assert predicted == []
    # of one run, whose two image sizes agree
    assert out.count("the prediction is empty in 1 of 4 cases (distances: the image diagonal): case_0006") == 1
    assert "81.19" not in out  # the paper's Dice, of other images
    assert "not the paper's images: " in out
    assert "mean training mask" in out
    assert "random weights: the results test the program" in out
    written = {path.name for path in (home / "results" / "tables").iterdir()}
    assert written >= {"segmentation.csv", "segmentation.md", "segmentation.tex", "cases.csv", "means.csv"}
    assert "table2.md" not in written  # nothing here is of the paper's images
    assert not any(name.startswith(("classification", "few_shot")) for name in written)
    heights = [Image.open(run.test_folder / "contact_sheet.png").height for run in runs]
    assert heights[0] == heights[1] < heights[2]  # a line more: made with random weights


def test_what_is_done_is_not_done_again_unless_forced(home: Path, predicted: list[RunPaths]) -> None:
    run = build_run(build_dataset())
    main([])
    written = run.summary_json.stat().st_mtime_ns
    assert main(["Tiny", "CLIP_HT"]) == 0
    assert run.summary_json.stat().st_mtime_ns == written
    assert main(["--force"]) == 0
    assert run.summary_json.stat().st_mtime_ns > written
    assert predicted == [run]


def test_another_policy_is_another_summary(home: Path, predicted: list[RunPaths]) -> None:
    run = build_run(build_dataset(), missed=["case_0006"])
    main([])
    penalised = read_json(run.summary_json)["htunet"]["means"]["input_size"]["HD95"]
    assert main(["--policy", "exclude"]) == 0
    excluded = read_json(run.summary_json)["htunet"]["means"]["input_size"]["HD95"]
    assert (penalised["n_used"], excluded["n_used"]) == (4, 3)
    assert excluded["mean"] < penalised["mean"]


def test_a_run_is_predicted_first_when_its_predictions_are_missing_or_old(
    home: Path, predicted: list[RunPaths]
) -> None:
    dataset = build_dataset()
    missing, old = build_run(dataset, seed=1), build_run(dataset, seed=2)
    (missing.predictions / "case_0006.png").unlink()
    make_older(old.predictions / "case_0006.png")
    assert main([]) == 0
    assert predicted == [missing, old]


def test_no_run_at_all_names_the_next_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "htunet_train BUSI CLIP_HT fold0" in capsys.readouterr().err


def test_unfinished_runs_are_named_with_the_command_that_continues_them(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = build_run(build_dataset())
    run.finished_json.unlink()
    assert main([]) == 1
    error = capsys.readouterr().err
    assert "Tiny CLIP_HT fold0 seed1 (plan paper)" in error
    assert "htunet_train Tiny CLIP_HT fold0 --seed 1" in error


def test_runs_left_out_are_said(home: Path, capsys: pytest.CaptureFixture[str], predicted: list[RunPaths]) -> None:
    dataset = build_dataset()
    build_run(dataset)
    build_run(dataset, seed=2).finished_json.unlink()
    other = build_run(dataset, method="Mine").folder
    other.parents[1].rename(other.parents[2] / "OtherTrainer__paper__Mine")
    assert main([]) == 0
    error = capsys.readouterr().err
    assert "Not finished, skipped: Tiny CLIP_HT fold0 seed2" in error
    assert "Learns neither masks nor classes, skipped: Tiny Mine" in error


@pytest.mark.parametrize(("arguments", "message"), [
    (["Tiny", "CLIP_TH"], "Did you mean 'CLIP_HT'?"),
    (["Tiny", "--plan", "papre"], "Did you mean 'paper'?"),
    (["Tinny"], "Did you mean 'Tiny'?"),
    (["--output", "somewhere"], "--output is for"),
    (["--prediction-folder", "p"], "are needed together"),
    (["Tiny", "--prediction-folder", "p", "--reference-folder", "r"], "omit 'Tiny'"),
])  # fmt: skip
def test_slips_of_the_keyboard_are_usage_errors(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    build_run(build_dataset())
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_two_folders_are_scored_and_summarised(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 2:5] = 255
    for folder in ("p", "r"):
        write_png(tmp_path / folder / "a.png", mask)
    arguments = ["--prediction-folder", str(tmp_path / "p"), "--reference-folder", str(tmp_path / "r")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "Note: predictions: values 0 and 255 read as 0 and 1" in out
    assert "Dice 100.00 %" in out
    assert main([*arguments, "--output", str(tmp_path / "o")]) == 0
    for folder in ("p", "o"):
        assert read_json(tmp_path / folder / "summary.json")["foreground_mean"]["Dice"] == 1.0


def test_masks_of_real_images_score_as_they_should(
    samples: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = samples / "tn3k_sample" / "tn3k" / "test-mask"
    assert (
        main(["--prediction-folder", str(masks), "--reference-folder", str(masks), "--output", str(tmp_path / "out")])
        == 0
    )
    assert "JPEG masks cut at half" in capsys.readouterr().out
    assert read_json(tmp_path / "out" / "summary.json")["foreground_mean"]["Dice"] == 1.0


def test_a_run_that_was_trained_on_another_split_is_left_out_and_named(
    home: Path, capsys: pytest.CaptureFixture[str], predicted: list[RunPaths]
) -> None:
    dataset = build_dataset()
    build_run(dataset)
    stale = build_run(dataset, seed=2, settings={"split_sha256": "0" * 64})
    assert main([]) == 0
    assert f"Trained on another split than the present one, skipped: {stale.label}" in capsys.readouterr().err
    assert not stale.summary_json.exists()
    assert main(["Tiny", "--plan", "paper", "--force"]) == 0
    assert stale not in predicted


def test_when_all_runs_were_trained_on_another_split_the_command_fails_with_the_way_out(
    home: Path, capsys: pytest.CaptureFixture[str], predicted: list[RunPaths]
) -> None:
    build_run(build_dataset(), settings={"split_sha256": "0" * 64})
    assert main([]) == 1
    assert "splits_final.before.json" in capsys.readouterr().err
    assert predicted == []


def test_one_broken_run_does_not_stop_the_others_and_is_named_at_the_end(
    home: Path, capsys: pytest.CaptureFixture[str], predicted: list[RunPaths]
) -> None:
    dataset = build_dataset()
    broken, sound = build_run(dataset, seed=1), build_run(dataset, seed=2)
    (broken.predictions / "case_0006.png").write_bytes(b"no picture")
    assert main([]) == 1
    output, errors = capsys.readouterr()
    assert sound.summary_json.exists()
    assert not broken.summary_json.exists()
    assert "Dice" in output
    assert errors.splitlines()[-1].startswith(
        "htunet_evaluate: error: 1 of 2 runs could not be evaluated. " + broken.label
    )
    assert (home / "results" / "tables" / "segmentation.csv").read_text().count("\n") == 4  # header, run, two baselines


@pytest.mark.usefixtures("home", "predicted")
def test_what_is_wrong_with_several_runs_is_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = build_dataset()
    runs = [build_run(dataset, seed=seed) for seed in (1, 2, 3)]

    def fail(run: RunPaths, *_: object, **__: object) -> None:
        raise HtunetError("The disk is full." if run.seed < 3 else "No such plan.")

    monkeypatch.setattr(evaluate, "_bring_up_to_date", fail)
    assert main([]) == 1
    errors = capsys.readouterr().err
    assert f"Failed: {runs[1].label}: for the same reason as before\n" in errors
    first, second, third = (run.label for run in runs)
    expected = f"3 of 3 runs could not be evaluated. {first}, {second}: The disk is full.; {third}: No such plan."
    assert errors.splitlines()[-1] == f"htunet_evaluate: error: {expected}"


@pytest.mark.usefixtures("predicted")
def test_memory_that_ran_out_for_one_run_is_said_with_the_way_out(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = build_dataset()
    runs = [build_run(dataset, seed=seed) for seed in (1, 2)]

    def without_memory(run: RunPaths, *_: object) -> bool:
        raise MemoryError if run == runs[0] else RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(evaluate, "_bring_up_to_date", without_memory)
    assert main([]) == 1
    assert capsys.readouterr().err.count(": The memory ran out. End other programs") == 2  # at once, and at the end


@pytest.mark.parametrize("content", ["[]", "null", ""])
def test_broken_settings_are_one_clear_line(home: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    run = build_run(build_dataset())
    run.settings_json.write_text(content, encoding="utf-8")
    assert main([]) == 1
    assert str(run.settings_json) in capsys.readouterr().err
