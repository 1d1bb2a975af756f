"""Masks as 3D Slicer saves them: each file numbers its own segments."""

from pathlib import Path

import numpy as np
import pytest
from builders.medical import as_segmentation
from builders.own import build_own
from PIL import Image

from dataset_conversion.common import ConversionReport
from dataset_conversion.own_images.convert import convert_own
from dataset_conversion.own_images.options import OwnData
from htunet.data.raw import read_raw
from htunet.errors import HtunetError
from htunet.paths import DatasetPaths

NAMES = tuple(f"case {index}" for index in range(6))


def convert(images: Path, masks: Path) -> ConversionReport:
    return convert_own(OwnData(name="Mine", images=images, masks=masks))


def test_segments_of_3d_slicer_are_told_by_their_names(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    first, *others = sorted(masks.iterdir())
    as_segmentation(first, "Lesion", "cyst")
    for path in others:
        as_segmentation(path, "lesion")
    convert(images, masks)
    last = sorted(masks.iterdir())[-1]
    last.write_bytes(last.read_bytes().replace(b"Name:=lesion", b"Name:=nodule"))
    (found,) = [note for note in convert(images, masks).notes if "in the segmentations" in note]
    assert found == "value 1 is called Lesion, lesion, nodule in the segmentations; it is one label"
    last.write_bytes(last.read_bytes().replace(b"Name:=nodule", b"Name:=cyst"))
    with pytest.raises(HtunetError, match=r"The segment 'cyst' has the value 2 in .* and 1 in .*3D Slicer numbers"):
        convert(images, masks)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["Lesion", "cyst"], ["Lesion", "cyst"]),
        (["lesion", "background"], ["value_1", "value_2"]),  # which cannot be the name of a label
    ],
)
def test_labels_are_called_as_the_segments_of_3d_slicer(home: Path, names: list[str], labels: list[str]) -> None:
    images, masks = build_own(home, NAMES)
    for number, path in enumerate(sorted(masks.iterdir())):
        mask = np.asarray(Image.open(path)) > 0
        Image.fromarray(mask * np.uint8(1 + number % 2)).save(path)
        as_segmentation(path, *names)
    report = convert(images, masks)
    assert read_raw(DatasetPaths("Dataset600_Mine")).info.labels == {"background": 0, labels[0]: 1, labels[1]: 2}
    assert f"labels inferred: 0 = background (0), 1 = {labels[0]} (1), 2 = {labels[1]} (2)" in report.notes


def test_overlapping_segments_of_3d_slicer_are_refused(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    for path in sorted(masks.iterdir()):
        as_segmentation(path, "lesion", "cyst", layer=1)
    with pytest.raises(HtunetError, match="holds segments that overlap, in several layers"):
        convert(images, masks)
