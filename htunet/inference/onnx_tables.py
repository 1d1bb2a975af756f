"""classes.csv for run_onnx.py, with Python alone: as htunet_predict, it keeps the rows of images predicted earlier."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path


class ClassesTable:
    """``classes.csv`` of an output folder; ends the program where the folder holds what another model has predicted."""

    def __init__(self, output: Path, classes: Sequence[str]) -> None:
        self.classes, self.path, self.rows = list(classes), output / "classes.csv", dict[str, list[str]]()
        self.columns = ["case", "class", *(f"probability_{name}" for name in classes), "predicted"]
        output.mkdir(parents=True, exist_ok=True)
        if classes and self.path.exists():
            with self.path.open(newline="", encoding="utf-8-sig") as stream:
                lines = list(csv.reader(stream))
            self.rows = {line[0]: line for line in lines[1:] if line}
            if lines and (lines[0] != self.columns or any(len(row) != len(lines[0]) for row in self.rows.values())):
                sys.exit(f"{self.path} has the columns {', '.join(lines[0])}, not {', '.join(self.columns)}: it is of "
                         "another model, or of htunet_predict. Choose another output folder.")  # fmt: skip
        if (output / "quality.csv").exists():
            sys.exit(f"{output} holds what htunet_predict has predicted, with a quality.csv of it. Choose another "
                     "output folder.")  # fmt: skip

    def add(self, case: str, probabilities: Sequence[float]) -> None:
        """The row of an image, in place of an earlier one."""
        best = self.classes[max(range(len(self.classes)), key=probabilities.__getitem__)]
        self.rows[case] = [case, "", *map(str, probabilities), best]

    def write(self) -> None:
        """Write the table, whole or not at all."""
        if self.rows:
            part = self.path.with_name(".part-classes.csv")
            with part.open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream, lineterminator="\n").writerows([self.columns, *self.rows.values()])
            part.replace(self.path)
