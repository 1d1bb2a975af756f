"""Two folders of masks as people have them: read as conversions read them, or refused with the reason."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import nibabel
import numpy as np
import pytest
from builders.medical import as_segmentation, write_dicom, write_nifti
from PIL import Image

from htunet.data.formats.medical_file import NO_ORIGIN
from htunet.data.formats.stacks import TRANSPOSED
from htunet.errors import HtunetError
from htunet.evaluation.evaluate import evaluate_folders
from htunet.evaluation.mask_folders import reference_map
from htunet.evaluation.summary import ORIGINAL, Summary

TRUTH = np.zeros((20, 30), np.uint8)
TRUTH[4:12, 5:15] = 1
FOUND = np.zeros_like(TRUTH)
FOUND[4:12, 5:13] = 1
DICE = 2 * 64 / (64 + 80)
Draw = Callable[[np.ndarray], Image.Image]


def alpha(mask: np.ndarray) -> Image.Image:
    """White everywhere, the lesion opaque."""
    return Image.fromarray(np.dstack([np.full((*mask.shape, 3), 255, np.uint8), mask * 255]))


def palette(mask: np.ndarray) -> Image.Image:
    """As VOC draws labels: 1 dark red, 2 dark green."""
    image = Image.fromarray(mask, mode="P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    return image


def coloured(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[mask])


DRAWN: dict[str, Draw] = {
    "0 and 1": Image.fromarray,
    "0 and 128": lambda mask: Image.fromarray(mask * 128),
    "0 and 255": lambda mask: Image.fromarray(mask * 255),
    "0 and 3000": lambda mask: Image.fromarray(mask.astype(np.uint16) * 3000),
    "red": coloured,
    "white on white by alpha": alpha,
    "a bit": lambda mask: Image.fromarray(mask * 255).convert("1"),
    "palette": palette,
}


UNLIKE_0: dict[str, Draw] = {
    "1 and 2": lambda mask: Image.fromarray(mask + np.uint8(1)),
    "128 and 255": lambda mask: Image.fromarray(np.uint8(128) + mask * np.uint8(127)),
    "red on white": lambda mask: Image.fromarray(np.array([[255, 255, 255], [255, 0, 0]], np.uint8)[mask]),
    "black by alpha": lambda mask: Image.fromarray(np.dstack([np.zeros((*mask.shape, 3), np.uint8), mask * 255])),
}


def folder_of(path: Path, draw: Draw = Image.fromarray, masks: dict[str, np.ndarray] | None = None) -> Path:
    for name, mask in (masks or {"a": TRUTH, "b": TRUTH}).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        draw(mask).save(path / f"{name}.png")
    return path


def dice_of(summary: Summary) -> float | None:
    return summary.means(ORIGINAL)["dice"].mean


@pytest.mark.parametrize("kind", UNLIKE_0)
def test_a_background_of_another_value_than_0_is_no_label(tmp_path: Path, kind: str) -> None:
    masks = {"a": FOUND, "b": FOUND}
    references = folder_of(tmp_path / "r", UNLIKE_0[kind])
    same = evaluate_folders(folder_of(tmp_path / "p", UNLIKE_0[kind], masks), references)
    assert dice_of(same) == pytest.approx(DICE)
    assert len({one.label for one in same.scores}) == 1
    other = folder_of(tmp_path / "p255", DRAWN["0 and 255"], masks)
    assert dice_of(evaluate_folders(other, references)) == pytest.approx(DICE)


def test_files_that_are_stored_in_different_orientations_are_not_compared(tmp_path: Path) -> None:
    for name, sign in (("p", 1), ("r", -1)):
        (tmp_path / name).mkdir()
        affine = np.diag([0.1 * sign, -0.1, 1, 1])
        nibabel.save(nibabel.Nifti1Image(TRUTH.T[..., None], affine), tmp_path / name / "a.nii.gz")
    with pytest.raises(HtunetError, match="different orientations, RPS and LPS"):
        evaluate_folders(tmp_path / "p", tmp_path / "r")
    assert dice_of(evaluate_folders(tmp_path / "p", tmp_path / "p")) == 1


@pytest.mark.parametrize(("shift", "is_refused"), [(0.0, False), (0.05, False), (3.0, True)])
def test_files_of_different_places_are_not_compared(tmp_path: Path, shift: float, is_refused: bool) -> None:
    for name, origin in (("p", 5.0 + shift), ("r", 5.0)):
        (tmp_path / name).mkdir()
        affine = np.diag([-0.1, -0.1, 1, 1])
        affine[:2, 3] = origin
        nibabel.save(nibabel.Nifti1Image(TRUTH.T[..., None], affine), tmp_path / name / "a.nii.gz")
    with pytest.raises(HtunetError, match="lie in different places") if is_refused else nullcontext():
        assert dice_of(evaluate_folders(tmp_path / "p", tmp_path / "r")) == 1


def test_a_prediction_whose_header_has_the_origin_0_is_named(tmp_path: Path) -> None:
    for name, origin in (("p", 0), ("r", 5)):
        (tmp_path / name).mkdir()
        affine = np.diag([-0.1, -0.1, 1, 1])
        affine[:2, 3] = origin
        nibabel.save(nibabel.Nifti1Image(TRUTH.T[..., None], affine), tmp_path / name / "a.nii.gz")
    summary = evaluate_folders(tmp_path / "p", tmp_path / "r")
    assert dice_of(summary) == 1
    assert summary.notes == (f"{NO_ORIGIN}: 1 case: a",)


@pytest.mark.parametrize("of_reference", DRAWN)
@pytest.mark.parametrize("of_prediction", ["0 and 1", "0 and 255", "red"])
def test_one_lesion_is_one_lesion_however_it_is_drawn(tmp_path: Path, of_prediction: str, of_reference: str) -> None:
    predictions = folder_of(tmp_path / "p", DRAWN[of_prediction], {"a": FOUND, "b": FOUND})
    summary = evaluate_folders(predictions, folder_of(tmp_path / "r", DRAWN[of_reference]))
    assert dice_of(summary) == pytest.approx(DICE)
    assert {row.label for row in summary.scores} == {1}


def test_bits_and_bytes_may_be_mixed_in_a_folder(tmp_path: Path) -> None:
    references = folder_of(tmp_path / "r", DRAWN["a bit"], {"a": TRUTH})
    folder_of(references, DRAWN["0 and 255"], {"b": TRUTH})
    summary = evaluate_folders(folder_of(tmp_path / "p", masks={"a": FOUND, "b": FOUND}), references)
    assert dice_of(summary) == pytest.approx(DICE)
    assert summary.notes == ("references: values 0 and 255 read as 0 and 1",)


def test_labels_that_the_other_folder_does_not_hold_keep_their_number(tmp_path: Path) -> None:
    """Nothing but label 2 is found: it must not pass for the first label of the references."""
    references = folder_of(tmp_path / "r", masks={"a": TRUTH, "b": 2 * TRUTH})
    summary = evaluate_folders(folder_of(tmp_path / "p", masks={"a": 0 * FOUND, "b": 2 * FOUND}), references)
    assert (summary.means(ORIGINAL, 1)["dice"].mean, summary.means(ORIGINAL, 2)["dice"].mean) == (
        0, pytest.approx(DICE),
    )  # fmt: skip


@pytest.mark.parametrize("draw", [coloured, palette], ids=["colours", "palette"])
def test_several_labels_in_the_same_colours_are_told_apart(tmp_path: Path, draw: Draw) -> None:
    references = folder_of(tmp_path / "r", draw, {"a": TRUTH, "b": 2 * TRUTH})
    summary = evaluate_folders(folder_of(tmp_path / "p", draw, {"a": FOUND, "b": 2 * FOUND}), references)
    assert [summary.means(ORIGINAL, label)["dice"].mean for label in (1, 2)] == pytest.approx([DICE, DICE])


def test_indices_of_a_palette_count_where_its_colours_fit_nothing(tmp_path: Path) -> None:
    references = folder_of(tmp_path / "r", palette, {"a": TRUTH, "b": 2 * TRUTH})
    summary = evaluate_folders(folder_of(tmp_path / "p", masks={"a": FOUND, "b": 2 * FOUND}), references)
    assert [summary.means(ORIGINAL, label)["dice"].mean for label in (1, 2)] == pytest.approx([DICE, DICE])
    assert "indices of palettes" in summary.notes[0]


@pytest.mark.parametrize(
    ("of_prediction", "of_reference", "held"),
    [
        (lambda mask: mask, lambda mask: 2 * mask, r"hold the values 1, .* 2\. "),
        (lambda mask: mask + (mask & (np.arange(30) > 8)), lambda mask: 128 * mask + 127 * (mask & (np.arange(30) > 8)),
         r"hold the values 1, 2, .* 128, 255\. "),
    ],
)  # fmt: skip
def test_folders_without_a_label_in_common_are_refused(
    tmp_path: Path, of_prediction: Callable, of_reference: Callable, held: str
) -> None:
    predictions = folder_of(tmp_path / "p", masks={"a": of_prediction(FOUND)})
    with pytest.raises(HtunetError, match=rf"no label in common: .*{held}"):
        evaluate_folders(predictions, folder_of(tmp_path / "r", masks={"a": of_reference(TRUTH).astype(np.uint8)}))


def test_colours_of_dicom_files_are_refused_as_those_of_pictures_are(tmp_path: Path) -> None:
    predictions = folder_of(tmp_path / "p", masks={"a": FOUND + 2 * np.roll(FOUND, 15, axis=1)})
    (tmp_path / "r").mkdir()
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[TRUTH + 2 * np.roll(TRUTH, 15, axis=1)]
    write_dicom(tmp_path / "r" / "a.dcm", colours)
    with pytest.raises(HtunetError, match="no label in common"):
        evaluate_folders(predictions, tmp_path / "r")


def test_empty_predictions_are_misses_whatever_the_references_are_drawn_as(tmp_path: Path) -> None:
    predictions = folder_of(tmp_path / "p", masks={"a": 0 * FOUND, "b": 0 * FOUND})
    assert dice_of(evaluate_folders(predictions, folder_of(tmp_path / "r", DRAWN["0 and 128"]))) == 0


def test_probabilities_are_no_label_maps(tmp_path: Path) -> None:
    shades = np.repeat(np.arange(0, 250, 5, dtype=np.uint8), 9).reshape(25, 18).repeat(3, axis=0)
    predictions = folder_of(tmp_path / "p", masks={"a": shades})
    with pytest.raises(HtunetError, match=r"The predictions hold \d+ different values .* Evaluate label maps"):
        evaluate_folders(predictions, folder_of(tmp_path / "r", masks={"a": shades > 0}))


def test_masks_lie_in_sub_folders_where_the_folder_itself_holds_none(tmp_path: Path) -> None:
    predictions = folder_of(tmp_path / "p", masks={"x/a": FOUND, "y/b": FOUND})
    assert dice_of(evaluate_folders(predictions, folder_of(tmp_path / "r"))) == pytest.approx(DICE)
    twice = folder_of(tmp_path / "twice", masks={"x/a": FOUND, "y/a": TRUTH})
    same = folder_of(tmp_path / "same", masks={"x/a": TRUTH, "y/a": TRUTH})
    assert dice_of(evaluate_folders(twice, same)) == pytest.approx((DICE + 1) / 2)


def test_references_in_a_folder_below_the_predictions_are_not_predictions(tmp_path: Path) -> None:
    predictions = folder_of(tmp_path / "p", masks={"x/a": FOUND, "y/b": FOUND})
    assert dice_of(evaluate_folders(predictions, folder_of(predictions / "r"))) == pytest.approx(DICE)


def test_sub_folders_beside_masks_are_named_and_not_read(tmp_path: Path) -> None:
    predictions = folder_of(tmp_path / "p", masks={"a": FOUND, "b": FOUND, "others/a": TRUTH})
    summary = evaluate_folders(predictions, folder_of(tmp_path / "r"))
    assert dice_of(summary) == pytest.approx(DICE)
    assert summary.notes == ("predictions: subfolders are not read, because there are masks beside them: others",)


@pytest.mark.parametrize("where", ["", "x/"])
def test_what_a_prediction_draws_beside_its_masks_is_no_prediction(tmp_path: Path, where: str) -> None:
    drawn = {f"overlays/{where}a": TRUTH, f"uncertainty/{where}b_entropy": TRUTH}
    predictions = folder_of(tmp_path / "p", masks={f"{where}a": FOUND, f"{where}b": FOUND} | drawn)
    summary = evaluate_folders(predictions, folder_of(tmp_path / "r"))
    assert (dice_of(summary), summary.notes) == (pytest.approx(DICE), ())


@pytest.mark.parametrize(("outlined", "named"), [("p", True), ("r", True), ("pr", False)])
def test_an_outline_against_an_area_is_named(tmp_path: Path, outlined: str, named: bool) -> None:
    line = TRUTH.copy()
    line[5:11, 6:14] = 0
    for folder in ("p", "r"):
        folder_of(tmp_path / folder, masks={"a": line if folder in outlined else TRUTH, "b": TRUTH})
    notes = evaluate_folders(tmp_path / "p", tmp_path / "r").notes
    assert [note for note in notes if "closed outline" in note and note.endswith(": 1 case: a")] == [*notes]
    assert bool(notes) is named


@pytest.mark.parametrize("names", [("{}_mask", "{}"), ("{}", "gt-{}"), ("pred_{}_x", "{}")])
def test_one_word_around_all_names_of_a_folder_is_passed_over_and_said(tmp_path: Path, names: tuple[str, str]) -> None:
    predictions, references = (
        folder_of(tmp_path / folder, masks={name.format(case): mask for case in ("1", "10", "b")})
        for folder, name, mask in (("p", names[0], FOUND), ("r", names[1], TRUTH))
    )
    summary = evaluate_folders(predictions, references)
    assert dice_of(summary) == pytest.approx(DICE)
    assert "added" in summary.notes[0]


def test_slices_of_a_volume_are_cases(tmp_path: Path) -> None:
    for folder, masks in (("p", [FOUND, TRUTH, 0 * TRUTH]), ("r", [TRUTH, TRUTH, TRUTH])):
        (tmp_path / folder).mkdir()
        write_nifti(tmp_path / folder / "v.nii.gz", np.stack(masks))
    summary = evaluate_folders(tmp_path / "p", tmp_path / "r")
    assert [(row.case, row.group) for row in summary.scores] == [(f"v__000{n}", "v") for n in (1, 2, 3)]
    assert dice_of(summary) == pytest.approx((DICE + 1 + 0) / 3)


@pytest.mark.parametrize("ending", [".tif", ".dcm", "", ".nii.gz"])
@pytest.mark.parametrize("named", ["{}", "{}_mask"])
def test_numbered_masks_are_the_frames_of_one_file(tmp_path: Path, ending: str, named: str) -> None:
    """As ``htunet_predict`` names what it finds in the pages of a TIFF or the frames of a cine loop."""
    masks = [FOUND, TRUTH, 0 * TRUTH]
    numbered = {f"p__000{n}": mask for n, mask in enumerate(masks, start=1)}
    frames = folder_of(tmp_path / "frames", masks={**numbered, "other": FOUND})
    whole = folder_of(tmp_path / "whole", masks={named.format("other"): TRUTH}) / f"{named.format('p')}{ending}"
    if ending == ".tif":
        pages = [Image.fromarray(TRUTH)] * 3
        pages[0].save(whole, save_all=True, append_images=pages[1:])
    elif ending == ".nii.gz":
        write_nifti(whole, np.stack([TRUTH] * 3))
    else:
        write_dicom(whole, np.stack([TRUTH] * 3))
    case = named.format("p")
    for predictions, references in ((frames, whole.parent), (whole.parent, frames)):
        rows = [row for row in evaluate_folders(predictions, references).scores if row.group]
        assert [(row.case, row.group) for row in rows] == [(f"{case}__000{n}", case) for n in (1, 2, 3)] or (
            references == frames and {row.group for row in rows} == {"p"}
        )
        assert [round(row.score.values("exclude")["dice"], 6) for row in rows[:2]] == [round(DICE, 6), 1]
        assert rows[2].score.empty == ("prediction" if references != frames else "reference")
        files = [row.prediction_file if references != frames else row.reference_file for row in rows]
        assert files == [f"p__000{n}.png" for n in (1, 2, 3)]


@pytest.mark.parametrize(("sides", "across"), [((0.5, 0.5), 1.0), ((2.0, 0.5), 1.0), ((0.5, 2.0), 4.0)])
def test_millimetres_are_those_of_the_references_files(
    tmp_path: Path, sides: tuple[float, float], across: float
) -> None:
    """The mask found lacks two columns at one side, so that its outline there is two pixels away."""
    for folder, mask in (("p", FOUND), ("r", TRUTH)):
        (tmp_path / folder).mkdir()
        write_dicom(tmp_path / folder / "a.dcm", mask, PixelSpacing=list(sides))
    (row,) = evaluate_folders(tmp_path / "p", tmp_path / "r").scores
    values = row.values("penalise")
    assert (values["hd95"], values["hd95_mm"]) == (2.0, pytest.approx(across))


@pytest.mark.parametrize(("predicted", "true"), [("", ""), ("", "_mask"), ("", "_lesion"), ("_pred", "")])
def test_numbered_frames_of_both_folders_are_of_one_image(tmp_path: Path, predicted: str, true: str) -> None:
    """Two frames each of a and b, and an image c: the interval is over three images, not over five."""
    names = ("a__0001", "a__0002", "b__0001", "b__0002", "c")
    predictions = folder_of(tmp_path / "p", masks={f"{name}{predicted}": FOUND for name in names})
    references = folder_of(tmp_path / "r", masks={f"{name}{true}": TRUTH for name in names})
    found = evaluate_folders(predictions, references)
    assert [row.group for row in found.scores] == ["a", "a", "b", "b", ""]
    (note,) = [note for note in found.notes if "frames" in note]
    assert (
        note == f"4 masks numbered as frames, such as a__0001{true}: intervals are over the 2 images that they are of"
    )


@pytest.mark.parametrize(("numbers", "group"), [
    (("0001", "0002", "0003"), "x"),  # as htunet_predict writes those of one video
    (("001", "002", "003"), ""),
    (("0001", "0002", "0004"), ""),
])  # fmt: skip
def test_ids_of_one_name_are_frames_only_where_they_are_numbered_as_predictions_are(
    tmp_path: Path, numbers: tuple[str, ...], group: str
) -> None:
    """``BUSI__001`` to ``BUSI__647`` were one image, so that no interval was left."""
    masks = {f"x__{number}": FOUND for number in numbers}
    found = evaluate_folders(folder_of(tmp_path / "p", masks=masks), folder_of(tmp_path / "r", masks=masks))
    assert {row.group for row in found.scores} == {group}
    (note,) = [note for note in found.notes if "frames" in note]
    end = ": intervals are over the 1 image that they are of" if group else (
        ", are counted as images of their own: if all are of one video, intervals are too narrow")  # fmt: skip
    assert note == f"3 masks numbered as frames, such as x__{numbers[0]}{end}"


def test_frames_that_are_not_all_there_are_no_frames_of_one_file(tmp_path: Path) -> None:
    predictions = folder_of(tmp_path / "p", masks={f"p__000{n}": FOUND for n in (1, 3, 4)})
    (tmp_path / "r").mkdir()
    write_nifti(tmp_path / "r" / "p.nii", np.stack([TRUTH] * 3))
    with pytest.raises(HtunetError, match=r"1 of 1 reference .* have no prediction .*: p\."):
        evaluate_folders(predictions, tmp_path / "r")


def test_a_folder_that_is_its_own_reference_is_named(tmp_path: Path) -> None:
    predictions = folder_of(tmp_path / "p", masks={"a": FOUND})
    (tmp_path / "link").symlink_to(predictions)
    for references in (predictions, tmp_path / "link", tmp_path / "x" / ".." / "p"):
        (tmp_path / "x").mkdir(exist_ok=True)
        assert evaluate_folders(predictions, references).notes[-1] == (
            "predictions and references are the same folder: every mask agrees with itself"
        )


def test_some_names_may_have_a_word_such_as_mask(tmp_path: Path) -> None:
    found = folder_of(tmp_path / "p", masks={"a": FOUND, "b.v2": FOUND, "c": FOUND})
    references = folder_of(tmp_path / "r", masks={"a": TRUTH, "b.v2_Mask": TRUTH, "gt-c": TRUTH})
    assert dice_of(evaluate_folders(found, references)) == pytest.approx(DICE)


def test_several_masks_of_one_image_are_joined_as_conversions_join_them(tmp_path: Path) -> None:
    """As in BUSI: two lesions of 80 and 30 pixels, of which 64 of the first are found."""
    other = np.zeros_like(TRUTH)
    other[14:19, 20:26] = 1
    for name, mask in (("P/a (1).png", FOUND), ("P/b.png", FOUND), ("T/b_mask.png", TRUTH),
                       ("T/a (1)_mask.png", TRUTH), ("T/a (1)_mask_1.png", other)):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(mask * 255).save(path)
    summary = evaluate_folders(tmp_path / "P", tmp_path / "T")
    dice = {row.case: row.score.values("penalise")["dice"] for row in summary.scores}
    assert dice == {"a (1)": 2 * 64 / (64 + 110), "b": DICE}
    assert any("joined, such as a (1)_mask, a (1)_mask_1, of 1 image" in note for note in summary.notes)
    Image.fromarray(FOUND).save(tmp_path / "P" / "a (1)_1.png")  # whose mask may be the second one
    with pytest.raises(HtunetError, match=r"references in .* have no prediction"):
        evaluate_folders(tmp_path / "P", tmp_path / "T")
    (tmp_path / "P" / "a (1)_1.png").unlink()
    Image.fromarray(other[:10]).save(tmp_path / "T" / "a (1)_mask_1.png")
    with pytest.raises(HtunetError, match="are masks of one image, and differ in size"):
        evaluate_folders(tmp_path / "P", tmp_path / "T")


def test_joined_masks_that_overlap_with_different_labels_are_named(tmp_path: Path) -> None:
    """The second mask covers the first one's last two columns: 64 of its 80 pixels stay label 1, as in ``FOUND``."""
    later = 2 * (TRUTH - FOUND)
    found = folder_of(tmp_path / "p", masks={"a": FOUND + later, "b": TRUTH})
    references = folder_of(
        tmp_path / "r", masks={"a_mask": TRUTH, "a_mask_1": later, "b_mask": TRUTH, "b_mask_1": TRUTH}
    )
    summary = evaluate_folders(found, references)
    assert [row.score.values("exclude")["dice"] for row in summary.scores if row.score.counts.n_ref] == [1, 1, 1]
    assert summary.notes[-1] == (
        "masks of one image mark the same pixels with different labels, the later mask is used: 1 case: a"
    )


def test_segments_of_3d_slicer_are_told_by_their_names(tmp_path: Path) -> None:
    """Numbered per file, the only segment of the prediction has the value 1, as another one of the reference."""
    predictions, references = (folder_of(tmp_path / name, masks={"a": FOUND}) for name in ("p", "r"))
    as_segmentation(predictions / "a.png", "lesion")
    as_segmentation(references / "a.png", "cyst", "Lesion")
    with pytest.raises(HtunetError, match=r"The segment 'Lesion' has the value 1 in .*p.a.* and 2 in .*r.a.*3D Slicer"):
        evaluate_folders(predictions, references)
    folder_of(references, masks={"b": FOUND})
    as_segmentation(references / "b.png", "lesion", "cyst")
    with pytest.raises(HtunetError, match=r"The segment 'lesion' has the value 2 in .*a\.seg.* and 1 in .*b\.seg"):
        reference_map(sorted(references.iterdir()), 2)
    path = references / "a.seg.nrrd"
    path.write_bytes(path.read_bytes().replace(b"Name:=Lesion", b"Name:=nodule"))
    note = "value 1 is called lesion, cyst in the segmentations; it is one label"
    (references / "b.seg.nrrd").unlink()
    assert note in evaluate_folders(predictions, references).notes


def test_what_follows_a_dot_in_a_name_belongs_to_it(tmp_path: Path) -> None:
    found = folder_of(tmp_path / "p", masks={"scan.v1": FOUND, "other": FOUND})
    references = folder_of(tmp_path / "r", masks={"scan.v2": TRUTH, "other": TRUTH})
    with pytest.raises(HtunetError, match=r"1 of 2 references .*: scan\.v2\. Predictions are named other, scan\.v1\."):
        evaluate_folders(found, references)


def test_names_may_differ_in_letter_case_where_that_is_certain(tmp_path: Path) -> None:
    found = folder_of(tmp_path / "p", masks={"A": FOUND, "B": FOUND})
    references = folder_of(tmp_path / "r")
    assert dice_of(evaluate_folders(found, references)) == pytest.approx(DICE)
    folder_of(found, masks={"a": TRUTH})
    with pytest.raises(HtunetError, match=r"1 of 2 references .* have no prediction"):
        evaluate_folders(found, references)


def test_a_folder_of_inverted_masks_is_doubted(tmp_path: Path) -> None:
    inverted = folder_of(tmp_path / "p", DRAWN["0 and 255"], {"a": 1 - FOUND, "b": 1 - FOUND})
    references = folder_of(tmp_path / "r", DRAWN["0 and 255"])
    assert any(
        "labels cover 89% of the predictions and 13%" in note for note in evaluate_folders(inverted, references).notes
    )
    assert not any("inverted" in note for note in evaluate_folders(references, references).notes)


@pytest.mark.parametrize(
    ("found", "true"), [(("case10",), ("case1",)), (("1",), ("11",)), (("2_b", "3_b"), ("12_b", "13_b"))]
)
def test_a_number_is_never_a_part_of_another_number(
    tmp_path: Path, found: tuple[str, ...], true: tuple[str, ...]
) -> None:
    folder_of(tmp_path / "p", masks=dict.fromkeys(found, FOUND))
    folder_of(tmp_path / "r", masks=dict.fromkeys(true, TRUTH))
    with pytest.raises(HtunetError, match="have no prediction"):
        evaluate_folders(tmp_path / "p", tmp_path / "r")


def test_zeros_before_a_number_are_the_same_number(tmp_path: Path) -> None:
    folder_of(tmp_path / "p", masks={"1": FOUND, "2": FOUND})
    folder_of(tmp_path / "r", masks={"m001": TRUTH, "m002": TRUTH})
    assert dice_of(evaluate_folders(tmp_path / "p", tmp_path / "r")) == pytest.approx(DICE)


def test_pixel_sizes_that_differ_or_are_unknown_in_part_are_said(tmp_path: Path) -> None:
    """Millimetres are the reference's, else the prediction's; of `c` nobody knows any."""
    for folder, mask, sides in (("p", FOUND, {"a": 0.5, "b": 0.5}), ("r", TRUTH, {"a": 0.25})):
        folder_of(tmp_path / folder, masks=dict.fromkeys({"a", "b", "c"} - set(sides), mask))
        for name, side in sides.items():
            write_dicom(tmp_path / folder / f"{name}.dcm", mask, PixelSpacing=[side, side])
    summary = evaluate_folders(tmp_path / "p", tmp_path / "r")
    assert [row.values("penalise")["hd95_mm"] for row in summary.scores] == pytest.approx(
        [0.5, 1.0, np.nan], nan_ok=True
    )
    assert summary.notes[-2:] == (
        "millimetres are of 2 of 3 cases; no pixel size is known of c",
        "prediction and reference say unlike pixel sizes, millimetres are those of the reference: 1 case: a",
    )


@pytest.mark.parametrize(("size", "named"), [((20, 20), True), ((20, 30), False)])
@pytest.mark.parametrize("volumes", ["p", "r"])
def test_volumes_that_may_be_transposed_are_named(
    tmp_path: Path, volumes: str, size: tuple[int, int], named: bool
) -> None:
    """nibabel stores (rows, columns) of an array as (x, y), which the sizes show unless they are equal."""
    mask = TRUTH[:, : size[1]]
    folder_of(tmp_path / ("r" if volumes == "p" else "p"), masks={"a": mask})
    (tmp_path / volumes).mkdir()
    stored = mask if named else mask.T  # else the error of the sizes comes first
    nibabel.save(nibabel.Nifti1Image(stored[..., None], np.eye(4)), tmp_path / volumes / "a.nii.gz")
    summary = evaluate_folders(tmp_path / "p", tmp_path / "r")
    assert any(note.startswith(TRANSPOSED) for note in summary.notes) is named
    assert dice_of(summary) == (pytest.approx(2 * 49 / 160) if named else 1)  # rows 4 to 11, columns 5 to 14


def test_values_that_one_folder_alone_holds_are_named(tmp_path: Path) -> None:
    """As VOC marks borders with 255: a label that no prediction holds halves the mean."""
    references = folder_of(tmp_path / "r", masks={"a": np.where(np.roll(TRUTH, 15, axis=1), 255, TRUTH)})
    summary = evaluate_folders(folder_of(tmp_path / "p", masks={"a": TRUTH}), references)
    assert dice_of(summary) == 0.5
    assert any(note.startswith("255 in the references alone") for note in summary.notes)
    assert not any(
        "alone" in note for note in evaluate_folders(folder_of(tmp_path / "q"), folder_of(tmp_path / "s")).notes
    )


def test_an_archive_in_place_of_a_folder_is_named_as_a_file(tmp_path: Path) -> None:
    folder_of(tmp_path / "p", masks={"a": TRUTH})
    (tmp_path / "p.zip").touch()
    with pytest.raises(HtunetError, match=r"p\.zip is a file, not a folder\. Unpack"):
        evaluate_folders(tmp_path / "p.zip", tmp_path / "p")


def test_labels_that_fit_each_other_far_better_are_named_as_exchanged(tmp_path: Path) -> None:
    """Each label has 80 pixels; of the first 64 are found. Right: Dice 2 * 64 / 144 and 1; exchanged: 0."""
    true, found = np.zeros((2, 40, 40), np.uint8)
    true[4:12, 5:15], true[20:30, 2:10] = 1, 2
    found[4:12, 5:13], found[20:30, 2:10] = 2, 1
    references = folder_of(tmp_path / "r", masks={"a": true})
    notes = evaluate_folders(folder_of(tmp_path / "x", masks={"a": found}), references).notes
    text = "labels 1 and 2 seem to be exchanged between predictions and references: Dice over all pixels is 0.0 % now"
    assert any(note.startswith(f"{text}, and would be 94.4 % if") for note in notes)
    kept = np.array([0, 2, 1], np.uint8)[found]
    notes = evaluate_folders(folder_of(tmp_path / "y", masks={"a": kept}), references).notes
    assert not any("exchanged" in note for note in notes)


def test_probabilities_are_cut_half_way_and_named(tmp_path: Path) -> None:
    """A square of 255 whose border of one pixel is 100 (nearer to 0): 16 of the 36 pixels are found."""
    truth, soft = np.zeros((12, 12), np.uint8), np.zeros((12, 12), np.uint8)
    truth[3:9, 3:9], soft[3:9, 3:9] = 255, 100
    soft[4:8, 4:8] = 255
    soft[3, 3:8] = [60, 70, 80, 90, 95]
    references, predictions = (folder_of(tmp_path / name, masks={"a": mask}) for name, mask in
                               (("r", truth), ("p", soft)))  # fmt: skip
    summary = evaluate_folders(predictions, references)
    assert dice_of(summary) == pytest.approx(2 * 16 / (16 + 36))
    assert any("predictions: 1 mask with values between those of the labels" in note for note in summary.notes)
    assert not any("references: 1 mask with" in note for note in summary.notes)


def test_a_folder_of_arrays_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    np.savez(tmp_path / "p" / "a.npz", probabilities=TRUTH)
    with pytest.raises(HtunetError, match=r"holds no masks .*; it holds a\.npz\."):
        evaluate_folders(tmp_path / "p", folder_of(tmp_path / "r"))
