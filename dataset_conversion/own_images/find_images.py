"""A user's images with the masks that belong to them: by file names, by annotations, or by nnU-Net's layout."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from dataset_conversion.formats.annotations import read_annotations
from dataset_conversion.formats.shapes import AnnotatedImage
from dataset_conversion.own_images.matching import WAY_OUT, match_files
from dataset_conversion.own_images.options import Findings, Found, OwnData
from htunet.data.folders import files_in
from htunet.data.formats.stacks import FORMATS, is_image
from htunet.data.mask_names import BESIDE_MASKS, is_mask_word, keys_of
from htunet.data.names import listed, name_finder, stem_of
from htunet.data.raw import IMAGE_FOLDERS, LABEL_FOLDERS, TEST, TRAIN, ending_with, in_any_case, nnunet_labels
from htunet.errors import HtunetError, UsageError, counted
from htunet.files import read_object

ONE_CHANNEL = "of several channels the first one is used"
ADDED_BEFORE, ADDED_BEHIND = (
    re.compile(r"(?<![^/\\])[0-9a-f]{8}-(?=[^/\\]+$)"),
    re.compile(r"_(?:jpe?g|png|bmp|tiff?)\.rf\.\w{16,}\.\w+$"),
)
"""What Label Studio and Roboflow add to the names of images."""
TABLES = (".csv", ".json", ".txt", ".md")
"""Beside the images they are not worth a line in excluded.csv."""


def find_images(data: OwnData) -> Findings:
    """Look at file names (and the annotations) alone; raises HtunetError when no image has a mask."""
    findings = Findings()
    if data.nnunet:
        _find_nnunet(data.nnunet, findings)
        return findings
    splits = (
        (TRAIN, data.images, data.masks, data.annotations),
        (TEST, data.test_images, data.test_masks, data.test_annotations),
    )
    for split, images, masks, annotations in splits:
        if images and annotations:
            _find_annotated(findings, split, data, images, annotations)
        elif images:
            _find_files(findings, split, data, images, masks)
    if unused := [name for name in dict.fromkeys(findings.unused) if name not in findings.labels]:
        findings.notes.append(f"labels without a shape are ignored: {listed(unused)}")
    if findings.label_names:
        shown = ", ".join(f"{index} {name}" for name, index in findings.labels.items())
        findings.notes.append(f"labels from the annotations: {shown}")
        spelled = Counter(name.lower() for name in findings.label_names)
        if alike := [name for name in findings.label_names if spelled[name.lower()] > 1]:
            findings.notes.append(f"labels that differ in letter case alone and count as different: {listed(alike)}")
    return findings


def _find_files(findings: Findings, split: str, data: OwnData, images: Path, masks: Path | None) -> None:
    names, strays = files_in(images, is_image, without=data.folders)
    if not names:
        raise HtunetError(f"{images} holds no image that can be read ({FORMATS}); it holds {listed(strays)}.")
    together = masks is not None and masks.resolve() == images.resolve()
    mask_names: list[str] = []
    if masks is not None and not together:
        mask_names, others = files_in(masks, is_image, without=data.folders)
        if not mask_names:
            held = f"it holds {listed(others)}.{_hint_at_annotations([*strays, *others])}"
            raise HtunetError(f"{masks} holds no mask that can be read ({FORMATS}); {held}")
        drawn = tuple(f"{name}/" for name in BESIDE_MASKS)
        beside = {name for name in mask_names if name.startswith(drawn) or name.endswith(".seg.dcm")}
        if beside != set(mask_names):  # else they are masks in folders of these names
            mask_names = [name for name in mask_names if name not in beside]
            for name in sorted(beside):
                findings.leave_out(name, "a file that htunet_predict writes beside its masks")
        strays += others
    for name in strays:
        if not name.lower().endswith(TABLES):
            findings.leave_out(name, "not an image that can be read")
    if masks is None:
        marked = {name for name in names if any(map(is_mask_word, (*PurePosixPath(name).parts[:-1], stem_of(name))))}
        unmarked = {keys_of(name)[1] for name in names if name not in marked}
        for name in names:
            if name in marked and keys_of(name)[1] in unmarked:
                findings.leave_out(name, "a mask; without --masks only images are read")
            else:
                findings.images.append(Found(split=split, base=images, name=name))
        return
    matched = match_files(names, None if together else mask_names, data.pairs)
    if not any(matched.masks_of.values()):
        found = f"{counted(len(mask_names), 'mask')} in {masks} ({listed(mask_names)})"
        raise HtunetError(
            f"No mask fits an image by its name: {counted(len(names), 'image')} in {images} ({listed(names)})"
            f"{'' if together else f', {found}'}. A mask is named as its image, with _mask, _seg or the like added. "
            f"{WAY_OUT}{_hint_at_annotations(strays)}"
        )
    findings.notes += filter(None, [matched.note, _several_folders(matched.masks_of.values())])
    for name, reason in matched.unmatched.items():
        findings.leave_out(name, reason)
    for name, chosen in matched.masks_of.items():
        if chosen:
            findings.images.append(Found(split=split, base=images, name=name, mask_base=masks, mask_names=chosen))
        else:
            findings.leave_out(name, "an image without a mask")


def _several_folders(masks_of: Iterable[Sequence[str]]) -> str:
    """A note where images have masks of one name in several folders: structures, or readers."""
    folders = [tuple(str(PurePosixPath(mask).parent) for mask in masks) for masks in masks_of]
    torn = [some for some in folders if len({*some}) > 1]
    names = [*dict.fromkeys(name for some in torn for name in some)]
    return (
        f"the masks of {counted(len(torn), 'image')} come from several folders ({listed(names)}) and are merged: equal "
        "values become one label; to keep the folders apart, convert each as a data set of its own"
    ) * bool(torn)


def _hint_at_annotations(strays: Sequence[str]) -> str:
    others = [name for name in strays if name.lower().endswith((".json", ".xml"))]
    return f" Beside the images lie {listed(others)}: for annotations use --annotations." if others else ""


def _find_annotated(findings: Findings, split: str, data: OwnData, images: Path, paths: Sequence[Path]) -> None:
    """Join what the readers of all files marked, image by image, and the labels of both splits by their names."""
    files = [file for path in paths for file in read_annotations(path)]
    readers = list(dict.fromkeys(file.reader for file in files))
    if data.annotator and data.annotator not in readers:
        raise UsageError(
            f"--annotator {data.annotator!r} marked nothing in {images}; the readers are {listed(readers)}."
        )
    files = [file for file in files if data.annotator in ("", file.reader)]
    names, _ = files_in(images, is_image, without=data.folders)
    find = name_finder(names)
    marked: dict[str, list[tuple[str, AnnotatedImage]]] = {name: [] for name in names}
    for file in files:
        for image in file.images:
            name = next(filter(None, map(find, _spellings(image.file_name))), None)
            if name is not None:
                marked[name].append((file.reader, image))
            else:
                requested = image.file_name.replace("\\", "/").removeprefix("./")
                findings.leave_out(requested or "an entry without a name", image.problem or f"not in {images}")
    for name, entries in marked.items():
        reason = next((image.problem for _, image in entries if image.problem), "")
        if len({reader for reader, _ in entries}) < len(entries):
            reason = "several entries of the annotations name this image"
        if not entries or reason:
            findings.leave_out(name, reason or "not in the annotations")
        else:
            annotated = tuple(image for _, image in entries)
            findings.images.append(Found(split=split, base=images, name=name, annotated=annotated))
    if not any(marked.values()):
        requested = listed([image.file_name for file in files for image in file.images])
        raise HtunetError(
            f"No image of {', '.join(map(str, paths))} lies in {images}: it names {requested}; the folder holds "
            f"{listed(names)}."
        )
    findings.notes += dict.fromkeys(note for file in files for note in file.notes)
    several = [name for name, entries in marked.items() if len({reader for reader, _ in entries}) > 1]
    if several:
        findings.notes.append(
            f"marked by several readers: {counted(len(several), 'image')} ({listed(readers)}): a pixel has the "
            "label that "
            "more than half of an image's readers gave it; --annotator takes one of them"
        )
    new = [name for file in files for name in file.labels if name not in findings.label_names]
    if split == TEST and new:
        findings.notes.append(
            f"labels of the test split alone, which nothing can learn: {listed([*dict.fromkeys(new)])}"
        )
    findings.label_names += dict.fromkeys(new)
    findings.unused += [name for file in files for name in file.unused]


def _spellings(file_name: str) -> Iterator[str]:
    """An image as annotations name it, the surest first: as it is, and without what web tools add to a name."""
    plain = unquote(file_name)
    yield from (file_name, plain, plain.split("?")[0])
    yield ADDED_BEFORE.sub("", plain.split("?")[0])
    yield ADDED_BEHIND.sub("", plain)


def _find_nnunet(folder: Path, findings: Findings) -> None:
    """The cases of an nnU-Net folder in any of its formats; imagesTs without labels are not used."""
    path = folder / "dataset.json"
    content = read_object(path)
    labels, ending = nnunet_labels(content, path), str(content.get("file_ending", ".png"))
    findings.values = json.dumps(labels)
    if "dataset" in content:
        _find_listed(folder, content["dataset"], findings)
        return
    unlabelled = []
    for split, images in IMAGE_FOLDERS.items():
        for image, case in ending_with(folder / images, f"_0000{ending}"):
            label = in_any_case(folder / LABEL_FOLDERS[split] / f"{case}{ending}")
            name, masks = f"{images}/{image.name}", (f"{LABEL_FOLDERS[split]}/{label.name}",)
            remarks = (ONE_CHANNEL,) if in_any_case(image.with_name(f"{case}_0001{ending}")).exists() else ()
            if label.exists():
                one = Found(split=split, base=folder, name=name, mask_base=folder, mask_names=masks, id=case,
                            remarks=remarks)  # fmt: skip
                findings.images.append(one)
            elif split == TEST:
                unlabelled.append(name)
            else:
                findings.leave_out(name, "an image without a mask")
        for label, case in ending_with(folder / LABEL_FOLDERS[split], ending):
            if not in_any_case(folder / images / f"{case}_0000{ending}").exists():
                findings.leave_out(f"{LABEL_FOLDERS[split]}/{label.name}", f"a mask without an image _0000{ending}")
        _leave_out_others(folder, split, ending, findings)
    if unlabelled:
        findings.notes.append(
            f"not used, because labelsTs has no label: {counted(len(unlabelled), 'image')} of imagesTs"
        )
    if not findings.images:
        raise HtunetError(f"{folder} holds no image imagesTr/ID_0000{ending} with its mask labelsTr/ID{ending}.")


def _leave_out_others(folder: Path, split: str, ending: str, findings: Findings) -> None:
    """Name the images and masks of nnU-Net's folders whose names are none of a case."""
    images, labels = folder / IMAGE_FOLDERS[split], folder / LABEL_FOLDERS[split]

    def is_stray(path: Path) -> bool:
        plain = path.name[: -len(ending)]
        fits = path.parent in (images, labels) and path.name.lower().endswith(ending.lower())
        if fits and path.parent == images:  # a further channel, of an image or of a mask that is named already
            case = re.sub(r"_\d{4}$", "", plain)
            named = (images / f"{case}_0000{ending}", labels / f"{case}{ending}")
            fits = case != plain and any(in_any_case(one).exists() for one in named)
        return not fits and is_image(path)

    for part, end in ((images, f"_0000{ending}"), (labels, ending)):
        for name in files_in(part, is_stray)[0] if part.is_dir() else ():
            findings.leave_out(f"{part.name}/{name}", f"not named {part.name}/ID{end}, as dataset.json requires")


def _find_listed(folder: Path, entries: object, findings: Findings) -> None:
    """nnU-Net's ``dataset``: the files of each case, relative to dataset.json."""
    if not isinstance(entries, dict):
        raise HtunetError(f"{folder / 'dataset.json'}: 'dataset' must be an object {{case: {{images, label}}}}.")
    for case, entry in entries.items():
        images, label = (entry.get("images"), entry.get("label")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(images, list) and images and isinstance(images[0], str) and isinstance(label, str)):
            findings.leave_out(case, "its entry in dataset.json has no list 'images' or no 'label'")
            continue
        remarks = (ONE_CHANNEL,) if len(images) > 1 else ()
        one = Found(split=TRAIN, base=folder, name=images[0], mask_base=folder, mask_names=(label,), id=case,
                    remarks=remarks)  # fmt: skip
        findings.images.append(one)
    if not findings.images:
        raise HtunetError(f"{folder / 'dataset.json'}: 'dataset' names no case with its 'images' and its 'label'.")
