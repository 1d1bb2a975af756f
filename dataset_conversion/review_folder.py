"""Cases for a person to correct, in the formats of the tools that people have, and what came back corrected.

``images/NAME.png`` with LabelMe's ``images/NAME.json`` beside it, ``coco.json`` of all images, ``masks/NAME.png``, and
``review.csv``. Each form holds the same prediction, polygons within a pixel; whoever corrects one of them has corrected
the case.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from dataset_conversion.common import read_mask
from dataset_conversion.formats.annotations import ENDINGS, read_annotations
from dataset_conversion.formats.coco import read_coco
from dataset_conversion.formats.polygons import fill_polygons, polygons_of
from dataset_conversion.formats.shapes import BEYOND, AnnotatedImage, draw
from htunet.data.folders import files_in
from htunet.data.formats.excel import SPREADSHEETS
from htunet.data.formats.stacks import ENDINGS as IMAGES
from htunet.data.image_io import UInt8, image_size, read_labels, write_png
from htunet.data.label_maps import BACKGROUND
from htunet.data.names import listed
from htunet.data.review_case import ACCEPTED, Correction, ReviewCase
from htunet.errors import HtunetError, UsageError
from htunet.files import read_csv, whole_folder, write_csv, write_json
from htunet.paths import checked_name

REVIEW = "review.csv"
COLUMNS = (
    *("name", "case", "source", "group", "class", "spacing_mm", "why", "dice", "predicted_dice", "accept"),
    *("mask_sha256", "polygons_sha256"),
)
"""The last two tell what was corrected: the labels as they were written."""
YES, NO = ("yes", "y", "1", "true", "x", "ok", "ja", "oui", "si", "sí", "wahr", "vrai"), ("", "no", "n", "0", "false")
LABELME, COCO, MASK = "LabelMe", "COCO", "mask"


def write_review(folder: Path, items: Sequence[ReviewCase], labels: Mapping[str, int]) -> None:
    """Write all forms of the items, whole or not at all; UsageError where ``folder`` holds something already."""
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} holds files already, perhaps somebody's corrections. Choose another folder.")
    names = {value: name for name, value in labels.items() if value}
    categories = [{"id": value, "name": name, "supercategory": ""} for value, name in sorted(names.items())]
    coco: dict[str, list[object]] = {"images": [], "annotations": [], "categories": [*categories]}
    rows = []
    with whole_folder(folder) as part:
        for number, item in enumerate(items, start=1):
            height, width = item.labels.shape
            file_name = f"{item.name}.png"
            write_png(part / "images" / file_name, item.pixels)
            # a single label is white, so that it is visible in any program
            mask = item.labels * np.uint8(255) if len(names) == 1 else item.labels
            write_png(part / "masks" / file_name, mask)
            shapes, drawn = list[object](), np.zeros_like(item.labels)
            for value, name in sorted(names.items()):
                polygons = polygons_of(item.labels == value)
                drawn[fill_polygons(polygons, (height, width))] = value
                for polygon in polygons:
                    shapes.append({"label": name, "points": polygon, "group_id": None, "description": "",
                                   "shape_type": "polygon", "flags": {}})  # fmt: skip
                    points = np.array(polygon)
                    low, high = points.min(axis=0), points.max(axis=0)
                    coco["annotations"].append(
                        {"id": len(coco["annotations"]) + 1, "image_id": number, "category_id": value, "iscrowd": 0,
                         "segmentation": [points.ravel().tolist()], "bbox": [*low.tolist(), *(high - low).tolist()],
                         "area": _area(points)}
                    )  # fmt: skip
            write_json(part / "images" / f"{item.name}.json", {
                "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": file_name, "imageData": None,
                "imageHeight": height, "imageWidth": width,
            })  # fmt: skip
            coco["images"].append({"id": number, "file_name": file_name, "height": height, "width": width})
            digests = {"mask_sha256": _digest(item.labels), "polygons_sha256": _digest(drawn)}
            rows.append(dict(item.facts) | {"name": item.name, "accept": "", **digests})
        write_json(part / "coco.json", coco)
        write_csv(part / REVIEW, COLUMNS, [{column: row.get(column, "") for column in COLUMNS} for row in rows])


def read_review(folder: Path, labels: Mapping[str, int]) -> list[Correction]:
    """What of a folder of ``write_review`` was corrected or accepted, by the names of the labels.

    A case whose forms were corrected differently, a label that the data set does not have, and a mask of another size
    raise HtunetError with the case's name; so does a folder without any correction.
    """
    if not (folder / REVIEW).is_file():
        raise UsageError(f"{folder} has no {REVIEW}: name a folder that htunet_review has written.")
    found, rows = [], read_csv(folder / REVIEW, COLUMNS, any_delimiter=True)
    coco = _read_coco(folder, [row["name"] for row in rows])
    for row in rows:
        name = checked_name(row["name"], "the name", folder / REVIEW)
        image = folder / "images" / f"{name}.png"
        forms = _forms(folder, image, coco, labels)
        before = {form: row["mask_sha256" if form == MASK else "polygons_sha256"] for form in forms}
        corrected = {form: mask for form, mask in forms.items() if _digest(mask) != before[form]}
        if len({_digest(mask) for mask in corrected.values()}) > 1:
            raise HtunetError(
                f"{name} was corrected in two ways, as {' and as '.join(corrected)}: undo one of them in {folder}."
            )
        accepted = row["accept"].strip().lower() in YES
        if not accepted and row["accept"].strip().lower() not in NO:
            raise HtunetError(
                f"{folder / REVIEW} has {row['accept']!r} in the column accept of {name}. Write yes, or leave it empty."
            )
        if corrected or (accepted and forms):
            form, mask = next(iter((corrected or forms).items()))
            form = form if corrected else ACCEPTED
            found.append(Correction(name=name, image=image, labels=mask, facts=row, form=form))
    _refuse_other_files(folder, {row["name"] for row in rows}, coco)
    if not found:
        raise HtunetError(
            f"Nothing in {folder} was corrected. Correct masks/, coco.json or the LabelMe files, or write yes into the "
            f"column accept of {REVIEW} where a prediction is right as it is."
        )
    return found


def _refuse_other_files(folder: Path, names: set[str], coco: Collection[str]) -> None:
    """HtunetError for images, annotations and tables that ``write_review`` did not write: nobody would read them.

    A case of which a file was deleted is no fault, nor is one whose row was deleted: it has its image, its mask, its
    LabelMe file and, where ``coco`` names any image, its entry there, as no image has that somebody adds.
    """
    files, _ = files_in(folder, lambda path: path.name.lower().endswith((*IMAGES, *ENDINGS, *SPREADSHEETS)))
    images = [name[7:-4] for name in files if name.startswith("images/") and name.endswith(".png")]
    stems = names | {name for name in images if {f"masks/{name}.png", f"images/{name}.json"} <= {*files}
                     and (not coco or f"{name}.png" in coco)}  # fmt: skip
    own = {f"{stem}{ending}" for stem in stems for ending in (".png", ".json")}
    kept = {REVIEW, "coco.json", *(f"images/{name}" for name in own), *(f"masks/{name}" for name in own)}
    kept -= {f"masks/{stem}.json" for stem in stems}
    if other := [name for name in files if name not in kept]:
        raise HtunetError(
            f"{folder} holds files that are not read: {listed(other)}. Corrections of the cases in {REVIEW} are read "
            "from coco.json, images/NAME.json and masks/NAME.png; save them under these names, or move the files away."
        )


def _forms(
    folder: Path, image: Path, coco: Mapping[str, AnnotatedImage], labels: Mapping[str, int]
) -> dict[str, UInt8]:
    """The mask of an image in each form that is there."""
    height, width = image_size(image)
    found: dict[str, UInt8] = {}
    several, path = len(labels) > 2, folder / "masks" / image.name
    if path.exists():
        drawn, stored = read_mask(path, 127), read_labels(path)
        is_faint = not drawn.any() and stored.max(initial=0) == 1  # as programs for label maps write a single label
        found[MASK] = stored if several or is_faint else drawn
        if found[MASK].shape != (height, width):
            raise HtunetError(f"{path} is not as large as its image: draw it at {width} x {height} pixels.")
        if strange := sorted(set(np.unique(found[MASK]).tolist()) - set(labels.values())):
            raise HtunetError(f"{path} has the values {strange[:5]}; the labels are {dict(labels)}.")
    marked = {COCO: coco[image.name]} if image.name in coco else {}
    if (path := image.with_suffix(".json")).exists():
        marked[LABELME] = read_annotations(path)[0].images[0]
    for form, annotated in marked.items():
        strange = sorted({shape.label for shape in annotated.shapes} - {*labels, BACKGROUND})
        if annotated.problem or strange:
            unknown = f"it has the labels {listed(strange)}; the data set has {', '.join(labels)}"
            raise HtunetError(f"{image.stem}, {form}: {annotated.problem or unknown}.")
        try:
            if annotated.size not in (None, (height, width)):
                tall, wide = annotated.size or (0, 0)
                raise HtunetError(f"drawn on an image of {wide} x {tall} pixels, but the image has {width} x {height}; "
                                  "export the annotations at the size of the image")  # fmt: skip
            found[form], remarks = draw(annotated, {BACKGROUND: 0, **labels}, (height, width))
            if BEYOND in remarks:
                raise HtunetError(BEYOND.replace(" and were cut", ""))
        except HtunetError as error:
            raise HtunetError(f"{image.stem}, {form}: {error}.") from None
    return found


def _read_coco(folder: Path, names: Sequence[str]) -> dict[str, AnnotatedImage]:
    """Annotations by the image's file name without folders; HtunetError where a tool has given the files other names.

    Images without an entry, and entries of images that were deleted, are no fault alone.
    """
    path = folder / "coco.json"
    if not path.exists():
        return {}
    images = read_coco(path, may_be_empty=True).images
    found = {image.file_name.replace("\\", "/").rsplit("/", 1)[-1]: image for image in images}
    without = [name for name in names if f"{name}.png" not in found]
    other = [image.problem or name for name, image in found.items() if not (folder / "images" / name).is_file()]
    if without and other:
        raise HtunetError(
            f"{path} has entries of other images than images/ ({listed(other)}) and none of {listed(without)}. Export "
            "it with the names of the files in images/."
        )
    return found


def _digest(labels: UInt8) -> str:
    return hashlib.sha256(repr(labels.shape).encode() + np.ascontiguousarray(labels).tobytes()).hexdigest()


def _area(points: np.ndarray) -> float:
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
