"""The contact sheet of a run: one picture of its representative test cases, the worst, the median and the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet.evaluation.metrics import BOTH_EMPTY
from htunet.evaluation.statistics import percent_text, rounded
from htunet.reporting.overlays.draw import LEGEND, Colour, with_strip

UInt8 = NDArray[np.uint8]

PER_SECTION = 4
"""Cases in each of the sections worst, median and best."""
CELL, GAP = 300, 6
"""Pixels of a square, and between two pictures."""
SHEET_COLOUR = (24, 24, 24)


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What is known of one test case."""

    case: str
    dice: float | None
    """In [0, 1]. None where the policy gives no value."""
    hd95: float | None
    """Pixels; None where the policy gives no value."""
    class_name: str = ""
    empty: str = ""
    """Which mask is empty, as ``LabelScore.empty``."""

    @property
    def dice_text(self) -> str:
        """``Dice 81.2 %``."""
        return "no Dice" if self.dice is None else f"Dice {percent_text(self.dice)}"

    @property
    def caption(self) -> str:
        """``Dice 81.2 % · HD95 12.3 px · benign · prediction empty``, without what does not apply."""
        distance = "no HD95" if self.hd95 is None else f"HD95 {rounded(self.hd95, 1)} px"
        empty = "both masks empty" if self.empty == BOTH_EMPTY else f"{self.empty} empty" * bool(self.empty)
        return " · ".join(filter(None, (self.dice_text, distance, self.class_name, empty)))


def representative(results: Sequence[CaseResult], n: int = PER_SECTION) -> dict[str, list[CaseResult]]:
    """The ``n`` worst, median and best cases by section, each worst first; few cases are in one section without a name.

    Worst first: by Dice (no value first), then by HD95 (largest first), then by name. Of many cases those are in no
    section where nothing was to be found and nothing was found: they are neither good nor bad.
    """
    if len(results) > 3 * n:
        results = [one for one in results if one.empty != BOTH_EMPTY] or results
    ordered = sorted(results, key=lambda one: (-1.0 if one.dice is None else one.dice, -(one.hd95 or 0.0), one.case))
    if len(ordered) <= 3 * n:
        return {"": ordered}
    middle = (len(ordered) - n) // 2
    return {"Worst": ordered[:n], "Median": ordered[middle : middle + n], "Best": ordered[-n:]}


def contact_sheet(
    sections: Mapping[str, Sequence[CaseResult]],
    pictures: Mapping[str, UInt8],
    facts: Sequence[str] = (),
    *,
    n: int = PER_SECTION,
    legend: Sequence[tuple[Colour, str]] = LEGEND,
) -> UInt8:
    """(H, W, 3) picture of ``representative`` cases, ``n`` in a row, with a strip below: ``facts`` and the legend.

    ``pictures`` are the (H, W, 3) overlays of these cases by name. At least one case is needed.
    """
    cells = []
    for section, results in sections.items():
        for one in results:
            cell = Image.new("RGB", (CELL, CELL), SHEET_COLOUR)
            picture = Image.fromarray(pictures[one.case])
            picture.thumbnail((CELL - GAP, CELL - GAP), Image.Resampling.LANCZOS)
            cell.paste(picture, ((CELL - picture.width) // 2, (CELL - picture.height) // 2))
            named = with_strip(np.asarray(cell), f"{section} · {one.case}" if section else one.case, legend=())
            cells.append(with_strip(named, one.caption, legend=()))
    columns = min(n, len(cells))
    cells += [np.full_like(cells[0], SHEET_COLOUR)] * (-len(cells) % columns)
    rows = [np.concatenate(cells[at : at + columns], axis=1) for at in range(0, len(cells), columns)]
    sheet = np.concatenate(rows)
    for fact in facts:
        sheet = with_strip(sheet, fact, legend=())
    return with_strip(sheet, legend=legend)
