"""Every format as frames of gray values or mask values, and files that claim too much or are broken."""

import gzip
import resource
import tracemalloc
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from builders.medical import compress_dicom, us_region, write_dicom, write_nifti
from PIL import Image
from pydicom.dataset import Dataset

from htunet.data.formats import dicom
from htunet.data.formats.dicom import patient_of
from htunet.data.formats.stacks import (
    COLOUR,
    METAIMAGE,
    SCALED,
    _colour_levels,
    is_image,
    is_lossy,
    masks_ending,
    open_stack,
    write_masks,
)
from htunet.data.image_io import read_image
from htunet.errors import HtunetError

RAMP = np.arange(40, dtype=np.uint8).reshape(5, 8)
"""5 rows, 8 columns: a transposed reading cannot pass."""
TWO = np.stack([RAMP, RAMP + 100])


def frames(path: Path) -> list[np.ndarray]:
    stack = open_stack(path)
    found = list(stack.gray())
    assert len(found) == stack.frames
    return found


@pytest.mark.parametrize(
    "ending",
    [
        *(".png", ".bmp", ".tif", ".TIFF", ".gif", ".webp"),
        *(".nii", ".nii.gz", ".dcm", ".IMA", ""),
        ".mha",
        ".MHD",
        ".nrrd",
        ".nhdr",
    ],
)
def test_all_lossless_formats_give_the_same_rows_and_columns(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scan{ending}"
    if "nii" in ending:
        write_nifti(path, RAMP)
    elif ending in (".dcm", ".IMA", ""):
        write_dicom(path, RAMP)
    elif ending.lower() in METAIMAGE:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(RAMP), str(path.with_suffix(ending.lower())))
        path.with_suffix(ending.lower()).rename(path)
    else:
        Image.fromarray(RAMP).save(path, **({"lossless": True} if ending == ".webp" else {}))
    assert is_image(path)
    assert not is_lossy(path)
    assert np.array_equal(frames(path), [RAMP])


def test_pages_slices_and_frames_come_one_after_another(tmp_path: Path) -> None:
    pages = [Image.fromarray(page) for page in TWO]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    write_nifti(tmp_path / "a.nii.gz", TWO)
    write_dicom(tmp_path / "a.dcm", TWO)
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:], lossless=True)
    pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:])
    nibabel.save(nibabel.Nifti1Image(TWO[:, None].T, None), tmp_path / "time.nii.gz")
    for ending in (".mha", ".nrrd"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(TWO), str(tmp_path / f"a{ending}"))
    for path in sorted(tmp_path.iterdir()):
        assert np.array_equal(frames(path), TWO), path


def test_wide_values_are_scaled_over_all_frames_and_narrow_ones_are_kept(tmp_path: Path) -> None:
    wide = np.stack([np.full((2, 2), 1000), np.full((2, 2), 3000)]).astype(np.uint16)
    write_nifti(tmp_path / "wide.nii", wide)
    write_dicom(tmp_path / "wide.dcm", wide)
    write_nifti(tmp_path / "narrow.nii", TWO.astype(np.float64))
    for name in ("wide.nii", "wide.dcm"):
        assert [int(frame[0, 0]) for frame in frames(tmp_path / name)] == [0, 255]
        assert open_stack(tmp_path / name).scaling == (SCALED,)
    assert np.array_equal(frames(tmp_path / "narrow.nii"), TWO)
    assert open_stack(tmp_path / "narrow.nii").scaling == ()


def test_monochrome1_is_inverted_and_colours_become_luminance(tmp_path: Path) -> None:
    write_dicom(tmp_path / "inverted.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 200
    write_dicom(tmp_path / "red.dcm", red)
    assert np.array_equal(frames(tmp_path / "inverted.dcm"), [255 - RAMP])
    assert any("MONOCHROME1" in remark for remark in open_stack(tmp_path / "inverted.dcm").remarks)
    assert int(frames(tmp_path / "red.dcm")[0][0, 0]) == round(0.299 * 200)


def lookup(values: np.ndarray) -> Dataset:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = (
        [len(values), 0, 16],
        "US",
        values.astype("<u2").tobytes(),
    )
    return table


def rescaled(*slopes: float) -> list[Dataset]:
    """Functional groups, each with a slope."""
    groups = []
    for slope in slopes:
        group, item = Dataset(), Dataset()
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = slope, 0, "US"
        group.PixelValueTransformationSequence = [item]
        groups.append(group)
    return groups


@pytest.mark.parametrize(
    ("tags", "is_inverted"),
    [
        ({"RescaleSlope": -1, "RescaleIntercept": 255}, True),
        ({"RescaleSlope": 2, "RescaleIntercept": -7}, False),
        ({"RescaleSlope": -0.5, "RescaleIntercept": 3, "PhotometricInterpretation": "MONOCHROME1"}, False),
        ({"RescaleSlope": 3, "RescaleIntercept": 3, "PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"SharedFunctionalGroupsSequence": rescaled(-2)}, True),
        ({"PerFrameFunctionalGroupsSequence": rescaled(-2, -2)}, True),
        ({"ModalityLUTSequence": [lookup(np.arange(255, -1, -1))]}, True),
        ({"ModalityLUTSequence": [lookup(np.arange(256))], "PhotometricInterpretation": "MONOCHROME1"}, True),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_what_a_header_says_of_stored_values_decides_what_is_bright(
    tmp_path: Path, tags: dict[str, object], is_inverted: bool, kind: type
) -> None:
    signed = {"PixelRepresentation": 1} if kind is np.int16 else {}
    write_dicom(tmp_path / "a.dcm", TWO.astype(kind), RescaleType="US", **{**signed, **tags})
    order = np.concatenate([frame.ravel() for frame in frames(tmp_path / "a.dcm")]).astype(int)
    rising = np.diff(order[np.argsort(TWO.ravel(), kind="stable")])
    assert ((-rising if is_inverted else rising) > 0).all()


def test_frames_whose_slopes_differ_in_sign_are_refused(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", TWO, PerFrameFunctionalGroupsSequence=rescaled(1, -1))
    with pytest.raises(HtunetError, match="above and below 0"):
        open_stack(tmp_path / "a.dcm")


def test_a_mask_follows_a_negative_slope_and_no_other(tmp_path: Path) -> None:
    """Stored 255 is label 0 and stored 253 label 2; a slope that an image's header handed on changes nothing."""
    stored = np.where(RAMP % 2 == 0, 255, 253).astype(np.uint8)
    groups = {"SharedFunctionalGroupsSequence": rescaled(-1)}
    groups["SharedFunctionalGroupsSequence"][0].PixelValueTransformationSequence[0].RescaleIntercept = 255
    for tags in ({"RescaleSlope": -1, "RescaleIntercept": 255}, groups):
        write_dicom(tmp_path / "a.dcm", stored, **tags)
        assert np.array_equal(next(open_stack(tmp_path / "a.dcm").levels()), np.where(RAMP % 2 == 0, 0, 2))
    for slope, intercept in ((1, -1024), (2, 0)):
        write_dicom(tmp_path / "b.dcm", RAMP % 3, RescaleSlope=slope, RescaleIntercept=intercept)
        assert np.array_equal(next(open_stack(tmp_path / "b.dcm").levels()), RAMP % 3)
    write_dicom(tmp_path / "c.dcm", stored, RescaleSlope=-1, RescaleIntercept=0)
    write_dicom(tmp_path / "d.dcm", TWO, PerFrameFunctionalGroupsSequence=rescaled(-1, -2))
    for name in ("c.dcm", "d.dcm"):
        with pytest.raises(HtunetError, match="it is not a label map"):
            next(open_stack(tmp_path / name).levels())


def test_a_negative_slope_of_nifti_is_followed_and_one_of_mha_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(RAMP.T, None)
    image.header.set_slope_inter(-1, 255)
    (tmp_path / "a.nii").write_bytes(image.to_bytes()[:352] + RAMP.tobytes())
    scaled = bytearray((tmp_path / "a.nii").read_bytes())
    scaled[112:120] = np.array([-1, 255], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(scaled)
    assert np.array_equal(frames(tmp_path / "a.nii"), [255 - RAMP])
    header = "NDims = 2\nDimSize = 8 5\nElementToIntensityFunctionSlope = {}\nElementType = MET_UCHAR\n"
    for slope in (1, -1):
        content = (header.format(slope) + "ElementDataFile = LOCAL\n").encode() + RAMP.tobytes()
        (tmp_path / f"{slope}.mha").write_bytes(content)
    assert np.array_equal(frames(tmp_path / "1.mha"), [RAMP])
    with pytest.raises(HtunetError, match="'ElementToIntensityFunctionSlope = -1' in its header"):
        open_stack(tmp_path / "-1.mha")


def nrrd(path: Path, values: np.ndarray, *lines: str, encoding: str = "raw") -> Path:
    sizes = " ".join(map(str, values.shape[::-1]))
    head = ["NRRD0004", "type: uint8", f"dimension: {values.ndim}", f"sizes: {sizes}", *lines, f"encoding: {encoding}"]
    path.write_bytes("\n".join([*head, "", ""]).encode() + values.tobytes())
    return path


@pytest.mark.parametrize("encoding", ["bzip2", "bz2", "zrl"])
def test_an_encoding_of_nrrd_that_is_not_read_is_named(tmp_path: Path, encoding: str) -> None:
    path = nrrd(tmp_path / "a.nrrd", RAMP, encoding=encoding)
    with pytest.raises(HtunetError, match=rf"'encoding: {encoding}' in its header, .* Save it with the encoding gzip"):
        open_stack(path)


@pytest.mark.parametrize("count", [3, 4])
def test_frames_that_may_be_colours_are_never_taken_for_frames_in_silence(tmp_path: Path, count: int) -> None:
    last, first = np.stack([RAMP] * count), np.stack([RAMP] * count, axis=-1)
    paths = {name: (nrrd(tmp_path / f"{name}.nrrd", values), values) for name, values in (("l", last), ("f", first))}
    for name, (path, values) in list(paths.items()):
        (mha := path.with_suffix(".mha")).write_bytes(
            f"NDims = 3\nDimSize = {' '.join(map(str, values.shape[::-1]))}\nElementType = MET_UCHAR\n"
            "ElementDataFile = LOCAL\n".encode()
            + values.tobytes()
        )
        write_nifti(nii := path.with_suffix(".nii.gz"), values)
        for other in (path, mha, nii):
            if name == "l":
                assert len(frames(other)) == count
                assert any("declares no colours" in remark for remark in open_stack(other).remarks), other
            else:
                with pytest.raises(HtunetError, match=rf"first axis has {count} entries"):
                    open_stack(other)
    declared = nrrd(tmp_path / "d.nrrd", last, "kinds: domain domain domain")
    assert (open_stack(declared).frames, open_stack(declared).remarks) == (count, ())
    nrrd(tmp_path / "rgb.nrrd", first[..., :3], "kinds: RGB-color domain domain")
    assert np.array_equal(frames(tmp_path / "rgb.nrrd"), [RAMP])


def test_the_pixel_size_comes_from_the_header_in_millimetres(tmp_path: Path) -> None:
    def spacing(**tags: object) -> float | tuple[float, float] | None:
        write_dicom(tmp_path / "x.dcm", RAMP, **tags)
        return open_stack(tmp_path / "x.dcm").spacing_mm

    assert spacing() is None
    assert spacing(PixelSpacing=[0.2, 0.2]) == 0.2
    assert spacing(PixelSpacing=[0.2, 0.3]) == (0.2, 0.3)  # of rows, of columns
    assert spacing(SequenceOfUltrasoundRegions=[us_region((0.01, 0.01))], PixelSpacing=[0.2, 0.2]) == 0.1
    assert spacing(SequenceOfUltrasoundRegions=[us_region((0.01, 0.02))]) == (0.2, 0.1)  # y before x
    doppler_beside_tissue = [us_region((0.5, 0.5), tissue=False), us_region((0.02, 0.02))]
    assert spacing(SequenceOfUltrasoundRegions=doppler_beside_tissue) == 0.2
    assert spacing(SequenceOfUltrasoundRegions=[us_region((0.01, 0.01)), us_region((0.03, 0.03))]) is None
    write_nifti(tmp_path / "x.nii", TWO, (0.3, 0.3, 2.0))
    assert open_stack(tmp_path / "x.nii").spacing_mm == pytest.approx(0.3)
    write_nifti(tmp_path / "x.nii", TWO, unit="unknown")
    assert open_stack(tmp_path / "x.nii").spacing_mm is None


def test_patients_are_told_apart_by_their_id_and_else_by_their_study(tmp_path: Path) -> None:
    for name, tags in {
        "a": {"PatientID": "1"},
        "b": {"PatientID": "1"},
        "c": {"StudyInstanceUID": "1.2"},
        "d": {},
    }.items():
        write_dicom(tmp_path / name, RAMP, PatientName="Doe^Jane", **tags)
    found = [patient_of(tmp_path / name) for name in "abcd"]
    assert found[0] == found[1]
    assert found[2] == ("", "", "1.2")
    assert found[3] == ("", "", "")
    assert "Doe" not in repr(found)


def test_mask_values_are_kept_and_colours_are_marked(tmp_path: Path) -> None:
    write_nifti(tmp_path / "m.nii", RAMP.astype(np.int16) * 100)
    assert np.array_equal(next(open_stack(tmp_path / "m.nii").levels()), RAMP.astype(int) * 100)
    Image.fromarray(np.uint8([[[255, 0, 0], [7, 7, 7]]])).save(tmp_path / "m.png")
    assert next(open_stack(tmp_path / "m.png").levels()).tolist() == [[COLOUR + 0xFF0000, 7]]
    transparent = Image.fromarray(np.uint8([[[255, 255, 255, 0], [255, 255, 255, 255]]]), "RGBA")
    transparent.save(tmp_path / "m.png")
    assert next(open_stack(tmp_path / "m.png").levels()).tolist() == [[0, 255]]


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32"])
def test_colours_of_any_kind_of_numbers_are_levels(kind: str) -> None:
    high = 200 if kind == "uint8" else 300  # values above 255 overlap, and add up
    frame = np.array([[[1, 2, 3], [7, 7, 7], [1, high, high]]], dtype=kind)

    found = _colour_levels(frame)

    assert found.dtype == np.int32
    assert found.tolist() == [[COLOUR + 65536 + 512 + 3, 7, COLOUR + 65536 + 256 * high + high]]


def test_levels_of_a_large_colour_picture_take_few_copies() -> None:
    frame = np.zeros((1000, 1000, 3), dtype=np.uint8)
    tracemalloc.start()
    _colour_levels(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 13 * 1000 * 1000  # bytes: 4 for the levels, 4 for one channel's, 3 for what is gray


@pytest.mark.parametrize("values", [np.float32([[0.5, 1.0]]), np.int16([[-1, 1]]), np.float32([[np.nan, 1]])])
def test_a_mask_that_is_no_label_map_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    write_nifti(tmp_path / "m.nii", values)
    with pytest.raises(HtunetError, match="it is not a label map"):
        list(open_stack(tmp_path / "m.nii").levels())


def test_headers_that_claim_too_much_are_refused_before_the_pixels_are_read(tmp_path: Path) -> None:
    write_dicom(tmp_path / "huge.dcm", RAMP, Rows=60_000, Columns=60_000)
    write_dicom(tmp_path / "long.dcm", RAMP, NumberOfFrames=2_000_000)
    write_nifti(tmp_path / "huge.nii", RAMP)
    content = bytearray((tmp_path / "huge.nii").read_bytes())
    content[40:48] = np.array([3, 30_000, 30_000, 30_000], dtype="<i2").tobytes()
    (tmp_path / "huge.nii").write_bytes(content)
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(bytes(content)))
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(HtunetError, match="claims"):
            open_stack(path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Modality": "SEG"}, "a DICOM segmentation object, which is not read. Export it as NIfTI or PNG masks"),
        ({"Modality": "RTSTRUCT"}, "a DICOM structure set, which is not read. Export it as NIfTI or PNG masks"),
        ({"Rows": None}, "no pixels"),
        ({"PixelData": None}, "cannot be read"),
        ({"PixelData": b"\0" * 4}, "cannot be read"),
    ],
)
def test_dicom_files_without_an_image_are_named(tmp_path: Path, tags: dict[str, object], message: str) -> None:
    write_dicom(tmp_path / "x.dcm", RAMP, **tags)
    with pytest.raises(HtunetError, match=message):
        list(open_stack(tmp_path / "x.dcm").gray())


@pytest.mark.parametrize("ending", [".png", ".tif", ".nii", ".nii.gz", ".dcm"])
@pytest.mark.parametrize("kept", [0, 10, 140, 200])
def test_a_file_that_is_cut_off_is_named_and_never_a_traceback(tmp_path: Path, ending: str, kept: int) -> None:
    path = tmp_path / f"x{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (50, 60)).astype(np.uint8)
    if "nii" in ending:
        write_nifti(path, noise)
    elif ending == ".dcm":
        write_dicom(path, noise)
    else:
        Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(HtunetError, match=r"x\."):
        list(open_stack(path).gray())


@pytest.mark.parametrize(
    "syntax",
    [
        *("JPEGLosslessProcess14_1", "JPEGLosslessProcess14", "JPEGLSLossless", "RLELossless", "JPEG2000Lossless"),
        *("DeflatedExplicitVRLittleEndian", "ExplicitVRBigEndian", "ImplicitVRLittleEndian"),
    ],
)
@pytest.mark.parametrize("kind", ["gray", "colour", "12 bits"])
def test_lossless_dicom_gives_the_very_pixels(tmp_path: Path, syntax: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    shape, most = ((2, 24, 36, 3) if kind == "colour" else (2, 24, 36)), (4096 if kind == "12 bits" else 256)
    values = rng.integers(0, most, shape).astype(np.uint16 if most > 256 else np.uint8)
    write_dicom(tmp_path / "a.dcm", values, **({"BitsStored": 12, "HighBit": 11} if most > 256 else {}))
    compress_dicom(tmp_path / "a.dcm", tmp_path / "b.dcm", syntax)
    assert np.array_equal(list(open_stack(tmp_path / "b.dcm").read()), values)


@pytest.mark.parametrize("name", ["scan.dcm", "scan.IMA", "scan", "1.2.840.10"])
@pytest.mark.parametrize("names_its_syntax", [True, False])
def test_dicom_without_a_preamble_is_read(tmp_path: Path, name: str, names_its_syntax: bool) -> None:
    write_dicom(tmp_path / "whole", TWO)
    content = (tmp_path / "whole").read_bytes()[132:]
    path = tmp_path / name
    path.write_bytes(content if names_its_syntax else content[content.index(b"\x08\0\x16\0") :])
    assert is_image(path)
    assert np.array_equal(frames(path), TWO)


def deflate(path: Path, content: bytes) -> None:
    """A deflated DICOM file of ``content``, which follows the group 0002."""
    syntax = b"1.2.840.10008.1.2.1.99"
    element = b"\x02\0\x10\0UI" + len(syntax).to_bytes(2, "little") + syntax
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(bytes(128) + b"DICM" + element + packing.compress(content) + packing.flush())


def test_a_deflated_dicom_file_says_what_others_say(tmp_path: Path) -> None:
    write_dicom(tmp_path / "plain.dcm", RAMP, PixelSpacing=[0.2, 0.2], PatientID="A7")
    content = (tmp_path / "plain.dcm").read_bytes()
    deflate(tmp_path / "scan.dcm", content[content.index(b"\x08\0\x16\0") :])
    whole = (tmp_path / "scan.dcm").read_bytes()
    (tmp_path / "no_preamble.dcm").write_bytes(whole[132:])
    for name in ("scan.dcm", "no_preamble.dcm"):
        stack = open_stack(tmp_path / name)
        assert np.array_equal(frames(tmp_path / name), [RAMP])
        assert stack.spacing_mm == 0.2
        assert patient_of(tmp_path / name) == ("A7", "", "")


def test_a_deflated_dicom_file_that_is_cut_off_or_unpacks_to_too_much_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deflate(tmp_path / "scan.dcm", bytes(100_000))
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "scan.dcm").read_bytes()[:-10])
    with pytest.raises(HtunetError, match=r"cut\.dcm is a deflated DICOM file that is cut off"):
        open_stack(tmp_path / "cut.dcm")
    monkeypatch.setattr(dicom, "MAX_INFLATED", 1000)
    with pytest.raises(HtunetError, match=r"scan\.dcm is a deflated DICOM file that unpacks to more"):
        open_stack(tmp_path / "scan.dcm")


@pytest.mark.parametrize("content", [b"", b"no image at all" * 50, b"\x08\0\x05\0CS\x04\0" + b"x" * 200])
def test_a_file_that_only_its_ending_calls_dicom_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.dcm").write_bytes(content)
    assert is_image(tmp_path / "x.dcm")
    with pytest.raises(HtunetError, match=r"x\.dcm"):
        open_stack(tmp_path / "x.dcm")


def test_text_and_other_files_are_no_images(tmp_path: Path) -> None:
    for name, content in {
        "notes": b"08 00 " * 99,
        "Thumbs.db": b"\xd0\xcf\x11\xe0" * 99,
        "a.zip": b"PK\3\4" * 99,
    }.items():
        (tmp_path / name).write_bytes(content)
        assert not is_image(tmp_path / name)


def test_a_picture_is_the_same_as_one_frame_of_a_stack(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (5, 8, 3)).astype(np.uint8)
    wide = (RAMP.astype(np.uint16) + 3) * 300
    alpha = np.dstack([colours, np.tile(np.uint8([0, 255]), (5, 4))])
    for name, array in {"gray": RAMP, "colours": colours, "wide": wide, "alpha": alpha}.items():
        Image.fromarray(array).save(tmp_path / f"{name}.png")
        for channels in (1, 3):
            (found,) = open_stack(tmp_path / f"{name}.png").images(channels)
            assert np.array_equal(found, read_image(tmp_path / f"{name}.png", channels))


def test_several_pages_are_no_single_picture_and_a_small_copy_is_no_page(tmp_path: Path) -> None:
    first, second = (Image.fromarray(page) for page in TWO)
    for ending in (".tif", ".gif", ".webp"):
        first.save(tmp_path / f"a{ending}", save_all=True, append_images=[second])
        with pytest.raises(HtunetError, match="holds 2 pages or frames"):
            read_image(tmp_path / f"a{ending}", 1)
    second.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "thumbnail.tif", save_all=True, append_images=[second])
    assert np.array_equal(read_image(tmp_path / "thumbnail.tif", 1), RAMP[None])
    assert np.array_equal(frames(tmp_path / "thumbnail.tif"), [RAMP])


def test_webp_masks_are_lossy_only_where_they_are(tmp_path: Path) -> None:
    for lossless in (True, False):
        Image.fromarray(RAMP).save(tmp_path / "m.webp", lossless=lossless, exif=b"Exif\0\0" * 2)
        assert is_lossy(tmp_path / "m.webp") is not lossless


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.bmp", "m.jfif"])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "PNG", "BMP"])
def test_what_a_file_holds_says_whether_it_is_lossy_and_not_its_ending(tmp_path: Path, name: str, kind: str) -> None:
    options = {"compression": "jpeg"} if kind == "TIFF" else {}
    Image.fromarray(RAMP).save(tmp_path / name, format=kind, **options)
    assert is_lossy(tmp_path / name) is (kind in ("JPEG", "WEBP", "TIFF"))


def test_a_dicom_file_is_lossy_by_its_transfer_syntax(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP, LossyImageCompression="01")  # a header copied from a lossy image
    assert not is_lossy(tmp_path / "a.dcm")
    write_dicom(tmp_path / "a.dcm", RAMP)
    for syntax, lossy in (("JPEGBaselineProcess1", True), ("JPEGLSLossless", False), ("RLELossless", False)):
        compress_dicom(tmp_path / "a.dcm", tmp_path / "b.dcm", syntax)
        assert is_lossy(tmp_path / "b.dcm") is lossy


@pytest.mark.parametrize("shape", [(5, 8), (1, 5, 8), (2, 5, 8), (2, 1, 5, 8)])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_masks_of_a_nifti_file_have_its_shape_and_its_affine(
    tmp_path: Path, shape: tuple[int, ...], ending: str
) -> None:
    affine = np.array([[0, -0.2, 0.01, 5], [0.3, 0, 0, -7], [0, 0.01, 1.5, 9], [0, 0, 0, 1]])
    values = np.random.default_rng(0).integers(0, 3000, shape[::-1]).astype(np.int16)
    source = nibabel.Nifti1Image(values, affine)
    source.header["descrip"] = b"Doe, Jane"
    source.set_sform(affine, 2)
    nibabel.save(source, tmp_path / f"a{ending}")
    masks = np.stack([frame > 128 for frame in frames(tmp_path / f"a{ending}")]).astype(np.uint8) * 2
    assert masks_ending(tmp_path / f"a{ending}") == ending
    write_masks(tmp_path / f"a{ending}", tmp_path / f"m{ending}", masks)
    found, again = nibabel.load(tmp_path / f"m{ending}"), nibabel.load(tmp_path / f"a{ending}")
    assert (found.shape, found.get_data_dtype()) == (values.shape, np.uint8)
    assert np.array_equal(found.affine, again.affine)
    assert int(found.header["sform_code"]) == 2
    assert b"Doe" not in found.to_bytes()
    assert np.array_equal(np.asarray(found.dataobj), (values > (values.min() + np.ptp(values) * 128.5 / 255)) * 2)


@pytest.mark.parametrize("ending", [".mha", ".mhd", ".nrrd"])
@pytest.mark.parametrize("shape", [(5, 8), (2, 5, 8), (5, 8, 3), (2, 5, 8, 3)])
def test_masks_of_a_sequence_have_its_place_in_space(tmp_path: Path, shape: tuple[int, ...], ending: str) -> None:
    colour = shape[-1] == 3
    values = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    source = SimpleITK.GetImageFromArray(values, isVector=colour)
    axes = source.GetDimension()
    source.SetSpacing([0.2, 0.3, 1.5][:axes])
    source.SetOrigin([4.0, 5.0, 6.0][:axes])
    source.SetMetaData("Seq_Frame0000_Timestamp", "12.5")
    SimpleITK.WriteImage(source, str(tmp_path / f"a{ending}"))
    stack = open_stack(tmp_path / f"a{ending}")
    assert np.array_equal(list(stack.read()), values.reshape((-1, 5, 8, *[3] * colour)))
    assert stack.sides_mm == pytest.approx((0.3, 0.2))
    assert stack.spacing_mm == (0.3, 0.2)
    masks = np.random.default_rng(1).integers(0, 3, (stack.frames, 5, 8)).astype(np.uint8)
    target = tmp_path / f"m{masks_ending(tmp_path / f'a{ending}')}"
    assert target.suffix == (".nrrd" if ending == ".nrrd" else ".mha")
    write_masks(tmp_path / f"a{ending}", target, masks)
    found = SimpleITK.ReadImage(str(target))
    assert np.array_equal(SimpleITK.GetArrayFromImage(found), masks.reshape(shape[: -1 if colour else None]))
    assert (found.GetSpacing(), found.GetOrigin()) == (source.GetSpacing(), source.GetOrigin())
    assert found.GetMetaData("Seq_Frame0000_Timestamp") == "12.5"
    assert [path.name for path in tmp_path.iterdir() if "m." in path.name] == [target.name]


def test_a_sequence_that_is_broken_or_too_large_is_named(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(TWO), str(tmp_path / "a.mha"))
    content = (tmp_path / "a.mha").read_bytes()
    for name, changed, words in (
        ("cut.mha", content[:-20], "cannot be read"),
        ("huge.mha", content.replace(b"DimSize = 8 5 2", b"DimSize = 9999 9999 2"), "claims 9999 x 9999 x 2"),
        ("empty.nrrd", b"", "cannot be read"),
        ("none.mhd", None, "is missing"),
    ):
        if changed is not None:
            (tmp_path / name).write_bytes(changed)
        with pytest.raises(HtunetError, match=words):
            list(open_stack(tmp_path / name).gray())


@pytest.mark.parametrize("ending", [".mhd", ".nrrd"])
def test_a_header_leads_to_no_file_of_another_folder(tmp_path: Path, ending: str) -> None:
    """An entry may be a path, a list or a pattern, in the formats themselves."""
    inside, secret = tmp_path / "in", tmp_path / "secret.raw"
    (inside / "sub").mkdir(parents=True)
    secret.write_bytes(bytes([77] * 40))
    for place in (inside / "own.raw", inside / "sub" / "own.raw"):
        place.write_bytes(RAMP.tobytes())
    head = "NRRD0004\ntype: uint8\ndimension: 2\nsizes: 8 5\nencoding: raw\n{}data file: {}\n\n"
    if ending == ".mhd":
        head = "ObjectType = Image\nNDims = 2\nDimSize = 8 5\nElementType = MET_UCHAR\n{}ElementDataFile = {}\n"
    path = inside / f"a{ending}"
    for name in ("own.raw", "sub/own.raw"):
        path.write_text(head.format("", name))
        assert np.array_equal(frames(path), [RAMP])
    for name in ("../secret.raw", str(secret), "LIST\nown.raw", "%03d.raw 1 1 1", "sub/../../secret.raw", "."):
        path.write_text(head.format("", name))
        with pytest.raises(HtunetError, match=r"in one file beside it|is a folder"):
            frames(path)
    path.write_text(head.format("", "none.raw"))
    with pytest.raises(HtunetError, match=r"none.raw is missing"):
        frames(path)
    path.write_text(head.format("Comment = x\rElementDataFile = ../secret.raw\r\n", "own.raw"), newline="")
    if ending == ".nrrd":
        path.write_text(head.format("content: x\rdata file: ../secret.raw\n", "own.raw"), newline="")
    with pytest.raises(HtunetError, match=r"secret.raw'; read are those in the file itself"):
        frames(path)


@pytest.mark.parametrize(("rows", "found"), [(5, "more"), (15, "cannot be read")])
def test_pixels_that_are_not_as_many_as_the_header_says_are_an_error(tmp_path: Path, rows: int, found: str) -> None:
    path = tmp_path / "a.dcm"
    write_dicom(path, np.concatenate([RAMP, RAMP]), Rows=rows)
    path.write_bytes(path.read_bytes()[132:])  # without the preamble, where nothing else compares them
    with pytest.raises(HtunetError, match=found):
        frames(path)


def test_a_value_that_claims_gigabytes_takes_none(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    write_dicom(path, RAMP, PatientID="7")
    content = path.read_bytes()
    at = content.index(b"\x10\0\x20\0LO")
    path.write_bytes(content[:at] + b"\x10\0\x20\0OB\0\0" + (2**32 - 2).to_bytes(4, "little") + content[at + 8 :])
    limit = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, limit[1]))
        with pytest.raises(HtunetError, match="has no pixels"):
            frames(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


@pytest.mark.parametrize("signed", [False, True])
def test_dicom_values_in_the_upper_bits_are_those_of_the_lower_ones(tmp_path: Path, signed: bool) -> None:
    values = RAMP.astype(np.uint16) * 16 - signed * np.uint16(2000)
    tags = {"BitsStored": 12, "PixelRepresentation": int(signed)}
    write_dicom(tmp_path / "low.dcm", values & 0x0FFF, HighBit=11, **tags)
    write_dicom(tmp_path / "high.dcm", values << 4, HighBit=15, **tags)
    assert np.array_equal(frames(tmp_path / "high.dcm"), frames(tmp_path / "low.dcm"))
    assert len(np.unique(frames(tmp_path / "high.dcm"))) > 4
