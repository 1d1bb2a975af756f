"""Predict another data set's images with a trained run: they are read as the run's plan reads its own."""

from collections.abc import Iterator, Mapping
from typing import Any

from htunet.data.class_probabilities import class_order, write_class_probabilities
from htunet.data.image_io import read_image, read_labels
from htunet.data.preprocessed import CaseGeometry, PreprocessedDataset
from htunet.data.raw import TEST, Case, RawDataset, read_raw
from htunet.data.split_files import load_splits, paper_fold
from htunet.errors import HtunetError, UsageError
from htunet.files import exclusive, read_object, write_json
from htunet.inference.predictor import Predictor
from htunet.inference.test_set import CaseInput, predict_validation, write_predictions
from htunet.paths import RunPaths
from htunet.planning.arrays import check_arrays
from htunet.planning.plans import plan_from
from htunet.preprocessing.cropping import crop_box
from htunet.preprocessing.geometry import mask_to_input, to_input

SPLITS = ("all", "test")


def cases_of(raw: RawDataset, split: str, task: str = "seg") -> list[Case]:
    """``all`` cases of a data set, or those of its ``test`` split: its own, else that of the paper's fold.

    Raises UsageError for a split that is neither, HtunetError where there is no test split.
    """
    if split not in SPLITS:
        raise UsageError(f"--split is one of {', '.join(SPLITS)}; got {split!r}.")
    cases = sorted(raw.cases, key=lambda case: case.id)
    if split == "all":
        return cases
    if own := [case for case in cases if case.split == TEST]:
        return own
    path, fold = raw.paths.splits_json, paper_fold(raw.paths, task)
    tested = set(load_splits(path)[fold]["test"]) if path.exists() else set()
    if not tested:
        raise HtunetError(
            f"{raw.paths.name} has no test split yet. Take --split all, or make one: htunet_plan_and_preprocess -d "
            f"{raw.paths.short_name}."
        )
    return [case for case in cases if case.id in tested]


def check_fits(run: RunPaths, raw: RawDataset) -> None:
    """Raise HtunetError where what the run has learnt is not what the other data set knows of its images.

    Classes have the same names, in any order; several labels the same names and values. One label fits any other one:
    what is a lesion here may be called a nodule there.
    """
    path, other, own = run.source.settings_json, raw.paths.short_name, run.source.dataset.short_name
    plan = plan_from(read_object(path).get("plan_content"), f"{path}, plan_content")
    if "seg" in run.tasks:
        if not raw.info.has_masks:
            raise HtunetError(
                f"{other} has no masks to compare with: take runs of {own} that learn classes, --task cls."
            )
        theirs, ours = ({k: v for k, v in labels.items() if v} for labels in (raw.info.labels, plan.labels))
        if theirs != ours and not len(theirs) == len(ours) == 1:
            of_theirs, of_ours = (", ".join(f"{k} ({v})" for k, v in labels.items()) for labels in (theirs, ours))
            raise HtunetError(
                f"The labels of {other} are {of_theirs}, a run of {own} distinguishes {of_ours}. Give the "
                "labels of one the names and values of the other in dataset.json and in the masks."
            )
    if "cls" in run.tasks:
        classes, known = class_order(plan.classes), class_order(raw.info.classes)
        if set(classes) != set(known):
            raise HtunetError(
                f"The classes of {other} are {', '.join(known) or '(none)'}, a run of {own} tells {', '.join(classes)} "
                "apart. Only equal names can be compared: give the classes the same ones in dataset.json and "
                "cases.csv, or take runs that learn masks: --task seg."
            )
        if strange := [case.id for case in raw.cases if case.class_name not in ("", *known)]:
            raise HtunetError(
                f"{len(strange)} of {len(raw.cases)} images of {other} have none of the classes {', '.join(known)}: "
                f"{', '.join(strange[:5])}. Give them one in cases.csv of the raw folder, or take them out."
            )


def predict_across(run: RunPaths, split: str, about: Mapping[str, Any]) -> None:
    """Write what ``predict_test`` writes, of another data set's images, and the true masks at the input size.

    ``run.dataset`` has the images and ``run.source`` the weights; the validation split that chooses a threshold is the
    source's. ``about`` goes into settings.json, under ``trained_on``, with the names of the cases. Raises as
    ``check_fits``, and when another process predicts or evaluates the run.
    """
    raw = read_raw(run.dataset)
    check_fits(run, raw)
    cases, source = cases_of(raw, split, run.task), run.source
    predictor = Predictor.from_run(source)
    plan = predictor.plan

    def inputs() -> Iterator[CaseInput]:
        for case in cases:
            image_CHW = read_image(raw.image_path(case), plan.channels)
            height, width = image_CHW.shape[1:]
            box = crop_box(image_CHW, plan)
            geometry = CaseGeometry(
                case.id, case.class_name, case.group, (height, width), box.top, box.left, (box.height, box.width)
            )
            reference = mask_to_input(read_labels(raw.label_path(case)), box, plan) if predictor.segments else None
            yield CaseInput(geometry, to_input(image_CHW, box, plan), reference)

    record = {"dataset": source.dataset.name, "part": split, "cases": [case.id for case in cases], **about}
    with exclusive(run.test_folder, f"The test of {run.label}"):
        run.finished_json.unlink(missing_ok=True)
        if predictor.classifies:
            check_arrays(source.dataset, plan)
            data = PreprocessedDataset(source.dataset.plan_folder(run.plan))
            write_class_probabilities(run.val_classes_csv, predict_validation(source, predictor, data))
        write_predictions(run, predictor, inputs(), record["cases"])
        write_json(run.settings_json, read_object(source.settings_json) | {"trained_on": record})
        write_json(run.finished_json, read_object(source.finished_json))
