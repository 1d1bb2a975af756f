"""Our PNG files against Pillow's reading of them."""

import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_conversion.common import read_mask
from htunet.data.formats.stacks import open_stack
from htunet.data.image_io import encode_png, read_image, read_labels, write_png
from htunet.errors import HtunetError

SHAPES = [(1, 1), (3, 1), (1, 5), (5, 7), (61, 40), (1, 1, 3), (5, 7, 3), (40, 61, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_another_library_reads_the_same_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image = Image.open(io.BytesIO(encode_png(pixels)))
    image.verify()  # the checksums
    image = Image.open(io.BytesIO(encode_png(pixels)))
    assert image.mode == ("L" if pixels.ndim == 2 else "RGB")
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_the_order_of_the_array_in_memory_does_not_matter() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    assert encode_png(pixels.transpose(1, 0, 2)) == encode_png(np.ascontiguousarray(pixels.transpose(1, 0, 2)))


def test_each_value_is_stored_less_its_left_neighbour() -> None:
    file = encode_png(np.array([[10, 12, 11], [0, 255, 1]], np.uint8))
    start = file.index(b"IDAT")
    length = int.from_bytes(file[start - 4 : start], "big")
    assert list(zlib.decompress(file[start + 4 : start + 4 + length])) == [1, 10, 2, 255, 1, 0, 255, 2]


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8)])
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="A PNG is written of uint8"):
        encode_png(wrong)


def test_an_image_may_be_used_after_its_file_is_gone(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.full((4, 6), 9, np.uint8))
    image = read_image(tmp_path / "a.png", 3)
    (tmp_path / "a.png").unlink()
    assert image.shape == (3, 4, 6)
    assert (image == 9).all()


def test_a_palette_image_without_its_palette_is_refused(tmp_path: Path) -> None:
    file = bytearray(encode_png(np.zeros((4, 6), np.uint8)))
    file[25] = 3  # the colour type in the header: palette
    file[29:33] = zlib.crc32(file[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(file)
    with pytest.raises(HtunetError, match=r"a.png refers to colours of a palette that it lacks"):
        read_image(tmp_path / "a.png", 1)


PICTURE = np.repeat(np.repeat(np.array([[10, 60, 110], [160, 210, 250]], dtype=np.uint8), 16, axis=0), 16, axis=1)
UPRIGHT = {
    1: PICTURE,
    2: PICTURE[:, ::-1],
    3: PICTURE[::-1, ::-1],
    4: PICTURE[::-1],
    5: PICTURE.T,
    6: np.rot90(PICTURE, -1),
    7: PICTURE[::-1, ::-1].T,
    8: np.rot90(PICTURE),
}
"""What a viewer shows of PICTURE under each orientation of the EXIF standard, table 4.6."""


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_a_turned_camera_gives_the_picture_that_viewers_show(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{ending}"
    Image.fromarray(PICTURE).save(path, exif=exif, **({"quality": 100} if ending == "jpg" else {}))
    for pixels in (read_image(path, 1)[0], read_image(path, 3)[0], read_labels(path), next(open_stack(path).gray())):
        assert pixels.shape == UPRIGHT[orientation].shape
        assert np.abs(pixels.astype(int) - UPRIGHT[orientation]).max() <= (3 if ending == "jpg" else 0)
    assert np.array_equal(read_mask(path, 127) > 0, UPRIGHT[orientation] > 127)


def wide_within_8_bits(path: Path) -> None:
    """94..161 in 16 bits: gray values as they are, nothing to stretch."""
    Image.fromarray(np.linspace(94, 161, 48).astype(np.uint16).reshape(6, 8)).save(path)


def wide(path: Path) -> None:
    Image.fromarray(np.linspace(300, 4000, 48).astype(np.uint16).reshape(6, 8)).save(path)


def floats(path: Path) -> None:
    Image.fromarray(np.linspace(-1, 3, 48, dtype=np.float32).reshape(6, 8)).save(path, format="TIFF")


def transparent(path: Path) -> None:
    """White hidden by a transparent border, as programs that crop leave it."""
    pixels = np.full((6, 8, 4), 255, np.uint8)
    pixels[2:4, 2:6, :3] = 90
    pixels[..., 3] = 0
    pixels[1:5, 1:7, 3] = 255
    Image.fromarray(pixels).save(path)


def gray_with_a_transparent_value(path: Path) -> None:
    pixels = np.tile(np.array([0, 60, 120, 255], np.uint8), (6, 2))
    Image.fromarray(pixels).save(path, transparency=255)


def palette(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).quantize(16).save(path)


def bilevel(path: Path) -> None:
    Image.fromarray(np.eye(8, dtype=bool)).save(path)


def cmyk(path: Path) -> None:
    Image.fromarray(np.full((6, 8, 3), (30, 60, 90), np.uint8)).convert("CMYK").save(path, format="TIFF")


WRITERS = [wide_within_8_bits, wide, floats, transparent, gray_with_a_transparent_value, palette, bilevel, cmyk]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_conversion_and_prediction_see_the_same_pixels(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """``htunet_convert`` reads stacks, ``htunet_predict`` images: a model must meet what it was trained on."""
    path = tmp_path / ("image.tif" if write in (floats, cmyk) else "image.png")
    write(path)
    (converted,) = open_stack(path).gray()
    np.testing.assert_array_equal(read_image(path, 1)[0], converted)
    coloured = read_image(path, 3)
    assert coloured.shape == (3, *converted.shape)
    np.testing.assert_array_equal(np.asarray(Image.fromarray(coloured.transpose(1, 2, 0)).convert("L")), converted)


def test_values_within_8_bits_are_not_stretched_and_hidden_pixels_are_black(tmp_path: Path) -> None:
    wide_within_8_bits(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", 1).min(), read_image(tmp_path / "a.png", 1).max()) == (94, 161)
    transparent(tmp_path / "b.png")
    values = read_image(tmp_path / "b.png", 1)[0]
    assert (values[0] == 0).all()
    assert values[1, 1] == 255
    assert values[2, 2] == 90


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["evil.png", "evil.jpg", "evil.tif"])
def test_no_program_is_started_whatever_a_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, channels: int
) -> None:
    """An EPS under another name would start Ghostscript, which here leaves a trace."""
    programs, trace = tmp_path / "bin", tmp_path / "trace"
    programs.mkdir()
    for program in ("gs", "gswin64c"):
        (programs / program).write_text(f"#!/bin/sh\ntouch {trace}\n")
        (programs / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n%%EOF\n")
    for read in (lambda path: read_image(path, channels), lambda path: list(open_stack(path).gray())):
        with pytest.raises(HtunetError, match="cannot identify image file"):
            read(tmp_path / name)
    assert not trace.exists()
