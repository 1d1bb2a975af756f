"""Our PNG files against Pillow's reading of them."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_conversion.common import read_mask
from dataset_conversion.formats.stacks import open_stack
from htunet.data.image_io import encode_png, image_files, read_image, read_labels, write_png
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


def test_the_images_of_a_folder_are_its_files_with_an_images_ending_that_are_not_hidden(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "._a.JPG", ".hidden.png", "Thumbs.db", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in image_files(tmp_path)] == ["a.JPG", "b.png"]
