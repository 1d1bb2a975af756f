"""Which predictions to look at first: the rows of ``quality.csv`` beside the masks."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from htunet.data.formats.stacks import masks_ending
from htunet.data.names import FRAME, printable
from htunet.inference.prediction import NO_LESION, Prediction

FRAME_NUMBER = re.compile(r", frame \d+$")
"""How ``ImageSteps.source`` ends of a file with several."""
QUALITY = "quality.csv"
COLUMNS = (
    *("mask", "predicted_dice", "low", "high", "distance", "unlike", "lesion_probability", "calibrated_on"),
    *("image", "look"),
)
"""``mask`` is the image, and ``image`` empty, where classes alone are predicted; ``look`` says why to look first."""
NOTHING, DOUBTED, UNLIKE = "nothing found", "probably no lesion", "unlike the training images"
FIRST = (NOTHING, DOUBTED, UNLIKE)


def mask_file(name: str, source: str) -> str:
    """The file that the mask of an image is in: ``name``, its own PNG, or one for all frames of the file ``source``.

    >>> mask_file("b/v__0002.png", "/in/b/v.nii.gz, frame 2"), mask_file("c__0001.png", "/in/c.tif, frame 1")
    ('b/v.nii.gz', 'c__0001.png')
    """
    path = FRAME_NUMBER.sub("", source)
    if not name.endswith(".png") or not (ending := masks_ending(Path(path))):
        return name
    stem = name.removesuffix(".png")
    return f"{stem if path == source else stem.rpartition(FRAME)[0]}{ending}"


class Quality:
    """Collects the rows of ``quality.csv``, one prediction after another."""

    def __init__(self, calibrated_on: str = "") -> None:
        self._calibrated_on = calibrated_on
        self.rows: list[dict[str, str]] = []

    @property
    def unlike(self) -> list[str]:
        """Names of the images that are unlike the training images."""
        return [row["image"] or row["mask"] for row in self.rows if row["unlike"] == "yes"]

    @property
    def doubted(self) -> list[str]:
        """Names of the images with a mask in which the model's own classes say that there is no lesion."""
        return [row["image"] or row["mask"] for row in self.rows if row["look"] == DOUBTED]

    def add(self, name: str, found: Prediction) -> None:
        """The prediction of one image, with the Dice to be expected and the distance as far as they are known."""
        dice, distance = found.predicted_dice, found.distance
        written = printable(mask_file(name, found.steps.source))
        row = dict.fromkeys(COLUMNS, "") | {"mask": written, "calibrated_on": self._calibrated_on}
        if dice is not None:
            row |= {"predicted_dice": f"{dice.value:.3f}", "low": f"{dice.low:.3f}", "high": f"{dice.high:.3f}"}
        if distance is not None:
            row |= {"distance": f"{distance:.2f}", "unlike": "yes" if found.unlike else "no"}
        if found.unlike:
            row["look"] = UNLIKE
        if found.classes and NO_LESION in found.classes:
            row["lesion_probability"] = f"{1 - found.classes[NO_LESION]:.3f}"
        if found.doubted:
            row["look"] = DOUBTED
        if found.labels is not None and not found.labels.any():
            row["look"] = NOTHING
        self.rows.append(row)

    def name_images(self, images: Iterable[str]) -> None:
        """Say which image each mask is of, in the order in which they were added."""
        for row, image in zip(self.rows, images, strict=True):
            row["image"] = printable(image)


def in_order(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """What needs a look comes first: nothing found, doubted, unlike images, then the lowest Dice to be expected."""
    return sorted(rows, key=_urgency)


def _urgency(row: Mapping[str, str]) -> tuple[int, float, float]:
    dice, look = row.get("predicted_dice"), row.get("look")
    if look is None:  # a file of an earlier version
        look = UNLIKE if row.get("unlike") == "yes" else "" if dice else NOTHING
    rank = FIRST.index(look) if look in FIRST else len(FIRST)
    return rank, _number(dice), -_number(row.get("distance"))


def _number(text: str | None) -> float:
    """0 for what is no number: a table may have been edited, and this only sorts it."""
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
