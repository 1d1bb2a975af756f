"""What a user waits for, beside what they would use otherwise: the rows of documentation/explanation/performance.md."""

import contextlib
import io
import os
import resource
import runpy
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.alternatives import SIZES, alternatives, write_pictures
from benchmarks.ceiling import Ceiling
from benchmarks.conversion import write_images
from benchmarks.many_images import SMALL, SMALL_INPUT, VERY_MANY, evaluations, numbers
from benchmarks.measure import Row, compared, peak_gb, row_of, run_command, with_ceiling
from benchmarks.metrics_speed import SIZE, lesion
from benchmarks.report_speed import report_of_rows
from benchmarks.training_step import METHODS, PLAIN, SIDE, SIDES, STAGE1, Stepper, as_users_write_it, turns
from htunet.data.raw import Case
from htunet.errors import counted
from htunet.evaluation.evaluate import MaskPair, score_pairs
from htunet.experiments.cost import plan_content
from htunet.experiments.jobs import Workload
from htunet.experiments.step_time import MadeUpImages
from htunet.inference import run_onnx
from htunet.inference.folder import predict_folder
from htunet.inference.predictor import Predictor
from htunet.inference.to_onnx import MODEL, write_onnx
from htunet.models.build import build_network
from htunet.models.network import Network
from htunet.models.precision import has_bf16, resolve_precision
from htunet.planning.plans import Plan, plan_from
from htunet.pretraining.stream import SimulatedImages
from htunet.simulation.settings import SimulationSettings
from htunet.training.loader import BatchOrder, RemainingBatches, Shard, training_batches

LOOP = "in a plain PyTorch loop, fp32"
ALTERNATIVES = {
    "CLIP_HT": "the paper's equations, written literally, fp32",
    "CLIP": "open_clip's tower and the paper's head, written literally, fp32",
    STAGE1: "the paper's equations and open_clip's text tower in each step, written literally, fp32",
    "ResNet18": f"torchvision's resnet18 {LOOP}",
}
"""To a training step, where it is not the same layers in a plain loop."""
WORDS = {"CLIP": "CLIP, frozen", "DINOv2": "DINOv2, frozen", STAGE1: "CLIP_HT on images with captions (stage 1)"}
BATCHES = {"DINOv2": 1}


def step(method: str, rounds: int, batch: int = 4) -> Iterator[Row]:
    """A training step of a method in each precision."""
    batch, side = BATCHES.get(method, batch), SIDES.get(method, SIDE)
    found = turns(method, batch, rounds)
    for name in [name for name in found.seconds if name != PLAIN]:
        what = f"training step of {WORDS.get(method, method)}, {name.split()[-1]}, {side} x {side}, batch {batch}"
        row = row_of(what, "images/s", batch, found.seconds[name],
                     ALTERNATIVES.get(method, f"the same layers {LOOP}"), found.seconds[PLAIN],
                     memory=(found.memory[name], found.memory[PLAIN]))  # fmt: skip
        yield with_ceiling(row, found.seconds[name], found.ceilings[name])


def batches(rounds: int, images: int = 64) -> Iterator[Row]:
    """Augmented batches of both plans, made in the training's own process, against the step that they are made for."""
    stepper = Stepper("bf16" if has_bf16("cpu") else "fp32", batch := 8, "cpu", method="UNet")
    steps = f"a training step of UNet, {'bf16' if stepper.bf16 else 'fp32'}, batch {batch}, without augmentation"
    paper = _plan()
    off = dict.fromkeys(("mirror", "spatial", "intensity"), 0.0)
    public = replace(paper, augmentation=off, more_augmentation={"strong_weak": {}})
    for name, plan in (("paper", paper), ("public", public)):
        remaining = RemainingBatches(BatchOrder(range(1024), batch, 1), 0, 10**6, Shard())
        made = training_batches(MadeUpImages(plan), remaining, 0, pin_memory=False)
        some = partial(lambda made: [next(made) for _ in range(images // batch)], made)
        some()
        yield compared(f"batches of 224 x 224, augmented as plan {name} says, the loader alone, in one process",
                       "images/s", (images, batch), rounds, some, steps, stepper.step)  # fmt: skip


def simulation(rounds: int, images: int = 40) -> Iterator[Row]:
    """Simulated images by this process alone, and by two others together: processor time of the work, half of both."""
    source = SimulatedImages(SimulationSettings(), seed=1)
    source[0]
    alone, together = [], []
    for number in range(rounds):
        indices = range(number * images, (number + 1) * images)
        started = time.process_time()
        for index in indices:
            source[index]
        alone.append(time.process_time() - started)
        before = _of_children()
        with ProcessPoolExecutor(2) as both:
            list(both.map(source.__getitem__, indices))
        together.append((_of_children() - before) / 2)
    what, other = "simulated images of 224 x 224, default ranges", "no other simulator was measured"
    for seconds, where in ((alone, "one process"), (together, "two processes, half of the processor time of both")):
        yield Row(what=f"{what}, {where}", unit="images/s", ours=images / statistics.median(seconds), alternative=other)


def _of_children() -> float:
    """Processor time of the processes that have ended, s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pictures(folder: Path, number: int | None = None) -> tuple[list[str], str]:
    """Files in ``folder`` to predict, and what they are: real images of BUSI and DDTI with HTUNET_SAMPLES, else noise.

    None for ``number``: 500 of the real ones, drawn evenly from both data sets, or 12 of noise.
    """
    samples = os.environ.get("HTUNET_SAMPLES", "")
    real = [path for pattern in REAL for path in sorted(Path(samples).glob(pattern))] if samples else []
    if not real:
        files = write_pictures(folder, NOISE if number is None else number)
        return files, f"{counted(len(files), 'image')} of noise, {len(SIZES)} sizes"
    files, sizes = list[str](), set()
    for position in np.linspace(0, len(real) - 1, min(len(real), number or MOST_REAL)).astype(int):
        path = folder / f"{position}{real[position].suffix.lower()}"
        path.symlink_to(real[position].absolute())
        sizes.add(Image.open(path).size)
        files.append(str(path))
    return files, f"{counted(len(files), 'real image')} of BUSI and DDTI, {counted(len(sizes), 'size')}"


def prediction(method: str, rounds: int, images: int | None = None, members: int = 1) -> Iterator[Row]:
    """What ``htunet_predict`` does between its start and its tables, by a network or by several together."""
    plan = _plan()
    precision = resolve_precision("auto", "cpu")
    predictor = Predictor(_networks(method, plan, members), plan, device=torch.device("cpu"), precision=precision)
    together = f"the {members} folds of {method} together" if members > 1 else method
    with tempfile.TemporaryDirectory() as base, contextlib.redirect_stderr(io.StringIO()):  # the progress bar
        files, words = pictures(Path(base), images)
        few, masks = _some(files), Path(base, "masks")

        def ours(chosen: list[str] = files) -> None:
            predict_folder(predictor, [*map(Path, chosen)], masks)

        plain = partial(_plain_loop, _networks(method, plan, members), few, masks)
        peaks = {"memory_gb": peak_gb(partial(ours, few)), "other_memory_gb": peak_gb(plain)}
        products, amounts = Ceiling(partial(ours, few)), (len(files), len(few))
        row = compared(f"prediction by {together}, {precision}, files to files, {words}", "images/s", amounts,
                       rounds, ours, PLAIN_PREDICTION, plain,
                       ceiling=lambda: products.seconds() * len(files) / len(few))  # fmt: skip
        yield replace(row, **peaks)


def onnx_prediction(method: str, rounds: int, images: int | None = None) -> Iterator[Row]:
    """The program that goes with an export, from files to files; its start and the reading of the model left out."""
    import onnxruntime

    plan = _plan()
    with tempfile.TemporaryDirectory() as folder:
        files, words = pictures(Path(folder), images)
        few = _some(files)
        write_onnx(_networks(method, plan, 1), plan, "seg", Path(folder))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(Path(folder, MODEL), options)
        script, masks = str(Path(folder, Path(str(run_onnx.__file__)).name)), Path(folder, "masks")

        def ours(chosen: list[str] = files) -> None:
            with (
                patch.object(onnxruntime, "InferenceSession", lambda _: session),
                patch.object(sys, "argv", [script, str(masks), *chosen]),
                patch.object(sys, "path", [folder, *sys.path]),
            ):
                try:
                    runpy.run_path(script, run_name="__main__")
                except SystemExit as end:
                    if end.code:
                        raise RuntimeError(f"The runner of the export failed: {end.code}") from end

        plain = partial(_plain_loop, _networks(method, plan, 1), few, masks)
        peaks = {"memory_gb": peak_gb(partial(ours, few)), "other_memory_gb": peak_gb(plain)}
        ours(few)
        what = f"prediction by {method}, the ONNX runner of an export, fp32, files to files, {words}"
        row = compared(what, "images/s", (len(files), len(few)), rounds, ours, PLAIN_PREDICTION, plain)
        yield replace(row, **peaks)


PLAIN_PREDICTION = "Pillow and the same layers, fp32, one image after another"
REAL = ("busi_full/*/*/*).png", "ddti_637/DDTI/*/image/*")
"""Of HTUNET_SAMPLES."""
MOST_REAL, NOISE, OF_OTHERS = 500, 12, 50
"""Images that are predicted, and the most that the alternative predicts, which is slower."""


def _some(files: list[str]) -> list[str]:
    """What the alternative predicts of them, drawn evenly."""
    return files[:: -(-len(files) // OF_OTHERS)]


def _plan() -> Plan:
    content = plan_content(Workload(plan="paper"))
    return plan_from({**content, "input_size": list(content["input_size"])}, "made up")


def _networks(method: str, plan: Plan, members: int) -> list[Network]:
    """With random weights."""
    return [build_network(method, plan.outputs("seg"), seed=seed, weights="random",
                          adapter_settings=plan.adapter_settings)[0] for seed in range(members)]  # fmt: skip


@torch.inference_mode()
def _plain_loop(networks: list[Network], files: list[str], folder: Path) -> None:
    """What a PyTorch user would write."""
    folder.mkdir(exist_ok=True)
    for network in networks:
        as_users_write_it(network).eval()
    for path in files:
        image = Image.open(path).convert("L")
        small = torch.from_numpy(np.array(image.resize((224, 224), Image.Resampling.BILINEAR)))[None, None]
        labels = torch.stack([network(small).softmax(dim=1) for network in networks]).mean(dim=0).argmax(dim=1)[0]
        mask = Image.fromarray(labels.numpy().astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST)
        mask.save(folder / f"{Path(path).stem}.png")


def mask_pairs(rounds: int, pairs: int = 40) -> Iterator[Row]:
    """Files of masks to all metrics of each pair."""
    from medpy.metric.binary import assd, dc, hd95

    with tempfile.TemporaryDirectory() as folder:
        found = []
        for number in range(pairs):
            files = []
            for side, shift in (("prediction", 4), ("reference", 0)):
                mask = lesion(90 + number % 20 + shift, 110, 20 + number, 30 + number).astype(np.uint8)
                Image.fromarray(mask).save(path := Path(folder, f"{number}_{side}.png"))
                files.append(path)
            case = Case(id=str(number), source=str(files[1]))
            names = {"prediction_file": files[0].name, "reference_file": files[1].name}
            both = {"prediction": (files[0],), "reference": (files[1],)}
            found.append(MaskPair(case=case, resolution="original", **both, **names))

        def medpy() -> None:
            for pair in found:
                prediction, reference = (
                    np.asarray(Image.open(one[0])) > 0 for one in (pair.prediction, pair.reference)
                )
                dc(prediction, reference), hd95(prediction, reference), assd(prediction, reference)

        def ours() -> None:
            with contextlib.redirect_stderr(io.StringIO()):  # the progress bar
                score_pairs(found, [1], workers=0)

        yield compared(f"evaluation of masks of {SIZE} x {SIZE}, all metrics", "pairs/s", pairs, rounds, ours,
                       "Pillow and medpy: Dice, HD95 and ASD", medpy)  # fmt: skip


def preparation(rounds: int, images: int = 200) -> Iterator[Row]:
    """From downloaded files to arrays."""
    with tempfile.TemporaryDirectory() as base:
        roots = {name: f"{base}/{name}" for name in ("htunet_raw", "htunet_preprocessed", "htunet_results")}
        source = write_images(Path(base, "source"), images)
        one = ["--workers", "1"]
        commands = {
            "conversion of BUSI's layout, 500 x 500": ["convert", "BUSI", str(source), *one],
            "checks, fingerprint, plan, arrays after the conversion, which measures": [
                "plan_and_preprocess",
                "-d",
                "BUSI",
                "--plan",
                "paper",
                *one,
            ],
        }
        times: dict[str, list[tuple[float, float]]] = {what: [] for what in commands}
        decoding = []
        for _ in range(rounds):
            shutil.rmtree(roots["htunet_preprocessed"], ignore_errors=True)
            for what, command in commands.items():
                times[what].append(run_command(command, roots))
            started = time.process_time()
            for path in source.rglob("*.png"):
                Image.open(path).load()
            decoding.append(time.process_time() - started)
        for what, found in times.items():
            yield row_of(f"{what}, start included, {images} images", "images/s", images, [one for one, _ in found],
                         "decoding each file once with Pillow", decoding,
                         memory=(max(peak for _, peak in found), None))  # fmt: skip


IMPORTS = ("htunet", "htunet.api", "htunet.training.run", "htunet.inference.predictor")
"""What a user's own script, a training and a prediction begin with."""


def start_up(rounds: int) -> Iterator[Row]:
    """What each command takes until it says what it can do, each import, and a prediction until its first mask."""
    commands = sorted(path.stem for path in Path("htunet/cli").glob("*.py") if "def main" in path.read_text())
    commands.remove("worker")
    calls = {f"import {name}": ["-c", f"import {name}"] for name in ("torch", *IMPORTS)}
    calls |= {f"htunet_{name.rstrip('_')} --help": ["-m", f"htunet.cli.{name}", "--help"] for name in commands}
    first = "htunet_predict --model phantom (two networks), one image, from the start to the mask"
    found: dict[str, list[float]] = {what: [] for what in (*calls, first)}
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder, "image"), 1)
        for number in range(rounds):
            output = f"{folder}/masks_{number}"  # one that is there already would be finished at once
            predict = ["-m", "htunet.cli.predict", "-i", f"{folder}/image", "-o", output, "--model", "phantom"]
            for what, call in (*calls.items(), (first, [*predict, "--device", "cpu"])):
                found[what].append(run_command(call, {}, module="")[0])
    torch_s = found.pop("import torch")
    for what, ours in found.items():
        row = row_of(what, "s", 1, ours, "import torch", torch_s)
        yield replace(row, ours=statistics.median(ours), other=statistics.median(torch_s))


SECTIONS: dict[str, dict[str, Callable[[int], Iterator[Row]]]] = {
    "steps": {method: partial(step, method) for method in METHODS},
    "predictions": {
        "UNet": partial(prediction, "UNet"),
        "UNet together": partial(prediction, "UNet", members=5),
        "UNet ONNX": partial(onnx_prediction, "UNet"),
        "CLIP_HT": partial(prediction, "CLIP_HT"),
        "CLIP_HT together": partial(prediction, "CLIP_HT", members=5),
        "CLIP_HT ONNX": partial(onnx_prediction, "CLIP_HT"),
    },
    "batches": {"all": batches},
    "simulation": {"all": simulation},
    "mask-pairs": {"all": mask_pairs},
    "preparation": {"all": preparation},
    "start-up": {"all": start_up},
    "alternatives": {"all": alternatives},
    "numbers": {
        "all": numbers,
        "very many": partial(numbers, many=VERY_MANY, side=SMALL, input_side=SMALL_INPUT),
        "pairs": evaluations,
        "very many pairs": partial(evaluations, many=VERY_MANY, side=SMALL),
        "report": report_of_rows,
    },
}
"""Sections of the table, and what of them is measured at once and so has a name of its own."""
