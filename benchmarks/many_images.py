"""Rows of many images: whether time and memory for each stay the same when there are more of them."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.conversion import write_images
from benchmarks.measure import Row, row_of, run_command
from htunet.experiments.cost import plan_content
from htunet.experiments.jobs import Workload
from htunet.planning.plans import plan_from, save_plans

FEW, MANY, VERY_MANY = 780, 10_000, 100_000
SIDE, SMALL = 128, 32
"""Pixels of the made-up images, and of very many, of which the arrays have ``SMALL_INPUT``, to take 1.5 GB."""
SMALL_INPUT = 64


def numbers(
    rounds: int, few: int = FEW, many: int = MANY, side: int = SIDE, input_side: int | None = None
) -> Iterator[Row]:
    """Conversion, checks, and planning with arrays of ``many`` images beside the same of ``few``."""
    plan, sizes = ("small", f" of {input_side} x {input_side}") if input_side else ("paper", "")
    with tempfile.TemporaryDirectory() as base:
        homes = {number: Path(base, str(number)) for number in (few, many)}
        for number, home in homes.items():
            write_images(home / "source", number, side)
        for what, command in {
            "conversion of BUSI's layout": ["convert", "BUSI", "source"],
            "checks alone": ["plan_and_preprocess", "-d", "BUSI", "--verify-only"],
            f"checks, fingerprint, plan, arrays{sizes}": ["plan_and_preprocess", "-d", "BUSI", "--plan", plan],
        }.items():
            found: dict[int, list[tuple[float, float]]] = {number: [] for number in homes}
            for _ in range(rounds):
                for number, home in homes.items():
                    found[number].append(run_command(*_call(command, home, input_side)))
            ours, theirs = found[many], found[few]
            yield row_of(f"{what}, {many:,} images of {side} x {side}, start included", "images/s", many,
                         [one for one, _ in ours], f"{few:,} of them", [one for one, _ in theirs], other_amount=few,
                         memory=(max(peak for _, peak in ours), max(peak for _, peak in theirs)))  # fmt: skip


def _call(command: list[str], home: Path, input_side: int | None) -> tuple[list[str], dict[str, str]]:
    """A command with its folders in ``home``, which is made ready for it, and the variables that name its roots."""
    roots = {name: str(home / name) for name in ("htunet_raw", "htunet_preprocessed", "htunet_results")}
    folder = home / "htunet_preprocessed" / "Dataset503_BUSI"
    if "--plan" in command:
        for path in folder.iterdir():  # of an earlier round; what the conversion measured stays
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "measured.npz":
                path.unlink()
        if input_side:
            content = plan_content(Workload(plan="paper")) | {"name": command[-1], "input_size": [input_side] * 2}
            save_plans(folder / "plans.json", {command[-1]: plan_from(content, "made up")})
    arguments = [str(home / one) if one == "source" else one for one in command]
    return [*arguments, "--workers", "1"], roots


def evaluations(rounds: int, few: int = FEW, many: int = MANY, side: int = SIDE) -> Iterator[Row]:
    """The evaluation of two folders of ``many`` masks beside that of ``few``."""
    found: dict[int, list[tuple[float, float]]] = {number: [] for number in (few, many)}
    with tempfile.TemporaryDirectory() as base:
        for number in found:
            _write_masks(Path(base, str(number)), number, side)
        for _ in range(rounds):
            for number, measured in found.items():
                folders = [f"{base}/{number}/{name}" for name in FOLDERS]
                command = ["evaluate", "--prediction-folder", folders[0], "--reference-folder", folders[1]]
                measured.append(run_command(command, {}))
    (ours, memory), (theirs, other_memory) = ([*zip(*found[number], strict=True)] for number in (many, few))
    yield row_of(f"evaluation of two folders of masks, {many:,} images of {side} x {side}, start included", "images/s",
                 many, [*ours], f"{few:,} of them", [*theirs], other_amount=few,
                 memory=(max(memory), max(other_memory)))  # fmt: skip


FOLDERS = ("predictions", "references")


def _write_masks(folder: Path, number: int, side: int) -> None:
    """Ellipses of many places and sizes; a prediction is its reference, moved by some pixels of its own."""
    predictions, references = (folder / name for name in FOLDERS)
    predictions.mkdir(parents=True)
    references.mkdir()
    rows, columns = np.mgrid[:side, :side] / side
    for at in range(number):
        row, column, height, width = 0.3 + 0.1 * np.array([at % 5, at // 5 % 5, at % 2 + 1, at % 3 + 1])
        mask = (((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 0.5) * np.uint8(255)
        Image.fromarray(mask).save(references / f"{at:06d}.png")
        Image.fromarray(np.roll(mask, (at % 7 - 3, at % 4), axis=(0, 1))).save(predictions / f"{at:06d}.png")
