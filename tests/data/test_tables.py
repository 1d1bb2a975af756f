"""What tables and patterns say of images, as people have them."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from htunet.data import tables
from htunet.data.tables import Tags, read_rows, read_spacing, read_tags, split_rule
from htunet.errors import HtunetError, UsageError


def read(rule: str, names: list[str], **keywords: Any) -> tuple[dict[str, str], list[str]]:
    tags = read_tags(rule, names, **keywords)
    return tags.of, tags.notes


NAMES = ["benign/1.png", "malignant/2.png", "malignant/3.png"]


def tags(rule: object) -> dict[str, str]:
    return read_tags(str(rule), NAMES, option="--classes", columns=("class", "label")).of


def test_a_pattern_gives_its_group_or_its_whole_match() -> None:
    assert tags("^(benign|malignant)/") == {NAMES[0]: "benign", NAMES[1]: "malignant", NAMES[2]: "malignant"}
    assert tags(r"\d") == dict(zip(NAMES, "123", strict=True))
    assert tags("malignant") == {NAMES[1]: "malignant", NAMES[2]: "malignant"}


def test_a_table_names_images_by_path_file_or_stem_even_with_a_spreadsheets_mark(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_text("image,class\nbenign/1.png,a\n2.png,b\n3,c\n4.png,d\n", encoding="utf-8-sig")
    found, notes = read(str(table), NAMES, option="--classes", columns=("class", "label"))
    assert found == {NAMES[0]: "a", NAMES[1]: "b", NAMES[2]: "c"}
    assert notes == ["classes.csv names 1 image not in the folder, or excluded: 4.png"]


def test_a_table_as_excel_saves_it_has_its_delimiter_on_top_and_empty_rows_below(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_bytes("SEP=;\r\nimage;class;\r\n1;a, b;\r\n2;c;\r\n;;\r\n; ;\r\n".encode("utf-8-sig"))
    found, notes = read(str(table), NAMES, option="--classes", columns=("class", "label"))
    assert found == {NAMES[0]: "a, b", NAMES[1]: "c"}
    assert notes == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,class\n9.png,a\n", "lacks a column image, and no column of it names an image"),
        ("image,kind\n1.png,a\n", "lacks a column class or label"),
        ("image,class\n1.png,a\n1,b\n", "says two things of 1"),
        ("image,class\n9.png,a\n", "says nothing of any image"),
        ("image,class\n", "says nothing of any image"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "c.csv").write_text(content, encoding="utf-8")
    with pytest.raises(HtunetError, match=message):
        tags(tmp_path / "c.csv")


@pytest.mark.parametrize(("rule", "message"), [("(", "nor a regular expression"), ("xyz", "says nothing of any image")])
def test_a_pattern_that_cannot_be_meant_is_refused(rule: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tags(rule)


def test_composed_and_decomposed_names_are_the_same_name(tmp_path: Path) -> None:
    composed, decomposed = "Müller_00", "Mu\u0308ller_00"
    assert composed != decomposed
    table = tmp_path / "groups.csv"
    table.write_text(f"image,group\n{composed},p1\n", encoding="utf-8")
    tags, notes = read(str(table), [f"{decomposed}.png"], option="--groups", columns=("group",))
    assert (tags, notes) == ({f"{decomposed}.png": "p1"}, [])


SIX = [f"case_{number:03d}.png" for number in range(6)]


SPELLINGS = [
    "images\\case_{}.png",
    "C:\\data\\images\\case_{}.png",
    "/data/x/case_{}.png",
    "case_{}.PNG",
    "CASE_{}.png",
    "case_{}.jpg",
    "case_{}",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_table_may_spell_images_as_another_machine_does(tmp_path: Path, spelling: str) -> None:
    table = tmp_path / "groups.csv"
    rows = [f"{spelling.format(f'{number:03d}')},p{number // 2}" for number in range(6)]
    table.write_text("Image,Group\n" + "\n".join(rows) + "\n", encoding="utf-8")
    tags, notes = read(str(table), SIX, option="--groups", columns=("group",))
    assert tags == {name: f"p{number // 2}" for number, name in enumerate(SIX)}
    assert notes == []


def test_two_images_that_differ_in_letter_case_alone_are_not_mixed_up(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("image,group\na.png,small\nA.png,large\n", encoding="utf-8")
    tags, _ = read(str(table), ["a.png", "A.png"], option="--groups", columns=("group",))
    assert tags == {"a.png": "small", "A.png": "large"}


WORDS = ["nan", "NaN", "NA", "N/A", "#N/A", "None", "NULL", "null", "<NA>", "-", "?", "unknown"]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_nothing_known_is_an_empty_cell(tmp_path: Path, word: str) -> None:
    """A group column exported with ``nan`` made one patient of all unknown ones."""
    table = tmp_path / "groups.csv"
    table.write_text(f"image,group\ncase_000.png,p1\ncase_001.png,{word}\ncase_002.png,{word}\n", encoding="utf-8")
    tags, notes = read(str(table), SIX, option="--groups", columns=("group",))
    assert tags == {"case_000.png": "p1"}
    assert notes == ["groups.csv has 2 values such as nan or NA: nothing is known there"]


def test_a_table_names_cases_of_nnunet_by_their_ids(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("image,group\np1,a\np2_0000,b\nx,c\n", encoding="utf-8")
    names = ["imagesTr/p1_0000.nii.gz", "imagesTr/p2_0000.nii.gz", "x.png", "x_0000.png"]
    found, _ = read(str(table), names, option="--groups", columns=("group",))
    assert found == {names[0]: "a", names[1]: "b", "x.png": "c"}


def test_a_class_may_be_called_none(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_text("image,class\ncase_000.png,none\ncase_001.png,cyst\n", encoding="utf-8")
    tags, _ = read(str(table), SIX, option="--classes", columns=("class",))
    assert tags == {"case_000.png": "none", "case_001.png": "cyst"}


def test_numbers_with_a_fraction_of_nought_are_the_same_and_letter_case_is_said(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    values = ["1", "1.0", "2.0", "Benign", "benign", "3.5"]
    table.write_text("image,group\n" + "".join(f"{a},{b}\n" for a, b in zip(SIX, values, strict=True)))
    found, notes = read(str(table), SIX, option="--groups", columns=("group",))
    assert [*found.values()] == ["1", "1", "2.0", "Benign", "benign", "3.5"]
    assert notes == ["values of --groups that differ in letter case alone count as different: Benign, benign"]


def test_a_group_of_a_fifth_of_the_images_is_named(tmp_path: Path) -> None:
    names = [f"{number:02d}.png" for number in range(20)]
    table = tmp_path / "groups.csv"
    groups = ["clinic"] * 5 + [f"p{number}" for number in range(15)]
    table.write_text("image,group\n" + "".join(f"{name},{group}\n" for name, group in zip(names, groups, strict=True)))
    _, notes = read(str(table), names, option="--groups", columns=("group",))
    assert notes == ["the group 'clinic' has 5 of 20 images: check that it is one patient"]


def test_a_table_of_other_images_shows_both_spellings(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("image,group\n1,p0\n2,p1\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"of any image \(such as 1, 2\); they are named as case_000\.png"):
        read_tags(str(table), SIX, option="--groups", columns=("group",))


COLUMNS = ("group", "patient")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_column_of_a_table_that_a_spreadsheet_saved(tmp_path: Path, delimiter: str, encoding: str) -> None:
    table = tmp_path / "t.csv"
    rows = [["Nr", "File name", "Patient: code"], *([f"{n}", f"us/case_{n:03d}.PNG", f"p{n // 2}"] for n in range(6))]
    table.write_text("\n".join(delimiter.join(row) for row in rows) + "\n", encoding=encoding)
    expected = {name: f"p{number // 2}" for number, name in enumerate(SIX)}
    for rule in (f"{table}:Patient: code", f"{table}:file name:patient: code"):
        assert read(rule, SIX, option="--groups", columns=COLUMNS)[0] == expected
    _, notes = read(f"{table}:Patient: code", SIX, option="--groups", columns=COLUMNS)
    assert notes == ["t.csv names images in its column 'file name', and 'patient: code' is taken"]
    with pytest.raises(
        HtunetError, match=r"lacks a column group or patient; it has \['nr', 'file name', .*t\.csv:COLUMN"
    ):
        read_tags(str(table), SIX, option="--groups", columns=COLUMNS)


def test_the_column_of_the_images_is_the_one_that_names_each_once(tmp_path: Path) -> None:
    """A patient's number may read as the name of an image; a column in which it comes twice is no key."""
    table = tmp_path / "t.csv"
    table.write_text("patient,scan\n1,2.png\n1,1.png\n2,3.png\n", encoding="utf-8")
    found, _ = read(str(table), ["1.png", "2.png", "3.png"], option="--groups", columns=COLUMNS)
    assert found == {"2.png": "1", "1.png": "1", "3.png": "2"}
    table.write_text("patient,scan\n1,x\n1,y\n", encoding="utf-8")
    with pytest.raises(HtunetError, match=r"no column of it names an image .*scan: 'x'; images are named as 1\.png"):
        read_tags(str(table), ["1.png"], option="--groups", columns=COLUMNS)
    with pytest.raises(HtunetError, match="lacks a column file;"):
        read_rows(f"{table}:file:patient", ["1.png"], "--groups", COLUMNS)


def test_the_colon_of_a_drive_is_not_that_of_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "C:\\data\\t.csv"
    Path(name).write_text("image,group,kind\ncase_000.png,p1,a\n", encoding="utf-8")
    assert split_rule(name) == (Path(name), "")
    assert read(name, SIX, option="--groups", columns=COLUMNS)[0] == {"case_000.png": "p1"}
    assert read(f"{name}:kind", SIX, option="--groups", columns=COLUMNS)[0] == {"case_000.png": "a"}
    assert read(f"{name}:image:kind", SIX, option="--groups", columns=COLUMNS)[0] == {"case_000.png": "a"}
    assert split_rule("D:\\absent.csv:kind") == (Path("D:\\absent.csv"), "kind")
    assert split_rule("(?:benign|malignant)") is None
    with pytest.raises(HtunetError, match=r"absent\.csv is missing"):
        read_tags("D:\\absent.csv:kind", SIX, option="--groups", columns=COLUMNS)


def test_a_pattern_that_would_be_searched_for_ever_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SEARCH_SECONDS", 0.2)
    with pytest.raises(UsageError, match=r"is not found within 0\.2 seconds\. Repeat less"):
        read_tags("(a|a)*$", ["a" * 60 + "b.png"] * 3, option="--groups", columns=COLUMNS)


def grouped(folder: Path, *values: str, header: str = "image,group", names: list[str] | None = None) -> Tags:
    """What a table of the rows ``values`` says of the images 001.png, 002.png, ..."""
    table = folder / "g.csv"
    table.write_text("\n".join([header, *values]), encoding="utf-8")
    names = names or [f"{number:03d}.png" for number in range(1, len(values) + 1)]
    return read_tags(str(table), names, option="--groups", columns=("group",))


@pytest.mark.parametrize("spelled", ["{}", "{}.0", "{}.png", "0{}", "C:\\scans\\{}.jpg"])
def test_a_number_is_the_image_whose_zeros_a_spreadsheet_has_removed(tmp_path: Path, spelled: str) -> None:
    found = grouped(tmp_path, *(f"{spelled.format(number)},p{number}" for number in (2, 1, 3)))
    assert found.of == {"002.png": "p2", "001.png": "p1", "003.png": "p3"}


def test_a_number_that_two_images_have_is_none_of_them(tmp_path: Path) -> None:
    found = grouped(tmp_path, "7,a", "07,b", "007,c", "0007,d", names=["7.png", "007.png"])
    assert found.of == {"7.png": "a", "007.png": "c"}
    assert found.notes == ["g.csv names 2 images not in the folder, or excluded: 07, 0007"]


def test_a_column_of_names_wins_over_the_numbers_of_the_rows(tmp_path: Path) -> None:
    found = grouped(tmp_path, "1,002.png,a", "2,001.png,b", "3,003.png,c", header="nr,file,group")
    assert found.of == {"002.png": "a", "001.png": "b", "003.png": "c"}


@pytest.mark.parametrize("header", ["image,Group,group", "image,group, group ", "Image,image,group"])
def test_a_column_that_is_there_twice_in_any_letter_case_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(HtunetError, match="twice, whatever the letter case"):
        grouped(tmp_path, "001,a,b", header=header)


def test_values_are_compared_as_they_are_read(tmp_path: Path) -> None:
    found = grouped(tmp_path, "001,Mu\u0308ller", "002,M\u00fcller\u00a0", "003,Klein")
    assert {*found.of.values()} == {"M\u00fcller", "Klein"}
    assert {*grouped(tmp_path, "001,0.0", "002,1.0", "003,N.A.").of.values()} == {"0", "1"}
    assert {*grouped(tmp_path, "001,1.0", "002,1.5").of.values()} == {"1.0", "1.5"}
    zeros = grouped(tmp_path, "001,007", "002,7", "003,0", "004,.")
    assert zeros.notes[-1] == "values of --groups that differ in leading zeros alone count as different: 007, 7"


@pytest.mark.parametrize(
    "missing",
    [
        ".",
        "--",
        "N.A.",
        "n.a.",
        "na",
        "Null",
        "missing",
        "#REF!",
        "#NV",
        "#WERT!",
        "#NOM?",
        "#¡VALOR!",
        "<undefined>",
        "\\N",
        "(null)",
        "[NULL]",
        "(blank)",
        "k.A.",
        "Err:502",
    ],
)
def test_what_other_programs_write_for_nothing_is_nothing(tmp_path: Path, missing: str) -> None:
    assert grouped(tmp_path, "001,a", f"002,{missing}").of == {"001.png": "a"}


def test_blanks_and_empty_cells_behind_a_delimiter_say_nothing(tmp_path: Path) -> None:
    assert grouped(tmp_path, '"001", "a, b"', header='"image", "group"').of == {"001.png": "a, b"}
    assert grouped(tmp_path, "001,a,, ", "002,b").of == {"001.png": "a", "002.png": "b"}
    with pytest.raises(HtunetError, match=r"row 1 .* as the header \(image, group\).*row\.names = FALSE"):
        grouped(tmp_path, '"1","001","a"')


def test_a_table_may_have_bars_and_no_zero_bytes(tmp_path: Path) -> None:
    assert grouped(tmp_path, "001|a, b", header="image|group").of == {"001.png": "a, b"}
    (tmp_path / "u.csv").write_bytes("image,group\n001,a\n".encode("utf-16-le"))
    with pytest.raises(HtunetError, match="zero bytes, as UTF-16 has"):
        read_tags(str(tmp_path / "u.csv"), ["001.png"], option="--groups", columns=("group",))


@pytest.mark.parametrize(
    ("text", "spacing"),
    [
        *(("0,1 0,2", (0.1, 0.2)), ("0,1;0,2", (0.1, 0.2)), ("0,12 mm", 0.12), ("0.1mm x 0.2 mm", (0.1, 0.2))),
        *(("1,5e-1", 0.15), (",08", 0.08), ("1,5E-01 ,2", (0.15, 0.2))),
    ],
)
def test_pixel_sizes_with_decimal_commas_and_a_unit(text: str, spacing: object) -> None:
    assert read_spacing(text, ["a.png"])[0] == {"a.png": spacing}


@pytest.mark.parametrize(("text", "warns"), [("1.2e-4", True), ("254", True), ("1.234,5", True), ("0.01", False)])
def test_pixel_sizes_that_are_no_millimetres_are_doubted(text: str, warns: bool) -> None:
    assert (
        any("check that these are millimetres: 1 image, a.png" in note for note in read_spacing(text, ["a.png"])[1])
        == warns
    )


@pytest.mark.parametrize("text", ["1_0", "1/10", "0.1 cm", "0,1,0,2"])
def test_other_texts_are_no_pixel_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="--spacing is the side of a pixel in millimetres"):
        read_spacing(text, ["a.png"])


def test_a_pattern_and_a_folder_may_differ_in_the_form_of_their_letters() -> None:
    names = [unicodedata.normalize("NFD", f"bösartig/{number}.png") for number in range(2)]
    tags = read_tags("(gutartig|bösartig)", names, option="--classes", columns=("class",))
    assert tags.of == dict.fromkeys(names, "bösartig")


def test_the_column_of_pixel_sizes_may_have_spaces_and_its_unit(tmp_path: Path) -> None:
    (tmp_path / "sizes.csv").write_text(
        "filename,Pixel size (mm),circumference (mm)\na.png,0.07,44\n", encoding="utf-8"
    )
    assert read_spacing(str(tmp_path / "sizes.csv"), ["a.png"])[0] == {"a.png": 0.07}


def test_a_table_may_name_the_folders_of_patients(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("patient,class\np1,benign\np2,malignant\np9,benign\n", encoding="utf-8")
    names = ["p1/a.png", "p1/b.png", "p2/late/a.png", "p3/a.png"]
    tags = read_tags(f"{tmp_path}/t.csv:patient:class", names, option="--classes", columns=("class",))
    assert tags.of == {"p1/a.png": "benign", "p1/b.png": "benign", "p2/late/a.png": "malignant"}
    assert tags.notes == [
        "t.csv names folders of images, such as p1",
        "t.csv names 1 image not in the folder, or excluded: p9",
    ]
    with pytest.raises(UsageError, match="says nothing of any image"):
        read_tags(f"{tmp_path}/t.csv:patient:class", ["a.png"], option="--classes", columns=("class",))


def test_a_path_with_several_of_the_words_is_named() -> None:
    names = ["benign_vs_malignant/malignant/1.png", "malignant/2.png", "benign/benign (1).png"]
    tags = read_tags("(benign|malignant)", names, option="--classes", columns=("class",))
    assert [*tags.of.values()] == ["benign", "malignant", "benign"]
    assert tags.notes == [
        "--classes finds several of its words in 1 path, and the first is taken: "
        "benign_vs_malignant/malignant/1.png is benign"
    ]
    assert read_tags(r"\d+", ["p1_2.png"], option="--groups", columns=("group",)).notes == []
    assert read_tags(".*", ["x.png"], option="--classes", columns=("class",)).notes == []


def test_values_of_a_pattern_are_compared_as_those_of_a_table() -> None:
    tags = read_tags("^([^_]+)_", ["P1_a.png", "P01_b.png", "p2 _c.png"], option="--groups", columns=("group",))
    assert tags.of == {"P1_a.png": "P1", "P01_b.png": "P01", "p2 _c.png": "p2"}
    assert tags.notes == ["values of --groups that differ in leading zeros alone count as different: P01, P1"]


def test_images_without_a_pixel_size_are_named(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("image,spacing_mm\na,0.1\nb,\n", encoding="utf-8")
    found, notes = read_spacing(str(tmp_path / "s.csv"), ["a.png", "b.png", "c.png"])
    assert found == {"a.png": 0.1}
    assert any(note.endswith("s.csv: 2 images, b.png, c.png") and "without a pixel size" in note for note in notes)


def test_a_column_without_a_name_is_never_taken_for_the_values(tmp_path: Path) -> None:
    with pytest.raises(HtunetError, match="lacks a column group"):
        grouped(tmp_path, "0,001.png,a", header=",image,doctor")


def test_an_image_that_lies_in_several_folders_is_not_called_absent(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,patient\np1/1.png,A\n1.PNG,B\n9.png,C\n")
    names = ["p1/1.png", "p2/1.png"]
    tags = read_tags(str(tmp_path / "t.csv"), names, option="--groups", columns=("patient",))
    assert tags.of == {"p1/1.png": "A"}
    assert tags.notes == [
        "t.csv names 1 image by a name that several folders have: 1.PNG; write the folder before it",
        "t.csv names 1 image not in the folder, or excluded: 9.png",
    ]


@pytest.mark.parametrize("value", ["#7", "#A", "#1!", "a!"])
def test_a_sign_in_a_value_is_no_error_of_a_cell(tmp_path: Path, value: str) -> None:
    assert grouped(tmp_path, f"001,{value}").of == {"001.png": value}


@pytest.mark.parametrize("header", [",file,group", "Unnamed: 0,file,group", "index,file,group"])
def test_the_numbers_of_the_rows_name_no_image(tmp_path: Path, header: str) -> None:
    """They begin with 0, the files with 001: each image would get the value of another one."""
    with pytest.raises(HtunetError, match="no column of it names an image of its own in each row"):
        grouped(tmp_path, "0,scan a,x", "1,scan b,y", "2,scan c,z", header=header)
    assert grouped(tmp_path, "0,001.png,x", "1,002.png,y", header=header).of == {"001.png": "x", "002.png": "y"}


@pytest.mark.parametrize(
    "value",
    ["2.02401E+13", "1,00E+15", "02-Jan", "01. Feb", "2-Mrz", "03-mars", "05-août", "Dez 12", "1-déc.", "14-ott"],
)
def test_what_a_spreadsheet_makes_of_ids_is_named(tmp_path: Path, value: str) -> None:
    """Excel shows 20240101123456 and 20240101987654 alike, and saves what it shows; of 1-2 it makes a date."""
    found = grouped(tmp_path, f"001;{value}", f"002;{value}", "003;p1", header="image;group")
    assert found.of["001.png"] == found.of["002.png"] == value
    assert [note for note in found.notes if "spreadsheet" in note] == [
        f"g.csv has texts that a spreadsheet seems to have made of others, {value}: different ones "
        "may have become the same. Format the column as text and enter them again"
    ]


@pytest.mark.parametrize("value", ["1e5", "E+1", "2024-01-02", "12-left", "1-mass", "Bus-01", "mar", "12", "1.2.2024"])
def test_ordinary_ids_are_not_named(tmp_path: Path, value: str) -> None:
    assert grouped(tmp_path, f"001;{value}", "002;b", header="image;group").notes == []


def test_a_row_of_an_image_in_another_folder_gives_its_value_to_none(tmp_path: Path) -> None:
    """``benign/2.png`` has no mask and was left out; its row was taken for ``malignant/2.png``."""
    rows = "image,class\nbenign/1.png,a\nbenign/2.png,b\nmalignant/2.png,c\nmalignant/3.png,d\n"
    (tmp_path / "t.csv").write_text(rows, encoding="utf-8")
    found = read_tags(str(tmp_path / "t.csv"), NAMES, option="--classes", columns=("class",))
    assert found.of == dict(zip(NAMES, "acd", strict=True))
    assert found.notes == ["t.csv names 1 image not in the folder, or excluded: benign/2.png"]
