"""The picture that shows what ``--crop-overlays`` cut off: some cases before and after, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from dataset_conversion.common import ImageWithMasks
from dataset_conversion.overlays import CROPS_CSV, CUT, LESION_OUTSIDE
from htunet.data.image_io import UInt8, read_image, read_labels
from htunet.data.names import listed
from htunet.data.raw import TRAIN, Case
from htunet.files import read_csv, whole_file

SHEET_PNG = "crop_overlays.png"
SHOWN = 6
NOT_CUT_SHOWN = 2
TILE = 320
TEXT_HEIGHT = 16
GAP = 8
FIELD_COLOUR, REFUSED_COLOUR, LESION_COLOUR = (0, 160, 255), (255, 60, 60), (255, 220, 0)
BACKGROUND, TEXT_COLOUR = (40, 40, 40), (230, 230, 230)


def write_crop_sheet(folder: Path, cases: Sequence[Case], jobs: Sequence[ImageWithMasks]) -> list[str]:
    """Write ``crop_overlays.png`` beside ``crops.csv`` in the raw ``folder``; returns a note for the report.

    Shows two of the cases that stayed whole because of their lesion and those that lost most, six in all. Blue is the
    field, red one that was refused, yellow the lesion.
    """
    rows = read_csv(folder / CROPS_CSV, ("id", "cropped"))
    case_of = {case.id: case for case in cases}
    image_of = {job.case.id: job.image for job in jobs}
    tiles = [_pair(folder, case_of[row["id"]], image_of[row["id"]], row) for row in _chosen(rows)]
    with whole_file(folder / SHEET_PNG) as part:
        _grid(tiles).save(part, format="PNG")
    cut = sum(row["cropped"] == CUT for row in rows)
    kept = [row["id"] for row in rows if row["cropped"] == LESION_OUTSIDE]
    note = f"cropped {cut} of {len(rows)} images to their field; look at {SHEET_PNG}, {CROPS_CSV} has every box"
    return (
        [note, f"{len(kept)} were not cropped because the lesion extends beyond the field: {listed(kept)}"]
        if kept
        else [note]
    )


def _chosen(rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    def part_kept(row: Mapping[str, str]) -> float:
        area = int(row["field_height"]) * int(row["field_width"])
        return area / (int(row["height"]) * int(row["width"]))

    refused = [row for row in rows if row["cropped"] == LESION_OUTSIDE][:NOT_CUT_SHOWN]
    others = sorted((row for row in rows if row["cropped"] != LESION_OUTSIDE), key=part_kept)
    return [*refused, *others[: SHOWN - len(refused)]]


def _pair(folder: Path, case: Case, source: Path, row: Mapping[str, str]) -> Image.Image:
    """Before and after of one case, with its name and what was done above them."""
    ending = "Tr" if case.split == TRAIN else "Ts"
    after = read_image(folder / f"images{ending}" / f"{case.id}_0000.png", 1)[0]
    after_mask = read_labels(folder / f"labels{ending}" / f"{case.id}.png")
    before = read_image(source, 1)[0]
    top, left, height, width = (int(row[name]) for name in ("top", "left", "field_height", "field_width"))
    if row["cropped"] == CUT:
        before_mask = np.zeros_like(before)
        before_mask[top : top + height, left : left + width] = after_mask
    else:
        before_mask = after_mask
    colour = REFUSED_COLOUR if row["cropped"] == LESION_OUTSIDE else FIELD_COLOUR
    scale = TILE / max(before.shape)
    pair = Image.new("RGB", (2 * TILE + GAP, TILE + TEXT_HEIGHT), BACKGROUND)
    first = _tile(before, before_mask, scale)
    box = [round(value * scale) for value in (left, top, left + width, top + height)]
    ImageDraw.Draw(first).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=colour, width=2)
    pair.paste(first, (0, TEXT_HEIGHT))
    pair.paste(_tile(after, after_mask, scale), (TILE + GAP, TEXT_HEIGHT))
    ImageDraw.Draw(pair).text((2, 2), f"{case.id}   cropped: {row['cropped']}", fill=TEXT_COLOUR)
    return pair


def _tile(image: UInt8, mask: UInt8, scale: float) -> Image.Image:
    """The image with the outline of its lesion, both scaled alike before and after."""
    height, width = (max(1, round(side * scale)) for side in image.shape)
    colours = np.asarray(Image.fromarray(image).resize((width, height)).convert("RGB")).copy()
    lesion = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)) > 0
    colours[lesion & ~ndimage.binary_erosion(lesion)] = LESION_COLOUR
    return Image.fromarray(colours)


def _grid(tiles: Sequence[Image.Image]) -> Image.Image:
    """Two pairs in a row."""
    columns = min(2, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].width + 2 * GAP, tiles[0].height + GAP
    sheet = Image.new("RGB", (columns * width, rows * height + GAP), BACKGROUND)
    for position, tile in enumerate(tiles):
        sheet.paste(tile, (GAP + position % columns * width, GAP + position // columns * height))
    return sheet
