"""What a user waits for, beside what they would use otherwise: the rows of documentation/explanation/performance.md.

Both take turns within each round, so that the machine's load meets both; the ratio is taken within a round.
"""

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.conversion import write_images
from benchmarks.metrics_speed import SIZE, lesion
from benchmarks.training_step import METHODS, PLAIN, as_users_write_it, turns
from htunet.data.raw import Case
from htunet.evaluation.evaluate import MaskPair, score_pairs
from htunet.experiments.cost import plan_content
from htunet.experiments.jobs import JobCost
from htunet.inference.predictor import Predictor
from htunet.models.build import build_network
from htunet.models.precision import resolve_precision
from htunet.planning.plans import plan_from
from htunet.reproducibility import generator

SIDES = ((480, 640), (300, 400), (600, 800))
"""Height and width of the images that are predicted, in turn."""
LITERAL = "the paper's equations, written literally, fp32"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    unit: str
    ours: float
    """In ``unit``."""
    alternative: str = ""
    other: float | None = None
    """Of the alternative, in ``unit``."""
    ratios: tuple[float, float, float] | None = None
    """How much faster htunet is: median, smallest and largest over the rounds."""
    memory_gb: float | None = None
    """Peak of htunet's process."""


def clock() -> float:
    """Processor time of this process where it computes with one thread: other programs hardly change it."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def compared(
    what: str,
    unit: str,
    amount: float,
    rounds: int,
    ours: Callable[[], object],
    alternative: str,
    other: Callable[[], object],
) -> Row:
    """Time both in turn; ``amount`` of what ``unit`` counts is done by one call of either."""

    def seconds(action: Callable[[], object]) -> float:
        started = clock()
        action()
        return clock() - started

    ours(), other()  # what is slow the first time only
    found = [(seconds(ours), seconds(other)) for _ in range(rounds)]
    return row_of(what, unit, amount, [one for one, _ in found], alternative, [two for _, two in found])


def row_of(what: str, unit: str, amount: float, ours: list[float], alternative: str, other: list[float]) -> Row:
    """From the seconds of each round."""
    ratios = [theirs / own for own, theirs in zip(ours, other, strict=True)]
    return Row(what=what, unit=unit, ours=amount / statistics.median(ours), alternative=alternative,
               other=amount / statistics.median(other),
               ratios=(statistics.median(ratios), min(ratios), max(ratios)))  # fmt: skip


def steps(rounds: int, batch: int = 4) -> Iterator[Row]:
    """A training step of each method."""
    for method in reversed(METHODS):
        times, memory = turns(method, batch, rounds)
        alternative = LITERAL if method == METHODS[0] else "the same layers in a plain PyTorch loop, fp32"
        for name in [name for name in times if name != PLAIN]:
            what = f"training step of {method}, {name.split()[-1]}, 224 x 224, batch {batch}"
            row = row_of(what, "images/s", batch, times[name], alternative, times[PLAIN])
            yield Row(**{**vars(row), "memory_gb": memory[name]})


def predictions(rounds: int, images: int = 12) -> Iterator[Row]:
    """Files to masks in their own size."""
    content = plan_content(JobCost(plan="paper"))
    plan = plan_from({**content, "input_size": list(content["input_size"])}, "made up")
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number in range(images):
            pixels = generator(0, "predicted", number).integers(0, 256, SIDES[number % 3], np.uint8)
            Image.fromarray(pixels).save(path := Path(folder, f"{number}.png"))
            files.append(path)
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

            yield compared(f"prediction by {method}, {precision}, images of {len(SIDES)} sizes", "images/s", images,
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
        (source / "malignant").mkdir()
        for path in (source / "benign").glob("*[02468])*"):
            path.rename(source / "malignant" / path.name.replace("benign", "malignant"))
        started = time.process_time()
        for path in source.rglob("*.png"):
            Image.open(path).load()
        decoding = time.process_time() - started
        one = ["--workers", "1"]
        for what, command in (
            ("conversion of BUSI's layout, 500 x 500", ["convert", "BUSI", str(source), *one]),
            ("checks, fingerprint, plan, arrays", ["plan_and_preprocess", "-d", "BUSI", "--plan", "paper", *one]),
        ):
            seconds, memory = _command(command, roots)
            yield Row(what=f"{what}, start included, {images} images", unit="images/s", ours=images / seconds,
                      alternative="decoding each file once with Pillow", other=images / decoding,
                      ratios=(decoding / seconds,) * 3, memory_gb=memory)  # fmt: skip


def start_up(rounds: int) -> Iterator[Row]:
    """What each command takes until it says what it can do."""
    commands = sorted(path.stem for path in Path("htunet/cli").glob("*.py") if "def main" in path.read_text())
    seconds = {name: _command([name, "--help"], {})[0] for name in commands if name != "worker"}
    slowest = max(seconds, key=seconds.__getitem__)
    torch_s = statistics.median(_command(["-c", "import torch"], {}, module="")[0] for _ in range(rounds))
    for what, found in (
        (f"--help, the median of {len(seconds)} commands", statistics.median(seconds.values())),
        (f"--help, the slowest (htunet_{slowest.rstrip('_')})", seconds[slowest]),
    ):
        yield Row(what=what, unit="s", ours=found, alternative="import torch", other=torch_s,
                  ratios=(torch_s / found,) * 3)  # fmt: skip


def _command(arguments: list[str], variables: dict[str, str], module: str = "htunet.cli.") -> tuple[float, float]:
    """Run a command to its end; processor time of it and its workers, s, and its largest process, GB."""
    call = ["-m", module + arguments[0], *arguments[1:]] if module else arguments
    script = (
        "import resource,subprocess,sys; code=subprocess.call(sys.argv[1:],stdout=subprocess.DEVNULL,"
        "stderr=subprocess.DEVNULL); used=resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(code,used.ru_utime+used.ru_stime,used.ru_maxrss)"
    )
    environment = {**os.environ, **variables}
    command = [sys.executable, "-c", script, sys.executable, *call]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    code, seconds, kilobytes = result.stdout.split()
    if code != "0":
        raise RuntimeError(f"{' '.join(call)} ended with {code}")
    return float(seconds), int(kilobytes) / 1e6


SECTIONS: dict[str, Callable[[int], Iterator[Row]]] = {
    "steps": steps,
    "predictions": predictions,
    "mask-pairs": mask_pairs,
    "preparation": preparation,
    "start-up": start_up,
}
