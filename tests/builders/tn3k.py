"""A small TN3K in its distributed layouts: JPEG images and masks, both splits numbered from 0, fold files, labels."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from builders.busi import speckled
from htunet.data.image_io import UInt8
from htunet.reproducibility import generator

FOLDS = 5


@dataclass(frozen=True)
class BuiltTn3k:
    """What was built; files relative to ``folder``."""

    folder: Path
    """Holds trainval-image/ and so on, or trainval/ and test/."""
    found: dict[str, int]
    """Images by split."""
    cases: int
    orphan_mask: str = ""
    unmasked: str = ""
    unreadable: str = ""
    misfit: str = ""
    second_number: str = ""
    strays: tuple[str, ...] = ()


def build_tn3k(
    folder: Path,
    *,
    trainval: int = 12,
    test: int = 5,
    quirks: bool = True,
    nested: bool = False,
    labels: bool = False,
    sizes: tuple[int, int] = (32, 56),
    seed: int = 0,
) -> BuiltTn3k:
    """Write both splits with their fold files; oddities come on top, numbered after the sound pairs.

    ``nested`` writes trainval/image/ and so on (as in the folder picture/), else trainval-image/. ``labels`` adds the
    two tables of classes, every third image malignant. ``sizes`` bounds height and width.
    """
    counts = {"trainval": trainval, "test": test}
    for split, count in counts.items():
        for number in range(count):
            write_pair(folder, split, number, nested=nested, sizes=sizes, seed=seed)
        if labels:
            lines = [f"{number:04d}.jpg,{int(number % 3 == 2)}" for number in range(count)]
            (folder / f"label4{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    built = BuiltTn3k(folder, dict(counts), sum(counts.values()))
    if quirks:
        built = _add_quirks(built, sizes, seed, nested=nested)
    write_folds(folder, built.found["trainval"])
    return built


def place(folder: Path, split: str, kind: str, *, nested: bool = False) -> Path:
    """The folder of one kind (image, mask) of one split."""
    return folder / split / kind if nested else folder / f"{split}-{kind}"


def write_pair(
    folder: Path, split: str, number: int, *, sizes: tuple[int, int] = (32, 56), nested: bool = False, seed: int = 0
) -> None:
    """One image with its mask; the mask of every seventh has two parts, as some real ones have."""
    rng = generator(seed, "size", split, number)
    height, width = (int(value) for value in rng.integers(sizes[0], sizes[1] + 1, 2))
    image, mask = speckled(height, width, seed, "tn3k", split, number)
    if number % 7 == 3:
        mask[:4, :4] = 1
    write_jpeg(place(folder, split, "image", nested=nested) / f"{number:04d}.jpg", image)
    write_jpeg(place(folder, split, "mask", nested=nested) / f"{number:04d}.jpg", mask * np.uint8(255))


def write_jpeg(path: Path, array: UInt8) -> None:
    """JPEG spreads the two values of a mask by some gray values, as in the distributed files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=95)


def write_folds(folder: Path, count: int) -> None:
    """Every fifth position is for validation: fold k takes k, k + 5, ..."""
    for fold in range(FOLDS):
        val = list(range(fold, count, FOLDS))
        content = {"val": val, "train": [position for position in range(count) if position % FOLDS != fold]}
        (folder / f"tn3k-trainval-fold{fold}.json").write_text(json.dumps(content), encoding="utf-8")


def _add_quirks(sound: BuiltTn3k, sizes: tuple[int, int], seed: int, *, nested: bool) -> BuiltTn3k:
    folder, trainval, test = sound.folder, sound.found["trainval"], sound.found["test"]

    def path(split: str, kind: str, number: int) -> Path:
        return place(folder, split, kind, nested=nested) / f"{number:04d}.jpg"

    def name(split: str, kind: str, number: int) -> str:
        return path(split, kind, number).relative_to(folder).as_posix()

    for number in range(trainval, trainval + 3):
        write_pair(folder, "trainval", number, sizes=sizes, nested=nested, seed=seed)
    write_pair(folder, "test", test, sizes=sizes, nested=nested, seed=seed)
    path("trainval", "image", trainval).unlink()
    path("trainval", "mask", trainval + 1).unlink()
    broken = path("trainval", "image", trainval + 2)
    broken.write_bytes(broken.read_bytes()[:100])
    mask = Image.open(path("test", "mask", test))
    write_jpeg(path("test", "mask", test), np.zeros((mask.height + 4, mask.width + 2), np.uint8))
    second = path("test", "image", 0).with_name("0.jpg")
    second.write_bytes(path("test", "image", 0).read_bytes())
    strays = ("readme.txt", f"{path('trainval', 'image', 0).parent.relative_to(folder).as_posix()}/Thumbs.db")
    for stray in strays:
        (folder / stray).write_text("not an image\n", encoding="utf-8")
    return BuiltTn3k(
        folder,
        found={"trainval": trainval + 2, "test": test + 1},
        cases=sound.cases,
        orphan_mask=name("trainval", "mask", trainval),
        unmasked=name("trainval", "image", trainval + 1),
        unreadable=name("trainval", "image", trainval + 2),
        misfit=name("test", "image", test),
        second_number=name("test", "image", 0),
        strays=strays,
    )
