"""A model that was exported and imported predicts as before, bit for bit, without the data set."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders.backbone import register_tiny, tiny_in_place_of_clip
from builders.published import their_model
from builders.training import build_training, run_of, tiny_plan, tiny_settings
from PIL import Image
from safetensors.torch import load_file

from htunet.api import load
from htunet.cli.export import main as export
from htunet.cli.import_ import main as import_model
from htunet.cli.predict import main as predict
from htunet.errors import UsageError
from htunet.files import PART, write_csv, write_json
from htunet.inference.export import _name_of, export_run
from htunet.inference.trained import TrainedModel, check_together
from htunet.inference.unlike_images import learn_familiar
from htunet.models import checkpoint
from htunet.models.build import paper_plan
from htunet.models.catalogue import CATALOGUE
from htunet.paths import ROOTS, DatasetPaths, RunPaths
from htunet.training.run import train

pytestmark = pytest.mark.usefixtures("without_pictures")

SIZES = {"one.png": (48, 40), "two.png": (31, 77)}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    folder.mkdir()
    for name, size in SIZES.items():
        pixels = np.random.default_rng(len(name)).integers(0, 255, size).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture
def clip(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """CLIP's name stands for a tiny CLIP, whose published file, text tower and all, this is."""
    register_tiny(tmp_path_factory.mktemp("configs"))
    build_training(input_size=(64, 64))
    path = home / "ViT-B-16.pt"
    with tiny_in_place_of_clip():
        torch.manual_seed(0)
        torch.save(their_model("CLIP", home, tiny=True).half().state_dict(), path)
        yield path


def elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this is a machine that has nothing."""
    for variable, name in ROOTS.items():
        monkeypatch.setenv(variable, str(folder / name))


def masks_of(images: Path, name: str, *options: str) -> dict[str, bytes]:
    """Predict on the CPU and read what was written."""
    output = images.parent / name
    assert predict(["-i", str(images), "-o", str(output), "--device", "cpu", *options]) == 0
    return {path.name: path.read_bytes() for path in sorted(output.iterdir())}


@pytest.mark.parametrize("kind", ["model.zip", "model"])
def test_a_model_predicts_the_same_bits_where_there_is_nothing_else(
    home: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    build_training()
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=1))
    before = masks_of(images, "before", "-d", "Tiny", "-m", "UNet", "--save-probabilities")
    exported = home / "out" / kind
    assert export(["Tiny", "UNet", "fold0", "-o", str(exported)]) == 0
    elsewhere(home / "elsewhere", monkeypatch)
    if exported.is_dir():
        assert masks_of(images, "in place", "--model", str(exported), "--save-probabilities") == before
    assert import_model([str(exported), "--name", "mine"]) == 0
    assert "Next: htunet_predict -i IMAGES -o OUT --model mine" in capsys.readouterr().out
    assert masks_of(images, "by name", "--model", "mine", "--save-probabilities") == before
    assert masks_of(images, "by data set", "-d", "Tiny", "-m", "UNet", "--save-probabilities") == before


def test_an_ensemble_is_one_model_and_knows_what_to_expect_of_its_masks(
    home: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = build_training()
    expected = [f"{value:.3f}" for value in np.linspace(0.5, 1, 20)]
    inputs = np.random.default_rng(0).integers(0, 255, (40, 1, 64, 64), dtype=np.uint8)
    familiar = learn_familiar(inputs[:20], inputs[20:])
    assert familiar is not None
    for seed in (1, 2):
        train("Tiny", "UNet", 0, tiny_settings(num_epochs=1, seed=seed))
        run = run_of(paths, "UNet", seed=seed)  # what an evaluation on 20 images by each would leave
        of_case = [{"case": f"case_{n}", "expected_dice": value} for n, value in enumerate(expected)]
        write_csv(run.expected_dice_csv, ("case", "expected_dice"), of_case)
        about = {"label": "1", "resolution": "original_size", "missed": ""}
        scores = [about | {"case": row["case"], "dice": row["expected_dice"]} for row in of_case]
        write_csv(run.test_folder / "per_case.csv", ("case", "label", "resolution", "dice", "missed"), scores)
        write_json(
            run.summary_json,
            {
                "htunet": {
                    "dataset": run.dataset.name,
                    "method": "UNet",
                    "plan": "tiny",
                    "task": "seg",
                    "fold": 0,
                    "seed": seed,
                }
            },
        )
        write_json(run.familiar_json, familiar.content())
    words = ("-d", "Tiny", "-m", "UNet", "--save-probabilities")
    before, one = (masks_of(images, name, *words, *more) for name, more in (("two", ("--seed", "1", "2")), ("one", ())))
    assert one["one.npz"] != before["one.npz"]
    assert b",yes" in before["quality.csv"] or b",no" in before["quality.csv"]
    assert export(["Tiny", "UNet", "fold0", "--seed", "1", "2", "-o", str(home / "model.zip")]) == 0
    assert "Exported Tiny UNet fold0 seeds 1,2 (plan tiny) as Tiny_UNet_fold0_seeds1-2_tiny" in capsys.readouterr().out
    elsewhere(home / "elsewhere", monkeypatch)
    assert import_model([str(home / "model.zip")]) == 0
    folder = home / "elsewhere" / "results" / "models" / "Tiny_UNet_fold0_seeds1-2_tiny"
    assert masks_of(images, "after", "--model", folder.name, "--save-probabilities") == before
    assert "the mean of 2 networks: fold 0, seed 1; UNet, fold 0, seed 2" in (folder / "README.md").read_text()
    assert [one(0.75).value for one in load(folder).dice_calibrations] == [pytest.approx(0.75, abs=1e-3)] * 2
    with pytest.raises(UsageError, match="No data set is called"):  # it is no fold 0 of seed 1
        load("Tiny UNet fold0")
    (folder / "checkpoint_2.safetensors").unlink()
    assert predict(["-i", str(images), "-o", str(home / "out"), "--model", folder.name]) == 1
    assert "lacks its checkpoint_2.safetensors" in capsys.readouterr().err


def test_networks_of_unlike_plans_are_no_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would be built by the plan of the first: one that is not normalised would see other values, in silence."""
    about = {"task": "seg", "seed": 1, "precision": "fp32", "weights": "random"}
    members = [TrainedModel(method=method, plan=plan, checkpoint=tmp_path / method / "checkpoint", **about)
               for method, plan in (("UNet", tiny_plan()), ("CLIP_HT", tiny_plan(normalise=False)))]  # fmt: skip
    of_runs, dataset = iter(members), DatasetPaths("Dataset503_BUSI")
    monkeypatch.setattr(TrainedModel, "of_run", lambda *_: next(of_runs))
    check_together(members)  # they may predict together, each by its own plan
    with pytest.raises(UsageError, match=r"CLIP_HT and .*UNet were trained with another normalise in their plans"):
        export_run(run_of(dataset), tmp_path / "model", others=[run_of(dataset, "CLIP_HT")])
    assert not (tmp_path / "model").exists()


def test_a_model_says_what_it_is(home: Path) -> None:
    build_training()
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=1))
    assert export(["Tiny", "UNet", "fold0", "-o", str(home / "model")]) == 0
    card = json.loads((home / "model" / "model.json").read_text())
    assert (card["method"], card["task"], card["dataset"], card["seed"]) == ("UNet", "seg", "Dataset903_Tiny", 1)
    assert card["plan"]["labels"] == {"background": 0, "lesion": 1}
    assert card["licences"]["weights"].startswith("trained from random weights")
    assert {"htunet", "torch"} <= set(card["trained_by"]) & set(card["exported_by"])
    assert card["figures"]["validation"]["epoch"] == 1
    assert set(card["files"]) == {"checkpoint.safetensors", "README.md"}
    readme = (home / "model" / "README.md").read_text()
    assert "htunet_predict -i IMAGES -o OUT --model Tiny_UNet_fold0_seed1_tiny" in readme


def test_exports_that_started_from_other_weights_have_other_names() -> None:
    run = RunPaths(DatasetPaths("Dataset503_BUSI"), "SegmentationTrainer", paper_plan("UNet"), "UNet", 0, 1)
    assert _name_of([run]) == "BUSI_UNet_fold0_seed1"
    assert _name_of([replace(run, adapter="phantom")]) == "BUSI_UNet_fold0_seed1_from-phantom"
    tuned = [replace(run, fold=fold, adapter="PMC-OA+CURD") for fold in (0, 1)]
    assert _name_of(tuned) == "BUSI_UNet_folds0-1_seed1_from-PMC-OA-CURD"


def test_with_its_backbone_a_model_needs_no_other_file(
    clip: Path, images: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    train("Tiny", "CLIP_HT", 0, tiny_settings(num_epochs=1, weights=str(clip)))
    before = masks_of(images, "before", "-d", "Tiny", "-m", "CLIP_HT")
    exported = home / "model.zip"
    assert export(["Tiny", "CLIP_HT", "fold0", "-o", str(exported), "--with-backbone"]) == 0
    clip.unlink()
    elsewhere(home / "elsewhere", monkeypatch)
    assert import_model([str(exported)]) == 0
    folder = home / "elsewhere" / "results" / "models" / "Tiny_CLIP_HT_fold0_seed1_tiny"
    assert masks_of(images, "after", "--model", folder.name) == before
    assert all(key.startswith("visual.") for key in load_file(folder / "backbone.safetensors"))


def test_without_its_backbone_a_model_asks_for_it_and_refuses_another_one(
    clip: Path, images: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("Tiny", "CLIP_HT", 0, tiny_settings(num_epochs=1, weights=str(clip)))
    before = masks_of(images, "before", "-d", "Tiny", "-m", "CLIP_HT")
    assert export(["Tiny", "CLIP_HT", "fold0", "-o", str(home / "model")]) == 0
    words = ["-i", str(images), "-o", str(home / "after"), "--model", str(home / "model")]
    assert predict(words) == 1
    assert "trained on the weights file ViT-B-16.pt" in capsys.readouterr().err
    assert predict([*words, "--weights", "random"]) == 1
    assert "Load the weights that it was trained on" in capsys.readouterr().err
    assert masks_of(images, "given", "--model", str(home / "model"), "--weights", str(clip)) == before


def test_weights_that_come_with_htunet_need_no_file(
    home: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build_training(input_size=(64, 64))
    train("Tiny", "PhantomCLIP_HT", 0, tiny_settings(num_epochs=1, weights="phantom"))
    before = masks_of(images, "before", "-d", "Tiny", "-m", "PhantomCLIP_HT")
    assert export(["Tiny", "PhantomCLIP_HT", "fold0", "-o", str(home / "model")]) == 0
    assert "come with htunet" in (home / "model" / "README.md").read_text()
    elsewhere(home / "other", monkeypatch)
    capsys.readouterr()
    assert import_model([str(home / "model"), "--name", "mine"]) == 0
    assert "weights are not in the model" not in capsys.readouterr().out
    assert masks_of(images, "after", "--model", "mine") == before


def test_a_checkpoint_says_the_licence_of_the_weights_that_it_was_trained_on(clip: Path) -> None:
    outcome = train("Tiny", "CLIP_HT", 0, tiny_settings(num_epochs=1, weights=str(clip)))
    _, about = checkpoint.load(outcome.run.checkpoint_best)
    assert "ViT-B-16.pt" in about["licence"]
    assert CATALOGUE["CLIP"].licence in about["licence"]


@pytest.mark.parametrize("option", ["--with-backbone", "--onnx"])
def test_weights_that_nobody_may_pass_on_do_not_leave(
    clip: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    from dataclasses import replace

    train("Tiny", "CLIP", 0, tiny_settings(num_epochs=1, weights=str(clip)))
    monkeypatch.setitem(CATALOGUE, "CLIP", replace(CATALOGUE["CLIP"], withheld="its authors say so"))
    assert export(["Tiny", "CLIP", "fold0", "-o", str(home / "model"), option]) == 1
    assert "may not be passed on (its authors say so)" in capsys.readouterr().err
    assert not (home / "model").exists()


def test_what_is_there_is_never_overwritten(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_training()
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=1))
    (home / "photos").mkdir()
    assert export(["Tiny", "UNet", "fold0", "-o", str(home / "photos")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert export(["Tiny", "UNet", "fold0", "-o", str(home / "model.zip")]) == 0
    assert import_model([str(home / "model.zip")]) == 0
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=2), restart=True)
    assert export(["Tiny", "UNet", "fold0", "-o", str(home / "model.zip")]) == 2
    assert export(["Tiny", "UNet", "fold0", "-o", str(home / "new.zip")]) == 0
    assert import_model([str(home / "new.zip")]) == 2
    assert "Choose another name with --name" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model", "model.zip"])
def test_the_same_export_and_import_again_find_their_work_done(home: Path, name: str) -> None:
    build_training()
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=1))
    words = ["Tiny", "UNet", "fold0", "-o", str(home / name)]
    assert export(words) == 0
    files = [path for path in (home / name, *(home / name).glob("*")) if path.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    assert export(words) == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == before
    assert export([*words[:-1], str(home / f"again-{name}")]) == 0
    for path in files:
        assert Path(str(path).replace(f"/{name}", f"/again-{name}", 1)).read_bytes() == path.read_bytes()
    assert import_model([str(home / name)]) == 0
    assert import_model([str(home / name)]) == 0
    assert not list(home.rglob(f"{PART}*"))


@pytest.fixture
def exported(home: Path) -> Path:
    build_training()
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=1))
    assert export(["Tiny", "UNet", "fold0", "-o", str(home / "model")]) == 0
    return home / "model"


def change(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | changes))


def refused(source: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Importing fails with these words, and nothing has been written."""
    assert import_model([str(source)]) == 1
    assert words in capsys.readouterr().err
    assert [path.name for path in (run_of_results() / "models").glob("[!.]*")] == []


def run_of_results() -> Path:
    from htunet.paths import root

    return root("htunet_results")


def test_a_damaged_or_foreign_model_is_refused(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (exported / "model.json").read_text()
    refused(exported.parent / "raw", "model.json is missing", capsys)
    change(exported, format=2)
    refused(exported, "has format 2, this version reads 1", capsys)
    (exported / "model.json").write_text(whole)
    change(exported, files={"../checkpoint.safetensors": "0"})
    refused(exported, "values without a meaning: files", capsys)
    (exported / "model.json").write_text(whole)
    content = bytearray((exported / "checkpoint.safetensors").read_bytes())
    content[-1] ^= 1
    (exported / "checkpoint.safetensors").write_bytes(content)
    refused(exported, "damaged or another file", capsys)
    (exported / "checkpoint.safetensors").unlink()
    refused(exported, "lacks its checkpoint.safetensors", capsys)


def test_a_pickle_in_place_of_the_checkpoint_is_refused(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from htunet.models.weights.store import file_hash

    torch.save({"model.a": torch.zeros(1)}, exported / "checkpoint.safetensors")
    change(exported, files={"checkpoint.safetensors": file_hash(exported / "checkpoint.safetensors")})
    refused(exported, "cannot be read", capsys)


def test_a_zip_that_reaches_outside_is_refused_and_programs_are_left_behind(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (exported / "setup.py").write_text("raise SystemExit")
    archive = shutil.make_archive(str(exported.parent / "again"), "zip", exported)
    evil = exported.parent / "evil.zip"
    shutil.copy(archive, evil)
    with zipfile.ZipFile(evil, "a") as content:
        content.writestr("../outside.txt", "bad")
    refused(evil, "outside the folder", capsys)
    assert import_model([archive]) == 0
    assert "Not copied, as htunet does not need them: setup.py" in capsys.readouterr().out
    imported = run_of_results() / "models" / "Tiny_UNet_fold0_seed1_tiny"
    assert sorted(path.name for path in imported.iterdir()) == ["README.md", "checkpoint.safetensors", "model.json"]


def test_a_run_and_a_model_are_not_named_together(
    exported: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-i", str(images), "-o", str(images.parent / "out")]
    assert predict([*words, "--model", str(exported), "-m", "UNet"]) == 2
    assert "omit --method" in capsys.readouterr().err
    assert predict(words) == 2
    assert "a run (-d DATASET -m METHOD) or a model" in capsys.readouterr().err
    assert predict([*words, "--model", "nobody"]) == 2
    assert "No folder and no imported model is called 'nobody'" in capsys.readouterr().err
    assert run_of(build_paths(), "UNet").checkpoint_best.exists()


def build_paths() -> Any:
    from htunet.paths import DatasetPaths

    return DatasetPaths("Dataset903_Tiny")
