"""The release of the paper's authors: its sets, its lists as the fold ``paper``, and what is wrong in a download."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from builders.busi import build_busi
from builders.nextgen_uia import BUSI, DDTI, PROSTATE, build_release, write_lists, write_pair
from PIL import Image

from dataset_conversion.nextgen_uia import Release, case_ids, class_names, find
from dataset_conversion.nextgen_uia import read_labels as read_label_table
from htunet.cli.convert import main
from htunet.cli.plan_and_preprocess import main as plan
from htunet.data.captions import read_captions
from htunet.data.image_io import read_labels
from htunet.data.raw import read_excluded, read_raw
from htunet.data.split_files import find_fold, load_splits
from htunet.paths import DatasetPaths, all_datasets
from htunet.planning.fingerprint import planning_cases
from htunet.reporting.tables.table1 import current_sizes

Output = pytest.CaptureFixture[str]
BUSI_PATHS, DDTI_PATHS = DatasetPaths("Dataset503_BUSI"), DatasetPaths("Dataset504_DDTI")
IDS = [f"benign_{i:04d}" for i in range(1, 8)] + [f"malignant_{i:04d}" for i in range(1, 4)]


@pytest.fixture
def release(home: Path) -> Path:
    return build_release(home / "download" / "NextGen-UIA")


def convert(source: Path) -> int:
    return main(["NextGen-UIA", str(source), "--workers", "1"])


def test_every_set_gets_its_cases_and_the_authors_lists(release: Path, capsys: Output) -> None:
    assert convert(release.parent) == 0
    out = capsys.readouterr().out
    assert all_datasets() == [
        *("Dataset503_BUSI", "Dataset504_DDTI", "Dataset506_Prostate", "Dataset510_MedPix", "Dataset512_PMC-CURD")
    ]
    busi = read_raw(BUSI_PATHS)
    assert [(case.id, case.class_name) for case in busi.cases] == [(one, one.split("_")[0]) for one in IDS]
    seg, cls = load_splits(BUSI_PATHS.paper_splits_json)
    assert seg == {"train": IDS[:6], "val": IDS[6:8], "test": IDS[8:]}
    assert cls == {"train": IDS[5:], "val": IDS[3:5], "test": IDS[:3]}
    assert "segmentation 6/2/2; classification 5/2/3" in out
    mask = read_labels(busi.label_path(busi.cases[0]))
    assert (mask.sum(), mask[5:15, 8:20].all()) == (120, True)
    prostate = read_raw(DatasetPaths("Dataset506_Prostate"))
    assert [(case.id, case.split, case.group) for case in prostate.cases[::3]] == [
        ("test_02_000", "test", "test_02"),
        ("train_01_000", "train", "train_01"),
    ]
    assert prostate.info.split_rule == "9:1"
    pairs = read_captions(DatasetPaths("Dataset512_PMC-CURD")).pairs
    assert [pair.source for pair in pairs] == [f"images/PMC77{i}_fig.jpg" for i in range(4)]
    assert "LN-INT: none of the 3 images that its lists name is there." in out
    assert "LN-EXT: not in this release, which its authors may not distribute." in out
    assert "TN3K: not in this release." in out
    assert out.rstrip().endswith("-d BUSI DDTI Prostate, then htunet_train BUSI CLIP_HT paper")


def test_planning_uses_the_lists_and_names_the_fold(release: Path, capsys: Output) -> None:
    convert(release)
    assert plan(["-d", "BUSI", "-p", "paper"]) == 0
    out = capsys.readouterr().out
    assert "(lists, 2 folds (paper (seg), paper (cls)), fold 0 train/val/test 6/2/2; new)" in out
    assert out.rstrip().endswith("htunet_train BUSI CLIP_HT paper")
    assert [find_fold(BUSI_PATHS, "paper", task) for task in ("seg", "cls")] == [0, 1]


def test_planning_looks_at_no_image_that_the_lists_of_either_task_test(release: Path) -> None:
    convert(release)
    plan(["-d", "BUSI", "-p", "paper"])
    measured, words = planning_cases(load_splits(BUSI_PATHS.splits_json))
    assert (measured, words) == (IDS[3:6], "the 3 training cases of fold 0 that no fold tests")


def test_leaks_of_the_lists_for_each_task_are_warned_of(release: Path, capsys: Output) -> None:
    images = release / "all" / "images"
    (images / BUSI[9]).write_bytes((images / BUSI[1]).read_bytes())
    (images / BUSI[8]).write_bytes((images / BUSI[0]).read_bytes())  # both pairs leak in the lists of both tasks
    convert(release)
    capsys.readouterr()
    plan(["-d", "BUSI", "-p", "paper"])
    out = capsys.readouterr().out
    assert "2 groups (same patient, case or picture) in more than one split of fold 0" in out
    assert "2 groups (same patient, case or picture) in more than one split of fold 1" in out
    assert current_sizes(BUSI_PATHS)[2] == "the authors' own lists for masks; those for classes differ"


def test_a_zip_gives_the_same_files(release: Path, home: Path) -> None:
    convert(release)
    before = {p.relative_to(BUSI_PATHS.raw): p.read_bytes() for p in BUSI_PATHS.raw.rglob("*") if p.is_file()}
    with zipfile.ZipFile(home / "release.zip", "w") as archive:
        for path in release.rglob("*"):
            archive.write(path, path.relative_to(release.parent))
    shutil.rmtree(release)
    assert convert(home / "release.zip") == 0
    assert {p.relative_to(BUSI_PATHS.raw): p.read_bytes() for p in BUSI_PATHS.raw.rglob("*") if p.is_file()} == before


def test_equal_lists_of_both_tasks_are_one_fold(release: Path) -> None:
    write_lists(release / "classification" / "BUSI", BUSI, 2, 2)
    convert(release)
    (fold,) = load_splits(BUSI_PATHS.paper_splits_json)
    assert fold["test"] == IDS[8:]


def test_what_lists_and_folders_do_not_share_is_named_and_counted(release: Path, capsys: Output) -> None:
    lists = release / "segmentation" / "DDTI"
    (lists / "train.txt").write_text("\n".join([*DDTI[:3], DDTI[0], DDTI[4], "gone.PNG", "../../secret.png"]))
    write_pair(release, "DDTI_0009.PNG", seed=9, mask=None)
    with (lists / "val.txt").open("a") as stream:
        stream.write("DDTI_0009.PNG\n")
    write_pair(release, "stray.png", seed=8)
    assert convert(release) == 0
    out = capsys.readouterr().out
    assert "Note: 1 of 23 images are in no list and in no data set: stray.png." in out
    assert "in several lists of seg, and counted for the last one only: 1 name: DDTI_0004.PNG (train and test)" in out
    assert "twice in a list of seg, and counted once: 1 name: DDTI_0000.PNG" in out
    assert [(one.source, one.reason) for one in read_excluded(DDTI_PATHS)] == [
        ("all/images/../../secret.png", "named in a list, and there is no such image"),
        ("all/images/DDTI_0009.PNG", "an image without a mask"),
        ("all/images/gone.PNG", "named in a list, and there is no such image"),
    ]
    (fold,) = load_splits(DDTI_PATHS.paper_splits_json)
    assert fold == {"train": ["image_0000", "image_0001", "image_0002"], "val": ["image_0003"], "test": ["image_0004"]}


def test_lists_may_name_images_with_folders_other_endings_letters_and_line_ends(release: Path) -> None:
    convert(release)
    expected = load_splits(BUSI_PATHS.paper_splits_json), BUSI_PATHS.cases_csv.read_bytes()
    for task, spelling in (("segmentation", "images\\{}"), ("classification", "all/images/{}")):
        for path in (release / task / "BUSI").glob("*.txt"):
            names = [spelling.format(name.replace(".png", ".JPG").title()) for name in path.read_text().splitlines()]
            path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(names).encode() + b"\r\n\r\n")
    assert convert(release) == 0
    assert (load_splits(BUSI_PATHS.paper_splits_json), BUSI_PATHS.cases_csv.read_bytes()) == expected


def test_an_image_that_two_spellings_name_is_one_case_in_one_split(release: Path, capsys: Output) -> None:
    """It was two cases, one to train on and one to test."""
    (release / "segmentation" / "DDTI" / "val.txt").write_text(f"{DDTI[3]}\n{DDTI[4][:-4].lower()}\n")
    assert convert(release) == 0
    assert "counted for the last one only: 1 name: DDTI_0004.PNG (val and test)" in capsys.readouterr().out
    assert len(read_raw(DDTI_PATHS).cases) == 5
    (fold,) = load_splits(DDTI_PATHS.paper_splits_json)
    assert (fold["val"], fold["test"]) == (["image_0003"], ["image_0004"])


def test_one_file_for_images_of_two_folders_is_an_error(release: Path, capsys: Output) -> None:
    (release / "segmentation" / "DDTI" / "test.txt").write_text(f"cyst/{DDTI[4]}\nsolid/{DDTI[4]}\n")
    assert convert(release) == 1
    assert f"The lists mean all/images/{DDTI[4]} by cyst/{DDTI[4]}, solid/{DDTI[4]}" in capsys.readouterr().out


def test_a_mask_is_of_one_image_and_masks_that_fit_no_image_are_an_error(release: Path, capsys: Output) -> None:
    folder, masks = release / "all" / "images", release / "all" / "masks"
    for name in ("cyst", "solid"):
        (folder / name).mkdir()
        shutil.copy(folder / DDTI[0], folder / name / "DDTI_0007.PNG")
    shutil.copy(masks / DDTI[0], masks / "DDTI_0007.PNG")
    with (release / "segmentation" / "DDTI" / "train.txt").open("a") as stream:
        stream.write("cyst/DDTI_0007.PNG\nsolid/DDTI_0007.PNG\n")
    assert convert(release) == 0
    assert [(one.source, one.reason) for one in read_excluded(DDTI_PATHS)] == [
        (f"all/images/{name}/DDTI_0007.PNG", "several images have its mask") for name in ("cyst", "solid")
    ]
    for path in masks.glob("DDTI*"):
        path.rename(path.with_name(f"gt{path.name}"))
    capsys.readouterr()
    assert convert(release) == 1
    assert "has a mask of its name in all/masks/" in capsys.readouterr().out


@pytest.mark.parametrize(
    "table",
    [
        ",filename,label\n" + "".join(f"{n},{name},{float(name[0] == 'm')}\n" for n, name in enumerate(BUSI[::-1])),
        "class,image\r\n" + "".join(f"{name.split()[0].title()},{name[:-4].upper()}\r\n" for name in BUSI),
        "".join(f"images/{name},{int(name[0] == 'm')}\n" for name in BUSI),
    ],
    ids=["as pandas writes it", "columns the other way round", "without a header, with folders"],
)
def test_classes_are_found_in_tables_of_any_order_and_spelling(release: Path, table: str) -> None:
    (release / "classification" / "BUSI" / "labels.csv").write_text(table)
    assert convert(release) == 0
    assert [(case.id, case.class_name) for case in read_raw(BUSI_PATHS).cases] == [(i, i.split("_")[0]) for i in IDS]


def test_images_without_a_class_are_counted_and_two_classes_of_one_image_are_an_error(
    release: Path, capsys: Output
) -> None:
    path = release / "classification" / "BUSI" / "labels.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], f"{BUSI[-1]},nan"]))
    assert convert(release) == 0
    assert "whose images get no class: 'nan' (1)" in capsys.readouterr().out
    path.write_text("\n".join([*lines, f"images/{BUSI[0]},1"]))
    assert convert(release) == 1
    assert f"gives {BUSI[0]} two classes: 0 and 1" in capsys.readouterr().out


def test_a_mask_that_one_bit_would_read_as_empty_is_read_and_named(release: Path, capsys: Output) -> None:
    write_pair(release, DDTI[1], seed=1, mask=1)
    gray = np.zeros((24, 30), np.uint8)
    gray[5:15, 8:20] = 90
    gray[7:12, 10:16] = 200
    Image.fromarray(gray).save(release / "all" / "masks" / DDTI[2])
    convert(release)
    raw = read_raw(DDTI_PATHS)
    assert [int(read_labels(raw.label_path(case)).sum()) for case in raw.cases] == [120, 120, 30, 120, 120]
    assert "every value above 0 is taken: 1 case, image_0001" in capsys.readouterr().out


def test_a_set_that_was_made_from_other_files_is_left_and_can_take_the_lists(
    release: Path, home: Path, capsys: Output
) -> None:
    build_busi(home / "busi", benign=7, malignant=3, quirks=False)
    main(["BUSI", str(home / "busi"), "--workers", "1"])
    before = BUSI_PATHS.cases_csv.read_bytes()
    assert convert(release) == 0
    out = capsys.readouterr().out
    assert "BUSI: " in out
    assert "was made from other files and is left as it is" in out
    assert BUSI_PATHS.cases_csv.read_bytes() == before
    assert plan(["-d", "BUSI", "-p", "paper", "--splits", str(release / "segmentation" / "BUSI")]) == 0
    assert load_splits(BUSI_PATHS.splits_json) == [{"train": IDS[:6], "val": IDS[6:8], "test": IDS[8:]}]


def test_a_set_that_fails_does_not_stop_the_others(release: Path, capsys: Output) -> None:
    (release / "segmentation" / "BUSI" / "train.txt").write_bytes(b"caf\xe9.png\n")
    assert convert(release) == 1
    captured = capsys.readouterr()
    assert "BUSI: FAILED" in captured.out
    assert "1 data set could not be converted: BUSI" in captured.err
    assert "Dataset504_DDTI" in all_datasets()
    assert "Dataset503_BUSI" not in all_datasets()


def test_images_without_any_mask_make_a_set_of_classes(release: Path) -> None:
    for name in BUSI:
        (release / "all" / "masks" / name).unlink()
    convert(release)
    raw = read_raw(BUSI_PATHS)
    assert (len(raw.cases), raw.info.has_masks, raw.info.classes) == (10, False, {"benign": 0, "malignant": 1})


def test_what_is_no_release_is_refused(release: Path, home: Path, capsys: Output) -> None:
    shutil.rmtree(release / "all")
    shutil.rmtree(release / "finetune")
    assert convert(release) == 1
    assert "does not hold the data set. Looked for: a folder with all/images/" in capsys.readouterr().err
    assert main(["NextGen-UIA"]) == 2
    assert main(["NextGen-UIA", str(home), "--name", "Dataset600_Mine"]) == 2
    assert "--name does nothing for NextGen-UIA" in capsys.readouterr().err


def test_names_fit_files_with_their_folder_without_their_ending_and_no_others(release: Path) -> None:
    images = Release(release).images
    expected = release / "all" / "images" / "benign (1).png"
    for name in ("benign (1).png", "benign (1)", "images/benign (1).png", r"images\benign (1).jpg"):
        assert find(images, name) == [expected]
    assert find(images, "benign (11).png") == []


@pytest.mark.parametrize(
    ("labels", "classes", "note"),
    [
        ({"benign (1).png": "0", "malignant.png": "1"}, ["benign", "malignant"], "0 is taken for benign"),
        ({"benign (1).png": "1", "malignant.png": "0"}, ["benign", "malignant"], "says 0 for malignant"),
        ({"a.png": "0", "b.png": "1"}, ["benign", "malignant"], "0 is taken for benign and 1 for malignant"),
        ({"a.png": "malignant", "b.png": "benign"}, ["malignant", "benign"], ""),
        ({"benign.png": "1", "malignant.png": "1"}, ["malignant", "malignant"], "contradicts 1 file name"),
        ({"a.png": "0", "b.png": "2"}, ["benign"], "'2' (1)"),
    ],
)
def test_labels_are_numbers_in_the_order_that_names_show(labels: dict[str, str], classes: list[str], note: str) -> None:
    found, notes = class_names(labels)
    assert list(found.values()) == classes
    assert note in "; ".join(notes)


@pytest.mark.parametrize(
    ("data_set", "names", "ids"),
    [
        ("BUSI", ["BUSI_malignant_12.png"], [("malignant_0012", "")]),
        ("BUSI", ["benign (1).png", "other.png"], [("benign_1", ""), ("other", "")]),
        ("BUSI", ["benign (1).png", "benign_1.png"], [("benign_1", ""), ("benign_1_2", "")]),
        ("DDTI", ["0007.PNG"], [("image_0007", "")]),
        ("TN3K", ["trainval_0007.jpg", "test-image_0007.jpg"], [("trainval_0007", ""), ("test_0007", "")]),
        ("TN3K", ["0007.jpg"], [("0007", "")]),
        ("Prostate", [PROSTATE[1], "test_3_slice_12.png"], [("train_01_001", "train_01"), ("test_03_012", "test_03")]),
    ],
)
def test_ids_are_those_of_the_own_converters_where_all_names_say_the_case(
    data_set: str, names: list[str], ids: list[tuple[str, str]]
) -> None:
    found = case_ids(data_set, names)
    assert [found[name] for name in names] == ids


def test_a_text_of_several_lines_beside_the_labels_is_one_cell(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        'name,label,report\na.png,malignant,"irregular\nb.png,benign"\nc.png,benign,oval\x85mass\n', "utf-8"
    )
    assert read_label_table(table) == {"a.png": "malignant", "c.png": "benign"}
