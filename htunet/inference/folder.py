"""Predict any image files: a folder in, masks of the same names and sizes out, or a table of classes, or both.

A file of one picture gets one PNG. Of several frames (a cine loop, the pages of a TIFF) each gets one, numbered as
conversions do: ``NAME__0001.png``. A volume or sequence (NIfTI, MHA, NRRD) gets one file of its format, with its place
in space.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os.path import commonpath
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from htunet.data.class_probabilities import ClassProbabilities
from htunet.data.folders import files_in
from htunet.data.formats.medical_file import NoPictureError
from htunet.data.formats.stacks import ENDINGS, Stack, is_image, masks_ending, open_stack, write_masks
from htunet.data.image_io import UInt8, write_png
from htunet.data.names import FRAME, listed, printable, stem_of
from htunet.errors import HtunetError, UsageError, counted
from htunet.files import LONGEST_FILE_NAME, whole_file
from htunet.inference.prediction import Prediction
from htunet.inference.predictor import Predictor

SEGMENTATION_OBJECT = ".seg.dcm"
DRAWN = "_variance.png"
"""The longest ending of what is drawn of an image."""


@dataclass(frozen=True)
class FolderResult:
    """What became of image files."""

    predicted: list[Path] = field(default_factory=list)
    """The files that were predicted."""
    images: list[str] = field(default_factory=list)
    """Their pictures or frames, as ``classes.csv`` names them."""
    masks: list[Path] = field(default_factory=list)
    """What was written, where masks are learnt: one file an image, or one a volume."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """File name to the reason."""
    no_pictures: dict[str, str] = field(default_factory=dict)
    """The same of files that are intact and contain no image, such as DICOM reports and directories."""
    without_object: dict[str, str] = field(default_factory=dict)
    """DICOM file of which no segmentation object could be made, to the reason; its masks are there."""
    remarks: dict[str, str] = field(default_factory=dict)
    """File to what a user should know of how it was read."""
    empty: list[str] = field(default_factory=list)
    """Images in which nothing was found."""
    unlike: list[str] = field(default_factory=list)
    """Images that are unlike the training images, where that is known."""
    doubted: list[str] = field(default_factory=list)
    """Images in which the mask marks something where the model's own classes say that there is no lesion."""
    rows_of_others: int = 0
    """Images of earlier calls that the tables of the output have rows of."""
    classes: ClassProbabilities | None = None
    """Of each image, where classes are learnt."""


@dataclass(frozen=True)
class PartOfFolder:
    """Some of a folder's images, which are predicted as if all were."""

    names: Sequence[str]
    """What the outputs of each are called, without ending: those of ``output_names`` of all."""
    tables: Path | None = None
    """Where tables are written; None: in the output."""


def images_in(folder: Path) -> list[Path]:
    """The readable images of a folder at any depth, or the one file; raises UsageError when there are none."""
    return images_and_others(folder)[0]


def images_and_others(folder: Path, without: Sequence[Path] = ()) -> tuple[list[Path], list[str]]:
    """The image files of ``folder`` outside the trees ``without``, and the names of others; raises as ``images_in``."""
    if folder.is_file():
        return [folder], []
    if not folder.is_dir():
        raise UsageError(f"{folder} is neither a folder nor an image.")
    names, others = files_in(folder, is_image, without=without)
    if not names:
        raise UsageError(
            f"{folder} holds no image; read are {', '.join(ENDINGS)} and DICOM. It holds {listed(others)}."
        )
    return [folder / name for name in names], others


def predict_folder(
    predictor: Predictor,
    images: Sequence[Path],
    output: Path,
    *,
    base: Path | None = None,
    save_probabilities: bool = False,
    dicom_seg: bool = False,
    after_each: Callable[[Prediction, Path], None] | None = None,
    part: PartOfFolder | None = None,
) -> FolderResult:
    """Write the masks (labels 0..K, original size) of each image file, and find the classes, as the run has learnt.

    Args:
        predictor: What predicts.
        images: Files of any readable format.
        output: A folder, in which the files have the folders and names that they have below ``base``. Where two files
            would have one name (``a.png`` and ``a.jpg``), the names keep the endings: ``a.png.png``, ``a.jpg.png``.
        base: A folder above all images; None for the lowest one.
        save_probabilities: Also ``NAME.npz`` with ``probabilities`` (K, H, W) float16 in the size of the image.
        dicom_seg: Also ``NAME.seg.dcm`` for each DICOM file, a segmentation object of all its frames.
        after_each: Gets each image's prediction and the path of its mask, as if each frame had a PNG; without a mask
            that of the image in the output.
        part: Where the images are some of many.

    Returns:
        Also the files that cannot be read, of which nothing is written; the others are predicted.

    Raises:
        UsageError: ``output`` is the images' own folder.
        HtunetError: None of the files can be read.
    """
    if not (base and base.is_dir()):
        base = Path(commonpath([path.parent.absolute() for path in images]))
    files = [path.absolute().relative_to(base.absolute()).as_posix() for path in images]
    names = part.names if part else output_names(files)
    if predictor.segments:
        _refuse_among_images(images, (output / name for name in names))
    output.mkdir(parents=True, exist_ok=True)
    result, classes = FolderResult(), list[list[float]]()
    jobs = zip(images, files, names, strict=True)
    for path, shown, name in tqdm(jobs, total=len(images), unit="file", disable=None):
        try:
            stack = open_stack(path)
            _refuse_long_name(name, stack, ".png" if after_each is None else DRAWN, dicom_seg=dicom_seg)
            predictions = _predictions(predictor, stack)
        except HtunetError as error:
            (result.no_pictures if isinstance(error, NoPictureError) else result.unreadable)[shown] = str(error)
            continue
        masks = list[UInt8]()
        for number, found in enumerate(predictions, start=1):
            mark = f"{FRAME}{number:04d}" if stack.frames > 1 else ""
            result.images.append(_marked(shown, mark))
            if found.network_classes is not None:
                classes.append(list(found.network_classes.values()))
            if found.labels is None:
                if after_each:
                    after_each(found, output / result.images[-1])
                continue
            if masks_ending(path) or (dicom_seg and stack.is_dicom):
                masks.append(found.labels)
            _write_image(found, output, f"{name}{mark}", result, mask=not masks_ending(path), scores=save_probabilities)
            if after_each:
                after_each(found, output / f"{name}{mark}.png")
        if masks:
            try:
                _write_stack(stack, output / name, np.stack(masks), predictor.plan.labels, result)
            except HtunetError as error:
                result.without_object[shown] = str(error)
        result.predicted.append(path)
        if remarks := (*stack.remarks, *stack.seen, *stack.scaling):
            result.remarks[shown] = "; ".join(remarks)
    if not result.predicted and not part:
        raise HtunetError(
            "None of the images can be read: " + " ".join({**result.unreadable, **result.no_pictures}.values())
        )
    cases = tuple(map(printable, result.images))
    of_images = ClassProbabilities(  # the true classes of new images are not known
        classes=predictor.classes, cases=cases, truth=("",) * len(cases), values_NK=np.array(classes)
    )
    return replace(result, classes=of_images if classes else None)


def _refuse_long_name(name: str, stack: Stack, ending: str, *, dicom_seg: bool) -> None:
    """Raise HtunetError where a file system would refuse a name of what is written of an image."""
    marked = f"{FRAME}{stack.frames:04d}{ending}" if stack.frames > 1 else ending
    longest = max(marked, SEGMENTATION_OBJECT * (dicom_seg and stack.is_dicom), key=len)
    if (length := len(os.fsencode(f"{PurePosixPath(name).name}{longest}"))) > LONGEST_FILE_NAME:
        raise HtunetError(
            f"What is written of {stack.path} would have names of {length} bytes, {LONGEST_FILE_NAME} are possible. "
            "Give the file a shorter name."
        )


def _predictions(predictor: Predictor, stack: Stack) -> Iterable[Prediction]:
    """The frames of a file, predicted one by one; raises HtunetError where not all of them can be read."""
    if stack.frames == 1:
        return list(predictor.predict_frames(stack))
    count = sum(1 for _ in stack.images(1))
    if count != stack.frames:
        raise HtunetError(
            f"The image {stack.path} has {counted(count, 'frame')} and claims {stack.frames}. Replace it or "
            "take it out."
        )
    return predictor.predict_frames(stack)


def _write_image(found: Prediction, output: Path, name: str, result: FolderResult, *, mask: bool, scores: bool) -> None:
    """What one image has files of its own for, and whether anything was found in it."""
    assert found.labels is not None
    if mask:
        result.masks.append(output / f"{name}.png")
        write_png(result.masks[-1], found.labels)
    if scores:
        assert found.probabilities is not None
        with whole_file(output / f"{name}.npz") as part, part.open("wb") as stream:
            np.savez_compressed(stream, probabilities=found.probabilities.astype(np.float16))
    if not found.labels.any():
        result.empty.append(result.images[-1])


def _write_stack(stack: Stack, target: Path, masks_NHW: UInt8, labels: Mapping[str, int], result: FolderResult) -> None:
    """The masks of all frames in one file."""
    if ending := masks_ending(stack.path):
        result.masks.append(target.with_name(f"{target.name}{ending}"))
        write_masks(stack.path, result.masks[-1], masks_NHW)
    else:
        from htunet.data.formats.dicom_seg import write_segmentation

        write_segmentation(stack, target.with_name(f"{target.name}{SEGMENTATION_OBJECT}"), masks_NHW, labels)


def _refuse_among_images(images: Sequence[Path], masks: Iterable[Path]) -> None:
    for path, mask in zip(images, masks, strict=True):
        if mask.parent.resolve() == path.parent.resolve():
            raise UsageError(
                f"The mask of {path.name} would be written among the images. Choose another output folder."
            )


def output_names(files: Sequence[str]) -> list[str]:
    """What the masks of files are called, without ending: each its own name, whatever the letter case.

    >>> output_names(["a.png", "a.jpg", "b/a.png", "c.tif", "c__0001.png"])
    ['a.png', 'a.jpg', 'b/a', 'c.tif', 'c__0001']
    """
    stems = [str(PurePosixPath(file).with_name(stem_of(file))) for file in files]
    plain = [stem.lower().rsplit(FRAME, 1)[0] for stem in stems]
    counts = Counter(stem.lower() for stem in stems) + Counter(
        {part for part, stem in zip(plain, stems, strict=True) if part != stem.lower()}
    )
    choices = [stem if counts[stem.lower()] == 1 else file for stem, file in zip(stems, files, strict=True)]
    given, names = Counter(name.lower() for name in choices), list[str]()
    for name in choices:
        number = 2
        while given[name.lower()] > 1:
            given[name.lower()] -= 1
            name, number = f"{choices[len(names)]}_{number}", number + 1
            given[name.lower()] += 1
        names.append(name)
    return names


def _marked(file: str, mark: str) -> str:
    """The name of a file with a mark before its ending: ``b/pages__0001.tif``."""
    path = PurePosixPath(file)
    stem = stem_of(path.name)
    return str(path.with_name(f"{stem}{mark}{path.name.removeprefix(stem)}"))
