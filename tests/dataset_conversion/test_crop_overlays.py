"""What stands around the field is cut off, image and mask alike, never a lesion; a picture shows it."""

from pathlib import Path

import numpy as np
import pytest
from builders.lymph_node import blocks_with_node, screen, write_pair
from PIL import Image

from dataset_conversion import convert
from dataset_conversion.common import ConversionReport, Options, read_mask
from dataset_conversion.crop_sheet import FIELD_COLOUR, LESION_COLOUR, REFUSED_COLOUR
from dataset_conversion.overlays import CUT, LESION_OUTSIDE, NOTHING_TO_CUT, crop_overlays
from htunet.data.image_io import read_image, read_labels
from htunet.data.raw import read_raw
from htunet.data.verification import verify
from htunet.errors import UsageError
from htunet.files import read_csv
from htunet.paths import DatasetPaths

LN_INT = DatasetPaths("Dataset501_LN-INT")
SIZE, FIELD = (480, 640), (60, 90, 330, 400)
TOP, LEFT, HEIGHT, WIDTH = FIELD
MARGIN = 8
"""Two cells of the search, 4 pixels each in a picture of 640 pixels."""


def test_border_text_and_scale_go_and_image_and_mask_are_cut_alike() -> None:
    image, mask = screen(SIZE, FIELD, "crop")
    found = crop_overlays(image, mask)
    assert found.cropped == CUT
    rows, columns = found.field.rows, found.field.columns
    assert (found.image == image[rows, columns]).all()
    assert (found.mask == mask[rows, columns]).all()
    assert found.mask.sum() == mask.sum()
    assert TOP - MARGIN <= rows.start <= TOP
    assert TOP + HEIGHT <= rows.stop <= TOP + HEIGHT + MARGIN
    assert LEFT - MARGIN <= columns.start <= LEFT
    assert LEFT + WIDTH <= columns.stop <= LEFT + WIDTH + MARGIN
    assert image[:TOP].max() > 200  # the text
    inside = np.zeros(SIZE, bool)
    inside[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH] = True
    assert not found.image[~inside[rows, columns]].any()


def test_the_mask_does_not_decide_the_crop() -> None:
    image, mask = screen(SIZE, FIELD, "crop")
    assert crop_overlays(image, mask).field == crop_overlays(image, np.zeros_like(mask)).field


def test_a_lesion_that_reaches_out_prevents_the_crop() -> None:
    image, mask = screen(SIZE, FIELD, "crop", lesion_outside=True)
    found = crop_overlays(image, mask)
    assert (found.cropped, found.lesion_pixels_outside) == (LESION_OUTSIDE, 36)
    assert found.image is image
    assert found.mask is mask


def test_a_picture_without_a_border_stays_as_it_is() -> None:
    image, mask = blocks_with_node((100, 120), "whole")
    found = crop_overlays(image, mask)
    assert found.cropped == NOTHING_TO_CUT
    assert (found.image == image).all()


@pytest.fixture
def report(home: Path) -> ConversionReport:
    for number in range(8):
        image, mask = screen(SIZE, (60 + 4 * number, 90, 330, 400), number, lesion_outside=number == 3)
        write_pair(home / "in", "benign", str(number), image, mask, ending=".png")
    write_pair(home / "in", "malignant", "whole", *blocks_with_node((200, 240), "w"), ending=".png")
    return convert("LN-INT", home / "in", Options(crop_overlays=True))


def test_every_box_is_in_the_table_and_what_stayed_whole_is_named(report: ConversionReport) -> None:
    assert report.notes == (
        "cropped 7 of 9 images to their field; look at crop_overlays.png, crops.csv has every box",
        "1 were not cropped because the lesion extends beyond the field: benign_0004",
    )
    rows = read_csv(LN_INT.raw / "crops.csv", ["id"])
    assert [row["id"] for row in rows] == [case.id for case in read_raw(LN_INT).cases]
    for row, case in zip(rows, read_raw(LN_INT).cases, strict=True):
        image = read_image(read_raw(LN_INT).image_path(case), 1)[0]
        whole, field = (row["height"], row["width"]), (row["field_height"], row["field_width"])
        assert image.shape == tuple(map(int, field if row["cropped"] == CUT else whole))
        label = read_labels(read_raw(LN_INT).label_path(case))
        assert label.shape == image.shape
        assert label.any()


def test_the_picture_shows_before_and_after_with_field_and_lesion(report: ConversionReport) -> None:
    sheet = np.asarray(Image.open(LN_INT.raw / "crop_overlays.png").convert("RGB"))
    for colour in (FIELD_COLOUR, REFUSED_COLOUR, LESION_COLOUR):
        assert (sheet == colour).all(axis=-1).sum() > 100


def test_the_files_beside_the_images_disturb_nobody(report: ConversionReport) -> None:
    assert verify(read_raw(LN_INT)) == []


def test_without_the_option_nothing_is_cropped_and_no_picture_made(home: Path) -> None:
    write_pair(home / "in", "benign", "a", *screen(SIZE, FIELD, 0), ending=".png")
    convert("LN-INT", home / "in", Options())
    assert read_image(LN_INT.raw / "imagesTr" / "benign_0001_0000.png", 1).shape == (1, *SIZE)
    assert sorted(path.name for path in LN_INT.raw.iterdir() if path.is_file()) == [
        *("cases.csv", "dataset.json", "excluded.csv")
    ]


def test_the_option_is_refused_where_it_does_nothing(home: Path) -> None:
    with pytest.raises(UsageError, match=r"--crop-overlays does nothing for Prostate; it is for .*LN-EXT, LN-INT"):
        convert("Prostate", home, Options(crop_overlays=True))


def test_no_real_lesion_is_taken_for_an_overlay(samples: Path) -> None:
    """Real breast images, cropped already but for one: no field is refused for its lesion, little is cut off."""
    outcomes = []
    for path in sorted((samples / "busi_subset").rglob("*).png")):
        mask_path = path.with_name(f"{path.stem}_mask.png")
        if path.parent.name != "normal":
            image, mask = read_image(path, 1)[0], read_mask(mask_path)
            assert mask.any()
            outcomes.append(crop_overlays(image, mask).cropped)
    assert len(outcomes) == 70
    assert (outcomes.count(CUT), outcomes.count(LESION_OUTSIDE)) == (1, 0)
