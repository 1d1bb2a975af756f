"""Images in one folder and their masks in another, whose names are numbers: ``image/0012.PNG``, ``mask/12.png``."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dataset_conversion.common import LOSSY_THRESHOLD, Exclusions, ImageWithMasks, source_of
from htunet.data.image_io import READABLE
from htunet.data.raw import Case

NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Numbered:
    """What two such folders hold."""

    jobs: list[ImageWithMasks]
    """In the order of their numbers."""
    numbers: list[int]
    """Numbers of all images, sorted, excluded ones among them."""


def collect_numbered(
    exclusions: Exclusions,
    images: Path | None,
    masks: Path | None,
    *,
    case_of: Callable[[int, str], Case],
    fit_masks: bool,
) -> Numbered:
    """Pair the files of both folders by number; a missing folder is an empty one. The others go to ``exclusions``.

    ``case_of(number, source)`` names the case; ``source`` is the image's path relative to the data set's folder.
    """
    image_of, mask_of = (_by_number(folder, exclusions) for folder in (images, masks))
    jobs = []
    for number, image in sorted(image_of.items()):
        case = case_of(number, source_of(exclusions.base, image))
        if number in mask_of:
            jobs.append(
                ImageWithMasks(
                    case=case,
                    image=image,
                    masks=(mask_of[number],),
                    threshold=LOSSY_THRESHOLD,
                    fit_masks=fit_masks,
                )
            )
        else:
            exclusions.add(image, "an image without a mask", case.class_name)
    for number in sorted(mask_of.keys() - image_of.keys()):
        exclusions.add(mask_of[number], "a mask without an image")
    return Numbered(jobs, sorted(image_of))


def is_numbered_image(path: Path) -> bool:
    """A file whose name is a number with the ending of an image."""
    return bool(NUMBER.fullmatch(path.stem)) and path.suffix.lower() in READABLE and path.is_file()


def _by_number(folder: Path | None, exclusions: Exclusions) -> dict[int, Path]:
    """The images of ``folder`` by number; its other files go to ``exclusions``."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder else ():
        if not is_numbered_image(path):
            exclusions.add(path)
        elif (first := found.setdefault(int(path.stem), path)) is not path:
            exclusions.add(path, f"a second file with the number {int(path.stem)}, beside {first.name}")
    return found
