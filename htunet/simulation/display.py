"""From the beam grid to the screen: scan conversion, black borders, and what the machine writes into the picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import map_coordinates

from htunet.simulation.lesions import Lesion
from htunet.simulation.physics import LINEAR, BeamGrid, Float

UInt8 = NDArray[np.uint8]
SIDES = ("LT", "RT", "L", "R")
PLACES = ("BREAST", "UOQ", "LOQ", "UIQ", "LIQ", "RETRO", "2 FN", "3CM FN", "AXILLA", "RAD", "A-RAD", "SAG", "TRANS")


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Where the field is on the screen. ``border`` is (top, right, bottom, left) in pixels of black."""

    pixels_per_mm: float
    border: tuple[int, int, int, int]

    def shape(self, grid: BeamGrid) -> tuple[int, int]:
        """(H, W) of the picture."""
        height, width = (round(side * self.pixels_per_mm) for side in grid.field_mm)
        top, right, bottom, left = self.border
        return height + top + bottom, width + left + right

    def pixel(self, grid: BeamGrid, lateral_mm: float, depth_mm: float) -> tuple[float, float]:
        """(column, row) of a position."""
        column = (lateral_mm + grid.field_mm[1] / 2) * self.pixels_per_mm + self.border[3]
        return column, depth_mm * self.pixels_per_mm + self.border[0]


def scan_convert(maps: list[Float], grid: BeamGrid, screen: Screen, outside: list[float]) -> list[Float]:
    """Each (Z, X) map as an (H, W) picture, interpolated linearly; ``outside`` holds its value beyond the field."""
    height, width = screen.shape(grid)
    top, right, bottom, left = screen.border
    rows = (np.arange(height - top - bottom, dtype=np.float32) + np.float32(0.5)) / np.float32(screen.pixels_per_mm)
    columns = (np.arange(width - left - right, dtype=np.float32) + np.float32(0.5)) / np.float32(screen.pixels_per_mm)
    columns -= np.float32(grid.field_mm[1] / 2)
    pictures = []
    inside, sampled = _sample(maps, grid, columns, rows)
    for field, beyond in zip(sampled, outside, strict=True):
        picture = np.full((height, width), beyond, dtype=np.float32)
        picture[top : height - bottom, left : width - right] = np.where(inside, field, np.float32(beyond))
        pictures.append(picture)
    return pictures


def _sample(maps: list[Float], grid: BeamGrid, columns: Float, rows: Float) -> tuple[NDArray[np.bool_], list[Float]]:
    """(inside the field, maps (Z, X) at each position), all of shape (rows, columns) of the positions in mm.

    Lateral positions count from the middle of the field, depths from the face; between samples linear.
    """
    if grid.geometry == LINEAR:  # rows and columns separate: two small interpolations in place of one large one
        sample, beam = grid.indices(columns, np.zeros_like(columns))[1], grid.indices(rows * 0, rows)[0]
        sampled = [_take_linear(_take_linear(one, beam, axis=0), sample, axis=1) for one in maps]
        return np.ones((len(rows), len(columns)), dtype=bool), sampled
    lateral, depth = np.meshgrid(columns, rows)
    sample, beam = grid.indices(lateral, depth)
    places = np.stack([sample, beam])
    return grid.shows(sample, beam), [map_coordinates(one, places, order=1, mode="nearest") for one in maps]


def _take_linear(values: Float, position: Float, axis: int) -> Float:
    position = np.clip(position, 0, values.shape[axis] - 1.001).astype(np.float32)
    low = position.astype(np.int32)
    share = np.expand_dims(position - low, 1 - axis)
    first, second = values.take(low, axis=axis), values.take(low + 1, axis=axis)
    return first + share * (second - first)


def to_gray(picture: Float) -> UInt8:
    """Values in [0, 1], any shape, as integers in [0, 255]."""
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def annotate(
    image: UInt8, screen: Screen, grid: BeamGrid, lesions: list[Lesion], rng: np.random.Generator
) -> tuple[UInt8, tuple[str, ...]]:
    """The picture (H, W) with burnt-in marks, and the names of the marks. Some pictures have none."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    size = int(rng.integers(11, 17))
    font = ImageFont.load_default(size)
    names = []
    if rng.random() < 0.45:
        at = (screen.border[3] + 3, screen.border[0] + 1)  # shows which end of the transducer is which
        if rng.random() < 0.5:
            draw.text(at, str(rng.choice(["V", "P", "S", "U"])), fill=235, font=font)
        else:
            draw.ellipse((*at, at[0] + 9, at[1] + 9), outline=230, width=2)
        names.append("marker")
    if rng.random() < 0.3:  # side and place of the scan, in one of the lower corners or under the top edge
        clock = f"{rng.integers(1, 13)}:00" if rng.random() < 0.5 else ""
        text = " ".join(word for word in (str(rng.choice(SIDES)), str(rng.choice(PLACES)), clock) if word)
        row = image.shape[0] - 26 if rng.random() < 0.75 else 8
        column = 14 if rng.random() < 0.6 else image.shape[1] - draw.textlength(text, font=font) - 16
        draw.text((column, row), text, fill=int(rng.integers(190, 256)), font=font)
        names.append("label")
    if rng.random() < 0.25:  # a tick for each 5 mm at the right edge, a longer one for each 10 mm
        right = image.shape[1] - 3
        for tick in range(0, int(grid.depth_mm) + 1, 5):
            height = screen.pixel(grid, 0.0, float(tick))[1]
            draw.line((right - (9 if tick % 10 == 0 else 4), height, right, height), fill=200)
        names.append("depth scale")
    if lesions and rng.random() < 0.2:
        for number, lesion in enumerate(lesions):
            _calipers(draw, screen, grid, lesion, font, first=2 * number + 1)
        names.append("calipers")
    return np.asarray(canvas), tuple(names)


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _calipers(
    draw: ImageDraw.ImageDraw, screen: Screen, grid: BeamGrid, lesion: Lesion, font: Font, *, first: int
) -> None:
    """Two measuring lines, along and across the lesion: crosses at the ends, dots between."""
    outline = lesion.outline
    ends = ((outline.half_width_mm, outline.tilt), (outline.half_height_mm, outline.tilt + np.pi / 2))
    for number, (half, angle) in enumerate(ends, start=first):
        across, down = half * float(np.cos(angle)), half * float(np.sin(angle))
        start = screen.pixel(grid, outline.lateral_mm - across, outline.depth_mm - down)
        stop = screen.pixel(grid, outline.lateral_mm + across, outline.depth_mm + down)
        dots = max(int(np.hypot(stop[0] - start[0], stop[1] - start[1]) / 5), 2)
        for share in np.linspace(0, 1, dots):
            column = start[0] + share * (stop[0] - start[0])
            row = start[1] + share * (stop[1] - start[1])
            draw.line((column, row, column + 1, row), fill=215)
        for column, row in (start, stop):
            draw.line((column - 5, row, column + 5, row), fill=240, width=2)
            draw.line((column, row - 5, column, row + 5), fill=240, width=2)
        draw.text((stop[0] + 6, stop[1] + 2), str(number), fill=240, font=font)
