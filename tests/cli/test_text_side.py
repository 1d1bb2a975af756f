"""The commands htunet_zero_shot and htunet_retrieval: files, words, exit codes, and errors before anything heavy."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.contrastive import build_captions, tiny_finetuning
from builders.training import build_training
from PIL import Image

from htunet.cli.retrieval import main as retrieval
from htunet.cli.zero_shot import main as zero_shot
from htunet.data.captions import CaptionDataset, read_captions
from htunet.data.preprocessed import COLUMNS
from htunet.data.split_files import load_splits, save_splits
from htunet.data.zero_shot_prompts import unusual_prompts
from htunet.errors import HtunetError
from htunet.experiments import zero_shot_retrieval
from htunet.files import read_csv, read_json, write_csv, write_json
from htunet.inference import text_side
from htunet.inference.text_side import named_by_content, towers_name
from htunet.models import checkpoint
from htunet.paths import DatasetPaths
from htunet.preprocessing.caption_arrays import PreparedCaptions, prepare_captions
from htunet.training.finetuning import finetune

pytestmark = pytest.mark.usefixtures("home", "tiny_clip")

RANDOM = ("--weights", "random", "--device", "cpu")
TINY = ("Tiny", "CLIP", "--plan", "tiny", *RANDOM)
BREAST = ("--prompts", "breast")
TOWERS = "CLIP__random__plan_tiny__prompts_breast"


@pytest.fixture
def dataset() -> DatasetPaths:
    return build_training()


def change_classes(dataset: DatasetPaths, changes: dict[str, str]) -> None:
    """Give cases of the preprocessed data set other classes."""
    path = dataset.plan_folder("tiny") / "cases.csv"
    rows = read_csv(path, COLUMNS)
    write_csv(path, COLUMNS, [row | {"class": changes.get(row["id"], row["class"])} for row in rows])


def test_every_sentence_is_in_the_table_and_in_the_picture(
    dataset: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zero_shot([*TINY, *BREAST]) == 0
    folder = dataset.results / "zero_shot" / TOWERS / "all"
    output = capsys.readouterr().out
    assert "random weights: the results test the program" in output
    assert str(folder / "prompts.md") in output
    summary = read_json(folder / "summary.json")
    assert (summary["part"], summary["prompts"], summary["zero_shot"]["n_cases"]) == ("all", "breast", 24)
    with (folder / "prompts.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == ["benign"] * 10 + ["malignant"] * 10
    assert [float(row["auc"]) for row in rows] == [entry["auc"] for entry in summary["zero_shot"]["prompts"]]
    lines = (folder / "prompts.md").read_text(encoding="utf-8").splitlines()
    areas = [
        float(line.split("|")[1]) for line in lines if line.startswith("| ") and "AUC" not in line and "---" not in line
    ]
    assert areas == sorted(areas, reverse=True)
    assert len(areas) == 20
    assert len(read_csv(folder / "classes.csv", ["case", "predicted"])) == 24
    with Image.open(folder / "prompts.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_the_test_split_is_that_of_fold_0(dataset: DatasetPaths) -> None:
    assert zero_shot([*TINY, *BREAST, "--split", "test"]) == 0
    rows = read_csv(dataset.results / "zero_shot" / TOWERS / "test" / "classes.csv", ["case"])
    assert [row["case"] for row in rows] == load_splits(dataset.splits_json)[0]["test"]


def test_images_without_a_class_are_left_out_and_said(
    dataset: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    change_classes(dataset, {"case_0003": "", "case_0008": ""})
    assert zero_shot([*TINY, *BREAST]) == 0
    assert "excluded, without a class: 2 images" in capsys.readouterr().out
    folder = dataset.results / "zero_shot" / TOWERS / "all"
    summary = read_json(folder / "summary.json")
    assert (summary["images_without_class"], summary["zero_shot"]["n_cases"]) == (2, 22)
    assert "case_0003" not in (folder / "classes.csv").read_text(encoding="utf-8")
    assert "without a class: 2 images" in (folder / "prompts.md").read_text(encoding="utf-8")


def test_recall_is_that_of_the_positive_class_and_long_sentences_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of malignant and benign the first one is positive; the sentences name them in the other order."""
    dataset = build_training(classes={"malignant": 0, "benign": 1})
    sentences = {"benign": [" ".join(f"sign{n}" for n in range(30))], "malignant": ["rough"]}
    write_json(tmp_path / "two.json", {"format": 1, "classes": sentences})
    assert zero_shot([*TINY, "--prompts", str(tmp_path / "two.json")]) == 0
    assert "1 of 2 texts fill the 16 tokens" in capsys.readouterr().out
    folder = dataset.results / "zero_shot" / TOWERS.replace("breast", named_by_content(tmp_path / "two.json")) / "all"
    found = read_json(folder / "summary.json")["zero_shot"]
    rows = [row for row in read_csv(folder / "classes.csv", ["class", "predicted"]) if row["class"] == "malignant"]
    assert found["positive"] == "malignant"
    assert found["recall"]["value"] == np.mean([row["predicted"] == "malignant" for row in rows])


def test_sentences_of_a_class_without_images_come_last_without_an_auc(tmp_path: Path) -> None:
    dataset = build_training(classes={"benign": 0, "malignant": 1, "normal": 2})
    sentences = {"benign": ["smooth"], "malignant": ["rough"], "normal": ["nothing"]}
    write_json(tmp_path / "three.json", {"format": 1, "classes": sentences})
    assert zero_shot([*TINY, "--prompts", str(tmp_path / "three.json")]) == 0
    folder = dataset.results / "zero_shot" / TOWERS.replace("breast", named_by_content(tmp_path / "three.json")) / "all"
    assert [entry["auc"] is None for entry in read_json(folder / "summary.json")["zero_shot"]["prompts"]] == [
        *(False, False, True)
    ]
    table = [line for line in (folder / "prompts.md").read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    assert table[-1].startswith("| - | normal |")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "There are no prompts for Tiny. Choose a set with --prompts (breast,"),
        (("--prompts", "brest"), 2, "Did you mean 'breast'?"),
        (("--prompts", "{more}"), 1, "describe cyst, which the data set lacks"),
        (("--prompts", "{broken}"), 1, "must be a list of at least one sentence"),
        ((*BREAST, "--adapter", "nowhere.safetensors"), 2, "CLIP has no adapter"),
        ((*BREAST, "--plan", "papre"), 2, "has no plan 'papre'"),
        ((*BREAST, "--device", "cuda"), 2, "no CUDA device"),
        ((*BREAST, "--split", "test"), 1, "is benign: with less than two classes nothing can be distinguished"),
    ],
)
def test_what_cannot_work_is_one_line_before_the_towers_are_built(
    dataset: DatasetPaths,
    arguments: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    sentences = {"benign": ["smooth"], "malignant": ["rough"]}
    files = {"more": sentences | {"cyst": ["black"]}, "broken": {"benign": []}}
    for name, classes in files.items():
        write_json(tmp_path / f"{name}.json", {"format": 1, "classes": classes})
    folds = load_splits(dataset.splits_json)
    benign = [case for case in folds[0]["test"] if int(case[-4:]) % 2 == 0]
    save_splits(dataset.splits_json, [folds[0] | {"test": benign}, folds[1]])
    monkeypatch.setattr(text_side, "build_dual_encoder", lambda *_, **__: pytest.fail("it was begun"))
    assert (
        zero_shot([*TINY, *(text.format(**{k: tmp_path / f"{k}.json" for k in files}) for text in arguments)]) == code
    )
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not dataset.results.exists()


def test_a_method_with_an_adapter_asks_for_a_fine_tuning_and_takes_it(
    dataset: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["Tiny", "CLIP_HT", "--plan", "tiny", *RANDOM, *BREAST]
    assert zero_shot(command) == 1
    assert "No finished fine-tuning of CLIP_HT on random weights" in capsys.readouterr().err
    build_captions()
    finetune("CLIP_HT", ["Words"], tiny_finetuning(num_epochs=1))
    assert zero_shot(command) == 0
    assert "adapter fine-tuned on Dataset907_Words (seed 1)" in capsys.readouterr().out
    towers = "CLIP_HT__adapter_Words__random__plan_tiny__prompts_breast"
    summary = read_json(dataset.results / "zero_shot" / towers / "all" / "summary.json")
    assert summary["adapter"]["datasets"] == ["Dataset907_Words"]
    assert len(summary["adapter"]["sha256"]) == 64
    assert summary["plan_edited"] is False
    control = finetune("CLIP_HT", ["Words"], tiny_finetuning(num_epochs=1), shuffle=True).run.checkpoint_best
    assert zero_shot([*command, "--adapter", str(control)]) == 0
    assert "fine-tuned on Dataset907_Words (seed 1, captions of other images)" in capsys.readouterr().out


def test_an_adapter_classifies_no_image_that_it_was_trained_on(
    dataset: DatasetPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*_: object, **__: object) -> None:
        raise HtunetError("The towers are built.")

    monkeypatch.setattr(zero_shot_retrieval, "load_text_side", begin)
    train, path = load_splits(dataset.splits_json)[0]["train"], tmp_path / "run.safetensors"
    settings = {"dataset": dataset.name, "fold": 0, "seed": 1}
    checkpoint.save(path, {"model.adapters.0.weight": torch.ones(2)}, {"method": "CLIP_HT", "settings": settings})
    command = ["Tiny", "CLIP_HT", "--plan", "tiny", "--adapter", str(path), *RANDOM, *BREAST]
    assert zero_shot(command) == 1
    assert f"trained on {len(train)} images that are classified: {train[0]}" in capsys.readouterr().err
    assert zero_shot([*command, "--split", "test"]) == 1
    assert "The towers are built." in capsys.readouterr().err


def test_results_of_two_fine_tunings_never_share_a_folder_and_say_their_own_seed(dataset: DatasetPaths) -> None:
    words = build_captions()
    runs = [finetune("CLIP_HT", ["Words"], tiny_finetuning(num_epochs=1, seed=seed)).run for seed in (1, 2)]
    folders = {1: "CLIP_HT__adapter_Words__random", 2: "CLIP_HT__adapter_Words-seed2__random"}
    path_of_2 = ("--adapter", str(runs[1].checkpoint_best))
    for options in ((), ("--seed", "2"), path_of_2):  # the last one with the usual seed 1
        assert zero_shot(["Tiny", "CLIP_HT", "--plan", "tiny", *RANDOM, *BREAST, *options]) == 0
        assert retrieval(["CLIP_HT", "-d", "Words", "--input-size", "32", *RANDOM, *options]) == 0
    for what, results, more in (
        ("zero_shot", dataset.results, "__plan_tiny__prompts_breast/all"),
        ("retrieval", words.results, "__input_size_32/val"),
    ):
        assert len(list((results / what).iterdir())) == 2
        for seed, name in folders.items():
            summary = read_json(results / what / f"{name}{more}" / "summary.json")
            assert (summary["seed"], summary["adapter"]["seed"]) == (seed, seed)


@pytest.mark.parametrize("given", [(), ("--input-size", "48")])
def test_retrieval_prepares_images_as_the_fine_tuning_validated_them(
    given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = build_captions()
    finetune("CLIP_HT", ["Words"], tiny_finetuning(num_epochs=1, plan="public"))
    prepared = []

    def prepare(captions: CaptionDataset, size: tuple[int, int], *, centre_crop: bool = False) -> PreparedCaptions:
        prepared.append((size, centre_crop))
        return prepare_captions(captions, size, centre_crop=centre_crop)

    monkeypatch.setattr(zero_shot_retrieval, "prepare_captions", prepare)
    assert retrieval(["CLIP_HT", "-d", "Words", *RANDOM, *given]) == 0
    side = 48 if given else 32  # that of ``tiny_finetuning``
    assert prepared == [((side, side), True)]
    folder = words.results / "retrieval" / f"CLIP_HT__adapter_Words-public__random__input_size_{side}" / "val"
    summary = read_json(folder / "summary.json")
    assert (summary["input_size"], summary["geometry"]) == ([side, side], "centre_crop")


def test_own_weights_and_prompts_never_replace_the_results_of_the_usual_ones(tmp_path: Path) -> None:
    """Two files of one name are told apart by what is in them."""
    assert towers_name("CLIP", "", "pretrained", prompts="") == "CLIP"
    for content, digits in (("a", "ca978112"), ("b", "3e23e816")):  # of SHA-256
        path = tmp_path / content / "my.pt"
        path.parent.mkdir()
        path.write_text(content)
        assert towers_name("CLIP", "", str(path), prompts="mine") == f"CLIP__weights_my-{digits}__prompts_mine"
        assert named_by_content(path) == f"my-{digits}"
    assert unusual_prompts("BUSI", "breast") == ""
    assert [unusual_prompts("BUSI", name) for name in ("thyroid", "my/own.json")] == ["thyroid", "own.json"]


def test_retrieval_writes_both_directions_beside_chance(capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_captions()
    command = ["CLIP", "-d", "Words", "--input-size", "32", *RANDOM]
    assert retrieval(command) == 0
    output = capsys.readouterr().out
    assert "4 pairs (val)" in output
    assert "random weights" in output
    assert retrieval([*command, "--split", "all"]) == 0
    output = capsys.readouterr().out
    assert "40 pairs (all), 37 different captions; all equal captions count as correct" in output
    summary = read_json(paths.results / "retrieval" / "CLIP__random__input_size_32" / "all" / "summary.json")
    assert summary["input_size"] == [32, 32]
    for direction in ("image_to_text", "text_to_image"):
        found = summary[direction]
        assert list(found["recall"]) == list(found["chance"]) == ["1", "5", "10"]
        assert found["recall"]["1"] <= found["recall"]["5"] <= found["recall"]["10"]
        # 4 pairs have the caption of the first: their chance is 4 / 40, that of the 36 others 1 / 40
        assert found["chance"]["1"] == pytest.approx((4 * 4 / 40 + 36 / 40) / 40)


def test_retrieval_says_that_an_adapter_learnt_from_another_split_of_the_pairs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = build_captions(groups=5)
    finetune("CLIP_HT", ["Words"], tiny_finetuning(num_epochs=1))
    command = ["CLIP_HT", "-d", "Words", "--input-size", "32", *RANDOM]
    assert retrieval(command) == 0
    output = capsys.readouterr().out
    assert "may have been trained" not in output
    assert "groups (patients, cases or articles) with pairs in both splits: the adapter was trained on other" in output
    assert retrieval([*command, "--split", "all"]) == 0
    assert "fine-tuned on this data set, and so on most of these pairs" in capsys.readouterr().out
    text = paths.captions_jsonl.read_text(encoding="utf-8")
    first = read_captions(paths).pairs[0].caption
    paths.captions_jsonl.write_text(text.replace(first, "A cyst with a thin and even wall."), encoding="utf-8")
    assert retrieval(command) == 0
    assert "it may have been trained on some of these pairs" in capsys.readouterr().out
    folder = paths.results / "retrieval" / "CLIP_HT__adapter_Words__random__input_size_32" / "val"
    assert "another split" in read_json(folder / "summary.json")["pairs_note"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("CLIP", "-d", "Tiny"), 1, "images with masks, no captions"),
        (("DINOv2", "-d", "Words"), 2, "DINOv2 has no text encoder"),
        (("CLIP_HT", "-d", "Words"), 1, "No finished fine-tuning of CLIP_HT"),
        (("CLIP", "-d", "Words", "--input-size", "33"), 1, "multiples of the patch size"),
        (("CLIP", "-d", "Words", "--weights", "nowhere.pt"), 1, "nowhere.pt"),
    ],
)
def test_retrieval_says_what_cannot_work_before_images_are_prepared(
    dataset: DatasetPaths, arguments: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = build_captions()
    assert retrieval([*arguments[:3], "--input-size", "32", *RANDOM, *arguments[3:]]) == code
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not list(words.preprocessed.glob("captions_*"))
