"""Every format through every door: conversion, arrays, prediction, evaluation, robustness, captions, the runner.

The pixels of each file are known beforehand; a door that reads other ones shows a model what it was not trained on, or
scores it against what nobody drew.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from builders.medical import compress_dicom, write_dicom
from builders.training import Bright, tiny_plan
from PIL import Image

from dataset_conversion.captions.images import reduced
from dataset_conversion.own_images.cases import OwnImage, write_own_image
from dataset_conversion.own_images.options import Found
from htunet.data.formats.stacks import open_stack
from htunet.data.image_io import in_channels, open_image, read_image, read_labels, write_png
from htunet.data.label_maps import infer, survey
from htunet.data.names import stem_of
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import ENDINGS, Case, DatasetInfo, RawDataset
from htunet.evaluation.evaluate import evaluate_folders
from htunet.evaluation.overlap import count
from htunet.inference import run_onnx
from htunet.inference.predictor import Predictor
from htunet.inference.versions import predict_versions
from htunet.models.precision import FP32
from htunet.paths import DatasetPaths
from htunet.preprocessing.cropping import crop_box
from htunet.preprocessing.geometry import to_input
from htunet.preprocessing.preprocess import preprocess

GRAY = np.arange(192, dtype=np.uint8).reshape(12, 16)
"""Unlike every turned and every stretched copy of itself."""
COLOURS = np.stack([GRAY, 255 - GRAY, GRAY // 2], axis=2)
TWO = np.stack([GRAY, GRAY[:, ::-1]])
WIDE = GRAY.astype(np.uint16) * 17 + 300


Writer = Callable[[Path, np.ndarray], object]


def picture(path: Path, pixels: np.ndarray, **options: object) -> None:
    Image.fromarray(pixels).save(path, **options)


def hidden(path: Path, pixels: np.ndarray) -> None:
    """White where the picture is transparent, as programs that crop leave it."""
    white = np.where(pixels > 0, pixels, 255).astype(np.uint8)
    Image.fromarray(np.dstack([white, white, white, np.where(pixels > 0, 255, 0).astype(np.uint8)])).save(path)


def turned(path: Path, pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(pixels)).save(path, exif=exif)


def frames(path: Path, pixels: np.ndarray, **options: object) -> None:
    first, second = map(Image.fromarray, pixels)
    first.save(path, save_all=True, append_images=[second], **options)


def dicom_as(syntax: str) -> Writer:
    def write(path: Path, pixels: np.ndarray) -> None:
        write_dicom(path.with_name("plain"), pixels)
        compress_dicom(path.with_name("plain"), path, syntax)
        path.with_name("plain").unlink()

    return write


def without_preamble(path: Path, pixels: np.ndarray) -> None:
    write_dicom(path, pixels)
    path.write_bytes(path.read_bytes()[132:])


def nifti(path: Path, pixels: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(pixels.T, np.eye(4)), path)


def metaimage(path: Path, pixels: np.ndarray) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels, isVector=pixels.shape[-1] == 3), str(path))


ONE: dict[str, Writer] = {
    **dict.fromkeys(("gray.png", "gray.BMP", "gray.tiff", "gray.gif"), picture),
    "gray.webp": partial(picture, lossless=True),
    "gray_as_rgb.png": lambda path, pixels: picture(path, np.dstack([pixels] * 3)),
    "within_8_bits.png": lambda path, pixels: picture(path, pixels.astype(np.uint16)),
    "turned.png": turned,
    "turned.tif": turned,
    "one.dcm": write_dicom,
    "1.2.840.10": write_dicom,
    "deflated.dcm": dicom_as("DeflatedExplicitVRLittleEndian"),
    "big_endian.dcm": dicom_as("ExplicitVRBigEndian"),
    "slice.nii": nifti,
}
"""Of gray values 0..255, (H, W), which come back as they are."""
SEVERAL: dict[str, Writer] = {
    "pages.tif": frames,
    "loop.gif": frames,
    "loop.webp": partial(frames, lossless=True),
    "cine": dicom_as("JPEGLosslessProcess14_1"),
    "rle.dcm": dicom_as("RLELossless"),
    "j2k.dcm": dicom_as("JPEG2000Lossless"),
    "no_preamble.dcm": without_preamble,
    "volume.nii.gz": nifti,
    "sequence.mha": metaimage,
}
"""The same of (2, H, W)."""
FILES: dict[str, tuple[Writer, np.ndarray, np.ndarray]] = {
    **{name: (write, GRAY, GRAY) for name, write in ONE.items()},
    **{name: (write, TWO, TWO) for name, write in SEVERAL.items()},
    "colours.png": (picture, COLOURS, COLOURS),
    "colours.webp": (partial(picture, lossless=True), COLOURS, COLOURS),
    "palette.png": (
        lambda path, pixels: Image.fromarray(pixels).quantize(8).save(path),
        COLOURS // 128 * 128,
        COLOURS // 128 * 128,
    ),
    "wide.tif": (picture, WIDE, np.round(GRAY * (255 / 191))),
    "floats.tif": (picture, GRAY / np.float32(191), np.round(GRAY * (255 / 191))),
    "hidden.png": (hidden, np.where(GRAY < 100, GRAY, 0).astype(np.uint8), np.where(GRAY < 100, GRAY, 0)),
    "mono1.dcm": (partial(write_dicom, PhotometricInterpretation="MONOCHROME1"), 255 - GRAY, GRAY),
    "colours.dcm": (write_dicom, COLOURS, COLOURS),
    "colours.nrrd": (metaimage, COLOURS, COLOURS),
    "deep.dcm": (write_dicom, COLOURS * np.uint16(16), np.round(COLOURS * (255 / COLOURS.max()))),
    "signed.dcm": (
        partial(write_dicom, PixelRepresentation=1),
        (GRAY.astype(int) - 96).astype(np.int8),
        np.round(GRAY * (255 / 191)),
    ),
    "deep.nrrd": (metaimage, COLOURS.astype(np.uint16), COLOURS),
}
"""How it is written, what is given, and what is to be read."""

LABELS = np.zeros((12, 16), np.uint8)
LABELS[2:7, 3:6], LABELS[8:11, 9:15] = 1, 2
MASKS: dict[str, tuple[Writer, np.ndarray, np.ndarray]] = {
    **{name: (write, LABELS, LABELS) for name, write in ONE.items()},
    **{
        name: (write, np.stack([LABELS, LABELS[::-1]]), np.stack([LABELS, LABELS[::-1]]))
        for name, write in SEVERAL.items()
    },
    "values.png": (picture, LABELS * 100, LABELS),
    "colours.png": (picture, np.array([[0, 0, 0], [0, 0, 255], [255, 0, 0]], np.uint8)[LABELS], LABELS),
    "wide.tif": (picture, LABELS.astype(np.uint16) * 1000, LABELS),
    "floats.tif": (picture, LABELS.astype(np.float32), LABELS),
    "hidden.png": (hidden, LABELS // 2 * 255, LABELS // 2),
    "a_bit.png": (lambda path, pixels: picture(path, pixels > 0), LABELS, LABELS > 0),
    "colours.dcm": (write_dicom, np.array([[0, 0, 0], [0, 0, 255], [255, 0, 0]], np.uint8)[LABELS], LABELS),
}


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    """A file, and what each of its frames shows: (H, W) gray or (H, W, 3)."""
    return written(request.param, FILES, tmp_path)


@pytest.fixture(params=MASKS)
def mask(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    """A file, and the labels of each of its frames, (H, W)."""
    return written(request.param, MASKS, tmp_path)


def written(
    name: str, files: Mapping[str, tuple[Writer, np.ndarray, np.ndarray]], folder: Path
) -> tuple[Path, list[np.ndarray]]:
    write, given, expected = files[name]
    write(folder / name, given)
    expected = expected.astype(np.uint8)
    return folder / name, list(expected) if len(expected) == 2 else [expected]


def is_picture(path: Path, expected: list[np.ndarray]) -> bool:
    return len(expected) == 1 and path.suffix.lower() in (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")


def test_conversions_write_these_pixels(file: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    path, expected = file
    job = OwnImage(case=Case(id="x"), found=Found(split="train", base=path.parent, name=path.name))
    written = write_own_image(job, tmp_path / "raw")
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


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_and_robustness_have_these_pixels(
    file: tuple[Path, list[np.ndarray]], channels: int, home: Path
) -> None:
    path, expected = file
    if not is_picture(path, expected) or path.suffix.lower() not in ENDINGS:
        return
    case, info = Case(id="x"), DatasetInfo(channels=channels, has_masks=False)
    raw = RawDataset(DatasetPaths("Dataset904_Doors"), info, (case,), path.suffix)
    raw.image_path(case).parent.mkdir(parents=True)
    path.rename(raw.image_path(case))
    plan, pixels = tiny_plan(channels=channels), in_channels(expected[0], channels)
    data = PreprocessedDataset(preprocess(raw, plan, "").folder)
    np.testing.assert_array_equal(data.images[0], to_input(pixels, crop_box(pixels, plan), plan))
    seen = []

    def altered(_: Case, image_CHW: np.ndarray) -> list[np.ndarray]:
        seen.append(image_CHW)
        return [image_CHW, 255 - image_CHW]

    predictor = Predictor(Bright(2), plan, device=torch.device("cpu"), precision=FP32)
    found = list(predict_versions(predictor, raw, data, ["x"], altered))
    np.testing.assert_array_equal(seen, [pixels])
    for one, image_CHW in zip(found, (pixels, 255 - pixels), strict=True):
        shown = to_input(image_CHW, crop_box(pixels, plan), plan).mean(axis=0) > 127.5
        np.testing.assert_array_equal(one.labels_HW, shown)


def test_images_with_captions_have_these_pixels(file: tuple[Path, list[np.ndarray]]) -> None:
    path, expected = file
    if is_picture(path, expected):
        np.testing.assert_array_equal(np.asarray(reduced(open_image(path))), expected[0])


def frames_of(mask: tuple[Path, list[np.ndarray]], folder: Path) -> Path:
    """The labels of each frame as htunet writes predictions."""
    path, expected = mask
    for number, labels in enumerate(expected, start=1):
        name = f"{stem_of(path.name)}__{number:04d}.png" if len(expected) > 1 else f"{stem_of(path.name)}.png"
        write_png(folder / name, labels)
    return folder


def test_evaluations_of_two_folders_read_these_labels(mask: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    path, expected = mask
    (tmp_path / "r").mkdir()
    path.rename(tmp_path / "r" / path.name)
    moved = [np.roll(labels, 1, axis=1) for labels in expected]
    write, given, _ = MASKS[path.name]
    predictions = frames_of((path, moved), tmp_path / "p")
    if len(np.unique(expected)) > 2 and given.max() > 2:  # neither the labels nor one of them: both as they are drawn
        (predictions / f"{stem_of(path.name)}.png").unlink()
        write(predictions / path.name, np.roll(given, 1, axis=1))
    found = evaluate_folders(predictions, tmp_path / "r")
    turned_round = evaluate_folders(tmp_path / "r", predictions)
    for number, (labels, prediction) in enumerate(zip(expected, moved, strict=True)):
        for label in sorted({*labels.ravel().tolist()} - {0}):
            true = count(prediction == label, labels == label)
            rows = [row for row in found.scores if row.label == label]
            back = [row for row in turned_round.scores if row.label == label]
            assert rows[number].score.counts == true
            assert (back[number].score.counts.fp, back[number].score.counts.fn) == (true.fn, true.fp)


def test_conversions_read_these_labels(mask: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    path, expected = mask
    frames(tmp_path / "image.tif", TWO) if len(expected) > 1 else picture(tmp_path / "image.tif", GRAY)
    known = survey(path)
    assert known is not None
    found_files = Found(split="train", base=tmp_path, name="image.tif", mask_base=path.parent, mask_names=(path.name,))
    job = OwnImage(case=Case(id="x"), found=found_files, labels=infer([known]))
    found = [one.case.id for one in write_own_image(job, tmp_path / "raw")]
    labels = [read_labels(tmp_path / "raw" / "labelsTr" / f"{case}.png") for case in found]
    np.testing.assert_array_equal(labels, expected)


def test_folders_in_place_read_these_labels(mask: tuple[Path, list[np.ndarray]]) -> None:
    path, expected = mask
    if is_picture(path, expected) and path.name in ONE:
        np.testing.assert_array_equal(read_labels(path), expected[0])
