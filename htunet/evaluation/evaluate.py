"""Score the test predictions of a run, or one folder of masks against another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from htunet.data.formats.medical_file import check_place
from htunet.data.formats.stacks import open_stack
from htunet.data.image_io import read_labels
from htunet.data.label_maps import LabelMap
from htunet.data.names import FRAME
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import Case, RawDataset, read_raw
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError, counted, some
from htunet.evaluation.mask_folders import Files, match_folders, read_masks
from htunet.evaluation.metrics import PENALISE, check_policy, score
from htunet.evaluation.summary import INPUT, ORIGINAL, CaseScore, Summary
from htunet.files import file_hash, json_hash, read_object
from htunet.parallel import parallel_map, suitable_workers
from htunet.paths import DatasetPaths, RunPaths, checked_name
from htunet.planning.arrays import check_arrays, raw_sha256
from htunet.planning.plans import plan_from
from htunet.schemas import FINISHED, SETTINGS

Labels = NDArray[np.uint8]
RECORDED = ("task", "num_epochs", "trainable_parameters", "weights")


@dataclass(frozen=True, kw_only=True)
class MaskPair:
    """One prediction with its reference, and what is known of the case."""

    case: Case
    resolution: str
    prediction: Files
    """One file, or one for each frame of the reference; the reference likewise."""
    reference: Files | Labels
    prediction_file: str
    """As the summary names it, like ``reference_file``."""
    reference_file: str
    maps: tuple[LabelMap | None, LabelMap | None] | None = None
    """How both files are read where they are people's masks of any format; None: masks as htunet writes them."""


def evaluate_run(run: RunPaths, raw: RawDataset, policy: str = PENALISE) -> Summary:
    """Score a run's test predictions at the network's input size and at the original size.

    ``raw`` is ``run.dataset`` as read. Reads ``test/predictions`` and
    ``test/predictions_at_input_size`` and never writes. Raises HtunetError when a prediction, a label or the test split
    is missing.
    """
    check_policy(policy)
    identity = run_identity(run)
    _check_learnt(run, identity["settings"].get("plan_content"), raw)
    labels = sorted(set(raw.info.labels.values()) - {0})
    scores = tuple(score_pairs(run_pairs(run, raw), labels))
    summary = Summary(identity=identity | {"labels": raw.info.labels}, policy=policy, scores=scores)
    return replace(summary, notes=(*_vanished(summary), *_on_spacing(summary)))


def _check_learnt(run: RunPaths, content: object, raw: RawDataset) -> None:
    """Raise HtunetError where the labels or the arrays are not those that the run was trained with; by its plan."""
    if content is None:  # of an early version
        return
    plan = plan_from(content, f"{run.settings_json}, plan_content")
    ours, now = ({name: value for name, value in of.items() if value} for of in (plan.labels, raw.info.labels))
    if len(ours) != len(now) or any(ours.get(name, value) != value for name, value in now.items()):
        then, words = (", ".join(f"{name} {value}" for name, value in of.items()) for of in (ours, now))
        raise HtunetError(
            f"{run.label} has learnt the labels {then}; {raw.paths.dataset_json} has {words} now. Put the earlier ones "
            f"back, or train again: {run.training_command} --restart"
        )
    if run.trained_on is None:
        check_arrays(run.dataset, plan)


def _vanished(summary: Summary) -> Iterator[str]:
    """One note of the labels that a reference has at the original size and no longer at the network's input size."""
    held = {
        name: {(row.case, row.label) for row in summary.at(name) if row.score.counts.n_ref}
        for name in (INPUT, ORIGINAL)
    }
    if gone := sorted(held[ORIGINAL] - held[INPUT]):
        names = [f"{case} ({summary.label_name(label)})" for case, label in gone]
        yield (
            f"without a pixel at the input size, and so not there, but at the original size: "
            f"{counted(len(gone), 'label')} of references: {some(names)}"
        )


def evaluate_folders(predictions: Path, references: Path, policy: str = PENALISE) -> Summary:
    """Score the masks of one folder against those of another; files are matched by their names without endings.

    Labels are inferred as ``htunet_convert`` does: 0..K, 0 and 255, one gray value or colour for each label, by alpha;
    the summary says what was read as what. HtunetError names a reference without a prediction, and says so where the
    folders have no label in common.
    """
    check_policy(policy)
    found = match_folders(predictions, references)
    pairs = [
        MaskPair(
            case=Case(id=name),
            resolution=ORIGINAL,
            prediction=prediction,
            reference=reference,
            prediction_file=prediction[0].relative_to(predictions).as_posix(),
            reference_file=reference[0].relative_to(references).as_posix(),
            maps=found.maps,
        )
        for name, (prediction, reference) in found.pairs.items()
    ]
    identity = {"predictions": str(predictions), "references": str(references)}
    scores = tuple(score_pairs(pairs, found.labels))
    summary = Summary(identity=identity, policy=policy, scores=scores)
    return replace(summary, notes=(*found.notes, *_on_spacing(summary)))


def _on_spacing(summary: Summary) -> Iterator[str]:
    """Where millimetres are those of some cases only, and where two files give a pixel unlike sizes."""
    spacing = {row.case: row.spacing_mm for row in summary.at(ORIGINAL)}
    unknown = [case for case, sides in spacing.items() if sides is None]
    if 0 < len(unknown) < len(spacing):
        known = f"{len(spacing) - len(unknown)} of {counted(len(spacing), 'case')}"
        yield f"millimetres are of {known}; no pixel size is known of {some(unknown)}"
    if unlike := list(dict.fromkeys(row.case for row in summary.scores if row.unlike_spacing)):
        yield (
            f"prediction and reference say unlike pixel sizes, millimetres are those of the reference: "
            f"{counted(len(unlike), 'case')}: {some(unlike)}"
        )


def run_identity(run: RunPaths) -> dict[str, Any]:
    """Which run it is and what its results rest on; raises HtunetError when settings.json lacks something."""
    settings = read_object(run.settings_json, SETTINGS)
    if missing := [name for name in RECORDED if name not in settings]:
        raise HtunetError(f"{run.settings_json} lacks {missing}: the run was made by another version. Train it again.")
    finished = read_object(run.finished_json, FINISHED) if run.finished_json.exists() else {}
    splits = run.source.dataset.splits_json
    folds = load_splits(splits)[run.fold : run.fold + 1] if splits.exists() else []
    sizes = {split: len(cases) for fold in folds for split, cases in fold.items()}
    return {
        "dataset": run.dataset.name,
        "trainer": run.trainer,
        "method": run.method,
        "plan": run.plan,
        "fold": run.fold,
        "seed": run.seed,
        "ratio": run.ratio,
        "trained_on": settings.get("trained_on"),
        **{name: settings[name] for name in RECORDED},
        "split_sizes": sizes | ({"test": len(test_cases(run))} if run.trained_on else {}),
        "epochs": finished.get("epochs"),
        "references_sha256": references_digest(run),
        "raw_sha256": raw_sha256(run.dataset),
        "settings": settings,
    }


def references_digest(run: RunPaths) -> str:
    """SHA-256 of what a run is scored against: the true masks, classes, groups and spacings of its test cases.

    Empty where the data set is not there any more.
    """
    if not run.dataset.dataset_json.exists():
        return ""
    raw, tested, with_masks = read_raw(run.dataset), {*test_cases(run)}, "seg" in run.tasks
    cases = sorted((case for case in raw.cases if case.id in tested), key=lambda case: case.id)
    labels = [raw.label_path(case) if with_masks else None for case in cases]
    masks = [file_hash(path) if path and path.exists() else "" for path in labels]
    rows = [
        [case.id, case.class_name, case.group, str(case.spacing_mm), mask]
        for case, mask in zip(cases, masks, strict=True)
    ]
    return json_hash(rows)


def split_cases(dataset: DatasetPaths, fold: int, split: str) -> list[str]:
    """The case ids of ``train``, ``val`` or ``test`` of one fold; raises HtunetError when there are none."""
    splits = load_splits(dataset.splits_json)
    if not 0 <= fold < len(splits):
        raise HtunetError(f"{dataset.splits_json} has the folds 0..{len(splits) - 1}, not {fold}.")
    if not splits[fold].get(split):
        raise HtunetError(
            f"Fold {fold} of {dataset.splits_json} has no {split} cases. Plan the data set again with "
            f"htunet_plan_and_preprocess -d {dataset.short_name}."
        )
    return list(splits[fold][split])


def test_cases(run: RunPaths) -> list[str]:
    """The cases that a run is scored on: the test split of its fold, or those that it predicted of another data set."""
    if run.trained_on is None:
        return split_cases(run.dataset, run.fold, "test")
    cases = (read_object(run.settings_json, SETTINGS).get("trained_on") or {}).get("cases", [])
    return [checked_name(str(case), "the id", run.settings_json) for case in cases]


def run_pairs(run: RunPaths, raw: RawDataset) -> list[MaskPair]:
    """The test predictions of a run with their references, for each case at the input size and at the original size.

    The references at the input size are those of the arrays, or lie beside the predictions where the images are another
    data set's. Raises HtunetError for a case or a prediction that is missing.
    """
    ids, known = test_cases(run), {case.id: case for case in raw.cases}
    if unknown := [case for case in ids if case not in known]:
        raise HtunetError(f"{raw.paths.cases_csv} lacks the test cases {some(unknown)}. Plan the data set again.")
    for folder in (run.predictions, run.predictions_at_input):
        if missing := [case for case in ids if not (folder / f"{case}.png").exists()]:
            raise HtunetError(
                f"{len(missing)} of {len(ids)} test predictions of {run.label} are missing in {folder}: "
                f"{some(missing)}. Predict them with htunet_evaluate {run.dataset.short_name} {run.method} --force."
            )
    at_input: list[Files | Labels]
    if run.trained_on is not None:
        at_input = [(run.references_at_input / f"{case}.png",) for case in ids]
    else:
        arrays = PreprocessedDataset(run.dataset.plan_folder(run.plan))
        at_input = [arrays.masks[row].copy() for row in arrays.rows(ids)]
    pairs = []
    for case, reference_at_input in zip(ids, at_input, strict=True):
        label = raw.label_path(known[case])
        for resolution, folder, reference in (
            (INPUT, run.predictions_at_input, reference_at_input),
            (ORIGINAL, run.predictions, (label,)),
        ):
            prediction = folder / f"{case}.png"
            pairs.append(
                MaskPair(
                    case=known[case],
                    resolution=resolution,
                    prediction=(prediction,),
                    reference=reference,
                    prediction_file=prediction.relative_to(run.test_folder).as_posix(),
                    reference_file=label.relative_to(run.dataset.raw.parent).as_posix(),
                )
            )
    return pairs


def score_pairs(pairs: Sequence[MaskPair], labels: list[int], workers: int | None = None) -> list[CaseScore]:
    """Score every pair, in their order; ``workers`` None: processes where there are many pairs, else none.

    Raises HtunetError for shapes that differ and for values that are no label.
    """
    results = parallel_map(
        partial(_score_pair, labels),
        pairs,
        workers=suitable_workers(len(pairs), workers),
        name=lambda pair: str(pair.prediction[0]),
    )
    return [row for rows in tqdm(results, total=len(pairs), desc="scoring", unit="mask", disable=None) for row in rows]


def _score_pair(labels: list[int], pair: MaskPair) -> list[CaseScore]:
    """Every label of every frame; a file of one frame has the case's own id."""
    if isinstance(pair.reference, np.ndarray):
        return _score_frame(labels, pair, read_labels(pair.prediction[0]), pair.reference)
    if pair.maps is None:
        return _score_frame(labels, pair, read_labels(pair.prediction[0]), read_labels(pair.reference[0]))
    predictions = list(read_masks(pair.prediction, pair.maps[0]))
    references = list(read_masks(pair.reference, pair.maps[1]))
    if len(predictions) != len(references):
        raise HtunetError(
            f"{pair.prediction[0]} has {counted(len(predictions), 'frame')}, its reference {len(references)}."
        )
    first, other = (open_stack(files[0]) for files in (pair.prediction, pair.reference))
    check_place(f"The prediction {first.path}", first, "its reference", other)
    spacing = other.spacing_mm or first.spacing_mm
    unlike = bool(first.sides_mm and other.sides_mm and not np.allclose(first.sides_mm, other.sides_mm, rtol=0.01))
    rows = list[CaseScore]()
    for number, (found, true) in enumerate(zip(predictions, references, strict=True), start=1):
        frame = replace(
            pair,
            case=replace(pair.case, spacing_mm=spacing),
            prediction=(found[0],),
            prediction_file=_beside(pair.prediction_file, found[0]),
            reference_file=_beside(pair.reference_file, true[0]),
        )
        if len(references) > 1:
            case = replace(frame.case, id=f"{pair.case.id}{FRAME}{number:04d}", group=pair.case.id)
            frame = replace(frame, case=case)
        rows += [replace(row, unlike_spacing=unlike) for row in _score_frame(labels, frame, found[1], true[1])]
    return rows


def _beside(name: str, path: Path) -> str:
    """The name of another file in the folder of the file ``name``."""
    return str(PurePosixPath(name).with_name(path.name))


def _score_frame(labels: list[int], pair: MaskPair, prediction: Labels, reference: Labels) -> list[CaseScore]:
    if prediction.shape != reference.shape:
        raise HtunetError(
            f"{pair.prediction[0]} has {prediction.shape[0]} x {prediction.shape[1]} pixels (height x width), its "
            f"reference {reference.shape[0]} x {reference.shape[1]}. Predict it again at the reference's size."
        )
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if strange := sorted(set(np.unique(mask).tolist()) - {0, *labels}):
            raise HtunetError(
                f"The {name} of {pair.prediction[0]} has the values {strange[:8]}; known labels: {[0, *labels]}."
            )
    spacing = pair.case.spacing_mm
    oblong = pair.resolution == ORIGINAL and isinstance(spacing, tuple)
    in_mm = score(prediction, reference, labels, spacing) if oblong and isinstance(spacing, tuple) else {}
    return [
        CaseScore(
            case=pair.case.id,
            label=label,
            resolution=pair.resolution,
            score=result,
            class_name=pair.case.class_name,
            group=pair.case.group,
            spacing_mm=spacing,
            score_mm=in_mm.get(label),
            prediction_file=pair.prediction_file,
            reference_file=pair.reference_file,
        )
        for label, result in score(prediction, reference, labels).items()
    ]
