"""Our PNG files against Pillow's reading of them."""

import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dataset_conversion.common import read_mask
from htunet.data.formats.stacks import open_stack
from htunet.data.image_io import as_channels, encode_png, open_image, read_image, read_labels, read_with_turn, write_png
from htunet.errors import HtunetError
from htunet.inference import run_onnx

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


def test_a_mask_is_stored_as_it_is() -> None:
    file = encode_png(np.array([[0, 1, 1], [0, 15, 1]], np.uint8))
    start = file.index(b"IDAT")
    length = int.from_bytes(file[start - 4 : start], "big")
    assert list(zlib.decompress(file[start + 4 : start + 4 + length])) == [0, 0, 1, 1, 0, 0, 15, 1]


@pytest.mark.parametrize("most", [2, 256])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if len(shape) == 2])
def test_our_own_files_are_read_without_pillow(
    tmp_path: Path, shape: tuple[int, int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, most, shape, dtype=np.uint8)
    write_png(tmp_path / "a.png", pixels)
    monkeypatch.setattr("htunet.data.image_io.open_image", None)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 1)[0], pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 3), [pixels] * 3)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), pixels)


def test_a_damaged_file_of_ours_is_as_pillow_finds_it(tmp_path: Path) -> None:
    """Each byte changed, each length cut, a chunk added, more lines than the header says, another filter."""

    def result(read: Callable[[Path], np.ndarray]) -> list[int] | str:
        try:
            return read(path).tolist()
        except HtunetError as error:
            return str(error)

    def with_lines(lines: bytes, kind: bytes = b"IDAT") -> bytes:
        data = zlib.compress(lines)
        end = zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")
        return file[:33] + len(data).to_bytes(4, "big") + kind + data + end + file[-12:]

    path = tmp_path / "a.png"
    file = encode_png(np.array([[10, 12, 11], [0, 255, 1]], np.uint8))
    damaged = [file[:place] + bytes([file[place] ^ 0x11]) + file[place + 1 :] for place in range(len(file))]
    damaged += [file[:length] for length in range(len(file))]
    damaged += [file + b"0", file[:33] + file[-12:] + file[33:], with_lines(bytes(8), b"IDAt")]
    damaged += [with_lines(bytes(length)) for length in (0, 4, 7, 8, 9, 12, 1000)]
    damaged += [with_lines(bytes([one, 1, 2, 3, other, 1, 2, 3])) for one in range(6) for other in range(6)]
    for content in damaged:
        path.write_bytes(content)
        found = result(lambda path: read_image(path, 1))
        assert found == result(lambda path: as_channels(open_image(path), 1)), content


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


RAMP = np.arange(48).reshape(6, 8)
COLOURS = np.stack([RAMP, RAMP[::-1], np.zeros_like(RAMP)], axis=-1)
GREEN = np.array([0, 255, 0])


def png(pixels: NDArray[np.integer], colour_type: int, chunk: bytes = b"") -> bytes:
    """A PNG of 16 bits."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), *([(b"tRNS", chunk)] if chunk else []), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def tiff(
    pixels: NDArray[np.generic],
    photometric: int = 1,
    sample_format: int = 1,
    *more: tuple[int, int],
    order: str = "<",
    packed: bool = False,
) -> bytes:
    """A TIFF, little-endian or big-endian, uncompressed or packed by zlib."""
    samples, bits = (pixels.shape[2] if pixels.ndim == 3 else 1), 8 * pixels.itemsize
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if packed else data
    bits_at = 8 + len(data)
    tags = [(256, pixels.shape[1]), (257, pixels.shape[0]), (258, bits if samples == 1 else bits_at),
            (259, 8 if packed else 1), (262, photometric), (273, 8), (277, samples), (278, pixels.shape[0]),
            (279, len(data)), (339, sample_format), *more]  # fmt: skip
    entries = b""
    for tag, value in sorted(tags):
        count = samples if tag == 258 else 1
        entries += struct.pack(f"{order}HHII", tag, 3 if count > 1 else 4, count, value)
    content = data + struct.pack(f"{order}3H", bits, bits, bits)
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(content))
    return head + content + struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4


def deep_picture(name: str) -> tuple[bytes, NDArray[np.integer]]:
    """A file of values beyond 8 bits, or of a rarer kind, and what it shows: 0..255, (6, 8) or (6, 8, 3)."""
    stretched = np.round(RAMP * 255 / 47).astype(int)
    alpha = np.where(RAMP < 8, 0, 65535)
    return {
        "colours within 8 bits": (png(COLOURS, 2), COLOURS),
        "colours of 12 bits": (png(COLOURS * 80, 2), np.round(COLOURS * 255 / 47)),
        "gray as colours": (png(np.stack([RAMP] * 3, axis=-1), 2), RAMP),
        "gray of 16 bits as colours": (png(np.stack([RAMP * 1000] * 3, axis=-1), 2), stretched),
        "a transparent colour": (
            png(COLOURS, 2, struct.pack(">3H", 0, 40, 0)),
            np.where((COLOURS == [0, 40, 0]).all(axis=-1, keepdims=True), 0, COLOURS),
        ),
        "a transparent gray": (png(RAMP, 0, struct.pack(">H", 47)), np.where(RAMP == 47, 0, RAMP)),
        "gray and alpha": (png(np.stack([RAMP, alpha], axis=-1), 4), np.where(RAMP < 8, 0, RAMP)),
        "colours and alpha": (
            png(np.concatenate([COLOURS, alpha[..., None]], axis=-1), 6),
            np.where(RAMP[..., None] < 8, 0, COLOURS),
        ),
        "TIFF, colours within 8 bits": (tiff(COLOURS.astype("<u2"), 2), COLOURS),
        "TIFF, turned colours": (tiff(COLOURS.astype("<u2"), 2, 1, (274, 6)), np.rot90(COLOURS, -1)),
        "TIFF, white is 0": (tiff(65535 - (RAMP * 1000).astype("<u2"), 0), stretched),
        "TIFF, white is 0, turned": (tiff(65535 - (RAMP * 1000).astype("<u2"), 0, 1, (274, 3)), stretched[::-1, ::-1]),
        "TIFF, 32 bits": (tiff((RAMP * 91_000_000).astype("<u4")), stretched),
        "TIFF, signed 8 bits": (tiff((RAMP - 20).astype("i1"), 1, 2), stretched),
    }[name]


DEEP = [
    *("colours within 8 bits", "colours of 12 bits", "gray as colours", "gray of 16 bits as colours"),
    *("a transparent colour", "a transparent gray", "gray and alpha", "colours and alpha"),
    *("TIFF, colours within 8 bits", "TIFF, turned colours", "TIFF, white is 0", "TIFF, white is 0, turned"),
    *("TIFF, 32 bits", "TIFF, signed 8 bits"),
]


@pytest.mark.parametrize("name", DEEP)
def test_no_bits_are_lost_of_a_rarer_kind_of_values(tmp_path: Path, name: str) -> None:
    content, shown = deep_picture(name)
    path = tmp_path / ("a.tif" if name.startswith("TIFF") else "a.png")
    path.write_bytes(content)
    expected = np.stack([shown] * 3) if shown.ndim == 2 else np.moveaxis(shown, -1, 0)
    np.testing.assert_array_equal(next(open_stack(path).images(3)), expected)
    np.testing.assert_array_equal(read_image(path, 3), expected)
    np.testing.assert_array_equal(read_image(path, 1)[0], next(open_stack(path).gray()))
    np.testing.assert_array_equal(as_channels(open_image(Path("part of a tar"), content), 3), expected)
    with pytest.raises(ValueError, match=r"more than 8 bits|a rare kind"):  # without htunet: refused, not mistaken
        run_onnx.read(path, 3)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_a_tiff_of_gray_values_is_the_same_in_any_order_packing_and_polarity(tmp_path: Path, kind: str) -> None:
    values = (RAMP * (1000 if kind[1] in "48" else 100 if kind == "u2" else 2) - 20 * (kind[0] != "u")).astype(kind)
    sample_format = "?uif".index(kind[0])
    for order in "<>":
        for packed in (False, True):
            for photometric in (0, 1):
                stored = values if photometric else -values if kind[0] == "f" else ~values
                (tmp_path / "a.tif").write_bytes(tiff(stored, photometric, sample_format, order=order, packed=packed))
                (found,) = open_stack(tmp_path / "a.tif").read()
                np.testing.assert_array_equal(found, values, err_msg=f"{order} {packed} {photometric}")
                (gray,) = open_stack(tmp_path / "a.tif").gray()
                np.testing.assert_array_equal(gray, read_image(tmp_path / "a.tif", 1)[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(RAMP.astype("f2"), 1, 3), r"a TIFF of floats, 1 x 16 bits a pixel; read are .* floats of 32 or 64"),
        (tiff(RAMP.astype("i8"), 1, 2, order=">"), "a TIFF of integers, 1 x 64 bits"),
        (tiff(COLOURS.astype("f4"), 2, 3), "a TIFF of floats, 3 x 32 bits"),
        (tiff(RAMP.astype("c8"), 1, 6), "a TIFF of complex numbers, 1 x 64 bits"),
        (b"II*\0" + bytes(30), "cannot identify image file"),
    ],
)
def test_a_tiff_of_other_values_is_refused_with_what_it_holds(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    for read in (open_stack, read_labels, lambda path: read_image(path, 1)):
        with pytest.raises(HtunetError, match=message):
            read(tmp_path / "a.tif")


def test_a_page_of_16_bits_behind_one_of_8_is_scaled(tmp_path: Path) -> None:
    pages = [Image.fromarray(RAMP.astype(np.uint8)), Image.fromarray((RAMP * 1000).astype(np.uint16))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    first, second = open_stack(tmp_path / "a.tif").gray()
    np.testing.assert_array_equal(first, RAMP)
    np.testing.assert_array_equal(second, np.round(RAMP * 255 / 47))


def test_a_mask_of_16_bit_colours_has_the_labels_of_its_gray_values(tmp_path: Path) -> None:
    marked = (RAMP > 20).astype(int)
    (tmp_path / "a.png").write_bytes(png(np.stack([marked] * 3, axis=-1), 2))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), marked)
    np.testing.assert_array_equal(next(open_stack(tmp_path / "a.png").levels()), marked)
    (tmp_path / "b.png").write_bytes(png(marked[..., None] * GREEN * 257, 2))
    assert set(np.unique(next(open_stack(tmp_path / "b.png").levels()))) == {0, (1 << 24) + 0xFF00}


def test_16_bit_colours_one_after_another_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(COLOURS.astype("<u2"), 2, 1, (284, 2)))
    for read in (lambda path: read_image(path, 3), lambda path: list(open_stack(path).images(3))):
        with pytest.raises(HtunetError, match="each colour apart"):
            read(tmp_path / "a.tif")


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


def test_a_header_that_claims_gigabytes_sets_no_memory_aside(tmp_path: Path) -> None:
    content = bytearray(encode_png(np.zeros((16, 16), np.uint8)))
    content[33] = 0x7F  # the first byte of the length of the pixels
    (tmp_path / "a.png").write_bytes(content)
    tracemalloc.start()
    with suppress(HtunetError):
        read_labels(tmp_path / "a.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_what_is_drawn_by_opacity_alone_is_read_by_it(tmp_path: Path) -> None:
    opacity = np.array([[0, 255, 128], [0, 0, 255]], np.uint8)
    for name, pixels in (("rgba", np.dstack([0 * opacity] * 3 + [opacity])), ("la", np.dstack([0 * opacity, opacity]))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        assert np.array_equal(read_image(tmp_path / f"{name}.png", 1)[0], opacity)
        assert np.array_equal(np.asarray(run_onnx.read(tmp_path / f"{name}.png", 1)), opacity)
    black = np.dstack([np.zeros((2, 3, 3), np.uint8), np.full((2, 3), 255, np.uint8)])
    Image.fromarray(black).save(tmp_path / "black.png")
    assert not read_image(tmp_path / "black.png", 1).any()
    assert not np.asarray(run_onnx.read(tmp_path / "black.png", 1)).any()


@pytest.mark.parametrize("values", [(0, 0.7), (0, -1), (0, np.nan)])
def test_labels_that_are_no_whole_numbers_from_0_are_refused(tmp_path: Path, values: tuple[float, float]) -> None:
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(HtunetError, match=r"a\.tif holds negative values or fractions"):
        read_labels(tmp_path / "a.tif")


def test_an_image_with_values_that_are_not_numbers_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(HtunetError, match=r"The image .*a\.tif holds values that are not numbers"):
        read_image(tmp_path / "a.tif", 1)


def test_labels_may_differ_from_whole_numbers_as_sums_of_floats_do(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.9999999, 2.00001, 1e-7]], np.float32)).save(tmp_path / "a.tif")
    assert read_labels(tmp_path / "a.tif").tolist() == [[0, 1, 2, 0]]
    assert next(open_stack(tmp_path / "a.tif").levels()).tolist() == [[0, 1, 2, 0]]


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_a_picture_without_any_opacity_is_its_colours_and_an_even_one_is_black(tmp_path: Path, name: str) -> None:
    """Programs leave the opacity of a picture at 0; an empty mask that is drawn by opacity alone is hidden white."""
    for gray, seen in ((PICTURE, PICTURE), (np.full_like(PICTURE, 255), np.zeros_like(PICTURE))):
        Image.fromarray(np.dstack([gray, gray, gray, 0 * gray])).save(tmp_path / name, lossless=True, exact=True)
        assert np.array_equal(read_image(tmp_path / name, 1)[0], seen)
        assert np.array_equal(run_onnx.read(tmp_path / name, 1), seen)
        assert np.array_equal(next(open_stack(tmp_path / name).levels()), seen)


def test_of_a_photograph_with_a_preview_behind_it_the_photograph_is_read(tmp_path: Path) -> None:
    """The JPEG of telephones (MPO) holds several pictures of one view."""
    photograph, preview = Image.new("RGB", (32, 24), (90, 90, 90)), Image.new("RGB", (16, 12))
    photograph.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview])
    for seen in (read_image(tmp_path / "a.jpg", 1)[0], np.asarray(run_onnx.read(tmp_path / "a.jpg", 1))):
        assert np.array_equal(seen, np.full((24, 32), 90))


def test_transparent_pixels_are_no_label(tmp_path: Path) -> None:
    opacity = np.array([[0, 255, 255]], np.uint8)
    for channels in (1, 3):
        Image.fromarray(np.dstack([np.ones((1, 3, channels), np.uint8), opacity])).save(tmp_path / "a.png")
        assert read_labels(tmp_path / "a.png").tolist() == [[0, 1, 1]]


def test_a_turn_that_stands_in_xmp_alone_is_done_and_said(tmp_path: Path) -> None:
    about = PngInfo()
    about.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>')
    Image.fromarray(PICTURE).save(tmp_path / "a.png", pnginfo=about)
    pixels_CHW, turned = read_with_turn(tmp_path / "a.png", 1)
    assert turned
    assert np.array_equal(pixels_CHW[0], UPRIGHT[6])
