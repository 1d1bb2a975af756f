"""Which mask belongs to which image, by names alone."""

from pathlib import Path

import pytest

from dataset_conversion.own_images.matching import is_marked, match_masks, read_tags
from htunet.errors import HtunetError, UsageError


@pytest.mark.parametrize(
    "mask",
    [
        *("a/x 1.png", "a/x 1_mask.png", "a/x 1-mask.bmp", "a/x 1_seg.png", "a/x 1_gt.tif", "a/x 1_Mask_2.png"),
        *("a/mask_x 1.png", "x 1.png", "x 1_segmentation.png", "b/gt-X 1.nii.gz", "a/x 1_label.png"),
    ],
)
def test_a_mask_finds_its_image_by_path_by_word_and_by_folder(mask: str) -> None:
    found = match_masks(["a/x 1.jpg", "a/x 2.jpg"], [mask])
    assert found.masks_of == {"a/x 1.jpg": (mask,), "a/x 2.jpg": ()}


@pytest.mark.parametrize("image", ["x_0000.png", "img_x.png", "x_image.png", "image-x.dcm"])
def test_words_of_images_count_as_little(image: str) -> None:
    assert match_masks([image], ["x_seg.png"]).masks_of == {image: ("x_seg.png",)}


def test_the_exact_name_wins_over_a_likely_one() -> None:
    found = match_masks(["img_0000.png", "img.png"], ["img_0000.png", "img.png"])
    assert found.masks_of == {"img_0000.png": ("img_0000.png",), "img.png": ("img.png",)}


def test_the_same_name_in_two_folders_is_told_apart_by_the_folder() -> None:
    found = match_masks(["benign/1.png", "malignant/1.png"], ["malignant/1_mask.png", "benign/1.png"])
    assert found.masks_of == {"benign/1.png": ("benign/1.png",), "malignant/1.png": ("malignant/1_mask.png",)}


def test_several_masks_of_one_image_are_kept_in_their_order() -> None:
    found = match_masks(["a.png"], ["a_mask.png", "a_mask_1.png", "a_mask_2.png"])
    assert found.masks_of["a.png"] == ("a_mask.png", "a_mask_1.png", "a_mask_2.png")


def test_what_fits_several_images_or_none_is_named() -> None:
    found = match_masks(["p/1.png", "q/1.png", "z.png"], ["1_mask.png", "other.png"])
    assert found.unmatched == {
        "1_mask.png": "a mask whose name fits several images: p/1.png, q/1.png",
        "other.png": "a mask without an image",
    }
    assert not any(found.masks_of.values())


@pytest.mark.parametrize(("name", "marked"), [("x_mask.png", True), ("gt-x.png", True), ("unmasked.png", False)])
def test_a_name_says_whether_it_is_a_mask(name: str, marked: bool) -> None:
    assert is_marked(name) is marked


NAMES = ["benign/1.png", "malignant/2.png", "malignant/3.png"]


def tags(rule: object) -> dict[str, str]:
    return read_tags(str(rule), NAMES, option="--classes", columns=("class", "label"))[0]


def test_a_pattern_gives_its_group_or_its_whole_match() -> None:
    assert tags("^(benign|malignant)/") == {NAMES[0]: "benign", NAMES[1]: "malignant", NAMES[2]: "malignant"}
    assert tags(r"\d") == dict(zip(NAMES, "123", strict=True))
    assert tags("malignant") == {NAMES[1]: "malignant", NAMES[2]: "malignant"}


def test_a_table_names_images_by_path_file_or_stem_even_with_a_spreadsheets_mark(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_text("image,class\nbenign/1.png,a\n2.png,b\n3,c\n4.png,d\n", encoding="utf-8-sig")
    found, notes = read_tags(str(table), NAMES, option="--classes", columns=("class", "label"))
    assert found == {NAMES[0]: "a", NAMES[1]: "b", NAMES[2]: "c"}
    assert notes == ["classes.csv names 1 images that do not exist: 4.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,class\n1.png,a\n", "lacks a column image; it has"),
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
    assert match_masks([f"{decomposed}.png"], [f"{composed}_mask.png"]).masks_of == {
        f"{decomposed}.png": (f"{composed}_mask.png",)
    }
    table = tmp_path / "groups.csv"
    table.write_text(f"image,group\n{composed},p1\n", encoding="utf-8")
    tags, notes = read_tags(str(table), [f"{decomposed}.png"], option="--groups", columns=("group",))
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
    tags, notes = read_tags(str(table), SIX, option="--groups", columns=("group",))
    assert tags == {name: f"p{number // 2}" for number, name in enumerate(SIX)}
    assert notes == []


def test_two_images_that_differ_in_letter_case_alone_are_not_mixed_up(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("image,group\na.png,small\nA.png,large\n", encoding="utf-8")
    tags, _ = read_tags(str(table), ["a.png", "A.png"], option="--groups", columns=("group",))
    assert tags == {"a.png": "small", "A.png": "large"}


WORDS = ["nan", "NaN", "NA", "N/A", "#N/A", "None", "NULL", "null", "<NA>", "-", "?", "unknown"]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_nothing_known_is_an_empty_cell(tmp_path: Path, word: str) -> None:
    """A group column exported with ``nan`` made one patient of all unknown ones."""
    table = tmp_path / "groups.csv"
    table.write_text(f"image,group\ncase_000.png,p1\ncase_001.png,{word}\ncase_002.png,{word}\n", encoding="utf-8")
    tags, notes = read_tags(str(table), SIX, option="--groups", columns=("group",))
    assert tags == {"case_000.png": "p1"}
    assert notes == ["groups.csv has 2 values such as nan or NA, which say that nothing is known"]


def test_a_class_may_be_called_none(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_text("image,class\ncase_000.png,none\ncase_001.png,cyst\n", encoding="utf-8")
    tags, _ = read_tags(str(table), SIX, option="--classes", columns=("class",))
    assert tags == {"case_000.png": "none", "case_001.png": "cyst"}


def test_a_group_of_a_fifth_of_the_images_is_named(tmp_path: Path) -> None:
    names = [f"{number:02d}.png" for number in range(20)]
    table = tmp_path / "groups.csv"
    groups = ["clinic"] * 5 + [f"p{number}" for number in range(15)]
    table.write_text("image,group\n" + "".join(f"{name},{group}\n" for name, group in zip(names, groups, strict=True)))
    _, notes = read_tags(str(table), names, option="--groups", columns=("group",))
    assert notes == ["the group 'clinic' has 5 of 20 images: check that it is one patient"]


def test_a_table_of_other_images_shows_both_spellings(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("image,group\n1,p0\n2,p1\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"of any image \(such as 1, 2\); they are named as case_000\.png"):
        read_tags(str(table), SIX, option="--groups", columns=("group",))


def test_dicom_files_named_by_their_identifier_have_no_ending() -> None:
    images = ["1.2.840.3.9", "1.2.840.3.10"]
    found = match_masks(images, [f"{name}.png" for name in images])
    assert found.masks_of == {name: (f"{name}.png",) for name in images}
