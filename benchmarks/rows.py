"""What a user waits for, beside what they would use otherwise: the rows of documentation/explanation/performance.md."""

import contextlib
import io
import runpy
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
from benchmarks.measure import Row, compared, row_of, run_command, with_ceiling
from benchmarks.metrics_speed import SIZE, lesion
from benchmarks.numbers import SMALL, SMALL_INPUT, VERY_MANY, numbers
from benchmarks.report_speed import report_of_rows
from benchmarks.training_step import METHODS, PLAIN, SIDE, SIDES, STAGE1, as_users_write_it, turns
from htunet.data.raw import Case
from htunet.evaluation.evaluate import MaskPair, score_pairs
from htunet.experiments.cost import plan_content
from htunet.experiments.jobs import JobCost
from htunet.inference import run_onnx
from htunet.inference.predictor import Predictor
from htunet.inference.to_onnx import MODEL, write_onnx
from htunet.models.build import build_network
from htunet.models.network import Network
from htunet.models.precision import resolve_precision
from htunet.planning.plans import Plan, plan_from

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


def prediction(method: str, rounds: int, images: int = 12, members: int = 1) -> Iterator[Row]:
    """Files to masks in their own size, by a network or by several whose probabilities are averaged."""
    plan = _plan()
    precision = resolve_precision("auto", "cpu")
    predictor = Predictor(_networks(method, plan, members), plan, device=torch.device("cpu"), precision=precision)
    together = f"the {members} folds of {method} together" if members > 1 else method
    with tempfile.TemporaryDirectory() as folder:
        files = write_pictures(Path(folder), images)

        def ours() -> None:
            for path in files:
                predictor.predict(path).labels  # noqa: B018 - is computed when it is asked for

        yield compared(f"prediction by {together}, {precision}, images of {len(SIZES)} sizes", "images/s", images,
                       rounds, ours, PLAIN_PREDICTION, partial(_plain_loop, _networks(method, plan, members), files),
                       ceiling=Ceiling(ours).seconds)  # fmt: skip


def onnx_prediction(method: str, rounds: int, images: int = 12) -> Iterator[Row]:
    """The program that goes with an export, from files to files; its start and the reading of the model left out."""
    import onnxruntime

    plan = _plan()
    with tempfile.TemporaryDirectory() as folder:
        files = write_pictures(Path(folder), images)
        write_onnx(_networks(method, plan, 1), plan, "seg", Path(folder))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(Path(folder, MODEL), options)
        script, arguments = str(Path(folder, Path(str(run_onnx.__file__)).name)), [f"{folder}/masks", *files]

        def ours() -> None:
            with (
                patch.object(onnxruntime, "InferenceSession", lambda _: session),
                patch.object(sys, "argv", [script, *arguments]),
                patch.object(sys, "path", [folder, *sys.path]),
            ):
                try:
                    runpy.run_path(script, run_name="__main__")
                except SystemExit as end:
                    if end.code:
                        raise RuntimeError(f"The runner of the export failed: {end.code}") from end

        what = f"prediction by {method}, the ONNX runner of an export, fp32, files of {len(SIZES)} sizes to files"
        yield compared(what, "images/s", images, rounds, ours, PLAIN_PREDICTION,
                       partial(_plain_loop, _networks(method, plan, 1), files))  # fmt: skip


PLAIN_PREDICTION = "Pillow and the same layers, fp32, one image after another"


def _plan() -> Plan:
    content = plan_content(JobCost(plan="paper"))
    return plan_from({**content, "input_size": list(content["input_size"])}, "made up")


def _networks(method: str, plan: Plan, members: int) -> list[Network]:
    """With random weights."""
    return [build_network(method, plan.outputs("seg"), seed=seed, weights="random",
                          adapter_settings=plan.adapter_settings)[0] for seed in range(members)]  # fmt: skip


@torch.inference_mode()
def _plain_loop(networks: list[Network], files: list[str]) -> None:
    """What a PyTorch user would write."""
    for network in networks:
        as_users_write_it(network).eval()
    for path in files:
        image = Image.open(path).convert("L")
        small = torch.from_numpy(np.array(image.resize((224, 224), Image.Resampling.BILINEAR)))[None, None]
        labels = torch.stack([network(small).softmax(dim=1) for network in networks]).mean(dim=0).argmax(dim=1)[0]
        Image.fromarray(labels.numpy().astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST)


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


def start_up(rounds: int) -> Iterator[Row]:
    """What each command takes until it says what it can do, and a prediction until its first mask is there."""
    commands = sorted(path.stem for path in Path("htunet/cli").glob("*.py") if "def main" in path.read_text())
    commands.remove("worker")
    torch_s, first, found = list[float](), list[float](), {name: list[float]() for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder, "image"), 1)
        for number in range(rounds):
            torch_s.append(run_command(["-c", "import torch"], {}, module="")[0])
            predict = ["predict", "-i", f"{folder}/image", "-o", f"{folder}/masks_{number}", "--model", "phantom"]
            first.append(run_command([*predict, "--device", "cpu"], {})[0])
            for name, seconds in found.items():
                seconds.append(run_command([name, "--help"], {})[0])
    slowest = max(found, key=lambda name: statistics.median(found[name]))
    middle = [statistics.median(turn) for turn in zip(*found.values(), strict=True)]
    for what, ours in (
        (f"--help, the median of {len(commands)} commands", middle),
        (f"--help, the slowest (htunet_{slowest.rstrip('_')})", found[slowest]),
        ("htunet_predict --model phantom (two networks), one image, from the start to the mask", first),
    ):
        row = row_of(what, "s", 1, ours, "import torch", torch_s)
        yield replace(row, ours=statistics.median(ours), other=statistics.median(torch_s))


SECTIONS: dict[str, dict[str, Callable[[int], Iterator[Row]]]] = {
    "steps": {method: partial(step, method) for method in METHODS},
    "predictions": {
        "UNet": partial(prediction, "UNet"),
        "UNet together": partial(prediction, "UNet", images=6, members=5),
        "UNet ONNX": partial(onnx_prediction, "UNet"),
        "CLIP_HT": partial(prediction, "CLIP_HT", images=6),
        "CLIP_HT ONNX": partial(onnx_prediction, "CLIP_HT", images=6),
    },
    "mask-pairs": {"all": mask_pairs},
    "preparation": {"all": preparation},
    "start-up": {"all": start_up},
    "alternatives": {"all": alternatives},
    "numbers": {
        "all": numbers,
        "very many": partial(numbers, many=VERY_MANY, side=SMALL, input_side=SMALL_INPUT),
        "report": report_of_rows,
    },
}
"""Sections of the table, and what of them is measured at once and so has a name of its own."""
