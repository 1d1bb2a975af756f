"""Which predictions to look at first: ``quality.csv`` beside the masks."""

from pathlib import Path

from htunet.files import write_csv
from htunet.inference.prediction import NO_LESION, Prediction

QUALITY = "quality.csv"
COLUMNS = ("mask", "predicted_dice", "low", "high", "distance", "unlike", "lesion_probability", "calibrated_on")


class Quality:
    """What ``quality.csv`` will say; it is told of one prediction after another."""

    def __init__(self, calibrated_on: str = "") -> None:
        self._calibrated_on = calibrated_on
        self._rows: list[tuple[tuple[bool, bool, bool, float, float], dict[str, str]]] = []
        self.unlike: list[str] = []
        """Names of the images that are unlike the training images."""
        self.doubted: list[str] = []
        """Names of the images with a mask in which the model's own classes say that there is no lesion."""

    def add(self, name: str, found: Prediction) -> None:
        """The prediction of one image, with the Dice to be expected and the distance as far as they are known."""
        dice, distance = found.predicted_dice, found.distance
        row = dict.fromkeys(COLUMNS, "") | {"mask": name, "calibrated_on": self._calibrated_on}
        if dice is not None:
            row |= {"predicted_dice": f"{dice.value:.3f}", "low": f"{dice.low:.3f}", "high": f"{dice.high:.3f}"}
        if distance is not None:
            row |= {"distance": f"{distance:.2f}", "unlike": "yes" if found.unlike else "no"}
        if found.unlike:
            self.unlike.append(name)
        if found.classes and NO_LESION in found.classes:
            row["lesion_probability"] = f"{1 - found.classes[NO_LESION]:.3f}"
        if found.doubted:
            self.doubted.append(name)
        empty = found.labels is not None and not found.labels.any()
        order = (not empty, not found.doubted, not found.unlike, dice.value if dice else 0.0, -(distance or 0.0))
        self._rows.append((order, row))

    def write(self, folder: Path) -> None:
        """What needs a look comes first: nothing found, doubted, unlike images, then the lowest Dice to be expected."""
        write_csv(folder / QUALITY, COLUMNS, [row for _, row in sorted(self._rows, key=lambda entry: entry[0])])
