"""Annotations of any tool: which one wrote a file is recognised by its content."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset_conversion.formats.coco import LISTS, read_coco
from dataset_conversion.formats.cvat import read_cvat
from dataset_conversion.formats.labelme import read_labelme
from dataset_conversion.formats.shapes import AnnotatedImage, AnnotationFile
from dataset_conversion.formats.via import CSV_COLUMNS, read_via
from htunet.data.folders import files_in
from htunet.data.image_io import MOST_LABELS
from htunet.data.label_maps import BACKGROUND
from htunet.data.names import composed, listed, printable, stem_of
from htunet.errors import HtunetError, counted
from htunet.files import lines, read_json

ENDINGS = (".json", ".xml", ".csv")
KNOWN = "COCO, LabelMe, VIA 2 (JSON or CSV) and CVAT for images 1.1 (XML)"


def read_annotations(path: Path) -> list[AnnotationFile]:
    """What a file, or the files of a folder, say of images, a list entry for each reader.

    A reader of LabelMe files is called as their folder, one of other files as the file, unless the file names its
    readers. Raises HtunetError for a file that is none of ``KNOWN``,
    for a folder without any of them, and for fractions in place of pixels.
    """
    paths, unknown = [path], list[str]()
    if path.is_dir():
        names, unknown = files_in(path, lambda one: one.suffix.lower() in ENDINGS)
        paths = [path / name for name in names]
    files: list[AnnotationFile] = []
    not_read: list[str] = []
    labelme: dict[Path, list[AnnotatedImage]] = {}
    for one in paths:
        found = _read(one)
        if found is None:
            not_read.append(one.name)
        elif isinstance(found, AnnotatedImage):
            if one.parent != path and path.is_dir() and not set("/\\") & set(found.file_name):
                found.file_name = (one.parent.relative_to(path) / found.file_name).as_posix()  # it lies beside the file
            labelme.setdefault(one.parent, []).append(found)
        else:
            files += found
    for folder, images in labelme.items():
        labels = {shape.label for image in images for shape in image.shapes} - {BACKGROUND}
        files.append(AnnotationFile(folder.name, tuple(sorted(labels)), tuple(images)))
    if many := next((file for file in files if len(file.labels) > MOST_LABELS), None):
        raise HtunetError(
            f"{path}, of {many.reader}, has {counted(len(many.labels), 'label')}; a mask holds at most {MOST_LABELS}."
        )
    outlines = [shape.outline for file in files for image in file.images for shape in image.shapes]
    if outlines and all(map(_is_fraction, outlines)):
        raise HtunetError(
            f"{path}: all coordinates lie between 0 and 1, as fractions of the image do. Export them in pixels."
        )
    if not files:
        raise HtunetError(f"{path} holds no annotations that are read: {KNOWN}; found {listed([*not_read, *unknown])}.")
    if not_read:
        note = f"not read, because they are none of {KNOWN}: {listed(not_read)}"
        files = [replace(file, notes=(*file.notes, note)) for file in files]  # any of them may be left out
    return files


def _is_fraction(outline: object) -> bool:
    """Whether all coordinates of a polygon lie between 0 and 1."""
    if isinstance(outline, list):
        return bool(outline) and all(map(_is_fraction, outline))
    return isinstance(outline, int | float) and 0 <= outline <= 1


def _read(path: Path) -> AnnotatedImage | Sequence[AnnotationFile] | None:
    """One image of LabelMe, or the images of another tool; None for a file of none of them."""
    if path.suffix.lower() == ".xml":
        return [read_cvat(path)]
    if path.suffix.lower() == ".csv":
        header = next((line for _, line in lines(path)), b"").decode("utf-8", "replace")
        return read_via(path, None) if all(column in header for column in CSV_COLUMNS) else None
    content: Any = read_json(path, any_number=True)
    if not isinstance(content, dict):
        return None
    if any(isinstance(content.get(key), list) for key in LISTS):
        return [read_coco(path)]
    if isinstance(content.get("shapes"), list):
        return _named(read_labelme(content), path)
    entries = content.get("_via_img_metadata", content)
    if isinstance(entries, dict) and entries and all(isinstance(entry, dict) for entry in entries.values()):
        is_via = all("filename" in entry and "regions" in entry for entry in entries.values())
        return read_via(path, content) if is_via else None
    return None


def _named(image: AnnotatedImage, path: Path) -> AnnotatedImage:
    """LabelMe's file is about the image of its own name; ``imagePath`` of another name would be another image."""
    own, named = composed(stem_of(path.name)), composed(stem_of(image.file_name.replace("\\", "/")))
    if named and named.lower() != own.lower():
        image.problem = image.problem or f"its imagePath names {printable(image.file_name)}, the file is {path.name}"
    image.file_name = image.file_name if named else f"{own}.png"
    return image
