"""Every format through every door: conversion, folders used in place, prediction, captions and the exported runner.

The pixels of each file are known beforehand; a door that reads other ones shows a model what it was not trained on.
"""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from builders.medical import compress_dicom, write_dicom
from builders.training import Plain, tiny_plan
from PIL import Image

from dataset_conversion.captions.images import reduced
from dataset_conversion.own_images.cases import OwnImage, write_own_image
from htunet.data.formats.stacks import open_stack
from htunet.data.image_io import in_channels, open_image, read_image
from htunet.data.raw import Case
from htunet.inference import run_onnx
from htunet.inference.predictor import Predictor
from htunet.models.precision import FP32

GRAY = np.arange(192, dtype=np.uint8).reshape(12, 16)
"""Unlike every turned and every stretched copy of itself."""
COLOURS = np.stack([GRAY, 255 - GRAY, GRAY // 2], axis=2)
TWO = np.stack([GRAY, GRAY[:, ::-1]])
WIDE = GRAY.astype(np.uint16) * 17 + 300


class Bright(Plain):
    """Calls bright pixels a lesion, of gray images and colours alike."""

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        bright = (images_BCHW.float().mean(dim=1, keepdim=True) - 127.5) / 10
        return torch.cat([-bright, bright], dim=1)


Writer = Callable[[Path], object]


def hidden(path: Path) -> None:
    """White where the picture is transparent, as programs that crop leave it."""
    alpha = np.where(GRAY < 100, 255, 0).astype(np.uint8)
    white = np.where(alpha > 0, GRAY, 255).astype(np.uint8)
    Image.fromarray(np.dstack([white, white, white, alpha])).save(path)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(GRAY)).save(path, exif=exif)


def frames(path: Path, **options: object) -> None:
    first, second = map(Image.fromarray, TWO)
    first.save(path, save_all=True, append_images=[second], **options)


def lossless_dicom(path: Path) -> None:
    write_dicom(path.with_name("plain"), TWO)
    compress_dicom(path.with_name("plain"), path, "JPEGLosslessProcess14_1")


def without_preamble(path: Path) -> None:
    write_dicom(path.with_name("plain"), TWO)
    path.write_bytes(path.with_name("plain").read_bytes()[132:])


FILES: dict[str, tuple[Writer, np.ndarray]] = {
    "gray.png": (lambda path: Image.fromarray(GRAY).save(path), GRAY),
    "gray.BMP": (lambda path: Image.fromarray(GRAY).save(path), GRAY),
    "gray.tiff": (lambda path: Image.fromarray(GRAY).save(path), GRAY),
    "gray.gif": (lambda path: Image.fromarray(GRAY).save(path), GRAY),
    "gray.webp": (lambda path: Image.fromarray(GRAY).save(path, lossless=True), GRAY),
    "gray_as_rgb.png": (lambda path: Image.fromarray(np.dstack([GRAY] * 3)).save(path), GRAY),
    "colours.png": (lambda path: Image.fromarray(COLOURS).save(path), COLOURS),
    "colours.webp": (lambda path: Image.fromarray(COLOURS).save(path, lossless=True), COLOURS),
    "palette.png": (lambda path: Image.fromarray(COLOURS // 128 * 128).quantize(8).save(path), COLOURS // 128 * 128),
    "within_8_bits.png": (lambda path: Image.fromarray(GRAY.astype(np.uint16)).save(path), GRAY),
    "wide.tif": (lambda path: Image.fromarray(WIDE).save(path), np.round(GRAY * (255 / 191)).astype(np.uint8)),
    "floats.tif": (lambda path: Image.fromarray(GRAY / np.float32(191)).save(path), np.round(GRAY * (255 / 191))),
    "hidden.png": (hidden, np.where(GRAY < 100, GRAY, 0).astype(np.uint8)),
    "turned.png": (turned, GRAY),
    "turned.tif": (turned, GRAY),
    "pages.tif": (frames, TWO),
    "loop.gif": (frames, TWO),
    "loop.webp": (lambda path: frames(path, lossless=True), TWO),
    "one.dcm": (lambda path: write_dicom(path, GRAY), GRAY),
    "1.2.840.10": (lambda path: write_dicom(path, GRAY), GRAY),
    "mono1.dcm": (lambda path: write_dicom(path, 255 - GRAY, PhotometricInterpretation="MONOCHROME1"), GRAY),
    "colours.dcm": (lambda path: write_dicom(path, COLOURS), COLOURS),
    "cine": (lossless_dicom, TWO),
    "no_preamble.dcm": (without_preamble, TWO),
    "volume.nii.gz": (lambda path: nibabel.save(nibabel.Nifti1Image(TWO.T, np.eye(4)), path), TWO),
    "slice.nii": (lambda path: nibabel.save(nibabel.Nifti1Image(GRAY.T, np.eye(4)), path), GRAY),
    "sequence.mha": (lambda path: SimpleITK.WriteImage(SimpleITK.GetImageFromArray(TWO), str(path)), TWO),
    "colours.nrrd": (
        lambda path: SimpleITK.WriteImage(SimpleITK.GetImageFromArray(COLOURS, isVector=True), str(path)),
        COLOURS,
    ),
}


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    """A file, and what each of its frames shows: (H, W) gray or (H, W, 3)."""
    write, expected = FILES[request.param]
    write(tmp_path / request.param)
    expected = expected.astype(np.uint8)
    return tmp_path / request.param, list(expected) if expected.shape[:1] == (2,) else [expected]


def is_picture(path: Path, expected: list[np.ndarray]) -> bool:
    return len(expected) == 1 and path.suffix.lower() in (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")


def test_conversions_write_these_pixels(file: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    path, expected = file
    written = write_own_image(OwnImage(case=Case(id="x"), image=path), tmp_path / "raw")
    found = [read_image(tmp_path / "raw" / "imagesTr" / f"{one.case.id}_0000.png", 1) for one in written]
    np.testing.assert_array_equal(found, [in_channels(frame, 1) for frame in expected])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_sees_these_pixels(file: tuple[Path, list[np.ndarray]], channels: int) -> None:
    path, expected = file
    plan = tiny_plan(channels=channels)
    predictor = Predictor(Bright(2), plan, device=torch.device("cpu"), precision=FP32)
    pixels = [in_channels(frame, channels) for frame in expected]
    found = list(predictor.predict_frames(open_stack(path)))
    np.testing.assert_array_equal([one.image_CHW for one in found], pixels)
    if len(expected) == 1:
        np.testing.assert_array_equal(predictor.predict(path).image_CHW, pixels[0])
        np.testing.assert_array_equal(predictor.predict(expected[0]).labels, found[0].labels)


@pytest.mark.parametrize("channels", [1, 3])
def test_folders_in_place_and_the_exported_runner_see_these_pixels(
    file: tuple[Path, list[np.ndarray]], channels: int
) -> None:
    path, expected = file
    if is_picture(path, expected):
        pixels = in_channels(expected[0], channels)
        np.testing.assert_array_equal(read_image(path, channels), pixels)
        np.testing.assert_array_equal(np.atleast_3d(run_onnx.read(path, channels)).transpose(2, 0, 1), pixels)
    else:
        with pytest.raises(Exception, match=r"cannot identify|several pages or frames"):
            run_onnx.read(path, channels)


def test_images_with_captions_have_these_pixels(file: tuple[Path, list[np.ndarray]]) -> None:
    path, expected = file
    if is_picture(path, expected):
        np.testing.assert_array_equal(np.asarray(reduced(open_image(path))), expected[0])
