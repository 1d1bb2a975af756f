"""``classes.csv``: the probabilities of each image's classes, as a prediction writes and an evaluation reads them.

One line an image: ``case``, ``class`` (the true one; of new images, of which nobody knows it, there is no such column),
``probability_NAME`` for each class in the order of its index, ``predicted``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from htunet.errors import HtunetError, counted
from htunet.files import read_csv, write_csv
from htunet.paths import checked_name, checked_text

PREFIX = "probability_"
COLUMNS = ("case", "predicted")
TOLERANCE = 1e-5
"""Largest difference from 1 of the sum of an image's probabilities."""


@dataclass(frozen=True, kw_only=True)
class ClassProbabilities:
    """What a classification says of some images. Dimension key: N cases, K classes."""

    classes: tuple[str, ...]
    """In the order of their indices."""
    cases: tuple[str, ...]
    truth: tuple[str, ...]
    """The true class of each case; empty where it is not known."""
    values_NK: NDArray[np.float64]
    """Probabilities, each row adding up to 1."""

    def with_last(self, name: str) -> "ClassProbabilities":
        """The same with class ``name`` as the last of two; unchanged if there is no such class."""
        if len(self.classes) != 2 or name != self.classes[0]:
            return self
        return replace(self, classes=self.classes[::-1], values_NK=self.values_NK[:, ::-1])

    @property
    def predicted(self) -> list[str]:
        """The most probable class of each case, of equal ones the first."""
        return [self.classes[index] for index in self.values_NK.argmax(axis=1)]

    @property
    def truth_indices(self) -> NDArray[np.intp]:
        """(N,) index of the true class of each case; HtunetError that names the cases without one of the classes."""
        unknown = [f"{case} ({name!r})" for case, name in zip(self.cases, self.truth, strict=True)
                   if name not in self.classes]  # fmt: skip
        if unknown:
            raise HtunetError(
                f"{len(unknown)} of {len(self.cases)} cases have none of the classes {', '.join(self.classes)}: "
                f"{', '.join(unknown[:5])}. Correct cases.csv of the raw folder, or take the cases out of the split."
            )
        return np.array([self.classes.index(name) for name in self.truth], dtype=np.intp)


def class_order(classes: Mapping[str, int]) -> tuple[str, ...]:
    """Class names in the order of their indices."""
    return tuple(sorted(classes, key=classes.__getitem__))


def write_class_probabilities(path: Path, found: ClassProbabilities) -> None:
    """Write the file, whole or not at all; probabilities in full precision, those of new images with six digits."""
    write_csv(path, *table_of(found))


def table_of(found: ClassProbabilities) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and the rows of the file."""
    known, columns = any(found.truth), [f"{PREFIX}{name}" for name in found.classes]
    text: Callable[[float], str] = repr if known else "{:.6g}".format
    names = ["case", *["class"] * known, *columns, "predicted"]
    rows = zip(found.cases, found.truth, found.values_NK.tolist(), found.predicted, strict=True)
    return names, [
        dict(zip(names, (case, *[truth] * known, *map(text, values), predicted), strict=True))
        for case, truth, values, predicted in rows
    ]


def read_class_probabilities(path: Path) -> ClassProbabilities:
    """Read the file; raises HtunetError that names what is missing, doubled or no probability."""
    rows = read_csv(path, COLUMNS)
    if not rows:
        raise HtunetError(f"{path} holds no case.")
    columns = [name for name in rows[0] if name.startswith(PREFIX)]
    if len(columns) < 2:
        raise HtunetError(
            f"{path} has {counted(len(columns), 'column')} {PREFIX}NAME; a classification has at least two classes."
        )
    cases = tuple(checked_name(row["case"], "the case", path) for row in rows)
    if twice := sorted({case for case in cases if cases.count(case) > 1}) if len(set(cases)) < len(cases) else []:
        raise HtunetError(f"{path} has more than one line for {', '.join(twice[:5])}. Leave one.")
    values = []
    for row in rows:
        texts = [row[name] for name in columns]
        try:
            values.append([float(text) for text in texts])
        except ValueError:
            values.append([math.nan])
        if not all(0 <= value <= 1 for value in values[-1]) or abs(sum(values[-1]) - 1) > TOLERANCE:
            found = ", ".join(texts)
            raise HtunetError(f"{path}, {row['case']}: probabilities lie in 0..1 and add up to 1; got {found}.")
    return ClassProbabilities(
        classes=tuple(checked_text(name.removeprefix(PREFIX), "the class", path) for name in columns),
        cases=cases,
        truth=tuple(row.get("class", "") for row in rows),
        values_NK=np.array(values),
    )
