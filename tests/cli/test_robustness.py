"""The command htunet_robustness, end to end on tiny runs: what it writes, what it keeps, and what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders.training import TEST, run_of, tiny_settings

from htunet.cli.evaluate import main as evaluate
from htunet.cli.robustness import folder_of, main, shared
from htunet.data.split_files import load_splits, save_splits
from htunet.experiments import robustness_study
from htunet.files import read_json
from htunet.inference.predictor import Predictor, Probabilities
from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.figures import robustness_curves as drawing
from htunet.reporting.figures import style as figure_style
from htunet.training import record
from htunet.training.run import train

FEW = ("--artefacts", "gain", "speckle", "--strengths", "2", "5")


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than these runs."""
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    monkeypatch.setattr(figure_style, "DOTS_PER_INCH", 60)


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "draw_curves", lambda *_, **__: [])
    monkeypatch.setattr(drawing, "draw_artefacts", lambda *_, **__: [])


@pytest.fixture
def trained(tiny: DatasetPaths) -> DatasetPaths:
    train("Tiny", "TINY_HT", 0, tiny_settings(num_epochs=2))
    return tiny


def measure(*options: str) -> int:
    return main(["Tiny", "TINY_HT", *FEW, "--device", "cpu", *options])


def table(dataset: DatasetPaths, method: str = "TINY_HT") -> pd.DataFrame:
    return pd.read_csv(run_of(dataset, method).robustness("altered") / "robustness.csv")


def test_tables_curves_and_pictures_of_two_methods(trained: DatasetPaths, capsys: pytest.CaptureFixture[str]) -> None:
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    assert (
        main(["Tiny", "Plain", "TINY_HT", "--artefacts", "gain", "speckle", "--strengths", "5", "--device", "cpu"]) == 0
    )
    for method in ("Plain", "TINY_HT"):
        found = table(trained, method)
        assert len(found) == TEST * (1 + 2)
        assert found["dice"].between(0, 1).all()
        assert sorted(found["value"].unique()) == pytest.approx([0, 1, 20])
        folder = run_of(trained, method).robustness("altered")
        content = read_json(folder / "robustness.json")
        assert content["random_weights"] == (method == "TINY_HT")
        assert set(content["figures"]["dice"]) == {"gain", "speckle"}
        first = content["figures"]["dice"]["gain"]["points"][0]
        assert first["figure"]["value"] == pytest.approx(found[found["strength"] == 0]["dice"].mean())
        assert (folder / "robustness_dice.png").stat().st_size > 5_000
    together = trained.robustness("altered") / "SegmentationTrainer__tiny__fold_0__seed_1"
    names = {path.name for path in together.iterdir()}
    pictures = ("robustness_dice", "artefacts")
    assert names >= {"curves.csv", "comparisons.csv", *(f"{name}.{e}" for name in pictures for e in ("png", "pdf"))}
    assert len(pd.read_csv(together / "comparisons.csv")) == 2
    assert "TINY_HT dice gain:" in capsys.readouterr().out


def test_few_shot_runs_and_fine_tuned_ones_never_replace_the_results_of_the_others() -> None:
    one = RunPaths(DatasetPaths("Dataset903_Tiny"), "SegmentationTrainer", "paper", "UNet", 0, 1)
    assert folder_of([one]) == "SegmentationTrainer__paper__fold_0__seed_1"
    few = [replace(one, ratio=0.05), replace(one, ratio=0.05, method="CLIP_HT", adapter="Words")]
    assert folder_of(few) == "SegmentationTrainer__paper__ratio_0.05__adapter_Words__fold_0__seed_1"
    assert shared(few)["adapter"] == "Words"


def test_without_an_artefact_the_figures_are_those_of_the_evaluation(
    trained: DatasetPaths, without_figures: None
) -> None:
    assert measure() == 0
    assert evaluate(["Tiny", "TINY_HT"]) == 0
    rows = pd.read_csv(run_of(trained, "TINY_HT").test_folder / "per_case.csv")
    evaluated = rows[rows["resolution"] == "input_size"].set_index("case")
    ours = table(trained)
    ours = ours[ours["artefact"] == "none"].set_index("case")
    assert len(ours) == TEST
    for name in ("dice", "hd95"):
        pd.testing.assert_series_equal(ours[name], evaluated[name], check_like=True)


def test_what_is_measured_is_not_measured_again_and_more_is_added(
    trained: DatasetPaths, without_figures: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure() == 0
    before = table(trained)
    done: list[str] = []
    measure_artefact = robustness_study.measure_artefact

    def noted(*arguments: Any) -> pd.DataFrame:
        done.append(arguments[-2])
        return measure_artefact(*arguments)

    monkeypatch.setattr(robustness_study, "measure_artefact", noted)
    assert measure() == 0
    assert done == []
    assert "Already measured." in capsys.readouterr().err
    assert main(["Tiny", "TINY_HT", "--artefacts", "gain", "shadow", "--strengths", "2", "--device", "cpu"]) == 0
    assert done == ["shadow"]
    assert measure("--force") == 0
    assert done == ["shadow", "none", "gain", "speckle"]
    after = table(trained)
    assert len(after) == len(before) + TEST
    keys = ["artefact", "strength", "case"]
    same = after.merge(before[keys], on=keys).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(same, before.sort_values(keys, ignore_index=True))


def test_strengths_are_added_and_the_curves_show_those_that_are_asked_for(
    trained: DatasetPaths, without_figures: None
) -> None:
    command = ["Tiny", "TINY_HT", "--artefacts", "gain", "--device", "cpu", "--strengths"]
    shown = []
    for strengths in (["2"], ["2", "5"], ["5"]):
        assert main([*command, *strengths]) == 0
        curves = read_json(run_of(trained, "TINY_HT").robustness("altered") / "robustness.json")["figures"]["dice"]
        shown.append([point["strength"] for point in curves["gain"]["points"]])
    assert shown == [[0, 2], [0, 2, 5], [0, 5]]
    assert len(table(trained)) == TEST * (1 + 2)


def test_another_seed_of_the_artefacts_is_another_measurement(trained: DatasetPaths, without_figures: None) -> None:
    seeds = []
    for seed in ("0", "1"):
        assert measure("--artefact-seed", seed) == 0
        made_of = read_json(run_of(trained, "TINY_HT").robustness("altered") / "made_of.json")
        seeds.append((made_of["seed"], len(table(trained))))
    assert seeds == [(0, TEST * (1 + 4)), (1, TEST * (1 + 4))]


def test_a_run_that_was_trained_anew_is_measured_anew(
    trained: DatasetPaths, without_figures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure() == 0
    made_of = run_of(trained, "TINY_HT").robustness("altered") / "made_of.json"
    before = read_json(made_of)
    train("Tiny", "TINY_HT", 0, tiny_settings(num_epochs=4), restart=True)
    assert measure() == 0
    assert read_json(made_of)["checkpoint_sha256"] != before["checkpoint_sha256"]
    assert "Already measured" not in capsys.readouterr().err


def test_a_network_that_takes_dark_for_lesion_fails_when_the_gain_lifts_the_lesion_above_its_threshold(
    trained: DatasetPaths, without_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dark(_: Predictor, images_BCHW: np.ndarray) -> Probabilities:
        lesion_BHW = (images_BCHW[:, 0] < 60).astype(np.float32)  # lesions are 30, what is around them 60 to 200
        return Probabilities(np.stack([1 - lesion_BHW, lesion_BHW], axis=1), None)

    monkeypatch.setattr(Predictor, "probabilities", dark)
    assert (
        main(["Tiny", "TINY_HT", "--artefacts", "gain", "low_gain", "--strengths", "1", "2", "5", "--device", "cpu"])
        == 0
    )
    dice = table(trained).groupby(["artefact", "strength"])["dice"].mean()
    assert dice["none", 0] > 0.9
    assert dice["gain", 1] > 0.9  # 4 dB are 17 gray values: 47
    assert dice["gain", 2] == 0  # 8 dB are 34: 64
    assert dice["low_gain", 5] < 0.6  # 20 dB are 85: 130, the surroundings' mean, becomes 45


def test_classes_have_curves_of_the_auc(tiny: DatasetPaths, without_figures: None) -> None:
    train("Tiny", "PlainClasses", 0, tiny_settings(num_epochs=1, task="cls"))
    assert main(["Tiny", "PlainClasses", *FEW, "--device", "cpu"]) == 0
    folder = next(tiny.results.glob("ClassificationTrainer__*/fold_0/seed_1/robustness/altered"))
    assert set(read_json(folder / "robustness.json")["figures"]) == {"auc"}
    found = pd.read_csv(folder / "robustness.csv")
    assert found["score"].equals(found["probability_malignant"])
    of_truth = found["probability_malignant"].where(found["class"] == "malignant", found["probability_benign"])
    assert found["probability_of_truth"].equals(of_truth.rename("probability_of_truth"))
    assert found["score"].between(0, 1).all()
    assert "dice" not in found


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--artefacts", "shaddow"), "Did you mean 'shadow'"),
        (("--strengths", "1", "6"), "lies in 0..5, got 6"),
        (("--strengths", "0", "1"), "different numbers above 0"),
        (("--strengths", "1", "1"), "different numbers above 0"),
        (("--fold", "7"), "fold"),
        (("--plan", "paper"), "plan"),
    ],
)
def test_what_cannot_be_meant_ends_in_2(
    trained: DatasetPaths, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], text: str
) -> None:
    assert main(["Tiny", "TINY_HT", "--device", "cpu", *options]) == 2
    assert text in capsys.readouterr().err


def test_a_method_named_twice_is_refused(trained: DatasetPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["Tiny", "TINY_HT", "TINY_HT"]) == 2
    assert "TINY_HT more than once" in capsys.readouterr().err


def test_a_run_that_is_not_finished_is_refused_with_the_next_command(
    trained: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    run_of(trained, "TINY_HT").finished_json.unlink()
    assert measure() == 1
    assert "not finished. Continue it: htunet_train Tiny TINY_HT fold0" in capsys.readouterr().err


def test_a_test_split_that_was_changed_after_the_training_is_refused(
    trained: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = load_splits(trained.splits_json)
    swapped = first | {
        "train": [*first["train"][1:], first["test"][0]],
        "test": [*first["test"][1:], first["train"][0]],
    }
    save_splits(trained.splits_json, [swapped, *others])
    assert measure() == 1
    assert "the test split may contain images that the run was trained on" in capsys.readouterr().err


def test_a_folder_without_a_phantom_is_refused(
    trained: DatasetPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure("--rendered", str(tmp_path)) == 1
    assert "is no phantom" in capsys.readouterr().err
