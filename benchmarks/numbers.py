"""Rows of many images: whether time and memory for each stay the same when there are more of them."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.conversion import write_images
from benchmarks.measure import Row, row_of, run_command

FEW, MANY = 780, 10_000
SIDE = 128
"""Pixels of the made-up images."""


def numbers(rounds: int, few: int = FEW, many: int = MANY) -> Iterator[Row]:
    """Conversion, checks, planning with arrays, and evaluation of ``many`` images beside the same of ``few``."""
    with tempfile.TemporaryDirectory() as base:
        found: dict[tuple[str, int], list[tuple[float, float]]] = {}
        homes = {number: Path(base, str(number)) for number in (few, many)}
        for number, home in homes.items():
            write_images(home / "source", number, SIDE)
        for _ in range(rounds):
            for number, home in homes.items():
                roots = {name: str(home / name) for name in ("htunet_raw", "htunet_preprocessed", "htunet_results")}
                shutil.rmtree(roots["htunet_preprocessed"], ignore_errors=True)
                masks, predictions = home / "htunet_raw" / "Dataset503_BUSI" / "labelsTr", home / "predictions"
                one = ["--workers", "1"]
                for what, command in {
                    "conversion of BUSI's layout": ["convert", "BUSI", str(home / "source"), *one],
                    "checks alone": ["plan_and_preprocess", "-d", "BUSI", "--verify-only", *one],
                    "checks, fingerprint, plan, arrays": ["plan_and_preprocess", "-d", "BUSI", "--plan", "paper", *one],
                    "evaluation of two folders of masks": ["evaluate", "--prediction-folder", str(predictions),
                                                           "--reference-folder", str(masks)],
                }.items():  # fmt: skip
                    if command[0] == "evaluate" and not predictions.exists():
                        _write_predictions(masks, predictions)
                    found.setdefault((what, number), []).append(run_command(command, roots))
        for what in dict.fromkeys(name for name, _ in found):
            ours, theirs = found[what, many], found[what, few]
            yield row_of(f"{what}, {many:,} images of {SIDE} x {SIDE}, start included", "images/s", many,
                         [one for one, _ in ours], f"{few:,} of them", [one for one, _ in theirs], other_amount=few,
                         memory=(max(peak for _, peak in ours), max(peak for _, peak in theirs)))  # fmt: skip


def _write_predictions(masks: Path, folder: Path) -> None:
    """The masks of a folder, each moved by some pixels of its own."""
    folder.mkdir()
    for number, path in enumerate(sorted(masks.glob("*.png"))):
        moved = np.roll(np.asarray(Image.open(path)), (number % 7 - 3, number % 5), axis=(0, 1))
        Image.fromarray(moved).save(folder / path.name)
