"""One image of a user, of any format, with its masks: what a worker process turns into cases."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset_conversion.common import STRETCHED, Written, fit_mask, misfit, same_proportions, write_case
from dataset_conversion.formats.shapes import draw_readers
from dataset_conversion.own_images.matching import numbered
from dataset_conversion.own_images.options import Found
from htunet.data.formats.medical_file import MAYBE_COLOURS, SQUARE, Spacing, check_place
from htunet.data.formats.stacks import TRANSPOSED, Levels, Stack, is_lossy, may_be_transposed, open_stack
from htunet.data.image_io import TURNED, UInt8
from htunet.data.label_maps import OVERLAP, LabelMap
from htunet.data.names import FRAME, listed, printable
from htunet.data.outlines import filled
from htunet.data.raw import IMAGE_FOLDERS, LABEL_FOLDERS, Case, Excluded
from htunet.errors import HtunetError, counted

SNAPPED = "lossy mask values brought to the nearest label"
BLURRED = "mask values between the labels brought to the nearest one"
FILLED = "outlines filled"
UNLIKE_SIDES = "masks whose files give another pixel size than their images: taken pixel for pixel, with the image's"
FIELD_MM = (8.0, 600.0)
NO_FIELD = (
    f"by their pixel size images are not {FIELD_MM[0]:g} to {FIELD_MM[1]:g} mm high or wide, as ultrasound images are: "
    "check that it is in millimetres, not in centimetres"
)
LOW_IS_WHITE = "masks are MONOCHROME1, in which low values are white: their stored values count"


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnImage:
    """An image file and where its labels come from: mask files, annotations, or nowhere (classes alone)."""

    case: Case
    """``spacing_mm`` None: what the file says. A file of several frames is the group of its frames, if it has none."""
    found: Found
    labels: LabelMap | None = None
    """None: the data set has no masks, or ``found.annotated`` has them."""
    label_of: Mapping[str, int] = field(default_factory=dict)
    """The labels of what is marked, by their names."""
    paired: bool = False
    """Whether the user named the masks: several masks of one frame are joined, whatever their names."""
    fit_masks: bool = False
    fill_outlines: bool = False


def write_own_image(job: OwnImage, folder: Path) -> list[Written | Excluded]:
    """Write all frames of one image, or none of them: then it is excluded with the reason.

    Where the frames have masks of their own, those without one are left out and named.
    """
    written: list[Written] = []
    without: list[int] = []
    try:
        for number, one in enumerate(_frames(job, folder), start=1):
            if one:
                written.append(one)
            else:
                without.append(number)
    except HtunetError as error:
        for case in (one.case for one in written):
            (folder / IMAGE_FOLDERS[case.split] / f"{case.id}_0000.png").unlink()
            (folder / LABEL_FOLDERS[case.split] / f"{case.id}.png").unlink(missing_ok=True)
        reason = str(error)
        for path in (job.found.image, *job.found.masks):
            reason = reason.replace(f"{path.parent}{os.sep}", "")
        return [_excluded(job, reason)]
    if without:
        some = listed(list(map(str, without)))
        return [*written, _excluded(job, f"frames without a mask, {len(without)} of {number}: {some}")]
    return list(written)


def _excluded(job: OwnImage, reason: str) -> Excluded:
    return Excluded(source=job.case.source, class_name=job.case.class_name, reason=printable(reason))


def _frames(job: OwnImage, folder: Path) -> Iterator[Written | None]:
    """None: the frame has no mask, and others have."""
    stack = open_stack(job.found.image)
    remarks = (*job.found.remarks, *stack.remarks, *stack.scaling)
    count = 0
    for number, (image, found) in enumerate(zip_longest(stack.gray(), _labels(job, stack)), start=1):
        if image is None or (found is None and (job.labels or job.found.annotated)):
            raise HtunetError("image and mask differ in their number of frames")
        count = number
        if found and not found.masks:
            yield None
            continue
        mask, masks, more = (found.labels, found.masks, found.remarks) if found else (None, 1, ())
        fitted = mask is not None and mask.shape != image.shape
        if found:
            is_square = found.labels.shape[0] == found.labels.shape[1]
            more = (*more, *_remarks_on_place(found.files, stack, fitted=fitted, is_square=is_square))
        case = replace(job.case, spacing_mm=job.case.spacing_mm or stack.spacing_mm)
        more = (*more, *_remarks_on_size(case.spacing_mm, image.shape))
        if stack.frames > 1:
            case = replace(case, id=f"{case.id}{FRAME}{number:04d}", group=case.group or case.id)
        if mask is not None and fitted:
            if reason := misfit(image, {"mask": mask}, fit_masks=job.fit_masks):
                raise HtunetError(reason)
            more = more if same_proportions(mask.shape, image.shape) else (*more, STRETCHED)
        mask = None if mask is None else fit_mask(mask, image.shape)
        one = write_case(folder, case, image, mask, masks=masks, fitted=fitted)
        yield replace(one, remarks=(*remarks, *stack.seen, *more))
    if count != stack.frames:
        raise HtunetError(f"it has {counted(count, 'frame')} and claims {stack.frames}")


def _remarks_on_place(masks: Sequence[Stack], image: Stack, *, fitted: bool, is_square: bool) -> tuple[str, ...]:
    """What a user should know of the places of masks by their headers; ``fitted``: they are of another size.

    Raises HtunetError for a mask of another place, or of a part of the image, which no resizing makes fit.
    """
    remarks = []
    for mask in masks:
        known = mask.sides_mm and image.sides_mm
        alike = bool(known and np.allclose(mask.sides_mm or (), image.sides_mm or (), rtol=SQUARE))
        if fitted and alike:
            raise HtunetError(
                f"{mask.path.name} has another number of pixels than the image, of the same size: it is of a part "
                "of it. Resample it onto the image, such as with SimpleITK.Resample (3D Slicer: export it as a "
                "labelmap with the image as its reference)"
            )
        remarks += [check_place(f"the mask {mask.path.name}", mask, "the image", image)]
        remarks += [UNLIKE_SIDES] if known and not alike and not fitted else []
        unsure = is_square and (may_be_transposed(mask, image) or may_be_transposed(image, mask))
        remarks += [TRANSPOSED] if unsure else []
    return tuple(filter(None, dict.fromkeys(remarks)))


def _remarks_on_size(spacing: Spacing | None, size: tuple[int, ...]) -> tuple[str, ...]:
    """A remark where the longer side of an image, (height, width) in pixels, is none of an ultrasound image."""
    sides = spacing if isinstance(spacing, tuple) else (spacing or 0.0,) * 2
    longest = max(pixels * side for pixels, side in zip(size, sides, strict=True))
    return (NO_FIELD,) * (spacing is not None and not FIELD_MM[0] <= longest <= FIELD_MM[1])


class _Labels(NamedTuple):
    """The labels of one frame."""

    labels: UInt8
    remarks: tuple[str, ...] = ()
    masks: int = 1
    """Number of mask files that were joined; 0 if this frame has none although other frames have."""
    files: Sequence[Stack] = ()


NO_MASK = _Labels(np.zeros((0, 0), np.uint8), masks=0)


def _labels(job: OwnImage, image: Stack) -> Iterator[_Labels]:
    """Frame by frame; nothing where the data set has no masks."""
    if job.found.annotated:
        size = job.found.annotated[0].size or next(iter(image.gray())).shape
        yield _Labels(*draw_readers(job.found.annotated, job.label_of, size))
    elif job.labels is not None:
        stacks = [open_stack(path) for path in job.found.masks]
        of_frame = numbered(job.found.image.name, [path.name for path in job.found.masks])
        if of_frame and not (job.paired and image.frames == 1) and all(mask.frames == 1 for mask in stacks):
            if strange := sorted(of_frame.keys() - set(range(1, image.frames + 1))):
                name = job.found.masks[of_frame[strange[0]][0]].name
                raise HtunetError(f"{name} is the mask of frame {strange[0]}, the image has {image.frames}")
            for number in range(1, image.frames + 1):
                chosen = [stacks[position] for position in of_frame.get(number, ())]
                levels = tuple(level for mask in chosen for level in mask.levels())
                yield _joined(job, job.labels, chosen, levels) if chosen else NO_MASK
            return
        if frames := [mask.frames for mask in stacks if mask.frames != image.frames]:
            colours = f" ({MAYBE_COLOURS})" if frames[0] == 1 and MAYBE_COLOURS in image.remarks else ""
            raise HtunetError(f"the image has {counted(image.frames, 'frame')}, its mask {frames[0]}{colours}")
        for levels in zip(*(mask.levels() for mask in stacks), strict=False):
            yield _joined(job, job.labels, stacks, levels)


def _joined(job: OwnImage, label_map: LabelMap, masks: Sequence[Stack], levels: tuple[Levels, ...]) -> _Labels:
    """The labels of all masks of one frame; where two mark a pixel the later mask wins."""
    if len({one.shape for one in levels}) > 1:
        raise HtunetError("its masks differ in size")
    labels = np.zeros(levels[0].shape, dtype=np.uint8)
    remarks: list[str] = []
    for mask, one in zip(masks, levels, strict=True):
        path = mask.path
        try:
            found, moved = label_map.apply(one)
        except HtunetError as error:
            raise HtunetError(f"{path.name if len(masks) > 1 else 'its mask'} {error}") from None
        remarks += [f"masks {TURNED}"] if TURNED in mask.remarks else []
        remarks += [LOW_IS_WHITE] if mask.inverted and mask.rescale == (1.0, 0.0) else []
        whole = filled(found) if job.fill_outlines else found
        if not np.array_equal(whole, found):
            remarks.append(FILLED)
        remarks += [OVERLAP] if ((whole > 0) & (labels > 0) & (whole != labels)).any() else []
        labels = np.where(whole > 0, whole, labels)
        if moved:
            remarks.append(SNAPPED if is_lossy(path) else BLURRED)
    return _Labels(labels, tuple(dict.fromkeys(remarks)), len(masks), masks)
