from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_conversion import CONVERTERS
from dataset_conversion.common import (
    FAINT,
    Excluded,
    ImageWithMasks,
    Written,
    fit_mask,
    misfit,
    read_mask,
    with_groups,
    write_image_with_masks,
)
from htunet.data.duplicates import DuplicatePair
from htunet.data.image_io import UInt8
from htunet.data.raw import TEST, Case
from htunet.paths import DatasetPaths

MASK = np.array([[0, 1, 1], [0, 0, 1]], dtype=np.uint8)


def bilevel() -> Image.Image:
    return Image.fromarray(MASK * np.uint8(255)).convert("1")


def gray_of_one() -> Image.Image:
    return Image.fromarray(MASK)


def blue() -> Image.Image:
    """Luminance would round (0, 0, 1) to 0."""
    return Image.fromarray(np.dstack([0 * MASK, 0 * MASK, MASK]))


def white_and_transparent() -> Image.Image:
    return Image.fromarray(np.dstack([np.full_like(MASK, 255)] * 3 + [MASK * np.uint8(255)]))


def black_and_white_opaque() -> Image.Image:
    return Image.fromarray(np.dstack([MASK * np.uint8(255)] * 3 + [np.full_like(MASK, 255)]))


def palette() -> Image.Image:
    image = Image.fromarray(MASK)
    image.putpalette([0, 0, 0, 90, 0, 0])
    return image


def palette_with_white_background_index() -> Image.Image:
    """The colours count, not the indices: index 0 is white here."""
    image = Image.fromarray(1 - MASK)
    image.putpalette([255, 255, 255, 0, 0, 0])
    return image


def gray_with_alpha() -> Image.Image:
    return Image.fromarray(np.dstack([MASK * np.uint8(200), np.full_like(MASK, 255)]), mode="LA")


def sixteen_bits() -> Image.Image:
    return Image.fromarray(MASK.astype(np.uint16) * np.uint16(256))


MODES = [
    *(bilevel, gray_of_one, blue, white_and_transparent, black_and_white_opaque),
    *(palette, palette_with_white_background_index, gray_with_alpha, sixteen_bits),
]


@pytest.mark.parametrize("make", MODES)
def test_a_mask_of_any_mode_reads_as_0_and_1(tmp_path: Path, make) -> None:  # noqa: ANN001
    make().save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == MASK.tolist()


def test_the_threshold_parts_the_two_clouds_of_a_jpeg_mask(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 3, 12], [120, 243, 255]], np.uint8)).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png", threshold=127).tolist() == [[0, 0, 0], [0, 1, 1]]


@pytest.mark.parametrize(
    ("name", "kind"), [("m.jpg", "JPEG"), ("m.png", "JPEG"), ("m.webp", "WEBP"), ("m.png", "WEBP"), ("m.tif", "TIFF")]
)
def test_the_noise_of_a_lossy_mask_is_no_lesion(tmp_path: Path, name: str, kind: str) -> None:
    lesion = np.zeros((64, 64), np.uint8)
    lesion[20:40, 20:40] = 1
    options = {"compression": "jpeg"} if kind == "TIFF" else {}
    Image.fromarray(lesion * np.uint8(255)).save(tmp_path / name, format=kind, quality=40, **options)
    noise = np.asarray(Image.open(tmp_path / name).convert("L")) > 0
    assert noise.sum() > lesion.sum() or kind == "WEBP"
    assert read_mask(tmp_path / name).tolist() == lesion.tolist()


def test_a_mask_is_fitted_without_new_values_and_left_alone_where_it_fits() -> None:
    assert fit_mask(MASK, MASK.shape) is MASK
    assert fit_mask(MASK, (4, 6)).tolist() == np.kron(MASK, np.ones((2, 2), int)).tolist()
    assert set(np.unique(fit_mask(MASK * np.uint8(3), (5, 7)))) == {0, 3}


def save(path: Path, array: UInt8) -> Path:
    Image.fromarray(array).save(path)
    return path


def job(folder: Path, *masks: UInt8, fit_masks: bool = False) -> ImageWithMasks:
    image = save(folder / "image.png", np.full((2, 3), 77, np.uint8))
    paths = tuple(save(folder / f"mask{number}.png", mask) for number, mask in enumerate(masks))
    case = Case(id="x_0001", class_name="benign", source="image.png")
    return ImageWithMasks(case=case, image=image, masks=paths, fit_masks=fit_masks)


def test_several_masks_are_joined(tmp_path: Path) -> None:
    (written,) = write_image_with_masks(job(tmp_path, MASK, np.eye(2, 3, dtype=np.uint8)), tmp_path)
    assert isinstance(written, Written)
    assert (written.masks, written.empty, written.fitted) == (2, False, False)
    stored = Image.open(tmp_path / "labelsTr" / "x_0001.png")
    assert stored.mode == "L"
    assert np.asarray(stored).tolist() == [[1, 1, 1], [0, 1, 1]]
    assert np.asarray(Image.open(tmp_path / "imagesTr" / "x_0001_0000.png")).tolist() == [[77] * 3] * 2


@pytest.mark.parametrize(
    ("values", "label", "faint"), [((0, 1), [0, 1], True), ((1, 255), [0, 1], False), ((0, 0), [0, 0], False)]
)
def test_a_mask_of_0_and_1_is_not_cut_at_half(
    tmp_path: Path, values: tuple[int, int], label: list[int], faint: bool
) -> None:
    """As the masks of DDTI and TN3K are passed on, whose own files hold 0 and 255 and are cut at 127."""
    mask = np.array([values] * 2, np.uint8).repeat([1, 2], axis=1)
    (written,) = write_image_with_masks(replace(job(tmp_path, mask), threshold=127), tmp_path)
    assert isinstance(written, Written)
    stored = np.asarray(Image.open(tmp_path / "labelsTr" / "x_0001.png"))
    assert stored[:, :2].tolist() == [label] * 2
    assert (FAINT in written.remarks) is faint


def test_a_mask_of_another_size_is_left_out_with_both_sizes_unless_it_is_fitted(tmp_path: Path) -> None:
    large = np.ones((4, 6), np.uint8)
    (excluded,) = write_image_with_masks(job(tmp_path, MASK, large), tmp_path)
    assert isinstance(excluded, Excluded)
    assert "image 3x2, mask1.png 6x4" in excluded.reason
    assert not (tmp_path / "imagesTr").exists()
    (written,) = write_image_with_masks(job(tmp_path, MASK, large, fit_masks=True), tmp_path)
    assert isinstance(written, Written)
    assert written.fitted


def test_an_unreadable_file_is_left_out_without_the_temporary_folder_in_the_reason(tmp_path: Path) -> None:
    broken = job(tmp_path, MASK)
    broken.masks[0].write_bytes(b"")
    (excluded,) = write_image_with_masks(broken, tmp_path)
    assert excluded.source == "image.png"
    assert "mask0.png cannot be read" in excluded.reason
    assert str(tmp_path) not in excluded.reason


def pair(first: int, second: int) -> DuplicatePair:
    return DuplicatePair(first, second, 1.0, exact=True)


def groups(*cases: Case, pairs: list[DuplicatePair]) -> list[str]:
    return [case.group for case in with_groups(cases, pairs)]


def test_like_pictures_get_the_first_id_as_group_and_a_known_patient_stays() -> None:
    a, b, c, d = (Case(id=name) for name in "abcd")
    assert groups(a, b, c, d, pairs=[pair(1, 2), pair(2, 3)]) == ["", "b", "b", "b"]
    patient = Case(id="e", group="p7")
    assert groups(a, b, patient, pairs=[pair(0, 2)]) == ["p7", "", "p7"]
    other = Case(id="f", group="p8")
    assert groups(patient, other, pairs=[pair(0, 1)]) == ["p7", "p8"]


def test_a_likeness_across_the_splits_joins_nothing() -> None:
    assert groups(Case(id="a"), Case(id="b", split=TEST), pairs=[pair(0, 1)]) == ["", ""]


@pytest.mark.parametrize(
    ("shape", "fit_masks", "reason"),
    [
        ((20, 30), False, ""),
        ((10, 15), True, ""),
        ((10, 15), False, "image 30x20, m 15x10 (--fit-masks takes it)"),
        ((30, 20), False, "image 30x20, m 20x30 (one of them is rotated by 90 degrees)"),
        ((30, 20), True, "image 30x20, m 20x30 (one of them is rotated by 90 degrees)"),
        ((15, 10), True, "image 30x20, m 10x15 (one of them is rotated by 90 degrees)"),
        ((12, 12), True, ""),
    ],
)
def test_a_turned_mask_is_never_stretched(shape: tuple[int, int], fit_masks: bool, reason: str) -> None:
    found = misfit(np.zeros((20, 30), np.uint8), {"m": np.zeros(shape, np.uint8)}, fit_masks=fit_masks)
    assert found == (f"mask and image differ in size: {reason}" if reason else "")


@pytest.mark.parametrize("name", CONVERTERS.names())
def test_every_converter_states_its_facts(name: str) -> None:
    facts = CONVERTERS[name].facts
    assert DatasetPaths(facts.dataset).short_name == name
    assert all((facts.title, facts.licence, facts.home, facts.download, facts.split_rule))
    assert CONVERTERS[name].layout.looked_for


def test_full_names_and_numbers_are_unique() -> None:
    numbers = [CONVERTERS[name].facts.dataset.split("_")[0] for name in CONVERTERS.names()]
    assert len(set(numbers)) == len(numbers)
