"""Images in one folder and their masks in another, whose names are numbers: ``image/0012.PNG``, ``mask/12.png``."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dataset_conversion.common import ImageWithMasks
from htunet.data.image_io import READABLE
from htunet.data.raw import Case, Excluded

NUMBER = re.compile(r"[0-9]{1,9}")
THRESHOLD = 127
"""Between the two values of a mask, which JPEG spreads by some ten gray values."""
STRAY = "not a file of the data set"


@dataclass(frozen=True)
class Numbered:
    """What two such folders hold."""

    jobs: list[ImageWithMasks]
    """In the order of their numbers."""
    numbers: list[int]
    """Of all images, sorted, whatever became of them."""
    excluded: list[Excluded]


def collect_numbered(
    base: Path, images: Path | None, masks: Path | None, *, case_of: Callable[[int, str], Case], fit_masks: bool
) -> Numbered:
    """Pair the files of both folders by number; a missing folder is an empty one.

    ``case_of(number, source)`` names the case; ``source`` is the image's path relative to ``base``.
    """
    excluded: list[Excluded] = []
    image_of = _by_number(base, images, excluded)
    mask_of = _by_number(base, masks, excluded)
    cases = {number: case_of(number, source_of(base, path)) for number, path in sorted(image_of.items())}
    jobs = []
    for number, case in cases.items():
        if number in mask_of:
            image, mask = image_of[number], mask_of[number]
            jobs.append(ImageWithMasks(case=case, image=image, masks=(mask,), threshold=THRESHOLD, fit_masks=fit_masks))
        else:
            excluded.append(Excluded(source=case.source, class_name=case.class_name, reason="an image without a mask"))
    orphans = [path for number, path in sorted(mask_of.items()) if number not in image_of]
    excluded += [leave(base, path, "a mask without an image") for path in orphans]
    return Numbered(jobs, sorted(image_of), excluded)


def is_numbered_image(path: Path) -> bool:
    """A file whose name is a number with the ending of an image."""
    return bool(NUMBER.fullmatch(path.stem)) and path.suffix.lower() in READABLE and path.is_file()


def leave(base: Path, path: Path, reason: str = STRAY) -> Excluded:
    """A file that became no case."""
    return Excluded(source=source_of(base, path), class_name="", reason=reason)


def source_of(base: Path, path: Path) -> str:
    """``path`` as the tables name it: relative to ``base``, with slashes."""
    return path.relative_to(base).as_posix()


def _by_number(base: Path, folder: Path | None, excluded: list[Excluded]) -> dict[int, Path]:
    """The images of ``folder`` by number; its other files go to ``excluded``."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder else ():
        if not is_numbered_image(path):
            excluded.append(leave(base, path))
        elif (first := found.setdefault(int(path.stem), path)) is not path:
            excluded.append(leave(base, path, f"a second file with the number {int(path.stem)}, beside {first.name}"))
    return found
