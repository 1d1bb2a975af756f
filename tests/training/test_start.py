"""Starting from trained weights: never from those that have seen what is held out now, whatever its name."""

import logging
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from builders.pretraining import drawn_weights
from builders.raw import build_raw
from builders.training import Plain, tiny_plan, tiny_settings

from htunet.data.split_files import load_splits, save_splits, training_digest
from htunet.errors import HtunetError, UsageError
from htunet.evaluation.configurations import start_text
from htunet.inference.export import card_of_run
from htunet.inference.trained import TrainedModel
from htunet.models import checkpoint
from htunet.models.build import build_network
from htunet.models.finetuned import find_adapter, training_of
from htunet.models.tasks import Outputs
from htunet.models.weights.load import WeightsRecord
from htunet.paths import DatasetPaths
from htunet.reproducibility import training_command
from htunet.training.run import train
from htunet.training.start import load_start, refuse_run_as_weights, refuse_seen_images

pytestmark = pytest.mark.usefixtures("without_pictures")

IDS = [f"case_{number:04d}" for number in range(6)]
FOLD = {"train": IDS[:4], "val": IDS[4:5], "test": IDS[5:]}
OTHER = {"train": IDS[2:], "val": IDS[1:2], "test": IDS[:1]}


@pytest.fixture
def earlier(home: Path) -> DatasetPaths:
    paths = build_raw(6, name="Dataset904_Earlier", seed=1)
    save_splits(paths.splits_json, [FOLD])
    return paths


def trained_on(dataset: DatasetPaths, path: Path, **settings: object) -> Path:
    about = {"settings": {"dataset": dataset.name, "fold": 0, **settings}}
    checkpoint.save(path, {"model.weight": torch.zeros(1)}, about)
    return path


def test_of_one_data_set_the_ids_decide(earlier: DatasetPaths, tmp_path: Path) -> None:
    start = trained_on(earlier, tmp_path / "a.safetensors", split_sha256=training_digest(FOLD))
    refuse_seen_images(start, FOLD, earlier, 0)
    refuse_seen_images(trained_on(earlier, tmp_path / "c.safetensors", datasets=["MedPix"]), OTHER, earlier, 1)
    with pytest.raises(HtunetError, match=r"trained on 2 images that fold1 validates or tests: case_0000, case_0001\."):
        refuse_seen_images(start, OTHER, earlier, 1)


def test_equal_ids_of_other_pictures_are_other_images(earlier: DatasetPaths, tmp_path: Path) -> None:
    start = trained_on(earlier, tmp_path / "a.safetensors")
    new = build_raw(6, name="Dataset905_New", seed=2)
    refuse_seen_images(start, OTHER, new, 1)
    for case in ("case_0001", "case_0005"):  # now one of those that fold 0 was trained on, and one that it was not
        shutil.copy(earlier.raw / f"imagesTr/{case}_0000.png", new.raw / f"imagesTr/{case}_0000.png")
    with pytest.raises(HtunetError, match=r"trained on 1 image that fold1 validates or tests: case_0001\."):
        refuse_seen_images(start, OTHER, new, 1)


def test_the_same_picture_under_another_id_is_named(
    earlier: DatasetPaths, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = trained_on(earlier, tmp_path / "a.safetensors")
    new = build_raw(6, name="Dataset905_New", seed=2)
    shutil.copy(earlier.raw / "imagesTr/case_0003_0000.png", new.raw / "imagesTr/case_0000_0000.png")
    with caplog.at_level(logging.WARNING):
        refuse_seen_images(start, OTHER, new, 1)
    assert "pictures that are the same as 1 image that fold1 validates or tests" in caplog.text
    assert "case_0000" in caplog.text


def test_what_the_starting_weights_began_with_counts_too(
    earlier: DatasetPaths, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The weights were trained on one data set, then on another, and now on the first again."""
    other = build_raw(6, name="Dataset905_New", seed=2)
    save_splits(other.splits_json, [FOLD])
    first = {"dataset": earlier.name, "fold": 0, "split_sha256": training_digest(FOLD)}
    second = trained_on(other, tmp_path / "b.safetensors", start_checkpoint=first)
    refuse_seen_images(second, FOLD, earlier, 0)
    message = r"fold0 of Dataset904_Earlier\) were trained on 2 images that fold1 validates or tests"
    with pytest.raises(HtunetError, match=message):
        refuse_seen_images(second, OTHER, earlier, 1)
    third = trained_on(
        other,
        tmp_path / "c.safetensors",
        start_checkpoint={"dataset": other.name, "fold": 0, "start_checkpoint": first},
    )
    with pytest.raises(HtunetError, match=message):
        refuse_seen_images(third, OTHER, earlier, 1)
    assert not caplog.text


def test_the_run_that_an_adapter_came_from_counts_too(earlier: DatasetPaths, tmp_path: Path) -> None:
    """An adapter of a run on the first data set, trained on a second one with ``--adapter``, and now on the first."""
    other = build_raw(6, name="Dataset905_New", seed=2)
    save_splits(other.splits_json, [FOLD])
    first = tmp_path / "a.safetensors"
    about = {"dataset": earlier.name, "fold": 0, "seed": 1, "split_sha256": training_digest(FOLD)}
    checkpoint.save(first, {"model.adapters.0.weight": torch.zeros(1)}, {"method": "CLIP_HT", "settings": about})
    adapter = find_adapter(str(first), "CLIP_HT", seed=1, weights="random").record
    second = trained_on(other, tmp_path / "b.safetensors", adapter=adapter)
    third = trained_on(
        other,
        tmp_path / "c.safetensors",
        start_checkpoint=training_of({"dataset": other.name, "fold": 0, "adapter": adapter}),
    )
    for path in (second, third):
        refuse_seen_images(path, FOLD, earlier, 0)
        with pytest.raises(HtunetError, match=r"Dataset904_Earlier\) were trained on 2 images that fold1 validates"):
            refuse_seen_images(path, OTHER, earlier, 1)


@pytest.mark.parametrize(
    ("then", "message"),
    [
        ({"normalise": False}, r"was trained on images with values 0 to 1, and the plan has them normalised"),
        (
            {"labels": {"background": 0, "lesion": 2}},
            r"learnt labels under other numbers: lesion \(2, now 1",
        ),
        ({"classes": {"malignant": 0, "benign": 1}}, ""),  # which it has not learnt
        ({"labels": {"background": 0, "lesion": 2}, "task": "cls"}, ""),
        (
            {"classes": {"malignant": 0, "benign": 1}, "task": "seg+cls"},
            r"numbers: benign \(1, now 0\), malignant \(0, now 1",
        ),
        ({"labels": {"background": 0, "nodule": 1}}, ""),
    ],
)
def test_weights_that_would_mean_something_else_are_refused(
    tiny: DatasetPaths, tmp_path: Path, then: dict[str, object], message: str
) -> None:
    run = train("Tiny", "Plain", 0, tiny_settings(num_epochs=1)).run
    tensors, about = checkpoint.load(run.checkpoint_best)
    about["settings"]["task"] = then.pop("task", "seg")
    about["settings"]["plan_content"] |= then
    path = tmp_path / "start.safetensors"
    checkpoint.save(path, tensors, {key: value for key, value in about.items() if key != "format"})
    with pytest.raises(HtunetError, match=message) if message else nullcontext():
        train("Tiny", "Plain", 0, tiny_settings(num_epochs=1, seed=2, start_from=str(path)))


def test_an_adapter_with_other_settings_is_refused_as_a_start(tmp_path: Path) -> None:
    path, random = tmp_path / "a.safetensors", WeightsRecord(source="random")
    settings = {"plan_content": {"normalise": True, "adapter": {"alpha": 64}}}
    checkpoint.save(path, {"model.weight": torch.zeros(1)}, {"method": "CLIP_LoRA", "settings": settings})
    with pytest.raises(HtunetError, match=r"was trained with {'alpha': 64}, and the plan has the defaults"):
        load_start(Plain(2), random, path, "CLIP_LoRA", tiny_plan(normalise=True))


def test_the_licence_of_the_starting_weights_goes_with_what_is_trained_from_them(tiny: DatasetPaths) -> None:
    first = train("Tiny", "Plain", 0, tiny_settings(num_epochs=1)).run
    second = train("Tiny", "Plain", 0, tiny_settings(num_epochs=1, seed=2, start_from=str(first.checkpoint_best))).run
    own = checkpoint.read_about(first.checkpoint_best)["licence"]
    assert checkpoint.read_about(second.checkpoint_best)["licence"] == f"started from a checkpoint {own}"
    assert card_of_run(second, TrainedModel.of_run(second)).licences["weights"].endswith(f"checkpoint {own}")
    assert training_command(second).endswith(f"--start-from {first.checkpoint_best} --precision fp32")


def test_weights_of_htunet_pretrain_have_their_licence_as_a_start_too(tmp_path: Path) -> None:
    network, weights = build_network("UNet", Outputs(), seed=1, weights="pretrained")
    about = load_start(network, weights, drawn_weights("UNet", tmp_path), "UNet", tiny_plan())
    licence = checkpoint.licence_of("UNet", weights, about["start_licence"])
    assert licence == "started from a checkpoint pre-trained by htunet_pretrain on simulated images: Apache-2.0"


def test_a_run_says_what_it_started_from_and_refuses_another_start_by_its_name(
    tiny: DatasetPaths, caplog: pytest.LogCaptureFixture
) -> None:
    start = str(train("Tiny", "Plain", 0, tiny_settings(num_epochs=1)).run.checkpoint_best)
    with caplog.at_level(logging.INFO):
        train("Tiny", "Plain", 0, tiny_settings(num_epochs=1, seed=2, start_from=start))
    assert f"started from {start}, " in caplog.text
    with pytest.raises(HtunetError, match=r"other settings \(--start-from: .* then, nothing now\)"):
        train("Tiny", "Plain", 0, tiny_settings(num_epochs=1, seed=2))


def test_what_cannot_be_known_is_said(earlier: DatasetPaths, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The split is another one now; or it is gone."""
    with caplog.at_level(logging.WARNING):
        refuse_seen_images(trained_on(earlier, tmp_path / "a.safetensors", split_sha256="0"), OTHER, earlier, 1)
        earlier.splits_json.unlink()
        refuse_seen_images(trained_on(earlier, tmp_path / "b.safetensors"), OTHER, earlier, 1)
        checkpoint.save(tmp_path / "c.safetensors", {"model.weight": torch.zeros(1)}, {"settings": {}})
        refuse_seen_images(tmp_path / "c.safetensors", OTHER, earlier, 1)
    assert caplog.text.count("cannot be known") == 3


def test_weights_that_were_pretrained_on_simulation_have_seen_no_image(
    tiny: DatasetPaths, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = drawn_weights("UNet", tmp_path)
    fold = load_splits(tiny.splits_json)[0]
    refuse_seen_images(start, fold, tiny, 0)
    of_start = training_of(checkpoint.read_about(start)["settings"])
    second = trained_on(tiny, tmp_path / "b.safetensors", start_checkpoint=of_start)
    refuse_seen_images(second, fold, tiny, 0)
    assert caplog.text == ""
    assert start_text({"settings": {"start_checkpoint": of_start}}) == "weights pre-trained on simulation"


def test_the_checkpoint_of_a_run_is_no_weights_file(earlier: DatasetPaths, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"checkpoint of a run on Dataset904_Earlier\. .*--start-from"):
        refuse_run_as_weights(str(trained_on(earlier, tmp_path / "a.safetensors")))
    torch.save({"weight": torch.zeros(1)}, tmp_path / "b.pt")
    for weights in ("pretrained", str(tmp_path / "b.pt"), str(drawn_weights("UNet", tmp_path)), str(tmp_path)):
        refuse_run_as_weights(weights)
