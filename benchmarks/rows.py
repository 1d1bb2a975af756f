"""What a user waits for, beside what they would use otherwise: the rows of documentation/explanation/performance.md."""

import contextlib
import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.alternatives import SIZES, alternatives, write_pictures
from benchmarks.conversion import write_images
from benchmarks.measure import Row, compared, row_of, run_command
from benchmarks.metrics_speed import SIZE, lesion
from benchmarks.numbers import numbers
from benchmarks.training_step import METHODS, PLAIN, as_users_write_it, turns
from htunet.data.raw import Case
from htunet.evaluation.evaluate import MaskPair, score_pairs
from htunet.experiments.cost import plan_content
from htunet.experiments.jobs import JobCost
from htunet.inference.predictor import Predictor
from htunet.models.build import build_network
from htunet.models.precision import resolve_precision
from htunet.planning.plans import plan_from

LITERAL = "the paper's equations, written literally, fp32"


def steps(rounds: int, batch: int = 4) -> Iterator[Row]:
    """A training step of each method."""
    for method in reversed(METHODS):
        times, memory = turns(method, batch, rounds)
        alternative = LITERAL if method == METHODS[0] else "the same layers in a plain PyTorch loop, fp32"
        for name in [name for name in times if name != PLAIN]:
            what = f"training step of {method}, {name.split()[-1]}, 224 x 224, batch {batch}"
            yield row_of(what, "images/s", batch, times[name], alternative, times[PLAIN],
                         memory=(memory[name], memory[PLAIN]))  # fmt: skip


def predictions(rounds: int, images: int = 12) -> Iterator[Row]:
    """Files to masks in their own size."""
    content = plan_content(JobCost(plan="paper"))
    plan = plan_from({**content, "input_size": list(content["input_size"])}, "made up")
    with tempfile.TemporaryDirectory() as folder:
        files = write_pictures(Path(folder), images)
        for method in ("UNet", "CLIP_HT"):
            network, plain = (build_network(method, plan.outputs("seg"), seed=1, weights="random",
                                            adapter_settings=plan.adapter_settings)[0] for _ in range(2))  # fmt: skip
            precision = resolve_precision("auto", "cpu")
            predictor = Predictor(network, plan, device=torch.device("cpu"), precision=precision)
            as_users_write_it(plain).eval()

            @torch.inference_mode()
            def loop(plain: torch.nn.Module = plain) -> None:
                for path in files:
                    image = Image.open(path).convert("L")
                    small = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))
                    labels = plain(torch.from_numpy(small.copy())[None, None]).argmax(dim=1)[0].numpy()
                    Image.fromarray(labels.astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST)

            yield compared(f"prediction by {method}, {precision}, images of {len(SIZES)} sizes", "images/s", images,
                           rounds, lambda p=predictor: [p.predict(path).labels for path in files],
                           "Pillow and the same layers, fp32, one image after another", loop)  # fmt: skip


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
    """What each command takes until it says what it can do."""
    commands = sorted(path.stem for path in Path("htunet/cli").glob("*.py") if "def main" in path.read_text())
    commands.remove("worker")
    torch_s, found = list[float](), {name: list[float]() for name in commands}
    for _ in range(rounds):
        torch_s.append(run_command(["-c", "import torch"], {}, module="")[0])
        for name, seconds in found.items():
            seconds.append(run_command([name, "--help"], {})[0])
    slowest = max(found, key=lambda name: statistics.median(found[name]))
    middle = [statistics.median(turn) for turn in zip(*found.values(), strict=True)]
    for what, ours in (
        (f"--help, the median of {len(commands)} commands", middle),
        (f"--help, the slowest (htunet_{slowest.rstrip('_')})", found[slowest]),
    ):
        ratios = [theirs / own for own, theirs in zip(ours, torch_s, strict=True)]
        yield Row(what=what, unit="s", ours=statistics.median(ours), alternative="import torch",
                  other=statistics.median(torch_s),
                  ratios=(statistics.median(ratios), min(ratios), max(ratios)))  # fmt: skip


SECTIONS: dict[str, Callable[[int], Iterator[Row]]] = {
    "steps": steps,
    "predictions": predictions,
    "mask-pairs": mask_pairs,
    "preparation": preparation,
    "start-up": start_up,
    "alternatives": alternatives,
    "numbers": numbers,
}
