"""A small data set of lymph nodes in htunet's own simple layout, with what people's folders of images hold besides.

LN/{benign,malignant}/images/NAME.png and .../masks/NAME.png, LN/patients.csv
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from builders.busi import write_mask
from htunet.data.image_io import UInt8
from htunet.files import write_csv
from htunet.reproducibility import generator

FULL_COUNTS = {"LN-INT": {"benign": 785, "malignant": 488}, "LN-EXT": {"benign": 190, "malignant": 184}}
IMAGE_ENDINGS = (".png", ".jpg", ".BMP", ".tif")
MASK_MODES = ("1", "L", "RGB", "RGBA")
PER_PATIENT = 4


@dataclass(frozen=True)
class BuiltLymphNode:
    """What was built, and what a conversion has to make of the oddities (files relative to ``folder``)."""

    folder: Path
    """Holds benign/ and malignant/."""
    found: dict[str, int]
    cases: dict[str, int]
    excluded: dict[str, str]
    """Files that become no case, with words of the reason."""


def build_lymph_node(
    folder: Path,
    *,
    benign: int = 6,
    malignant: int = 5,
    size: tuple[int, int] = (40, 48),
    patients: bool = True,
    quirks: bool = True,
    seed: int = 0,
) -> BuiltLymphNode:
    """Write sound cases of both classes, ``size`` (height, width); oddities come on top.

    For the counts of the paper's two sets: ``**FULL_COUNTS["LN-INT"], quirks=False``, where ``size`` may be small.
    """
    counts = {"benign": benign, "malignant": malignant}
    for class_name, count in counts.items():
        for number in range(1, count + 1):
            image, mask = blocks_with_node(size, seed, class_name, number)
            write_pair(folder, class_name, f"{number:04d}", image, mask, position=number)
    sound = BuiltLymphNode(folder, counts, dict(counts), {})
    built = _add_quirks(sound, size, seed) if quirks else sound
    if patients:
        write_patients(folder)
    return built


def write_patients(folder: Path) -> None:
    """Name a patient of each image: PER_PATIENT neighbours by name in each class have the same one."""
    rows = [
        {"image": path.relative_to(folder).as_posix(), "patient": f"P{class_name[0]}{position // PER_PATIENT:03d}"}
        for class_name in ("benign", "malignant")
        for position, path in enumerate(sorted((folder / class_name / "images").iterdir()))
    ]
    write_csv(folder / "patients.csv", ("image", "patient"), rows)


def blocks_with_node(size: tuple[int, int], *key: int | str) -> tuple[UInt8, UInt8]:
    """(H, W) of noise blocks with a darker ellipse, and the ellipse as 0/1 mask."""
    height, width = size
    rng = generator(*key)
    rows, columns = np.mgrid[:height, :width]
    centre, radius = rng.uniform(0.4, 0.6, 2), rng.uniform(0.15, 0.3, 2)
    mask = ((rows / height - centre[0]) / radius[0]) ** 2 + ((columns / width - centre[1]) / radius[1]) ** 2 < 1
    blocks = rng.integers(60, 220, (-(-height // 4), -(-width // 4)), dtype=np.uint8)
    tissue = np.kron(blocks, np.ones((4, 4), np.uint8))[:height, :width]
    return np.where(mask, tissue // 2, tissue).astype(np.uint8), mask.astype(np.uint8)


def screen(
    size: tuple[int, int], field: tuple[int, int, int, int], *key: int | str, lesion_outside: bool = False
) -> tuple[UInt8, UInt8]:
    """A picture as a machine exports it: ``field`` (top, left, height, width) on black, with text and a gray scale.

    ``lesion_outside`` puts a second, wrongly placed part of the mask into the border.
    """
    top, left, height, width = field
    inner, inner_mask = blocks_with_node((height, width), *key)
    image, mask = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    image[top : top + height, left : left + width] = inner
    mask[top : top + height, left : left + width] = inner_mask
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    draw.text((4, 4), "HOSPITAL 2021-03-04  MI 1.1", fill=255)
    draw.rectangle((size[1] - 12, top, size[1] - 8, top + height // 2), fill=180)
    if lesion_outside:
        mask[:6, :6] = 1
    return np.asarray(picture), mask


def write_pair(
    folder: Path, class_name: str, name: str, image: UInt8, mask: UInt8, *, position: int = 0, ending: str = ""
) -> Path:
    """Write an image and its mask; endings and modes are dealt in turn by ``position``. Returns the image's path."""
    path = folder / class_name / "images" / f"{name}{ending or IMAGE_ENDINGS[position % len(IMAGE_ENDINGS)]}"
    mask_path = folder / class_name / "masks" / f"{name}.png"
    for one in (path, mask_path):
        one.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).convert("RGB").save(path)
    write_mask(mask_path, mask, MASK_MODES[position % len(MASK_MODES)])
    return path


def _add_quirks(sound: BuiltLymphNode, size: tuple[int, int], seed: int) -> BuiltLymphNode:
    """One more case with a name of its own, and files that become none."""
    folder = sound.folder
    image, mask = blocks_with_node(size, seed, "quirk")
    write_pair(folder, "benign", "淋巴结 7 (左)\nb", image, mask)
    write_pair(folder, "benign", "unmasked", image, mask, ending=".png")
    (folder / "benign" / "masks" / "unmasked.png").unlink()
    write_pair(folder, "malignant", "orphan", image, mask, ending=".png")
    (folder / "malignant" / "images" / "orphan.png").unlink()
    write_pair(folder, "malignant", "misfit", image, np.ones((3, 5), np.uint8), ending=".png")
    write_pair(folder, "malignant", "broken", image, mask, ending=".png")
    broken = folder / "malignant" / "images" / "broken.png"
    broken.write_bytes(broken.read_bytes()[:60])
    write_pair(folder, "malignant", "twice", *blocks_with_node(size, seed, "twice"), ending=".TIFF")
    Image.fromarray(image).save(folder / "malignant" / "images" / "twice.png")
    strays = ("notes.docx", "benign/images/Thumbs.db", "malignant/report.pdf")
    for stray in strays:
        (folder / stray).write_text("not an image\n", encoding="utf-8")
    excluded = dict.fromkeys(strays, "not a file of the data set")
    excluded |= {
        "benign/images/unmasked.png": "an image without a mask",
        "malignant/masks/orphan.png": "a mask without an image",
        "malignant/images/misfit.png": "differ in size",
        "malignant/images/broken.png": "cannot be read",
        "malignant/images/twice.png": "a second file of the name",
    }
    found = {"benign": sound.found["benign"] + 2, "malignant": sound.found["malignant"] + 3}
    cases = {"benign": sound.cases["benign"] + 1, "malignant": sound.cases["malignant"] + 1}
    return BuiltLymphNode(folder, found, cases, excluded)
