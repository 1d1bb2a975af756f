"""One image of a user, of any format, with its masks: what a worker process turns into cases."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from dataset_conversion.common import Written, fit_mask, misfit, write_case
from dataset_conversion.formats.shapes import AnnotatedImage, draw_readers
from htunet.data.formats.stacks import SCALED, Levels, Stack, is_lossy, open_stack
from htunet.data.image_io import UInt8
from htunet.data.label_maps import LabelMap
from htunet.data.names import FRAME, printable
from htunet.data.outlines import filled
from htunet.data.raw import IMAGE_FOLDERS, LABEL_FOLDERS, Case, Excluded
from htunet.errors import HtunetError

SNAPPED = "lossy mask values brought to the nearest label"
BLURRED = "mask values between the labels brought to the nearest one"
FILLED = "outlines filled"


@dataclass(frozen=True, kw_only=True)
class OwnImage:
    """An image file and where its labels come from: mask files, annotations, or nowhere (classes alone)."""

    case: Case
    """``spacing_mm`` None: what the file says. A file of several frames is the group of its frames, if it has none."""
    image: Path
    masks: tuple[Path, ...] = ()
    labels: LabelMap | None = None
    """None: the data set has no masks, or ``annotated`` has them."""
    annotated: tuple[AnnotatedImage, ...] = ()
    """What each reader marked."""
    label_of: Mapping[str, int] = field(default_factory=dict)
    """The labels of what is marked, by their names."""
    fit_masks: bool = False
    fill_outlines: bool = False
    remarks: tuple[str, ...] = ()


def write_own_image(job: OwnImage, folder: Path) -> list[Written | Excluded]:
    """Write all frames of one image, or none of them: then it is excluded with the reason."""
    written: list[Written] = []
    try:
        for one in _frames(job, folder):
            written.append(one)  # noqa: PERF402 - what was written before an error has to be known
    except HtunetError as error:
        for case in (one.case for one in written):
            (folder / IMAGE_FOLDERS[case.split] / f"{case.id}_0000.png").unlink()
            (folder / LABEL_FOLDERS[case.split] / f"{case.id}.png").unlink(missing_ok=True)
        reason = str(error)
        for path in (job.image, *job.masks):
            reason = reason.replace(f"{path.parent}{os.sep}", "")
        return [Excluded(source=job.case.source, class_name=job.case.class_name, reason=printable(reason))]
    return list(written)


def _frames(job: OwnImage, folder: Path) -> Iterator[Written]:
    stack = open_stack(job.image)
    remarks = (*job.remarks, *stack.remarks, *([SCALED] if stack.is_scaled else []))
    count = 0
    for number, (image, found) in enumerate(zip_longest(stack.gray(), _labels(job, stack)), start=1):
        if image is None or (found is None and (job.labels or job.annotated)):
            raise HtunetError("image and mask differ in their number of frames")
        mask, more = found or (None, ())
        case = replace(job.case, spacing_mm=job.case.spacing_mm or stack.spacing_mm)
        if stack.frames > 1:
            case = replace(case, id=f"{case.id}{FRAME}{number:04d}", group=case.group or case.id)
        fitted = mask is not None and mask.shape != image.shape
        if mask is not None and (reason := misfit(image, {"mask": mask}, fit_masks=job.fit_masks)):
            raise HtunetError(reason)
        mask = None if mask is None else fit_mask(mask, image.shape)
        one = write_case(folder, case, image, mask, masks=max(1, len(job.masks)), fitted=fitted)
        yield replace(one, remarks=(*remarks, *more))
        count = number
    if count != stack.frames:
        raise HtunetError(f"it has {count} frames and claims {stack.frames}")


def _labels(job: OwnImage, image: Stack) -> Iterator[tuple[UInt8, tuple[str, ...]]]:
    """Labels and remarks, frame by frame; nothing where the data set has no masks."""
    if job.annotated:
        size = job.annotated[0].size or next(iter(image.gray())).shape
        yield draw_readers(job.annotated, job.label_of, size)
    elif job.labels is not None:
        stacks = [open_stack(path) for path in job.masks]
        if frames := [mask.frames for mask in stacks if mask.frames != image.frames]:
            raise HtunetError(f"the image has {image.frames} frames, its mask {frames[0]}")
        for levels in zip(*(mask.levels() for mask in stacks), strict=False):
            yield _joined(job, job.labels, levels)


def _joined(job: OwnImage, label_map: LabelMap, levels: tuple[Levels, ...]) -> tuple[UInt8, tuple[str, ...]]:
    """The labels of all masks of one frame; where two mark a pixel the later mask wins."""
    if len({one.shape for one in levels}) > 1:
        raise HtunetError("its masks differ in size")
    labels = np.zeros(levels[0].shape, dtype=np.uint8)
    remarks: list[str] = []
    for path, one in zip(job.masks, levels, strict=True):
        try:
            found, moved = label_map.apply(one)
        except HtunetError as error:
            raise HtunetError(f"{path.name} {error}") from None
        whole = filled(found) if job.fill_outlines else found
        if not np.array_equal(whole, found):
            remarks.append(FILLED)
        labels = np.where(whole > 0, whole, labels)
        if moved:
            remarks.append(SNAPPED if is_lossy(path) else BLURRED)
    return labels, tuple(dict.fromkeys(remarks))
