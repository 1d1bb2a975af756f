"""Files of every format, changed at random: an error that names them or an image, never anything else."""

import json
import random
import re
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.medical import us_region, write_dicom, write_nifti
from PIL import Image

from dataset_conversion.formats.annotations import read_annotations
from dataset_conversion.formats.shapes import draw
from htunet.data.formats.dicom import patient_of
from htunet.data.formats.stacks import open_stack
from htunet.data.label_maps import survey
from htunet.errors import HtunetError

PICTURE = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
IMAGE = Image.fromarray(PICTURE)
CINE = np.stack([PICTURE, PICTURE])
WRITERS: dict[str, Callable[[Path], None]] = {
    "a.png": IMAGE.save,
    "palette.png": lambda path: IMAGE.convert("P").save(path),
    "a.jpg": IMAGE.save,
    "a.bmp": IMAGE.save,
    "pages.tif": lambda path: IMAGE.save(path, save_all=True, append_images=[IMAGE]),
    "a.dcm": lambda path: write_dicom(
        path, CINE, PatientID="x", PixelSpacing=[0.1, 0.1], SequenceOfUltrasoundRegions=[us_region((0.1, 0.1))]
    ),
    "a.nii": lambda path: write_nifti(path, CINE),
    "a.nii.gz": lambda path: write_nifti(path, CINE.astype(np.int16)),
}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
    "categories": [{"id": 7, "name": "cyst"}, {"id": 3, "name": "lesion"}],
    "annotations": [
        {"image_id": 1, "category_id": 3, "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]]},
        {"image_id": 1, "category_id": 7, "segmentation": {"counts": "52203", "size": [6, 8]}},
    ],
}
JUNK = (None, -1, 0, 60_000, 3.5, True, "", "x" * 50, "\ud800", [], {}, [[]], [1] * 7, {"counts": [1]})
SEVERAL = 40


def changed_bytes(content: bytes, rng: random.Random) -> bytes:
    """A few bytes overwritten or inserted, or the end cut off; headers are hit as often as everything else."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(max(1, min(len(data), rng.choice([600, len(data)]))))
        kind = rng.random()
        if kind < 0.5:
            data[at : at + 1] = bytes([rng.choice([0, 127, 255, rng.randrange(256)])])
        elif kind < 0.7:
            data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x00\xea\x00\x00", b"\x7f\xff\xff\xff"])
        elif kind < 0.85:
            data[at:at] = rng.randbytes(rng.randint(1, 30))
        else:
            del data[at:]
    return bytes(data)


def changed_content(content: Any, rng: random.Random) -> Any:
    """One to three values anywhere replaced by values of another type or size."""
    content = json.loads(json.dumps(content))
    for _ in range(rng.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        waiting = [content]
        while waiting:
            one = waiting.pop()
            items = (
                list(one.items()) if isinstance(one, dict) else list(enumerate(one)) if isinstance(one, list) else []
            )
            places += [(one, key) for key, _ in items]
            waiting += [value for _, value in items]
        holder, key = rng.choice(places)
        holder[key] = deepcopy(rng.choice(JUNK))
    return content


@pytest.mark.parametrize("name", WRITERS)
def test_a_changed_file_is_read_or_refused(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    content, rng, refused = (tmp_path / name).read_bytes(), random.Random(name), list[str]()
    for _ in range(SEVERAL):
        (tmp_path / name).write_bytes(changed_bytes(content, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patient_of(tmp_path / name)
            survey(tmp_path / name)
            for use in ("gray", "levels"):
                try:
                    list(getattr(open_stack(tmp_path / name), use)())
                except HtunetError as error:
                    refused.append(str(error))
    assert refused
    assert all(name in message for message in refused)


POLYGON = {"label": "cyst", "points": [[1, 1], [4, 1], [4, 4]], "shape_type": "polygon"}
CIRCLE = {"label": "duct", "points": [[2, 2], [4, 4]], "shape_type": "circle"}
LABELME = {"shapes": [POLYGON, CIRCLE], "imagePath": "x.png", "imageHeight": 6, "imageWidth": 8}
ELLIPSE = {"name": "ellipse", "cx": 4, "cy": 3, "rx": 2, "ry": 1, "theta": 0.3}
OUTLINE = {"name": "polygon", "all_points_x": [1, 4, 4], "all_points_y": [1, 1, 4]}
VIA = {
    "_via_img_metadata": {
        "k": {
            "filename": "x.png",
            "regions": [
                {"shape_attributes": shape, "region_attributes": {"label": "cyst", "reader": "Kim"}}
                for shape in (ELLIPSE, OUTLINE)
            ],
        }
    },
    "_via_attributes": {"region": {"label": {"options": {"1": "cyst"}}}},
}


@pytest.mark.parametrize("kind", [COCO, LABELME, VIA], ids=["COCO", "LabelMe", "VIA"])
def test_changed_annotations_are_read_or_refused(tmp_path: Path, kind: dict[str, Any]) -> None:
    rng = random.Random(1)
    refused = sum(
        not drawn_or_refused(tmp_path / "x.json", json.dumps(changed_content(kind, rng))) for _ in range(10 * SEVERAL)
    )
    assert SEVERAL / 4 < refused < 10 * SEVERAL


def test_changed_xml_is_read_or_refused(tmp_path: Path) -> None:
    text = (
        '<annotations><image name="x.png" width="8" height="6">'
        '<polygon label="cyst" points="1.0,2.0;5.0,2.0;5.0,5.0" z_order="0"/>'
        '<box label="cyst" xtl="1" ytl="2" xbr="4" ybr="3" rotation="90.0"/><ellipse cx="4" cy="3" rx="2" ry="1"/>'
        '<mask label="cyst" rle="1, 2, 1, 2" left="1" top="2" width="3" height="2"/></image></annotations>'
    )
    rng, values = random.Random(1), ["", "nan", "inf", "-1", "1e300", "x", "1,2", "1;2", "9" * 400, "1,2;3", "0"]
    refused = 0
    for _ in range(5 * SEVERAL):
        place = rng.choice([*re.finditer(r'"([^"]*)"', text)])
        changed = text[: place.start(1)] + rng.choice(values) + text[place.end(1) :]
        refused += not drawn_or_refused(tmp_path / "x.xml", changed)
    assert 0 < refused < 5 * SEVERAL


def drawn_or_refused(path: Path, text: str) -> bool:
    path.write_text(text, encoding="utf-8")
    try:
        files = read_annotations(path)
        for file in files:
            labels = dict.fromkeys(("background", *file.labels), 1)
            for image in (image for image in file.images if not image.problem):
                draw(image, labels, image.size or (6, 8))
    except HtunetError:
        return False
    return True
