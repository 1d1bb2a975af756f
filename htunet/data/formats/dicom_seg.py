"""DICOM Segmentation objects of ultrasound images: binary, one frame for each label and frame of the image.

Such images have no place in a patient's space (no frame of reference), so a frame is tied to its image by the instance
and the number of the frame there. As any object of a study it names the patient, as its image does.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from htunet import __version__
from htunet.data.formats.dicom import read_header
from htunet.data.formats.stacks import Stack
from htunet.data.image_io import UInt8
from htunet.errors import HtunetError
from htunet.files import whole_file

if TYPE_CHECKING:
    from pydicom import Dataset

MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
"""Tags that an object must have and a study need not fill in."""
REFERENCE = "ReferencedSOPClassUID"


def check_package() -> None:
    """Raise HtunetError where the package of the extra ``dicom`` is missing."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise HtunetError(
            f"DICOM Segmentation objects need the package highdicom, which is not here ({error}). Install it: "
            "pip install 'htunet[dicom]'."
        ) from error


def write_segmentation(stack: Stack, target: Path, masks_NHW: UInt8, labels: Mapping[str, int]) -> None:
    """Write the masks (0..K) of all frames of a DICOM file as one object; ``labels`` names 0..K.

    Raises HtunetError where the image lacks what ties an object to it.
    """
    from pydicom.uid import UltrasoundImageStorage, generate_uid

    source: Any = read_header(stack.path)
    if missing := [name for name in ("SOPClassUID", "SOPInstanceUID") if not source.get(name)]:
        raise HtunetError(f"{stack.path} lacks {' and '.join(missing)}, which an object of it must refer to.")
    for name in MAY_BE_EMPTY:
        if name not in source:
            setattr(source, name, "")
    for name in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not source.get(name):
            setattr(source, name, generate_uid(entropy_srcs=[source.SOPInstanceUID, name]))
    source.StudyDate = str(source.StudyDate or "").replace(".", "")  # as DICOM wrote them before 1993
    source.StudyTime = str(source.StudyTime or "").replace(":", "")
    source.pop("FrameOfReferenceUID", None)
    if "NumberOfFrames" in source:
        source.NumberOfFrames = 1
    try:
        true_class, source.SOPClassUID = source.SOPClassUID, UltrasoundImageStorage  # any other of one frame alike
        result = _of_one_frame(source, masks_NHW[:1], labels)
        result.walk(lambda _, tag: setattr(tag, "value", true_class) if tag.keyword == REFERENCE else None)
        if stack.sides_mm:
            _add_pixel_measures(result, stack.sides_mm)
        _add_frames(result, masks_NHW, sorted(value for value in labels.values() if value))
        with whole_file(target) as part:
            result.save_as(part)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever an odd header makes the library stumble over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise HtunetError(f"No segmentation object of {stack.path} can be made ({reason}).") from None


def _of_one_frame(source: "Dataset", masks_NHW: UInt8, labels: Mapping[str, int]) -> Any:  # noqa: ANN401
    """The object of an image with one frame, all labels described."""
    import highdicom
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence("htunet", codes.DCM.ArtificialIntelligence, __version__)
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=value,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for name, value in sorted(labels.items(), key=lambda item: item[1])
        if value
    ]
    return highdicom.seg.Segmentation(
        source_images=[source],
        pixel_array=masks_NHW,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="htunet",
        manufacturer_model_name="htunet",
        software_versions=__version__,
        device_serial_number="none",
        omit_empty_frames=False,
    )


def _add_pixel_measures(result: Any, sides_mm: tuple[float, float]) -> None:  # noqa: ANN401
    import highdicom

    measures = highdicom.PixelMeasuresSequence(pixel_spacing=sides_mm, slice_thickness=None)
    measures[0].SliceThickness = None  # not known; readers ask for the tag
    result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = measures


def _add_frames(result: Any, masks_NHW: UInt8, values: list[int]) -> None:  # noqa: ANN401
    """A frame for each label and each frame of the image, in this order, instead of the first frame's alone."""
    from pydicom import Dataset
    from pydicom.pixels import pack_bits
    from pydicom.tag import Tag

    position = Dataset()
    position.DimensionOrganizationUID = result.DimensionIndexSequence[0].DimensionOrganizationUID
    position.DimensionIndexPointer = Tag("InStackPositionNumber")
    position.FunctionalGroupPointer = Tag("FrameContentSequence")
    position.DimensionDescriptionLabel = "In-Stack Position Number"
    result.DimensionIndexSequence.append(position)
    result.SharedFunctionalGroupsSequence[0].pop("SegmentIdentificationSequence", None)  # where there is one label
    first, frames = result.PerFrameFunctionalGroupsSequence[0], []
    for segment in values:
        for number in range(1, len(masks_NHW) + 1):
            frame, identification = deepcopy(first), Dataset()
            identification.ReferencedSegmentNumber = segment
            frame.SegmentIdentificationSequence = [identification]
            content = frame.FrameContentSequence[0]
            content.StackID, content.InStackPositionNumber = "1", number
            content.DimensionIndexValues = [segment, number]
            if len(masks_NHW) > 1:
                frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = number
            frames.append(frame)
    result.PerFrameFunctionalGroupsSequence = frames
    result.NumberOfFrames = len(frames)
    result.PixelData = pack_bits(np.concatenate([masks_NHW == value for value in values]).astype(np.uint8))
