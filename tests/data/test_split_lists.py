"""A split that somebody else has made: every form of lists, and what is wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.own import build_own
from builders.raw import build_raw
from openpyxl import Workbook, load_workbook

from dataset_conversion.own_images.convert import convert_own
from dataset_conversion.own_images.options import OwnData
from htunet.data.raw import RawDataset, read_raw
from htunet.data.split_files import find_fold, load_splits, paper_fold, settle_splits
from htunet.data.split_lists import read_split_lists
from htunet.errors import HtunetError, UsageError
from htunet.files import read_json, write_json
from htunet.paths import DatasetPaths

IDS = [f"case_{index:04d}" for index in range(10)]
FOLD = {"train": IDS[:6], "val": IDS[6:8], "test": IDS[8:]}


def as_json(folder: Path, names: list[str]) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps([{"train": names[:6], "val": names[6:8], "test": names[8:]}]))
    return path


def as_object(folder: Path, names: list[str]) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps({"train": names[:6], "val": names[6:8], "test": names[8:]}))
    return path


def as_folder(folder: Path, names: list[str]) -> Path:
    place = folder / "lists"
    place.mkdir()
    (place / "Train.txt").write_bytes("\r\n".join(names[:6]).encode("utf-8-sig"))
    (place / "validation.txt").write_text("\n".join(names[6:8]) + "\n\n")
    (place / "test.txt").write_text("\n".join(names[8:]))
    return place


def as_table(folder: Path, names: list[str]) -> Path:
    path = folder / "mine.csv"
    words = ["training"] * 6 + ["valid"] * 2 + ["TEST"] * 2
    path.write_text("subset,image,age\n" + "".join(f"{w},{n},60\n" for w, n in zip(words, names, strict=True)))
    return path


def as_plain_table(folder: Path, names: list[str]) -> Path:
    path = folder / "mine.txt"
    words = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    path.write_text("".join(f"{name} {word}\n" for name, word in zip(names, words, strict=True)))
    return path


@pytest.fixture
def raw(home: Path) -> RawDataset:
    return read_raw(build_raw(10))


@pytest.mark.parametrize("write", [as_json, as_object, as_folder, as_table, as_plain_table])
@pytest.mark.parametrize("named", ["{}", "{}.png", "{}_0000.png"])
def test_every_form_gives_the_same_split_whatever_of_its_names_a_case_has(
    raw: RawDataset, tmp_path: Path, write: Callable[[Path, list[str]], Path], named: str
) -> None:
    assert read_split_lists(write(tmp_path, [named.format(one) for one in IDS]), raw, keep_groups=True) == [FOLD]


def test_source_files_name_their_cases_with_and_without_folders(raw: RawDataset, tmp_path: Path) -> None:
    """``build_raw`` makes case_0003 from 3.png."""
    for names in ([f"{i}.png" for i in range(10)], [f"elsewhere/{i}.png" for i in range(10)]):
        assert read_split_lists(as_plain_table(tmp_path, names), raw, keep_groups=True) == [FOLD]


@pytest.mark.parametrize(
    "spell",
    [str.upper, lambda name: f"{name}.JPG", lambda name: f"D:\\us\\{name}.bmp"],
)
def test_names_of_another_machine_mean_their_cases(
    raw: RawDataset, tmp_path: Path, spell: Callable[[str], str]
) -> None:
    assert read_split_lists(as_json(tmp_path, [spell(name) for name in IDS]), raw, keep_groups=True) == [FOLD]


def test_a_file_of_the_same_name_in_another_folder_is_another_file(home: Path, tmp_path: Path) -> None:
    """Of two folders that number their images alike, one image of the first is not there: it is not the other's."""
    there = [f"{place}/{number}" for place in ("left", "right") for number in range(5)]
    images, masks = build_own(home, [name for name in there if name != "left/3"])
    convert_own(OwnData(name="Mine", images=images, masks=masks))
    mine = read_raw(DatasetPaths("Dataset600_Mine"))
    names = [f"D:\\data\\{case.source}".replace("/", "\\") for case in mine.cases]
    (fold,) = read_split_lists(as_json(tmp_path, names), mine, keep_groups=True)
    assert sum(map(len, fold.values())) == 9
    names[8] = "data/left/3.png"
    with pytest.raises(HtunetError, match=r"names 1 case not in .*: data/left/3\.png"):
        read_split_lists(as_json(tmp_path, names), mine, keep_groups=True)


def test_numbers_without_their_zeros_mean_their_cases(home: Path, tmp_path: Path) -> None:
    images, masks = build_own(home, [f"{number:03d}" for number in range(10)])
    convert_own(OwnData(name="Mine", images=images, masks=masks))
    mine = read_raw(DatasetPaths("Dataset600_Mine"))
    assert read_split_lists(as_table(tmp_path, [*"0123456789"]), mine, keep_groups=True)[0]["test"] == ["008", "009"]


@pytest.mark.parametrize("end", ["", ".0"])
def test_a_table_may_hold_several_folds(raw: RawDataset, tmp_path: Path, end: str) -> None:
    path = tmp_path / "folds.csv"
    rows = [
        f"{one},{'val' if index % 2 == fold else 'train'},{fold}{end}"
        for fold in (0, 1)
        for index, one in enumerate(IDS)
    ]
    path.write_text("\n".join(["id,split,fold", *rows]))
    first, second = read_split_lists(path, raw, keep_groups=True)
    assert first["val"] == second["train"] == IDS[::2]
    assert first["train"] == second["val"] == IDS[1::2]


def as_sheet(path: Path, rows: list[list[object]]) -> Path:
    """A table of Excel, or with semicolons, by the ending."""
    if path.suffix == ".xlsx":
        book = Workbook()
        for row in rows:
            book.active.append(row)  # type: ignore[union-attr]
        book.save(path)
    else:
        path.write_text("\n".join(";".join("" if cell is None else str(cell) for cell in row) for row in rows))
    return path


WORDS = ["train"] * 6 + ["valid"] * 2 + ["TEST"] * 2


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
@pytest.mark.parametrize(
    ("header", "values", "column"),
    [
        (["image", "split"], [[word] for word in WORDS], ""),
        (["image", "train", "val", "test"], [[1, 0, 0]] * 6 + [[0, 1, 0]] * 2 + [[0, 0, 1]] * 2, ""),
        (["image", "is_val", "is_test"], [["no", "no"]] * 6 + [["yes", None]] * 2 + [["no", "yes"]] * 2, ""),
        (["image", "Train", "Test"], [[True, False]] * 6 + [[False, False]] * 2 + [[False, True]] * 2, ""),
        (["scan", "age", "cohort"], [[60, word] for word in WORDS], ":scan:Cohort"),
        (["image", "split", "cohort"], [["test", word] for word in WORDS], ":cohort"),
    ],
)
def test_tables_say_it_in_words_or_by_yes_and_no(
    raw: RawDataset, tmp_path: Path, ending: str, header: list[str], values: list[list[object]], column: str
) -> None:
    rows = [header, *([one, *row] for one, row in zip(IDS, values, strict=True))]
    path = as_sheet(tmp_path / f"mine{ending}", rows)
    assert read_split_lists(Path(f"{path}{column}"), raw, keep_groups=True) == [FOLD]


def test_the_sheet_that_is_read_is_named_where_there_are_several(
    raw: RawDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = as_sheet(tmp_path / "mine.xlsx", [["image", "split"], *zip(IDS, WORDS, strict=True)])
    book = load_workbook(path)
    book.create_sheet("repeated")
    book.save(path)
    assert read_split_lists(path, raw, keep_groups=True) == [FOLD]
    assert caplog.messages == ["mine.xlsx: the sheet 'Sheet' is read, the first of 2 sheets."]


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
def test_numbers_of_folds_alone_are_a_cross_validation(raw: RawDataset, tmp_path: Path, ending: str) -> None:
    numbers = [1, 1, 1, 2, 2, 2, 3, 3, 3, "nan"]
    path = as_sheet(tmp_path / f"a{ending}", [["id", "fold"], *map(list, zip(IDS, numbers, strict=True))])
    blocks = [IDS[:3], IDS[3:6], IDS[6:9]]
    assert read_split_lists(path, raw, keep_groups=True) == [
        {"train": blocks[2], "val": blocks[1], "test": blocks[0]},
        {"train": blocks[0], "val": blocks[2], "test": blocks[1]},
        {"train": blocks[1], "val": blocks[0], "test": blocks[2]},
    ]
    own = read_raw(build_raw(9, test=1, rule="8:2"))
    folds = read_split_lists(path, own, keep_groups=True)
    assert [(fold["val"], fold["test"]) for fold in folds] == [(block, IDS[9:]) for block in blocks]


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("image;train;val\ncase_0000;1;1", "", "in train and in val"),
        ("image;train;val\ncase_0000;1;2", "", "has the values 1, 2 in train, val. Write 1 and 0"),
        ("image;fold\ncase_0000;x", "", "has the values x. Write train, val, test, or numbers"),
        ("image;fold\ncase_0000;1\ncase_0001;train", "", "numbers of folds and also train"),
        ("image;age\ncase_0000;1", "", "none of them names the split: name it, as in --splits a.csv:COLUMN"),
        ("scan;set\ncase_0000;train", ":set", "has the columns scan, set, and none of them names the images"),
        ("image;set\ncase_0000;train", ":sex", "none of them names the split"),
    ],
)
def test_tables_that_do_not_say_it_are_refused(
    raw: RawDataset, tmp_path: Path, text: str, column: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(HtunetError, match=message):
        read_split_lists(Path(f"{tmp_path}/a.csv{column}"), raw, keep_groups=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names: [*names[:9], "nobody"], "names 1 case not in .*: nobody"),
        (lambda names: [*names[:9], "case_000"], r"Did you mean 'case_0000'|Did you mean"),
        (lambda names: [*names[:9], names[0]], r"1 case twice: case_0000 \(train and test\)"),
        (lambda names: [*names[:5], names[0], *names[6:]], r"case_0000 \(train and train\)"),
    ],
)
@pytest.mark.parametrize("write", [as_json, as_folder, as_table])
def test_unknown_and_repeated_cases_are_named(
    raw: RawDataset,
    tmp_path: Path,
    write: Callable[[Path, list[str]], Path],
    change: Callable[[list[str]], list[str]],
    message: str,
) -> None:
    with pytest.raises(HtunetError, match=message):
        read_split_lists(write(tmp_path, change(IDS)), raw, keep_groups=True)


def test_groups_in_two_splits_are_refused_unless_the_split_is_by_image(home: Path, tmp_path: Path) -> None:
    raw, path = read_raw(build_raw(10, groups=9)), as_json(tmp_path, IDS)  # case_0000 and case_0009 are one patient
    with pytest.raises(HtunetError, match=r"1 group .*group_000: train case_0000, test case_0009.*--split-by image"):
        settle_splits(raw, None, path)
    assert not raw.paths.splits_json.exists()
    assert settle_splits(raw, "image", path).splits.folds == (FOLD,)


def test_a_source_that_is_no_list_is_refused(raw: RawDataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_split_lists(tmp_path / "none.json", raw, keep_groups=True)
    for name, text, message in (
        ("a.json", '[{"train": ["a"], "extra": 3}]', "'extra' must be train, val or test"),
        ("b.json", "[]", "not a list of folds"),
        ("c.txt", "case_0000 train\ncase_0001 maybe\n", "has the line 'case_0001 maybe'"),
        ("d.csv", "case_0000,train,0\ncase_0001,val,2\n", r"folds \[0, 2\]"),
        ("e.txt", "", "names no case"),
        ("f.txt", b"caf\xe9 train", "not text in UTF-8"),
    ):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(HtunetError, match=message):
            read_split_lists(path, raw, keep_groups=True)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "train.txt").write_text("case_0000\n")
    with pytest.raises(HtunetError, match=r"lacks val\.txt"):
        read_split_lists(tmp_path / "half", raw, keep_groups=True)


@pytest.mark.parametrize(("first", "delimiter"), [("", ","), ("sep=;\n", ";"), ("", ";"), ("", "\t")])
def test_lists_of_a_folder_may_be_tables_with_the_name_in_any_column(
    raw: RawDataset, tmp_path: Path, first: str, delimiter: str
) -> None:
    for split, names in FOLD.items():
        rows = "".join(f"60,{name}.png,benign\n" for name in names)
        (tmp_path / f"{split}.csv").write_text(first + f"age,image,class\n{rows}".replace(",", delimiter))
    assert read_split_lists(tmp_path, raw, keep_groups=True) == [FOLD]


def test_training_needs_a_validation_and_a_test_alone_is_enough(raw: RawDataset, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    for words, message in (("train", "10 cases for train and none for val"), ("val", "none for train")):
        path.write_text("".join(f"{one},{words}\n" for one in IDS))
        with pytest.raises(HtunetError, match=message):
            read_split_lists(path, raw, keep_groups=True)
    path.write_text("".join(f"{one},test\n" for one in IDS))
    assert read_split_lists(path, raw, keep_groups=True) == [{"train": [], "val": [], "test": IDS}]


def test_the_data_sets_own_test_split_is_never_trained_on(home: Path, tmp_path: Path) -> None:
    raw = read_raw(build_raw(8, test=2, rule="8:2"))
    assert read_split_lists(as_json(tmp_path, IDS), raw, keep_groups=True) == [FOLD]
    with pytest.raises(HtunetError, match=r"trains on 2 cases of the test split.*case_0008"):
        read_split_lists(as_json(tmp_path, IDS[::-1]), raw, keep_groups=True)


def test_lists_become_the_split_and_stay_it(raw: RawDataset, tmp_path: Path) -> None:
    before = settle_splits(raw)
    assert before.status == "new"
    taken = settle_splits(raw, None, as_json(tmp_path, IDS))
    assert (taken.status, taken.splits.rule, taken.splits.folds) == ("replaced", "lists", (FOLD,))
    assert taken.backup is not None
    assert load_splits(taken.backup) == list(before.splits.folds)
    assert settle_splits(raw, None, tmp_path / "mine.json").status == "kept"
    assert settle_splits(raw).splits.folds == (FOLD,)


def test_published_lists_are_the_first_split_and_give_way_on_demand(raw: RawDataset) -> None:
    write_json(raw.paths.paper_splits_json, [FOLD | {"name": "paper"}])
    assert settle_splits(raw).splits.folds == (FOLD,)
    assert find_fold(raw.paths, "paper", "seg") == find_fold(raw.paths, "paper", "cls") == 0
    assert settle_splits(raw, "image").splits.rule == "8:1:1"
    assert settle_splits(raw).splits.rule == "8:1:1"
    with pytest.raises(UsageError, match=r"no fold 'paper'.*fold0 to fold9, none has a name.*--splits"):
        find_fold(raw.paths, "paper", "seg")
    assert paper_fold(raw.paths, "cls") == 0


def test_each_task_takes_its_own_lists(raw: RawDataset) -> None:
    classes = {"train": IDS[4:], "val": IDS[2:4], "test": IDS[:2]}
    folds = [FOLD | {"name": "paper", "task": "seg"}, classes | {"name": "paper", "task": "cls"}]
    write_json(raw.paths.paper_splits_json, folds)
    assert settle_splits(raw).splits.folds == (FOLD, classes)
    assert read_json(raw.paths.splits_json)[1]["task"] == "cls"
    assert [find_fold(raw.paths, "paper", task) for task in ("seg", "seg+cls", "cls")] == [0, 0, 1]
    assert [paper_fold(raw.paths, task) for task in ("seg", "cls")] == [0, 1]
    assert find_fold(raw.paths, 1, "cls") == 1
    with pytest.raises(UsageError, match=r"fold0 of Tiny has the lists for the task seg; those for cls are fold1"):
        find_fold(raw.paths, 0, "cls")
    with pytest.raises(UsageError, match=r"Did you mean 'paper'"):
        find_fold(raw.paths, "papers", "seg")
