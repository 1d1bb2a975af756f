"""Damaged files of htunet's own, over the functions that read them: a result or an HtunetError."""

import contextlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from attack.damage import damage
from attack.pool import Found, Hang
from htunet.data.caption_splits import load_caption_split, settle_caption_split
from htunet.data.captions import read_captions
from htunet.data.few_shot import few_shot_subset
from htunet.data.image_io import read_image, read_labels
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import read_excluded, read_raw
from htunet.data.split_files import is_split_by_group, load_splits, settle_splits
from htunet.errors import HtunetError
from htunet.evaluation.case_table import case_table
from htunet.evaluation.class_summary import evaluate_classes
from htunet.evaluation.evaluate import evaluate_run
from htunet.evaluation.freshness import is_evaluated, needs_prediction, trained_on_other_images
from htunet.evaluation.predicted_run import open_predicted
from htunet.evaluation.study import study
from htunet.experiments.robustness_study import read_measured
from htunet.inference.export import _test_metrics
from htunet.inference.exported import open_model
from htunet.inference.trained import TrainedModel
from htunet.models import checkpoint
from htunet.models.finetuned import find_adapter, finished_finetunings
from htunet.paths import DatasetPaths, FinetuningPaths, RunPaths, find_runs
from htunet.planning.arrays import check_arrays
from htunet.planning.fingerprint import load_fingerprint
from htunet.planning.plans import load_plan, load_plans
from htunet.reporting.figures.training_curves import curve_of
from htunet.reporting.report.collect import collect
from htunet.reporting.report.study_results import study_of
from htunet.reporting.summaries import evaluated_contents, zero_shot_contents
from htunet.reporting.tables.kinds import KINDS
from htunet.reporting.tables.paper_layouts import TABLES
from htunet.reporting.tables.paper_tables import SEEDS, fill
from htunet.reporting.tables.rows import row_tables, table_rows

OLD, WORDS = DatasetPaths("Dataset930_Old"), DatasetPaths("Dataset907_Words")
Reader = Callable[[Path], object]


def _tables(_: Path) -> None:
    contents = evaluated_contents(lambda _: None)
    for kind in KINDS:
        row_tables(table_rows(contents.values(), (), kind), kind)
    found = study(case_table(contents.values()))
    for table in TABLES.values():
        fill(table, list(contents.values()), found.means, SEEDS, zero_shot_contents(lambda _: None))


def _report(_: Path) -> None:
    collect(study_of(evaluated_contents(lambda _: None), zero_shot=zero_shot_contents(lambda _: None)))


def _run(path: Path) -> RunPaths:
    runs = [run for run in find_runs() if path.is_relative_to(run.folder)]
    if not runs:
        raise HtunetError("The run is no run any more.")
    return runs[0]


def _of_run(path: Path) -> None:
    run = _run(path)
    open_predicted(run)
    TrainedModel.of_run(run)
    for read in (trained_on_other_images, needs_prediction, _test_metrics):
        read(run)
    is_evaluated(run, "penalise")


def _evaluate(path: Path) -> None:
    run = _run(path)
    if run.task == "cls":
        evaluate_classes(open_predicted(run))
    else:
        evaluate_run(open_predicted(run))


def _arrays(path: Path) -> None:
    data = PreprocessedDataset(path.parent, {"benign": 0, "malignant": 1})
    check_arrays(OLD, load_plan(OLD.plans_json, "tiny"))
    data.images[:].max(), data.masks[:].max(), data.class_indices.max()
    few_shot_subset(
        OLD.few_shot_json(0, 1), load_splits(OLD.splits_json)[0], data.cases, ratio=0.5, seed=1, by_group=False
    )


def _few_shot(path: Path) -> None:
    _arrays(OLD.plan_folder("tiny") / "cases.csv")


def _plans(path: Path) -> None:
    for name in load_plans(path):
        load_plan(path, name)


def _raw(_: Path) -> None:
    raw = read_raw(OLD)
    read_excluded(OLD)
    settle_splits(raw)
    load_fingerprint(OLD.fingerprint_json)
    is_split_by_group(OLD)


def _captions(_: Path) -> None:
    settle_caption_split(read_captions(WORDS))
    load_caption_split(WORDS)


def _checkpoint(path: Path) -> None:
    checkpoint.load(path)
    find_adapter(str(path), "CLIP_HT", seed=1, weights="random")


def _model(path: Path) -> None:
    open_model(path.parent).trained(weights="random")


def _finetunings(_: Path) -> None:
    for run in finished_finetunings("CLIP_HT"):
        assert isinstance(run, FinetuningPaths)
    find_adapter("finetuned", "CLIP_HT", seed=1, weights="random")


def _progress(path: Path) -> None:
    curve_of([path], "train_loss")
    _report(path)


READERS: dict[str, tuple[Reader, ...]] = {
    "raw/Dataset930_Old/*.*": (_raw,),
    "raw/Dataset930_Old/imagesTr/case00*": (lambda path: read_image(path, 1),),
    "raw/Dataset930_Old/labelsTr/case00*": (read_labels,),
    "raw/Dataset907_Words/*.*": (_captions,),
    "preprocessed/Dataset907_Words/caption_split.json": (_captions,),
    "preprocessed/Dataset930_Old/dataset_fingerprint.json": (_raw,),
    "preprocessed/Dataset930_Old/splits*": (_raw, lambda _: needs_prediction(next(find_runs()))),
    "preprocessed/Dataset930_Old/plans.json": (_plans,),
    "preprocessed/Dataset930_Old/few_shot/*.json": (_few_shot,),
    "preprocessed/Dataset930_Old/tiny/*": (_arrays,),
    "results/Dataset930_Old/*/fold_0/seed_1/settings.json": (_of_run, _tables),
    "results/Dataset930_Old/*/fold_0/seed_1/finished.json": (_of_run, _tables, _report),
    "results/Dataset930_Old/*/fold_0/seed_1/test/summary.json": (_of_run, _tables, _report),
    "results/Dataset930_Old/*/fold_0/seed_1/*/classes.csv": (_of_run, _evaluate),
    "results/Dataset930_Old/*/fold_0/seed_1/test/predictions/case1*.png": (_evaluate,),
    "results/Dataset930_Old/*/fold_0/seed_1/progress.csv": (_progress,),
    "results/Dataset930_Old/*/fold_0/seed_3/checkpoint_latest.safetensors": (_checkpoint,),
    "results/Dataset930_Old/*/fold_0/seed_1/robustness/altered/robustness.csv": (
        lambda path: read_measured(path.parent),
    ),
    "results/Dataset930_Old/zero_shot/*/*/summary.json": (_tables, _report),
    "results/finetuning/*/*/seed_1/*": (_finetunings,),
    "exported_Plain/*": (_model,),
}


SLOW, SLOW_SHARE = (_tables, _report, _progress), 0.02
"""Readers that take a second, and how many of the inputs are for them: whole commands take them, too."""


def pairs(home: Path) -> list[tuple[Path, Reader]]:
    """Each file with a function that reads it."""
    return [
        (path, reader)
        for pattern, readers in READERS.items()
        for path in sorted(home.glob(pattern))
        if path.is_file() and not path.name.startswith(".")
        for reader in readers
    ]


def attack(sound: Path, home: Path, chosen: list[tuple[Path, Reader]], number: int) -> Found:
    """Damage one file in place, read it, and put the sound one back."""
    rng = random.Random(f"reader {number}")
    slow = rng.random() < SLOW_SHARE
    path, reader = rng.choice([pair for pair in chosen if (pair[1] in SLOW) == slow])
    name = str(path.relative_to(home))
    found = Found(number, name, getattr(reader, "__name__", ""), damage(path, rng))
    try:
        reader(path)
    except (HtunetError, OSError) as error:
        found.code = 1
        if isinstance(error, OSError) and not error.filename:
            found.problems.append(f"raised {error!r}, which names no file")
    except (Hang, Exception) as error:  # what a user would see as a traceback
        found.problems.append(f"raised {error!r}"[:300])
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    for changed in (path, OLD.splits_json, OLD.splits_made_json, WORDS.caption_split_json, OLD.few_shot_json(0, 1)):
        relative = changed.relative_to(home)
        if (sound / relative).exists():
            changed.unlink(missing_ok=True)
            shutil.copy2(sound / relative, changed)
    return found
