"""Read the images and masks that people have; write those of htunet. Arrays are uint8, height first."""

import hashlib
import io
import os
import re
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from htunet.errors import HtunetError, UsageError
from htunet.files import open_file, whole_file

READABLE = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "GIF", "WEBP")
"""Pillow's decoders that are tried, whatever the ending says. Others start programs (Ghostscript) or read ahead."""
PAGED = ("TIFF", "GIF", "WEBP", "PNG")
"""The formats that can hold several pictures."""
REDUCED = 254
"""TIFF's tag NewSubfileType; its lowest bit marks a small copy of another page."""
MAX_PIXELS = 64_000_000
"""An ultrasound frame has about one million pixels; a header that claims more than this is refused unread."""

ROUNDING = 1e-3
"""How far the values of a mask may be from whole numbers; a slope in a header leaves such differences."""
DIVIDED = 16
"""The largest gray value of an image in floats is at least this, unless the values were divided by something."""
MOST_LABELS = 255
"""The most labels that a mask can have, without the background: a pixel is a byte."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOUR = {1: 0, 3: 2}
"""Channels -> PNG's number of the colour type."""
PNG_PLAIN, PNG_SUB = 0, 1
"""PNG's numbers of the filters that keep a line as it is, and that subtract the pixel to the left."""
PNG_START = struct.Struct(">8sI4sIIBBBBBII4s")
"""Signature, the chunk IHDR, and length and name of the next chunk."""
FEW_VALUES = 16
"""Masks have fewer; their lines are smaller, and made and read faster, as they are."""

DEEP = re.compile(r"(LA|RGB[AX]?);16([BLN])")
"""Pillow's names of 16-bit colours and 16-bit gray with alpha, of which it reads the higher bytes only."""
OTHER_BYTES = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
BITS, PHOTOMETRIC, PLANAR, SAMPLE_FORMAT = 258, 262, 284, 339
WHITE_IS_ZERO, SEPARATE, UNSIGNED, SIGNED = 0, 2, 1, 2
"""Values of these tags of TIFF."""
VALUES = {1: "integers", 2: "integers", 3: "floats", 5: "complex integers", 6: "complex numbers"}
"""Kinds of values by TIFF's SampleFormat."""
BIG_TIFF = (b"\x2b\0", b"\0\x2b")
"""The version of TIFF with a header of 16 bytes."""
_KNOWN = TiffImagePlugin.OPEN_INFO
_KNOWN.setdefault(
    (b"II", 1, (3,), 1, (64,), ()), ("F", "F;64F")
)  # Pillow decodes these, and knows them elsewhere alone
_KNOWN.setdefault((b"MM", 1, (3,), 1, (64,), ()), ("F", "F;64BF"))
_KNOWN.setdefault((b"MM", 1, (1,), 1, (32,), ()), ("I", "I;32B"))
for (_order, _photometric, _kind, _fill, _bits, _extra), _modes in list(_KNOWN.items()):
    if _photometric == 1 and len(_bits) == 1 and _bits[0] >= 8:  # the same with a white that is 0
        _KNOWN.setdefault((_order, WHITE_IS_ZERO, _kind, _fill, _bits, _extra), _modes)
BIG_ENDIAN = re.compile(r"([IF];\d+)B([SF]?)")
"""Pillow's names of big-endian gray values."""

ORIENTATION = ExifTags.Base.Orientation
TURNED = "rotated upright, according to the orientation in the file"

Image.MAX_IMAGE_PIXELS = MAX_PIXELS

UInt8 = NDArray[np.uint8]


def open_image(path: Path, content: bytes | None = None) -> Image.Image:
    """The decoded image, upright; raises HtunetError that names the file when it is missing, broken or too large.

    ``content``: the bytes of a file that is not on disk under this name.
    """
    with opened(path, content) as image:
        return _decoded(path, image, content)  # leaving closes the file; the pixels stay


def _decoded(path: Path, image: Image.Image, content: bytes | None = None) -> Image.Image:
    """Decode an image that ``opened`` gave; raises HtunetError as ``open_image``."""
    if image.width * image.height > MAX_PIXELS:
        raise HtunetError(
            f"{path} claims {image.width} x {image.height} pixels; at most {MAX_PIXELS} are read. "
            "Check that it is an image, or scale it down."
        )
    _check_colours(path, image)
    if (count := len(pages_of(image))) > 1:
        raise HtunetError(
            f"{path} holds {count} pages or frames, and one picture is read here. htunet_convert --images "
            "makes a case of each, htunet_predict predicts each."
        )
    if is_deep(image):
        pixels = _deep_pixels(path, image, content)
        return Image.fromarray(pixels if pixels.ndim == 2 else _in_8_bits(pixels))
    _load(image)
    if image.mode in ("P", "PA") and image.palette is None:
        raise HtunetError(f"The image {path} refers to colours of a palette that it lacks. Replace it.")
    return upright(image)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) as stored, from the header alone, without decoding; raises HtunetError as ``open_image``."""
    with opened(path) as image:
        return image.height, image.width


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """The image with its header read; whatever Pillow raises over it becomes one HtunetError that names the file."""
    try:
        # as a stream: given a name, Pillow maps an uncompressed TIFF into memory and mixes up the sides of a turned one
        source = open_file(path) if content is None else nullcontext(io.BytesIO(content))
        with source as stream, Image.open(stream, formats=FORMATS) as image:
            yield image
    except (HtunetError, MemoryError):
        raise
    except UnidentifiedImageError:
        reason = _unknown_tiff(path, content) or f"cannot identify image file {str(path)!r}"
        raise HtunetError(f"The image {path} cannot be read ({reason}). Replace it or take it out.") from None
    except Exception as error:  # Pillow's plugins raise whatever a broken file makes them stumble over
        raise HtunetError(f"The image {path} cannot be read ({error}). Replace it or take it out.") from None


def _unknown_tiff(path: Path, content: bytes | None) -> str:
    """What the values of a TIFF are whose header is whole; empty for all other files."""
    with suppress(Exception), open_file(path) if content is None else io.BytesIO(content) as stream:
        head = stream.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(head + (stream.read(8) if head[2:4] in BIG_TIFF else b""))
        stream.seek(tags.next)
        tags.load(stream)
        kind, bits = VALUES.get(tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0], "values"), tags[BITS]
        return (
            f"a TIFF of {kind}, {len(bits)} x {max(bits)} bits a pixel; read are gray values of 8 to 32 bits or floats "
            "of 32 or 64, and colours of 8 or 16"
        )
    return ""


def pages_of(image: Image.Image) -> list[int]:
    """The positions of the pictures in an opened file, without the thumbnails that a TIFF may hold."""
    count = getattr(image, "n_frames", 1) if image.format in PAGED else 1
    if count == 1 or image.format != "TIFF":
        return list(range(count))
    pages = []
    for position in range(count):
        image.seek(position)
        pages += [position] * (not int(image.tag_v2.get(REDUCED, 0)) & 1)  # type: ignore[attr-defined]
    image.seek(0)
    return pages or [0]


def upright(image: Image.Image) -> Image.Image:
    """A loaded image, rotated as viewers show it: by its EXIF orientation (JPEG, PNG, TIFF), if it has one."""
    return image if image.getexif().get(ORIENTATION, 1) == 1 else ImageOps.exif_transpose(image)


def is_turned(image: Image.Image) -> bool:
    """Whether ``upright`` will rotate an opened image; a PNG is not decoded for it, only its header counts."""
    known = image.format != "PNG" or not image.info.keys().isdisjoint(("exif", "xmp"))
    return known and image.getexif().get(ORIENTATION, 1) in range(2, 9)


def is_wide(image: Image.Image) -> bool:
    """Whether the image has gray values of more than 8 bits, or signed ones."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16") or _is_signed_byte(image)


def is_deep(image: Image.Image) -> bool:
    """Whether an opened file that is not loaded yet has colours, or gray with alpha, of 16 bits."""
    return DEEP.fullmatch(_raw_mode(image)) is not None


def read_pixels(path: Path, image: Image.Image) -> NDArray[Any]:
    """``pixels_of`` the current page of an opened file, upright; colours may be uint16."""
    _check_colours(path, image)
    if is_deep(image):
        return _deep_pixels(path, image)
    _load(image)
    return pixels_of(upright(image))


def pixels_of(image: Image.Image) -> NDArray[Any]:
    """(H, W) gray or (H, W, 3) colours of a loaded image, for conversions and predictions alike.

    Transparent pixels are black (of a picture that is black all over the opacity counts, of one that is transparent all
    over and not even its colours), a palette counts by its colours, colours that are all gray are gray; more than 8
    bits stay as they are.
    """
    if is_wide(image):
        return _wide_pixels(image)
    image = image.convert("LA") if image.mode == "La" else image
    if image.has_transparency_data:
        rgba = np.array(image.convert("RGBA"))
        colours, alpha = rgba[..., :3], rgba[..., 3]
        if alpha.any() or (colours == colours[:1, :1]).all():  # else a program left it unset, as in BMP of 32 bits
            colours[alpha == 0] = 0
        if not colours.any() and alpha.min() < alpha.max():
            return alpha
    elif image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    else:
        colours = np.asarray(image.convert("RGB"))
    gray = colours[..., 0]
    return gray if (gray == colours[..., 1]).all() and (gray == colours[..., 2]).all() else colours


def _check_colours(path: Path, image: Image.Image) -> None:
    """Raise HtunetError for colours of an opened file that Pillow would decode wrongly, or only in part."""
    tags = getattr(image, "tag_v2", {})
    if image.mode == "LAB":
        raise HtunetError(f"The image {path} has LAB colours. Save it as gray values or RGB.")
    if tags.get(PLANAR) == SEPARATE and max(tags.get(BITS, (1,))) > 8:
        raise HtunetError(f"The image {path} has each colour apart, in 16 bits. Save it as gray values or RGB.")


def _wide_pixels(image: Image.Image) -> NDArray[Any]:
    """Wide gray values, with what Pillow leaves undone: a white of 0, unsigned 32 and signed 8 bits, transparency."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if _is_signed_byte(image):
        values = values.view(np.int8)
    elif image.mode == "I" and tags.get(BITS, (0,))[0] == 32 and tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED:
        values = values.view(np.uint32)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = ~values if values.dtype.kind in "ui" else -values
    hidden = image.info.get("transparency")
    return np.where(values == hidden, 0, values) if isinstance(hidden, int) else values


def _is_signed_byte(image: Image.Image) -> bool:
    return image.mode == "L" and getattr(image, "tag_v2", {}).get(SAMPLE_FORMAT, (UNSIGNED,))[0] == SIGNED


def _raw_mode(image: Image.Image) -> str:
    found = image.tile[0][3] if getattr(image, "tile", None) else ""  # type: ignore[attr-defined]
    return str(found[0] if isinstance(found, tuple) and found else found)


def _deep_pixels(path: Path, image: Image.Image, content: bytes | None = None) -> NDArray[np.uint16]:
    """(H, W) or (H, W, 3), upright: the higher bytes, and the lower ones, decoded again in the other byte order."""
    kind, order = DEEP.fullmatch(_raw_mode(image)).groups()  # type: ignore[union-attr]
    hidden = image.info.get("transparency")
    if kind == "LA":  # as colours of 8 bits these are four bytes, too
        _decode_as(image, "RGBA")
        bytes_HWC = np.asarray(upright(image))
        values = bytes_HWC[..., 0::2].astype(np.uint16) << 8 | bytes_HWC[..., 1::2]
        values = values[..., [0, 0, 0, 1]]
    else:
        with opened(path, content) as again:
            again.seek(image.tell())
            _decode_as(again, f"{kind};16{OTHER_BYTES[order]}")
            low = np.asarray(upright(again))
        image.load()
        values = np.asarray(upright(image)).astype(np.uint16) << 8 | low
    colours = values[..., :3]
    if kind in ("LA", "RGBA"):
        colours = np.where(values[..., 3:] == 0, np.uint16(0), colours)
    elif isinstance(hidden, tuple):
        colours = np.where((colours == hidden).all(axis=-1, keepdims=True), np.uint16(0), colours)
    return colours[..., 0] if (colours == colours[..., :1]).all() else colours


def _load(image: Image.Image) -> None:
    """Decode it. libtiff gives bytes in the machine's order, which Pillow knows of unsigned values of 16 bits alone."""
    is_native = bool(getattr(image, "tile", None)) and image.tile[0][0] == "libtiff"  # type: ignore[attr-defined]
    if is_native and (found := BIG_ENDIAN.fullmatch(_raw_mode(image))):
        _decode_as(image, f"{found[1]}N{found[2]}")
    else:
        image.load()


def _decode_as(image: Image.Image, raw_mode: str) -> None:
    """Load the image as if its file declared this raw mode."""
    changed = []
    for codec, extents, offset, arguments in image.tile:  # type: ignore[attr-defined]
        other = (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode
        changed.append(type(image.tile[0])(codec, extents, offset, other))  # type: ignore[attr-defined]
    image.tile = changed  # type: ignore[attr-defined]
    image.load()


def _in_8_bits(values: NDArray[Any]) -> UInt8:
    return scaled_to_8_bits(
        values, *gray_range(float(values.min()), float(values.max()), floats=values.dtype.kind == "f")
    )


def gray_range(low: float, high: float, *, floats: bool) -> tuple[float, float]:
    """The values that become 0 and 255 of an image with these extremes, of whole numbers or floats.

    Gray values within 8 bits stay as they are, floats from 0 to 1 are fractions of 255; all else is scaled from its own
    extremes, small floats that are no whole numbers, too: they were divided by something.
    """
    if floats and low >= 0 and 1 / 255 < high <= 1 + ROUNDING:
        return 0.0, 1.0
    divided = floats and high < DIVIDED and abs(high - round(high)) > ROUNDING
    return (0.0, 255.0) if low >= 0 and 1 < high <= 255 and not divided else (low, high)


def scaled_to_8_bits(values: NDArray[Any], low: float, high: float) -> UInt8:
    """Scale an array of any shape so that ``low`` becomes 0 and ``high`` 255; uint8 stays as it is."""
    if values.dtype == np.uint8:
        return values
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.round((values.astype(np.float64) - low) * scale).astype(np.uint8)


def as_gray(image: Image.Image) -> UInt8:
    """(H, W) gray values 0..255; colours by luminance, what does not fit 8 bits scaled from its own range."""
    return as_channels(image, 1)[0]


def read_image(path: Path, channels: int) -> UInt8:
    """(C, H, W) values 0..255 with ``channels`` 1 (gray) or 3 (RGB); raises HtunetError as ``open_image``."""
    return read_with_turn(path, channels)[0]


def read_with_turn(path: Path, channels: int) -> tuple[UInt8, bool]:
    """``read_image``, and whether the picture was rotated upright (see ``TURNED``)."""
    if (own := _read_own_png(path)) is not None:
        return in_channels(own, channels), False
    with opened(path) as image:
        turned = is_turned(image)
        return as_channels(_decoded(path, image), channels, f"The image {path}"), turned


def as_channels(image: Image.Image, channels: int, name: str = "An image") -> UInt8:
    """(C, H, W) values 0..255 with ``channels`` 1 (gray, see ``as_gray``) or 3 (RGB).

    Raises HtunetError that begins with ``name`` for values such as NaN.
    """
    pixels = pixels_of(image)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise HtunetError(f"{name} holds values that are not numbers. Repair it or take it out.")
    return in_channels(pixels if pixels.dtype == np.uint8 else _in_8_bits(pixels), channels)


def in_channels(pixels: UInt8, channels: int) -> UInt8:
    """(H, W) or (H, W, 3) as (C, H, W): colours as gray by luminance, gray as colours three times.

    Raises ValueError unless ``channels`` is 1 or 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}.")
    if pixels.ndim == 2:
        return np.stack([pixels] * channels)
    if channels == 1:
        return np.asarray(Image.fromarray(pixels).convert("L"))[None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def channels_last(image_CHW: UInt8) -> UInt8:
    """(H, W) of one channel, else (H, W, C): as pictures are drawn and stored."""
    return image_CHW[0] if len(image_CHW) == 1 else np.ascontiguousarray(image_CHW.transpose(1, 2, 0))


def as_array(image: object) -> NDArray[Any]:
    """What offers its values as an array, such as a tensor on the CPU; raises UsageError for anything else."""
    check_image(image)
    try:
        return np.asarray(image)
    except (TypeError, RuntimeError):  # a tensor on a GPU, or one that a gradient is computed of
        name = type(image).__name__
        raise UsageError(f"This {name} gives no array: convert it with .detach().cpu().numpy().") from None


def check_image(image: object) -> None:
    """Raise UsageError for an object that is no path, PIL image or array; only its type is checked."""
    if not (isinstance(image, str | Path | Image.Image) or hasattr(image, "__array__")):
        raise _no_image(image)


def check_images(images: object) -> None:
    """Raise UsageError for an object that is no collection of images; nothing is taken from an iterator."""
    if isinstance(images, bytes | Mapping) or not isinstance(images, Iterable):
        raise _no_image(images)
    for image in images if isinstance(images, Sequence) else ():
        check_image(image)


def _no_image(found: object) -> UsageError:
    name = type(found).__name__
    return UsageError(f"An image is a path, a PIL image or an array (height, width) or (height, width, 3); got {name}.")


def image_of_array(array: NDArray[Any]) -> Image.Image:
    """(H, W) gray values of any real type, or (H, W, 3) or (H, W, 4) colours of uint8, as a PIL image.

    Raises UsageError for any other array.
    """
    if array.ndim == 2 and array.size and array.dtype.kind in "uif":
        if array.dtype in (np.uint8, np.uint16):
            return Image.fromarray(np.ascontiguousarray(array))
        if np.isfinite(array).all():
            return Image.fromarray(array.astype(np.float32))
    if array.ndim == 3 and array.size and array.shape[2] in (3, 4) and array.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(array))
    raise UsageError(
        "An image is an array (height, width) of finite gray values, or (height, width, 3) of uint8, and several are a "
        f"list of them; got {array.shape} of {array.dtype}."
    )


def read_labels(path: Path) -> UInt8:
    """(H, W) class indices: 0 background, 1..K; raises HtunetError as ``open_image``, and for fractions.

    htunet writes 8-bit gray. Of others' masks a palette's indices count, not its colours, and a bilevel image holds
    0 and 1; transparent pixels are background; values above 255 are read as 255, which no data set has as a label.
    """
    if (own := _read_own_png(path)) is not None:
        return own
    image = open_image(path)
    if image.mode in ("1", "P"):
        return np.asarray(image).astype(np.uint8)
    pixels = pixels_of(image)
    if is_wide(image):
        whole = np.rint(pixels)
        if not np.isfinite(pixels).all() or whole.min() < 0 or np.abs(whole - pixels).max() > ROUNDING:
            raise HtunetError(f"The mask {path} holds negative values or fractions: it is not a label map. Correct it.")
        return np.minimum(whole, 255).astype(np.uint8)
    return in_channels(pixels, 1)[0]


def label_counts(labels_HW: UInt8) -> NDArray[np.int64]:
    """(256,) number of pixels of each value; masks that hold only 0 and 1 are counted ten times faster."""
    if labels_HW.max(initial=0) > 1:
        return np.bincount(labels_HW.ravel(), minlength=256)
    counts, marked = np.zeros(256, np.int64), np.count_nonzero(labels_HW)
    counts[:2] = labels_HW.size - marked, marked
    return counts


def write_png(path: Path, array: UInt8) -> str:
    """Write (H, W) or (H, W, 3) as PNG, whole or not at all; returns the SHA-256 of the file, hexadecimal."""
    content = encode_png(array)
    with whole_file(path) as part:
        part.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def encode_png(array: UInt8) -> bytes:
    """(H, W) or (H, W, 3) values 0..255 as a PNG file: ISO/IEC 15948, 8 bits, each value less its left neighbour.

    Image libraries try five such filters on each line, which takes longer than the compression of an ultrasound image.
    The compression is ISA-L's: the size of zlib's first level in a fifth of its time. The pixels that come out are the
    same everywhere; the bytes may differ from one kind of processor to another. Raises ValueError for another type or
    shape.
    """
    array = np.atleast_3d(array)
    height, width, channels = array.shape
    if array.dtype != np.uint8 or channels not in PNG_COLOUR:
        raise ValueError(f"A PNG is written of uint8 (H, W) or (H, W, 3), got {array.dtype} {array.shape}.")
    lines = np.empty((height, 1 + width * channels), np.uint8)
    values = lines[:, 1:].reshape(height, width, channels)
    if array.max(initial=0) < FEW_VALUES:
        lines[:, 0] = PNG_PLAIN
        values[:] = array
    else:
        lines[:, 0] = PNG_SUB
        values[:, :1] = array[:, :1]
        np.subtract(array[:, 1:], array[:, :-1], out=values[:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_COLOUR[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", isal_zlib.compress(lines.data, 1)), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(_png_chunk(kind, data) for kind, data in chunks)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _read_own_png(path: Path) -> UInt8 | None:
    """(H, W) of a gray PNG that ``encode_png`` made, in half of Pillow's time; None for all that it may not have made.

    Raises HtunetError as ``open_file``.
    """
    with suppress(OSError, isal_zlib.error), open_file(path) as stream:  # type: ignore[arg-type]
        start = stream.read(PNG_START.size)
        if len(start) < PNG_START.size or not start.startswith(PNG_SIGNATURE):
            return None
        _, _, _, width, height, *kind, _, length, _ = PNG_START.unpack(start)
        size = os.fstat(stream.fileno()).st_size
        if kind != [8, PNG_COLOUR[1], 0, 0, 0] or width * height > MAX_PIXELS or size != len(start) + length + 16:
            return None
        data = stream.read(length)
        whole = PNG_SIGNATURE + _png_chunk(b"IHDR", start[16:29]) + struct.pack(">I", length) + b"IDAT"
        if start != whole or stream.read() != _png_chunk(b"IDAT", data)[-4:] + _png_chunk(b"IEND", b""):
            return None
        unpack, expected = isal_zlib.decompressobj(), height * (1 + width)
        lines = np.frombuffer(unpack.decompress(data, expected + 1), np.uint8)
        if not unpack.eof or unpack.unused_data or len(lines) != expected or not expected:
            return None
        lines = lines.reshape(height, 1 + width)
        if (lines[:, 0] == PNG_PLAIN).all():
            return lines[:, 1:].copy()
        return _sums(lines[:, 1:]) if (lines[:, 0] == PNG_SUB).all() else None
    return None


def _sums(lines: UInt8) -> UInt8:
    """Cumulative sums of each line, modulo 256: first of 2 values, then of 4, 8 and so on."""
    sums, other, step = lines.copy(), np.empty(lines.shape, np.uint8), 1
    while step < lines.shape[1]:  # as one long line, which takes half of the time; what then comes of the line above
        np.add(sums.ravel()[step:], sums.ravel()[:-step], out=other.ravel()[step:])
        other[:, :step] = sums[:, :step]  # is set right
        sums, other, step = other, sums, 2 * step
    return sums
