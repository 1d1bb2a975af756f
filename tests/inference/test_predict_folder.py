"""A folder of any images in, masks of the same names and sizes out."""

from collections.abc import Callable
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
import torch
from builders.medical import us_region, write_dicom, write_nifti
from builders.raw import blob
from builders.training import Bright, tiny_plan
from PIL import Image

from dataset_conversion.own_images.convert import convert_own
from dataset_conversion.own_images.options import OwnData
from htunet.data.formats.stacks import open_stack
from htunet.data.image_io import read_labels
from htunet.data.raw import read_raw
from htunet.errors import HtunetError, UsageError
from htunet.inference.folder import images_and_others, images_in, predict_folder
from htunet.inference.prediction import Prediction
from htunet.inference.predictor import Predictor
from htunet.models.precision import FP32
from htunet.paths import DatasetPaths

SIZE = (50, 70)
LESION = blob(SIZE, (0.5, 0.4), 0.3)
IMAGE = np.where(LESION, 230, 20).astype(np.uint8)


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(Bright(2), tiny_plan(), device=torch.device("cpu"), precision=FP32)


class Certain(Bright):
    """As sure of the lesion everywhere as its name says."""

    def __init__(self, probability: float) -> None:
        super().__init__(2)
        self.probability = probability

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        lesion = torch.full_like(images_BCHW[:, :1].float(), self.probability)
        return torch.cat([1 - lesion, lesion], dim=1).log()


def test_the_members_of_an_ensemble_are_averaged_as_probabilities() -> None:
    members = [Certain(0.9), Certain(0.5), Certain(0.1), Certain(0.3)]
    together = Predictor(members, tiny_plan(), device=torch.device("cpu"), precision=FP32)
    found = together.predict(IMAGE)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities[1], 0.45, atol=1e-6)
    assert found.labels is not None
    assert not found.labels.any()  # a vote of the logarithms would be another


def test_a_network_that_says_no_numbers_is_refused() -> None:
    """The most probable label of values that are no numbers is the background: the image would have no lesion."""
    members = [Certain(0.9), Certain(float("nan"))]
    with pytest.raises(HtunetError, match="not numbers, in fp32"):
        Predictor(members, tiny_plan(), device=torch.device("cpu"), precision=FP32).predict(IMAGE)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def dice(path: Path) -> float:
    labels = read_labels(path)
    assert labels.shape == SIZE
    return float(2 * (labels * LESION).sum() / (labels.sum() + LESION.sum()))


def palette(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image).convert("P")


def rgba(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([image, image, image, np.full_like(image, 255)]))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        pytest.param("a.png", Image.fromarray, id="gray PNG"),
        pytest.param("a.jpg", Image.fromarray, id="JPG"),
        pytest.param("a.JPEG", Image.fromarray, id="capital ending"),
        pytest.param("a.bmp", Image.fromarray, id="BMP"),
        pytest.param("a.tif", Image.fromarray, id="TIF"),
        pytest.param("a.png", lambda image: Image.fromarray(np.dstack([image] * 3)), id="RGB"),
        pytest.param("a.png", rgba, id="RGBA"),
        pytest.param("a.png", palette, id="palette"),
        pytest.param("a.png", lambda image: Image.fromarray(image.astype(np.uint16) * 257), id="16-bit PNG"),
        pytest.param("a.tif", lambda image: Image.fromarray(image.astype(np.float32) / 255), id="float TIF"),
    ],
)
def test_every_kind_of_image_is_predicted_in_its_own_size(
    predictor: Predictor, source: Path, name: str, make: Callable[[np.ndarray], Image.Image]
) -> None:
    make(IMAGE).save(source / name)
    result = predict_folder(predictor, images_in(source), source.parent / "masks")
    assert (result.predicted, result.masks) == ([source / name], [source.parent / "masks" / "a.png"])
    assert dice(result.masks[0]) > 0.9
    assert (result.unreadable, result.empty) == ({}, [])


@pytest.mark.parametrize("changes", [{"geometry": "letterbox"}, {"channels": 3}], ids=str)
def test_the_plans_geometry_and_channels_are_obeyed(source: Path, changes: dict[str, object]) -> None:
    predictor = Predictor(Bright(2), tiny_plan(**changes), device=torch.device("cpu"), precision=FP32)
    Image.fromarray(IMAGE).save(source / "a.png")
    assert dice(predict_folder(predictor, images_in(source), source.parent / "masks").masks[0]) > 0.9


def test_an_unreadable_image_is_named_and_the_others_are_predicted(predictor: Predictor, source: Path) -> None:
    for name in ("a.png", "c.png"):
        Image.fromarray(IMAGE).save(source / name)
    (source / "b.png").write_bytes(b"no image")
    output = source.parent / "masks"
    result = predict_folder(predictor, images_in(source), output)
    assert [path.name for path in result.predicted] == ["a.png", "c.png"]
    assert list(result.unreadable) == ["b.png"]
    assert "cannot be read" in result.unreadable["b.png"]
    assert sorted(path.name for path in output.iterdir()) == ["a.png", "c.png"]


def test_a_name_too_long_for_its_masks_is_named_and_the_others_are_predicted(
    predictor: Predictor, source: Path
) -> None:
    """A file system takes 255 bytes: ``ü`` is two of them, and each frame has 10 more than the name."""
    pages = [Image.fromarray(IMAGE)] * 2
    fits, long, single = f"{'ü' * 122}a.tif", f"{'ü' * 123}.tif", f"{'c' * 251}.png"
    for name in (fits, long):
        pages[0].save(source / name, save_all=True, append_images=pages[1:])
    pages[0].save(source / single)
    output = source.parent / "masks"
    result = predict_folder(predictor, images_in(source), output)
    assert (list(result.unreadable), len(result.masks)) == ([long], 3)
    assert "256 bytes, 255 are possible" in result.unreadable[long]
    assert sorted(path.name for path in output.iterdir()) == sorted(
        [single, *(f"{fits[:-4]}__{number:04d}.png" for number in (1, 2))]
    )
    with pytest.raises(HtunetError, match=r"None of .* 264 bytes.* 264 bytes"):
        predict_folder(predictor, [source / single, source / fits], output, after_each=lambda *_: None)


def test_a_folder_without_one_readable_image_is_an_error(predictor: Predictor, source: Path) -> None:
    (source / "b.png").write_bytes(b"no image")
    with pytest.raises(HtunetError, match=r"None of the images can be read: .*b\.png"):
        predict_folder(predictor, images_in(source), source.parent / "masks")


def test_an_image_in_which_nothing_is_found_is_named(predictor: Predictor, source: Path) -> None:
    Image.fromarray(np.full_like(IMAGE, 10)).save(source / "dark.png")
    Image.fromarray(IMAGE).save(source / "light.png")
    assert predict_folder(predictor, images_in(source), source.parent / "masks").empty == ["dark.png"]


def test_each_image_has_a_mask_of_its_own_whatever_its_name(predictor: Predictor, source: Path) -> None:
    names = ["a.png", "b.jpg", "b.png", "B.bmp", "left/b.png", "right/b.png", "c__0001.png", "1.2.840.10.bmp"]
    for name in names:
        (source / name).parent.mkdir(exist_ok=True)
        Image.fromarray(IMAGE).save(source / name)
    pages = [Image.fromarray(IMAGE), Image.fromarray(np.full_like(IMAGE, 10))]
    pages[0].save(source / "c.tif", save_all=True, append_images=pages[1:])
    result = predict_folder(predictor, images_in(source), source.parent / "masks")
    found = {path.relative_to(source.parent / "masks").as_posix() for path in (source.parent / "masks").rglob("*.png")}
    assert found == {
        *("a.png", "b.jpg.png", "b.png.png", "B.bmp.png", "left/b.png", "right/b.png", "1.2.840.10.png"),
        *("c.tif__0001.png", "c.tif__0002.png", "c__0001.png"),
    }
    assert sorted(result.masks) == sorted(source.parent / "masks" / name for name in found)
    assert (len(result.predicted), len(result.images), result.empty) == (9, 10, ["c__0002.tif"])
    for name in found - {"c.tif__0002.png"}:
        assert dice(source.parent / "masks" / name) > 0.9


@pytest.mark.parametrize("other", [".", "../images"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_masks_never_go_among_the_images(predictor: Predictor, source: Path, other: str, name: str) -> None:
    Image.fromarray(IMAGE).save(source / name)
    before = (source / name).read_bytes()
    with pytest.raises(UsageError, match="Choose another output folder"):
        predict_folder(predictor, images_in(source), source / other)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == {name: before}


def test_probabilities_sum_to_1_and_agree_with_the_mask(predictor: Predictor, source: Path) -> None:
    Image.fromarray(IMAGE).save(source / "a.png")
    output = source.parent / "masks"
    predict_folder(predictor, images_in(source), output, save_probabilities=True)
    with np.load(output / "a.npz") as content:
        scores = content["probabilities"]
    assert (scores.shape, scores.dtype) == ((2, *IMAGE.shape), np.float16)
    np.testing.assert_allclose(scores.astype(float).sum(axis=0), 1, atol=2e-3)
    mask = read_labels(output / "a.png")
    assert (scores.argmax(axis=0) == mask).mean() > 0.999  # of equal float16 the float32 may differ
    assert scores[1].argmax() in np.flatnonzero(LESION)


def test_each_image_is_shown_with_its_labels(predictor: Predictor, source: Path) -> None:
    Image.fromarray(IMAGE).save(source / "a.png")
    seen: list[tuple[Prediction, Path]] = []
    predict_folder(predictor, images_in(source), source.parent / "masks", after_each=lambda *found: seen.append(found))
    ((found, mask),) = seen
    assert (found.steps.source, mask) == (str(source / "a.png"), source.parent / "masks" / "a.png")
    np.testing.assert_array_equal(found.labels, read_labels(mask))
    np.testing.assert_array_equal(found.image_CHW, IMAGE[None])


def test_one_file_is_an_input_too_and_other_files_of_a_folder_are_named(source: Path) -> None:
    for name in ("b.png", "a.tiff", "notes.txt", ".hidden.png", "a/c.png", "masks/b.png", "s.mhd", "s.zraw", "t.raw"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).touch()
    (source / "folder.png").mkdir()
    found, others = images_and_others(source, [source / "masks"])
    assert found == [source / name for name in ("a.tiff", "b.png", "s.mhd", "a/c.png")]
    assert others == ["notes.txt", "t.raw"]
    assert images_in(source / "b.png") == [source / "b.png"]


def test_an_input_that_is_not_there_or_empty_is_a_usage_error(source: Path) -> None:
    with pytest.raises(UsageError, match="neither a folder nor an image"):
        images_in(source / "none")
    (source / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"holds no image; read are \.png.* It holds notes\.txt"):
        images_in(source)


def in_every_format(folder: Path, frames: np.ndarray) -> dict[str, list[str]]:
    """(N, H, W) gray frames in files of every format; file to the masks that it has to give."""
    pictures = [Image.fromarray(frame) for frame in frames]
    pages = [f"{number:04d}" for number in range(1, len(frames) + 1)]
    expected = {}
    for name, options in (("pages.tif", {}), ("loop.gif", {}), ("loop2.webp", {"lossless": True})):
        pictures[0].save(folder / name, save_all=True, append_images=pictures[1:], **options)
        expected[name] = [f"{name.split('.')[0]}__{page}.png" for page in pages]
    write_dicom(folder / "cine.dcm", frames, SequenceOfUltrasoundRegions=[us_region((0.01, 0.02))])
    write_dicom(folder / "1.2.840.77", frames[0])
    expected |= {"cine.dcm": [f"cine__{page}.png" for page in pages], "1.2.840.77": ["1.2.840.77.png"]}
    write_nifti(folder / "v.nii.gz", frames, (0.2, 0.3, 1.5))
    image = SimpleITK.GetImageFromArray(frames)
    image.SetSpacing((0.2, 0.3, 1.5))
    for name in ("s.mha", "t.nrrd", "u.mhd"):
        SimpleITK.WriteImage(image, str(folder / name))
    return expected | {name: [name] for name in ("v.nii.gz", "s.mha", "t.nrrd")} | {"u.mhd": ["u.mha"]}


FRAMES = np.stack([IMAGE, IMAGE[:, ::-1], np.full_like(IMAGE, 10)])


def test_a_stack_gives_a_stack_back_in_every_format(predictor: Predictor, source: Path) -> None:
    expected = in_every_format(source, FRAMES)
    output = source.parent / "masks"
    result = predict_folder(predictor, images_in(source), output, save_probabilities=True)
    assert sorted(path.name for path in result.predicted) == sorted(expected)
    assert sorted(path.name for path in result.masks) == sorted(name for names in expected.values() for name in names)
    labels = [next(predictor.predict_frames(open_stack(path))).labels for path in [source / "1.2.840.77"]]
    labels += [predictor.predict(FRAMES[1]).labels, np.zeros(SIZE)]
    for name, masks in expected.items():
        found = [levels for mask in masks for levels in open_stack(output / mask).levels()]
        np.testing.assert_array_equal(found, labels[: len(found)], err_msg=name)
        assert len(found) == (1 if name == "1.2.840.77" else 3)
    affines = [nibabel.load(folder / "v.nii.gz").affine for folder in (source, output)]
    np.testing.assert_array_equal(*affines)
    assert SimpleITK.ReadImage(str(output / "s.mha")).GetSpacing() == (0.2, 0.3, 1.5)
    assert {path.name for path in output.glob("v*.npz")} == {f"v__000{number}.npz" for number in (1, 2, 3)}
    assert "cine__0003.dcm" in result.empty
    assert "v__0003.nii.gz" in result.empty


def test_a_pixel_has_the_size_that_the_file_says(predictor: Predictor, source: Path) -> None:
    in_every_format(source, FRAMES)
    for name, sides in {"cine.dcm": (0.2, 0.1), "v.nii.gz": (0.3, 0.2), "s.mha": (0.3, 0.2)}.items():
        found = next(predictor.predict_frames(open_stack(source / name)))
        assert found.spacing_mm == pytest.approx(sides)
        assert found.labels is not None
        assert found.areas_mm2 == {"lesion": pytest.approx(found.labels.sum() * sides[0] * sides[1])}


def test_nothing_is_written_of_a_stack_that_breaks_off(predictor: Predictor, source: Path) -> None:
    Image.fromarray(IMAGE).save(source / "whole.png")
    (source.parent / "all").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (9, *SIZE)).astype(np.uint8)
    for name in in_every_format(source.parent / "all", noise):
        if name not in ("u.mhd", "1.2.840.77"):
            content = (source.parent / "all" / name).read_bytes()
            (source / name).write_bytes(content[: len(content) * 3 // 4])
    output = source.parent / "masks"
    result = predict_folder(predictor, images_in(source), output)
    assert sorted(path.name for path in output.iterdir()) == ["whole.png"]
    assert len(result.unreadable) == 7


@pytest.mark.parametrize("frames", [FRAMES, FRAMES[0], np.stack([FRAMES[0]] * 3, axis=-1)], ids=["cine", "one", "RGB"])
def test_a_dicom_file_has_one_segmentation_object_of_all_its_frames(
    predictor: Predictor, source: Path, frames: np.ndarray
) -> None:
    """Read back by highdicom by the instance and the frame that each mask belongs to."""
    tags = {"SequenceOfUltrasoundRegions": [us_region((0.01, 0.02))], "PatientID": "7", "StudyTime": "14:04:38"}
    write_dicom(source / "scan", frames, **tags)
    pages = [Image.fromarray(IMAGE), Image.fromarray(IMAGE[:20])]  # of unlike sizes, and of no object
    pages[0].save(source / "a.tif", save_all=True, append_images=pages[1:])
    output = source.parent / "masks"
    result = predict_folder(predictor, images_in(source), output, dicom_seg=True)
    assert result.without_object == {}
    assert [read_labels(output / f"a__000{n}.png").shape for n in (1, 2)] == [IMAGE.shape, IMAGE[:20].shape]
    assert [path.name for path in output.glob("*.dcm")] == ["scan.seg.dcm"]
    found = highdicom.seg.segread(output / "scan.seg.dcm")
    image = pydicom.dcmread(source / "scan")
    masks = [read_labels(path) for path in sorted(output.glob("scan*.png"))]
    assert found.NumberOfFrames == len(masks)
    if len(masks) > 1:
        got = found.get_pixels_by_source_frame(image.SOPInstanceUID, [1, 2, 3], combine_segments=True)
    else:
        got = found.get_pixels_by_source_instance([image.SOPInstanceUID], combine_segments=True)
    np.testing.assert_array_equal(got, masks)
    np.testing.assert_array_equal(pydicom.dcmread(output / "scan.seg.dcm").pixel_array.reshape(got.shape), masks)
    assert found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.2, 0.1]
    assert found.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPClassUID == image.SOPClassUID
    assert (found.PatientID, found.SegmentSequence[0].SegmentLabel) == ("7", "lesion")


def test_reports_and_segmentation_objects_of_a_study_are_passed_over(predictor: Predictor, source: Path) -> None:
    write_dicom(source / "scan", IMAGE)
    write_dicom(source / "report", IMAGE, Rows=None, PixelData=None, Modality="SR")
    write_dicom(source / "seg.dcm", IMAGE, Modality="SEG")
    result = predict_folder(predictor, images_in(source), source.parent / "masks")
    assert (result.images, sorted(result.no_pictures), result.unreadable) == (["scan"], ["report", "seg.dcm"], {})
    with pytest.raises(HtunetError, match="no pixels"):
        predict_folder(predictor, [source / "report"], source.parent / "masks")


def test_a_dicom_file_that_nothing_can_refer_to_keeps_its_masks(predictor: Predictor, source: Path) -> None:
    write_dicom(source / "scan.dcm", FRAMES[0])
    dataset = pydicom.dcmread(source / "scan.dcm")
    del dataset.SOPInstanceUID
    dataset.save_as(source / "scan.dcm")
    result = predict_folder(predictor, images_in(source), source.parent / "masks", dicom_seg=True)
    assert "lacks SOPInstanceUID" in result.without_object["scan.dcm"]
    assert [path.name for path in result.masks] == ["scan.png"]


def test_what_is_predicted_serves_as_masks_of_the_same_images(predictor: Predictor, source: Path, home: Path) -> None:
    frames = np.stack([IMAGE, np.roll(IMAGE, 9, axis=1), np.roll(IMAGE, 5, axis=0)])
    pages = [Image.fromarray(frame) for frame in frames]
    (source / "in").mkdir()
    for name in ("pages.tif", "loop.gif", "in/pages.tiff"):
        pages[0].save(source / name, save_all=True, append_images=pages[1:])
    pages[0].save(source / "one.jpg"), pages[1].save(source / "one.png")
    pages[0].save(source / "loop__0002.png")
    write_dicom(source / "cine.dcm", frames), write_dicom(source / "still.dcm", IMAGE)
    write_nifti(source / "volume.nii.gz", frames)
    for ending in ("mha", "nrrd"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(frames), str(source / f"{ending}_loop.{ending}"))

    masks = source.parent / "masks"
    result = predict_folder(predictor, images_in(source), masks, base=source, dicom_seg=True)
    assert not result.without_object
    pictures = [path.relative_to(masks).as_posix() for path in masks.rglob("*.png")]
    for name in pictures:
        (masks / "overlays" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGE).save(masks / "overlays" / name)
    report = convert_own(OwnData(name="Again", images=source, masks=masks))
    assert {one.source for one in report.excluded} == {
        *("cine.seg.dcm", "still.seg.dcm"),
        *(f"overlays/{name}" for name in pictures),
    }
    assert {one.reason for one in report.excluded} == {"a file that htunet_predict writes beside its masks"}
    raw = read_raw(DatasetPaths(report.dataset))
    assert (len(raw.cases), len(result.images)) == (25, 25)
    for case in raw.cases:
        found, image = read_labels(raw.label_path(case)), read_labels(raw.image_path(case))
        assert 2 * (found * (image > 127)).sum() / (found.sum() + (image > 127).sum()) > 0.85, case.id


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_a_pil_image_is_turned_upright_as_its_file_is(predictor: Predictor, source: Path, ending: str) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(IMAGE)).save(source / f"a{ending}", exif=exif, quality=95)
    for image in (source / f"a{ending}", Image.open(source / f"a{ending}")):
        labels = predictor.predict(image).labels
        assert labels is not None
        assert labels.shape == SIZE
        assert 2 * (labels * LESION).sum() / (labels.sum() + LESION.sum()) > 0.9
