"""Masks as 3D Slicer saves them: each file numbers its own segments."""

from pathlib import Path

import pytest
from builders.medical import as_segmentation
from builders.own import build_own

from dataset_conversion.common import ConversionReport
from dataset_conversion.own_images.convert import convert_own
from dataset_conversion.own_images.options import OwnData
from htunet.errors import HtunetError

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


def test_overlapping_segments_of_3d_slicer_are_refused(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    for path in sorted(masks.iterdir()):
        as_segmentation(path, "lesion", "cyst", layer=1)
    with pytest.raises(HtunetError, match="holds segments that overlap, in several layers"):
        convert(images, masks)
