"""A fine-tuning from names to a finished folder, its end after interruptions, and the training that starts from it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders.contrastive import build_captions, tiny_finetuning
from builders.training import build_training, same_tensors, tensors_in, tiny_plan, tiny_settings
from PIL import Image

from htunet.data.captions import read_captions
from htunet.errors import HtunetError, UsageError
from htunet.files import read_json, read_object, write_json
from htunet.models import checkpoint, embeddings
from htunet.models.dual_encoder import DualEncoder, build_dual_encoder
from htunet.models.finetuned import StartingAdapter, find_adapter, load_adapter
from htunet.paths import RunPaths, find_dataset, find_runs
from htunet.planning.finetuning_plan import finetuning_plan
from htunet.planning.plans import save_plans
from htunet.preprocessing.caption_arrays import _centre_crop, prepare_captions
from htunet.training import session
from htunet.training.contrastive import ContrastiveTrainer
from htunet.training.finetuning import finetune
from htunet.training.pairs import shuffled
from htunet.training.run import train
from htunet.training.session import Outcome

pytestmark = pytest.mark.usefixtures("home", "tiny_clip")

SIZE = {"input_size": (32, 32)}


def finetune_tiny(*datasets: str, method: str = "CLIP_HT", shuffle: bool = False, **changes: Any) -> Outcome:
    return finetune(method, datasets or ("Words",), tiny_finetuning(**changes), shuffle=shuffle)


def test_a_finished_folder_says_what_was_learnt_from(home: Path) -> None:
    build_captions()
    build_captions("Dataset908_Other", 20, mode="RGB")
    outcome = finetune_tiny("Other", "907", "Words")
    assert outcome.status == "finished"
    assert outcome.run.folder == home / "results" / "finetuning" / "Words+Other" / "CLIP_HT" / "seed_1"
    settings = read_json(outcome.run.settings_json)
    assert settings["datasets"] == ["Dataset907_Words", "Dataset908_Other"]
    assert settings["plan_content"]["num_epochs"] == 32
    assert settings["num_epochs"] == 3
    assert read_json(outcome.run.finished_json)["epochs"] == 3
    names = tensors_in(outcome.run.checkpoint_best)
    assert names
    assert all(name.startswith("model.adapters.") for name in names)
    assert finetune_tiny("Words", "Other").status == "already finished"


def test_a_fine_tuning_that_is_refused_leaves_the_split_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    path = build_captions(groups=20).caption_split_json
    with pytest.raises(HtunetError, match="multiples of the patch size 8, got"):
        finetune("CLIP_HT", ("Words",), tiny_finetuning(input_size=33), split_by="group")
    assert not path.exists()
    stopping = iter([False])
    with monkeypatch.context() as patch:
        patch.setattr(session.StopSignals, "requested", lambda _: next(stopping, True))
        assert finetune_tiny().status == "stopped"
    before = path.read_bytes()
    with pytest.raises(HtunetError, match="the captions or their split have changed"):
        finetune("CLIP_HT", ("Words",), tiny_finetuning(), split_by="group")
    assert path.read_bytes() == before
    assert finetune_tiny().status == "finished"
    outcome = finetune("CLIP_HT", ("Words",), tiny_finetuning(), split_by="group", restart=True)
    assert outcome.status == "finished"
    assert read_json(path)["split_by"] == "group"


def test_the_lowest_loss_is_kept_and_not_the_highest_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    build_captions()
    figures = iter([(3.0, 0.9), (1.0, 0.1), (2.0, 0.5)])
    monkeypatch.setattr(ContrastiveTrainer, "figures", lambda *_: next(figures))
    assert finetune_tiny(num_epochs=3).best_epoch == 2


def test_the_lowest_validation_loss_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    build_captions()
    outcome = finetune_tiny(num_epochs=6, lr=0.05)
    history = [line.split(",") for line in outcome.run.progress_csv.read_text(encoding="utf-8").splitlines()]
    losses = [float(row[history[0].index("val_loss")]) for row in history[1:]]
    assert outcome.best_epoch == 1 + int(np.argmin(losses))


@pytest.mark.usefixtures("keep_latest")
@pytest.mark.parametrize("method", ["CLIP_HT", "CLIP_Mona"])
def test_a_run_that_is_stopped_in_between_ends_in_the_same_bits(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    build_captions()
    whole = finetune_tiny(method=method, parts=2).run
    kept = whole.folder.rename(whole.folder.with_name("kept"))
    monkeypatch.setattr(session, "SAVE_SECONDS", 0.0)
    for steps in (1, 6):
        asked = iter([False] * steps)
        with monkeypatch.context() as patch:
            patch.setattr(session.StopSignals, "requested", lambda _, asked=asked: next(asked, True))
            assert finetune_tiny(method=method, parts=2).status == "stopped"
    assert "did not record" not in caplog.text
    settings = read_object(whole.settings_json)
    write_json(whole.settings_json, {name: value for name, value in settings.items() if name != "images_sha256"})
    assert finetune_tiny(method=method, parts=2).status == "finished"
    assert "did not record the images of the captions" in caplog.text
    for name in ("checkpoint_best.safetensors", "checkpoint_latest.safetensors"):
        assert same_tensors(kept / name, whole.folder / name)
    assert (kept / "progress.csv").read_bytes() == whole.progress_csv.read_bytes()


def test_parts_stay_as_the_run_was_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    build_captions()
    finetune_tiny(num_epochs=1, parts=4)
    assert finetune_tiny(num_epochs=1, parts=None).status == "already finished"


def test_texts_of_a_frozen_tower_are_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    build_captions()
    calls: list[int] = []
    embed = DualEncoder.encode_text
    monkeypatch.setattr(DualEncoder, "encode_text", lambda self, texts: calls.append(len(texts)) or embed(self, texts))
    finetune_tiny(num_epochs=1)
    distinct = len({pair.caption for pair in read_captions(find_dataset("Words")).pairs})
    assert sum(calls) == distinct < 40
    finetune_tiny(num_epochs=1, seed=2)
    assert sum(calls) == distinct


def test_kept_embeddings_are_those_of_each_text_in_its_place() -> None:
    network, record_ = build_dual_encoder("CLIP", seed=1, weights="random")
    texts = ["an oval lesion", "a", "an oval lesion", "a round lesion of the neck"]
    folder = build_captions().text_embeddings
    for _ in range(2):
        found = embeddings.stored_text_embeddings(folder, network, str(record_.text_sha256), texts)
        for row, text in zip(found, texts, strict=True):
            with torch.no_grad():
                np.testing.assert_allclose(row, network.encode_text([text])[0].numpy(), atol=1e-6)
    assert len(list(folder.glob("*.safetensors"))) == 1


def test_an_image_that_is_replaced_by_one_of_the_same_size_is_prepared_again() -> None:
    dataset = read_captions(build_captions())
    path = dataset.image_path(dataset.pairs[3])
    path.write_bytes(path.read_bytes().ljust(9000, b"\0"))
    first, folder = prepare_captions(dataset, (16, 16)), dataset.paths.plan_folder("captions_16x16")
    before = np.array(first.images)
    content = read_object(folder / "prepared.json")
    write_json(folder / "prepared.json", {key: value for key, value in content.items() if key != "times_sha256"})
    stamp = (folder / "images.npy").stat().st_mtime_ns  # of an earlier version, which had no times
    prepare_captions(dataset, (16, 16))
    assert (folder / "images.npy").stat().st_mtime_ns == stamp
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    path.write_bytes(path.read_bytes().ljust(9000, b"\0"))
    after = prepare_captions(dataset, (16, 16)).images
    assert not np.array_equal(after[3], before[3])
    assert np.array_equal(after[:3], before[:3])


def test_images_are_prepared_once_and_again_after_another_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = read_captions(build_captions())
    first = prepare_captions(dataset, (16, 16))
    assert first.images.shape == (40, 1, 16, 16)
    made = (dataset.paths.plan_folder("captions_16x16") / "images.npy").stat().st_mtime_ns
    prepare_captions(dataset, (16, 16))
    file = dataset.paths.plan_folder("captions_16x16") / "images.npy"
    assert file.stat().st_mtime_ns == made
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([255 - whole[-1]]))  # as long as before
    assert prepare_captions(dataset, (16, 16)).images.tobytes() == whole[-40 * 16 * 16 :]
    again = read_captions(build_captions(n=30, mode="RGB"))
    assert prepare_captions(again, (16, 16)).images.shape == (30, 3, 16, 16)


def test_shuffling_moves_the_texts_of_the_chosen_rows_only() -> None:
    order = shuffled([1, 2, 4, 5], 6, seed=3)
    assert sorted(order) == list(range(6))
    assert (order[0], order[3]) == (0, 3)
    assert order != list(range(6))


def test_a_control_has_its_own_folder_and_is_never_found_as_the_adapter() -> None:
    build_captions()
    run = finetune_tiny(shuffle=True, num_epochs=1).run
    assert run.folder.parent.name == "CLIP_HT__shuffled"
    with pytest.raises(HtunetError, match=r"No finished fine-tuning of CLIP_HT on random weights.*htunet_finetune"):
        find_adapter("finetuned", "CLIP_HT", seed=1, weights="random")


def test_a_training_starts_from_the_adapter_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    build_captions()
    build_training()
    tuned = finetune_tiny(num_epochs=1).run
    run = train("Tiny", "CLIP_HT", 0, tiny_settings(adapter="finetuned", num_epochs=1)).run
    assert isinstance(run, RunPaths)
    assert run.adapter == "Words"
    assert run.folder.parents[1].name == "SegmentationTrainer__tiny__CLIP_HT__adapter_Words"
    assert run in list(find_runs())
    recorded = read_json(run.settings_json)["adapter"]
    assert (recorded["datasets"], recorded["seed"], len(recorded["sha256"])) == (["Dataset907_Words"], 1, 64)
    anew = train("Tiny", "CLIP_HT", 0, tiny_settings(num_epochs=1)).run
    assert anew.folder != run.folder
    by_path = tiny_settings(adapter=str(tuned.checkpoint_best), num_epochs=1)
    assert train("Tiny", "CLIP_HT", 0, by_path).status == "already finished"
    further = train("Tiny", "CLIP_HT", 0, tiny_settings(adapter=str(anew.checkpoint_best), num_epochs=1)).run
    stored = checkpoint.read_about(further.checkpoint_best)["settings"]["adapter"]["run"]
    assert stored == read_json(further.settings_json)["adapter"]["run"]  # for what begins with this checkpoint
    assert stored["dataset"] == anew.dataset.name  # type: ignore[union-attr]


def test_an_adapter_is_filled_strictly_and_on_its_own_weights_only() -> None:
    build_captions()
    finetune_tiny(num_epochs=1)
    start = find_adapter("finetuned", "CLIP_HT", seed=1, weights="random")
    network, weights = build_dual_encoder(
        "CLIP_HT", seed=9, weights="random", adapter_settings={"input_size": (32, 32)}
    )
    load_adapter(network, weights, start)
    for name, value in tensors_in(start.path).items():
        assert torch.equal(network.trainable_state()[name.removeprefix("model.")], value)
    other = type(weights)(source="file", sha256="0" * 64)
    with pytest.raises(HtunetError, match="trained on random weights"):
        load_adapter(network, other, start)
    mona, weights = build_dual_encoder("CLIP_Mona", seed=9, weights="random", adapter_settings=SIZE)
    with pytest.raises(HtunetError, match="does not fit"):
        load_adapter(mona, weights, start)


def test_of_several_fine_tunings_the_user_chooses() -> None:
    build_captions()
    build_captions("Dataset908_Other", 20)
    for seed in (1, 2):
        finetune_tiny(num_epochs=1, seed=seed)
    assert find_adapter("finetuned", "CLIP_HT", seed=2, weights="random").label == "Words"
    with pytest.raises(UsageError, match="several fine-tunings"):
        find_adapter("finetuned", "CLIP_HT", seed=3, weights="random")
    finetune_tiny("Other", num_epochs=1)
    with pytest.raises(UsageError, match="several fine-tunings"):
        find_adapter("finetuned", "CLIP_HT", seed=1, weights="random")


@pytest.mark.parametrize(
    ("method", "error"),
    [("CLIP", "has no adapter"), ("UNet", "has no text encoder"), ("DINOv2", "has no text encoder")],
)
def test_methods_that_captions_cannot_teach_are_refused(method: str, error: str) -> None:
    build_captions()
    with pytest.raises(UsageError, match=error):
        finetune_tiny(method=method)


def test_an_impossible_input_size_is_an_error_that_says_the_rule() -> None:
    build_captions()
    with pytest.raises(HtunetError, match="multiples of the patch size"):
        finetune_tiny(input_size=33)


def test_other_settings_are_refused_and_named() -> None:
    build_captions()
    finetune_tiny(num_epochs=1)
    with pytest.raises(HtunetError, match=r"learning_rate: 0.01 then, 0.02 now"):
        finetune_tiny(num_epochs=1, lr=0.02)


def test_a_data_set_with_masks_is_refused() -> None:
    build_training()
    with pytest.raises(HtunetError, match="no captions"):
        finetune_tiny("Tiny")


def test_the_public_protocol_has_its_own_folder_blocks_and_middles_of_the_images(home: Path) -> None:
    dataset = build_captions()
    run = finetune_tiny(method="BiomedCLIP_HT", plan="public", batch_size=5, num_epochs=2).run
    assert run.folder == home / "results" / "finetuning" / "Words" / "BiomedCLIP_HT__public" / "seed_1"
    plan = read_json(run.settings_json)["plan_content"]
    assert (plan["batch_size"], plan["contrast_size"], plan["drop_last"]) == (20, 5, True)
    assert (plan["normalise"], plan["gradient_clip"], plan["patience"]) == (False, 1.0, 10)
    assert "36 training and 4 validation pairs, 2 steps per epoch" in run.training_log.read_text(encoding="utf-8")
    assert (dataset.plan_folder("captions_32x32_centre_crop") / "images.npy").exists()
    assert not dataset.plan_folder("captions_32x32").exists()
    usual = finetuning_plan("x", batch_size=None, learning_rate=1e-4, input_size=(32, 32), public=True, backbone="CLIP")
    assert (usual.batch_size, usual.contrast_size) == (64, 64)


def test_a_training_starts_from_the_fine_tuning_of_its_own_protocol() -> None:
    build_captions()
    tiny = build_training()
    for plan in ("paper", "public"):
        finetune_tiny(num_epochs=1, plan=plan)
    save_plans(tiny.plans_json, {"tiny": tiny_plan(), "raw": replace(tiny_plan(), normalise=False, name="raw")})
    (tiny.preprocessed / "raw").symlink_to(tiny.preprocessed / "tiny")
    labels = [
        train("Tiny", "CLIP_HT", 0, tiny_settings(plan=plan, adapter="finetuned", num_epochs=1)).run.adapter  # type: ignore[union-attr]
        for plan in ("tiny", "raw")
    ]
    assert labels == ["Words", "Words-public"]
    public = find_adapter("finetuned", "CLIP_HT", seed=1, weights="random", normalise=False)
    with pytest.raises(HtunetError, match="trained on images with values 0 to 1, and the plan has them normalised"):
        train("Tiny", "CLIP_HT", 0, tiny_settings(plan="tiny", adapter=str(public.path), num_epochs=1))


def test_lora_that_would_be_scaled_otherwise_is_refused() -> None:
    start = StartingAdapter(path=Path("a"), label="a", record={}, settings={"LoRA": {"rank_stabilised": True}})
    start.check("CLIP_LoRA", normalise=True, settings={"LoRA": {"rank_stabilised": True, "rank": 16, "dropout": 0.2}})
    start.check("CLIP_HT", normalise=True, settings={})
    with pytest.raises(HtunetError, match=r"trained with \{'rank_stabilised': True\}, and the plan has the defaults"):
        start.check("CLIP_LoRA", normalise=True, settings={})


def test_the_middle_of_an_image_is_that_of_torchvision(tmp_path: Path) -> None:
    from torchvision import transforms

    theirs = transforms.Compose(
        [transforms.Resize(32, interpolation=transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(32)]
    )
    for size in ((50, 81), (81, 50), (33, 33), (20, 47), (32, 45)):
        image = Image.fromarray(np.random.default_rng(0).integers(0, 255, size[::-1], dtype=np.uint8))
        np.testing.assert_array_equal(np.asarray(_centre_crop((32, 32), image)), np.asarray(theirs(image)))
