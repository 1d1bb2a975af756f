"""DICOM and NIfTI files as ultrasound machines and annotation programs write them."""

from pathlib import Path
from typing import Any

import gdcm
import nibabel
import numpy as np
import SimpleITK
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid


def write_dicom(path: Path, frames: np.ndarray, **tags: Any) -> None:
    """(H, W), (N, H, W), (H, W, 3) or (N, H, W, 3); ``tags`` are set last, None leaves one out."""
    colour = frames.ndim > 2 and frames.shape[-1] == 3
    height, width = frames.shape[-3:-1] if colour else frames.shape[-2:]
    several = frames.ndim == (4 if colour else 3)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundMultiFrameImageStorage, generate_uid()
    dataset.Modality, dataset.Rows, dataset.Columns = "US", height, width
    if several:
        dataset.NumberOfFrames = len(frames)
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    bits = frames.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits, bits - 1, 0
    data = frames.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


def compress_dicom(source: Path, target: Path, syntax: str) -> None:
    """The same image in another transfer syntax, by GDCM's name of it."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def us_region(delta_cm: tuple[float, float], *, tissue: bool = True) -> Dataset:
    """One region of an ultrasound image; ``delta_cm`` is the size of a pixel in x and y."""
    region = Dataset()
    region.RegionSpatialFormat = 1 if tissue else 2
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = delta_cm
    return region


def write_nifti(path: Path, slices: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 1.0), unit: str = "mm") -> None:
    """(H, W) or (N, H, W), as a viewer shows them: the file's axes are x, y, z."""
    volume = nibabel.Nifti1Image(slices.T, np.diag([*spacing, 1.0]))
    volume.header.set_xyzt_units(unit)
    volume.header.set_zooms(spacing[: slices.ndim])
    nibabel.save(volume, path)


def as_segmentation(path: Path, *names: str, layer: int = 0) -> None:
    """The mask as 3D Slicer saves it; its segments have the values 1, 2 and so on."""
    target = path.with_suffix(".seg.nrrd")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.asarray(Image.open(path))), str(target))
    path.unlink()
    lines = [f"Segment{n}_{key}:={text}" for n, name in enumerate(names)
             for key, text in (("Name", name), ("LabelValue", n + 1), ("Layer", layer * n))]  # fmt: skip
    target.write_bytes(target.read_bytes().replace(b"\n\n", b"\n" + "\n".join(lines).encode() + b"\n\n", 1))
