"""Which mask belongs to which image, by names alone."""

from pathlib import Path

import pytest

from dataset_conversion.own_images.matching import match_files
from htunet.data.mask_names import is_marked, match_masks
from htunet.errors import HtunetError


@pytest.mark.parametrize(
    "mask",
    [
        *("a/x 1.png", "a/x 1_mask.png", "a/x 1-mask.bmp", "a/x 1_seg.png", "a/x 1_gt.tif", "a/x 1_Mask_2.png"),
        *("a/mask_x 1.png", "x 1.png", "x 1.seg.nrrd", "b/gt-X 1.nii.gz", "a/x 1_label.png"),
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


def test_a_mask_of_another_class_is_not_taken_because_its_name_is_unique() -> None:
    found = match_masks(["benign/1.png", "malignant/2.png"], ["malignant/1_mask.png", "elsewhere/2_mask.png"])
    assert found.masks_of == {"benign/1.png": (), "malignant/2.png": ("elsewhere/2_mask.png",)}
    assert found.unmatched == {"malignant/1_mask.png": "a mask without an image"}


@pytest.mark.parametrize("word", ["", "_mask", "_tumor"])
def test_a_mask_of_another_folder_is_not_taken_where_others_lie_in_their_own(word: str) -> None:
    """A/003 has no mask; B/003 is the mask of an image that is missing. One in no folder contradicts nothing."""
    images, own = ["A/001.png", "A/002.png", "A/003.png"], [f"a/001{word}.png", f"A/002{word}.png"]
    found = match_files(images, [*own, f"B/003{word}.png"])
    assert found.masks_of == {"A/001.png": (own[0],), "A/002.png": (own[1],), "A/003.png": ()}
    assert found.unmatched == {f"B/003{word}.png": "a mask of another folder than the image of its name, A/003.png"}
    for other in (f"003{word}.png", f"A/lesion/003{word}.png"):
        assert match_files(images, [*own, other]).masks_of["A/003.png"] == (other,)


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


@pytest.mark.parametrize("masks", [["x.jpg", "x.png"], ["x.jpg.png", "x.png.png"], ["x.jpg.png", "x.png"]])
def test_images_that_differ_in_the_ending_alone_have_masks_of_their_whole_names(masks: list[str]) -> None:
    found = match_masks(["a/x.jpg", "a/x.png", "b.jpg"], [f"a/{mask}" for mask in masks] + ["b.png"])
    assert found.masks_of == {"a/x.jpg": (f"a/{masks[0]}",), "a/x.png": (f"a/{masks[1]}",), "b.jpg": ("b.png",)}


def test_one_mask_of_two_images_that_differ_in_the_ending_stays_in_doubt() -> None:
    found = match_masks(["x.jpg", "x.png"], ["x.png"])
    assert not any(found.masks_of.values())
    assert "fits several images" in found.unmatched["x.png"]


@pytest.mark.parametrize(("name", "marked"), [("x_mask.png", True), ("gt-x.png", True), ("unmasked.png", False)])
def test_a_name_says_whether_it_is_a_mask(name: str, marked: bool) -> None:
    assert is_marked(name) is marked


def test_dicom_files_named_by_their_identifier_have_no_ending() -> None:
    images = ["1.2.840.3.9", "1.2.840.3.10"]
    found = match_masks(images, [f"{name}.png" for name in images])
    assert found.masks_of == {name: (f"{name}.png",) for name in images}


def test_composed_and_decomposed_names_are_the_same_name() -> None:
    composed, decomposed = "Müller_00", "Mu\u0308ller_00"
    assert composed != decomposed
    found = match_masks([f"{decomposed}.png"], [f"{composed}_mask.png"])
    assert found.masks_of == {f"{decomposed}.png": (f"{composed}_mask.png",)}


def numbered(pattern: str, numbers: range = range(1, 12)) -> list[str]:
    return [pattern.format(number) for number in numbers]


RULES = [  # as BUS-BRA, STU, BrEaST, BUSI-like sets and others have them
    ("bus_{:04d}-l.png", "mask_{:04d}-l.png"),
    ("Test_Image_{}.png", "mask_{}.png"),
    ("case{:03d}.png", "case{:03d}_tumor.png"),
    ("case{:03d}.png", "case{:03d}-lesion.bmp"),
    ("{}.png", "nodule {}.png"),
    ("IMG{:03d}.jpg", "IMG{:03d}m.png"),
    ("benign ({}).png", "benign ({})_mask.png"),
    ("{}.png", "{}-label.png"),
    ("us_{}.png", "us_{}_seg.png"),
    ("US image no. {}, left.png", "outline of {}.png"),
    ("scan_{}.png", "roi_{:03d}.png"),
    ("a_{}/us.png", "a_{}/us_tumour.png"),
]


@pytest.mark.parametrize(("image", "mask"), RULES)
def test_masks_are_found_by_the_rule_that_the_names_follow(image: str, mask: str) -> None:
    """From 1 to 11 in the order of texts (1, 10, 11, 2): 1 must never get 10."""
    images, masks = sorted(numbered(image)), sorted(numbered(mask))
    expected = {name: (mask_name,) for name, mask_name in zip(numbered(image), numbered(mask), strict=True)}
    found = match_files(images, masks)
    assert (found.masks_of, found.unmatched) == (expected, {})
    assert match_files(sorted([*images, *masks]), None).masks_of == expected or "label" not in mask
    if image.startswith("bus_"):
        assert "bus_{id}-l with mask_{id}-l, 11 of 11 images" in found.note
    if "mask" not in mask and "seg" not in mask and "label" not in mask:
        assert "inferred from the names" in found.note
        assert f"11 of 11 images ({images[0]} with {expected[images[0]][0]}" in found.note


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{c}/images/{n}.png", "{c}/masks/{n}.png"),
        ("{c}/image/{n}.png", "{c}/GT/{n}.png"),
        ("{c}-image/{n}.jpg", "{c}-mask/{n}.jpg"),
        ("images/{c}/{n}.png", "labels/{c}/{n}.png"),
        ("{c}/original/{n}.png", "{c}/masks/{n}_mask.png"),
        ("{c}/{n}.png", "{c}/masks/{n}.png"),
        ("{c}/{n}/image.png", "{c}/{n}/mask.png"),
        ("{c}/{n}/img.nii.gz", "{c}/{n}/seg.nii.gz"),
    ],
)
def test_folders_and_whole_names_distinguish_images_from_masks_in_one_tree(image: str, mask: str) -> None:
    keys = [{"c": kind, "n": number} for kind in ("benign", "malignant") for number in ("1", "2", "10")]
    expected = {image.format(**key): (mask.format(**key),) for key in keys}
    names = sorted([*expected, *(mask for (mask,) in expected.values())])
    matched = match_files(names, None)
    assert matched.masks_of == expected
    assert not matched.unmatched
    (lost, masks), *others = expected.items()
    without_image, without_mask = (match_files([name for name in names if name != one], None) for one in (lost, *masks))
    assert {name: found for name, found in without_image.masks_of.items() if found} == dict(others)
    assert without_image.unmatched == {masks[0]: "a mask without an image"}
    assert without_mask.masks_of == {**expected, lost: ()}


def test_names_that_are_all_those_of_masks_are_told_apart_by_their_folders() -> None:
    matched = match_files(["images/seg_1.png", "images/seg_2.png", "masks/seg_1.png", "masks/seg_2.png"], None)
    assert matched.masks_of == {f"images/seg_{n}.png": (f"masks/seg_{n}.png",) for n in (1, 2)}


def test_numbered_masks_of_one_image_in_its_folder_are_its_masks() -> None:
    names = ["p0/image.png", "p0/mask_1.png", "p0/mask_2.png", "p1/image.png", "p1/mask.png", "p2/mask_1.png"]
    matched = match_files(names, None)
    assert matched.masks_of == {"p0/image.png": ("p0/mask_1.png", "p0/mask_2.png"), "p1/image.png": ("p1/mask.png",)}
    assert matched.unmatched == {"p2/mask_1.png": "a mask without an image"}
    assert match_files(["case.png", "mask_case_2.png", "case_3.png", "mask_case_3.png"], None).masks_of == {
        "case.png": (),
        "case_3.png": ("mask_case_3.png",),
    }


def test_added_words_are_found_in_one_folder_too() -> None:
    names = ["case1.png", "case1_tumor.png", "case10.png", "case10_tumor.png", "case2.png", "case2_other1.png"]
    found = match_files([*names, "case2_tumor.png", "case3.png"], None)
    assert found.masks_of == {
        "case1.png": ("case1_tumor.png",),
        "case10.png": ("case10_tumor.png",),
        "case2.png": ("case2_tumor.png",),
        "case2_other1.png": (),
        "case3.png": (),
    }


def test_several_masks_of_an_image_are_numbered_under_an_inferred_rule_too() -> None:
    found = match_files(["a.png", "b.png"], ["a_lesion1.png", "a_lesion2.png", "b_lesion1.png", "b_vessel.png"])
    assert found.masks_of == {"a.png": ("a_lesion1.png", "a_lesion2.png"), "b.png": ("b_lesion1.png",)}
    assert found.unmatched == {"b_vessel.png": "a mask without an image"}


def test_a_second_mask_is_not_taken_for_that_of_the_next_image() -> None:
    """``x_mask_1`` may be the second mask of ``x`` or the mask of ``x_1``."""
    found = match_files(["x.png", "x_1.png"], ["x_mask.png", "x_mask_1.png"])
    assert found.masks_of == {"x.png": ("x_mask.png",), "x_1.png": ()}
    assert found.unmatched == {"x_mask_1.png": "a mask whose name fits several images: x.png, x_1.png"}


@pytest.mark.parametrize(
    ("images", "masks", "why"),
    [
        (numbered("img_{}.png"), numbered("mask_{}.png", range(11)), "images are numbered from 1, masks from 0"),
        (numbered("{}.png"), numbered("{}.png", range(11)), "images are numbered from 1, masks from 0"),
        (["a.png", "b.png"], ["a_x.png", "b_x.png", "a_y.png", "b_y.png"], "fit in 2 ways"),
        (["p_1_2.png", "p_2_1.png"], ["1_q_2.png", "2_q_1.png"], "No mask"),
    ],
)
def test_what_is_not_certain_is_refused_with_names_of_both_sides(images: list[str], masks: list[str], why: str) -> None:
    if why == "No mask":
        assert not any(match_files(images, masks).masks_of.values())
        return
    with pytest.raises(HtunetError, match=why) as caught:
        match_files(images, masks)
    assert images[0] in str(caught.value)
    assert masks[0] in str(caught.value)
    assert "--pairs CSV" in str(caught.value)


def test_one_side_alone_is_never_stretched_over_the_other() -> None:
    """Exchanged words need all images and all masks: with one missing, a shift could not be told."""
    assert not any(match_files(numbered("bus_{}.png"), numbered("roi_{}.png", range(1, 11))).masks_of.values())


def test_patterns_say_which_belong_together() -> None:
    images, masks = ["p7_v1_us.png", "p7_v2_us.png", "odd.png"], ["M-7-v1.png", "M-7-v2-b.png", "M-7-v2-a.png", "M.png"]
    found = match_files(images, masks, ["p{patient}_v{view}_us", "M-{patient}-v{view}*"])
    assert found.masks_of == {"p7_v1_us.png": (), "p7_v2_us.png": ("M-7-v2-a.png", "M-7-v2-b.png")}
    assert found.unmatched == dict.fromkeys(
        ("M-7-v1.png", "M.png", "odd.png"), "a name that fits no pattern of --pairs"
    )
    together = match_files(["a1.png", "a1_roi.png", "a2.png", "a2_roi.png"], None, ["a{id}", "a{id}_roi.png"])
    assert together.masks_of == {"a1.png": ("a1_roi.png",), "a2.png": ("a2_roi.png",)}
    folders = match_files(["x/1.png", "y/1.png"], ["x-1.png", "y-1.png"], ["{place}/{id}", "{place}-{id}"])
    assert folders.masks_of == {"x/1.png": ("x-1.png",), "y/1.png": ("y-1.png",)}


def test_a_pattern_takes_no_longer_for_a_name_that_was_made_for_it() -> None:
    name = "a" * 250 + "b.png"
    assert match_files([name], [name], ["{a}a{b}a{c}a{d}a{e}c{f}", "{a}{b}"]).masks_of == {}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["{id}", "mask"], "no placeholder in common"),
        (
            ["{kind}_*", "{kind}_*"],
            r"does not tell the images a_1.png and a_2.png apart \(masks are named as a_1_m.png",
        ),
    ],
)
def test_patterns_that_cannot_be_meant_are_refused(pairs: list[str], message: str) -> None:
    with pytest.raises(HtunetError, match=message):
        match_files(["a_1.png", "a_2.png"], ["a_1_m.png", "a_2_m.png"], pairs)


def test_a_table_says_which_belong_together(tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(
        "Image;Mask\nC:\\us\\one.PNG;C:\\m\\x.png\none;z.png\ntwo.png;y\nthree.png;none.png\n", encoding="utf-8"
    )
    found = match_files(["one.png", "two.png", "three.png"], ["x.png", "y.png", "z.png"], [str(table)])
    assert found.masks_of == {"one.png": ("x.png", "z.png"), "two.png": ("y.png",), "three.png": ()}
    assert "1 row of" in found.note
    assert "three.png with none.png" in found.note
    table.write_text("us,roi\none.png,x.png\ntwo.png,x.png\n", encoding="utf-8")
    with pytest.raises(HtunetError, match=r"gives the mask x.png to one.png and to two.png"):
        match_files(["one.png", "two.png"], ["x.png"], [f"{table}:us:roi"])
    table.write_text("image,mask\n1.png,2.png\n", encoding="utf-8")
    with pytest.raises(
        HtunetError, match=r"names no pair of files: it has 1.png with 2.png; images are named as one.png"
    ):
        match_files(["one.png", "two.png"], ["x.png"], [str(table)])


def test_masks_of_frames_belong_to_the_file_whose_frames_they_number() -> None:
    images = ["cine.dcm", "a/p.tif", "q.gif", "q.jpg", "x__0001.png", "x.tif"]
    masks = [
        *("cine__0001.png", "cine__0003_mask.png", "a/p__0001.png", "q.gif__0001.png", "q.jpg.png"),
        *("x__0001.png", "x.tif__0001.png", "lonely__0001.png"),
    ]
    found = match_masks(images, masks)
    assert found.masks_of == {
        "cine.dcm": ("cine__0001.png", "cine__0003_mask.png"),
        "a/p.tif": ("a/p__0001.png",),
        "q.gif": ("q.gif__0001.png",),
        "q.jpg": ("q.jpg.png",),
        "x__0001.png": ("x__0001.png",),
        "x.tif": ("x.tif__0001.png",),
    }
    assert found.unmatched == {"lonely__0001.png": "a mask without an image"}


def test_files_that_number_the_frames_of_a_file_beside_them_are_its_masks() -> None:
    found = match_files(["a/cine.tif", "a/cine__0001.png", "a/cine__0002.png", "b/cine__0001.png"], None)
    assert found.masks_of == {"a/cine.tif": ("a/cine__0001.png", "a/cine__0002.png"), "b/cine__0001.png": ()}
    assert "masks by their frame numbers: a/cine__0001.png, a/cine__0002.png; if these are images" in found.note
    with_words = match_files(["cine.dcm", "cine.dcm__0001.png", "x.png", "x_mask.png"], None)
    assert with_words.masks_of == {"cine.dcm": ("cine.dcm__0001.png",), "x.png": ("x_mask.png",)}


def test_images_with_numbers_as_frames_have_and_with_masks_of_their_own_are_images() -> None:
    words = match_files(["x.png", "x__1.png", "x_mask.png", "x__1_mask.png"], None)
    assert words.masks_of == {"x.png": ("x_mask.png",), "x__1.png": ("x__1_mask.png",)}
    rule = match_files(["x.png", "x__1.png", "x_roi.png", "x__1_roi.png"], None)
    assert rule.masks_of == {"x.png": ("x_roi.png",), "x__1.png": ("x__1_roi.png",)}


def test_numbers_that_one_side_fills_with_zeros_are_equal_although_some_names_are_the_same() -> None:
    images, masks = [f"{number}.png" for number in range(8, 12)], [f"{number:02d}.png" for number in range(8, 12)]
    assert [*match_files(images, masks).masks_of.values()] == [(mask,) for mask in masks]
    named = (
        [f"us_{number}.png" for number in range(98, 102)],
        [f"us_{number:03d}_mask.png" for number in range(98, 102)],
    )
    assert [*match_files(*named).masks_of.values()] == [(mask,) for mask in named[1]]


def test_names_with_and_without_zeros_that_are_both_there_stay_apart() -> None:
    found = match_files(["1.png", "01.png", "2.png"], ["1.png", "01.png", "002.png"])
    assert found.masks_of == {"1.png": ("1.png",), "01.png": ("01.png",), "2.png": ("002.png",)}
    uncertain = match_files(["1.png", "01.png", "2.png"], ["001.png", "2.png"])
    assert "fits several images: 1.png, 01.png" in uncertain.unmatched["001.png"]


def test_spaces_before_a_word_or_an_ending_are_no_part_of_a_name() -> None:
    assert match_files(["a .png", "b.png"], ["a _mask.png", "b_mask.png"]).masks_of["a .png"] == ("a _mask.png",)
