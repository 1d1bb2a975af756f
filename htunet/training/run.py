"""Train a method on one fold of a planned data set: from names to a finished run folder.

Calling it again continues where the run was.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from htunet.data.preprocessed import PreprocessedDataset, planning_warnings
from htunet.data.split_files import find_fold
from htunet.data.training_fold import training_fold
from htunet.errors import counted
from htunet.models.build import (
    build_network,
    check_input_size,
    check_plan_name,
    check_published_defects,
    keeps_encoder,
    parse_method,
    settings_without_effect,
)
from htunet.models.finetuned import find_adapter, load_adapter
from htunet.models.weights.load import RANDOM, is_simulated
from htunet.models.weights.store import PHANTOM_CLIP
from htunet.paths import AS_PUBLISHED, PHANTOM, RunPaths, find_dataset
from htunet.planning.arrays import check_arrays
from htunet.planning.finetuning_plan import FOR_PHANTOM, from_phantom
from htunet.planning.planner import PLANNERS, is_edited
from htunet.planning.plans import Plan, check_patience, check_task, load_plan, sides_of
from htunet.planning.rules import AUGMENTATION, SWITCHES
from htunet.training.augmentation.augment import Augmentation
from htunet.training.devices import make_fabric
from htunet.training.loader import BatchOrder, TrainingImages
from htunet.training.loop import Data
from htunet.training.session import Outcome, TrainingRun, lock_run, run_training
from htunet.training.settings import TrainSettings
from htunet.training.start import load_start, refuse_run_as_weights, refuse_seen_images
from htunet.training.trainer import TRAINERS


def train(dataset: str, method: str, fold: int | str, settings: TrainSettings, *, restart: bool = False) -> Outcome:
    """Train or continue the run that the arguments name. Everything that can be checked is checked before it starts.

    Raises UsageError for names, folds and settings that do not exist, HtunetError when files are missing, when another
    process uses the run, or when the run was started with other settings.
    """
    check_plan_name(method, settings.plan)
    refuse_run_as_weights(settings.weights)
    paths = find_dataset(dataset)
    plan = load_plan(paths.plans_json, settings.plan)
    plan_edited = plan.name in PLANNERS and is_edited(plan)  # by the user: what is replaced below is no edit
    if settings.as_published_defects:
        check_published_defects(method)
        plan = replace(plan, name=plan.name + AS_PUBLISHED, as_published_defects=True)
    check_task(plan, settings.task)
    fold = find_fold(paths, fold, settings.task)
    outputs = plan.outputs(settings.task)
    check_input_size(method, plan.input_size, outputs, adapter_settings=plan.adapter)
    remarks = settings_without_effect(method, outputs, plan.adapter)
    check_patience(plan)
    preprocessed = PreprocessedDataset(paths.plan_folder(plan.name), plan.classes)
    check_arrays(paths, plan)
    if "seg" in settings.task.split("+"):
        preprocessed.check_masks(len(plan.labels))
    trainer, augmentation = TRAINERS[settings.task].from_plan(plan), Augmentation.from_plan(plan)
    start = None
    if settings.adapter:
        start = find_adapter(
            settings.adapter, method, seed=settings.seed, weights=settings.weights, normalise=plan.normalise
        )
        start.check(method, normalise=plan.normalise, settings=plan.adapter)
    label = start.label if start else ""
    if found := planning_warnings(paths, plan.name):
        remarks += [f"Planning gave {counted(len(found), 'warning')} about this data: see {paths.warnings_json}."]
    remarks += _augmentation_remarks(plan)
    backbone = parse_method(method).backbone
    of_pretraining = settings.weights == PHANTOM or is_simulated(settings.weights)
    continues_pretraining = bool(settings.start_from) and is_simulated(str(settings.start_from))
    if of_pretraining or continues_pretraining or (backbone == PHANTOM_CLIP and settings.weights != RANDOM):
        plan = from_phantom(plan, settings.num_epochs, frozen=keeps_encoder(method))
        remarks += [f"{name} {getattr(plan, name):g}: {plan.because[name]}." for name in FOR_PHANTOM]
        label = label or PHANTOM * (backbone is None and of_pretraining)
    group = (paths, type(trainer).__name__, plan.name, method)
    run = RunPaths(*group, fold, settings.seed, settings.ratio, adapter=label)
    learnt = training_fold(run, preprocessed, settings.ratio)
    if settings.ratio and plan.patience:
        steps = plan.patience * BatchOrder.from_plan(plan, learnt.rows("train"), settings.seed).per_epoch
        remarks += [
            f"The plan's patience of {counted(plan.patience, 'epoch')} is {counted(steps, 'step')} in this run."
        ]
    fabric = make_fabric(device=settings.device, devices=settings.devices, precision=settings.precision)
    with lock_run(fabric, run):
        network, weights = build_network(
            method,
            outputs,
            seed=settings.seed,
            weights=settings.weights,
            adapter_settings=plan.adapter_settings,
        )
        if start:
            load_adapter(network, weights, start)
            refuse_seen_images(start.path, learnt.whole, paths, fold)
        before = dict[str, Any]()
        if settings.start_from:
            before = load_start(network, weights, Path(settings.start_from), method, plan)
            refuse_seen_images(Path(settings.start_from), learnt.whole, paths, fold)
        images = TrainingImages(preprocessed, augmentation, settings.seed)
        training = TrainingRun(
            run=run,
            trainer=trainer,
            network=network,
            weights=weights,
            plan=plan,
            data=Data(train_rows=learnt.rows("train"), val_rows=learnt.rows("val"), images=images),
            settings=settings,
            remarks=[*learnt.remarks(), *remarks],
            about={
                "dataset": run.dataset.name,
                "method": method,
                "task": settings.task,
                "fold": fold,
                "plan_edited": plan_edited,
                "adapter": start.record if start else None,
                **({"adapter_argument": settings.adapter} if start else {}),
                **before,
                **learnt.record(),
            },
        )
        return run_training(fabric, training, restart=restart)


def _augmentation_remarks(plan: Plan) -> Iterator[str]:
    """What a plan's augmentation does that its words do not say."""
    if usual := [f"{name} {AUGMENTATION[name]:g}" for name in SWITCHES if name not in plan.augmentation]:
        yield f"The plan's augmentation is the usual one where it names nothing: {', '.join(usual)}; 0 turns it off."
    ways_out = ["set augmentation.mirror to 0"] * bool(plan.augmentation.get("mirror", 1))
    ways_out += [
        f"take {one} out of more_augmentation" for one in ("mirror", "strong_weak") if one in plan.more_augmentation
    ]
    if (sides := sides_of([*plan.labels, *plan.classes])) and ways_out:
        yield f"The plan mirrors images, which exchanges {' and '.join(sides)}: {' and '.join(ways_out)}."


__all__ = ["Outcome", "train"]
