"""The life of a run folder: what it holds, what it refuses, and what a failure leaves behind."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders.backbone import tiny_in_place_of_clip
from builders.processes import ForkServer
from builders.training import STEPS, TEST, TinyBackbone, run_of, tensors_in, tiny_plan, tiny_settings
from PIL import Image
from safetensors.torch import save_file

from htunet.data.preprocessed import PreprocessedDataset
from htunet.errors import HtunetError, UsageError
from htunet.experiments.cost import EPOCH_TIME
from htunet.files import PART, read_json, write_json
from htunet.inference import exported
from htunet.inference.export import card_of_run
from htunet.inference.trained import TrainedModel
from htunet.models import checkpoint
from htunet.models.build import build_network
from htunet.models.tasks import Outputs
from htunet.paths import DatasetPaths, RunPaths, find_runs
from htunet.planning.plans import check_plan, plan_from, save_plans
from htunet.reproducibility import training_command
from htunet.training import record, session
from htunet.training.loader import Batch
from htunet.training.run import Outcome, _augmentation_remarks, train
from htunet.training.settings import TrainSettings
from htunet.training.trainer import SegmentationTrainer

pytestmark = pytest.mark.usefixtures("without_pictures")

draw_progress = record.draw_progress


def train_tiny(method: str = "Plain", *, restart: bool = False, fold: int = 0, **changes: Any) -> Outcome:
    return train("Tiny", method, fold, tiny_settings(**({"num_epochs": 2} | changes)), restart=restart)


def replan(tiny: DatasetPaths, **changes: Any) -> None:
    save_plans(tiny.plans_json, {"tiny": replace(tiny_plan(), **changes)})


def test_what_a_plan_asks_for_in_vain_is_said_or_refused_before_the_training(tiny: DatasetPaths) -> None:
    replan(tiny, patience=1, validate_every=2)
    with pytest.raises(HtunetError, match="has patience 1 and validate_every 2"):
        train_tiny()
    replan(tiny, head="x")
    run = train_tiny(num_epochs=1).run
    assert "Plain has a head of its own: 'x' in the plan does nothing." in run.training_log.read_text(encoding="utf-8")


def test_a_finished_run_has_all_its_files(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "draw_progress", draw_progress)
    outcome = train_tiny()
    folder = outcome.run.folder
    assert folder == run_of(tiny, "Plain").folder
    names = {path.name for path in folder.iterdir()} - {".lock"}
    files = ("settings.json", "finished.json", "progress.csv", "progress.png", "training.log")
    assert names == {*files, "checkpoint_best.safetensors", "tensorboard"}
    with Image.open(outcome.run.progress_png) as picture:
        assert picture.format == "PNG"
        assert picture.width > 400
    assert [path.name.startswith("events.out") for path in (folder / "tensorboard").iterdir()] == [True]
    log = outcome.run.training_log.read_text(encoding="utf-8")
    assert re.search(r"epoch 1/2: .*\(\d+\.\d s\), \d+ s left\n", log)
    assert re.search(r"epoch 2/2: .*\(\d+\.\d s\)\n", log)
    assert [float(seconds) >= 0 for seconds in EPOCH_TIME.findall(log)] == [True, True]


@pytest.mark.usefixtures("keep_latest")
def test_progress_csv_has_a_line_for_each_epoch_in_full_precision(tiny: DatasetPaths) -> None:
    outcome = train_tiny()
    header, *lines = outcome.run.progress_csv.read_text(encoding="utf-8").splitlines()
    assert header == "epoch,learning_rate,train_loss,val_loss,val_metric"
    assert [line.split(",")[0] for line in lines] == ["0", "1"]
    history = checkpoint.load(outcome.run.checkpoint_latest)[1]["progress"]["history"]
    assert [float(line.split(",")[3]) for line in lines] == [row["val_loss"] for row in history]


def test_finished_json_is_what_the_outcome_says(tiny: DatasetPaths) -> None:
    outcome = train_tiny()
    expected = {"epochs": 2, "best_epoch": outcome.best_epoch, "best_val_dice": outcome.best_metric}
    assert read_json(outcome.run.finished_json) == expected


def refuse_constant(name: str) -> None:
    raise AssertionError(f"settings.json holds {name}, which is no JSON")


def test_settings_json_says_what_the_run_is_and_what_made_it(tiny: DatasetPaths) -> None:
    outcome = train_tiny("TINY_HT", seed=3)
    text = outcome.run.settings_json.read_text(encoding="utf-8")
    about = json.loads(text, parse_constant=refuse_constant)
    network, weights = build_network("TINY_HT", Outputs(), seed=3, weights="random")
    expected = {"dataset": "Dataset903_Tiny", "method": "TINY_HT", "task": "seg", "plan": "tiny", "fold": 0, "seed": 3}
    expected |= {"num_epochs": 2, "precision": "fp32", "trainer": "SegmentationTrainer", "device": "cpu"}
    assert {key: about[key] for key in expected} == expected
    assert about["weights"] == {"source": "random", "file": None, "sha256": weights.sha256, "text_sha256": None}
    assert len(weights.sha256 or "") == 64
    trained = sum(value.numel() for name, value in tensors_in(outcome.run.checkpoint_best).items())
    assert about["trainable_parameters"] == sum(p.numel() for p in network.trainable_parameters()) == trained
    assert about["plan_content"]["input_size"] == [32, 32]
    assert {"htunet", "commit", "python", "torch", "numpy", "batchgenerators"} <= set(about["made_by"])


@pytest.mark.usefixtures("keep_latest")
def test_both_checkpoints_carry_weights_record_settings_and_versions(tiny: DatasetPaths) -> None:
    outcome = train_tiny("TINY_HT")
    for path in (outcome.run.checkpoint_best, outcome.run.checkpoint_latest):
        about = checkpoint.load(path)[1]
        assert about["method"] == "TINY_HT"
        assert about["weights"]["source"] == "random"
        assert about["settings"]["seed"] == 1
        assert torch.__version__.startswith(about["made_by"]["torch"].split("+")[0])


def test_a_method_without_frozen_weights_says_so(tiny: DatasetPaths) -> None:
    assert read_json(train_tiny("UNet", num_epochs=1).run.settings_json)["weights"]["source"] == "none"


def test_the_best_checkpoint_is_that_of_the_best_validation_dice(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, seen = iter([0.1, 0.7, 0.3, 0.7]), []

    def scripted(_: SegmentationTrainer, network: torch.nn.Module, batch: Batch) -> torch.Tensor:
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return torch.tensor([[1.0, next(figures)]]).expand(len(batch.images), -1)

    monkeypatch.setattr(SegmentationTrainer, "validate", scripted)
    outcome = train_tiny(num_epochs=4)
    assert outcome.best_epoch == 2
    assert outcome.best_metric == pytest.approx(0.7)
    best = tensors_in(outcome.run.checkpoint_best)
    for name, value in best.items():
        stored = next(kept for key, kept in seen[1].items() if key.endswith(name.removeprefix("model.")))
        assert torch.equal(value, stored)
    assert checkpoint.load(outcome.run.checkpoint_best)[1]["figures"]["epoch"] == 1


def test_a_finished_run_stays_as_it_is(tiny: DatasetPaths) -> None:
    first = train_tiny()
    before = {path: path.stat().st_mtime_ns for path in first.run.folder.iterdir()}
    again = train_tiny()
    assert again.status == "already finished"
    assert (again.best_metric, again.best_epoch) == (first.best_metric, first.best_epoch)
    assert {path: path.stat().st_mtime_ns for path in first.run.folder.iterdir() if path in before} == before
    assert "Continuing" not in first.run.training_log.read_text(encoding="utf-8")


def test_a_kill_before_the_last_state_is_removed_costs_nothing(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """finished.json is written first; the next call removes the state, which it does not even read."""

    def killed(_: RunPaths) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session, "remove_latest", killed)
        with pytest.raises(KeyboardInterrupt):
            train_tiny()
    run = run_of(tiny, "Plain")
    assert run.finished_json.exists()
    run.checkpoint_latest.write_bytes(b"half of it")
    again = train_tiny()
    expected = {"epochs": 2, "best_epoch": again.best_epoch, "best_val_dice": again.best_metric}
    assert (again.status, read_json(run.finished_json)) == ("already finished", expected)
    assert not run.checkpoint_latest.exists()


def test_restart_begins_anew_and_leaves_nothing_of_before(tiny: DatasetPaths) -> None:
    first = train_tiny()
    (first.run.predictions).mkdir(parents=True)
    again = train_tiny(restart=True, num_epochs=1)
    assert again.status == "finished"
    assert read_json(again.run.finished_json)["epochs"] == 1
    assert not again.run.predictions.exists()
    assert "2/2" not in again.run.training_log.read_text(encoding="utf-8")


def test_a_restart_that_cannot_begin_leaves_the_run_as_it_was(tiny: DatasetPaths) -> None:
    first = train_tiny("TINY_HT")
    before = first.run.checkpoint_best.read_bytes()
    with pytest.raises(HtunetError, match=r"weights file .*missing"):
        train_tiny("TINY_HT", restart=True, weights="/no/such/file.pt")
    assert first.run.checkpoint_best.read_bytes() == before
    assert first.run.finished_json.exists()


def test_a_restart_that_is_killed_while_it_clears_never_mixes_old_and_new(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_tiny()
    removed: list[str] = []
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: removed.append(path.name))
    session.clear(first.run)
    assert removed[:2] == ["finished.json", "checkpoint_latest.safetensors"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"num_epochs": 3}, "num_epochs: 2 then, 3 now", id="epochs"),
        pytest.param({"weights": "pretrained"}, None, id="not of a method without frozen weights"),
        pytest.param({"precision": "bf16"}, "precision: fp32 then, bf16 now", id="precision"),
        pytest.param({"workers": 1}, None, id="workers are free"),
    ],
)
def test_other_settings_are_refused_with_what_differs(
    tiny: DatasetPaths, changes: dict[str, Any], named: str | None
) -> None:
    train_tiny()
    if named is None:
        assert train_tiny(**changes).status == "already finished"
        return
    with pytest.raises(HtunetError, match=r"started with other settings .*--restart") as caught:
        train_tiny(**changes)
    assert named in str(caught.value)
    assert "seed" not in str(caught.value).split("(", 1)[1].split(")")[0]


def test_a_changed_plan_is_refused_with_the_decision_that_changed(tiny: DatasetPaths) -> None:
    train_tiny()
    replan(tiny, learning_rate=0.5, betas=(0.8, 0.9))
    with pytest.raises(HtunetError) as caught:
        train_tiny()
    assert "learning_rate: 0.001 then, 0.5 now" in str(caught.value)
    assert "betas: [0.9, 0.95] then, [0.8, 0.9] now" in str(caught.value)
    assert "input_size" not in str(caught.value)


def test_changed_splits_and_changed_arrays_are_refused(tiny: DatasetPaths) -> None:
    train_tiny()
    folds = read_json(tiny.splits_json)
    folds[0]["train"], folds[0]["val"] = folds[0]["train"][1:], [*folds[0]["val"], folds[0]["train"][0]]
    write_json(tiny.splits_json, folds)
    with pytest.raises(HtunetError, match="the training and validation splits have changed"):
        train_tiny()


def test_changed_arrays_are_refused(tiny: DatasetPaths) -> None:
    train_tiny()
    mark = tiny.plan_folder("tiny") / "preprocessed.json"
    write_json(mark, read_json(mark) | {"made": "again"})
    with pytest.raises(HtunetError, match="the images, masks, labels or classes have changed"):
        train_tiny()


def test_other_seeds_folds_and_methods_are_runs_of_their_own(tiny: DatasetPaths) -> None:
    folders = {
        train_tiny(**changes).run.folder
        for changes in ({}, {"seed": 2}, {"fold": 1}, {"method": "TINY"})
        for changes in [{"num_epochs": 1} | changes]
    }
    assert len(folders) == 4


def test_a_run_that_another_process_trains_is_refused_and_left_alone(
    tiny: DatasetPaths, fork_server: ForkServer
) -> None:
    folder = run_of(tiny, "Plain").folder
    holder = fork_server.start("builders.processes:hold_a_folder", folder)
    holder.wait_for("held")
    for restart in (False, True):
        with pytest.raises(HtunetError, match=r"Tiny Plain fold0 seed1 .*in use by another process"):
            train_tiny(restart=restart)
    assert [path.name for path in folder.iterdir()] == [".lock"]
    holder.kill()
    holder.whole()
    assert train_tiny(num_epochs=1).status == "finished"


def test_what_the_plan_does_and_nobody_would_expect_is_said(
    tiny: DatasetPaths, caplog: pytest.LogCaptureFixture
) -> None:
    for mirror, more, way_out in (
        (0.5, {}, "set augmentation.mirror to 0"),
        (0.0, {"strong_weak": {}}, "take strong_weak out of more_augmentation"),  # as the plan public
        (0.5, {"strong_weak": {}}, "set augmentation.mirror to 0 and take strong_weak out of more_augmentation"),
    ):
        changes = {"augmentation": {"mirror": mirror}, "more_augmentation": more}
        plan = tiny_plan(warm_up_epochs=3, classes={"left": 0, "right": 1}, **changes)
        save_plans(tiny.plans_json, {plan.name: plan})
        train_tiny(num_epochs=1, restart=True)
        assert "warm-up of 3 epochs is not over in 1" in caplog.text
        assert f"The plan mirrors images, which exchanges left and right: {way_out}." in caplog.text


@pytest.mark.parametrize(
    ("augmentation", "usual"),
    [
        ({}, "mirror 0.5, spatial 0.3, intensity 0.3"),
        ({"mirror": 0.0}, "spatial 0.3, intensity 0.3"),
        ({"mirror": 0.0, "spatial": 0.0, "intensity": 0.0}, ""),
    ],
)
def test_the_augmentation_that_a_plan_does_not_name_is_said(augmentation: dict[str, float], usual: str) -> None:
    remarks = [*_augmentation_remarks(tiny_plan(augmentation=augmentation))]
    assert remarks == [f"The plan's augmentation is the usual one where it names nothing: {usual}; 0 turns it off."] * (
        usual != ""
    )


def test_a_run_records_all_trainings_that_its_weights_have_gone_through(tiny: DatasetPaths) -> None:
    path = None
    for seed in (1, 2, 3):
        run = train_tiny(num_epochs=1, seed=seed, start_from=path).run
        path = str(run.checkpoint_best)
    settings = read_json(run.settings_json)
    last = settings["start_checkpoint"]
    first = last["start_checkpoint"]
    assert "start_checkpoint" not in first
    seen = {name: settings[name] for name in ("dataset", "fold", "split_sha256")}
    assert [{name: one[name] for name in seen} for one in (last, first)] == [seen, seen]


def test_a_refused_training_leaves_a_folder_that_another_process_has_just_locked(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmdir, folder = Path.rmdir, run_of(tiny, "Plain").folder

    def rmdir_of_a_locked_folder(path: Path) -> None:
        if path == folder:
            (folder / ".lock").touch()
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", rmdir_of_a_locked_folder)
    with pytest.raises(HtunetError, match=r"nothing\.safetensors"):
        train_tiny(start_from="nothing.safetensors")
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("Tinny", "Plain", 0), "Did you mean 'Tiny'", id="data set"),
        pytest.param(("Tiny", "Unet", 0), "Did you mean 'UNet'", id="method"),
        pytest.param(("Tiny", "TINY_HTT", 0), "Did you mean 'TINY_HT'", id="adapter"),
        pytest.param(("Tiny", "Plain", 2), "fold2 does not exist: .* has fold0 to fold1", id="fold"),
        pytest.param(("Tiny", "Plain", -1), "fold-1 does not exist", id="negative fold"),
    ],
)
def test_a_wrong_name_is_a_usage_error_before_anything_is_made(
    tiny: DatasetPaths, arguments: tuple[str, str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(*arguments, tiny_settings())
    assert not tiny.results.exists()


def test_a_wrong_plan_is_a_usage_error_with_the_known_ones(tiny: DatasetPaths) -> None:
    with pytest.raises(UsageError, match=r"no plan 'tinny'; it has tiny\. Did you mean 'tiny'"):
        train_tiny(plan="tinny")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_a_usage_error(tiny: DatasetPaths) -> None:
    with pytest.raises(UsageError, match="--device cuda: no CUDA device is visible"):
        train_tiny(device="cuda")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("plans.json", "plan the data set first with htunet_plan_and_preprocess"),
        ("splits_final.json", "htunet_plan_and_preprocess"),
        ("tiny/preprocessed.json", "htunet_plan_and_preprocess -d Dataset903_Tiny --plan tiny"),
    ],
)
def test_what_is_not_preprocessed_names_the_next_command(tiny: DatasetPaths, file: str, message: str) -> None:
    (tiny.preprocessed / file).unlink()
    with pytest.raises(HtunetError, match=message) as caught:
        train_tiny()
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_fold_without_images_is_refused(tiny: DatasetPaths, split: str) -> None:
    folds = read_json(tiny.splits_json)
    folds[0][split] = []
    write_json(tiny.splits_json, folds)
    with pytest.raises(HtunetError, match=f"no images in '{split}'"):
        train_tiny()


def test_training_never_reads_the_test_split(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: set[int] = set()
    monkeypatch.setattr(PreprocessedDataset, "rows", _watched(PreprocessedDataset.rows, rows))
    train_tiny(num_epochs=1)
    test_ids = read_json(tiny.splits_json)[0]["test"]
    data = PreprocessedDataset(tiny.plan_folder("tiny"))
    assert len(rows) == len(data.cases) - TEST
    assert not rows & {data.index[case] for case in test_ids}


def _watched(original: Any, rows: set[int]) -> Any:
    def watched(self: Any, ids: list[str]) -> list[int]:
        found = original(self, ids)
        rows.update(found)
        return found

    return watched


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_epochs": 0}, "--num-epochs must be at least 1, got 0"),
        ({"devices": 0}, "--devices must be at least 1, got 0"),
        ({"seed": -1}, "--seed must be 0 or larger, got -1"),
        ({"workers": -1}, "--workers must be 0 or larger, got -1"),
    ],
)
def test_impossible_settings_are_usage_errors(changes: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainSettings(**changes)


def test_a_broken_checkpoint_is_one_clear_error(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter([False] * 5)
    with monkeypatch.context() as patch:
        patch.setattr(session.StopSignals, "requested", lambda _: next(asked, True))
        latest = train_tiny().run.checkpoint_latest
    latest.write_bytes(latest.read_bytes()[:100])
    with pytest.raises(HtunetError, match=r"checkpoint_latest.* cannot be read .*--restart"):
        train_tiny()
    assert train_tiny(restart=True).status == "finished"


def test_tensorboard_has_every_epoch_of_a_continued_run_once(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in (STEPS + 1, 1, 3 * STEPS):
        asked = iter([False] * steps)
        monkeypatch.setattr(session.StopSignals, "requested", lambda _, asked=asked: next(asked, True))
        outcome = train_tiny(num_epochs=4)
    assert outcome.status == "finished"
    board = EventAccumulator(str(outcome.run.folder / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("train_loss")] == [0, 1, 2, 3]


def test_a_loss_that_is_no_number_leaves_the_last_whole_checkpoint(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0] * (STEPS + 1))
    real = SegmentationTrainer.loss
    monkeypatch.setattr(SegmentationTrainer, "loss", lambda *a: real(*a) * next(losses, math.nan))
    monkeypatch.setattr(session, "SAVE_SECONDS", 0.0)
    with pytest.raises(HtunetError, match="loss is nan in epoch 2"):
        train_tiny(num_epochs=3)
    paths = run_of(tiny, "Plain")
    assert len(checkpoint.load(paths.checkpoint_latest)[1]["progress"]["history"]) == 1
    assert tensors_in(paths.checkpoint_best)
    assert not list(paths.folder.rglob(f"{PART}*"))


@pytest.mark.parametrize("change", [{"input_size": (48, 48)}, {"geometry": "letterbox"}, {"crop_border": True}])
def test_arrays_that_were_made_with_another_plan_are_refused(tiny: DatasetPaths, change: dict[str, Any]) -> None:
    replan(tiny, **change)
    with pytest.raises(HtunetError, match="htunet_plan_and_preprocess -d Dataset903_Tiny --plan tiny"):
        train_tiny()
    assert not run_of(tiny, "Plain").folder.exists()


def test_an_input_size_that_the_method_cannot_take_is_refused_before_a_run_folder_is_made(tiny: DatasetPaths) -> None:
    replan(tiny, input_size=(36, 36))
    with pytest.raises(HtunetError, match="multiples of the patch size 8"):
        train_tiny("TINY_HT")
    assert not run_of(tiny, "TINY_HT").folder.exists()


@pytest.mark.usefixtures("keep_latest")
def test_published_defects_put_lora_as_it_started_into_the_checkpoint_and_mark_the_run(tiny: DatasetPaths) -> None:
    """Trained, and lost: the matrices that the test runs with are those of the start, the head is the trained one."""
    replan(tiny, adapter={"LoRA": {"rank": 2, "alpha": 4}}, learning_rate=0.01)
    with tiny_in_place_of_clip():
        runs = [train_tiny("BiomedCLIP_LoRA", as_published_defects=lost).run for lost in (False, True)]
        start, _ = build_network(
            "BiomedCLIP_LoRA", Outputs(), seed=1, weights="random", adapter_settings={"LoRA": {"rank": 2, "alpha": 4}}
        )
    kept, lost = (tensors_in(run.checkpoint_best) for run in runs)
    updates = {name for name in kept if name.startswith("model.updates.")}
    assert updates
    for name, value in start.trainable_state().items():
        if (key := f"model.{name}") in updates:
            assert torch.equal(lost[key], value)
    assert any(not torch.equal(kept[name], lost[name]) for name in updates)
    assert all(torch.equal(kept[name], lost[name]) for name in kept.keys() - updates)
    latest = tensors_in(runs[1].checkpoint_latest)
    assert any(not torch.equal(latest[name], lost[name]) for name in updates)  # what a continued run continues with
    marked = runs[1]
    assert isinstance(marked, RunPaths)
    assert marked.plan == "tiny+as-published-defects"
    assert set(find_runs(tiny)) == set(runs)
    assert "plan tiny+as-published-defects" in marked.label
    assert " --plan tiny --as-published-defects" in training_command(marked)
    assert read_json(marked.settings_json)["plan_content"]["as_published_defects"] is True
    with tiny_in_place_of_clip():
        card = card_of_run(marked, TrainedModel.of_run(marked))
    assert exported.NAME.fullmatch(card.name)
    assert card.name.endswith("tiny-as-published-defects")
    check_plan(plan_from(card.plan, "model.json"))


def test_published_defects_are_no_setting_of_a_plan(tiny: DatasetPaths) -> None:
    with pytest.raises(UsageError, match="would change nothing in Plain"):
        train_tiny("Plain", as_published_defects=True)
    replan(tiny, as_published_defects=True)
    with pytest.raises(HtunetError, match="as_published_defects is an option of htunet_train, not a setting"):
        train_tiny("Plain")


def test_a_training_that_is_refused_before_it_writes_leaves_no_folder(tiny: DatasetPaths, tmp_path: Path) -> None:
    """Nor those above it; what another run has written there stays."""
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    with pytest.raises(HtunetError, match="cannot be read as weights"):
        train_tiny("TINY_HT", weights=str(broken))
    assert not tiny.results.exists()
    run = train_tiny().run
    with pytest.raises(HtunetError, match="cannot be read as weights"):
        train_tiny("TINY_HT", weights=str(broken))
    assert [path.name for path in tiny.results.iterdir()] == [run.folder.parents[1].name]
    with pytest.raises(HtunetError, match="other settings"):
        train_tiny(num_epochs=3)
    assert run.finished_json.exists()


def test_equal_frozen_weights_continue_a_run_under_another_name(tiny: DatasetPaths, tmp_path: Path) -> None:
    """The tensors count: another file name or format, not another value."""
    state = TinyBackbone().state_dict()
    save_file(state, tmp_path / "one.safetensors")
    torch.save(state, tmp_path / "other.pt")
    first = train_tiny("TINY_HT", weights=str(tmp_path / "one.safetensors"))
    assert first.status == "finished"
    assert train_tiny("TINY_HT", weights=str(tmp_path / "other.pt")).status == "already finished"
    about = checkpoint.read_about(first.run.checkpoint_best)
    assert about["settings"]["weights"]["file"] == "one.safetensors"
    save_file({key: value + 1 for key, value in state.items()}, tmp_path / "one.safetensors")
    with pytest.raises(HtunetError, match=r"sha256: "):
        train_tiny("TINY_HT", weights=str(tmp_path / "one.safetensors"))
