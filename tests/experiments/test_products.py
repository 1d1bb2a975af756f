"""A finished run counts only where its plan is what the plan of that name is now."""

import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.contrastive import build_captions
from builders.raw import build_raw
from builders.training import tiny_plan

from htunet.data.caption_splits import images_digest, pairs_digest, settle_caption_split
from htunet.data.captions import read_captions
from htunet.data.image_io import read_labels, write_png
from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits, training_digest
from htunet.errors import HtunetError
from htunet.evaluation import freshness
from htunet.experiments import products
from htunet.experiments.products import PreparedDataset, Trained, _caption_digests, same_weights
from htunet.files import file_hash, read_json, write_json
from htunet.models import checkpoint
from htunet.models.finetuned import find_adapter
from htunet.paths import DatasetPaths, FinetuningPaths, RunPaths
from htunet.planning.finetuning_plan import finetuning_plan
from htunet.planning.plans import Plan, save_plans
from htunet.preprocessing.prepare import PrepareRequest, prepare
from htunet.reporting.summaries import zero_shot_contents

NOW = tiny_plan()


def started(home: Path, plan: Plan) -> Trained:
    data = DatasetPaths("Dataset903_Tiny")
    save_plans(data.plans_json, {"tiny": NOW})
    run = RunPaths(data, "SegmentationTrainer", "tiny", "UNet", 0, 1)
    write_json(run.settings_json, {"num_epochs": 4, "weights": {"source": "none"}, "plan_content": asdict(plan)})
    write_json(run.finished_json, {})
    return Trained(run, None, "pretrained")


def test_a_run_of_another_plan_of_the_name_is_refused(home: Path) -> None:
    with pytest.raises(HtunetError, match=r"started with learning_rate 0\.01, not 0\.001.*remove the run first"):
        started(home, replace(NOW, learning_rate=0.01)).check()


def test_what_changes_no_result_is_no_other_plan(home: Path) -> None:
    product = started(home, replace(NOW, accumulation=3, workers=5, because={"patience": "why"}))
    product.check()
    assert product.done()


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        *[("pretrained", "pretrained", True), ("pretrained", "random", False), ("pretrained", "mine.pt", False)],
        *[("phantom", "pretrained", True), ("phantom", "phantom", True), ("phantom", "random", False)],
        *[("file", "mine.pt", True), ("file", "pretrained", False), ("random", "phantom", False)],
        *[("none", "random", True), (None, "phantom", True)],
    ],
)
def test_a_run_of_other_weights_is_no_repetition(then: str | None, now: str, same: bool) -> None:
    assert same_weights({"source": then}, now) == same


def test_a_run_that_began_with_the_weights_of_another_run_is_refused(home: Path) -> None:
    product = started(home, NOW)
    assert isinstance(product.run, RunPaths)
    before = read_json(product.run.settings_json) | {"start_checkpoint": {"dataset": "Dataset504_DDTI", "fold": 0}}
    write_json(product.run.settings_json, before)
    with pytest.raises(HtunetError, match="started with the weights of a run on Dataset504_DDTI, not untrained"):
        product.check()


def test_a_run_of_other_images_or_of_another_split_is_no_repetition(home: Path) -> None:
    data = build_raw(20)
    prepare(data, PrepareRequest(plans=("paper",), workers=0))
    run, prepared = RunPaths(data, "SegmentationTrainer", "paper", "UNet", 0, 1), PreparedDataset(data, ("paper",))
    split = training_digest(load_splits(data.splits_json)[0])
    images = file_hash(data.plan_folder("paper") / "preprocessed.json")
    about = {"num_epochs": 4, "weights": {"source": "none"}, "split_sha256": split, "data_sha256": images}
    write_json(run.settings_json, about)
    product = Trained(run, None, "pretrained")
    product.check()
    assert prepared.done()

    write_json(run.settings_json, about | {"split_sha256": "0" * 64})
    with pytest.raises(HtunetError, match="started with another split than that in use"):
        product.check()

    write_json(run.settings_json, about)
    raw = read_raw(data)
    write_png(raw.label_path(raw.cases[0]), np.zeros_like(read_labels(raw.label_path(raw.cases[0]))))
    assert not prepared.done()
    with pytest.raises(HtunetError, match="started with other images, masks or classes than the data set has now"):
        product.check()
    prepare(data, PrepareRequest(plans=("paper",), workers=0))
    assert prepared.done()
    with pytest.raises(HtunetError, match="started with other images, masks or classes"):
        product.check()


@pytest.mark.parametrize("plan", ["paper", "public"])
def test_a_fine_tuning_with_options_of_its_own_is_no_start_of_the_papers_rows(home: Path, plan: str) -> None:
    run = FinetuningPaths(("Dataset912_MedPix",), "BiomedCLIP_HT", 1, False, plan)
    usual = finetuning_plan(
        run.name,
        batch_size=None,
        learning_rate=1e-4,
        input_size=(224, 224),
        public=plan == "public",
        backbone="BiomedCLIP",
    )
    settings = {"num_epochs": 32, "weights": {"source": "pretrained"}}

    write_json(run.settings_json, settings | {"plan_content": asdict(usual)})
    Trained(run, None, "pretrained").check()

    write_json(run.settings_json, settings | {"plan_content": asdict(replace(usual, learning_rate=0.01))})
    with pytest.raises(HtunetError, match=r"started with learning_rate 0\.01, not 0\.0001.*remove the run first"):
        Trained(run, None, "pretrained").check()


def test_a_fine_tuning_on_other_captions_is_refused(home: Path) -> None:
    paths = build_captions(n=12)
    run = FinetuningPaths((paths.name,), "CLIP_HT", 1)
    captions = read_captions(paths)
    digests = {paths.name: pairs_digest(captions, settle_caption_split(captions))}
    write_json(run.settings_json, {"num_epochs": 4, "weights": {"source": "none"}, "pairs_sha256": digests})
    Trained(run, None, "pretrained").check()
    text = paths.captions_jsonl.read_text()
    paths.captions_jsonl.write_text(text.replace(captions.pairs[0].caption, "A cyst with a thin and even wall."))
    _caption_digests.cache_clear()
    with pytest.raises(HtunetError, match=r"other captions, or another split of them, than .* has now"):
        Trained(run, None, "pretrained").check()


def test_a_fine_tuning_on_other_images_under_the_same_names_is_refused(home: Path) -> None:
    paths = build_captions(n=12)
    run = FinetuningPaths((paths.name,), "CLIP_HT", 1)
    captions = read_captions(paths)
    pairs = {paths.name: pairs_digest(captions, settle_caption_split(captions))}
    started = {"num_epochs": 4, "weights": {"source": "none"}, "pairs_sha256": pairs}
    settings = started | {"images_sha256": {paths.name: images_digest(captions)}}
    write_json(run.settings_json, settings)
    _caption_digests.cache_clear()
    Trained(run, None, "pretrained").check()
    first, other = (captions.image_path(pair) for pair in captions.pairs[:2])
    first.write_bytes(other.read_bytes())
    _caption_digests.cache_clear()
    with pytest.raises(HtunetError, match="started with other images than Words has now"):
        Trained(run, None, "pretrained").check()
    write_json(run.settings_json, started)  # as an earlier version wrote it
    Trained(run, None, "pretrained").check()


def fine_tune(start: FinetuningPaths, value: float) -> None:
    about = {"datasets": list(start.datasets), "seed": 1}
    tensors = {"model.adapters.0.weight": torch.full((2,), value)}
    checkpoint.save(start.checkpoint_best, tensors, {"method": "CLIP_HT", "settings": about})
    write_json(start.finished_json, {})


def test_a_zero_shot_classification_is_done_with_our_prompts_this_adapter_and_these_images(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = FinetuningPaths(("Dataset907_Words",), "CLIP_HT", 1)
    fine_tune(start, 1.0)
    folder = DatasetPaths("Dataset503_BUSI").text_side("zero_shot", "CLIP_HT__adapter_Words", "all")
    product = products.ZeroShotClassified(folder, "paper", "pretrained", start.checkpoint_best)
    content = {"dataset": "Dataset503_BUSI", "method": "CLIP_HT", "plan": "paper", "part": "all", "seed": 1,
               "prompts": "breast", "weights": {"source": "pretrained"}, "raw_sha256": "of now",
               "adapter": find_adapter(str(start.checkpoint_best), "CLIP_HT", seed=1, weights="pretrained").record,
               "zero_shot": {"n_cases": 20}}  # fmt: skip

    def marks() -> list[str]:
        return [found.get("earlier", "") for found in zero_shot_contents(lambda _: None)]

    monkeypatch.setattr(freshness, "raw_sha256", lambda _: "of now")
    write_json(folder / "summary.json", content)
    assert (product.done(), marks()) == (True, [""])
    write_json(folder / "summary.json", content | {"prompts": "mine.json"})
    assert not product.done()
    write_json(folder / "summary.json", content | {"plan_edited": True})
    assert not product.done()
    write_json(folder / "summary.json", content | {"raw_sha256": "of before"})
    assert (product.done(), marks()) == (False, ["of earlier images or masks"])
    write_json(folder / "summary.json", content)
    fine_tune(start, 2.0)
    assert (product.done(), marks()) == (False, ["of an earlier fine-tuning"])
    elsewhere = DatasetPaths("Dataset503_BUSI").text_side("zero_shot", "CLIP_HT__adapter_Words-1a2b3c4d", "all")
    write_json(elsewhere / "summary.json", content)
    os.utime(elsewhere / "summary.json", (2, 2))  # before the fine-tuning, whose adapter it is not of
    assert marks() == ["of an earlier fine-tuning", ""]
    os.utime(start.checkpoint_best, (1, 1))  # another adapter, however old its file is
    assert not product.done()


@pytest.mark.parametrize("damage", ["dataset.json", "cases.csv", "image"])
def test_the_zero_shot_results_of_an_unreadable_data_set_stay_in_the_tables(home: Path, damage: str) -> None:
    """What their adapter is may be a text alone; it is another one than that of a fine-tuning."""
    paths = build_raw(4, name="Dataset904_Other")
    image = paths.raw / "imagesTr" / "case_0001_0000.png"
    broken = image if damage == "image" else paths.raw / damage
    broken.unlink()
    if damage == "image":
        broken.mkdir()
    else:
        broken.write_bytes(b"\xff{")
    folder = paths.text_side("zero_shot", "CLIP_HT", "all")
    content = {"dataset": paths.name, "method": "CLIP_HT", "plan": "paper", "part": "all", "seed": 1,
               "raw_sha256": "0", "weights": {"source": "pretrained"}, "adapter": "a.safetensors",
               "zero_shot": {"n_cases": 4}}  # fmt: skip
    write_json(folder / "summary.json", content)
    assert zero_shot_contents(lambda _: None) == [content]
    assert not products.ZeroShotClassified(folder, "paper", "pretrained", folder / "a.safetensors").done()


def test_a_run_that_started_from_an_earlier_fine_tuning_is_not_done(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "needs_prediction", lambda _: False)
    monkeypatch.setattr(products, "is_evaluated", lambda *_: True)
    start, run = FinetuningPaths(("Dataset907_Words",), "CLIP_HT", 1), started(home, NOW).run

    fine_tune(start, 1.0)
    product = Trained(run, None, "pretrained", start=start)
    record = find_adapter(str(start.checkpoint_best), "CLIP_HT", seed=1, weights="random").record
    settings = {"num_epochs": 4, "weights": {"source": "none"}, "plan_content": asdict(NOW)}
    write_json(run.settings_json, settings | {"adapter": record})
    product.check()
    write_json(run.summary_json, {})
    assert product.done()
    assert products.Tested(run, product).done()
    start.finished_json.unlink()  # it is being trained again: who knows what it will be
    assert not product.done()
    fine_tune(start, 2.0)
    assert not product.done()
    assert not products.Tested(run, product).done()  # and so in no table
    with pytest.raises(HtunetError, match=r"started with an adapter that has been fine-tuned again since.*remove the"):
        product.check()
    write_json(run.settings_json, settings | {"adapter": "/of/an/early/version"})
    assert product.done()
