"""Which predictions to look at first: ``quality.csv`` beside the masks."""

from collections.abc import Mapping
from pathlib import Path

from htunet.data.expected_dice import PredictedDice
from htunet.files import write_csv

QUALITY = "quality.csv"
COLUMNS = ("mask", "predicted_dice", "low", "high")


def write_quality(folder: Path, found: Mapping[str, PredictedDice | None]) -> None:
    """A row for each mask, by its name: the Dice to be expected with its 90 % interval; what needs a look comes first.

    Masks in which nothing is found have no such value: they come before all others.
    """
    rows = []
    for mask, estimate in sorted(found.items(), key=lambda entry: -1.0 if entry[1] is None else entry[1].value):
        values = ("", "", "") if estimate is None else (f"{value:.3f}" for value in
                                                        (estimate.value, estimate.low, estimate.high))  # fmt: skip
        rows.append(dict(zip(COLUMNS, (mask, *values), strict=True)))
    write_csv(folder / QUALITY, COLUMNS, rows)
