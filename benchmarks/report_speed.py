"""How long the case table, the statistics, the paper's tables and report.html of a large study take.

``python -m benchmarks.report_speed``: 200,000 rows of six data sets, 17 methods and three seeds, made up; the images
and masks that the page shows are made up too, and read and drawn as those of a real study. ``--profile`` tells where
the time goes, ``--rows`` makes another size, ``--output`` keeps the page.
"""

import argparse
import copy
import cProfile
import os
import pstats
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Row, row_of, run_command
from htunet.data.image_io import write_png
from htunet.data.raw import Case, DatasetInfo, write_raw_index
from htunet.evaluation.case_table import case_table, write_table
from htunet.evaluation.metrics import LabelScore
from htunet.evaluation.overlap import Counts
from htunet.evaluation.study import study
from htunet.evaluation.summary import INPUT, ORIGINAL, CaseScore, Summary, summary_content
from htunet.files import write_csv, write_json, write_text
from htunet.paths import ROOTS, DatasetPaths, RunPaths
from htunet.reporting.report.collect import collect
from htunet.reporting.report.page import render
from htunet.reporting.report.study_results import Terms, study_of
from htunet.reporting.summaries import evaluated_contents
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.study_files import write_paper_tables
from htunet.reproducibility import generator

T = TypeVar("T")
DATASETS = ("Dataset501_LN-INT", "Dataset503_BUSI", "Dataset504_DDTI", "Dataset505_TN3K", "Dataset506_Prostate",
            "Dataset601_Other")  # fmt: skip
METHODS = (*paper.METHODS, *paper.ADAPTERS, "CLIP_HTNE", "CLIP_HTFF", "CLIP_HTSpectral")
SEEDS = (1, 2, 3)
RESOLUTIONS = (INPUT, ORIGINAL)
DISTANCES = {"hd95": 9.0, "asd": 3.0, "hd95_max": 9.5, "asd_directed": 3.1}
SIZE = (384, 512)
LIMIT_SECONDS = 60.0
"""Of the processor, over all processes."""
LIMIT_MEGABYTES = 25.0


def cases_of(rows: int) -> int:
    """Test cases of each data set for so many rows."""
    return -(-rows // (len(DATASETS) * len(METHODS) * len(SEEDS) * len(RESOLUTIONS)))


def ellipse(random: np.random.Generator) -> NDArray[np.uint8]:
    """A lesion's mask."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    row, column = random.uniform(0.3, 0.7, 2) * SIZE
    height, width = random.uniform(0.04, 0.25, 2) * SIZE
    return (((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1).astype(np.uint8)


def make_raw(dataset: DatasetPaths, n: int, predictions: Path) -> list[Case]:
    """A raw folder, and masks beside it that stand for every method's predictions."""
    cases = []
    for index in range(n):
        random = generator(index, "image", dataset.name)
        case = Case(
            id=f"case_{index:04d}", class_name=("benign", "malignant")[index % 2], group=f"patient_{index // 2}"
        )
        mask = ellipse(random)
        speckle = random.rayleigh(40, SIZE) * np.where(mask, 0.5, 1)
        write_png(dataset.raw / "imagesTr" / f"{case.id}_0000.png", np.clip(speckle, 0, 255).astype(np.uint8))
        write_png(dataset.raw / "labelsTr" / f"{case.id}.png", mask)
        write_png(predictions / f"{case.id}.png", np.roll(mask, (8, -5), axis=(0, 1)))
        cases.append(case)
    info = DatasetInfo(classes={"benign": 0, "malignant": 1}, licence="made up", description="Made up")
    write_raw_index(dataset.raw, dataset.short_name, info, cases, [])
    return cases


def template(run: RunPaths, cases: list[Case]) -> dict[str, Any]:
    """The content of a summary as the evaluation writes it."""
    settings = {"plan_content": {"name": "paper", "num_epochs": 200, "input_size": [224, 224], "because": {}}}
    identity = {"dataset": run.dataset.name, "trainer": run.trainer, "plan": run.plan, "fold": 0, "ratio": None}
    identity |= {"task": "seg", "trained_on": None, "num_epochs": 200, "epochs": 200, "trainable_parameters": 4_118_568}
    identity |= {"weights": {"source": "pretrained", "file": "weights.pt", "sha256": "0" * 64}, "settings": settings}
    scores = []
    for resolution in RESOLUTIONS:
        for index, case in enumerate(cases):
            counts = Counts(tp=400 + 20 * index, fp=100, fn=100, tn=49_000 - 20 * index)
            score = LabelScore(counts=counts, diagonal=316.8, distances=DISTANCES)
            about = {"class_name": case.class_name, "group": case.group}
            scores.append(CaseScore(case=case.id, label=1, resolution=resolution, score=score, **about))
    return summary_content(Summary(identity=identity, policy="penalise", scores=tuple(scores)))


def varied(content: dict[str, Any], run: RunPaths, place: int) -> dict[str, Any]:
    """The same content with other figures: one case in forty is missed."""
    found = copy.deepcopy(content)
    random = generator(run.seed, "figures", run.dataset.name, run.method)
    found["htunet"] |= {"method": run.method, "seed": run.seed}
    cases = found["metric_per_case"]
    dice = np.clip(random.normal(0.7 + 0.01 * place, 0.15, len(cases)), 0.01, 0.99)
    dice[random.random(len(cases)) < 1 / 40] = 0
    for case, value in zip(cases, dice.tolist(), strict=True):
        for resolution in RESOLUTIONS:
            distance = 100 * (1 - value) if value else 316.8
            own = {"Dice": value, "IoU": value / (2 - value), "HD95": distance, "ASD": distance / 3}
            case["htunet"][resolution]["1"] |= own | {"empty": None if value else "prediction"}
    for resolution in RESOLUTIONS:
        found["htunet"]["means"][resolution]["Dice"]["mean"] = float(dice.mean())
    return found


def make_study(folder: Path, n_cases: int) -> int:
    """Raw folders, finished runs and their summaries below ``folder``; returns the number of runs."""
    for variable, name in ROOTS.items():
        os.environ[variable] = str(folder / name)
    runs = 0
    for name in DATASETS:
        dataset = DatasetPaths(name)
        predictions = folder / "predictions" / name
        cases = make_raw(dataset, n_cases, predictions)
        content = template(RunPaths(dataset, "SegmentationTrainer", "paper", METHODS[0], 0, 1), cases)
        for place, method in enumerate(METHODS):
            for seed in SEEDS:
                run = RunPaths(dataset, "SegmentationTrainer", "paper", method, 0, seed)
                write_json(run.settings_json, {})
                write_json(run.finished_json, {})
                write_json(run.summary_json, varied(content, run, place))
                run.predictions.symlink_to(predictions)
                write_csv(
                    run.progress_csv, ("epoch", "train_loss", "val_loss", "val_metric"), map(epoch_row, range(200))
                )
                runs += 1
    return runs


def epoch_row(epoch: int) -> dict[str, float]:
    """A line of progress.csv."""
    return {
        "epoch": epoch,
        "train_loss": 2 / (epoch + 2),
        "val_loss": 2 / (epoch + 1.5),
        "val_metric": 1 - 1 / (epoch + 2),
    }


def timed(name: str, function: Callable[[], T], times: dict[str, float]) -> T:
    """The result; the processor's time is kept, which a busy machine lengthens less, and the wall time printed."""
    start, used = time.perf_counter(), processor_seconds()
    found = function()
    times[name] = processor_seconds() - used
    print(f"  {name:22} {times[name]:6.1f} s of the processor, {time.perf_counter() - start:6.1f} s", flush=True)
    return found


def processor_seconds() -> float:
    """Of this process and those that it has waited for."""
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system


def measure(folder: Path) -> tuple[dict[str, float], Path]:
    """All stages, one after the other, as the commands do them."""
    times: dict[str, float] = {}
    contents = timed("read the summaries", lambda: evaluated_contents(print), times)
    table = timed("case table", lambda: case_table(contents.values()), times)
    print(f"  {len(table):,} rows of {len(contents)} runs")
    timed("write it", lambda: write_table(folder / "cases.csv", table), times)
    found = timed("statistics", lambda: study(table), times)
    timed("the paper's tables", lambda: write_paper_tables(folder, list(contents.values()), found), times)
    terms = {"CLIP": Terms("MIT", "made up")}
    report = timed("report: collect", lambda: collect(study_of(contents, terms=terms)), times)
    page = folder / "report.html"
    timed("report: write", lambda: write_text(page, render(report)), times)
    return times, page


def report_of_rows(rounds: int, few: int = 20_000, many: int = 200_000) -> Iterator[Row]:
    """The commands on ``many`` rows of results beside ``few`` of them."""
    with tempfile.TemporaryDirectory() as base:
        homes = {number: Path(base, str(number)) for number in (few, many)}
        for number, home in homes.items():
            make_study(home, cases_of(number))
        for what, command in {"tables and statistics": ["tables"], "report.html": ["report", "-o", "page"]}.items():
            found: dict[int, list[tuple[float, float]]] = {number: [] for number in homes}
            for _ in range(rounds):
                for number, home in homes.items():
                    roots = {variable: str(home / name) for variable, name in ROOTS.items()}
                    page = home / "report.html"
                    arguments = [str(page) if one == "page" else one for one in command]
                    found[number].append(run_command(arguments, roots))
            size = f", {page.stat().st_size / 1e6:.1f} MB" if page.exists() else ""
            ours, theirs = found[many], found[few]
            yield row_of(f"{what} of {many:,} rows of results{size}, start included", "rows/s", many,
                         [one for one, _ in ours], f"{few:,} of them", [one for one, _ in theirs], other_amount=few,
                         memory=(max(peak for _, peak in ours), max(peak for _, peak in theirs)))  # fmt: skip


def main() -> int:
    """Print the times; the exit code is 1 when they or the page are above the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--output", type=Path, help="keep the page here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        make_study(folder, cases_of(options.rows))
        print(f"made the study in {time.perf_counter() - start:.0f} s", flush=True)
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        times, page = measure(folder)
        profile.disable()
        megabytes = page.stat().st_size / 1e6
        total = sum(times.values())
        print(
            f"  {'in all':22} {total:6.1f} s of the processor (limit {LIMIT_SECONDS:.0f}); the page: {megabytes:.1f} MB"
        )
        if options.output:
            shutil.copy(page, options.output)
    if options.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
    return 0 if total <= LIMIT_SECONDS and megabytes <= LIMIT_MEGABYTES else 1


if __name__ == "__main__":
    sys.exit(main())
