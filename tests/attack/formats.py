"""Damaged files of every format of images, annotations, tables and weights, over the functions that read them.

A sound file of each is made once, of 16 x 16 pixels; an input is a damaged copy. Each reader must give a result or
htunet's own error, and must not look at the secret beside the folder, whose pixels all have the value ``SECRET``.
"""

import csv
import json
import random
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
from builders.fuzz.damage import damage as damage_by_format
from builders.medical import compress_dicom, us_region, write_dicom, write_nifti
from PIL import Image
from safetensors.torch import save_file

from attack.damage import damage
from attack.pool import Found
from dataset_conversion.formats.annotations import read_annotations
from dataset_conversion.formats.shapes import draw_readers
from dataset_conversion.own_images.matching import match_files
from htunet.archives import unpack
from htunet.data.formats import dicom, metaimage, stacks
from htunet.data.formats.medical_file import in_a_process
from htunet.data.image_io import image_size, read_image, read_labels
from htunet.data.split_lists import read_name_list
from htunet.data.tables import name_finder, read_spacing, read_tags
from htunet.data.zero_shot_prompts import find_prompts
from htunet.errors import HtunetError
from htunet.files import read_csv, read_json_lines
from htunet.models.weights.formats import read_state, weights_file

SECRET, SIDE = 77, 16
NAMES = ("a.png", "b.png", "left/c.png")
Reader = Callable[[Path, Path], Iterator[Callable[[], object]]]
"""Given a file and a folder to write into: the calls that read it, each of which may raise an HtunetError."""


@dataclass(frozen=True)
class Format:
    """``build`` writes a sound file, and others beside it, into a folder; ``read`` gives what reads one of them."""

    build: Callable[[Path], object]
    read: Reader


def pixels(*shape: int) -> np.ndarray:
    """Speckle with a bright square, so that no image is constant."""
    values = np.random.default_rng(sum(shape)).integers(0, 200, (*shape, SIDE, SIDE)).astype(np.uint8)
    values[..., 4:10, 5:12] = 255
    return values


def _picture(name: str, mode: str = "L", frames: int = 1, **options: Any) -> Format:
    def build(folder: Path) -> None:
        images = [Image.fromarray(frame) for frame in pixels(frames)]
        wide = mode.startswith("I;16")
        images = [Image.fromarray(np.uint16(np.asarray(one)) * 200) if wide else one.convert(mode) for one in images]
        more = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
        images[0].save(folder / name, **more, **options)

    return Format(build, _image)


def _image(path: Path, out: Path) -> Iterator[Callable[[], object]]:
    if not stacks.is_image(path):
        return
    if path.name.lower().endswith(stacks.READABLE):
        yield from (partial(read_image, path, 3), partial(read_labels, path), partial(image_size, path))
    if stacks.is_dicom(path):
        yield partial(dicom.patient_of, path)
    yield partial(_stack, path, out)


def _stack(path: Path, out: Path) -> None:
    stack = stacks.open_stack(path)
    frames = [frame for channels in (1, 3) for frame in stack.images(channels)]
    assert len(frames) == 2 * stack.frames, f"{stack.frames} frames are promised, {len(frames)} come"
    assert not any((frame == SECRET).all() for frame in frames), "the secret was read"
    str((stack.spacing_mm, stack.remarks, stack.scaling))
    if (ending := stacks.masks_ending(path)) and sum(frame.size for frame in frames) < 2**22:
        masks = np.stack([frame[0] > 128 for frame in frames[: stack.frames]]).astype(np.uint8)
        stacks.write_masks(path, out / f"mask{ending}", masks)
    list(stack.levels())


def _dicom(syntax: str = "", colour: bool = False, frames: int = 0, preamble: bool = True, **tags: Any) -> Format:
    def build(folder: Path) -> None:
        values = pixels(*[frames] * bool(frames))
        values = np.stack([values, values, values[..., ::-1]], axis=-1) if colour else values
        regions = {"SequenceOfUltrasoundRegions": [us_region((0.01, 0.01))], "PatientID": "7"}
        write_dicom(folder / "image.dcm", values, **regions, **tags)
        if syntax:
            compress_dicom(folder / "image.dcm", folder / "image.dcm", syntax)
        if not preamble:
            content = (folder / "image.dcm").read_bytes()
            (folder / "image.dcm").write_bytes(content[content.find(b"\x08\x00\x16\x00") :])

    return Format(build, _image)


def _nifti(name: str, *shape: int) -> Format:
    return Format(lambda folder: write_nifti(folder / name, pixels(*shape), (0.4, 0.4, 1.0)), _image)


def _metaimage(name: str, *shape: int, compressed: bool = False, colour: bool = False) -> Format:
    def build(folder: Path) -> None:
        values = np.stack([pixels(*shape)] * 3, axis=-1) if colour else pixels(*shape)
        image = SimpleITK.GetImageFromArray(values, isVector=colour)
        image.SetSpacing([0.1] * (len(shape) + 2))
        SimpleITK.WriteImage(image, str(folder / name), useCompression=compressed)

    return Format(build, _image)


def _detached_nrrd(folder: Path) -> None:
    header = f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: {SIDE} {SIDE}\nencoding: raw\ndata file: image.raw\n"
    (folder / "image.nrrd").write_text(header)
    (folder / "image.raw").write_bytes(pixels().tobytes())


def _text(name: str, content: object, read: Reader, more: dict[str, str] | None = None) -> Format:
    def build(folder: Path) -> None:
        for file, text in {name: content, **(more or {})}.items():
            written = text if isinstance(text, str) else json.dumps(text)
            (folder / file).write_text(written, encoding="utf-8")

    return Format(build, read)


def _annotations(path: Path, _: Path) -> Iterator[Callable[[], object]]:
    def read(place: Path) -> None:
        for file in read_annotations(place):
            labels, find = {name: 1 + at % 255 for at, name in enumerate(file.labels)} | {"background": 0}, None
            find = name_finder(NAMES)
            for image in file.images:
                assert find(image.file_name) in (*NAMES, None)
                if not image.problem:
                    try:
                        draw_readers([image, image], labels, image.size or (SIDE, SIDE))
                    except HtunetError:
                        continue

    yield from (partial(read, path), partial(read, path.parent))


def _table(path: Path, _: Path) -> Iterator[Callable[[], object]]:
    yield lambda: read_csv(path, (), any_delimiter=True)
    yield lambda: read_csv(path, ["image", "class"], any_delimiter=True)
    for column in ("", ":class", ":image:group"):
        yield partial(read_tags, f"{path}{column}", NAMES, option="--groups", columns=("group", "class"))
    yield partial(read_spacing, f"{path}:spacing", NAMES)
    yield partial(match_files, NAMES, ["a_mask.png", "b_mask.png"], [f"{path}:image:mask"])


def _names(path: Path, _: Path) -> Iterator[Callable[[], object]]:
    yield partial(read_name_list, path)


def _lines(path: Path, _: Path) -> Iterator[Callable[[], object]]:
    yield lambda: list(read_json_lines(path))


def _prompts(path: Path, _: Path) -> Iterator[Callable[[], object]]:
    yield partial(find_prompts, "Any", str(path))


def _weights(path: Path, _: Path) -> Iterator[Callable[[], object]]:
    def read(place: Path) -> None:
        for values in read_state(weights_file(place)).values():
            values.float().sum().item()

    yield from (partial(read, path), partial(read, path.parent))


def _zip(path: Path, out: Path) -> Iterator[Callable[[], object]]:
    yield partial(unpack, path, out)


def _saved(name: str, save: Callable[[dict[str, torch.Tensor], Path], object]) -> Format:
    def build(folder: Path) -> None:
        values = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).state_dict()
        save(values, folder / name)

    return Format(build, _weights)


def _script(_: object, path: Path) -> None:
    torch.jit.script(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).half()).save(str(path))


def _packed(folder: Path) -> None:
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("images/a.png", "images/b.png", "cases.csv"):
            archive.writestr(name, f"{name}\n" * 9)


SQUARE = [4, 4, 12, 4, 12, 12, 4, 12]
POINTS = [[4, 4], [12, 4], [12, 12]]
COCO = {
    "images": [{"id": at, "file_name": name, "height": SIDE, "width": SIDE} for at, name in enumerate(NAMES)],
    "categories": [{"id": 1, "name": "lesion"}, {"id": 2, "name": "cyst"}],
    "annotations": [
        {"image_id": 0, "category_id": 1, "segmentation": [SQUARE], "iscrowd": 0},
        {"image_id": 1, "category_id": 2, "segmentation": {"size": [SIDE, SIDE], "counts": [50, 20, 186]}},
        {"image_id": 2, "category_id": 2, "segmentation": {"size": [SIDE, SIDE], "counts": "b1d0j5"}, "iscrowd": 1},
    ],
}
LABELME = {
    **{"version": "5", "imagePath": "a.png", "imageHeight": SIDE, "imageWidth": SIDE},
    "shapes": [
        {"label": "lesion", "points": POINTS, "shape_type": "polygon"},
        {"label": "cyst", "points": [[3, 3], [9, 9]], "shape_type": "rectangle"},
        {"label": "cyst", "points": [[8, 8], [10, 8]], "shape_type": "circle"},
    ],
}
VIA = {
    f"{name}-1": {
        "filename": name,
        "regions": [
            {
                "shape_attributes": {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 9]},
                "region_attributes": {"label": "lesion", "annotator": "x"},
            },
            {"shape_attributes": {"name": "circle", "cx": 8, "cy": 8, "r": 3}, "region_attributes": {"label": "cyst"}},
        ],
    }
    for name in NAMES
}
VIA_CSV = "filename,region_shape_attributes,region_attributes\n" + "".join(
    f'{name},"{{""name"":""rect"",""x"":2,""y"":2,""width"":5,""height"":5}}","{{""label"":""lesion""}}"\n'
    for name in NAMES
)
CVAT = (
    "<annotations><version>1.1</version><meta><task><labels><label><name>lesion</name></label></labels></task></meta>"
    + "".join(
        f'<image id="{at}" name="{name}" width="{SIDE}" height="{SIDE}"><polygon label="lesion" '
        'points="1,1;9,1;9,9" z_order="0"/><box label="cyst" xtl="1" ytl="2" xbr="5" ybr="6"/><ellipse label="lesion" '
        'cx="8" cy="8" rx="3" ry="2" rotation="20"/><mask label="cyst" left="2" top="2" width="3" height="2" '
        'rle="1,2,3"/></image>'
        for at, name in enumerate(NAMES)
    )
    + "</annotations>"
)
TABLE = "image,mask,class,group,spacing\n" + "".join(
    f"{name},{name[0]}_mask.png,{'xy'[at % 2]},p{at},0.{at + 1}\n" for at, name in enumerate(NAMES)
)
PROMPTS = {
    "format": 1,
    "classes": {name: [{"text": f"A {name} lesion.", "source": "s"}] for name in ("benign", "malignant")},
    "sources": {"s": "A book."},
}
FORMATS: dict[str, Format] = {
    "PNG": _picture("image.png"),
    "PNG, colours": _picture("image.png", "RGB"),
    "PNG, palette": _picture("image.png", "P"),
    "PNG, 16 bits": _picture("image.png", "I;16"),
    "PNG, frames": _picture("image.png", "RGB", 3),
    "JPEG": _picture("image.jpg"),
    "JPEG, colours": _picture("image.jpeg", "RGB"),
    "JPEG, progressive": _picture("image.jpg", "RGB", progressive=True),
    "BMP": _picture("image.bmp"),
    "BMP, palette": _picture("image.bmp", "P"),
    "TIFF": _picture("image.tif"),
    "TIFF, LZW": _picture("image.tif", "RGB", compression="tiff_lzw"),
    "TIFF, deflate": _picture("image.tiff", "RGB", compression="tiff_deflate"),
    "TIFF, 16 bits": _picture("image.tif", "I;16"),
    "TIFF, float": _picture("image.tif", "F"),
    "TIFF, pages": _picture("image.tif", "L", 3),
    "GIF": _picture("image.gif", "P"),
    "GIF, frames": _picture("image.gif", "P", 3),
    "WebP": _picture("image.webp", "RGB"),
    "WebP, lossless": _picture("image.webp", "RGB", lossless=True),
    "WebP, frames": _picture("image.webp", "RGB", 3),
    "DICOM": _dicom(),
    "DICOM, colours": _dicom(colour=True),
    "DICOM, frames": _dicom(frames=3),
    "DICOM, run lengths": _dicom("RLELossless", frames=2),
    "DICOM, JPEG": _dicom("JPEGLosslessProcess14_1"),
    "DICOM, JPEG-LS": _dicom("JPEGLSLossless"),
    "DICOM, JPEG 2000": _dicom("JPEG2000Lossless"),
    "DICOM, no preamble": _dicom(preamble=False),
    "DICOM, inverted": _dicom(PhotometricInterpretation="MONOCHROME1"),
    "NIfTI": _nifti("image.nii", 3),
    "NIfTI, packed": _nifti("image.nii.gz", 3),
    "NIfTI, slice": _nifti("image.nii.gz"),
    "MHA": _metaimage("image.mha", 3),
    "MHA, packed": _metaimage("image.mha", 3, compressed=True),
    "MHA, colours": _metaimage("image.mha", 2, colour=True),
    "MHD": _metaimage("image.mhd", 3),
    "MHD, packed": _metaimage("image.mhd", compressed=True),
    "NRRD": _metaimage("image.nrrd", 3),
    "NRRD, packed": _metaimage("image.nrrd", 3, compressed=True),
    "NRRD, two files": Format(_detached_nrrd, _image),
    "COCO": _text("annotations.json", COCO, _annotations),
    "LabelMe": _text("a.json", LABELME, _annotations, {"b.json": json.dumps(LABELME | {"imagePath": "b.png"})}),
    "VIA": _text("via.json", VIA, _annotations),
    "VIA, CSV": _text("via.csv", VIA_CSV, _annotations),
    "CVAT": _text("cvat.xml", CVAT, _annotations),
    "table": _text("table.csv", TABLE, _table),
    "table, tabs": _text("table.tsv", TABLE.replace(",", "\t"), _table),
    "table, UTF-16": Format(lambda folder: (folder / "table.csv").write_text(TABLE, encoding="utf-16"), _table),
    "names": _text("train.txt", "a\nb\nc\n", _names),
    "JSON lines": _text("lines.jsonl", '{"image": "a.png"}\n{"image": "b.png"}\n', _lines),
    "prompts": _text("prompts.json", PROMPTS, _prompts),
    "safetensors": _saved("model.safetensors", lambda values, path: save_file(values, path)),
    "PyTorch": _saved("pytorch_model.bin", lambda values, path: torch.save({"state_dict": values}, path)),
    "PyTorch, old": _saved(
        "pytorch_model.bin", lambda values, path: torch.save(values, path, _use_new_zipfile_serialization=False)
    ),
    "TorchScript": _saved("open_clip_pytorch_model.bin", _script),
    "zip": Format(_packed, _zip),
}


def build(base: Path) -> None:
    """The sound files, and the secret."""
    secret = base / "secret"
    secret.mkdir(parents=True)
    constant = np.full((SIDE, SIDE), SECRET, np.uint8)
    (secret / "secret.raw").write_bytes(constant.tobytes() * 3)
    Image.fromarray(constant).save(secret / "secret.png")
    (secret / "secret.txt").write_text("secret")
    for name, one in FORMATS.items():
        folder = base / "sound" / name
        folder.mkdir(parents=True)
        one.build(folder)
        read = Found(-1, name, name, "sound")
        _read_all(one, folder, base / "out", read)
        several = name.endswith(("frames", "pages"))  # where one picture is read, several are refused
        assert not read.problems, str(read)
        assert several or not read.code, name


def attack(base: Path, number: int, *, as_users: bool = False) -> Found:
    """Damage one format's files, in most cases once, and read them.

    ``as_users``: with the processes that htunet starts for libraries that may end theirs; else all in this one.
    """
    for module in (dicom, metaimage):
        module.in_a_process = in_a_process if as_users else lambda read: read()
    rng = random.Random(f"format {number}")
    name = list(FORMATS)[number % len(FORMATS)]
    folder = base / "now"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base / "sound" / name, folder)
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        if files:
            path = rng.choice(files)
            try:
                one = damage if rng.random() < 0.5 and path.stat().st_size < 2**16 else damage_by_format
                done.append(one(path, rng) if one is damage else one(path, folder, base / "secret", rng))
            except (ValueError, IndexError, AttributeError, OSError, RecursionError, csv.Error):
                continue  # a second damage to what the first one left
    found = Found(number, name, name, "; ".join(done))
    _read_all(FORMATS[name], folder, base / "out", found)
    return found


def _read_all(one: Format, folder: Path, out: Path, found: Found) -> None:
    for path in sorted(folder.iterdir()):
        for read in one.read(path, out):
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            try:
                with warnings.catch_warnings(action="ignore"):
                    read()
            except HtunetError as error:
                found.code = 1
                if not str(error).strip() or str(error).isupper():
                    found.problems.append(f"an error without words: {error!r}")
            except OSError as error:
                found.code = 1
                if not error.filename:
                    found.problems.append(f"raised {error!r}, which names no file")
    left = [path.name for path in out.iterdir() if path.name.startswith(".")] if out.exists() else []
    found.problems += [f"left behind: {name}" for name in left]
