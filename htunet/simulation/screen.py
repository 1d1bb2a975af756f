"""The random picture: where the field lies in it, what a machine writes into it, and how it is stored."""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, label

from htunet.simulation.display import PLACES, SIDES
from htunet.simulation.physics import LINEAR, BeamGrid, Float
from htunet.simulation.settings import SimulationSettings

UInt8 = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
PARAMETERS = (
    *("P100", "12L6", "9.0", "31fps", "DR65", "2DG", "88", "B", "FR 28", "D 4.0", "G 62", "XV 2", "L12-5", "Gn 54"),
    *("MI 0.9", "TIS 0.3", "C 5", "F 10"),
)
WORDS = (
    *("DER", "IZQ", "ITSMO", "LT LOBE", "RT LOBE", "TRANS", "LONG", "SAG", "TI-RADS 3", "TI-RADS 4", "BREAST", "NODE"),
    *("DIST 1.2cm", "*** bpm", "[2D] G50/78dB"),
)


@dataclass(frozen=True)
class Panel:
    """Where one field is shown: top row, left column, height and width in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def place(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def draw_panels(settings: SimulationSettings, organ: str, rng: np.random.Generator) -> list[Panel]:
    """One panel that fills the picture, one within black borders, or two side by side."""
    more = settings.thyroid_bordered if organ == "thyroid" and settings.bordered else 0.0
    height, width = settings.height, settings.width
    top = left = right = bottom = 0.0
    if rng.random() < settings.bordered + more:
        top, bottom = rng.uniform(0, 0.06) * rng.integers(0, 2), rng.uniform(0, 0.25)
        left, right = rng.uniform(0, 0.24) * rng.integers(0, 2), rng.uniform(0, 0.3)
        if rng.random() < settings.narrow:  # a narrow field in the middle
            left, right = rng.uniform(0.12, 0.3), rng.uniform(0.12, 0.35)
    row, column = round(top * height), round(left * width)
    rows, columns = height - row - round(bottom * height), width - column - round(right * width)
    if rng.random() < settings.split * (settings.thyroid_split if organ == "thyroid" else 1.0):
        half = columns // 2
        return [Panel(row, column, rows, half), Panel(row, column + half, rows, columns - half)]
    return [Panel(row, column, rows, columns)]


def draw_window(
    settings: SimulationSettings, grid: BeamGrid, lesions_mm: list[tuple[float, float]], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """(left, right, top, bottom) in mm of what a panel shows: all of the field, or a part with the lesions' middles."""
    _, width = grid.field_mm
    left, right, top, bottom = -width / 2, width / 2, 0.0, grid.depth_mm
    more = settings.cropped_curved
    if rng.random() < settings.cropped or (grid.geometry != LINEAR and settings.cropped and rng.random() < more):
        left += rng.uniform(*settings.cropped_side) * width
        right -= rng.uniform(*settings.cropped_side) * width
        top += rng.uniform(*settings.cropped_top) * grid.depth_mm * rng.integers(0, 2)
        bottom -= rng.uniform(*settings.cropped_bottom) * grid.depth_mm
    for lateral, depth in lesions_mm:
        left, right = min(left, lateral - 3), max(right, lateral + 3)
        top, bottom = min(top, depth - 3), max(bottom, min(depth + 4, grid.depth_mm))
    return left, right, max(top, 0.0), bottom


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _bordered(panels: list[Panel], settings: SimulationSettings) -> bool:
    return panels[0].height < settings.height or panels[0].width < settings.width


def annotated(
    picture: UInt8, panels: list[Panel], lesion: UInt8, settings: SimulationSettings, rng: np.random.Generator
) -> UInt8:
    """The picture (H, W) with letters, scales, and calipers on the ``lesion`` or beside it."""
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    bordered = _bordered(panels, settings)
    if rng.random() < settings.text + (settings.bordered_text if bordered and settings.text else 0):
        _letters(draw, panels, settings, rng)
    if lesion.any() and rng.random() < settings.calipers:
        rows, columns = np.nonzero(label(lesion)[0] == 1)
        _measure(draw, (columns.min(), rows.mean()), (columns.max(), rows.mean()), rng)
        _measure(draw, (columns.mean(), rows.min()), (columns.mean(), rows.max()), rng)
    elif rng.random() < settings.false_calipers:
        middle = rng.uniform(0.2, 0.8, 2) * picture.shape[::-1]
        _measure(draw, tuple(middle - rng.uniform(8, 30, 2)), tuple(middle + rng.uniform(8, 30, 2)), rng)
    return np.asarray(canvas)


def _letters(
    draw: ImageDraw.ImageDraw, panels: list[Panel], settings: SimulationSettings, rng: np.random.Generator
) -> None:
    height, width = settings.height, settings.width
    bordered = _bordered(panels, settings)
    font = _font(int(rng.integers(5, 11)))
    first, last = panels[0], panels[-1]
    right, bottom = last.left + last.width, last.top + last.height
    if rng.random() < settings.marker:  # which end of the transducer is which
        at = (first.left + int(rng.integers(1, 6)), first.top + int(rng.integers(0, 5)))
        draw.text(at, str(rng.choice(["V", "P", "S", "T", "G", "o"])), fill=int(rng.integers(150, 256)), font=font)
    if rng.random() < settings.words:
        word = str(rng.choice(WORDS)) if rng.random() < 0.5 else f"{rng.choice(SIDES)} {rng.choice(PLACES)}"
        row = bottom + 2 if bordered and bottom < height - 12 else height - int(rng.integers(10, 45))
        draw.text((rng.uniform(0.02, 0.7) * width, row), word, fill=int(rng.integers(150, 256)), font=font)
    if bordered and right < width - 14 and rng.random() < settings.parameters:  # the machine's settings
        for number in range(int(rng.integers(3, 14))):
            text = str(rng.choice(PARAMETERS))
            draw.text((right + 3, 3 + 8 * number), text, fill=int(rng.integers(120, 256)), font=font)
    if rng.random() < settings.gray_wedge * (1.0 if bordered else 0.2):  # a gray wedge
        column = int(rng.integers(0, max(width - 8, 1)))
        if bordered:
            column = min(right + int(rng.integers(0, 20)), width - 5)
        low = int(rng.uniform(0.3, 0.6) * height)
        for row in range(low, low + int(rng.uniform(0.15, 0.35) * height)):
            draw.line((column, row, column + 3, row), fill=int(255 * (1 - (row - low) / (0.35 * height))))
    if rng.random() < settings.depth_scale:  # a scale of depth
        column, step = right - 1 if rng.random() < 0.7 else first.left, rng.uniform(7, 50)
        for tick in np.arange(first.top, bottom, step):
            draw.line((column - 2, int(tick), column + 1, int(tick)), fill=int(rng.integers(120, 256)))
    if rng.random() < settings.body_mark:  # a mark of the body, or a box around a region
        x, y = rng.uniform(0.1, 0.85) * width, rng.uniform(0.7, 0.92) * height
        draw.ellipse((x, y, x + rng.uniform(6, 16), y + rng.uniform(6, 16)), outline=220)
    if rng.random() < settings.box:
        x, y = rng.uniform(0.1, 0.5) * width, rng.uniform(0.1, 0.5) * height
        draw.rectangle((x, y, x + rng.uniform(0.2, 0.45) * width, y + rng.uniform(0.2, 0.45) * height), outline=130)


def _measure(
    draw: ImageDraw.ImageDraw, start: tuple[float, ...], stop: tuple[float, ...], rng: np.random.Generator
) -> None:
    """Crosses at both ends, and now and then dots between."""
    arm, fill = rng.uniform(1.5, 4), int(rng.integers(170, 256))
    for column, row in (start, stop):
        draw.line((column - arm, row, column + arm, row), fill=fill)
        draw.line((column, row - arm, column, row + arm), fill=fill)
    if rng.random() < 0.5:
        for share in np.linspace(0, 1, max(int(np.hypot(stop[0] - start[0], stop[1] - start[1]) / 3), 2)):
            draw.point((start[0] + share * (stop[0] - start[0]), start[1] + share * (stop[1] - start[1])), fill=fill)


def developed(gray: Float, settings: SimulationSettings, rng: np.random.Generator) -> Float:
    """The field (H, W) 0..1 blurred by resizing and sharpened by the machine."""
    blur, sharp = rng.uniform(*settings.blur_pixels), rng.uniform(*settings.sharpening)
    if rng.random() < settings.sharpened:
        gray = gray + np.float32(sharp) * (gray - gaussian_filter(gray, 1.5))
    if blur > 0.3:
        gray = gaussian_filter(gray, (blur * rng.uniform(0.4, 1.0), blur * rng.uniform(0.8, 1.8)))
    return np.clip(gray, 0, 1)


def stored(picture: UInt8, settings: SimulationSettings, rng: np.random.Generator) -> UInt8:
    """The picture (H, W) after JPEG, where its quality is below 95."""
    quality = round(rng.uniform(*settings.jpeg_quality))
    if quality >= 95:
        return picture
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
