"""A small data set in BUSI's distributed layout, with every oddity that the real one and its mirrors have."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from htunet.data.image_io import UInt8
from htunet.reproducibility import generator

MASK_MODES = ("1", "L", "RGB", "RGBA", "P")


@dataclass(frozen=True)
class BuiltBusi:
    """What was built, and what a conversion has to make of the oddities (files relative to ``folder``)."""

    folder: Path
    """Holds benign/, malignant/ and normal/."""
    cases: dict[str, int]
    """Cases by class that a conversion without --fit-masks makes."""
    found: dict[str, int]
    """Images by class."""
    merged: str = "benign_0002"
    misfit: str = ""
    unmasked: str = ""
    unreadable: str = ""
    orphan_mask: str = ""
    strays: tuple[str, ...] = ()
    empty: str = ""
    near_copy: tuple[str, str] = ("", "")
    two_classes: tuple[str, str] = ("", "")


def build_busi(
    folder: Path,
    *,
    benign: int = 6,
    malignant: int = 4,
    normal: int = 2,
    quirks: bool = True,
    sizes: tuple[int, int] = (40, 64),
    seed: int = 0,
) -> BuiltBusi:
    """Write ``benign`` + ``malignant`` sound cases (at least 2 and 1) and ``normal`` images; oddities come on top.

    Benign (2) always has two masks. ``sizes`` bounds height and width in pixels.
    """
    counts = {"benign": benign, "malignant": malignant, "normal": normal}
    for class_name, count in counts.items():
        (folder / class_name).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            _write_pair(folder, class_name, number, sizes, seed)
    second = Image.open(folder / "benign" / "benign (2).png")
    extra = np.zeros((second.height, second.width), np.uint8)
    extra[2:6, 2:6] = 1
    write_mask(folder / "benign" / "benign (2)_mask_1.png", extra, "RGBA")
    sound = BuiltBusi(folder, {"benign": benign, "malignant": malignant}, dict(counts))
    return _add_quirks(sound, sizes, seed) if quirks else sound


def speckled(height: int, width: int, *key: int | str) -> tuple[UInt8, UInt8]:
    """A gray (H, W) image with a dark ellipse on a texture of its own, and the ellipse as 0/1 mask."""
    rng = generator(*key)
    coarse = Image.fromarray(rng.uniform(60, 200, (7, 7)).astype(np.float32), mode="F")
    tissue = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))
    rows, columns = np.mgrid[:height, :width]
    centre, radius = rng.uniform(0.4, 0.6, 2), rng.uniform(0.15, 0.3, 2)
    mask = ((rows / height - centre[0]) / radius[0]) ** 2 + ((columns / width - centre[1]) / radius[1]) ** 2 < 1
    image = tissue * np.where(mask, 0.4, 1.0) * rng.uniform(0.85, 1.15, (height, width))
    return image.clip(0, 255).astype(np.uint8), mask.astype(np.uint8)


def write_mask(path: Path, mask: UInt8, mode: str) -> None:
    """Write a 0/1 mask the way a mirror may have stored it; RGBA is white, and transparent outside the lesion."""
    white = mask * np.uint8(255)
    if mode == "RGBA":
        image = Image.fromarray(np.dstack([np.full_like(white, 255)] * 3 + [white]))
    elif mode == "P":
        image = Image.fromarray(mask)
        image.putpalette([0, 0, 0, 0, 0, 128])
    else:
        image = Image.fromarray(white).convert(mode)
    image.save(path)


def _write_pair(folder: Path, class_name: str, number: int, sizes: tuple[int, int], seed: int) -> None:
    rng = generator(seed, "size", class_name, number)
    height, width = (int(value) for value in rng.integers(sizes[0], sizes[1] + 1, 2))
    image, mask = speckled(height, width, seed, class_name, number)
    stem = folder / class_name / f"{class_name} ({number})"
    Image.fromarray(image).convert("RGB").save(f"{stem}.png")
    if class_name == "normal":
        write_mask(Path(f"{stem}_mask.png"), np.zeros_like(mask), "RGB")
    else:
        write_mask(Path(f"{stem}_mask.png"), mask, MASK_MODES[number % len(MASK_MODES)])


def _add_quirks(sound: BuiltBusi, sizes: tuple[int, int], seed: int) -> BuiltBusi:
    folder, benign, malignant = sound.folder, sound.found["benign"], sound.found["malignant"]
    for number in range(benign + 1, benign + 5):
        _write_pair(folder, "benign", number, sizes, seed)
    for number in range(malignant + 1, malignant + 4):
        _write_pair(folder, "malignant", number, sizes, seed)

    def path(class_name: str, number: int, ending: str = "") -> Path:
        return folder / class_name / f"{class_name} ({number}){ending}.png"

    misfit = path("benign", benign + 1, "_mask")
    height, width = np.asarray(Image.open(misfit)).shape[:2]
    write_mask(misfit, np.ones((height + 3, width + 5), np.uint8), "L")
    path("benign", benign + 2, "_mask").unlink()
    unreadable = path("benign", benign + 3)
    unreadable.write_bytes(unreadable.read_bytes()[:200])
    _copy_brighter(path("benign", 2), path("benign", benign + 4), path("benign", benign + 4, "_mask"))
    path("malignant", malignant + 1).unlink()
    _copy(path("benign", 1), path("malignant", malignant + 2), ("", "_mask"))
    empty = path("malignant", malignant + 3, "_mask")
    write_mask(empty, np.zeros(np.asarray(Image.open(empty)).shape[:2], np.uint8), "1")
    strays = ("benign/test.txt", "malignant/Thumbs.db", ".DS_Store")
    _write_strays(folder, strays)
    return BuiltBusi(
        folder,
        cases={"benign": benign + 1, "malignant": malignant + 2},
        found={"benign": benign + 4, "malignant": malignant + 2, "normal": sound.found["normal"]},
        misfit=f"benign/benign ({benign + 1}).png",
        unmasked=f"benign/benign ({benign + 2}).png",
        unreadable=f"benign/benign ({benign + 3}).png",
        orphan_mask=f"malignant/malignant ({malignant + 1})_mask.png",
        strays=strays,
        empty=f"malignant_{malignant + 3:04d}",
        near_copy=("benign_0002", f"benign_{benign + 4:04d}"),
        two_classes=("benign_0001", f"malignant_{malignant + 2:04d}"),
    )


def _copy(image: Path, target: Path, endings: Sequence[str]) -> None:
    for ending in endings:
        source = image.with_name(f"{image.stem}{ending}.png")
        target.with_name(f"{target.stem}{ending}.png").write_bytes(source.read_bytes())


def _copy_brighter(image: Path, target: Path, mask: Path) -> None:
    """The same picture a little brighter, as from a second export, with a mask of its own."""
    original = Image.open(image).convert("L")
    original.point(lambda value: min(255, value + 4)).save(target)
    write_mask(mask, speckled(original.height, original.width, "mask")[1], "1")


def _write_strays(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).write_text("not an image\n", encoding="utf-8")
