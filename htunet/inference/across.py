"""Predict another data set's images with a trained run: they are read as the run's plan reads its own."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from htunet.data.class_probabilities import ClassProbabilities, class_order, write_class_probabilities
from htunet.data.image_io import read_image, read_labels, write_png
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import TEST, Case, RawDataset, read_raw
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError, UsageError
from htunet.files import exclusive, read_object, whole_folder, write_json
from htunet.inference.predictor import Predictor
from htunet.inference.test_set import predict_validation
from htunet.paths import RunPaths
from htunet.planning.plans import Plan, plan_from
from htunet.preprocessing.cropping import crop_box
from htunet.preprocessing.geometry import from_input, mask_to_input, to_input

PARTS = ("all", "test")


def cases_of(raw: RawDataset, part: str) -> list[Case]:
    """``all`` cases of a data set, or those of its ``test`` part: its own one, else that of fold 0.

    Raises UsageError for a part that is neither, HtunetError where there is no test part.
    """
    if part not in PARTS:
        raise UsageError(f"--part is one of {', '.join(PARTS)}; got {part!r}.")
    cases = sorted(raw.cases, key=lambda case: case.id)
    if part == "all":
        return cases
    if own := [case for case in cases if case.part == TEST]:
        return own
    wanted = set(load_splits(raw.paths.splits_json)[0]["test"]) if raw.paths.splits_json.exists() else set()
    if not wanted:
        raise HtunetError(
            f"{raw.paths.name} has no test part yet. Take --part all, or split it: htunet_plan_and_preprocess -d "
            f"{raw.paths.short_name}."
        )
    return [case for case in cases if case.id in wanted]


def check_fits(run: RunPaths, raw: RawDataset) -> None:
    """Raise HtunetError where what the run has learnt is not what the other data set knows of its images.

    Classes have the same names, in any order; several labels the same names and values. One label fits any other one:
    what is a lesion here may be called a nodule there.
    """
    plan, tasks, other = _plan(run), run.task.split("+"), raw.paths.short_name
    own = run.source.dataset.short_name
    if "seg" in tasks:
        if not raw.info.has_masks:
            raise HtunetError(
                f"{other} has no masks to compare with: take runs of {own} that learn classes, --task cls."
            )
        theirs, ours = _foreground(raw.info.labels), _foreground(plan.labels)
        if theirs != ours and not len(theirs) == len(ours) == 1:
            raise HtunetError(
                f"The labels of {other} are {_listing(theirs)}, a run of {own} tells {_listing(ours)} apart. Give the "
                "labels of one the names and values of the other in dataset.json and in the masks."
            )
    if "cls" in tasks:
        _check_classes(raw, plan, own)


def predict_across(run: RunPaths, part: str, about: Mapping[str, Any], *, device: str = "auto") -> None:
    """Write what ``predict_test`` writes, of another data set's images, and the true masks at the input size.

    ``run.dataset`` has the images and ``run.source`` the weights; the validation part that chooses a threshold is the
    source's. ``about`` goes into settings.json, under ``trained_on``, with the names of the cases. Raises as
    ``check_fits``, and when another process predicts or evaluates the run.
    """
    raw = read_raw(run.dataset)
    check_fits(run, raw)
    cases, source = cases_of(raw, part), run.source
    predictor = Predictor.from_run(source, device=device)
    record = {"dataset": source.dataset.name, "part": part, "cases": [case.id for case in cases], **about}
    with exclusive(run.test_folder, f"The test of {run.label}"):
        run.finished_json.unlink(missing_ok=True)
        if predictor.classifies:
            data = PreprocessedDataset(source.dataset.plan_folder(run.plan))
            write_class_probabilities(run.val_classes_csv, predict_validation(source, predictor, data))
        classes_NK = _predict(run, raw, cases, predictor)
        if classes_NK is not None:
            write_class_probabilities(run.classes_csv, _probabilities(predictor, cases, classes_NK))
        write_json(run.settings_json, read_object(source.settings_json) | {"trained_on": record})
        write_json(run.finished_json, read_object(source.finished_json))


def _predict(run: RunPaths, raw: RawDataset, cases: Sequence[Case], predictor: Predictor) -> NDArray[np.float64] | None:
    """Write the masks of all cases and return the probabilities of their classes, as far as the run has learnt them."""
    plan, rows = predictor.plan, []
    with ExitStack() as stack:
        folders = (run.predictions, run.predictions_at_input, run.references_at_input)
        targets = [stack.enter_context(whole_folder(folder)) for folder in folders] if predictor.segments else []
        for start in tqdm(range(0, len(cases), plan.batch_size), unit="batch", disable=None):
            chosen = cases[start : start + plan.batch_size]
            images = [read_image(raw.image_path(case), plan.channels) for case in chosen]
            boxes = [crop_box(image, plan) for image in images]
            inputs = [to_input(image, box, plan) for image, box in zip(images, boxes, strict=True)]
            found = predictor.probabilities(np.stack(inputs))
            if found.classes_BN is not None:
                rows.append(found.classes_BN)
            if found.labels_BKHW is None:
                continue
            for case, image, box, scores_KHW in zip(chosen, images, boxes, found.labels_BKHW, strict=True):
                label = read_labels(raw.label_path(case))
                masks = (
                    from_input(scores_KHW, box, (image.shape[1], image.shape[2]), plan),
                    scores_KHW.argmax(axis=0).astype(np.uint8),
                    mask_to_input(label, box, plan),
                )
                _write(targets, case.id, masks)
    return np.concatenate(rows) if rows else None


def _write(folders: Sequence[Path], case: str, masks: Sequence[NDArray[np.uint8]]) -> None:
    for folder, mask in zip(folders, masks, strict=True):
        write_png(folder / f"{case}.png", mask)


def _probabilities(predictor: Predictor, cases: Sequence[Case], values_NK: NDArray[np.float64]) -> ClassProbabilities:
    return ClassProbabilities(
        classes=predictor.classes,
        cases=tuple(case.id for case in cases),
        truth=tuple(case.class_name for case in cases),
        values_NK=values_NK,
    )


def _check_classes(raw: RawDataset, plan: Plan, own: str) -> None:
    ours, theirs, other = class_order(plan.classes), class_order(raw.info.classes), raw.paths.short_name
    if set(ours) != set(theirs):
        raise HtunetError(
            f"The classes of {other} are {', '.join(theirs) or '(none)'}, a run of {own} tells {', '.join(ours)} "
            "apart. Only equal names can be compared: give the classes the same ones in dataset.json and cases.csv, "
            "or take runs that learn masks: --task seg."
        )
    if strange := [case.id for case in raw.cases if case.class_name not in ("", *theirs)]:
        raise HtunetError(
            f"{len(strange)} of {len(raw.cases)} images of {other} have none of the classes {', '.join(theirs)}: "
            f"{', '.join(strange[:5])}. Give them one in cases.csv of the raw folder, or take them out."
        )


def _plan(run: RunPaths) -> Plan:
    path = run.source.settings_json
    return plan_from(read_object(path).get("plan_content"), f"{path}, plan_content")


def _foreground(labels: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in labels.items() if value}


def _listing(labels: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({value})" for name, value in labels.items())
