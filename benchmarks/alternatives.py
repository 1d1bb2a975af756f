"""Rows beside what a user may take instead: MONAI and nnU-Net, each in an environment of its own.

An environment is named by its Python interpreter, ``--monai`` and ``--nnunet`` of ``python -m benchmarks``; where one
is not named or does not start, its rows say so and have htunet's figures alone.
"""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.conversion import write_images
from benchmarks.measure import Row, row_of, run_command
from benchmarks.side import AbsentError, Side, installed_version, interpreter
from htunet.reproducibility import generator

SIZES = ((480, 640), (300, 400), (600, 800))
"""Height and width of the images that are predicted, in turn."""
SIDE, PLAN, DATASET = 224, "paper", "Dataset503_BUSI"
MONAI_NETWORKS = ("UNet", "BasicUNet")
ROOTS = ("raw", "preprocessed", "results")
PLAN_NNUNET = (
    "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry as e; e()",
    *("-d", "503", "-c", "2d", "-np", "1", "-npfp", "1", "--verify_dataset_integrity"),
)
NNUNET = "2d configuration: checks, fingerprint, plan, arrays, start included"


def alternatives(
    rounds: int, images: int = 200, predicted: int = 6, batch: int = 8, precisions: tuple[str, ...] = ("fp32", "bf16")
) -> Iterator[Row]:
    """Planning, training and prediction of the same images."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        variables = {f"{name}_{root}": f"{base}/{name}_{root}" for name in ("htunet", "nnUNet") for root in ROOTS}
        variables["nnUNet_raw"] = variables["htunet_raw"]  # the raw folder is nnU-Net's own format
        source = write_images(folder / "source", images)
        run_command(["convert", "BUSI", str(source), "--workers", "1"], variables)
        yield from _planned(rounds, images, variables)
        raw, arrays = Path(base, "htunet_raw", DATASET), Path(base, "htunet_preprocessed", DATASET)
        pairs = [(str(path), str(raw / "labelsTr" / path.name.replace("_0000", "")))
                 for path in sorted((raw / "imagesTr").glob("*.png"))]  # fmt: skip
        spec = {"dataset": str(arrays), "plan": PLAN, "side": SIDE, "batch": batch, "pairs": pairs}
        spec |= {"files": write_pictures(folder / "pictures", predicted), "output": str(folder / "masks")}
        (folder / "masks").mkdir()
        amounts = {"step": batch, "predict": predicted}
        monai = [(f"{network} in a plain PyTorch loop", "monai", {"network": network}) for network in MONAI_NETWORKS]
        yield from _in_turn("MONAI", monai, spec, amounts, rounds, precisions)
        nnunet = [("2d, without mirroring", "nnunet", {"dataset": f"{base}/nnUNet_preprocessed/{DATASET}"})]
        yield from _in_turn("nnU-Net", nnunet, spec, {"predict": predicted}, rounds, precisions)


def write_pictures(folder: Path, count: int) -> list[str]:
    """``count`` files of ``SIZES``, noise of their own."""
    folder.mkdir(exist_ok=True)
    files = []
    for number in range(count):
        pixels = generator(0, "predicted", number).integers(0, 256, SIZES[number % len(SIZES)], np.uint8)
        Image.fromarray(pixels).save(path := folder / f"{number}.png")
        files.append(str(path))
    return files


def _planned(rounds: int, images: int, variables: dict[str, str]) -> Iterator[Row]:
    """nnU-Net's planning and preprocessing of the raw folder beside htunet's."""
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    absent = version = ""
    for _ in range(rounds):
        for name in ("htunet", "nnUNet"):
            shutil.rmtree(variables[f"{name}_preprocessed"], ignore_errors=True)
        ours.append(run_command(["plan_and_preprocess", "-d", "BUSI", "--plan", PLAN, "--workers", "1"], variables))
        try:
            python = interpreter("nnU-Net")
            version = installed_version(python, "nnunetv2")
            theirs.append(run_command(["-c", *PLAN_NNUNET], variables, module="", python=python))
        except (AbsentError, RuntimeError) as error:
            absent = str(error)
    seconds, memory = [one for one, _ in ours], max(peak for _, peak in ours)
    images_text = f"{images} images of 500 x 500, which were measured as they were converted"
    what = f"checks, fingerprint, plan, arrays, start included, {images_text}"
    if absent:
        yield _alone(what, images, seconds, memory, "nnU-Net", absent)
    else:
        yield row_of(what, "images/s", images, seconds, f"nnU-Net {version}, {NNUNET}", [one for one, _ in theirs],
                     memory=(memory, max(peak for _, peak in theirs)))  # fmt: skip


def _in_turn(
    name: str,
    others: list[tuple[str, str, dict[str, Any]]],
    spec: dict[str, Any],
    amounts: dict[str, int],
    rounds: int,
    precisions: tuple[str, ...],
) -> Iterator[Row]:
    """A row for each order of ``amounts``, each precision and each of ``others`` (words, side, what it needs).

    An order is done once before it is timed: what is slow the first time only.
    """
    sides = {one: Side(sys.executable, "benchmarks.side_htunet", spec | {"precision": one}) for one in precisions}
    absent = ""
    try:
        sides |= {
            words: Side(interpreter(name), f"benchmarks.side_{side}", spec | more) for words, side, more in others
        }
    except AbsentError as error:
        absent = str(error)
    times: dict[str, list[dict[str, float]]] = {order: [] for order in amounts}
    for order, found in times.items():
        for number in range(rounds + 1):
            turn = {key: side.seconds(order) for key, side in sides.items()}
            found += [turn] * bool(number)
    peaks = {key: side.end() for key, side in sides.items()}
    whats = {"step": f"training step of UNet, augmentation included, {{}}, {SIDE} x {SIDE}, batch {spec['batch']}",
             "predict": f"prediction by UNet, {{}}, files of {len(SIZES)} sizes to files"}  # fmt: skip
    for order, amount in amounts.items():
        for one in precisions:
            what = f"{whats[order].format(one)} ({sides[one].about['network']})"
            seconds = [turn[one] for turn in times[order]]
            if absent:
                yield _alone(what, amount, seconds, peaks[one], name, absent)
                continue
            for words, *_ in others:
                about = sides[words].about
                theirs = f"{name} {about['version']}, {words}, fp32 ({about['network']})"
                yield row_of(what, "images/s", amount, seconds, theirs, [turn[words] for turn in times[order]],
                             memory=(peaks[one], peaks[words]))  # fmt: skip


def _alone(what: str, amount: float, seconds: list[float], memory_gb: float, name: str, absent: str) -> Row:
    """A row of htunet alone, and why there is no alternative."""
    return Row(what=what, unit="images/s", ours=amount / statistics.median(seconds), memory_gb=memory_gb,
               alternative=f"{name}: {absent}")  # fmt: skip
