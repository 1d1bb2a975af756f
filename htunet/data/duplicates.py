"""Images that are the same picture: equal pixels, or the same view after scaling, recoding or a small mark.

A bound on the correlation and a 64-bit difference hash name candidates; the correlation of 48 x 48 thumbnails decides.
A crop or a flip is not found.
"""

import hashlib
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet.data.image_io import UInt8

THUMBNAIL = 48
MIN_CORRELATION = 0.995
MAX_DISTANCE = 12
"""Bits. On 145 breast and thyroid images 0.1 % of unrelated pairs are within it; recoded, scaled, noisy, brightened and
marked copies that correlate above 0.995 were at most 5 bits apart."""
HASH_MARGIN = 2.0
"""Gray values by which the right one of two neighbours must be brighter: in black borders noise would flip the bits."""
COARSE, ROUNDING = 8, 2e-3
"""Cells of a side of what bounds the correlation of two thumbnails, and how far half precision may be off: twice its
relative error, which is 2**-11."""
FARTHEST = (2 - 2 * (MIN_CORRELATION - ROUNDING)) ** 0.5
"""Between thumbnails of unit length that correlate enough."""
SEEN = 2000
"""Images that the direction is found with in which they differ most."""
TILE = 512
"""Images whose correlations with as many others are bounded at once."""


@dataclass(frozen=True)
class Signature:
    """What is stored of one image to compare it with others; a few kilobytes."""

    content: str
    """SHA-256 of shape and pixels: equal for equal decoded images, whatever their file format."""
    bits: int
    """Difference hash, 64 bits."""
    thumbnail: NDArray[np.float16]
    """(2304,) zero mean and unit length, so that a dot product is the correlation; all zero for a flat image.

    Half precision for the sake of memory: it changes a correlation by less than 1e-4."""


@dataclass(frozen=True)
class DuplicatePair:
    """Two images, by their position in the list that was searched (``first < second``)."""

    first: int
    second: int
    correlation: float
    exact: bool


def signature_of(image: UInt8) -> Signature:
    """The signature of (C, H, W) or (H, W) pixels; colours count for ``content`` and are averaged for the rest."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    flat = image[0] if image.ndim == 3 and len(image) == 1 else image
    gray = flat if flat.ndim == 2 else flat.mean(axis=0).round().astype(np.uint8)
    small = Image.fromarray(gray).convert("F").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    centred = np.asarray(small, dtype=np.float32).ravel()
    centred = centred - centred.mean()
    length = float(np.linalg.norm(centred))
    thumbnail = centred / length if length > 1.0 else np.zeros_like(centred)
    # the difference hash: 64 bits, one for each pair of neighbours in a row of 9 x 8 cells: is the right one brighter?
    cells = np.asarray(small.resize((9, 8), Image.Resampling.BOX), dtype=np.float32)
    brighter = cells[:, 1:] - cells[:, :-1] > HASH_MARGIN
    bits = int.from_bytes(np.packbits(brighter).tobytes(), "big")
    return Signature(digest.hexdigest(), bits, thumbnail.astype(np.float16))


def find_duplicates(signatures: Iterable[Signature]) -> list[DuplicatePair]:
    """Pairs that show the same picture, sorted. Equal images are each paired with the first of them only.

    Near pairs are searched among the first of each set of equal images; ``cluster`` joins both kinds. The thumbnails
    wait in a temporary file, so that memory holds some hundred bytes of each image.
    """
    first_of: dict[str, int] = {}
    pairs, bits, coarse = [], array("Q"), bytearray()
    with tempfile.TemporaryFile() as thumbnails:
        for position, signature in enumerate(signatures):
            first = first_of.setdefault(signature.content[:32], position)  # 128 bits of it tell any images apart
            if first != position:
                pairs.append(DuplicatePair(first, position, 1.0, exact=True))
                continue
            bits.append(signature.bits)
            coarse += _coarse(signature.thumbnail).tobytes()
            thumbnails.write(signature.thumbnail.astype(np.float16, copy=False).tobytes())

        def thumbnail(row: int) -> NDArray[np.float32]:
            thumbnails.seek(row * 2 * THUMBNAIL**2)
            return np.frombuffer(thumbnails.read(2 * THUMBNAIL**2), np.float16).astype(np.float32)

        different, hashes = list(first_of.values()), np.array(bits, dtype=np.uint64)
        bounds = np.frombuffer(coarse, np.float16).reshape(len(hashes), COARSE**2 + 1)
        order, keys = _sort(bounds)
        for start in range(0, len(hashes), TILE):
            tile = bounds[start : start + TILE].astype(np.float32)
            end = int(np.searchsorted(keys, keys[start : start + TILE][-1] + FARTHEST))
            for beside in range(start, end, TILE):
                possible = tile @ bounds[beside : beside + TILE].astype(np.float32).T > MIN_CORRELATION - ROUNDING
                rows, columns = (at + found for at, found in zip((start, beside), np.nonzero(possible), strict=True))
                one, other = order[rows], order[columns]
                near = (columns > rows) & (hamming(hashes[one], hashes[other]) <= MAX_DISTANCE)
                ends = (np.minimum(one, other)[near].tolist(), np.maximum(one, other)[near].tolist())
                for first, second in zip(*ends, strict=True):
                    correlation = _correlation(thumbnail(first), thumbnail(second))
                    if correlation > MIN_CORRELATION:
                        pairs.append(DuplicatePair(different[first], different[second], correlation, exact=False))
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def cluster(pairs: Sequence[DuplicatePair]) -> list[list[int]]:
    """Sets of positions that pairs connect, directly or through others; each sorted, images without a pair omitted.

    >>> cluster([DuplicatePair(0, 3, 1.0, True), DuplicatePair(3, 4, 0.999, False)])
    [[0, 3, 4]]
    """
    members: dict[int, list[int]] = {}
    for pair in pairs:  # SciPy's search for components takes 0.3 s to import
        one, other = sorted((members.setdefault(at, [at]) for at in (pair.first, pair.second)), key=len)
        if one is not other:
            other += one
            members |= dict.fromkeys(one, other)
    found = {id(positions): sorted(positions) for positions in members.values()}
    return sorted(found.values())


def hamming(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Number of bits in which two hashes differ, element by element with broadcasting.

    >>> hamming(np.array([0b1011], np.uint64), np.array([0b0010, 2**64 - 1], np.uint64)).tolist()
    [2, 61]
    """
    # the sums of bits in pairs, then fours, then bytes; the multiplication adds the eight bytes into the top one
    x = one ^ other
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


def _coarse(thumbnail: NDArray[np.floating]) -> NDArray[np.float16]:
    """(COARSE**2 + 1,) of which dot products are no less than correlations: means of cells, and what they lack.

    By Cauchy and Schwarz: the parts of two thumbnails that are not in the means correlate by their lengths at most.
    """
    values = thumbnail.astype(np.float32)
    side, length = THUMBNAIL // COARSE, max(float(np.linalg.norm(values)), 1e-9)
    cells = values.reshape(COARSE, side, COARSE, side).sum(axis=(1, 3)).ravel() / (side * length)
    rest = max(0.0, float(values @ values) / length**2 - float(cells @ cells))
    return np.append(cells, np.sqrt(rest)).astype(np.float16)


def _sort(bounds: NDArray[np.float16]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Sort ``bounds`` along the direction in which the cells differ most; their rows before, and places along it.

    Thumbnails of unit length that correlate by c are sqrt(2 - 2 c) apart, and no farther in any direction.
    """
    some = bounds[:: len(bounds) // SEEN + 1, :-1].astype(np.float64)
    directions = np.linalg.svd(np.cov(some, rowvar=False))[0] if len(some) > 1 else np.eye(COARSE**2)
    keys = np.zeros(len(bounds), np.float32)
    for column, weight in zip(bounds.T, directions[:, 0].astype(np.float32), strict=False):
        keys += column.astype(np.float32) * weight
    order = np.argsort(keys, kind="stable")
    for column in bounds.T:  # one by one: no second copy of all
        column[:] = column[order]
    return order, keys[order]


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """In single precision; divided by the lengths, which half precision has changed a little."""
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths else 0.0
