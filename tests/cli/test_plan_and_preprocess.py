"""The command from the raw folder to arrays: what it says, keeps, and refuses."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.own import build_own
from builders.raw import build_raw
from PIL import Image

from dataset_conversion.own_images.convert import convert_own
from dataset_conversion.own_images.options import OwnData
from htunet.cli.plan_and_preprocess import main
from htunet.data.image_io import read_labels, write_png
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import RawDataset, read_raw, write_raw_index
from htunet.data.split_files import load_splits, save_splits
from htunet.files import exclusive, read_csv, read_json, write_json
from htunet.paths import DatasetPaths, RunPaths
from htunet.planning.plans import load_plan, load_plans, save_plans

Output = pytest.CaptureFixture[str]


def run(*arguments: str) -> int:
    return main(["-d", "Tiny", *arguments])


@pytest.fixture
def tiny(home: Path) -> DatasetPaths:
    return build_raw(30, groups=20)


def test_one_command_makes_everything(tiny: DatasetPaths, capsys: Output) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert "fold 0 train/val/test 24/3/3; new" in out
    assert "Plan paper" in out
    assert "Plan adaptive" in out
    assert "Plan paper_518" not in out
    assert "weights      those of CLIP are not on this machine: htunet_weights download CLIP\n" in out
    assert out.rstrip().endswith("htunet_train Tiny CLIP_HT fold0")
    assert set(load_plans(tiny.plans_json)) == {"paper", "adaptive", "paper_518", "public", "public_518"}
    for plan in ("paper", "adaptive"):
        found = PreprocessedDataset(tiny.plan_folder(plan))
        assert found.images.shape == (30, 1, *load_plan(tiny.plans_json, plan).input_size)
        assert found.masks.any(axis=(1, 2)).all()
    assert not tiny.plan_folder("paper_518").exists()
    assert read_json(tiny.fingerprint_json)["format"] == 1


def test_the_second_time_nothing_is_done(tiny: DatasetPaths, capsys: Output) -> None:
    assert run("--plan", "paper", "--memory-gb", "8") == 0
    files = [path for path in tiny.preprocessed.rglob("*") if path.is_file() and path.name != ".lock"]
    before = {path: path.read_bytes() for path in files}
    capsys.readouterr()
    assert run("--plan", "paper", "--memory-gb", "8") == 0
    out = capsys.readouterr().out
    assert "has not changed since it was verified" in out
    assert "nothing changed" in out
    assert "; kept)" in out
    assert {path: path.read_bytes() for path in before} == before


def test_leaking_groups_are_warned_of_and_held_together_on_demand(tiny: DatasetPaths, capsys: Output) -> None:
    assert run("--plan", "paper") == 0
    out = capsys.readouterr().out
    assert "in more than one split of fold 0" in out
    assert "--split-by group" in out
    assert "group_0" in out
    assert "case_00" in out
    assert run("--plan", "paper", "--split-by", "group") == 0
    out = capsys.readouterr().out
    assert "THE SPLIT HAS CHANGED: it was split by image, now by group" in out
    assert "0 finished runs" in out
    assert "in more than one split" not in out
    assert load_plan(tiny.plans_json, "paper").split_by == "group"
    assert run("--plan", "paper") == 0
    assert "by group" in capsys.readouterr().out


def test_the_same_picture_in_two_splits_is_named_even_without_groups(home: Path, capsys: Output) -> None:
    paths = build_raw(30, sizes=((40, 50),))
    ids = [f"case_{index:04d}" for index in range(30)]
    train, test = ids[:24], ids[27:]
    save_splits(paths.splits_json, [{"train": train, "val": ids[24:27], "test": test}])
    for copy, original in (("case_0028", "case_0003"), ("case_0005", "case_0004")):
        images = paths.raw / "imagesTr"
        (images / f"{copy}_0000.png").write_bytes((images / f"{original}_0000.png").read_bytes())
    assert run("--plan", "paper") == 0
    out = capsys.readouterr().out
    assert "--split-by group keeps them in one split" in out
    assert "1 picture in more than one split of fold 0" in out
    assert "train: case_0003; test: case_0028" in out
    assert "train: case_0004" not in out


def test_one_picture_of_two_patients_is_kept_in_one_split_or_named_in_any_fold(home: Path, capsys: Output) -> None:
    paths = build_raw(30, groups=30, sizes=((40, 50),))
    assert run("--plan", "paper") == 0
    folds = load_splits(paths.splits_json)
    first, later = folds[0]["train"][0], folds[2]["test"][0]
    image = paths.raw / "imagesTr" / f"{first}_0000.png"
    image.with_name(f"{later}_0000.png").write_bytes(image.read_bytes())  # fold 0 trains on both
    capsys.readouterr()
    assert run("--plan", "paper") == 0
    out = capsys.readouterr().out
    assert "in more than one split of fold 0" not in out
    assert "1 picture in more than one split of fold " in out
    for _ in range(2):  # the second time nothing is read again
        assert run("--plan", "paper") == 0
        assert "1 picture in more than one split of fold " in capsys.readouterr().out
    assert run("--plan", "paper", "--split-by", "group") == 0
    assert "in more than one split" not in capsys.readouterr().out
    for fold in load_splits(paths.splits_json):
        assert sum({first, later} <= {*fold[split]} for split in fold) == 1


def test_a_replaced_split_stays_beside_the_new_one_and_runs_that_used_it_are_counted(
    tiny: DatasetPaths, capsys: Output
) -> None:
    run("--plan", "paper")
    before = tiny.splits_json.read_bytes()
    finished = RunPaths(tiny, "SegmentationTrainer", "paper", "CLIP_HT", 0, 1)
    finished.folder.mkdir(parents=True)
    finished.settings_json.write_text("{}")
    finished.finished_json.write_text("{}")
    raw = read_raw(tiny)
    write_raw_index(tiny.raw, tiny.name, raw.info, raw.cases[:-2], [])
    for case in raw.cases[-2:]:
        raw.image_path(case).unlink()
        raw.label_path(case).unlink()
    capsys.readouterr()
    assert run("--plan", "paper") == 0
    out = capsys.readouterr().out
    assert "THE SPLIT HAS CHANGED: the cases of the raw folder" in out
    assert "1 finished run of" in out
    assert tiny.splits_json.with_name("splits_final.before.json").read_bytes() == before


def test_a_split_edited_by_hand_is_kept_and_checked(tiny: DatasetPaths, capsys: Output) -> None:
    run("--plan", "paper")
    folds = load_splits(tiny.splits_json)
    folds[0]["train"].append(folds[0]["test"].pop())
    save_splits(tiny.splits_json, folds)
    assert run("--plan", "paper") == 0
    assert "25/3/2; kept, edited by hand" in capsys.readouterr().out
    assert load_splits(tiny.splits_json) == folds
    folds[0]["train"].append("nobody")
    save_splits(tiny.splits_json, folds)
    assert run("--plan", "paper") == 1
    assert "nobody" in capsys.readouterr().err
    folds[0]["train"][-1] = folds[0]["val"][0]
    save_splits(tiny.splits_json, folds)
    assert run("--plan", "paper") == 1
    assert "two places" in capsys.readouterr().err


def test_a_split_that_the_user_brings_is_taken(tiny: DatasetPaths, capsys: Output) -> None:
    ids = [case.id for case in read_raw(tiny).cases]
    tiny.preprocessed.mkdir(parents=True)
    tiny.splits_json.write_text(json.dumps([{"train": ids[:20], "val": ids[20:]}]))  # as nnU-Net writes it
    assert run("--plan", "paper") == 0
    assert "(lists, 1 fold, fold 0 train/val/test 20/10/0; kept)" in capsys.readouterr().out


def test_a_split_beside_official_folds_that_are_not_used_is_said(tiny: DatasetPaths, capsys: Output) -> None:
    ids = sorted(case.id for case in read_raw(tiny).cases)
    save_splits(tiny.paper_splits_json, [{"train": ids[2:], "val": ids[:1], "test": ids[1:2]}])
    warning = f"official lists in {tiny.paper_splits_json}. To take them: htunet_plan_and_preprocess -d Tiny --splits "
    for options, is_named in (((), False), (("--split-by", "group"), True), ((), True), (("--num-folds", "3"), True)):
        assert run("--plan", "paper", *options) == 0
        assert (warning in capsys.readouterr().out) is is_named
    assert run("--plan", "paper", "--split-by", "image", "--splits", str(tiny.paper_splits_json)) == 0
    assert warning not in capsys.readouterr().out


def test_folds_of_the_user_that_leak_or_test_unequally_are_named(home: Path, capsys: Output) -> None:
    tiny = build_raw(12, groups=6)
    ids = [case.id for case in sorted(read_raw(tiny).cases, key=lambda case: (case.group, case.id))]
    good = {"train": ids[4:], "val": ids[2:4], "test": ids[:2]}
    leaking = {"train": ids[3:], "val": ids[2:3], "test": ids[:2]}
    overlapping = {"train": ids[6:], "val": ids[4:6], "test": ids[:4]}
    cases = (([good, leaking], True, False), ([good, overlapping], False, True), ([good], False, False))
    for folds, leaks, unequal in cases:
        tiny.preprocessed.mkdir(parents=True, exist_ok=True)
        tiny.splits_json.write_text(json.dumps(folds))
        assert run("--plan", "paper") == 0
        out = capsys.readouterr().out
        assert ("in more than one split of fold 1" in out) is leaks
        assert ("2 cases tested in several folds" in out and "8 cases tested in no fold" in out) is unequal


def test_a_split_by_group_of_cases_without_groups_is_said(home: Path, capsys: Output) -> None:
    build_raw(12)
    assert run("--plan", "paper", "--split-by", "group") == 0
    assert "no case has a group (patient), so that the split by group is one by image" in capsys.readouterr().out


def test_a_plan_edited_by_hand_is_kept_and_preprocessed(tiny: DatasetPaths, capsys: Output) -> None:
    run("--plan", "paper")
    plans = load_plans(tiny.plans_json)
    plans["paper"] = replace(plans["paper"], num_epochs=3)
    plans["mine"] = replace(plans["paper"], input_size=(64, 96))
    save_plans(tiny.plans_json, plans)
    assert run("--plan", "paper", "mine") == 0
    out = capsys.readouterr().out
    assert "Plan paper (edited by hand, kept)" in out
    assert "Plan mine (your own)" in out
    assert load_plan(tiny.plans_json, "paper").num_epochs == 3
    assert PreprocessedDataset(tiny.plan_folder("mine")).images.shape[2:] == (64, 96)


def test_verify_only_takes_no_option_of_planning(tiny: DatasetPaths, capsys: Output) -> None:
    assert run("--verify-only", "--splits", "lists.json", "--num-folds", "5") == 2
    assert "--splits, --num-folds: --verify-only plans and writes nothing" in capsys.readouterr().err


def test_verify_only_writes_nothing(tiny: DatasetPaths, capsys: Output) -> None:
    assert run("--verify-only") == 0
    assert "verified" in capsys.readouterr().out
    assert not tiny.preprocessed.exists()


def test_a_broken_data_set_stops_before_anything_is_made(tiny: DatasetPaths, capsys: Output) -> None:
    raw = read_raw(tiny)
    raw.image_path(raw.cases[3]).write_bytes(b"broken")
    assert run() == 1
    assert "case_0003" in capsys.readouterr().err
    assert not tiny.splits_json.exists()
    assert not tiny.plan_folder("paper").exists()


def test_several_data_sets_and_a_test_only_one(tiny: DatasetPaths, capsys: Output) -> None:
    other = build_raw(0, test=5, rule="test only", name="Dataset904_Outside")
    assert main(["-d", "Tiny", "904", "--plan", "paper"]) == 0
    out = capsys.readouterr().out
    assert "train/val/test 0/0/5" in out
    assert "Outside has test cases only" in out
    assert len(PreprocessedDataset(other.plan_folder("paper")).cases) == 5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--plan", "adaptve"], 2, "Did you mean 'adaptive'"),
        (["--workers", "-1"], 2, "--workers"),
        (["--memory-gb", "0"], 2, "--memory-gb"),
    ],
)
def test_wrong_usage_is_told_before_any_work(
    tiny: DatasetPaths, capsys: Output, arguments: list[str], code: int, words: str
) -> None:
    assert run(*arguments) == code
    assert words in capsys.readouterr().err


def test_an_unknown_data_set_is_told(home: Path, capsys: Output) -> None:
    assert main(["-d", "BUSY"]) == 2
    assert "BUSY" in capsys.readouterr().err


def test_too_few_cases_are_one_clear_line(home: Path, capsys: Output) -> None:
    build_raw(6)
    assert run() == 1
    assert "6 cases" in capsys.readouterr().err


def test_two_commands_do_not_mix(tiny: DatasetPaths, capsys: Output) -> None:
    with exclusive(tiny.preprocessed, "the test"):
        assert run() == 1
    assert "in use by another process" in capsys.readouterr().err


def test_the_whole_command_needs_no_torch(tiny: DatasetPaths) -> None:
    code = (
        "import sys; from htunet.cli.plan_and_preprocess import main; main(['-d', 'Tiny']); "
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def change(raw: RawDataset, ids: Sequence[str]) -> None:
    """A lesion of a few pixels in a wide black border: all that a rule could react to."""
    for case in raw.cases:
        if case.id in ids:
            image, mask = np.zeros((60, 200), np.uint8), np.zeros((60, 200), np.uint8)
            image[10:50, 10:60], mask[20:24, 20:26] = 120, 1
            write_png(raw.image_path(case), image)
            write_png(raw.label_path(case), mask)


@pytest.mark.parametrize("test", [0, 6], ids=["folds test in turn", "a test split of its own"])
def test_plans_never_see_a_test_image(home: Path, test: int) -> None:
    dataset = build_raw(30, test=test, rule="8:2" if test else "8:1:1")
    assert run("--plan", "adaptive") == 0
    before, fold = dataset.plans_json.read_bytes(), load_splits(dataset.splits_json)[0]
    change(read_raw(dataset), fold["test"])
    assert run("--plan", "adaptive") == 0
    assert dataset.plans_json.read_bytes() == before
    change(read_raw(dataset), fold["train"])
    assert run("--plan", "adaptive") == 0
    assert dataset.plans_json.read_bytes() != before


def test_another_split_is_planned_on_its_own_training_cases(tiny: DatasetPaths, capsys: Output) -> None:
    assert run("--plan", "adaptive") == 0
    assert "the 24 training cases of fold 0; other folds test some of them" in capsys.readouterr().out
    first = read_json(tiny.fingerprint_json)
    save_splits(tiny.splits_json, [{"train": [f"case_{i:04d}" for i in range(20)], "val": ["case_0020"], "test": []}])
    assert run("--plan", "adaptive") == 0
    assert "the 21 cases that no fold tests" in capsys.readouterr().out
    again = read_json(tiny.fingerprint_json)
    assert (first["raw_sha256"], len(again["shapes_after_crop"])) == (again["raw_sha256"], 21)


def test_batch_and_patience_follow_the_number_of_images_that_lists_train_on(home: Path, tmp_path: Path) -> None:
    dataset, lists = build_raw(60, rule="8:1:1"), tmp_path / "lists.json"
    ids = [case.id for case in read_raw(dataset).cases]
    for n, batch in ((40, "now 5 steps"), (10, "now 2 steps")):  # of 8 images; by the rule 48 are trained on
        write_json(lists, {"train": ids[:n], "val": ids[40:45], "test": ids[45:]})
        assert run("--plan", "adaptive", "--splits", str(lists)) == 0
        assert batch in load_plans(dataset.plans_json)["adaptive"].because["batch_size"]


def test_a_fingerprint_of_an_earlier_version_stays_as_long_as_the_files_do(tiny: DatasetPaths, capsys: Output) -> None:
    assert run("--plan", "adaptive") == 0
    before = read_json(tiny.fingerprint_json)
    older = {name: value for name, value in before.items() if name not in ("measured_on", "cases_sha256")}
    write_json(tiny.fingerprint_json, older)
    plans = tiny.plans_json.read_bytes()
    assert run("--plan", "adaptive") == 0
    assert "cases of split train, by an earlier version" in capsys.readouterr().out
    assert read_json(tiny.fingerprint_json) == older
    assert tiny.plans_json.read_bytes() == plans


def test_lesions_without_a_pixel_at_the_input_size_are_named(home: Path, capsys: Output) -> None:
    """Of 1 x 1 pixels in 700 x 900, where 224 x 224 has about every third row and every fourth column."""
    dataset = build_raw(12, sizes=[(700, 900)])
    raw, lost = read_raw(dataset), []
    for number, case in enumerate(raw.cases[:6]):
        mask = np.zeros((700, 900), np.uint8)
        mask[100 + number, 200 + 2 * number] = 1
        write_png(raw.label_path(case), mask)
        rows, columns = (np.floor((np.arange(224) + 0.5) * side / 224).astype(int) for side in (700, 900))
        if not mask[np.ix_(rows, columns)].any():
            lost.append(case.id)
    assert len(lost) > 3
    for _ in range(2):  # said again when nothing has changed
        assert run("--plan", "paper") == 0
        out = capsys.readouterr().out
        assert f"no pixel is left of a label at 224 x 224 pixels in {len(lost)} of 12 cases: {lost[0]} (lesion)" in out
        kept = read_json(dataset.warnings_json)["warnings"]["paper"]
        assert f"in {len(lost)} of 12 cases" in kept[0]
    rows = read_csv(dataset.plan_folder("paper") / "cases.csv", ["id", "labels_without_pixels"])
    assert [row["id"] for row in rows if row["labels_without_pixels"]] == lost


def test_folds_without_a_class_or_a_label_are_named(home: Path, capsys: Output) -> None:
    dataset = build_raw(20)
    raw = read_raw(dataset)
    cases = [replace(case, class_name="malignant" if case.id in ("case_0004", "case_0014") else "benign")
             for case in raw.cases]  # fmt: skip
    write_raw_index(dataset.raw, dataset.name, raw.info, cases, [])
    for case in raw.cases[2:]:
        write_png(raw.label_path(case), np.zeros_like(read_labels(raw.label_path(case))))
    assert run("--plan", "paper") == 0
    out = capsys.readouterr().out
    malignant = {case.id for case in cases if case.class_name == "malignant"}
    without = [sum(malignant.isdisjoint(fold[split]) for fold in load_splits(dataset.splits_json))
               for split in ("val", "test")]  # fmt: skip
    assert min(without) > 7
    assert "the class malignant is in 2 of 20 images, and in none of the" in out
    for split, number in zip(("val", "test"), without, strict=True):
        assert f"{split} of {number} of 10 folds" in out
    assert "the label lesion is in 2 of 20 images, and in none of the" in out
    assert len(read_json(dataset.warnings_json)["warnings"]["split"]) == 2


def test_warnings_of_the_data_are_repeated_and_kept(tiny: DatasetPaths, capsys: Output) -> None:
    raw = read_raw(tiny)
    for case in raw.cases:
        write_png(raw.label_path(case), 1 - read_labels(raw.label_path(case)))
    for _ in range(2):
        assert run("--plan", "paper") == 0
        assert "the masks seem to be inverted" in capsys.readouterr().out
        assert "inverted" in read_json(tiny.warnings_json)["warnings"]["data"][0]


@pytest.mark.parametrize("in_place", [False, True])
def test_that_images_were_scaled_from_their_own_ranges_is_in_fingerprint_and_plans(home: Path, in_place: bool) -> None:
    if in_place:
        dataset = build_raw(12)
        content = read_json(dataset.dataset_json)
        del content["htunet"]
        write_json(dataset.dataset_json, content)
        dataset.cases_csv.unlink()
        images = dataset.raw / "imagesTr"
    else:
        images, masks = build_own(home, [f"c{number:02d}" for number in range(12)])
    for path in sorted(images.iterdir())[:3]:
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 200).save(path)
    if not in_place:
        dataset = DatasetPaths(convert_own(OwnData(name="Mine", images=images, masks=masks)).dataset)
    for _ in range(2):  # the second time nothing is measured
        assert main(["-d", dataset.short_name, "-p", "paper"]) == 0
        note = read_json(dataset.fingerprint_json)["gray_values"]
        assert "alues of more than 8 bits scaled from each file's own lowest and highest" in note
        assert "3 cases" in note if in_place else note.startswith("3 of 12 images: ")
        assert {plan.because["channels"] for plan in load_plans(dataset.plans_json).values()} == {note}
