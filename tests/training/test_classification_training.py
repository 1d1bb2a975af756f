"""Runs that learn classes, and both tasks at once: what they keep, what they refuse, and that they learn."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders.classes import build_visible_classes
from builders.plan import plan_of
from builders.processes import ForkServer
from builders.training import (
    register_tiny_methods,
    same_tensors,
    tiny_plan,
    tiny_settings,
)

from htunet.errors import HtunetError
from htunet.files import read_csv, read_json, write_json
from htunet.models import build
from htunet.models.backbones import BACKBONES
from htunet.paths import TASK_OF_TRAINER, DatasetPaths, RunPaths
from htunet.planning.plans import save_plans
from htunet.training import session
from htunet.training.loader import Batch
from htunet.training.losses.classification import focal
from htunet.training.losses.segmentation import dice_cross_entropy
from htunet.training.run import train
from htunet.training.trainer import TRAINERS, ClassificationTrainer, SegmentationClassificationTrainer

pytestmark = pytest.mark.usefixtures("without_pictures")

CLASS_TASKS = ("cls", "seg+cls")


@pytest.fixture
def dataset(home: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetPaths:
    for registry in (build.STANDALONE, BACKBONES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    register_tiny_methods()
    return build_visible_classes()


def place(dataset: DatasetPaths, task: str, method: str = "TINY_HT") -> RunPaths:
    return RunPaths(dataset, TRAINERS[task].__name__, "tiny", method, 0, 1)


def test_every_trainer_has_the_name_that_paths_know_its_task_by() -> None:
    assert {TRAINERS[task].__name__: task for task in TRAINERS.names()} == TASK_OF_TRAINER


@pytest.mark.parametrize("task", CLASS_TASKS)
def test_classes_that_can_be_seen_are_learnt(dataset: DatasetPaths, task: str) -> None:
    outcome = train("Tiny", "TINY", 0, tiny_settings(task=task, num_epochs=6))
    assert outcome.run.folder == place(dataset, task, "TINY").folder
    rows = read_csv(outcome.run.progress_csv, ["val_metric"])
    assert float(rows[-1]["train_loss"]) < 0.6 * float(rows[0]["train_loss"])
    assert outcome.best_metric == (1.0 if task == "cls" else pytest.approx(outcome.best_metric))
    key = {"cls": "best_val_auc", "seg+cls": "best_val_dice_auc"}[task]
    assert read_json(outcome.run.finished_json)[key] == outcome.best_metric
    assert read_json(outcome.run.settings_json)["task"] == task


@pytest.mark.parametrize("task", CLASS_TASKS)
@pytest.mark.usefixtures("keep_latest")
def test_a_run_that_is_stopped_and_continued_ends_in_the_same_bits(
    dataset: DatasetPaths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: str
) -> None:
    settings = tiny_settings(task=task, num_epochs=2)
    whole = train("Tiny", "TINY_HT", 0, settings).run
    kept = tmp_path / "kept"
    whole.folder.rename(kept)
    asked = iter([False] * 15)  # in the middle of the second epoch
    with monkeypatch.context() as patch:
        patch.setattr(session.StopSignals, "requested", lambda _: next(asked, True))
        assert train("Tiny", "TINY_HT", 0, settings).status == "stopped"
    again = train("Tiny", "TINY_HT", 0, settings).run
    for path in (again.checkpoint_best, again.checkpoint_latest):
        assert same_tensors(path, kept / path.name)
    assert again.progress_csv.read_bytes() == (kept / "progress.csv").read_bytes()


def test_the_auc_is_that_of_all_validation_images_together() -> None:
    trainer = ClassificationTrainer()
    # loss, class, scores of two classes; the second batch alone would rank perfectly
    cases = torch.tensor([[1.0, 1, 0, -1], [3, 0, 0, 2], [2, 1, 0, 3], [2, 0, 0, -3]])
    assert trainer.figures(cases) == (2.0, 0.75)
    assert trainer.figures(cases[2:]) == (2.0, 1.0)


def test_scores_that_single_precision_probabilities_would_make_equal_are_told_apart() -> None:
    cases = torch.tensor([[0.0, 0, 0, 20], [0, 1, 0, 21], [0, 0, 0, 22], [0, 1, 0, 23]])
    assert ClassificationTrainer().figures(cases)[1] == 0.75


class Constant(torch.nn.Module):
    """The same scores for every image."""

    def __init__(self, classes: torch.Tensor, labels: torch.Tensor | None = None) -> None:
        super().__init__()
        self.scores = classes if labels is None else {"cls": classes, "seg": labels}

    def forward(self, _: torch.Tensor) -> Any:
        return self.scores


def test_both_tasks_have_the_sum_of_their_losses_and_the_mean_of_their_figures() -> None:
    torch.manual_seed(0)
    labels, classes = torch.randn(4, 2, 8, 8), torch.randn(4, 2)
    batch = Batch(torch.zeros(4, 1, 8, 8), torch.randint(0, 2, (4, 8, 8)), torch.tensor([0, 1, 0, 1]))
    trainer = SegmentationClassificationTrainer(class_loss=partial(focal, weights=[0.5, 1.5]))
    expected = dice_cross_entropy(labels, batch.masks) + focal(classes, batch.classes, [0.5, 1.5])
    torch.testing.assert_close(trainer.loss(Constant(classes, labels), batch), expected)
    statistics = trainer.validate(Constant(classes, labels), batch)
    loss, figure = trainer.figures(statistics)
    assert loss == pytest.approx(expected.mean().item(), abs=1e-6)
    auc = ClassificationTrainer().figures(torch.cat([statistics[:, :1], statistics[:, 2:]], dim=1))[1]
    assert figure == pytest.approx((statistics[:, 1].mean().item() + auc) / 2)


def test_the_plans_class_weights_come_in_the_order_of_the_indices() -> None:
    plan = plan_of(classes={"malignant": 1, "benign": 0}, class_weights={"malignant": 3.0, "benign": 0.5})
    undecided, classes = torch.zeros(2, 2), torch.tensor([0, 1])
    equal = ClassificationTrainer.from_plan(plan_of()).class_loss(undecided, classes)
    for trainer in (ClassificationTrainer.from_plan(plan), SegmentationClassificationTrainer.from_plan(plan)):
        weighted = trainer.class_loss(undecided, classes)
        torch.testing.assert_close(weighted, equal * torch.tensor([0.5, 3.0]))


def change_fold(dataset: DatasetPaths, **splits: list[str]) -> None:
    folds = read_json(dataset.splits_json)
    folds[0] |= splits
    write_json(dataset.splits_json, folds)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_with_one_class_is_refused_before_a_run_folder_is_made(dataset: DatasetPaths, split: str) -> None:
    change_fold(dataset, **{split: read_json(dataset.splits_json)[0][split][::2]})
    with pytest.raises(HtunetError, match=f"(images of )?the {split} split|The {split} split") as caught:
        train("Tiny", "TINY", 0, tiny_settings(task="cls"))
    assert caught.value.exit_code == 1
    assert not dataset.results.exists()


@pytest.mark.parametrize(
    ("changes", "task", "message"),
    [
        pytest.param({"classes": {}}, "cls", "those of Dataset903_Tiny: none.*--task seg", id="no classes"),
        pytest.param({"classes": {"benign": 0}}, "seg+cls", "those of Dataset903_Tiny: benign", id="one class"),
        pytest.param({"labels": {"background": 0}}, "seg+cls", "no masks.*--task cls", id="no masks"),
        pytest.param({"classes": {"benign": 0, "other": 1}}, "cls", r"case_0001 \('malignant'\)", id="unknown class"),
        pytest.param({"class_weights": {"benign": 1.0}}, "cls", "class_weights has every class or none", id="weights"),
        pytest.param({"classes": {"benign": 1, "malignant": 2}}, "cls", "classes are numbered from 0", id="numbers"),
    ],
)
def test_a_task_that_the_data_set_cannot_serve_is_refused(
    dataset: DatasetPaths, changes: dict[str, Any], task: str, message: str
) -> None:
    save_plans(dataset.plans_json, {"tiny": tiny_plan(**changes)})
    with pytest.raises(HtunetError, match=message):
        train("Tiny", "TINY", 0, tiny_settings(task=task))
    assert not dataset.results.exists()


def test_masks_without_a_labelled_pixel_are_refused_for_segmentation_and_not_for_classes(dataset: DatasetPaths) -> None:
    path = dataset.plan_folder("tiny") / "masks.npy"
    np.save(path, np.zeros_like(np.load(path)))
    with pytest.raises(HtunetError, match="None of the 50 training masks has a labelled pixel"):
        train("Tiny", "Plain", 0, tiny_settings())
    assert train("Tiny", "TINY", 0, tiny_settings(task="cls", num_epochs=1)).status == "finished"


def test_the_log_begins_with_what_is_trained_on_what(dataset: DatasetPaths) -> None:
    write_json(dataset.warnings_json, {"format": 1, "warnings": {"data": ["a", "b"], "split": [], "tiny": ["c"]}})
    outcome = train("Tiny", "TINY", 0, tiny_settings(task="cls", num_epochs=1))
    first, second = outcome.run.training_log.read_text(encoding="utf-8").splitlines()[:2]
    assert "Training Tiny TINY fold0 seed1 (plan tiny, task cls) on cpu, fp32, random weights, " in first
    assert ": 50 training and 4 validation images, 13 steps per epoch, 1 epoch." in first
    assert "Planning gave 3 warnings about this data: see " in second
    assert (outcome.metric, "auc 1.0000" in outcome.run.training_log.read_text()) == ("auc", outcome.best_metric == 1)


@pytest.mark.slow
def test_two_processes_have_the_figures_of_one(dataset: DatasetPaths, fork_server: ForkServer) -> None:
    folds = read_json(dataset.splits_json)
    folds[0]["val"].append(folds[0]["train"].pop())  # 5 validation images cannot be halved
    write_json(dataset.splits_json, folds)
    options = {"task": "cls", "num_epochs": "2", "plan": "tiny", "device": "cpu", "precision": "fp32", "workers": "0"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    words = ["Tiny", "PlainClasses", "fold0", "--weights", "random", *words, "--devices", "2"]
    code, _, errors = fork_server.start("builders.training:train_command", *words).whole()
    assert code == 0, errors
    path = place(dataset, "cls", "PlainClasses").progress_csv
    together = figures(path)
    train("Tiny", "PlainClasses", 0, tiny_settings(task="cls", num_epochs=2), restart=True)
    assert figures(path) == pytest.approx(together, abs=1e-5)
    assert 0 < together[-1] <= 1


def figures(progress_csv: Path) -> list[float]:
    return [float(value) for row in read_csv(progress_csv, ["epoch"]) for value in row.values()]


def test_the_plan_may_choose_by_accuracy_and_then_the_first_of_equals() -> None:
    trainer = ClassificationTrainer.from_plan(plan_of(class_metric="accuracy"))
    assert (trainer.metric, trainer.first_of_equals) == ("accuracy", True)
    cases = torch.tensor([[0.1, 0, 2.0, 1.0], [0.3, 0, 1.0, 2.0], [0.5, 1, 0.0, 9.0]])  # loss, class, scores
    assert trainer.figures(cases) == pytest.approx((0.3, 2 / 3))
    usual = ClassificationTrainer.from_plan(plan_of())
    assert (usual.metric, usual.first_of_equals) == ("auc", False)
    assert usual.figures(cases)[1] == 1.0
